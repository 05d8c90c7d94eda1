//! What two clients send, side by side.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use compat::bed::Cache;
use compat::clouds::{Clouds, Request};
use compat::program::{Finished, Program};
use compat::selkie::binary;
use serde_json::Value;

/// Checks that ours sends what an official client sent, request by request. `masked` names fields
/// that hold something random.
pub(crate) fn same(ours: &[Request], theirs: &[Request], masked: &[&str]) -> Result<()> {
    let trees = |requests: &[Request]| -> Vec<Value> {
        requests
            .iter()
            .map(|request| request.tree(masked))
            .collect()
    };
    let (ours, theirs) = (trees(ours), trees(theirs));
    ensure!(!theirs.is_empty(), "the official client sent nothing");
    ensure!(
        ours == theirs,
        "ours sent {}\n\nthe official client sent {}",
        serde_json::to_string_pretty(&ours)?,
        serde_json::to_string_pretty(&theirs)?
    );
    Ok(())
}

/// Runs Python with the official libraries and these variables, through the proxy, and returns what
/// it prints.
pub(crate) fn python(clouds: &Clouds, variables: &[(&str, &str)], script: &str) -> Result<String> {
    let python = Cache::open()?.root().join("venv-clouds/bin/python");
    ensure!(
        python.is_file(),
        "{}: not there; run `make testbed`",
        python.display()
    );
    let authority = clouds.authority();
    let mut program = Program::new(python)
        .args(["-c", script])
        .env("HOME", clouds.folder())
        .env("HTTPS_PROXY", clouds.url())
        .env("SSL_CERT_FILE", &authority)
        .env("REQUESTS_CA_BUNDLE", &authority);
    for (name, value) in variables {
        program = program.env(name, value);
    }
    Ok(program.ok()?.text())
}

/// Runs ours under the name of sops, in a folder.
pub(crate) fn under_sops_name(
    folder: &Path,
    variables: &[(&str, &str)],
    arguments: &[&str],
) -> Result<Finished> {
    let link = folder.join("sops");
    if !link.exists() {
        std::os::unix::fs::symlink(binary("selkie-cli", "selkie")?, &link)?;
    }
    let mut program = Program::new(&link).args(arguments).folder(folder);
    program = program.env("HOME", folder);
    for (name, value) in variables {
        program = program.env(name, value);
    }
    program.run()
}

/// The text of a field of a file's first entry of a kind.
pub(crate) fn field(file: &str, name: &str) -> Result<String> {
    let lines = file
        .lines()
        .map(|line| line.trim().trim_start_matches("- "));
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let value = values.next().with_context(|| format!("a field {name}"))?;
    Ok(value.trim_matches('"').to_owned())
}

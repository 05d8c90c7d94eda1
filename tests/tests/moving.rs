//! The examples of docs/moving-from-sops.md, in a repository that the real sops made.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;
use compat::repository::Repository;
use compat::sops_file::{By, IDENTITY, RECIPIENT};

const PAGE: &str = include_str!("../../docs/moving-from-sops.md");

const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: s3cret\n";

/// `TRYCMD=overwrite` corrects the copy that is run, and leaves it in the folder for temporary files.
#[test]
fn every_example_prints_what_the_page_says() -> Result<()> {
    let config = format!(
        "creation_rules:\n  - path_regex: ^prod/\n    encrypted_regex: ^(data|stringData)$\n    \
         age: {RECIPIENT}\n  - age: {RECIPIENT}\n"
    );
    let here = Repository::new("")?;
    here.write("page.md", PAGE)?;
    let folder = here.path().join("page.in");
    fs::create_dir_all(folder.join("prod"))?;
    fs::write(folder.join(".sops.yaml"), config)?;
    for (name, plain) in [
        ("app.env", "TOKEN=s3cret\n"),
        ("prod/db.yaml", SECRET),
        ("prod/forgotten.yaml", SECRET),
    ] {
        fs::write(folder.join(name), plain)?;
        here.sops(By::Sops3133, ["encrypt", "-i", name])?
            .folder(&folder)
            .ok()?;
    }
    let forgotten = folder.join("prod/forgotten.yaml");
    let text = fs::read_to_string(&forgotten)?;
    fs::write(
        &forgotten,
        text.replace("stringData:\n", "stringData:\n    user: app\n"),
    )?;
    let selkie = compat::selkie::binary("selkie-cli", "selkie")?;
    let sops = here.path().join("sops");
    symlink(&selkie, &sops)?;
    let cases = trycmd::TestCases::new();
    cases.register_bin("selkie", selkie.as_path());
    cases.register_bin("sops", sops.as_path());
    cases.env("SOPS_AGE_KEY", IDENTITY);
    cases.env("HOME", here.path().display().to_string());
    cases.case(here.path().join("page.md"));
    cases.run();
    if std::env::var_os("TRYCMD").is_some() {
        fs::copy(
            here.path().join("page.md"),
            std::env::temp_dir().join("moving-from-sops.md"),
        )?;
    }
    Ok(())
}

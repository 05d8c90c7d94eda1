//! Reading transcripts.
//!
//! ```text
//! == name of the transcript
//! output: yaml            what standard output is: bytes (default), or a document of this format
//! stderr: some text       standard error of both must hold this text
//! differs: reason         we differ on purpose; `our code:`, `our stdout:` and `our stderr:`
//!                         say how, and only the code of the original is not asserted
//! $ sops decrypt enc.yaml
//! $ echo "a second line of the same shell script"
//! ```
//!
//! Lines that begin with `#` outside of a script are comments. The lines with `$` are one script
//! for `/bin/sh`, whose exit code is that of its last line.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Bytes,
    /// A document of the format with this file ending.
    Document(&'static str),
}

/// One script that both programs run.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    pub(crate) name: String,
    pub(crate) script: String,
    pub(crate) output: Output,
    pub(crate) stderr: Vec<String>,
    pub(crate) difference: Option<Difference>,
}

/// How ours differs, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Difference {
    pub(crate) reason: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Option<String>,
    pub(crate) stderr: Vec<String>,
}

const FORMATS: [&str; 5] = ["yaml", "json", "env", "ini", "bin"];

/// Reads every `.txt` file of a folder.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<Transcript>> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let mut all: Vec<Transcript> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        all.extend(read(&stem, &text).with_context(|| path.display().to_string())?);
    }
    for (at, transcript) in all.iter().enumerate() {
        let again = all[..at].iter().any(|other| other.name == transcript.name);
        ensure!(!again, "two transcripts are named {}", transcript.name);
    }
    Ok(all)
}

fn read(stem: &str, text: &str) -> Result<Vec<Transcript>> {
    let mut all: Vec<Transcript> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let here = || format!("line {}", number + 1);
        if let Some(name) = line.strip_prefix("== ") {
            all.push(Transcript {
                name: format!("{stem}: {name}"),
                script: String::new(),
                output: Output::Bytes,
                stderr: Vec::new(),
                difference: None,
            });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let transcript = all.last_mut().with_context(here)?;
        if let Some(command) = line.strip_prefix("$ ") {
            transcript.script.push_str(command);
            transcript.script.push('\n');
            continue;
        }
        let (key, value) = line.split_once(": ").with_context(here)?;
        transcript.assign(key, value).with_context(here)?;
    }
    if let Some(empty) = all.iter().find(|transcript| transcript.script.is_empty()) {
        bail!("{} has no script", empty.name);
    }
    Ok(all)
}

impl Transcript {
    fn assign(&mut self, key: &str, value: &str) -> Result<()> {
        if key == "differs" {
            self.difference.get_or_insert_default().reason = value.to_owned();
            return Ok(());
        }
        let ours = key.strip_prefix("our ");
        match (key, ours, &mut self.difference) {
            ("output", ..) => {
                let format = FORMATS.iter().find(|format| **format == value);
                self.output = Output::Document(format.with_context(|| value.to_owned())?);
            }
            ("stderr", ..) => self.stderr.push(value.to_owned()),
            (_, Some("code"), Some(difference)) => difference.code = Some(value.parse()?),
            (_, Some("stdout"), Some(difference)) => {
                difference.stdout = Some(value.replace("\\n", "\n"));
            }
            (_, Some("stderr"), Some(difference)) => difference.stderr.push(value.to_owned()),
            _ => bail!("no such key: {key}"),
        }
        Ok(())
    }
}

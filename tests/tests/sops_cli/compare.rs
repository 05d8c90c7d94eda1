//! When two documents are the same: byte for byte, or, where ours keeps the form of a file that the
//! original prints anew, as the original prints both of them, with the ciphertext and the times of
//! the metadata masked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use compat::sops_file::RECIPIENT;
use regex::Regex;
use tempfile::TempDir;

/// The real sops, as the judge.
pub(crate) struct Original {
    program: PathBuf,
    keys: PathBuf,
}

impl Original {
    pub(crate) fn new(program: PathBuf, keys: PathBuf) -> Self {
        Self { program, keys }
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Result<Option<Vec<u8>>> {
        let output = Command::new(&self.program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("SOPS_AGE_KEY_FILE", &self.keys)
            .output()?;
        Ok(output.status.success().then_some(output.stdout))
    }

    /// The document as the original prints it in clear.
    fn printed(&self, format: &str, content: &[u8]) -> Result<Option<Vec<u8>>> {
        let folder = TempDir::new()?;
        let (file, sealed) = (format!("file.{format}"), format!("sealed.{format}"));
        fs::write(folder.path().join(&file), content)?;
        if let Some(clear) = self.run(folder.path(), &["decrypt", &file])? {
            return Ok(Some(clear));
        }
        let encrypt = ["encrypt", "--age", RECIPIENT, "--output", &sealed, &file];
        match self.run(folder.path(), &encrypt)? {
            Some(_) => self.run(folder.path(), &["decrypt", &sealed]),
            None => Ok(None),
        }
    }

    /// The encrypted document as the original prints it, masked: it prints a tree anew when it
    /// writes, so the data key stays and ciphertext, MAC and times do not count.
    fn masked(&self, format: &str, content: &[u8]) -> Result<Option<String>> {
        if format == "bin" || !is_encrypted(content) {
            return Ok(None);
        }
        let folder = TempDir::new()?;
        let file = format!("file.{format}");
        fs::write(folder.path().join(&file), content)?;
        let Some(printed) = self.run(folder.path(), &["rotate", &file])? else {
            return Ok(None);
        };
        Ok(Some(mask(&String::from_utf8_lossy(&printed))))
    }
}

/// Compares two outputs; `format` is the file ending of a document, or empty for bytes.
pub(crate) fn contents(
    original: &Original,
    name: &str,
    format: &str,
    theirs: &[u8],
    ours: &[u8],
) -> Result<Vec<String>> {
    if theirs == ours {
        return Ok(Vec::new());
    }
    let differ = |theirs: &[u8], ours: &[u8]| {
        vec![format!(
            "{name}:\n--- theirs\n{}\n--- ours\n{}",
            String::from_utf8_lossy(theirs),
            String::from_utf8_lossy(ours)
        )]
    };
    if !["yaml", "json", "env", "ini", "bin"].contains(&format) {
        return Ok(differ(theirs, ours));
    }
    let (Some(their_text), Some(our_text)) = (
        original.printed(format, theirs)?,
        original.printed(format, ours)?,
    ) else {
        return Ok(differ(theirs, ours));
    };
    if their_text != our_text {
        return Ok(differ(&their_text, &our_text));
    }
    if is_encrypted(theirs) != is_encrypted(ours) {
        return Ok(differ(theirs, ours));
    }
    match (
        original.masked(format, theirs)?,
        original.masked(format, ours)?,
    ) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            Ok(differ(theirs.as_bytes(), ours.as_bytes()))
        }
        _ => Ok(Vec::new()),
    }
}

/// Compares the files that two scripts left.
pub(crate) fn files(
    original: &Original,
    theirs: &[(PathBuf, Vec<u8>)],
    ours: &[(PathBuf, Vec<u8>)],
) -> Result<Vec<String>> {
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    if names(theirs) != names(ours) {
        return Ok(vec![format!(
            "files: {:?}, ours: {:?}",
            names(theirs),
            names(ours)
        )]);
    }
    let mut told = Vec::new();
    for ((path, theirs), (_, ours)) in theirs.iter().zip(ours) {
        let format = path.extension().unwrap_or_default().to_string_lossy();
        let name = path.display().to_string();
        told.extend(contents(original, &name, &format, theirs, ours)?);
    }
    Ok(told)
}

fn is_encrypted(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.contains("ENC[AES256_GCM,") && text.contains("lastmodified")
}

/// Takes out what differs between any two runs.
fn mask(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, by) in [
        (r"data:[^,]*,iv:[^,]*,tag:[^,]*,type:", "type:"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (
            r"(?s)-----BEGIN AGE.*?-----END AGE ENCRYPTED FILE-----",
            "AGE",
        ),
    ] {
        if let Ok(pattern) = Regex::new(pattern) {
            text = pattern.replace_all(&text, by).into_owned();
        }
    }
    text
}

//! The awkward files of `tests/corpus`, each with what is recorded beside it (see its README.md).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file of the corpus.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The file's name without its extension.
    pub name: String,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// The setting of the creation rule, such as `encrypted_regex: ^data$`; without it everything is selected.
    pub rule: Option<String>,
    /// What the refusal says, if the file is refused.
    pub error: Option<String>,
    /// What comes back where that is not the file itself: canonical forms.
    pub expected: Option<Vec<u8>>,
}

impl Sample {
    /// Returns a `.sops.yaml` with this file's rule for one age recipient.
    pub fn config(&self, recipient: &str) -> String {
        let rule = self
            .rule
            .as_deref()
            .map(|rule| format!("    {rule}\n"))
            .unwrap_or_default();
        format!("creation_rules:\n  - age: {recipient}\n{rule}")
    }
}

/// Reads the whole corpus, in order of the names.
pub fn load() -> Result<Vec<Sample>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    paths.sort();
    paths.iter().map(|path| sample(path)).collect()
}

fn sample(path: &Path) -> Result<Sample> {
    let beside = |extension: &str| -> Result<Option<Vec<u8>>> {
        let path = path.with_extension(extension);
        if path.exists() {
            Ok(Some(fs::read(&path)?))
        } else {
            Ok(None)
        }
    };
    let line = |extension: &str| -> Result<Option<String>> {
        let Some(bytes) = beside(extension)? else {
            return Ok(None);
        };
        Ok(Some(String::from_utf8(bytes)?.trim_end().to_owned()))
    };
    Ok(Sample {
        name: path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        bytes: fs::read(path)?,
        rule: line("rule")?,
        error: line("error")?,
        expected: beside("expected")?,
    })
}

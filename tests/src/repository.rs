//! A folder with a `.sops.yaml`, in which ours and the originals work on the same files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use crate::originals;
use crate::program::Program;
use crate::selkie::{binary, selkie};
use crate::sops_file::{By, IDENTITY, RECIPIENT};

/// The folder; it is the home of every program that runs in it, with [`IDENTITY`] at hand.
#[derive(Debug)]
pub struct Repository {
    folder: TempDir,
}

impl Repository {
    /// Makes one with this `.sops.yaml`.
    pub fn new(config: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-repository-")?;
        fs::write(folder.path().join(".sops.yaml"), config)?;
        Ok(Self { folder })
    }

    /// Makes one whose rule is for [`RECIPIENT`]; `fields` are those of the rule, and what follows.
    pub fn ruled(fields: &str) -> Result<Self> {
        Self::new(&format!("creation_rules:\n  - age: {RECIPIENT}\n{fields}"))
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a program in it.
    pub fn at(&self, program: Program) -> Program {
        program
            .folder(self.path())
            .env("HOME", self.path())
            .env("SOPS_AGE_KEY", IDENTITY)
    }

    /// Ours.
    pub fn selkie<const N: usize>(&self, arguments: [&str; N]) -> Result<Program> {
        Ok(self.at(selkie()?).args(arguments))
    }

    /// The original.
    pub fn sops<const N: usize>(&self, by: By, arguments: [&str; N]) -> Result<Program> {
        let program = match by {
            By::Sops3110 => originals::sops_3_11()?,
            _ => originals::sops()?,
        };
        Ok(self.at(program).args(arguments))
    }

    /// Ours under the name of the original.
    pub fn under_its_name<const N: usize>(&self, arguments: [&str; N]) -> Result<Program> {
        let link = self.path().join("sops");
        if !link.exists() {
            symlink(binary("selkie-cli", "selkie")?, &link)?;
        }
        Ok(self.at(Program::new(link)).args(arguments))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(fs::write(self.path().join(name), bytes)?)
    }

    /// Reads a text.
    pub fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path().join(name))?)
    }
}

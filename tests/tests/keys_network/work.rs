//! A folder with files, and an environment for the programs that run in it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use compat::originals;
use compat::program::{Finished, Program};
use compat::selkie::selkie;
use tempfile::TempDir;

/// What is encrypted everywhere here.
pub(crate) const PLAIN: &str = "user: admin # who\npassword: hunter2\nport: 5432\n";

/// A folder that is also the home folder.
pub(crate) struct Work {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Work {
    pub(crate) fn new(variables: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-keys-")?;
        let mut work = Self {
            folder,
            variables: Vec::new(),
        };
        let home = work.path("").display().to_string();
        // Without this, a missing credential is sought at the metadata service of a cloud.
        for (name, value) in [("HOME", &*home), ("AWS_EC2_METADATA_DISABLED", "true")] {
            work.set(name, value);
        }
        for (name, value) in variables {
            work.set(name, value);
        }
        Ok(work)
    }

    /// Sets a variable, or changes it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text).with_context(|| name.to_owned())
    }

    pub(crate) fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.path(name)).with_context(|| name.to_owned())
    }

    pub(crate) fn selkie(&self, arguments: &[&str]) -> Result<Finished> {
        self.run(selkie()?, arguments)
    }

    pub(crate) fn sops(&self, arguments: &[&str]) -> Result<Finished> {
        let sops = originals::sops()?.env("SOPS_DISABLE_VERSION_CHECK", "true");
        self.run(sops, arguments)
    }

    /// Encrypts [`PLAIN`] into a file with ours and these flags.
    pub(crate) fn ours(&self, name: &str, flags: &[&str]) -> Result<()> {
        self.write(name, PLAIN)?;
        succeeded(self.selkie(&[&["encrypt"], flags, &[name]].concat())?)?;
        ensure!(self.read(name)?.contains("ENC["), "{name} is not encrypted");
        Ok(())
    }

    /// The same with the real sops.
    pub(crate) fn theirs(&self, name: &str, flags: &[&str]) -> Result<()> {
        self.write(name, PLAIN)?;
        succeeded(self.sops(&[&["encrypt", "-i"], flags, &[name]].concat())?)?;
        Ok(())
    }

    /// Checks that a file opens in both programs, to the data of [`PLAIN`].
    pub(crate) fn opens_in_both(&self, name: &str) -> Result<()> {
        let ours = succeeded(self.selkie(&["decrypt", name])?)?.text();
        let theirs = succeeded(self.sops(&["decrypt", name])?)?.text();
        for text in [&ours, &theirs] {
            ensure!(text.contains("password: hunter2\nport: 5432\n"), "{text}");
        }
        Ok(())
    }

    /// Opens a file with ours, which must fail with 128, and returns its messages.
    pub(crate) fn refused(&self, name: &str) -> Result<String> {
        let finished = self.selkie(&["decrypt", name])?;
        ensure!(
            finished.code == Some(128) && finished.stdout.is_empty(),
            "decrypt ended with {:?}: {}",
            finished.code,
            finished.stderr
        );
        ensure!(!finished.stderr.contains("hunter2"), "{}", finished.stderr);
        Ok(finished.stderr)
    }

    fn run(&self, mut program: Program, arguments: &[&str]) -> Result<Finished> {
        for (name, value) in &self.variables {
            program = program.env(name, value);
        }
        program.args(arguments).folder(self.folder.path()).run()
    }
}

pub(crate) fn succeeded(finished: Finished) -> Result<Finished> {
    ensure!(
        finished.code == Some(0),
        "ended with {:?}: {}",
        finished.code,
        finished.stderr
    );
    Ok(finished)
}

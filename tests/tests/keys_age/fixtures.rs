//! Keys of keys-example, and a folder in which ours or sops is run with nothing else around.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use compat::program::{Finished, Program};
use compat::{originals, selkie};
use tempfile::TempDir;

/// What is encrypted.
pub(crate) const PLAIN: &str = "apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2\n";
/// The passphrase of everything protected in keys-example.
pub(crate) const PASSPHRASE: &str = "throw-away";

/// Returns the path of a file of keys-example.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.join("../keys-example").join(name)
}

/// Returns its text without blanks around it.
pub(crate) fn text_of(name: &str) -> Result<String> {
    let text = fs::read_to_string(example(name)).with_context(|| name.to_owned())?;
    Ok(text.trim().to_owned())
}

/// A home folder with one file in it.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("selkie-age-")?;
        fs::write(folder.path().join("s.yaml"), PLAIN)?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file that its owner alone can read, with the folders above it.
    pub(crate) fn place(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes a shell script that can be run.
    pub(crate) fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.place(name, &format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn settle(&self, program: Program, variables: &[(&str, &str)]) -> Program {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut program = program
            .folder(self.path())
            .env("HOME", self.path())
            .env("PATH", path);
        for (name, value) in variables {
            program = program.env(name, value);
        }
        program
    }

    pub(crate) fn selkie(&self, variables: &[(&str, &str)]) -> Result<Program> {
        Ok(self.settle(selkie::selkie()?, variables))
    }

    pub(crate) fn sops(&self, variables: &[(&str, &str)]) -> Result<Program> {
        Ok(self.settle(originals::sops()?, variables))
    }

    /// Has ours encrypt the file for a recipient.
    pub(crate) fn encrypt(&self, recipient: &str, variables: &[(&str, &str)]) -> Result<()> {
        fs::write(self.path().join("s.yaml"), PLAIN)?;
        let program = self.selkie(variables)?;
        program
            .args(["encrypt", "--age", recipient, "s.yaml"])
            .ok()?;
        Ok(())
    }

    /// Has sops encrypt the file for a recipient.
    pub(crate) fn encrypt_with_sops(
        &self,
        recipient: &str,
        variables: &[(&str, &str)],
    ) -> Result<()> {
        fs::write(self.path().join("s.yaml"), PLAIN)?;
        let program = self.sops(variables)?;
        let program = program.args(["encrypt", "-i", "--encrypted-regex", "^stringData$"]);
        program.args(["--age", recipient, "s.yaml"]).ok()?;
        Ok(())
    }

    pub(crate) fn decrypt(&self, variables: &[(&str, &str)]) -> Result<Finished> {
        self.selkie(variables)?.args(["decrypt", "s.yaml"]).run()
    }

    /// Checks that ours opens the file.
    pub(crate) fn opens(&self, variables: &[(&str, &str)]) -> Result<()> {
        let finished = self.decrypt(variables)?;
        ensure!(finished.code == Some(0), "selkie: {}", finished.stderr);
        ensure!(
            finished.text().contains("password: hunter2"),
            "{}",
            finished.text()
        );
        Ok(())
    }

    /// Checks that sops opens the file.
    pub(crate) fn opens_in_sops(&self, variables: &[(&str, &str)]) -> Result<()> {
        let finished = self.sops(variables)?.args(["decrypt", "s.yaml"]).run()?;
        ensure!(finished.code == Some(0), "sops: {}", finished.stderr);
        ensure!(finished.text().contains("password: hunter2"));
        Ok(())
    }

    /// Returns the text of the file.
    pub(crate) fn file(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path().join("s.yaml"))?)
    }
}

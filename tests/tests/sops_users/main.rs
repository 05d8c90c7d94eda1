//! Programs and habits that call a binary named `sops`, run with the real sops 3.13.3 and with ours
//! under that name: Ansible's community.sops, git's textconv, helm-secrets and the `.sops.yaml` of
//! sops-nix (issue 4, "Must show" 9). What they do and print must be equal.

mod ansible;
mod git;
mod helm_secrets;
mod nix;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use compat::bed::{Cache, Tool};
use compat::program::{Finished, Program};
use compat::selkie;
use compat::sops_file::IDENTITY;
use tempfile::TempDir;

/// Whose program is called `sops`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// sops 3.13.3.
    Theirs,
    /// selkie.
    Ours,
}

const BOTH: [Whose; 2] = [Whose::Theirs, Whose::Ours];

/// A user's machine: an own home, a project folder and one program called `sops` on PATH.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(whose: Whose) -> Result<Self> {
        // Short: the sockets of gpg-agent and Ansible lie below.
        let folder = TempDir::with_prefix_in("selkie-user-", "/tmp")?;
        let machine = Self { folder };
        for name in ["bin", "home", "project"] {
            fs::create_dir(machine.path(name))?;
        }
        machine.call_it_sops(whose)?;
        fs::write(machine.path("keys.txt"), format!("{IDENTITY}\n"))?;
        Ok(machine)
    }

    /// Gives the name `sops` to the program of the other side from now on.
    fn call_it_sops(&self, whose: Whose) -> Result<()> {
        let program = match whose {
            Whose::Theirs => Cache::open()?.tool(Tool::Sops3133)?,
            Whose::Ours => selkie::binary("selkie-cli", "selkie")?,
        };
        let link = self.path("bin/sops");
        if link.is_symlink() {
            fs::remove_file(&link)?;
        }
        Ok(symlink(program, link)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn project(&self) -> PathBuf {
        self.path("project")
    }

    /// Writes a file of the project, with its folders.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.project().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(path, content)?)
    }

    fn read(&self, name: &str) -> Result<String> {
        Ok(fs::read_to_string(self.project().join(name))?)
    }

    /// Writes a script that can be called, such as an editor.
    fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(path)
    }

    /// Any program, in the project folder, as the user.
    fn program(&self, program: impl AsRef<Path>) -> Program {
        let bin = self.path("bin");
        Program::new(program)
            .folder(self.project())
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("SOPS_AGE_KEY_FILE", self.path("keys.txt"))
            .env("SOPS_DISABLE_VERSION_CHECK", "true")
    }

    fn shell(&self, line: &str) -> Program {
        self.program("/bin/sh").args(["-euc", line])
    }

    /// Runs a line of shell, which must succeed, and returns what it printed.
    fn run(&self, line: &str) -> Result<String> {
        Ok(self.shell(line).ok()?.text())
    }

    fn fails(&self, line: &str) -> Result<Finished> {
        let finished = self.shell(line).run()?;
        ensure!(
            finished.code.is_some_and(|code| code != 0),
            "{line}: ended with {:?}",
            finished.code
        );
        Ok(finished)
    }
}

/// Plays with each of the two programs, fails where what was seen differs, and returns it.
fn same<T: PartialEq + std::fmt::Debug>(play: impl Fn(Whose) -> Result<T>) -> Result<T> {
    let [theirs, ours] = BOTH.map(play);
    let (theirs, ours) = (theirs?, ours?);
    ensure!(
        theirs == ours,
        "with sops:\n{theirs:#?}\nwith ours:\n{ours:#?}"
    );
    Ok(ours)
}

#[test]
fn the_version_is_that_of_sops() -> Result<()> {
    let machine = Machine::new(Whose::Ours)?;
    for line in ["sops --version", "sops --version --disable-version-check"] {
        let printed = machine.run(line)?;
        ensure!(printed.starts_with("sops 3.13.3"), "{line}: {printed}");
    }
    Ok(())
}

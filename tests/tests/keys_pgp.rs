//! OpenPGP through the real gpg, both ways with the real sops 3.13.3 (issue 4, "Must show" 4).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use compat::program::{Finished, Program};
use compat::{originals, selkie};
use tempfile::TempDir;

const PLAIN: &str = "apiVersion: v1\nkind: Secret\nstringData:\n  password: hunter2\n";
/// The keys of pgp.asc and pgp-protected.asc, and the encryption subkey of the first.
const KEY: &str = "001DBC1A02D4086EEE04B51D0F42229F3D70089F";
const PROTECTED: &str = "D27C9BFA5F820C62E462B6874DCB1C6FC34D72B6";
const SUBKEY: &str = "522708DDB626435D29C956E2B2AC665A01796B1C";
const PASSPHRASE: &str = "throw-away";

/// A home folder with a keyring and one file; its gpg-agent ends with it.
struct Home {
    folder: TempDir,
}

impl Home {
    /// Imports keys of keys-example.
    fn new(keys: &[&str]) -> Result<Self> {
        // The socket of the agent lies in it, and the path of a socket has at most 107 bytes.
        let folder = TempDir::with_prefix_in("selkie-pgp-", "/tmp")?;
        let home = Self { folder };
        fs::create_dir(home.keyring())?;
        fs::set_permissions(home.keyring(), fs::Permissions::from_mode(0o700))?;
        for key in keys {
            let key = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../keys-example")
                .join(key);
            home.gpg()?.args(["--batch", "--import"]).arg(key).ok()?;
        }
        home.place_plain()?;
        Ok(home)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn keyring(&self) -> PathBuf {
        self.path().join(".gnupg")
    }

    fn place_plain(&self) -> Result<()> {
        Ok(fs::write(self.path().join("s.yaml"), PLAIN)?)
    }

    fn settle(&self, program: Program) -> Program {
        program
            .folder(self.path())
            .env("HOME", self.path())
            .env("GNUPGHOME", self.keyring())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
    }

    fn gpg(&self) -> Result<Program> {
        Ok(self.settle(Program::new(on_path("gpg")?)))
    }

    fn selkie(&self, arguments: &[&str]) -> Result<Program> {
        Ok(self.settle(selkie::selkie()?).args(arguments))
    }

    fn sops(&self, arguments: &[&str]) -> Result<Program> {
        Ok(self.settle(originals::sops()?).args(arguments))
    }

    fn encrypt(&self, fingerprints: &str) -> Result<String> {
        self.place_plain()?;
        self.selkie(&["encrypt", "-p", fingerprints, "s.yaml"])?
            .ok()?;
        Ok(fs::read_to_string(self.path().join("s.yaml"))?)
    }

    fn opens(&self) -> Result<()> {
        let ours = self.selkie(&["decrypt", "s.yaml"])?.ok()?.text();
        ensure!(ours.contains("password: hunter2"), "{ours}");
        Ok(())
    }

    fn opens_in_sops(&self) -> Result<()> {
        let theirs = self.sops(&["decrypt", "s.yaml"])?.ok()?.text();
        ensure!(theirs.contains("password: hunter2"), "{theirs}");
        Ok(())
    }

    /// Puts a shell script in the place of gpg.
    fn script(&self, text: &str) -> Result<PathBuf> {
        let path = self.path().join("other-gpg");
        fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Decrypts with another program in the place of gpg.
    fn decrypt_with(&self, gpg: impl AsRef<OsStr>) -> Result<Finished> {
        let program = self.selkie(&["decrypt", "s.yaml"])?;
        program.env("SOPS_GPG_EXEC", gpg).run()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Ok(gpgconf) = on_path("gpgconf") {
            let _ = self
                .settle(Program::new(gpgconf))
                .args(["--kill", "all"])
                .run();
        }
    }
}

fn on_path(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed: apt install gnupg"))
}

fn fails_with(finished: &Finished, part: &str) -> Result<()> {
    ensure!(
        finished.code == Some(128),
        "{:?}: {}",
        finished.code,
        finished.stderr
    );
    ensure!(
        finished.stderr.contains(part),
        "{part}: {}",
        finished.stderr
    );
    // Where age identities are is of no use here.
    ensure!(
        !finished.stderr.contains("SOPS_AGE_KEY"),
        "{}",
        finished.stderr
    );
    Ok(())
}

#[test]
fn files_go_both_ways() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    let text = home.encrypt(KEY)?;
    ensure!(text.contains(&format!("fp: {KEY}")), "{text}");
    // Without a line end behind the armor, as sops writes it (sops-format.md 11.5).
    ensure!(text.contains("enc: |-\n"), "{text}");
    home.opens()?;
    home.opens_in_sops()?;
    home.place_plain()?;
    home.sops(&["encrypt", "-i", "--pgp", KEY, "s.yaml"])?
        .ok()?;
    home.opens()
}

#[test]
fn the_variable_and_spaces_in_a_fingerprint() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    let spaced = format!("{} {}", &KEY[..20], &KEY[20..]);
    let program = home.selkie(&["encrypt", "s.yaml"])?;
    program.env("SOPS_PGP_FP", spaced).ok()?;
    home.opens_in_sops()
}

#[test]
fn a_subkey_is_selected_by_an_exclamation_mark() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    let text = home.encrypt(&format!("{SUBKEY}!"))?;
    ensure!(text.contains(&format!("{SUBKEY}!")), "{text}");
    home.opens()?;
    home.opens_in_sops()
}

#[test]
fn any_of_several_keys_opens_the_file() -> Result<()> {
    let both = Home::new(&["pgp.asc", "pgp-protected.asc"])?;
    let text = both.encrypt(&format!("{PROTECTED},{KEY}"))?;
    let one = Home::new(&["pgp.asc"])?;
    fs::write(one.path().join("s.yaml"), text)?;
    one.opens()
}

#[test]
fn a_protected_key_opens_once_the_agent_has_it() -> Result<()> {
    let home = Home::new(&["pgp-protected.asc"])?;
    home.encrypt(PROTECTED)?;
    // Without a terminal the agent has nobody to ask: that is said, and at once.
    let began = Instant::now();
    let program = home.selkie(&["decrypt", "s.yaml"])?;
    let mut command = Program::new(on_path("setsid")?)
        .arg("--wait")
        .into_command();
    let inner = program.into_command();
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(home.path());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.stdin(std::process::Stdio::null()).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(128), "{stderr}");
    ensure!(
        stderr.contains("gpg needs a passphrase and cannot ask for it here"),
        "{stderr}"
    );
    ensure!(began.elapsed() < Duration::from_secs(60));

    let message = home
        .gpg()?
        .args(["--batch", "--trust-model", "always", "-e", "-r", PROTECTED])
        .input("x")
        .ok()?;
    home.gpg()?
        .args([
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            PASSPHRASE,
            "-d",
        ])
        .input(message.stdout)
        .ok()?;
    home.opens()
}

#[test]
fn a_missing_program_or_key_is_named() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    let text = home.encrypt(KEY)?;
    fails_with(&home.decrypt_with("/no/such/gpg")?, "install GnuPG")?;
    let empty = Home::new(&[])?;
    fs::write(empty.path().join("s.yaml"), text)?;
    let finished = empty.selkie(&["decrypt", "s.yaml"])?.run()?;
    fails_with(&finished, "gpg has no private key for it")?;

    empty.place_plain()?;
    let finished = empty.selkie(&["encrypt", "-p", KEY, "s.yaml"])?.run()?;
    ensure!(finished.code.is_some_and(|code| code != 0));
    let part = format!("gpg has no public key {KEY}");
    ensure!(finished.stderr.contains(&part), "{}", finished.stderr);
    ensure!(fs::read_to_string(empty.path().join("s.yaml"))? == PLAIN);
    Ok(())
}

#[test]
fn a_gpg_that_is_killed_or_fails_is_told_apart_and_the_file_stays() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    home.encrypt(KEY)?;
    for (script, part) in [
        ("kill -9 $$", "gpg was ended by signal 9"),
        ("echo 'gpg: no luck today' >&2; exit 2", "no luck today"),
        ("exit 0", "decrypted it to nothing"),
        ("echo 32-bytes-or-not", "bytes"),
    ] {
        fails_with(&home.decrypt_with(home.script(script)?)?, part)?;
    }
    home.place_plain()?;
    let killed = home.script("kill -9 $$")?;
    let program = home.selkie(&["encrypt", "-p", KEY, "s.yaml"])?;
    let finished = program.env("SOPS_GPG_EXEC", killed).run()?;
    ensure!(
        finished.stderr.contains("gpg was ended by signal 9"),
        "{}",
        finished.stderr
    );
    ensure!(fs::read_to_string(home.path().join("s.yaml"))? == PLAIN);
    Ok(())
}

#[test]
fn the_key_goes_through_pipes_only_and_the_arguments_are_those_of_sops() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    let gpg = on_path("gpg")?;
    let script = home.script(&format!(
        "printf '%s\\n' \"$*\" >> '{}'; exec '{}' \"$@\"",
        home.path().join("arguments").display(),
        gpg.display()
    ))?;
    let program = home.selkie(&["encrypt", "-p", KEY, "s.yaml"])?;
    program.env("SOPS_GPG_EXEC", &script).ok()?;
    ensure!(home.decrypt_with(&script)?.code == Some(0));
    let arguments = fs::read_to_string(home.path().join("arguments"))?;
    let expected = format!(
        "--no-default-recipient --yes --encrypt -a -r {KEY} --trusted-key {} --no-encrypt-to\n-d\n",
        &KEY[24..]
    );
    ensure!(arguments == expected, "{arguments}");
    Ok(())
}

#[test]
fn gpg_is_not_run_where_an_age_key_fits() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    home.selkie(&["keygen", "-o", "keys.txt"])?.ok()?;
    let keys = fs::read_to_string(home.path().join("keys.txt"))?;
    let public = keys
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    let public = public.context("no public key")?;
    home.selkie(&["encrypt", "-p", KEY, "--age", public, "s.yaml"])?
        .ok()?;
    let touched = home.path().join("touched");
    let script = home.script(&format!("touch '{}'", touched.display()))?;
    let program = home.selkie(&["decrypt", "s.yaml"])?;
    let program = program.env("SOPS_GPG_EXEC", script);
    program.env("SOPS_AGE_KEY_FILE", "keys.txt").ok()?;
    ensure!(!touched.exists());
    // And the other way round where there is no age key.
    home.opens()?;
    home.opens_in_sops()
}

#[test]
fn a_rule_names_pgp_keys_and_groups() -> Result<()> {
    let home = Home::new(&["pgp.asc"])?;
    home.selkie(&["keygen", "-o", "keys.txt"])?.ok()?;
    let keys = fs::read_to_string(home.path().join("keys.txt"))?;
    let public = keys
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    let public = public.context("no public key")?;
    for (rule, opens) in [
        (format!("pgp: {KEY}"), true),
        (
            format!("key_groups: [{{pgp: [{KEY}]}}, {{age: [{public}]}}]"),
            false,
        ),
    ] {
        home.place_plain()?;
        let config = format!("creation_rules:\n  - {rule}\n");
        fs::write(home.path().join(".sops.yaml"), config)?;
        home.selkie(&["encrypt", "s.yaml"])?.ok()?;
        let alone = home.selkie(&["decrypt", "s.yaml"])?.run()?;
        ensure!((alone.code == Some(0)) == opens, "{}", alone.stderr);
        for program in [
            home.selkie(&["decrypt", "s.yaml"])?,
            home.sops(&["decrypt", "s.yaml"])?,
        ] {
            let both = program.env("SOPS_AGE_KEY_FILE", "keys.txt").ok()?.text();
            ensure!(both.contains("password: hunter2"), "{both}");
        }
    }
    Ok(())
}

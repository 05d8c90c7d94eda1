//! Writing a file: whatever happens, it is the old one or the new one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use compat::selkie::binary;

use crate::bed::{CANARY, IDENTITY, Place, RECIPIENT, SECRET};

/// Renaming needs no permission on the file, so it must be looked at.
#[test]
fn a_file_without_write_permission_stays() {
    let place = Place::with_secret();
    let program = place.path("selkie");
    fs::copy(binary("selkie-cli", "selkie").unwrap(), &program).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(place.path("secret.yaml"), fs::Permissions::from_mode(0o444)).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["encrypt", "--age", RECIPIENT, "secret.yaml"])
        .env_clear()
        .current_dir(place.folder());
    // Root may write everything, so another user has to try.
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let done = command.output().unwrap();
    check_unwritten(&place, &done, "cannot be written: Permission denied");
    // A folder that takes no new file.
    fs::set_permissions(place.path("secret.yaml"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o555)).unwrap();
    let done = command.output().unwrap();
    fs::set_permissions(place.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    check_unwritten(&place, &done, "no file can be made in");
    fs::remove_file(program).unwrap();
    assert_eq!(place.names(), ["secret.yaml"]);
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let program = binary("selkie-cli", "selkie").unwrap();
    let limited = Place::with_secret();
    let done = shell(
        &limited,
        "ulimit -f 1 && exec \"$0\" encrypt --age \"$1\" secret.yaml",
        &program,
    );
    check_unwritten(&limited, &done, "limit on file sizes");
    assert_eq!(limited.names(), ["secret.yaml"]);

    // A disk of 64 KiB in a mount namespace of its own; the file fits, its ciphertext does not.
    let place = Place::new();
    place.write("big.yaml", many_values(700));
    fs::create_dir(place.path("disk")).unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs disk && cp big.yaml disk/ && cd disk && \
        { \"$0\" encrypt --age \"$1\" big.yaml; code=$?; cmp big.yaml ../big.yaml && ls -A; exit $code; }";
    let isolated = |flags: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(flags)
            .args(["/bin/sh", "-c", script])
            .arg(&program)
            .arg(RECIPIENT);
        command.current_dir(place.folder()).output().unwrap()
    };
    let flags: &[&str] = match rustix::process::geteuid().is_root() {
        true => &["--mount"],
        false => &["--mount", "--map-root-user"],
    };
    let done = isolated(flags);
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "big.yaml\n");
}

#[test]
fn standard_output_that_is_full_is_an_error() {
    let place = Place::with_secret();
    let program = binary("selkie-cli", "selkie").unwrap();
    let done = shell(
        &place,
        "exec \"$0\" encrypt --age \"$1\" --stdout secret.yaml > /dev/full",
        &program,
    );
    check_unwritten(&place, &done, "standard output cannot be written");
}

/// Killed at any moment of the write, the file is the old one or the new one.
#[test]
fn a_kill_during_encrypt_leaves_a_whole_file() {
    let place = Place::new();
    let plain = many_values(1_500);
    let encrypt = ["encrypt", "--age", RECIPIENT, "big.yaml"];
    let new = kill_amid_writes(&place, &plain, &encrypt, &|found| {
        found.contains("\nsops:\n") && found.ends_with("version: '3.13.3'\n")
    });
    if let Some(new) = new {
        place.write("big.yaml", new);
        let back = place.run_with_key(&["decrypt", "big.yaml"]);
        assert_eq!(back.text(), plain);
    }
}

#[test]
fn a_kill_during_decrypt_leaves_a_whole_file() {
    let place = Place::new();
    let plain = many_values(1_500);
    place.write("big.yaml", &plain);
    let done = place.run(&["encrypt", "--age", RECIPIENT, "big.yaml"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let encrypted = place.read("big.yaml");
    let decrypt = ["decrypt", "-i", "big.yaml"];
    kill_amid_writes(&place, &encrypted, &decrypt, &|found| found == plain);
}

#[test]
fn a_kill_during_seal_leaves_a_whole_file() {
    let place = Place::new();
    let certificates = Place::new();
    certificates.write_certificates();
    let certificate = certificates.path("cert.pem");
    let certificate = certificate.to_str().unwrap();
    // A long text that stays makes the write long.
    let filler = format!(
        "text: |\n{}",
        format!("  {}\n", "x".repeat(98)).repeat(20_000)
    );
    let secret = SECRET.trim_start_matches("# head\n");
    let plain = format!("{filler}---\n{secret}");
    let seal = ["seal", "--cert", certificate, "big.yaml"];
    kill_amid_writes(&place, &plain, &seal, &|found| {
        found.starts_with(&filler)
            && found.contains("\nkind: SealedSecret\n")
            && found.ends_with("      namespace: prod\n")
            && !found.contains(CANARY)
    });
}

const ROUNDS: u32 = 12;

/// Runs a verb on `big.yaml` again and again, and kills it a little later each time once it writes.
/// Every time the file is the old one or `is_new`; returns a new one.
fn kill_amid_writes(
    place: &Place,
    old: &str,
    arguments: &[&str],
    is_new: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let temporary = || {
        let mut names = place.names().into_iter();
        names.find(|name| name.ends_with(".selkie-tmp"))
    };
    let (mut stayed, mut amid) = (0, 0);
    let mut new = None;
    for round in 0..ROUNDS {
        place.write("big.yaml", old);
        let mut command = place
            .selkie()
            .args(arguments.iter().copied())
            .env("SOPS_AGE_KEY", IDENTITY)
            .into_command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From the moment its temporary file is there, it is writing; then a little later each time.
        while temporary().is_none() && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(100) * (round % 10));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = place.read("big.yaml");
        if found == old {
            stayed += 1;
        } else {
            assert!(is_new(&found));
            new = Some(found);
        }
        if let Some(name) = temporary() {
            amid += 1;
            // Never readable by more people than the file itself.
            assert_eq!(place.mode(&name) & !place.mode("big.yaml"), 0);
            fs::remove_file(place.path(&name)).unwrap();
        }
        assert_eq!(place.names(), ["big.yaml"]);
    }
    assert!(
        amid > 0,
        "no kill of {ROUNDS} came amid a write; {stayed} left the old file"
    );
    new
}

#[test]
fn a_link_stays_a_link_and_other_names_are_told() {
    let place = Place::with_secret();
    symlink("secret.yaml", place.path("link.yaml")).unwrap();
    fs::hard_link(place.path("secret.yaml"), place.path("hard.yaml")).unwrap();
    let done = place.run(&["encrypt", "--age", RECIPIENT, "link.yaml"]);
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains("hard link"), "{}", done.stderr);
    assert!(
        fs::symlink_metadata(place.path("link.yaml"))
            .unwrap()
            .is_symlink()
    );
    assert!(place.read("secret.yaml").contains("\nsops:\n"));
}

fn check_unwritten(place: &Place, done: &Output, message: &str) {
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert_eq!(place.read("secret.yaml"), SECRET);
}

fn shell(place: &Place, script: &str, program: &Path) -> Output {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .arg(program)
        .arg(RECIPIENT)
        .env_clear()
        .current_dir(place.folder());
    command.output().unwrap()
}

fn many_values(count: usize) -> String {
    (0..count)
        .map(|number| format!("key{number}: \"value of number {number}\"\n"))
        .collect()
}

const NOBODY: u32 = 65_534;

/// What the kernel was asked for, in order: the new content is on the disk before it gets the name,
/// and the name is on the disk before the program ends.
#[test]
fn a_write_is_flushed_before_and_after_the_rename() {
    let place = Place::with_encrypted();
    let selkie = binary("selkie-cli", "selkie").unwrap();
    let traced = compat::program::Program::new("/usr/bin/strace")
        .args(["-f", "-y", "-o", "trace"])
        .args([
            "-e",
            "trace=write,fsync,fdatasync,rename,renameat,renameat2",
        ])
        .arg(selkie)
        .args(["set", "secret.yaml", "[\"stringData\"][\"user\"]", "\"x\""])
        .folder(place.folder())
        .env("SOPS_AGE_KEY", IDENTITY)
        .run();
    let Ok(traced) = traced else {
        // Not on every machine; the kills above hold there too.
        assert!(!Path::new("/usr/bin/strace").exists());
        return;
    };
    assert_eq!(traced.code, Some(0), "{}", traced.stderr);
    let trace = place.read("trace");
    let after = |from: usize, parts: &[&str]| {
        let line = trace
            .lines()
            .skip(from)
            .position(|line| parts.iter().all(|part| line.contains(part)));
        match line {
            Some(line) => from + line + 1,
            None => panic!("no {parts:?} after line {from}:\n{trace}"),
        }
    };
    let temporary = ".selkie-tmp>";
    let folder = format!("{}>", place.folder().display());
    let written = after(0, &["write(", temporary]);
    let flushed = after(written, &["sync(", temporary]);
    let renamed = after(flushed, &["rename", "secret.yaml"]);
    after(renamed, &["fsync(", &folder]);
    assert_eq!(
        trace
            .lines()
            .filter(|line| line.contains("write(") && line.contains(temporary))
            .count(),
        1
    );
}

//! A git repository that shows encrypted files in clear, as sops' own documentation sets it up: the
//! attribute `diff=sopsdiffer` and `diff.sopsdiffer.textconv`.

use anyhow::{Result, ensure};
use compat::sops_file::RECIPIENT;

use crate::{Machine, Whose, same};

const FIRST: &str = "user: admin\npassword: first-secret\n# seen by nobody\nport: 5432\n";

/// A repository with one commit of encrypted files and a change of each in the work tree.
fn repository(whose: Whose, textconv: &str) -> Result<Machine> {
    let machine = Machine::new(whose)?;
    machine.write(
        ".gitattributes",
        "*.enc.yaml diff=sopsdiffer\n*.enc.json diff=sopsdiffer\n*.enc.env diff=sopsdiffer\n",
    )?;
    machine.write(
        ".sops.yaml",
        format!("creation_rules:\n  - age: {RECIPIENT}\n"),
    )?;
    machine.write("db.enc.yaml", FIRST)?;
    machine.write("db.enc.json", "{\n\t\"password\": \"first-secret\"\n}\n")?;
    machine.write("db.enc.env", "PASSWORD=first-secret\n")?;
    machine.run(&format!(
        "git init --quiet --initial-branch main
         git config user.name somebody && git config user.email somebody@example.com
         git config diff.sopsdiffer.textconv '{textconv}'
         for file in db.enc.*; do sops encrypt --in-place $file; done
         git add . && git commit --quiet -m first"
    ))?;
    machine.run(
        "for file in db.enc.yaml db.enc.json; do sops set $file '[\"password\"]' '\"second-secret\"'; done
         sops set db.enc.env '[\"PASSWORD\"]' '\"second-secret\"'",
    )?;
    Ok(machine)
}

/// Object names differ with every ciphertext.
fn without_index_lines(diff: &str) -> String {
    let lines = diff.lines().filter(|line| !line.starts_with("index "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_diff_shows_plaintext() -> Result<()> {
    // The second form is that of sops before 3.9, which many repositories still name.
    for textconv in ["sops decrypt", "sops -d"] {
        let diff = same(|whose| {
            let machine = repository(whose, textconv)?;
            Ok(without_index_lines(&machine.run("git diff")?))
        })?;
        for (removed, added) in [
            ("-password: first-secret", "+password: second-secret"),
            ("-PASSWORD=first-secret", "+PASSWORD=second-secret"),
            (
                "-\t\"password\": \"first-secret\"",
                "+\t\"password\": \"second-secret\"",
            ),
        ] {
            ensure!(
                diff.contains(removed) && diff.contains(added),
                "{textconv}: {diff}"
            );
        }
        ensure!(!diff.contains("ENC["), "{textconv}: {diff}");
    }
    Ok(())
}

#[test]
fn history_shows_plaintext_and_no_change_where_only_ciphertext_changed() -> Result<()> {
    let [log, quiet] = same(|whose| {
        let machine = repository(whose, "sops decrypt")?;
        let log = machine.run(
            "git commit --quiet --all -m second && git log --patch --format=%s -- db.enc.yaml",
        )?;
        let quiet = machine.run("sops rotate --in-place db.enc.yaml && git diff db.enc.yaml")?;
        let quiet_lines = quiet.lines().filter(|line| line.starts_with(['+', '-']));
        Ok([without_index_lines(&log), quiet_lines.collect()])
    })?;
    ensure!(
        log.contains("-password: first-secret\n+password: second-secret"),
        "{log}"
    );
    ensure!(quiet.is_empty(), "{quiet}");
    Ok(())
}

/// git shows what a converter wrote as the content: a failing one must not look like an empty file.
#[test]
fn a_file_that_cannot_be_opened_fails_the_diff() -> Result<()> {
    same(|whose| {
        let machine = repository(whose, "sops decrypt")?;
        let finished = machine.fails("unset SOPS_AGE_KEY_FILE; git diff db.enc.yaml")?;
        ensure!(
            finished.stdout.is_empty() && finished.stderr.contains("unable to read files to diff"),
            "{finished:?}"
        );
        Ok(finished.code)
    })?;
    Ok(())
}

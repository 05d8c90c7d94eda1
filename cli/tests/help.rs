//! The whole help is one snapshot, so that no flag changes unseen. `SNAPSHOTS=overwrite` writes it.

use std::process::Command;

#[test]
fn help_of_every_verb_is_the_recorded_one() {
    let mut whole = String::new();
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["encrypt", "--help"],
        &["decrypt", "--help"],
        &["edit", "--help"],
        &["set", "--help"],
        &["unset", "--help"],
        &["rotate", "--help"],
        &["updatekeys", "--help"],
        &["rekey", "--help"],
        &["groups", "--help"],
        &["groups", "add", "--help"],
        &["groups", "delete", "--help"],
        &["exec", "--help"],
        &["status", "--help"],
        &["rules", "--help"],
        &["completion", "--help"],
        &["keygen", "--help"],
        &["keyservice", "--help"],
        &["publish", "--help"],
        &["seal", "--help"],
        &["cert", "--help"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_selkie"))
            .args(arguments)
            .env_clear()
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(output.stderr.is_empty());
        let text = String::from_utf8(output.stdout).unwrap();
        whole.push_str(&format!("$ selkie {}\n{text}\n", arguments.join(" ")));
    }
    snapbox::assert_data_eq!(whole, snapbox::file!["help.txt"].raw());
}

#[test]
fn the_version_is_one_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_selkie"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"selkie 0.1.0\n");
}

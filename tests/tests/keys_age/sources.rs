//! Every place that identities come from (sops-format.md 9.3), and the order in which what costs
//! time or a question is tried.

use std::fs;

use anyhow::{Result, ensure};

use crate::fixtures::{Home, PASSPHRASE, example, text_of};

#[test]
fn several_identities_may_share_a_line_of_the_variable() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("age-pq.pub")?, &[])?;
    let last_line = |name: &str| -> Result<String> {
        let text = text_of(name)?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    };
    let both = format!("{} {}", last_line("age.txt")?, last_line("age-pq.txt")?);
    home.opens(&[("SOPS_AGE_KEY", &both)])?;
    home.opens_in_sops(&[("SOPS_AGE_KEY", &both)])
}

#[test]
fn the_usual_ssh_keys_are_found() -> Result<()> {
    for (public, private) in [
        ("ssh_ed25519.pub", "ssh_ed25519"),
        ("ssh_rsa.pub", "ssh_rsa"),
    ] {
        let home = Home::new()?;
        let name = private.replace("ssh_", ".ssh/id_");
        home.place(&name, &format!("{}\n", text_of(private)?))?;
        home.encrypt(&text_of(public)?, &[])?;
        home.opens(&[])?;
        home.opens_in_sops(&[])?;
    }
    Ok(())
}

#[test]
fn a_protected_identity_file_opens_with_the_passphrase_of_the_command() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("age-protected.pub")?, &[])?;
    let file = example("age-protected.age").display().to_string();
    let asked = home.path().join("asked");
    let command = home.script(
        "ask",
        &format!(
            "echo \"$SELKIE_PASSPHRASE_FOR\" >> '{}'; echo {PASSPHRASE}",
            asked.display()
        ),
    )?;
    let command = command.display().to_string();
    let variables = [
        ("SOPS_AGE_KEY_FILE", file.as_str()),
        ("SELKIE_PASSPHRASE_CMD", &command),
    ];
    home.opens(&variables)?;
    let asked = fs::read_to_string(asked)?;
    ensure!(asked.contains("age-protected.age"), "{asked}");
    ensure!(asked.lines().count() == 1, "{asked}");

    let wrong = [
        ("SOPS_AGE_KEY_FILE", file.as_str()),
        ("SELKIE_PASSPHRASE_CMD", "echo wrong"),
    ];
    let finished = home.decrypt(&wrong)?;
    ensure!(finished.code == Some(128), "{:?}", finished.code);
    ensure!(
        finished.stderr.contains("the passphrase is wrong"),
        "{}",
        finished.stderr
    );
    Ok(())
}

#[test]
fn an_encrypted_ssh_key_opens_with_its_passphrase() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("ssh_protected.pub")?, &[])?;
    let key = example("ssh_protected").display().to_string();
    let command = format!("echo {PASSPHRASE}");
    home.opens(&[
        ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &key),
        ("SELKIE_PASSPHRASE_CMD", &command),
    ])
}

#[test]
fn commands_are_split_without_a_shell_and_told_the_recipient() -> Result<()> {
    let home = Home::new()?;
    let told = home.path().join("told");
    let script = format!(
        "echo \"$SOPS_AGE_RECIPIENT\" >> '{}'; cat \"$1\"",
        told.display()
    );
    let script = home.script("print key", &script)?;
    for (public, private, variable) in [
        ("age-pq.pub", "age-pq.txt", "SOPS_AGE_KEY_CMD"),
        ("ssh_rsa.pub", "ssh_rsa", "SOPS_AGE_SSH_PRIVATE_KEY_CMD"),
    ] {
        let recipient = text_of(public)?;
        home.encrypt(&recipient, &[])?;
        let command = format!("'{}' \"{}\"", script.display(), example(private).display());
        let _ = fs::remove_file(&told);
        home.opens(&[(variable, &command)])?;
        let lines = fs::read_to_string(&told)?;
        ensure!(lines.trim() == recipient, "{lines}");
        home.opens_in_sops(&[(variable, &command)])?;
    }
    Ok(())
}

#[test]
fn no_command_runs_and_nobody_is_asked_where_a_key_at_hand_fits() -> Result<()> {
    let home = Home::new()?;
    let touched = home.path().join("touched");
    let script = home.script("touch-it", &format!("touch '{}'", touched.display()))?;
    let script = script.display().to_string();
    home.place(
        ".config/sops/age/keys.txt",
        &fs::read_to_string(example("age.txt"))?,
    )?;
    home.encrypt(&text_of("age.pub")?, &[])?;
    let locked = example("age-protected.age").display().to_string();
    home.opens(&[
        ("SOPS_AGE_KEY_FILE", &locked),
        ("SOPS_AGE_KEY_CMD", &script),
        ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", &script),
        ("SELKIE_PASSPHRASE_CMD", &script),
    ])?;
    ensure!(!touched.exists());
    Ok(())
}

#[test]
fn what_is_wrong_with_each_place_is_told_when_nothing_fits() -> Result<()> {
    let home = Home::new()?;
    home.encrypt(&text_of("age.pub")?, &[])?;
    home.place(".config/sops/age/keys.txt", &text_of("age-pq.txt")?)?;
    let key = format!("{}\nSECRET-CANARY\n", text_of("age.txt")?);
    let finished = home.decrypt(&[
        ("SOPS_AGE_KEY", &key),
        ("SOPS_AGE_KEY_FILE", "/no/such/file"),
        ("SOPS_AGE_KEY_CMD", "sh -c 'exit 3'"),
        ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", "s.yaml"),
        ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", "no-such-program"),
    ])?;
    ensure!(finished.code == Some(128), "{:?}", finished.code);
    for part in [
        "SOPS_AGE_KEY: line 4 is not an age identity",
        "SOPS_AGE_KEY_FILE (/no/such/file): no such file",
        "keys.txt: 1 identity, which does not fit",
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE (s.yaml): it is not an SSH private key",
        "SOPS_AGE_KEY_CMD: `sh` failed (exit status: 3)",
        "SOPS_AGE_SSH_PRIVATE_KEY_CMD: `no-such-program` cannot be run",
    ] {
        ensure!(
            finished.stderr.contains(part),
            "{part}: {}",
            finished.stderr
        );
    }
    ensure!(!finished.stderr.contains("CANARY"));
    Ok(())
}

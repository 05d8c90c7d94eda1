//! The command lines of helm-secrets: those of jkroepke/helm-secrets 4 (scripts/lib/backends/sops.sh)
//! and of its forerunner zendesk/helm-secrets 2 (secrets.sh).
//!
//! The first passes standard error on as if it were output, so a word there would end up in a values
//! file: every line is run with both in one stream.

use anyhow::{Result, ensure};
use compat::sops_file::RECIPIENT;

use crate::{Machine, Whose, same};

const VALUES: &str = "database:\n    user: admin\n    # rotated weekly\n    password: s3cr3t\n    port: 5432\nhosts:\n    - a.example\n    - b.example\n";
const YAML: &str = "--input-type yaml --output-type yaml";

fn chart(whose: Whose) -> Result<Machine> {
    let machine = Machine::new(whose)?;
    machine.write(
        ".sops.yaml",
        format!("creation_rules:\n  - age: {RECIPIENT}\n"),
    )?;
    machine.write("secrets.yaml", VALUES)?;
    Ok(machine)
}

/// How the plugin tells an encrypted file from a clear one.
const IS_ENCRYPTED: &str = "grep -q 'mac.*,type:str]'";

#[test]
fn encrypt_in_place_to_a_file_and_to_stdout() -> Result<()> {
    same(|whose| {
        let machine = chart(whose)?;
        machine.run(&format!(
            "! {IS_ENCRYPTED} secrets.yaml
             printed=$(sops --encrypt {YAML} secrets.yaml 2>&1)
             printf '%s\\n' \"$printed\" > printed.yaml
             sops --encrypt {YAML} --output written.yaml secrets.yaml > said 2>&1
             test ! -s said
             sops --encrypt {YAML} --in-place secrets.yaml > said 2>&1
             test ! -s said"
        ))?;
        let mut opened = Vec::new();
        for file in ["printed.yaml", "written.yaml", "secrets.yaml"] {
            machine.run(&format!(
                "{IS_ENCRYPTED} {file} && grep -xq 'sops:\\s*' {file}"
            ))?;
            opened.push(machine.run(&format!("sops --decrypt {YAML} {file} 2>&1"))?);
        }
        ensure!(opened.iter().all(|text| text == VALUES), "{opened:?}");
        // What ours wrote opens with the original, and the other way round.
        machine.call_it_sops(if whose == Whose::Ours {
            Whose::Theirs
        } else {
            Whose::Ours
        })?;
        for file in ["printed.yaml", "written.yaml", "secrets.yaml"] {
            opened.push(machine.run(&format!("sops --decrypt {YAML} {file} 2>&1"))?);
        }
        ensure!(opened.iter().all(|text| text == VALUES), "{opened:?}");
        Ok(opened)
    })?;
    Ok(())
}

#[test]
fn decrypt_to_stdout_to_a_file_and_in_place() -> Result<()> {
    let opened = same(|whose| {
        let machine = chart(whose)?;
        machine.run(&format!("sops --encrypt {YAML} --in-place secrets.yaml"))?;
        let stdout = machine.run(&format!("sops --decrypt {YAML} secrets.yaml 2>&1"))?;
        machine.run(&format!(
            "sops --decrypt {YAML} --output secrets.yaml.dec secrets.yaml > said 2>&1
             test ! -s said
             sops --decrypt {YAML} secrets.yaml > redirected.yaml.dec
             sops --decrypt {YAML} --in-place secrets.yaml > said 2>&1
             test ! -s said"
        ))?;
        Ok([
            stdout,
            machine.read("secrets.yaml.dec")?,
            machine.read("redirected.yaml.dec")?,
            machine.read("secrets.yaml")?,
        ])
    })?;
    ensure!(opened.iter().all(|text| text == VALUES), "{opened:?}");
    Ok(())
}

/// `helm secrets upgrade --set-file` and `decrypt` guess the type of a file with grep.
#[test]
fn the_type_is_guessed_from_the_file() -> Result<()> {
    let opened = same(|whose| {
        let machine = chart(whose)?;
        machine.write(
            "tls.key",
            "-----BEGIN KEY-----\nmaterial\n-----END KEY-----\n",
        )?;
        machine.write("values.json", "{\n\t\"password\": \"s3cr3t\"\n}\n")?;
        machine.run(
            "sops --encrypt --input-type binary --output-type binary --in-place tls.key 2>&1
             grep -q '\"data\": \"ENC' tls.key && ! grep -xq 'sops:\\s*' tls.key
             sops --encrypt --input-type json --output-type json --in-place values.json 2>&1
             ! grep -q '\"data\": \"ENC' values.json && ! grep -xq 'sops:\\s*' values.json",
        )?;
        machine.run(&format!(
            "{IS_ENCRYPTED} tls.key && {IS_ENCRYPTED} values.json"
        ))?;
        Ok([
            machine.run("sops --decrypt --input-type binary --output-type binary tls.key 2>&1")?,
            machine.run("sops --decrypt --input-type json --output-type json values.json 2>&1")?,
        ])
    })?;
    ensure!(opened[0].contains("material"), "{opened:?}");
    ensure!(opened[1].contains("s3cr3t"), "{opened:?}");
    Ok(())
}

/// `helm secrets upgrade --set password=ENCRYPTED`: an encrypted document as one argument.
#[test]
fn a_literal_comes_through_stdin() -> Result<()> {
    let opened = same(|whose| {
        let machine = chart(whose)?;
        machine.write("literal.json", "{\n\t\"token\": \"from, a literal\"\n}\n")?;
        machine.run(&format!(
            "literal=$(sops --encrypt --input-type json --output-type json literal.json)
             printf '%s' \"$literal\" | {IS_ENCRYPTED} -
             opened=$(printf '%s' \"$literal\" | sops --decrypt --input-type 'json' --output-type 'json' /dev/stdin 2>&1)
             printf '%s' \"$opened\""
        ))
    })?;
    ensure!(
        opened == "{\n\t\"token\": \"from, a literal\"\n}",
        "{opened:?}"
    );
    Ok(())
}

#[test]
fn edit_opens_the_editor_on_the_clear_text() -> Result<()> {
    let opened = same(|whose| {
        let machine = chart(whose)?;
        let editor = machine.script("editor", "#!/bin/sh\nsed -i s/s3cr3t/changed/ \"$1\"\n")?;
        machine.run(&format!(
            "sops --encrypt {YAML} --in-place secrets.yaml
             export EDITOR={}
             sops {YAML} secrets.yaml 2>&1
             {IS_ENCRYPTED} secrets.yaml",
            editor.display()
        ))?;
        machine.run(&format!("sops --decrypt {YAML} secrets.yaml 2>&1"))
    })?;
    ensure!(opened == VALUES.replace("s3cr3t", "changed"), "{opened}");
    Ok(())
}

/// `HELM_SECRETS_BACKEND_ARGS`: the user's own flags stand before those of the plugin.
#[test]
fn the_users_flags_come_first() -> Result<()> {
    let opened = same(|whose| {
        let machine = chart(whose)?;
        machine.run("mv .sops.yaml elsewhere.yaml")?;
        machine.run(&format!(
            "sops --config elsewhere.yaml --encrypted-regex '^password$' --encrypt {YAML} --in-place secrets.yaml 2>&1
             grep -q 'user: admin' secrets.yaml && ! grep -q s3cr3t secrets.yaml"
        ))?;
        machine.run(&format!(
            "sops --ignore-mac --decrypt {YAML} secrets.yaml 2>&1"
        ))
    })?;
    ensure!(opened == VALUES, "{opened}");
    Ok(())
}

/// The plugin stops and removes its `.dec` file when the exit code says so.
#[test]
fn what_cannot_be_opened_fails_and_leaves_no_file() -> Result<()> {
    let codes = same(|whose| {
        let machine = chart(whose)?;
        machine.run(&format!("sops --encrypt {YAML} --in-place secrets.yaml"))?;
        let no_key = machine.fails(&format!(
            "unset SOPS_AGE_KEY_FILE; sops --decrypt {YAML} --output secrets.yaml.dec secrets.yaml"
        ))?;
        let not_encrypted = machine.fails(&format!(
            "printf 'a: 1\\n' > clear.yaml; sops --decrypt {YAML} --output secrets.yaml.dec clear.yaml"
        ))?;
        let twice = machine.fails(&format!("sops --encrypt {YAML} --in-place secrets.yaml"))?;
        ensure!(
            !machine.project().join("secrets.yaml.dec").exists(),
            "a file is left"
        );
        Ok([no_key.code, not_encrypted.code, twice.code])
    })?;
    ensure!(codes == [Some(128), Some(1), Some(203)], "{codes:?}");
    Ok(())
}

//! A repository as sops-nix describes it: a `.sops.yaml` whose `keys:` list holds anchors, rules that
//! name key groups by alias, and the commands of its guide.

use anyhow::{Context as _, Result, ensure};
use compat::bed::{Cache, Tool};
use compat::program::Program;
use compat::selkie;
use compat::sops_file::RECIPIENT;
use regex::Regex;

use crate::{Machine, Whose, same};

/// The key of keys-example/pgp.asc.
const PGP: &str = "001DBC1A02D4086EEE04B51D0F42229F3D70089F";
const RULES: &str = "\
# This example uses YAML anchors which allows reuse of multiple keys
# without having to repeat yourself.
keys:
  - &admin_alice PGP
  - &admin_bob BOB
  - users:
    - &server_web WEB
creation_rules:
  - path_regex: secrets/[^/]+\\.(yaml|json|env|ini)$
    key_groups:
    - pgp:
      - *admin_alice
      age:
      - *admin_bob
  - path_regex: secrets/web/[^/]+\\.(yaml|json|env|ini)$
    key_groups:
    - age:
      - *admin_bob
      - *server_web
";

fn repository(whose: Whose) -> Result<Machine> {
    let machine = Machine::new(whose)?;
    let home = machine.path("home");
    std::fs::create_dir(home.join(".gnupg"))?;
    machine.run(&format!(
        "chmod 700 $HOME/.gnupg && gpg --quiet --batch --import {}/../keys-example/pgp.asc",
        env!("CARGO_MANIFEST_DIR")
    ))?;
    let keygen = Cache::open()?.tool(Tool::AgeKeygen)?;
    Program::new(&keygen)
        .arg("-o")
        .arg(machine.path("web.txt"))
        .ok()?;
    let web = Program::new(&keygen)
        .arg("-y")
        .arg(machine.path("web.txt"))
        .ok()?
        .text();
    let rules = RULES
        .replace("PGP", PGP)
        .replace("BOB", RECIPIENT)
        .replace("WEB", web.trim());
    machine.write(".sops.yaml", rules)?;
    machine.write("secrets/.keep", "")?;
    machine.write("secrets/web/.keep", "")?;
    let editor = machine.script(
        "editor",
        "#!/bin/sh\nprintf 'example-key: example-value\\nmyservice:\\n    my_subdir:\\n        my_secret: password1\\n' > \"$1\"\n",
    )?;
    machine.write("editor", editor.display().to_string())?;
    Ok(machine)
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // The agent of this home; a failure means that there is none.
        let _ = self.0.run("gpgconf --kill all");
    }
}

/// Ends the gpg-agent of a machine.
struct Ended<'a>(&'a Machine);

#[test]
fn aliases_of_the_keys_list_name_the_recipients() -> Result<()> {
    let opened = same(|whose| {
        let machine = repository(whose)?;
        let _ended = Ended(&machine);
        machine.run(
            "export EDITOR=$(cat editor)
             sops secrets/example.yaml
             sops edit secrets/web/tls.yaml",
        )?;
        let example = machine.read("secrets/example.yaml")?;
        ensure!(
            example.contains(PGP) && example.contains(RECIPIENT),
            "{example}"
        );
        let tls = machine.read("secrets/web/tls.yaml")?;
        ensure!(
            !tls.contains(PGP) && tls.matches("recipient:").count() == 2,
            "{tls}"
        );
        ensure!(!format!("{example}{tls}").contains("password1"), "in clear");

        // Each reader of its own, with the original: that is what sops-nix links.
        machine.call_it_sops(Whose::Theirs)?;
        let web = machine.path("web.txt").display().to_string();
        Ok([
            machine.run("unset SOPS_AGE_KEY_FILE; sops -d secrets/example.yaml")?,
            machine.run("GNUPGHOME=/nowhere sops -d secrets/example.yaml")?,
            machine.run("sops -d secrets/web/tls.yaml")?,
            machine.run(&format!(
                "SOPS_AGE_KEY_FILE={web} sops -d secrets/web/tls.yaml"
            ))?,
        ])
    })?;
    for text in &opened {
        ensure!(text.contains("my_secret: password1"), "{opened:?}");
    }
    Ok(())
}

/// "If you add a new host, run updatekeys for all secrets that are used by the new host."
#[test]
fn a_new_host_is_added_with_updatekeys() -> Result<()> {
    let told = same(|whose| {
        let machine = repository(whose)?;
        let _ended = Ended(&machine);
        machine.run("EDITOR=$(cat editor) sops secrets/example.yaml")?;
        let rules = machine.read(".sops.yaml")?;
        let rules = rules.replacen(
            "      - *admin_bob\n",
            "      - *admin_bob\n      - *server_web\n",
            1,
        );
        machine.write(".sops.yaml", rules)?;
        let web = machine.path("web.txt").display().to_string();
        machine.fails(&format!(
            "export GNUPGHOME=/nowhere SOPS_AGE_KEY_FILE={web}; sops -d secrets/example.yaml"
        ))?;
        machine.run("sops updatekeys --yes secrets/example.yaml")?;
        let opened = machine.run(&format!(
            "export GNUPGHOME=/nowhere SOPS_AGE_KEY_FILE={web}
             sops -d --extract '[\"myservice\"][\"my_subdir\"][\"my_secret\"]' secrets/example.yaml"
        ))?;
        let again = machine.run("sops updatekeys --yes secrets/example.yaml")?;
        Ok((opened, again))
    })?;
    ensure!(told.0 == "password1", "{told:?}");
    Ok(())
}

/// Under our own name too, without a word about the list.
#[test]
fn selkie_takes_the_keys_list() -> Result<()> {
    let machine = repository(Whose::Theirs)?;
    let _ended = Ended(&machine);
    let selkie = selkie::binary("selkie-cli", "selkie")?;
    machine.write("secrets/web/tls.yaml", "my_secret: password1\n")?;
    let encrypted = machine
        .program(&selkie)
        .args(["encrypt", "secrets/web/tls.yaml"])
        .ok()?;
    let warnings = Regex::new("(?i)warning|keys:").context("a pattern")?;
    ensure!(
        !warnings.is_match(&encrypted.stderr),
        "{}",
        encrypted.stderr
    );
    ensure!(
        machine
            .read("secrets/web/tls.yaml")?
            .matches("recipient:")
            .count()
            == 2,
        "two readers"
    );
    Ok(())
}

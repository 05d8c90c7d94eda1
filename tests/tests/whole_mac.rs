//! The whole-file MAC (docs/format.md) beside the real sops: it passes over the field in every
//! format and drops it when it writes; weak points 1 to 5 of its own MAC are open without the field
//! and closed with it; a demand for it stands outside of the repository.

use std::fs;

use anyhow::{Context, Result, ensure};
use compat::program::{Finished, Program};
use compat::repository::Repository;
use compat::sops_file::{By, RECIPIENT};
use tempfile::TempDir;

const FIELD: &str = "selkie_mac";
const MISMATCH: &str = "whole-file MAC mismatch";

const YAML: &str = "\
# top
name: text
count: 5
list:
  # first
  - one
  - two: 2
nested:
  key: value
empty: {}
image_unencrypted: nginx # which
";
const JSON: &str = "{\n  \"name\": \"text\",\n  \"count\": 5,\n  \"list\": [\"one\", {\"two\": 2}],\n  \
                    \"image_unencrypted\": \"nginx\"\n}\n";
const DOTENV: &str = "# top\nname=text\nimage_unencrypted=nginx\n";
const INI: &str = "[nested]\n; why\nname = text\nimage_unencrypted = nginx\n";

/// Name, clear text, and the path of a value.
const FILES: [(&str, &[u8], &str); 5] = [
    ("file.yaml", YAML.as_bytes(), "[\"name\"]"),
    ("file.json", JSON.as_bytes(), "[\"name\"]"),
    ("file.env", DOTENV.as_bytes(), "[\"name\"]"),
    ("file.ini", INI.as_bytes(), "[\"nested\"][\"name\"]"),
    ("file.bin", b"any\nbytes\xff", "[\"data\"]"),
];

/// Encrypts a file in place, with the field or without.
fn encrypted(here: &Repository, name: &str, plain: &[u8], whole_mac: bool) -> Result<String> {
    here.write(name, plain)?;
    let flags: &[&str] = if whole_mac { &["--whole-mac"] } else { &[] };
    here.selkie(["encrypt", name])?.args(flags).ok()?;
    let text = here.read(name)?;
    ensure!(text.contains(FIELD) == whole_mac, "{name}: {text}");
    Ok(text)
}

/// Changes a file; every change must be there to be made.
fn tamper(here: &Repository, name: &str, changes: &[(&str, &str)]) -> Result<()> {
    let mut text = here.read(name)?;
    for (from, to) in changes {
        ensure!(text.contains(from), "{name} has no {from:?}:\n{text}");
        text = text.replacen(from, to, 1);
    }
    here.write(name, text)
}

fn demanding(program: Program) -> Program {
    program.env("SELKIE_REQUIRE_WHOLE_MAC", "1")
}

/// Refused for the MAC, with a message, and nothing printed.
fn ensure_refused(finished: &Finished, message: &str) -> Result<()> {
    ensure!(finished.code == Some(51), "{finished:?}");
    ensure!(finished.stdout.is_empty(), "{finished:?}");
    ensure!(finished.stderr.contains(message), "{}", finished.stderr);
    Ok(())
}

#[test]
fn sops_passes_over_the_field_in_every_format() -> Result<()> {
    let here = Repository::ruled("")?;
    for (name, plain, path) in FILES {
        encrypted(&here, name, plain, true)?;
        for by in By::SOPS {
            let opened = here.sops(by, ["decrypt", name])?.ok()?;
            let ours = here.under_its_name(["decrypt", name])?.ok()?;
            // The others are printed anew by sops.
            if name == "file.env" || name == "file.bin" {
                ensure!(opened.stdout == ours.stdout, "{by:?} {name}: {opened:?}");
            }
            let value = here.sops(by, ["decrypt", "--extract", path, name])?.ok()?;
            let ours = demanding(here.selkie(["decrypt", "--extract", path, name])?).ok()?;
            ensure!(value.stdout == ours.stdout, "{by:?} {name}");
        }
        let status = here.sops(By::Sops3133, ["filestatus", name])?.ok()?;
        ensure!(status.text().contains("true"), "{name}: {status:?}");
        let status = here.selkie(["status", "--json", name])?.ok()?;
        ensure!(
            status.json()?["has_whole_mac"] == true,
            "{name}: {status:?}"
        );
        let opened = demanding(here.selkie(["decrypt", name])?).ok()?;
        ensure!(opened.stdout == plain, "{name}: {opened:?}");
    }
    Ok(())
}

#[test]
fn sops_drops_the_field_when_it_writes_and_ours_keeps_it() -> Result<()> {
    for (name, plain, path) in FILES {
        for change in ["set", "rotate", "edit"] {
            let binary = name == "file.bin";
            if binary && change != "rotate" {
                continue;
            }
            for original in [true, false] {
                let here = Repository::ruled("")?;
                encrypted(&here, name, plain, true)?;
                here.write("editor", "#!/bin/sh\nexec sed -i s/text/other/ \"$1\"\n")?;
                let arguments = match change {
                    "set" => vec!["set", name, path, "\"other\""],
                    "rotate" => vec!["rotate", "-i", name],
                    _ => vec!["edit", name],
                };
                let program = match original {
                    true => here.sops(By::Sops3133, [])?,
                    false => here.under_its_name([])?,
                };
                let path_variable = std::env::var_os("PATH").unwrap_or_default();
                let what = format!("{name} {change} original: {original}");
                program
                    .env("PATH", path_variable)
                    .env(
                        "SOPS_EDITOR",
                        format!("sh {}/editor", here.path().display()),
                    )
                    .args(&arguments)
                    .ok()
                    .context(what.clone())?;
                let text = here.read(name)?;
                ensure!(text.contains(FIELD) != original, "{what}: {text}");
                here.selkie(["decrypt", name])?.ok().context(what.clone())?;
                let demanded = demanding(here.selkie(["decrypt", name])?).run()?;
                match original {
                    true => ensure_refused(&demanded, "sops wrote the file, which drops it")?,
                    false => ensure!(demanded.code == Some(0), "{what}: {demanded:?}"),
                }
            }
        }
    }
    Ok(())
}

/// Plays an attack on a file: the original opens what it makes of it, with the field and without, and
/// so do we without; with it we refuse, before anything is printed or written.
fn attack(name: &str, plain: &str, rule: &str, part: &str, changes: &[(&str, &str)]) -> Result<()> {
    let here = Repository::ruled(rule)?;
    for whole_mac in [false, true] {
        encrypted(&here, name, plain.as_bytes(), whole_mac)?;
        tamper(&here, name, changes)?;
        here.sops(By::Sops3133, ["decrypt", name])?.ok()?;
        let opened = here.selkie(["decrypt", name])?.run()?;
        if !whole_mac {
            ensure!(opened.code == Some(0), "{changes:?}: {opened:?}");
            continue;
        }
        ensure_refused(&opened, MISMATCH)?;
        ensure!(opened.stderr.contains(part), "{part}: {}", opened.stderr);
        for value in ["text", "s3cret", "nginx", "evil"] {
            ensure!(!opened.stderr.contains(value), "{}", opened.stderr);
        }
        let before = here.read(name)?;
        let paths = [
            here.selkie(["decrypt", "-i", name])?.run()?,
            here.under_its_name(["decrypt", name])?.run()?,
            here.under_its_name(["rotate", "-i", name])?.run()?,
            here.under_its_name(["set", name, "[\"new\"]", "\"x\""])?
                .run()?,
            here.under_its_name(["exec-env", name, "echo ran"])?.run()?,
        ];
        for refused in &paths {
            ensure_refused(refused, MISMATCH)?;
        }
        ensure!(here.read(name)? == before, "the file was written");
    }
    Ok(())
}

#[test]
fn weak_point_1_keys_structure_and_nulls_are_covered() -> Result<()> {
    let keys = "keys or structure";
    let plain = "pass: s3cret\nuser_unencrypted: text\nvolume_unencrypted: none\n";
    let swapped = [
        ("user_unencrypted: text", "path_unencrypted: text"),
        ("volume_unencrypted: none", "user_unencrypted: none"),
    ];
    attack("a.yaml", plain, "", keys, &swapped)?;
    // The border between two values, and what has no bytes.
    let border = [("text", "te"), ("none", "xtnone")];
    attack("a.yaml", plain, "", "values", &border)?;
    attack(
        "a.yaml",
        plain,
        "",
        keys,
        &[("user_un", "debug_unencrypted: null\nuser_un")],
    )?;
    attack(
        "a.yaml",
        plain,
        "",
        keys,
        &[("user_un", "allow_unencrypted: {}\nuser_un")],
    )?;
    attack(
        "a.yaml",
        plain,
        "",
        keys,
        &[("volume_unencrypted: none", "v_unencrypted: [none]")],
    )?;
    let json = "{\n  \"pass\": \"s3cret\",\n  \"user_unencrypted\": \"text\"\n}\n";
    attack("a.json", json, "", keys, &[("\"user_un", "\"root_un")])?;
    let env = "pass=s3cret\nuser_unencrypted=text\n";
    attack("a.env", env, "", keys, &[("user_un", "root_un")])?;
    let ini = "[a]\npass = s3cret\nuser_unencrypted = text\n";
    attack("a.ini", ini, "", keys, &[("user_un", "root_un")])
}

#[test]
fn weak_point_2_metadata_is_covered() -> Result<()> {
    let plain = "pass: s3cret\nuser_unencrypted: text\n";
    let recipient = format!("          recipient: {RECIPIENT}\n");
    let doubled = format!("{recipient}        - enc: x\n          recipient: age1evil\n");
    for (from, to) in [
        (recipient.as_str(), doubled.as_str()),
        (
            "    unencrypted_suffix: _unencrypted\n",
            "    encrypted_regex: ^pass$\n",
        ),
        ("version: '3.13.3'", "version: '3.9.0'"),
        ("    version:", "    shamir_threshold: 1\n    version:"),
    ] {
        attack("a.yaml", plain, "", "sops metadata", &[(from, to)])?;
    }
    let json = "{\n  \"pass\": \"s3cret\"\n}\n";
    attack(
        "a.json",
        json,
        "",
        "sops metadata",
        &[("\"3.13.3\"", "\"3.9.0\"")],
    )?;
    let env = "pass=s3cret\n";
    attack(
        "a.env",
        env,
        "",
        "sops metadata",
        &[("sops_version=3.13.3", "sops_version=3.9.0")],
    )?;
    let ini = "[a]\npass = s3cret\n";
    attack("a.ini", ini, "", "sops metadata", &[("3.13.3", "3.9.0")])?;
    attack(
        "a.bin",
        "s3cret",
        "",
        "sops metadata",
        &[("\"3.13.3\"", "\"3.9.0\"")],
    )
}

#[test]
fn weak_point_3_types_are_covered() -> Result<()> {
    let values = "values or their types";
    let plain = "pin: 1234\nport_unencrypted: 80\n";
    attack("a.yaml", plain, "", values, &[("type:int", "type:str")])?;
    attack("a.yaml", plain, "", values, &[("type:int", "type:float")])?;
    attack(
        "a.yaml",
        plain,
        "",
        values,
        &[("port_unencrypted: 80", "port_unencrypted: \"80\"")],
    )?;
    let json = "{\n  \"pin\": 1234\n}\n";
    attack("a.json", json, "", values, &[("type:int", "type:str")])
}

#[test]
fn weak_point_4_ambiguous_paths_are_covered() -> Result<()> {
    // `a:b` and `a` with `b` beneath it have the same additional data.
    let plain = "\"a:b\": s3cret\nz_unencrypted: text\n";
    let key = [("\"a:b\": ENC", "a:\n    b: ENC")];
    attack("a.yaml", plain, "", "keys or structure", &key)?;
    // Neither has the position in a list, or the document.
    let plain = "l:\n  - s3cret\n  - - x\nz_unencrypted: text\n";
    attack(
        "a.yaml",
        plain,
        "",
        "keys or structure",
        &[("  - - ENC", "  - ENC")],
    )?;
    let plain = "a: s3cret\n---\nb: text\n";
    attack(
        "a.yaml",
        plain,
        "",
        "keys or structure",
        &[("---\nb:", "---\n{}\n---\nb:")],
    )
}

#[test]
fn weak_point_5_the_clear_part_is_covered_though_the_mac_of_sops_leaves_it_out() -> Result<()> {
    let rule = "    encrypted_regex: ^data$\n    mac_only_encrypted: true\n";
    let plain = "spec:\n  image: nginx\n  # keep\n  args: [run]\ndata: s3cret\n";
    let values = "values or their types";
    attack(
        "a.yaml",
        plain,
        rule,
        values,
        &[("image: nginx", "image: evil")],
    )?;
    attack(
        "a.yaml",
        plain,
        rule,
        "keys or structure",
        &[("args: [run]", "args: [run, evil]")],
    )?;
    attack("a.yaml", plain, rule, "comments", &[("# keep", "# evil")])
}

#[test]
fn a_demand_stands_outside_of_the_repository() -> Result<()> {
    // Whatever the repository says.
    let here = Repository::ruled("selkie:\n  whole_mac: false\n")?;
    let bare = encrypted(&here, "bare.yaml", YAML.as_bytes(), false)?;
    let whole = encrypted(&here, "whole.yaml", YAML.as_bytes(), true)?;
    let home = TempDir::new()?;
    let user = home.path().join("selkie");
    fs::create_dir(&user)?;
    here.write("config.yaml", "require_whole_mac: false\n")?;
    let config = |text: &str| fs::write(user.join("config.yaml"), text);
    let asked = |arguments: &[&str], named: bool| -> Result<Finished> {
        let program = match named {
            true => here.under_its_name([])?,
            false => here.selkie([])?,
        };
        let program = program.env("XDG_CONFIG_HOME", home.path());
        program.args(arguments).run()
    };
    config("require_whole_mac: true\n")?;
    let demanded = "has no whole-file MAC";
    for arguments in [
        &["decrypt", "bare.yaml"][..],
        &["decrypt", "--ignore-mac", "bare.yaml"],
    ] {
        for named in [false, true] {
            ensure_refused(&asked(arguments, named)?, demanded)?;
        }
    }
    for arguments in [
        &["rotate", "-i", "bare.yaml"][..],
        &["set", "bare.yaml", "[\"name\"]", "1"],
        &["updatekeys", "-y", "bare.yaml"],
        &["exec-env", "bare.yaml", "echo ran"],
        &["exec-file", "bare.yaml", "echo ran"],
    ] {
        let done = asked(arguments, true)?;
        // Nothing is opened where the keys are those of the rule already.
        let idle = done.stdout.is_empty() || arguments[0] == "updatekeys";
        ensure!(
            idle && !done.text().contains("ran"),
            "{arguments:?} {done:?}"
        );
        ensure!(
            arguments[0] == "updatekeys" || done.code == Some(51),
            "{done:?}"
        );
    }
    for arguments in [
        &["decrypt", "--check", "."][..],
        &["edit", "bare.yaml"],
        &["set", "bare.yaml", "[\"name\"]", "1"],
        &["unset", "bare.yaml", "[\"name\"]"],
        &["rotate", "bare.yaml"],
        &["rekey", "--older-than", "1d", "bare.yaml"],
        &["groups", "add", "bare.yaml", "--age", RECIPIENT],
        &["exec", "bare.yaml", "--", "echo", "ran"],
        &["exec", "--file", "bare.yaml", "--", "echo", "ran", "{}"],
    ] {
        let done = asked(arguments, false)?;
        let idle = arguments[0] == "rekey" && done.code == Some(0);
        ensure!(done.code == Some(51) || idle, "{arguments:?} {done:?}");
        ensure!(!done.text().contains("ran"), "{arguments:?} {done:?}");
    }
    ensure!(here.read("bare.yaml")? == bare, "the file was written");
    ensure!(asked(&["decrypt", "whole.yaml"], false)?.code == Some(0));
    ensure_refused(
        &asked(&["encrypt", "--whole-mac", "bare.yaml"], false)?,
        demanded,
    )?;
    // Taken out of the file by an attacker.
    let line = whole
        .lines()
        .find(|line| line.contains(FIELD))
        .context("no field")?;
    here.write("whole.yaml", whole.replace(&format!("{line}\n"), ""))?;
    ensure_refused(&asked(&["decrypt", "whole.yaml"], false)?, demanded)?;
    // A configuration that is not understood is no permission.
    config("require_whole_mac: maybe\n")?;
    let unclear = asked(&["decrypt", "bare.yaml"], false)?;
    ensure!(
        unclear.code == Some(1) && unclear.stdout.is_empty(),
        "{unclear:?}"
    );
    config("")?;
    ensure!(asked(&["decrypt", "bare.yaml"], false)?.code == Some(0));
    // The user decides to trust a file as it is.
    ensure!(asked(&["encrypt", "--whole-mac", "bare.yaml"], false)?.code == Some(0));
    let opened = demanding(here.selkie(["decrypt", "bare.yaml"])?).ok()?;
    ensure!(opened.stdout == YAML.as_bytes(), "{opened:?}");
    Ok(())
}

#[test]
fn a_rule_asks_for_it_and_never_under_the_name_of_sops() -> Result<()> {
    let here = Repository::ruled("selkie:\n  whole_mac: [^prod/]\n")?;
    fs::create_dir(here.path().join("prod"))?;
    for (name, expected) in [("prod/a.yaml", true), ("a.yaml", false)] {
        here.write(name, YAML)?;
        here.selkie(["encrypt", name])?.ok()?;
        ensure!(here.read(name)?.contains(FIELD) == expected, "{name}");
        // sops itself passes over our section.
        for program in [
            here.under_its_name(["encrypt", "-i", name])?,
            here.sops(By::Sops3133, ["encrypt", "-i", name])?,
        ] {
            here.write(name, YAML)?;
            program.ok()?;
            ensure!(!here.read(name)?.contains(FIELD), "{name}");
        }
    }
    Ok(())
}

//! Ansible's collection community.sops 2.2.7: the lookup, the filter, the vars plugin and both modules,
//! played by ansible-playbook of ansible-core 2.19.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use compat::bed::Cache;
use compat::program::{Finished, Program};
use compat::sops_file::RECIPIENT;
use serde_json::{Value, json};

use crate::{Machine, Whose, same};

const APP: &str = "name: app\npassword: s3cr3t\nreplicas: 3\nratio: 1.5\nenabled: true\nnested:\n    token: deep\nlist:\n    - one\n    - 2\nlines: |\n    first\n    second\nlast: true\n";

fn installed() -> Result<PathBuf> {
    let folder = Cache::open()?.root().join("ansible");
    let program = folder.join("bin/ansible-playbook");
    ensure!(
        program.is_file(),
        "{}: not there; run `make testbed`",
        program.display()
    );
    Ok(folder)
}

fn ansible(machine: &Machine, playbook: &str) -> Result<Program> {
    let folder = installed()?;
    Ok(machine
        .program(folder.join("bin/ansible-playbook"))
        .env("ANSIBLE_COLLECTIONS_PATH", folder.join("collections"))
        .env("ANSIBLE_NOCOLOR", "true")
        .args(["--inventory", "inventory.ini", playbook]))
}

/// A project with encrypted files, all made by the program under test.
fn project(whose: Whose) -> Result<Machine> {
    let machine = Machine::new(whose)?;
    machine.write(
        ".sops.yaml",
        format!("creation_rules:\n  - age: {RECIPIENT}\n"),
    )?;
    machine.write(
        "ansible.cfg",
        "[defaults]\nvars_plugins_enabled = host_group_vars,community.sops.sops\nlocalhost_warning = false\n",
    )?;
    machine.write("inventory.ini", "[web]\nlocalhost ansible_connection=local ansible_python_interpreter={{ansible_playbook_python}}\n")?;
    machine.write("app.enc.yaml", APP)?;
    machine.write("app.enc.json", "{\n\t\"password\": \"s3cr3t\"\n}\n")?;
    machine.write("app.enc.env", "PASSWORD=s3cr3t\n")?;
    machine.write("key.bin", [0_u8, 159, 146, 150, 10, 10])?;
    machine.write(
        "vars/loaded.yaml",
        "password: from-vars\ngreeting: hello {{ 1 + 1 }}\n",
    )?;
    machine.write("group_vars/all.sops.yml", "everywhere: from-all\n")?;
    machine.write("group_vars/web.sops.yaml", "password: from-group\n")?;
    machine.write(
        "host_vars/localhost.sops.json",
        "{\n\t\"mine\": \"from-host\"\n}\n",
    )?;
    machine.run(
        "for file in app.enc.* key.bin vars/* group_vars/* host_vars/*; do sops encrypt --in-place $file; done
         ! grep -rlE 's3cr3t|from-' app.enc.* vars group_vars host_vars",
    )?;
    Ok(machine)
}

/// Everything that reads, with the values that a playbook sees written to a file.
const READING: &str = "\
- hosts: web
  gather_facts: false
  tasks:
    - community.sops.load_vars: {file: loaded.yaml, name: loaded}
    - community.sops.load_vars: {file: loaded.yaml, name: evaluated, expressions: evaluate-on-load}
    - ansible.builtin.copy:
        dest: seen.json
        content: '{{ seen | to_json }}'
      vars:
        encrypted: \"{{ lookup('ansible.builtin.file', 'app.enc.yaml', rstrip=false) }}\"
        seen:
          text: \"{{ lookup('community.sops.sops', 'app.enc.yaml', rstrip=false) }}\"
          parsed: \"{{ lookup('community.sops.sops', 'app.enc.yaml') | from_yaml }}\"
          as_json: \"{{ lookup('community.sops.sops', 'app.enc.yaml', output_type='json') | from_json }}\"
          from_json: \"{{ lookup('community.sops.sops', 'app.enc.json', rstrip=false) }}\"
          from_dotenv: \"{{ lookup('community.sops.sops', 'app.enc.env', input_type='dotenv', output_type='dotenv') }}\"
          extracted: \"{{ lookup('community.sops.sops', 'app.enc.yaml', extract='[\\\"nested\\\"][\\\"token\\\"]') }}\"
          several: \"{{ query('community.sops.sops', 'app.enc.yaml', 'app.enc.json', extract='[\\\"password\\\"]') }}\"
          binary: \"{{ lookup('community.sops.sops', 'key.bin', base64=true, rstrip=false) }}\"
          absent: \"{{ lookup('community.sops.sops', 'nowhere.yaml', empty_on_not_exist=true) }}\"
          filtered: \"{{ encrypted | community.sops.decrypt | from_yaml }}\"
          converted: \"{{ encrypted | community.sops.decrypt(output_type='json') | from_json }}\"
          everywhere: '{{ everywhere }}'
          group: '{{ password }}'
          host: '{{ mine }}'
          loaded: '{{ loaded }}'
          evaluated: '{{ evaluated }}'
";

#[test]
fn a_playbook_reads_through_every_plugin() -> Result<()> {
    let seen = same(|whose| {
        let machine = project(whose)?;
        machine.write("read.yml", READING)?;
        let played = ansible(&machine, "read.yml")?.run()?;
        succeeded(&played)?;
        Ok(serde_json::from_str::<Value>(&machine.read("seen.json")?)?)
    })?;
    let parsed = json!({
        "name": "app", "password": "s3cr3t", "replicas": 3, "ratio": 1.5, "enabled": true,
        "nested": {"token": "deep"}, "list": ["one", 2], "lines": "first\nsecond\n", "last": true,
    });
    for name in ["parsed", "as_json", "filtered", "converted"] {
        ensure!(seen[name] == parsed, "{name}: {}", seen[name]);
    }
    for (name, expected) in [
        ("from_json", "{\n\t\"password\": \"s3cr3t\"\n}\n"),
        ("from_dotenv", "PASSWORD=s3cr3t"),
        ("extracted", "deep"),
        ("binary", "AJ+SlgoK"),
        ("absent", ""),
        ("everywhere", "from-all"),
        ("group", "from-group"),
        ("host", "from-host"),
    ] {
        ensure!(seen[name] == expected, "{name}: {}", seen[name]);
    }
    ensure!(seen["several"] == json!(["s3cr3t", "s3cr3t"]), "{seen}");
    ensure!(seen["loaded"]["greeting"] == "hello {{ 1 + 1 }}", "{seen}");
    ensure!(seen["evaluated"]["greeting"] == "hello 2", "{seen}");
    Ok(())
}

/// The module that writes, each kind of content; `RECIPIENT` and `OTHER` are replaced.
const WRITING: &str = "\
- hosts: web
  gather_facts: false
  tasks:
    - community.sops.sops_encrypt: {path: made/text.sops, content_text: 'some text'}
      register: text
    - community.sops.sops_encrypt: {path: made/binary.sops, content_binary: 'AJ+SlgoK'}
      register: binary
    - community.sops.sops_encrypt: {path: made/data.sops.json, content_json: {a: 1, b: [x, null, 2.5]}}
      register: json
    - community.sops.sops_encrypt:
        path: made/data.sops.yaml
        content_yaml: {password: s3cr3t, plain_open: seen, deep: {list: [1, two]}}
        unencrypted_suffix: _open
        age: [RECIPIENT]
      register: yaml
    - ansible.builtin.copy:
        dest: changed.json
        content: '{{ [text.changed, binary.changed, json.changed, yaml.changed] | to_json }}'
";

#[test]
fn a_playbook_writes_files_and_sees_that_nothing_changed() -> Result<()> {
    same(|whose| {
        let machine = project(whose)?;
        machine.write("made/.keep", "")?;
        machine.write("write.yml", WRITING.replace("RECIPIENT", RECIPIENT))?;
        for changed in ["[true, true, true, true]", "[false, false, false, false]"] {
            succeeded(&ansible(&machine, "write.yml")?.run()?)?;
            let told = machine.read("changed.json")?;
            ensure!(told == changed, "changed: {told}, expected {changed}");
        }
        machine.write(
            "write.yml",
            WRITING
                .replace("RECIPIENT", RECIPIENT)
                .replace("two", "three"),
        )?;
        succeeded(&ansible(&machine, "write.yml")?.run()?)?;
        let told = machine.read("changed.json")?;
        ensure!(told == "[false, false, false, true]", "{told}");

        let yaml = machine.read("made/data.sops.yaml")?;
        ensure!(
            yaml.contains("plain_open: seen") && !yaml.contains("s3cr3t"),
            "{yaml}"
        );
        machine.call_it_sops(if whose == Whose::Ours {
            Whose::Theirs
        } else {
            Whose::Ours
        })?;
        [
            "text.sops",
            "binary.sops",
            "data.sops.json",
            "data.sops.yaml",
        ]
        .map(|name| {
            let line = format!("sops decrypt made/{name} | base64");
            machine.run(&line)
        })
        .into_iter()
        .collect::<Result<Vec<_>>>()
    })?;
    Ok(())
}

/// The collection names the exit codes of sops in its messages; people match on them.
#[test]
fn a_failure_has_the_name_that_the_collection_gives_it() -> Result<()> {
    const PLAYBOOK: &str = "\
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: \"{{ lookup('community.sops.sops', 'FILE') }}\"}
";
    same(|whose| {
        let machine = project(whose)?;
        machine.run(
            "rm -r group_vars host_vars
             sed s/first/first/ app.enc.yaml > no-key.enc.yaml
             sops decrypt app.enc.yaml > clear.yaml
             sops encrypt --unencrypted-regex '^name$' clear.yaml | sed 's/^name: app/name: other/' > broken.enc.yaml",
        )?;
        let mut codes = Vec::new();
        for (file, environment, name) in [
            ("broken.enc.yaml", None, "MacMismatch exited with code 51"),
            (
                "app.enc.yaml",
                Some(("SOPS_AGE_KEY_FILE", "/dev/null")),
                "CouldNotRetrieveKey exited with code 128",
            ),
            ("clear.yaml", None, "ErrorGeneric exited with code 1"),
        ] {
            machine.write("fail.yml", PLAYBOOK.replace("FILE", file))?;
            let mut play = ansible(&machine, "fail.yml")?;
            if let Some((variable, value)) = environment {
                play = play.env(variable, value);
            }
            let played = play.run()?;
            let told = format!("{}{}", played.text(), played.stderr);
            ensure!(told.contains(name), "{file}, expected {name}: {told}");
            ensure!(!told.contains("s3cr3t"), "{told}");
            codes.push(played.code);
        }
        Ok(codes)
    })?;
    Ok(())
}

/// `handle_unencrypted_files=skip` asks `sops filestatus`.
#[test]
fn a_vars_file_in_clear_is_told_apart_by_its_status() -> Result<()> {
    same(|whose| {
        let machine = project(whose)?;
        machine.write("group_vars/web.sops.yaml", "password: in clear\n")?;
        machine.write("read.yml", "- hosts: web\n  gather_facts: false\n  tasks:\n    - ansible.builtin.debug: {msg: \"{{ everywhere }} {{ password | default('none') }}\"}\n")?;
        let refused = ansible(&machine, "read.yml")?.run()?;
        let told = format!("{}{}", refused.text(), refused.stderr);
        ensure!(
            refused.code != Some(0) && told.contains("is not encrypted"),
            "{told}"
        );
        let skipped = ansible(&machine, "read.yml")?
            .env("ANSIBLE_VARS_SOPS_PLUGIN_HANDLE_UNENCRYPTED_FILES", "skip")
            .run()?;
        succeeded(&skipped)?;
        ensure!(
            skipped.text().contains("from-all none"),
            "{}",
            skipped.text()
        );
        Ok(refused.code)
    })?;
    Ok(())
}

fn succeeded(played: &Finished) -> Result<()> {
    (played.code == Some(0)).then_some(()).with_context(|| {
        format!(
            "ansible-playbook: {:?}\n{}{}",
            played.code,
            played.text(),
            played.stderr
        )
    })
}

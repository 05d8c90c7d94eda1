use std::fs;

use anyhow::{Context, Result, ensure};
use compat::sops_file::{IDENTITY, RECIPIENT};

use crate::bed::{Bed, On, PLAIN, Who, succeeded, words};

const EVERYBODY: [Who; 3] = [Who::Selkie, Who::OursAsSops, Who::Sops];

#[test]
fn every_client_asks_every_server() -> Result<()> {
    for server in EVERYBODY {
        for on in [On::Unix, On::Tcp] {
            let bed = Bed::new()?;
            let running = bed.start(server, on)?;
            for client in EVERYBODY {
                bed.goes_through(client, &running.address, &["--age", RECIPIENT])
                    .with_context(|| format!("{client:?} asks {server:?} on {on:?}"))?;
            }
        }
    }
    Ok(())
}

/// This process first, then each service in turn, those that are not there among them.
#[test]
fn services_are_asked_in_turn() -> Result<()> {
    let bed = Bed::new()?;
    let running = bed.start(Who::Sops, On::Unix)?;
    let nobody = format!("unix://{}", bed.path("nobody.sock").display());
    for client in EVERYBODY {
        // A recipient is enough to encrypt; no service is asked.
        let flags = ["--keyservice", &nobody, "--age", RECIPIENT];
        succeeded(bed.encrypt(client, "file.yaml", &flags)?)?;
        let services = ["--keyservice", &nobody, "--keyservice", &running.address];
        let opened = succeeded(bed.decrypt(client, "file.yaml", &services)?)?;
        ensure!(opened.text().contains("hunter2"));
        // The same by the variable.
        let both = format!("{nobody},{}", running.address);
        let by_variable = bed
            .asking(client)?
            .env("SOPS_KEYSERVICE", &both)
            .args(["decrypt", "file.yaml"])
            .ok()?;
        ensure!(by_variable.stdout == opened.stdout);
    }
    Ok(())
}

/// One group is for a key of the client, one for a key of the service: only together they open it.
#[test]
fn groups_of_several_services() -> Result<()> {
    let bed = Bed::new()?;
    let recipient = bed.identity("own.txt")?;
    let rules = format!(
        "creation_rules:\n- shamir_threshold: 2\n  key_groups:\n  - age: [{recipient}]\n  - age: [{RECIPIENT}]\n"
    );
    fs::write(bed.path("client/.sops.yaml"), rules)?;
    let running = bed.start(Who::Selkie, On::Unix)?;
    for client in EVERYBODY {
        succeeded(bed.encrypt(client, "file.yaml", &[])?)?;
        let open = |service: &str, keys: &str| {
            let program = bed.asking(client)?.env("SOPS_AGE_KEY_FILE", keys);
            let program = program.env("SOPS_KEYSERVICE", service);
            program.args(["decrypt", "file.yaml"]).run()
        };
        let opened = succeeded(open(&running.address, "own.txt")?)?;
        ensure!(opened.text().contains("hunter2"), "{client:?}");
        for (service, keys) in [("", "own.txt"), (&*running.address, "none.txt")] {
            let shut = open(service, keys)?;
            ensure!(shut.code == Some(128), "{client:?}: {shut:?}");
        }
    }
    Ok(())
}

/// Edits, rotation and new keys go through the service as well.
#[test]
fn other_verbs_ask_it_too() -> Result<()> {
    let bed = Bed::new()?;
    let running = bed.start(Who::Sops, On::Unix)?;
    let run = |who: Who, arguments: &[&str]| {
        let program = bed.asking(who)?.env("SOPS_KEYSERVICE", &running.address);
        succeeded(program.args(arguments).run()?)
    };
    succeeded(bed.encrypt(Who::Sops, "file.yaml", &["--age", RECIPIENT])?)?;
    let before = fs::read_to_string(bed.path("client/file.yaml"))?;
    run(
        Who::Selkie,
        &["set", "file.yaml", "[\"added\"]", "\"first\""],
    )?;
    run(
        Who::OursAsSops,
        &["set", "file.yaml", "[\"added\"]", "\"second\""],
    )?;
    run(Who::Selkie, &["rotate", "file.yaml"])?;
    run(Who::OursAsSops, &["rotate", "-i", "file.yaml"])?;
    let after = fs::read_to_string(bed.path("client/file.yaml"))?;
    ensure!(after != before && !after.contains("second"), "{after}");
    let opened = run(Who::Sops, &["decrypt", "file.yaml"])?.text();
    ensure!(opened.contains("hunter2") && opened.contains("added: second"));
    let listed = run(
        Who::OursAsSops,
        &["exec-env", "file.yaml", "echo $password"],
    )?;
    ensure!(listed.text() == "hunter2\n", "{listed:?}");
    Ok(())
}

#[test]
fn failures_name_the_service_and_the_cause() -> Result<()> {
    let bed = Bed::new()?;
    let running = bed.start(Who::Selkie, On::Unix)?;
    // The server has another identity.
    let other = bed.identity("other.txt")?;
    succeeded(bed.encrypt(Who::Selkie, "file.yaml", &["--age", &other])?)?;
    for client in [Who::Selkie, Who::OursAsSops] {
        let service = ["--keyservice", &running.address];
        let shut = bed.decrypt(client, "file.yaml", &service)?;
        ensure!(shut.code == Some(128), "{shut:?}");
        let told = words(&shut.stderr);
        ensure!(told.contains("it answered: no identity fits"), "{told}");
        let nobody = ["--keyservice", "tcp://127.0.0.1:1"];
        let shut = bed.decrypt(client, "file.yaml", &nobody)?;
        ensure!(shut.code == Some(128), "{shut:?}");
        let told = words(&shut.stderr);
        ensure!(
            told.contains("key service tcp://127.0.0.1:1: it cannot be reached"),
            "{told}"
        );
        let alone = bed.encrypt(
            client,
            "new.yaml",
            &[
                "--enable-local-keyservice=false",
                "--keyservice",
                "tcp://127.0.0.1:1",
                "--age",
                RECIPIENT,
            ],
        )?;
        ensure!(alone.code == Some(1), "{alone:?}");
        ensure!(fs::read_to_string(bed.path("client/new.yaml"))? == PLAIN);
    }
    let wrong = bed.decrypt(Who::Selkie, "file.yaml", &["--keyservice", "http://h:1"])?;
    ensure!(
        wrong.code == Some(1)
            && wrong
                .stderr
                .contains("write unix:///PATH or tcp://HOST:PORT")
    );
    // sops warns and goes on.
    let wrong = bed
        .asking(Who::OursAsSops)?
        .env("SOPS_AGE_KEY_FILE", "other.txt")
        .args(["decrypt", "--keyservice", "http://h:1", "file.yaml"])
        .ok()?;
    ensure!(
        wrong
            .stderr
            .contains("Error parsing URI for keyservice, skipping")
    );
    let none = bed.decrypt(
        Who::Selkie,
        "file.yaml",
        &["--enable-local-keyservice=false"],
    )?;
    ensure!(none.code == Some(128), "{none:?}");
    ensure!(!none.stderr.contains(IDENTITY));
    Ok(())
}

//! Real plugins: age-plugin-pq of age itself, and one of the bed on the framework of age.

use anyhow::{Context as _, Result, ensure};
use compat::bed::Cache;
use compat::program::Program;

use crate::fixtures::{Home, example, text_of};

/// Returns the PATH with the programs of the bed in front.
fn path() -> Result<String> {
    let bed = Cache::open()?.root().join("bin");
    let rest = std::env::var("PATH").unwrap_or_default();
    Ok(format!("{}:{rest}", bed.display()))
}

fn program(name: &str) -> Result<Program> {
    let path = Cache::open()?.root().join("bin").join(name);
    ensure!(path.is_file(), "{name} is not there; run `make testbed`");
    Ok(Program::new(path))
}

/// Makes a key pair of the plugin of the bed.
fn keygen(arguments: &[&str]) -> Result<(String, String)> {
    let made = program("age-plugin-bed")?
        .arg("keygen")
        .args(arguments)
        .ok()?;
    let text = made.text();
    let (recipient, identity) = text.trim().split_once('\n').context("two lines")?;
    Ok((recipient.to_owned(), identity.to_owned()))
}

#[test]
fn a_plugin_wraps_and_unwraps_both_ways() -> Result<()> {
    let home = Home::new()?;
    let path = path()?;
    let with_plugin = [("PATH", path.as_str())];
    let (recipient, identity) = keygen(&[])?;
    let variables = [("PATH", path.as_str()), ("SOPS_AGE_KEY", &identity)];
    home.encrypt(&recipient, &with_plugin)?;
    home.opens(&variables)?;
    home.opens_in_sops(&variables)?;
    home.encrypt_with_sops(&recipient, &with_plugin)?;
    home.opens(&variables)
}

#[test]
fn the_plugin_of_age_opens_post_quantum_files() -> Result<()> {
    let home = Home::new()?;
    let path = path()?;
    let converted = program("age-plugin-pq")?
        .arg("-identity")
        .arg(example("age-pq.txt"))
        .ok()?
        .text();
    ensure!(
        converted.contains("AGE-PLUGIN-PQ-1"),
        "not a plugin identity"
    );
    home.encrypt(&text_of("age-pq.pub")?, &[])?;
    home.opens(&[("PATH", &path), ("SOPS_AGE_KEY", &converted)])
}

#[test]
fn a_plugin_asks_its_questions() -> Result<()> {
    let home = Home::new()?;
    let path = path()?;
    let (recipient, identity) = keygen(&["ask"])?;
    home.encrypt(&recipient, &[("PATH", &path)])?;
    let with = |command: &'static str| {
        [
            ("PATH", path.as_str()),
            ("SOPS_AGE_KEY", identity.as_str()),
            ("SELKIE_PASSPHRASE_CMD", command),
        ]
    };
    home.opens(&with("echo 1234"))?;
    let finished = home.decrypt(&with("echo 9"))?;
    ensure!(finished.code == Some(128), "{:?}", finished.code);
    ensure!(finished.stderr.contains("wrong PIN"), "{}", finished.stderr);
    // Its message in one line.
    ensure!(
        finished.stderr.contains("the bed wants its PIN"),
        "{}",
        finished.stderr
    );
    Ok(())
}

#[test]
fn a_plugin_that_is_not_there_or_dies_is_named() -> Result<()> {
    let home = Home::new()?;
    let path = path()?;
    let (recipient, identity) = keygen(&[])?;
    home.encrypt(&recipient, &[("PATH", &path)])?;
    let encrypted = home.file()?;
    let finished = home.decrypt(&[("SOPS_AGE_KEY", &identity)])?;
    ensure!(finished.code == Some(128), "{:?}", finished.code);
    let part = "age-plugin-bed is not on the PATH";
    ensure!(finished.stderr.contains(part), "{}", finished.stderr);

    home.script("bin/age-plugin-bed", "exit 1")?;
    let dying = format!("{}:/usr/bin:/bin", home.path().join("bin").display());
    let finished = home.decrypt(&[("PATH", &dying), ("SOPS_AGE_KEY", &identity)])?;
    ensure!(finished.code == Some(128), "{:?}", finished.code);
    ensure!(
        finished.stderr.contains("age-plugin-bed"),
        "{}",
        finished.stderr
    );
    ensure!(home.file()? == encrypted);
    // And for wrapping: no panic, and the file stays as it was.
    home.place("plain.yaml", crate::fixtures::PLAIN)?;
    let finished = home
        .selkie(&[("PATH", &dying)])?
        .args(["encrypt", "--age", &recipient, "plain.yaml"])
        .run()?;
    ensure!(finished.code.is_some_and(|code| code != 0 && code != 101));
    ensure!(
        finished.stderr.contains("age-plugin-bed"),
        "{}",
        finished.stderr
    );
    let after = std::fs::read_to_string(home.path().join("plain.yaml"))?;
    ensure!(after == crate::fixtures::PLAIN);
    Ok(())
}

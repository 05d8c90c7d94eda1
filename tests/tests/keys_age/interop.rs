//! Files for every type of key go both ways between ours and the real sops, and single age files
//! between ours and the real age.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use compat::bed::{Cache, Tool};
use compat::originals;
use compat::program::Program;
use selkie_keys::age::{AgeIdentities, AgeRecipient, IdentitySource, SourceForm};
use selkie_secret::SecretBytes;
use selkie_sops::{DataKeySource as _, KeySpec, MasterKey as _};

use crate::fixtures::{Home, example, text_of};

/// A public key, its private key and how sops is given it.
const KEYS: [(&str, &str, &str); 4] = [
    ("age.pub", "age.txt", "SOPS_AGE_KEY_FILE"),
    ("age-pq.pub", "age-pq.txt", "SOPS_AGE_KEY_FILE"),
    (
        "ssh_ed25519.pub",
        "ssh_ed25519",
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
    ),
    ("ssh_rsa.pub", "ssh_rsa", "SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
];

#[test]
fn files_for_every_type_of_key_go_both_ways() -> Result<()> {
    let home = Home::new()?;
    for (public, private, variable) in KEYS {
        let recipient = text_of(public)?;
        let private = example(private).display().to_string();
        let variables = [(variable, private.as_str())];
        home.encrypt(&recipient, &[])?;
        // The comment of an SSH key stays.
        ensure!(home.file()?.contains(&recipient), "{public}");
        home.opens(&variables).context(public)?;
        home.opens_in_sops(&variables).context(public)?;
        home.encrypt_with_sops(&recipient, &[])?;
        ensure!(home.file()?.contains(&recipient), "{public}");
        home.opens(&variables).context(public)?;
    }
    Ok(())
}

#[test]
fn single_age_files_go_both_ways() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("wrapped.age");
    for (public, private, _) in KEYS {
        let recipient = text_of(public)?;
        // Ours to age.
        let ours: AgeRecipient = recipient.parse()?;
        let wrapped = ours.wrap(&[7; 32])?;
        fs::write(&file, wrapped.field("enc").context("no enc")?)?;
        let opened = originals::age()?
            .arg("-d")
            .arg("-i")
            .arg(example(private))
            .arg(&file)
            .ok()?;
        ensure!(opened.stdout == [7; 32], "{public}");
        // age to ours.
        let age = originals::age()?.args(["-a", "-r", &recipient]);
        let theirs = age.input([8; 33]).ok()?.text();
        let form = match private.starts_with("ssh") {
            true => SourceForm::SshKey,
            false => SourceForm::Identities,
        };
        let pool = AgeIdentities::from_sources(vec![IdentitySource {
            name: private.to_owned(),
            content: Ok(SecretBytes::new(fs::read(example(private))?)),
            form,
        }]);
        let spec = KeySpec::Age { recipient };
        let entry = spec.entry(&theirs, jiff::Timestamp::UNIX_EPOCH);
        ensure!(pool.unwrap_key(&entry)?.as_slice() == [8; 33], "{public}");
    }
    Ok(())
}

#[test]
fn a_generated_post_quantum_key_is_one_of_age() -> Result<()> {
    let home = Home::new()?;
    let path = home.path().join("keys.txt");
    let made = home
        .selkie(&[])?
        .args(["keygen", "--pq", "-o", "keys.txt"])
        .ok()?;
    let public = made.stderr.trim().strip_prefix("Public key: ");
    let public = public.context("no public key shown")?;
    let keygen = Cache::open()?.tool(Tool::AgeKeygen)?;
    let theirs = Program::new(keygen).arg("-y").arg(&path).ok()?;
    ensure!(theirs.text().trim() == public);
    home.encrypt_with_sops(public, &[])?;
    home.opens(&[("SOPS_AGE_KEY_FILE", &path.display().to_string())])
}

//! The public test vectors of the age format (c2sp.org/CCTV/age), all of them through the code that
//! opens entries and protected identity files.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use compat::bed::Cache;
use flate2::read::ZlibDecoder;
use selkie_keys::age::{AgeIdentity, OpenError, decrypt_with_passphrase, open, payload};
use selkie_keys::prompt::{NoPrompt, Prompt};
use selkie_secret::SecretString;
use sha2::{Digest as _, Sha256};

/// How many files the pinned module has.
const FILES: usize = 147;

#[derive(Default)]
struct Vector {
    expect: String,
    payload: Option<String>,
    identities: Vec<String>,
    passphrases: Vec<String>,
    file: Vec<u8>,
}

impl Vector {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (header, rest) = bytes.split_at(end.context("no empty line")?);
        let mut vector = Self {
            file: rest[2..].to_vec(),
            ..Self::default()
        };
        for line in std::str::from_utf8(header)?.lines() {
            let (key, value) = line.split_once(": ").context("no colon")?;
            let value = value.to_owned();
            match key {
                "expect" => vector.expect = value,
                "payload" => vector.payload = Some(value),
                "identity" => vector.identities.push(value),
                "passphrase" => vector.passphrases.push(value),
                "compressed" => {
                    let mut file = Vec::new();
                    ZlibDecoder::new(&rest[2..]).read_to_end(&mut file)?;
                    vector.file = file;
                }
                "armored" | "file key" | "comment" => {}
                other => bail!("unknown key {other}"),
            }
        }
        Ok(vector)
    }

    /// Opens the file as an entry, or with a passphrase as an identity file.
    fn open(&self) -> Result<(Vec<u8>, Result<(), OpenError>)> {
        if let Some(passphrase) = self.passphrases.first() {
            let passphrase = SecretString::new(passphrase.clone());
            return Ok(match decrypt_with_passphrase(&self.file, &passphrase) {
                Ok(plain) => (plain.expose().to_vec(), Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            });
        }
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        let identities = self
            .identities
            .iter()
            .map(|text| AgeIdentity::parse(text, &prompt));
        let identities: Vec<AgeIdentity> = identities.collect::<Result<_, _>>()?;
        let identities: Vec<&dyn age::Identity> = identities.iter().map(|one| one as _).collect();
        let mut plain = Vec::new();
        let opened = match open(&self.file, &identities) {
            Err(error) => Err(error),
            Ok(mut reader) => match reader.read_to_end(&mut plain) {
                Ok(_) => Ok(()),
                Err(error) => Err(payload(&error)),
            },
        };
        Ok((plain, opened))
    }

    fn begins_as_armor(&self) -> bool {
        let start = self.file.trim_ascii_start();
        start.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    }

    fn check(&self) -> Result<()> {
        let (plain, opened) = self.open()?;
        let as_expected = match (self.expect.as_str(), &opened) {
            ("success", Ok(())) => true,
            ("no match", Err(OpenError::NoMatch | OpenError::Passphrase)) => true,
            ("HMAC failure", Err(OpenError::HeaderMac)) => true,
            (
                "header failure",
                Err(OpenError::Header | OpenError::Version | OpenError::Work(_)),
            ) => true,
            ("payload failure", Err(OpenError::Payload)) => true,
            ("armor failure", Err(OpenError::Armor(_))) => true,
            // Without the line that begins an armor it is taken for a file without one.
            ("armor failure", Err(OpenError::Header)) => !self.begins_as_armor(),
            _ => false,
        };
        ensure!(as_expected, "expected {}, got {opened:?}", self.expect);
        // With a passphrase nothing is given out before all of it is opened.
        let released = opened.is_ok() || self.passphrases.is_empty();
        if let Some(hash) = self.payload.as_ref().filter(|_| released) {
            let found: String = Sha256::digest(&plain)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            ensure!(*hash == found, "the payload differs");
        }
        Ok(())
    }
}

#[test]
fn every_public_vector_ends_as_it_says() -> Result<()> {
    let folder = Cache::open()?.original_crds("age-vectors")?;
    let mut failures = Vec::new();
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        total += 1;
        let checked = Vector::parse(&fs::read(&path)?).and_then(|vector| vector.check());
        if let Err(error) = checked {
            failures.push(format!("{name}: {error:#}"));
        }
    }
    println!(
        "verified: age vectors: {} of {total} pass",
        total - failures.len()
    );
    failures.sort();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(total, FILES);
    Ok(())
}

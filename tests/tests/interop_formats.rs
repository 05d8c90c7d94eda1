//! Generated files of the five formats, under every selection rule, with and without comments, key groups and
//! `mac_only_encrypted`, between our library and the real sops 3.13.3 (issue 4, "Must show" 1).
//!
//! `SELKIE_FULL=1` runs 2,500 documents, otherwise a sample of 100. A case that fails is made smaller before it is shown.

#[path = "formats/compare.rs"]
mod compare;
#[path = "formats/document.rs"]
mod document;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use compare::{canonical, with_comments_at_the_margin};
use compat::counts::{everything, left_out, report};
use compat::originals;
use compat::program::{Finished, Program};
use compat::sops_file::{IDENTITY, RECIPIENT, failures};
use document::Document;
use selkie_keys::age::{AgeIdentities, AgeRecipient, IdentitySource, SourceForm};
use selkie_secret::SecretBytes;
use selkie_sops::{
    Config, DecryptOptions, EncryptError, EncryptPlan, Encryption, Format, KeySpec, MasterKey,
};
use tempfile::TempDir;

/// Throw-away keys of the second and third group; the third identity is nobody's.
const SECOND: &str = "AGE-SECRET-KEY-1AP2LH6EURJNJPJ0NJTEK540GJ5KWRYQYXG4UAYXHYMQNFN8J9HZSHPXXGK";
const RECIPIENTS: [&str; 3] = [
    RECIPIENT,
    "age10ae48p3k923kj2s0anydasfa68yv5j7jhxxkyjhql6xgpfm7zvqsvmj0rd",
    "age1ywxlsta5530n655tcg0helrqrdjejhxfjgvuz4awfg6zet28r3vscf7wf7",
];

/// Cases that the original does not open itself, of a hundred.
const BROKEN_ORIGINALS_PERCENT: usize = 10;

/// Runs of a check while a failing case is made smaller.
const SHRINKING: usize = 60;

#[test]
fn files_of_every_format_open_in_both() {
    let count = if everything() { 2_500 } else { 100 };
    let documents: Vec<Document> = (0..count).map(Document::new).collect();
    let skipped = AtomicUsize::new(0);
    let failed = failures(
        &documents,
        |document| format!("seed {} ({})", document.seed, document.format),
        |document| match check(document) {
            Ok(compared) => {
                skipped.fetch_add(usize::from(!compared), Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(smallest(document, error)),
        },
    );
    report("formats, both ways", documents.len(), &failed);
    left_out(
        "formats",
        "sops does not open its own",
        skipped.into_inner(),
        documents.len(),
        BROKEN_ORIGINALS_PERCENT,
    );
}

/// Makes a failing case smaller while it still fails.
fn smallest(document: &Document, error: anyhow::Error) -> anyhow::Error {
    let (mut document, mut error) = (document.clone(), error);
    let mut runs = 0;
    'smaller: loop {
        for candidate in document.smaller() {
            runs += 1;
            if runs > SHRINKING {
                break 'smaller;
            }
            if let Err(still) = check(&candidate) {
                (document, error) = (candidate, still);
                continue 'smaller;
            }
        }
        break;
    }
    let source = String::from_utf8_lossy(&document.source()).into_owned();
    let config = document.config(RECIPIENTS);
    anyhow!("{error:#}\n{config}{source}")
}

/// A folder with the file of a case.
struct Case<'d> {
    document: &'d Document,
    folder: TempDir,
    name: String,
}

impl Case<'_> {
    fn sops(&self, verb: &str, bytes: &[u8]) -> Result<Finished> {
        self.run(originals::sops()?, verb, bytes)
    }

    fn run(&self, sops: Program, verb: &str, bytes: &[u8]) -> Result<Finished> {
        fs::write(self.folder.path().join(&self.name), bytes)?;
        sops.args([verb, &self.name])
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY", format!("{IDENTITY}\n{SECOND}"))
            .run()
    }

    fn encrypt(&self, source: &[u8]) -> Result<Option<String>> {
        let config = Config::parse(&self.document.config(RECIPIENTS))?;
        let rule = config.rule_for(&self.name).context("no rule")?;
        let groups = rule.groups(&Default::default());
        let recipients: Vec<Vec<AgeRecipient>> = groups
            .iter()
            .map(|group| {
                let keys = group.iter().map(KeySpec::identity);
                keys.map(|key| Ok(key.parse()?)).collect()
            })
            .collect::<Result<_>>()?;
        let as_key = |key| key as &dyn MasterKey;
        let groups = recipients.iter();
        let plan = EncryptPlan {
            groups: groups
                .map(|group| group.iter().map(|key: &AgeRecipient| as_key(key)).collect())
                .collect(),
            threshold: rule.threshold,
            selection: rule.selection.clone().unwrap_or_default(),
            mac_only_encrypted: rule.mac_only_encrypted,
            // Each format with it and without: sops must read both.
            whole_mac: (self.document.seed / 5).is_multiple_of(2),
            now: jiff::Timestamp::now(),
        };
        let done = match self.document.format {
            Format::Binary => selkie_sops::encrypt_binary(source, &plan),
            format => selkie_sops::encrypt(std::str::from_utf8(source)?, format, &plan),
        };
        match done {
            Ok(Encryption::Encrypted(done)) => Ok(Some(done.text)),
            Ok(_) => bail!("the source is encrypted already"),
            Err(EncryptError::NothingSelected { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn decrypt(&self, text: &str) -> Result<Vec<u8>> {
        let source = |name: &str, key: &str| IdentitySource {
            name: name.to_owned(),
            content: Ok(SecretBytes::new(key.as_bytes().to_vec())),
            form: SourceForm::Identities,
        };
        let keys =
            AgeIdentities::from_sources(vec![source("first", IDENTITY), source("second", SECOND)]);
        let options = DecryptOptions::default();
        Ok(match self.document.format {
            Format::Binary => selkie_sops::decrypt_binary(text, &keys, &options)?
                .expose()
                .to_vec(),
            format => selkie_sops::decrypt(text, format, &keys, &options)?
                .text
                .into_bytes()
                .expose()
                .to_vec(),
        })
    }
}

/// Says false when sops does not open what it wrote itself.
fn check(document: &Document) -> Result<bool> {
    let folder = TempDir::with_prefix("selkie-format-")?;
    fs::write(
        folder.path().join(".sops.yaml"),
        document.config(RECIPIENTS),
    )?;
    let case = Case {
        document,
        folder,
        name: document.name(),
    };
    let source = document.source();
    let ours = case.encrypt(&source).context("ours encrypts")?;
    if let Some(ours) = &ours {
        let opened = case.decrypt(ours).context("ours opens ours")?;
        ensure!(opened == source, "ours does not come back as it was");
    }
    let theirs = case.sops("encrypt", &source)?;
    ensure!(theirs.code == Some(0), "sops encrypts: {}", theirs.stderr);
    let expected = case.sops("decrypt", &theirs.stdout)?;
    // sops leaves some ciphertext where comments decide.
    if expected.code != Some(0) || expected.text().contains("ENC[AES256_GCM,") {
        if let Some(ours) = &ours {
            let opened = case.sops("decrypt", ours.as_bytes())?;
            ensure!(
                opened.code == Some(0),
                "sops opens ours, but not its own: {}",
                opened.stderr
            );
        }
        return Ok(false);
    }
    if let Some(ours) = &ours {
        let opened = case.sops("decrypt", ours.as_bytes())?;
        ensure!(
            opened.code == Some(0),
            "sops decrypts ours: {}",
            opened.stderr
        );
        let (expected, opened) = (expected.text(), opened.text());
        ensure!(
            with_comments_at_the_margin(&opened) == with_comments_at_the_margin(&expected),
            "sops prints ours otherwise:\n{opened}\nexpected:\n{expected}"
        );
        let (our_types, their_types) = (types(ours), types(&theirs.text()));
        ensure!(
            our_types == their_types,
            "types of leaves: {our_types:?}, of sops: {their_types:?}"
        );
        if document.seed.is_multiple_of(4) && !our_types.is_empty() {
            tampering_shows(&case, ours)?;
        }
    }
    let opened = case.decrypt(&theirs.text()).context("ours opens theirs")?;
    let (opened, expected) = (
        canonical(document.format, &opened)?,
        canonical(document.format, &expected.stdout)?,
    );
    ensure!(
        opened == expected,
        "ours reads theirs otherwise:\n{}\nexpected:\n{}",
        String::from_utf8_lossy(&opened),
        String::from_utf8_lossy(&expected)
    );
    if document.seed.is_multiple_of(3) {
        older_writes(&case, &source, ours.as_deref(), &theirs.stdout)?;
    }
    Ok(true)
}

/// sops 3.11.0 opens ours where it opens what 3.13.3 wrote (in JSON it takes every number for a float, so the MAC over
/// clear integers above 2^53 differs), and ours opens what it wrote.
fn older_writes(case: &Case<'_>, source: &[u8], ours: Option<&str>, newer: &[u8]) -> Result<()> {
    let old = |verb: &str, bytes: &[u8]| case.run(originals::sops_3_11()?, verb, bytes);
    let theirs = old("encrypt", source)?;
    let expected = old("decrypt", &theirs.stdout)?;
    let opens = expected.code == Some(0) && !expected.text().contains("ENC[AES256_GCM,");
    if theirs.code != Some(0) || !opens {
        return Ok(());
    }
    if let Some(ours) = ours {
        let opened = old("decrypt", ours.as_bytes())?;
        ensure!(
            opened.code == Some(0) || old("decrypt", newer)?.code == opened.code,
            "3.11 decrypts ours: {}",
            opened.stderr
        );
    }
    let format = case.document.format;
    let opened = case
        .decrypt(&theirs.text())
        .context("ours opens that of 3.11")?;
    let (opened, expected) = (
        canonical(format, &opened)?,
        canonical(format, &expected.stdout)?,
    );
    ensure!(
        opened == expected,
        "ours reads that of 3.11 otherwise:\n{}\nexpected:\n{}",
        String::from_utf8_lossy(&opened),
        String::from_utf8_lossy(&expected)
    );
    Ok(())
}

/// A changed byte of a value fails in both.
fn tampering_shows(case: &Case<'_>, ours: &str) -> Result<()> {
    let at = ours.find("ENC[AES256_GCM,data:").context("no value")? + "ENC[AES256_GCM,data:".len();
    let other = if ours[at..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    let mut changed = ours.to_owned();
    changed.replace_range(at..=at, other);
    let kept = |text: &[u8]| text == ours.as_bytes();
    let found = case.sops("decrypt", changed.as_bytes())?;
    // A damaged comment is only a warning.
    let warned = |text: &str| text.contains("comment");
    ensure!(
        found.code != Some(0) || warned(&found.stderr),
        "sops does not notice a changed byte"
    );
    let opened = case.decrypt(&changed);
    if ours.contains("selkie_mac") {
        // A damaged comment too.
        ensure!(
            opened.is_err(),
            "the whole-file MAC does not notice a changed byte"
        );
        return Ok(());
    }
    ensure!(
        opened.is_err() == (found.code != Some(0)) && !opened.is_ok_and(|text| kept(&text)),
        "ours and sops differ about a changed byte"
    );
    Ok(())
}

/// Returns the types of the encrypted leaves, in order, without that of the MAC.
fn types(text: &str) -> Vec<String> {
    let block = ["\"sops\":", "\nsops:", "\nsops_", "[sops]"];
    let end = block.iter().filter_map(|start| text.find(start)).min();
    let mut rest = &text[..end.unwrap_or(text.len())];
    let mut types = Vec::new();
    while let Some(at) = rest.find(",type:") {
        rest = &rest[at + ",type:".len()..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase());
        let end = end.unwrap_or(rest.len());
        types.push(rest[..end].to_owned());
    }
    types
}

//! Wrapping and unwrapping with keys of every type: fixtures of sops-format.md 23 and keys-example.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use selkie_secret::{SecretBytes, SecretString};
use selkie_sops::{DataKeySource as _, KeyEntry, KeyKind, KeySpec, MasterKey as _, UnwrapError};

use super::*;
use crate::prompt::{Passphrase, Prompt};

/// The identity and entry of the complete file in sops-format.md 23, wrapped by real sops.
const SECRET: &str = "AGE-SECRET-KEY-19H6GXE7LPFQ6RYQYP7Q7K9FF0KK6H77T08LCYSMV478SD2W36LEQLUSGLY";
const PUBLIC: &str = "age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x";
const ENC: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSByNjMxMjl1enp1TzlOaWhJ
QjBHVVNHc21Ja0RQT09BQS9rcUpobllXckV3Cms3bjd0MXFuMEk5TTNhbjdjNUxZ
MHNVYmt6OVRxOEhyYWRIUjNncWdPV1UKLS0tIGEyMFdia1dzc2JnN0g1T0taSXBs
bU4wRnErYzRsTXFCdUlSNlpYQlBDQmMKPUOpfwOhwF3lWo+CCScqWh9VBYNiu8kK
F9DfVk7JiONM7rHYQB6hRaV8oatoLff+gURUDTIkbs14TKy7QCBHxg==
-----END AGE ENCRYPTED FILE-----
";

macro_rules! example {
    ($name:literal) => {
        include_str!(concat!("../../../../keys-example/", $name))
    };
}

/// The passphrase of everything protected in keys-example.
const PASSPHRASE: &str = "throw-away";

fn source(name: &str, content: &str) -> IdentitySource {
    of_form(name, content, SourceForm::Identities)
}

fn of_form(name: &str, content: &str, form: SourceForm) -> IdentitySource {
    IdentitySource {
        name: name.to_owned(),
        content: Ok(SecretBytes::new(content.as_bytes().to_vec())),
        form,
    }
}

fn entry(recipient: &str, enc: &str) -> KeyEntry {
    let spec = KeySpec::Age {
        recipient: recipient.to_owned(),
    };
    spec.entry(enc, jiff::Timestamp::UNIX_EPOCH)
}

fn wrapped(recipient: &str) -> KeyEntry {
    let recipient: AgeRecipient = recipient.parse().unwrap();
    recipient.wrap(&[9; 33]).unwrap()
}

/// Gives wrong answers, then the right one, and counts.
struct Typist {
    wrong: u32,
    asked: AtomicU32,
}

impl Typist {
    fn new(wrong: u32) -> Arc<Self> {
        let asked = AtomicU32::new(0);
        Arc::new(Self { wrong, asked })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Prompt for Typist {
    fn passphrase(&self, _of: &Passphrase<'_>, attempt: u32) -> Option<SecretString> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let right = attempt >= self.wrong;
        let text = if right { PASSPHRASE } else { "wrong" };
        Some(SecretString::new(text.to_owned()))
    }

    fn show(&self, _message: &str) {}

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn text(&self, _description: &str) -> Option<String> {
        None
    }
}

#[test]
fn an_entry_of_real_sops_unwraps() {
    let own = AgeIdentities::from_sources(vec![source("a", SECRET)]);
    let key = own.unwrap_key(&entry(PUBLIC, ENC)).unwrap();
    assert_eq!(key.to_vec(), (0..32).collect::<Vec<u8>>());
    assert!(own.fits(&entry(PUBLIC, ENC)));
    // The recipient is a hint only, and the armor may be indented or lack its newline.
    assert!(!own.fits(&entry("age1other", ENC)));
    assert!(own.unwrap_key(&entry("age1other", ENC.trim_end())).is_ok());
    // Even when it names another key that is at hand.
    let pool =
        AgeIdentities::from_sources(vec![source("a", SECRET), source("b", example!("age.txt"))]);
    let other = example!("age.pub").trim();
    assert!(pool.unwrap_key(&entry(other, ENC)).is_ok());
}

#[test]
fn what_we_wrap_is_one_armored_age_file_for_one_recipient() {
    let wrapped = wrapped(PUBLIC);
    assert_eq!(wrapped.field("recipient"), Some(PUBLIC));
    assert_eq!(wrapped.field("created_at"), None);
    let enc = wrapped.field("enc").unwrap();
    assert!(enc.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    assert!(enc.ends_with("-----END AGE ENCRYPTED FILE-----\n"));
    assert!(enc.lines().all(|line| line.len() <= 64));
    let own = AgeIdentities::from_sources(vec![source("a", SECRET)]);
    assert_eq!(own.unwrap_key(&wrapped).unwrap().to_vec(), [9; 33]);
    let other = AgeIdentities::from_sources(vec![source("b", example!("age.txt"))]);
    assert_eq!(other.unwrap_key(&wrapped), Err(UnwrapError::NotMine));
}

#[test]
fn keys_of_every_type_open_what_was_wrapped_for_them() {
    for (recipient, identity, form) in [
        (
            example!("age.pub"),
            example!("age.txt"),
            SourceForm::Identities,
        ),
        (
            example!("age-pq.pub"),
            example!("age-pq.txt"),
            SourceForm::Identities,
        ),
        (
            example!("ssh_ed25519.pub"),
            example!("ssh_ed25519"),
            SourceForm::SshKey,
        ),
        (
            example!("ssh_rsa.pub"),
            example!("ssh_rsa"),
            SourceForm::SshKeyOfCommand,
        ),
    ] {
        let recipient = recipient.trim();
        let wrapped = wrapped(recipient);
        // An SSH key keeps its comment in the entry.
        assert_eq!(wrapped.field("recipient"), Some(recipient));
        let own = AgeIdentities::from_sources(vec![of_form("own", identity, form)]);
        assert!(own.fits(&wrapped), "{recipient}");
        assert_eq!(own.recipients().len(), 1);
        let opened = own.unwrap_with(&wrapped, Effort::Silent);
        assert_eq!(opened.unwrap().to_vec(), [9; 33], "{recipient}");
        let other = AgeIdentities::from_sources(vec![source("other", SECRET)]);
        assert!(!other.fits(&wrapped));
        assert_eq!(other.unwrap_key(&wrapped), Err(UnwrapError::NotMine));
    }
}

#[test]
fn a_protected_identity_file_asks_once_and_only_when_needed() {
    let typist = Typist::new(1);
    let mut pool = AgeIdentities::new(typist.clone());
    pool.add(source("locked", example!("age-protected.age")));
    pool.add(source("plain", SECRET));
    assert!(!pool.is_empty());
    // The plain one fits.
    assert!(pool.unwrap_key(&entry(PUBLIC, ENC)).is_ok());
    assert_eq!(typist.asked(), 0);
    let problem = pool.sources()[0].problem.clone();
    assert_eq!(problem.as_deref(), Some("passphrase-protected, not opened"));

    let wrapped = wrapped(example!("age-protected.pub").trim());
    assert_eq!(
        pool.unwrap_with(&wrapped, Effort::Silent),
        Err(UnwrapError::NotMine)
    );
    assert_eq!(typist.asked(), 0);
    for _ in 0..2 {
        assert_eq!(pool.unwrap_key(&wrapped).unwrap().to_vec(), [9; 33]);
    }
    // A wrong one and the right one.
    assert_eq!(typist.asked(), 2);
    assert!(pool.fits(&wrapped));
    assert_eq!(pool.sources()[0].identities, 1);
}

#[test]
fn a_passphrase_that_stays_wrong_is_reported_and_not_asked_for_again() {
    let typist = Typist::new(u32::MAX);
    let mut pool = AgeIdentities::new(typist.clone());
    pool.add(source("locked", example!("age-protected.age")));
    let wrapped = wrapped(example!("age-protected.pub").trim());
    for _ in 0..2 {
        assert_eq!(pool.unwrap_key(&wrapped), Err(UnwrapError::NotMine));
    }
    assert_eq!(typist.asked(), 3);
    let problem = pool.sources()[0].problem.clone();
    assert_eq!(problem.as_deref(), Some("the passphrase is wrong"));

    // Nobody to ask.
    let pool = AgeIdentities::from_sources(vec![source("locked", example!("age-protected.age"))]);
    assert_eq!(pool.unwrap_key(&wrapped), Err(UnwrapError::NotMine));
    let problem = pool.sources()[0].problem.clone().unwrap();
    assert!(problem.contains("no passphrase was given"), "{problem}");
}

#[test]
fn an_encrypted_ssh_key_asks_only_for_files_that_it_opens() {
    let typist = Typist::new(1);
    let mut pool = AgeIdentities::new(typist.clone());
    pool.add(of_form("id", example!("ssh_protected"), SourceForm::SshKey));
    let others = wrapped(example!("ssh_ed25519.pub").trim());
    assert_eq!(pool.unwrap_key(&others), Err(UnwrapError::NotMine));
    assert_eq!(typist.asked(), 0);
    let own = wrapped(example!("ssh_protected.pub").trim());
    // Its public half is in clear.
    assert!(pool.fits(&own));
    for _ in 0..2 {
        assert_eq!(pool.unwrap_key(&own).unwrap().to_vec(), [9; 33]);
    }
    assert_eq!(typist.asked(), 2);

    let typist = Typist::new(u32::MAX);
    let mut pool = AgeIdentities::new(typist);
    pool.add(of_form("id", example!("ssh_protected"), SourceForm::SshKey));
    let error = pool.unwrap_key(&own).unwrap_err().to_string();
    assert!(error.contains("the passphrase is wrong"), "{error}");
}

#[test]
fn ssh_keys_that_cannot_be_used_say_what_to_do() {
    for (text, form, part) in [
        (
            example!("ssh_protected"),
            SourceForm::SshKeyOfCommand,
            "give it decrypted",
        ),
        ("junk", SourceForm::SshKey, "not an SSH private key"),
        ("", SourceForm::SshKey, "not an SSH private key"),
        (
            example!("ssh_ed25519.pub"),
            SourceForm::SshKey,
            "not an SSH private key",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            SourceForm::SshKey,
            "ssh-keygen -p -f FILE",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n\
             AAAA\n-----END RSA PRIVATE KEY-----\n",
            SourceForm::SshKey,
            "old PEM form",
        ),
    ] {
        let pool = AgeIdentities::from_sources(vec![of_form("id", text, form)]);
        let problem = pool.sources()[0].problem.clone().unwrap();
        assert!(problem.contains(part), "{part}: {problem}");
    }
    // With line ends of Windows, as a checkout may leave them.
    let text = example!("ssh_ed25519").replace('\n', "\r\n");
    let pool = AgeIdentities::from_sources(vec![of_form("id", &text, SourceForm::SshKey)]);
    assert_eq!(pool.sources()[0].problem, None);
}

#[test]
fn damaged_entries_are_named_without_their_content() {
    let own = AgeIdentities::from_sources(vec![source("a", SECRET)]);
    for (enc, part) in [
        ("", "malformed"),
        ("junk", "malformed"),
        (&ENC.replace("MHNVYmt6", "MHNVYmt7"), ""),
        (&ENC.replace("F9DfVk7", "F9DgVk7"), "payload"),
    ] {
        let error = own.unwrap_key(&entry(PUBLIC, enc)).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    let kms = KeyEntry {
        kind: KeyKind::Kms,
        ..entry(PUBLIC, ENC)
    };
    assert_eq!(
        own.unwrap_key(&kms).unwrap_err(),
        UnwrapError::Unsupported(KeyKind::Kms)
    );
}

#[test]
fn recipients_of_every_form_are_told_apart() {
    let list = format!(" {PUBLIC} ,, {PUBLIC}");
    let recipients = parse_recipients(&list).unwrap();
    assert_eq!(recipients.len(), 1);
    assert_eq!(recipients[0].to_string(), PUBLIC);
    let pq = example!("age-pq.pub").trim();
    let long = format!("{pq}x");
    for (text, part) in [
        ("age1pq1abc", "is not an age recipient: invalid Bech32"),
        ("age1yubikey1abc", "is not an age recipient"),
        ("ssh-ed25519 AAAA", "not a line of an SSH public key file"),
        (
            "ssh-dss AAAAB3NzaC1kc3MAAAAA x",
            "age takes ssh-ed25519 and ssh-rsa, not ssh-dss",
        ),
        ("age1khs6", "is not an age recipient"),
        ("abc", "starts with neither age1 nor ssh-"),
        ("", "starts with neither age1 nor ssh-"),
        (&long, "...` is not an age recipient"),
    ] {
        let error = text.parse::<AgeRecipient>().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(error.len() < 300, "{error}");
    }
    let error = SECRET.parse::<AgeRecipient>().unwrap_err();
    assert_eq!(error, RecipientError::PrivateKey);
    assert!(!error.to_string().contains("19H6GXE"));
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    // age-plugin-tag's kind of recipient, with a name that no plugin has.
    let recipient = bech32_of("age1nosuchplugin");
    let recipient: AgeRecipient = recipient.parse().unwrap();
    let error = recipient.wrap(&[9; 32]).unwrap_err().to_string();
    assert!(
        error.contains("the program age-plugin-nosuchplugin is not on the PATH"),
        "{error}"
    );
    let identity = bech32_of("AGE-PLUGIN-NOSUCHPLUGIN-").to_uppercase();
    let both = format!("{identity}\n{SECRET}\n");
    let pool = AgeIdentities::from_sources(vec![source("both", &both)]);
    // It does not stand in the way of a key that fits, and is named where none does.
    assert!(pool.unwrap_key(&entry(PUBLIC, ENC)).is_ok());
    let others = wrapped(example!("age.pub").trim());
    let error = pool.unwrap_key(&others).unwrap_err().to_string();
    assert!(error.contains("age-plugin-nosuchplugin"), "{error}");
    assert!(pool.fits(&entry("age1nosuchplugin1xyz", "")));
}

fn bech32_of(prefix: &str) -> String {
    let prefix = bech32::Hrp::parse(prefix).unwrap();
    age_core::primitives::bech32_encode(prefix, &[1, 2, 3])
}

/// `--age "$(cat keys.txt)"`; SOPS_AGE_RECIPIENTS and the lists of .sops.yaml come here too.
#[test]
fn a_private_key_in_a_recipient_is_never_shown() {
    let file = format!("# created: 2026-01-02\n# public key: {PUBLIC}\n{SECRET}");
    for text in [
        file.clone(),
        format!("{PUBLIC}, {file}"),
        format!("\"{SECRET}\""),
        format!("x,'{}'", SECRET.to_ascii_lowercase()),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n19H6GXE\n".to_owned(),
        "age1abc\n19H6GXE".to_owned(),
        "19H6GXE".to_owned(),
        "ssh-rsa AAAA\n19H6GXE".to_owned(),
    ] {
        let error = parse_recipients(&text).unwrap_err();
        let shown = format!("{error} {error:?}").to_ascii_uppercase();
        assert!(!shown.contains("19H6GXE"), "{shown}");
    }
    let error = parse_recipients(&file).unwrap_err();
    assert_eq!(error, RecipientError::PrivateKey);
}

#[test]
fn sources_are_pooled_and_their_problems_reported() {
    let two = format!("# a comment\n\n{SECRET} {SECRET}\r\n");
    let pq = example!("age-pq.txt");
    let pool = AgeIdentities::from_sources(vec![
        source("two", &two),
        source("bad", &format!("{SECRET}\nnonsense\n")),
        IdentitySource {
            content: Err("no such file".to_owned()),
            ..source("gone", "")
        },
        source("empty", "# nothing\n"),
        source(
            "damaged",
            &pq.replace("AGE-SECRET-KEY-PQ-1", "AGE-SECRET-KEY-PQ-1Q"),
        ),
        source("public", PUBLIC),
        source("cut", "-----BEGIN AGE ENCRYPTED FILE-----\n"),
        IdentitySource {
            content: Ok(SecretBytes::new(vec![0xff, 0xfe])),
            ..source("binary", "")
        },
    ]);
    let counts: Vec<usize> = pool.sources().iter().map(|r| r.identities).collect();
    assert_eq!(counts, [2, 0, 0, 0, 0, 0, 0, 0]);
    let problems: Vec<String> = pool
        .sources()
        .iter()
        .map(|r| r.problem.clone().unwrap_or_default())
        .collect();
    for (problem, start) in problems.iter().zip([
        "",
        "line 2 is not an age identity",
        "no such file",
        "it holds no identity",
        "line 3 is a damaged age identity",
        "line 1 is a recipient",
        "passphrase-protected",
        "not a text file",
    ]) {
        assert!(problem.starts_with(start), "{start}: {problem}");
    }
    let shown = format!("{problems:?} {pool:?}");
    assert!(
        !shown.contains("nonsense") && !shown.contains("19H6GXE"),
        "{shown}"
    );
}

/// Whoever was granted one key must not have another one used: the recipient of an entry is what its sender says.
#[test]
fn only_the_identity_that_is_named_opens_where_that_is_asked_for() {
    let pool = |named_only: bool| {
        let pool = AgeIdentities::new(Typist::new(0));
        let mut pool = if named_only { pool.named_only() } else { pool };
        pool.add(source("one", SECRET));
        pool.add(source("two", example!("age.txt")));
        pool.add(source("protected", example!("age-protected.age")));
        pool.add(of_form("ssh", example!("ssh_ed25519"), SourceForm::SshKey));
        pool
    };
    let other = example!("age.pub");
    let ssh = example!("ssh_ed25519.pub");
    let protected = example!("age-protected.pub");
    let recipients = [PUBLIC, other.trim(), ssh.trim(), protected.trim()];
    for wrapped_for in recipients {
        let enc = wrapped(wrapped_for);
        let enc = enc.field("enc").unwrap();
        for claimed in recipients.into_iter().chain([""]) {
            let entry = entry(claimed, enc);
            assert!(pool(false).unwrap_key(&entry).is_ok());
            let opened = pool(true).unwrap_key(&entry);
            let expected = claimed == wrapped_for;
            assert_eq!(opened.is_ok(), expected, "{claimed} for {wrapped_for}");
        }
    }
}

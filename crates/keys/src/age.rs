//! age: X25519 recipients and identities (sops-format.md 8.1, 9).

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::str::FromStr;

use ::age::secrecy::ExposeSecret as _;
use ::age::{DecryptError, Decryptor, armor::ArmoredReader, x25519};
use selkie_secret::SecretString;
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

/// A recipient `age1...`: a public key that a data key is wrapped for.
#[derive(Clone, PartialEq, Eq)]
pub struct AgeRecipient {
    text: String,
    key: x25519::Recipient,
}

/// Why a recipient cannot be used. Recipients are public and shown, other text is not: it may be
/// a key file, given by mistake through `--age`, SOPS_AGE_RECIPIENTS or .sops.yaml.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Neither `age1...` nor another form that sops knows.
    #[error("{recipient} is not an age recipient: {reason}")]
    Malformed {
        /// The text as given, in backquotes, where it looks like a recipient; else a wording.
        recipient: String,
        /// Why it does not parse.
        reason: &'static str,
    },
    /// A form that sops takes and Selkie does not yet.
    #[error(
        "{kind} recipients are not supported yet: {recipient}; use an X25519 recipient (age1...)"
    )]
    Unsupported {
        /// Post-quantum, plugin or SSH.
        kind: &'static str,
        /// The text as given, in backquotes; a wording where it has several lines.
        recipient: String,
    },
    /// The private key was given where the public one belongs; it is not shown.
    #[error(
        "this is an age identity (a private key), not a recipient; \
         give the line after `# public key:` of its file"
    )]
    PrivateKey,
}

impl FromStr for AgeRecipient {
    type Err = RecipientError;

    /// Parses one recipient; surrounding blanks are dropped (sops-format.md 9.1).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if holds_private_key(text) {
            return Err(RecipientError::PrivateKey);
        }
        let unsupported = if text.starts_with("age1pq1") {
            Some("post-quantum")
        } else if text.starts_with("age1") && text.matches('1').count() > 1 {
            Some("plugin")
        } else if text.starts_with("ssh-") {
            Some("SSH")
        } else {
            None
        };
        if let Some(kind) = unsupported {
            return Err(RecipientError::Unsupported {
                kind,
                recipient: shown(text),
            });
        }
        let malformed = |reason| RecipientError::Malformed {
            recipient: shown(text),
            reason,
        };
        if !text.starts_with("age1") {
            return Err(malformed("it does not start with age1"));
        }
        let key = text.parse().map_err(malformed)?;
        Ok(Self {
            text: text.to_owned(),
            key,
        })
    }
}

/// Returns whether a private key stands anywhere in a text, as in a whole key file.
fn holds_private_key(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY"]
        .iter()
        .any(|mark| upper.contains(mark))
}

/// Returns a refused text as a message may show it: whole only where it looks like a recipient.
fn shown(text: &str) -> String {
    let public = text.starts_with("age1") || text.starts_with("ssh-");
    if public && !text.contains(['\n', '\r']) {
        format!("`{text}`")
    } else {
        "the given text (not shown)".to_owned()
    }
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Parses a comma-separated list; blanks and empty elements are skipped, repetitions dropped.
pub fn parse_recipients(list: &str) -> Result<Vec<AgeRecipient>, RecipientError> {
    let mut recipients: Vec<AgeRecipient> = Vec::new();
    for text in list.split(',').filter(|text| !text.trim().is_empty()) {
        let recipient = text.parse()?;
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    Ok(recipients)
}

impl MasterKey for AgeRecipient {
    fn kind(&self) -> KeyKind {
        KeyKind::Age
    }

    fn id(&self) -> &str {
        &self.text
    }

    /// Wraps for this recipient alone: sops reads one age file per entry (sops-format.md 8.1).
    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let armor = ::age::encrypt_and_armor(&self.key, secret).map_err(|error| WrapError {
            kind: KeyKind::Age,
            id: self.text.clone(),
            reason: error.to_string(),
        })?;
        // The crate writes the platform's line ends; the final one is part of the text.
        let armor = armor.replace('\r', "");
        Ok(KeyEntry {
            kind: KeyKind::Age,
            fields: vec![
                ("enc".to_owned(), armor),
                ("recipient".to_owned(), self.text.clone()),
            ],
            context: BTreeMap::new(),
        })
    }
}

/// More bytes than any wrapped secret has (a share has 33).
const MAX_WRAPPED: usize = 64;

/// A place that identities were looked for in, and what it held.
pub struct IdentitySource {
    /// What the user calls it: `SOPS_AGE_KEY`, `/home/u/.config/sops/age/keys.txt`.
    pub name: String,
    /// The content, or why it could not be read (no such file, exit status of a command).
    pub content: Result<SecretString, String>,
}

/// What became of a source, for the message when no identity fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// The name as given.
    pub name: String,
    /// How many identities it gave.
    pub identities: usize,
    /// What is wrong with it, if anything: names a line, never its content.
    pub problem: Option<String>,
}

/// The identities of all sources, pooled (sops-format.md 9.3).
#[derive(Default)]
pub struct AgeIdentities {
    /// Each with its recipient, so that the one an entry names is tried first and alone.
    identities: Vec<(x25519::Identity, String)>,
    reports: Vec<SourceReport>,
}

impl AgeIdentities {
    /// Reads the identities of all sources. A source that is unreadable or has a bad line counts
    /// as empty and is reported: it matters only when decryption fails in the end.
    pub fn from_sources(sources: Vec<IdentitySource>) -> Self {
        let mut pool = Self::default();
        for source in sources {
            let before = pool.identities.len();
            let problem = match &source.content {
                Err(problem) => Some(problem.clone()),
                Ok(content) => pool.add(content.expose()),
            };
            pool.reports.push(SourceReport {
                name: source.name,
                identities: pool.identities.len() - before,
                problem,
            });
        }
        pool
    }

    /// Returns whether no source gave an identity.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Returns the number of identities.
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Returns what each source gave, in the order given.
    pub fn sources(&self) -> &[SourceReport] {
        &self.reports
    }

    /// Returns the recipients that the identities open, in order.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        self.identities.iter().map(|(_, public)| public.as_str())
    }

    /// Adds the identities of one source; one bad line discards all of it (sops-format.md 9.2),
    /// a line of a kind that is not supported yet only itself. Returns what is to be reported.
    fn add(&mut self, content: &str) -> Option<String> {
        let start = content.trim_start_matches('\u{feff}').trim_start();
        if start.starts_with("age-encryption") || start.starts_with("-----BEGIN AGE") {
            return Some("passphrase-protected identity files are not supported yet".to_owned());
        }
        let mut found = Vec::new();
        let mut problem = None;
        for (index, line) in content.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.starts_with('#') {
                continue;
            }
            // Since sops 3.13 several may share a line of SOPS_AGE_KEY.
            for word in line.split_whitespace() {
                if word.starts_with("AGE-PLUGIN-") || word.starts_with("AGE-SECRET-KEY-PQ-1") {
                    problem = Some(format!(
                        "line {}: plugin and post-quantum identities are not supported yet",
                        index + 1
                    ));
                    continue;
                }
                let Ok(identity) = word.parse::<x25519::Identity>() else {
                    return Some(format!(
                        "line {} is not an age identity (AGE-SECRET-KEY-1...), \
                         so the whole source was set aside",
                        index + 1
                    ));
                };
                let public = identity.to_public().to_string();
                found.push((identity, public));
            }
        }
        if found.is_empty() && problem.is_none() {
            problem = Some("it holds no identity".to_owned());
        }
        self.identities.append(&mut found);
        problem
    }
}

impl DataKeySource for AgeIdentities {
    fn fits(&self, entry: &KeyEntry) -> bool {
        let recipient = entry.field("recipient").unwrap_or_default();
        entry.kind == KeyKind::Age && self.recipients().any(|own| own == recipient)
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        if entry.kind != KeyKind::Age {
            return Err(UnwrapError::Unsupported(entry.kind));
        }
        let failed = |reason: &str| UnwrapError::Failed(reason.to_owned());
        let armor = entry
            .field("enc")
            .ok_or_else(|| failed("the entry has no enc field"))?;
        if self.identities.is_empty() {
            return Err(UnwrapError::NotMine);
        }
        let recipient = entry.field("recipient").unwrap_or_default();
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(armor.as_bytes()))
            .map_err(|_| failed("its enc field is not an age file"))?;
        // The recipient in the file is only a hint: when none of ours has that name, all are tried.
        let named = self.identities.iter().any(|(_, own)| own == recipient);
        let tried = self
            .identities
            .iter()
            .filter(|(_, own)| !named || own == recipient)
            .map(|(identity, _)| identity as &dyn ::age::Identity);
        let mut reader = decryptor.decrypt(tried).map_err(|error| match error {
            DecryptError::NoMatchingKeys => UnwrapError::NotMine,
            DecryptError::InvalidMac => failed("the header of its enc field was changed"),
            _ => failed("its enc field does not decrypt"),
        })?;
        // What was wrapped is a data key or a share; the bound keeps a forged entry from filling memory.
        let mut secret = Zeroizing::new(Vec::with_capacity(MAX_WRAPPED));
        reader
            .by_ref()
            .take(MAX_WRAPPED as u64)
            .read_to_end(&mut secret)
            .map_err(|_| failed("its enc field does not decrypt"))?;
        Ok(secret)
    }
}

impl fmt::Debug for AgeIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public: Vec<&str> = self.recipients().collect();
        f.debug_struct("AgeIdentities")
            .field("recipients", &public)
            .finish_non_exhaustive()
    }
}

/// A new key pair, for `selkie keygen`.
pub struct GeneratedKey {
    identity: x25519::Identity,
    public: String,
}

impl GeneratedKey {
    /// Makes a key from the operating system's random source.
    pub fn generate() -> Self {
        let identity = x25519::Identity::generate();
        let public = identity.to_public().to_string();
        Self { identity, public }
    }

    /// Returns the recipient, `age1...`.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// Returns the identity file as age-keygen writes it: three lines, each ended by a newline.
    pub fn file(&self, now: jiff::Timestamp) -> SecretString {
        let secret = self.identity.to_string();
        SecretString::new(format!(
            "# created: {}\n# public key: {}\n{}\n",
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.public,
            secret.expose_secret()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The identity and entry of the complete file in sops-format.md 23, wrapped by real sops.
    const SECRET: &str =
        "AGE-SECRET-KEY-19H6GXE7LPFQ6RYQYP7Q7K9FF0KK6H77T08LCYSMV478SD2W36LEQLUSGLY";
    const PUBLIC: &str = "age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x";
    const ENC: &str = "-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSByNjMxMjl1enp1TzlOaWhJ
QjBHVVNHc21Ja0RQT09BQS9rcUpobllXckV3Cms3bjd0MXFuMEk5TTNhbjdjNUxZ
MHNVYmt6OVRxOEhyYWRIUjNncWdPV1UKLS0tIGEyMFdia1dzc2JnN0g1T0taSXBs
bU4wRnErYzRsTXFCdUlSNlpYQlBDQmMKPUOpfwOhwF3lWo+CCScqWh9VBYNiu8kK
F9DfVk7JiONM7rHYQB6hRaV8oatoLff+gURUDTIkbs14TKy7QCBHxg==
-----END AGE ENCRYPTED FILE-----
";

    fn source(name: &str, content: &str) -> IdentitySource {
        IdentitySource {
            name: name.to_owned(),
            content: Ok(SecretString::new(content.to_owned())),
        }
    }

    fn entry(recipient: &str, enc: &str) -> KeyEntry {
        KeyEntry {
            kind: KeyKind::Age,
            fields: vec![
                ("enc".to_owned(), enc.to_owned()),
                ("recipient".to_owned(), recipient.to_owned()),
            ],
            context: BTreeMap::new(),
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
    }

    #[test]
    fn what_we_wrap_is_one_armored_age_file_for_one_recipient() {
        let recipient: AgeRecipient = PUBLIC.parse().unwrap();
        let wrapped = recipient.wrap(&[9; 33]).unwrap();
        assert_eq!(wrapped.field("recipient"), Some(PUBLIC));
        let enc = wrapped.field("enc").unwrap();
        assert!(enc.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
        assert!(enc.ends_with("-----END AGE ENCRYPTED FILE-----\n"));
        assert!(enc.lines().all(|line| line.len() <= 64));
        let own = AgeIdentities::from_sources(vec![source("a", SECRET)]);
        assert_eq!(own.unwrap_key(&wrapped).unwrap().to_vec(), [9; 33]);
        let other = GeneratedKey::generate();
        let other = AgeIdentities::from_sources(vec![source(
            "b",
            other.file(jiff::Timestamp::UNIX_EPOCH).expose(),
        )]);
        assert_eq!(
            other.unwrap_key(&wrapped).unwrap_err(),
            UnwrapError::NotMine
        );
    }

    #[test]
    fn damaged_entries_are_named_without_their_content() {
        let own = AgeIdentities::from_sources(vec![source("a", SECRET)]);
        for enc in [
            "",
            "junk",
            &ENC.replace("MHNVYmt6", "MHNVYmt7"),
            &ENC.replace("F9DfVk7", "F9DgVk7"),
        ] {
            assert!(own.unwrap_key(&entry(PUBLIC, enc)).is_err(), "{enc}");
        }
        let kms = KeyEntry {
            kind: KeyKind::Kms,
            fields: Vec::new(),
            context: BTreeMap::new(),
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
        for (text, part) in [
            (
                "age1pq1abc",
                "post-quantum recipients are not supported yet",
            ),
            ("age1yubikey1abc", "plugin recipients are not supported yet"),
            ("ssh-ed25519 AAAA", "SSH recipients are not supported yet"),
            ("age1khs6", "is not an age recipient"),
            ("abc", "does not start with age1"),
            ("", "does not start with age1"),
        ] {
            let error = text.parse::<AgeRecipient>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = SECRET.parse::<AgeRecipient>().unwrap_err();
        assert_eq!(error, RecipientError::PrivateKey);
        assert!(!error.to_string().contains("19H6GXE"));
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
        let pool = AgeIdentities::from_sources(vec![
            source("two", &two),
            source("bad", &format!("{SECRET}\nnonsense\n")),
            IdentitySource {
                name: "gone".to_owned(),
                content: Err("no such file".to_owned()),
            },
            source("empty", "# nothing\n"),
            source("plugin", &format!("AGE-PLUGIN-X-1ABC\n{SECRET}\n")),
            source("locked", "-----BEGIN AGE ENCRYPTED FILE-----\n"),
        ]);
        let counts: Vec<usize> = pool.sources().iter().map(|r| r.identities).collect();
        assert_eq!(counts, [2, 0, 0, 0, 1, 0]);
        let problems: Vec<bool> = pool.sources().iter().map(|r| r.problem.is_some()).collect();
        assert_eq!(problems, [false, true, true, true, true, true]);
        let bad = pool.sources()[1].problem.as_deref().unwrap();
        assert!(bad.starts_with("line 2 is not an age identity"), "{bad}");
        let shown = format!("{:?} {pool:?}", pool.sources());
        assert!(
            !shown.contains("nonsense") && !shown.contains("19H6GXE"),
            "{shown}"
        );
    }

    #[test]
    fn a_generated_file_is_age_keygens() {
        let key = GeneratedKey::generate();
        let now: jiff::Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        let file = key.file(now);
        let lines: Vec<&str> = file.expose().lines().collect();
        assert_eq!(lines[0], "# created: 2026-01-02T03:04:05Z");
        assert_eq!(lines[1], format!("# public key: {}", key.public_key()));
        assert!(lines[2].starts_with("AGE-SECRET-KEY-1"));
        assert_eq!(lines.len(), 3);
        assert!(file.expose().ends_with('\n'));
        let pool = AgeIdentities::from_sources(vec![source("new", file.expose())]);
        assert_eq!(pool.recipients().next(), Some(key.public_key()));
    }
}

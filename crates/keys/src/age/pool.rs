//! The identities of all sources, pooled (sops-format.md 9.3).

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use ::age::{DecryptError, Identity};
use age_core::format::{FileKey, Stanza};
use selkie_secret::SecretBytes;
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, UnwrapError};
use zeroize::Zeroizing;

use super::identity::AgeIdentity;
use super::open::{self, OpenError};
use super::protected::ProtectedFile;
use super::recipient::bare;
use super::ssh::SshIdentity;
use crate::prompt::{NoPrompt, Prompt};

/// A place that identities were looked for in, and what it held.
pub struct IdentitySource {
    /// What the user calls it: `SOPS_AGE_KEY`, `/home/u/.config/sops/age/keys.txt`.
    pub name: String,
    /// The content, or why it could not be read (no such file, exit status of a command).
    pub content: Result<SecretBytes, String>,
    /// What the content is.
    pub form: SourceForm,
}

/// What a source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceForm {
    /// age identities, or an age file with a passphrase that holds them.
    Identities,
    /// One SSH private key; an encrypted one asks for its passphrase.
    SshKey,
    /// The SSH private key that a command printed: an encrypted one is refused (9.3, source 2).
    SshKeyOfCommand,
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

/// The identities of all sources, pooled.
pub struct AgeIdentities {
    sources: Vec<Source>,
    prompt: Arc<dyn Prompt>,
    /// Only identities of the recipient that an entry names are tried.
    named_only: bool,
}

struct Source {
    name: String,
    held: Result<Held, String>,
}

enum Held {
    /// Each with its recipient, so that the one an entry names is tried first.
    Identities(Vec<(AgeIdentity, Option<String>)>),
    Ssh(Box<SshIdentity>),
    Protected(Box<ProtectedFile>),
}

/// How much may be done to open an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Only keys at hand.
    Silent,
    /// Also what runs a plugin or asks for a passphrase.
    Asking,
}

impl Default for AgeIdentities {
    fn default() -> Self {
        Self::new(Arc::new(NoPrompt))
    }
}

impl AgeIdentities {
    /// Makes an empty pool; plugins, and what is protected by a passphrase, ask through `prompt`.
    pub fn new(prompt: Arc<dyn Prompt>) -> Self {
        Self {
            sources: Vec::new(),
            prompt,
            named_only: false,
        }
    }

    /// Tries only identities of the recipient that an entry names, where the entry comes from
    /// somebody who was granted the use of that one key: an entry may say one recipient, and be
    /// wrapped for another.
    ///
    /// Which recipients a plugin opens it alone knows; here those with its name in them, and those of
    /// `tag` and `tagpq`, which stand for keys in hardware.
    #[must_use]
    pub fn named_only(mut self) -> Self {
        self.named_only = true;
        self
    }

    /// Reads the identities of all sources, with nobody to ask.
    pub fn from_sources(sources: Vec<IdentitySource>) -> Self {
        let mut pool = Self::default();
        sources.into_iter().for_each(|source| pool.add(source));
        pool
    }

    /// Adds a source. One that is unreadable or has a bad line counts as empty and is reported: it
    /// matters only when decryption fails in the end.
    pub fn add(&mut self, source: IdentitySource) {
        let held = source
            .content
            .and_then(|content| self.read(&source.name, content, source.form));
        self.sources.push(Source {
            name: source.name,
            held,
        });
    }

    /// Returns whether no source gave an identity.
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| source.held.is_err())
    }

    /// Returns whether there are identities and what they open is known: none is of a plugin, or in a
    /// protected file that was not opened.
    pub fn are_known(&self) -> bool {
        let known = |held: &Held| match held {
            Held::Identities(all) => all.iter().all(|(_, recipient)| recipient.is_some()),
            Held::Ssh(_) => true,
            Held::Protected(file) => file.opened().is_some(),
        };
        !self.is_empty() && self.held().all(known)
    }

    /// Returns what each source gave, in the order given.
    pub fn sources(&self) -> Vec<SourceReport> {
        let report = |source: &Source| {
            let (identities, problem) = match &source.held {
                Err(problem) => (0, Some(problem.clone())),
                Ok(Held::Identities(all)) => (all.len(), None),
                Ok(Held::Ssh(_)) => (1, None),
                Ok(Held::Protected(file)) => match file.opened() {
                    None => (0, Some("passphrase-protected, not opened".to_owned())),
                    Some(Ok(all)) => (all.len(), None),
                    Some(Err(problem)) => (0, Some(problem.to_owned())),
                },
            };
            SourceReport {
                name: source.name.clone(),
                identities,
                problem,
            }
        };
        self.sources.iter().map(report).collect()
    }

    /// Returns the recipients that the identities are known to open, in order. Those in a
    /// protected file count from when it was opened, those of a plugin never.
    pub fn recipients(&self) -> Vec<String> {
        let mut recipients = Vec::new();
        for held in self.held() {
            match held {
                Held::Identities(all) => {
                    recipients.extend(all.iter().filter_map(|(_, r)| r.clone()));
                }
                Held::Ssh(key) => recipients.push(key.recipient().to_owned()),
                Held::Protected(file) => {
                    if let Some(Ok(all)) = file.opened() {
                        recipients.extend(all.iter().filter_map(AgeIdentity::recipient));
                    }
                }
            }
        }
        recipients
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.sources
            .iter()
            .filter_map(|source| source.held.as_ref().ok())
    }

    fn read(&self, name: &str, content: SecretBytes, form: SourceForm) -> Result<Held, String> {
        let not_text = |_| "not a text file".to_owned();
        if form != SourceForm::Identities {
            let text = content.into_string().map_err(not_text)?;
            let prompt = (form == SourceForm::SshKey).then_some(&self.prompt);
            let key = SshIdentity::parse(name, text.expose(), prompt);
            return key
                .map(|key| Held::Ssh(Box::new(key)))
                .map_err(|error| error.to_string());
        }
        let start = content.expose();
        let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
        if ProtectedFile::is_one(start.trim_ascii_start()) {
            let content = SecretBytes::new(start.trim_ascii_start().to_vec());
            let file = ProtectedFile::new(name, content, &self.prompt);
            return Ok(Held::Protected(Box::new(file)));
        }
        let text = content.into_string().map_err(not_text)?;
        self.parse(text.expose()).map(Held::Identities)
    }

    /// Parses the lines of a source; one bad line discards all of it (sops-format.md 9.2).
    fn parse(&self, text: &str) -> Result<Vec<(AgeIdentity, Option<String>)>, String> {
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.starts_with('#') {
                continue;
            }
            // Since sops 3.13 several may share a line of SOPS_AGE_KEY.
            for word in line.split_whitespace() {
                let identity = AgeIdentity::parse(word, &self.prompt).map_err(|error| {
                    let line = index + 1;
                    format!("line {line} {error}, so the whole source was set aside")
                })?;
                let recipient = identity.recipient();
                found.push((identity, recipient));
            }
        }
        match found.is_empty() {
            true => Err("it holds no identity".to_owned()),
            false => Ok(found),
        }
    }

    /// Unwraps an entry with no more effort than is allowed.
    ///
    /// Returns [`UnwrapError::NotMine`] when no identity that was tried has a part in it.
    pub fn unwrap_with(
        &self,
        entry: &KeyEntry,
        effort: Effort,
    ) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        if entry.kind != KeyKind::Age {
            return Err(UnwrapError::Unsupported(entry.kind));
        }
        let failed = |error: OpenError| UnwrapError::Failed(error.to_string());
        let enc = entry.enc()?;
        let recipient = entry.field("recipient").unwrap_or_default();
        let candidates = match self.named_only {
            true => self.named(recipient, effort),
            false => self.candidates(recipient, effort),
        };
        let reader = match open::open(enc.as_bytes(), &candidates) {
            Err(OpenError::NoMatch) => return Err(UnwrapError::NotMine),
            opened => opened.map_err(failed)?,
        };
        // The bound keeps a forged entry from filling the memory.
        let mut secret = Zeroizing::new(Vec::with_capacity(MAX_WRAPPED));
        reader
            .take(MAX_WRAPPED as u64)
            .read_to_end(&mut secret)
            .map_err(|error| failed(open::payload(&error)))?;
        Ok(secret)
    }

    /// Returns what is to be tried for an entry, the likeliest and cheapest first. The recipient
    /// in the file is only a hint.
    fn candidates(&self, recipient: &str, effort: Effort) -> Vec<&dyn Identity> {
        let asking = effort == Effort::Asking;
        let mut ranked: Vec<(u8, &dyn Identity)> = Vec::new();
        for held in self.held() {
            match held {
                Held::Identities(all) => {
                    for (identity, own) in all {
                        let rank = match identity.plugin() {
                            None => u8::from(own.as_deref() != Some(recipient)),
                            Some(_) if !asking => continue,
                            Some(name) => 2 + u8::from(!is_of_plugin(recipient, name)),
                        };
                        ranked.push((rank, identity));
                    }
                }
                // It looks at the stanza before it asks, and nobody is asked twice.
                Held::Ssh(key) if key.is_locked() && !asking => {}
                Held::Ssh(key) => ranked.push((u8::from(key.is_locked()) * 4, key.as_ref())),
                Held::Protected(file) => {
                    if file.opened().is_some() || asking {
                        let rank = if file.opened().is_some() { 1 } else { 5 };
                        ranked.push((rank, file.as_ref()));
                    }
                }
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, identity)| identity).collect()
    }

    /// Returns the identities of this recipient; a protected file is asked for last.
    fn named(&self, recipient: &str, effort: Effort) -> Vec<&dyn Identity> {
        let asking = effort == Effort::Asking;
        let recipient = recipient.trim();
        let mut named: Vec<&dyn Identity> = Vec::new();
        let mut protected = Vec::new();
        for held in self.held() {
            match held {
                Held::Identities(all) => {
                    let fits = |(identity, own): &&(AgeIdentity, Option<String>)| match identity
                        .plugin()
                    {
                        None => own.as_deref() == Some(recipient),
                        Some(name) => {
                            let of = |name| is_of_plugin(recipient, name);
                            asking && [name, "tag", "tagpq"].into_iter().any(of)
                        }
                    };
                    let fitting = all.iter().filter(fits);
                    named.extend(fitting.map(|(identity, _)| identity as &dyn Identity));
                }
                Held::Ssh(key) if key.is_locked() && !asking => {}
                Held::Ssh(key) if key.recipient() == bare(recipient) => named.push(key.as_ref()),
                Held::Ssh(_) => {}
                Held::Protected(file) => protected.push(file),
            }
        }
        for file in protected {
            if file.opened().is_some() || (asking && named.is_empty()) {
                let all = file.identities().unwrap_or_default().iter();
                let fitting = all.filter(|one| one.recipient().as_deref() == Some(recipient));
                named.extend(fitting.map(|identity| identity as &dyn Identity));
            }
        }
        named
    }
}

/// Returns whether a recipient belongs to the plugin of this name.
fn is_of_plugin(recipient: &str, name: &str) -> bool {
    let rest = recipient.strip_prefix("age1");
    let rest = rest.and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with('1'))
}

/// The identities of a protected file, which asks when it is tried.
impl Identity for ProtectedFile {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self.identities() {
            Ok(all) => all.iter().find_map(|one| one.unwrap_stanzas(stanzas)),
            // Nobody knows whether it would have fitted: the report of the sources tells why not.
            Err(_) => None,
        }
    }
}

impl DataKeySource for AgeIdentities {
    fn fits(&self, entry: &KeyEntry) -> bool {
        let Some(recipient) = entry
            .field("recipient")
            .filter(|_| entry.kind == KeyKind::Age)
        else {
            return false;
        };
        self.held().any(|held| match held {
            Held::Identities(all) => all.iter().any(|(identity, own)| match identity.plugin() {
                Some(name) => is_of_plugin(recipient, name),
                None => own.as_deref() == Some(recipient),
            }),
            Held::Ssh(key) => key.recipient() == bare(recipient),
            Held::Protected(file) => file.opened().is_some_and(|opened| {
                let all = opened.unwrap_or_default();
                all.iter()
                    .any(|one| one.recipient().as_deref() == Some(recipient))
            }),
        })
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        self.unwrap_with(entry, Effort::Asking)
    }
}

impl fmt::Debug for AgeIdentities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgeIdentities")
            .field("recipients", &self.recipients())
            .finish_non_exhaustive()
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// More bytes than any wrapped secret has: a data key has 32, a share 33.
const MAX_WRAPPED: usize = 64;

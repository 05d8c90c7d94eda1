//! Identity files that are encrypted with a passphrase (sops-format.md 9.3).

use std::fmt;
use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use ::age::secrecy::SecretString as AgeSecretString;
use ::age::{DecryptError, scrypt};
use age_core::format::{FileKey, Stanza};
use selkie_secret::{SecretBytes, SecretString};

use super::identity::AgeIdentity;
use super::open::{self, MAX_WORK_FACTOR, OpenError};
use crate::prompt::{Passphrase, Prompt};

/// How often a passphrase is asked for.
pub(super) const ATTEMPTS: u32 = 3;

/// Larger identity files are refused, as by the original.
const MAX_LEN: u64 = 1 << 24;

/// A passphrase-protected identity file. Its passphrase is asked for when it is first needed, and
/// once: what came of it stays.
pub struct ProtectedFile {
    place: String,
    content: SecretBytes,
    prompt: Arc<dyn Prompt>,
    opened: OnceLock<Result<Vec<AgeIdentity>, String>>,
}

impl ProtectedFile {
    /// Returns whether content is an age file, armored or not, rather than identities.
    pub fn is_one(content: &[u8]) -> bool {
        content.starts_with(b"age-encryption") || content.starts_with(b"-----BEGIN AGE")
    }

    /// Keeps the file for later; `place` is what the user calls it.
    pub fn new(place: &str, content: SecretBytes, prompt: &Arc<dyn Prompt>) -> Self {
        Self {
            place: place.to_owned(),
            content,
            prompt: Arc::clone(prompt),
            opened: OnceLock::new(),
        }
    }

    /// Returns the identities in it, or why there are none; asks on the first call.
    pub fn identities(&self) -> Result<&[AgeIdentity], &str> {
        let opened = self.opened.get_or_init(|| self.unlock());
        opened.as_deref().map_err(String::as_str)
    }

    /// Returns the same if it was asked for already.
    pub fn opened(&self) -> Option<Result<&[AgeIdentity], &str>> {
        let opened = self.opened.get()?;
        Some(opened.as_deref().map_err(String::as_str))
    }

    fn unlock(&self) -> Result<Vec<AgeIdentity>, String> {
        let mut wrong = false;
        for attempt in 0..ATTEMPTS {
            let of = Passphrase::IdentityFile(&self.place);
            let Some(passphrase) = self.prompt.passphrase(&of, attempt) else {
                break;
            };
            match decrypt(self.content.expose(), &passphrase) {
                Ok(text) => return parse(&text),
                Err(OpenError::Passphrase) => wrong = true,
                Err(OpenError::NoMatch) => {
                    return Err("it is encrypted, but not with a passphrase".to_owned());
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(match wrong {
            true => "the passphrase is wrong",
            false => "it is passphrase-protected, and no passphrase was given",
        }
        .to_owned())
    }
}

/// Decrypts an age file with a passphrase.
pub fn decrypt(file: &[u8], passphrase: &SecretString) -> Result<SecretBytes, OpenError> {
    let passphrase = AgeSecretString::from(passphrase.expose().to_owned());
    let mut identity = scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let identity = PassphraseIdentity(identity);
    let mut reader = open::open(file, &[&identity])?.take(MAX_LEN);
    let mut text = zeroize::Zeroizing::new(Vec::with_capacity(file.len()));
    reader
        .read_to_end(&mut text)
        .map_err(|error| open::payload(&error))?;
    Ok(SecretBytes::new(std::mem::take(&mut text)))
}

/// One identity a line, native ones only; one bad line spoils the file.
fn parse(text: &SecretBytes) -> Result<Vec<AgeIdentity>, String> {
    let text = std::str::from_utf8(text.expose())
        .map_err(|_| "what is encrypted in it is not text".to_owned())?;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let identity = AgeIdentity::parse_native(line)
            .map_err(|error| format!("line {} of what is encrypted in it {error}", index + 1))?;
        found.push(identity);
    }
    match found.is_empty() {
        true => Err("it holds no identity".to_owned()),
        false => Ok(found),
    }
}

/// Tells a wrong passphrase from a damaged header.
struct PassphraseIdentity(scrypt::Identity);

impl ::age::Identity for PassphraseIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = ::age::Identity::unwrap_stanza(&self.0, stanza)?;
        Some(unwrapped.map_err(|error| match error {
            DecryptError::DecryptionFailed => DecryptError::KeyDecryptionFailed,
            other => other,
        }))
    }
}

impl fmt::Debug for ProtectedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectedFile({})", self.place)
    }
}

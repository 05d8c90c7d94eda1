//! SSH private keys as age identities (sops-format.md 9.3, sources 1 to 3).

use std::fmt;
use std::sync::{Arc, OnceLock};

use ::age::DecryptError;
use ::age::secrecy::SecretString as AgeSecretString;
use ::age::ssh::{EncryptedKey, Identity, Recipient, UnsupportedKey};
use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::prompt::{Passphrase, Prompt};

/// An SSH private key. An encrypted one asks for its passphrase when a file that it opens comes
/// up, and once.
pub struct SshIdentity {
    /// What the user calls it: a path.
    place: String,
    /// `ssh-ed25519 AAAA...`, without a comment.
    recipient: String,
    /// What stands behind `->` in the stanzas for it: the type, and a hash of the public key.
    stanza: (&'static str, String),
    key: Key,
}

enum Key {
    Ready(Identity),
    Locked {
        key: EncryptedKey,
        unlocked: OnceLock<Option<Identity>>,
        prompt: Arc<dyn Prompt>,
    },
}

/// Why a file is not an SSH key that can be used. Nothing of its content is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SshKeyError {
    /// No private key of OpenSSH or PEM.
    #[error("it is not an SSH private key in OpenSSH or RSA PEM form{hint}")]
    Malformed {
        /// How to convert it, where that helps.
        hint: &'static str,
    },
    /// A PEM file encrypted in the old way, with one round of MD5.
    #[error(
        "it is an SSH key encrypted in the old PEM form, which protects it badly; \
         `ssh-keygen -o -p -f FILE` converts it"
    )]
    OldEncryption,
    /// Encrypted with a cipher that is not known here.
    #[error(
        "it is an SSH key encrypted with {0}; `ssh-keygen -p -Z aes256-ctr -f FILE` converts it"
    )]
    Cipher(String),
    /// age knows ssh-ed25519 and ssh-rsa.
    #[error("it is an SSH key of type {0}; age takes ssh-ed25519 and ssh-rsa only")]
    Type(String),
    /// It would have to be asked for its passphrase, where that is not possible.
    #[error("it is an encrypted SSH key, for which a command cannot be used; give it decrypted")]
    Encrypted,
}

impl SshIdentity {
    /// Parses a private key file. `prompt` is asked for the passphrase of an encrypted one;
    /// without it such a key is refused (sops-format.md 9.3, source 2).
    pub fn parse(
        place: &str,
        text: &str,
        prompt: Option<&Arc<dyn Prompt>>,
    ) -> Result<Self, SshKeyError> {
        // The crate wants the key at the start, and nothing but line feeds.
        let text = zeroize::Zeroizing::new(text.trim_start().replace("\r\n", "\n"));
        let malformed = || SshKeyError::Malformed {
            hint: match text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
                true => "; `ssh-keygen -p -f FILE` converts it",
                false => "",
            },
        };
        let parsed = Identity::from_buffer(text.as_bytes(), None).map_err(|_| malformed())?;
        let (kind, public, recipient) = match Recipient::try_from(parsed.clone()) {
            Ok(public) => match &public {
                Recipient::SshRsa(bytes, _) => ("ssh-rsa", bytes.clone(), public.to_string()),
                Recipient::SshEd25519(bytes, _) => {
                    ("ssh-ed25519", bytes.clone(), public.to_string())
                }
            },
            Err(_) => return Err(unusable(&parsed).unwrap_or_else(malformed)),
        };
        let key = match (parsed, prompt) {
            (Identity::Unsupported(_), _) => return Err(malformed()),
            (Identity::Encrypted(_), None) => return Err(SshKeyError::Encrypted),
            (Identity::Encrypted(key), Some(prompt)) => Key::Locked {
                key,
                unlocked: OnceLock::new(),
                prompt: Arc::clone(prompt),
            },
            (ready, _) => Key::Ready(ready),
        };
        let tag = BASE64_STANDARD_NO_PAD.encode(&Sha256::digest(&public)[..4]);
        Ok(Self {
            place: place.to_owned(),
            recipient,
            stanza: (kind, tag),
            key,
        })
    }

    /// Returns the public key, without a comment.
    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    /// Returns whether it asks for a passphrase before it opens anything.
    pub fn is_locked(&self) -> bool {
        match &self.key {
            Key::Ready(_) => false,
            Key::Locked { unlocked, .. } => unlocked.get().is_none(),
        }
    }

    fn unlocked(&self) -> Option<&Identity> {
        match &self.key {
            Key::Ready(key) => Some(key),
            Key::Locked {
                key,
                unlocked,
                prompt,
            } => unlocked
                .get_or_init(|| self.unlock(key, prompt.as_ref()))
                .as_ref(),
        }
    }

    fn unlock(&self, key: &EncryptedKey, prompt: &dyn Prompt) -> Option<Identity> {
        for attempt in 0..super::protected::ATTEMPTS {
            let given = prompt.passphrase(&Passphrase::SshKey(&self.place), attempt)?;
            let given = AgeSecretString::from(given.expose().to_owned());
            if let Ok(unlocked) = key.decrypt(given) {
                return Some(Identity::from(unlocked));
            }
        }
        None
    }
}

fn unusable(parsed: &Identity) -> Option<SshKeyError> {
    let Identity::Unsupported(key) = parsed else {
        return None;
    };
    Some(match key {
        UnsupportedKey::EncryptedPem => SshKeyError::OldEncryption,
        UnsupportedKey::EncryptedSsh(cipher) => {
            SshKeyError::Cipher(crate::prompt::printable(cipher))
        }
        UnsupportedKey::Hardware(kind) | UnsupportedKey::Type(kind) => {
            SshKeyError::Type(crate::prompt::printable(kind))
        }
    })
}

impl ::age::Identity for SshIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let (kind, tag) = &self.stanza;
        // Looked at before the passphrase is asked for.
        if stanza.tag != *kind || stanza.args.first() != Some(tag) {
            return None;
        }
        match self.unlocked() {
            Some(key) => key.unwrap_stanza(stanza),
            None => Some(Err(DecryptError::KeyDecryptionFailed)),
        }
    }
}

impl fmt::Debug for SshIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshIdentity({})", self.recipient)
    }
}

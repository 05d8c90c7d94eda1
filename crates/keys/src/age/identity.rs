//! One identity: a line of an identity file (sops-format.md 9.2).

use std::fmt;
use std::sync::Arc;

use ::age::{DecryptError, plugin, x25519};
use age_core::format::{FileKey, Stanza};

use super::hybrid::HybridIdentity;
use crate::prompt::{PluginPrompt, Prompt};

/// A private key, or what a plugin needs to find one.
#[derive(Clone)]
#[non_exhaustive]
pub enum AgeIdentity {
    /// `AGE-SECRET-KEY-1...`.
    X25519(Box<x25519::Identity>),
    /// `AGE-SECRET-KEY-PQ-1...`.
    Hybrid(HybridIdentity),
    /// `AGE-PLUGIN-NAME-1...`: the program `age-plugin-name` on the PATH is asked.
    Plugin(PluginIdentity),
}

/// An identity of a plugin.
#[derive(Clone)]
pub struct PluginIdentity {
    identity: plugin::Identity,
    prompt: Arc<dyn Prompt>,
}

/// A word that is no identity. It may be a secret all the same and is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnIdentity {
    /// It has the prefix of one, but a wrong letter or length.
    #[error("is a damaged age identity")]
    Damaged,
    /// It is a recipient, which cannot decrypt.
    #[error("is a recipient (a public key), not an age identity")]
    Recipient,
    /// Anything else.
    #[error("is not an age identity (AGE-SECRET-KEY-1..., AGE-SECRET-KEY-PQ-1..., AGE-PLUGIN-...)")]
    Unknown,
}

impl AgeIdentity {
    /// Parses one identity. A plugin asks its questions through `prompt`.
    pub fn parse(word: &str, prompt: &Arc<dyn Prompt>) -> Result<Self, NotAnIdentity> {
        if word.starts_with("AGE-PLUGIN-") {
            let identity = word.parse().map_err(|_| NotAnIdentity::Damaged)?;
            let prompt = Arc::clone(prompt);
            return Ok(Self::Plugin(PluginIdentity { identity, prompt }));
        }
        Self::parse_native(word)
    }

    /// Parses one identity of age itself: a passphrase-protected file holds no others (9.3).
    pub fn parse_native(word: &str) -> Result<Self, NotAnIdentity> {
        if word.starts_with("AGE-SECRET-KEY-PQ-1") {
            let key = word.parse().map_err(|_| NotAnIdentity::Damaged)?;
            Ok(Self::Hybrid(key))
        } else if word.starts_with("AGE-SECRET-KEY-1") {
            let key = word.parse().map_err(|_| NotAnIdentity::Damaged)?;
            Ok(Self::X25519(Box::new(key)))
        } else if word.starts_with("age1") || word.starts_with("ssh-") {
            Err(NotAnIdentity::Recipient)
        } else {
            Err(NotAnIdentity::Unknown)
        }
    }

    /// Returns the recipient that it opens; `None` for a plugin, which alone knows it.
    pub fn recipient(&self) -> Option<String> {
        match self {
            Self::X25519(key) => Some(key.to_public().to_string()),
            Self::Hybrid(key) => Some(key.to_public().to_string()),
            Self::Plugin(_) => None,
        }
    }

    /// Returns the name of the plugin, of one that needs it.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Plugin(own) => Some(own.identity.plugin()),
            _ => None,
        }
    }
}

impl ::age::Identity for AgeIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self {
            Self::X25519(key) => key.unwrap_stanzas(stanzas),
            Self::Hybrid(key) => key.unwrap_stanzas(stanzas),
            Self::Plugin(own) => {
                let prompt = PluginPrompt(Arc::clone(&own.prompt));
                let identity = std::slice::from_ref(&own.identity);
                match plugin::IdentityPluginV1::new(own.identity.plugin(), identity, prompt) {
                    Ok(program) => {
                        let unwrapped = ::age::Identity::unwrap_stanzas(&program, stanzas)?;
                        Some(unwrapped.map_err(|error| match error {
                            DecryptError::Io(error) => {
                                DecryptError::Io(super::plugin_ended(own.identity.plugin(), &error))
                            }
                            other => other,
                        }))
                    }
                    Err(error) => Some(Err(DecryptError::PluginResolve(error))),
                }
            }
        }
    }
}

impl fmt::Debug for AgeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.recipient(), self.plugin()) {
            (Some(recipient), _) => write!(f, "AgeIdentity({recipient})"),
            (None, name) => write!(f, "AgeIdentity(plugin {})", name.unwrap_or_default()),
        }
    }
}

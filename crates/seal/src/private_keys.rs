//! Private keys without certificates: from PEM files and from backups of a controller's Secrets
//! (sealed-secrets.md 8.4, 12.8).

use std::sync::Arc;

use crate::manifest::SealManifestError;
use crate::object::PlainSecret;
use crate::ring::Opener;
use crate::{Fingerprint, Label, PrivateKey, PrivateKeyError, Unsealer};

/// Private keys that open values, in the order they were added.
#[derive(Clone, Default)]
pub struct PrivateKeys(Vec<Arc<Opener>>);

/// Why a file gives no private key. Names nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeysError {
    /// PEM with a key that cannot be used.
    #[error(transparent)]
    Key(#[from] PrivateKeyError),
    /// A Secret whose key cannot be used.
    #[error("line {line}: the Secret {name:?}: {source}")]
    OfSecret {
        /// Line of the Secret.
        line: usize,
        /// Its name.
        name: String,
        /// What is wrong with the key.
        source: PrivateKeyError,
    },
    /// A Secret without a key. The text is kubeseal's, which means `tls.key`.
    #[error("line {line}: the Secret {name:?}: secret must contain a 'tls.data' key (its tls.key)")]
    NoEntry {
        /// Line of the Secret.
        line: usize,
        /// Its name.
        name: String,
    },
    /// Neither PEM nor a manifest of Secrets.
    #[error("neither a private key in PEM form nor Secrets that hold keys: {0}")]
    Unreadable(SealManifestError),
    /// Nothing in it.
    #[error("it holds no private key")]
    Empty,
}

impl PrivateKeys {
    /// Adds every key of a text and returns how many were new: PEM blocks, or Secrets with
    /// `tls.key` as `kubectl get secret -o yaml` prints them (Lists, SecretLists, several
    /// documents).
    ///
    /// A Secret without a key is an error: a backup that lacks one is not what it is taken for.
    pub fn add(&mut self, text: &str) -> Result<usize, PrivateKeysError> {
        // In a manifest, a block is indented or within quotes.
        if text.lines().any(|line| line.starts_with("-----BEGIN ")) {
            let keys = PrivateKey::parse_all(text)?;
            return self.insert_all(&keys);
        }
        let secrets = PlainSecret::read(text).map_err(PrivateKeysError::Unreadable)?;
        if secrets.is_empty() {
            return Err(PrivateKeysError::Empty);
        }
        let mut keys = Vec::new();
        for secret in &secrets {
            let name = || secret.name().to_owned();
            let line = secret.line();
            let pem = secret
                .value("tls.key")
                .ok_or_else(|| PrivateKeysError::NoEntry { line, name: name() })?;
            let pem = std::str::from_utf8(pem.expose()).unwrap_or_default();
            let key = PrivateKey::parse(pem).map_err(|source| PrivateKeysError::OfSecret {
                line,
                name: name(),
                source,
            })?;
            keys.push(key);
        }
        self.insert_all(&keys)
    }

    /// Adds a key and returns whether it was new.
    pub fn insert(&mut self, key: &PrivateKey) -> Result<bool, PrivateKeyError> {
        let known = |opener: &Arc<Opener>| opener.fingerprint() == key.fingerprint();
        if self.0.iter().any(known) {
            return Ok(false);
        }
        self.0.push(Arc::new(Opener::new(key)?));
        Ok(true)
    }

    fn insert_all(&mut self, keys: &[PrivateKey]) -> Result<usize, PrivateKeysError> {
        let mut added = 0;
        for key in keys {
            added += usize::from(self.insert(key)?);
        }
        Ok(added)
    }

    /// Returns the fingerprints in order.
    pub fn fingerprints(&self) -> impl ExactSizeIterator<Item = Fingerprint> {
        self.0.iter().map(|opener| opener.fingerprint())
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what opens the values under `label`; `first` names the key to try before the others.
    pub fn unsealer<'a>(&'a self, label: &'a Label, first: Option<Fingerprint>) -> Unsealer<'a> {
        Unsealer::new(self.0.iter().map(AsRef::as_ref).collect(), label, first)
    }
}

impl std::fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fingerprints()).finish()
    }
}

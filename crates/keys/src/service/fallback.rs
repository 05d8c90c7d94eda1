//! This process first, then each key service (sops-format.md 21): for encryption the first that
//! succeeds is enough, for decryption each is asked in turn.

use std::sync::Arc;

use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use super::client::RemoteKeys;
use crate::context::MasterKeyError;

/// A master key that this process may have, or one of some key services.
pub(crate) struct ServedKey {
    pub(crate) spec: KeySpec,
    pub(crate) id: String,
    pub(crate) local: Result<Box<dyn MasterKey + Send + Sync>, MasterKeyError>,
    pub(crate) remote: Vec<Arc<RemoteKeys>>,
    pub(crate) created_at: jiff::Timestamp,
}

impl MasterKey for ServedKey {
    fn kind(&self) -> KeyKind {
        self.spec.kind()
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let mut causes = Vec::new();
        match &self.local {
            Ok(key) => match key.wrap(secret) {
                Ok(entry) => return Ok(entry),
                Err(error) => causes.push(error.reason),
            },
            Err(MasterKeyError::NoService) => {}
            Err(error) => causes.push(error.to_string()),
        }
        for service in &self.remote {
            match service.encrypt(&self.spec, secret) {
                Ok(enc) => return Ok(self.spec.entry(&enc, self.created_at)),
                Err(cause) => causes.push(cause),
            }
        }
        Err(WrapError {
            kind: self.kind(),
            id: self.id.clone(),
            reason: causes.join("; "),
        })
    }
}

/// Sources that are asked one after the other until one has the key.
pub struct EachInTurn<'a>(pub Vec<&'a dyn DataKeySource>);

impl DataKeySource for EachInTurn<'_> {
    /// Whether the first one seems to have the key: what the others have is known when they are asked.
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.0.first().is_some_and(|source| source.fits(entry))
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let mut failures: Vec<UnwrapError> = Vec::new();
        for source in &self.0 {
            match source.unwrap_key(entry) {
                Ok(key) => return Ok(key),
                Err(error) => failures.push(error),
            }
        }
        match failures.len() {
            0 => Err(UnwrapError::NotMine),
            1 => Err(failures.remove(0)),
            _ => {
                let causes: Vec<String> = failures.iter().map(ToString::to_string).collect();
                Err(UnwrapError::Failed(causes.join("; ")))
            }
        }
    }
}

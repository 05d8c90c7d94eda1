//! A master key for tests that wraps nothing: its entries hold the secret in base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::key_spec::KeySpec;
use crate::keys::{DataKeySource, KeyEntry, KeyKind, MasterKey, UnwrapError, WrapError};

/// An age recipient in name only.
pub(crate) struct ClearKey(pub(crate) &'static str);

impl ClearKey {
    pub(crate) fn spec(&self) -> KeySpec {
        KeySpec::Age {
            recipient: self.0.to_owned(),
        }
    }
}

impl MasterKey for ClearKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Age
    }

    fn id(&self) -> &str {
        self.0
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let enc = BASE64_STANDARD.encode(secret) + "\n";
        Ok(self.spec().entry(&enc, jiff::Timestamp::UNIX_EPOCH))
    }
}

impl DataKeySource for ClearKey {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        if entry.field("recipient") != Some(self.0) {
            return Err(UnwrapError::NotMine);
        }
        let text = entry.field("enc").unwrap_or_default().trim();
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map(Zeroizing::new).map_err(|_| UnwrapError::NotMine)
    }
}

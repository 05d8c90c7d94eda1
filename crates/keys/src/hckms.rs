//! Huawei Cloud KMS (sops-format.md 8.7): its entries are read, kept and written again, nothing more.

use selkie_sops::{DataKeySource, KeyEntry, KeyKind, UnwrapError};
use zeroize::Zeroizing;

/// Why such a key neither wraps nor unwraps.
pub(crate) const REFUSAL: &str = "Huawei Cloud KMS cannot be asked: Selkie has no client for it, and \
    keeps its entries as they are; another key of the file, or sops itself, opens it";

/// Refuses every entry of this kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct HuaweiKms;

impl DataKeySource for HuaweiKms {
    fn fits(&self, _entry: &KeyEntry) -> bool {
        false
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        match entry.kind {
            KeyKind::Hckms => Err(UnwrapError::Failed(REFUSAL.to_owned())),
            kind => Err(UnwrapError::Unsupported(kind)),
        }
    }
}

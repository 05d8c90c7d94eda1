//! What the metadata of a file says; needs no key.

use crate::decrypt::DecryptError;
use crate::format::Format;
use crate::metadata::Metadata;
use crate::rekey::{self, KeyChanges, KeyTarget};
use crate::selection::Selection;

/// What an encrypted file says about itself.
#[derive(Debug, Clone)]
pub struct FileStatus {
    /// Whom it is encrypted for.
    pub keys: KeyTarget,
    /// When a value was last encrypted: to the second, as RFC 3339.
    pub last_modified: String,
    /// The `created_at` of every key that has one, as it stands there (age keys have none). A data key is
    /// no younger than the oldest of them, nor than `last_modified`.
    pub wrapped: Vec<String>,
    /// Which values are encrypted.
    pub selection: Selection,
    /// Whether the MAC covers encrypted values only.
    pub mac_only_encrypted: bool,
    /// The version of sops whose format it has; may be empty.
    pub version: String,
    /// Whether it has a MAC.
    pub has_mac: bool,
    /// Whether it has a whole-file MAC.
    pub has_whole_mac: bool,
}

impl FileStatus {
    /// Says what another set of keys would change, as [`key_changes`](crate::key_changes) does.
    pub fn key_changes(&self, target: &KeyTarget) -> KeyChanges {
        let threshold = self.keys.threshold.unwrap_or(0);
        let target = rekey::with_threshold(target, threshold);
        KeyChanges::between(&self.keys.groups, threshold, &target)
    }
}

/// Reads the metadata of a file, without proof: nothing is decrypted.
pub fn status(source: &str, format: Format) -> Result<FileStatus, DecryptError> {
    let stream = format.parse(source)?;
    let metadata = Metadata::read(&stream)?;
    Ok(FileStatus {
        keys: KeyTarget {
            groups: rekey::specs(&metadata),
            threshold: Some(metadata.threshold).filter(|threshold| *threshold > 0),
        },
        wrapped: wrapped(&metadata),
        last_modified: metadata.last_modified,
        selection: metadata.selection,
        mac_only_encrypted: metadata.mac_only_encrypted,
        version: metadata.version,
        has_mac: !metadata.mac.is_empty(),
        has_whole_mac: metadata.whole_mac.is_some(),
    })
}

fn wrapped(metadata: &Metadata) -> Vec<String> {
    let entries = metadata.groups.iter().flatten();
    let times = entries.filter_map(|entry| entry.field("created_at"));
    times.map(str::to_owned).collect()
}

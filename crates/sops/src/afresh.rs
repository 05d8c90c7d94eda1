//! What a file would lose if it were encrypted anew, instead of changed in its place.

use crate::block::Block;
use crate::decrypt::DecryptError;
use crate::edit::OpenFile;
use crate::format::Format;
use crate::keys::KeyKind;
use crate::whole_mac;

/// Why a file is not encrypted anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfreshError {
    /// Fields that somebody else put into the metadata.
    #[error("another rule encrypts the file anew, and {} of its metadata would be lost", .0.join(", "))]
    Unknown(Vec<String>),
    /// The metadata cannot be read.
    #[error(transparent)]
    Open(#[from] DecryptError),
}

/// Refuses a file with metadata that a new encryption would not write again; needs no key.
pub fn check_afresh(source: &str, format: Format) -> Result<(), AfreshError> {
    let stream = format.parse(source).map_err(DecryptError::from)?;
    check(&Block::of(&stream).map_err(DecryptError::from)?)
}

impl OpenFile<'_> {
    /// Refuses to encrypt the file anew where something of its metadata would be lost.
    pub fn check_afresh(&self) -> Result<(), AfreshError> {
        check(&self.block)
    }
}

fn check(block: &Block) -> Result<(), AfreshError> {
    let unknown = block.names().filter(|name| !is_known(name));
    let unknown: Vec<String> = unknown.map(str::to_owned).collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(AfreshError::Unknown(unknown)),
    }
}

/// Returns whether every encryption writes the field, or has a reason not to (sops-format.md 7.2).
fn is_known(name: &str) -> bool {
    let is = |known: &str| known.eq_ignore_ascii_case(name);
    KNOWN.into_iter().any(is) || KeyKind::ALL.iter().any(|kind| is(kind.name()))
}

const KNOWN: [&str; 13] = [
    "encrypted_comment_regex",
    "encrypted_regex",
    "encrypted_suffix",
    "key_groups",
    "lastmodified",
    "mac",
    "mac_only_encrypted",
    whole_mac::FIELD,
    "shamir_threshold",
    "unencrypted_comment_regex",
    "unencrypted_regex",
    "unencrypted_suffix",
    "version",
];

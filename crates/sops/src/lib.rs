//! The SOPS file format: selection, values, MAC, metadata, creation rules.
//!
//! No network, no environment, no clock: keys come through two traits ([`MasterKey`] wraps a data
//! key, [`DataKeySource`] unwraps one), the time is an argument.
//!
//! A file is of one [`Format`]; [`convert`] writes a clear one in another.
//!
//! - [`encrypt`] takes a clear file and a plan, and gives the file with ciphertext in the place of
//!   the selected values; every other byte stays. A file that is encrypted already is an outcome
//!   of its own; [`add_clear`] encrypts what somebody added to one by hand.
//! - [`decrypt`] gives the clear file back, or an error that says which leaf or check failed;
//!   [`extract`] takes one part out of it.
//! - [`Config`] is `.sops.yaml`; [`manifest::default_selection`] is the rule of a file of
//!   Kubernetes Secrets that has no other.

mod access;
mod add_clear;
mod afresh;
mod binary;
mod block;
mod cipher;
#[cfg(test)]
mod clear_key;
mod config;
mod convert;
mod data_key;
mod decrypt;
mod edit;
mod encrypt;
mod extract;
mod format;
#[cfg(test)]
mod format_tests;
mod key_map;
mod key_spec;
mod keys;
mod mac;
pub mod manifest;
mod merge;
mod metadata;
mod metadata_tree;
mod open;
#[cfg(test)]
mod operations_tests;
mod rekey;
mod reselect;
mod restore;
mod rfc3339;
mod selection;
mod set;
mod shamir;
mod stash;
mod status;
mod tree;
mod value;
mod whole_mac;

pub use access::{LostAccess, lost_access};
pub use add_clear::{AddClearError, AddClearOptions, add_clear};
pub use afresh::{AfreshError, check_afresh};
pub use binary::{decrypt_binary, encrypt_binary, encrypt_binary_as};
pub use cipher::CipherError;
pub use config::{
    Config, ConfigError, CreationRule, Destination, DestinationRule, Explanation, ShadowedRule,
    Stores,
};
pub use convert::{ConvertError, convert};
pub use data_key::{DecryptionOrder, DecryptionOrderError, GroupError, NoDataKey, check_groups};
pub use decrypt::{DecryptError, DecryptOptions, Decrypted, Warning, decrypt};
pub use edit::{EditError, EditOptions, Edited, OpenFile};
pub use encrypt::{
    AlreadyEncrypted, ClearLeaf, EncryptError, EncryptPlan, Encrypted, Encryption, encrypt,
};
pub use extract::{ExtractError, ExtractPath, ExtractPathError, extract, extract_binary};
pub use format::{Format, FormatError};
pub use key_spec::{KeySpec, KeySpecError, KmsSpec};
pub use keys::{
    DATA_KEY_LEN, DataKey, DataKeyLengthError, DataKeySource, KeyEntry, KeyKind, MasterKey,
    RandomError, UnwrapError, WrapError,
};
pub use metadata::{FORMAT_VERSION, MetadataError};
pub use open::MacError;
pub use rekey::{
    DataKeyChange, EncryptedLeaf, GroupChange, KeyChanges, KeyTarget, MasterKeyOf, RekeyError,
    Rekeyed, encrypted_leaves, is_encrypted, key_changes,
};
pub use reselect::{SelectionChange, implied_selection, selection_change};
pub use selection::{DEFAULT_UNENCRYPTED_SUFFIX, Selection, SelectionError, SelectionSettings};
pub use selkie_goregex::RegexError;
pub use set::{JsonOptions, NewValue, NewValueError, SetError, SetOptions};
pub use shamir::ShamirError;
pub use status::{FileStatus, status};
pub use tree::TreeError;
pub use whole_mac::{FilePart, WholeMacError};

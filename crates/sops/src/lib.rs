//! The SOPS file format: selection, values, MAC, metadata, creation rules.
//!
//! No network, no environment, no clock: keys come through two traits, the time as an argument.

mod cipher;
mod keys;
mod mac;
mod regex;
mod rfc3339;
mod selection;
mod value;

pub use cipher::CipherError;
pub use keys::{
    DATA_KEY_LEN, DataKey, DataKeyLengthError, DataKeySource, KeyEntry, KeyKind, MasterKey,
    RandomError, UnwrapError, WrapError,
};
pub use regex::RegexError;
pub use selection::{DEFAULT_UNENCRYPTED_SUFFIX, Selection, SelectionError, SelectionSettings};

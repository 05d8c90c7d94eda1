//! The data key of a file, and the joint to what wraps it.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// The 32 random bytes that encrypt every value of one file (sops-format.md 1).
pub struct DataKey(Zeroizing<[u8; DATA_KEY_LEN]>);

/// Length of a data key in bytes.
pub const DATA_KEY_LEN: usize = 32;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes; try again")]
pub struct RandomError;

/// A data key of the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the unwrapped data key has {0} bytes instead of {DATA_KEY_LEN}; the entry is damaged")]
pub struct DataKeyLengthError(pub usize);

impl DataKey {
    /// Makes a new key from the operating system's random source.
    pub fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; DATA_KEY_LEN]);
        getrandom::fill(&mut *bytes).map_err(|_| RandomError)?;
        Ok(Self(bytes))
    }

    /// Copies a key from the 32 bytes that an entry unwrapped to; the caller clears `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataKeyLengthError> {
        let mut key = Zeroizing::new([0; DATA_KEY_LEN]);
        if bytes.len() != DATA_KEY_LEN {
            return Err(DataKeyLengthError(bytes.len()));
        }
        key.copy_from_slice(bytes);
        Ok(Self(key))
    }

    /// Shows the key, for a [`MasterKey`] to wrap. The caller must not let it reach a message.
    pub fn expose(&self) -> &[u8; DATA_KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

/// The type of a master key: the list of the metadata block that its entries stand in
/// (sops-format.md 7.1). The order of the variants is the order sops loads the lists in (7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// AWS KMS.
    Kms,
    /// Google Cloud KMS.
    GcpKms,
    /// Huawei Cloud KMS.
    Hckms,
    /// Azure Key Vault.
    AzureKv,
    /// Vault or OpenBao transit.
    HcVault,
    /// OpenPGP.
    Pgp,
    /// age.
    Age,
}

impl KeyKind {
    /// Every kind, in the order sops loads them.
    pub const ALL: [Self; 7] = [
        Self::Kms,
        Self::GcpKms,
        Self::Hckms,
        Self::AzureKv,
        Self::HcVault,
        Self::Pgp,
        Self::Age,
    ];

    /// Returns the kind of a list of the metadata block, by its name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the name of the list in the metadata block.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::GcpKms => "gcp_kms",
            Self::Hckms => "hckms",
            Self::AzureKv => "azure_kv",
            Self::HcVault => "hc_vault",
            Self::Pgp => "pgp",
            Self::Age => "age",
        }
    }

    /// Returns the fields that name a key of this kind, most telling first (sops-format.md 8).
    fn identifying_fields(self) -> &'static [&'static str] {
        match self {
            Self::Kms => &["arn"],
            Self::GcpKms => &["resource_id"],
            Self::Hckms => &["key_id"],
            Self::AzureKv => &["vault_url", "name"],
            Self::HcVault => &["vault_address", "engine_path", "key_name"],
            Self::Pgp => &["fp"],
            Self::Age => &["recipient"],
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest name of a key that a message shows whole.
const MAX_SHOWN_ID: usize = 200;

/// One wrapped data key: an element of a key list of the metadata block (sops-format.md 8).
#[derive(Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Which list it stands in.
    pub kind: KeyKind,
    /// Its scalar fields by lower-case name, as found; `enc` is the wrapped key.
    pub fields: Vec<(String, String)>,
    /// The encryption context of a `kms` entry; empty for every other kind.
    pub context: BTreeMap<String, String>,
}

impl fmt::Debug for KeyEntry {
    /// Shows what names the key, and leaves the wrapped data key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("kind", &self.kind)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl KeyEntry {
    /// Returns the text of a field, if the entry has it.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns what was wrapped, in the form of the entry's kind.
    pub fn enc(&self) -> Result<&str, UnwrapError> {
        self.field("enc")
            .ok_or_else(|| UnwrapError::Failed("the entry has no enc field".to_owned()))
    }

    /// Returns what names the key in a message: the recipient, the fingerprint, the ARN; public in
    /// every kind. A post-quantum recipient of age, of 1,959 characters, is cut.
    pub fn id(&self) -> String {
        let parts: Vec<&str> = self
            .kind
            .identifying_fields()
            .iter()
            .filter_map(|name| self.field(name))
            .collect();
        let id = parts.join("/");
        match id.char_indices().nth(MAX_SHOWN_ID) {
            Some((end, _)) => format!("{}...", &id[..end]),
            None => id,
        }
    }
}

/// Something that can wrap a data key: an age recipient, a key of a key service.
pub trait MasterKey {
    /// Returns the list its entries go into.
    fn kind(&self) -> KeyKind;

    /// Returns what names the key in messages and in comparisons; not secret.
    fn id(&self) -> &str;

    /// Wraps `secret` and returns the entry to store. Every master key of a file must succeed.
    ///
    /// `secret` is the data key of 32 bytes, or a key group's share of it, of 33 (sops-format.md 10).
    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError>;
}

/// Why a data key could not be wrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the data key cannot be wrapped for {kind} {id}: {reason}")]
pub struct WrapError {
    /// The kind of key.
    pub kind: KeyKind,
    /// What names the key.
    pub id: String,
    /// Why, without any key material.
    pub reason: String,
}

/// Something that may unwrap entries: a set of age identities, a key service.
pub trait DataKeySource {
    /// Returns whether this source seems to have the key of the entry; such entries are tried
    /// before the others, so that no identity or key service is asked in vain.
    fn fits(&self, _entry: &KeyEntry) -> bool {
        true
    }

    /// Unwraps one entry, and returns what was wrapped: a data key or a share, of any length; the
    /// caller checks it. Called for each entry in decryption order until one succeeds.
    ///
    /// Returns [`UnwrapError::NotMine`] for an entry that this source has no key for.
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError>;
}

/// Why an entry did not yield the data key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// This source has no key for the entry.
    #[error("no identity fits")]
    NotMine,
    /// Keys of this kind cannot be used yet.
    #[error("keys of type {0} cannot be used: this build of Selkie was made without their client")]
    Unsupported(KeyKind),
    /// The entry is damaged, or the key service failed.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_has_32_bytes_and_is_not_shown() {
        assert_eq!(
            DataKey::from_bytes(&[1; 31]).unwrap_err(),
            DataKeyLengthError(31)
        );
        let key = DataKey::from_bytes(&[1; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "DataKey(redacted)");
        let (one, two) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
        assert_ne!(one.expose(), two.expose());
    }

    #[test]
    fn an_entry_is_named_by_its_public_fields() {
        let entry = KeyEntry {
            kind: KeyKind::HcVault,
            fields: vec![
                ("key_name".to_owned(), "k".to_owned()),
                ("vault_address".to_owned(), "https://v:8200".to_owned()),
                ("engine_path".to_owned(), "sops".to_owned()),
                ("enc".to_owned(), "vault:v1:x".to_owned()),
            ],
            context: BTreeMap::new(),
        };
        assert_eq!(entry.id(), "https://v:8200/sops/k");
        assert_eq!(entry.field("enc"), Some("vault:v1:x"));
        assert!(!format!("{entry:?}").contains("vault:v1:x"), "{entry:?}");
        let long = KeyEntry {
            kind: KeyKind::Age,
            fields: vec![("recipient".to_owned(), "ä".repeat(1959))],
            ..entry
        };
        assert_eq!(long.id(), format!("{}...", "ä".repeat(200)));
    }
}

//! The SOPS file format: selection, values, MAC, metadata, creation rules.
//!
//! No network, no environment, no clock: keys come through two traits, the time as an argument.
//!
//! API, fixed 11:45 (bodies follow):
//! ```text
//! // keys.rs
//! pub struct DataKey;                       // 32 bytes; DataKey::generate(), DataKey::from_bytes(&[u8]), .expose()
//! pub enum KeyKind { Age, Pgp, Kms, GcpKms, AzureKv, HcVault, Hckms }   // Display = sops type name ("age", "kms", ..)
//! pub struct KeyEntry { pub kind: KeyKind, pub fields: Vec<(String, String)> }   // .id() = recipient, arn, fp, ... ; .field("enc")
//! pub trait MasterKey { fn kind(&self) -> KeyKind; fn id(&self) -> &str; fn wrap(&self, key: &DataKey) -> Result<KeyEntry, WrapError>; }
//! pub trait DataKeySource { fn unwrap_key(&self, entry: &KeyEntry) -> Result<DataKey, UnwrapError>; }
//! // selection.rs
//! pub struct SelectionSettings { pub unencrypted_suffix: Option<String>, .. the six .. }      // Default
//! impl SelectionSettings { pub fn compile(&self) -> Result<Option<Selection>, SelectionError>; } // None: none of the six is set
//! pub struct Selection;                     // Selection::default() = unencrypted_suffix: _unencrypted
//! // encrypt.rs, add_clear.rs, decrypt.rs, extract.rs
//! pub struct EncryptPlan<'a> { pub recipients: &'a [&'a dyn MasterKey], pub selection: Selection, pub mac_only_encrypted: bool, pub now: jiff::Timestamp }
//! pub fn encrypt(source: &str, plan: &EncryptPlan<'_>) -> Result<Encryption, EncryptError>;
//! pub enum Encryption { Encrypted(Encrypted), AlreadyEncrypted(AlreadyEncrypted) }
//! pub struct Encrypted { pub text: String, pub values: usize, pub comments: usize }
//! pub struct AlreadyEncrypted { pub clear: Vec<ClearLeaf> /* empty: nothing forgotten */, pub keys: Vec<KeyEntry> }
//! pub struct ClearLeaf { pub path: String, pub line: usize }
//! pub fn add_clear(source: &str, keys: &dyn DataKeySource, options: &AddClearOptions { now, ignore_mac }) -> Result<Encrypted, AddClearError>;
//! pub fn decrypt(source: &str, keys: &dyn DataKeySource, options: &DecryptOptions { ignore_mac }) -> Result<Decrypted, DecryptError>;
//! pub struct Decrypted { pub text: SecretString, pub values: usize, pub warnings: Vec<Warning> }   // Warning: Display, line
//! pub struct ExtractPath; impl FromStr for ExtractPath { type Err = ExtractPathError }  // ["a"]["b"][0]
//! pub fn extract(plain: &str, path: &ExtractPath) -> Result<SecretBytes, ExtractError>;   // `plain` = Decrypted.text
//! // config.rs
//! pub struct Config; impl Config { pub fn parse(text: &str) -> Result<Config, ConfigError>; // ConfigError: line, column, Display
//!     pub fn has_creation_rules(&self) -> bool;
//!     pub fn rule_for(&self, path: &str /* relative to the config's folder, or absolute when outside */) -> Option<&CreationRule>; }
//! pub struct CreationRule { pub line: usize, pub age: Vec<String> /* recipients as written, split at commas */, pub selection: Option<Selection>, pub mac_only_encrypted: bool }
//! // manifest.rs
//! pub fn manifest::default_selection(source: &str) -> Result<Option<Selection>, ManifestError>; // Some(^(data|stringData)$) for a file of Kubernetes Secrets, Err when that rule would hide something else
//! ```

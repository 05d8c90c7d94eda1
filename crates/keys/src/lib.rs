//! What wraps a data key: age.
//!
//! API, fixed 11:45 (bodies follow):
//! ```text
//! pub mod age {
//!   pub struct AgeRecipient; impl FromStr for AgeRecipient { Err = RecipientError }   // impl selkie_sops::MasterKey; Display
//!   pub fn parse_recipients(list: &str) -> Result<Vec<AgeRecipient>, RecipientError>; // comma separated, trimmed
//!   pub struct IdentitySource { pub name: String /* "SOPS_AGE_KEY", "/home/u/.config/sops/age/keys.txt" */, pub content: Result<SecretString, String /* why it could not be read */> }
//!   pub struct AgeIdentities; // impl selkie_sops::DataKeySource
//!   impl AgeIdentities { pub fn from_sources(Vec<IdentitySource>) -> Self; pub fn is_empty(&self) -> bool; pub fn len(&self) -> usize;
//!       pub fn sources(&self) -> &[SourceReport] /* name, identities: usize, problem: Option<String> */ }
//!   pub struct GeneratedKey { .. } // GeneratedKey::generate(); .public_key() -> &str; .file(now: jiff::Timestamp) -> SecretString in age-keygen's format
//! }
//! ```

//! What wraps a data key: age, OpenPGP, AWS KMS, Vault transit, Google Cloud KMS, Azure Key Vault.
//!
//! One file or folder per key type; each has what wraps, a [`selkie_sops::MasterKey`], and what
//! unwraps, a [`selkie_sops::DataKeySource`]. Nothing here reads the environment: the caller reads,
//! and hands over settings and contents with the names of their places.

pub mod age;
pub mod aws_kms;
#[cfg(feature = "azure-kv")]
pub mod azure_kv;
#[cfg(feature = "gcp-kms")]
pub mod gcp_kms;
pub mod hckms;
pub mod pgp;
pub mod prompt;
pub mod service;
pub mod vault_transit;

mod context;
mod network;
mod openpgp;
mod remembered;

pub use context::{KeyContext, KeySources, MasterKeyError, master_key};
pub use network::Network;
pub use remembered::Remembered;

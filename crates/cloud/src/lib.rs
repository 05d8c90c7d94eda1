//! Clients and logins that keys and stores share: Vault, AWS, Google Cloud and Azure; and which
//! addresses get credentials at all.
//!
//! Every client gets its server, credentials, time limits and certificates as arguments. No message
//! of this crate carries a token, a key or a value; answers that are not errors are secret bytes.

pub mod aws;
#[cfg(feature = "azure-kv")]
pub mod azure_auth;
#[cfg(feature = "azure-kv")]
pub mod azure_kv;
pub mod endpoint;
#[cfg(feature = "gcp-kms")]
pub mod gcp_auth;
#[cfg(feature = "gcp-kms")]
pub mod gcp_kms;
#[cfg(feature = "gcp-kms")]
pub mod gcs;
#[cfg(any(feature = "gcp-kms", feature = "azure-kv"))]
mod jwt;
pub mod kms;
pub mod kv;
mod message;
mod refusal;
#[cfg_attr(
    not(any(feature = "gcp-kms", feature = "azure-kv")),
    allow(dead_code, reason = "Vault's client uses a part of it")
)]
pub mod rest;
pub mod s3;
pub mod transit;
pub mod vault;

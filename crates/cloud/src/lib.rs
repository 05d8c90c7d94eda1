//! Clients and logins that keys and stores share: Vault and AWS; and which addresses get
//! credentials at all.
//!
//! Every client gets its server, credentials, time limits and certificates as arguments. No message
//! of this crate carries a token, a key or a value; answers that are not errors are secret bytes.

pub mod aws;
pub mod endpoint;
pub mod kms;
mod message;
mod refusal;
pub mod transit;
pub mod vault;

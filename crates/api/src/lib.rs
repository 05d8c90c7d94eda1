//! The custom resources as Rust types, and the CRDs that `crds/` ships, rendered from here.
//!
//! Types are lenient where objects in clusters are: one odd object must never break the watch of
//! its whole collection (sealed-secrets.md 4).

pub mod render;
pub mod sealed_secret;

pub use sealed_secret::{SealedSecret, SealedSecretSpec, SealedSecretStatus};

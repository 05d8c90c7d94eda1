//! The custom resources as Rust types, and the CRDs that `crds/` ships, rendered from here.
//!
//! Types are lenient where objects in clusters are: one odd object must never break the watch of
//! its whole collection (sealed-secrets.md 4).

pub mod external_secret;
pub mod render;
mod schema;
pub mod sealed_secret;
pub mod secret_store;

pub use external_secret::{ExternalSecret, ExternalSecretSpec, ExternalSecretStatus};
pub use sealed_secret::{SealedSecret, SealedSecretSpec, SealedSecretStatus};
pub use secret_store::{ClusterSecretStore, SecretStore, SecretStoreSpec, SecretStoreStatus};

//! Secret backends behind one trait, and what happens to a value on its way to a Secret.
//!
//! A backend is asked in three steps, so that values can be shared: [`SecretBackend::locate`] says
//! which document a reference means, [`SecretBackend::read`] reads that document, and
//! [`SecretBackend::value`] and [`SecretBackend::members`] take the answer out of it without asking
//! anybody. [`StoreSession`] puts one client, one value cache and one circuit breaker before it.

mod aws;
mod json;
mod property;
mod session;
pub mod values;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use selkie_cloud::aws::SecretsManagerError;
use selkie_cloud::vault::VaultError;
use selkie_secret::SecretBytes;

pub use aws::SecretsManagerBackend;
pub use json::JsonError;
pub use property::UnsupportedPath;
pub use session::StoreSession;
pub use vault::{KvVersion, VaultBackend};

/// A future of a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Keys of a Secret and their values.
pub type Members = BTreeMap<String, SecretBytes>;

/// What an ExternalSecret's entry asks a store for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteRef {
    /// The provider's name of the secret.
    pub key: String,
    /// A member inside the value.
    pub property: Option<String>,
    /// The provider's name of a version.
    pub version: Option<String>,
}

/// One document of a backend: the unit that is read and cached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The backend's own path, name or ARN.
    pub path: String,
    /// The version, in the backend's own words.
    pub version: Option<String>,
}

/// What a backend returned for a [`Location`].
#[derive(Debug)]
pub struct Document(SecretBytes);

/// Where secrets come from.
pub trait SecretBackend: Send + Sync + fmt::Debug {
    /// Returns the document that `remote` is in. Two references into one document give equal locations.
    fn locate(&self, remote: &RemoteRef) -> Result<Location, StoreError>;

    /// Reads a document: one request.
    ///
    /// Fails with an error for which [`StoreError::is_no_secret`] holds only when the backend says that there is no such secret.
    fn read<'a>(&'a self, location: &'a Location) -> BoxFuture<'a, Result<Document, StoreError>>;

    /// Takes the value out of the document: all of it, or the property.
    fn value(&self, document: &Document, remote: &RemoteRef) -> Result<SecretBytes, StoreError>;

    /// Takes the members of the JSON object out of the document, or out of the property.
    fn members(&self, document: &Document, remote: &RemoteRef) -> Result<Members, StoreError>;

    /// Asks the backend whether the credentials are good, where it can tell.
    fn validate(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Why a store gave no value.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Vault's answer.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Secrets Manager's answer.
    #[error(transparent)]
    SecretsManager(#[from] SecretsManagerError),
    /// The secret exists and has no such member. Not the same as a missing secret.
    #[error("the secret {key:?} has no property {property:?}")]
    MissingProperty {
        /// The remote key.
        key: String,
        /// The property.
        property: String,
    },
    /// The property uses syntax that is not carried out.
    #[error("property {property:?}: {cause}")]
    Property {
        /// The property.
        property: String,
        /// Which syntax.
        cause: UnsupportedPath,
    },
    /// The value is not JSON, and a property or `extract` needs it to be.
    #[error("the secret {key:?} cannot be taken apart: {cause}")]
    NotJson {
        /// The remote key.
        key: String,
        /// Where it stops being JSON.
        cause: JsonError,
    },
    /// The value is JSON but not an object, and `extract` needs one.
    #[error("the secret {key:?} is not a JSON object, so it has no keys to extract")]
    NotAnObject {
        /// The remote key.
        key: String,
    },
    /// The reference cannot name a secret of this backend.
    #[error("remoteRef.version {version:?} is not a version of this store: {expected}")]
    Version {
        /// As given.
        version: String,
        /// What would be one.
        expected: &'static str,
    },
}

impl StoreError {
    /// Returns whether the backend itself said that the secret does not exist (external-secrets.md 6.6).
    ///
    /// The only error that a deletion policy may act on; a missing property, a wrong mount or a refused token is not.
    pub fn is_no_secret(&self) -> bool {
        matches!(
            self,
            Self::Vault(VaultError::NotFound { .. })
                | Self::SecretsManager(SecretsManagerError::NotFound { .. })
        )
    }

    /// Returns whether the backend as a whole is unavailable.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Vault(error) => error.is_outage(),
            Self::SecretsManager(error) => error.is_outage(),
            _ => false,
        }
    }
}

//! Sealed Secrets: hybrid encryption, scopes and labels, certificates, key rings, manifests.
//!
//! The format is that of Bitnami Sealed Secrets (sealed-secrets.md 1-4). Nothing here reads a file,
//! the network or the clock: certificates come as text, the time as an argument.
//!
//! - [`Certificate`] is what a value is sealed for; [`seal_value`] seals one value under a [`Label`].
//! - [`Scope`] decides the label; [`Scope::of_annotations`] reads it from an object's metadata.
//! - [`PrivateKey`] opens; a [`KeyRing`] holds all of a controller's keys, newest first, and its
//!   [`Unsealer`] tries the key that opened the value before.
//! - [`decode_value`] and [`encode_value`] convert between `spec.encryptedData` text and bytes.
//! - [`manifest`] turns Secret manifests into SealedSecret manifests in place.
//! - [`object`] reads, opens, checks, changes and prints SealedSecrets one by one, with a ring or with
//!   [`PrivateKeys`] alone.

mod certificate;
mod cipher;
mod der;
mod fingerprint;
mod hint;
pub mod manifest;
pub mod object;
mod pem;
mod private_key;
mod private_keys;
mod ring;
mod scope;
mod value;

pub use certificate::{Certificate, CertificateError, ExpiredError, GenerateError};
pub use cipher::{SealError, UnsealError, seal_value};
pub use fingerprint::{Fingerprint, FingerprintParseError};
pub use hint::{KeyHints, SEALED_WITH_ANNOTATION};
pub use object::OpenError;
pub use private_key::{PrivateKey, PrivateKeyError};
pub use private_keys::{PrivateKeys, PrivateKeysError};
pub use ring::{KeyRing, RingKey, RingKeyError, Unsealer};
pub use scope::{
    ANNOTATION_PREFIX, CLUSTER_WIDE_ANNOTATION, Label, NAMESPACE_WIDE_ANNOTATION, Scope,
    ScopeParseError,
};
pub use value::{Base64Error, decode_value, encode_value};

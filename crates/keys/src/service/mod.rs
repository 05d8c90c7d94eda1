//! The key service protocol of sops (sops-format.md 21): data keys are wrapped and unwrapped by another
//! process, which has the master keys.
//!
//! [`RemoteKeys`] asks a service, [`serve`] is one. The protocol is gRPC over HTTP/2 without TLS or
//! any proof of who asks: what a socket's permissions or the network in between let through, is
//! served.

mod address;
mod client;
mod fallback;
mod message;
mod server;

pub use address::{AddressError, ServiceAddress};
pub use client::{RemoteKeys, ServiceLimits};
pub use fallback::EachInTurn;
pub(crate) use fallback::ServedKey;
pub use server::{KeyHolder, Listener, Operation, describe, serve};

/// The paths of the two methods; the service has no package.
const ENCRYPT: &str = "/KeyService/Encrypt";
const DECRYPT: &str = "/KeyService/Decrypt";

/// The largest message in bytes: a wrapped key of OpenPGP for a large key has 2 KiB, one of age with
/// plugins may have a few more.
const LARGEST_MESSAGE: usize = 256 * 1024;

#[cfg(test)]
mod tests;

//! What wraps a data key: age.
//!
//! One file per key type; each has a recipient that is a [`selkie_sops::MasterKey`] and identities
//! that are a [`selkie_sops::DataKeySource`]. Nothing here reads the environment or a file: the
//! caller reads, and hands over the contents with the name of the place.

pub mod age;
pub mod aws_kms;
pub mod hckms;
mod network;
mod remembered;
pub mod vault_transit;

pub use network::Network;
pub use remembered::Remembered;

//! Secrets and SealedSecrets as objects: read from manifests, sealed, opened, checked and printed as
//! kubeseal prints them (sealed-secrets.md 4, 6, 12).
//!
//! - [`PlainSecret::read`] and [`PlainSecret::seal`]: what kubeseal does without a mode.
//! - [`SealedSecret::read`]: every SealedSecret of a manifest; [`SealedSecret::open`] opens one with
//!   private keys, [`SealedSecret::problems`] looks at its structure.
//! - [`replace_values`] puts new ciphertext into a manifest and [`merge_into`] adds values to one;
//!   every other byte, comments included, stays.
//! - [`reseal`] is the first for all values of a manifest, offline.
//!
//! [`crate::manifest`] seals a manifest in place and keeps its layout; here objects come out in the
//! canonical form.

mod canonical;
mod check;
mod edit;
mod metadata;
mod open;
pub(crate) mod pieces;
mod sealed;
mod secret;

pub use canonical::OutputFormat;
pub use check::Problem;
pub use edit::{
    Additions, EditManifestError, Replaced, ResealError, Resealing, merge_into, replace_values,
    reseal,
};
pub use open::{OpenError, OpenedSecret, Refusal, Rendering};
pub use sealed::{ReadSealedError, SealedItem, SealedSecret};
pub use secret::PlainSecret;

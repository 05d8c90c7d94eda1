//! The in-cluster controller: SealedSecrets and ExternalSecrets become Secrets.
//!
//! Each kind has three steps in three files: `observe` reads, `decide` is a pure function from what
//! was read to a plan, `apply` carries the plan out and is the only one that writes (design.md).

pub mod args;
pub mod external;
pub mod sealed;
pub mod support;
pub mod wiring;

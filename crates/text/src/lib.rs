//! Lossless text formats: byte spans in, edits out, scalars resolved as Go resolves them.
//!
//! [`yaml`] is a port of go-yaml v3 (see `NOTICE` and `docs/decisions/0002-yaml-port.md`).

pub mod yaml;

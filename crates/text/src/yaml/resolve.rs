//! What a scalar means: go-yaml's resolve.go.

use std::borrow::Cow;

use super::{NodeId, ResolveError, Stream};

/// A point in time in Go's `time.RFC3339Nano` form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// As Go prints it: fraction without trailing zeros, `Z` or offset.
    pub rfc3339: String,
}

/// What go-yaml v3 decodes a scalar to when nothing says which type is wanted.
#[derive(Clone, PartialEq)]
pub enum Scalar<'a> {
    /// `null`, `~`, nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Fits into 64 bits with sign.
    Int(i64),
    /// Only fits without sign.
    Uint(u64),
    /// Floats, and integers beyond 64 bits.
    Float(f64),
    /// Dates and times.
    Timestamp(Timestamp),
    /// Everything else.
    Str(Cow<'a, str>),
    /// `<<`; decodes to the string `<<` as a value.
    Merge,
    /// `!!binary`, decoded.
    Binary(Vec<u8>),
}

impl std::fmt::Debug for Scalar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scalar(..)")
    }
}

/// Resolves plain text without a tag.
#[must_use]
pub fn resolve_plain(text: &str) -> Scalar<'_> {
    unimplemented!("{text}")
}

impl Stream<'_> {
    /// What go-yaml v3 decodes a scalar to, its explicit tag included. An alias stands for its
    /// target. Collections are an error.
    pub fn resolve(&self, id: NodeId) -> Result<Scalar<'_>, ResolveError> {
        unimplemented!("{id:?}")
    }
}

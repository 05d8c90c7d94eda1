//! What a scalar means, and trees to write.

use std::borrow::Cow;

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
        f.write_str(self.tag())?;
        f.write_str("(..)")
    }
}

impl Scalar<'_> {
    /// go-yaml's short tag: `!!str`, `!!int`, ...
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Timestamp(_) => "!!timestamp",
            Self::Str(_) => "!!str",
            Self::Merge => "!!merge",
            Self::Binary(_) => "!!binary",
        }
    }
}

/// A small owned tree to write.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Entries in order.
    Map(Vec<(String, Value)>),
    /// Items in order.
    Seq(Vec<Value>),
    /// A string, quoted as needed.
    Str(String),
    /// An integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// A float: shortest digits that read back, as Go's `FormatFloat(f, 'g', -1, 64)`.
    Float(f64),
    /// `null`.
    Null,
    /// Text that is written as it is, in one line, where a plain scalar may be.
    Raw(String),
    /// A string written in double quotes (sops does so with `lastmodified`).
    Quoted(String),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(..)")
    }
}

//! What a scalar means, and trees to write.

use std::borrow::Cow;

use crate::float;

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
    /// A string, in YAML written in double quotes (sops does so with `lastmodified`).
    Quoted(String),
    /// A point in time as RFC 3339: a timestamp in YAML, a string elsewhere.
    Time(String),
    /// A comment, its text without marker: an item of a sequence, or an entry of a mapping whose
    /// key does not count. JSON leaves it out.
    Comment(String),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(..)")
    }
}

impl Value {
    /// A scalar as sops writes it where there is only text, floats left out; containers and comments
    /// are empty.
    pub(crate) fn flat_text(&self) -> String {
        match self {
            Self::Str(text) | Self::Raw(text) | Self::Quoted(text) => text.clone(),
            Self::Int(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Float(value) => float::flat(*value),
            Self::Null => "<nil>".to_owned(),
            Self::Time(text) => seconds(text),
            Self::Map(_) | Self::Seq(_) | Self::Comment(_) => String::new(),
        }
    }
}

/// An RFC 3339 time without its fraction.
fn seconds(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{whole}{zone}")
}

/// The leaves of a mapping with their paths: `a__map_b`, `a__list_0` (sops-format.md 14).
pub(crate) fn flatten(value: &Value) -> Vec<(String, String)> {
    let mut leaves = Vec::new();
    if let Value::Map(entries) = value {
        for (key, value) in entries {
            flatten_into(key.clone(), value, &mut leaves);
        }
    }
    leaves
}

fn flatten_into(path: String, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Map(entries) => {
            for (key, value) in entries {
                flatten_into(format!("{path}__map_{key}"), value, leaves);
            }
        }
        Value::Seq(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten_into(format!("{path}__list_{index}"), value, leaves);
            }
        }
        Value::Comment(_) => {}
        leaf => leaves.push((path, leaf.flat_text())),
    }
}

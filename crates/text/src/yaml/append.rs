//! Adds and takes away a last entry of a document's root mapping.

use super::{Edits, Stream, Value};

/// Why an entry was not added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// There is no such document.
    #[error("the file has no document number {}", .0 + 1)]
    NoDocument(usize),
    /// The document's root is a sequence, a scalar or an alias.
    #[error("line {line}, column {column}: the document is not a mapping")]
    NotAMapping {
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// The document ends in a block scalar without a line break and nothing can follow it.
    #[error("line {line}, column {column}: end the last line of this block with a line break")]
    OpenBlock {
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
}

/// Puts `key: value` as the last entry of a document's root mapping.
///
/// Block style at the root's column with go-yaml's encoder style (sops-format.md 11.5, `indent`
/// columns per level), flow style inside a flow root, after every trailing comment and blank line
/// and before `...` or the next `---`. Line breaks are the file's. Where the file has no line break at
/// its end, the new entry has none either. An empty document gets the entry as its content.
pub fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
    value: &Value,
    indent: usize,
) -> Result<(), EntryError> {
    unimplemented!(
        "{:?}",
        (
            stream.source,
            edits.is_empty(),
            document,
            key,
            value,
            indent
        )
    )
}

/// Takes every entry with this key out of a document's root mapping: exactly what
/// [`append_entry`] put in. Returns whether there was one.
pub fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
) -> Result<bool, EntryError> {
    unimplemented!("{:?}", (stream.source, edits.is_empty(), document, key))
}

//! Errors: positions and reasons, never the text of the input.

use std::fmt;

use crate::Node;

/// Why a text is not what this crate takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// In bytes.
    pub offset: usize,
    /// What is wrong and, where known, what to do. Never quotes the input.
    pub reason: String,
}

impl ParseError {
    pub(crate) fn at(source: &str, offset: usize, reason: impl Into<String>) -> Self {
        let (line, column) = line_column(source, offset);
        Self {
            line,
            column,
            offset,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.reason
        )
    }
}

impl std::error::Error for ParseError {}

/// Why a scalar has no value under its tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("line {line}, column {column}: {reason}")]
pub struct ResolveError {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Names the tags, never the text.
    pub reason: String,
}

impl ResolveError {
    pub(crate) fn not_a_scalar(node: &Node<'_>) -> Self {
        Self {
            line: node.line_number(),
            column: node.column_number(),
            reason: "expected a scalar, found a mapping or sequence".to_owned(),
        }
    }
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A mapping or sequence where the format holds only text.
    #[error(
        "{format} cannot hold a mapping or a list {place}; write it as text, or use YAML or JSON"
    )]
    Container {
        /// "a dotenv file", "an INI file".
        format: &'static str,
        /// "as a value", "below a section's key", "at the top".
        place: &'static str,
    },
    /// Something else than a mapping where the format wants one.
    #[error("{format} is made of {wanted}; a single value or a list cannot stand {place}")]
    MappingWanted {
        /// "a JSON file", "an INI file", ...
        format: &'static str,
        /// What it is made of.
        wanted: &'static str,
        /// "at the top", "beside sections".
        place: &'static str,
    },
    /// More than one document where the format holds one.
    #[error("{0} holds one document only; write the documents to files of their own")]
    Documents(&'static str),
    /// An infinite number, or none, in JSON.
    #[error("JSON cannot hold infinite numbers or NaN; write it as text")]
    NotFinite,
    /// A text that would not read back as it is.
    #[error("{format} cannot hold {what}")]
    Text {
        /// "a dotenv file", "an INI file".
        format: &'static str,
        /// What about the text.
        what: &'static str,
    },
    /// A key that would not read back as it is.
    #[error("{format} cannot hold {what} as a key")]
    Key {
        /// "a dotenv file", "an INI file".
        format: &'static str,
        /// What about the key.
        what: &'static str,
    },
    /// The node is of another kind, or stands where this cannot be done.
    #[error("line {line}: {what}")]
    Place {
        /// 1-based.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Why an alias was not expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// The node is no alias.
    #[error("line {line}, column {column}: not an alias")]
    NotAnAlias {
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// The copies together are larger than the limit.
    #[error(
        "line {line}, column {column}: the copy of this alias has more than {limit} nodes; write the values out by hand"
    )]
    TooLarge {
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
        /// In nodes.
        limit: usize,
    },
}

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
    /// The file ends in a block scalar without a line break, and the entry in another one.
    #[error("line {line}, column {column}: end the last line of this block with a line break")]
    OpenBlock {
        /// 1-based.
        line: usize,
        /// 1-based, in characters.
        column: usize,
    },
    /// The format cannot hold the entry.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The 1-based line and column, in characters, of a byte offset. Line breaks are those of
/// go-yaml: CR LF, CR, LF, NEL, LS, PS.
pub(crate) fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    let mut chars = source.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if at >= offset {
            break;
        }
        match c {
            '\u{feff}' if at == 0 => {}
            '\r' if matches!(chars.peek(), Some((_, '\n'))) => {}
            '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                line += 1;
                column = 1;
            }
            _ => column += 1,
        }
    }
    (line, column)
}

/// The text of bytes that may be in an encoding we do not take.
pub(crate) fn text_of(source: &[u8]) -> Result<&str, ParseError> {
    if source.starts_with(&[0xff, 0xfe]) || source.starts_with(&[0xfe, 0xff]) {
        let reason = "the file is UTF-16; save it as UTF-8";
        return Err(ParseError {
            line: 1,
            column: 1,
            offset: 0,
            reason: reason.to_owned(),
        });
    }
    std::str::from_utf8(source).map_err(|error| {
        let offset = error.valid_up_to();
        let valid = std::str::from_utf8(&source[..offset]).unwrap_or_default();
        ParseError::at(valid, offset, "invalid UTF-8; save the file as UTF-8")
    })
}

//! Edits of scalars and comments that keep their style.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{Comment, NodeId, Stream};

/// Replacements of byte ranges of one source text, in any order, never overlapping.
#[derive(Default, Clone)]
pub struct Edits {
    list: Vec<(Range<usize>, Zeroizing<String>)>,
}

impl Edits {
    /// No edits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts `text` in place of a byte range.
    pub fn replace(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.list.push((span, Zeroizing::new(text.into())));
    }

    /// Puts `text` before the byte at `at`. Two inserts at one place keep their order.
    pub fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// Takes a byte range out.
    pub fn delete(&mut self, span: Range<usize>) {
        self.replace(span, String::new());
    }

    /// Writes the new text.
    ///
    /// # Panics
    /// When two edits overlap or a range is not on character boundaries of `source`.
    #[must_use]
    pub fn apply(&self, source: &str) -> Zeroizing<String> {
        unimplemented!("{}", source.len())
    }
}

/// Puts an opaque one-line token (ciphertext) in place of a scalar's text.
///
/// Quotes, block header, comment on the header and indentation stay: under `|` and `|+` the token
/// reads back with a line break at its end. A plain scalar where the token cannot be plain (flow
/// context) becomes double-quoted with the last character escaped, which is how [`set_scalar`]
/// knows that it was plain. The explicit tag goes away with its space unless `keep_tag`.
pub fn set_token(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, token: &str, keep_tag: bool) {
    unimplemented!("{:?}", (stream.source, edits.list.len(), node, token, keep_tag))
}

/// Puts a string in place of a scalar's text so that it reads back as exactly this string.
///
/// Keeps the style of the node where it can: plain where it is read as a string again, single and
/// double quotes, a block scalar's header and indentation. Falls back to the canonical style of
/// go-yaml's encoder.
pub fn set_scalar(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str, keep_tag: bool) {
    unimplemented!("{:?}", (stream.source, edits.list.len(), node, text, keep_tag))
}

/// Puts plain text (a number, a boolean, null) in place of a scalar, quotes and block header
/// included.
pub fn set_scalar_raw(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, plain: &str, keep_tag: bool) {
    unimplemented!("{:?}", (stream.source, edits.list.len(), node, plain, keep_tag))
}

/// Puts `text` after the `#` of a comment. Line breaks in `text` become spaces.
pub fn set_comment(stream: &Stream<'_>, edits: &mut Edits, comment: &Comment, text: &str) {
    unimplemented!("{:?}", (stream.source, edits.list.len(), comment, text))
}

/// Turns the item `- scalar` of a block sequence into the comment line `#text`.
/// Returns whether it did: false when `node` is no scalar item of a block sequence.
pub fn item_to_comment(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) -> bool {
    unimplemented!("{:?}", (stream.source, edits.list.len(), node, text))
}

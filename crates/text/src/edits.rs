//! Replacements of byte ranges.

use std::ops::Range;

use zeroize::Zeroizing;

/// Why edits were not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Two edits change the same place, as when aliases make one value stand for two.
    #[error("line {line}: this place stands for two values that both change")]
    Overlap {
        /// The 1-based line.
        line: usize,
    },
    /// The format has no way to write a value.
    #[error("line {line}: {what}")]
    Unwritable {
        /// The 1-based line.
        line: usize,
        /// Why, without the value.
        what: &'static str,
    },
}

/// Replacements of byte ranges of one source text, in any order, never overlapping.
#[derive(Default, Clone)]
pub struct Edits {
    list: Vec<(Range<usize>, Zeroizing<String>)>,
    /// The deletion that reaches farthest.
    last_deletion: Range<usize>,
    refused: Option<EditError>,
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
        if span.end > self.last_deletion.end {
            self.last_deletion = span.clone();
        }
        self.replace(span, String::new());
    }

    /// Has [`Edits::try_apply`] fail: what is to stand at this line cannot be written.
    pub(crate) fn refuse(&mut self, line: usize, what: &'static str) {
        self.refused
            .get_or_insert(EditError::Unwritable { line, what });
    }

    /// Writes the new text, or fails where two edits overlap (at places that the file itself names,
    /// as through aliases) or a value cannot be written. Deletions may overlap.
    ///
    /// # Panics
    /// When a range is not on character boundaries of `source`.
    pub fn try_apply(&self, source: &str) -> Result<Zeroizing<String>, EditError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let mut order: Vec<&(Range<usize>, Zeroizing<String>)> = self.list.iter().collect();
        // Stable: inserts at one place stay in order, before a replacement that begins there.
        order.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = order.iter().map(|(_, text)| text.len()).sum();
        let mut out = Zeroizing::new(String::with_capacity(source.len() + added));
        let (mut at, mut was_deletion) = (0, false);
        for (span, text) in order {
            if span.start < at && text.is_empty() && was_deletion {
                at = at.max(span.end);
                continue;
            }
            was_deletion = text.is_empty() && !span.is_empty();
            if span.start < at {
                let line = crate::error::line_column(source, span.start).0;
                return Err(EditError::Overlap { line });
            }
            out.push_str(&source[at..span.start]);
            out.push_str(text);
            at = span.end;
        }
        out.push_str(&source[at..]);
        Ok(out)
    }

    /// The replacements in the order of the source, each with the text that takes its place. Of
    /// deletions that overlap, each place stands in one.
    #[must_use]
    pub fn pieces(&self) -> Vec<(Range<usize>, &str)> {
        let mut order: Vec<&(Range<usize>, Zeroizing<String>)> = self.list.iter().collect();
        order.sort_by_key(|(span, _)| (span.start, span.end));
        let mut at = 0;
        let mut pieces = Vec::with_capacity(order.len());
        for (span, text) in order {
            if span.start < at && span.end <= at {
                continue;
            }
            let span = span.start.max(at)..span.end;
            at = span.end;
            pieces.push((span, text.as_str()));
        }
        pieces
    }

    /// Whether everything from `at` to the end of the source is taken out.
    pub(crate) fn delete_to_end(&self, at: usize, end: usize) -> bool {
        let last = &self.last_deletion;
        !last.is_empty() && last.start <= at && last.end == end
    }

    /// Whether some edit touches the bytes of `span`.
    pub(crate) fn touch(&self, span: &Range<usize>) -> bool {
        self.list
            .iter()
            .any(|(edit, _)| edit.start < span.end && span.start < edit.end)
    }
}

//! Replacements of byte ranges.

use std::ops::Range;

use zeroize::Zeroizing;

/// Two edits change the same place, as when aliases make one value stand for two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: this place stands for two values that both change")]
pub struct OverlapError {
    /// The 1-based line.
    pub line: usize,
}

/// Replacements of byte ranges of one source text, in any order, never overlapping.
#[derive(Default, Clone)]
pub struct Edits {
    list: Vec<(Range<usize>, Zeroizing<String>)>,
    /// The deletion that reaches farthest.
    last_deletion: Range<usize>,
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

    /// Writes the new text, or fails where two edits overlap: for edits at places that the file
    /// itself names, as through aliases.
    ///
    /// # Panics
    /// When a range is not on character boundaries of `source`.
    pub fn try_apply(&self, source: &str) -> Result<Zeroizing<String>, OverlapError> {
        let mut order: Vec<&(Range<usize>, Zeroizing<String>)> = self.list.iter().collect();
        // Stable: inserts at one place stay in order, before a replacement that begins there.
        order.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = order.iter().map(|(_, text)| text.len()).sum();
        let mut out = Zeroizing::new(String::with_capacity(source.len() + added));
        let mut at = 0;
        for (span, text) in order {
            if span.start < at {
                let line = crate::error::line_column(source, span.start).0;
                return Err(OverlapError { line });
            }
            out.push_str(&source[at..span.start]);
            out.push_str(text);
            at = span.end;
        }
        out.push_str(&source[at..]);
        Ok(out)
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

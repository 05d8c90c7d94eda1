//! The text of literal and folded block scalars, put back under the header that is there.

use std::ops::Range;

use super::{Block, Chomping, Edits, Kind, Limits, Node, Stream, Style, quote};

/// What follows the scalar in the new text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// What follows it in the source, a line break first.
    Source,
    /// Nothing: the file ends without a line break.
    EndOfText,
}

/// From the end of the header's line, comment included, to the end of the scalar.
pub(super) fn body(stream: &Stream<'_>, node: &Node<'_>) -> Range<usize> {
    let header = node
        .block
        .as_ref()
        .map_or(node.span.start, |block| block.header.end);
    let rest = &stream.source[header..];
    let line = rest
        .find(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
        .unwrap_or(rest.len());
    let start = header + line;
    start..node.span.end.max(start)
}

/// The line break to write: the one at `at`, else the first of the text.
pub(super) fn line_end(source: &str, at: usize) -> &'static str {
    let first = source[at..].find(['\n', '\r']).map(|found| at + found);
    match first.or_else(|| source.find(['\n', '\r'])) {
        Some(at) if source[at..].starts_with("\r\n") => "\r\n",
        Some(at) if source[at..].starts_with('\r') => "\r",
        _ => "\n",
    }
}

/// Puts `text` under the scalar's header. Header and indentation stay as far as the text reads
/// back; what cannot be a block is double-quoted, with the header's comment behind it.
pub(super) fn set(stream: &Stream<'_>, edits: &mut Edits, node: &Node<'_>, text: &str, tail: Tail) {
    let Some(block) = &node.block else { return };
    let body = body(stream, node);
    let line_end = line_end(stream.source, body.start);
    let written_header = &stream.source[block.header.clone()];
    for candidate in candidates(block, node.style, written_header, text, tail) {
        let lines = candidate.lines(text, line_end, tail);
        if candidate.reads_back(stream, node, &lines, text, tail) {
            if candidate.header != written_header {
                edits.replace(block.header.clone(), candidate.header);
            }
            edits.replace(body, lines);
            return;
        }
    }
    edits.replace(block.header.clone(), quote::double_quoted(text));
    edits.delete(body);
}

struct Candidate {
    header: String,
    indent: usize,
    chomping: Chomping,
}

/// The header as it is, the header with the indicators that the text needs, the same as literal.
fn candidates(block: &Block, style: Style, header: &str, text: &str, tail: Tail) -> Vec<Candidate> {
    if text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
        return Vec::new();
    }
    let core = text.trim_end_matches('\n');
    let breaks = text.len() - core.len();
    let parent = usize::try_from(block.parent).unwrap_or(0);
    let relative = block.indent.saturating_sub(parent);
    let first_line = core.trim_start_matches('\n');
    let needs_indicator = first_line.starts_with([' ', '\t']) || core.is_empty();
    let indicator = match block.indicator {
        Some(indicator) => Some(indicator),
        None if needs_indicator && (1..=9).contains(&relative) => Some(relative as u8),
        None => None,
    };
    let fitting = match (breaks, tail) {
        (0, Tail::Source) => Chomping::Strip,
        (0, Tail::EndOfText) => block.chomping,
        (1, Tail::Source) if !core.is_empty() => Chomping::Clip,
        _ => Chomping::Keep,
    };
    let new = |letter: char, indicator: Option<u8>, chomping: Chomping| {
        let mut header = String::from(letter);
        header.extend(indicator.map(|digit| char::from(b'0' + digit)));
        header.push_str(match chomping {
            Chomping::Strip => "-",
            Chomping::Clip => "",
            Chomping::Keep => "+",
        });
        Candidate {
            header,
            indent: block.indent,
            chomping,
        }
    };
    let mut list = Vec::new();
    if style == Style::Literal || !core.contains('\n') {
        list.push(Candidate {
            header: header.to_owned(),
            indent: block.indent,
            chomping: block.chomping,
        });
        let letter = if style == Style::Literal { '|' } else { '>' };
        list.push(new(letter, block.indicator, fitting));
        list.push(new(letter, indicator, block.chomping));
        list.push(new(letter, indicator, fitting));
    }
    if style == Style::Folded {
        list.push(new('|', block.indicator, block.chomping));
        list.push(new('|', indicator, fitting));
    }
    list
}

impl Candidate {
    /// The lines from the break after the header to before the break after the last line.
    fn lines(&self, text: &str, line_end: &str, tail: Tail) -> String {
        let core = text.trim_end_matches('\n');
        let breaks = text.len() - core.len();
        let mut lines = String::new();
        if !core.is_empty() {
            for line in core.split('\n') {
                lines.push_str(line_end);
                if !line.is_empty() {
                    lines.extend(std::iter::repeat_n(' ', self.indent));
                    lines.push_str(line);
                }
            }
        }
        // One break is in the source after the scalar; only `+` keeps more.
        let more = match (self.chomping, tail) {
            (Chomping::Keep, Tail::Source) if core.is_empty() => breaks,
            (Chomping::Keep, Tail::Source) => breaks.saturating_sub(1),
            (Chomping::Keep, Tail::EndOfText) if core.is_empty() => breaks + 1,
            (Chomping::Keep, Tail::EndOfText) => breaks,
            _ => 0,
        };
        for _ in 0..more {
            lines.push_str(line_end);
        }
        lines
    }

    /// Reads header and lines where the scalar stands: same column of the parent, and after it
    /// the same blank and comment lines.
    fn reads_back(
        &self,
        stream: &Stream<'_>,
        node: &Node<'_>,
        lines: &str,
        text: &str,
        tail: Tail,
    ) -> bool {
        let parent = node.block.as_ref().map_or(-1, |block| block.parent);
        let column = " ".repeat(usize::try_from(parent).unwrap_or(0));
        let (before, after) = if parent < 0 {
            ("--- ".to_owned(), "...\n".to_owned())
        } else {
            (format!("{column}k: "), format!("{column}k: v\n"))
        };
        let rest = match tail {
            Tail::EndOfText => String::new(),
            Tail::Source => {
                let rest = &stream.source[node.span.end..];
                let passed = rest.split_inclusive(['\n', '\r']).take_while(|line| {
                    let line = line.trim_matches([' ', '\t', '\r', '\n']);
                    line.is_empty() || line.starts_with('#')
                });
                let passed: usize = passed.map(str::len).sum();
                let last_line = rest[..passed].rfind(['\n', '\r']).map_or(0, |at| at + 1);
                format!("{}{after}", &rest[..last_line])
            }
        };
        let source = zeroize::Zeroizing::new(format!("{before}{}{lines}{rest}", self.header));
        let Ok(read) = super::parse(&source, &Limits::default()) else {
            return false;
        };
        let [document] = read.documents() else {
            return false;
        };
        let root = read.node(document.content);
        let scalar = match root.children[..] {
            [] => root,
            [_, value, ..] => read.node(value),
            _ => return false,
        };
        scalar.kind == Kind::Scalar && scalar.block.is_some() && scalar.value == text
    }
}

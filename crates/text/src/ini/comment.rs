//! Comments: one item of the tree each, however many lines they have.

use std::borrow::Cow;
use std::ops::Range;

use super::{line_after, line_end, line_start};
use crate::{Comment, Edits, Stream};

/// The text as sops has it: the lines as they are but for blanks before them, the marker taken off
/// the first.
pub(crate) fn comment_text<'s>(source: &'s str, comment: &Comment) -> Cow<'s, str> {
    let first = marker(source, comment);
    if comment.above.is_none() {
        let text = &source[first.end..comment.span.end];
        if !text.contains('\n') {
            return Cow::Borrowed(text);
        }
    }
    let above = comment.above.clone().unwrap_or(comment.span.clone());
    let mut text = String::with_capacity(comment.span.end - above.start);
    let mut lines = source[first.end..above.end].split('\n');
    text.push_str(lines.next().unwrap_or_default());
    // A line of blanks is no part of it.
    for line in lines.map(str::trim_start).filter(|line| !line.is_empty()) {
        text.push('\n');
        text.push_str(line);
    }
    if comment.above.is_some() {
        text.push('\n');
        text.push_str(&source[comment.span.clone()]);
    }
    Cow::Owned(text)
}

/// The marker of a comment's first line, as sops takes it off: every `#` or `;` and blank.
fn marker(source: &str, comment: &Comment) -> Range<usize> {
    let first = comment.above.as_ref().unwrap_or(&comment.span);
    let text = &source[first.clone()];
    let rest = match text.as_bytes().first() {
        Some(b'#') => text.trim_start_matches(['#', ' ']),
        _ => text.trim_start_matches([';', ' ']),
    };
    first.start..first.end - rest.len()
}

/// Puts a text behind the marker. Lines after the first get a marker where they have none.
///
/// A comment behind a header or value has one line there: with more, the others go above it. So a
/// comment that had lines above and a last one behind the value, and was replaced by one token,
/// comes back as it was. A header takes no `]` behind it (the last one of its line ends the name), as
/// tokens have it: such a comment goes above.
pub(crate) fn set_comment(stream: &Stream<'_>, edits: &mut Edits, comment: &Comment, text: &str) {
    let source = stream.source;
    let marker = marker(source, comment);
    let Some(owner) = comment.owner else {
        let start = line_start(source, comment.span.start);
        let indent = &source[start..comment.span.start];
        let lines = lines(text, indent);
        edits.replace(marker.end..comment.span.end, lines);
        return;
    };
    if let Some(above) = &comment.above {
        edits.delete(line_start(source, above.start)..line_after(source, above.end));
    }
    let sign = &source[marker];
    let rest = &source[owner..];
    let indent = &rest[..rest.len() - rest.trim_start().len()];
    if rest[indent.len()..].starts_with('[') && text.contains(']') {
        let before = source[..comment.span.start].trim_end_matches([' ', '\t']);
        edits.delete(before.len()..comment.span.end);
        let line_end = line_end(source);
        edits.insert(
            owner,
            format!("{indent}{sign}{}{line_end}", lines(text, indent)),
        );
        return;
    }
    let Some((above, last)) = text.rsplit_once('\n') else {
        edits.replace(comment.span.clone(), format!("{sign}{text}"));
        return;
    };
    let line_end =
        line_end(source).trim_start_matches(if above.ends_with('\r') { "\r" } else { "" });
    let above = lines(above, indent);
    edits.insert(owner, format!("{indent}{sign}{above}{line_end}"));
    edits.replace(comment.span.clone(), marked(last));
}

fn lines(text: &str, indent: &str) -> String {
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        out.push('\n');
        out.push_str(indent);
        out.push_str(&marked(line));
    }
    out
}

fn marked(line: &str) -> String {
    let line = line.trim_start_matches([' ', '\t']);
    if line.starts_with(['#', ';']) {
        line.to_owned()
    } else {
        format!("; {line}")
    }
}

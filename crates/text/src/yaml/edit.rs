//! Edits of scalars and comments that keep their style.

use std::ops::Range;

use super::block_text::{self, Tail};
use super::quote::{self, Place};
use super::{Comment, Edits, Kind, Node, NodeId, Stream, Style};

/// Puts an opaque one-line token (ciphertext) in place of a scalar's text.
///
/// Quotes, block header, comment on the header and indentation stay: under `|` and `|+` the token
/// reads back with a line break at its end. A plain scalar where the token cannot be plain (flow
/// context) becomes double-quoted with the last character escaped, which is how [`set_scalar`]
/// knows that it was plain. The explicit tag goes away with its space unless `keep_tag`.
pub(crate) fn set_token(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    token: &str,
    keep_tag: bool,
) {
    let id = node;
    let node = stream.node(id);
    if !keep_tag {
        drop_tag(stream, edits, node);
    }
    if let Some(block) = &node.block {
        let body = block_text::body(stream, node);
        let line_end = block_text::line_end(stream.source, body.start);
        let indent = " ".repeat(block.indent);
        edits.replace(body, format!("{line_end}{indent}{token}"));
        return;
    }
    let text = match node.style {
        Style::SingleQuoted => quote::single_quoted(token),
        Style::DoubleQuoted => format!("\"{token}\""),
        _ if quote::reads_back_plain(token, place(stream, id), keep_tag) => token.to_owned(),
        _ => marked_as_plain(token),
    };
    edits.replace(node.span.clone(), set_apart(node, text));
}

/// Puts a string in place of a scalar's text so that it reads back as exactly this string.
///
/// Keeps the style of the node where it can: plain where it is read as a string again, single and
/// double quotes, a block scalar's header and indentation. Falls back to the canonical style of
/// go-yaml's encoder.
pub(crate) fn set_scalar(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    text: &str,
    keep_tag: bool,
) {
    let id = node;
    let node = stream.node(id);
    if !keep_tag {
        drop_tag(stream, edits, node);
    }
    if node.block.is_some() {
        let at_end = node.span.end == stream.source.len()
            || edits.delete_to_end(node.span.end, stream.source.len());
        let tail = if at_end {
            Tail::EndOfText
        } else {
            Tail::Source
        };
        block_text::set(stream, edits, node, text, tail);
        return;
    }
    let tag = node.short_tag().filter(|_| keep_tag);
    let tagged = tag.is_some_and(|tag| tag == "!!str" || !is_resolved(&tag));
    let style = match node.style {
        Style::DoubleQuoted if is_marked_as_plain(&stream.source[node.span.clone()]) => {
            Style::Plain
        }
        style => style,
    };
    let place = place(stream, id);
    let written = match style {
        Style::SingleQuoted if quote::single_quotes_allowed(text) => quote::single_quoted(text),
        Style::SingleQuoted | Style::DoubleQuoted => quote::double_quoted(text),
        _ if quote::reads_back_plain(text, place, tagged) => text.to_owned(),
        _ => {
            drop_tabs_behind(stream, edits, node.span.end);
            quote::canonical(text, place == Place::Flow)
        }
    };
    edits.replace(node.span.clone(), set_apart(node, written));
}

/// Takes the tabs out of the blank lines behind a plain scalar, which alone may have them there.
fn drop_tabs_behind(stream: &Stream<'_>, edits: &mut Edits, end: usize) {
    let rest = &stream.source[end..];
    let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    let line = rest[..blank].find(['\n', '\r']).unwrap_or(blank);
    for (at, _) in rest[line..blank].match_indices('\t') {
        edits.delete(end + line + at..end + line + at + 1);
    }
}

/// Puts plain text (a number, a boolean, null) in place of a scalar, quotes and block header
/// included.
pub(crate) fn set_scalar_raw(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    plain: &str,
    keep_tag: bool,
) {
    let node = stream.node(node);
    if !keep_tag {
        drop_tag(stream, edits, node);
    }
    match &node.block {
        Some(block) => {
            edits.replace(block.header.clone(), plain);
            edits.delete(block_text::body(stream, node));
        }
        None => edits.replace(node.span.clone(), set_apart(node, plain.to_owned())),
    }
}

/// Puts `text` after the `#` of a comment. Line breaks in `text` become spaces.
pub(crate) fn set_comment(_: &Stream<'_>, edits: &mut Edits, comment: &Comment, text: &str) {
    edits.replace(comment.span.start + 1..comment.span.end, one_line(text));
}

/// Turns the item `- scalar` of a block sequence into the comment line `#text`.
///
/// Returns whether it did: false when `node` is no one-line scalar item of a block sequence, or
/// its only item (the sequence would be gone).
pub fn item_to_comment(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) -> bool {
    let node = stream.node(node);
    let Some(parent) = node.parent.map(|parent| stream.node(parent)) else {
        return false;
    };
    let block_item = parent.kind == Kind::Sequence && parent.style == Style::Block;
    let start = node
        .properties
        .as_ref()
        .map_or(node.span.start, |span| span.start);
    let before = stream.source[..start].trim_end_matches([' ', '\t']);
    if !block_item || parent.children.len() < 2 || node.block.is_some() || !before.ends_with('-') {
        return false;
    }
    edits.replace(
        before.len() - 1..node.span.end,
        format!("#{}", one_line(text)),
    );
    true
}

/// Puts a blank between an anchor and the text where there is none (`&a?b`).
pub(super) fn set_apart(node: &Node<'_>, text: String) -> String {
    match &node.properties {
        Some(properties) if properties.end == node.span.start => format!(" {text}"),
        _ => text,
    }
}

/// A token in double quotes, its last character as an escape: it reads as the token, and says
/// that the scalar was plain.
fn marked_as_plain(token: &str) -> String {
    match token.char_indices().next_back() {
        Some((at, last)) if last.is_ascii() => {
            format!("\"{}\\x{:02X}\"", &token[..at], last as u32)
        }
        _ => quote::double_quoted(token),
    }
}

fn is_marked_as_plain(source: &str) -> bool {
    source.ends_with("\\x5D\"")
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'], " ")
}

/// Whether go-yaml resolves text under this tag instead of taking it for a string.
fn is_resolved(tag: &str) -> bool {
    matches!(
        tag,
        "!!bool" | "!!int" | "!!float" | "!!null" | "!!timestamp" | "!!binary"
    )
}

fn place(stream: &Stream<'_>, id: NodeId) -> Place {
    let Some(parent) = stream.node(id).parent else {
        return Place::Root;
    };
    let parent = stream.node(parent);
    match (parent.style, parent.kind) {
        (Style::Flow, _) => Place::Flow,
        (_, Kind::Sequence) => Place::Item,
        _ => Place::Entry,
    }
}

/// Takes out the explicit tag and the blanks that set it apart.
pub(super) fn drop_tag(stream: &Stream<'_>, edits: &mut Edits, node: &Node<'_>) {
    let Some(tag) = tag_span(stream.source, node) else {
        return;
    };
    let Some(properties) = &node.properties else {
        return;
    };
    if tag.end == properties.end && tag.start > properties.start {
        // The anchor is before it.
        let before = stream.source[..tag.start]
            .trim_end_matches([' ', '\t'])
            .len();
        edits.delete(before..tag.end);
        return;
    }
    let after = &stream.source[tag.end..];
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    edits.delete(tag.start..tag.end + blanks);
}

/// Where the explicit tag is.
pub(super) fn tag_span(source: &str, node: &Node<'_>) -> Option<Range<usize>> {
    node.tag.as_ref()?;
    let properties = node.properties.clone()?;
    let bytes = source.as_bytes();
    let mut at = properties.start;
    while at < properties.end {
        let end = bytes[at..properties.end]
            .iter()
            .position(u8::is_ascii_whitespace)
            .map_or(properties.end, |length| at + length);
        match bytes[at] {
            b'!' => return Some(at..end),
            b'#' => {
                let rest = &bytes[at..properties.end];
                at += rest
                    .iter()
                    .position(|b| matches!(b, b'\r' | b'\n'))
                    .unwrap_or(rest.len());
            }
            _ => at = end.max(at + 1),
        }
    }
    None
}

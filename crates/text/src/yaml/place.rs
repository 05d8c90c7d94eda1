//! Where a node stands: what it hangs on, where its lines begin and end.

use super::append::line_start;
use super::{Chomping, Kind, Node, NodeId, Stream, Style};
use crate::WriteError;

pub(super) fn in_flow(stream: &Stream<'_>, node: &Node<'_>) -> bool {
    let parent = node.parent.map(|parent| stream.node(parent));
    parent.is_some_and(|parent| parent.style == Style::Flow)
}

pub(super) fn is_key(stream: &Stream<'_>, id: NodeId) -> bool {
    let parent = stream.node(id).parent;
    parent.is_some_and(|parent| stream.entries(parent).any(|(key, _)| key == id))
}

/// Whether something stands before a document's content on its line, as `--- `.
pub(super) fn rest_of_line_before(source: &str, node: &Node<'_>) -> bool {
    let start = line_start(source, node.span.start);
    !source[start..node.span.start].trim().is_empty()
}

pub(super) fn rest_of_line(source: &str, at: usize) -> &str {
    &source[at..line_after(source, at)]
}

/// The key whose value a node is.
pub(super) fn key_of(stream: &Stream<'_>, id: NodeId) -> Option<NodeId> {
    let parent = stream.node(id).parent?;
    stream
        .entries(parent)
        .find(|(_, value)| *value == id)
        .map(|(key, _)| key)
}

/// Whether a flow collection is no single pair without braces, as in `[a: b]`.
pub(super) fn has_brackets(stream: &Stream<'_>, node: &Node<'_>) -> bool {
    stream.source[node.span.clone()].starts_with(['{', '['])
        && stream.source[..node.span.end].ends_with(['}', ']'])
        && node
            .children
            .first()
            .is_none_or(|child| start_of(stream.node(*child)) > node.span.start)
}

/// Where the dash of a block sequence's item is.
pub(super) fn dash_of(stream: &Stream<'_>, sequence: NodeId, index: usize) -> Option<usize> {
    let node = stream.node(sequence);
    let from = match index.checked_sub(1) {
        Some(previous) => content_end(stream, node.children[previous]),
        None => node.span.start,
    };
    match skip_blanks_and_comments(stream.source, from, stream.source.len())? {
        (at, b'-') => Some(at),
        _ => None,
    }
}

/// How the block scalar that a node ends in ends.
pub(super) fn last_block(stream: &Stream<'_>, mut id: NodeId) -> Option<Chomping> {
    while let Some(child) = stream.node(id).children.last() {
        id = *child;
    }
    let block = stream.node(id).block.as_ref();
    block.map(|block| block.chomping)
}

/// Whether a comment with blanks before it is the next that comes, which a block scalar would swallow.
pub(super) fn is_indented_comment(rest: &str) -> bool {
    let text = rest.trim_start();
    text.starts_with('#') && rest[..rest.len() - text.len()].ends_with([' ', '\t'])
}

/// Refuses what would leave an alias without its anchor: with `own`, also that of the node itself.
pub(super) fn guard_anchors(stream: &Stream<'_>, id: NodeId, own: bool) -> Result<(), WriteError> {
    let mut last = id;
    while let Some(child) = stream.node(last).children.last() {
        last = *child;
    }
    let first = id.index() + usize::from(!own);
    let inside = first..last.index() + 1;
    if inside
        .clone()
        .all(|index| stream.nodes[index].anchor.is_none())
    {
        return Ok(());
    }
    let held = stream.nodes.iter().enumerate().any(|(index, node)| {
        !inside.contains(&index)
            && node
                .target
                .is_some_and(|target| inside.contains(&target.index()))
    });
    if held {
        return Err(WriteError::Place {
            line: stream.node(id).line_number(),
            what: "an alias elsewhere repeats a value in here; write that value out first",
        });
    }
    Ok(())
}

/// Where a node begins, tag and anchor included.
pub(super) fn start_of(node: &Node<'_>) -> usize {
    let properties = node.properties.as_ref().map(|span| span.start);
    properties.map_or(node.span.start, |start| start.min(node.span.start))
}

/// Where a node ends; an empty one where its properties do.
pub(super) fn end_of(stream: &Stream<'_>, id: NodeId) -> usize {
    let node = stream.node(id);
    let properties = node.properties.as_ref().map_or(0, |span| span.end);
    node.span.end.max(properties)
}

/// Where the last thing of a node is written. An empty node may have its place lines below: it ends
/// behind the `:` or `-` that it hangs on.
pub(super) fn content_end(stream: &Stream<'_>, mut id: NodeId) -> usize {
    loop {
        let node = stream.node(id);
        if node.span.is_empty() && node.properties.is_none() {
            return empty_place(stream, id).at;
        }
        match node.children.last() {
            Some(last) if node.style == Style::Block => id = *last,
            _ => return end_of(stream, id),
        }
    }
}

/// What an empty node hangs on.
#[derive(PartialEq)]
pub(super) enum Hook {
    Colon,
    /// A key without `:`.
    Key,
    Dash,
    Document,
}

pub(super) struct EmptyPlace {
    pub(super) at: usize,
    pub(super) hook: Hook,
}

pub(super) fn empty_place(stream: &Stream<'_>, id: NodeId) -> EmptyPlace {
    let start = stream.node(id).span.start;
    let found = |at, hook| EmptyPlace { at, hook };
    let Some(parent) = stream.node(id).parent else {
        return found(start, Hook::Document);
    };
    let children = &stream.node(parent).children;
    if let Some(key) = key_of(stream, id) {
        let from = content_end(stream, key);
        return match skip_blanks_and_comments(stream.source, from, start + 1) {
            Some((at, b':')) => found(at + 1, Hook::Colon),
            _ => found(from, Hook::Key),
        };
    }
    if stream.node(parent).kind == Kind::Sequence
        && let Some(index) = children.iter().position(|child| *child == id)
        && let Some(dash) = dash_of(stream, parent, index)
    {
        return found(dash + 1, Hook::Dash);
    }
    // A key.
    found(start, Hook::Key)
}

/// The next byte from `from` on and before `end` that is no blank and in no comment.
pub(super) fn skip_blanks_and_comments(
    source: &str,
    from: usize,
    end: usize,
) -> Option<(usize, u8)> {
    let bytes = source.as_bytes();
    let mut at = from;
    while at < end.min(bytes.len()) {
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => at = line_after(source, at),
            b => return Some((at, b)),
        }
    }
    None
}

/// The first byte after the line that `at` is in.
pub(super) fn line_after(source: &str, at: usize) -> usize {
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let Some(found) = source[at..].find(breaks) else {
        return source.len();
    };
    let line = &source[at + found..];
    let length = match line.starts_with("\r\n") {
        true => 2,
        false => line.chars().next().map_or(0, char::len_utf8),
    };
    at + found + length
}

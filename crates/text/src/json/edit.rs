//! Edits of JSON text.

use std::ops::Range;

use super::emit::{Spelling, quoted, render};
use super::layout::{Layout, blanks_before, line_indent};
use crate::{Document, Edits, EntryError, Kind, Node, NodeId, Stream, Style, Value, WriteError};

/// Puts a token of printable ASCII in place of a scalar, in quotes.
///
/// Where the string spelled characters as escapes that need none, as many of the token's last
/// characters are escapes as the number of that spelling: it reads as the token, and
/// [`set_scalar`] knows how to spell the text.
pub(crate) fn set_token(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, token: &str) {
    let node = stream.node(node);
    let spelling = match node.style {
        Style::DoubleQuoted => Spelling::of(&stream.source[node.span.clone()], &node.value),
        _ => Spelling::MINIMAL,
    };
    let marked = usize::from(spelling.0);
    if marked == 0 || marked > token.len() || !token.is_ascii() {
        edits.replace(node.span.clone(), quoted(token, Spelling::MINIMAL));
        return;
    }
    let (plain, rest) = token.split_at(token.len() - marked);
    let mut text = quoted(plain, Spelling::MINIMAL);
    text.pop();
    for b in rest.bytes() {
        text.push_str(&format!("\\u{b:04x}"));
    }
    text.push('"');
    edits.replace(node.span.clone(), text);
}

/// Puts a string in place of a scalar, spelled as [`set_token`] found it.
pub(crate) fn set_scalar(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    let node = stream.node(node);
    let spelling = spelling_of_token(&stream.source[node.span.clone()]);
    edits.replace(node.span.clone(), quoted(text, spelling));
}

/// Puts JSON text in place of a node.
pub(crate) fn set_scalar_raw(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    edits.replace(stream.node(node).span.clone(), text);
}

fn spelling_of_token(written: &str) -> Spelling {
    let mut left = written.strip_suffix('"').unwrap_or(written);
    let mut marked = 0;
    if !written.starts_with("\"ENC[") {
        return Spelling::MINIMAL;
    }
    while let Some((before, digits)) = left.split_at_checked(left.len().saturating_sub(6))
        && digits.starts_with("\\u00")
    {
        left = before;
        marked += 1;
    }
    if marked <= Spelling::LAST {
        Spelling(marked)
    } else {
        Spelling::MINIMAL
    }
}

/// Puts a last entry into the root object, in the file's layout.
pub(crate) fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: &Document,
    key: &str,
    value: &Value,
) -> Result<(), EntryError> {
    root_of(stream, document)?;
    Ok(insert_entry(
        stream,
        edits,
        document.content,
        key,
        value,
        None,
    )?)
}

/// Takes every entry with this key out of the root object.
pub(crate) fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: &Document,
    key: &str,
) -> Result<bool, EntryError> {
    let root = root_of(stream, document)?;
    let gone: Vec<bool> = root
        .children
        .chunks_exact(2)
        .map(|pair| stream.node(pair[0]).value == key)
        .collect();
    remove(stream, edits, root, 2, &gone);
    Ok(gone.contains(&true))
}

fn root_of<'a, 's>(
    stream: &'a Stream<'s>,
    document: &Document,
) -> Result<&'a Node<'s>, EntryError> {
    let root = stream.node(document.content);
    if root.kind != Kind::Mapping {
        let (line, column) = (root.line_number(), root.column_number());
        return Err(EntryError::NotAMapping { line, column });
    }
    Ok(root)
}

/// Puts a value in place of a node.
pub(crate) fn set_value(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value,
) -> Result<(), WriteError> {
    let parent = stream.node(node).parent.map(|parent| stream.node(parent));
    let layout = layout_within(stream, parent);
    let span = &stream.node(node).span;
    let indent = line_indent(stream.source, span.start);
    edits.replace(span.clone(), render(value, &layout, indent)?);
    Ok(())
}

/// Puts an entry at the end of an object, or before its entry `before`.
pub(crate) fn insert_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    key: &str,
    value: &Value,
    before: Option<&str>,
) -> Result<(), WriteError> {
    let node = stream.node(mapping);
    let at = node
        .children
        .chunks_exact(2)
        .position(|pair| before.is_some_and(|before| stream.node(pair[0]).value == before))
        .map_or(node.children.len(), |pair| pair * 2);
    let colon = Layout::of(stream).colon;
    let name = format!("{}{colon}", quoted(key, Spelling::GO));
    insert(stream, edits, node, at, 2, &name, value)
}

/// Puts an item at the end of an array.
pub(crate) fn push_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    sequence: NodeId,
    value: &Value,
) -> Result<(), WriteError> {
    let node = stream.node(sequence);
    insert(stream, edits, node, node.children.len(), 1, "", value)
}

/// Puts `name` and a value before the child at `at`. An entry is two children, an item one.
fn insert(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: &Node<'_>,
    at: usize,
    step: usize,
    name: &str,
    value: &Value,
) -> Result<(), WriteError> {
    let source = stream.source;
    let layout = layout_within(stream, Some(node));
    let last = node.children.len().checked_sub(step);
    let Some(last) = last.map(|last| node.children[last]) else {
        return insert_first(stream, edits, node, name, value);
    };
    let blanks = blanks_before(stream, last);
    let indent = match blanks.rfind('\n') {
        Some(line) => &blanks[line + 1..],
        None => line_indent(source, stream.node(last).span.start),
    };
    let text = render(value, &layout, indent)?;
    if at == 0 {
        let first = stream.node(node.children[0]);
        let blanks = blanks_before(stream, node.children[0]);
        let blanks = if blanks.is_empty() {
            layout.comma.trim_start_matches(',')
        } else {
            blanks
        };
        edits.insert(first.span.start, format!("{name}{text},{blanks}"));
        return Ok(());
    }
    // The only entry is behind a bracket, and the second one behind a comma.
    let comma = match (node.children.len() == step, blanks.contains('\n')) {
        (true, false) => layout.comma.to_owned(),
        _ => format!(",{blanks}"),
    };
    let previous = stream.node(node.children[at - 1]);
    edits.insert(previous.span.end, format!("{comma}{name}{text}"));
    Ok(())
}

/// Fills an empty collection. Blanks that were in it stay behind the entry, and then nothing is
/// before it: so [`remove`] can tell.
fn insert_first(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: &Node<'_>,
    name: &str,
    value: &Value,
) -> Result<(), WriteError> {
    let inside = node.span.start + 1;
    let layout = layout_within(stream, Some(node));
    let outer = line_indent(stream.source, node.span.start);
    let unit = layout.unit.as_deref().unwrap_or_default();
    let text = render(value, &layout, &format!("{outer}{unit}"))?;
    let is_empty = node.span.end - 1 == inside;
    let text = match &layout.unit {
        Some(unit) if is_empty => {
            let line_end = layout.line_end;
            format!("{line_end}{outer}{unit}{name}{text}{line_end}{outer}")
        }
        _ => format!("{name}{text}"),
    };
    edits.insert(inside, text);
    Ok(())
}

/// Takes an entry (by its value) or an item out.
pub(crate) fn remove_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
) -> Result<(), WriteError> {
    let parent = stream.node(node).parent.map(|parent| stream.node(parent));
    let Some(parent) = parent else {
        return Err(WriteError::Place {
            line: stream.node(node).line_number(),
            what: "the whole file cannot be taken out of itself",
        });
    };
    let step = if parent.kind == Kind::Mapping { 2 } else { 1 };
    let gone: Vec<bool> = parent
        .children
        .chunks_exact(step)
        .map(|children| children.contains(&node))
        .collect();
    remove(stream, edits, parent, step, &gone);
    Ok(())
}

fn remove(stream: &Stream<'_>, edits: &mut Edits, node: &Node<'_>, step: usize, gone: &[bool]) {
    let start = |index: usize| stream.node(node.children[index * step]).span.start;
    let end = |index: usize| stream.node(node.children[index * step + step - 1]).span.end;
    let leading = gone.iter().take_while(|gone| **gone).count();
    if leading == gone.len() {
        if leading > 0 {
            edits.delete(remove_all(stream, node, start(0)..end(leading - 1)));
        }
        return;
    }
    if leading > 0 {
        edits.delete(start(0)..start(leading));
    }
    for (index, _) in gone
        .iter()
        .enumerate()
        .skip(leading)
        .filter(|(_, gone)| **gone)
    {
        edits.delete(end(index - 1)..end(index));
    }
}

/// With the blanks around them, unless [`insert_first`] left none before.
fn remove_all(stream: &Stream<'_>, node: &Node<'_>, children: Range<usize>) -> Range<usize> {
    let inside = node.span.start + 1..node.span.end - 1;
    let behind = &stream.source[children.end..inside.end];
    if children.start == inside.start && !behind.is_empty() {
        children
    } else {
        inside
    }
}

/// The layout of what is put into a collection: on one line when what is in it is.
fn layout_within(stream: &Stream<'_>, node: Option<&Node<'_>>) -> Layout {
    let layout = Layout::of(stream);
    match node {
        Some(node)
            if !node.children.is_empty()
                && !stream.source[node.span.clone()].contains(['\n', '\r']) =>
        {
            layout.on_one_line()
        }
        _ => layout,
    }
}

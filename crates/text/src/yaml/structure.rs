//! Edits of whole entries and items.

use std::borrow::Cow;
use std::ops::Range;

use super::append::{ends_in_block, flow_insertion, flow_removal, line_end, line_start};
use super::emit::{emit_entry, emit_item, emit_json, emit_nested};
use super::{Chomping, Edits, Kind, Node, NodeId, Stream, Style, Value, edit};
use crate::WriteError;

/// Puts a value in place of a node. An anchor stays, an explicit tag goes.
pub(crate) fn set_value(
    stream: &Stream<'_>,
    edits: &mut Edits,
    id: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    let node = stream.node(id);
    guard_anchors(stream, id, false)?;
    let end = line_after(stream.source, content_end(stream, id));
    let value = &*settled(&stream.source[end..], value);
    if node.span.is_empty() && node.properties.is_none() {
        return fill(stream, edits, id, value, indent);
    }
    if let Some(properties) = node.properties.clone().filter(|_| node.span.is_empty()) {
        let anchor = node
            .anchor
            .map(|name| format!("&{name} "))
            .unwrap_or_default();
        let text = match value {
            Value::Map(_) | Value::Seq(_) => emit_json(value),
            _ if in_flow(stream, node) => emit_json(value),
            value => one_line(value),
        };
        edits.replace(properties, format!("{anchor}{text}"));
        return Ok(());
    }
    let is_scalar = matches!(node.kind, Kind::Scalar | Kind::Alias);
    let filled = match value {
        Value::Map(entries) => !entries.is_empty(),
        Value::Seq(items) => !items.is_empty(),
        _ => false,
    };
    if !filled {
        if is_scalar && node.kind == Kind::Scalar {
            match value {
                Value::Str(text) => edit::set_scalar(stream, edits, id, text, false),
                value => edit::set_scalar_raw(stream, edits, id, &one_line(value), false),
            }
            return Ok(());
        }
        return replace_with_line(stream, edits, id, &one_line(value));
    }
    let in_flow = in_flow(stream, node);
    let is_flow = node.style == Style::Flow && !node.children.is_empty();
    let is_key = is_key(stream, id);
    if in_flow || is_flow || is_key {
        return replace_with_line(stream, edits, id, &emit_json(value));
    }
    replace_with_block(stream, edits, id, value, indent)
}

fn in_flow(stream: &Stream<'_>, node: &Node<'_>) -> bool {
    let parent = node.parent.map(|parent| stream.node(parent));
    parent.is_some_and(|parent| parent.style == Style::Flow)
}

/// Puts a value where there is none.
fn fill(
    stream: &Stream<'_>,
    edits: &mut Edits,
    id: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    let source = stream.source;
    let node = stream.node(id);
    let parent = node.parent.map(|parent| stream.node(parent));
    let place = empty_place(stream, id);
    let filled = matches!(value, Value::Map(entries) if !entries.is_empty())
        || matches!(value, Value::Seq(items) if !items.is_empty());
    if parent.is_some_and(|parent| parent.style == Style::Flow) {
        let sign = if place.hook == Hook::Key { ": " } else { " " };
        edits.insert(place.at, format!("{sign}{}", emit_json(value)));
        return Ok(());
    }
    let line_end = line_end(source);
    match place.hook {
        Hook::Key => Err(WriteError::Place {
            line: node.line_number(),
            what: "the key has no ':' behind it; write it as 'key:'",
        }),
        Hook::Document => {
            let text = if filled {
                super::emit(value, indent)
            } else {
                one_line(value)
            };
            let text = text
                .strip_suffix('\n')
                .unwrap_or(&text)
                .replace('\n', line_end);
            let rest = rest_of_line(source, place.at);
            let before = if rest_of_line_before(source, node) {
                line_end
            } else {
                ""
            };
            let after = if rest.trim_matches(['\r', '\n']).is_empty() && !rest.is_empty() {
                ""
            } else {
                line_end
            };
            edits.insert(place.at, format!("{before}{text}{after}"));
            Ok(())
        }
        Hook::Colon if filled => {
            let column = node
                .parent
                .map_or(0, |parent| stream.column(stream.node(parent).span.start));
            let text = emit_entry("k", value, column, indent);
            let lines = text.split_once('\n').map_or("", |(_, lines)| lines);
            insert_lines(edits, source, line_after(source, place.at), lines, value);
            Ok(())
        }
        Hook::Dash if filled && rest_of_line(source, place.at).trim().is_empty() => {
            let text = emit_nested(value, stream.column(place.at) + 1, indent);
            let text = match rest_of_line(source, place.at).ends_with(['\n', '\r']) {
                false => unfinished(&text, "\n", value),
                true => text.strip_suffix('\n').unwrap_or(&text),
            };
            let blanks = rest_of_line(source, place.at).trim_end_matches(['\n', '\r']);
            let span = place.at..place.at + blanks.len();
            edits.replace(span, format!(" {}", text.replace('\n', line_end)));
            Ok(())
        }
        Hook::Dash if filled => {
            edits.insert(place.at, format!(" {}", emit_json(value)));
            Ok(())
        }
        Hook::Colon | Hook::Dash => {
            edits.insert(place.at, format!(" {}", one_line(value)));
            Ok(())
        }
    }
}

/// Puts whole lines at the start of a line, or behind a last line without a line break.
fn insert_lines(edits: &mut Edits, source: &str, at: usize, lines: &str, value: &Value) {
    let line_end = line_end(source);
    let lines = lines.replace('\n', line_end);
    if at == 0 || source[..at].ends_with(['\n', '\r']) {
        edits.insert(at, lines);
    } else {
        edits.insert(
            at,
            format!("{line_end}{}", unfinished(&lines, line_end, value)),
        );
    }
}

/// Lines for the end of a file that has no line break there; a block scalar needs its own.
fn unfinished<'l>(lines: &'l str, line_end: &str, value: &Value) -> &'l str {
    if ends_in_block(value) {
        return lines;
    }
    lines.strip_suffix(line_end).unwrap_or(lines)
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Str(text) => super::emit_scalar(text),
        value => super::emit::inline(value),
    }
}

fn is_key(stream: &Stream<'_>, id: NodeId) -> bool {
    let parent = stream.node(id).parent;
    parent.is_some_and(|parent| stream.entries(parent).any(|(key, _)| key == id))
}

/// What a block node's lines are replaced in: from the end of the line that it hangs on.
fn hangs_on(stream: &Stream<'_>, node: &Node<'_>) -> Option<usize> {
    let source = stream.source;
    let start = line_start(source, node.span.start);
    let before = &source[start..node.span.start];
    (node.style == Style::Block && before.trim_matches([' ', '\t']).is_empty() && start > 0)
        .then_some(start)
}

/// Puts a text of one line in place of a node.
fn replace_with_line(
    stream: &Stream<'_>,
    edits: &mut Edits,
    id: NodeId,
    text: &str,
) -> Result<(), WriteError> {
    let node = stream.node(id);
    edit::drop_tag(stream, edits, node);
    let value_of = key_of(stream, id);
    let (Some(lines), Some(key)) = (hangs_on(stream, node), value_of) else {
        if node.block.is_some() {
            edit::set_scalar_raw(stream, edits, id, text, true);
        } else {
            let span = node.span.start..content_end(stream, id);
            edits.replace(span, edit::set_apart(node, text.to_owned()));
        }
        return Ok(());
    };
    // `key:` stands on a line above, perhaps with an anchor and a comment.
    let at = behind_colon(stream, key, node)?;
    edits.insert(at, format!(" {text}"));
    let from = line_after(stream.source, at).min(lines);
    delete_lines(stream, edits, from..content_end(stream, id));
    Ok(())
}

/// Puts a filled collection in block style in place of a node of a block collection or document.
fn replace_with_block(
    stream: &Stream<'_>,
    edits: &mut Edits,
    id: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    let source = stream.source;
    let node = stream.node(id);
    let Some(key) = key_of(stream, id) else {
        // An item, or the document.
        let column = match node.parent.is_some() || !rest_of_line_before(source, node) {
            true => stream.column(start_of(node)),
            false => 0,
        };
        let rest = rest_of_line(source, content_end(stream, id));
        if !rest.trim().is_empty() || node.properties.is_some() {
            return replace_with_line(stream, edits, id, &emit_json(value));
        }
        let text = emit_nested(value, column, indent).replace('\n', line_end(source));
        let end = content_end(stream, id);
        let end = end + rest.trim_end_matches(['\n', '\r']).len();
        let at_end = end == source.len();
        let text = match at_end {
            true => unfinished(&text, line_end(source), value),
            false => text.strip_suffix(line_end(source)).unwrap_or(&text),
        };
        let is_null = node.span.is_empty();
        let text = text.trim_start_matches(' ');
        let text = if is_null && source[..node.span.start].ends_with('-') {
            format!(" {text}")
        } else {
            text.to_owned()
        };
        match node.span.start > 0 && node.parent.is_none() && rest_of_line_before(source, node) {
            true => edits.replace(node.span.start..end, format!("{}{text}", line_end(source))),
            false => edits.replace(start_of(node)..end, text),
        }
        return Ok(());
    };
    let parent = node
        .parent
        .map_or(0, |parent| stream.column(stream.node(parent).span.start));
    let text = emit_entry("k", value, parent, indent);
    let lines = text.split_once('\n').map_or("", |(_, lines)| lines);
    let line_end = line_end(source);
    let lines = lines.replace('\n', line_end);
    edit::drop_tag(stream, edits, node);
    if let Some(start) = hangs_on(stream, node) {
        let at = behind_colon(stream, key, node)?;
        let from = line_after(source, at).min(start);
        let end = line_after(source, content_end(stream, id));
        if source[..end].ends_with(['\n', '\r']) {
            edits.replace(from..end, lines);
        } else {
            edits.replace(from..end, unfinished(&lines, line_end, value));
        }
        return Ok(());
    }
    // A value on the key's line; its comment stays there.
    let blanks = source[..node.span.start].len()
        - source[..node.span.start]
            .trim_end_matches([' ', '\t'])
            .len();
    let from = node.span.start - if node.span.is_empty() { 0 } else { blanks };
    let first_line = match &node.block {
        Some(block) => block.header.end,
        None => node.span.end,
    };
    if node.block.is_none() && source[node.span.clone()].contains(['\n', '\r']) {
        return replace_with_line(stream, edits, id, &emit_json(value));
    }
    edits.delete(from..first_line);
    let at = line_after(source, first_line);
    let end = match &node.block {
        Some(_) => line_after(source, node.span.end).max(at),
        None => at,
    };
    if source[..end].ends_with(['\n', '\r']) {
        edits.replace(at..end, lines);
    } else {
        let lines = unfinished(&lines, line_end, value);
        let line_end = if source[..at].ends_with(['\n', '\r']) {
            ""
        } else {
            line_end
        };
        edits.replace(at..end, format!("{line_end}{lines}"));
    }
    Ok(())
}

/// Whether something stands before a document's content on its line, as `--- `.
fn rest_of_line_before(source: &str, node: &Node<'_>) -> bool {
    let start = line_start(source, node.span.start);
    !source[start..node.span.start].trim().is_empty()
}

fn rest_of_line(source: &str, at: usize) -> &str {
    &source[at..line_after(source, at)]
}

/// The key whose value a node is.
fn key_of(stream: &Stream<'_>, id: NodeId) -> Option<NodeId> {
    let parent = stream.node(id).parent?;
    stream
        .entries(parent)
        .find(|(_, value)| *value == id)
        .map(|(key, _)| key)
}

/// The first byte behind the `:` of a key, and behind the anchor of its value.
fn behind_colon(stream: &Stream<'_>, key: NodeId, value: &Node<'_>) -> Result<usize, WriteError> {
    if let Some(properties) = &value.properties
        && value.anchor.is_some()
    {
        return Ok(properties.end);
    }
    let key = stream.node(key);
    let from = key.span.end;
    let between = &stream.source[from..value.span.start];
    let blanks = between.len() - between.trim_start_matches([' ', '\t']).len();
    if between[blanks..].starts_with(':') {
        return Ok(from + blanks + 1);
    }
    Err(WriteError::Place {
        line: key.line_number(),
        what: "a key in the form '? key' cannot get another kind of value; write it as 'key:'",
    })
}

/// Puts an entry at the end of a mapping, or behind what is before its entry `before`.
pub(crate) fn insert_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    key: &str,
    value: &Value,
    before: Option<&str>,
    indent: usize,
) -> Result<(), WriteError> {
    let node = stream.node(mapping);
    let next = node
        .children
        .chunks_exact(2)
        .position(|pair| before.is_some_and(|before| stream.node(pair[0]).value == before));
    if node.style == Style::Flow {
        let entry = format!("{}: {}", super::quote::json_quoted(key), emit_json(value));
        if !has_brackets(stream, node) {
            edits.insert(start_of(node), "{");
            edits.insert(end_of(stream, mapping), format!(", {entry}}}"));
            return Ok(());
        }
        match next {
            Some(index) => {
                let next = stream.node(node.children[index * 2]);
                edits.insert(start_of(next), format!("{entry}, "));
            }
            None => {
                let (at, text) = flow_insertion(stream, node, &entry);
                edits.insert(at, text);
            }
        }
        return Ok(());
    }
    let column = stream.column(node.span.start);
    let last = match next {
        Some(index) => node.children.get((index * 2).wrapping_sub(1)),
        None => node.children.last(),
    };
    let end = last.map_or(node.span.start, |last| {
        line_after(stream.source, content_end(stream, *last))
    });
    let value = &*settled(&stream.source[end..], value);
    let entry = emit_entry(key, value, column, indent);
    match next {
        Some(0) => {
            let entry = entry.replace('\n', line_end(stream.source));
            edits.insert(line_start(stream.source, node.span.start), entry);
            Ok(())
        }
        Some(index) => insert_behind(stream, edits, node.children[index * 2 - 1], &entry, value),
        None => insert_behind(
            stream,
            edits,
            node.children[node.children.len() - 1],
            &entry,
            value,
        ),
    }
}

/// Puts an item at the end of a sequence.
pub(crate) fn push_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    sequence: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    let node = stream.node(sequence);
    if node.style == Style::Flow {
        let (at, text) = flow_insertion(stream, node, &emit_json(value));
        edits.insert(at, text);
        return Ok(());
    }
    let column = stream.column(dash_of(stream, sequence, 0).unwrap_or(node.span.start));
    let end = line_after(stream.source, content_end(stream, sequence));
    let value = &*settled(&stream.source[end..], value);
    let item = emit_item(value, column, indent);
    insert_behind(
        stream,
        edits,
        node.children[node.children.len() - 1],
        &item,
        value,
    )
}

/// Whether a flow collection is no single pair without braces, as in `[a: b]`.
fn has_brackets(stream: &Stream<'_>, node: &Node<'_>) -> bool {
    stream.source[node.span.clone()].starts_with(['{', '['])
        && stream.source[..node.span.end].ends_with(['}', ']'])
        && node
            .children
            .first()
            .is_none_or(|child| start_of(stream.node(*child)) > node.span.start)
}

/// Where the dash of a block sequence's item is.
fn dash_of(stream: &Stream<'_>, sequence: NodeId, index: usize) -> Option<usize> {
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

/// Puts whole lines behind the last line of a node.
fn insert_behind(
    stream: &Stream<'_>,
    edits: &mut Edits,
    last: NodeId,
    lines: &str,
    value: &Value,
) -> Result<(), WriteError> {
    let source = stream.source;
    let line_end = line_end(source);
    let lines = lines.replace('\n', line_end);
    let at = line_after(source, content_end(stream, last));
    if source[..at].ends_with(['\n', '\r']) {
        edits.insert(at, lines);
        return Ok(());
    }
    let mut deepest = stream.node(last);
    while let Some(child) = deepest.children.last() {
        deepest = stream.node(*child);
    }
    let open = deepest.block.as_ref();
    if open.is_some_and(|block| block.open && block.chomping != Chomping::Strip) {
        return Err(WriteError::Place {
            line: deepest.line_number(),
            what: "end the last line of this block with a line break",
        });
    }
    let lines = unfinished(&lines, line_end, value);
    edits.insert(at, format!("{line_end}{lines}"));
    Ok(())
}

/// Takes an entry (by its key or value) or an item out. The last one of a collection leaves `{}` or `[]`.
pub(crate) fn remove_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    id: NodeId,
    indent: usize,
) -> Result<(), WriteError> {
    let Some(parent_id) = stream.node(id).parent else {
        return Err(WriteError::Place {
            line: stream.node(id).line_number(),
            what: "the whole document cannot be taken out of itself",
        });
    };
    let parent = stream.node(parent_id);
    let step = if parent.kind == Kind::Mapping { 2 } else { 1 };
    let children = || parent.children.chunks_exact(step);
    let Some(index) = children().position(|children| children.contains(&id)) else {
        return Ok(());
    };
    let first = parent.children[index * step];
    let last = parent.children[index * step + step - 1];
    guard_anchors(stream, first, true)?;
    guard_anchors(stream, last, true)?;
    let first_node = stream.node(first);
    let before = &stream.source[..start_of(first_node)];
    let explicit = step == 2 && before.trim_end_matches([' ', '\t']).ends_with('?');
    let far = step == 2 && !explicit && before.trim_end().ends_with('?');
    let empty_key = step == 2 && first_node.span.is_empty() && first_node.properties.is_none();
    if explicit && parent.style == Style::Flow || empty_key || far {
        return Err(WriteError::Place {
            line: first_node.line_number(),
            what: "an entry in the form '? key' cannot be taken out here; write it as 'key:'",
        });
    }
    if parent.style == Style::Flow {
        if !has_brackets(stream, parent) {
            edits.replace(
                parent.span.start..end_of(stream, last).max(parent.span.end),
                "{}",
            );
            return Ok(());
        }
        edits.delete(flow_removal(stream, parent, index, step));
        return Ok(());
    }
    if parent.children.len() == step {
        let empty = match parent.kind {
            Kind::Mapping => Value::Map(Vec::new()),
            _ => Value::Seq(Vec::new()),
        };
        return set_value(stream, edits, parent_id, &empty, indent);
    }
    let source = stream.source;
    let own = match step {
        2 => start_of(stream.node(first)),
        _ => dash_of(stream, parent_id, index).unwrap_or(start_of(stream.node(first))),
    };
    let start = line_start(source, own);
    let before = source[start..own].trim_matches([' ', '\t']);
    let next = parent.children.get((index + 1) * step);
    if !before.is_empty() && before != "?" {
        // On the line of what holds the collection: the next one takes its place.
        if let Some(next) = next {
            let next = match step {
                2 => start_of(stream.node(*next)),
                _ => dash_of(stream, parent_id, index + 1).unwrap_or(start_of(stream.node(*next))),
            };
            edits.delete(own..next);
            return Ok(());
        }
    }
    let mut end = content_end(stream, last);
    let previous = (index * step).checked_sub(1).map(|at| parent.children[at]);
    if let Some(chomping) = previous.and_then(|previous| last_block(stream, previous)) {
        // What follows the entry would become part of the block before it.
        let mut next = line_after(source, end);
        while next < source.len() {
            let line = rest_of_line(source, next);
            let blank = chomping == Chomping::Keep && line.trim().is_empty();
            if !blank && !is_indented_comment(&source[next..]) {
                break;
            }
            end = next;
            next = line_after(source, next);
        }
    }
    delete_lines(stream, edits, start..end);
    Ok(())
}

/// How the block scalar that a node ends in ends.
fn last_block(stream: &Stream<'_>, mut id: NodeId) -> Option<Chomping> {
    while let Some(child) = stream.node(id).children.last() {
        id = *child;
    }
    let block = stream.node(id).block.as_ref();
    block.map(|block| block.chomping)
}

/// Whether a comment with blanks before it is the next that comes, which a block scalar would swallow.
fn is_indented_comment(rest: &str) -> bool {
    let text = rest.trim_start();
    text.starts_with('#') && rest[..rest.len() - text.len()].ends_with([' ', '\t'])
}

/// The value without block scalars where the text behind it would become part of one.
fn settled<'v>(rest: &str, value: &'v Value) -> Cow<'v, Value> {
    if ends_in_block(value) && is_indented_comment(rest) {
        Cow::Owned(without_blocks(value))
    } else {
        Cow::Borrowed(value)
    }
}

fn without_blocks(value: &Value) -> Value {
    match value {
        Value::Str(text) if text.contains('\n') => Value::Quoted(text.clone()),
        Value::Map(entries) => {
            let entries = entries.iter();
            Value::Map(
                entries
                    .map(|(key, value)| (key.clone(), without_blocks(value)))
                    .collect(),
            )
        }
        Value::Seq(items) => Value::Seq(items.iter().map(without_blocks).collect()),
        other => other.clone(),
    }
}

/// Takes whole lines out. At the end of a file without a line break the one before goes too.
fn delete_lines(stream: &Stream<'_>, edits: &mut Edits, span: Range<usize>) {
    let source = stream.source;
    let end = line_after(source, span.end);
    if source[..end].ends_with(['\n', '\r']) {
        edits.delete(span.start..end);
        return;
    }
    let before = &source[..span.start];
    let cut = before
        .strip_suffix("\r\n")
        .or_else(|| before.strip_suffix(['\n', '\r']));
    edits.delete(cut.unwrap_or(before).len()..end);
}

/// Refuses what would leave an alias without its anchor: with `own`, also that of the node itself.
fn guard_anchors(stream: &Stream<'_>, id: NodeId, own: bool) -> Result<(), WriteError> {
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
fn start_of(node: &Node<'_>) -> usize {
    let properties = node.properties.as_ref().map(|span| span.start);
    properties.map_or(node.span.start, |start| start.min(node.span.start))
}

/// Where a node ends; an empty one where its properties do.
fn end_of(stream: &Stream<'_>, id: NodeId) -> usize {
    let node = stream.node(id);
    let properties = node.properties.as_ref().map_or(0, |span| span.end);
    node.span.end.max(properties)
}

/// Where the last thing of a node is written. An empty node may have its place lines below: it ends
/// behind the `:` or `-` that it hangs on.
fn content_end(stream: &Stream<'_>, mut id: NodeId) -> usize {
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
enum Hook {
    Colon,
    /// A key without `:`.
    Key,
    Dash,
    Document,
}

struct EmptyPlace {
    at: usize,
    hook: Hook,
}

fn empty_place(stream: &Stream<'_>, id: NodeId) -> EmptyPlace {
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
fn skip_blanks_and_comments(source: &str, from: usize, end: usize) -> Option<(usize, u8)> {
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
fn line_after(source: &str, at: usize) -> usize {
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

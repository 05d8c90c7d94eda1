//! Puts whole values in place of nodes.

use std::borrow::Cow;
use std::ops::Range;

use super::append::{ends_in_block, line_end, line_start};
use super::emit::{emit_entry, emit_json, emit_nested};
use super::place::{
    Hook, content_end, empty_place, guard_anchors, in_flow, is_indented_comment, is_key, key_of,
    line_after, rest_of_line, rest_of_line_before, start_of,
};
use super::{Edits, Kind, Node, NodeId, Stream, Style, Value, edit};
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
pub(super) fn unfinished<'l>(lines: &'l str, line_end: &str, value: &Value) -> &'l str {
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

/// The value without block scalars where the text behind it would become part of one.
pub(super) fn settled<'v>(rest: &str, value: &'v Value) -> Cow<'v, Value> {
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
pub(super) fn delete_lines(stream: &Stream<'_>, edits: &mut Edits, span: Range<usize>) {
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

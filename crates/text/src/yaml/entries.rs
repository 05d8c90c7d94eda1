//! Adds and takes away entries and items.

use super::append::{flow_insertion, flow_removal, line_end, line_start};
use super::emit::{emit_entry, emit_item, emit_json};
use super::place::{
    content_end, dash_of, end_of, guard_anchors, has_brackets, is_indented_comment, last_block,
    line_after, rest_of_line, start_of,
};
use super::structure::{delete_lines, set_value, settled, unfinished};
use super::{Chomping, Edits, Kind, NodeId, Stream, Style, Value};
use crate::WriteError;

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

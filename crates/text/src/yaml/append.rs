//! Adds and takes away a last entry of a document's root mapping.

use std::ops::Range;

use super::emit::{emit_entry, emit_json};
use super::{Chomping, Edits, EntryError, Kind, Node, NodeId, Stream, Style, Value, quote};

/// Puts `key: value` as the last entry of a document's root mapping.
///
/// Block style at the root's column with go-yaml's encoder style (sops-format.md 11.5, `indent`
/// columns per level); JSON on one line inside a flow root. After every trailing comment and blank
/// line, before `...` or the next `---`. Line breaks are the file's. Where the file has no line
/// break at its end, the new entry has none either. An empty document gets the entry as its
/// content.
///
/// A block scalar at the end of the file whose last line has no line break would gain one: where
/// it is not being replaced by `edits`, its header becomes `|-`, and one blank (for `|`) or two
/// (for `|+`) at the end of the file say so to [`remove_entry`].
pub(crate) fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
    value: &Value,
    indent: usize,
) -> Result<(), EntryError> {
    let (place, root) = root_of(stream, document)?;
    if let Some(root) = root
        && root.style == Style::Flow
    {
        let entry = format!("{}: {}", quote::json_quoted(key), emit_json(value));
        let (at, text) = flow_insertion(stream, root, &entry);
        edits.insert(at, text);
        return Ok(());
    }
    let source = stream.source;
    let line_end = line_end(source);
    let column = root.map_or(0, |root| stream.column(root.span.start));
    let entry = emit_entry(key, value, column, indent).replace('\n', line_end);
    let end = place.end;
    let last_line = line_start(source, end);
    let unfinished = &source[last_line..end];
    if unfinished.is_empty() {
        edits.insert(end, entry);
        return Ok(());
    }
    // The file ends without a line break.
    let body = match ends_in_block(value) {
        // A block scalar needs its line break.
        true => &entry[..],
        false => entry.strip_suffix(line_end).unwrap_or(&entry),
    };
    let mut mark = "";
    if let Some(open) = open_block(stream, document).map(|id| stream.node(id))
        && let Some(block) = &open.block
        && block.chomping != Chomping::Strip
        && !edits.touch(&open.span)
    {
        if ends_in_block(value) {
            let (line, column) = (open.line_number(), open.column_number());
            return Err(EntryError::OpenBlock { line, column });
        }
        let header = &source[block.header.clone()];
        // `|+2` becomes `|-2`, `|2` becomes `|2-`.
        let strip = match block.chomping {
            Chomping::Keep => header.replacen('+', "-", 1),
            _ => format!("{header}-"),
        };
        edits.replace(block.header.clone(), strip);
        mark = if block.chomping == Chomping::Keep {
            "  "
        } else {
            " "
        };
    } else if unfinished.trim_matches(' ').is_empty() && in_document(stream, document, last_line) {
        // Blanks without a line break stay at the end; a tab may stand only where it stands.
        edits.insert(last_line, entry);
        return Ok(());
    }
    edits.insert(end, format!("{line_end}{body}{mark}"));
    Ok(())
}

/// Takes every entry with this key out of a document's root mapping: exactly what
/// [`append_entry`] put in. Returns whether there was one.
pub(crate) fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
) -> Result<bool, EntryError> {
    let (_, root) = root_of(stream, document)?;
    let Some(root) = root else { return Ok(false) };
    let mut found = false;
    for (index, pair) in root.children.chunks_exact(2).enumerate() {
        let name = stream.node(pair[0]);
        if name.kind != Kind::Scalar || name.value != key {
            continue;
        }
        found = true;
        let is_last = (index + 1) * 2 == root.children.len();
        if root.style == Style::Flow {
            edits.delete(flow_removal(stream, root, index, 2));
        } else {
            remove_block_entry(stream, edits, root, index, is_last);
        }
    }
    Ok(found)
}

/// The range of the document's text and its root, `None` for an empty document.
fn root_of<'a, 's>(
    stream: &'a Stream<'s>,
    document: usize,
) -> Result<(Range<usize>, Option<&'a Node<'s>>), EntryError> {
    let found = stream
        .documents
        .get(document)
        .ok_or(EntryError::NoDocument(document))?;
    let end = found
        .end_marker
        .as_ref()
        .map_or(found.span.end, |marker| marker.start);
    let Some(root) = found.root.map(|root| stream.node(root)) else {
        return Ok((found.span.start..end, None));
    };
    if root.kind != Kind::Mapping {
        let (line, column) = (root.line_number(), root.column_number());
        return Err(EntryError::NotAMapping { line, column });
    }
    Ok((found.span.start..end, Some(root)))
}

fn bom(source: &str) -> usize {
    if source.starts_with('\u{feff}') { 3 } else { 0 }
}

/// Whether the line that begins at `at` belongs to the document and holds none of its content.
fn in_document(stream: &Stream<'_>, document: usize, at: usize) -> bool {
    let document = &stream.documents[document];
    let marker = document
        .start_marker
        .as_ref()
        .map_or(0, |marker| marker.end);
    at >= marker && at >= stream.node(document.content).span.end && at > bom(stream.source)
}

/// The first byte of the line that `at` is in, a byte order mark left out.
pub(super) fn line_start(source: &str, at: usize) -> usize {
    let before = &source[..at];
    let found = before
        .char_indices()
        .rfind(|(_, c)| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
    found.map_or(bom(source), |(at, c)| at + c.len_utf8())
}

/// The line break of the file's first line.
pub(super) fn line_end(source: &str) -> &'static str {
    match source.find(['\n', '\r']) {
        Some(at) if source[at..].starts_with("\r\n") => "\r\n",
        Some(at) if source[at..].starts_with('\r') => "\r",
        _ => "\n",
    }
}

/// The block scalar whose last line is the last of the file and has no line break.
fn open_block(stream: &Stream<'_>, document: usize) -> Option<NodeId> {
    let mut id = stream.documents.get(document)?.content;
    while let Some(last) = stream.node(id).children.last() {
        id = *last;
    }
    let node = stream.node(id);
    let open = node.block.as_ref().is_some_and(|block| block.open);
    (open && node.span.end == stream.source.len()).then_some(id)
}

/// Whether the last line of a value in block style is that of a block scalar.
pub(super) fn ends_in_block(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.last().is_some_and(|(_, last)| ends_in_block(last)),
        Value::Seq(items) => items.last().is_some_and(ends_in_block),
        Value::Str(text) => quote::literal_allowed(text),
        _ => false,
    }
}

/// Where and how a text goes behind the last child of a flow collection.
pub(super) fn flow_insertion(stream: &Stream<'_>, root: &Node<'_>, entry: &str) -> (usize, String) {
    let closing = root.span.end - 1;
    let Some(last) = root.children.last().map(|last| stream.node(*last)) else {
        let inside = root.span.start + 1;
        let blank = stream.source[inside..closing].trim().is_empty();
        return (if blank { inside } else { closing }, entry.to_owned());
    };
    let last = last
        .properties
        .as_ref()
        .map_or(0, |span| span.end)
        .max(last.span.end);
    let comma = trailing_comma(&stream.source[last..closing]).map(|at| last + at + 1);
    let from = comma.unwrap_or(last);
    let blank = stream.source[from..closing].trim().is_empty();
    match (comma.is_some(), blank) {
        (false, true) => (last, format!(", {entry}")),
        (false, false) => (closing, format!(", {entry}")),
        (true, true) => (from, format!(" {entry},")),
        (true, false) => (closing, format!("{entry},")),
    }
}

/// The comma after the last entry, outside of comments. `text` is between entry and brace.
fn trailing_comma(text: &str) -> Option<usize> {
    let mut comment = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => comment = false,
            '#' => comment = true,
            ',' if !comment => return Some(at),
            _ => {}
        }
    }
    None
}

/// The range of the entry (two children) or item (one) with this number, and of its comma.
pub(super) fn flow_removal(
    stream: &Stream<'_>,
    root: &Node<'_>,
    index: usize,
    step: usize,
) -> Range<usize> {
    let source = stream.source;
    let name = stream.node(root.children[index * step]);
    let value = stream.node(root.children[index * step + step - 1]);
    let start = name
        .properties
        .as_ref()
        .map_or(name.span.start, |span| span.start);
    let closing = root.span.end - 1;
    let next = root
        .children
        .get((index + 1) * step)
        .map(|next| stream.node(*next));
    let limit = next.map_or(closing, |next| next.span.start);
    let comma = trailing_comma(&source[value.span.end..limit]).map(|at| value.span.end + at + 1);
    match comma {
        Some(comma) => {
            // The blank that was put before the entry, or after it when it is the first.
            let before = &source[..start];
            if before.ends_with(", ") {
                start - 1..comma
            } else if next.is_some() && source[comma..].starts_with(' ') {
                start..comma + 1
            } else {
                start..comma
            }
        }
        None if index == 0 => start..value.span.end,
        None if source[..start].ends_with(", ") => start - 2..value.span.end,
        None => start..value.span.end,
    }
}

fn remove_block_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    root: &Node<'_>,
    index: usize,
    is_last: bool,
) {
    let source = stream.source;
    let name = stream.node(root.children[index * 2]);
    let value = stream.node(root.children[index * 2 + 1]);
    let key_start = name
        .properties
        .as_ref()
        .map_or(name.span.start, |span| span.start);
    // The whole line: a `? ` before the key is part of the entry.
    let start = line_start(source, key_start);
    let value_end = value
        .properties
        .as_ref()
        .map_or(0, |span| span.end)
        .max(value.span.end);
    let rest = &source[value_end.max(key_start)..];
    let line = rest.find(['\n', '\r']);
    let end = line.map_or(source.len(), |at| {
        let at = value_end.max(key_start) + at;
        if source[at..].starts_with("\r\n") {
            at + 2
        } else {
            at + 1
        }
    });
    if line.is_some() || !is_last {
        edits.delete(start..end);
        return;
    }
    // No line break at the end of the file: there was none before the entry was put in.
    let mark = source.len() - source.trim_end_matches(' ').len();
    let before = &source[..start];
    let cut = before
        .strip_suffix("\r\n")
        .or_else(|| before.strip_suffix(['\n', '\r']));
    edits.delete(cut.unwrap_or(before).len()..source.len());
    if mark > 2 || mark == 0 || index == 0 {
        return;
    }
    let mut last = root.children[index * 2 - 1];
    while let Some(child) = stream.node(last).children.last() {
        last = *child;
    }
    let Some(block) = &stream.node(last).block else {
        return;
    };
    if block.chomping == Chomping::Strip {
        let sign = if mark == 2 { "+" } else { "" };
        let header = source[block.header.clone()].replacen('-', sign, 1);
        edits.replace(block.header.clone(), header);
    }
}

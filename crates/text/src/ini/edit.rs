//! Edits of sections and keys.

use std::ops::Range;

use super::emit::{header, key_text, mapping_wanted, section_text, text_of};
use super::value::{quoted, written};
use super::{FORMAT, bom, line_after, line_end, line_start};
use crate::edit::entry_of;
use crate::value::flatten;
use crate::{Comment, Document, Edits, EntryError, Kind, NodeId, Stream, Style, Value, WriteError};

const METADATA: &str = "sops";

/// Puts a section behind all others and before the comments at the end of the file, with an empty
/// line between. The metadata goes in flattened, its line breaks as the two characters `\n`.
pub(crate) fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: &Document,
    key: &str,
    value: &Value,
) -> Result<(), EntryError> {
    let flat;
    let value = if key == METADATA && matches!(value, Value::Map(_)) {
        let entries = flatten(value).into_iter();
        let line = |(key, text): (String, String)| (key, Value::Str(text.replace('\n', "\\n")));
        flat = Value::Map(entries.map(line).collect());
        &flat
    } else {
        value
    };
    Ok(insert_section(
        stream,
        edits,
        document.content,
        key,
        value,
        None,
    )?)
}

fn insert_section(
    stream: &Stream<'_>,
    edits: &mut Edits,
    root: NodeId,
    name: &str,
    value: &Value,
    before: Option<&str>,
) -> Result<(), WriteError> {
    let source = stream.source;
    let line_end = line_end(source);
    let (comment, lines) = section_text(value, line_end)?;
    let text = format!("{comment}{}{line_end}{lines}", header(name)?);
    let next = stream
        .entries(root)
        .find(|(key, _)| before.is_some_and(|before| stream.node(*key).value == before));
    if let Some((key, section)) = next {
        let at = with_comments(
            stream,
            stream.node(key).span.start,
            &stream.node(section).head,
        );
        edits.insert(line_start(source, at), format!("{text}{line_end}"));
        return Ok(());
    }
    let trailing = !stream.documents[0].foot.is_empty();
    let at = if trailing {
        content_end(stream, root)
    } else {
        source.len()
    };
    if at == bom(source) {
        edits.insert(at, text);
    } else if source[..at].ends_with('\n') {
        edits.insert(at, format!("{line_end}{text}"));
    } else {
        check_end(stream, edits)?;
        let text = text.strip_suffix(line_end).unwrap_or(&text);
        // A lone CR is no part of the line break: it would go away with the section.
        let lone = source[..at].ends_with('\r');
        let first = if lone { "\r\n" } else { line_end };
        edits.insert(at, format!("{first}{line_end}{text}"));
    }
    Ok(())
}

/// Refuses to put a line behind a file that ends, without a line break, in a value that is `"""` and
/// stays: ini.v1 takes the quotes for those of a long text as soon as anything follows.
fn check_end(stream: &Stream<'_>, edits: &Edits) -> Result<(), WriteError> {
    let quotes = stream.source.len().saturating_sub(3)..stream.source.len();
    let open = stream.source.ends_with("\"\"\"")
        && stream.nodes().any(|(_, node)| node.span == quotes)
        && !edits.touch(&quotes);
    match open {
        false => Ok(()),
        true => Err(WriteError::Text {
            format: FORMAT,
            what: "a line below a last value of three quotes alone: they would open a text of \
                   several lines; put the value in quotes",
        }),
    }
}

/// The first byte after the last line with a header or key.
fn content_end(stream: &Stream<'_>, root: NodeId) -> usize {
    stream
        .entries(root)
        .map(|(key, section)| section_end(stream, key, section))
        .max()
        .unwrap_or_default()
}

/// The first byte after the last line of a section; for a `DEFAULT` without keys the start.
fn section_end(stream: &Stream<'_>, key: NodeId, section: NodeId) -> usize {
    let last = stream.node(section).children.last();
    match last {
        Some(value) => entry_end(stream, *value),
        None if is_implicit(stream, key) => bom(stream.source),
        None => line_after(stream.source, stream.node(key).span.end),
    }
}

/// The first byte after the last line of a value.
fn entry_end(stream: &Stream<'_>, value: NodeId) -> usize {
    let node = stream.node(value);
    let end = line_after(stream.source, node.span.end);
    let written = &stream.source[node.span.clone()];
    // Before a comment it is no sign of one.
    let goes_on = written.ends_with('\\') && stream.source[node.span.end..end].trim().is_empty();
    if node.style == Style::Plain && goes_on {
        // The empty line that ends the continuation.
        return line_after(stream.source, end);
    }
    end
}

/// `DEFAULT` without a header.
fn is_implicit(stream: &Stream<'_>, key: NodeId) -> bool {
    stream.node(key).span.is_empty()
}

/// Where something begins, the comment lines above it included.
fn with_comments(stream: &Stream<'_>, start: usize, comments: &[Comment]) -> usize {
    let first = comments
        .iter()
        .map(|comment| comment.above.as_ref().unwrap_or(&comment.span).start)
        .min();
    line_start(stream.source, first.map_or(start, |first| first.min(start)))
}

/// Takes every section with this name out, with the empty line before it: exactly what
/// [`append_entry`] put in.
pub(crate) fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: &Document,
    key: &str,
) -> bool {
    let mut found = false;
    for (name, section) in stream.entries(document.content) {
        if stream.node(name).value == key && !is_implicit(stream, name) {
            found = true;
            let start = line_start(stream.source, stream.node(name).span.start);
            let span = start..section_end(stream, name, section);
            edits.delete(with_blank_line(stream.source, span));
        }
    }
    found
}

/// A section with the empty line before it. Without a line break at its end it stands at the end of
/// a file that had none.
fn with_blank_line(source: &str, span: Range<usize>) -> Range<usize> {
    let before = &source[..span.start];
    let without = |text: &'_ str| {
        let text = text.strip_suffix('\n')?;
        Some(text.strip_suffix('\r').unwrap_or(text).len())
    };
    let Some(blank) = without(before).filter(|blank| {
        let rest = &before[..*blank];
        rest.ends_with('\n') || *blank == bom(source)
    }) else {
        return span;
    };
    let unfinished = !source[..span.end].ends_with('\n');
    match without(&before[..blank]) {
        Some(end) if unfinished => end..span.end,
        _ => blank..span.end,
    }
}

/// Puts a value in place of one, or other keys in place of a section's.
pub(crate) fn set_value(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value,
) -> Result<(), WriteError> {
    let found = stream.node(node);
    match (found.kind, found.parent) {
        (Kind::Scalar, _) => {
            let text = text_of(value)?;
            edits.replace(found.span.clone(), written(stream, node, &text)?);
        }
        (_, None) => {
            let (line, what) = (1, "an INI file cannot be replaced as a whole");
            return Err(WriteError::Place { line, what });
        }
        (_, Some(_)) => {
            let (_, lines) = section_text(value, line_end(stream.source))?;
            for pair in found.children.chunks_exact(2) {
                edits.delete(entry_span(stream, pair[0], pair[1]));
            }
            let at = match found.children.first() {
                Some(key) => entry_span(stream, *key, found.children[1]).start,
                None => line_after(stream.source, found.span.end),
            };
            insert_lines(stream, edits, at, lines)?;
        }
    }
    Ok(())
}

/// Puts whole lines at the start of a line, or at the end of a file that may end within one.
fn insert_lines(
    stream: &Stream<'_>,
    edits: &mut Edits,
    at: usize,
    lines: String,
) -> Result<(), WriteError> {
    let source = stream.source;
    let unfinished = at == source.len() && at > bom(source) && !source.ends_with('\n');
    if unfinished {
        check_end(stream, edits)?;
    }
    match lines.strip_suffix(line_end(source)) {
        Some(lines) if unfinished => edits.insert(at, format!("{}{lines}", line_end(source))),
        _ => edits.insert(at, lines),
    }
    Ok(())
}

/// An entry with its comment.
fn entry_span(stream: &Stream<'_>, key: NodeId, value: NodeId) -> Range<usize> {
    let key = stream.node(key);
    with_comments(stream, key.span.start, &key.foot)..entry_end(stream, value)
}

/// Puts a key at the end of a section, or a section at the end of the file.
pub(crate) fn insert_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    key: &str,
    value: &Value,
    before: Option<&str>,
) -> Result<(), WriteError> {
    let section = stream.node(mapping);
    if section.parent.is_none() {
        if !matches!(value, Value::Map(_)) {
            return Err(mapping_wanted("sections", "beside the sections"));
        }
        return insert_section(stream, edits, mapping, key, value, before);
    }
    let source = stream.source;
    let line_end = line_end(source);
    let name = key_text(key)?;
    let value = quoted(&text_of(value)?, "", "")?;
    let [.., last, last_value] = section.children[..] else {
        let implicit = section.span.start == bom(source);
        let line = format!("{name} = {value}{line_end}");
        if implicit {
            let gap = if source.len() > bom(source) {
                line_end
            } else {
                ""
            };
            edits.insert(bom(source), format!("{line}{gap}"));
        } else {
            insert_lines(stream, edits, line_after(source, section.span.end), line)?;
        }
        return Ok(());
    };
    let key_start = stream.node(last).span.start;
    let indent = &source[line_start(source, key_start)..key_start];
    let gap = gap(stream, mapping, name.len());
    let line = format!("{indent}{name}{gap}{value}{line_end}");
    insert_lines(stream, edits, entry_end(stream, last_value), line)
}

/// What stands between a key of this length and its value: as behind the section's last key, and
/// aligned where the others are.
fn gap(stream: &Stream<'_>, section: NodeId, length: usize) -> String {
    let source = stream.source;
    let gaps: Vec<(usize, &str)> = stream
        .entries(section)
        .map(|(key, value)| {
            let (key, value) = (stream.node(key), stream.node(value));
            (key.span.len(), &source[key.span.end..value.span.start])
        })
        .collect();
    let column = |(length, gap): &(usize, &str)| length + gap.find(['=', ':']).unwrap_or(0);
    let Some((last_length, last)) = gaps.last() else {
        return " = ".to_owned();
    };
    let behind = &last[last.find(['=', ':']).unwrap_or(0)..];
    let behind = if behind.len() == 1 && gaps.len() == 1 && last.starts_with(' ') {
        format!("{behind} ")
    } else {
        behind.to_owned()
    };
    let aligned = gaps.iter().all(|gap| column(gap) == column(&gaps[0]))
        && gaps.iter().any(|(length, _)| length != last_length);
    let before = if aligned {
        let width = column(&gaps[0]).saturating_sub(length);
        let least = usize::from(last.starts_with(' '));
        " ".repeat(width.max(least))
    } else {
        last[..last.find(['=', ':']).unwrap_or(0)].to_owned()
    };
    format!("{before}{behind}")
}

/// Takes a key (by its value) or a section out, with its comment.
pub(crate) fn remove_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
) -> Result<(), WriteError> {
    let (key, value) = entry_of(stream, node)?;
    if stream.node(value).kind == Kind::Scalar {
        edits.delete(entry_span(stream, key, value));
        return Ok(());
    }
    if is_implicit(stream, key) {
        for pair in stream.node(value).children.chunks_exact(2) {
            edits.delete(entry_span(stream, pair[0], pair[1]));
        }
        return Ok(());
    }
    let start = with_comments(
        stream,
        stream.node(key).span.start,
        &stream.node(value).head,
    );
    let span = start..section_end(stream, key, value);
    edits.delete(with_blank_line(stream.source, span));
    Ok(())
}

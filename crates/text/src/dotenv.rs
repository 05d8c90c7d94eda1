//! dotenv files as sops reads them (sops-format.md 14), lossless.
//!
//! Lines end with LF. An empty line is nothing, a line that begins with `#` a comment, and every
//! other line needs a `=`: what is before the first one is the key, what is behind it the value, both
//! as they are, but for the pair `\n` in a value, which stands for a line break. The root is a
//! mapping of strings; comments are the head comments of the next key, or foot comments of the root.

use std::borrow::Cow;

use crate::edit::entry_of;
use crate::tree::Builder;
use crate::value::flatten;
use crate::{
    Comment, Document, Edits, EntryError, Kind, Limits, NodeId, ParseError, Stream, Style, Syntax,
    Value, WriteError, error, float,
};

/// What metadata keys begin with.
const METADATA_PREFIX: &str = "sops_";
const METADATA: &str = "sops";
const FORMAT: &str = "a dotenv file";

/// Parses a dotenv file. Fails with the first line without `=`.
pub fn parse<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    let mut builder = Builder::new(source, limits)?;
    let root = builder.add(
        None,
        Kind::Mapping,
        Style::Block,
        Cow::Borrowed(""),
        0..source.len(),
    )?;
    let mut comments = Vec::new();
    let mut start = 0;
    for line in source.split('\n') {
        let end = start + line.len();
        if line.starts_with('#') {
            comments.push(Comment::at(start..end));
        } else if !line.is_empty() {
            let Some(equals) = line.find('=') else {
                return Err(ParseError::at(source, start, no_equals(line)));
            };
            let key = Cow::Borrowed(&line[..equals]);
            let key_span = start..start + equals;
            let key = builder.add(Some(root), Kind::Scalar, Style::Plain, key, key_span)?;
            builder.node(key).head = std::mem::take(&mut comments);
            let written = &line[equals + 1..];
            let value = if written.contains("\\n") {
                Cow::Owned(written.replace("\\n", "\n"))
            } else {
                Cow::Borrowed(written)
            };
            let span = start + equals + 1..end;
            builder.add(Some(root), Kind::Scalar, Style::Plain, value, span)?;
        }
        start = end + 1;
    }
    builder.node(root).foot = comments;
    Ok(builder.finish(Syntax::Dotenv, Vec::new(), Vec::new()))
}

/// Parses bytes; refuses UTF-16 and invalid UTF-8 with a reason that says so.
pub fn parse_bytes<'s>(source: &'s [u8], limits: &Limits) -> Result<Stream<'s>, ParseError> {
    parse(error::text_of(source)?, limits)
}

fn no_equals(line: &str) -> &'static str {
    match line.trim_start_matches('\u{feff}') {
        "\r" => {
            "an empty line with a carriage return, which sops cannot read; save the file with LF line ends"
        }
        rest if rest.trim_start().starts_with('#') => {
            "a comment must begin at the first byte of its line, or the line needs a '='"
        }
        _ => {
            "the line has no '='; every line is KEY=value, a comment that begins with '#', or empty"
        }
    }
}

/// Puts a string in place of a value, or of a key.
pub(crate) fn set_scalar(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    if text.contains("\\n") {
        let line = stream.node(node).line_number();
        edits.refuse(line, "a dotenv value cannot hold a backslash followed by n");
    }
    edits.replace(stream.node(node).span.clone(), text.replace('\n', "\\n"));
}

/// Puts a text without line breaks in place of a value.
pub(crate) fn set_scalar_raw(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    edits.replace(stream.node(node).span.clone(), text);
}

/// Puts a text after the `#`. A carriage return stays, a line break becomes a blank.
pub(crate) fn set_comment(edits: &mut Edits, comment: &Comment, text: &str) {
    let span = comment.span.start + 1..comment.span.end;
    edits.replace(span, text.replace('\n', " "));
}

/// Puts lines behind all others: one, or with a mapping the flattened metadata.
pub(crate) fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    key: &str,
    value: &Value,
) -> Result<(), EntryError> {
    let mut text = String::new();
    for (key, value) in lines_of(key, value)? {
        text.push_str(&line(&key, &value)?);
    }
    insert_line(stream, edits, stream.source.len(), text);
    Ok(())
}

/// Puts whole lines at the start of a line or at the end of the file.
fn insert_line(stream: &Stream<'_>, edits: &mut Edits, at: usize, mut text: String) {
    let source = stream.source;
    if at == source.len() && !source.is_empty() && !source.ends_with('\n') {
        // The last line is without a line break, and the new last line is too.
        text.pop();
        text.insert(0, '\n');
    }
    edits.insert(at, text);
}

fn lines_of(key: &str, value: &Value) -> Result<Vec<(String, String)>, WriteError> {
    if let Value::Map(_) = value
        && key == METADATA
    {
        return Ok(flatten(value)
            .into_iter()
            .map(|(name, text)| (format!("{METADATA_PREFIX}{name}"), text))
            .collect());
    }
    Ok(vec![(key.to_owned(), text_of(value)?)])
}

fn line(key: &str, value: &str) -> Result<String, WriteError> {
    let what = if key.contains('=') {
        Some("a '='")
    } else if key.contains('\n') {
        Some("a line break")
    } else if key.starts_with('#') {
        Some("a '#' at its start")
    } else {
        None
    };
    if let Some(what) = what {
        let format = FORMAT;
        return Err(WriteError::Key { format, what });
    }
    Ok(format!("{key}={}\n", value.replace('\n', "\\n")))
}

/// The text of a scalar; sops's `ValToString`.
fn text_of(value: &Value) -> Result<String, WriteError> {
    Ok(match value {
        Value::Map(_) | Value::Seq(_) => {
            let (format, place) = (FORMAT, "as a value");
            return Err(WriteError::Container { format, place });
        }
        Value::Float(value) => float::flat(*value),
        value => value.flat_text(),
    })
}

fn checked_text(value: &Value) -> Result<String, WriteError> {
    let text = text_of(value)?;
    if text.contains("\\n") {
        let (format, what) = (FORMAT, "a backslash followed by n");
        return Err(WriteError::Text { format, what });
    }
    Ok(text)
}

/// Takes the lines of a key out; for `sops` every line of the metadata.
pub(crate) fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: &Document,
    key: &str,
) -> bool {
    let mut found = false;
    for (name, value) in stream.entries(document.content) {
        let text = stream.node(name).value.as_ref();
        let is_metadata = key == METADATA && text.starts_with(METADATA_PREFIX);
        if text == key || is_metadata {
            found = true;
            remove_line(stream, edits, name, value);
        }
    }
    found
}

fn remove_line(stream: &Stream<'_>, edits: &mut Edits, key: NodeId, value: NodeId) {
    let (start, end) = (stream.node(key).span.start, stream.node(value).span.end);
    let source = stream.source;
    // Where the file has no line break at its end, lines go with the break before them.
    if source.ends_with('\n') || start == 0 {
        edits.delete(start..(end + 1).min(source.len()));
    } else {
        edits.delete(start - 1..end);
    }
}

/// Puts a scalar in place of a value.
pub(crate) fn set_value(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value,
) -> Result<(), WriteError> {
    let node = stream.node(node);
    if node.kind != Kind::Scalar {
        let what = "a dotenv file cannot be replaced as a whole";
        let line = node.line_number();
        return Err(WriteError::Place { line, what });
    }
    let text = checked_text(value)?;
    edits.replace(node.span.clone(), text.replace('\n', "\\n"));
    Ok(())
}

/// Puts a line before the first line of `before` (for `sops` of the metadata), or at the end.
pub(crate) fn insert_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    key: &str,
    value: &Value,
    before: Option<&str>,
) -> Result<(), WriteError> {
    let text = line(key, &checked_text(value)?)?;
    let next = stream.entries(mapping).find(|(name, _)| {
        let name = stream.node(*name).value.as_ref();
        before.is_some_and(|before| {
            name == before || before == METADATA && name.starts_with(METADATA_PREFIX)
        })
    });
    match next {
        Some((name, _)) => edits.insert(stream.node(name).span.start, text),
        None => insert_line(stream, edits, stream.source.len(), text),
    }
    Ok(())
}

/// Takes the line of a value out.
pub(crate) fn remove_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
) -> Result<(), WriteError> {
    let (key, value) = entry_of(stream, node)?;
    remove_line(stream, edits, key, value);
    Ok(())
}

/// Writes a mapping of scalars and comments as sops does.
pub(crate) fn emit(value: &Value) -> Result<String, WriteError> {
    let Value::Map(entries) = value else {
        let (format, wanted, place) = (FORMAT, "keys with values", "at the top");
        return Err(WriteError::MappingWanted {
            format,
            wanted,
            place,
        });
    };
    let mut out = String::new();
    for (key, value) in entries {
        if let Value::Comment(text) = value {
            for line in text.split('\n') {
                out.push('#');
                out.push_str(line);
                out.push('\n');
            }
        } else {
            out.push_str(&line(key, &checked_text(value)?)?);
        }
    }
    Ok(out)
}

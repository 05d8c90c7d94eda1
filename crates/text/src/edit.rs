//! The edits of every format by its syntax.

use crate::{
    Comment, Document, Edits, EntryError, Kind, NodeId, Stream, Syntax, Value, WriteError, dotenv,
    ini, json, yaml,
};

/// Puts an opaque one-line token (ciphertext) in place of a scalar's text.
///
/// The quotes stay, and a YAML scalar's block header. What the token cannot carry of the scalar's
/// form (a JSON string's way of escaping, a plain scalar in a YAML flow collection) is marked in how
/// the token is written, so that [`set_scalar`] brings it back. An explicit tag goes away
/// with its space unless `keep_tag`.
pub fn set_token(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    token: &str,
    keep_tag: bool,
) {
    match stream.syntax {
        Syntax::Yaml => yaml::edit::set_token(stream, edits, node, token, keep_tag),
        Syntax::Json => json::set_token(stream, edits, node, token),
        Syntax::Dotenv => dotenv::set_scalar_raw(stream, edits, node, token),
        Syntax::Ini => ini::set_token(stream, edits, node, token),
    }
}

/// Puts a string in place of a scalar so that it reads back as exactly this string, in the style of
/// the scalar where that can be.
///
/// Where the format has no way to write it, [`Edits::try_apply`] fails.
pub fn set_scalar(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    text: &str,
    keep_tag: bool,
) {
    match stream.syntax {
        Syntax::Yaml => yaml::edit::set_scalar(stream, edits, node, text, keep_tag),
        Syntax::Json => json::set_scalar(stream, edits, node, text),
        Syntax::Dotenv => dotenv::set_scalar(stream, edits, node, text),
        Syntax::Ini => ini::set_scalar(stream, edits, node, text),
    }
}

/// Puts literal text (a number, a boolean, null) in place of a scalar, quotes and block header
/// included.
pub fn set_scalar_raw(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    plain: &str,
    keep_tag: bool,
) {
    match stream.syntax {
        Syntax::Yaml => yaml::edit::set_scalar_raw(stream, edits, node, plain, keep_tag),
        Syntax::Json => json::set_scalar_raw(stream, edits, node, plain),
        Syntax::Dotenv => dotenv::set_scalar_raw(stream, edits, node, plain),
        Syntax::Ini => ini::set_scalar_raw(stream, edits, node, plain),
    }
}

/// Puts a text behind a comment's marker. In YAML and dotenv files its line breaks become blanks;
/// in INI files a comment may have lines, and gets markers for them.
pub fn set_comment(stream: &Stream<'_>, edits: &mut Edits, comment: &Comment, text: &str) {
    match stream.syntax {
        Syntax::Yaml | Syntax::Json => yaml::edit::set_comment(stream, edits, comment, text),
        Syntax::Dotenv => dotenv::set_comment(edits, comment, text),
        Syntax::Ini => ini::set_comment(stream, edits, comment, text),
    }
}

/// Puts `key: value` as the last entry of a document's root mapping: the exact inverse is
/// [`remove_entry`].
///
/// YAML: block style at the root's column (`indent` columns per level), JSON on one line inside a
/// flow root; after every trailing comment and blank line, before `...` or the next `---`. JSON: in
/// the file's own layout. dotenv: one line. INI: a section, before the comments at the end of the
/// file. With the key `sops` and a mapping, dotenv and INI get its flattened form (sops-format.md 14).
/// Line breaks are the file's; where the file has none at its end, there is none either.
pub fn append_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
    value: &Value,
    indent: usize,
) -> Result<(), EntryError> {
    match stream.syntax {
        Syntax::Yaml => yaml::append::append_entry(stream, edits, document, key, value, indent),
        Syntax::Json => {
            json::append_entry(stream, edits, document_of(stream, document)?, key, value)
        }
        Syntax::Dotenv => {
            document_of(stream, document)?;
            dotenv::append_entry(stream, edits, key, value)
        }
        Syntax::Ini => ini::append_entry(stream, edits, document_of(stream, document)?, key, value),
    }
}

/// Takes every entry with this key out of a document's root mapping; with the key `sops` also the
/// lines `sops_...` of a dotenv file. Returns whether there was one.
pub fn remove_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    document: usize,
    key: &str,
) -> Result<bool, EntryError> {
    match stream.syntax {
        Syntax::Yaml => yaml::append::remove_entry(stream, edits, document, key),
        Syntax::Json => json::remove_entry(stream, edits, document_of(stream, document)?, key),
        Syntax::Dotenv => {
            let document = document_of(stream, document)?;
            Ok(dotenv::remove_entry(stream, edits, document, key))
        }
        Syntax::Ini => {
            let document = document_of(stream, document)?;
            Ok(ini::remove_entry(stream, edits, document, key))
        }
    }
}

fn document_of<'a>(stream: &'a Stream<'_>, document: usize) -> Result<&'a Document, EntryError> {
    let found = stream.documents.get(document);
    found.ok_or(EntryError::NoDocument(document))
}

/// Puts a value, scalar or container, in place of a node, in the file's style. `indent`: columns
/// per level of new YAML blocks.
///
/// Fails, with nothing recorded, when the format cannot hold the value there, and where an alias needs
/// an anchor that would go.
pub fn set_value(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    match stream.syntax {
        Syntax::Yaml => yaml::structure::set_value(stream, edits, node, value, indent),
        Syntax::Json => json::set_value(stream, edits, node, value),
        Syntax::Dotenv => dotenv::set_value(stream, edits, node, value),
        Syntax::Ini => ini::set_value(stream, edits, node, value),
    }
}

/// Puts an entry at the end of a mapping, or before its first entry with the key `before`; in a
/// dotenv file `sops` stands for every key `sops_...`.
///
/// An empty YAML document is no mapping: [`append_entry`] fills it. Fails as [`set_value`] does.
pub fn insert_entry(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    key: &str,
    value: &Value,
    before: Option<&str>,
    indent: usize,
) -> Result<(), WriteError> {
    expect(stream, mapping, Kind::Mapping, "expected a mapping here")?;
    match stream.syntax {
        Syntax::Yaml => {
            yaml::entries::insert_entry(stream, edits, mapping, key, value, before, indent)
        }
        Syntax::Json => json::insert_entry(stream, edits, mapping, key, value, before),
        Syntax::Dotenv => dotenv::insert_entry(stream, edits, mapping, key, value, before),
        Syntax::Ini => ini::insert_entry(stream, edits, mapping, key, value, before),
    }
}

/// Puts an item at the end of a sequence. Fails as [`set_value`] does.
pub fn push_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    sequence: NodeId,
    value: &Value,
    indent: usize,
) -> Result<(), WriteError> {
    expect(stream, sequence, Kind::Sequence, "expected a list here")?;
    match stream.syntax {
        Syntax::Yaml => yaml::entries::push_item(stream, edits, sequence, value, indent),
        // dotenv and INI files have no sequences.
        _ => json::push_item(stream, edits, sequence, value),
    }
}

/// Takes an item, or the entry that has this node as key or value, out with its line. Comments of
/// the neighbours stay. Fails at the root, and where an alias needs an anchor that would go.
pub fn remove_item(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    indent: usize,
) -> Result<(), WriteError> {
    match stream.syntax {
        Syntax::Yaml => yaml::entries::remove_item(stream, edits, node, indent),
        Syntax::Json => json::remove_item(stream, edits, node),
        Syntax::Dotenv => dotenv::remove_item(stream, edits, node),
        Syntax::Ini => ini::remove_item(stream, edits, node),
    }
}

/// Returns the entry (key, value) that has this node as its key or its value.
pub(crate) fn entry_of(stream: &Stream<'_>, node: NodeId) -> Result<(NodeId, NodeId), WriteError> {
    let parent = stream.node(node).parent;
    let found = parent.and_then(|parent| {
        stream
            .entries(parent)
            .find(|(key, value)| node == *key || node == *value)
    });
    let what = "the whole file cannot be taken out of itself";
    found.ok_or(WriteError::Place { line: 1, what })
}

fn expect(
    stream: &Stream<'_>,
    node: NodeId,
    kind: Kind,
    what: &'static str,
) -> Result<(), WriteError> {
    let node = stream.node(node);
    if node.kind == kind {
        return Ok(());
    }
    let line = node.line_number();
    Err(WriteError::Place { line, what })
}

/// Writes a value as a whole file in the layout of sops (sops-format.md 11.5, 12, 14, 15), with a
/// line break at its end.
///
/// `indent`: columns per level in YAML (`None`: 4) and blanks per level in JSON (`None`: a tab).
/// Fails where the format cannot hold the value.
pub fn emit(value: &Value, syntax: Syntax, indent: Option<usize>) -> Result<String, WriteError> {
    match syntax {
        Syntax::Yaml => Ok(yaml::emit(value, indent.unwrap_or(4))),
        Syntax::Json => {
            let mut text = json::emit(value, indent)?;
            text.push('\n');
            Ok(text)
        }
        Syntax::Dotenv => dotenv::emit(value),
        Syntax::Ini => ini::emit(value),
    }
}

/// Writes documents as a whole file: [`emit`] for one, and YAML alone holds several.
pub fn emit_documents(
    values: &[Value],
    syntax: Syntax,
    indent: Option<usize>,
) -> Result<String, WriteError> {
    let format = match syntax {
        Syntax::Yaml => {
            let texts = values.iter().map(|value| emit(value, syntax, indent));
            return Ok(texts.collect::<Result<Vec<String>, _>>()?.join("---\n"));
        }
        Syntax::Json => "a JSON file",
        Syntax::Dotenv => "a dotenv file",
        Syntax::Ini => "an INI file",
    };
    match values {
        [value] => emit(value, syntax, indent),
        _ => Err(WriteError::Documents(format)),
    }
}

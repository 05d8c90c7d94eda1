//! A manifest as the parts that are parsed by themselves, and the objects in them.

use std::ops::Range;

use selkie_text::yaml::{self, Kind, Limits, NodeId, Scalar, Stream};
use selkie_text::{ParseError, json};
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use crate::manifest::SealManifestError;
use crate::manifest::nodes::{Field, Reader};

/// A part of a manifest that is parsed by itself: a whole YAML stream, or one of the JSON objects
/// that stand one after the other.
pub(crate) struct Piece {
    /// Where it stands in the manifest.
    pub(crate) range: Range<usize>,
    /// Its text behind as many blank lines as the manifest has before it, so that errors name the
    /// lines of the manifest.
    text: Zeroizing<String>,
    padding: usize,
    is_json: bool,
}

impl Piece {
    /// Splits a manifest. Text that begins as JSON and is none is read as YAML, which then says
    /// where it breaks.
    pub(crate) fn of(source: &str) -> Vec<Self> {
        let text = source.strip_prefix('\u{feff}').unwrap_or(source);
        let before = source.len() - text.len();
        let Some(objects) = json_objects(text) else {
            return vec![Self {
                range: 0..source.len(),
                text: Zeroizing::new(source.to_owned()),
                padding: 0,
                is_json: false,
            }];
        };
        let (mut at, mut lines) = (0, 0);
        let mut pieces = Vec::with_capacity(objects.len());
        for object in objects {
            lines += text[at..object.start].matches('\n').count();
            at = object.start;
            let padding = lines.min(MAX_PADDING);
            let mut padded = Zeroizing::new(String::with_capacity(padding + object.len()));
            padded.extend(std::iter::repeat_n('\n', padding));
            padded.push_str(&text[object.clone()]);
            pieces.push(Self {
                range: before + object.start..before + object.end,
                text: padded,
                padding,
                is_json: true,
            });
        }
        pieces
    }

    pub(crate) fn parse(&self) -> Result<Stream<'_>, ParseError> {
        match self.is_json {
            true => json::parse(&self.text, &Limits::default()),
            false => yaml::parse(&self.text, &Limits::default()),
        }
    }

    /// Takes the blank lines off a text that edits of the parsed stream gave.
    pub(crate) fn without_padding<'t>(&self, edited: &'t str) -> &'t str {
        &edited[self.padding..]
    }
}

/// One object of a manifest: a document, or an item of a List.
pub(crate) struct Object {
    pub(crate) root: NodeId,
    /// Line of its first key.
    pub(crate) line: usize,
    pub(crate) version: String,
    /// Empty when the object names none.
    pub(crate) kind: String,
    pub(crate) fields: Vec<Field>,
}

/// Returns the objects of a stream, those of Lists one by one; empty documents have none.
///
/// Fails for a document that is no object and for a key that stands twice: one of the two would be
/// lost in silence.
pub(crate) fn objects(stream: &Stream<'_>) -> Result<Vec<Object>, SealManifestError> {
    let mut found = Vec::new();
    for document in stream.documents() {
        let Some(root) = document.root else { continue };
        let is_empty = stream.node(root).kind == Kind::Scalar
            && matches!(stream.resolve(root), Ok(Scalar::Null));
        if is_empty {
            continue;
        }
        refuse_duplicates(stream, root)?;
        add(stream, root, 0, &mut found)?;
    }
    Ok(found)
}

fn add(
    stream: &Stream<'_>,
    root: NodeId,
    depth: usize,
    found: &mut Vec<Object>,
) -> Result<(), SealManifestError> {
    let line = stream.node(root).line_number();
    // Items that are aliases could multiply without end.
    if depth > MAX_DEPTH || stream.node(root).target.is_some() {
        return Err(SealManifestError::TooLarge { line });
    }
    let reader = Reader::new(stream, line);
    if stream.node(root).kind != Kind::Mapping {
        let path = "the document".to_owned();
        return Err(SealManifestError::NotAMapping { line, path });
    }
    let fields = reader.fields(root, "the document")?;
    let text = |name: &str| match field(&fields, name) {
        Some(field) => reader.text(field.value, || name.to_owned()),
        None => Ok("".into()),
    };
    let (version, kind) = (text("apiVersion")?.into_owned(), text("kind")?.into_owned());
    let is_list = ["List", "SecretList", "SealedSecretList"].contains(&kind.as_str());
    // A backup may lack the kind of its list (sealed-secrets.md 12.8).
    let items = field(&fields, "items").filter(|_| is_list || kind.is_empty());
    let Some(items) = items else {
        if is_list {
            return Ok(());
        }
        found.push(Object {
            root,
            line,
            version,
            kind,
            fields,
        });
        return Ok(());
    };
    let list = stream.node(items.value);
    match list.kind {
        Kind::Sequence => {
            for item in &list.children {
                add(stream, *item, depth + 1, found)?;
            }
            Ok(())
        }
        Kind::Scalar if matches!(stream.resolve(items.value), Ok(Scalar::Null)) => Ok(()),
        _ => Err(SealManifestError::NotAList {
            line: reader.line_of(items.value),
            path: "items".to_owned(),
        }),
    }
}

/// The field of this name, or else one that differs in case only, as Go's JSON reader takes it.
pub(crate) fn field<'f>(fields: &'f [Field], name: &str) -> Option<&'f Field> {
    let exact = fields.iter().find(|field| field.name == name);
    exact.or_else(|| {
        fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    })
}

fn refuse_duplicates(stream: &Stream<'_>, root: NodeId) -> Result<(), SealManifestError> {
    let line_of = |node: NodeId| stream.line_column(stream.node(node).span.start).0;
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        let mut seen = std::collections::HashMap::new();
        for (key, _) in stream.entries(id) {
            let node = stream.node(key);
            if let Some(first) = seen.insert((node.kind, node.value.as_ref()), key) {
                return Err(SealManifestError::DuplicateKey {
                    line: line_of(key),
                    first: line_of(first),
                });
            }
        }
        pending.extend(stream.node(id).children.iter().rev());
    }
    Ok(())
}

/// The place of every object of a text that is nothing but JSON objects.
fn json_objects(text: &str) -> Option<Vec<Range<usize>>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut objects = Vec::new();
    loop {
        let from = stream.byte_offset();
        match stream.next() {
            None => return Some(objects),
            Some(Err(_)) => return None,
            Some(Ok(_)) => {}
        }
        let blanks = text[from..].len() - text[from..].trim_start().len();
        objects.push(from + blanks..stream.byte_offset());
    }
}

/// So many blank lines are put before an object; farther down, lines count from its start.
const MAX_PADDING: usize = 10_000;
/// Lists in Lists.
const MAX_DEPTH: usize = 8;

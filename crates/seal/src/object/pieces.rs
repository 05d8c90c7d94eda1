//! A manifest as the parts that are parsed by themselves, and the objects in them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use selkie_text::yaml::{self, Kind, Limits, NodeId, Scalar, Stream};
use selkie_text::{ParseError, json};
use serde::de::IgnoredAny;
use serde_json::StreamDeserializer;
use serde_json::de::StrRead;

use crate::manifest::SealManifestError;
use crate::manifest::nodes::{Field, Reader};

/// A part of a manifest that is parsed by itself: a whole YAML stream, or one of the JSON objects
/// that stand one after the other.
pub(crate) struct Piece<'s> {
    /// Where it stands in the manifest.
    pub(crate) range: Range<usize>,
    /// Lines of the manifest before it, so that errors name those of the manifest.
    pub(crate) lines_before: usize,
    text: &'s str,
    is_json: bool,
}

impl<'s> Piece<'s> {
    /// Splits a manifest, one piece when it is asked for. Text that begins as JSON and is none is
    /// read as YAML, which then says where it breaks.
    pub(crate) fn of(source: &'s str) -> impl Iterator<Item = Self> {
        let text = source.strip_prefix('\u{feff}').unwrap_or(source);
        let before = source.len() - text.len();
        let is_json =
            text.trim_start().starts_with('{') && json_values(text).all(|one| one.is_ok());
        let whole = (!is_json).then_some(Self {
            range: 0..source.len(),
            lines_before: 0,
            text: source,
            is_json,
        });
        let mut values = json_values(if is_json { text } else { "" });
        let (mut at, mut lines) = (0, 0);
        let objects = std::iter::from_fn(move || {
            let from = values.byte_offset();
            values.next()?.ok()?;
            let blanks = text[from..].len() - text[from..].trim_start().len();
            let object = from + blanks..values.byte_offset();
            lines += text[at..object.start].matches('\n').count();
            at = object.start;
            Some(Self {
                range: before + object.start..before + object.end,
                lines_before: lines,
                text: &text[object],
                is_json,
            })
        });
        whole.into_iter().chain(objects)
    }

    pub(crate) fn parse(&self, limits: &Limits) -> Result<Stream<'s>, ParseError> {
        let parsed = match self.is_json {
            true => json::parse(self.text, limits),
            false => yaml::parse(self.text, limits),
        };
        parsed.map_err(|mut error| {
            error.line += self.lines_before;
            error
        })
    }
}

/// The values of a text that is nothing but JSON.
fn json_values(text: &str) -> StreamDeserializer<'_, StrRead<'_>, IgnoredAny> {
    serde_json::Deserializer::from_str(text).into_iter()
}

/// One object of a manifest: a document, or an item of a List.
pub(crate) struct Object {
    pub(crate) root: NodeId,
    /// Line of its first key in the manifest.
    pub(crate) line: usize,
    /// Lines of the manifest before its stream.
    pub(crate) lines_before: usize,
    pub(crate) version: String,
    /// Empty when the object names none.
    pub(crate) kind: String,
    pub(crate) fields: Vec<Field>,
}

/// Returns the objects of a stream that stands `lines_before` lines down in its manifest, those of
/// Lists one by one; empty documents have none.
///
/// Fails for a document that is no object and for a key that stands twice: one of the two would be
/// lost in silence.
pub(crate) fn objects(
    stream: &Stream<'_>,
    lines_before: usize,
) -> Result<Vec<Object>, SealManifestError> {
    let mut finding = Finding {
        reader: Reader::new(stream, 0).below(lines_before).of_all_objects(),
        seen: HashSet::new(),
        found: Vec::new(),
    };
    for document in stream.documents() {
        let Some(root) = document.root else { continue };
        let is_empty = stream.node(root).kind == Kind::Scalar
            && matches!(stream.resolve(root), Ok(Scalar::Null));
        if is_empty {
            continue;
        }
        refuse_duplicates(&finding.reader, root)?;
        finding.add(root, 0)?;
    }
    Ok(finding.found)
}

/// Objects on their way out of a stream.
struct Finding<'a, 's> {
    /// One for all of them: merge keys must not multiply from object to object.
    reader: Reader<'a, 's>,
    seen: HashSet<NodeId>,
    found: Vec<Object>,
}

impl Finding<'_, '_> {
    fn add(&mut self, root: NodeId, depth: usize) -> Result<(), SealManifestError> {
        let stream = self.reader.stream;
        let line = self.reader.line_of(root);
        self.reader.line = line;
        // Lists and their items that are aliases, or come by merge keys, could multiply without end.
        let is_alias = stream.node(root).target.is_some();
        if depth > MAX_DEPTH || is_alias || !self.seen.insert(root) {
            return Err(SealManifestError::TooLarge { line });
        }
        let reader = &self.reader;
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
            self.found.push(Object {
                root,
                line,
                lines_before: reader.lines_before(),
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
                    self.add(*item, depth + 1)?;
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

fn refuse_duplicates(reader: &Reader<'_, '_>, root: NodeId) -> Result<(), SealManifestError> {
    let stream = reader.stream;
    let mut pending = vec![root];
    while let Some(id) = pending.pop() {
        let mut seen = HashMap::new();
        for (key, _) in stream.entries(id) {
            let node = stream.node(key);
            if let Some(first) = seen.insert((node.kind, node.value.as_ref()), key) {
                return Err(SealManifestError::DuplicateKey {
                    line: reader.line_of(key),
                    first: reader.line_of(first),
                });
            }
        }
        pending.extend(stream.node(id).children.iter().rev());
    }
    Ok(())
}

/// Lists in Lists.
const MAX_DEPTH: usize = 8;

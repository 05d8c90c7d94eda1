//! The metadata of an object as Go's `ObjectMeta` holds and prints it.

use selkie_text::yaml::{Kind, NodeId, Scalar};
use zeroize::Zeroizing;

use super::canonical::Node;
use super::pieces::field;
use crate::manifest::SealManifestError;
use crate::manifest::nodes::{Field, Reader};

/// Metadata in the order of Go's struct. What is empty is left out, as Go does.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Metadata(Vec<(String, Node)>);

/// What the value of a field is.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
    Number,
    List,
}

/// The fields of `ObjectMeta` in the order in which Go prints them.
const FIELDS: [(&str, Shape); 15] = [
    ("name", Shape::Text),
    ("generateName", Shape::Text),
    ("namespace", Shape::Text),
    ("selfLink", Shape::Text),
    ("uid", Shape::Text),
    ("resourceVersion", Shape::Text),
    ("generation", Shape::Number),
    ("creationTimestamp", Shape::Text),
    ("deletionTimestamp", Shape::Text),
    ("deletionGracePeriodSeconds", Shape::Number),
    ("labels", Shape::Texts),
    ("annotations", Shape::Texts),
    ("ownerReferences", Shape::List),
    ("finalizers", Shape::List),
    ("managedFields", Shape::List),
];

impl Metadata {
    /// Reads the metadata of an object. Fields that Go does not know are added to `unknown` with
    /// their line.
    pub(crate) fn read(
        reader: &Reader<'_, '_>,
        of: Option<&Field>,
        path: &str,
        unknown: &mut Vec<(usize, String)>,
    ) -> Result<Self, SealManifestError> {
        let Some(of) = of else {
            return Ok(Self(Vec::new()));
        };
        let fields = reader.fields(of.value, path)?;
        let mut entries = Vec::new();
        for (name, shape) in FIELDS {
            let Some(found) = field(&fields, name) else {
                continue;
            };
            let path = format!("{path}.{name}");
            let node = match shape {
                Shape::Text => Node::text(reader.text(found.value, || path.clone())?),
                Shape::Texts => texts(reader, found, &path)?,
                Shape::Number | Shape::List => node(reader, found.value, &path, 0)?,
            };
            let is_right = match (&node, shape) {
                (Node::Text(text), Shape::Text) => !text.is_empty(),
                (Node::Map(entries), Shape::Texts) => !entries.is_empty(),
                (Node::Raw(number), Shape::Number) => number != "0",
                (Node::List(items), Shape::List) => !items.is_empty(),
                (Node::Null, _) => false,
                _ => {
                    let line = reader.line_of(found.value);
                    return Err(match shape {
                        Shape::List => SealManifestError::NotAList { line, path },
                        _ => SealManifestError::NotText { line, path },
                    });
                }
            };
            if is_right {
                entries.push((name.to_owned(), node));
            }
        }
        for field in &fields {
            let known = FIELDS
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(&field.name));
            if !known {
                unknown.push((reader.line_of(field.key), format!("{path}.{}", field.name)));
            }
        }
        Ok(Self(entries))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Node::as_text).unwrap_or_default()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.get("annotations")?.entry(name)?.as_text()
    }

    /// The texts under `labels` or `annotations`.
    pub(crate) fn texts(&self, of: &str) -> Vec<(String, String)> {
        let entries = self.get(of).map(Node::entries).unwrap_or_default();
        let texts = entries.iter().filter_map(|(key, value)| {
            let text = value.as_text()?;
            Some((key.clone(), text.to_owned()))
        });
        texts.collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    /// Puts a field where Go prints it; an empty one goes away.
    pub(crate) fn set(&mut self, name: &str, value: Node) {
        self.0.retain(|(key, _)| key != name);
        let empty = match &value {
            Node::Map(entries) => entries.is_empty(),
            Node::List(items) => items.is_empty(),
            Node::Text(text) => text.is_empty(),
            Node::Raw(_) => false,
            Node::Null => true,
        };
        if empty {
            return;
        }
        let place = |key: &str| FIELDS.iter().position(|(name, _)| *name == key);
        let at = self
            .0
            .iter()
            .position(|(key, _)| place(key) > place(name))
            .unwrap_or(self.0.len());
        self.0.insert(at, (name.to_owned(), value));
    }

    pub(crate) fn remove(&mut self, names: &[&str]) {
        self.0.retain(|(key, _)| !names.contains(&key.as_str()));
    }

    /// Changes the annotations; none are left out.
    pub(crate) fn edit_annotations(&mut self, edit: impl FnOnce(&mut Vec<(String, String)>)) {
        let mut annotations = self.texts("annotations");
        edit(&mut annotations);
        self.set("annotations", Node::texts(annotations));
    }

    pub(crate) fn node(&self) -> Node {
        Node::Map(self.0.clone())
    }
}

/// A mapping of texts, read as [`Reader::reading_as_go`] says.
pub(crate) fn texts(
    reader: &Reader<'_, '_>,
    of: &Field,
    path: &str,
) -> Result<Node, SealManifestError> {
    let mut entries = Vec::new();
    for entry in reader.fields(of.value, path)? {
        let path = || format!("{path}.{}", entry.name);
        let text = reader.text_as_go(entry.value, path)?.into_owned();
        entries.push((entry.name.clone(), text));
    }
    Ok(Node::texts(entries))
}

/// A node as it stands, aliases and merge keys written out.
pub(crate) fn node(
    reader: &Reader<'_, '_>,
    id: NodeId,
    path: &str,
    depth: usize,
) -> Result<Node, SealManifestError> {
    reader.spend()?;
    let id = reader.stream.target(id);
    let found = reader.stream.node(id);
    if depth > MAX_DEPTH {
        return Err(SealManifestError::TooLarge { line: reader.line });
    }
    Ok(match found.kind {
        Kind::Mapping => {
            let mut entries = Vec::new();
            for field in reader.fields(id, path)? {
                let value = node(reader, field.value, path, depth + 1)?;
                entries.push((field.name, value));
            }
            Node::Map(entries)
        }
        Kind::Sequence => {
            let items = found.children.iter();
            let items = items.map(|item| node(reader, *item, path, depth + 1));
            Node::List(items.collect::<Result<_, _>>()?)
        }
        _ => match reader.stream.resolve(id) {
            Ok(Scalar::Null) => Node::Null,
            Ok(Scalar::Bool(on)) => Node::Raw(on.to_string()),
            Ok(Scalar::Int(number)) => Node::Raw(number.to_string()),
            Ok(Scalar::Uint(number)) => Node::Raw(number.to_string()),
            Ok(Scalar::Str(_) | Scalar::Timestamp(_) | Scalar::Merge) => {
                Node::Text(Zeroizing::new(found.value.clone().into_owned()))
            }
            _ => {
                return Err(SealManifestError::NotText {
                    line: reader.line_of(id),
                    path: path.to_owned(),
                });
            }
        },
    })
}

const MAX_DEPTH: usize = 100;

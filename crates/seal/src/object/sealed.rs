//! SealedSecrets: read from manifests and printed (sealed-secrets.md 4, 12.3).

use selkie_text::yaml::{Kind, Limits, NodeId, ParseError, Scalar, Stream};
use zeroize::Zeroizing;

use super::canonical::{Node, OutputFormat};
use super::metadata::{self, Metadata};
use super::pieces::{Object, Piece, objects};
use crate::manifest::nodes::{Field, Reader};
use crate::manifest::{SealManifestError, told};
use crate::{Label, Scope};

/// A SealedSecret. Debug output holds names only.
#[derive(Clone)]
pub struct SealedSecret {
    line: usize,
    /// Its place among those of its manifest.
    pub(super) position: usize,
    pub(super) metadata: Metadata,
    pub(super) template: Metadata,
    pub(super) kind: String,
    pub(super) immutable: Option<bool>,
    /// Go templates by their key, sorted.
    pub(super) template_data: Vec<(String, String)>,
    pub(super) items: Vec<SealedItem>,
    /// The deprecated `spec.data`, if it is there.
    pub(super) data: Option<String>,
    pub(super) unknown: Vec<(usize, String)>,
    /// Where it stands in its stream.
    pub(super) root: Option<NodeId>,
}

/// One entry of `spec.encryptedData`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedItem {
    key: String,
    line: usize,
    text: Option<String>,
    pub(super) node: Option<NodeId>,
}

/// Why a manifest of SealedSecrets cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadSealedError {
    /// It cannot be parsed, or an object has not the shape of one.
    #[error(transparent)]
    Manifest(#[from] SealManifestError),
    /// Another kind of object.
    #[error("line {line}: {object} is no SealedSecret")]
    NotSealed {
        /// Line of the object.
        line: usize,
        /// What it is: `the Secret "x" of v1`.
        object: String,
    },
    /// More than the one SealedSecret that was asked for.
    #[error("line {line}: one SealedSecret is read at a time, and here begins another one")]
    Several {
        /// Line of the second one.
        line: usize,
    },
    /// No object at all.
    #[error("no SealedSecret found; the input is empty")]
    Empty,
}

impl From<ParseError> for ReadSealedError {
    fn from(error: ParseError) -> Self {
        Self::Manifest(error.into())
    }
}

impl SealedItem {
    pub(super) fn new(key: String, text: String) -> Self {
        Self {
            key,
            line: 0,
            text: Some(text),
            node: None,
        }
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its line in the manifest; 0 when it was not read from one.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The base64 text; `None` for something else than text, which upstream reads as empty
    /// (sealed-secrets.md 4).
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    pub(super) fn set_text(&mut self, text: String) {
        self.text = Some(text);
    }
}

impl SealedSecret {
    pub(super) fn new(
        metadata: Metadata,
        template: Metadata,
        kind: String,
        immutable: Option<bool>,
        mut items: Vec<SealedItem>,
    ) -> Self {
        items.sort_by(|a, b| a.key.cmp(&b.key));
        Self {
            line: 0,
            position: 0,
            metadata,
            template,
            kind,
            immutable,
            template_data: Vec::new(),
            items,
            data: None,
            unknown: Vec::new(),
            root: None,
        }
    }

    /// Reads every SealedSecret of a manifest: YAML documents, JSON objects one after the other,
    /// and the items of Lists. An object of another kind is an error, and so is an empty manifest.
    pub fn read(source: &str) -> Result<Vec<Self>, ReadSealedError> {
        let mut found = Vec::new();
        for piece in Piece::of(source) {
            let stream = piece.parse(&Limits::default())?;
            found.extend(of_stream(&stream, piece.lines_before)?);
        }
        for (position, secret) in found.iter_mut().enumerate() {
            secret.position = position;
        }
        match found.is_empty() {
            true => Err(ReadSealedError::Empty),
            false => Ok(found),
        }
    }

    /// Reads the only SealedSecret of a text that anybody may have sent. A second object is an
    /// error before anything is made of it, and so is more than an object of a cluster holds: the
    /// memory that this takes is a small multiple of what etcd stores of one object, or of the text.
    pub fn read_one(source: &str) -> Result<Self, ReadSealedError> {
        let limits = Limits {
            max_nodes: NODES_OF_ONE,
            ..Limits::default()
        };
        let mut found: Option<Self> = None;
        for piece in Piece::of(source) {
            let stream = piece.parse(&limits)?;
            for object in &objects(&stream, piece.lines_before)? {
                if found.is_some() {
                    let line = object.line;
                    return Err(ReadSealedError::Several { line });
                }
                found = Some(of(&stream, object)?);
            }
        }
        found.ok_or(ReadSealedError::Empty)
    }

    /// Line of its first key in the manifest; 0 when it was made here.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Its place among the SealedSecrets of its manifest, from 0.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Its name, empty when there is none.
    pub fn name(&self) -> &str {
        self.metadata.text("name")
    }

    /// Its namespace, empty when there is none.
    pub fn namespace(&self) -> &str {
        self.metadata.text("namespace")
    }

    /// The scope that its own metadata names; its template has no say (sealed-secrets.md 2).
    pub fn scope(&self) -> Scope {
        Scope::of_annotations(|name| self.metadata.annotation(name))
    }

    /// What its values are bound to.
    pub fn label(&self) -> Label {
        self.scope().label(self.namespace(), self.name())
    }

    /// Its values, in the order of the manifest.
    pub fn items(&self) -> &[SealedItem] {
        &self.items
    }

    /// The keys and texts of `spec.template.data`, sorted.
    pub fn template_data(&self) -> &[(String, String)] {
        &self.template_data
    }

    /// The value of an annotation of its own metadata.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotation(name)
    }

    /// Whether it has the deprecated field `spec.data` (sealed-secrets.md 6.4).
    pub fn is_deprecated_form(&self) -> bool {
        self.data.is_some()
    }

    /// Fields that a SealedSecret does not have, each with its line.
    pub fn unknown_fields(&self) -> &[(usize, String)] {
        &self.unknown
    }

    /// The labels that its Secret will have.
    pub fn template_labels(&self) -> Vec<(String, String)> {
        self.template.texts("labels")
    }

    /// The annotations that its Secret will have.
    pub fn template_annotations(&self) -> Vec<(String, String)> {
        self.template.texts("annotations")
    }

    /// Puts new ciphertext in place of the values whose keys `text` knows.
    pub fn replace(&mut self, text: impl Fn(&str) -> Option<String>) {
        for item in &mut self.items {
            if let Some(text) = text(&item.key) {
                item.text = Some(text);
            }
        }
    }

    /// Takes out of its metadata what a server wrote: what is left can be applied anew.
    pub fn without_server_fields(mut self) -> Self {
        self.metadata
            .remove(&crate::manifest::identity::SERVER_FIELDS);
        self
    }

    /// Prints it as kubeseal does (sealed-secrets.md 12.3), without its status.
    pub fn print(&self, format: OutputFormat) -> String {
        self.node().print(format).as_str().to_owned()
    }

    fn node(&self) -> Node {
        let entry = |key: &str, value: Node| (key.to_owned(), value);
        let mut template = vec![entry("metadata", self.template.node())];
        if !self.kind.is_empty() {
            template.push(entry("type", Node::text(self.kind.as_str())));
        }
        if let Some(immutable) = self.immutable {
            template.push(entry("immutable", Node::Raw(immutable.to_string())));
        }
        if !self.template_data.is_empty() {
            template.push(entry("data", Node::texts(self.template_data.clone())));
        }
        let mut spec = vec![entry("template", Node::Map(template))];
        if let Some(data) = self.data.as_ref().filter(|data| !data.is_empty()) {
            spec.push(entry("data", Node::text(data.as_str())));
        }
        let items = self.items.iter().map(|item| {
            let text = item.text.clone().unwrap_or_default();
            (item.key.clone(), text)
        });
        spec.push(entry("encryptedData", Node::texts(items)));
        Node::Map(vec![
            entry("kind", Node::text("SealedSecret")),
            entry("apiVersion", Node::text(API_VERSION)),
            entry("metadata", self.metadata.node()),
            entry("spec", Node::Map(spec)),
        ])
    }
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&str> = self.items.iter().map(SealedItem::key).collect();
        f.debug_struct("SealedSecret")
            .field("namespace", &self.namespace())
            .field("name", &self.name())
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

/// The SealedSecrets of one stream; anything else is an error.
pub(super) fn of_stream(
    stream: &Stream<'_>,
    lines_before: usize,
) -> Result<Vec<SealedSecret>, ReadSealedError> {
    let objects = objects(stream, lines_before)?;
    objects.iter().map(|object| of(stream, object)).collect()
}

fn of(stream: &Stream<'_>, object: &Object) -> Result<SealedSecret, ReadSealedError> {
    let line = object.line;
    let reader = Reader::new(stream, line).below(object.lines_before);
    let field = |fields: &[Field], name: &str| fields.iter().find(|f| f.name == name).cloned();
    let mut unknown = Vec::new();
    let metadata = field(&object.fields, "metadata");
    let metadata = Metadata::read(&reader, metadata.as_ref(), "metadata", &mut unknown)?;
    let is_sealed = object.kind == "SealedSecret" && object.version.starts_with("bitnami.com/");
    if !is_sealed {
        let object = told(&object.kind, &object.version, metadata.text("name"));
        return Err(ReadSealedError::NotSealed { line, object });
    }
    let mut note = |fields: &[Field], path: &str, known: &[&str]| {
        for field in fields {
            if !known.contains(&field.name.as_str()) {
                unknown.push((reader.line_of(field.key), format!("{path}{}", field.name)));
            }
        }
    };
    note(
        &object.fields,
        "",
        &["apiVersion", "kind", "metadata", "spec", "status"],
    );
    let spec = match field(&object.fields, "spec") {
        Some(spec) => reader.fields(spec.value, "spec")?,
        None => Vec::new(),
    };
    note(&spec, "spec.", &["template", "data", "encryptedData"]);
    let template = match field(&spec, "template") {
        Some(template) => reader.fields(template.value, "spec.template")?,
        None => Vec::new(),
    };
    note(
        &template,
        "spec.template.",
        &["metadata", "type", "immutable", "data"],
    );
    let mut items = Vec::new();
    if let Some(data) = field(&spec, "encryptedData") {
        for entry in reader.fields(data.value, "spec.encryptedData")? {
            items.push(SealedItem {
                line: reader.line_of(entry.key),
                text: is_text(stream, entry.value)
                    .then(|| stream.node(entry.value).value.clone().into_owned()),
                key: entry.name,
                node: Some(entry.value),
            });
        }
    }
    let template_data = match field(&template, "data") {
        Some(data) => metadata::texts(&reader, &data, "spec.template.data")?,
        None => Node::Null,
    };
    let template_data = template_data.entries().iter().filter_map(|(key, text)| {
        let text = text.as_text()?;
        Some((key.clone(), text.to_owned()))
    });
    let template_data = template_data.collect();
    let text = |fields: &[Field], name: &str, path: &str| match field(fields, name) {
        Some(found) => reader
            .text(found.value, || path.to_owned())
            .map(|text| Some(text.into_owned())),
        None => Ok(None),
    };
    let kind = text(&template, "type", "spec.template.type")?.unwrap_or_default();
    let immutable = field(&template, "immutable");
    let immutable = reader.boolean(immutable.as_ref(), "spec.template.immutable")?;
    // `data: null` is as if it were not there.
    let data =
        field(&spec, "data").filter(|data| !matches!(stream.resolve(data.value), Ok(Scalar::Null)));
    let data = match data {
        Some(_) => text(&spec, "data", "spec.data")?,
        None => None,
    };
    let of_template = field(&template, "metadata");
    let path = "spec.template.metadata";
    let template = Metadata::read(&reader, of_template.as_ref(), path, &mut unknown)?;
    Ok(SealedSecret {
        line,
        position: 0,
        metadata,
        template,
        kind,
        immutable,
        template_data,
        items,
        data,
        unknown,
        root: Some(object.root),
    })
}

fn is_text(stream: &Stream<'_>, node: NodeId) -> bool {
    stream.node(node).kind == Kind::Scalar
        && matches!(
            stream.resolve(node),
            Ok(Scalar::Str(_) | Scalar::Timestamp(_))
        )
}

impl Metadata {
    /// Metadata with a name and a namespace; an empty one is left out.
    pub(crate) fn named(name: &str, namespace: &str) -> Self {
        let mut metadata = Self::default();
        for (field, text) in [("name", name), ("namespace", namespace)] {
            metadata.set(field, Node::Text(Zeroizing::new(text.to_owned())));
        }
        metadata
    }
}

pub(super) const API_VERSION: &str = "bitnami.com/v1alpha1";

/// Mappings, keys and values of one object: far more than fit into a cluster, as each sealed value
/// has hundreds of bytes.
const NODES_OF_ONE: usize = 100_000;

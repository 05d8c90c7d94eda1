//! Reading a Secret from a parsed document, and deciding what its SealedSecret says.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selkie_text::yaml::{Comment, Kind, NodeId, Scalar, Stream, Style};
use zeroize::Zeroizing;

use super::write::{Entry, Remarks, Tree};
use super::{SealManifestError, SealPlan};
use crate::{
    CLUSTER_WIDE_ANNOTATION, NAMESPACE_WIDE_ANNOTATION, Scope, decode_value, encode_value,
    seal_value,
};

/// What a document is to us.
pub(super) enum Document {
    /// Nothing in it.
    Empty,
    /// To be sealed.
    Secret(SecretDocument),
    /// Sealed before.
    SealedSecret,
    /// Left alone; its kind, for a message.
    Other(String),
}

/// A Secret in a stream.
pub(super) struct SecretDocument {
    /// Position of the document.
    pub(super) document: usize,
    pub(super) root: NodeId,
    /// Line of its first key.
    pub(super) line: usize,
}

/// Classifies a document. Fails for what looks sealed and would not be: Secrets in a List.
pub(super) fn document(stream: &Stream<'_>, index: usize) -> Result<Document, SealManifestError> {
    let Some(root) = stream.documents()[index].root else {
        return Ok(Document::Empty);
    };
    let node = stream.node(root);
    let line = stream.line_column(node.span.start).0;
    if node.kind != Kind::Mapping {
        return Ok(match stream.resolve(root) {
            Ok(Scalar::Null) => Document::Empty,
            _ => Document::Other("a document that is no object".to_owned()),
        });
    }
    let reader = Reader::new(stream, line);
    let fields = reader.fields(root, "the document")?;
    let text = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        field
            .map(|field| stream.node(field.value).value.as_ref())
            .unwrap_or_default()
    };
    let (version, kind) = (text("apiVersion"), text("kind"));
    if kind == "SealedSecret" && version.starts_with("bitnami.com/") {
        return Ok(Document::SealedSecret);
    }
    if kind == "Secret" && version == "v1" {
        return Ok(Document::Secret(SecretDocument {
            document: index,
            root,
            line,
        }));
    }
    if kind == "List" || kind == "SecretList" {
        let items = fields.iter().find(|field| field.name == "items");
        for item in items
            .map(|field| &stream.node(field.value).children[..])
            .unwrap_or_default()
        {
            let of_item = reader
                .fields(stream.target(*item), "items")
                .unwrap_or_default();
            let is_secret =
                |field: &Field| field.name == "kind" && stream.node(field.value).value == "Secret";
            if kind == "SecretList" || of_item.iter().any(is_secret) {
                return Err(SealManifestError::List { line });
            }
        }
    }
    Ok(Document::Other(match (kind, version) {
        ("", _) => "a document without a kind".to_owned(),
        ("Secret", "") => "a Secret without apiVersion: v1".to_owned(),
        ("Secret", version) => format!("a Secret of {version}"),
        (kind, _) => kind.to_owned(),
    }))
}

/// A value to seal.
struct Value<'s> {
    key: String,
    /// `data.password`, for messages.
    path: String,
    plaintext: Zeroizing<Vec<u8>>,
    token: Option<&'s str>,
    remarks: Remarks,
}

impl SecretDocument {
    /// Seals the values, and returns the SealedSecret with the number of values.
    pub(super) fn seal(
        &self,
        stream: &Stream<'_>,
        plan: &SealPlan<'_>,
    ) -> Result<(Tree, usize), SealManifestError> {
        let line = self.line;
        let reader = Reader::new(stream, line);
        if let Some(keys) = stream.duplicate_key(self.document) {
            let line_of = |node: NodeId| stream.line_column(stream.node(node).span.start).0;
            return Err(SealManifestError::DuplicateKey {
                line: line_of(keys.second),
                first: line_of(keys.first),
            });
        }
        let fields = reader.fields(self.root, "the Secret")?;
        let known = [
            "apiVersion",
            "kind",
            "metadata",
            "data",
            "stringData",
            "type",
            "immutable",
        ];
        for field in &fields {
            let line = reader.line_of(field.key);
            if field.name == "sops" {
                return Err(SealManifestError::Encrypted { line });
            }
            if !known.contains(&field.name.as_str()) {
                let field = field.name.clone();
                return Err(SealManifestError::UnknownField { line, field });
            }
        }
        let field = |name: &str| fields.iter().find(|field| field.name == name);
        let values = reader.values(field("data"), field("stringData"))?;
        if values.is_empty() && !plan.allow_empty_data {
            return Err(SealManifestError::EmptyData { line });
        }
        let metadata = match field("metadata") {
            Some(field) => reader.fields(field.value, "metadata")?,
            None => Vec::new(),
        };
        let identity = Identity::decide(&reader, &metadata, plan)?;
        let mut template_metadata = identity.template_metadata(&reader, &metadata)?;
        self.check_repeats(stream, &reader, &values, &template_metadata)?;

        let label = identity.scope.label(&identity.namespace, &identity.name);
        let mut encrypted = Vec::new();
        let count = values.len();
        for value in values {
            let sealed = seal_value(plan.certificate, &label, &value.plaintext)?;
            encrypted.push(Entry {
                key: value.key,
                key_token: value.token.map(str::to_owned),
                value: Tree::text(encode_value(&sealed)),
                remarks: value.remarks,
            });
        }

        let remarks = |name: &str| field(name).map(|f| reader.remarks(f)).unwrap_or_default();
        let mut above_data = remarks("data");
        above_data.append(remarks("stringData"));
        let template = {
            // Comments on names are above, in the SealedSecret's own metadata.
            for entry in &mut template_metadata {
                if entry.key == "name" || entry.key == "namespace" {
                    entry.remarks = Remarks::default();
                }
            }
            let mut entries = vec![Entry::new("metadata", Tree::Map(template_metadata))];
            for name in ["type", "immutable"] {
                if let Some(field) = field(name) {
                    entries.push(reader.entry(field)?);
                }
            }
            Tree::Map(entries)
        };
        let own = identity.own_metadata(&reader, &metadata)?;
        let tree = Tree::Map(vec![
            Entry::new("apiVersion", Tree::text("bitnami.com/v1alpha1"))
                .with(remarks("apiVersion")),
            Entry::new("kind", Tree::text("SealedSecret")).with(remarks("kind")),
            Entry::new("metadata", Tree::Map(own)).with(remarks("metadata")),
            Entry::new(
                "spec",
                Tree::Map(vec![
                    Entry::new("encryptedData", Tree::Map(encrypted)).with(above_data),
                    Entry::new("template", template),
                ]),
            ),
        ]);
        Ok((tree, count))
    }

    /// Refuses a comment or an annotation that gives away what is sealed beside it.
    ///
    /// Values shorter than [`SHORTEST_REPEAT`] are too common to tell a repetition from chance.
    fn check_repeats(
        &self,
        stream: &Stream<'_>,
        reader: &Reader<'_, '_>,
        values: &[Value<'_>],
        template: &[Entry],
    ) -> Result<(), SealManifestError> {
        let document = &stream.documents()[self.document];
        let nodes = stream.nodes().map(|(_, node)| node);
        let own = nodes.filter(|node| {
            document.span.start <= node.span.start && node.span.end <= document.span.end
        });
        let mut comments: Vec<&Comment> = document.head.iter().chain(&document.foot).collect();
        for node in own {
            comments.extend(node.head.iter().chain(&node.line).chain(&node.foot));
        }
        let annotations = template.iter().find(|entry| entry.key == "annotations");
        let annotations = match annotations.map(|entry| &entry.value) {
            Some(Tree::Map(entries)) => &entries[..],
            _ => &[],
        };
        for value in values {
            let Some(plain) = std::str::from_utf8(&value.plaintext).ok().map(str::trim) else {
                continue;
            };
            if plain.len() < SHORTEST_REPEAT {
                continue;
            }
            let encoded = Zeroizing::new(STANDARD.encode(value.plaintext.as_slice()));
            let repeats = |text: &str| text.contains(plain) || text.contains(encoded.as_str());
            let path = value.path.clone();
            if let Some(comment) = comments.iter().find(|c| repeats(stream.comment_text(c))) {
                return Err(SealManifestError::Repeated {
                    line: stream.line_column(comment.span.start).0,
                    what: "the comment".to_owned(),
                    path,
                });
            }
            let found = annotations.iter().find(|entry| match &entry.value {
                Tree::Text { text, .. } => repeats(text),
                _ => false,
            });
            if let Some(annotation) = found {
                return Err(SealManifestError::Repeated {
                    line: reader.line,
                    what: format!("the annotation {}", annotation.key),
                    path,
                });
            }
        }
        Ok(())
    }
}

/// Name, namespace and scope: what the values are bound to.
struct Identity {
    name: String,
    /// Empty only for cluster-wide.
    namespace: String,
    scope: Scope,
    /// Whether the scope was given, so that the annotations are rewritten.
    rewrites_scope: bool,
}

impl Identity {
    /// Rules 2 to 4 of sealed-secrets.md 12.5.
    fn decide(
        reader: &Reader<'_, '_>,
        metadata: &[Field],
        plan: &SealPlan<'_>,
    ) -> Result<Self, SealManifestError> {
        let line = reader.line;
        let text = |name: &str| match metadata.iter().find(|field| field.name == name) {
            Some(field) => reader.text(field.value, || format!("metadata.{name}")),
            None => Ok(Cow::Borrowed("")),
        };
        let own_name = text("name")?;
        let name = plan.name.unwrap_or(&own_name).to_owned();
        if name.is_empty() {
            return Err(SealManifestError::NoName { line });
        }
        let annotations = match metadata.iter().find(|field| field.name == "annotations") {
            Some(field) => reader.fields(field.value, "metadata.annotations")?,
            None => Vec::new(),
        };
        let annotated = Scope::of_annotations(|name| {
            let found = annotations.iter().find(|field| field.name == name)?;
            Some(reader.stream.node(found.value).value.as_ref())
        });
        let scope = plan.scope.unwrap_or(annotated);
        let found = text("namespace")?.into_owned();
        let namespace = match (scope, plan.namespace) {
            (Scope::ClusterWide, _) => found,
            (_, Some(given)) if !found.is_empty() && found != given => {
                let given = given.to_owned();
                return Err(SealManifestError::NamespaceMismatch { line, found, given });
            }
            (_, Some(given)) => given.to_owned(),
            (_, None) if !found.is_empty() => found,
            (_, None) => {
                let default = (plan.default_namespace)().filter(|name| !name.is_empty());
                default.ok_or(SealManifestError::NoNamespace { line })?
            }
        };
        Ok(Self {
            name,
            namespace,
            scope,
            rewrites_scope: plan.scope.is_some(),
        })
    }

    /// The SealedSecret's own metadata: name, namespace, and the annotation of the scope alone.
    fn own_metadata(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = self.names(reader, metadata)?;
        if let Some(annotation) = self.scope.annotation() {
            let mark = Entry::new(annotation, Tree::quoted("true"));
            entries.push(Entry::new("annotations", Tree::Map(vec![mark])));
        }
        Ok(entries)
    }

    /// The metadata of the Secret to come: all of it but what a server fills in.
    fn template_metadata(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = self.names(reader, metadata)?;
        let mut annotations = Vec::new();
        let mut of_annotations = Remarks::default();
        for field in metadata {
            match field.name.as_str() {
                "name" | "namespace" => {}
                name if SERVER_FIELDS.contains(&name) => {}
                "annotations" => {
                    of_annotations = reader.remarks(field);
                    for annotation in reader.fields(field.value, "metadata.annotations")? {
                        let name = annotation.name.as_str();
                        let scope =
                            name == CLUSTER_WIDE_ANNOTATION || name == NAMESPACE_WIDE_ANNOTATION;
                        if LAST_APPLIED.contains(&name) || (scope && self.rewrites_scope) {
                            continue;
                        }
                        annotations.push(reader.entry(&annotation)?);
                    }
                }
                _ => entries.push(reader.entry(field)?),
            }
        }
        let scope = self.scope.annotation().filter(|_| self.rewrites_scope);
        annotations.extend(scope.map(|name| Entry::new(name, Tree::quoted("true"))));
        if !annotations.is_empty() {
            entries.push(Entry::new("annotations", Tree::Map(annotations)).with(of_annotations));
        }
        Ok(entries)
    }

    /// `name` and `namespace` with the comments they had.
    fn names(
        &self,
        reader: &Reader<'_, '_>,
        metadata: &[Field],
    ) -> Result<Vec<Entry>, SealManifestError> {
        let mut entries = Vec::new();
        for (name, text) in [("name", &self.name), ("namespace", &self.namespace)] {
            if text.is_empty() {
                continue;
            }
            let field = metadata.iter().find(|field| field.name == name);
            let kept = match field.map(|field| reader.entry(field)).transpose()? {
                Some(entry) if entry.value.is_text(text) => entry,
                Some(entry) => Entry::new(name, Tree::text(text.clone())).with(entry.remarks),
                None => Entry::new(name, Tree::text(text.clone())),
            };
            entries.push(kept);
        }
        Ok(entries)
    }
}

/// One entry of a mapping, merge keys resolved.
#[derive(Clone)]
struct Field {
    name: String,
    key: NodeId,
    /// What an alias points to.
    value: NodeId,
    /// The value as it stands, which may be an alias and may have comments.
    written: NodeId,
}

/// Reads nodes of one Secret.
struct Reader<'a, 's> {
    stream: &'a Stream<'s>,
    /// Line of the Secret.
    line: usize,
    /// How many nodes may still be copied.
    budget: std::cell::Cell<usize>,
}

impl<'a, 's> Reader<'a, 's> {
    fn new(stream: &'a Stream<'s>, line: usize) -> Self {
        Self {
            stream,
            line,
            budget: std::cell::Cell::new(MAX_NODES),
        }
    }

    /// The entries of a mapping in order, those of merge keys (`<<`) after them; null has none.
    fn fields(&self, mapping: NodeId, path: &str) -> Result<Vec<Field>, SealManifestError> {
        let mut fields = Vec::new();
        self.add_fields(mapping, path, 0, &mut fields)?;
        Ok(fields)
    }

    fn add_fields(
        &self,
        mapping: NodeId,
        path: &str,
        depth: usize,
        fields: &mut Vec<Field>,
    ) -> Result<(), SealManifestError> {
        let mapping = self.stream.target(mapping);
        let node = self.stream.node(mapping);
        if node.kind != Kind::Mapping {
            if node.kind == Kind::Scalar && matches!(self.stream.resolve(mapping), Ok(Scalar::Null))
            {
                return Ok(());
            }
            return Err(SealManifestError::NotAMapping {
                line: self.line_of(mapping),
                path: path.to_owned(),
            });
        }
        if depth > MAX_DEPTH {
            return Err(SealManifestError::TooLarge { line: self.line });
        }
        let mut merges = Vec::new();
        for (key, value) in self.stream.entries(mapping) {
            self.spend()?;
            let target = self.stream.target(key);
            let is_scalar = self.stream.node(target).kind == Kind::Scalar;
            if is_scalar && matches!(self.stream.resolve(target), Ok(Scalar::Merge)) {
                merges.push(value);
                continue;
            }
            let name = self.text(key, || format!("a key of {path}"))?.into_owned();
            if fields.iter().any(|field| field.name == name) {
                continue;
            }
            fields.push(Field {
                name,
                key,
                value: self.stream.target(value),
                written: value,
            });
        }
        for merge in merges {
            let merged = self.stream.target(merge);
            match self.stream.node(merged).kind {
                Kind::Sequence => {
                    for item in &self.stream.node(merged).children {
                        self.add_fields(*item, path, depth + 1, fields)?;
                    }
                }
                _ => self.add_fields(merged, path, depth + 1, fields)?,
            }
        }
        Ok(())
    }

    /// The values of both fields; `stringData` wins over the same key in `data`, as in the API
    /// server.
    fn values(
        &self,
        data: Option<&Field>,
        string_data: Option<&Field>,
    ) -> Result<Vec<Value<'s>>, SealManifestError> {
        let mut values: Vec<Value<'s>> = Vec::new();
        for (field, encoded) in [(data, true), (string_data, false)] {
            let Some(field) = field else {
                continue;
            };
            for entry in self.fields(field.value, &field.name)? {
                let path = format!("{}.{}", field.name, entry.name);
                let text = self.text(entry.value, || path.clone())?;
                let plaintext = if encoded {
                    decode_value(&text).map_err(|source| SealManifestError::Base64 {
                        line: self.line_of(entry.value),
                        path: path.clone(),
                        source,
                    })?
                } else {
                    Zeroizing::new(text.as_bytes().to_vec())
                };
                let value = Value {
                    key: entry.name.clone(),
                    path,
                    plaintext,
                    token: self.token(entry.key),
                    remarks: self.remarks(&entry),
                };
                match values.iter_mut().find(|known| known.key == value.key) {
                    Some(known) => {
                        let before = std::mem::replace(known, value);
                        if known.remarks.is_empty() {
                            known.remarks = before.remarks;
                        }
                    }
                    None => values.push(value),
                }
            }
        }
        Ok(values)
    }

    /// The text of a scalar; null is empty.
    fn text(
        &self,
        node: NodeId,
        path: impl Fn() -> String,
    ) -> Result<Cow<'a, str>, SealManifestError> {
        let node = self.stream.target(node);
        let wrong = || SealManifestError::NotText {
            line: self.line_of(node),
            path: path(),
        };
        let found = self.stream.node(node);
        if found.kind != Kind::Scalar {
            return Err(wrong());
        }
        match self.stream.resolve(node) {
            Ok(Scalar::Str(_) | Scalar::Timestamp(_) | Scalar::Merge) => {
                Ok(Cow::Borrowed(&found.value))
            }
            Ok(Scalar::Null) => Ok(Cow::Borrowed("")),
            _ => Err(wrong()),
        }
    }

    /// An entry as it stands, with its comments.
    fn entry(&self, field: &Field) -> Result<Entry, SealManifestError> {
        Ok(Entry {
            key: field.name.clone(),
            key_token: self.token(field.key).map(str::to_owned),
            value: self.tree(field.value, 0)?,
            remarks: self.remarks(field),
        })
    }

    /// A node as it stands, aliases and merge keys written out.
    fn tree(&self, node: NodeId, depth: usize) -> Result<Tree, SealManifestError> {
        self.spend()?;
        if depth > MAX_DEPTH {
            return Err(SealManifestError::TooLarge { line: self.line });
        }
        let node = self.stream.target(node);
        let found = self.stream.node(node);
        Ok(match found.kind {
            Kind::Mapping => {
                let mut entries = Vec::new();
                for field in self.fields(node, "the mapping")? {
                    entries.push(Entry {
                        key: field.name.clone(),
                        key_token: self.token(field.key).map(str::to_owned),
                        value: self.tree(field.value, depth + 1)?,
                        remarks: self.remarks(&field),
                    });
                }
                Tree::Map(entries)
            }
            Kind::Sequence => {
                let mut items = Vec::new();
                for item in &found.children {
                    let remarks = self.remarks_of(&[*item]);
                    items.push((self.tree(*item, depth + 1)?, remarks));
                }
                Tree::Seq(items)
            }
            _ => {
                let token = self.token(node).map(str::to_owned);
                match (self.stream.resolve(node), token) {
                    (Ok(Scalar::Str(_) | Scalar::Timestamp(_)), token) => Tree::Text {
                        text: found.value.clone().into_owned(),
                        token,
                    },
                    (Ok(_), Some(token)) => Tree::Raw(token),
                    (Ok(Scalar::Null), None) => Tree::Raw("null".to_owned()),
                    _ => {
                        return Err(SealManifestError::NotText {
                            line: self.line_of(node),
                            path: "a value of the metadata".to_owned(),
                        });
                    }
                }
            }
        })
    }

    /// The source text of a scalar that can be put elsewhere as it is: in one line, without tag
    /// or anchor.
    fn token(&self, node: NodeId) -> Option<&'s str> {
        let found = self.stream.node(node);
        let text = &self.stream.source()[found.span.clone()];
        let quotable = matches!(
            found.style,
            Style::Plain | Style::SingleQuoted | Style::DoubleQuoted
        );
        let fits = found.kind == Kind::Scalar
            && quotable
            && found.properties.is_none()
            && !text.is_empty()
            && !text.contains(['\n', '\r']);
        fits.then_some(text)
    }

    fn remarks(&self, field: &Field) -> Remarks {
        self.remarks_of(&[field.key, field.written])
    }

    fn remarks_of(&self, nodes: &[NodeId]) -> Remarks {
        let mut remarks = Remarks::default();
        let text = |comment: &Comment| {
            let span = comment.span.clone();
            (span.start, self.stream.source()[span].to_owned())
        };
        for node in nodes {
            let node = self.stream.node(*node);
            remarks.head.extend(node.head.iter().map(text));
            remarks.line.extend(node.line.iter().map(text));
            remarks.foot.extend(node.foot.iter().map(text));
        }
        remarks
    }

    fn line_of(&self, node: NodeId) -> usize {
        self.stream.line_column(self.stream.node(node).span.start).0
    }

    fn spend(&self) -> Result<(), SealManifestError> {
        let left = self.budget.get().checked_sub(1);
        self.budget
            .set(left.ok_or(SealManifestError::TooLarge { line: self.line })?);
        Ok(())
    }
}

/// Fields of metadata that a server fills in (sealed-secrets.md 12.5, rule 5). Upstream keeps
/// managedFields, which mean nothing in a template.
const SERVER_FIELDS: [&str; 9] = [
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "managedFields",
];
/// Annotations that hold a copy of the whole manifest, in clear.
const LAST_APPLIED: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubecfg.ksonnet.io/last-applied-configuration",
];
const SHORTEST_REPEAT: usize = 8;
/// Far above any Secret that fits into a cluster, far below what an alias bomb unfolds to.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 100;

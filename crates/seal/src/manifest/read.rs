//! Reading a Secret from a parsed document, and deciding what its SealedSecret says.

use selkie_secret::{HiddenValues, SHORTEST_PART};
use selkie_text::yaml::{Comment, Kind, NodeId, Scalar, Stream};

use super::identity::{Identity, LAST_APPLIED};
use super::nodes::{Field, Reader, Value};
use super::write::{Entry, Remarks, Tree};
use super::{SealManifestError, SealPlan};
use crate::{encode_value, seal_value};

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
        refuse_strays(stream, root)?;
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
    refuse_strays(stream, root)?;
    Ok(Document::Other(match (kind, version) {
        ("", _) => "a document without a kind".to_owned(),
        ("Secret", "") => "a Secret without apiVersion: v1".to_owned(),
        ("Secret", version) => format!("a Secret of {version}"),
        (kind, _) => kind.to_owned(),
    }))
}

/// Refuses a document that is left alone but holds a Secret with values, however deep: the file
/// would look sealed and show them.
fn refuse_strays(stream: &Stream<'_>, root: NodeId) -> Result<(), SealManifestError> {
    let mut pending = vec![root];
    while let Some(node) = pending.pop() {
        let named = |name: &str| {
            stream
                .entries(node)
                .find(|(key, _)| stream.node(*key).value == name)
                .map(|(_, value)| stream.target(value))
        };
        let is_secret = named("kind").is_some_and(|kind| stream.node(kind).value == "Secret");
        if is_secret && (named("data").is_some() || named("stringData").is_some()) {
            let line = stream.line_column(stream.node(node).span.start).0;
            return Err(SealManifestError::Stray { line });
        }
        // An alias repeats what stands at its anchor, which is in the same document.
        pending.extend(stream.node(node).children.iter().rev());
    }
    Ok(())
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
        self.check_repeats(stream, &reader, &values, &metadata)?;

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

    /// Refuses a comment, a label or an annotation that gives away what is sealed beside it.
    ///
    /// Values shorter than [`SHORTEST_PART`] are too common to tell a repetition from chance.
    fn check_repeats(
        &self,
        stream: &Stream<'_>,
        reader: &Reader<'_, '_>,
        values: &[Value<'_>],
        metadata: &[Field],
    ) -> Result<(), SealManifestError> {
        let mut hidden = HiddenValues::default();
        for value in values {
            hidden.add(0, &value.path, &value.plaintext);
        }
        let repeated = |text: &str, line: usize, what: &dyn Fn() -> String| {
            let found = hidden.repeated_in(text, &|_| SHORTEST_PART);
            found.map_or(Ok(()), |path| {
                Err(SealManifestError::Repeated {
                    line,
                    what: what(),
                    path: path.to_owned(),
                })
            })
        };
        let document = &stream.documents()[self.document];
        let nodes = stream.nodes().map(|(_, node)| node);
        let own = nodes.filter(|node| {
            document.span.start <= node.span.start && node.span.end <= document.span.end
        });
        let mut comments: Vec<&Comment> = document.head.iter().chain(&document.foot).collect();
        for node in own {
            comments.extend(node.head.iter().chain(&node.line).chain(&node.foot));
        }
        for comment in comments {
            let line = stream.line_column(comment.span.start).0;
            let what = || "the comment".to_owned();
            repeated(&stream.comment_text(comment), line, &what)?;
        }
        for (part, one) in [("labels", "label"), ("annotations", "annotation")] {
            let Some(field) = metadata.iter().find(|field| field.name == part) else {
                continue;
            };
            for entry in reader.fields(field.value, part)? {
                // It is left out of the SealedSecret.
                if LAST_APPLIED.contains(&entry.name.as_str()) {
                    continue;
                }
                let text = &stream.node(entry.value).value;
                let what = || format!("the {one} {}", entry.name);
                repeated(text, reader.line_of(entry.key), &what)?;
            }
        }
        Ok(())
    }
}

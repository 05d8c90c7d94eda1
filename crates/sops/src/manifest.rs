//! Kubernetes manifests: the rule for a file of Secrets, and what must not give a value away.

use std::collections::HashMap;

use selkie_secret::{HiddenValues, SHORTEST_PART};
use selkie_text::yaml::{self, Comment, Kind, NodeId, Scalar, Stream};
use zeroize::Zeroizing;

use crate::format::Format;
use crate::metadata;
use crate::selection::{Selection, SelectionSettings};
use crate::tree::{self, TreeError, What};
use crate::value::Value;

/// The rule of a file of Secrets that has no other.
pub const SECRET_REGEX: &str = "^(data|stringData)$";

/// Annotation in which kubectl keeps a copy of the whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why a file of Secrets gets no rule of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not YAML.
    #[error(transparent)]
    Parse(#[from] yaml::ParseError),
    /// Not a tree that sops could hold.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The rule binds every document of a file, and another one has such keys too.
    #[error(
        "line {line}: {path} of a {kind} would be encrypted too, since a rule binds every document \
         of a file. Put the Secrets in a file of their own, or write the rule for this file into \
         .sops.yaml:\n\ncreation_rules:\n  - path_regex: {{FILE}}\n    encrypted_regex: {regex}"
    )]
    WouldHide {
        /// Line of the leaf.
        line: usize,
        /// Path of the leaf.
        path: String,
        /// The `kind` of its document.
        kind: String,
        /// A rule for the file: the keys of its Secrets by name, or that of all Secrets when one
        /// of these names occurs elsewhere too.
        regex: String,
    },
}

/// A Secret repeats, in a part that stays clear, a value that is to be encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {field} repeats the value of {secret}, which is to be encrypted, and would stay \
     in clear; remove it, or leave {secret} in clear by a rule if it is no secret"
)]
pub struct RepeatedValue {
    /// Line of the clear field.
    pub line: usize,
    /// The clear field, or "the comment".
    pub field: String,
    /// The field whose value it repeats.
    pub secret: String,
}

/// Returns the rule for a file of Kubernetes Secrets: `encrypted_regex: ^(data|stringData)$`.
///
/// Returns `None` when no document is a Secret (or a List that holds one), for a file that is
/// encrypted already, and for a format that manifests do not have. Fails when the rule would also hide something in another document.
pub fn default_selection(source: &str, format: Format) -> Result<Option<Selection>, ManifestError> {
    let can_be_manifest = matches!(format, Format::Yaml | Format::Json);
    if !can_be_manifest || !source.contains("Secret") {
        return Ok(None);
    }
    let stream = format.parse(source)?;
    if metadata::sops_key_line(&stream, 0).is_some() {
        return Ok(None);
    }
    let objects = Objects::of(&stream);
    if !objects.has_secret() {
        return Ok(None);
    }
    let settings = SelectionSettings {
        encrypted_regex: Some(SECRET_REGEX.to_owned()),
        ..SelectionSettings::default()
    };
    // The pattern is a constant that compiles; a test holds that.
    let Ok(Some(rule)) = settings.compile() else {
        return Ok(None);
    };
    let mut hidden = None;
    tree::walk(&stream, &rule, |leaf| {
        let What::Scalar(node) = leaf.what else {
            return Ok::<(), ManifestError>(());
        };
        if hidden.is_some() || !leaf.selected {
            return Ok(());
        }
        let owner = objects.owner(&stream, node);
        if owner.is_some_and(Object::is_secret) {
            return Ok(());
        }
        let value = tree::value_of(&stream, node, || leaf.path())?;
        if value.is_some_and(|value| !value.is_empty_text()) {
            let kind = owner.map_or("document", |object| object.kind.as_str());
            hidden = Some((leaf.line(), leaf.path(), kind.to_owned()));
        }
        Ok(())
    })?;
    match hidden {
        None => Ok(Some(rule)),
        Some((line, path, kind)) => Err(ManifestError::WouldHide {
            line,
            path,
            kind,
            regex: suggest(&stream, &objects),
        }),
    }
}

/// Refuses a file whose clear part repeats a value of a Secret that `rule` selects: plain or base64
/// in either direction, as a whole text, inside JSON, or line by line. Encrypting one copy would
/// hide nothing. Looked at are the fields of all Secrets and the comments of the file.
///
/// Names of an object, its type and its labels are not looked at: they are identifiers, and a user
/// name that equals the name of an application gives nothing away.
pub(crate) fn check_repeats(stream: &Stream<'_>, rule: &Selection) -> Result<(), CheckError> {
    if !stream.source().contains("Secret") {
        return Ok(());
    }
    let objects = Objects::of(stream);
    if !objects.has_secret() {
        return Ok(());
    }
    let mut hidden = HiddenValues::default();
    let mut clear: Vec<Clear> = Vec::new();
    tree::walk(stream, rule, |leaf| {
        let node = match leaf.what {
            What::Scalar(node) => node,
            What::Comment(comment) => {
                if !leaf.selected {
                    clear.push(Clear::comment(stream, comment));
                }
                return Ok::<(), TreeError>(());
            }
        };
        let Some(object) = objects.owner(stream, node).filter(|o| o.is_secret()) else {
            return Ok(());
        };
        let value = tree::value_of(stream, node, || leaf.path())?;
        let Some(Value::Str(ref bytes)) = value else {
            return Ok(());
        };
        let group = object.node.index();
        if leaf.selected {
            hidden.add(group, &leaf.path(), bytes);
        } else if !is_identifier(stream, object.node, node)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            let field = leaf.path();
            clear.push(Clear {
                text: Zeroizing::new(text.to_owned()),
                line: leaf.line(),
                shortest: match field.contains(LAST_APPLIED) {
                    true => 1,
                    false => MIN_WHOLE,
                },
                field,
                group: Some(group),
            });
        }
        Ok(())
    })?;
    let unattached = stream.unattached_comments().iter();
    clear.extend(unattached.map(|comment| Clear::comment(stream, comment)));
    for part in &clear {
        let shortest = |group| match part.group == Some(group) {
            true => part.shortest,
            false => SHORTEST_PART,
        };
        if let Some(secret) = hidden.repeated_in(&part.text, &shortest) {
            return Err(CheckError::Repeated(RepeatedValue {
                line: part.line,
                field: part.field.clone(),
                secret: secret.to_owned(),
            }));
        }
    }
    Ok(())
}

/// Shortest text of a Secret's own field that counts when it is the whole field; in kubectl's copy
/// of the manifest every string counts. Elsewhere it takes [`SHORTEST_PART`].
const MIN_WHOLE: usize = 4;

/// A text that stays in clear.
struct Clear {
    text: Zeroizing<String>,
    field: String,
    line: usize,
    /// The Secret it stands in.
    group: Option<usize>,
    /// From which length it counts as a repetition of a value of that Secret.
    shortest: usize,
}

impl Clear {
    fn comment(stream: &Stream<'_>, comment: &Comment) -> Self {
        Self {
            text: Zeroizing::new(stream.comment_text(comment).into_owned()),
            field: "the comment".to_owned(),
            line: stream.line_column(comment.span.start).0,
            group: None,
            shortest: SHORTEST_PART,
        }
    }
}

/// Why [`check_repeats`] stopped.
#[derive(Debug)]
pub(crate) enum CheckError {
    Tree(TreeError),
    Repeated(RepeatedValue),
}

impl From<TreeError> for CheckError {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

/// A Kubernetes object: a document, or an item of a List.
struct Object {
    node: NodeId,
    kind: String,
    core: bool,
}

impl Object {
    fn is_secret(&self) -> bool {
        self.core && self.kind == "Secret"
    }
}

/// The objects of a stream.
struct Objects {
    list: Vec<Object>,
    /// Where each object's node is in the list.
    by_node: HashMap<NodeId, usize>,
}

impl Objects {
    fn of(stream: &Stream<'_>) -> Self {
        let mut list = Vec::new();
        for found in stream.documents() {
            let root = object(stream, found.content);
            if root.kind.ends_with("List") {
                let items = tree::member(stream, found.content, "items");
                for item in items.map_or(&[][..], |items| &stream.node(items).children) {
                    list.push(object(stream, stream.target(*item)));
                }
            }
            list.push(root);
        }
        let by_node = list
            .iter()
            .enumerate()
            .map(|(at, o)| (o.node, at))
            .collect();
        Self { list, by_node }
    }

    fn has_secret(&self) -> bool {
        self.list.iter().any(Object::is_secret)
    }

    /// Returns the innermost object that a node belongs to.
    fn owner(&self, stream: &Stream<'_>, node: NodeId) -> Option<&Object> {
        let mut current = Some(node);
        while let Some(id) = current {
            if let Some(at) = self.by_node.get(&id) {
                return self.list.get(*at);
            }
            current = stream.node(id).parent;
        }
        None
    }
}

fn object(stream: &Stream<'_>, node: NodeId) -> Object {
    let text = |key| {
        let value = tree::member(stream, node, key)?;
        match stream.resolve(value).ok()? {
            Scalar::Str(text) => Some(text.into_owned()),
            _ => None,
        }
    };
    let kind: Option<String> = text("kind");
    Object {
        node,
        kind: kind.unwrap_or_default(),
        core: text("apiVersion").as_deref() == Some("v1"),
    }
}

/// Returns whether a leaf is `apiVersion`, `kind`, `type`, or stands under the name, namespace or
/// labels of the object's metadata.
fn is_identifier(stream: &Stream<'_>, object: NodeId, leaf: NodeId) -> bool {
    // From the object down to the leaf: the keys on the way.
    let mut keys = Vec::new();
    let mut child = leaf;
    while let Some(parent) = stream.node(child).parent {
        let entry = stream.entries(parent).find(|(_, value)| *value == child);
        if let Some((key, _)) = entry {
            keys.push(tree::key_text(stream, key).unwrap_or_default());
        }
        if parent == object {
            break;
        }
        child = parent;
    }
    keys.reverse();
    match keys.first().map(|key| &**key) {
        Some("apiVersion" | "kind" | "type") => true,
        Some("metadata") => matches!(
            keys.get(1).map(|key| &**key),
            Some("name" | "namespace" | "labels" | "uid" | "ownerReferences")
        ),
        _ => false,
    }
}

/// Returns a rule that names the keys of the file's Secrets, if no other object has one of them
/// and they need no escape; else the rule of Secrets.
fn suggest(stream: &Stream<'_>, objects: &Objects) -> String {
    let mut names: Vec<String> = Vec::new();
    for object in objects.list.iter().filter(|object| object.is_secret()) {
        for part in ["data", "stringData"] {
            let entries = tree::member(stream, object.node, part);
            for (key, _) in entries.iter().flat_map(|entries| stream.entries(*entries)) {
                let name = tree::key_text(stream, key).unwrap_or_default();
                if !names.iter().any(|known| **known == name) {
                    names.push(name.into_owned());
                }
            }
        }
    }
    let plain = |name: &String| {
        name.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let elsewhere = stream.nodes().any(|(id, node)| {
        node.kind == Kind::Scalar
            && names.iter().any(|name| *name == node.value)
            && !objects.owner(stream, id).is_some_and(Object::is_secret)
    });
    if names.is_empty() || elsewhere || !names.iter().all(plain) {
        return SECRET_REGEX.to_owned();
    }
    format!("^({})$", names.join("|"))
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;

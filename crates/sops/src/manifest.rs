//! Kubernetes manifests: the rule for a file of Secrets, and what must not give a value away.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use selkie_text::yaml::{self, Kind, NodeId, Scalar, Stream};
use zeroize::{Zeroize as _, Zeroizing};

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
    /// The clear field.
    pub field: String,
    /// The field whose value it repeats.
    pub secret: String,
}

/// Returns the rule for a file of Kubernetes Secrets: `encrypted_regex: ^(data|stringData)$`.
///
/// Returns `None` when no document is a Secret (or a List that holds one), and for a file that is
/// encrypted already. Fails when the rule would also hide something in another document.
pub fn default_selection(source: &str) -> Result<Option<Selection>, ManifestError> {
    if !source.contains("Secret") {
        return Ok(None);
    }
    let stream = yaml::parse(source, &yaml::Limits::default())?;
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

/// Refuses a Secret whose clear part repeats a value that `rule` selects: plain or base64 in either
/// direction, as a whole text or inside JSON. Encrypting one copy would hide nothing.
///
/// Names of the object, its type and its labels are not looked at: they are identifiers, and a user
/// name that equals the name of an application gives nothing away.
pub(crate) fn check_repeats(stream: &Stream<'_>, rule: &Selection) -> Result<(), CheckError> {
    if !stream.source().contains("Secret") {
        return Ok(());
    }
    let objects = Objects::of(stream);
    if !objects.has_secret() {
        return Ok(());
    }
    let mut parts: HashMap<NodeId, Parts> = HashMap::new();
    tree::walk(stream, rule, |leaf| {
        let node = match leaf.what {
            What::Scalar(node) => node,
            What::Comment(_) => return Ok::<(), TreeError>(()),
        };
        let Some(object) = objects.owner(stream, node) else {
            return Ok(());
        };
        if !object.is_secret() {
            return Ok(());
        }
        let value = tree::value_of(stream, node, || leaf.path())?;
        let Some(Value::Str(ref bytes)) = value else {
            return Ok(());
        };
        let Some(text) = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| !text.is_empty())
        else {
            return Ok(());
        };
        let parts = parts.entry(object.node).or_default();
        let path = leaf.path();
        if leaf.selected {
            parts.add_secret(text, path);
        } else if !is_identifier(stream, object.node, node) {
            let line = leaf.line();
            parts
                .clear
                .push((Zeroizing::new(text.to_owned()), path, line));
        }
        Ok(())
    })?;
    for parts in parts.values() {
        for (text, field, line) in &parts.clear {
            if let Some(secret) = parts.repeated_in(text, field.contains(LAST_APPLIED)) {
                return Err(CheckError::Repeated(RepeatedValue {
                    line: *line,
                    field: field.clone(),
                    secret,
                }));
            }
        }
    }
    Ok(())
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

/// Shortest text that counts as a repetition when it is a whole field or JSON string; shorter ones
/// are words like `true` or `db` that stand anywhere.
const MIN_WHOLE: usize = 4;
/// Shortest text that counts when it is found in the middle of another.
const MIN_PART: usize = 8;
/// Longest clear text that is searched for parts; whole JSON strings are found in any.
const MAX_SEARCHED: usize = 64 << 10;

/// What one Secret hides and shows.
#[derive(Default)]
struct Parts {
    /// Every form of a hidden value, and the path of the value; cleared on drop.
    hidden: HashMap<String, String>,
    /// Clear texts with path and line.
    clear: Vec<(Zeroizing<String>, String, usize)>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        for (mut form, _) in self.hidden.drain() {
            form.zeroize();
        }
    }
}

impl Parts {
    /// Adds the forms of a value: itself, its base64, and what it is the base64 of.
    fn add_secret(&mut self, text: &str, path: String) {
        let decoded = BASE64_STANDARD
            .decode(text.split_ascii_whitespace().collect::<String>())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        self.hidden
            .insert(BASE64_STANDARD.encode(text), path.clone());
        if let Some(decoded) = decoded.filter(|text| !text.is_empty()) {
            self.hidden.insert(decoded, path.clone());
        }
        let trimmed = text.trim_end_matches('\n');
        self.hidden.insert(trimmed.to_owned(), path.clone());
        self.hidden.insert(text.to_owned(), path);
    }

    /// Returns the path of a hidden value that a clear text repeats. In kubectl's copy of the
    /// manifest every string counts, however short.
    fn repeated_in(&self, clear: &str, last_applied: bool) -> Option<String> {
        let whole = |text: &str| {
            let long = text.len() >= MIN_WHOLE || last_applied;
            let found = self.hidden.get(text);
            found.filter(|_| long && !text.is_empty()).cloned()
        };
        if let Some(path) = whole(clear).or_else(|| whole(clear.trim())) {
            return Some(path);
        }
        if let Some(path) = json_strings(clear).iter().find_map(|text| whole(text)) {
            return Some(path);
        }
        if clear.len() > MAX_SEARCHED {
            return None;
        }
        self.hidden
            .iter()
            .find(|(hidden, _)| hidden.len() >= MIN_PART && clear.contains(hidden.as_str()))
            .map(|(_, path)| path.clone())
    }
}

/// Returns everything between double quotes in a text, with JSON's escapes resolved.
fn json_strings(text: &str) -> Vec<Zeroizing<String>> {
    let mut strings = Vec::new();
    let mut rest = text.chars();
    while rest.by_ref().any(|c| c == '"') {
        let mut string = Zeroizing::new(String::new());
        while let Some(c) = rest.next() {
            match c {
                '"' => break,
                '\\' => match rest.next() {
                    Some('n') => string.push('\n'),
                    Some('t') => string.push('\t'),
                    Some('r') => string.push('\r'),
                    Some('b') => string.push('\u{8}'),
                    Some('f') => string.push('\u{c}'),
                    Some('u') => {
                        let digits: String = rest.by_ref().take(4).collect();
                        let code = u32::from_str_radix(&digits, 16).ok();
                        string.extend(code.and_then(char::from_u32));
                    }
                    Some(other) => string.push(other),
                    None => {}
                },
                other => string.push(other),
            }
        }
        strings.push(string);
    }
    strings
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

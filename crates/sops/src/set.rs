//! One value of an encrypted file, put in place or taken out (sops-format.md 18).

use std::iter;
use std::str::FromStr;

use selkie_secret::SecretString;
use selkie_text::{Edits, Kind, Limits, NodeId, Scalar, Stream, Syntax, Value, json, yaml};
use zeroize::{Zeroize as _, Zeroizing};

use crate::edit::{EditError, EditOptions, Edited, OpenFile};
use crate::encrypt::EncryptError;
use crate::extract::{ExtractPath, Part};
use crate::format::Format;
use crate::metadata::INDENT;
use crate::tree::{self, TreeError, What};
use crate::value;

/// A value to set, from its JSON text.
pub struct NewValue(Value);

/// How the value's text is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonOptions {
    /// Reads as `sops set` does: a bare number is a float, a list at the top is refused.
    pub as_sops: bool,
}

/// Why a text is no value to set. Never holds the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewValueError {
    /// Not JSON.
    #[error("the value is not JSON: {0}; a text stands in double quotes")]
    Json(#[from] selkie_text::ParseError),
    /// A number that no 64-bit float holds.
    #[error("the value holds a number that is out of range")]
    Number(#[from] selkie_text::ResolveError),
    /// A list at the top, which `sops set` refuses.
    #[error("the value is a list, which cannot be set by itself; set its elements, or a mapping")]
    List,
}

/// How a value is set or taken out.
#[derive(Debug, Clone, Copy)]
pub struct SetOptions {
    /// The time written as `lastmodified`.
    pub now: jiff::Timestamp,
    /// Which document of a YAML file, counted from 0.
    pub document: usize,
    /// Leaves the file alone where the value is there already, or is not there to be taken out.
    pub idempotent: bool,
    /// Counts the comments of a list as positions, as sops does.
    pub count_comments: bool,
    /// Refuse a value that the rule of the file leaves in clear, where none stood before.
    pub refuse_clear: bool,
}

/// Why a value is not set or taken out. Holds keys and positions, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The path is empty.
    #[error("the path is empty; name a value, like [\"key\"][\"other\"][0]")]
    NoPath,
    /// A binary file is one value without a path.
    #[error("a binary file is one value and has no keys; edit it as a whole")]
    Binary,
    /// There is no such document.
    #[error("the file has no document {index}: it has {documents} (positions start at 0)")]
    NoDocument {
        /// The position asked for.
        index: usize,
        /// How many there are.
        documents: usize,
    },
    /// There is no such key to take out.
    #[error("Key not found: {at} has no key `{key}`")]
    NoKey {
        /// Where the search stood.
        at: String,
        /// The key.
        key: String,
    },
    /// There is no such position to take out.
    #[error("Index {index} out of bounds: {at} has {length} elements (positions start at 0)")]
    NoIndex {
        /// Where the search stood.
        at: String,
        /// The position.
        index: usize,
        /// How many elements there are.
        length: usize,
    },
    /// A key was asked of a list, a position of a mapping, or either of a single value.
    #[error("{at} is {found}, which has no {wanted}")]
    Kind {
        /// Where the search stood.
        at: String,
        /// "a mapping", "a list", "a single value".
        found: &'static str,
        /// "keys" or "positions".
        wanted: &'static str,
    },
    /// The rule of the file does not encrypt the value.
    #[error("the rule of the file leaves {at} in clear")]
    Clear {
        /// Where.
        at: String,
    },
    /// The position is that of a comment.
    #[error("position {index} of {at} is a comment; edit the file to change it")]
    Comment {
        /// Where the search stood.
        at: String,
        /// The position, comments counted.
        index: usize,
    },
    /// The format has no place for the value.
    #[error(transparent)]
    Write(#[from] selkie_text::WriteError),
    /// An empty document takes no entry.
    #[error(transparent)]
    Entry(#[from] selkie_text::EntryError),
    /// An alias on the path cannot be written out.
    #[error(transparent)]
    Expand(#[from] selkie_text::ExpandError),
    /// A scalar does not fit its tag.
    #[error(transparent)]
    Resolve(#[from] selkie_text::ResolveError),
    /// The changed file cannot be written.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl NewValue {
    /// Reads a value from JSON. Integers stay integers, but for `as_sops`.
    pub fn parse(text: &str, options: JsonOptions) -> Result<Self, NewValueError> {
        let stream = json::parse(text, &Limits::default())?;
        let root = stream.documents().first().map(|document| document.content);
        let Some(root) = root else {
            return Ok(Self(Value::Null));
        };
        let mut value = Self(stream.node_value(root)?);
        if options.as_sops {
            match &mut value.0 {
                Value::Seq(_) => return Err(NewValueError::List),
                // As a float, however large: the digits beyond its precision are lost.
                #[allow(clippy::cast_precision_loss)]
                Value::Int(number) => value.0 = Value::Float(*number as f64),
                _ => {}
            }
        }
        Ok(value)
    }

    /// Returns a clear file that holds this value alone, at the place that `path` names.
    pub fn alone(&self, path: &ExtractPath, format: Format) -> Result<SecretString, SetError> {
        if path.0.is_empty() {
            return Err(SetError::NoPath);
        }
        if format == Format::Binary {
            return Err(SetError::Binary);
        }
        let made = Self(spelled(nested(&path.0, &self.0), format.syntax()));
        let text = selkie_text::emit(&made.0, format.syntax(), None)?;
        Ok(SecretString::new(text))
    }

    /// Makes a value of a text that is no JSON.
    pub fn text(text: &str) -> Self {
        Self(Value::Str(text.to_owned()))
    }
}

impl FromStr for NewValue {
    type Err = NewValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, JsonOptions::default())
    }
}

impl std::fmt::Debug for NewValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewValue(redacted)")
    }
}

impl Drop for NewValue {
    fn drop(&mut self) {
        clear(&mut self.0);
    }
}

fn clear(value: &mut Value) {
    match value {
        Value::Map(entries) => entries.iter_mut().for_each(|(_, inner)| clear(inner)),
        Value::Seq(items) => items.iter_mut().for_each(clear),
        Value::Str(text)
        | Value::Raw(text)
        | Value::Quoted(text)
        | Value::Time(text)
        | Value::Comment(text) => text.zeroize(),
        Value::Int(_) | Value::Bool(_) | Value::Float(_) | Value::Null => {}
    }
}

impl OpenFile<'_> {
    /// Puts a value in the place that a path names.
    ///
    /// What is there is replaced, and its comments stay; missing levels are made, a position at or
    /// behind the end of a list appends, and a single value on the way gives place to a container.
    /// What the file's rule leaves clear is written in clear. `mac` and `lastmodified` are new even
    /// where the value is the same, but for `idempotent`.
    pub fn set(
        &self,
        path: &ExtractPath,
        value: &NewValue,
        options: &SetOptions,
    ) -> Result<Edited, SetError> {
        self.change(path, options, &|stream, edits| {
            put(stream, edits, path, value, options)
        })
    }

    /// Takes what a path names out, with its line and the comment on it.
    pub fn unset(&self, path: &ExtractPath, options: &SetOptions) -> Result<Edited, SetError> {
        let found = self.change(path, options, &|stream, edits| {
            take_out(stream, edits, path, options)
        });
        match found {
            Err(SetError::NoKey { .. } | SetError::NoIndex { .. }) if options.idempotent => {
                Ok(Edited::Unchanged)
            }
            other => other,
        }
    }

    fn change(
        &self,
        path: &ExtractPath,
        options: &SetOptions,
        change: &dyn Fn(&Stream<'_>, &mut Edits) -> Result<Done, SetError>,
    ) -> Result<Edited, SetError> {
        if path.0.is_empty() {
            return Err(SetError::NoPath);
        }
        let plain = self.plain_text().ok_or(SetError::Binary)?;
        let mut text = Zeroizing::new(plain.to_owned());
        loop {
            let parsed = self.format.parse(&text).map_err(EncryptError::Parse);
            let stream = parsed.map_err(EditError::from)?;
            let mut edits = Edits::new();
            let done = change(&stream, &mut edits)?;
            let applied = edits.try_apply(&text).map_err(EncryptError::from);
            let next = applied.map_err(EditError::from)?;
            drop(stream);
            text = next;
            match done {
                Done::Same if options.idempotent => return Ok(Edited::Unchanged),
                Done::Same | Done::Changed => break,
                // An alias on the way is a copy of its own now.
                Done::Expanded => {}
            }
        }
        if options.refuse_clear
            && self.has_clear_leaf(&text, path, options)?
            && !self.has_clear_leaf(plain, path, options)?
        {
            let mut at = String::new();
            for part in &path.0 {
                match part {
                    Part::Key(key) => tree::push_key(&mut at, key),
                    Part::Index(index) => at.push_str(&format!("[{index}]")),
                }
            }
            return Err(SetError::Clear { at });
        }
        let options = EditOptions {
            now: options.now,
            raise_version: false,
        };
        Ok(Edited::Changed(self.write(&text, &options)?))
    }

    /// Whether something at or below a place of a clear text is not encrypted by the file's rule.
    fn has_clear_leaf(
        &self,
        text: &str,
        path: &ExtractPath,
        options: &SetOptions,
    ) -> Result<bool, SetError> {
        let parsed = self.format.parse(text).map_err(EncryptError::Parse);
        let stream = parsed.map_err(EditError::from)?;
        let Ok((Found::Node(top), _)) = find(&stream, &path.0, options) else {
            return Ok(false);
        };
        let mut clear = false;
        let walked = tree::walk(&stream, &self.metadata.selection, |leaf| {
            if let What::Scalar(node) = leaf.what {
                let mut above = iter::successors(Some(node), |node| stream.node(*node).parent);
                clear |= !leaf.selected && above.any(|node| node == top);
            }
            Ok::<(), TreeError>(())
        });
        walked.map_err(|error| EditError::from(EncryptError::from(error)))?;
        Ok(clear)
    }
}

/// What a step did to the text.
enum Done {
    Changed,
    /// The value is there already.
    Same,
    /// An alias was written out, and the search begins anew.
    Expanded,
}

/// How far a path leads.
enum Found {
    /// To this node.
    Node(NodeId),
    /// To this container, which has no such key or position; the rest of the path begins with it.
    Missing(NodeId, usize),
    /// To a single value, and it goes on.
    Scalar(NodeId, usize),
    /// To an alias, which stands for another place.
    Alias(NodeId),
    /// To a document without content.
    Empty,
}

/// Walks a path; returns where it ends, and what it walked, for messages.
fn find(
    stream: &Stream<'_>,
    path: &[Part],
    options: &SetOptions,
) -> Result<(Found, String), SetError> {
    let documents = stream.documents();
    let document = documents
        .get(options.document)
        .ok_or(SetError::NoDocument {
            index: options.document,
            documents: documents.len(),
        })?;
    let mut walked = String::new();
    let Some(mut node) = document.root else {
        return Ok((Found::Empty, walked));
    };
    for (depth, part) in path.iter().enumerate() {
        let found = stream.node(node);
        match (part, found.kind) {
            (_, Kind::Alias) => return Ok((Found::Alias(node), walked)),
            (Part::Key(key), Kind::Mapping) => {
                let mut entries = stream.entries(node);
                let same = |name| tree::key_text(stream, name).is_some_and(|text| text == *key);
                let Some((_, value)) = entries.find(|(name, _)| same(*name)) else {
                    return Ok((Found::Missing(node, depth), walked));
                };
                tree::push_key(&mut walked, key);
                node = value;
            }
            (Part::Index(index), Kind::Sequence) => {
                let position = position(stream, node, *index, &walked, options)?;
                let Some(item) = found.children.get(position) else {
                    return Ok((Found::Missing(node, depth), walked));
                };
                walked.push_str(&format!("[{index}]"));
                node = *item;
            }
            (_, Kind::Scalar) => return Ok((Found::Scalar(node, depth), walked)),
            (part, kind) => {
                return Err(SetError::Kind {
                    at: place(&walked),
                    found: match kind {
                        Kind::Mapping => "a mapping",
                        _ => "a list",
                    },
                    wanted: match part {
                        Part::Key(_) => "keys",
                        Part::Index(_) => "positions",
                    },
                });
            }
        }
    }
    Ok((Found::Node(node), walked))
}

/// Returns the position among the items alone.
fn position(
    stream: &Stream<'_>,
    sequence: NodeId,
    index: usize,
    walked: &str,
    options: &SetOptions,
) -> Result<usize, SetError> {
    if !options.count_comments {
        return Ok(index);
    }
    let Value::Seq(mut all) = stream.node_value(sequence)? else {
        return Ok(index);
    };
    let is_comment = |value: &Value| matches!(value, Value::Comment(_));
    let hit = all.get(index).is_some_and(is_comment);
    let before = all.iter().take(index);
    let items = before.filter(|value| !is_comment(value)).count();
    let beyond = index >= all.len();
    all.iter_mut().for_each(clear);
    if hit {
        let at = place(walked);
        return Err(SetError::Comment { at, index });
    }
    Ok(if beyond { usize::MAX } else { items })
}

fn place(walked: &str) -> String {
    match walked {
        "" => "the document".to_owned(),
        walked => walked.to_owned(),
    }
}

fn put(
    stream: &Stream<'_>,
    edits: &mut Edits,
    path: &ExtractPath,
    value: &NewValue,
    options: &SetOptions,
) -> Result<Done, SetError> {
    let path = &path.0[..];
    let (found, _) = find(stream, path, options)?;
    match found {
        Found::Node(node) => {
            let old = NewValue(stream.node_value(node)?);
            if old.0 == value.0 {
                return Ok(Done::Same);
            }
            let written = NewValue(spelled(value.0.clone(), stream.syntax()));
            selkie_text::set_value(stream, edits, node, &written.0, INDENT)?;
        }
        Found::Alias(alias) => {
            yaml::expand_alias(stream, edits, alias)?;
            return Ok(Done::Expanded);
        }
        Found::Scalar(node, depth) => {
            let null = matches!(stream.resolve(node), Ok(Scalar::Null));
            if depth == 0 && !null {
                let at = place("");
                let (found, wanted) = ("a single value", "keys");
                return Err(SetError::Kind { at, found, wanted });
            }
            let made = NewValue(spelled(nested(&path[depth..], &value.0), stream.syntax()));
            selkie_text::set_value(stream, edits, node, &made.0, INDENT)?;
        }
        Found::Missing(container, depth) => {
            let made = nested(&path[depth + 1..], &value.0);
            let made = NewValue(spelled(made, stream.syntax()));
            match &path[depth] {
                Part::Key(key) => {
                    selkie_text::insert_entry(
                        stream, edits, container, key, &made.0, None, INDENT,
                    )?;
                }
                Part::Index(_) => {
                    selkie_text::push_item(stream, edits, container, &made.0, INDENT)?;
                }
            }
        }
        Found::Empty => {
            let Part::Key(key) = &path[0] else {
                return Err(SetError::Kind {
                    at: place(""),
                    found: "a mapping",
                    wanted: "positions",
                });
            };
            let made = NewValue(spelled(nested(&path[1..], &value.0), stream.syntax()));
            selkie_text::append_entry(stream, edits, options.document, key, &made.0, INDENT)?;
        }
    }
    Ok(Done::Changed)
}

/// Returns the value inside the levels of a path: a mapping for a key, a list of one for a position.
fn nested(path: &[Part], value: &Value) -> Value {
    let levels = path.iter().rev();
    levels.fold(value.clone(), |inner, part| match part {
        Part::Key(key) => Value::Map(vec![(key.clone(), inner)]),
        Part::Index(_) => Value::Seq(vec![inner]),
    })
}

/// Returns the value as it is written: a float stays one when it is read again, and a text that is
/// a boolean to readers of YAML 1.1 is in quotes.
fn spelled(value: Value, syntax: Syntax) -> Value {
    match value {
        Value::Float(number) if matches!(syntax, Syntax::Yaml | Syntax::Json) => {
            Value::Raw(value::yaml_float(number))
        }
        Value::Str(text) if syntax == Syntax::Yaml && yaml::is_old_word(&text) => {
            Value::Quoted(text)
        }
        Value::Map(entries) => {
            let entries = entries.into_iter();
            Value::Map(
                entries
                    .map(|(key, inner)| (key, spelled(inner, syntax)))
                    .collect(),
            )
        }
        Value::Seq(items) => {
            let items = items.into_iter();
            Value::Seq(items.map(|inner| spelled(inner, syntax)).collect())
        }
        other => other,
    }
}

fn take_out(
    stream: &Stream<'_>,
    edits: &mut Edits,
    path: &ExtractPath,
    options: &SetOptions,
) -> Result<Done, SetError> {
    let path = &path.0[..];
    let (found, walked) = find(stream, path, options)?;
    let at = place(&walked);
    let missing = |depth: usize, node: Option<NodeId>| match &path[depth] {
        Part::Key(key) => SetError::NoKey {
            at: at.clone(),
            key: key.clone(),
        },
        Part::Index(index) => SetError::NoIndex {
            at: at.clone(),
            index: *index,
            length: node.map_or(0, |node| stream.node(node).children.len()),
        },
    };
    match found {
        Found::Node(node) => selkie_text::remove_item(stream, edits, node, INDENT)?,
        Found::Alias(alias) => {
            yaml::expand_alias(stream, edits, alias)?;
            return Ok(Done::Expanded);
        }
        Found::Missing(node, depth) => return Err(missing(depth, Some(node))),
        Found::Empty => return Err(missing(0, None)),
        Found::Scalar(_, depth) => {
            return Err(SetError::Kind {
                at,
                found: "a single value",
                wanted: match &path[depth] {
                    Part::Key(_) => "keys",
                    Part::Index(_) => "positions",
                },
            });
        }
    }
    Ok(Done::Changed)
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;

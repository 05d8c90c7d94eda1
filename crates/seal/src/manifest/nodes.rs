//! Reading mappings, text and comments from the nodes of one Secret, aliases and merge keys resolved.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use selkie_text::yaml::{Comment, Kind, NodeId, Scalar, Stream, Style, is_old_word};
use zeroize::Zeroizing;

use super::SealManifestError;
use super::write::{Entry, Remarks, Tree};
use crate::decode_value;

/// A value to seal.
pub(crate) struct Value<'s> {
    pub(crate) key: String,
    /// `data.password`, for messages.
    pub(crate) path: String,
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    pub(crate) token: Option<&'s str>,
    pub(super) remarks: Remarks,
}

/// One entry of a mapping, merge keys resolved.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) key: NodeId,
    /// What an alias points to.
    pub(crate) value: NodeId,
    /// The value as it stands, which may be an alias and may have comments.
    pub(crate) written: NodeId,
}

/// Reads nodes of one Secret.
pub(crate) struct Reader<'a, 's> {
    pub(crate) stream: &'a Stream<'s>,
    /// Line of the Secret.
    pub(crate) line: usize,
    /// How many nodes may still be copied.
    budget: Cell<usize>,
    lines_before: usize,
    /// See [`Reader::reading_as_go`].
    as_go: bool,
}

impl<'a, 's> Reader<'a, 's> {
    pub(crate) fn new(stream: &'a Stream<'s>, line: usize) -> Self {
        Self {
            stream,
            line,
            budget: Cell::new(MAX_NODES),
            lines_before: 0,
            as_go: false,
        }
    }

    /// Reads text as kubeseal's YAML library does, where that is text as it stands: numbers and
    /// booleans count as text. What the library would change (`1.10`, `010`, `no`) is refused.
    pub(crate) fn reading_as_go(mut self) -> Self {
        self.as_go = true;
        self
    }

    /// Counts lines in a manifest in which the stream stands so many lines down.
    pub(crate) fn below(mut self, lines: usize) -> Self {
        self.lines_before = lines;
        self
    }

    pub(crate) fn lines_before(&self) -> usize {
        self.lines_before
    }

    /// Reads any number of objects, as long as they are not copies of each other.
    pub(crate) fn of_all_objects(self) -> Self {
        let nodes = self.stream.nodes().count();
        self.budget.set(MAX_NODES + nodes);
        self
    }

    /// The entries of a mapping in order, those of merge keys (`<<`) after them; null has none.
    pub(crate) fn fields(
        &self,
        mapping: NodeId,
        path: &str,
    ) -> Result<Vec<Field>, SealManifestError> {
        let mut fields = Vec::new();
        self.add_fields(mapping, path, 0, &mut fields, &mut HashSet::new())?;
        Ok(fields)
    }

    fn add_fields(
        &self,
        mapping: NodeId,
        path: &str,
        depth: usize,
        fields: &mut Vec<Field>,
        names: &mut HashSet<Cow<'a, str>>,
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
            let name = self.text(key, || format!("a key of {path}"))?;
            if !names.insert(name.clone()) {
                continue;
            }
            fields.push(Field {
                name: name.into_owned(),
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
                        self.add_fields(*item, path, depth + 1, fields, names)?;
                    }
                }
                _ => self.add_fields(merged, path, depth + 1, fields, names)?,
            }
        }
        Ok(())
    }

    /// The values of both fields; `stringData` wins over the same key in `data`, as in the API
    /// server.
    pub(crate) fn values(
        &self,
        data: Option<&Field>,
        string_data: Option<&Field>,
    ) -> Result<Vec<Value<'s>>, SealManifestError> {
        let mut values: Vec<Value<'s>> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (field, encoded) in [(data, true), (string_data, false)] {
            let Some(field) = field else {
                continue;
            };
            for entry in self.fields(field.value, &field.name)? {
                let path = format!("{}.{}", field.name, entry.name);
                let text = match encoded {
                    true => self.text(entry.value, || path.clone())?,
                    false => self.text_as_go(entry.value, || path.clone())?,
                };
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
                match places.get(&value.key) {
                    Some(&at) => {
                        let known = &mut values[at];
                        let before = std::mem::replace(known, value);
                        if known.remarks.is_empty() {
                            known.remarks = before.remarks;
                        }
                    }
                    None => {
                        places.insert(value.key.clone(), values.len());
                        values.push(value);
                    }
                }
            }
        }
        Ok(values)
    }

    /// The text of a scalar; null is empty.
    pub(crate) fn text(
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
        // `no` is a boolean to YAML 1.1; what has a colon is a number only when it is written.
        let is_old_bool = is_old_word(&found.value) && !found.value.contains(':');
        if self.as_go && found.style == Style::Plain && is_old_bool {
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

    /// The text of a scalar; with [`Reader::reading_as_go`] of a number or a boolean, too.
    pub(crate) fn text_as_go(
        &self,
        node: NodeId,
        path: impl Fn() -> String,
    ) -> Result<Cow<'a, str>, SealManifestError> {
        let id = self.stream.target(node);
        let found = self.stream.node(id);
        if self.as_go && found.kind == Kind::Scalar && found.tag.is_none() {
            let printed = match self.stream.resolve(id) {
                Ok(Scalar::Bool(on)) => Some(on.to_string()),
                Ok(Scalar::Int(number)) => Some(number.to_string()),
                Ok(Scalar::Uint(number)) => Some(number.to_string()),
                // Go prints floats with the digits of 32 bits.
                #[allow(clippy::cast_possible_truncation, reason = "as Go does")]
                Ok(Scalar::Float(number)) => Some((number as f32).to_string()),
                _ => None,
            };
            if printed.is_some_and(|printed| Zeroizing::new(printed).as_str() == found.value) {
                return Ok(Cow::Borrowed(&found.value));
            }
        }
        self.text(node, path)
    }

    /// The boolean of a field; `None` for null and for a field that is not there.
    pub(crate) fn boolean(
        &self,
        field: Option<&Field>,
        path: &str,
    ) -> Result<Option<bool>, SealManifestError> {
        let Some(field) = field else { return Ok(None) };
        match self.stream.resolve(field.value) {
            Ok(Scalar::Bool(on)) => Ok(Some(on)),
            Ok(Scalar::Null) => Ok(None),
            _ => Err(SealManifestError::NotABoolean {
                line: self.line_of(field.value),
                path: path.to_owned(),
            }),
        }
    }

    /// An entry as it stands, with its comments.
    pub(super) fn entry(&self, field: &Field) -> Result<Entry, SealManifestError> {
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

    pub(super) fn remarks(&self, field: &Field) -> Remarks {
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

    pub(crate) fn line_of(&self, node: NodeId) -> usize {
        self.lines_before + self.stream.node(node).line_number()
    }

    /// Counts a node that is copied, so that aliases do not multiply without end.
    pub(crate) fn spend(&self) -> Result<(), SealManifestError> {
        let left = self.budget.get().checked_sub(1);
        self.budget
            .set(left.ok_or(SealManifestError::TooLarge { line: self.line })?);
        Ok(())
    }
}

/// Far above any Secret that fits into a cluster, far below what an alias bomb unfolds to.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 100;

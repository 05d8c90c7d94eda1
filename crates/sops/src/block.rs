//! The metadata block as it was found, for a file that is written again: what is not changed keeps
//! its order, its spelling and its unknown fields (sops-format.md 7.2).

use selkie_text::{Kind, NodeId, Stream, Style, Syntax, Value};

use crate::data_key::Wrapped;
use crate::keys::{KeyEntry, KeyKind};
use crate::metadata::{self, FORMAT_VERSION, INDENT, MetadataError};
use crate::metadata_tree::{Meta, What};
use crate::tree;
use crate::whole_mac;

/// The block of a document, as a tree that is written as it stood.
#[derive(Clone)]
pub(crate) struct Block {
    fields: Vec<(String, Value)>,
    /// Columns per level.
    pub(crate) indent: usize,
}

impl Block {
    /// Reads the block of the first document.
    pub(crate) fn of(stream: &Stream<'_>) -> Result<Self, MetadataError> {
        if matches!(stream.syntax(), Syntax::Dotenv | Syntax::Ini) {
            // Flattened: every line is sorted anew, and all are texts.
            let meta = Meta::of(stream)?.ok_or(MetadataError::NotFound)?;
            return Ok(Self {
                fields: fields(owned(&meta)),
                indent: INDENT,
            });
        }
        let node = metadata::find(stream, 0)?.ok_or(MetadataError::NotFound)?;
        Ok(Self {
            fields: fields(value(stream, node)),
            indent: indent(stream, node),
        })
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Map(self.fields.clone())
    }

    /// Puts a field in the place of one of this name (in any case), or, where there is none, where
    /// the order of names has its place. `None` takes the field out.
    fn set(&mut self, name: &str, value: Option<Value>) {
        let found = self
            .fields
            .iter()
            .position(|(field, _)| field.eq_ignore_ascii_case(name));
        match (found, value) {
            (Some(at), Some(value)) => self.fields[at].1 = value,
            (Some(at), None) => {
                self.fields.remove(at);
            }
            (None, Some(value)) => {
                let after = |(field, _): &(String, Value)| field.as_str() > name;
                let at = self.fields.iter().position(after);
                let at = at.unwrap_or(self.fields.len());
                self.fields.insert(at, (name.to_owned(), value));
            }
            (None, None) => {}
        }
    }

    /// Puts the entries of the key groups in the place of those that are there. A list whose entries
    /// stay as they were keeps its bytes.
    pub(crate) fn set_groups(&mut self, before: &[Vec<KeyEntry>], wrapped: &Wrapped) {
        let was_flat = !self.has("key_groups");
        match &wrapped.groups[..] {
            [group] => {
                self.set("key_groups", None);
                for kind in KeyKind::ALL {
                    let of_kind = |group: &[KeyEntry]| -> Vec<KeyEntry> {
                        let entries = group.iter().filter(|entry| entry.kind == kind);
                        entries.cloned().collect()
                    };
                    let entries = of_kind(group);
                    let old = before.first().map(|group| of_kind(group));
                    if was_flat && before.len() == 1 && old.as_ref() == Some(&entries) {
                        continue;
                    }
                    let list = (!entries.is_empty()).then(|| list(&entries));
                    self.set(kind.name(), list);
                }
                if before.len() > 1 {
                    self.set("shamir_threshold", None);
                }
            }
            groups => {
                for kind in KeyKind::ALL {
                    self.set(kind.name(), None);
                }
                let groups = groups.iter().map(|group| group_fields(group));
                self.set("key_groups", Some(Value::Seq(groups.collect())));
                let threshold = i64::try_from(wrapped.threshold).unwrap_or(i64::MAX);
                self.set("shamir_threshold", Some(Value::Int(threshold)));
            }
        }
    }

    /// Makes a place for a whole-file MAC.
    pub(crate) fn ask_whole_mac(&mut self) {
        let place = Value::Str(whole_mac::PLACEHOLDER.to_owned());
        self.set(whole_mac::FIELD, Some(place));
    }

    /// Returns the names of its fields, as they are spelled.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    fn has(&self, name: &str) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|(field, _)| field.eq_ignore_ascii_case(name))
    }

    /// Puts our format version in the place of an older one; its quotes stay.
    pub(crate) fn raise_version(&mut self) {
        let found = self.fields.iter_mut();
        let version = found
            .filter(|(field, _)| field.eq_ignore_ascii_case("version"))
            .find_map(|(_, value)| match value {
                Value::Raw(text) | Value::Str(text) => Some(text),
                _ => None,
            });
        if let Some(text) = version {
            let bare = text.trim_matches(['\'', '"']).to_owned();
            if numbers(&bare).is_some_and(|old| numbers(FORMAT_VERSION) > Some(old)) {
                *text = text.replace(&bare, FORMAT_VERSION);
            }
        }
    }
}

/// Returns the lists of one of several groups. sops writes `age` and `hc_vault` there even when they
/// are empty (sops-format.md 7.2).
fn group_fields(group: &[KeyEntry]) -> Value {
    let mut lists = Vec::new();
    for kind in KeyKind::ALL {
        let entries: Vec<KeyEntry> = group
            .iter()
            .filter(|entry| entry.kind == kind)
            .cloned()
            .collect();
        if !entries.is_empty() || matches!(kind, KeyKind::Age | KeyKind::HcVault) {
            lists.push((kind.name().to_owned(), list(&entries)));
        }
    }
    lists.sort_by(|one, two| one.0.cmp(&two.0));
    Value::Map(lists)
}

fn list(entries: &[KeyEntry]) -> Value {
    Value::Seq(entries.iter().map(entry).collect())
}

/// Returns an entry with its fields in the order they have: that of its file, or sorted.
fn entry(entry: &KeyEntry) -> Value {
    let text = |(name, text): (&String, &String)| (name.clone(), Value::Str(text.clone()));
    let mut fields: Vec<_> = entry.fields.iter().map(|(k, v)| text((k, v))).collect();
    if !entry.context.is_empty() {
        let after = |(name, _): &(String, Value)| name.as_str() > "context";
        let at = fields.iter().position(after).unwrap_or(fields.len());
        let context = entry.context.iter().map(text).collect();
        fields.insert(at, ("context".to_owned(), Value::Map(context)));
    }
    Value::Map(fields)
}

/// Returns the three numbers of a version, without what may follow a `-`.
fn numbers(version: &str) -> Option<[u64; 3]> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let core = version.split(['-', '+']).next()?;
    let numbers: Option<Vec<u64>> = core.split('.').map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

fn fields(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Map(fields) => fields,
        _ => Vec::new(),
    }
}

fn owned(meta: &Meta) -> Value {
    match &meta.what {
        What::Null => Value::Null,
        What::Text(text) | What::Number(text) => Value::Str(text.clone()),
        What::Bool(value) => Value::Bool(*value),
        What::List(items) => Value::Seq(items.iter().map(owned).collect()),
        What::Map(fields) => {
            let fields = fields.iter();
            Value::Map(
                fields
                    .map(|(name, inner)| (name.clone(), owned(inner)))
                    .collect(),
            )
        }
    }
}

fn value(stream: &Stream<'_>, node: NodeId) -> Value {
    let node = stream.target(node);
    let found = stream.node(node);
    match found.kind {
        Kind::Mapping => {
            let entries = stream.entries(node).filter_map(|(key, inner)| {
                let key = tree::key_text(stream, key)?.into_owned();
                Some((key, value(stream, inner)))
            });
            Value::Map(entries.collect())
        }
        Kind::Sequence => {
            let items = found.children.iter().map(|item| value(stream, *item));
            Value::Seq(items.collect())
        }
        _ => {
            let written = &stream.source()[found.span.clone()];
            let as_it_is = found.block.is_none() && found.tag.is_none() && !written.contains('\n');
            match as_it_is {
                true if written.is_empty() => Value::Null,
                true => Value::Raw(written.to_owned()),
                false => Value::Str(found.value.to_string()),
            }
        }
    }
}

/// Returns by how much the fields stand in; sops's default where that cannot be said.
fn indent(stream: &Stream<'_>, node: NodeId) -> usize {
    let block = stream.node(node);
    let outer = block.parent.map(|parent| stream.node(parent));
    let Some(outer) = outer.filter(|_| block.style == Style::Block) else {
        return INDENT;
    };
    let by = block.column_number().saturating_sub(outer.column_number());
    if (2..=9).contains(&by) { by } else { INDENT }
}

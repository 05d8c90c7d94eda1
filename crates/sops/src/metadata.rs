//! The metadata block: reading what every version wrote, writing what 3.13 writes
//! (sops-format.md 7).

use std::collections::BTreeMap;

use selkie_text::yaml::{self, Kind, NodeId, Scalar, Stream, Style};

use crate::keys::{KeyEntry, KeyKind};
use crate::rfc3339;
use crate::selection::{Selection, SelectionSettings};
use crate::tree::{self, SOPS_KEY};

/// The version of sops whose format is written.
pub const FORMAT_VERSION: &str = "3.13.3";

/// Why a metadata block cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// There is none.
    #[error(
        "sops metadata not found: the file has no top-level `sops` mapping, so it is not encrypted"
    )]
    NotFound,
    /// The key is there twice.
    #[error("line {line}: the top-level key `sops` is there twice")]
    Duplicate {
        /// Line of the second one.
        line: usize,
    },
    /// It is a list or a scalar.
    #[error("line {line}: the top-level key `sops` does not hold a mapping")]
    NotAMapping {
        /// Line of its value.
        line: usize,
    },
    /// A field has a form that it cannot have.
    #[error("line {line}: the field {field} of the sops metadata {reason}")]
    Field {
        /// Line of the field.
        line: usize,
        /// Name of the field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field that every file has is absent.
    #[error("the sops metadata has no field {0}")]
    Missing(&'static str),
    /// No entry in any list.
    #[error("no keys found in the sops metadata, so nothing can decrypt the file")]
    NoKeys,
}

/// The metadata of an encrypted file.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    /// All entries, in the order sops loads them: by kind, each list in file order (7.3).
    pub(crate) keys: Vec<KeyEntry>,
    /// How many key groups the data key is split over; 1 when it is not.
    pub(crate) groups: usize,
    /// `lastmodified` with second precision: the AAD of the MAC (5.3).
    pub(crate) last_modified: String,
    /// The encrypted MAC; empty when the file has none.
    pub(crate) mac: String,
    pub(crate) selection: Selection,
    pub(crate) mac_only_encrypted: bool,
    /// Whether the values are spelled as their author spelled them; see [`signed_by_style`].
    pub(crate) own_spelling: bool,
}

/// Where a document's metadata block stands: the nodes that a rewrite replaces.
pub(crate) struct Block {
    pub(crate) document: usize,
    pub(crate) mac: Option<NodeId>,
    pub(crate) last_modified: Option<NodeId>,
}

impl Metadata {
    /// Reads the metadata of the first document, where sops looks for it (11.1).
    pub(crate) fn read(stream: &Stream<'_>) -> Result<Self, MetadataError> {
        let node = find(stream, 0)?.ok_or(MetadataError::NotFound)?;
        let fields = Fields::of(stream, node);
        let mut keys = read_keys(stream, &fields)?;
        let mut groups = 1;
        // The flat lists win over the groups if both are there (7.3).
        if keys.is_empty() {
            (keys, groups) = read_key_groups(stream, &fields)?;
        }
        if keys.is_empty() {
            return Err(MetadataError::NoKeys);
        }
        let found = fields
            .get("lastmodified")
            .ok_or(MetadataError::Missing("lastmodified"))?;
        let last_modified = text(stream, found)
            .and_then(|text| rfc3339::to_seconds(&text))
            .ok_or_else(|| field_error(stream, found, "lastmodified", "is not an RFC 3339 time"))?;
        let settings = SelectionSettings {
            unencrypted_suffix: fields.text("unencrypted_suffix")?,
            encrypted_suffix: fields.text("encrypted_suffix")?,
            unencrypted_regex: fields.text("unencrypted_regex")?,
            encrypted_regex: fields.text("encrypted_regex")?,
            unencrypted_comment_regex: fields.text("unencrypted_comment_regex")?,
            encrypted_comment_regex: fields.text("encrypted_comment_regex")?,
        };
        let selection = settings.compile_lenient().map_err(|conflict| {
            field_error(stream, node, "selection rule", &conflict.to_string())
        })?;
        let mac_only_encrypted = match fields.get("mac_only_encrypted") {
            None => false,
            Some(found) => read_bool(stream, found).ok_or_else(|| {
                field_error(stream, found, "mac_only_encrypted", "is not true or false")
            })?,
        };
        Ok(Self {
            keys,
            groups,
            last_modified,
            mac: fields.text("mac")?.unwrap_or_default(),
            selection,
            mac_only_encrypted,
            own_spelling: fields
                .get("version")
                .is_some_and(|node| signed_by_style(stream, node)),
        })
    }
}

/// Finds the nodes that a rewrite of the block replaces, in every document that has a block.
///
/// Fails for any `sops` key that holds no metadata: the MAC does not cover it, so it must not
/// come through as content.
pub(crate) fn blocks(stream: &Stream<'_>) -> Result<Vec<Block>, MetadataError> {
    let mut blocks = Vec::new();
    for document in 0..stream.documents().len() {
        let Some(node) = find(stream, document)? else {
            continue;
        };
        let fields = Fields::of(stream, node);
        blocks.push(Block {
            document,
            mac: fields.get("mac"),
            last_modified: fields.get("lastmodified"),
        });
    }
    Ok(blocks)
}

/// Returns the line of a document's top-level `sops` value, whatever it holds.
pub(crate) fn sops_key_line(stream: &Stream<'_>, document: usize) -> Option<usize> {
    let root = stream.documents().get(document)?.root?;
    let node = tree::member(stream, root, SOPS_KEY)?;
    Some(tree::line_of(stream, node))
}

/// Selkie puts the version in single quotes, where sops writes it plain.
///
/// The mark says that the ciphertexts hold their author's spelling: a bare `yes` was bare before,
/// `True` was not `true`. sops gives up quotes and spelling when it encrypts, so in its files a
/// bare ciphertext says nothing, and what comes out is spelled as sops would (0003-sops-layout.md).
/// Any rewrite by sops drops the quotes, which is right: it drops the author's quotes as well.
pub(crate) fn signed_by_style(stream: &Stream<'_>, version: NodeId) -> bool {
    stream.node(version).style == Style::SingleQuoted
}

/// Everything that a new metadata block says.
pub(crate) struct NewMetadata<'m> {
    pub(crate) keys: &'m [KeyEntry],
    pub(crate) last_modified: &'m str,
    pub(crate) mac: &'m str,
    pub(crate) selection: &'m Selection,
    pub(crate) mac_only_encrypted: bool,
}

impl NewMetadata<'_> {
    /// Returns the block as a tree whose keys are sorted at every level, as 3.13 writes (7.2).
    pub(crate) fn to_value(&self) -> yaml::Value {
        let string = |text: &str| yaml::Value::Str(text.to_owned());
        let mut fields: Vec<(String, yaml::Value)> = Vec::new();
        for kind in KeyKind::ALL {
            let entries: Vec<yaml::Value> = self
                .keys
                .iter()
                .filter(|entry| entry.kind == kind)
                .map(|entry| {
                    let mut fields = entry.fields.clone();
                    fields.sort();
                    let pairs = fields.into_iter().map(|(k, v)| (k, yaml::Value::Str(v)));
                    let mut pairs: Vec<_> = pairs.collect();
                    if !entry.context.is_empty() {
                        let context = entry.context.iter();
                        let context =
                            context.map(|(k, v)| (k.clone(), yaml::Value::Str(v.clone())));
                        pairs.push(("context".to_owned(), yaml::Value::Map(context.collect())));
                        pairs.sort_by(|one, two| one.0.cmp(&two.0));
                    }
                    yaml::Value::Map(pairs)
                })
                .collect();
            if !entries.is_empty() {
                fields.push((kind.name().to_owned(), yaml::Value::Seq(entries)));
            }
        }
        fields.push((
            "lastmodified".to_owned(),
            yaml::Value::Quoted(self.last_modified.to_owned()),
        ));
        fields.push(("mac".to_owned(), string(self.mac)));
        if let Some((name, text)) = self.selection.setting() {
            fields.push((name.to_owned(), string(text)));
        }
        if self.mac_only_encrypted {
            fields.push(("mac_only_encrypted".to_owned(), yaml::Value::Bool(true)));
        }
        fields.push((
            "version".to_owned(),
            yaml::Value::Raw(format!("'{FORMAT_VERSION}'")),
        ));
        fields.sort_by(|one, two| one.0.cmp(&two.0));
        yaml::Value::Map(fields)
    }
}

/// Finds the value of the top-level `sops` key of a document.
fn find(stream: &Stream<'_>, document: usize) -> Result<Option<NodeId>, MetadataError> {
    let Some(root) = stream.documents().get(document).and_then(|d| d.root) else {
        return Ok(None);
    };
    let mut found = None;
    for (key, value) in stream.entries(root) {
        let is_sops = stream.node(stream.target(key)).value == SOPS_KEY
            && tree::key_text(stream, key).is_some();
        if !is_sops {
            continue;
        }
        if found.is_some() {
            let line = tree::line_of(stream, key);
            return Err(MetadataError::Duplicate { line });
        }
        found = Some(stream.target(value));
    }
    match found {
        Some(node) if stream.node(node).kind != Kind::Mapping => Err(MetadataError::NotAMapping {
            line: tree::line_of(stream, node),
        }),
        other => Ok(other),
    }
}

/// The fields of a mapping; names match whatever their case (7.3).
struct Fields<'f, 's> {
    stream: &'f Stream<'s>,
    pairs: Vec<(String, NodeId)>,
}

impl<'f, 's> Fields<'f, 's> {
    fn of(stream: &'f Stream<'s>, mapping: NodeId) -> Self {
        let pairs = stream
            .entries(mapping)
            .filter_map(|(key, value)| {
                let name = tree::key_text(stream, key)?.to_ascii_lowercase();
                Some((name, stream.target(value)))
            })
            .collect();
        Self { stream, pairs }
    }

    fn get(&self, name: &str) -> Option<NodeId> {
        let found = self.pairs.iter().find(|(field, _)| field == name);
        found.map(|(_, node)| *node)
    }

    /// Returns a field as text, `None` when it is absent or null.
    fn text(&self, name: &str) -> Result<Option<String>, MetadataError> {
        let Some(node) = self.get(name) else {
            return Ok(None);
        };
        if matches!(self.stream.resolve(node), Ok(Scalar::Null)) {
            return Ok(None);
        }
        text(self.stream, node)
            .map(Some)
            .ok_or_else(|| field_error(self.stream, node, name, "is not a text"))
    }
}

/// Returns a scalar as text: numbers and booleans too (7.3), and timestamps as they are written.
fn text(stream: &Stream<'_>, node: NodeId) -> Option<String> {
    if stream.node(node).kind != Kind::Scalar {
        return None;
    }
    match stream.resolve(node).ok()? {
        Scalar::Str(text) => Some(text.into_owned()),
        Scalar::Timestamp(time) => Some(time.rfc3339),
        Scalar::Null => Some(String::new()),
        Scalar::Binary(bytes) => String::from_utf8(bytes).ok(),
        Scalar::Bool(value) => Some(if value { "1" } else { "0" }.to_owned()),
        _ => Some(stream.node(node).value.to_string()),
    }
}

fn read_bool(stream: &Stream<'_>, node: NodeId) -> Option<bool> {
    match stream.resolve(node).ok()? {
        Scalar::Bool(value) => Some(value),
        Scalar::Null => Some(false),
        Scalar::Int(value) => Some(value != 0),
        Scalar::Str(text) => match &*text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn read_keys(stream: &Stream<'_>, fields: &Fields<'_, '_>) -> Result<Vec<KeyEntry>, MetadataError> {
    let mut keys = Vec::new();
    for kind in KeyKind::ALL {
        let Some(list) = fields.get(kind.name()) else {
            continue;
        };
        for entry in elements(stream, list, kind.name())? {
            keys.push(read_entry(stream, entry, kind)?);
        }
    }
    Ok(keys)
}

/// Reads `key_groups`: all entries, and the number of groups. One group is as good as none, more
/// hold shares of the data key (10).
fn read_key_groups(
    stream: &Stream<'_>,
    fields: &Fields<'_, '_>,
) -> Result<(Vec<KeyEntry>, usize), MetadataError> {
    let Some(list) = fields.get("key_groups") else {
        return Ok((Vec::new(), 1));
    };
    let groups = elements(stream, list, "key_groups")?;
    let mut keys = Vec::new();
    for group in &groups {
        keys.extend(read_keys(stream, &Fields::of(stream, *group))?);
    }
    Ok((keys, groups.len().max(1)))
}

/// Returns the mappings of a list; a single mapping stands for a list of one (7.3).
fn elements(stream: &Stream<'_>, list: NodeId, name: &str) -> Result<Vec<NodeId>, MetadataError> {
    let node = stream.node(list);
    let found = match node.kind {
        Kind::Mapping => vec![list],
        Kind::Sequence => node
            .children
            .iter()
            .map(|child| stream.target(*child))
            .collect(),
        _ if matches!(stream.resolve(list), Ok(Scalar::Null)) => Vec::new(),
        _ => return Err(field_error(stream, list, name, "is not a list")),
    };
    for element in &found {
        if stream.node(*element).kind != Kind::Mapping {
            return Err(field_error(
                stream,
                *element,
                name,
                "has an entry that is not a mapping",
            ));
        }
    }
    Ok(found)
}

/// Reads one entry; the one nested mapping it may hold is the `context` of kms.
fn read_entry(stream: &Stream<'_>, node: NodeId, kind: KeyKind) -> Result<KeyEntry, MetadataError> {
    let mut entry = KeyEntry {
        kind,
        fields: Vec::new(),
        context: BTreeMap::new(),
    };
    for (name, value) in Fields::of(stream, node).pairs {
        if stream.node(value).kind == Kind::Mapping {
            for (key, inner) in stream.entries(value) {
                let key = tree::key_text(stream, key);
                let inner = text(stream, stream.target(inner));
                if let (Some(key), Some(inner), "context") = (key, inner, name.as_str()) {
                    entry.context.insert(key.into_owned(), inner);
                }
            }
            continue;
        }
        let value = text(stream, value)
            .ok_or_else(|| field_error(stream, value, &name, "is not a text"))?;
        entry.fields.push((name, value));
    }
    Ok(entry)
}

fn field_error(stream: &Stream<'_>, node: NodeId, field: &str, reason: &str) -> MetadataError {
    MetadataError::Field {
        line: tree::line_of(stream, node),
        field: field.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Result<Metadata, MetadataError> {
        let stream = yaml::parse(source, &yaml::Limits::default()).unwrap();
        Metadata::read(&stream)
    }

    const AGE: &str = "  age:\n  - recipient: age1x\n    enc: |\n      abc\n";
    const REST: &str =
        "  lastmodified: \"2026-01-02T03:04:05Z\"\n  mac: ENC[x]\n  version: 3.9.0\n";

    #[test]
    fn every_writers_block_reads() {
        let metadata = read(&format!("a: 1\nsops:\n{AGE}{REST}")).unwrap();
        assert_eq!(metadata.keys.len(), 1);
        assert_eq!(metadata.keys[0].id(), "age1x");
        assert_eq!(metadata.keys[0].field("enc"), Some("abc\n"));
        assert_eq!(metadata.selection, Selection::default());
        assert!(!metadata.mac_only_encrypted && !metadata.own_spelling);

        // Explicit empty lists (3.9), odd case, a single mapping for a list, unquoted time, unknown keys.
        let metadata = read(
            "sops:\n  kms: []\n  gcp_kms:\n  Age: {Recipient: age1x, enc: x}\n  new_thing: {}\n  \
             lastmodified: 2026-01-02T03:04:05.678+00:00\n  mac_only_encrypted: \"true\"\n  \
             encrypted_regex: ^a$\n  version: '3.13.3'\n",
        )
        .unwrap();
        assert_eq!(metadata.keys[0].field("recipient"), Some("age1x"));
        assert_eq!(metadata.last_modified, "2026-01-02T03:04:05Z");
        assert_eq!(metadata.mac, "");
        assert_eq!(
            metadata.selection.setting(),
            Some(("encrypted_regex", "^a$"))
        );
        assert!(metadata.mac_only_encrypted && metadata.own_spelling);
    }

    #[test]
    fn one_key_group_is_as_good_as_none_and_more_are_named() {
        let group = "  - age:\n    - {recipient: age1x, enc: x}\n";
        let one = read(&format!("sops:\n  key_groups:\n{group}{REST}")).unwrap();
        assert_eq!(one.keys.len(), 1);
        let two = read(&format!(
            "sops:\n  shamir_threshold: 2\n  key_groups:\n{group}{group}{REST}"
        ));
        assert_eq!(two.unwrap().groups, 2);
    }

    #[test]
    fn what_is_no_metadata_is_named() {
        for (source, part) in [
            ("a: 1\n", "sops metadata not found"),
            (
                "sops: 1\n",
                "line 1: the top-level key `sops` does not hold a mapping",
            ),
            ("sops: {}\n", "no keys found"),
            (
                "sops:\n  age: 5\n",
                "line 2: the field age of the sops metadata is not a list",
            ),
            ("sops:\n  age: [5]\n", "has an entry that is not a mapping"),
            ("sops:\n  age: [{enc: x}]\n", "has no field lastmodified"),
            (
                "sops:\n  age: [{enc: x}]\n  lastmodified: yesterday\n",
                "is not an RFC 3339 time",
            ),
            (
                "sops:\n  age: [{enc: x}]\n  lastmodified: \"2026-01-02T03:04:05Z\"\n  encrypted_regex: a\n  encrypted_suffix: b\n",
                "both set",
            ),
            (
                "sops: {a: 1}\nsops: {b: 1}\n",
                "line 2: the top-level key `sops` is there twice",
            ),
        ] {
            let error = read(source).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_new_block_is_sorted_at_every_level() {
        let entry = KeyEntry {
            kind: KeyKind::Age,
            fields: vec![
                ("recipient".to_owned(), "age1x".to_owned()),
                ("enc".to_owned(), "e\n".to_owned()),
            ],
            context: BTreeMap::new(),
        };
        let value = NewMetadata {
            keys: &[entry],
            last_modified: "2026-01-02T03:04:05Z",
            mac: "ENC[m]",
            selection: &Selection::default(),
            mac_only_encrypted: true,
        }
        .to_value();
        let yaml::Value::Map(fields) = value else {
            panic!("a mapping")
        };
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "age",
                "lastmodified",
                "mac",
                "mac_only_encrypted",
                "unencrypted_suffix",
                "version"
            ]
        );
        let yaml::Value::Seq(entries) = &fields[0].1 else {
            panic!("a list")
        };
        let yaml::Value::Map(entry) = &entries[0] else {
            panic!("a mapping")
        };
        assert_eq!(entry[0].0, "enc");
    }
}

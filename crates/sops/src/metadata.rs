//! The metadata block: reading what every version wrote, writing what 3.13 writes
//! (sops-format.md 7).

use std::collections::{BTreeMap, HashSet};

use selkie_text::Syntax;
use selkie_text::yaml::{self, Edits, Kind, NodeId, Stream, Style};

use crate::encrypt::is_null;
use crate::keys::{KeyEntry, KeyKind};
use crate::metadata_tree::{DOTENV_PREFIX, Meta, What};
use crate::rfc3339;
use crate::selection::{Selection, SelectionSettings};
use crate::tree::{self, SOPS_KEY};
use crate::whole_mac;

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
    #[error("line {line}: `{name}` of the sops metadata is there twice")]
    Duplicate {
        /// Line of the second one.
        line: usize,
        /// The key: `sops`, or a flattened one.
        name: String,
    },
    /// The key is an alias, or has a tag or an anchor.
    #[error(
        "line {line}: the key `sops` is not written plainly: it is an alias, or has a tag or an anchor"
    )]
    Spelling {
        /// Its line.
        line: usize,
    },
    /// A key within it is no text.
    #[error("line {line}: the sops metadata has a key that is not a text")]
    KeyNotText {
        /// Its line.
        line: usize,
    },
    /// It holds more than any file of sops does, as through aliases.
    #[error("the sops metadata unfolds to more nodes than any file of sops has")]
    TooLarge,
    /// The format is newer than this program.
    #[error(
        "the file says that sops {0} wrote it; this program knows the format of sops 3. \
         Use a newer version of Selkie"
    )]
    Newer(String),
    /// The version is none; sops's command refuses such a file.
    #[error("the sops metadata has no version of three numbers (`version: {0}`)")]
    Version(String),
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
    /// The key groups, one unless the data key is split over several. In each the entries stand in
    /// the order sops loads them: by kind, each list in file order (7.3).
    pub(crate) groups: Vec<Vec<KeyEntry>>,
    /// `shamir_threshold` as it stands: 0 when absent.
    pub(crate) threshold: usize,
    /// `lastmodified` with second precision: the AAD of the MAC (5.3).
    pub(crate) last_modified: String,
    /// The encrypted MAC; empty when the file has none.
    pub(crate) mac: String,
    /// `selkie_mac`, if the field is there.
    pub(crate) whole_mac: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) mac_only_encrypted: bool,
    /// The version of the program that encrypted the file; may be empty.
    pub(crate) version: String,
    /// Whether the values are spelled as their author spelled them; see [`signed_by_style`].
    pub(crate) own_spelling: bool,
}

/// Where a document's metadata block stands: the nodes that a rewrite replaces.
pub(crate) struct Block {
    pub(crate) document: usize,
    pub(crate) mac: Option<NodeId>,
    pub(crate) last_modified: Option<NodeId>,
    pub(crate) whole_mac: Option<NodeId>,
}

impl Metadata {
    /// Reads the metadata of the first document, where sops looks for it (11.1).
    pub(crate) fn read(stream: &Stream<'_>) -> Result<Self, MetadataError> {
        let meta = Meta::of(stream)?.ok_or(MetadataError::NotFound)?;
        let version = text(&meta, "version")?.unwrap_or_default();
        // sops looks at the version in its editor only; a first number above 3 is another format.
        let bare = version.strip_prefix('v').unwrap_or(&version);
        let major = bare.split('.').next().unwrap_or_default().parse::<u64>();
        if major.is_ok_and(|major| major > 3) {
            return Err(MetadataError::Newer(version));
        }
        // The flat lists win over the groups if both are there (7.3).
        let mut groups = vec![read_keys(&meta)?];
        if groups[0].is_empty()
            && let Some(list) = meta.get("key_groups")
        {
            let found = list.mappings("key_groups")?;
            groups = found.into_iter().map(read_keys).collect::<Result<_, _>>()?;
        }
        if groups.iter().all(Vec::is_empty) {
            return Err(MetadataError::NoKeys);
        }
        let threshold = match meta.get("shamir_threshold") {
            None => 0,
            Some(found) => found
                .integer()
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| found.error("shamir_threshold", "is not a whole number"))?,
        };
        let found = meta
            .get("lastmodified")
            .ok_or(MetadataError::Missing("lastmodified"))?;
        let last_modified = found
            .text()
            .and_then(rfc3339::to_seconds)
            .ok_or_else(|| found.error("lastmodified", "is not an RFC 3339 time"))?;
        let settings = SelectionSettings {
            unencrypted_suffix: text(&meta, "unencrypted_suffix")?,
            encrypted_suffix: text(&meta, "encrypted_suffix")?,
            unencrypted_regex: text(&meta, "unencrypted_regex")?,
            encrypted_regex: text(&meta, "encrypted_regex")?,
            unencrypted_comment_regex: text(&meta, "unencrypted_comment_regex")?,
            encrypted_comment_regex: text(&meta, "encrypted_comment_regex")?,
        };
        let selection = settings
            .compile_lenient()
            .map_err(|conflict| meta.error("selection rule", &conflict.to_string()))?;
        let mac_only_encrypted = match meta.get("mac_only_encrypted") {
            None => false,
            Some(found) => found
                .boolean()
                .ok_or_else(|| found.error("mac_only_encrypted", "is not true or false"))?,
        };
        Ok(Self {
            groups,
            threshold,
            last_modified,
            mac: text(&meta, "mac")?.unwrap_or_default(),
            whole_mac: text(&meta, whole_mac::FIELD)?,
            selection,
            mac_only_encrypted,
            version,
            own_spelling: is_signed(stream)?,
        })
    }

    /// Returns the entries of all groups, group by group.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyEntry> {
        self.groups.iter().flatten()
    }

    /// Refuses what sops's own command refuses: a version that is not three numbers, with an optional
    /// `v`, and not of the Python era (7.3).
    pub(crate) fn check_version(&self) -> Result<(), MetadataError> {
        if self.version.starts_with("1.") || is_semantic(&self.version) {
            return Ok(());
        }
        Err(MetadataError::Version(self.version.clone()))
    }
}

/// Returns whether a version has three numbers, with `-` or `+` and more behind them.
fn is_semantic(version: &str) -> bool {
    let core = version.strip_prefix('v').unwrap_or(version);
    let core = core.split(['-', '+']).next().unwrap_or_default();
    let number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    core.split('.').count() == 3 && core.split('.').all(number)
}

/// Returns whether the first block has the mark of [`signed_by_style`].
pub(crate) fn is_signed(stream: &Stream<'_>) -> Result<bool, MetadataError> {
    if stream.syntax() != Syntax::Yaml {
        return Ok(false);
    }
    let Some(node) = find(stream, 0)? else {
        return Ok(false);
    };
    Ok(member(stream, node, "version").is_some_and(|node| signed_by_style(stream, node)))
}

/// Returns the text of a field, `None` when it is absent or null.
fn text(meta: &Meta, name: &str) -> Result<Option<String>, MetadataError> {
    match meta.get(name) {
        None => Ok(None),
        Some(found) if found.what == What::Null => Ok(None),
        Some(found) => match found.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(found.error(name, "is not a text")),
        },
    }
}

/// Finds the nodes that a rewrite of the block replaces, in every document that has a block.
///
/// Fails for any `sops` key that holds no metadata: the MAC does not cover it, so it must not
/// come through as content.
pub(crate) fn blocks(stream: &Stream<'_>) -> Result<Vec<Block>, MetadataError> {
    let mut blocks = Vec::new();
    for document in 0..stream.documents().len() {
        let (mac, last_modified, whole_mac) = match stream.syntax() {
            Syntax::Dotenv => {
                let Some(root) = stream.documents()[document].root else {
                    continue;
                };
                let of = |name: &str| tree::member(stream, root, &format!("{DOTENV_PREFIX}{name}"));
                (of("mac"), of("lastmodified"), of(whole_mac::FIELD))
            }
            _ => {
                let Some(node) = find(stream, document)? else {
                    continue;
                };
                let of = |name| member(stream, node, name);
                (of("mac"), of("lastmodified"), of(whole_mac::FIELD))
            }
        };
        blocks.push(Block {
            document,
            mac,
            last_modified,
            whole_mac,
        });
    }
    Ok(blocks)
}

/// Writes `mac` and `lastmodified` into every block.
pub(crate) fn set_mac(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mac: &str,
    last_modified: &str,
) -> Result<(), MetadataError> {
    let mut written = HashSet::new();
    for block in blocks(stream)? {
        for (node, text) in [(block.mac, mac), (block.last_modified, last_modified)] {
            // One node may be the block of several documents, through an alias.
            if let Some(node) = node.filter(|node| written.insert(*node)) {
                yaml::set_scalar(stream, edits, node, text, true);
            }
        }
    }
    Ok(())
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
    pub(crate) groups: &'m [Vec<KeyEntry>],
    /// How many groups are needed; written where there are several.
    pub(crate) threshold: usize,
    pub(crate) last_modified: &'m str,
    pub(crate) mac: &'m str,
    /// `None` writes none: the binary store (13).
    pub(crate) selection: Option<&'m Selection>,
    pub(crate) mac_only_encrypted: bool,
    /// Leaves a place for the whole-file MAC.
    pub(crate) whole_mac: bool,
}

impl NewMetadata<'_> {
    /// Returns the block as a tree whose keys are sorted at every level, as 3.13 writes (7.2).
    pub(crate) fn to_value(&self, syntax: Syntax) -> yaml::Value {
        let string = |text: &str| yaml::Value::Str(text.to_owned());
        let mut fields = match self.groups {
            [group] => lists(group, false),
            groups => {
                let groups = groups.iter();
                let groups = groups.map(|group| yaml::Value::Map(lists(group, true)));
                let threshold = i64::try_from(self.threshold).unwrap_or(i64::MAX);
                vec![
                    ("key_groups".to_owned(), yaml::Value::Seq(groups.collect())),
                    ("shamir_threshold".to_owned(), yaml::Value::Int(threshold)),
                ]
            }
        };
        fields.push((
            "lastmodified".to_owned(),
            yaml::Value::Quoted(self.last_modified.to_owned()),
        ));
        fields.push(("mac".to_owned(), string(self.mac)));
        if let Some((name, text)) = self.selection.and_then(Selection::setting) {
            fields.push((name.to_owned(), string(text)));
        }
        if self.mac_only_encrypted {
            fields.push(("mac_only_encrypted".to_owned(), yaml::Value::Bool(true)));
        }
        if self.whole_mac {
            let place = string(whole_mac::PLACEHOLDER);
            fields.push((whole_mac::FIELD.to_owned(), place));
        }
        let version = match syntax {
            // The mark of signed_by_style.
            Syntax::Yaml => yaml::Value::Raw(format!("'{FORMAT_VERSION}'")),
            _ => string(FORMAT_VERSION),
        };
        fields.push(("version".to_owned(), version));
        fields.sort_by(|one, two| one.0.cmp(&two.0));
        yaml::Value::Map(fields)
    }
}

/// Returns the key lists of one group, sorted. Within `key_groups` sops writes `age` and `hc_vault`
/// even when they are empty (7.2).
pub(crate) fn lists(group: &[KeyEntry], in_groups: bool) -> Vec<(String, yaml::Value)> {
    let mut lists = Vec::new();
    for kind in KeyKind::ALL {
        let entries = group.iter().filter(|entry| entry.kind == kind);
        let entries: Vec<yaml::Value> = entries.map(entry_value).collect();
        let always = in_groups && matches!(kind, KeyKind::Age | KeyKind::HcVault);
        if always || !entries.is_empty() {
            lists.push((kind.name().to_owned(), yaml::Value::Seq(entries)));
        }
    }
    lists.sort_by(|one, two| one.0.cmp(&two.0));
    lists
}

/// Returns an entry as a mapping with sorted keys.
pub(crate) fn entry_value(entry: &KeyEntry) -> yaml::Value {
    let string = |(name, text): (&String, &String)| (name.clone(), yaml::Value::Str(text.clone()));
    let fields = entry.fields.iter().map(|(name, text)| (name, text));
    let mut pairs: Vec<_> = fields.map(string).collect();
    if !entry.context.is_empty() {
        let context = entry.context.iter().map(string).collect();
        pairs.push(("context".to_owned(), yaml::Value::Map(context)));
    }
    pairs.sort_by(|one, two| one.0.cmp(&two.0));
    yaml::Value::Map(pairs)
}

/// Columns per level of the metadata block: sops's default (sops-format.md 11.5).
pub(crate) const INDENT: usize = 4;

/// Appends a block to every document that can hold one; dotenv and INI get it flattened.
///
/// A document after the first that is empty or null stays as it is: sops reads the metadata of the
/// first document only, and there is nothing in them to encrypt (0003-sops-layout.md).
pub(crate) fn append(
    stream: &Stream<'_>,
    edits: &mut Edits,
    block: &yaml::Value,
    indent: usize,
) -> Result<(), yaml::EntryError> {
    for (index, document) in stream.documents().iter().enumerate() {
        let bare = document.root.is_none_or(|root| is_null(stream, root));
        if index == 0 || !bare {
            yaml::append_entry(stream, edits, index, SOPS_KEY, block, indent)?;
        }
    }
    Ok(())
}

/// Finds the value of the top-level `sops` key of a document.
pub(crate) fn find(stream: &Stream<'_>, document: usize) -> Result<Option<NodeId>, MetadataError> {
    let Some(root) = stream.documents().get(document).and_then(|d| d.root) else {
        return Ok(None);
    };
    let mut found = None;
    for (key, value) in stream.entries(root) {
        if tree::key_text(stream, key).is_none_or(|text| text != SOPS_KEY) {
            continue;
        }
        // What is left out of the tree, of both MACs and of the output has to be one thing to everybody.
        let node = stream.node(key);
        if node.kind != Kind::Scalar || node.value != SOPS_KEY || node.properties.is_some() {
            let line = tree::line_of(stream, key);
            return Err(MetadataError::Spelling { line });
        }
        if found.is_some() {
            let line = tree::line_of(stream, key);
            let name = SOPS_KEY.to_owned();
            return Err(MetadataError::Duplicate { line, name });
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

/// Returns the value node of a field of the block; names match whatever their case (7.3).
fn member(stream: &Stream<'_>, mapping: NodeId, name: &str) -> Option<NodeId> {
    let mut entries = stream.entries(mapping);
    let found = entries.find(|(key, _)| {
        let key = tree::key_text(stream, *key);
        key.is_some_and(|key| key.eq_ignore_ascii_case(name))
    });
    found.map(|(_, value)| stream.target(value))
}

/// Reads the lists of one group, or of the block itself.
fn read_keys(group: &Meta) -> Result<Vec<KeyEntry>, MetadataError> {
    let mut keys = Vec::new();
    for kind in KeyKind::ALL {
        if let Some(list) = group.get(kind.name()) {
            for entry in list.mappings(kind.name())? {
                keys.push(read_entry(entry, kind)?);
            }
        }
    }
    Ok(keys)
}

/// Reads one entry; the one mapping it may hold is the `context` of kms. `created_at`, where it is
/// there, must be a time (7.3).
fn read_entry(meta: &Meta, kind: KeyKind) -> Result<KeyEntry, MetadataError> {
    let mut entry = KeyEntry {
        kind,
        fields: Vec::new(),
        context: BTreeMap::new(),
    };
    let What::Map(fields) = &meta.what else {
        return Ok(entry);
    };
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        match (&value.what, name.as_str()) {
            (What::Map(pairs), "context") => {
                for (key, inner) in pairs {
                    let text = inner
                        .text()
                        .ok_or_else(|| inner.error("context", "holds more than texts"))?;
                    entry.context.insert(key.clone(), text.to_owned());
                }
            }
            // Unknown lists and mappings stay in the file and mean nothing here.
            (What::Map(_) | What::List(_), other) if !KNOWN_FIELDS.contains(&other) => {}
            _ => {
                let text = value
                    .text()
                    .ok_or_else(|| value.error(&name, "is not a text"))?;
                let is_time = name != "created_at" || rfc3339::to_seconds(text).is_some();
                if !is_time && !text.is_empty() {
                    return Err(value.error(&name, "is not an RFC 3339 time"));
                }
                if value.what != What::Null {
                    entry.fields.push((name, text.to_owned()));
                }
            }
        }
    }
    Ok(entry)
}

/// Every field of every kind of entry (8), all texts but the context.
const KNOWN_FIELDS: &[&str] = &[
    "arn",
    "role",
    "context",
    "aws_profile",
    "created_at",
    "enc",
    "resource_id",
    "key_id",
    "vault_url",
    "name",
    "version",
    "vault_address",
    "engine_path",
    "key_name",
    "fp",
    "recipient",
];

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
        assert_eq!(metadata.keys().count(), 1);
        assert_eq!(metadata.groups[0][0].id(), "age1x");
        assert_eq!(metadata.groups[0][0].field("enc"), Some("abc\n"));
        assert_eq!(metadata.selection, Selection::default());
        assert!(!metadata.mac_only_encrypted && !metadata.own_spelling);

        // Explicit empty lists (3.9), odd case, a single mapping for a list, unquoted time, unknown keys.
        let metadata = read(
            "sops:\n  kms: []\n  gcp_kms:\n  Age: {Recipient: age1x, enc: x}\n  new_thing: {}\n  \
             lastmodified: 2026-01-02T03:04:05.678+00:00\n  mac_only_encrypted: \"true\"\n  \
             encrypted_regex: ^a$\n  version: '3.13.3'\n",
        )
        .unwrap();
        assert_eq!(metadata.groups[0][0].field("recipient"), Some("age1x"));
        assert_eq!(metadata.last_modified, "2026-01-02T03:04:05Z");
        assert_eq!(metadata.mac, "");
        assert_eq!(
            metadata.selection.setting(),
            Some(("encrypted_regex", "^a$"))
        );
        assert!(metadata.mac_only_encrypted && metadata.own_spelling);
    }

    #[test]
    fn key_groups_are_read_where_there_are_no_flat_lists() {
        let group = "  - age:\n    - {recipient: age1x, enc: x}\n    hc_vault: []\n";
        let one = read(&format!("sops:\n  key_groups:\n{group}{REST}")).unwrap();
        assert_eq!((one.groups.len(), one.keys().count()), (1, 1));
        let two = read(&format!(
            "sops:\n  shamir_threshold: \"0x2\"\n  key_groups:\n{group}{group}{REST}"
        ))
        .unwrap();
        assert_eq!((two.groups.len(), two.threshold), (2, 2));
        let both = read(&format!("sops:\n{AGE}  key_groups:\n{group}{group}{REST}")).unwrap();
        assert_eq!(both.groups.len(), 1);
    }

    #[test]
    fn an_entry_has_its_context_and_unknown_parts_do_no_harm() {
        let metadata = read(
            "sops:\n  kms:\n  - arn: a\n    context: {env: prod, n: 5}\n    future: [1, {a: b}]\n    \
             aws_profile: ''\n    created_at: 2026-01-02T03:04:05Z\n    role: null\n  \
             lastmodified: \"2026-01-02T03:04:05Z\"\n",
        )
        .unwrap();
        let entry = &metadata.groups[0][0];
        let context: Vec<(&str, &str)> = entry
            .context
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(context, [("env", "prod"), ("n", "5")]);
        assert_eq!(entry.field("role"), None);
        assert_eq!(entry.field("aws_profile"), Some(""));
    }

    #[test]
    fn versions_are_checked_as_sops_checks_them() {
        let version = |text: &str| {
            let rest = REST.replace("3.9.0", text);
            read(&format!("sops:\n{AGE}{rest}"))
        };
        for good in ["3.13.3", "v3.9.0", "1.14", "3.13.0-rc.1", "2.0.0+x"] {
            version(good).unwrap().check_version().unwrap();
        }
        for bad in ["\"\"", "\"3.9\"", "3.9.0.1", "03.1.1", "x"] {
            let metadata = version(bad).unwrap();
            assert!(metadata.check_version().is_err(), "{bad}");
        }
        assert_eq!(
            version("4.0.0").unwrap_err(),
            MetadataError::Newer("4.0.0".to_owned())
        );
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
                "line 2: `sops` of the sops metadata is there twice",
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
            groups: &[vec![entry]],
            threshold: 0,
            last_modified: "2026-01-02T03:04:05Z",
            mac: "ENC[m]",
            selection: Some(&Selection::default()),
            mac_only_encrypted: true,
            whole_mac: true,
        }
        .to_value(Syntax::Yaml);
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
                "selkie_mac",
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

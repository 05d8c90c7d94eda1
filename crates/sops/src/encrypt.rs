//! Encrypting a clear file: every byte outside the selected leaves stays (design.md, data flow).
//!
//! Two passes. The first puts ciphertext in the place of the selected values and appends the
//! metadata block. The second reads the result as sops will: it encrypts the comments under the
//! paths they have there (the appended block can change which node go-yaml gives a comment to),
//! and opens every value again, so that no file leaves that would not read back.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use selkie_text::yaml::{self, Edits, Kind as NodeKind, NodeId, Stream, Style};
use zeroize::Zeroizing;

use crate::binary::encrypt_binary;
use crate::cipher::{Cipher, Ivs, Kind};
use crate::data_key::{self, GroupError};
use crate::format::{self, Format};
use crate::keys::{DataKey, KeyEntry, MasterKey, RandomError};
use crate::mac::Mac;
use crate::manifest::{self, CheckError, RepeatedValue};
use crate::metadata::{self, Metadata, MetadataError, NewMetadata};
use crate::open::{self, OpenError, Opened};
use crate::rfc3339;
use crate::selection::Selection;
use crate::tree::{self, TreeError, What};
use crate::value::Value;
use crate::whole_mac;

/// How a clear file is to be encrypted.
pub struct EncryptPlan<'a> {
    /// Whom the data key is wrapped for, group by group; all must succeed. With several groups it is
    /// split over them (sops-format.md 10).
    pub groups: Vec<Vec<&'a dyn MasterKey>>,
    /// How many groups are needed to decrypt; all of them where it is absent.
    pub threshold: Option<usize>,
    /// Which leaves are encrypted.
    pub selection: Selection,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// Whether the file gets a whole-file MAC (docs/format.md), which no program but Selkie checks.
    pub whole_mac: bool,
    /// The time written as `lastmodified`.
    pub now: jiff::Timestamp,
}

/// What became of a file that was to be encrypted.
#[derive(Debug)]
pub enum Encryption {
    /// It is encrypted now.
    Encrypted(Encrypted),
    /// It was before, and is untouched.
    AlreadyEncrypted(AlreadyEncrypted),
}

/// An encrypted file.
pub struct Encrypted {
    /// The whole file.
    pub text: String,
    /// How many values were encrypted.
    pub values: usize,
    /// How many comments were encrypted.
    pub comments: usize,
}

impl fmt::Debug for Encrypted {
    /// Leaves the text out: its clear part is nobody's business in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("values", &self.values)
            .field("comments", &self.comments)
            .finish_non_exhaustive()
    }
}

/// A file that has metadata already.
#[derive(Debug)]
pub struct AlreadyEncrypted {
    /// Leaves that the file's own rule selects and that are clear: somebody added them by hand.
    pub clear: Vec<ClearLeaf>,
    /// Whom the file is encrypted for.
    pub keys: Vec<KeyEntry>,
}

/// A value that should be encrypted and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearLeaf {
    /// Its path, for a message.
    pub path: String,
    /// Its 1-based line.
    pub line: usize,
}

/// Why a file is not encrypted. No variant holds a value of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// Not of the format it is said to be.
    #[error(transparent)]
    Parse(#[from] yaml::ParseError),
    /// Not a tree that sops could hold.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Two keys of one mapping are the same.
    #[error(
        "line {line}: the key is there twice in its mapping (first on line {first}); remove one"
    )]
    DuplicateKey {
        /// Line of the later key.
        line: usize,
        /// Line of the earlier one.
        first: usize,
    },
    /// The file has a `sops` key, which is reserved, and that is not metadata.
    #[error("the top-level key `sops` is reserved for metadata, and is something else here: {0}")]
    Metadata(MetadataError),
    /// The same in a document after the first.
    #[error(
        "line {line}: the top-level key `sops` is reserved for metadata, but the first document has none"
    )]
    ReservedKey {
        /// Line of the key's value.
        line: usize,
    },
    /// The first document is a bare `null`, which has no place for the metadata.
    #[error("line {line}: the first document is null, so the metadata has no place; remove it")]
    NullDocument {
        /// Line of the null.
        line: usize,
    },
    /// The data key cannot be wrapped for the key groups.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// The rule names nothing in this file, so it would stay in clear.
    #[error("the rule `{rule}` matches nothing in this file, so nothing would be encrypted")]
    NothingSelected {
        /// The setting and its text.
        rule: String,
    },
    /// A Secret repeats a value in a part that stays clear.
    #[error(transparent)]
    Repeated(#[from] RepeatedValue),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The ciphertext of a comment would be taken for a marker when it is read.
    #[error(
        "line {line}: the encrypted form of this comment matches unencrypted_comment_regex itself; \
         make the expression stricter"
    )]
    MarkerMatchesCiphertext {
        /// Line of the comment.
        line: usize,
    },
    /// The format of the encrypted file has no place for the value.
    #[error("the other format cannot hold the file: {0}; give another output type")]
    Unwritable(String),
    /// The metadata has no place in a document.
    #[error(transparent)]
    Entry(#[from] yaml::EntryError),
    /// The copy of an alias is too large.
    #[error(transparent)]
    Expand(#[from] yaml::ExpandError),
    /// Two things that change stand at one place.
    #[error(transparent)]
    Overlap(#[from] yaml::OverlapError),
    /// An alias stands for an encrypted value in a place that the rule leaves clear, so its copy
    /// would show the value (sops writes it).
    #[error(
        "line {line}: the alias repeats a value that is encrypted elsewhere, but would stay clear \
         here; make the rule select this place too, or remove the alias"
    )]
    CopyStaysClear {
        /// Line of the alias.
        line: usize,
    },
    /// The result would not read back: nothing is written.
    #[error(
        "the encrypted file would not decrypt to the same values ({0}); nothing was changed. \
         This is a defect of Selkie: please report the layout of the file, without its values"
    )]
    SelfCheck(String),
}

/// How often aliases are expanded anew before giving up.
const MAX_ALIAS_ROUNDS: usize = 16;

/// Encrypts `source` under a new data key, or says that it is encrypted already.
///
/// Nothing is returned unless the result, read again, gives the same values and the same MAC.
pub fn encrypt(
    source: &str,
    format: Format,
    plan: &EncryptPlan<'_>,
) -> Result<Encryption, EncryptError> {
    if format == Format::Binary {
        return encrypt_binary(source.as_bytes(), plan);
    }
    let stream = format.parse(source)?;
    if let Some(found) = already_encrypted(&stream)? {
        return Ok(Encryption::AlreadyEncrypted(found));
    }
    if plan.groups.iter().all(Vec::is_empty) {
        return Err(GroupError::None.into());
    }
    if format == Format::Yaml {
        check_documents(&stream)?;
    }
    manifest::check_repeats(&stream, &plan.selection).map_err(|error| match error {
        CheckError::Tree(error) => EncryptError::Tree(error),
        CheckError::Repeated(error) => EncryptError::Repeated(error),
    })?;
    let encrypted = match expand_aliases(&stream, &plan.selection)? {
        None => encrypt_stream(&stream, plan)?,
        Some(text) => {
            let expanded = format.parse(&text)?;
            check_copies(&stream, &expanded, &plan.selection)?;
            encrypt_stream(&expanded, plan)?
        }
    };
    Ok(Encryption::Encrypted(encrypted))
}

/// Looks for metadata, and for leaves that were forgotten in clear.
fn already_encrypted(stream: &Stream<'_>) -> Result<Option<AlreadyEncrypted>, EncryptError> {
    let metadata = match Metadata::read(stream) {
        Ok(metadata) => metadata,
        Err(MetadataError::NotFound) => {
            let reserved =
                (0..stream.documents().len()).find_map(|n| metadata::sops_key_line(stream, n));
            return reserved.map_or(Ok(None), |line| Err(EncryptError::ReservedKey { line }));
        }
        Err(error) => return Err(EncryptError::Metadata(error)),
    };
    let clear = open::clear_leaves(stream, &metadata.selection)?;
    Ok(Some(AlreadyEncrypted {
        clear,
        keys: metadata.keys().cloned().collect(),
    }))
}

/// Refuses duplicate keys, which sops notices in the first document only, and a first document
/// without a place for the metadata.
pub(crate) fn check_documents(stream: &Stream<'_>) -> Result<(), EncryptError> {
    for document in 0..stream.documents().len() {
        if let Some(keys) = stream.duplicate_key(document) {
            return Err(EncryptError::DuplicateKey {
                line: tree::line_of(stream, keys.second),
                first: tree::line_of(stream, keys.first),
            });
        }
    }
    match stream.documents().first().and_then(|first| first.root) {
        Some(root) if is_null(stream, root) => Err(EncryptError::NullDocument {
            line: tree::line_of(stream, root),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn is_null(stream: &Stream<'_>, node: NodeId) -> bool {
    stream.node(node).kind == NodeKind::Scalar
        && matches!(stream.resolve(node), Ok(yaml::Scalar::Null))
}

/// Writes out every alias beneath which a leaf is encrypted, here or at its anchor: the path is in
/// the additional data, so one ciphertext cannot stand in two places. Other aliases stay.
pub(crate) fn expand_aliases(
    stream: &Stream<'_>,
    rule: &Selection,
) -> Result<Option<Zeroizing<String>>, EncryptError> {
    if !stream.nodes().any(|(_, node)| node.kind == NodeKind::Alias) {
        return Ok(None);
    }
    let limits = yaml::Limits::default();
    let mut text: Option<Zeroizing<String>> = None;
    for _ in 0..MAX_ALIAS_ROUNDS {
        let next = match &text {
            None => expand_once(stream, rule)?,
            Some(text) => expand_once(&yaml::parse(text, &limits)?, rule)?,
        };
        match next {
            None => return Ok(text),
            Some(next) => text = Some(next),
        }
    }
    Err(EncryptError::SelfCheck(
        "aliases nested too deep".to_owned(),
    ))
}

fn expand_once(
    stream: &Stream<'_>,
    rule: &Selection,
) -> Result<Option<Zeroizing<String>>, EncryptError> {
    let mut encrypted: HashSet<NodeId> = HashSet::new();
    let mut comments: HashSet<usize> = HashSet::new();
    let mut aliases: BTreeSet<NodeId> = BTreeSet::new();
    tree::walk(stream, rule, |leaf| {
        match (leaf.what, leaf.alias) {
            // Nulls and empty texts are never encrypted.
            (What::Scalar(node), alias) => {
                let value = tree::value_of(stream, node, || leaf.path())?;
                let is_empty = value.is_none_or(|value| value.is_empty_text());
                match alias {
                    _ if is_empty => {}
                    None if leaf.selected => {
                        encrypted.insert(node);
                    }
                    Some(alias) if leaf.selected || encrypted.contains(&node) => {
                        aliases.insert(alias);
                    }
                    _ => {}
                }
            }
            (What::Comment(comment), None) if leaf.selected => {
                comments.insert(comment.span.start);
            }
            (What::Comment(comment), Some(alias))
                if comment.span.len() > 1
                    && (leaf.selected || comments.contains(&comment.span.start)) =>
            {
                aliases.insert(alias);
            }
            _ => {}
        }
        Ok::<(), EncryptError>(())
    })?;
    // A key may be an alias too; its text must not become ciphertext.
    for (id, node) in stream.nodes() {
        let keys = stream.entries(id).map(|(key, _)| key);
        if node.kind == NodeKind::Mapping {
            aliases.extend(keys.filter(|key| {
                let target = stream.node(*key).target;
                target.is_some_and(|target| encrypted.contains(&target))
            }));
        }
    }
    if aliases.is_empty() {
        return Ok(None);
    }
    let mut edits = Edits::new();
    for alias in aliases {
        yaml::expand_alias(stream, &mut edits, alias)?;
    }
    Ok(Some(edits.try_apply(stream.source())?))
}

/// Refuses to write in clear, as the copy of an alias, what is encrypted at its anchor: by the path
/// of the alias, or because the comment that hides it is not in the copy.
pub(crate) fn check_copies(
    stream: &Stream<'_>,
    expanded: &Stream<'_>,
    rule: &Selection,
) -> Result<(), EncryptError> {
    let mut encrypted: HashSet<NodeId> = HashSet::new();
    let mut leaves = Vec::new();
    tree::walk(stream, rule, |leaf| {
        if let What::Scalar(node) = leaf.what {
            let hidden = leaf.selected || (leaf.alias.is_some() && encrypted.contains(&node));
            if leaf.selected && leaf.alias.is_none() {
                encrypted.insert(node);
            }
            let line = leaf.alias.map(|alias| tree::line_of(stream, alias));
            let empty = stream.node(node).value.is_empty() || is_null(stream, node);
            leaves.push((hidden && !empty, line));
        }
        Ok::<(), EncryptError>(())
    })?;
    let mut leaves = leaves.into_iter();
    tree::walk(expanded, rule, |leaf| {
        if let What::Scalar(_) = leaf.what
            && let Some((true, Some(line))) = leaves.next()
            && !leaf.selected
        {
            return Err(EncryptError::CopyStaysClear { line });
        }
        Ok(())
    })
}

fn encrypt_stream(stream: &Stream<'_>, plan: &EncryptPlan<'_>) -> Result<Encrypted, EncryptError> {
    let key = DataKey::generate()?;
    let cipher = Cipher::new(&key);
    let mut ivs = Ivs::new();
    let mut edits = Edits::new();
    let (mac, values, clear) = encrypt_values(stream, plan, &cipher, &mut ivs, &mut edits)?;
    append_metadata(stream, plan, &key, &mac, &mut ivs, &mut edits)?;
    let text = edits.try_apply(stream.source())?;

    let layout = format::parse(stream.syntax(), &text)
        .map_err(|error| EncryptError::SelfCheck(error.to_string()))?;
    let mut edits = Edits::new();
    let (read_back, comments) = encrypt_comments(&layout, plan, &cipher, &mut ivs, &mut edits)?;
    if read_back != (mac, values) {
        return Err(EncryptError::SelfCheck("another MAC".to_owned()));
    }
    // A comment alone does not count where values stay clear: they are what the rule was meant for.
    let nothing = values == 0 && (comments == 0 || clear > 0);
    if nothing && !plan.selection.may_match_nothing() {
        let (name, rule) = plan.selection.setting().unwrap_or_default();
        return Err(EncryptError::NothingSelected {
            rule: format!("{name}: {rule}"),
        });
    }
    drop(layout);
    let mut text = if edits.is_empty() {
        text
    } else {
        edits.try_apply(&text)?
    };
    let mut text = std::mem::take(&mut *text);
    if plan.whole_mac {
        text = whole_mac::seal(text, Format::of_syntax(stream.syntax()), &key)?;
    }
    Ok(Encrypted {
        text,
        values,
        comments,
    })
}

/// First pass: ciphertext in the place of every selected value. Returns the MAC, and how many values
/// are encrypted and clear.
pub(crate) fn encrypt_values(
    stream: &Stream<'_>,
    plan: &EncryptPlan<'_>,
    cipher: &Cipher<'_>,
    ivs: &mut Ivs,
    edits: &mut Edits,
) -> Result<(String, usize, usize), EncryptError> {
    let mut mac = Mac::new(plan.mac_only_encrypted);
    let (mut values, mut clear) = (0, 0);
    tree::walk(stream, &plan.selection, |leaf| {
        let What::Scalar(node) = leaf.what else {
            return Ok::<(), EncryptError>(());
        };
        let Some(value) = tree::value_of(stream, node, || leaf.path())? else {
            return Ok(());
        };
        mac.add(&value, leaf.selected);
        if value.is_empty_text() {
            return Ok(());
        }
        if leaf.selected {
            tree::check_nothing_behind(stream, node, || leaf.path())?;
            encrypt_value(stream, node, &value, leaf.aad, cipher, ivs, edits)?;
            values += 1;
        } else {
            clear += 1;
        }
        Ok(())
    })?;
    Ok((mac.finish(), values, clear))
}

/// Puts ciphertext in the place of one value.
pub(crate) fn encrypt_value(
    stream: &Stream<'_>,
    node: NodeId,
    value: &Value<'_>,
    aad: &str,
    cipher: &Cipher<'_>,
    ivs: &mut Ivs,
    edits: &mut Edits,
) -> Result<(), RandomError> {
    let token = cipher.encrypt(&plaintext(stream, node, value), aad, value.kind(), ivs)?;
    // A core tag other than !!str would claim a type that the ciphertext has not.
    let keep_tag = stream.node(node).tag.as_deref().is_some_and(|tag| {
        tag.strip_prefix("tag:yaml.org,2002:")
            .is_none_or(|name| name == "str")
    });
    yaml::set_token(stream, edits, node, &token, keep_tag);
    Ok(())
}

/// Returns what is encrypted: the value in its author's spelling where Go parses that to the same
/// value (`1.50`, `TRUE`, `+05`), so that it comes back as it was; else the canonical bytes.
pub(crate) fn plaintext(
    stream: &Stream<'_>,
    node: NodeId,
    value: &Value<'_>,
) -> Zeroizing<Vec<u8>> {
    let node = stream.node(node);
    let spelling = node.value.as_bytes();
    let number = matches!(value.kind(), Kind::Int | Kind::Float | Kind::Bool);
    if number && node.style == Style::Plain && node.tag.is_none() {
        let parsed = Value::parse(spelling, value.kind());
        if parsed.is_ok_and(|parsed| parsed.same_as(value)) {
            return Zeroizing::new(spelling.to_vec());
        }
    }
    value.bytes()
}

/// Wraps the data key, encrypts the MAC, and appends the metadata block.
fn append_metadata(
    stream: &Stream<'_>,
    plan: &EncryptPlan<'_>,
    key: &DataKey,
    mac: &str,
    ivs: &mut Ivs,
    edits: &mut Edits,
) -> Result<(), EncryptError> {
    let wrapped = data_key::wrap(key, &plan.groups, plan.threshold)?;
    let now = rfc3339::of(plan.now);
    let mac = Cipher::new(key).encrypt(mac.as_bytes(), &now, Kind::Str, ivs)?;
    let block = NewMetadata {
        groups: &wrapped.groups,
        threshold: wrapped.threshold,
        last_modified: &now,
        mac: &mac,
        selection: Some(&plan.selection),
        mac_only_encrypted: plan.mac_only_encrypted,
        whole_mac: plan.whole_mac,
    }
    .to_value(stream.syntax());
    metadata::append(stream, edits, &block, metadata::INDENT)?;
    Ok(())
}

/// Second pass, on the text with ciphertext and metadata: encrypts the comments where they stand
/// now, and opens every value. Returns the MAC and count of the values, and the comments' count.
pub(crate) fn encrypt_comments(
    stream: &Stream<'_>,
    plan: &EncryptPlan<'_>,
    cipher: &Cipher<'_>,
    ivs: &mut Ivs,
    edits: &mut Edits,
) -> Result<((String, usize), usize), EncryptError> {
    let mut mac = Mac::new(plan.mac_only_encrypted);
    let (mut values, mut comments) = (0, 0);
    tree::walk(stream, &plan.selection, |leaf| {
        if let What::Comment(comment) = leaf.what {
            let text = &stream.comment_text(comment);
            // A comment met through an alias is edited where it stands.
            if leaf.selected && !text.is_empty() && leaf.alias.is_none() {
                let token = cipher.encrypt(text.as_bytes(), leaf.aad, Kind::Comment, ivs)?;
                if plan.selection.marks_ciphertext(&token) {
                    return Err(EncryptError::MarkerMatchesCiphertext { line: leaf.line() });
                }
                yaml::set_comment(stream, edits, comment, &token);
                comments += 1;
            }
            return Ok(());
        }
        let opened = open::open(stream, &leaf, cipher)
            .map_err(|error: OpenError| EncryptError::SelfCheck(error.to_string()))?;
        match opened {
            Opened::Value(_, value, _) => {
                mac.add(&value, true);
                values += 1;
            }
            Opened::Kept(Some(value)) => mac.add(&value, leaf.selected),
            Opened::Kept(None) => {}
            _ => {
                let what = format!("line {}: {} would stay clear", leaf.line(), leaf.path());
                return Err(EncryptError::SelfCheck(what));
            }
        }
        Ok(())
    })?;
    Ok(((mac.finish(), values), comments))
}

#[cfg(test)]
#[path = "encrypt_tests.rs"]
pub(crate) mod tests;

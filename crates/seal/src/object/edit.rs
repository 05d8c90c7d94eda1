//! Changing SealedSecrets in their manifest: new ciphertext, more values; every other byte stays.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use selkie_text::yaml::{Kind, Limits, NodeId, Scalar, Stream};
use selkie_text::{
    EditError, Edits, Syntax, Value, WriteError, insert_entry, set_scalar, set_value,
};

use super::canonical::natural;
use super::pieces::Piece;
use super::sealed::{ReadSealedError, SealedItem, SealedSecret, of_stream};
use crate::manifest::SealManifestError;
use crate::manifest::nodes::{Field, Reader};
use crate::{
    Certificate, Fingerprint, OpenError, PrivateKeys, SealError, decode_value, encode_value,
    seal_value,
};

/// A manifest with new ciphertext in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The whole manifest.
    pub text: String,
    /// How many SealedSecrets it has.
    pub objects: usize,
    /// How many values changed.
    pub values: usize,
}

/// What is added to a SealedSecret; an entry of the same key is replaced.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Keys and base64 texts for `spec.encryptedData`.
    pub values: Vec<(String, String)>,
    /// For `spec.template.metadata.labels`.
    pub labels: Vec<(String, String)>,
    /// For `spec.template.metadata.annotations`.
    pub annotations: Vec<(String, String)>,
}

/// Why a manifest was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditManifestError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadSealedError),
    /// There has to be exactly one SealedSecret.
    #[error("the file holds {count} SealedSecrets; it has to be one")]
    Several {
        /// How many there are.
        count: usize,
    },
    /// A value cannot be written in its place.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Two values stand at one place.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The result would not read back: nothing is returned.
    #[error(
        "the changed SealedSecret would not read back as it was meant. This is a defect of Selkie: \
         please report the layout of the file"
    )]
    SelfCheck,
}

impl From<selkie_text::ParseError> for EditManifestError {
    fn from(error: selkie_text::ParseError) -> Self {
        Self::Read(error.into())
    }
}

/// Asks `new` for the ciphertext of every value of every SealedSecret of a manifest, and puts it in
/// place of the old one; `None` leaves the value. Bytes, comments and layout around stay.
///
/// The first error of `new` ends it.
pub fn replace_values<E: From<EditManifestError>>(
    source: &str,
    mut new: impl FnMut(&SealedSecret, &SealedItem) -> Result<Option<String>, E>,
) -> Result<Replaced, E> {
    let mut pieces = Vec::new();
    let (mut objects, mut values) = (0, 0);
    for piece in Piece::of(source) {
        let parsed = piece
            .parse(&Limits::default())
            .map_err(EditManifestError::from)?;
        let mut sealed = of_stream(&parsed, piece.lines_before).map_err(EditManifestError::from)?;
        let mut edits = Edits::new();
        for (at, secret) in sealed.iter_mut().enumerate() {
            secret.position = objects + at;
            let mut changed = HashMap::new();
            for item in secret.items() {
                let Some(text) = new(secret, item)? else {
                    continue;
                };
                if let Some(node) = item.node {
                    write(&parsed, &mut edits, node, &text)?;
                }
                changed.insert(item.key().to_owned(), text);
            }
            values += changed.len();
            secret.replace(|key| changed.get(key).cloned());
        }
        objects += sealed.len();
        pieces.push((piece.range.clone(), apply(&parsed, &edits, &sealed)?));
    }
    if objects == 0 {
        return Err(EditManifestError::from(ReadSealedError::Empty).into());
    }
    let text = joined(source, &pieces);
    Ok(Replaced {
        text,
        objects,
        values,
    })
}

/// Adds values, labels and annotations to the one SealedSecret of a manifest. Maps that are missing
/// are made; every other byte stays.
pub fn merge_into(source: &str, additions: &Additions) -> Result<String, EditManifestError> {
    let count = SealedSecret::read(source)?.len();
    if count != 1 {
        return Err(EditManifestError::Several { count });
    }
    let mut pieces = Vec::new();
    for piece in Piece::of(source) {
        let parsed = piece.parse(&Limits::default())?;
        let mut sealed = of_stream(&parsed, piece.lines_before)?;
        let mut edits = Edits::new();
        for secret in &mut sealed {
            let Some(root) = secret.root else { continue };
            let mut maps = vec![(&["spec", "encryptedData"][..], &additions.values)];
            let labels = &["spec", "template", "metadata", "labels"][..];
            let annotations = &["spec", "template", "metadata", "annotations"][..];
            maps.push((labels, &additions.labels));
            maps.push((annotations, &additions.annotations));
            maps.retain(|(_, entries)| !entries.is_empty());
            let maps: Vec<Addition<'_>> = maps
                .into_iter()
                .map(|(path, entries)| Addition { path, entries })
                .collect();
            add(&parsed, &mut edits, root, &maps)?;
            secret.add(additions);
        }
        pieces.push((piece.range.clone(), apply(&parsed, &edits, &sealed)?));
    }
    Ok(joined(source, &pieces))
}

/// Entries for the mapping at a path below a node.
struct Addition<'a> {
    path: &'a [&'static str],
    entries: &'a [(String, String)],
}

/// Goes down the paths together, so that a mapping that is missing is made once.
fn add(
    stream: &Stream<'_>,
    edits: &mut Edits,
    mapping: NodeId,
    additions: &[Addition<'_>],
) -> Result<(), EditManifestError> {
    let mapping = stream.target(mapping);
    let line = stream.node(mapping).line_number();
    let reader = Reader::new(stream, line);
    let fields = reader
        .fields(mapping, "the SealedSecret")
        .map_err(ReadSealedError::from)?;
    let named = |name: &str| fields.iter().find(|field| field.name == name);
    let is_filled = |field: &Field| stream.entries(field.value).next().is_some();
    let mut below = by_name(additions);
    // What is written deeper comes first: at the end of a file all of it goes to one place.
    below.sort_by_key(|(name, _)| match named(name) {
        Some(found) if is_filled(found) => 0,
        Some(_) => 1,
        None => 2,
    });
    for (name, additions) in &below {
        match named(name) {
            Some(found) if is_filled(found) => add(stream, edits, found.value, additions)?,
            // Null or `{}`.
            Some(found) => {
                let is_empty = stream.node(found.value).kind == Kind::Mapping
                    || matches!(stream.resolve(found.value), Ok(Scalar::Null));
                if !is_empty {
                    let line = stream.node(found.value).line_number();
                    let path = (*name).to_owned();
                    let error = SealManifestError::NotAMapping { line, path };
                    return Err(ReadSealedError::from(error).into());
                }
                set_value(stream, edits, found.written, &made(additions), INDENT)?;
            }
            None => insert_entry(stream, edits, mapping, name, &made(additions), None, INDENT)?,
        }
    }
    for addition in additions.iter().filter(|addition| addition.path.is_empty()) {
        let mut entries: Vec<&(String, String)> = addition.entries.iter().collect();
        entries.sort_by(|(a, _), (b, _)| order(stream, a, b));
        for (key, text) in entries {
            match named(key) {
                Some(field) => write(stream, edits, field.value, text)?,
                None => {
                    let value = Value::Str(text.clone());
                    let before = next_in_order(stream, &fields, key);
                    insert_entry(stream, edits, mapping, key, &value, before, INDENT)?;
                }
            }
        }
    }
    Ok(())
}

/// The additions below each name that comes next in their paths.
fn by_name<'a>(additions: &[Addition<'a>]) -> Vec<(&'static str, Vec<Addition<'a>>)> {
    let mut found: Vec<(&'static str, Vec<Addition<'a>>)> = Vec::new();
    for addition in additions {
        let Some((name, path)) = addition.path.split_first() else {
            continue;
        };
        let below = Addition {
            path,
            entries: addition.entries,
        };
        match found.iter_mut().find(|(known, _)| known == name) {
            Some((_, list)) => list.push(below),
            None => found.push((name, vec![below])),
        }
    }
    found
}

/// The entry that a new one goes before, so that what is in order stays in order; `None` for the end.
fn next_in_order<'f>(stream: &Stream<'_>, fields: &'f [Field], key: &str) -> Option<&'f str> {
    let in_order = fields.is_sorted_by(|a, b| order(stream, &a.name, &b.name).is_le());
    let later = fields
        .iter()
        .find(|field| order(stream, key, &field.name).is_lt());
    later.filter(|_| in_order).map(|field| field.name.as_str())
}

/// The order in which kubeseal writes the keys of a mapping.
fn order(stream: &Stream<'_>, a: &str, b: &str) -> Ordering {
    match stream.syntax() {
        Syntax::Json => a.cmp(b),
        _ => natural(a, b),
    }
}

/// The tree of a mapping that was not there.
fn made(additions: &[Addition<'_>]) -> Value {
    let mut entries: Vec<(String, Value)> = Vec::new();
    for addition in additions {
        if addition.path.is_empty() {
            let mut texts: Vec<&(String, String)> = addition.entries.iter().collect();
            texts.sort_by(|(a, _), (b, _)| natural(a, b));
            let texts = texts.into_iter();
            entries.extend(texts.map(|(key, text)| (key.clone(), Value::Str(text.clone()))));
        }
    }
    for (name, additions) in by_name(additions) {
        entries.push((name.to_owned(), made(&additions)));
    }
    Value::Map(entries)
}

fn write(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    text: &str,
) -> Result<(), EditManifestError> {
    if stream.node(node).kind == Kind::Scalar && !stream.node(node).span.is_empty() {
        set_scalar(stream, edits, node, text, false);
    } else {
        let value = Value::Str(text.to_owned());
        set_value(stream, edits, node, &value, INDENT)?;
    }
    Ok(())
}

/// Applies the edits of a piece and reads the result again.
fn apply(
    stream: &Stream<'_>,
    edits: &Edits,
    expected: &[SealedSecret],
) -> Result<String, EditManifestError> {
    let text = edits.try_apply(stream.source())?;
    let read = SealedSecret::read(&text).or_else(|error| match error {
        ReadSealedError::Empty => Ok(Vec::new()),
        error => Err(error),
    });
    let same = read.is_ok_and(|read| {
        read.len() == expected.len() && read.iter().zip(expected).all(|(a, b)| a.says_the_same(b))
    });
    match same {
        true => Ok(text.as_str().to_owned()),
        false => Err(EditManifestError::SelfCheck),
    }
}

fn joined(source: &str, pieces: &[(Range<usize>, String)]) -> String {
    let mut text = String::with_capacity(source.len());
    let mut at = 0;
    for (range, new) in pieces {
        text.push_str(&source[at..range.start]);
        text.push_str(new);
        at = range.end;
    }
    text.push_str(&source[at..]);
    text
}

impl SealedSecret {
    /// Adds in memory what [`merge_into`] adds to the text.
    pub fn add(&mut self, additions: &Additions) {
        for (key, text) in &additions.values {
            match self.items.iter_mut().find(|item| item.key() == key) {
                Some(item) => item.set_text(text.clone()),
                None => self.items.push(SealedItem::new(key.clone(), text.clone())),
            }
        }
        for (of, added) in [
            ("labels", &additions.labels),
            ("annotations", &additions.annotations),
        ] {
            let mut texts = self.template.texts(of);
            for (key, text) in added {
                match texts.iter_mut().find(|(name, _)| name == key) {
                    Some((_, known)) => known.clone_from(text),
                    None => texts.push((key.clone(), text.clone())),
                }
            }
            self.template.set(of, super::canonical::Node::texts(texts));
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let items = |of: &Self| {
            let mut items: Vec<(String, Option<String>)> = of
                .items
                .iter()
                .map(|item| (item.key().to_owned(), item.text().map(str::to_owned)))
                .collect();
            items.sort();
            items
        };
        self.metadata == other.metadata
            && self.template == other.template
            && self.template_data == other.template_data
            && self.kind == other.kind
            && self.immutable == other.immutable
            && items(self) == items(other)
    }
}

/// What [`reseal`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealing {
    /// The whole manifest.
    pub text: String,
    /// How many values are sealed anew.
    pub resealed: usize,
    /// How many were sealed for the certificate already, and stay.
    pub current: usize,
}

/// Why a manifest is not resealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResealError {
    /// It cannot be read or changed.
    #[error(transparent)]
    Manifest(#[from] EditManifestError),
    /// A value that no key opens.
    #[error("line {line}: {source}")]
    Open {
        /// Line of the value.
        line: usize,
        /// Which one, and why.
        source: OpenError,
    },
    /// A value cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Seals every value of a manifest anew for `certificate`, with keys that open it; offline.
///
/// The scope is that of the SealedSecret's own metadata, and metadata, type and templates stay as
/// they are: only values change (sealed-secrets.md 9.4). A value that opens with the certificate's
/// own key stays as it is, so that a second run changes nothing.
pub fn reseal(
    source: &str,
    certificate: &Certificate,
    keys: &PrivateKeys,
) -> Result<Resealing, ResealError> {
    let mut current = 0;
    let mut last = None;
    let newest: Fingerprint = certificate.fingerprint();
    let replaced = replace_values::<ResealError>(source, |secret, item| {
        let refused = |reason: String| ResealError::Open {
            line: item.line(),
            source: OpenError::Values(vec![super::Refusal {
                reason,
                keys: vec![item.key().to_owned()],
            }]),
        };
        let label = secret.label();
        let mut unsealer = keys.unsealer(&label, last);
        let sealed = decode_value(item.text().unwrap_or_default())
            .map_err(|error| refused(error.to_string()))?;
        let value = unsealer
            .unseal(&sealed)
            .map_err(|error| refused(error.to_string()))?;
        last = unsealer.fitting();
        if last == Some(newest) {
            current += 1;
            return Ok(None);
        }
        let sealed = seal_value(certificate, &label, value.expose())?;
        Ok(Some(encode_value(&sealed)))
    })?;
    Ok(Resealing {
        text: replaced.text,
        resealed: replaced.values,
        current,
    })
}

/// Columns per level of new YAML blocks.
const INDENT: usize = 2;

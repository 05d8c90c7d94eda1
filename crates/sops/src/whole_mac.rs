//! A MAC over a whole encrypted file, in a field of its own: `selkie_mac` (docs/format.md).
//!
//! The MAC of sops covers the values alone, one behind the other (sops-format.md 5.1). This one
//! covers keys, types, structure, comments and metadata as well, as they stand in the file, so that
//! nobody without the data key changes any of them. sops passes over the field, and drops it when
//! it writes the file.
//!
//! It says nothing about who wrote the file: whoever can read it can write it, and anybody can
//! encrypt another file for the same recipients.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use selkie_text::{Comment, Edits, Kind, NodeId, Stream, Style, Syntax};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cipher::Cipher;
use crate::decrypt::DecryptOptions;
use crate::edit::{Edited, OpenFile};
use crate::encrypt::EncryptError;
use crate::format::Format;
use crate::keys::DataKey;
use crate::metadata::{self, Metadata, MetadataError};
use crate::metadata_tree::{Meta, What, is_metadata_key};
use crate::rekey;
use crate::tree;

/// The field of the metadata block.
pub(crate) const FIELD: &str = "selkie_mac";

/// What stands in the field until the rest of the file is complete.
pub(crate) const PLACEHOLDER: &str = VERSION;

/// What the field begins with, before the first dot.
const VERSION: &str = "v1";

/// What the key is derived for: nothing else that is derived from a data key may have this label.
const KEY_LABEL: &[u8] = b"selkie_mac v1";

/// How many bytes of the MAC of each part are stored: they only tell what to look at.
const SHOWN: usize = 6;

/// Length of a MAC in bytes.
const LENGTH: usize = 32;

/// A part of a file that the MAC tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilePart {
    /// Keys, lists, documents: what the values hang on.
    Structure,
    /// The values, encrypted and clear, with their types.
    Values,
    /// Comments and where they stand.
    Comments,
    /// The `sops` block: recipients, wrapped keys, the rule, the time.
    Metadata,
}

impl FilePart {
    const ALL: [Self; 4] = [
        Self::Structure,
        Self::Values,
        Self::Comments,
        Self::Metadata,
    ];

    fn label(self) -> &'static [u8] {
        match self {
            Self::Structure => b"structure",
            Self::Values => b"values",
            Self::Comments => b"comments",
            Self::Metadata => b"metadata",
        }
    }
}

impl fmt::Display for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Structure => "keys or structure",
            Self::Values => "values or their types",
            Self::Comments => "comments",
            Self::Metadata => "sops metadata",
        })
    }
}

/// Why the whole-file MAC does not confirm a file. Holds no value of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WholeMacError {
    /// It is demanded, and there is none.
    #[error(
        "the file has no whole-file MAC (`{FIELD}`), which your environment or configuration \
         demands: it never had one, it was taken out, or sops wrote the file, which drops it"
    )]
    Absent,
    /// A newer program wrote it.
    #[error("the whole-file MAC is of version {0}; this program knows {VERSION}. Use a newer one")]
    Newer(String),
    /// The field holds something else.
    #[error("the whole-file MAC (`{FIELD}`) was damaged: it is not of the form {VERSION}.MAC")]
    Malformed,
    /// The file is another one.
    #[error(
        "whole-file MAC mismatch: {} changed since the file was written by whoever has its data key",
        named(.0)
    )]
    Changed(Vec<FilePart>),
    /// The file was written as another format than it is read as.
    #[error(
        "whole-file MAC mismatch: the file was written as {written} and is read as {read}; give it its \
         name back, or say the format with --input-type"
    )]
    Format {
        /// What it was written as.
        written: Format,
        /// What it is read as.
        read: Format,
    },
    /// Every part is as its own MAC has it, but they do not belong together.
    #[error(
        "whole-file MAC mismatch: the MAC itself was changed, or parts of several states of the \
         file were put together"
    )]
    Mixed,
    /// The metadata of a later document cannot be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

fn named(parts: &[FilePart]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    parts.join(", ")
}

/// Leaves of a file that the MAC is not to see: those that were added in clear, for the MAC of
/// the file as it was before.
#[derive(Debug, Default)]
pub(crate) struct Without {
    /// Scalars, with their keys; a container that holds nothing else is not seen either.
    pub(crate) scalars: HashSet<NodeId>,
    /// Comments, by where they begin.
    pub(crate) comments: HashSet<usize>,
}

/// Confirms a file. One without the field is confirmed unless the options demand one; one with it
/// is confirmed by the MAC, or unseen where they ignore MACs and demand none.
pub(crate) fn check(
    stream: &Stream<'_>,
    format: Format,
    metadata: &Metadata,
    cipher: &Cipher<'_>,
    options: &DecryptOptions,
) -> Result<(), WholeMacError> {
    match &metadata.whole_mac {
        None if options.require_whole_mac => Err(WholeMacError::Absent),
        None => Ok(()),
        Some(_) if options.ignore_mac && !options.require_whole_mac => Ok(()),
        Some(stored) => compare(stream, format, stored, cipher.key(), &Without::default()),
    }
}

/// Compares a stored MAC with that of the file.
pub(crate) fn compare(
    stream: &Stream<'_>,
    format: Format,
    stored: &str,
    key: &DataKey,
    without: &Without,
) -> Result<(), WholeMacError> {
    let stored = Stored::parse(stored)?;
    let found = Macs::of(stream, key, without)?;
    let is = |format: Format| found.whole(format, key).verify_slice(&stored.whole).is_ok();
    if is(format) {
        return Ok(());
    }
    if let Some(written) = Format::ALL.into_iter().find(|format| is(*format)) {
        return Err(WholeMacError::Format {
            written,
            read: format,
        });
    }
    let parts = FilePart::ALL.into_iter().zip(found.parts());
    let changed: Vec<FilePart> = parts
        .zip(&stored.parts)
        .filter(|((_, found), stored)| found[..SHOWN] != **stored)
        .map(|((part, _), _)| part)
        .collect();
    Err(match changed.is_empty() {
        true => WholeMacError::Mixed,
        false => WholeMacError::Changed(changed),
    })
}

/// Writes the MAC anew into every metadata block that has the field; a text without the field
/// comes back as it is. Nothing else of the text may change afterwards.
pub(crate) fn seal(text: String, format: Format, key: &DataKey) -> Result<String, EncryptError> {
    let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
    let stream = format.parse(&text).map_err(|error| failed(&error))?;
    let blocks = metadata::blocks(&stream).map_err(|error| failed(&error))?;
    let fields: HashSet<NodeId> = blocks.iter().filter_map(|block| block.whole_mac).collect();
    if fields.is_empty() {
        drop(stream);
        return Ok(text);
    }
    let macs = Macs::of(&stream, key, &Without::default()).map_err(|error| failed(&error))?;
    let stored = macs.to_field(format, key);
    let mut edits = Edits::new();
    for node in fields {
        selkie_text::set_scalar(&stream, &mut edits, node, &stored, true);
    }
    let mut sealed = edits.try_apply(&text).map_err(|error| failed(&error))?;
    let read = format.parse(&sealed).map_err(|error| failed(&error))?;
    compare(&read, format, &stored, key, &Without::default()).map_err(|error| failed(&error))?;
    drop(read);
    Ok(std::mem::take(&mut *sealed))
}

impl OpenFile<'_> {
    /// Returns whether the file has a whole-file MAC.
    pub fn has_whole_mac(&self) -> bool {
        self.metadata.whole_mac.is_some()
    }

    /// Gives the file a whole-file MAC; values, wrapped keys and the MAC of sops stay as they are.
    ///
    /// From here on the file is trusted as it stands: the caller decides that, not the file.
    pub fn with_whole_mac(&self) -> Result<Edited, EncryptError> {
        if self.has_whole_mac() {
            return Ok(Edited::Unchanged);
        }
        let mut block = self.block.clone();
        block.ask_whole_mac();
        let text =
            rekey::replace_block(self.source, self.format, &block, &self.metadata.selection)?;
        let text = seal(text, self.format, &self.key)?;
        self.check_same(&text, &Cipher::new(&self.key), self.ignore_mac)?;
        Ok(Edited::Changed(text))
    }
}

/// The field, taken apart.
struct Stored {
    whole: Vec<u8>,
    /// The first bytes of the MAC of each part.
    parts: Vec<Vec<u8>>,
}

impl Stored {
    fn parse(text: &str) -> Result<Self, WholeMacError> {
        let mut pieces = text.split('.');
        let version = pieces.next().unwrap_or_default();
        if version != VERSION {
            let number = version.strip_prefix('v').unwrap_or_default();
            let is_newer = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            return Err(match is_newer {
                true => WholeMacError::Newer(version.to_owned()),
                false => WholeMacError::Malformed,
            });
        }
        let decoded = pieces.map(|piece| BASE64_URL_SAFE_NO_PAD.decode(piece));
        let mut decoded: Vec<Vec<u8>> = decoded
            .collect::<Result<_, _>>()
            .map_err(|_| WholeMacError::Malformed)?;
        let lengths = decoded.iter().map(Vec::len);
        if !lengths.eq([LENGTH, SHOWN, SHOWN, SHOWN, SHOWN]) {
            return Err(WholeMacError::Malformed);
        }
        let parts = decoded.split_off(1);
        Ok(Self {
            whole: decoded.pop().unwrap_or_default(),
            parts,
        })
    }
}

/// The MACs of the four parts, while a file goes by.
struct Macs {
    structure: Transcript,
    values: Transcript,
    comments: Transcript,
    metadata: Transcript,
}

impl Macs {
    fn of(stream: &Stream<'_>, key: &DataKey, without: &Without) -> Result<Self, MetadataError> {
        let of_part = |part: FilePart| Transcript::new(key, part.label());
        let mut macs = Self {
            structure: of_part(FilePart::Structure),
            values: of_part(FilePart::Values),
            comments: of_part(FilePart::Comments),
            metadata: of_part(FilePart::Metadata),
        };
        let mut places = Vec::new();
        for document in stream.documents() {
            macs.structure.mark(b'D');
            macs.content(stream, document.content, without, &mut places);
        }
        macs.comments_of(stream, without, &places);
        macs.metadata_of(stream)?;
        Ok(macs)
    }

    /// Takes in keys, structure and values of a document, the metadata left out; `places` gets where
    /// each scalar and alias begins.
    fn content(
        &mut self,
        stream: &Stream<'_>,
        root: NodeId,
        without: &Without,
        places: &mut Vec<usize>,
    ) {
        let mut pending = vec![Step::Node(root, Place::Value)];
        while let Some(step) = pending.pop() {
            let (id, place) = match step {
                Step::Node(id, place) => (id, place),
                Step::End(mark) => {
                    self.structure.mark(mark);
                    continue;
                }
            };
            let node = stream.node(id);
            if let Some(anchor) = node.anchor {
                self.structure.add(b'&', anchor.as_bytes());
            }
            match node.kind {
                Kind::Scalar => {
                    places.push(node.span.start);
                    match place {
                        Place::Key => self.structure.scalar(b'K', stream, id),
                        Place::Value => {
                            self.structure.mark(b'V');
                            self.values.scalar(b'V', stream, id);
                        }
                    }
                }
                Kind::Alias => {
                    places.push(node.span.start);
                    self.structure.add(b'*', node.value.as_bytes());
                }
                Kind::Sequence => {
                    self.structure.container(b'[', stream, id);
                    pending.push(Step::End(b']'));
                    let items = node.children.iter().rev();
                    let seen = items.filter(|item| !without.hides(stream, **item));
                    pending.extend(seen.map(|item| Step::Node(*item, Place::Value)));
                }
                Kind::Mapping => {
                    self.structure.container(b'{', stream, id);
                    pending.push(Step::End(b'}'));
                    let is_metadata = |key| {
                        let key = tree::key_text(stream, key);
                        id == root && key.is_some_and(|key| is_metadata_key(stream.syntax(), &key))
                    };
                    let entries: Vec<_> = stream.entries(id).collect();
                    for (key, value) in entries.into_iter().rev() {
                        if !is_metadata(key) && !without.hides(stream, value) {
                            pending.push(Step::Node(value, Place::Value));
                            pending.push(Step::Node(key, Place::Key));
                        }
                    }
                }
            }
        }
    }

    /// Takes in every comment: how many scalars begin before it, how far its line is indented
    /// where it stands by itself, and its text. Then what readers pass over.
    fn comments_of(&mut self, stream: &Stream<'_>, without: &Without, places: &[usize]) {
        let of_nodes = stream
            .nodes()
            .flat_map(|(_, node)| [&node.head, &node.line, &node.foot]);
        let of_documents = stream
            .documents()
            .iter()
            .flat_map(|document| [&document.head, &document.foot]);
        let mut comments: Vec<&Comment> = of_nodes
            .chain(of_documents)
            .flatten()
            .chain(stream.unattached_comments())
            .filter(|comment| !without.comments.contains(&comment.span.start))
            .collect();
        comments.sort_by_key(|comment| comment.span.start);
        comments.dedup_by_key(|comment| comment.span.start);
        let mut places = places.to_vec();
        places.sort_unstable();
        for comment in comments {
            let start = comment.span.start;
            let before = places.partition_point(|place| *place < start);
            let line = &stream.source()[..start];
            let line = &line[line.rfind(['\n', '\r']).map_or(0, |at| at + 1)..];
            self.comments.number(b'#', before);
            match line.trim_matches([' ', '\t', '\u{feff}']).is_empty() {
                true => self.comments.number(b'I', line.chars().count()),
                false => self.comments.mark(b'L'),
            }
            let text = stream.comment_text(comment);
            self.comments.add(b'T', text.as_bytes());
        }
        for text in stream.passed_over() {
            let before = places.partition_point(|place| *place < text.start);
            self.comments.number(b'X', before);
            self.comments
                .add(b'T', stream.source()[text.clone()].as_bytes());
        }
    }

    /// Takes in the metadata of every document, the field itself left out, and the mark that says
    /// how values are spelled.
    fn metadata_of(&mut self, stream: &Stream<'_>) -> Result<(), MetadataError> {
        for document in 0..stream.documents().len() {
            match Meta::of_document(stream, document)? {
                Some(meta) => {
                    self.metadata.mark(b'M');
                    self.metadata.meta(&meta, true);
                }
                None => self.metadata.mark(b'-'),
            }
        }
        if metadata::is_signed(stream)? {
            self.metadata.mark(b'Y');
        }
        Ok(())
    }

    fn parts(&self) -> [[u8; LENGTH]; 4] {
        let parts = [
            &self.structure,
            &self.values,
            &self.comments,
            &self.metadata,
        ];
        parts.map(|part| part.0.clone().finalize().into_bytes().into())
    }

    fn whole(&self, format: Format, key: &DataKey) -> Hmac<Sha256> {
        let mut whole = Transcript::new(key, b"whole");
        whole.add(b'F', format.name().as_bytes());
        for part in self.parts() {
            whole.add(b'P', &part);
        }
        whole.0
    }

    /// Returns the text of the field.
    fn to_field(&self, format: Format, key: &DataKey) -> String {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let whole = self.whole(format, key).finalize().into_bytes();
        let mut text = format!("{VERSION}.{}", encode(&whole));
        for part in self.parts() {
            text.push('.');
            text.push_str(&encode(&part[..SHOWN]));
        }
        text
    }
}

/// What is still to be walked.
enum Step {
    Node(NodeId, Place),
    End(u8),
}

#[derive(Clone, Copy)]
enum Place {
    Key,
    Value,
}

impl Without {
    /// Returns whether a node is, or holds nothing but, scalars that are left out.
    fn hides(&self, stream: &Stream<'_>, node: NodeId) -> bool {
        if self.scalars.is_empty() {
            return false;
        }
        let (mut pending, mut hidden) = (vec![node], false);
        while let Some(id) = pending.pop() {
            let found = stream.node(id);
            match found.kind {
                Kind::Scalar if self.scalars.contains(&id) => hidden = true,
                Kind::Scalar | Kind::Alias => return false,
                Kind::Sequence => pending.extend(&found.children),
                Kind::Mapping => pending.extend(stream.entries(id).map(|(_, value)| value)),
            }
        }
        hidden
    }
}

/// HMAC-SHA-256 over records: a byte that says what it is, the length, the bytes.
struct Transcript(Hmac<Sha256>);

impl Transcript {
    fn new(key: &DataKey, label: &[u8]) -> Self {
        let mut derived = Zeroizing::new([0; LENGTH]);
        Hkdf::<Sha256>::new(None, key.expose())
            .expand(KEY_LABEL, &mut *derived)
            .expect("32 bytes are fewer than HKDF can give");
        let mac = Hmac::new_from_slice(&*derived).expect("HMAC takes keys of any length");
        let mut transcript = Self(mac);
        transcript.add(b'S', label);
        transcript
    }

    fn add(&mut self, what: u8, bytes: &[u8]) {
        self.0.update(&[what]);
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn mark(&mut self, what: u8) {
        self.add(what, &[]);
    }

    fn number(&mut self, what: u8, number: usize) {
        self.add(what, &(number as u64).to_be_bytes());
    }

    /// A scalar as it stands in the file: its tag, whether it is plain (which, with its text, tells
    /// every reader its type), its text.
    fn scalar(&mut self, what: u8, stream: &Stream<'_>, node: NodeId) {
        let found = stream.node(node);
        self.tag(found.tag.as_deref());
        self.mark(what);
        let typed = matches!(stream.syntax(), Syntax::Yaml | Syntax::Json);
        let plain = typed && found.style == Style::Plain;
        self.add(if plain { b'p' } else { b'q' }, found.value.as_bytes());
    }

    fn container(&mut self, what: u8, stream: &Stream<'_>, node: NodeId) {
        self.tag(stream.node(node).tag.as_deref());
        self.mark(what);
    }

    fn tag(&mut self, tag: Option<&str>) {
        if let Some(tag) = tag {
            self.add(b'!', tag.as_bytes());
        }
    }

    /// Metadata: fields sorted by their names in lower case, as which field is read does not depend
    /// on the order of different names.
    fn meta(&mut self, meta: &Meta, top: bool) {
        match &meta.what {
            What::Null => self.mark(b'0'),
            What::Text(text) => self.add(b't', text.as_bytes()),
            What::Number(text) => self.add(b'n', text.as_bytes()),
            What::Bool(value) => self.add(b'b', &[u8::from(*value)]),
            What::List(items) => {
                self.mark(b'[');
                for item in items {
                    self.meta(item, false);
                }
                self.mark(b']');
            }
            What::Map(fields) => {
                let own = |(name, _): &(String, Meta)| name.eq_ignore_ascii_case(FIELD);
                // The first is the one that is read; any other is content.
                let skipped = fields.iter().position(own).filter(|_| top);
                let fields = fields.iter().enumerate();
                let mut fields: Vec<_> = fields
                    .filter(|(at, _)| Some(*at) != skipped)
                    .map(|(_, (name, value))| (name.to_ascii_lowercase(), name, value))
                    .collect();
                fields.sort_by(|one, two| one.0.cmp(&two.0));
                self.mark(b'{');
                for (_, name, value) in fields {
                    self.add(b'k', name.as_bytes());
                    self.meta(value, false);
                }
                self.mark(b'}');
            }
        }
    }
}

#[cfg(test)]
#[path = "whole_mac_tests.rs"]
mod tests;

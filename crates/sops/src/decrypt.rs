//! Decrypting a file: the clear text in place of every ciphertext, the metadata block gone.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use selkie_secret::SecretString;
use selkie_text::yaml::{self, Comment, Edits, NodeId, Scalar, Stream, Style, Syntax};
use zeroize::Zeroizing;

use crate::binary::decrypt_binary;
use crate::cipher::{Cipher, CipherError};
use crate::data_key::{self, DecryptionOrder, NoDataKey};
use crate::format::Format;
use crate::keys::DataKeySource;
use crate::mac::Mac;
use crate::metadata::{self, Metadata, MetadataError};
use crate::open::{self, MacError, OpenError, Opened};
use crate::restore::{self, Unwritable};
use crate::selection::Selection;
use crate::tree::{self, SOPS_KEY, TreeError, What};
use crate::value::{self, Value};
use crate::whole_mac;

/// How a file is decrypted.
#[derive(Debug, Clone, Default)]
pub struct DecryptOptions {
    /// Leaves the MAC unchecked: a changed clear value is not noticed then.
    pub ignore_mac: bool,
    /// Which types of keys are tried first; without one, those that fit, then age, then pgp.
    pub order: Option<DecryptionOrder>,
    /// Refuses a file without a version of three numbers, as sops's command does (7.3).
    pub require_version: bool,
    /// Refuses a file without a whole-file MAC, and checks it even where `ignore_mac` is set.
    pub require_whole_mac: bool,
}

/// A decrypted file.
#[derive(Debug)]
pub struct Decrypted {
    /// The whole file, without metadata.
    pub text: SecretString,
    /// How many values were decrypted.
    pub values: usize,
    /// What the user should know though the file opened.
    pub warnings: Vec<Warning>,
}

/// Something odd in a file that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A comment that should be encrypted is not, or was changed (sops-format.md 5.4). It is kept
    /// as it is in the file.
    Comment {
        /// Its 1-based line in the encrypted file.
        line: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Comment { line } => write!(
                f,
                "line {line}: possibly unencrypted comment: it was not encrypted, or was changed; \
                 it is kept as it is"
            ),
        }
    }
}

/// Why a file does not decrypt. No variant holds a value of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// Not of the format it is said to be.
    #[error(transparent)]
    Parse(#[from] yaml::ParseError),
    /// Not a tree that sops could hold.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// No metadata, or metadata that cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The metadata stands in a document after the first.
    #[error(
        "line {line}: the file's first document has no sops metadata, where it is read from, \
         but this one has"
    )]
    NotFirst {
        /// Line of the metadata.
        line: usize,
    },
    /// No entry yields the data key.
    #[error(transparent)]
    NoDataKey(#[from] NoDataKey),
    /// A value does not decrypt.
    #[error("line {line}: {path} does not decrypt: {source}")]
    Value {
        /// Its path.
        path: String,
        /// Its 1-based line.
        line: usize,
        /// Why.
        source: CipherError,
    },
    /// A value that the file's rule selects is clear.
    #[error(
        "line {line}: {path} should be encrypted by the file's own rule, but is clear; \
         if it was added by hand, encrypt it with `selkie encrypt --add-clear`"
    )]
    Clear {
        /// Its path.
        path: String,
        /// Its 1-based line.
        line: usize,
    },
    /// The MAC does not confirm the file.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// A document is no mapping.
    #[error(transparent)]
    Entry(#[from] yaml::EntryError),
    /// The format cannot hold a value.
    #[error("line {line}: {path}: {reason}; give another output type")]
    Unwritable {
        /// Its path.
        path: String,
        /// Its 1-based line.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A comment that came from another format cannot be taken out.
    #[error(transparent)]
    Write(#[from] selkie_text::WriteError),
    /// A binary file has no value.
    #[error(
        "the file has no text under the key `data` at the top, so it is no encrypted binary file; \
         say what it is with --input-type"
    )]
    NoData,
    /// A binary file is no text.
    #[error("the decrypted file is not UTF-8 text")]
    NotText,
    /// Two things that change stand at one place.
    #[error(transparent)]
    Overlap(#[from] yaml::OverlapError),
}

impl From<OpenError> for DecryptError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Tree(error) => Self::Tree(error),
            OpenError::Leaf { path, line, source } => Self::Value { path, line, source },
        }
    }
}

/// Decrypts `source` with a data key that `keys` unwraps.
///
/// Nothing is returned unless every value decrypts and, but for `ignore_mac`, the MAC confirms all
/// of them (sops-format.md 5.4).
///
/// A binary file comes out as text; for one that is none see [`crate::decrypt_binary`].
pub fn decrypt(
    source: &str,
    format: Format,
    keys: &dyn DataKeySource,
    options: &DecryptOptions,
) -> Result<Decrypted, DecryptError> {
    if format == Format::Binary {
        let bytes = decrypt_binary(source, keys, options)?;
        let text = bytes.into_string().map_err(|_| DecryptError::NotText)?;
        let values = usize::from(!text.is_empty());
        return Ok(Decrypted {
            text,
            values,
            warnings: Vec::new(),
        });
    }
    let stream = format.parse(source)?;
    let metadata = read_metadata(&stream)?;
    if options.require_version {
        metadata.check_version()?;
    }
    let key = data_key::recover(&metadata, keys, options.order.as_ref())?;
    let plain = plain_edits(&stream, &metadata, &Cipher::new(&key), options)?;
    let mut text = plain.edits.try_apply(source)?;
    Ok(Decrypted {
        text: SecretString::new(std::mem::take(&mut *text)),
        values: plain.values,
        warnings: plain.warnings,
    })
}

/// What turns an encrypted file into the clear one.
pub(crate) struct PlainEdits {
    pub(crate) edits: Edits,
    pub(crate) values: usize,
    pub(crate) warnings: Vec<Warning>,
}

/// Opens every leaf, checks the MAC (but for `ignore_mac`) and collects the clear texts as edits.
pub(crate) fn plain_edits(
    stream: &Stream<'_>,
    metadata: &Metadata,
    cipher: &Cipher<'_>,
    options: &DecryptOptions,
) -> Result<PlainEdits, DecryptError> {
    let is_yaml = stream.syntax() == Syntax::Yaml;
    let mut edits = Edits::new();
    // The block first: what is put back at the end of a document looks at what goes after it.
    let spans = remove_blocks(stream, &mut edits)?;
    let mut mac = Mac::new(metadata.mac_only_encrypted);
    let mut clear_comments = Vec::new();
    let mut elements = Vec::new();
    let mut values = 0;
    tree::walk(stream, &metadata.selection, |leaf| {
        let opened = open::open(stream, &leaf, cipher)?;
        // What is met through an alias is edited where it stands.
        let in_place = leaf.alias.is_none();
        match opened {
            Opened::Value(node, value, spelling) => {
                mac.add(&value, true);
                if in_place && !is_yaml {
                    restore::restore(stream, &mut edits, node, &value, &spelling).map_err(
                        |Unwritable(reason)| DecryptError::Unwritable {
                            path: leaf.path(),
                            line: leaf.line(),
                            reason,
                        },
                    )?;
                    values += 1;
                } else if in_place {
                    restore(
                        stream,
                        &mut edits,
                        node,
                        &value,
                        &spelling,
                        metadata.own_spelling,
                    );
                    values += 1;
                }
            }
            Opened::Kept(Some(value)) => mac.add(&value, leaf.selected),
            Opened::Kept(None) => {}
            Opened::KeptComment => {
                if let What::Comment(comment) = leaf.what {
                    let text = &stream.comment_text(comment);
                    lift_comment(stream, &mut edits, &spans, comment, text);
                }
            }
            Opened::Clear(..) => {
                return Err(DecryptError::Clear {
                    path: leaf.path(),
                    line: leaf.line(),
                });
            }
            Opened::Comment(comment, text) if in_place => {
                if !lift_comment(stream, &mut edits, &spans, comment, &text) {
                    yaml::set_comment(stream, &mut edits, comment, &text);
                }
            }
            Opened::Element(node, text) if in_place => elements.push((node, text)),
            Opened::ClearComment(comment) if in_place => {
                let text = &stream.comment_text(comment);
                lift_comment(stream, &mut edits, &spans, comment, text);
                clear_comments.push(comment.span.start);
            }
            Opened::Comment(..) | Opened::Element(..) | Opened::ClearComment(_) => {}
        }
        Ok::<(), DecryptError>(())
    })?;
    if !options.ignore_mac {
        open::check_mac(metadata, cipher, &mac.finish())?;
    }
    let format = Format::of_syntax(stream.syntax());
    whole_mac::check(stream, format, metadata, cipher, options).map_err(MacError::from)?;
    if is_yaml {
        restore_elements(stream, &mut edits, &elements);
    } else {
        // JSON has no comments: those that came from YAML go (12).
        for (node, _) in &elements {
            selkie_text::remove_item(stream, &mut edits, *node, 4)?;
        }
    }
    let warnings = lines_of(stream.source(), clear_comments)
        .map(|line| Warning::Comment { line })
        .collect();
    Ok(PlainEdits {
        edits,
        values,
        warnings,
    })
}

/// Takes the metadata blocks out; returns where those of a YAML file stand.
fn remove_blocks(
    stream: &Stream<'_>,
    edits: &mut Edits,
) -> Result<Vec<Range<usize>>, DecryptError> {
    let is_yaml = stream.syntax() == Syntax::Yaml;
    for block in metadata::blocks(stream)? {
        yaml::remove_entry(stream, edits, block.document, SOPS_KEY)?;
        if is_yaml {
            keep_document(stream, edits, block.document);
        }
    }
    Ok(match is_yaml {
        true => block_spans(stream),
        false => Vec::new(),
    })
}

/// Takes the metadata blocks out and leaves everything else as it is, encrypted.
pub(crate) fn without_blocks(
    stream: &Stream<'_>,
    rule: &Selection,
) -> Result<Zeroizing<String>, DecryptError> {
    let mut edits = Edits::new();
    let spans = remove_blocks(stream, &mut edits)?;
    tree::walk(stream, rule, |leaf| {
        if let What::Comment(comment) = leaf.what {
            let text = &stream.comment_text(comment);
            lift_comment(stream, &mut edits, &spans, comment, text);
        }
        Ok::<(), TreeError>(())
    })?;
    Ok(edits.try_apply(stream.source())?)
}

/// Reads the metadata of the first document; tells when only another one has some.
fn read_metadata(stream: &Stream<'_>) -> Result<Metadata, DecryptError> {
    Metadata::read(stream).map_err(|error| {
        let mut documents = 1..stream.documents().len();
        let other = match error {
            MetadataError::NotFound => {
                documents.find_map(|index| metadata::sops_key_line(stream, index))
            }
            _ => None,
        };
        other.map_or(DecryptError::Metadata(error), |line| {
            DecryptError::NotFirst { line }
        })
    })
}

/// Writes `{}` for a document that the metadata block alone makes one: without it, and without `---`
/// before it, the document would be gone. Only sops writes such a file, for an empty first document;
/// braces stay by themselves.
fn keep_document(stream: &Stream<'_>, edits: &mut Edits, document: usize) {
    let found = &stream.documents()[document];
    let root = stream.node(found.content);
    let alone = stream.entries(found.content).count() == 1;
    if found.start_marker.is_none() && root.style != Style::Flow && alone {
        edits.insert(root.span.start, "{}\n");
    }
}

/// Returns from where to where each metadata block goes, in order.
fn block_spans(stream: &Stream<'_>) -> Vec<Range<usize>> {
    let is_block = |key| tree::key_text(stream, key).is_some_and(|key| key == SOPS_KEY);
    let entries = stream.documents().iter().flat_map(|document| {
        let entries = stream.entries(document.content);
        entries.filter(|(key, _)| is_block(*key))
    });
    entries
        .map(|(key, value)| stream.node(key).span.start..stream.node(value).span.end)
        .collect()
}

/// Puts a comment that stands inside a metadata block, which goes, on a line of its own above it.
///
/// sops writes the last comment of a file there (`sops: #ENC[...]`) when go-yaml took it for the
/// line comment of the key that follows. Returns false for a comment that stands elsewhere.
fn lift_comment(
    stream: &Stream<'_>,
    edits: &mut Edits,
    blocks: &[Range<usize>],
    comment: &Comment,
    text: &str,
) -> bool {
    let at = comment.span.start;
    let after = blocks.partition_point(|block| block.start <= at);
    let Some(block) = blocks[..after].last().filter(|block| block.contains(&at)) else {
        return false;
    };
    // At the margin stands a block as sops writes it; another one has no line of its own.
    let source = stream.source();
    let at_margin = block.start == 0 || source[..block.start].ends_with('\n');
    if at_margin && source.ends_with('\n') {
        let text = text.replace(['\n', '\r'], " ");
        edits.insert(block.start, format!("#{text}\n"));
    }
    true
}

/// Returns the 1-based lines of offsets, in one pass however many there are.
fn lines_of(source: &str, mut offsets: Vec<usize>) -> impl Iterator<Item = usize> {
    offsets.sort_unstable();
    let (mut line, mut seen) = (1, 0);
    offsets.into_iter().map(move |offset| {
        let between = &source.as_bytes()[seen..offset];
        line += between.iter().filter(|byte| **byte == b'\n').count();
        seen = offset;
        line
    })
}

/// Puts a value back in the place of its ciphertext.
fn restore(
    stream: &Stream<'_>,
    edits: &mut Edits,
    node: NodeId,
    value: &Value<'_>,
    spelling: &[u8],
    own_spelling: bool,
) {
    let Value::Str(bytes) = value else {
        let text = spell(value, spelling, own_spelling);
        yaml::set_scalar_raw(stream, edits, node, &text, false);
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        let binary = Zeroizing::new(format!("!!binary {}", BASE64_STANDARD.encode(bytes)));
        yaml::set_scalar_raw(stream, edits, node, &binary, false);
        return;
    };
    // In a file of ours a bare ciphertext was a bare text before. In one of sops's it may have been
    // quoted, and `yes` without quotes is a boolean to readers of YAML 1.1.
    let plain = stream.node(node).style == Style::Plain;
    if plain && !own_spelling && restore_literal(stream, edits, node, text) {
        return;
    }
    if plain && !own_spelling && yaml::is_old_word(text) {
        let quoted = Zeroizing::new(yaml::emit_scalar(text));
        yaml::set_scalar_raw(stream, edits, node, &quoted, true);
    } else {
        yaml::set_scalar(stream, edits, node, text, true);
    }
}

/// Puts a text of several lines back as a literal block, as sops does, behind the comment of its
/// line. Returns whether it did: false where the block would need an indentation indicator or
/// escapes, or where no line break follows.
fn restore_literal(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) -> bool {
    let (source, found) = (stream.source(), stream.node(node));
    let Some(parent) = found.parent.map(|parent| stream.node(parent)) else {
        return false;
    };
    let as_it_is = |c: char| {
        let special = "\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}".contains(c);
        c == '\n' || c == '\t' || !(c.is_control() || special)
    };
    let fits =
        text.contains('\n') && !text.starts_with([' ', '\t', '\n']) && text.chars().all(as_it_is);
    let Some(rest_of_line) = source[found.span.end..].find('\n') else {
        return false;
    };
    let line_end = found.span.end + rest_of_line;
    let behind = source[found.span.end..line_end].trim();
    if !fits
        || parent.style != Style::Block
        || found.properties.is_some()
        || source[found.span.clone()].contains('\n')
        || !(behind.is_empty() || behind.starts_with('#'))
        || source[..line_end].ends_with('\r')
    {
        return false;
    }
    let line_start = source[..parent.span.start]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let column = source[line_start..parent.span.start].chars().count() + 4;
    let indent = " ".repeat(column);
    let header = match text.strip_suffix('\n') {
        None => "|-",
        Some(body) if body.ends_with('\n') => "|+",
        Some(_) => "|",
    };
    if joins_block(&source[line_end + 1..], column, header == "|+") {
        return false;
    }
    let mut body = Zeroizing::new(String::with_capacity(text.len() * 2));
    // The line break at the end is the one that stands there already.
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        body.push('\n');
        if !line.is_empty() {
            body.push_str(&indent);
            body.push_str(line);
        }
    }
    edits.replace(found.span.clone(), header);
    edits.insert(line_end, std::mem::take(&mut *body));
    true
}

/// Returns whether a block would take in blank lines or comments that follow it in the file.
fn joins_block(rest: &str, indent: usize, keeps_breaks: bool) -> bool {
    // The metadata block goes, and blank lines behind it come up to the value.
    if keeps_breaks && rest.split('\n').rev().skip(1).any(|l| l.trim().is_empty()) {
        return true;
    }
    for line in rest.split('\n') {
        let text = line.trim_start_matches(' ');
        let column = line.len() - text.len();
        match text.trim() {
            "" if column > indent || text.starts_with('\t') => return true,
            "" => {}
            comment => return comment.starts_with('#') && column >= indent,
        }
    }
    false
}

/// Returns a number, boolean or time as YAML: as it was encrypted where that reads back to the same
/// value, else in canonical spelling.
fn spell(value: &Value<'_>, spelling: &[u8], own_spelling: bool) -> Zeroizing<String> {
    let spelling = std::str::from_utf8(spelling).unwrap_or_default();
    let resolved = yaml::resolve_plain(spelling);
    let same = match (value, resolved) {
        (Value::Int(a), Scalar::Int(b)) => *a == b,
        (Value::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Bool(a), Scalar::Bool(b)) => *a == b && own_spelling,
        _ => false,
    };
    Zeroizing::new(match value {
        _ if same => spelling.to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value::yaml_float(*value),
        Value::Bool(value) => value.to_string(),
        Value::Time(text) => text.clone(),
        Value::Str(_) => String::new(),
    })
}

/// Returns where the `-` of a one-line item is, if it stands on the item's line.
fn dash(stream: &Stream<'_>, item: NodeId) -> Option<usize> {
    let node = stream.node(item);
    let start = node.properties.as_ref().unwrap_or(&node.span).start;
    let before = stream.source()[..start].trim_end_matches([' ', '\t']);
    (node.block.is_none() && before.ends_with('-')).then(|| before.len() - 1)
}

/// Turns sequence elements that sops wrote for comments into comments again. A sequence of nothing
/// else was empty.
fn restore_elements(
    stream: &Stream<'_>,
    edits: &mut Edits,
    elements: &[(NodeId, Zeroizing<String>)],
) {
    let parent = |element: &(NodeId, Zeroizing<String>)| stream.node(element.0).parent;
    // The elements of one sequence need not follow each other: others may be nested between.
    let mut by_parent: HashMap<NodeId, Vec<&(NodeId, Zeroizing<String>)>> = HashMap::new();
    for element in elements {
        if let Some(parent) = parent(element) {
            by_parent.entry(parent).or_default().push(element);
        }
    }
    for (sequence, elements) in by_parent {
        let found = stream.node(sequence);
        let all = elements.len() == found.children.len();
        if found.style == Style::Block && all {
            let source = stream.source();
            let line_start = source[..found.span.start]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            let column = source[line_start..found.span.start].chars().count();
            // Deeper than the mapping that holds the list, whose items may stand at its column.
            let outer = found.parent.map(|parent| stream.node(parent));
            let column = match outer {
                Some(outer) => column.max(outer.column_number()),
                None => column,
            };
            let dashes: Option<Vec<usize>> = elements
                .iter()
                .map(|(node, _)| dash(stream, *node))
                .collect();
            let Some(dashes) = dashes else {
                for (node, text) in elements {
                    yaml::set_scalar(stream, edits, *node, text, false);
                }
                continue;
            };
            let mut end = found.span.end;
            for ((node, comment), dash) in elements.iter().zip(dashes) {
                end = stream.node(*node).span.end;
                let text = comment.replace(['\r', '\n'], " ");
                edits.replace(dash..end, format!("#{text}"));
            }
            let line_end = source[end..].find(['\r', '\n']);
            let line_end = line_end.map_or(source.len(), |at| end + at);
            edits.insert(line_end, format!("\n{}[]", " ".repeat(column)));
            continue;
        }
        for (node, text) in elements {
            if !yaml::item_to_comment(stream, edits, *node, text) {
                // No comment can stand here (flow style): it stays an element, but a clear one.
                yaml::set_scalar(stream, edits, *node, text, false);
            }
        }
    }
}

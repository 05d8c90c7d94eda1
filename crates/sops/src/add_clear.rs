//! Encrypting what somebody added in clear to an encrypted file, under the file's own data key.

use std::collections::HashSet;

use selkie_text::yaml::{self, Edits, NodeId, Stream};

use crate::cipher::{Cipher, Ivs, Kind};
use crate::data_key;
use crate::decrypt::{DecryptError, DecryptOptions};
use crate::encrypt::{Encrypted, encrypt_value};
use crate::format::Format;
use crate::keys::{DataKeySource, RandomError};
use crate::mac::Mac;
use crate::metadata::{self, Metadata};
use crate::open::{self, Opened};
use crate::rfc3339;
use crate::tree::{self, TreeError};
use crate::whole_mac::{self, WholeMacError, Without};

/// How forgotten leaves are added.
#[derive(Debug, Clone, Copy)]
pub struct AddClearOptions {
    /// The time written as `lastmodified`.
    pub now: jiff::Timestamp,
    /// Adds though the MAC does not confirm the rest of the file, and confirms it all anew.
    pub ignore_mac: bool,
    /// Refuses a file without a whole-file MAC, and checks it even where `ignore_mac` is set.
    pub require_whole_mac: bool,
}

/// Why nothing was added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddClearError {
    /// The file does not open.
    #[error(transparent)]
    Open(#[from] DecryptError),
    /// The MAC does not confirm the values that were encrypted before.
    #[error(
        "besides the clear values something else was changed: {0}. Look at the difference to the \
         last good version; --ignore-mac accepts the file as it is"
    )]
    Mac(open::MacError),
    /// A clear leaf is met through an alias, or its anchor is repeated by one.
    #[error("line {line}: {path} is repeated by an alias; write the value out first")]
    Alias {
        /// Its path.
        path: String,
        /// Its 1-based line.
        line: usize,
    },
    /// A key is there twice: readers differ about which one counts.
    #[error("line {line}: this key is on line {first} already; take one of them out")]
    DuplicateKey {
        /// Line of the second one.
        line: usize,
        /// Line of the first one.
        first: usize,
    },
    /// The ciphertext of a comment would itself end the encryption of what follows.
    #[error(
        "line {line}: the file's unencrypted_comment_regex matches an encrypted comment; \
         remove the comment"
    )]
    MarkerMatchesCiphertext {
        /// Line of the comment.
        line: usize,
    },
    /// Two things that change stand at one place.
    #[error(transparent)]
    Overlap(#[from] yaml::OverlapError),
    /// The result would not open again. Nothing was written.
    #[error("the result would not decrypt, so nothing was written: {0}")]
    SelfCheck(String),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A key is not a string, a tag does not fit, aliases multiply.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Encrypts the leaves of an encrypted file that its rule selects and that are clear.
///
/// Every ciphertext that is there stays byte for byte; `lastmodified` and `mac` are new in every
/// document. Clear comments that the rule selects are encrypted too. The MAC must confirm the file
/// without the clear leaves, unless `ignore_mac`.
pub fn add_clear(
    source: &str,
    format: Format,
    keys: &dyn DataKeySource,
    options: &AddClearOptions,
) -> Result<Encrypted, AddClearError> {
    let stream = format.parse(source).map_err(DecryptError::from)?;
    for document in 0..stream.documents().len() {
        if let Some(keys) = stream.duplicate_key(document) {
            return Err(AddClearError::DuplicateKey {
                line: tree::line_of(&stream, keys.second),
                first: tree::line_of(&stream, keys.first),
            });
        }
    }
    let metadata = Metadata::read(&stream).map_err(DecryptError::from)?;
    let key = data_key::recover(&metadata, keys, None).map_err(DecryptError::from)?;
    let cipher = Cipher::new(&key);
    let mut ivs = Ivs::new();
    let mut edits = Edits::new();
    let mut before = Mac::new(metadata.mac_only_encrypted);
    let mut after = before.clone();
    let aliased: HashSet<NodeId> = stream.nodes().filter_map(|(_, node)| node.target).collect();
    let mut without = Without::default();
    let (mut values, mut comments) = (0, 0);
    tree::walk(&stream, &metadata.selection, |leaf| {
        match open::open(&stream, &leaf, &cipher).map_err(DecryptError::from)? {
            Opened::Value(_, value, _) => {
                before.add(&value, true);
                after.add(&value, true);
            }
            Opened::Kept(Some(value)) => {
                before.add(&value, leaf.selected);
                after.add(&value, leaf.selected);
            }
            Opened::Clear(node, value) => {
                if leaf.alias.is_some() || is_repeated(&stream, &aliased, node) {
                    return Err(AddClearError::Alias {
                        path: leaf.path(),
                        line: leaf.line(),
                    });
                }
                tree::check_nothing_behind(&stream, node, || leaf.path())?;
                after.add(&value, true);
                without.scalars.insert(node);
                encrypt_value(
                    &stream, node, &value, leaf.aad, &cipher, &mut ivs, &mut edits,
                )?;
                values += 1;
            }
            Opened::ClearComment(comment) if leaf.alias.is_none() => {
                let text = &stream.comment_text(comment);
                if !open::looks_encrypted(text) {
                    let token =
                        cipher.encrypt(text.as_bytes(), leaf.aad, Kind::Comment, &mut ivs)?;
                    if metadata.selection.marks_ciphertext(&token) {
                        return Err(AddClearError::MarkerMatchesCiphertext { line: leaf.line() });
                    }
                    yaml::set_comment(&stream, &mut edits, comment, &token);
                    without.comments.insert(comment.span.start);
                    comments += 1;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if !options.ignore_mac {
        open::check_mac(&metadata, &cipher, &before.finish()).map_err(AddClearError::Mac)?;
    }
    let compared = match &metadata.whole_mac {
        None if options.require_whole_mac => Err(WholeMacError::Absent),
        None => Ok(()),
        Some(stored) => whole_mac::compare(&stream, format, stored, &key, &without),
    };
    // What somebody else changed must not become what a new one confirms.
    let confirmed = compared.is_ok();
    if options.require_whole_mac || !options.ignore_mac {
        compared.map_err(|error| AddClearError::Mac(error.into()))?;
    }
    let now = rfc3339::of(options.now);
    let mac = cipher.encrypt(after.finish().as_bytes(), &now, Kind::Str, &mut ivs)?;
    metadata::set_mac(&stream, &mut edits, &mac, &now).map_err(DecryptError::from)?;
    let mut text = edits.try_apply(source)?;
    let mut text = std::mem::take(&mut *text);
    if metadata.whole_mac.is_some() && confirmed {
        text = whole_mac::seal(text, format, &key)
            .map_err(|error| AddClearError::SelfCheck(error.to_string()))?;
    }
    read_back(&text, format, &cipher, confirmed)
        .map_err(|error| AddClearError::SelfCheck(error.to_string()))?;
    Ok(Encrypted {
        text,
        values,
        comments,
    })
}

/// Returns whether an alias names the node, anything that holds it, or the key of one of these.
fn is_repeated(stream: &Stream<'_>, aliased: &HashSet<NodeId>, node: NodeId) -> bool {
    let mut above = std::iter::successors(Some(node), |node| stream.node(*node).parent);
    let key_of = |node: NodeId| {
        let mut entries = stream.entries(stream.node(node).parent?);
        entries
            .find(|(_, value)| *value == node)
            .map(|(key, _)| key)
    };
    let named = |node: NodeId| {
        aliased.contains(&node) || key_of(node).is_some_and(|key| aliased.contains(&key))
    };
    !aliased.is_empty() && above.any(named)
}

/// Opens every leaf of the result and compares the MAC, so that no file leaves that does not open.
fn read_back(
    text: &str,
    format: Format,
    cipher: &Cipher<'_>,
    confirmed: bool,
) -> Result<(), DecryptError> {
    let stream = format.parse(text)?;
    let metadata = Metadata::read(&stream)?;
    let mut mac = Mac::new(metadata.mac_only_encrypted);
    tree::walk(&stream, &metadata.selection, |leaf| {
        match open::open(&stream, &leaf, cipher)? {
            Opened::Value(_, value, _) => mac.add(&value, true),
            Opened::Kept(Some(value)) => mac.add(&value, leaf.selected),
            Opened::Clear(..) => {
                return Err(DecryptError::Clear {
                    path: leaf.path(),
                    line: leaf.line(),
                });
            }
            _ => {}
        }
        Ok::<(), DecryptError>(())
    })?;
    open::check_mac(&metadata, cipher, &mac.finish())?;
    if confirmed {
        let options = DecryptOptions::default();
        whole_mac::check(&stream, format, &metadata, cipher, &options)
            .map_err(open::MacError::from)?;
    }
    Ok(())
}

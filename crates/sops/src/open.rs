//! Opening an encrypted tree: every leaf, the MAC (sops-format.md 5.4).

use selkie_text::yaml::{Comment, NodeId, Stream};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, CipherError, Kind};
use crate::encrypt::ClearLeaf;
use crate::metadata::Metadata;
use crate::selection::Selection;
use crate::tree::{self, Leaf, TreeError, What};
use crate::value::Value;
use crate::whole_mac::WholeMacError;

/// What an encrypted text starts with, whole or damaged.
const ENCRYPTED_PREFIX: &str = "ENC[AES256_GCM,";

/// Returns whether a text is, or once was, a ciphertext.
pub(crate) fn looks_encrypted(text: &str) -> bool {
    text.starts_with(ENCRYPTED_PREFIX)
}

/// A leaf of an encrypted tree, opened.
pub(crate) enum Opened<'w> {
    /// The rule selects it, and it decrypted. The second part is the plaintext as encrypted.
    Value(NodeId, Value<'static>, Zeroizing<Vec<u8>>),
    /// Stays as it is: not selected, or null (`None`), or the empty text.
    Kept(Option<Value<'w>>),
    /// The rule selects it, but it is not encrypted.
    Clear(NodeId, Value<'w>),
    /// A comment that decrypted to this text.
    Comment(&'w Comment, Zeroizing<String>),
    /// A sequence element that is a comment (sops-format.md 11.3), and its text.
    Element(NodeId, Zeroizing<String>),
    /// A comment that the rule selects and that is not encrypted, or does not decrypt.
    ClearComment(&'w Comment),
    /// A comment that stays clear, or is empty.
    KeptComment,
}

/// Why a leaf does not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("line {line}: {path}: {source}")]
    Leaf {
        path: String,
        line: usize,
        source: CipherError,
    },
}

/// Opens one leaf.
pub(crate) fn open<'w>(
    stream: &'w Stream<'_>,
    leaf: &Leaf<'w>,
    cipher: &Cipher<'_>,
) -> Result<Opened<'w>, OpenError> {
    let node = match leaf.what {
        What::Comment(comment) => return Ok(open_comment(stream, comment, leaf, cipher)),
        What::Scalar(node) => node,
    };
    let value = tree::value_of(stream, node, || leaf.path())?;
    if !leaf.selected {
        return Ok(Opened::Kept(value));
    }
    let Some(value) = value else {
        return Ok(Opened::Kept(None));
    };
    let text = match &value {
        Value::Str(bytes) if bytes.is_empty() => return Ok(Opened::Kept(Some(value))),
        Value::Str(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    let Some(text) = text.filter(|text| looks_encrypted(text)) else {
        return Ok(Opened::Clear(node, value));
    };
    let failed = |source| OpenError::Leaf {
        path: leaf.path(),
        line: leaf.line(),
        source,
    };
    let (plain, kind) = cipher.decrypt(text, leaf.aad).map_err(failed)?;
    if kind == Kind::Comment {
        // In the place of a value it would be a retyped value: the type is not authenticated.
        if !leaf.in_sequence {
            return Err(failed(CipherError::Plaintext));
        }
        let text = String::from_utf8_lossy(&plain).into_owned();
        return Ok(Opened::Element(node, Zeroizing::new(text)));
    }
    let value = Value::parse(&plain, kind).map_err(failed)?;
    Ok(Opened::Value(node, value, plain))
}

/// Opens a comment; one that does not authenticate under its own path is tried under those that
/// other versions of go-yaml would give it (sops-format.md 11.3).
fn open_comment<'w>(
    stream: &Stream<'_>,
    comment: &'w Comment,
    leaf: &Leaf<'_>,
    cipher: &Cipher<'_>,
) -> Opened<'w> {
    let text = &stream.comment_text(comment);
    if !leaf.selected || text.is_empty() {
        return Opened::KeptComment;
    }
    if !looks_encrypted(text) {
        return Opened::ClearComment(comment);
    }
    let mut opened = cipher.decrypt(text, leaf.aad);
    if opened == Err(CipherError::Authentication) {
        let others = leaf.other_aads().into_iter();
        let mut found = others.map(|aad| cipher.decrypt(text, aad));
        match found.find(Result::is_ok) {
            Some(found) => opened = found,
            None => leaf.is_lost(),
        }
    }
    match opened {
        Ok((plain, Kind::Comment)) => {
            let text = String::from_utf8_lossy(&plain).into_owned();
            Opened::Comment(comment, Zeroizing::new(text))
        }
        _ => Opened::ClearComment(comment),
    }
}

/// Why the stored MAC does not confirm the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MacError {
    /// The field is empty or absent.
    #[error("MAC mismatch: the file has no MAC, so changes to it cannot be noticed")]
    Missing,
    /// The field does not decrypt: it or `lastmodified` was changed.
    #[error("the MAC of the file does not decrypt: `mac` or `lastmodified` was changed ({0})")]
    Undecryptable(CipherError),
    /// It decrypts, and is another one.
    #[error(
        "MAC mismatch: values were changed, added, removed or reordered without the data key \
         (or sops 3.13.2 wrote comments inside lists, see its issue 2243)"
    )]
    Mismatch,
    /// The whole-file MAC, which the file has or the user demands, does not confirm it.
    #[error(transparent)]
    Whole(#[from] WholeMacError),
}

/// Compares the stored MAC with the one of the opened tree.
pub(crate) fn check_mac(
    metadata: &Metadata,
    cipher: &Cipher<'_>,
    computed: &str,
) -> Result<(), MacError> {
    if metadata.mac.is_empty() {
        return Err(MacError::Missing);
    }
    let (stored, _) = cipher
        .decrypt(&metadata.mac, &metadata.last_modified)
        .map_err(MacError::Undecryptable)?;
    if *stored == computed.as_bytes() {
        Ok(())
    } else {
        Err(MacError::Mismatch)
    }
}

/// Returns the values and comments that the rule selects and that are not encrypted; needs no key.
pub(crate) fn clear_leaves(
    stream: &Stream<'_>,
    rule: &Selection,
) -> Result<Vec<ClearLeaf>, TreeError> {
    let mut clear = Vec::new();
    tree::walk(stream, rule, |leaf| {
        if !leaf.selected {
            return Ok::<(), TreeError>(());
        }
        let (is_clear, path) = match leaf.what {
            // One met through an alias stands, and counts, elsewhere.
            What::Comment(comment) => {
                let text = stream.comment_text(comment);
                let is_clear = !text.is_empty() && !looks_encrypted(&text);
                let path = format!("the comment in {}", leaf.path());
                (is_clear && leaf.alias.is_none(), path)
            }
            What::Scalar(node) => {
                let is_clear = match tree::value_of(stream, node, || leaf.path())? {
                    None => false,
                    Some(Value::Str(ref bytes)) => {
                        !bytes.is_empty() && !bytes.starts_with(ENCRYPTED_PREFIX.as_bytes())
                    }
                    Some(_) => true,
                };
                (is_clear, leaf.path())
            }
        };
        if is_clear {
            clear.push(ClearLeaf {
                path,
                line: leaf.line(),
            });
        }
        Ok(())
    })?;
    Ok(clear)
}

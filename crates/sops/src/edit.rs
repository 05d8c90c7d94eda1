//! An encrypted file that is opened, changed and written again under its own data key
//! (sops-format.md 6, 19).

use std::fmt;

use selkie_secret::{SecretBytes, SecretString};
use selkie_text::{Edits, Stream};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::binary;
use crate::block::Block;
use crate::cipher::{Cipher, Ivs, Kind};
use crate::data_key;
use crate::decrypt::{self, DecryptError, DecryptOptions, Warning};
use crate::encrypt::{self, EncryptError, EncryptPlan};
use crate::format::{self, Format};
use crate::keys::{DataKey, DataKeySource, RandomError};
use crate::mac::Mac;
use crate::manifest::{self, CheckError};
use crate::merge::{self, Borders, Side, Token};
use crate::metadata::{self, Metadata};
use crate::open::{self, Opened};
use crate::rekey;
use crate::rfc3339;
use crate::selection::Selection;
use crate::stash::Stash;
use crate::tree::{self, TreeError, What};
use crate::whole_mac;

/// An encrypted file whose data key is unwrapped and whose clear text is at hand.
///
/// It is opened once, for every change: a key service is asked or a passphrase is typed once.
pub struct OpenFile<'s> {
    pub(crate) source: &'s str,
    pub(crate) format: Format,
    pub(crate) metadata: Metadata,
    pub(crate) key: DataKey,
    pub(crate) block: Block,
    pub(crate) ignore_mac: bool,
    plain: Plain,
    warnings: Vec<Warning>,
}

enum Plain {
    /// Of a binary file.
    Bytes(SecretBytes),
    Text {
        text: SecretString,
        /// From the source to the text.
        edits: Edits,
        stash: Stash,
    },
}

/// How a changed file is written.
#[derive(Debug, Clone, Copy)]
pub struct EditOptions {
    /// The time written as `lastmodified`.
    pub now: jiff::Timestamp,
    /// Puts our format version in the place of an older one, as the editor of sops does.
    pub raise_version: bool,
}

/// What became of a file that was to be changed.
#[derive(Debug)]
pub enum Edited {
    /// The same clear text: nothing is to be written.
    Unchanged,
    /// The whole encrypted file.
    Changed(String),
}

/// Why a change is not made. No variant holds a value of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The file does not open.
    #[error(transparent)]
    Open(#[from] DecryptError),
    /// The new text cannot be encrypted.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    /// The new text is none.
    #[error("the changed file is not UTF-8 text")]
    NotText,
    /// The new text has a `sops` key.
    #[error(
        "line {line}: the top-level key `sops` is reserved for metadata; use another name for it"
    )]
    ReservedKey {
        /// Its 1-based line.
        line: usize,
    },
}

impl<'s> OpenFile<'s> {
    /// Opens an encrypted file with a data key that `keys` unwraps.
    ///
    /// Every value must decrypt and, but for `ignore_mac`, the MAC must confirm them all.
    pub fn open(
        source: &'s str,
        format: Format,
        keys: &dyn DataKeySource,
        options: &DecryptOptions,
    ) -> Result<Self, DecryptError> {
        let stream = format.parse(source)?;
        let metadata = Metadata::read(&stream)?;
        if options.require_version {
            metadata.check_version()?;
        }
        let key = data_key::recover(&metadata, keys, options.order.as_ref())?;
        let cipher = Cipher::new(&key);
        let (plain, warnings) = match format {
            Format::Binary => {
                let bytes = binary::open_binary(&stream, &metadata, &cipher, options)?;
                (Plain::Bytes(bytes), Vec::new())
            }
            _ => {
                let opened = decrypt::plain_edits(&stream, &metadata, &cipher, options)?;
                let mut text = opened.edits.try_apply(source)?;
                let stash = stash_of(&stream, &text, &metadata, &cipher)?;
                let plain = Plain::Text {
                    text: SecretString::new(std::mem::take(&mut *text)),
                    edits: opened.edits,
                    stash,
                };
                (plain, opened.warnings)
            }
        };
        Ok(Self {
            source,
            format,
            block: Block::of(&stream)?,
            ignore_mac: options.ignore_mac,
            plain,
            warnings,
            metadata,
            key,
        })
    }

    /// Returns the clear file, as decrypting gives it.
    pub fn plain(&self) -> &[u8] {
        match &self.plain {
            Plain::Bytes(bytes) => bytes.expose(),
            Plain::Text { text, .. } => text.expose().as_bytes(),
        }
    }

    /// Returns the clear text; `None` for a binary file.
    pub(crate) fn plain_text(&self) -> Option<&str> {
        match &self.plain {
            Plain::Bytes(_) => None,
            Plain::Text { text, .. } => Some(text.expose()),
        }
    }

    /// Returns the rule of the file.
    pub fn selection(&self) -> &Selection {
        &self.metadata.selection
    }

    /// Returns whether the MAC covers encrypted leaves only.
    pub fn mac_only_encrypted(&self) -> bool {
        self.metadata.mac_only_encrypted
    }

    /// Returns what the user should know though the file opened.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Encrypts a changed clear file under the data key, the rule and the keys of the file.
    ///
    /// Lines that were not touched keep their bytes, and values that were not touched keep their
    /// ciphertext wherever they stand now; `mac` and `lastmodified` are new. The result was opened
    /// again and holds the values of `plain`.
    pub fn edited(&self, plain: &[u8], options: &EditOptions) -> Result<Edited, EditError> {
        if plain == self.plain() {
            return Ok(Edited::Unchanged);
        }
        let text = match &self.plain {
            Plain::Bytes(_) => self.write_binary(plain, options)?,
            Plain::Text { .. } => {
                let plain = std::str::from_utf8(plain).map_err(|_| EditError::NotText)?;
                self.write(plain, options)?
            }
        };
        Ok(Edited::Changed(text))
    }

    /// Puts other bytes in the place of those of a binary file.
    fn write_binary(&self, plain: &[u8], options: &EditOptions) -> Result<String, EditError> {
        let cipher = Cipher::new(&self.key);
        let text = binary::replace(self.source, plain, &cipher)?;
        let mut block = self.block.clone();
        if options.raise_version {
            block.raise_version();
        }
        let text = rekey::replace_block(&text, self.format, &block, &self.metadata.selection)?;
        let text = sign(
            &text,
            self.format,
            &cipher,
            options.now,
            self.whole_mac_holds()?,
        )?;
        let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
        let stream = self.format.parse(&text).map_err(|error| failed(&error))?;
        let metadata = Metadata::read(&stream).map_err(|error| failed(&error))?;
        let options = DecryptOptions::default();
        let opened = binary::open_binary(&stream, &metadata, &cipher, &options);
        let same = opened.map_err(|error| failed(&error))?.expose() == plain;
        drop(stream);
        match same {
            true => Ok(text),
            false => Err(failed(&"other bytes").into()),
        }
    }

    /// As [`Self::edited`] for a text, which may be the same: the metadata is new in any case.
    pub(crate) fn write(&self, plain: &str, options: &EditOptions) -> Result<String, EditError> {
        let Plain::Text { text, edits, stash } = &self.plain else {
            return Err(EditError::NotText);
        };
        let opened = OpenText {
            file: self,
            text: text.expose(),
            edits,
            stash,
        };
        opened.write(plain, options)
    }
}

/// The clear text of a file that is not binary, and where it came from.
struct OpenText<'f> {
    file: &'f OpenFile<'f>,
    text: &'f str,
    edits: &'f Edits,
    stash: &'f Stash,
}

impl OpenText<'_> {
    fn write(&self, plain: &str, options: &EditOptions) -> Result<String, EditError> {
        let format = self.file.format;
        let stream = format.parse(plain).map_err(EncryptError::Parse)?;
        let reserved = (0..stream.documents().len())
            .find_map(|document| metadata::sops_key_line(&stream, document));
        if let Some(line) = reserved {
            return Err(EditError::ReservedKey { line });
        }
        if format == Format::Yaml {
            encrypt::check_documents(&stream)?;
        }
        self.check_repeats(&stream)?;
        let selection = &self.file.metadata.selection;
        let expanded = encrypt::expand_aliases(&stream, selection)?;
        let plain = match &expanded {
            None => plain,
            Some(text) => {
                let expanded = format.parse(text).map_err(EncryptError::Parse)?;
                encrypt::check_copies(&stream, &expanded, selection)?;
                text
            }
        };
        let cipher = Cipher::new(&self.file.key);
        let (fresh, borders) = self.encrypt_again(plain, &cipher, options)?;
        let confirm = self.file.whole_mac_holds()?;
        let ignore_mac = self.file.metadata.whole_mac.is_some() && !confirm;
        // At best every line that was not touched; then those whose comments stay where they were.
        for comments in [false, true] {
            let kept = self.keep_lines(plain, &fresh, &borders, comments);
            let kept = kept.and_then(|text| sign(&text, format, &cipher, options.now, confirm));
            if let Ok(text) = kept
                && check(&text, format, &cipher, plain, selection, ignore_mac).is_ok()
                && (comments
                    || self.strays(&text, &cipher)? <= self.strays(self.file.source, &cipher)?)
            {
                return Ok(text);
            }
        }
        let text = sign(&fresh, format, &cipher, options.now, confirm)?;
        check(&text, format, &cipher, plain, selection, ignore_mac)?;
        Ok(text)
    }

    /// Refuses a value that was added in clear though it is encrypted elsewhere in the same Secret;
    /// a file that was like that before is none of our business.
    fn check_repeats(&self, stream: &Stream<'_>) -> Result<(), EncryptError> {
        let selection = &self.file.metadata.selection;
        let Err(CheckError::Repeated(error)) = manifest::check_repeats(stream, selection) else {
            return Ok(());
        };
        let before = self.file.format.parse(self.text)?;
        match manifest::check_repeats(&before, selection) {
            Err(CheckError::Repeated(_)) => Ok(()),
            _ => Err(EncryptError::Repeated(error)),
        }
    }

    /// Encrypts a clear text, the metadata of the file behind it, and returns where its lines went.
    fn encrypt_again(
        &self,
        plain: &str,
        cipher: &Cipher<'_>,
        options: &EditOptions,
    ) -> Result<(String, Borders), EncryptError> {
        let plan = EncryptPlan {
            groups: Vec::new(),
            threshold: None,
            selection: self.file.metadata.selection.clone(),
            mac_only_encrypted: self.file.metadata.mac_only_encrypted,
            whole_mac: false,
            now: options.now,
        };
        let format = self.file.format;
        let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
        let stream = format.parse(plain)?;
        let mut ivs = Ivs::reusing(self.stash.clone());
        let mut edits = Edits::new();
        let (mac, values, _) =
            encrypt::encrypt_values(&stream, &plan, cipher, &mut ivs, &mut edits)?;
        let mut block = self.file.block.clone();
        if options.raise_version {
            block.raise_version();
        }
        metadata::append(&stream, &mut edits, &block.to_value(), block.indent)?;
        let first = edits.try_apply(plain).map_err(|error| failed(&error))?;
        let layout = format.parse(&first).map_err(|error| failed(&error))?;
        let mut comments = Edits::new();
        let (read_back, _) =
            encrypt::encrypt_comments(&layout, &plan, cipher, &mut ivs, &mut comments)?;
        if read_back != (mac, values) {
            return Err(failed(&"another MAC"));
        }
        let mut text = comments.try_apply(&first).map_err(|error| failed(&error))?;
        let borders = merge::through(
            &merge::borders(plain, &edits, &first),
            &merge::borders(&first, &comments, &text),
        );
        Ok((std::mem::take(&mut *text), borders))
    }

    /// Puts the bytes of the file in the place of the lines that were not touched.
    fn keep_lines(
        &self,
        plain: &str,
        fresh: &str,
        borders: &Borders,
        comments: bool,
    ) -> Result<String, EncryptError> {
        let (selection, format) = (&self.file.metadata.selection, self.file.format);
        let before = merge::borders(self.file.source, self.edits, self.text);
        let before: Borders = before.into_iter().map(|(from, to)| (to, from)).collect();
        let old = Side {
            plain: self.text,
            encrypted: self.file.source,
            chunks: merge::chunks(&before),
            tokens: tokens(self.file.source, format, selection)?,
        };
        let new = Side {
            plain,
            encrypted: fresh,
            chunks: merge::chunks(borders),
            tokens: tokens(fresh, format, selection)?,
        };
        Ok(merge::merge(&old, &new, comments))
    }

    /// Counts the comments that do not decrypt under the path of their own container: sops would
    /// leave them as they are.
    fn strays(&self, text: &str, cipher: &Cipher<'_>) -> Result<usize, EncryptError> {
        let stream = self.file.format.parse(text)?;
        let mut strays = 0;
        tree::walk(&stream, &self.file.metadata.selection, |leaf| {
            if let What::Comment(comment) = leaf.what {
                let text = stream.comment_text(comment);
                let stray =
                    open::looks_encrypted(&text) && cipher.decrypt(&text, leaf.aad).is_err();
                strays += usize::from(leaf.selected && stray);
            }
            Ok::<(), TreeError>(())
        })?;
        Ok(strays)
    }
}

impl fmt::Debug for OpenFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").finish_non_exhaustive()
    }
}

/// Returns the ciphertexts of a file by where they begin.
fn tokens(text: &str, format: Format, selection: &Selection) -> Result<Vec<Token>, EncryptError> {
    let stream = format.parse(text)?;
    let mut tokens = Vec::new();
    tree::walk(&stream, selection, |leaf| {
        if leaf.alias.is_some() {
            return Ok::<(), TreeError>(());
        }
        let (at, text) = match leaf.what {
            What::Comment(comment) => (comment.span.start, stream.comment_text(comment)),
            What::Scalar(node) => {
                let node = stream.node(node);
                (node.span.start, node.value.trim_end().into())
            }
        };
        if open::looks_encrypted(&text) {
            let comment = matches!(leaf.what, What::Comment(_));
            tokens.push(Token {
                at,
                is_comment: comment || (leaf.in_sequence && text.ends_with(",type:comment]")),
                text: text.into_owned(),
            });
        }
        Ok(())
    })?;
    tokens.sort();
    Ok(tokens)
}

/// Writes `mac`, `lastmodified` and, where it is there, the whole-file MAC anew into every metadata
/// block of a text whose values are all encrypted under the cipher's key.
///
/// `confirm`: a whole-file MAC that is there is made anew. Not where the file was opened though it did not
/// confirm it: what somebody else changed must not become what it confirms.
pub(crate) fn sign(
    text: &str,
    format: Format,
    cipher: &Cipher<'_>,
    now: jiff::Timestamp,
    confirm: bool,
) -> Result<String, EncryptError> {
    let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
    let stream = format.parse(text).map_err(|error| failed(&error))?;
    let metadata = Metadata::read(&stream).map_err(|error| failed(&error))?;
    let mut mac = Mac::new(metadata.mac_only_encrypted);
    tree::walk(&stream, &metadata.selection, |leaf| {
        match open::open(&stream, &leaf, cipher).map_err(|error| failed(&error))? {
            Opened::Value(_, value, _) => mac.add(&value, true),
            Opened::Kept(Some(value)) => mac.add(&value, leaf.selected),
            Opened::Clear(..) => {
                let what = format!("line {}: {} would stay clear", leaf.line(), leaf.path());
                return Err(EncryptError::SelfCheck(what));
            }
            _ => {}
        }
        Ok(())
    })?;
    let now = rfc3339::of(now);
    let mac = seal_mac(&mac.finish(), &now, cipher)?;
    let mut edits = Edits::new();
    metadata::set_mac(&stream, &mut edits, &mac, &now).map_err(|error| failed(&error))?;
    let mut text = edits.try_apply(text).map_err(|error| failed(&error))?;
    let text = std::mem::take(&mut *text);
    match metadata.whole_mac {
        Some(_) if confirm => whole_mac::seal(text, format, cipher.key()),
        _ => Ok(text),
    }
}

fn seal_mac(mac: &str, now: &str, cipher: &Cipher<'_>) -> Result<String, RandomError> {
    cipher.encrypt(mac.as_bytes(), now, Kind::Str, &mut Ivs::new())
}

/// Opens a result again: the MAC must confirm it (but for `ignore_mac`), and its values must be those of `plain`.
fn check(
    text: &str,
    format: Format,
    cipher: &Cipher<'_>,
    plain: &str,
    selection: &Selection,
    ignore_mac: bool,
) -> Result<(), EncryptError> {
    let failed = |error: &dyn fmt::Display| EncryptError::SelfCheck(error.to_string());
    let stream = format.parse(text).map_err(|error| failed(&error))?;
    let metadata = Metadata::read(&stream).map_err(|error| failed(&error))?;
    let options = DecryptOptions {
        ignore_mac,
        ..DecryptOptions::default()
    };
    let opened = decrypt::plain_edits(&stream, &metadata, cipher, &options)
        .map_err(|error| failed(&error))?;
    let result = opened
        .edits
        .try_apply(text)
        .map_err(|error| failed(&error))?;
    let leaves = |text: &str| leaves(text, format, selection);
    if *result == *plain || leaves(&result)? == leaves(plain)? {
        return Ok(());
    }
    Err(failed(&"other values"))
}

/// Returns the ciphertexts of a file by what is encrypted again where its clear text is read.
///
/// Clear text and file are walked side by side: what a ciphertext says about its type need not be
/// what its text is read as (older files have `type:float` for every number of JSON).
fn stash_of(
    stream: &Stream<'_>,
    plain: &str,
    metadata: &Metadata,
    cipher: &Cipher<'_>,
) -> Result<Stash, DecryptError> {
    let mut stash = Stash::default();
    let mut values: Vec<Option<String>> = Vec::new();
    tree::walk(stream, &metadata.selection, |leaf| {
        if leaf.alias.is_some() {
            return Ok::<(), DecryptError>(());
        }
        let mut comment = |text: &str, token: &str| {
            stash.add(leaf.aad, Kind::Comment, text.as_bytes(), token.trim_end());
        };
        match open::open(stream, &leaf, cipher)? {
            Opened::Value(node, ..) => {
                values.push(Some(stream.node(node).value.trim_end().to_owned()));
            }
            Opened::Kept(_) | Opened::Clear(..) => values.push(None),
            Opened::Comment(found, text) => comment(&text, &stream.comment_text(found)),
            Opened::Element(node, text) => comment(&text, &stream.node(node).value),
            Opened::ClearComment(found) => {
                let text = stream.comment_text(found);
                // Damaged, and not to be encrypted once more.
                if open::looks_encrypted(&text) {
                    comment(&text, &text);
                }
            }
            Opened::KeptComment => {}
        }
        Ok(())
    })?;
    let clear = format::parse(stream.syntax(), plain)?;
    let mut read = Vec::new();
    tree::walk(&clear, &metadata.selection, |leaf| {
        if let (What::Scalar(node), None) = (leaf.what, leaf.alias) {
            let value = tree::value_of(&clear, node, || leaf.path())?;
            let again = value.map(|value| {
                let plaintext = encrypt::plaintext(&clear, node, &value);
                (leaf.aad.to_owned(), value.kind(), plaintext)
            });
            read.push(again);
        }
        Ok::<(), TreeError>(())
    })?;
    if read.len() == values.len() {
        for (token, again) in values.iter().zip(&read) {
            if let (Some(token), Some((aad, kind, plaintext))) = (token, again) {
                stash.add(aad, *kind, plaintext, token);
            }
        }
    }
    Ok(stash)
}

/// Returns a digest of the values of a clear text with their paths and types, and that of each of
/// its comments, in no order: which of two places a comment belongs to may be seen in two ways.
fn leaves(
    plain: &str,
    format: Format,
    selection: &Selection,
) -> Result<([u8; 32], Vec<[u8; 32]>), EncryptError> {
    let stream = format.parse(plain)?;
    let mut values = Sha256::new();
    let mut comments: Vec<[u8; 32]> = Vec::new();
    tree::walk(&stream, selection, |leaf| {
        let node = match leaf.what {
            What::Comment(comment) => {
                let text = Zeroizing::new(stream.comment_text(comment).into_owned());
                comments.push(Sha256::digest(text.as_bytes()).into());
                return Ok::<(), TreeError>(());
            }
            What::Scalar(node) => node,
        };
        let value = tree::value_of(&stream, node, || leaf.path())?;
        let (kind, bytes) = match &value {
            None => (u8::MAX, Zeroizing::default()),
            Some(value) => (value.kind() as u8, value.bytes()),
        };
        for part in [
            leaf.aad.as_bytes(),
            &[kind, u8::from(leaf.selected)],
            &bytes,
        ] {
            values.update((part.len() as u64).to_le_bytes());
            values.update(part);
        }
        Ok(())
    })?;
    comments.sort_unstable();
    Ok((values.finalize().into(), comments))
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;

//! Files that are one value: any bytes in, JSON out (sops-format.md 13).

use std::panic::resume_unwind;
use std::thread;

use selkie_secret::SecretBytes;
use selkie_text::{self as text, Edits, Kind as NodeKind, Stream, Syntax};
use zeroize::Zeroizing;

use crate::cipher::{Cipher, Ivs, Kind};
use crate::data_key::{self, GroupError};
use crate::decrypt::{DecryptError, DecryptOptions};
use crate::encrypt::{AlreadyEncrypted, EncryptError, EncryptPlan, Encrypted, Encryption};
use crate::format::Format;
use crate::keys::{DataKey, DataKeySource, RandomError};
use crate::mac::Mac;
use crate::metadata::{self, Metadata, NewMetadata};
use crate::open::{self, MacError, Opened};
use crate::rfc3339;
use crate::tree::{self, SOPS_KEY, What};
use crate::value::Value;
use crate::whole_mac;

/// The key of the value, and its additional authenticated data.
const DATA_KEY: &str = "data";
const DATA_AAD: &str = "data:";

/// Bytes whose digest takes longer than a thread to start.
const WORTH_A_THREAD: usize = 1 << 20;

/// Encrypts bytes as one value.
///
/// The plan's selection and `mac_only_encrypted` mean nothing here; no selection is written. A file
/// that is encrypted already says so (sops encrypts it again, sops-format.md 24).
pub fn encrypt_binary(bytes: &[u8], plan: &EncryptPlan<'_>) -> Result<Encryption, EncryptError> {
    encrypt_binary_as(bytes, Format::Binary, plan)
}

/// As [`encrypt_binary`], with the encrypted file in another format: there the bytes stand under
/// `data`. INI has no place for them.
pub fn encrypt_binary_as(
    bytes: &[u8],
    to: Format,
    plan: &EncryptPlan<'_>,
) -> Result<Encryption, EncryptError> {
    if let Some(metadata) = metadata_of(bytes) {
        return Ok(Encryption::AlreadyEncrypted(AlreadyEncrypted {
            clear: Vec::new(),
            keys: metadata.keys().cloned().collect(),
        }));
    }
    if plan.groups.iter().all(Vec::is_empty) {
        return Err(GroupError::None.into());
    }
    let key = DataKey::generate()?;
    let cipher = Cipher::new(&key);
    let mut ivs = Ivs::new();
    let wrapped = data_key::wrap(&key, &plan.groups, plan.threshold)?;
    let now = rfc3339::of(plan.now);
    let (digest, token) = digest_and_token(bytes, &cipher, &mut ivs);
    let token = token?;
    let mac = cipher.encrypt(digest.as_bytes(), &now, Kind::Str, &mut ivs)?;
    let block = NewMetadata {
        groups: &wrapped.groups,
        threshold: wrapped.threshold,
        last_modified: &now,
        mac: &mac,
        selection: None,
        mac_only_encrypted: false,
        whole_mac: plan.whole_mac,
    }
    .to_value(to.syntax());
    if to.syntax() != Syntax::Json {
        let mut encrypted = in_frame(token, to, &block)?;
        encrypted.text = whole_mac::seal(encrypted.text, to, &key)?;
        return Ok(Encryption::Encrypted(encrypted));
    }
    let empty = text::Value::Str(String::new());
    let frame = text::Value::Map(vec![
        (DATA_KEY.to_owned(), empty),
        (SOPS_KEY.to_owned(), block),
    ]);
    let frame = text::emit(&frame, Syntax::Json, None)
        .map_err(|error| EncryptError::SelfCheck(error.to_string()))?;
    // The ciphertext needs no escapes, and may be large: it is put into the finished frame.
    let (before, after) = frame
        .split_once("\"\"")
        .ok_or_else(|| EncryptError::SelfCheck("no place for the value".to_owned()))?;
    let mut text = token;
    text.reserve(frame.len());
    text.insert_str(0, &format!("{before}\""));
    text.push('"');
    text.push_str(after);
    if plan.whole_mac {
        text = whole_mac::seal(text, to, &key)?;
    }
    Ok(Encryption::Encrypted(Encrypted {
        text,
        values: usize::from(!bytes.is_empty()),
        comments: 0,
    }))
}

/// Returns the digest for the MAC, and the ciphertext; empty for no bytes, as in sops.
///
/// SHA-512 takes as long as encryption and encoding together, so that of a large file gets a thread.
fn digest_and_token(
    bytes: &[u8],
    cipher: &Cipher<'_>,
    ivs: &mut Ivs,
) -> (String, Result<String, RandomError>) {
    let digest = || {
        let mut mac = Mac::new(false);
        mac.add(&Value::Str(bytes.into()), true);
        mac.finish()
    };
    thread::scope(|scope| {
        let aside = (bytes.len() >= WORTH_A_THREAD)
            .then(|| thread::Builder::new().spawn_scoped(scope, digest).ok())
            .flatten();
        let token = match bytes.is_empty() {
            true => Ok(String::new()),
            false => cipher.encrypt(bytes, DATA_AAD, Kind::Str, ivs),
        };
        let digest = match aside {
            Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => digest(),
        };
        (digest, token)
    })
}

/// Puts an encrypted value and the metadata into a file that is not JSON.
fn in_frame(token: String, to: Format, block: &text::Value) -> Result<Encrypted, EncryptError> {
    let values = usize::from(!token.is_empty());
    let frame = text::Value::Map(vec![(DATA_KEY.to_owned(), text::Value::Str(token))]);
    let frame = text::emit(&frame, to.syntax(), None)
        .map_err(|error| EncryptError::Unwritable(error.to_string()))?;
    let stream = to.parse(&frame)?;
    let mut edits = Edits::new();
    metadata::append(&stream, &mut edits, block, metadata::INDENT)?;
    let mut text = edits.try_apply(&frame)?;
    Ok(Encrypted {
        text: std::mem::take(&mut *text),
        values,
        comments: 0,
    })
}

/// Decrypts a file that [`encrypt_binary`] or sops made, and returns its bytes.
pub fn decrypt_binary(
    source: &str,
    keys: &dyn DataKeySource,
    options: &DecryptOptions,
) -> Result<SecretBytes, DecryptError> {
    let stream = Format::Binary.parse(source)?;
    let metadata = Metadata::read(&stream)?;
    if options.require_version {
        metadata.check_version()?;
    }
    let key = data_key::recover(&metadata, keys, options.order.as_ref())?;
    open_binary(&stream, &metadata, &Cipher::new(&key), options)
}

/// Opens every value, checks the MAC (but for `ignore_mac`), and returns the bytes.
pub(crate) fn open_binary(
    stream: &Stream<'_>,
    metadata: &Metadata,
    cipher: &Cipher<'_>,
    options: &DecryptOptions,
) -> Result<SecretBytes, DecryptError> {
    let data = data_node(stream).ok_or(DecryptError::NoData)?;
    let mut mac = Mac::new(metadata.mac_only_encrypted);
    let mut found = Zeroizing::new(Vec::new());
    tree::walk(stream, &metadata.selection, |leaf| {
        let is_data = matches!(leaf.what, What::Scalar(node) if node == data);
        match open::open(stream, &leaf, cipher)? {
            Opened::Value(_, value, plain) => {
                mac.add(&value, true);
                if is_data {
                    found = plain;
                }
            }
            Opened::Kept(Some(value)) => {
                mac.add(&value, leaf.selected);
                if let (true, Value::Str(bytes)) = (is_data, &value) {
                    *found = bytes.to_vec();
                }
            }
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
    if !options.ignore_mac {
        open::check_mac(metadata, cipher, &mac.finish())?;
    }
    whole_mac::check(stream, Format::Binary, metadata, cipher, options).map_err(MacError::from)?;
    Ok(SecretBytes::new(std::mem::take(&mut *found)))
}

/// Puts other bytes in the place of those of an encrypted file; `mac` and `lastmodified` stay.
pub(crate) fn replace(
    source: &str,
    bytes: &[u8],
    cipher: &Cipher<'_>,
) -> Result<String, EncryptError> {
    let stream = Format::Binary.parse(source)?;
    let failed = || EncryptError::SelfCheck("no place for the value".to_owned());
    let node = data_node(&stream).ok_or_else(failed)?;
    let token = match bytes.is_empty() {
        true => String::new(),
        false => cipher.encrypt(bytes, DATA_AAD, Kind::Str, &mut Ivs::new())?,
    };
    let span = &stream.node(node).span;
    Ok([
        &source[..span.start],
        "\"",
        &token,
        "\"",
        &source[span.end..],
    ]
    .concat())
}

/// Returns the node of the one value: a string under `data` at the top.
fn data_node(stream: &Stream<'_>) -> Option<text::NodeId> {
    let root = stream.documents().first()?.root?;
    let node = tree::member(stream, root, DATA_KEY)?;
    let is_text = matches!(stream.resolve(node), Ok(text::Scalar::Str(_)));
    (stream.node(node).kind == NodeKind::Scalar && is_text).then_some(node)
}

/// Returns the metadata of bytes that are an encrypted binary file.
fn metadata_of(bytes: &[u8]) -> Option<Metadata> {
    let begins = bytes.trim_ascii_start().starts_with(b"{");
    let source = std::str::from_utf8(bytes).ok().filter(|_| begins)?;
    if !source.contains("\"sops\"") {
        return None;
    }
    let stream = Format::Binary.parse(source).ok()?;
    let root = stream.documents().first()?.root?;
    let data = data_node(&stream)?;
    let only_these = stream.entries(root).count() == 2;
    let data = &stream.node(data).value;
    let encrypted = only_these && (data.is_empty() || open::looks_encrypted(data));
    Metadata::read(&stream).ok().filter(|_| encrypted)
}

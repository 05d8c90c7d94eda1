//! Opening one age file with given identities: the one place where ciphertext is read.

use std::io::{self, Cursor, Read};

use ::age::armor::{ArmoredReadError, ArmoredReader};
use ::age::{DecryptError, Decryptor, Identity};
use age_core::format::{FileKey, Stanza};

/// Why an age file does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The lines around and in the Base64 text are not those of an armored age file.
    #[error("it is not an armored age file: {0}")]
    Armor(String),
    /// The header is not one of age, or breaks a rule of it.
    #[error("its age header is malformed")]
    Header,
    /// It is a later version of the format.
    #[error("it is an age file of a version that is not known here")]
    Version,
    /// No identity has a stanza in the header.
    #[error("no identity fits")]
    NoMatch,
    /// The header was changed after it was written.
    #[error("the header of its age file was changed")]
    HeaderMac,
    /// The text behind the header was changed or cut, or does not belong to it.
    #[error("the payload of its age file was changed or cut")]
    Payload,
    /// The passphrase is hashed so often that it would take too long.
    #[error("its passphrase work factor 2^{0} is too high (at most 2^{MAX_WORK_FACTOR})")]
    Work(u8),
    /// The passphrase of the file, or of the identity for it, is wrong or was not given.
    #[error("the passphrase is wrong or was not given")]
    Passphrase,
    /// An identity was used, and failed.
    #[error("{0}")]
    Identity(String),
}

/// Largest scrypt work factor, as in the original age: about 22 s and 4 GiB.
pub(super) const MAX_WORK_FACTOR: u8 = 22;

/// Opens an age file, armored or not, with the first identity that fits, and returns a reader of
/// its plaintext, whose errors [`payload`] tells.
///
/// An error of one identity counts only when no other fits, so that a broken plugin does not stand
/// before a good key.
pub fn open(file: &[u8], identities: &[&dyn Identity]) -> Result<impl Read + use<>, OpenError> {
    let file = without_armor(file)?;
    if !has_whole_stanzas(&file) {
        return Err(OpenError::Header);
    }
    let decryptor = Decryptor::new_buffered(Cursor::new(file)).map_err(|error| match error {
        DecryptError::UnknownFormat => OpenError::Version,
        _ => OpenError::Header,
    })?;
    let any = AnyOf(identities);
    let opened = decryptor.decrypt(std::iter::once(&any as &dyn Identity));
    opened.map_err(|error| match error {
        DecryptError::NoMatchingKeys => OpenError::NoMatch,
        DecryptError::InvalidMac => OpenError::HeaderMac,
        DecryptError::ExcessiveWork { required, .. } => OpenError::Work(required),
        DecryptError::InvalidHeader => OpenError::Header,
        DecryptError::KeyDecryptionFailed => OpenError::Passphrase,
        other => OpenError::Identity(super::plain(&other)),
    })
}

fn without_armor(file: &[u8]) -> Result<Vec<u8>, OpenError> {
    let trimmed = file.trim_ascii_start();
    if !trimmed.starts_with(b"-----BEGIN") {
        return Ok(file.to_vec());
    }
    let mut bytes = Vec::with_capacity(file.len());
    ArmoredReader::new(trimmed)
        .read_to_end(&mut bytes)
        .map_err(|error| match payload(&error) {
            OpenError::Payload => OpenError::Armor("it is cut".to_owned()),
            armor => armor,
        })?;
    Ok(bytes)
}

/// Returns whether every stanza of a header ends in a line of less than 64 characters, be it empty
/// (c2sp.org/age, "Recipient stanza"). The crate takes old files without it, which the format
/// forbids by now; all else in the header it checks itself.
fn has_whole_stanzas(file: &[u8]) -> bool {
    let mut whole = true;
    for line in file.split(|byte| *byte == b'\n').skip(1) {
        let new = line.starts_with(b"-> ");
        if new || line.starts_with(b"---") {
            if !whole {
                return false;
            }
            if !new {
                break;
            }
        }
        whole = !new && line.len() < 64;
    }
    true
}

/// Several identities as one.
struct AnyOf<'a>(&'a [&'a dyn Identity]);

impl Identity for AnyOf<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        let mut first = None;
        for identity in self.0 {
            match identity.unwrap_stanzas(stanzas) {
                None => {}
                Some(Ok(key)) => return Some(Ok(key)),
                // The file breaks a rule of the format: no other identity can help.
                Some(Err(DecryptError::InvalidHeader)) => {
                    return Some(Err(DecryptError::InvalidHeader));
                }
                Some(Err(error)) => {
                    first.get_or_insert(error);
                }
            }
        }
        first.map(Err)
    }
}

/// Returns what an error of the reader of [`open`] means.
pub fn payload(error: &io::Error) -> OpenError {
    match armor(error) {
        Some(reason) => OpenError::Armor(reason),
        None => OpenError::Payload,
    }
}

fn armor(error: &io::Error) -> Option<String> {
    let cause = error.get_ref()?.downcast_ref::<ArmoredReadError>()?;
    Some(cause.to_string())
}

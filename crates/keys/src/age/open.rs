//! Opening one age file with given identities: the one place where ciphertext is read.

use std::io::{self, Read};

use ::age::armor::{ArmoredReadError, ArmoredReader};
use ::age::{DecryptError, Decryptor, Identity};

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

/// Reads the header of an age file, armored or not, and returns a reader of its plaintext, whose
/// errors [`payload`] tells.
pub fn open<'a, R: Read + 'a>(
    file: R,
    identity: &dyn Identity,
) -> Result<impl Read + 'a, OpenError> {
    let decryptor =
        Decryptor::new_buffered(ArmoredReader::new(file)).map_err(|error| header(&error))?;
    decryptor
        .decrypt(std::iter::once(identity))
        .map_err(|error| header(&error))
}

fn header(error: &DecryptError) -> OpenError {
    match error {
        DecryptError::Io(error) => match armor(error) {
            Some(reason) => OpenError::Armor(reason),
            None => OpenError::Header,
        },
        DecryptError::NoMatchingKeys => OpenError::NoMatch,
        DecryptError::InvalidMac => OpenError::HeaderMac,
        DecryptError::UnknownFormat => OpenError::Version,
        DecryptError::ExcessiveWork { required, .. } => OpenError::Work(*required),
        DecryptError::InvalidHeader => OpenError::Header,
        DecryptError::KeyDecryptionFailed => OpenError::Passphrase,
        other => OpenError::Identity(super::plain(other)),
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

//! The cipher of one value: a session key under RSA-OAEP, the value under AES-GCM
//! (sealed-secrets.md 1).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey};
use selkie_secret::SecretBytes;
use zeroize::Zeroizing;

use crate::{Certificate, Label};

/// Why a value could not be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes; try again")]
    Random,
    /// The RSA or AES operation failed.
    #[error("the value cannot be encrypted with the key of this certificate")]
    Cipher,
}

/// Why a value could not be opened. Never more specific, so that nothing is learned from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The bytes end before the RSA block does.
    #[error("the sealed value is too short; it was cut or is not a sealed value")]
    TooShort,
    /// No key opens the value under this label. The text is that of kubeseal and its controller.
    #[error("no key could decrypt secret")]
    NoKey,
}

/// Seals one value: k, the RSA block, the ciphertext with its tag.
///
/// The nonce is twelve zero bytes, which is safe only because each call makes its own session key.
/// Whether the certificate is still valid is the caller's to check
/// ([`Certificate::check_not_expired`]).
pub fn seal_value(
    certificate: &Certificate,
    label: &Label,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut session = Zeroizing::new([0; SESSION_KEY_LEN]);
    aws_lc_rs::rand::fill(&mut *session).map_err(|_| SealError::Random)?;
    let key = certificate.public_key();
    let block = key.ciphertext_size();
    let length = u16::try_from(block).map_err(|_| SealError::Cipher)?;

    let mut sealed = Vec::with_capacity(2 + block + plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(&length.to_be_bytes());
    sealed.resize(2 + block, 0);
    key.encrypt(
        &OAEP_SHA256_MGF1SHA256,
        &*session,
        &mut sealed[2..],
        Some(label.as_bytes()),
    )
    .map_err(|_| SealError::Cipher)?;

    // Encrypted in a buffer of its own that is wiped: a failure must not leave plaintext behind.
    let mut body = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
    body.extend_from_slice(plaintext);
    cipher(&*session)
        .ok_or(SealError::Cipher)?
        .seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut *body)
        .map_err(|_| SealError::Cipher)?;
    sealed.extend_from_slice(&body);
    Ok(sealed)
}

/// A sealed value split into its parts, so that it is looked at once for all keys.
pub(crate) struct Sealed<'a> {
    block: &'a [u8],
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, UnsealError> {
        let (length, rest) = bytes
            .split_first_chunk::<2>()
            .ok_or(UnsealError::TooShort)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (block, body) = rest.split_at_checked(length).ok_or(UnsealError::TooShort)?;
        Ok(Self { block, body })
    }

    /// Length of the RSA block, which is that of the key's modulus.
    pub(crate) fn block_len(&self) -> usize {
        self.block.len()
    }

    /// Opens the value; `None` unless RSA-OAEP and AES-GCM both succeed.
    pub(crate) fn open(
        &self,
        key: &OaepPrivateDecryptingKey,
        label: &Label,
    ) -> Option<SecretBytes> {
        // A block of another length is that of another key: no need for an RSA operation.
        if self.block.len() != key.key_size_bytes() {
            return None;
        }
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let session = key
            .decrypt(
                &OAEP_SHA256_MGF1SHA256,
                self.block,
                &mut buffer,
                Some(label.as_bytes()),
            )
            .ok()?;
        let mut body = Zeroizing::new(self.body.to_vec());
        let length = cipher(session)?
            .open_in_place(zero_nonce(), Aad::empty(), &mut body)
            .ok()?
            .len();
        body.truncate(length);
        Some(SecretBytes::new(std::mem::take(&mut *body)))
    }
}

/// The cipher for a session key; readers take all three AES lengths (sealed-secrets.md 1, rule 3).
fn cipher(session: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match session.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return None,
    };
    Some(LessSafeKey::new(UnboundKey::new(algorithm, session).ok()?))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

const SESSION_KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;

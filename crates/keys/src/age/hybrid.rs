//! The post-quantum recipient type of age 1.3: `age1pq1...` and `AGE-SECRET-KEY-PQ-1...`
//! (c2sp.org/age, "The mlkem768x25519 recipient type"): HPKE over X-Wing. The age crate 0.12 lacks
//! it; file framing, header MAC and payload are the crate's.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use ::age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode, hpke_open};
use age_core::secrecy::ExposeSecret as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bech32::Hrp;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable as _, Kem as _, OpModeS, Serializable as _};
use rand_core::OsRng;
use selkie_secret::SecretString;
use zeroize::{Zeroize as _, Zeroizing};

use super::xwing::{self, EncappedKey, PrivateKey, PublicKey, XWing};

/// A post-quantum public key, `age1pq1...`.
#[derive(Clone, PartialEq, Eq)]
pub struct HybridRecipient(PublicKey);

/// A post-quantum private key, `AGE-SECRET-KEY-PQ-1...`.
#[derive(Clone)]
pub struct HybridIdentity(PrivateKey);

const RECIPIENT_PREFIX: Hrp = Hrp::parse_unchecked("age1pq");
const IDENTITY_PREFIX: Hrp = Hrp::parse_unchecked("AGE-SECRET-KEY-PQ-");
const STANZA_TAG: &str = "mlkem768x25519";
/// The `info` of HPKE.
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// The file key and the tag of ChaCha20-Poly1305.
const BODY_LEN: usize = FILE_KEY_BYTES + 16;
/// Files with this label are never wrapped for a recipient that a quantum computer breaks.
const LABEL: &str = "postquantum";

impl ::age::Recipient for HybridRecipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (enc, body) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing, _>(
            &OpModeS::Base,
            &self.0,
            INFO,
            file_key.expose_secret(),
            &[],
            &mut OsRng,
        )
        .map_err(|_| {
            let reason = "the X25519 half of the post-quantum recipient is of low order";
            EncryptError::Io(std::io::Error::other(reason))
        })?;
        let stanza = Stanza {
            tag: STANZA_TAG.to_owned(),
            args: vec![BASE64_STANDARD_NO_PAD.encode(enc.to_bytes())],
            body,
        };
        Ok((vec![stanza], HashSet::from([LABEL.to_owned()])))
    }
}

impl ::age::Identity for HybridIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if stanza.tag != STANZA_TAG {
            return None;
        }
        let Some(enc) = parse_stanza(stanza) else {
            return Some(Err(DecryptError::InvalidHeader));
        };
        match hpke_open::<XWing>(&enc, &self.0, INFO, &stanza.body) {
            Ok(mut opened) => Some(FileKey::try_init_with_mut(|key| {
                let fits = opened.len() == key.len();
                if fits {
                    key.copy_from_slice(&opened);
                }
                opened.zeroize();
                fits.then_some(()).ok_or(DecryptError::InvalidHeader)
            })),
            // The share of X25519 is of low order: nobody honest writes that.
            Err(hpke::HpkeError::DecapError) => Some(Err(DecryptError::InvalidHeader)),
            // For somebody else: the stanza does not say for whom.
            Err(_) => None,
        }
    }
}

/// Returns the encapsulated key of a stanza of canonical form.
fn parse_stanza(stanza: &Stanza) -> Option<EncappedKey> {
    let [enc] = &stanza.args[..] else { return None };
    if stanza.body.len() != BODY_LEN {
        return None;
    }
    let enc = BASE64_STANDARD_NO_PAD.decode(enc).ok()?;
    EncappedKey::from_bytes(&enc).ok()
}

impl HybridIdentity {
    /// Makes a key from the operating system's random source.
    pub fn generate() -> Result<Self, getrandom::Error> {
        PrivateKey::generate().map(Self)
    }

    /// Returns the public key.
    pub fn to_public(&self) -> HybridRecipient {
        HybridRecipient(XWing::sk_to_pk(&self.0))
    }

    /// Returns the private key as text, `AGE-SECRET-KEY-PQ-1...`.
    pub fn to_text(&self) -> SecretString {
        let lower = Zeroizing::new(bech32_encode(IDENTITY_PREFIX, self.0.expose()));
        SecretString::new(lower.to_uppercase())
    }
}

impl FromStr for HybridIdentity {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bech32_decode(
            text,
            |_| "invalid Bech32 encoding",
            |prefix| is(prefix, IDENTITY_PREFIX),
            |_, bytes| {
                let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(bytes.collect());
                let key = PrivateKey::from_bytes(&bytes);
                key.map(Self).map_err(|_| "incorrect identity length")
            },
        )
    }
}

impl FromStr for HybridRecipient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        bech32_decode(
            text,
            |_| "invalid Bech32 encoding",
            |prefix| is(prefix, RECIPIENT_PREFIX),
            |_, bytes| {
                let bytes: Vec<u8> = bytes.take(xwing::PUBLIC_LEN + 1).collect();
                let key = PublicKey::from_bytes(&bytes);
                key.map(Self)
                    .map_err(|_| "it is not a key of ML-KEM-768 and X25519")
            },
        )
    }
}

fn is(prefix: Hrp, wanted: Hrp) -> Result<(), &'static str> {
    (prefix == wanted).then_some(()).ok_or("incorrect prefix")
}

impl fmt::Display for HybridRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32_encode(RECIPIENT_PREFIX, &self.0.to_bytes()))
    }
}

impl fmt::Debug for HybridRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use ::age::{Identity as _, Recipient as _};

    use super::*;

    #[test]
    fn keys_have_one_text_and_wrap_with_the_label() {
        let own = HybridIdentity::generate().unwrap();
        let text = own.to_text();
        assert!(text.expose().starts_with("AGE-SECRET-KEY-PQ-1"));
        let again: HybridIdentity = text.expose().parse().unwrap();
        let public = again.to_public().to_string();
        assert!(public.starts_with("age1pq1"), "{public}");
        let recipient: HybridRecipient = public.parse().unwrap();
        assert_eq!(recipient, own.to_public());

        let key = FileKey::new(Box::new([7; FILE_KEY_BYTES]));
        let (stanzas, labels) = recipient.wrap_file_key(&key).unwrap();
        assert_eq!(labels, HashSet::from(["postquantum".to_owned()]));
        let opened = own.unwrap_stanzas(&stanzas).unwrap().unwrap();
        assert_eq!(opened.expose_secret(), &[7; FILE_KEY_BYTES]);
        let other = HybridIdentity::generate().unwrap();
        assert!(other.unwrap_stanzas(&stanzas).is_none());
    }

    #[test]
    fn a_recipient_whose_x25519_half_is_of_low_order_is_not_wrapped_for() {
        let mut bytes = HybridIdentity::generate().unwrap().to_public().0.to_bytes();
        bytes[1184..].fill(0);
        let text = bech32_encode(RECIPIENT_PREFIX, &bytes);
        let recipient: HybridRecipient = text.parse().unwrap();
        let key = FileKey::new(Box::new([7; FILE_KEY_BYTES]));
        assert!(recipient.wrap_file_key(&key).is_err());
    }
}

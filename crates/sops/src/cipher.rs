//! The value cipher: `ENC[AES256_GCM,data:..,iv:..,tag:..,type:..]` (sops-format.md 2).

use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Tag};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::keys::{DataKey, RandomError};
use crate::stash::Stash;

/// What a ciphertext says its plaintext is: the `type` field (sops-format.md 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Str,
    Int,
    Float,
    Bool,
    Time,
    Comment,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Comment => "comment",
        }
    }

    /// Parses the field. `bytes`, which Python-era files have, is read as `str` (2.3).
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "str" | "bytes" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "time" => Self::Time,
            "comment" => Self::Comment,
            _ => return None,
        })
    }
}

/// Why a value does not decrypt. Holds no part of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CipherError {
    /// Not an `ENC[AES256_GCM,...]` text.
    #[error("it is not an ENC[AES256_GCM,...] value")]
    NotEncrypted,
    /// A field is not base64.
    #[error("its {0} field is not base64")]
    Base64(&'static str),
    /// The IV has a length that no writer uses.
    #[error("its iv has {0} bytes, not 32 or 12")]
    IvLength(usize),
    /// The tag is not 16 bytes.
    #[error("its tag has {0} bytes, not 16")]
    TagLength(usize),
    /// The `type` field is unknown.
    #[error("its type is not one of str, int, float, bool, time, comment")]
    UnknownType,
    /// The tag does not fit: other key, other path, or a changed byte.
    #[error("it was changed, moved to another key, or encrypted with another data key")]
    Authentication,
    /// The plaintext does not parse as its type.
    #[error("its plaintext is not of the type it says")]
    Plaintext,
}

/// AES-256-GCM under one data key: one key schedule for a whole file.
pub(crate) struct Cipher<'k> {
    key: &'k DataKey,
    aead: AesGcm<Aes256, U32>,
}

/// A supply of random IVs, drawn from the operating system in blocks; before them, the ciphertexts
/// that equal values had before.
pub(crate) struct Ivs {
    block: Vec<u8>,
    at: usize,
    stash: Stash,
}

/// Length of an IV in bytes; not the usual 12 (sops-format.md 2.2).
const IV_LEN: usize = 32;
const TAG_LEN: usize = 16;
const IVS_PER_BLOCK: usize = 64;

const PREFIX: &str = "ENC[AES256_GCM,data:";

/// Go's standard encoding: padding required, trailing bits not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

impl<'k> Cipher<'k> {
    pub(crate) fn new(key: &'k DataKey) -> Self {
        let aead = AesGcm::<Aes256, U32>::new(key.expose().into());
        Self { key, aead }
    }

    pub(crate) fn key(&self) -> &DataKey {
        self.key
    }

    /// Encrypts `plaintext` under `aad` and a fresh IV, and returns the `ENC[..]` text; the one of
    /// before where `ivs` has it.
    pub(crate) fn encrypt(
        &self,
        plaintext: &[u8],
        aad: &str,
        kind: Kind,
        ivs: &mut Ivs,
    ) -> Result<String, RandomError> {
        if let Some(token) = ivs.stash.take(aad, kind, plaintext) {
            return Ok(token);
        }
        Ok(self.encrypt_with_iv(plaintext, aad, kind, &ivs.next()?))
    }

    fn encrypt_with_iv(
        &self,
        plaintext: &[u8],
        aad: &str,
        kind: Kind,
        iv: &[u8; IV_LEN],
    ) -> String {
        let mut data = vec![0; plaintext.len()];
        let buffer = InOutBuf::new(plaintext, &mut data).expect("the lengths are equal");
        let tag = self
            .aead
            .encrypt_inout_detached(iv.into(), aad.as_bytes(), buffer)
            .expect("a value is far below the 64 GiB limit of GCM");
        let name = kind.name();
        let mut text = String::with_capacity(PREFIX.len() + data.len() * 4 / 3 + 100);
        text.push_str(PREFIX);
        BASE64.encode_string(data, &mut text);
        text.push_str(",iv:");
        BASE64.encode_string(iv, &mut text);
        text.push_str(",tag:");
        BASE64.encode_string(tag, &mut text);
        text.push_str(",type:");
        text.push_str(name);
        text.push(']');
        text
    }

    /// Decrypts an `ENC[..]` text under `aad`; returns the plaintext and the type it claims.
    pub(crate) fn decrypt(
        &self,
        text: &str,
        aad: &str,
    ) -> Result<(Zeroizing<Vec<u8>>, Kind), CipherError> {
        let fields = Fields::parse(text).ok_or(CipherError::NotEncrypted)?;
        let kind = Kind::parse(fields.kind).ok_or(CipherError::UnknownType)?;
        let mut data = Zeroizing::new(decode(fields.data, "data")?);
        let iv = decode(fields.iv, "iv")?;
        let tag = decode(fields.tag, "tag")?;
        let tag: [u8; TAG_LEN] = tag
            .try_into()
            .map_err(|tag: Vec<u8>| CipherError::TagLength(tag.len()))?;
        let tag = Tag::from(tag);
        let (aad, buffer) = (aad.as_bytes(), InOutBuf::from(&mut data[..]));
        // The length is whatever the file says (2.2); 32 is sops's, the others are of other writers.
        let opened = match iv.len() {
            32 => {
                let iv: [u8; 32] = iv.try_into().unwrap_or_default();
                self.aead
                    .decrypt_inout_detached(&iv.into(), aad, buffer, &tag)
            }
            16 => {
                let iv: [u8; 16] = iv.try_into().unwrap_or_default();
                AesGcm::<Aes256, U16>::new(self.key.expose().into()).decrypt_inout_detached(
                    &iv.into(),
                    aad,
                    buffer,
                    &tag,
                )
            }
            12 => {
                let iv: [u8; 12] = iv.try_into().unwrap_or_default();
                AesGcm::<Aes256, U12>::new(self.key.expose().into()).decrypt_inout_detached(
                    &iv.into(),
                    aad,
                    buffer,
                    &tag,
                )
            }
            other => return Err(CipherError::IvLength(other)),
        };
        opened.map_err(|_| CipherError::Authentication)?;
        Ok((data, kind))
    }
}

impl Ivs {
    pub(crate) fn new() -> Self {
        Self::reusing(Stash::default())
    }

    /// Gives the ciphertexts of the stash first; they must be of the same data key.
    pub(crate) fn reusing(stash: Stash) -> Self {
        Self {
            block: Vec::new(),
            at: 0,
            stash,
        }
    }

    fn next(&mut self) -> Result<[u8; IV_LEN], RandomError> {
        if self.at == self.block.len() {
            self.block.resize(IV_LEN * IVS_PER_BLOCK, 0);
            getrandom::fill(&mut self.block).map_err(|_| RandomError)?;
            self.at = 0;
        }
        let mut iv = [0; IV_LEN];
        iv.copy_from_slice(&self.block[self.at..self.at + IV_LEN]);
        self.at += IV_LEN;
        Ok(iv)
    }
}

/// The four fields of an `ENC[..]` text, still in base64.
struct Fields<'t> {
    data: &'t str,
    iv: &'t str,
    tag: &'t str,
    kind: &'t str,
}

impl<'t> Fields<'t> {
    /// Matches `^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]`, greedy, `.` not matching a
    /// newline: text after the last `]` of the first line is ignored (2.1). Going through the
    /// separators from the right and taking the last place of each is what a greedy match does.
    fn parse(text: &'t str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let body = &line[..line.rfind(']')?];
        let (body, kind) = split_last(body, ",type:")?;
        let (body, tag) = split_last(body, ",tag:")?;
        let (data, iv) = split_last(body, ",iv:")?;
        (!data.is_empty()).then_some(Self {
            data,
            iv,
            tag,
            kind,
        })
    }
}

/// Splits at the last `separator` that leaves something behind it.
fn split_last<'t>(text: &'t str, separator: &str) -> Option<(&'t str, &'t str)> {
    let mut end = text.len();
    loop {
        let at = text[..end].rfind(separator)?;
        let tail = &text[at + separator.len()..];
        if !tail.is_empty() {
            return Some((&text[..at], tail));
        }
        end = at + separator.len() - 1;
    }
}

/// Decodes base64 as Go does: CR is skipped (LF cannot occur here).
fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, CipherError> {
    let decoded = if text.contains('\r') {
        BASE64.decode(text.replace('\r', ""))
    } else {
        BASE64.decode(text)
    };
    decoded.map_err(|_| CipherError::Base64(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector_key() -> DataKey {
        DataKey::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap()
    }

    fn vector_iv() -> [u8; 32] {
        std::array::from_fn(|i| 0x64 + i as u8)
    }

    /// sops-format.md 23: AAD, plaintext, type, data, tag.
    const VECTORS: &[(&str, &str, Kind, &str, &str)] = &[
        // The MAC of `hello`, 42, true.
        (
            "2026-01-02T03:04:05Z",
            "BF1494391A064ACD74287133C3513E6D83138622ADE775AF717114C140FDA3FFA76BA3F18A17372570590FD8C141133F0B77C33F26120802F9CB730EA5BF2DC1",
            Kind::Str,
            "iAfi83EqwExzOnZIqJAd2GX1KtEO8/kUtb+5VAqAmToENaodPqI2xvIBRIxlt5C91aJ9kLGr0ZkxpYQG4JnGeq+6hvw0zE54b7eIABsR3sJc60di8AZBIdKIrA7BNaAFbho6k2oktrP2Qg3YA2a3g8eRbvW70rZTZHqtpsdxmgM=",
            "e2DFYxCVhcTbsU0v90JIqw==",
        ),
        (
            "a:",
            "hello",
            Kind::Str,
            "oiS/qyc=",
            "s9jMet4pi3DzIEWdLNqE0A==",
        ),
        ("a:b:", "42", Kind::Int, "/nM=", "tn3rFzHygWTY2eQadincvg=="),
        ("a:b:", "x", Kind::Str, "sg==", "RFhNfxbDNupKycqNT/FCEg=="),
        (
            "list:",
            "True",
            Kind::Bool,
            "njOmog==",
            "a44NL1+QAGy4/RyMDx23BQ==",
        ),
        (
            "x:",
            "3.14",
            Kind::Float,
            "+W/i8w==",
            "9Ehqy/LD2QjLLTZxhaas7w==",
        ),
        (
            ":",
            " note",
            Kind::Comment,
            "6i+8sy0=",
            "wsFjvAbzxxqVgIia/hePhg==",
        ),
        (
            "d:",
            "2024-01-01T00:00:00Z",
            Kind::Time,
            "+HHh82UuwlhyShJOrOturGjxKLM=",
            "riBMd0a53/E2Z6+srurX6g==",
        ),
        (
            "A:",
            "multi\nline",
            Kind::Str,
            "pzS/syEUnxwsHg==",
            "dxNXq1aUXxpqSS551lztEQ==",
        ),
        ("sec:k:", "v", Kind::Str, "vA==", "6wkZIZbTDQw2DaItGZF9oQ=="),
        (
            "a_b:c d:",
            "yes",
            Kind::Str,
            "sySg",
            "0fZCq8JQsua0iNPq7OdTLw==",
        ),
        (
            "ключ:",
            "é😀",
            Kind::Str,
            "CegjWNCe",
            "bPJD2MQo7mv28ZHYxg98fA==",
        ),
    ];

    #[test]
    fn every_published_vector_encrypts_and_decrypts() {
        let key = vector_key();
        let cipher = Cipher::new(&key);
        for (aad, plain, kind, data, tag) in VECTORS {
            let text = cipher.encrypt_with_iv(plain.as_bytes(), aad, *kind, &vector_iv());
            let name = kind.name();
            let expected = format!(
                "ENC[AES256_GCM,data:{data},iv:ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=,tag:{tag},type:{name}]"
            );
            assert_eq!(text, expected);
            let (opened, found) = cipher.decrypt(&text, aad).unwrap();
            assert_eq!((&opened[..], found), (plain.as_bytes(), *kind));
            assert_eq!(
                cipher.decrypt(&text, "elsewhere:").unwrap_err(),
                CipherError::Authentication
            );
        }
    }

    #[test]
    fn the_reader_is_as_tolerant_as_the_original() {
        let key = vector_key();
        let cipher = Cipher::new(&key);
        let good = cipher.encrypt_with_iv(b"hello", "a:", Kind::Str, &vector_iv());
        for tolerated in [
            format!("{good}\n"),
            format!("{good} and more"),
            good.replace("data:oiS/", "data:oi\rS/"),
            good.replace("type:str", "type:bytes"),
        ] {
            assert_eq!(&cipher.decrypt(&tolerated, "a:").unwrap().0[..], b"hello");
        }
        for (text, error) in [
            ("plain".to_owned(), CipherError::NotEncrypted),
            (format!(" {good}"), CipherError::NotEncrypted),
            (
                good.replace("data:oiS/qyc=", "data:"),
                CipherError::NotEncrypted,
            ),
            (
                good.replace("oiS/qyc=", "oiS/qy\nc="),
                CipherError::NotEncrypted,
            ),
            (
                good.replace("oiS/qyc=", "oiS/qyc"),
                CipherError::Base64("data"),
            ),
            (
                good.replace("type:str", "type:odd"),
                CipherError::UnknownType,
            ),
            (
                good.replace("tag:s9jMet4pi3DzIEWdLNqE0A==", "tag:s9jM"),
                CipherError::TagLength(3),
            ),
            (
                good.replace("iv:ZGVm", "iv:ZGVmZGVm"),
                CipherError::IvLength(35),
            ),
            (good.replace("oiS/", "oiT/"), CipherError::Authentication),
        ] {
            assert_eq!(cipher.decrypt(&text, "a:").unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn other_iv_lengths_open() {
        let key = vector_key();
        let cipher = Cipher::new(&key);
        let mut data = b"hello".to_vec();
        let iv = [7u8; 12];
        let tag = AesGcm::<Aes256, U12>::new(key.expose().into())
            .encrypt_inout_detached((&iv).into(), b"a:", InOutBuf::from(&mut data[..]))
            .unwrap();
        let text = format!(
            "ENC[AES256_GCM,data:{},iv:{},tag:{},type:str]",
            BASE64.encode(&data),
            BASE64.encode(iv),
            BASE64.encode(tag)
        );
        assert_eq!(&cipher.decrypt(&text, "a:").unwrap().0[..], b"hello");
    }

    #[test]
    fn ivs_never_repeat() {
        let mut ivs = Ivs::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..IVS_PER_BLOCK * 3 {
            assert!(seen.insert(ivs.next().unwrap()));
        }
    }
}

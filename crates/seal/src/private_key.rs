//! The private half of a sealing key (sealed-secrets.md 3).

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use selkie_secret::SecretString;

use crate::{Fingerprint, GenerateError, der, pem};

/// A parsed RSA private key; parsing costs about 0.7 ms, so it is kept.
#[derive(Clone)]
pub struct PrivateKey {
    key: PrivateDecryptingKey,
    fingerprint: Fingerprint,
}

/// Why a private key cannot be used. Names nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// No block of type `RSA PRIVATE KEY` or `PRIVATE KEY` that parses. The text is upstream's.
    #[error("data does not contain a valid RSA or ECDSA private key")]
    NoKey,
    /// A key of another kind.
    #[error("private key is not an RSA key")]
    NotRsa,
    /// A block with a passphrase.
    #[error("the private key is encrypted; remove its passphrase first (openssl rsa -in FILE)")]
    Encrypted,
    /// The cryptographic library refuses it: too small, or inconsistent.
    #[error(
        "the RSA private key cannot be used; it needs 2048 to 8192 bits and consistent numbers"
    )]
    Unusable,
}

impl PrivateKey {
    /// Parses the first block of the text that holds a private key, PKCS#1 or PKCS#8; blocks of
    /// other types, such as certificates, are skipped.
    pub fn parse(text: &str) -> Result<Self, PrivateKeyError> {
        let mut problem = PrivateKeyError::NoKey;
        for block in pem::blocks(text) {
            match Self::of_block(&block) {
                Ok(Some(key)) => return Ok(key),
                Ok(None) => {}
                Err(PrivateKeyError::NotRsa) => return Err(PrivateKeyError::NotRsa),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    /// Parses every private key of the text. Fails when there is none, and for a block that looks
    /// like a key and cannot be used.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, PrivateKeyError> {
        let mut keys = Vec::new();
        for block in pem::blocks(text) {
            keys.extend(Self::of_block(&block)?);
        }
        match keys.is_empty() {
            true => Err(PrivateKeyError::NoKey),
            false => Ok(keys),
        }
    }

    /// The key of a block; `None` when the block is something else.
    fn of_block(block: &pem::Block) -> Result<Option<Self>, PrivateKeyError> {
        match block.kind.as_str() {
            "ENCRYPTED PRIVATE KEY" => Err(PrivateKeyError::Encrypted),
            PKCS1_TYPE if block.has_headers => Err(PrivateKeyError::Encrypted),
            PKCS1_TYPE => match KeyPair::from_der(&block.contents) {
                Ok(pair) => Self::from_pair(&pair).map(Some),
                Err(_) if der::is_versioned_sequence(&block.contents) => {
                    Err(PrivateKeyError::Unusable)
                }
                Err(_) => Ok(None),
            },
            "PRIVATE KEY" if der::rsa_key_in_pkcs8(&block.contents).is_some() => {
                match KeyPair::from_pkcs8(&block.contents) {
                    Ok(pair) => Self::from_pair(&pair).map(Some),
                    Err(_) => Err(PrivateKeyError::Unusable),
                }
            }
            "PRIVATE KEY" | "EC PRIVATE KEY" if der::is_versioned_sequence(&block.contents) => {
                Err(PrivateKeyError::NotRsa)
            }
            _ => Ok(None),
        }
    }

    /// Makes a new key of 2048, 3072, 4096 or 8192 bits; half a second for 4096.
    pub fn generate(bits: usize) -> Result<Self, GenerateError> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            8192 => KeySize::Rsa8192,
            _ => return Err(GenerateError::KeySize(bits)),
        };
        let failed = || GenerateError::Library("the RSA key generation failed".to_owned());
        let pair = KeyPair::generate(size).map_err(|_| failed())?;
        Self::from_pair(&pair).map_err(|_| failed())
    }

    /// Returns the fingerprint of the public half.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the key as a PKCS#1 PEM block, the form upstream stores under `tls.key`.
    pub fn to_pkcs1_pem(&self) -> Result<SecretString, PrivateKeyError> {
        let pkcs8 = self.pkcs8()?;
        let key = der::rsa_key_in_pkcs8(pkcs8.as_ref()).ok_or(PrivateKeyError::Unusable)?;
        let mut text = pem::encode(PKCS1_TYPE, key);
        Ok(SecretString::new(std::mem::take(&mut *text)))
    }

    pub(crate) fn decrypting(&self) -> Result<OaepPrivateDecryptingKey, PrivateKeyError> {
        OaepPrivateDecryptingKey::new(self.key.clone()).map_err(|_| PrivateKeyError::Unusable)
    }

    /// Returns what signs the key's own certificate.
    pub(crate) fn signer(&self) -> Result<Signer, PrivateKeyError> {
        let pair = KeyPair::from_pkcs8(self.pkcs8()?.as_ref());
        Ok(Signer(pair.map_err(|_| PrivateKeyError::Unusable)?))
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, PrivateKeyError> {
        let pkcs8 = pair.as_der().map_err(|_| PrivateKeyError::Unusable)?;
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref())
            .map_err(|_| PrivateKeyError::Unusable)?;
        let fingerprint = Fingerprint::of_rsa_public_key(pair.public_key().as_ref())
            .ok_or(PrivateKeyError::Unusable)?;
        Ok(Self { key, fingerprint })
    }

    fn pkcs8(&self) -> Result<Pkcs8V1Der<'static>, PrivateKeyError> {
        self.key.as_der().map_err(|_| PrivateKeyError::Unusable)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.fingerprint)
    }
}

/// Signs with sha256WithRSAEncryption.
pub(crate) struct Signer(KeyPair);

impl rcgen::PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl rcgen::SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.0
            .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature)
    }
}

const PKCS1_TYPE: &str = "RSA PRIVATE KEY";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::tests::{VECTOR_KEY, vector_key};

    #[test]
    fn the_fingerprint_is_that_of_ssh_keygen() {
        assert_eq!(
            vector_key().fingerprint().to_string(),
            "SHA256:G1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y"
        );
        let shown = format!("{:?}", vector_key());
        assert_eq!(
            shown,
            "PrivateKey(SHA256:G1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y)"
        );
    }

    #[test]
    fn both_forms_parse_and_pkcs1_is_written_as_it_was() {
        let key = vector_key();
        assert_eq!(key.to_pkcs1_pem().unwrap().expose(), VECTOR_KEY);
        let pkcs8 = pem::encode("PRIVATE KEY", key.pkcs8().unwrap().as_ref());
        let again = PrivateKey::parse(&pkcs8).unwrap();
        assert_eq!(again.fingerprint(), key.fingerprint());
        let after_others = format!("{}{VECTOR_KEY}", pem::encode("CERTIFICATE", b"x").as_str());
        assert!(PrivateKey::parse(&after_others).is_ok());
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_by_cause() {
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let locked = VECTOR_KEY.replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
        let cut = pem::encode("RSA PRIVATE KEY", &[0x30, 3, 2, 1, 0]);
        for (text, expected) in [
            ("", PrivateKeyError::NoKey),
            (&elliptic, PrivateKeyError::NotRsa),
            (&locked, PrivateKeyError::Encrypted),
            (&cut, PrivateKeyError::Unusable),
        ] {
            assert_eq!(PrivateKey::parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_new_key_seals_and_opens() {
        use crate::{Certificate, Scope, seal_value};
        let key = PrivateKey::generate(2048).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let day = jiff::SignedDuration::from_hours(24);
        let certificate = Certificate::self_signed(&key, "", now, day).unwrap();
        let label = Scope::Strict.label("ns", "n");
        let sealed = seal_value(&certificate, &label, b"v").unwrap();
        let mut ring = crate::KeyRing::default();
        ring.insert(crate::RingKey::new(&key, certificate, now).unwrap());
        assert_eq!(ring.unseal(&label, &sealed).unwrap().expose(), b"v");
        assert_eq!(
            PrivateKey::generate(1024).unwrap_err(),
            GenerateError::KeySize(1024)
        );
    }
}

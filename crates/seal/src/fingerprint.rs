//! The fingerprint of an RSA public key in OpenSSH's form (sealed-secrets.md 3).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::der;

/// SHA-256 over the SSH wire form of a public key; prints as `SHA256:...`, like `ssh-keygen -l`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes the fingerprint of an `RSAPublicKey` in DER; `None` when it is none.
    pub(crate) fn of_rsa_public_key(key: &[u8]) -> Option<Self> {
        let (modulus, exponent) = der::rsa_public_key(key)?;
        let mut wire = Vec::with_capacity(modulus.len() + 32);
        // RFC 4253 6.6; a DER integer and an mpint hold the same bytes.
        for part in [b"ssh-rsa", exponent, modulus] {
            wire.extend_from_slice(&u32::try_from(part.len()).ok()?.to_be_bytes());
            wire.extend_from_slice(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &wire).as_ref());
        Some(Self(bytes))
    }
}

/// Text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fingerprint; it is written SHA256: and 43 characters of base64")]
pub struct FingerprintParseError;

impl FromStr for Fingerprint {
    type Err = FingerprintParseError;

    fn from_str(text: &str) -> Result<Self, FingerprintParseError> {
        let text = text.strip_prefix("SHA256:").ok_or(FingerprintParseError)?;
        let bytes = STANDARD_NO_PAD.decode(text);
        let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(FingerprintParseError)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

//! Signed tokens by which a client shows who it is (RFC 7515, 7519, 7523).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
#[cfg(feature = "gcp-kms")]
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
#[cfg(feature = "azure-kv")]
use aws_lc_rs::signature::RSA_PSS_SHA256;
use aws_lc_rs::signature::RsaEncoding;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use selkie_secret::SecretString;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// How a token is signed (RFC 7518, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[cfg(feature = "gcp-kms")]
    Rs256,
    /// RSASSA-PSS with SHA-256.
    #[cfg(feature = "azure-kv")]
    Ps256,
}

/// An RSA key that signs.
pub(crate) struct SigningKey(KeyPair);

impl SigningKey {
    /// Reads a PEM text, PKCS#8 or PKCS#1. The error says what is wrong, without the text.
    pub(crate) fn from_pem(text: &str) -> Result<Self, &'static str> {
        const NONE: &str = "it is no RSA key in PEM (PKCS#8 or PKCS#1)";
        let mut blocks = pem::parse_many(text).map_err(|_| NONE)?.into_iter();
        let block = blocks
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or(NONE)?;
        if block.tag() == "ENCRYPTED PRIVATE KEY" {
            return Err("it is encrypted with a passphrase");
        }
        let der = Zeroizing::new(block.into_contents());
        KeyPair::from_pkcs8(&der)
            .or_else(|_| KeyPair::from_der(&der))
            .map(Self)
            .map_err(|_| NONE)
    }

    /// Returns a token over `claims`; `header` adds fields to `alg` and `typ`.
    pub(crate) fn sign(
        &self,
        algorithm: Algorithm,
        header: &[(&str, Value)],
        claims: &Value,
    ) -> Result<SecretString, &'static str> {
        let (name, encoding): (&str, &'static dyn RsaEncoding) = match algorithm {
            #[cfg(feature = "gcp-kms")]
            Algorithm::Rs256 => ("RS256", &RSA_PKCS1_SHA256),
            #[cfg(feature = "azure-kv")]
            Algorithm::Ps256 => ("PS256", &RSA_PSS_SHA256),
        };
        let mut head = json!({"alg": name, "typ": "JWT"});
        for (key, value) in header {
            head[*key] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                encoding,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| "the private key does not sign")?;
        let signature = URL_SAFE_NO_PAD.encode(&signature);
        Ok(SecretString::new(format!("{signed}.{signature}")))
    }
}

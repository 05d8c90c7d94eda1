//! The certificate that values are sealed for (sealed-secrets.md 3).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose,
    SerialNumber,
};
use x509_parser::public_key::PublicKey;

use crate::{Fingerprint, PrivateKey, pem};

/// A parsed sealing certificate with an RSA key.
pub struct Certificate {
    public_key: OaepPublicEncryptingKey,
    fingerprint: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    pem: String,
}

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// No PEM block of type `CERTIFICATE` without headers. The text is kubeseal's.
    #[error("data does not contain any valid RSA or ECDSA certificates")]
    NoCertificate,
    /// The first block is not an X.509 certificate.
    #[error("the certificate is not valid X.509; it was cut or changed")]
    Malformed,
    /// Another kind of public key. The text is kubeseal's.
    #[error("expected RSA public key but found {0}")]
    NotRsa(&'static str),
    /// An RSA key that the cryptographic library refuses.
    #[error("the certificate has an RSA key of {bits} bits; 2048 to 8192 can be used")]
    KeySize {
        /// Length of the modulus.
        bits: usize,
    },
}

/// The certificate may not be used any more. The text is kubeseal's, in Go's date layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "failed to encrypt using an expired certificate on {}",
    .not_after.to_zoned(TimeZone::UTC).strftime("%B %-d, %Y")
)]
pub struct ExpiredError {
    /// When it expired.
    pub not_after: Timestamp,
}

/// Why a certificate could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// Not a size that keys are made in.
    #[error("RSA keys of {0} bits cannot be made; use 2048, 3072, 4096 or 8192")]
    KeySize(usize),
    /// The lifetime leaves the range of dates.
    #[error("a certificate cannot be valid for that long; use a shorter time")]
    Lifetime,
    /// The cryptographic library failed.
    #[error("the key or its certificate cannot be made: {0}")]
    Library(String),
}

impl Certificate {
    /// Parses the first `CERTIFICATE` block of the text that has no PEM headers; blocks of other
    /// types are skipped. Validity, key usage and the CA flag are not looked at.
    pub fn parse(text: &str) -> Result<Self, CertificateError> {
        let block = pem::blocks(text)
            .into_iter()
            .find(|block| block.kind == PEM_TYPE && !block.has_headers)
            .ok_or(CertificateError::NoCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&block.contents)
            .map_err(|_| CertificateError::Malformed)?;
        let info = parsed.public_key();
        let key = info.parsed().map_err(|_| CertificateError::Malformed)?;
        let bits = match &key {
            PublicKey::RSA(key) => key.key_size(),
            other => return Err(CertificateError::NotRsa(key_name(other))),
        };
        let fingerprint = Fingerprint::of_rsa_public_key(&info.subject_public_key.data)
            .ok_or(CertificateError::Malformed)?;
        let public_key = PublicEncryptingKey::from_der(info.raw)
            .ok()
            .and_then(|key| OaepPublicEncryptingKey::new(key).ok())
            .ok_or(CertificateError::KeySize { bits })?;
        let time =
            |seconds| Timestamp::from_second(seconds).map_err(|_| CertificateError::Malformed);
        Ok(Self {
            public_key,
            fingerprint,
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            pem: (*pem::encode(PEM_TYPE, &block.contents)).clone(),
        })
    }

    /// Refuses a certificate whose last moment has passed; when it begins is not looked at, as in
    /// kubeseal.
    pub fn check_not_expired(&self, now: Timestamp) -> Result<(), ExpiredError> {
        if now > self.not_after {
            return Err(ExpiredError {
                not_after: self.not_after,
            });
        }
        Ok(())
    }

    /// Makes the self-signed certificate of a new sealing key, exactly as the controller of Sealed
    /// Secrets does: CA, key usage encipherOnly, no name unless `common_name` is given.
    pub fn self_signed(
        key: &PrivateKey,
        common_name: &str,
        not_before: Timestamp,
        lifetime: SignedDuration,
    ) -> Result<Self, GenerateError> {
        let not_after = not_before
            .checked_add(lifetime)
            .map_err(|_| GenerateError::Lifetime)?;
        let library = |error: rcgen::Error| GenerateError::Library(error.to_string());
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial)
            .map_err(|_| GenerateError::Library("no random bytes".to_owned()))?;

        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        if !common_name.is_empty() {
            let names = &mut params.distinguished_name;
            names.push(DnType::CommonName, common_name);
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::EncipherOnly];
        let at = |time: Timestamp| {
            let seconds = u64::try_from(time.as_second()).map_err(|_| GenerateError::Lifetime)?;
            Ok(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds))
        };
        params.not_before = at(not_before)?;
        params.not_after = at(not_after)?;
        let signer = key
            .signer()
            .map_err(|error| GenerateError::Library(error.to_string()))?;
        let made = params.self_signed(&signer).map_err(library)?;
        let text = pem::encode(PEM_TYPE, made.der());
        Self::parse(&text).map_err(|error| GenerateError::Library(error.to_string()))
    }

    /// Returns the fingerprint of the public key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the length of the key's modulus in bytes: 512 for RSA-4096.
    pub fn key_len(&self) -> usize {
        self.public_key.key_size_bytes()
    }

    /// Returns the first moment of validity, which orders the keys of a ring.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Returns the last moment of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns the certificate as one PEM block that ends in a newline.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn public_key(&self) -> &OaepPublicEncryptingKey {
        &self.public_key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn key_name(key: &PublicKey<'_>) -> &'static str {
    match key {
        PublicKey::EC(_) => "ECDSA",
        PublicKey::DSA(_) => "DSA",
        PublicKey::GostR3410(_) | PublicKey::GostR3410_2012(_) => "GOST",
        _ => "another kind of key",
    }
}

const PEM_TYPE: &str = "CERTIFICATE";

#[cfg(test)]
mod tests {
    use x509_parser::extensions::{ParsedExtension, X509Extension};

    use super::*;
    use crate::ring::tests::vector_key;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn made(common_name: &str) -> Certificate {
        let years = SignedDuration::from_hours(87_600);
        let now = at("2026-01-02T03:04:05Z");
        Certificate::self_signed(&vector_key(), common_name, now, years).unwrap()
    }

    #[test]
    fn a_made_certificate_has_the_extensions_of_the_reference_and_no_other() {
        let certificate = made("");
        assert_eq!(certificate.fingerprint(), vector_key().fingerprint());
        assert_eq!(certificate.not_after(), at("2035-12-31T03:04:05Z"));
        let block = &pem::blocks(certificate.pem())[0];
        let (_, parsed) = x509_parser::parse_x509_certificate(&block.contents).unwrap();
        assert_eq!(parsed.subject().iter().count(), 0);
        assert_eq!(parsed.issuer().iter().count(), 0);
        assert_eq!(
            parsed.signature_algorithm.algorithm.to_id_string(),
            "1.2.840.113549.1.1.11"
        );
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.encipher_only());
        assert_eq!(usage.value.flags, 1 << 7);
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, None);
        let others: Vec<_> = parsed
            .extensions()
            .iter()
            .map(X509Extension::parsed_extension)
            .filter(|e| {
                !matches!(
                    e,
                    ParsedExtension::KeyUsage(_) | ParsedExtension::BasicConstraints(_)
                )
            })
            .collect();
        assert!(
            matches!(others[..], [ParsedExtension::SubjectKeyIdentifier(_)]),
            "{others:?}"
        );
    }

    #[test]
    fn a_common_name_is_subject_and_issuer() {
        let block = &pem::blocks(made("selkie").pem())[0];
        let (_, parsed) = x509_parser::parse_x509_certificate(&block.contents).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=selkie");
        assert_eq!(parsed.issuer().to_string(), "CN=selkie");
    }

    #[test]
    fn expiry_is_told_with_the_day() {
        let certificate = made("");
        assert!(
            certificate
                .check_not_expired(at("2035-12-31T03:04:05Z"))
                .is_ok()
        );
        assert!(
            certificate
                .check_not_expired(at("2000-01-01T00:00:00Z"))
                .is_ok()
        );
        let error = certificate
            .check_not_expired(at("2035-12-31T03:04:06Z"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to encrypt using an expired certificate on December 31, 2035"
        );
    }

    #[test]
    fn other_blocks_are_skipped_and_the_first_certificate_wins() {
        let certificate = made("");
        let key = vector_key().to_pkcs1_pem().unwrap();
        let text = format!(
            "{}{}{}",
            key.expose(),
            certificate
                .pem()
                .replace("CERTIFICATE-----\n", "CERTIFICATE-----\nA: b\n\n")
                .replacen("A: b\n\n-", "-", 1),
            certificate.pem()
        );
        let parsed = Certificate::parse(&text).unwrap();
        assert_eq!(parsed.pem(), certificate.pem());
        assert_eq!(
            Certificate::parse("").unwrap_err(),
            CertificateError::NoCertificate
        );
        assert_eq!(
            Certificate::parse(key.expose()).unwrap_err(),
            CertificateError::NoCertificate
        );
        let cut = pem::encode("CERTIFICATE", &[0x30, 0x03, 1]);
        assert_eq!(
            Certificate::parse(&cut).unwrap_err(),
            CertificateError::Malformed
        );
    }

    #[test]
    fn an_elliptic_key_is_refused_by_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        let error = Certificate::parse(&made.pem()).unwrap_err();
        assert_eq!(error.to_string(), "expected RSA public key but found ECDSA");
    }
}

//! Private keys and certificates.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use zeroize::Zeroizing;

use super::super::Args as _;
use super::super::encoding::from_base64;
use super::{Certificate, pem};
use crate::error::Failure;
use crate::run::Run;
use crate::value::{List, Str, Value};

type Result<T = Value> = std::result::Result<T, Failure>;

/// What making a key counts as, in steps: it takes up to seconds.
const KEY: usize = 200_000;

fn fail<T>(message: &str) -> Result<T> {
    Err(Failure::new(message))
}

/// `genPrivateKey`. DSA, which no one should make any more, is refused; the original makes it.
pub(super) fn generate_private_key(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let kind = a.str(0);
    let key = match &*kind {
        b"" | b"rsa" => PrivateKey::rsa(run, KeySize::Rsa4096)?,
        b"ecdsa" => PrivateKey::new(run, &rcgen::PKCS_ECDSA_P256_SHA256)?,
        b"ed25519" => PrivateKey::new(run, &rcgen::PKCS_ED25519)?,
        b"dsa" => return fail("DSA keys are not made; use ecdsa or ed25519"),
        other => return Ok(Value::string([b"Unknown type ", other].concat())),
    };
    Ok(Value::String(key.pem()?))
}

/// `buildCustomCert`: checks both and gives them back.
pub(super) fn build_custom(_: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let cert =
        from_base64(&a.str(0)).map_err(|_| Failure::new("unable to decode base64 certificate"))?;
    let key =
        from_base64(&a.str(1)).map_err(|_| Failure::new("unable to decode base64 private key"))?;
    let cert = Str::from(cert);
    let key = Str::from(key);
    parse_certificate(&cert)?;
    PrivateKey::parse(&key)?;
    Ok(Value::Certificate(Rc::new(Certificate { cert, key })))
}

pub(super) fn generate_ca(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let key = key_for(run, a.get(2))?;
    let mut params = params(
        run,
        &a.str(0),
        &List::any(Vec::new()),
        &List::any(Vec::new()),
        a.int(1),
    )?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    self_signed(&params, &key)
}

pub(super) fn generate_self_signed(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let key = key_for(run, a.get(4))?;
    let params = params(run, &a.str(0), &a.list(1), &a.list(2), a.int(3))?;
    self_signed(&params, &key)
}

pub(super) fn generate_signed(run: &mut Run<'_, '_>, a: &[Value]) -> Result {
    let key = key_for(run, a.get(5))?;
    let Some(ca) = a.certificate(4) else {
        return fail("unable to decode certificate");
    };
    let der = parse_certificate(&ca.cert)?;
    let ca_key = PrivateKey::parse(&ca.key)?;
    let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), &ca_key.pair)
        .map_err(|_| Failure::new("error parsing certificate"))?;
    let mut params = params(run, &a.str(0), &a.list(1), &a.list(2), a.int(3))?;
    params.use_authority_key_identifier_extension = true;
    let made = params
        .signed_by(&key.pair, &issuer)
        .map_err(|_| library())?;
    Ok(certificate(made.der(), &key)?.into_value())
}

fn library() -> Failure {
    Failure::new("error creating certificate")
}

fn self_signed(params: &CertificateParams, key: &PrivateKey) -> Result {
    let made = params.self_signed(&key.pair).map_err(|_| library())?;
    Ok(certificate(made.der(), key)?.into_value())
}

fn certificate(der: &[u8], key: &PrivateKey) -> Result<Certificate> {
    Ok(Certificate {
        cert: pem("CERTIFICATE", der),
        key: key.pem()?,
    })
}

impl Certificate {
    fn into_value(self) -> Value {
        Value::Certificate(Rc::new(self))
    }
}

fn params(
    run: &mut Run<'_, '_>,
    name: &[u8],
    addresses: &List,
    names: &List,
    days: i64,
) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if !name.is_empty() {
        subject.push(
            DnType::CommonName,
            String::from_utf8_lossy(name).into_owned(),
        );
    }
    params.distinguished_name = subject;
    for address in addresses.items.iter() {
        let address = text(address, "error parsing ip: it is not a string")?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| Failure::new("error parsing ip"))?;
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    for name in names.items.iter() {
        let name = text(
            name,
            "error processing alternate dns name: it is not a string",
        )?;
        let name = name.try_into().map_err(|_| library())?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let mut serial = [0; 16];
    (run.env.random)(&mut serial);
    // A serial number is positive and not zero.
    serial[0] &= 0x7f;
    serial[15] |= 1;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = u64::try_from((run.env.now)().as_second()).unwrap_or(0);
    let end = i128::from(now) + i128::from(days) * 86_400;
    // Dates in certificates end with the year 9999.
    let end = u64::try_from(end).ok().filter(|end| *end < 253_402_300_800);
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_before = at(now);
    params.not_after = at(end.ok_or_else(library)?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn text(value: &Value, problem: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        _ => fail(problem),
    }
}

/// The key that was passed, or a new RSA key of 2048 bits.
fn key_for(run: &mut Run<'_, '_>, passed: Option<&Value>) -> Result<PrivateKey> {
    match passed {
        Some(Value::String(key)) => PrivateKey::parse(key),
        _ => PrivateKey::rsa(run, KeySize::Rsa2048),
    }
}

struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    fn rsa(run: &mut Run<'_, '_>, size: KeySize) -> Result<Self> {
        run.step(if size == KeySize::Rsa4096 {
            4 * KEY
        } else {
            KEY
        })?;
        run.look()?;
        let failed = || Failure::new("error generating rsa key");
        let key = aws_lc_rs::rsa::KeyPair::generate(size).map_err(|_| failed())?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| failed())?;
        let pair = KeyPair::try_from(der.as_ref()).map_err(|_| failed())?;
        Ok(Self { pair })
    }

    fn new(run: &mut Run<'_, '_>, kind: &'static rcgen::SignatureAlgorithm) -> Result<Self> {
        run.step(KEY / 100)?;
        run.look()?;
        let pair = KeyPair::generate_for(kind)
            .map_err(|_| Failure::new("failed to generate private key"))?;
        Ok(Self { pair })
    }

    /// Reads the first PEM block, which must be a private key in PKCS#8, PKCS#1 or SEC 1.
    fn parse(text: &[u8]) -> Result<Self> {
        let block = pem_block(text).ok_or_else(|| Failure::new("no PEM data in input"))?;
        let failed = |_| Failure::new("error parsing private key");
        let der = block.contents.as_slice();
        let pair = match block.kind.as_str() {
            "PRIVATE KEY" => KeyPair::try_from(der).map_err(failed)?,
            "RSA PRIVATE KEY" => {
                let wrapped = Zeroizing::new(der_sequence(&[
                    &[0x02, 0x01, 0x00],
                    RSA_ALGORITHM,
                    &der_element(0x04, der),
                ]));
                KeyPair::try_from(wrapped.as_slice()).map_err(failed)?
            }
            "EC PRIVATE KEY" => ec_pair(text)?,
            _ => return fail("no private key data in PEM block"),
        };
        Ok(Self { pair })
    }

    /// The key in the form that sprig gives it: PKCS#1 for RSA, SEC 1 for curves, PKCS#8 for the rest.
    fn pem(&self) -> Result<Str> {
        let der = self.pair.serialized_der();
        let broken = || Failure::new("error pem-encoding key");
        let algorithm = self.pair.algorithm();
        if algorithm == &rcgen::PKCS_RSA_SHA256 {
            return Ok(pem("RSA PRIVATE KEY", inner_key(der).unwrap_or(der)));
        }
        if algorithm == &rcgen::PKCS_ED25519 {
            return Ok(pem(
                "PRIVATE KEY",
                &without_public_key(der).ok_or_else(broken)?,
            ));
        }
        // SEC 1 with the curve and the public key, as Go writes it.
        let curve: &[u8] = if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
            CURVE_P256
        } else if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
            CURVE_P384
        } else {
            CURVE_P521
        };
        let inner = inner_key(der).unwrap_or(der);
        let (body, _) = element(inner, 0x30).ok_or_else(broken)?;
        let (_, rest) = element(body, 0x02).ok_or_else(broken)?;
        let (secret, _) = element(rest, 0x04).ok_or_else(broken)?;
        let mut public = vec![0];
        public.extend_from_slice(rcgen::PublicKeyData::der_bytes(&self.pair));
        let sec1 = Zeroizing::new(der_sequence(&[
            &[0x02, 0x01, 0x01],
            &der_element(0x04, secret),
            &der_element(0xa0, curve),
            &der_element(0xa1, &der_element(0x03, &public)),
        ]));
        Ok(pem("EC PRIVATE KEY", &sec1))
    }
}

fn ec_pair(text: &[u8]) -> Result<KeyPair> {
    let text = std::str::from_utf8(text).map_err(|_| Failure::new("no PEM data in input"))?;
    [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
    ]
    .into_iter()
    .find_map(|kind| KeyPair::from_pem_and_sign_algo(text, kind).ok())
    .ok_or_else(|| Failure::new("error parsing private key"))
}

/// AlgorithmIdentifier of rsaEncryption (RFC 8017, A.1).
const RSA_ALGORITHM: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Named curves (RFC 5480, 2.1.1.1).
const CURVE_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const CURVE_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const CURVE_P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// The private key inside PKCS#8 (RFC 5958: version, algorithm, key).
fn inner_key(pkcs8: &[u8]) -> Option<&[u8]> {
    let (body, _) = element(pkcs8, 0x30)?;
    let (_, rest) = element(body, 0x02)?;
    let (_, rest) = element(rest, 0x30)?;
    element(rest, 0x04).map(|(key, _)| key)
}

/// PKCS#8 version 0: Go writes no public key beside a private Ed25519 key.
fn without_public_key(pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (body, _) = element(pkcs8, 0x30)?;
    let (_, rest) = element(body, 0x02)?;
    let (algorithm, rest) = element(rest, 0x30)?;
    let (key, _) = element(rest, 0x04)?;
    Some(Zeroizing::new(der_sequence(&[
        &[0x02, 0x01, 0x00],
        &der_element(0x30, algorithm),
        &der_element(0x04, key),
    ])))
}

/// Reads one DER element of a type: its contents and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    rest.split_at_checked(length)
}

fn der_element(tag: u8, contents: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(contents.len() + 6));
    out.push(tag);
    let length = contents.len();
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        let bytes = length.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
        out.push(0x80 | u8::try_from(bytes.len() - start).unwrap_or(0));
        out.extend_from_slice(&bytes[start..]);
    }
    out.extend_from_slice(contents);
    out
}

fn der_sequence(parts: &[&[u8]]) -> Vec<u8> {
    let contents = Zeroizing::new(parts.concat());
    std::mem::take(&mut *der_element(0x30, &contents))
}

struct Block {
    kind: String,
    contents: Zeroizing<Vec<u8>>,
}

/// The first PEM block.
fn pem_block(text: &[u8]) -> Option<Block> {
    let parsed = ::pem::parse(text).ok()?;
    let kind = parsed.tag().to_owned();
    Some(Block {
        kind,
        contents: Zeroizing::new(parsed.into_contents()),
    })
}

/// Reads the first PEM block as a certificate; gives its DER.
fn parse_certificate(text: &[u8]) -> Result<Vec<u8>> {
    let block = pem_block(text).ok_or_else(|| Failure::new("unable to decode certificate"))?;
    let der = block.contents.to_vec();
    match x509_parser::parse_x509_certificate(&der) {
        Ok(_) => Ok(der),
        Err(_) => fail("error parsing certificate: decodedCert.Bytes"),
    }
}

//! sprig: digests, random text, passwords, encryption; keys and certificates in their own file.

mod certificates;
mod passwords;

use aws_lc_rs::digest;

use super::cast::text;
use super::encoding::base64;
use super::{Args as _, Entry};
use crate::error::Failure;
use crate::run::Run;
use crate::text as runes;
use crate::value::{Str, Value};

/// sprig's `certificate`: PEM texts.
pub(crate) struct Certificate {
    pub(crate) cert: Str,
    pub(crate) key: Str,
}

pub(super) const TABLE: &[Entry] = &[
    ("sha1sum", "string", |run, a| {
        text(run, digest_of(&digest::SHA1_FOR_LEGACY_USE_ONLY, &a.str(0)))
    }),
    ("sha256sum", "string", |run, a| {
        text(run, digest_of(&digest::SHA256, &a.str(0)))
    }),
    ("sha512sum", "string", |run, a| {
        text(run, digest_of(&digest::SHA512, &a.str(0)))
    }),
    ("adler32sum", "string", |run, a| {
        text(run, adler32(&a.str(0)).to_string())
    }),
    ("randAlphaNum", "int", |run, a| {
        random_text(run, a.int(0), u8::is_ascii_alphanumeric)
    }),
    ("randAlpha", "int", |run, a| {
        random_text(run, a.int(0), u8::is_ascii_alphabetic)
    }),
    ("randNumeric", "int", |run, a| {
        random_text(run, a.int(0), u8::is_ascii_digit)
    }),
    ("randAscii", "int", |run, a| {
        random_text(run, a.int(0), |c| (b' '..=b'~').contains(c))
    }),
    ("randBytes", "int", |run, a| {
        let Ok(count) = usize::try_from(a.int(0)) else {
            return Err(Failure::new("runtime error: makeslice: len out of range"));
        };
        run.work(count.saturating_mul(2))?;
        let mut bytes = zeroize::Zeroizing::new(vec![0; count]);
        (run.env.random)(&mut bytes);
        text(run, base64(&bytes))
    }),
    ("uuidv4", "", |run, _| {
        let uuid = uuid(run);
        text(run, uuid)
    }),
    ("shuffle", "string", shuffle),
    ("bcrypt", "string", |run, a| {
        passwords::bcrypt(run, &a.str(0)).map(Value::String)
    }),
    ("htpasswd", "string string", passwords::htpasswd),
    (
        "derivePassword",
        "uint32 string string string string",
        passwords::derive,
    ),
    ("encryptAES", "string string", passwords::encrypt_aes),
    ("decryptAES", "string string", passwords::decrypt_aes),
    (
        "genPrivateKey",
        "string",
        certificates::generate_private_key,
    ),
    (
        "buildCustomCert",
        "string string",
        certificates::build_custom,
    ),
    ("genCA", "string int", certificates::generate_ca),
    (
        "genCAWithKey",
        "string int string",
        certificates::generate_ca,
    ),
    (
        "genSelfSignedCert",
        "string list list int",
        certificates::generate_self_signed,
    ),
    (
        "genSelfSignedCertWithKey",
        "string list list int string",
        certificates::generate_self_signed,
    ),
    (
        "genSignedCert",
        "string list list int certificate",
        certificates::generate_signed,
    ),
    (
        "genSignedCertWithKey",
        "string list list int certificate string",
        certificates::generate_signed,
    ),
];

fn digest_of(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> String {
    let digest = digest::digest(algorithm, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn adler32(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    let (mut low, mut high) = (1, 0);
    for byte in bytes {
        low = (low + u32::from(*byte)) % PRIME;
        high = (high + low) % PRIME;
    }
    high << 16 | low
}

/// A number from 0 to before `end`, each as likely; 0 when `end` is 0.
pub(super) fn random_below(run: &mut Run<'_, '_>, end: u64) -> u64 {
    if end == 0 {
        return 0;
    }
    let fair = u64::MAX - u64::MAX % end;
    loop {
        let mut bytes = [0; 8];
        (run.env.random)(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        // A source that gives nothing but its highest value must not stop us.
        if number < fair || bytes == [0xff; 8] {
            return number % end;
        }
    }
}

/// Characters at random; a negative count gives none, as in the original.
fn random_text(run: &mut Run<'_, '_>, count: i64, fits: fn(&u8) -> bool) -> Result<Value, Failure> {
    let count = usize::try_from(count).unwrap_or(0);
    run.step(count)?;
    run.work(count)?;
    let alphabet: Vec<u8> = (0..=127).filter(fits).collect();
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(count));
    for _ in 0..count {
        let at = random_below(run, alphabet.len() as u64);
        out.push(alphabet[usize::try_from(at).unwrap_or(0)]);
    }
    Ok(Value::String(out.into()))
}

/// RFC 9562, version 4.
fn uuid(run: &mut Run<'_, '_>) -> String {
    let mut bytes = [0; 16];
    (run.env.random)(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

fn shuffle(run: &mut Run<'_, '_>, a: &[Value]) -> Result<Value, Failure> {
    let whole = a.str(0);
    run.step(whole.len())?;
    let mut chars: Vec<char> = runes::runes(&whole).map(|(_, c, _)| c).collect();
    for at in (1..chars.len()).rev() {
        let other = random_below(run, at as u64 + 1);
        chars.swap(at, usize::try_from(other).unwrap_or(0));
    }
    text(run, chars.into_iter().collect::<String>())
}

/// A PEM block with lines of 64 characters.
fn pem(kind: &str, contents: &[u8]) -> Str {
    let body = zeroize::Zeroizing::new(base64(contents));
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(body.len() * 66 / 64 + 80));
    out.extend_from_slice(format!("-----BEGIN {kind}-----\n").as_bytes());
    for line in body.chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(format!("-----END {kind}-----\n").as_bytes());
    out.into()
}

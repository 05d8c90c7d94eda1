//! What happens to values between the store and the Secret: decoding, key conversion, key checks
//! (external-secrets.md 5.2 and 5.4).

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use regex::Regex;
use selkie_secret::SecretBytes;

use crate::Members;

/// The longest key of a Secret, in bytes.
const LONGEST_KEY: usize = 253;

/// How a value is decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Decoding {
    /// Not at all.
    #[default]
    None,
    /// Standard alphabet with padding.
    Base64,
    /// URL alphabet with padding.
    Base64Url,
    /// Standard, else URL, else not at all.
    Auto,
}

/// How characters that a Secret's key cannot have are replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conversion {
    /// By `_`.
    #[default]
    Default,
    /// By `_U002f_` and the like.
    Unicode,
}

/// Why a value or a key cannot go into a Secret. Names keys and strategies, never a value.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// An explicit decoding strategy met something else.
    #[error("the value is not valid {0}, which decodingStrategy asks for")]
    Encoding(&'static str),
    /// A zero byte, where nullBytePolicy refuses it.
    #[error("the value has a zero byte, which nullBytePolicy: Fail refuses")]
    NullByte,
    /// Two keys became the same.
    #[error("secret name collision during conversion: {0}")]
    Collision(String),
    /// Too long for a key.
    #[error("the key {0:?}... is longer than {LONGEST_KEY} bytes")]
    LongKey(String),
    /// Not a key that a Secret can have.
    #[error(
        "the key {0:?} has a character that a Secret's key cannot have; use rewrite or conversionStrategy to replace it"
    )]
    Key(String),
}

/// Decodes one value.
pub fn decode(strategy: Decoding, value: SecretBytes) -> Result<SecretBytes, ValueError> {
    let standard = || STANDARD.decode(value.expose()).map(SecretBytes::new);
    let url = || URL_SAFE.decode(value.expose()).map(SecretBytes::new);
    match strategy {
        Decoding::None => Ok(value),
        Decoding::Base64 => standard().map_err(|_| ValueError::Encoding("Base64")),
        Decoding::Base64Url => url().map_err(|_| ValueError::Encoding("Base64URL")),
        Decoding::Auto => Ok(standard().or_else(|_| url()).unwrap_or(value)),
    }
}

/// Refuses a value with a zero byte.
pub fn refuse_null_bytes(value: &SecretBytes) -> Result<(), ValueError> {
    if value.expose().contains(&0) {
        return Err(ValueError::NullByte);
    }
    Ok(())
}

/// Converts every key; two keys that become equal are an error.
pub fn convert_keys(conversion: Conversion, members: Members) -> Result<Members, ValueError> {
    let mut converted = Members::new();
    for (key, value) in members {
        let key = convert_key(conversion, &key);
        if converted.contains_key(&key) {
            return Err(ValueError::Collision(key));
        }
        converted.insert(key, value);
    }
    Ok(converted)
}

/// Drops an empty key and refuses keys that no Secret can have.
pub fn check_keys(mut members: Members) -> Result<Members, ValueError> {
    members.remove("");
    for key in members.keys() {
        if key.len() > LONGEST_KEY {
            return Err(ValueError::LongKey(key.chars().take(40).collect()));
        }
        if !key.chars().all(fits_in_a_key) {
            return Err(ValueError::Key(key.clone()));
        }
    }
    Ok(members)
}

fn convert_key(conversion: Conversion, key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for c in key.chars() {
        match conversion {
            _ if fits_in_a_key(c) => out.push(c),
            Conversion::Default => out.push('_'),
            Conversion::Unicode => out.push_str(&format!("_U{:04x}_", u32::from(c))),
        }
    }
    out
}

/// Go's `unicode.IsLetter`, `unicode.IsNumber`, and `-._`.
///
/// `char::is_alphabetic` is not the same: it counts combining vowel signs.
fn fits_in_a_key(c: char) -> bool {
    static LETTER_OR_NUMBER: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\A[\p{L}\p{N}]\z").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    }
    LETTER_OR_NUMBER
        .as_ref()
        .is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    fn members(keys: &[&str]) -> Members {
        keys.iter()
            .map(|key| ((*key).to_owned(), secret(key)))
            .collect()
    }

    fn keys(members: &Members) -> Vec<&str> {
        members.keys().map(String::as_str).collect()
    }

    #[test]
    fn decoding() {
        for (strategy, text, expected) in [
            (Decoding::None, "Zm9v", Ok("Zm9v")),
            (Decoding::Base64, "Zm9v", Ok("foo")),
            (Decoding::Base64, "Zm9vYg==", Ok("foob")),
            (
                Decoding::Base64,
                "Zm9vYg",
                Err(ValueError::Encoding("Base64")),
            ),
            (
                Decoding::Base64,
                "a-_b",
                Err(ValueError::Encoding("Base64")),
            ),
            (Decoding::Base64Url, "Pz8-", Ok("??>")),
            (
                Decoding::Base64Url,
                "Pz8+",
                Err(ValueError::Encoding("Base64URL")),
            ),
            (Decoding::Auto, "Pz8+", Ok("??>")),
            (Decoding::Auto, "Pz8-", Ok("??>")),
            (Decoding::Auto, "not base64!", Ok("not base64!")),
        ] {
            let got = decode(strategy, secret(text));
            assert_eq!(got, expected.map(secret), "{strategy:?} {text}");
        }
    }

    #[test]
    fn conversion() {
        let converted = |how, keys_in: &[&str]| convert_keys(how, members(keys_in));
        assert_eq!(
            keys(&converted(Conversion::Default, &["a/b", "ü.x", "p-q_r"]).unwrap()),
            ["a_b", "p-q_r", "ü.x"]
        );
        assert_eq!(
            keys(&converted(Conversion::Unicode, &["a/b", "😀"]).unwrap()),
            ["_U1f600_", "a_U002f_b"]
        );
        assert_eq!(
            converted(Conversion::Default, &["a/b", "a_b"]).unwrap_err(),
            ValueError::Collision("a_b".to_owned())
        );
    }

    #[test]
    fn keys_are_checked() {
        assert_eq!(keys(&check_keys(members(&["", "a"])).unwrap()), ["a"]);
        assert_eq!(
            check_keys(members(&["a b"])).unwrap_err(),
            ValueError::Key("a b".to_owned())
        );
        let long = "x".repeat(254);
        assert!(matches!(
            check_keys(members(&[&long])).unwrap_err(),
            ValueError::LongKey(_)
        ));
        // U+093E is a vowel sign: alphabetic, and not a letter.
        assert!(check_keys(members(&["\u{93e}"])).is_err());
    }

    #[test]
    fn zero_bytes() {
        assert!(refuse_null_bytes(&SecretBytes::new(vec![1, 0])).is_err());
        assert!(refuse_null_bytes(&secret("a")).is_ok());
    }
}

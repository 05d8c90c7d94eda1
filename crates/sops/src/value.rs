//! The plaintext of a value: its type, the bytes it is encrypted and hashed as, and back
//! (sops-format.md 2.3, 5.1).

use std::borrow::Cow;

use selkie_text::yaml;
use zeroize::Zeroizing;

use crate::cipher::{CipherError, Kind};
use crate::rfc3339;

/// A leaf value as sops's tree holds it. Comments are not values.
pub(crate) enum Value<'v> {
    Str(Cow<'v, [u8]>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// RFC 3339 with as many fractional digits as needed.
    Time(String),
}

impl Value<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Str(_) => Kind::Str,
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Bool(_) => Kind::Bool,
            Self::Time(_) => Kind::Time,
        }
    }

    /// Returns the canonical bytes: what the MAC hashes, and what sops encrypts.
    pub(crate) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(match self {
            Self::Str(bytes) => bytes.to_vec(),
            Self::Int(value) => value.to_string().into_bytes(),
            Self::Float(value) => go_float(*value).into_bytes(),
            Self::Bool(true) => b"True".to_vec(),
            Self::Bool(false) => b"False".to_vec(),
            Self::Time(text) => text.clone().into_bytes(),
        })
    }

    /// Parses decrypted bytes of the type that the ciphertext claims.
    pub(crate) fn parse(bytes: &[u8], kind: Kind) -> Result<Value<'static>, CipherError> {
        if kind == Kind::Str {
            return Ok(Value::Str(Cow::Owned(bytes.to_vec())));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CipherError::Plaintext)?;
        let value = match kind {
            Kind::Int => parse_int(text).map(Value::Int),
            Kind::Float => parse_float(text).map(Value::Float),
            Kind::Bool => parse_bool(text).map(Value::Bool),
            Kind::Time => rfc3339::canonical(text).map(Value::Time),
            Kind::Str | Kind::Comment => None,
        };
        value.ok_or(CipherError::Plaintext)
    }

    /// Returns whether this is the empty text, which is never encrypted (sops-format.md 2.4).
    pub(crate) fn is_empty_text(&self) -> bool {
        matches!(self, Self::Str(bytes) if bytes.is_empty())
    }

    /// Returns whether two values are the same to sops: type and canonical bytes.
    pub(crate) fn same_as(&self, other: &Value<'_>) -> bool {
        self.kind() == other.kind() && *self.bytes() == *other.bytes()
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        match self {
            Self::Str(Cow::Owned(bytes)) => bytes.zeroize(),
            Self::Time(text) => text.zeroize(),
            _ => {}
        }
    }
}

/// Returns Go's `FormatFloat(v, 'f', -1, 64)`: shortest digits, never an exponent.
pub(crate) fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// Returns the YAML spelling of a float: go-yaml's, but an integral value keeps `.0`, so that it
/// stays a float when read again (sops-format.md 11.5, 22).
pub(crate) fn yaml_float(value: f64) -> String {
    let text = yaml::emit_float(value);
    match text.contains(|c: char| !c.is_ascii_digit() && c != '-') {
        true => text,
        false => text + ".0",
    }
}

/// Parses as Go's `strconv.Atoi`: one sign, decimal digits, 64 bits.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Parses as Go's `strconv.ParseFloat(text, 64)`; out of range is an error there too.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = |value: f64| if negative { -value } else { value };
    let lower = rest.to_ascii_lowercase();
    if lower == "inf" || lower == "infinity" {
        return Some(signed(f64::INFINITY));
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    if let Some(hex) = lower.strip_prefix("0x") {
        return parse_hex_float(hex).map(signed);
    }
    if !rest
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return None;
    }
    let value: f64 = rest.parse().ok()?;
    (value.is_finite() && !rest.starts_with(['+', '-'])).then(|| signed(value))
}

/// Parses `H[.H]p[+-]D`; digits beyond 64 bits of mantissa are refused, which no writer makes.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent = parse_int(exponent)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bits = u64::from_str_radix(&digits, 16).ok()?;
    let scale = exponent.checked_sub(4 * fraction.len() as i64)?;
    let scale = i32::try_from(scale).ok().filter(|s| s.abs() < 2_000)?;
    // Two steps keep the intermediate factor finite near the ends of the range.
    let half = scale / 2;
    let value = (bits as f64) * 2f64.powi(half) * 2f64.powi(scale - half);
    value.is_finite().then_some(value)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_go_spells_them() {
        for (value, go, yaml) in [
            (1.0, "1", "1.0"),
            (1e10, "10000000000", "1e+10"),
            (1e-7, "0.0000001", "1e-07"),
            (1e6, "1000000", "1e+06"),
            (123_456.0, "123456", "123456.0"),
            (1_234_567.5, "1234567.5", "1.2345675e+06"),
            (0.0001, "0.0001", "0.0001"),
            (-0.0, "-0", "-0.0"),
            (0.0, "0", "0.0"),
            (3.25, "3.25", "3.25"),
            (f64::INFINITY, "+Inf", ".inf"),
            (f64::NEG_INFINITY, "-Inf", "-.inf"),
            (f64::NAN, "NaN", ".nan"),
            (
                1.234_567_890_123_456_8e29,
                "123456789012345680000000000000",
                "1.2345678901234568e+29",
            ),
            (1e21, "1000000000000000000000", "1e+21"),
        ] {
            assert_eq!(go_float(value), go);
            assert_eq!(yaml_float(value), yaml);
        }
    }

    #[test]
    fn numbers_parse_as_go_parses_them() {
        for (text, value) in [
            ("42", Some(42)),
            ("+05", Some(5)),
            ("-7", Some(-7)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("0x10", None),
            ("1_0", None),
            ("", None),
            ("+", None),
            (" 1", None),
        ] {
            assert_eq!(parse_int(text), value, "{text}");
        }
        for (text, value) in [
            ("1.50", Some(1.5)),
            ("1e3", Some(1000.0)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("08", Some(8.0)),
            ("0x1p-2", Some(0.25)),
            ("0x1.8p1", Some(3.0)),
            ("-INF", Some(f64::NEG_INFINITY)),
            ("infinity", Some(f64::INFINITY)),
            ("1_0", None),
            ("1e400", None),
            ("+nan", None),
            ("--1", None),
            ("e5", None),
            (".", None),
            ("0x1", None),
            ("", None),
        ] {
            assert_eq!(parse_float(text), value, "{text}");
        }
        assert!(parse_float("NaN").unwrap().is_nan());
    }

    #[test]
    fn words_of_yaml_1_1_are_known() {
        for text in [
            "y",
            "Yes",
            "off",
            "NO",
            "1:30",
            "190:20:30",
            "-1_0:5.5",
            "+1:59.",
        ] {
            assert!(yaml::is_old_word(text), "{text}");
        }
        for text in [
            "yEs", "true", "1:60", "1:", ":1", "a:1", "1", "1.5", "1:300", "",
        ] {
            assert!(!yaml::is_old_word(text), "{text}");
        }
    }

    #[test]
    fn decrypted_bytes_take_the_type_that_is_claimed() {
        let parse = |text: &str, kind| Value::parse(text.as_bytes(), kind).map(|v| v.bytes());
        assert_eq!(&parse("+05", Kind::Int).unwrap()[..], b"5");
        assert_eq!(&parse("1.50", Kind::Float).unwrap()[..], b"1.5");
        assert_eq!(&parse("t", Kind::Bool).unwrap()[..], b"True");
        assert_eq!(
            &parse("2001-12-14T21:59:43.10-05:00", Kind::Time).unwrap()[..],
            b"2001-12-14T21:59:43.1-05:00"
        );
        assert!(parse("yes", Kind::Bool).is_err());
        assert!(parse("x", Kind::Int).is_err());
        assert!(parse("x", Kind::Comment).is_err());
        assert!(Value::parse(&[0xff], Kind::Int).is_err());
        assert_eq!(
            &Value::parse(&[0xff], Kind::Str).unwrap().bytes()[..],
            [0xff]
        );
    }
}

//! What a scalar means: go-yaml's resolve.go.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use std::borrow::Cow;

use super::timestamp::parse_timestamp;
use super::{Kind, Node, NodeId, ResolveError, Scalar, Stream, Style, Timestamp};

/// Resolves plain text without a tag.
#[must_use]
pub fn resolve_plain(text: &str) -> Scalar<'_> {
    if text == "<<" {
        Scalar::Merge
    } else {
        resolve_untagged(text, true)
    }
}

const CORE: &str = "tag:yaml.org,2002:";

impl Node<'_> {
    /// The explicit tag in short form (`!!int`, `!foo`); `None` without one and for `!`.
    #[must_use]
    pub fn short_tag(&self) -> Option<Cow<'_, str>> {
        let tag = self
            .tag
            .as_deref()
            .filter(|tag| !tag.is_empty() && *tag != "!")?;
        Some(match tag.strip_prefix(CORE) {
            Some(name) => Cow::Owned(format!("!!{name}")),
            None => Cow::Borrowed(tag),
        })
    }
}

impl Stream<'_> {
    /// go-yaml's `ShortTag`: the explicit tag, or the one that the value resolves to.
    #[must_use]
    pub fn short_tag(&self, id: NodeId) -> Cow<'_, str> {
        let node = self.node(id);
        if let Some(tag) = node.short_tag() {
            return tag;
        }
        match node.kind {
            Kind::Mapping => Cow::Borrowed("!!map"),
            Kind::Sequence => Cow::Borrowed("!!seq"),
            Kind::Alias => self.short_tag(self.target(id)),
            Kind::Scalar if node.style != Style::Plain => Cow::Borrowed("!!str"),
            Kind::Scalar => Cow::Borrowed(resolve_plain(&node.value).tag()),
        }
    }
}

/// What go-yaml v3 decodes a scalar to, its explicit tag included. An alias stands for its
/// target. Collections are an error.
pub(crate) fn resolve<'a>(stream: &'a Stream<'_>, id: NodeId) -> Result<Scalar<'a>, ResolveError> {
    let node = stream.node(stream.target(id));
    let failed = |reason: String| ResolveError {
        line: node.line_number(),
        column: node.column_number(),
        reason,
    };
    if node.kind != Kind::Scalar {
        return Err(failed(
            "expected a scalar, found a mapping or sequence".to_owned(),
        ));
    }
    let text = node.value.as_ref();
    let Some(tag) = node.short_tag() else {
        if node.style != Style::Plain {
            return Ok(Scalar::Str(Cow::Borrowed(text)));
        }
        return Ok(resolve_plain(text));
    };
    let found = match tag.as_ref() {
        "!!str" => return Ok(Scalar::Str(Cow::Borrowed(text))),
        "!!binary" => {
            return decode_base64(text)
                .map(Scalar::Binary)
                .ok_or_else(|| failed("the !!binary value is not valid base64".to_owned()));
        }
        "!!bool" | "!!int" | "!!float" | "!!null" => resolve_untagged(text, false),
        "!!timestamp" => resolve_untagged(text, true),
        _ => return Ok(Scalar::Str(Cow::Borrowed(text))),
    };
    match found {
        Scalar::Int(value) if tag == "!!float" => Ok(Scalar::Float(value as f64)),
        found if found.tag() == tag => Ok(found),
        found => Err(failed(format!(
            "cannot read a value of type {} as {tag}",
            found.tag()
        ))),
    }
}

/// resolve.go, `resolve`, for a text that may be anything.
fn resolve_untagged(text: &str, timestamps: bool) -> Scalar<'_> {
    let Some(first) = text.bytes().next() else {
        return Scalar::Null;
    };
    match text {
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match first {
        b'.' => go_decimal_float(text).map(Scalar::Float),
        b'0'..=b'9' | b'+' | b'-' => {
            if timestamps && let Some(rfc3339) = parse_timestamp(text) {
                return Scalar::Timestamp(Timestamp { rfc3339 });
            }
            resolve_number(text)
        }
        _ => None,
    };
    number.unwrap_or(Scalar::Str(Cow::Borrowed(text)))
}

fn resolve_number(text: &str) -> Option<Scalar<'static>> {
    let plain: Cow<'_, str> = if text.contains('_') {
        Cow::Owned(text.replace('_', ""))
    } else {
        Cow::Borrowed(text)
    };
    let plain = plain.as_ref();
    // strconv.ParseInt and ParseUint with base 0.
    let (sign, digits) = split_sign(plain);
    let (radix, digits) = go_base(digits);
    if let Some(value) = parse_int(sign, digits, radix) {
        return Some(Scalar::Int(value));
    }
    if sign.is_none()
        && let Some(value) = parse_uint(digits, radix)
    {
        return Some(Scalar::Uint(value));
    }
    if is_float(plain)
        && let Ok(value) = plain.parse::<f64>()
        && value.is_finite()
    {
        return Some(Scalar::Float(value));
    }
    // What is left: a sign after the prefix, as in 0b-1.
    for (prefix, negative, radix) in [
        ("0b", false, 2),
        ("-0b", true, 2),
        ("0o", false, 8),
        ("-0o", true, 8),
    ] {
        let Some(rest) = plain.strip_prefix(prefix) else {
            continue;
        };
        let (sign, digits) = split_sign(rest);
        if negative && sign.is_some() {
            continue;
        }
        let sign = if negative { Some(b'-') } else { sign };
        if let Some(value) = parse_int(sign, digits, radix) {
            return Some(Scalar::Int(value));
        }
    }
    None
}

fn split_sign(text: &str) -> (Option<u8>, &str) {
    match text.as_bytes().first() {
        Some(sign @ (b'+' | b'-')) => (Some(*sign), &text[1..]),
        _ => (None, text),
    }
}

/// The base that Go's strconv takes from the prefix.
fn go_base(digits: &str) -> (u32, &str) {
    match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', _, ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', _, ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    }
}

fn parse_uint(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn parse_int(sign: Option<u8>, digits: &str, radix: u32) -> Option<i64> {
    let value = i128::from(parse_uint(digits, radix)?);
    i64::try_from(if sign == Some(b'-') { -value } else { value }).ok()
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let (_, text) = split_sign(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent = exponent.is_none_or(|exponent| {
        let (_, exponent) = split_sign(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa && exponent
}

/// strconv.ParseFloat for a text that begins with a dot: underscores only between digits.
fn go_decimal_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    for (at, b) in bytes.iter().enumerate() {
        if *b == b'_' && !(at > 0 && digit(at - 1) && digit(at + 1)) {
            return None;
        }
    }
    let plain = text.replace('_', "");
    if !is_float(&plain) {
        return None;
    }
    plain.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// encoding/base64's StdEncoding: CR and LF are skipped, padding is required.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut count, mut padding) = (0_u32, 0, 0);
    for b in text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')) {
        let digit = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if count >= 2 => {
                padding += 1;
                0
            }
            _ => return None,
        };
        if padding > 0 && b != b'=' {
            return None;
        }
        group = group << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            let bytes = group.to_be_bytes();
            decoded.extend_from_slice(&bytes[1..4 - padding]);
            if padding > 0 {
                count = 5; // Nothing may follow.
                continue;
            }
            (group, count) = (0, 0);
        } else if count > 4 {
            return None;
        }
    }
    matches!(count, 0 | 5).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_strict_as_go() {
        assert_eq!(decode_base64("aGk=\n").as_deref(), Some(&b"hi"[..]));
        assert_eq!(decode_base64("aGkh").as_deref(), Some(&b"hi!"[..]));
        assert_eq!(decode_base64("aA==").as_deref(), Some(&b"h"[..]));
        assert_eq!(decode_base64("").as_deref(), Some(&b""[..]));
        for bad in ["aGk", "aGk=a", "aGk==", "a===", "aA=a", "a b="] {
            assert_eq!(decode_base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        assert_eq!(format!("{:?}", resolve_plain("hunter2")), "!!str(..)");
    }
}

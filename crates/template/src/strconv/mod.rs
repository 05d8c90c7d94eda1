//! Numbers and quoted strings as Go's `strconv` reads and writes them.

mod float;
mod quote;

pub(crate) use float::format_float;
pub(crate) use quote::{Unit, can_backquote, quote, quote_rune, unquote, unquote_char};

/// Why a number does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberError {
    Syntax,
    Range,
}

/// `strconv.ParseUint(s, base, 64)`; base 0 reads prefixes and underscores. Returns what Go returns beside an error too.
pub(crate) fn parse_uint(text: &[u8], base: u32) -> (u64, Option<NumberError>) {
    let syntax = (0, Some(NumberError::Syntax));
    if text.is_empty() {
        return syntax;
    }
    let from_prefix = base == 0;
    let (digits, base) = if from_prefix {
        prefixed(text)
    } else {
        (text, base)
    };
    let mut value: u64 = 0;
    let mut underscores = false;
    for byte in digits {
        if *byte == b'_' && from_prefix {
            underscores = true;
            continue;
        }
        let Some(digit) = char::from(*byte).to_digit(36).filter(|d| *d < base) else {
            return syntax;
        };
        let next = value
            .checked_mul(u64::from(base))
            .and_then(|v| v.checked_add(u64::from(digit)));
        let Some(next) = next else {
            return (u64::MAX, Some(NumberError::Range));
        };
        value = next;
    }
    if underscores && !underscores_fit(text) {
        return syntax;
    }
    (value, None)
}

fn prefixed(text: &[u8]) -> (&[u8], u32) {
    if text[0] != b'0' {
        return (text, 10);
    }
    match text.get(1).map(u8::to_ascii_lowercase) {
        Some(b'b') if text.len() >= 3 => (&text[2..], 2),
        Some(b'o') if text.len() >= 3 => (&text[2..], 8),
        Some(b'x') if text.len() >= 3 => (&text[2..], 16),
        _ => (&text[1..], 8),
    }
}

/// `strconv.ParseInt(s, base, 64)`. Returns what Go returns beside an error too.
pub(crate) fn parse_int(text: &[u8], base: u32) -> (i64, Option<NumberError>) {
    let (negative, digits) = match text.first() {
        Some(b'+') => (false, &text[1..]),
        Some(b'-') => (true, &text[1..]),
        _ => (false, text),
    };
    let (value, error) = parse_uint(digits, base);
    if error == Some(NumberError::Syntax) {
        return (0, error);
    }
    let limit = 1u64 << 63;
    if !negative && value >= limit {
        return (i64::MAX, Some(NumberError::Range));
    }
    if negative && value > limit {
        return (i64::MIN, Some(NumberError::Range));
    }
    #[expect(
        clippy::cast_possible_wrap,
        reason = "at most 2^63, which wraps to itself"
    )]
    let value = value as i64;
    (
        if negative {
            value.wrapping_neg()
        } else {
            value
        },
        None,
    )
}

/// Whether every underscore stands between digits, or between a base prefix and a digit.
fn underscores_fit(text: &[u8]) -> bool {
    let text = match text.first() {
        Some(b'+' | b'-') => &text[1..],
        _ => text,
    };
    let mut saw = b'^';
    let mut hex = false;
    let mut start = 0;
    if text.len() >= 2 && text[0] == b'0' && b"box".contains(&text[1].to_ascii_lowercase()) {
        start = 2;
        saw = b'0';
        hex = text[1].eq_ignore_ascii_case(&b'x');
    }
    for byte in &text[start..] {
        let digit = byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit();
        saw = match byte {
            _ if digit => b'0',
            b'_' if saw != b'0' => return false,
            b'_' => b'_',
            _ if saw == b'_' => return false,
            _ => b'!',
        };
    }
    saw != b'_'
}

/// `strconv.ParseFloat(s, 64)`.
pub(crate) fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    if let Some(special) = special(text) {
        return Ok(special);
    }
    let scan = scan_float(text).ok_or(NumberError::Syntax)?;
    let clean: String = text
        .iter()
        .filter(|byte| **byte != b'_')
        .map(|byte| char::from(*byte))
        .collect();
    let value = if scan {
        hex_float(&clean)
    } else {
        clean.parse().map_err(|_| NumberError::Syntax)?
    };
    if value.is_infinite() {
        return Err(NumberError::Range);
    }
    Ok(value)
}

fn special(text: &[u8]) -> Option<f64> {
    let (sign, word) = match text.first()? {
        b'+' => (Some(1.0), &text[1..]),
        b'-' => (Some(-1.0), &text[1..]),
        _ => (None, text),
    };
    if word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"infinity") {
        return Some(f64::INFINITY * sign.unwrap_or(1.0));
    }
    (sign.is_none() && word.eq_ignore_ascii_case(b"nan")).then_some(f64::NAN)
}

/// Checks the syntax of a number; returns whether it is hexadecimal.
fn scan_float(text: &[u8]) -> Option<bool> {
    let mut at = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let hex = text.len() > at + 2 && text[at] == b'0' && text[at + 1].eq_ignore_ascii_case(&b'x');
    if hex {
        at += 2;
    }
    let (mut dot, mut digits, mut underscores) = (false, false, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'_' => underscores = true,
            b'.' if !dot => dot = true,
            byte if byte.is_ascii_digit() || hex && byte.is_ascii_hexdigit() => digits = true,
            _ => break,
        }
        at += 1;
    }
    if !digits {
        return None;
    }
    let mark = if hex { b'p' } else { b'e' };
    if text.get(at).is_some_and(|b| b.eq_ignore_ascii_case(&mark)) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        if !text.get(at)?.is_ascii_digit() {
            return None;
        }
        while let Some(byte) = text.get(at).filter(|b| b.is_ascii_digit() || **b == b'_') {
            underscores |= *byte == b'_';
            at += 1;
        }
    } else if hex {
        return None;
    }
    (at == text.len() && (!underscores || underscores_fit(text))).then_some(hex)
}

/// Reads a hexadecimal number whose syntax was checked.
fn hex_float(text: &str) -> f64 {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.trim_start_matches('+')),
    };
    let (digits, exponent) = text[2..]
        .split_once(['p', 'P'])
        .unwrap_or((&text[2..], "0"));
    let mut exponent: i32 = exponent.parse::<i64>().map_or(0, |e| {
        i32::try_from(e.clamp(-100_000, 100_000)).unwrap_or(0)
    });
    let mut mantissa: u64 = 0;
    let mut after_dot = false;
    for c in digits.chars() {
        let Some(digit) = c.to_digit(16) else {
            after_dot = true;
            continue;
        };
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if after_dot { 4 } else { 0 };
        } else {
            // Beyond 64 bits a digit only tells that the rest is not zero.
            mantissa |= u64::from(digit != 0);
            exponent += if after_dot { 0 } else { 4 };
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, as wanted")]
    let mut value = mantissa as f64;
    while exponent > 0 && value != 0.0 && value.is_finite() {
        let step = exponent.min(1000);
        value *= 2f64.powi(step);
        exponent -= step;
    }
    while exponent < 0 && value != 0.0 {
        let step = (-exponent).min(1000);
        value /= 2f64.powi(step);
        exponent += step;
    }
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_parse_as_in_go() {
        assert_eq!(parse_int(b"0x_1f", 0), (31, None));
        assert_eq!(parse_int(b"017", 0), (15, None));
        assert_eq!(parse_int(b"1__0", 0), (0, Some(NumberError::Syntax)));
        assert_eq!(parse_int(b"-9223372036854775808", 10), (i64::MIN, None));
        assert_eq!(
            parse_int(b"9223372036854775808", 10),
            (i64::MAX, Some(NumberError::Range))
        );
        assert_eq!(parse_int(b"", 10), (0, Some(NumberError::Syntax)));
        assert_eq!(parse_int(b"08", 0), (0, Some(NumberError::Syntax)));
    }

    #[test]
    fn floats_parse_as_in_go() {
        assert_eq!(parse_float(b"0x1p-2"), Ok(0.25));
        assert_eq!(parse_float(b"1_0.5"), Ok(10.5));
        assert_eq!(parse_float(b"1e400"), Err(NumberError::Range));
        assert_eq!(parse_float(b"1e"), Err(NumberError::Syntax));
        assert_eq!(parse_float(b" 1"), Err(NumberError::Syntax));
        assert_eq!(parse_float(b"-Inf"), Ok(f64::NEG_INFINITY));
        assert!(parse_float(b"-nan").is_err());
    }

    #[test]
    fn floats_print_as_in_go() {
        for (value, verb, precision, wanted) in [
            (1e6, b'g', None, "1e+06"),
            (123_456.0, b'g', None, "123456"),
            (0.0001, b'g', None, "0.0001"),
            (0.000_01, b'g', None, "1e-05"),
            (1234.5678, b'g', Some(3), "1.23e+03"),
            (100.0, b'g', Some(3), "100"),
            (0.0, b'g', None, "0"),
            (-0.0, b'f', Some(1), "-0.0"),
            (2.5, b'f', Some(0), "2"),
            (1.0, b'e', Some(3), "1.000e+00"),
            (1.0, b'b', None, "4503599627370496p-52"),
            (10.0, b'x', None, "0x1.4p+03"),
            (10.0, b'X', Some(2), "0X1.40P+03"),
            (f64::NAN, b'g', None, "NaN"),
        ] {
            assert_eq!(
                format_float(value, verb, precision),
                wanted,
                "{value} {verb}"
            );
        }
    }

    #[test]
    fn strings_are_quoted_and_unquoted() {
        assert_eq!(
            quote("a\"\n\u{7f}é\u{200b}".as_bytes(), b'"', false),
            "\"a\\\"\\n\\x7fé\\u200b\"".as_bytes()
        );
        assert_eq!(quote(b"\xff", b'"', false), b"\"\\xff\"");
        assert_eq!(quote("é".as_bytes(), b'"', true), b"\"\\u00e9\"");
        assert_eq!(
            unquote(r#""a\x41\101\u00e9\n""#).unwrap(),
            "aAAé\n".as_bytes()
        );
        assert_eq!(unquote("`a\r\nb`").unwrap(), b"a\nb");
        assert!(unquote(r#""\'""#).is_none());
        assert!(unquote(r#""\q""#).is_none());
    }
}

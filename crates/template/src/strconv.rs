//! Numbers and quoted strings as Go's `strconv` reads and writes them.

use crate::text;

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

/// More digits than this are zeros in every `f64`.
const EXACT_DIGITS: usize = 1_100;

/// The significant digits of a number and where its decimal point stands behind them.
struct Digits {
    digits: Vec<u8>,
    point: i32,
}

fn digits(magnitude: f64, precision: Option<usize>) -> Digits {
    if magnitude == 0.0 {
        return Digits {
            digits: Vec::new(),
            point: 0,
        };
    }
    let text = match precision {
        None => format!("{magnitude:e}"),
        Some(precision) => format!("{magnitude:.*e}", precision.min(EXACT_DIGITS)),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    Digits {
        digits,
        point: exponent.parse::<i32>().unwrap_or(0) + 1,
    }
}

/// `strconv.FormatFloat(f, verb, precision, 64)` for the verbs e E f g G b x X; none is the shortest that reads back.
pub(crate) fn format_float(value: f64, verb: u8, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let body = match verb {
        b'e' | b'E' => {
            let digits = digits(magnitude, precision);
            let shown = precision.unwrap_or(digits.digits.len().saturating_sub(1));
            with_exponent(&digits, shown, verb)
        }
        b'f' => fixed(magnitude, precision),
        b'g' | b'G' => general(magnitude, precision, verb),
        b'b' => binary(magnitude),
        _ => hexadecimal(magnitude, precision, verb == b'X'),
    };
    format!("{sign}{body}")
}

fn with_exponent(digits: &Digits, precision: usize, mark: u8) -> String {
    let mut out = String::new();
    let digit = |at: usize| digits.digits.get(at).map_or('0', |d| char::from(*d));
    out.push(digit(0));
    if precision > 0 {
        out.push('.');
        (1..=precision).for_each(|at| out.push(digit(at)));
    }
    let exponent = if digits.digits.is_empty() {
        0
    } else {
        digits.point - 1
    };
    out.push(char::from(mark));
    out.push(if exponent < 0 { '-' } else { '+' });
    out.push_str(&format!("{:02}", exponent.unsigned_abs()));
    out
}

fn fixed(magnitude: f64, precision: Option<usize>) -> String {
    let Some(precision) = precision else {
        return format!("{magnitude}");
    };
    let exact = precision.min(EXACT_DIGITS);
    let mut text = format!("{magnitude:.exact$}");
    text.extend(std::iter::repeat_n('0', precision - exact));
    text
}

fn general(magnitude: f64, precision: Option<usize>, verb: u8) -> String {
    let wanted = precision.map(|p| p.max(1));
    let digits = digits(magnitude, wanted.map(|p| p - 1));
    let count = digits.digits.len();
    let signed = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut precision = wanted.unwrap_or(count);
    let mut threshold = signed(precision);
    if threshold > signed(count) && signed(count) >= i64::from(digits.point) {
        threshold = signed(count);
    }
    if wanted.is_none() {
        threshold = 6;
    }
    let exponent = i64::from(digits.point) - 1;
    if exponent < -4 || exponent >= threshold {
        precision = precision.min(count);
        return with_exponent(
            &digits,
            precision.saturating_sub(1),
            if verb == b'G' { b'E' } else { b'e' },
        );
    }
    if signed(precision) > i64::from(digits.point) {
        precision = count;
    }
    let decimals = signed(precision) - i64::from(digits.point);
    plain(&digits, usize::try_from(decimals).unwrap_or(0))
}

fn plain(digits: &Digits, decimals: usize) -> String {
    let digit = |at: i64| {
        let digit = usize::try_from(at)
            .ok()
            .and_then(|at| digits.digits.get(at));
        digit.map_or('0', |d| char::from(*d))
    };
    let point = i64::from(digits.point);
    let mut out = String::new();
    if point > 0 {
        (0..point).for_each(|at| out.push(digit(at)));
    } else {
        out.push('0');
    }
    if decimals > 0 {
        out.push('.');
        let decimals = i64::try_from(decimals).unwrap_or(i64::MAX);
        (0..decimals).for_each(|at| out.push(digit(point + at)));
    }
    out
}

const MANTISSA_BITS: u32 = 52;

/// The mantissa with its implicit bit, and the exponent of its highest bit.
fn parts(magnitude: f64) -> (u64, i32) {
    let bits = magnitude.to_bits();
    let exponent = i32::try_from(bits >> MANTISSA_BITS & 0x7ff).unwrap_or(0);
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    if exponent == 0 {
        (mantissa, -1022)
    } else {
        (mantissa | 1 << MANTISSA_BITS, exponent - 1023)
    }
}

fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts(magnitude);
    format!("{mantissa}p{:+}", exponent - 52)
}

fn hexadecimal(magnitude: f64, precision: Option<usize>, upper: bool) -> String {
    let (mut mantissa, mut exponent) = parts(magnitude);
    if mantissa == 0 {
        exponent = 0;
    }
    mantissa <<= 60 - MANTISSA_BITS;
    while mantissa != 0 && mantissa & 1 << 60 == 0 {
        mantissa <<= 1;
        exponent -= 1;
    }
    if let Some(precision) = precision.filter(|p| *p < 15) {
        let shift = precision * 4;
        let extra = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        if extra | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa & 1 << 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let mut out = format!("0x{}", mantissa >> 60 & 1);
    mantissa <<= 4;
    let digit = |mantissa: &mut u64, out: &mut String| {
        out.push_str(&format!("{:x}", *mantissa >> 60 & 15));
        *mantissa <<= 4;
    };
    match precision {
        None if mantissa != 0 => {
            out.push('.');
            while mantissa != 0 {
                digit(&mut mantissa, &mut out);
            }
        }
        Some(precision) if precision > 0 => {
            out.push('.');
            for _ in 0..precision {
                digit(&mut mantissa, &mut out);
            }
        }
        _ => {}
    }
    out.push_str(if exponent < 0 { "p-" } else { "p+" });
    out.push_str(&format!("{:02}", exponent.unsigned_abs()));
    if upper { out.to_uppercase() } else { out }
}

/// `strconv.Quote` (or `QuoteToASCII`) with the quote mark given.
pub(crate) fn quote(bytes: &[u8], mark: u8, ascii: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(mark);
    for (at, c, width) in text::runes(bytes) {
        if width == 1 && c == char::REPLACEMENT_CHARACTER {
            out.extend_from_slice(format!("\\x{:02x}", bytes[at]).as_bytes());
        } else {
            escape(&mut out, c, mark, ascii);
        }
    }
    out.push(mark);
    out
}

/// `strconv.QuoteRune` (or `QuoteRuneToASCII`).
pub(crate) fn quote_rune(c: char, ascii: bool) -> Vec<u8> {
    let mut out = vec![b'\''];
    escape(&mut out, c, b'\'', ascii);
    out.push(b'\'');
    out
}

fn escape(out: &mut Vec<u8>, c: char, mark: u8, ascii: bool) {
    if c == char::from(mark) || c == '\\' {
        out.push(b'\\');
        return text::push(out, c);
    }
    if (c.is_ascii() || !ascii) && text::is_print(c) {
        return text::push(out, c);
    }
    let escaped = match c {
        '\u{7}' => "\\a".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{b}' => "\\v".to_owned(),
        c if c < ' ' || c == '\u{7f}' => format!("\\x{:02x}", c as u32),
        c if (c as u32) < 0x1_0000 => format!("\\u{:04x}", c as u32),
        c => format!("\\U{:08x}", c as u32),
    };
    out.extend_from_slice(escaped.as_bytes());
}

/// `strconv.CanBackquote`.
pub(crate) fn can_backquote(bytes: &[u8]) -> bool {
    text::runes(bytes).all(|(_, c, width)| {
        if width > 1 {
            return c != '\u{feff}';
        }
        c != char::REPLACEMENT_CHARACTER && (c >= ' ' || c == '\t') && c != '`' && c != '\u{7f}'
    })
}

/// `strconv.Unquote` for `"…"` and a raw string; none when the syntax is wrong.
pub(crate) fn unquote(source: &str) -> Option<Vec<u8>> {
    let inner = source.get(1..source.len().checked_sub(1)?)?;
    if source.starts_with('`') {
        return Some(inner.bytes().filter(|byte| *byte != b'\r').collect());
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        if rest.starts_with('\n') {
            return None;
        }
        let (unit, tail) = unquote_char(rest, '"')?;
        match unit {
            Unit::Byte(byte) => out.push(byte),
            Unit::Char(c) => text::push(&mut out, c),
        }
        rest = tail;
    }
    Some(out)
}

/// What an escape stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// `\xff`, `\377`: a byte.
    Byte(u8),
    Char(char),
}

/// `strconv.UnquoteChar`: the first character and the rest.
pub(crate) fn unquote_char(source: &str, mark: char) -> Option<(Unit, &str)> {
    let mut chars = source.chars();
    let first = chars.next()?;
    if first == mark {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Char(first), chars.as_str()));
    }
    let c = chars.next()?;
    let rest = chars.as_str();
    let simple = |c: char| Some((Unit::Char(c), rest));
    match c {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' => simple('\\'),
        '\'' | '"' if c == mark => simple(c),
        'x' | 'u' | 'U' => {
            let length = match c {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let digits = rest.get(..length)?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let value = u32::from_str_radix(digits, 16).ok()?;
            let unit = match u8::try_from(value) {
                Ok(byte) if c == 'x' => Unit::Byte(byte),
                _ => Unit::Char(char::from_u32(value)?),
            };
            Some((unit, &rest[length..]))
        }
        '0'..='7' => {
            let more = rest.get(..2)?;
            if !more.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
                return None;
            }
            let value = u32::from_str_radix(more, 8).ok()? + (c.to_digit(8)? << 6);
            Some((Unit::Byte(u8::try_from(value).ok()?), &rest[2..]))
        }
        _ => None,
    }
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

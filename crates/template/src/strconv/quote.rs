//! Quoted strings and characters, written and read.

use crate::text;

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

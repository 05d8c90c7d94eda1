//! Go's view of text: bytes that are mostly UTF-8, classes and simple case mapping of code points.

use std::sync::LazyLock;

use memchr::memmem;
use regex::Regex;

/// Decodes the first character: itself and its width; U+FFFD and 1 where the bytes are no UTF-8, as Go does.
/// Empty bytes give U+FFFD and 0.
pub(crate) fn decode(bytes: &[u8]) -> (char, usize) {
    let wanted = match bytes.first() {
        None => return (char::REPLACEMENT_CHARACTER, 0),
        Some(byte @ 0..=0x7f) => return (char::from(*byte), 1),
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) => return (char::REPLACEMENT_CHARACTER, 1),
    };
    let decoded = bytes
        .get(..wanted)
        .and_then(|b| std::str::from_utf8(b).ok())
        .and_then(|text| text.chars().next());
    decoded.map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, wanted))
}

/// Walks over the characters: offset, character, width.
pub(crate) fn runes(bytes: &[u8]) -> impl Iterator<Item = (usize, char, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= bytes.len() {
            return None;
        }
        let (c, width) = decode(&bytes[at..]);
        at += width;
        Some((at - width, c, width))
    })
}

/// The number of characters; a byte that is no UTF-8 counts as one.
pub(crate) fn rune_count(bytes: &[u8]) -> usize {
    runes(bytes).count()
}

/// Appends a character.
pub(crate) fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Maps every character, as `strings.Map` does: bytes that are no UTF-8 become U+FFFD.
pub(crate) fn map(bytes: &[u8], mut change: impl FnMut(char) -> char) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (_, c, _) in runes(bytes) {
        push(&mut out, change(c));
    }
    out
}

macro_rules! class {
    ($name:ident, $ascii:expr, $pattern:literal, $doc:literal) => {
        #[doc = $doc]
        pub(crate) fn $name(c: char) -> bool {
            if c.is_ascii() {
                let ascii: fn(char) -> bool = $ascii;
                return ascii(c);
            }
            static CLASS: LazyLock<Regex> =
                LazyLock::new(|| Regex::new(concat!("^", $pattern, "$")).unwrap());
            CLASS.is_match(c.encode_utf8(&mut [0; 4]))
        }
    };
}

class!(
    is_letter,
    |c| c.is_ascii_alphabetic(),
    r"\p{L}",
    "`unicode.IsLetter`."
);
class!(
    is_digit,
    |c| c.is_ascii_digit(),
    r"\p{Nd}",
    "`unicode.IsDigit`."
);
class!(
    is_number,
    |c| c.is_ascii_digit(),
    r"\p{N}",
    "`unicode.IsNumber`."
);
class!(
    is_upper,
    |c| c.is_ascii_uppercase(),
    r"\p{Lu}",
    "`unicode.IsUpper`."
);
class!(
    is_lower,
    |c| c.is_ascii_lowercase(),
    r"\p{Ll}",
    "`unicode.IsLower`."
);
class!(is_title, |_| false, r"\p{Lt}", "`unicode.IsTitle`.");
class!(
    is_punct,
    |c| c.is_ascii_punctuation() && !"$+<=>^`|~".contains(c),
    r"\p{P}",
    "`unicode.IsPunct`."
);
class!(
    is_print,
    |c| (' '..='~').contains(&c),
    r"[\p{L}\p{M}\p{N}\p{P}\p{S}]",
    "`unicode.IsPrint`, `strconv.IsPrint`."
);

/// `unicode.IsSpace`.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}'
        | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// `unicode.ToUpper`: one character for one.
pub(crate) fn to_upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        // The full mapping takes several characters; the simple one is the title form or the character itself.
        _ => match c {
            '\u{1f80}'..='\u{1faf}' if c as u32 & 8 == 0 => {
                char::from_u32(c as u32 + 8).unwrap_or(c)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => char::from_u32(c as u32 + 9).unwrap_or(c),
            _ => c,
        },
    }
}

/// `unicode.ToLower`: one character for one.
pub(crate) fn to_lower(c: char) -> char {
    if c == '\u{130}' {
        return 'i';
    }
    c.to_lowercase().next().unwrap_or(c)
}

/// `unicode.ToTitle`: the upper case but for the digraphs and Georgian.
pub(crate) fn to_title(c: char) -> char {
    match c {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10fa}' | '\u{10fd}'..='\u{10ff}' => c,
        _ => to_upper(c),
    }
}

/// `strings.TrimSpace`.
pub(crate) fn trim_space(bytes: &[u8]) -> &[u8] {
    trim_matches(bytes, is_space)
}

/// Cuts characters that fit off both ends.
pub(crate) fn trim_matches(bytes: &[u8], fits: impl Fn(char) -> bool) -> &[u8] {
    let start = runes(bytes)
        .find(|(_, c, _)| !fits(*c))
        .map_or(bytes.len(), |(at, _, _)| at);
    let mut end = bytes.len();
    while end > start {
        let (c, width) = decode_last(&bytes[start..end]);
        if !fits(c) {
            break;
        }
        end -= width;
    }
    &bytes[start..end]
}

/// Decodes the last character: itself and its width.
fn decode_last(bytes: &[u8]) -> (char, usize) {
    for width in 2..=bytes.len().min(4) {
        let tail = &bytes[bytes.len() - width..];
        let (c, decoded) = decode(tail);
        if decoded == width {
            return (c, width);
        }
    }
    match bytes.last() {
        Some(byte) if byte.is_ascii() => (char::from(*byte), 1),
        _ => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Finds bytes in bytes.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    memmem::find(text, part)
}

/// Finds the last place of bytes in bytes.
pub(crate) fn rfind(text: &[u8], part: &[u8]) -> Option<usize> {
    memmem::rfind(text, part)
}

/// Every place of `part`, which is not empty, that does not overlap the one before.
pub(crate) fn places(text: &[u8], part: &[u8]) -> Vec<usize> {
    memmem::find_iter(text, part).collect()
}

/// How many parts [`split`] gives without a limit, at most.
pub(crate) fn count_parts(text: &[u8], separator: &[u8]) -> usize {
    if separator.is_empty() {
        return rune_count(text);
    }
    memmem::find_iter(text, separator).count() + 1
}

/// Cuts text at every `separator`, at most `limit` parts (Go's `SplitN`; a negative limit means all, 0 none).
/// An empty separator cuts between characters.
pub(crate) fn split<'t>(text: &'t [u8], separator: &[u8], limit: i64) -> Vec<&'t [u8]> {
    if limit == 0 {
        return Vec::new();
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut start = 0;
    if separator.is_empty() {
        for (at, _, width) in runes(text) {
            if parts.len() + 1 >= limit {
                parts.push(&text[at..]);
                return parts;
            }
            parts.push(&text[at..at + width]);
        }
        return parts;
    }
    for at in places(text, separator) {
        if parts.len() + 1 >= limit {
            break;
        }
        parts.push(&text[start..at]);
        start = at + separator.len();
    }
    parts.push(&text[start..]);
    parts
}

/// Replaces every `old` by `new`, as `strings.ReplaceAll`: an empty `old` stands before each character and at the end.
pub(crate) fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    if old.is_empty() {
        for (at, _, width) in runes(text) {
            out.extend_from_slice(new);
            out.extend_from_slice(&text[at..at + width]);
        }
        out.extend_from_slice(new);
        return out;
    }
    let mut start = 0;
    for at in places(text, old) {
        out.extend_from_slice(&text[start..at]);
        out.extend_from_slice(new);
        start = at + old.len();
    }
    out.extend_from_slice(&text[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_utf_8_have_width_one() {
        assert_eq!(decode(b"\xff"), ('\u{fffd}', 1));
        assert_eq!(decode(b"\xe2\x82"), ('\u{fffd}', 1));
        assert_eq!(decode("€".as_bytes()), ('€', 3));
        assert_eq!(decode(b""), ('\u{fffd}', 0));
        assert_eq!(rune_count(b"a\xff\xffb"), 4);
        assert_eq!(decode_last("a€".as_bytes()), ('€', 3));
        assert_eq!(decode_last(b"a\x82"), ('\u{fffd}', 1));
    }

    #[test]
    fn case_mapping_is_the_simple_one() {
        let upper: String = "ßaǆŉᾳé".chars().map(to_upper).collect();
        assert_eq!(upper, "ßAǄŉᾼÉ");
        assert_eq!(to_title('ǆ'), 'ǅ');
        assert_eq!(to_lower('İ'), 'i');
        assert_eq!(to_lower('Σ'), 'σ');
    }

    #[test]
    fn parts_are_cut_and_replaced() {
        assert_eq!(split(b"a,b,,c", b",", -1), [b"a" as &[u8], b"b", b"", b"c"]);
        assert_eq!(split(b"a,b,c", b",", 2), [b"a" as &[u8], b"b,c"]);
        assert_eq!(
            split("aé".as_bytes(), b"", -1),
            ["a".as_bytes(), "é".as_bytes()]
        );
        assert_eq!(split(b"", b",", -1), [b"" as &[u8]]);
        assert!(split(b"", b"", -1).is_empty());
        assert_eq!(replace(b"ab", b"", b"-"), b"-a-b-");
        assert_eq!(replace(b"aaa", b"aa", b"b"), b"ba");
        assert_eq!(find(b"xay", b"ay"), Some(1));
        assert_eq!(rfind(b"abab", b"ab"), Some(2));
        assert_eq!(trim_space("\u{2003} a \u{85}".as_bytes()), b"a");
    }
}

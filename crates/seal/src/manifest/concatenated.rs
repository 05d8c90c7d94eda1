//! JSON that YAML does not read: several objects one after the other, as kubectl prints and takes
//! them, and characters that are escaped as two surrogates.

use std::ops::Range;

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

/// Returns the place of every object of a text that is JSON and that YAML would not read, and
/// `None` for every other text.
pub(super) fn objects(source: &str) -> Option<Vec<Range<usize>>> {
    let text = source.strip_prefix('\u{feff}').unwrap_or(source);
    let before = source.len() - text.len();
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut objects = Vec::new();
    loop {
        let from = stream.byte_offset();
        match stream.next() {
            None => break,
            Some(Err(_)) => return None,
            Some(Ok(_)) => {}
        }
        let blanks = text[from..].len() - text[from..].trim_start().len();
        objects.push(before + from + blanks..before + stream.byte_offset());
    }
    let escaped = source.contains("\\ud") || source.contains("\\uD");
    (objects.len() > 1 || escaped).then_some(objects)
}

/// Returns JSON with every pair of surrogates as the character that it stands for; half a pair is
/// U+FFFD, as Go reads it.
pub(super) fn without_surrogates(json: &str) -> Zeroizing<String> {
    // No longer than the source: an escape has six bytes, a character four.
    let mut text = Zeroizing::new(String::with_capacity(json.len()));
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let Some(high) = unit(from).filter(|unit| (0xd800..0xe000).contains(unit)) else {
            // The escaped character too: it may be a backslash.
            let length = 1 + from[1..].chars().next().map_or(0, char::len_utf8);
            text.push_str(&from[..length]);
            rest = &from[length..];
            continue;
        };
        let low = unit(&from[6..]);
        let pair = low.and_then(|low| char::decode_utf16([high, low]).next()?.ok());
        text.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &from[if pair.is_some() { 12 } else { 6 }..];
    }
    text.push_str(rest);
    text
}

/// Reads `\uXXXX` at the start of a text.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_that_yaml_does_not_read_is_split() {
        for (source, expected) in [
            (
                "{\"a\":1}\n{\"b\":[2]}",
                Some(&["{\"a\":1}", "{\"b\":[2]}"][..]),
            ),
            ("\u{feff}\n {} {}\n", Some(&["{}", "{}"])),
            (
                "{\"a\":\"\\ud83d\\ude00\"}\n",
                Some(&["{\"a\":\"\\ud83d\\ude00\"}"]),
            ),
            ("{\"a\":1}\n", None),
            ("{a: b}\n", None),
            ("{}\n---\n{}\n", None),
            ("a: '\\ud83d'\n", None),
            ("", None),
        ] {
            let found = objects(source);
            let found =
                found.map(|list| list.into_iter().map(|at| &source[at]).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn surrogates_become_characters() {
        for (source, expected) in [
            (r#""\ud83d\uDE00 \u0041""#, "\"\u{1f600} \\u0041\""),
            (r#""\\ud83d\n""#, r#""\\ud83d\n""#),
            (r#""\ud83d x""#, "\"\u{fffd} x\""),
            (r#""\ude00\ud83d\ude00""#, "\"\u{fffd}\u{1f600}\""),
        ] {
            assert_eq!(*without_surrogates(source), expected, "{source}");
        }
    }
}

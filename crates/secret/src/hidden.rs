//! Values that are about to be hidden, and whether a text that stays in clear repeats one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// Shortest text that counts when it is found in the middle of another, in bytes. Shorter ones are
/// words like `true` or `db` that stand anywhere.
pub const SHORTEST_PART: usize = 8;
/// Shortest line of a value of several lines that counts by itself.
const SHORTEST_LINE: usize = 12;
/// How deep JSON inside the strings of JSON is looked into.
const MAX_JSON_DEPTH: usize = 2;

/// The values that an encryption hides, in every form in which a clear text could repeat them: as
/// they are, in base64, without base64, line by line.
///
/// Looking a text up takes time in proportion to its length, however many values there are.
#[derive(Default)]
pub struct HiddenValues {
    forms: Vec<Form>,
    names: Vec<String>,
    /// Forms by the hash of their text, and by that of their first [`SHORTEST_PART`] bytes. No text
    /// is kept here, so that nothing is left to clear.
    whole: HashMap<u64, Vec<usize>>,
    starts: HashMap<u64, Vec<usize>>,
    hasher: RandomState,
}

/// One form of a value; the text is cleared on drop.
struct Form {
    text: Zeroizing<String>,
    group: usize,
    name: usize,
}

impl HiddenValues {
    /// Adds a value under its name for messages. Values that belong together, as those of one
    /// manifest, have the same `group`.
    pub fn add(&mut self, group: usize, name: &str, value: &[u8]) {
        let name_index = self.names.len();
        self.names.push(name.to_owned());
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(value));
        self.add_form(group, name_index, &encoded);
        let Ok(text) = std::str::from_utf8(value) else {
            return;
        };
        self.add_text(group, name_index, text);
        let compact: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
        let decoded = BASE64_STANDARD.decode(compact.as_str()).map(Zeroizing::new);
        if let Ok(decoded) = decoded
            && let Ok(decoded) = std::str::from_utf8(&decoded)
        {
            self.add_text(group, name_index, decoded);
        }
    }

    fn add_text(&mut self, group: usize, name: usize, text: &str) {
        self.add_form(group, name, text);
        let trimmed = text.trim();
        self.add_form(group, name, trimmed);
        if trimmed.contains('\n') {
            let lines = trimmed.lines().map(str::trim);
            // The frame of a PEM block says nothing.
            for line in lines.filter(|l| l.len() >= SHORTEST_LINE && !l.starts_with("-----")) {
                self.add_form(group, name, line);
            }
        }
    }

    fn add_form(&mut self, group: usize, name: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        let index = self.forms.len();
        let same = self.whole.entry(self.hasher.hash_one(text.as_bytes()));
        let same = same.or_default();
        let forms = &self.forms;
        if same
            .iter()
            .any(|known| forms[*known].group == group && *forms[*known].text == text)
        {
            return;
        }
        same.push(index);
        if let Some(start) = text.as_bytes().first_chunk::<SHORTEST_PART>() {
            let starts = self.starts.entry(self.hasher.hash_one(&start[..]));
            starts.or_default().push(index);
        }
        self.forms.push(Form {
            text: Zeroizing::new(text.to_owned()),
            group,
            name,
        });
    }

    /// Returns the name of a value that a clear text repeats: as a whole, as a whole JSON string in
    /// it, or, from [`SHORTEST_PART`] on, anywhere in it.
    ///
    /// `shortest` gives, for a group, the length from which a whole text counts.
    pub fn repeated_in(&self, clear: &str, shortest: &dyn Fn(usize) -> usize) -> Option<&str> {
        self.search(clear, shortest, MAX_JSON_DEPTH)
    }

    fn search(&self, clear: &str, shortest: &dyn Fn(usize) -> usize, depth: usize) -> Option<&str> {
        if self.forms.is_empty() {
            return None;
        }
        self.whole(clear, shortest)
            .or_else(|| self.whole(clear.trim(), shortest))
            .or_else(|| self.part(clear))
            .or_else(|| {
                let strings = match depth {
                    0 => Vec::new(),
                    _ => json_strings(clear),
                };
                strings
                    .iter()
                    .find_map(|text| self.search(text, shortest, depth - 1))
            })
    }

    fn whole(&self, text: &str, shortest: &dyn Fn(usize) -> usize) -> Option<&str> {
        let found = self.whole.get(&self.hasher.hash_one(text.as_bytes()))?;
        let mut found = found.iter().map(|index| &self.forms[*index]);
        let form = found.find(|form| *form.text == text && text.len() >= shortest(form.group))?;
        Some(&self.names[form.name])
    }

    fn part(&self, text: &str) -> Option<&str> {
        let bytes = text.as_bytes();
        for (at, start) in bytes.windows(SHORTEST_PART).enumerate() {
            let Some(found) = self.starts.get(&self.hasher.hash_one(start)) else {
                continue;
            };
            let mut found = found.iter().map(|index| &self.forms[*index]);
            if let Some(form) = found.find(|form| bytes[at..].starts_with(form.text.as_bytes())) {
                return Some(&self.names[form.name]);
            }
        }
        None
    }
}

/// Returns everything between double quotes in a text, with JSON's escapes resolved.
fn json_strings(text: &str) -> Vec<Zeroizing<String>> {
    let mut strings = Vec::new();
    let mut rest = text.chars();
    while rest.by_ref().any(|c| c == '"') {
        let mut string = Zeroizing::new(String::new());
        let mut surrogate = None;
        while let Some(c) = rest.next() {
            let c = match c {
                '"' => break,
                '\\' => match rest.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('r') => '\r',
                    Some('b') => '\u{8}',
                    Some('f') => '\u{c}',
                    Some('u') => {
                        let digits: String = rest.by_ref().take(4).collect();
                        let unit = u16::from_str_radix(&digits, 16).unwrap_or_default();
                        let pair = surrogate.take().into_iter().chain([unit]);
                        match char::decode_utf16(pair).last() {
                            Some(Ok(c)) => c,
                            _ => {
                                surrogate = Some(unit);
                                continue;
                            }
                        }
                    }
                    Some(other) => other,
                    None => break,
                },
                other => other,
            };
            string.push(c);
        }
        strings.push(string);
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(value: &str) -> HiddenValues {
        let mut hidden = HiddenValues::default();
        hidden.add(1, "k", value.as_bytes());
        hidden
    }

    fn found(value: &str, clear: &str) -> bool {
        let hidden = hidden(value);
        hidden.repeated_in(clear, &|group| if group == 1 { 4 } else { 8 }) == Some("k")
    }

    #[test]
    fn every_form_is_found() {
        // hunter2-app = aHVudGVyMi1hcHA=
        for clear in [
            "hunter2-app",
            " hunter2-app\n",
            "aHVudGVyMi1hcHA=",
            "the password is hunter2-app!",
            r#"{"a": ["hunter2-app"]}"#,
            r#"{"a": "\u0068unter2-app"}"#,
            r#"{"a": "{\"b\": \"x \\u0068unter2-app\"}"}"#,
            "data: aHVudGVyMi1hcHA= # old",
        ] {
            assert!(found("hunter2-app", clear), "{clear}");
            assert!(found("aHVudGVyMi1hcHA=", clear), "{clear}");
        }
        assert!(found(
            "a\"quoted\" \u{1f600}",
            r#"{"x":"a\"quoted\" \ud83d\ude00"}"#
        ));
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEFAA\n-----END KEY-----\n";
        assert!(found(key, "was MIIEvQIBADANBg"));
        assert!(found(key, r#"{"k": "x\nkqhkiG9w0BAQEFAA\ny"}"#));
        assert!(found("user", "user"));
    }

    #[test]
    fn short_words_and_frames_are_not() {
        let key = "-----BEGIN KEY-----\nshort\nMIIEvQIBADANBg\n-----END KEY-----\n";
        for (value, clear) in [
            ("on", "on"),
            ("admin", "administrator of it"),
            ("admin", "the admin"),
            (key, "-----BEGIN KEY-----"),
            (key, "shorter"),
            ("hunter2-app", "hunter2-ap"),
            ("", ""),
        ] {
            assert!(!found(value, clear), "{value} {clear}");
        }
        // Of another group a whole text counts from eight bytes on.
        let hidden = hidden("admin");
        assert_eq!(hidden.repeated_in("admin", &|_| 8), None);
    }

    /// So many values and so many texts, each compared with each, would take minutes.
    #[test]
    fn many_values_and_long_texts_take_linear_time() {
        let start = std::time::Instant::now();
        let mut hidden = HiddenValues::default();
        for n in 0..20_000 {
            hidden.add(n, "k", format!("{n:08} secret").as_bytes());
        }
        for n in 0..20_000 {
            let clear = format!("{n:08} clear and {}", n + 20_000);
            assert_eq!(hidden.repeated_in(&clear, &|_| 8), None);
        }
        assert_eq!(hidden.repeated_in(&"\"".repeat(100_000), &|_| 8), None);
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }
}

//! Which key sealed a value: a note on a SealedSecret that lets the controller try the right key first.
//!
//! It is only a hint. Anybody who may write the manifest may write the note, so it orders the keys and excludes none; and
//! it is never written under the name `kubeseal`, whose output stays as it is.

use std::collections::BTreeMap;
use std::fmt;

use crate::Fingerprint;

/// The annotation of the SealedSecret that holds the note.
///
/// Its value is a list, separated by blanks: `SHA256:...=KEY,KEY` for single values, and `SHA256:...` alone for all others.
pub const SEALED_WITH_ANNOTATION: &str = "selkie/sealed-with";

/// Entries that are read of a note.
const LIMIT: usize = 10_000;

/// The keys that sealed the values of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyHints {
    others: Option<Fingerprint>,
    by_key: BTreeMap<String, Fingerprint>,
}

impl KeyHints {
    /// Makes the note of values that are all sealed with one key.
    pub fn all(fingerprint: Fingerprint) -> Self {
        Self {
            others: Some(fingerprint),
            by_key: BTreeMap::new(),
        }
    }

    /// Reads a note; what is none is passed over.
    pub fn parse(text: &str) -> Self {
        let mut hints = Self::default();
        for part in text.split_ascii_whitespace() {
            let (fingerprint, keys) = match part.split_once('=') {
                Some((fingerprint, keys)) => (fingerprint, Some(keys)),
                None => (part, None),
            };
            let Ok(fingerprint) = fingerprint.parse() else {
                continue;
            };
            match keys {
                None => hints.others = Some(fingerprint),
                Some(keys) => {
                    for key in keys.split(',').filter(|key| !key.is_empty()) {
                        if hints.by_key.len() < LIMIT {
                            hints.by_key.insert(key.to_owned(), fingerprint);
                        }
                    }
                }
            }
        }
        hints
    }

    /// Notes the key of one value.
    pub fn set(&mut self, key: &str, fingerprint: Fingerprint) {
        self.by_key.insert(key.to_owned(), fingerprint);
    }

    /// Returns the key of one value, if it was noted.
    pub fn of(&self, key: &str) -> Option<Fingerprint> {
        self.by_key.get(key).copied().or(self.others)
    }
}

impl fmt::Display for KeyHints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = BTreeMap::<Fingerprint, Vec<&str>>::new();
        for (key, fingerprint) in &self.by_key {
            if Some(*fingerprint) != self.others {
                groups.entry(*fingerprint).or_default().push(key);
            }
        }
        let mut parts: Vec<String> = self.others.iter().map(ToString::to_string).collect();
        for (fingerprint, keys) in groups {
            parts.push(format!("{fingerprint}={}", keys.join(",")));
        }
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "SHA256:G1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y";
    const B: &str = "SHA256:H1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y";

    #[test]
    fn a_note_comes_back() {
        let (a, b) = (A.parse().unwrap(), B.parse().unwrap());
        let mut hints = KeyHints::all(a);
        assert_eq!(hints.to_string(), A);
        hints.set("x", b);
        hints.set("y", b);
        hints.set("z", a);
        let text = hints.to_string();
        assert_eq!(text, format!("{A} {B}=x,y"));
        let read = KeyHints::parse(&text);
        let of = |key| read.of(key).unwrap();
        assert_eq!([of("x"), of("y"), of("z"), of("other")], [b, b, a, a]);
    }

    #[test]
    fn what_is_no_note_is_passed_over() {
        for text in ["", "x", "SHA256:", "SHA256:x=y", "=", "MD5:aa"] {
            assert_eq!(KeyHints::parse(text), KeyHints::default(), "{text}");
        }
        let mixed = KeyHints::parse(&format!("x {A}= {B}=,k, y=z"));
        assert_eq!(mixed.of("k").map(|key| key.to_string()).as_deref(), Some(B));
        assert_eq!(mixed.of("z"), None);
    }
}

//! The part of gjson's path syntax that `remoteRef.property` is used with (external-secrets.md 5.6).
//!
//! Dots, `\` escapes, array indexes, `#` as length and as map. Every other piece of the syntax
//! (wildcards, queries, pipes, modifiers, multipaths, literals) is refused by name, so that a path
//! never quietly means something else than it did. A test compares with gjson itself.

use selkie_secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use crate::json::{Node, float_text, unquoted};

/// gjson's modifiers; `@name` with any other name is an ordinary member (gjson 1.18).
const MODIFIERS: [&str; 13] = [
    "pretty", "ugly", "reverse", "this", "flatten", "join", "valid", "keys", "values", "tostr",
    "fromstr", "group", "dig",
];

/// A piece of gjson syntax that is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{syntax} ({piece:?}) in a property path is not supported; write the plain member path")]
pub struct UnsupportedPath {
    /// Its name.
    pub syntax: &'static str,
    /// As it is written.
    pub piece: String,
}

/// A path: one step per dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// The member's name, escapes taken off.
    name: String,
    /// As written; an array looks at this.
    written: String,
}

impl Path {
    /// Reads a path; fails on syntax that is not carried out.
    pub(crate) fn parse(text: &str) -> Result<Self, UnsupportedPath> {
        if text.starts_with("..") {
            return Err(unsupported("JSON lines", ".."));
        }
        if text.starts_with('!') {
            return Err(unsupported("a literal", text));
        }
        let mut steps = Vec::new();
        let mut rest = Some(text);
        while let Some(part) = rest {
            refuse_special_start(part)?;
            let (step, after) = step(part)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// Makes the path of one member whose name holds any character.
    pub(crate) fn literal(name: &str) -> Self {
        Self(vec![Step {
            name: name.to_owned(),
            written: name.to_owned(),
        }])
    }

    /// Looks the path up; `None` when there is nothing there. null is something: empty text.
    pub(crate) fn find(&self, root: &Node<'_>) -> Option<SecretBytes> {
        find(&self.0, root).map(Found::into_bytes)
    }
}

fn unsupported(syntax: &'static str, piece: &str) -> UnsupportedPath {
    UnsupportedPath {
        syntax,
        piece: piece.chars().take(60).collect(),
    }
}

/// Refuses what has a meaning only at the start of a step.
fn refuse_special_start(part: &str) -> Result<(), UnsupportedPath> {
    if part.starts_with(['[', '{']) {
        return Err(unsupported("a multipath", part));
    }
    if part.starts_with("#(") || part.starts_with("#[") {
        return Err(unsupported("a query", part));
    }
    if let Some(after) = part.strip_prefix('@') {
        let end = after.find(['.', '|', ':', '[', '{', '(', '"']);
        let name = &after[..end.unwrap_or(after.len())];
        if MODIFIERS.contains(&name) {
            return Err(unsupported("a modifier", part));
        }
    }
    Ok(())
}

/// Splits the first step off.
fn step(part: &str) -> Result<(Step, Option<&str>), UnsupportedPath> {
    let mut name = String::new();
    let mut chars = part.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' => {
                let written = part[..at].to_owned();
                return Ok((Step { name, written }, Some(&part[at + 1..])));
            }
            '\\' => {
                if let Some((_, escaped)) = chars.next() {
                    name.push(escaped);
                }
            }
            '|' => return Err(unsupported("a pipe", part)),
            '*' | '?' => return Err(unsupported("a wildcard", part)),
            c => name.push(c),
        }
    }
    let written = part.to_owned();
    Ok((Step { name, written }, None))
}

enum Found<'n, 'a> {
    Node(&'n Node<'a>),
    Count(usize),
    /// The JSON array that `#.path` makes.
    List(Zeroizing<String>),
}

impl Found<'_, '_> {
    /// gjson's `String()`.
    fn into_bytes(self) -> SecretBytes {
        match self {
            Self::Node(Node::Text(raw)) => unquoted(raw).into_bytes(),
            Self::Node(Node::Null) => SecretBytes::default(),
            Self::Node(Node::Number(raw)) => SecretBytes::new(float_text(raw).into_bytes()),
            Self::Node(node) => SecretBytes::new(node.raw().as_bytes().to_vec()),
            Self::Count(count) => SecretBytes::new(count.to_string().into_bytes()),
            Self::List(mut text) => SecretString::new(std::mem::take(&mut *text)).into_bytes(),
        }
    }

    fn push_raw(&self, out: &mut String) {
        match self {
            Self::Node(node) => out.push_str(node.raw()),
            Self::Count(count) => out.push_str(&count.to_string()),
            Self::List(text) => out.push_str(text),
        }
    }
}

fn find<'n, 'a>(steps: &[Step], node: &'n Node<'a>) -> Option<Found<'n, 'a>> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(Found::Node(node));
    };
    match node {
        Node::Object { .. } => find(rest, node.first_member(&step.name)?),
        Node::Array { items, .. } if step.written == "#" => {
            if rest.is_empty() {
                return Some(Found::Count(items.len()));
            }
            let mut list = Zeroizing::new(String::from("["));
            for found in items.iter().filter_map(|item| find(rest, item)) {
                if list.len() > 1 {
                    list.push(',');
                }
                found.push_raw(&mut list);
            }
            list.push(']');
            Some(Found::List(list))
        }
        Node::Array { items, .. } => {
            let index = &step.written;
            let plain = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
            let index = plain.then(|| index.parse::<usize>().ok()).flatten()?;
            find(rest, items.get(index)?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    #[test]
    fn what_is_not_carried_out_is_named() {
        for (path, syntax) in [
            ("a.*", "a wildcard"),
            ("a?b", "a wildcard"),
            ("a|b", "a pipe"),
            ("a.#(b==1).c", "a query"),
            ("a.@reverse", "a modifier"),
            ("@this", "a modifier"),
            ("@pretty:{}", "a modifier"),
            ("a.[b,c]", "a multipath"),
            ("{a,b}", "a multipath"),
            ("!\"x\"", "a literal"),
            ("..#", "JSON lines"),
        ] {
            assert_eq!(Path::parse(path).unwrap_err().syntax, syntax, "{path}");
        }
        for path in ["@type", "a.@id", r"a\*", r"a\|b", "a#b", "#", "a.#.b"] {
            assert!(Path::parse(path).is_ok(), "{path}");
        }
    }

    /// Goldens written by gjson 1.18.0: 7 documents by 64 paths.
    #[test]
    fn the_same_as_gjson() {
        #[derive(serde::Deserialize)]
        struct Case {
            document: String,
            path: String,
            exists: bool,
            text: String,
        }
        let golden = include_str!("../tests/golden/gjson-1.18.0.json");
        let cases: Vec<Case> = serde_json::from_str(golden).unwrap();
        assert!(cases.len() > 400);
        let mut different = Vec::new();
        for case in &cases {
            let node = parse(case.document.as_bytes()).unwrap();
            let found = Path::parse(&case.path).unwrap().find(&node);
            let expected = case.exists.then_some(case.text.as_bytes());
            if found.as_ref().map(SecretBytes::expose) != expected {
                different.push(format!(
                    "{} of {}: {:?}",
                    case.path,
                    case.document,
                    expected.map(String::from_utf8_lossy)
                ));
            }
        }
        assert!(different.is_empty(), "{different:#?}");
    }

    #[test]
    fn literal_names_are_not_split() {
        let node = parse(br#"{"a.b":"x","a":{"b":"y"}}"#).unwrap();
        assert_eq!(Path::literal("a.b").find(&node).unwrap().expose(), b"x");
        let path = Path::parse("a.b").unwrap();
        assert_eq!(path.find(&node).unwrap().expose(), b"y");
    }
}

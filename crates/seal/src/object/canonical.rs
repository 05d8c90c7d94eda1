//! Objects as kubeseal prints them (sealed-secrets.md 12.3): JSON in the order of Go's structs, YAML
//! with sorted keys in the style of go-yaml v2.

use std::cmp::Ordering;

use selkie_text::yaml::Scalar;
use selkie_text::{Value, json, yaml};
use zeroize::Zeroizing;

/// What an object is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Two blanks per level.
    Json,
    /// Behind `---`.
    Yaml,
}

/// A tree to print. Values of Secrets are in it as base64, so text is cleared on drop.
#[derive(Clone, PartialEq)]
pub(crate) enum Node {
    /// Entries in the order of JSON.
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Text(Zeroizing<String>),
    /// A number or a boolean as JSON writes it.
    Raw(String),
    Null,
}

impl Node {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    /// A mapping of texts, sorted as Go sorts the keys of a map.
    pub(crate) fn texts(entries: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut entries: Vec<(String, Self)> = entries
            .into_iter()
            .map(|(key, text)| (key, Self::text(text)))
            .collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self::Map(entries)
    }

    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Self> {
        let found = self.entries().iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Prints a whole object, with the line break at its end.
    pub(crate) fn print(&self, format: OutputFormat) -> Zeroizing<String> {
        // Written without growing, so that no copy is left behind.
        let mut out = Zeroizing::new(String::with_capacity(self.size(0) + 64));
        match format {
            OutputFormat::Json => {
                self.json(&mut out, 0);
                out.push('\n');
            }
            OutputFormat::Yaml => {
                out.push_str("---\n");
                self.yaml(&mut out, 0, false);
            }
        }
        out
    }

    /// An upper bound of what it prints to.
    fn size(&self, level: usize) -> usize {
        let indent = level * 2 + 8;
        match self {
            Self::Map(entries) => entries
                .iter()
                .map(|(key, value)| indent + key.len() * 6 + value.size(level + 1))
                .sum::<usize>(),
            Self::List(items) => items
                .iter()
                .map(|item| indent + item.size(level + 1))
                .sum::<usize>(),
            // Base64 is written as it is; other text may be escaped, or folded every 80 columns.
            Self::Text(text) if text.bytes().all(is_base64) => text.len() + 4,
            Self::Text(text) => text.len() * 10 + text.matches('\n').count() * indent + indent,
            Self::Raw(text) => text.len(),
            Self::Null => 4,
        }
        .saturating_add(indent)
    }

    fn json(&self, out: &mut String, level: usize) {
        let line = |out: &mut String, level: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", level));
        };
        match self {
            Self::Map(entries) if entries.is_empty() => out.push_str("{}"),
            Self::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    line(out, level + 1);
                    out.push_str(&json::quoted_as_go(key));
                    out.push_str(": ");
                    value.json(out, level + 1);
                }
                line(out, level);
                out.push('}');
            }
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    line(out, level + 1);
                    item.json(out, level + 1);
                }
                line(out, level);
                out.push(']');
            }
            Self::Text(text) if text.bytes().all(is_base64) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            Self::Text(text) => out.push_str(&Zeroizing::new(json::quoted_as_go(text))),
            Self::Raw(text) => out.push_str(text),
            Self::Null => out.push_str("null"),
        }
    }

    /// Writes a block at `column`; `on_line` when its first line has begun already.
    fn yaml(&self, out: &mut String, column: usize, mut on_line: bool) {
        let pad = |out: &mut String, on_line: &mut bool| {
            if !std::mem::take(on_line) {
                out.extend(std::iter::repeat_n(' ', column));
            }
        };
        match self {
            Self::Map(entries) => {
                let mut sorted: Vec<&(String, Self)> = entries.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| natural(a, b));
                for (key, value) in sorted {
                    pad(out, &mut on_line);
                    let key = one_line(key);
                    out.push_str(&key);
                    out.push(':');
                    match value {
                        Self::Map(entries) if !entries.is_empty() => {
                            out.push('\n');
                            value.yaml(out, column + 2, false);
                        }
                        // Lists stand below their key, without indentation.
                        Self::List(items) if !items.is_empty() => {
                            out.push('\n');
                            value.yaml(out, column, false);
                        }
                        value => {
                            out.push(' ');
                            let at = column + key.chars().count() + 2;
                            value.scalar(out, column, at);
                        }
                    }
                }
            }
            Self::List(items) => {
                for item in items {
                    pad(out, &mut on_line);
                    out.push_str("- ");
                    match item {
                        Self::Map(entries) if !entries.is_empty() => {
                            item.yaml(out, column + 2, true);
                        }
                        Self::List(items) if !items.is_empty() => {
                            item.yaml(out, column + 2, true);
                        }
                        item => item.scalar(out, column, column + 2),
                    }
                }
            }
            scalar => scalar.scalar(out, column, column),
        }
    }

    /// Writes what stands behind a key or a dash at `column`, beginning at column `at`.
    fn scalar(&self, out: &mut String, column: usize, at: usize) {
        match self {
            Self::Map(_) => out.push_str("{}\n"),
            Self::List(_) => out.push_str("[]\n"),
            Self::Raw(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Self::Null => out.push_str("null\n"),
            Self::Text(text) if is_base64_word(text) => {
                out.push_str(text);
                out.push('\n');
            }
            Self::Text(text) if text.contains(is_unprintable) => {
                let quoted = Zeroizing::new(yaml::emit(&Value::Quoted((**text).clone()), 2));
                let mut token = Zeroizing::new(String::with_capacity(quoted.len() * 10));
                for c in quoted.trim_end().chars() {
                    match c {
                        '\t' => token.push_str("\\t"),
                        c if is_unprintable(c) => {
                            token.push_str(&format!("\\U{:08X}", u32::from(c)));
                        }
                        c => token.push(c),
                    }
                }
                fold(out, &token, at, column + 2);
                out.push('\n');
            }
            Self::Text(text) if text.contains('\n') => {
                // The key is only there to have the text written as the value of one.
                let entry = Value::Map(vec![("k".to_owned(), Value::Str((**text).clone()))]);
                let block = Zeroizing::new(yaml::emit(&entry, 2));
                let mut lines = block.trim_start_matches("k: ").split_inclusive('\n');
                out.push_str(lines.next().unwrap_or_default());
                for line in lines {
                    if line != "\n" {
                        out.extend(std::iter::repeat_n(' ', column));
                    }
                    out.push_str(line);
                }
            }
            Self::Text(text) => {
                let token = Zeroizing::new(one_line(text));
                fold(out, &token, at, column + 2);
                out.push('\n');
            }
        }
    }
}

/// A text as a scalar in one line.
fn one_line(text: &str) -> String {
    match text {
        // A string to go-yaml v2 where it is no key, and written like one where it is.
        "<<" => text.to_owned(),
        text => yaml::emit_scalar(text),
    }
}

/// What go-yaml v2 escapes and v3 does not: only double quotes can hold it.
fn is_unprintable(c: char) -> bool {
    c == '\t' || c > '\u{ffff}'
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Long base64, which is plain in YAML without a closer look unless it could be a number.
fn is_base64_word(text: &str) -> bool {
    text.len() > 64
        && text.bytes().all(is_base64)
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && matches!(yaml::resolve_plain(text), Scalar::Str(_))
}

/// Breaks a scalar in one line at blanks beyond column 80, as libyaml's emitter does
/// (`yaml_emitter_write_plain_scalar` and its siblings).
fn fold(out: &mut String, token: &str, mut column: usize, indent: usize) {
    let chars: Vec<char> = token.chars().collect();
    let quote = chars.first().copied().filter(|c| matches!(c, '"' | '\''));
    let (first, last) = match quote {
        Some(_) => (1, chars.len().saturating_sub(2)),
        None => (0, chars.len().saturating_sub(1)),
    };
    let mut after_blank = false;
    for (at, &c) in chars.iter().enumerate() {
        let next_is_blank = chars.get(at + 1) == Some(&' ');
        let inside = quote.is_none() || (at > first && at < last);
        if c == ' ' && inside && !after_blank && column > BEST_WIDTH {
            let break_here = quote == Some('"') || !next_is_blank;
            if break_here {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
                if next_is_blank {
                    out.push('\\');
                    column += 1;
                }
                after_blank = true;
                continue;
            }
        }
        out.push(c);
        column += 1;
        after_blank = c == ' ';
    }
}

const BEST_WIDTH: usize = 80;

/// The order of go-yaml's encoder: letters after what is no letter, numbers by their value.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    for at in 0..a.len().min(b.len()) {
        let (x, y) = (a[at], b[at]);
        if x == y {
            continue;
        }
        match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => return x.cmp(&y),
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        // A zero within a number does not begin one.
        let within = (x == '0' || y == '0')
            && a[..at]
                .iter()
                .rev()
                .take_while(|c| c.is_ascii_digit())
                .any(|c| *c != '0');
        let number = |chars: &[char]| {
            let digits = chars[at..].iter().take_while(|c| c.is_ascii_digit());
            digits.fold((i64::from(within), 0), |(number, length), c| {
                let digit = i64::from(c.to_digit(10).unwrap_or_default());
                (number.wrapping_mul(10).wrapping_add(digit), length + 1)
            })
        };
        return number(&a).cmp(&number(&b)).then(x.cmp(&y));
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, Node)]) -> Node {
        let entries = entries.iter();
        Node::Map(
            entries
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        )
    }

    /// Printed by kubeseal 0.38.4 (`spec.template.metadata` of a sealed Secret).
    #[test]
    fn yaml_is_that_of_kubeseal() {
        let node = map(&[(
            "metadata",
            map(&[
                ("name", Node::text("db")),
                ("finalizers", Node::List(vec![Node::text("a/b")])),
                (
                    "annotations",
                    map(&[
                        ("date", Node::text("2020-01-01")),
                        ("empty", Node::text("")),
                        (
                            "long",
                            Node::text(
                                "this is a very long annotation text that goes on and on and on \
                                 well beyond the eighty columns of a line",
                            ),
                        ),
                        ("multi", Node::text("a\nb <x> & y\n")),
                        ("oct", Node::text("0o7")),
                        ("odd", Node::text("- x: #")),
                        ("tab", Node::text("a\tb")),
                        ("uni", Node::text("é \u{2028}")),
                        ("wide", Node::text("😀")),
                    ]),
                ),
                (
                    "labels",
                    map(&[
                        ("app", Node::text("web")),
                        ("b10", Node::text("x")),
                        ("b2", Node::text("true")),
                        ("n", Node::text("1")),
                    ]),
                ),
                ("none", map(&[])),
            ]),
        )]);
        let expected = r#"---
metadata:
  annotations:
    date: "2020-01-01"
    empty: ""
    long: this is a very long annotation text that goes on and on and on well beyond
      the eighty columns of a line
    multi: |
      a
      b <x> & y
    oct: "0o7"
    odd: '- x: #'
    tab: "a\tb"
    uni: "é \L"
    wide: "\U0001F600"
  finalizers:
  - a/b
  labels:
    app: web
    b2: "true"
    b10: x
    "n": "1"
  name: db
  none: {}
"#;
        assert_eq!(*node.print(OutputFormat::Yaml), expected);
    }

    #[test]
    fn json_is_that_of_go() {
        let node = map(&[
            ("kind", Node::text("<x> & é\u{2028}")),
            (
                "list",
                Node::List(vec![Node::Raw("1".to_owned()), map(&[])]),
            ),
            ("none", Node::List(vec![])),
        ]);
        let expected = "{\n  \"kind\": \"\\u003cx\\u003e \\u0026 é\\u2028\",\n  \"list\": [\n    1,\n    {}\n  ],\n  \"none\": []\n}\n";
        assert_eq!(*node.print(OutputFormat::Json), expected);
    }

    #[test]
    fn keys_are_in_the_order_of_go_yaml() {
        let mut keys = [
            "b10", "b2", "a", "B", "1", "a.b", "a-b", "ab", "a01", "a1", "_",
        ];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(
            keys,
            [
                "_", "1", "B", "a", "a-b", "a.b", "a1", "a01", "ab", "b2", "b10"
            ]
        );
    }
}

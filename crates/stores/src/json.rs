//! JSON as a tree over its own text: what a store returned, without a second copy of the values.
//!
//! Numbers keep their text and objects their order, which `serde_json::Value` does not promise; the
//! tree borrows the text, so the only copies of a value are the ones that leave as secret bytes.

use selkie_secret::{SecretBytes, SecretString};
use zeroize::Zeroizing;

/// The deepest nesting that is followed.
const DEEPEST: usize = 200;

/// Why a text is not JSON that can be used. Carries a position, never the text.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON.
    #[error("it is not JSON (at byte {0})")]
    Syntax(usize),
    /// Nested too deeply.
    #[error("it is nested more than {DEEPEST} deep")]
    Depth,
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    Utf8,
}

/// A JSON value and where it stands.
#[derive(Clone)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The number's text.
    Number(&'a str),
    /// The string with its quotes and escapes.
    Text(&'a str),
    Array {
        raw: &'a str,
        items: Vec<Node<'a>>,
    },
    /// Keys with their quotes and escapes, in the order of the text, repeated ones included.
    Object {
        raw: &'a str,
        members: Vec<(&'a str, Node<'a>)>,
    },
}

/// Parses a whole text.
pub(crate) fn parse(bytes: &[u8]) -> Result<Node<'_>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::Utf8)?;
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let node = parser.value(0)?;
    parser.space();
    if parser.at == text.len() {
        Ok(node)
    } else {
        Err(JsonError::Syntax(parser.at))
    }
}

impl<'a> Node<'a> {
    /// Returns the member of an object by its plain name; the last one where a name is repeated, as Go's decoder does.
    pub(crate) fn member(&self, name: &str) -> Option<&Node<'a>> {
        self.members()?
            .iter()
            .rev()
            .find(|(key, _)| unquoted(key).expose() == name)
            .map(|(_, node)| node)
    }

    /// Returns the first member of that name, as gjson does.
    pub(crate) fn first_member(&self, name: &str) -> Option<&Node<'a>> {
        self.members()?
            .iter()
            .find(|(key, _)| unquoted(key).expose() == name)
            .map(|(_, node)| node)
    }

    /// Returns an object's members.
    pub(crate) fn members(&self) -> Option<&[(&'a str, Node<'a>)]> {
        match self {
            Self::Object { members, .. } => Some(members),
            _ => None,
        }
    }

    /// Returns the text of the value as it stands in the source.
    pub(crate) fn raw(&self) -> &'a str {
        match self {
            Self::Null => "null",
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
            Self::Number(raw) | Self::Text(raw) => raw,
            Self::Array { raw, .. } | Self::Object { raw, .. } => raw,
        }
    }

    /// Turns the value into bytes where numbers are tokens (external-secrets.md 5.5): strings as
    /// their text, null as nothing, numbers as they stand, objects and arrays as Go's compact JSON.
    pub(crate) fn token_bytes(&self) -> SecretBytes {
        match self {
            Self::Text(raw) => unquoted(raw).into_bytes(),
            Self::Null => SecretBytes::default(),
            Self::Array { .. } | Self::Object { .. } => self.go_json(),
            Self::Bool(_) | Self::Number(_) => SecretBytes::new(self.raw().as_bytes().to_vec()),
        }
    }

    /// Like [`Self::token_bytes`], with numbers as Go prints a float64 (external-secrets.md 5.5).
    ///
    /// Integers keep their digits, which is the same up to 2^53 and right above it, where the original loses precision.
    pub(crate) fn float_bytes(&self) -> SecretBytes {
        match self {
            Self::Number(raw) => SecretBytes::new(float_text(raw).into_bytes()),
            _ => self.token_bytes(),
        }
    }

    /// "Raw members" (external-secrets.md 5.5): strings as their text, null as nothing, everything else as it stands.
    pub(crate) fn raw_bytes(&self) -> SecretBytes {
        match self {
            Self::Text(raw) => unquoted(raw).into_bytes(),
            Self::Null => SecretBytes::default(),
            _ => SecretBytes::new(self.raw().as_bytes().to_vec()),
        }
    }

    /// Writes the value as Go's `encoding/json` does: compact, keys sorted, the last of repeated
    /// members, `<`, `>`, `&`, U+2028 and U+2029 escaped, numbers as they stand.
    pub(crate) fn go_json(&self) -> SecretBytes {
        let mut out = Zeroizing::new(Vec::with_capacity(self.raw().len() + 16));
        self.write_go(&mut out);
        SecretBytes::new(std::mem::take(&mut *out))
    }

    fn write_go(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => {
                out.extend_from_slice(self.raw().as_bytes());
            }
            Self::Text(raw) => write_go_text(unquoted(raw).expose(), out),
            Self::Array { items, .. } => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write_go(out);
                }
                out.push(b']');
            }
            Self::Object { members, .. } => {
                let mut sorted: Vec<(SecretString, &Node<'_>)> = members
                    .iter()
                    .map(|(key, node)| (unquoted(key), node))
                    .collect();
                // Stable, so that of repeated names the last one of the text is the last one here.
                sorted.sort_by(|a, b| a.0.expose().cmp(b.0.expose()));
                out.push(b'{');
                let mut first = true;
                for (i, (key, node)) in sorted.iter().enumerate() {
                    let repeated = sorted
                        .get(i + 1)
                        .is_some_and(|next| next.0.expose() == key.expose());
                    if repeated {
                        continue;
                    }
                    if !first {
                        out.push(b',');
                    }
                    first = false;
                    write_go_text(key.expose(), out);
                    out.push(b':');
                    node.write_go(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Prints a number's text as gjson and Go's float64 formatting do: integers as they stand, others in
/// the shortest decimal without exponent.
pub(crate) fn float_text(raw: &str) -> String {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return raw.to_owned();
    }
    match raw.parse::<f64>() {
        Ok(number) if number.is_finite() => number.to_string(),
        _ => raw.to_owned(),
    }
}

/// Takes a JSON string out of its quotes and escapes. A lone surrogate becomes U+FFFD, as in Go.
pub(crate) fn unquoted(raw: &str) -> SecretString {
    let inner = &raw[1..raw.len() - 1];
    let mut out = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at + 1];
        rest = &rest[at + 2..];
        match escape {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = hex(rest);
                rest = &rest[4..];
                let low = rest.strip_prefix("\\u").map(hex);
                let pair = match (unit, low) {
                    (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
                        rest = &rest[6..];
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    _ => unit,
                };
                out.push(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    SecretString::new(std::mem::take(&mut *out))
}

fn hex(text: &str) -> u32 {
    text.get(..4)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

fn write_go_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut buffer = [0; 4];
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    out.push(b'"');
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self) -> JsonError {
        JsonError::Syntax(self.at)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        if depth > DEEPEST {
            return Err(JsonError::Depth);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Node::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            _ => Err(self.error()),
        }
    }

    fn word(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error());
        }
        self.at += word.len();
        Ok(node)
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            let raw = &self.text[start..self.at];
            return Ok(Node::Object { raw, members });
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error());
            }
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            members.push((key, self.value(depth + 1)?));
            self.space();
            if self.more(b'}')? {
                continue;
            }
            let raw = &self.text[start..self.at];
            return Ok(Node::Object { raw, members });
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            let raw = &self.text[start..self.at];
            return Ok(Node::Array { raw, items });
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.more(b']')? {
                continue;
            }
            let raw = &self.text[start..self.at];
            return Ok(Node::Array { raw, items });
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.error());
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over a comma (true) or the closing byte (false).
    fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        let comma = self.peek() == Some(b',');
        if !comma && self.peek() != Some(close) {
            return Err(self.error());
        }
        self.at += 1;
        Ok(comma)
    }

    fn string(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at]);
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return Err(self.error());
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.error()),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.error()),
            }
        }
    }

    fn number(&mut self) -> Result<Node<'a>, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Node::Number(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.error())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(text: &str) -> String {
        let bytes = parse(text.as_bytes()).unwrap().go_json();
        String::from_utf8(bytes.expose().to_vec()).unwrap()
    }

    #[test]
    fn compact_json_is_gos() {
        assert_eq!(
            go(r#" { "b" : 1.50, "a":[ true,null , "x" ], "a\u0062": {} } "#),
            r#"{"a":[true,null,"x"],"ab":{},"b":1.50}"#
        );
        assert_eq!(
            go(r#"{"a":"<&>\u2028\n\u0001\/\"\\é\u00e9\ud83d\ude00\ud800"}"#),
            "{\"a\":\"\\u003c\\u0026\\u003e\\u2028\\n\\u0001/\\\"\\\\éé😀\u{fffd}\"}"
        );
        assert_eq!(go(r#"{"k":1,"k":2}"#), r#"{"k":2}"#);
        assert_eq!(
            go("123456789012345678901234567890"),
            "123456789012345678901234567890"
        );
    }

    #[test]
    fn values_become_bytes() {
        let shown = |bytes: SecretBytes| String::from_utf8(bytes.expose().to_vec()).unwrap();
        for (text, token, float, raw) in [
            (r#""a\nb""#, "a\nb", "a\nb", "a\nb"),
            ("null", "", "", ""),
            ("true", "true", "true", "true"),
            ("1e3", "1e3", "1000", "1e3"),
            ("1.50", "1.50", "1.5", "1.50"),
            ("-0.0", "-0.0", "-0", "-0.0"),
            (
                "9007199254740993",
                "9007199254740993",
                "9007199254740993",
                "9007199254740993",
            ),
            (
                r#"{ "b": 1, "a": 2 }"#,
                r#"{"a":2,"b":1}"#,
                r#"{"a":2,"b":1}"#,
                r#"{ "b": 1, "a": 2 }"#,
            ),
        ] {
            let node = parse(text.as_bytes()).unwrap();
            assert_eq!(shown(node.token_bytes()), token, "{text}");
            assert_eq!(shown(node.float_bytes()), float, "{text}");
            assert_eq!(shown(node.raw_bytes()), raw, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, at) in [
            ("", 0),
            ("{", 1),
            (r#"{"a":1,}"#, 7),
            ("[1,]", 3),
            ("01", 1),
            ("1.", 2),
            (r#""\x""#, 2),
            ("nul", 0),
            ("1 2", 2),
            ("\"a\nb\"", 2),
        ] {
            let error = parse(text.as_bytes()).err();
            assert_eq!(error, Some(JsonError::Syntax(at)), "{text}");
        }
        assert_eq!(parse(b"\"\xff\"").err(), Some(JsonError::Utf8));
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).err(), Some(JsonError::Depth));
    }

    #[test]
    fn repeated_members() {
        let node = parse(br#"{"a":1,"a":2}"#).unwrap();
        assert_eq!(node.member("a").map(Node::raw), Some("2"));
        assert_eq!(node.first_member("a").map(Node::raw), Some("1"));
        assert!(node.member("b").is_none());
    }
}

//! Writing a SealedSecret in the place of its Secret.

use std::ops::Range;

use selkie_text::yaml::{self, Kind, NodeId, Scalar, Stream, Style};

use super::read::SecretDocument;

/// What is written. Holds no plaintext of a value.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Map(Vec<Entry>),
    Seq(Vec<(Tree, Remarks)>),
    /// A string, with the way it was written if that can be used again.
    Text {
        text: String,
        token: Option<String>,
    },
    /// A number, a boolean or null as it was written.
    Raw(String),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_token: Option<String>,
    pub(super) value: Tree,
    pub(super) remarks: Remarks,
}

/// Comments with their `#`, each with the offset it had.
#[derive(Debug, Clone, Default)]
pub(super) struct Remarks {
    pub(super) head: Vec<(usize, String)>,
    pub(super) line: Vec<(usize, String)>,
    pub(super) foot: Vec<(usize, String)>,
}

impl Remarks {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.line.is_empty() && self.foot.is_empty()
    }

    pub(super) fn append(&mut self, other: Self) {
        self.head.extend(other.head);
        self.line.extend(other.line);
        self.foot.extend(other.foot);
    }
}

impl Entry {
    pub(super) fn new(key: &str, value: Tree) -> Self {
        Self {
            key: key.to_owned(),
            key_token: None,
            value,
            remarks: Remarks::default(),
        }
    }

    pub(super) fn with(mut self, remarks: Remarks) -> Self {
        self.remarks.append(remarks);
        self
    }
}

impl Tree {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            token: None,
        }
    }

    /// Text that YAML would take for something else without quotes.
    pub(super) fn quoted(text: &str) -> Self {
        Self::Text {
            text: text.to_owned(),
            token: Some(format!("\"{text}\"")),
        }
    }

    pub(super) fn is_text(&self, expected: &str) -> bool {
        matches!(self, Self::Text { text, .. } if text == expected)
    }

    /// Returns whether a parsed node says the same.
    pub(super) fn reads_as(&self, stream: &Stream<'_>, node: NodeId) -> bool {
        let found = stream.node(node);
        match self {
            Self::Map(entries) => {
                let mut read = stream.entries(node);
                let same = entries.iter().all(|entry| {
                    read.next().is_some_and(|(key, value)| {
                        stream.node(key).value == entry.key && entry.value.reads_as(stream, value)
                    })
                });
                found.kind == Kind::Mapping && same && read.next().is_none()
            }
            Self::Seq(items) => {
                found.kind == Kind::Sequence
                    && found.children.len() == items.len()
                    && items
                        .iter()
                        .zip(&found.children)
                        .all(|((item, _), node)| item.reads_as(stream, *node))
            }
            Self::Text { text, .. } => {
                let resolved = stream.resolve(node);
                let is_text = matches!(resolved, Ok(Scalar::Str(_) | Scalar::Timestamp(_)));
                found.kind == Kind::Scalar && is_text && found.value == *text
            }
            Self::Raw(token) => {
                let is_text = matches!(stream.resolve(node), Ok(Scalar::Str(_)));
                found.kind == Kind::Scalar && !is_text && found.value == *token
            }
        }
    }
}

/// Returns the byte range of a Secret and what replaces it. Comments before and after the range
/// stay where they are; those inside it are in the tree.
pub(super) fn place(
    stream: &Stream<'_>,
    secret: &SecretDocument,
    tree: &Tree,
    newline: &str,
) -> (Range<usize>, String) {
    let source = stream.source();
    let root = stream.node(secret.root);
    let mut start = root.span.start;
    if let Some(properties) = &root.properties {
        start = start.min(properties.start);
    }
    // A comment behind the last value belongs to it and is written with it.
    let rest = &source[root.span.end..];
    let line_end = rest.find(['\n', '\r']).unwrap_or(rest.len());
    let tail = rest[..line_end].trim_start_matches([' ', '\t']);
    let end = match tail.is_empty() || tail.starts_with('#') {
        true => root.span.end + line_end,
        false => root.span.end,
    };
    let range = start..end;

    let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let before = source[line_start..start].trim_start_matches('\u{feff}');
    let alone = before.bytes().all(|byte| byte == b' ');
    let own = &source[range.clone()];
    // A `#` in a string is no comment.
    let has_comments =
        own.contains('#') && serde_json::from_str::<serde::de::IgnoredAny>(own).is_err();
    if root.style == Style::Flow
        && !has_comments
        && let Some(json) = json(tree, 0, newline)
    {
        return (range, json);
    }
    let mut writer = Writer {
        text: String::new(),
        newline,
        range: range.clone(),
    };
    let indent = if alone { before.len() } else { 0 };
    if let Tree::Map(entries) = tree {
        writer.map(entries, indent);
    }
    let text = writer.text.trim_end_matches(['\n', '\r']);
    if alone {
        // The first line's indentation stands before the range.
        return (range, text[indent..].to_owned());
    }
    // Behind `---` on the same line.
    let blanks = before.len() - before.trim_end_matches([' ', '\t']).len();
    (start - blanks..end, format!("{newline}{text}"))
}

struct Writer<'a> {
    text: String,
    newline: &'a str,
    /// Comments outside stay in the source, and are not written again.
    range: Range<usize>,
}

impl Writer<'_> {
    fn map(&mut self, entries: &[Entry], indent: usize) {
        for entry in entries {
            self.comments(&entry.remarks.head, indent);
            let key = match &entry.key_token {
                Some(token) => token.clone(),
                None => yaml::emit_scalar(&entry.key),
            };
            self.pad(indent);
            self.text.push_str(&key);
            self.text.push(':');
            self.value(&entry.value, &entry.remarks, indent);
            self.comments(&entry.remarks.foot, indent);
        }
    }

    /// Writes what stands behind `key:` or `-`, up to and with the line break.
    fn value(&mut self, value: &Tree, remarks: &Remarks, indent: usize) {
        let inline = match value {
            Tree::Map(entries) if entries.is_empty() => " {}".to_owned(),
            Tree::Seq(items) if items.is_empty() => " []".to_owned(),
            Tree::Map(_) | Tree::Seq(_) => String::new(),
            Tree::Raw(token) => format!(" {token}"),
            Tree::Text { text, token } => match (token, literal_header(text)) {
                (Some(token), _) => format!(" {token}"),
                (None, Some(header)) => format!(" {header}"),
                (None, None) => format!(" {}", yaml::emit_scalar(text)),
            },
        };
        self.text.push_str(&inline);
        let mut line = remarks
            .line
            .iter()
            .filter(|(at, _)| self.range.contains(at));
        if let Some((_, comment)) = line.next() {
            self.text.push(' ');
            self.text.push_str(comment);
        }
        let more: Vec<_> = line.cloned().collect();
        self.text.push_str(self.newline);
        match value {
            Tree::Map(entries) => self.map(entries, indent + INDENT),
            Tree::Seq(items) => {
                for (item, remarks) in items {
                    self.comments(&remarks.head, indent);
                    self.pad(indent);
                    self.text.push('-');
                    self.item(item, remarks, indent);
                    self.comments(&remarks.foot, indent);
                }
            }
            Tree::Text { text, token: None } if literal_header(text).is_some() => {
                let body = text.strip_suffix('\n').unwrap_or(text);
                for line in body.split('\n') {
                    if !line.is_empty() {
                        self.pad(indent + INDENT);
                        self.text.push_str(line);
                    }
                    self.text.push_str(self.newline);
                }
            }
            Tree::Text { .. } | Tree::Raw(_) => {}
        }
        self.comments(&more, indent);
    }

    /// A mapping in a list starts on the line of its dash.
    fn item(&mut self, item: &Tree, remarks: &Remarks, indent: usize) {
        match item {
            Tree::Map(entries) if !entries.is_empty() => {
                let at = self.text.len();
                self.map(entries, indent + INDENT);
                let first_is_comment = self.text[at..].trim_start().starts_with('#');
                if first_is_comment {
                    self.text.insert_str(at, self.newline);
                } else {
                    self.text.replace_range(at..at + indent + 1, "");
                }
            }
            _ => self.value(item, remarks, indent),
        }
    }

    fn comments(&mut self, comments: &[(usize, String)], indent: usize) {
        for (at, comment) in comments {
            if self.range.contains(at) {
                self.pad(indent);
                self.text.push_str(comment);
                self.text.push_str(self.newline);
            }
        }
    }

    fn pad(&mut self, indent: usize) {
        self.text.extend(std::iter::repeat_n(' ', indent));
    }
}

/// The header of a block scalar for text of several lines, where it can be one.
fn literal_header(text: &str) -> Option<&'static str> {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let plain = body.contains('\n')
        && !body.starts_with([' ', '\t', '\n'])
        && !body.ends_with('\n')
        && body.chars().all(|c| {
            c == '\n'
                || c == '\t'
                || (!c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
        })
        && body
            .split('\n')
            .all(|line| line.trim_end_matches([' ', '\t']).len() == line.len());
    match (plain, body.len() == text.len()) {
        (false, _) => None,
        (true, true) => Some("|-"),
        (true, false) => Some("|"),
    }
}

/// The tree as JSON with two spaces per level, as kubeseal writes it (sealed-secrets.md 12.3);
/// `None` when a token is not JSON.
fn json(tree: &Tree, indent: usize, newline: &str) -> Option<String> {
    let quote = |text: &str| serde_json::to_string(text).ok();
    let inner = " ".repeat(indent + INDENT);
    let outer = " ".repeat(indent);
    let join = |parts: Vec<String>, open: char, close: char| match parts.is_empty() {
        true => format!("{open}{close}"),
        false => {
            let body = parts.join(&format!(",{newline}"));
            format!("{open}{newline}{body}{newline}{outer}{close}")
        }
    };
    Some(match tree {
        Tree::Map(entries) => {
            let mut parts = Vec::new();
            for entry in entries {
                let value = json(&entry.value, indent + INDENT, newline)?;
                parts.push(format!("{inner}{}: {value}", quote(&entry.key)?));
            }
            join(parts, '{', '}')
        }
        Tree::Seq(items) => {
            let mut parts = Vec::new();
            for (item, _) in items {
                parts.push(format!("{inner}{}", json(item, indent + INDENT, newline)?));
            }
            join(parts, '[', ']')
        }
        Tree::Text { text, .. } => quote(text)?,
        Tree::Raw(token) => {
            serde_json::from_str::<serde_json::Value>(token).ok()?;
            token.clone()
        }
    })
}

const INDENT: usize = 2;

//! The metadata of any format as one owned tree, before anything in it is interpreted: nested in
//! YAML and JSON, flattened in dotenv and INI files (sops-format.md 7, 14, 15).

use std::collections::BTreeMap;

use selkie_text::{Kind, NodeId, Scalar, Stream, Syntax};

use crate::metadata::{self, MetadataError};
use crate::tree::{self, SOPS_KEY};

/// What a flattened key of a dotenv file begins with.
pub(crate) const DOTENV_PREFIX: &str = "sops_";

/// Deepest level that holds anything sops knows is 8 (the context of a key of a group); what is
/// deeper belongs to unknown fields.
const MAX_DEPTH: usize = 12;

/// Most nodes: above it stands an alias bomb.
const MAX_NODES: usize = 200_000;

/// A node of the metadata, and its 1-based line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meta {
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Null,
    Text(String),
    Bool(bool),
    /// As it is written.
    Number(String),
    List(Vec<Meta>),
    Map(Vec<(String, Meta)>),
}

impl Meta {
    /// Reads the metadata where sops looks for it: in the first document, in the section `[sops]`, in
    /// the keys that begin with `sops_`. `None` when there is nothing of the kind.
    pub(crate) fn of(stream: &Stream<'_>) -> Result<Option<Self>, MetadataError> {
        Self::of_document(stream, 0)
    }

    /// Reads the block of any document; those after the first have copies that nobody reads.
    pub(crate) fn of_document(
        stream: &Stream<'_>,
        document: usize,
    ) -> Result<Option<Self>, MetadataError> {
        if stream.syntax() == Syntax::Dotenv {
            return dotenv(stream);
        }
        let Some(node) = metadata::find(stream, document)? else {
            return Ok(None);
        };
        if stream.syntax() == Syntax::Ini {
            let pairs = stream.entries(node).map(|(key, value)| {
                // A newline cannot stand in a value: sops writes `\n` (15).
                let text = stream.node(value).value.replace("\\n", "\n");
                let key = stream.node(key);
                (key.value.to_string(), key.line_number(), text)
            });
            return unflatten(tree::line_of(stream, node), pairs).map(Some);
        }
        let mut left = MAX_NODES;
        convert(stream, node, 0, &mut left).map(Some)
    }

    /// Returns the field of a mapping; names match whatever their case (7.3).
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let What::Map(fields) = &self.what else {
            return None;
        };
        let found = fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Returns a scalar as text: numbers and booleans too (7.3). `None` for a list or mapping.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.what {
            What::Null => Some(""),
            What::Text(text) | What::Number(text) => Some(text),
            What::Bool(value) => Some(if *value { "1" } else { "0" }),
            What::List(_) | What::Map(_) => None,
        }
    }

    /// Returns a scalar as a boolean, as Go's weak decoding reads it (7.3).
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.what {
            What::Null => Some(false),
            What::Bool(value) => Some(*value),
            What::Number(text) => text.parse::<f64>().ok().map(|number| number != 0.0),
            What::Text(text) => match text.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
                "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
                _ => None,
            },
            What::List(_) | What::Map(_) => None,
        }
    }

    /// Returns a scalar as a whole number: prefixes `0x`, `0b`, `0o` and `0` count, the empty text is
    /// 0 (7.3).
    pub(crate) fn integer(&self) -> Option<i64> {
        match &self.what {
            What::Null => Some(0),
            What::Bool(value) => Some(i64::from(*value)),
            What::Text(text) | What::Number(text) => parse_integer(text),
            What::List(_) | What::Map(_) => None,
        }
    }

    /// Returns the mappings of a list; a single mapping stands for a list of one (7.3).
    pub(crate) fn mappings(&self, name: &str) -> Result<Vec<&Self>, MetadataError> {
        let found: Vec<&Self> = match &self.what {
            What::Map(_) => vec![self],
            What::List(items) => items.iter().collect(),
            What::Null => Vec::new(),
            // mapstructure takes the empty text for an empty list.
            What::Text(text) if text.is_empty() => Vec::new(),
            _ => return Err(self.error(name, "is not a list")),
        };
        for element in &found {
            if !matches!(element.what, What::Map(_)) {
                return Err(element.error(name, "has an entry that is not a mapping"));
            }
        }
        Ok(found)
    }

    pub(crate) fn error(&self, field: &str, reason: &str) -> MetadataError {
        MetadataError::Field {
            line: self.line,
            field: field.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn parse_integer(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i64::from_str_radix(&digits.replace('_', ""), radix)
        .ok()
        .map(|number| sign * number)
}

fn convert(
    stream: &Stream<'_>,
    node: NodeId,
    depth: usize,
    left: &mut usize,
) -> Result<Meta, MetadataError> {
    let node = stream.target(node);
    let found = stream.node(node);
    let line = found.line_number();
    let wrap = |what| Meta { line, what };
    *left = left.checked_sub(1).ok_or(MetadataError::TooLarge)?;
    if depth > MAX_DEPTH {
        return Err(MetadataError::TooLarge);
    }
    let what = match found.kind {
        Kind::Mapping => {
            let mut fields = Vec::with_capacity(found.children.len() / 2);
            for (key, value) in stream.entries(node) {
                let name = tree::key_text(stream, key);
                let line = tree::line_of(stream, key);
                let name = name.ok_or(MetadataError::KeyNotText { line })?;
                let value = convert(stream, value, depth + 1, left)?;
                fields.push((name.into_owned(), value));
            }
            What::Map(fields)
        }
        Kind::Sequence => {
            let items = found.children.iter();
            let items: Result<_, _> = items
                .map(|item| convert(stream, *item, depth + 1, left))
                .collect();
            What::List(items?)
        }
        Kind::Alias => What::Null,
        Kind::Scalar => match stream.resolve(node) {
            Ok(Scalar::Null) => What::Null,
            Ok(Scalar::Bool(value)) => What::Bool(value),
            Ok(Scalar::Str(text)) => What::Text(text.into_owned()),
            Ok(Scalar::Timestamp(time)) => What::Text(time.rfc3339),
            Ok(Scalar::Merge) => What::Text("<<".to_owned()),
            Ok(Scalar::Binary(bytes)) => match String::from_utf8(bytes) {
                Ok(text) => What::Text(text),
                Err(_) => return Err(wrap(What::Null).error("of !!binary", "is not a text")),
            },
            Ok(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_)) => {
                What::Number(found.value.to_string())
            }
            Err(_) => return Err(wrap(What::Null).error("of this line", "does not fit its tag")),
        },
    };
    Ok(wrap(what))
}

fn dotenv(stream: &Stream<'_>) -> Result<Option<Meta>, MetadataError> {
    let Some(root) = stream
        .documents()
        .first()
        .and_then(|document| document.root)
    else {
        return Ok(None);
    };
    let mut pairs = Vec::new();
    for (key, value) in stream.entries(root) {
        let key = stream.node(key);
        if let Some(name) = key.value.strip_prefix(DOTENV_PREFIX) {
            let text = stream.node(value).value.to_string();
            pairs.push((name.to_owned(), key.line_number(), text));
        }
    }
    match pairs.first() {
        None => Ok(None),
        Some((_, line, _)) => unflatten(*line, pairs.into_iter()).map(Some),
    }
}

/// A tree while flattened keys are put into it.
enum Growing {
    Empty,
    Text(String),
    List(BTreeMap<usize, (usize, Growing)>),
    Map(BTreeMap<String, (usize, Growing)>),
}

/// One element of a flattened key.
enum Step<'k> {
    Key(&'k str),
    Index(usize),
}

const MAP: &str = "__map_";
const LIST: &str = "__list_";

/// Puts flattened keys (name, line, value) together again: `age__list_0__map_enc` is `enc` of the
/// first element of `age`.
fn unflatten(
    line: usize,
    pairs: impl Iterator<Item = (String, usize, String)>,
) -> Result<Meta, MetadataError> {
    let mut root = Growing::Map(BTreeMap::new());
    for (name, line, text) in pairs {
        let fail = |reason: &str| MetadataError::Field {
            line,
            field: name.clone(),
            reason: reason.to_owned(),
        };
        let mut at = &mut root;
        let steps = steps(&name)
            .filter(|steps| steps.len() <= MAX_DEPTH)
            .ok_or_else(|| fail("is not a flattened name that sops writes"))?;
        for step in steps {
            const BOTH: &str = "makes one place both a single value and a list or mapping";
            if matches!(at, Growing::Empty) {
                *at = match step {
                    Step::Key(_) => Growing::Map(BTreeMap::new()),
                    Step::Index(_) => Growing::List(BTreeMap::new()),
                };
            }
            at = match (step, at) {
                (Step::Key(key), Growing::Map(map)) => {
                    let fresh = || (line, Growing::Empty);
                    &mut map.entry(key.to_owned()).or_insert_with(fresh).1
                }
                (Step::Index(index), Growing::List(list)) => {
                    &mut list.entry(index).or_insert((line, Growing::Empty)).1
                }
                _ => return Err(fail(BOTH)),
            };
        }
        if !matches!(at, Growing::Empty) {
            return Err(match at {
                Growing::Text(_) => MetadataError::Duplicate {
                    line,
                    name: name.clone(),
                },
                _ => fail("makes one place both a single value and a list or mapping"),
            });
        }
        *at = Growing::Text(text);
    }
    grown(line, "the metadata", root)
}

fn steps(name: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = name;
    let mut index = false;
    loop {
        let next = [MAP, LIST]
            .into_iter()
            .filter_map(|separator| rest.find(separator).map(|at| (at, separator)))
            .min();
        let piece = next.map_or(rest, |(at, _)| &rest[..at]);
        steps.push(match index {
            true => Step::Index(piece.parse().ok()?),
            false => Step::Key(piece),
        });
        let Some((at, separator)) = next else {
            return Some(steps);
        };
        index = separator == LIST;
        rest = &rest[at + separator.len()..];
    }
}

fn grown(line: usize, name: &str, tree: Growing) -> Result<Meta, MetadataError> {
    let what = match tree {
        Growing::Empty => What::Null,
        Growing::Text(text) => What::Text(text),
        Growing::Map(map) => {
            let fields = map.into_iter().map(|(name, (line, value))| {
                let value = grown(line, &name, value)?;
                Ok((name, value))
            });
            What::Map(fields.collect::<Result<_, MetadataError>>()?)
        }
        Growing::List(list) => {
            let length = list.len();
            if list
                .last_key_value()
                .is_some_and(|(last, _)| *last >= length)
            {
                return Err(MetadataError::Field {
                    line,
                    field: name.to_owned(),
                    reason: "is a list of which an element is missing".to_owned(),
                });
            }
            let items = list.into_values();
            let items = items.map(|(line, item)| grown(line, name, item));
            What::List(items.collect::<Result<_, _>>()?)
        }
    };
    Ok(Meta { line, what })
}

/// Returns whether a top-level key belongs to the metadata.
pub(crate) fn is_metadata_key(syntax: Syntax, key: &str) -> bool {
    match syntax {
        Syntax::Dotenv => key.starts_with(DOTENV_PREFIX),
        _ => key == SOPS_KEY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(&str, &str)]) -> Result<Meta, MetadataError> {
        let pairs = pairs.iter().enumerate();
        let pairs: Vec<_> = pairs
            .map(|(i, (name, text))| ((*name).to_owned(), i + 1, (*text).to_owned()))
            .collect();
        unflatten(1, pairs.into_iter())
    }

    #[test]
    fn flattened_names_become_lists_and_mappings() {
        let meta = tree(&[
            ("mac", "ENC[m]"),
            ("kms__list_1__map_arn", "b"),
            ("kms__list_0__map_context__map_env", "prod"),
            ("kms__list_0__map_arn", "a"),
            ("key_groups__list_0__map_age__list_0__map_enc", "x"),
        ])
        .unwrap();
        let kms = meta.get("KMS").unwrap().mappings("kms").unwrap();
        assert_eq!(kms[0].get("arn").unwrap().text(), Some("a"));
        assert_eq!(kms[1].get("arn").unwrap().text(), Some("b"));
        let context = kms[0].get("context").unwrap();
        assert_eq!(context.get("env").unwrap().text(), Some("prod"));
        assert_eq!(meta.get("mac").unwrap().line, 1);
    }

    #[test]
    fn gaps_conflicts_and_repetitions_are_named() {
        for (pairs, message) in [
            (
                &[("age__list_1__map_enc", "x")][..],
                "line 1: the field age of the sops metadata is a list of which an element is missing",
            ),
            (
                &[("age", "x"), ("age__list_0__map_enc", "x")],
                "line 2: the field age__list_0__map_enc of the sops metadata makes one place both",
            ),
            (
                &[("age__list_0__map_enc", "x"), ("age", "x")],
                "line 2: the field age of the sops metadata makes one place both",
            ),
            (
                &[("age__list_0__map_enc", "x"), ("age__map_a", "x")],
                "line 2: the field age__map_a of the sops metadata makes one place both",
            ),
            (
                &[("mac", "x"), ("mac", "y")],
                "line 2: `mac` of the sops metadata is there twice",
            ),
            (
                &[("age__list_x", "x")],
                "line 1: the field age__list_x of the sops metadata is not a flattened name",
            ),
            (
                &[("age__list_99999999999999999999", "x")],
                "line 1: the field age__list_99999999999999999999 of the sops metadata is not",
            ),
        ] {
            let error = tree(pairs).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn weak_types_are_read_as_go_reads_them() {
        let text = |text: &str| Meta {
            line: 1,
            what: What::Text(text.to_owned()),
        };
        for (written, number) in [
            ("", Some(0)),
            ("2", Some(2)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("-3", Some(-3)),
            ("two", None),
            ("--2", None),
            ("2.5", None),
        ] {
            assert_eq!(text(written).integer(), number, "{written}");
        }
        assert_eq!(text("").boolean(), Some(false));
        assert_eq!(text("T").boolean(), Some(true));
        assert_eq!(text("yes").boolean(), None);
    }

    #[test]
    fn aliases_do_not_multiply_without_end() {
        let source = "b: &b [x, x]\nsops: {a: [*b, *b, *b]}\n";
        let stream = crate::format::parse(Syntax::Yaml, source).unwrap();
        let node = metadata::find(&stream, 0).unwrap().unwrap();
        assert!(convert(&stream, node, 0, &mut 11).is_ok());
        let error = convert(&stream, node, 0, &mut 10).unwrap_err();
        assert_eq!(error, MetadataError::TooLarge);
    }
}

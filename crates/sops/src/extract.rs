//! One part of a decrypted file (sops-format.md 18).

use std::str::FromStr;

use selkie_secret::SecretBytes;
use selkie_text::yaml::{self, Kind, NodeId, Stream, Style};
use selkie_text::{Scalar, Syntax, Value};
use zeroize::Zeroizing;

use crate::format::Format;
use crate::tree::{self, TreeError};
use crate::value::{self, Value as Plain};

/// A path in sops's syntax: `["key"]["other"][0]`; the empty text is the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractPath(pub(crate) Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Key(String),
    Index(usize),
}

/// Why a text is not a path. Paths are not secret and are shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is not a path: {reason}; write it as [\"key\"][\"other\"][0]")]
pub struct ExtractPathError {
    /// The text.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for ExtractPath {
    type Err = ExtractPathError;

    /// Splits at every `[`; a key stands in quotes, of which the first and last character are
    /// taken away without any escape.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| ExtractPathError {
            path: text.to_owned(),
            reason,
        };
        let mut pieces = text.split('[');
        if !pieces.next().unwrap_or_default().is_empty() {
            return Err(fail("it does not start with `[`"));
        }
        let mut parts = Vec::new();
        for piece in pieces {
            let inside = piece
                .strip_suffix(']')
                .ok_or_else(|| fail("a component does not end in `]`"))?;
            if inside.starts_with(['"', '\'']) {
                let mut inner = inside.chars();
                inner.next();
                inner
                    .next_back()
                    .ok_or_else(|| fail("a key has no closing quote"))?;
                parts.push(Part::Key(inner.as_str().to_owned()));
                continue;
            }
            let index = inside
                .parse()
                .map_err(|_| fail("a component is neither a quoted key nor a position from 0"))?;
            parts.push(Part::Index(index));
        }
        Ok(Self(parts))
    }
}

impl ExtractPath {
    /// Takes the part out of a document's tree; `None` where there is none.
    pub fn take(&self, document: Value) -> Option<Value> {
        let mut value = document;
        for part in &self.0 {
            value = match (part, value) {
                (Part::Key(key), Value::Map(entries)) => {
                    let found = entries
                        .into_iter()
                        .find(|(name, value)| name == key && !matches!(value, Value::Comment(_)));
                    found?.1
                }
                (Part::Index(index), Value::Seq(items)) => {
                    let mut items = items
                        .into_iter()
                        .filter(|item| !matches!(item, Value::Comment(_)));
                    items.nth(*index)?
                }
                _ => return None,
            };
        }
        Some(value)
    }
}

/// Why nothing was extracted. Holds keys and positions, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The text does not parse; it comes from a decrypted file, so this is not expected.
    #[error(transparent)]
    Parse(#[from] yaml::ParseError),
    /// A scalar has no value.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An alias cannot be written out.
    #[error(transparent)]
    Expand(#[from] yaml::ExpandError),
    /// Two aliases stand at one place.
    #[error(transparent)]
    Overlap(#[from] yaml::OverlapError),
    /// A part cannot be written by itself.
    #[error(transparent)]
    Write(#[from] selkie_text::WriteError),
    /// The file has no document, or its first one is no mapping.
    #[error("the first document of the file is not a mapping")]
    NoMapping,
    /// There is no such key.
    #[error("{at} has no key `{key}`")]
    NoKey {
        /// Where the search stood.
        at: String,
        /// The key.
        key: String,
    },
    /// The list is shorter.
    #[error("{at} has {length} elements, so none has position {index} (positions start at 0)")]
    NoIndex {
        /// Where the search stood.
        at: String,
        /// The position.
        index: usize,
        /// How many elements there are.
        length: usize,
    },
    /// A key was asked of something that has none, or a position.
    #[error("{at} is {found}, which has no {wanted}")]
    Kind {
        /// Where the search stood.
        at: String,
        /// "a mapping", "a list", "a single value".
        found: &'static str,
        /// "keys" or "positions".
        wanted: &'static str,
    },
}

/// Takes one part out of a decrypted file's first document.
///
/// A text is returned as its bytes without a newline; another scalar as one line; a mapping or list
/// as the lines of the file, moved to the left margin, with its comments.
///
/// A binary file is the text under `data`.
pub fn extract(
    plain: &str,
    format: Format,
    path: &ExtractPath,
) -> Result<SecretBytes, ExtractError> {
    if format == Format::Binary {
        return extract_binary(plain.as_bytes(), path);
    }
    let stream = format.parse(plain)?;
    let root = stream.documents().first().and_then(|first| first.root);
    let root = root
        .filter(|root| stream.node(*root).kind == Kind::Mapping)
        .ok_or(ExtractError::NoMapping)?;
    if path.0.is_empty() {
        return Ok(SecretBytes::new(plain.as_bytes().to_vec()));
    }
    let node = find(&stream, root, &path.0)?;
    if stream.node(node).kind != Kind::Scalar {
        // What an alias inside stands for may lie outside: write the copies first.
        if let Some(expanded) = expand_within(&stream, node)? {
            return extract(&expanded, format, path);
        }
        let text = match format {
            Format::Yaml => collection(&stream, node),
            Format::Json => object(&stream, node),
            _ => section(&stream, node)?,
        };
        return Ok(SecretBytes::new(text.into_bytes()));
    }
    if format == Format::Json && !matches!(stream.resolve(node), Ok(Scalar::Str(_))) {
        // Numbers keep their text.
        let text = &plain[stream.node(node).span.clone()];
        return Ok(SecretBytes::new(format!("{text}\n").into_bytes()));
    }
    let value = tree::value_of(&stream, node, || "the value".to_owned())?;
    let line = match value {
        None => "null".to_owned(),
        Some(Plain::Str(ref bytes)) => return Ok(SecretBytes::new(bytes.to_vec())),
        Some(Plain::Int(value)) => value.to_string(),
        Some(Plain::Float(value)) => value::yaml_float(value),
        Some(Plain::Bool(value)) => value.to_string(),
        Some(Plain::Time(ref text)) => text.clone(),
    };
    Ok(SecretBytes::new((line + "\n").into_bytes()))
}

/// As [`extract`] for a binary file, which need not be text.
pub fn extract_binary(plain: &[u8], path: &ExtractPath) -> Result<SecretBytes, ExtractError> {
    match &path.0[..] {
        [] => Ok(SecretBytes::new(plain.to_vec())),
        [Part::Key(key)] if key == "data" => Ok(SecretBytes::new(plain.to_vec())),
        _ => Err(ExtractError::NoKey {
            at: "a binary file".to_owned(),
            key: "anything but data".to_owned(),
        }),
    }
}

fn find(stream: &Stream<'_>, root: NodeId, path: &[Part]) -> Result<NodeId, ExtractError> {
    let mut node = root;
    let mut walked = String::new();
    for part in path {
        let found = stream.node(node);
        let at = || match walked.as_str() {
            "" => "the document".to_owned(),
            walked => walked.to_owned(),
        };
        let kind_error = |wanted| ExtractError::Kind {
            at: at(),
            found: match found.kind {
                Kind::Mapping => "a mapping",
                Kind::Sequence => "a list",
                Kind::Scalar | Kind::Alias => "a single value",
            },
            wanted,
        };
        match (part, found.kind) {
            (Part::Key(key), Kind::Mapping) => {
                let next = tree::member(stream, node, key).ok_or_else(|| ExtractError::NoKey {
                    at: at(),
                    key: key.clone(),
                })?;
                tree::push_key(&mut walked, key);
                node = next;
            }
            (Part::Index(index), Kind::Sequence) => {
                let next = found
                    .children
                    .get(*index)
                    .ok_or_else(|| ExtractError::NoIndex {
                        at: at(),
                        index: *index,
                        length: found.children.len(),
                    })?;
                walked.push_str(&format!("[{index}]"));
                node = stream.target(*next);
            }
            (Part::Key(_), _) => return Err(kind_error("keys")),
            (Part::Index(_), _) => return Err(kind_error("positions")),
        }
    }
    Ok(node)
}

/// Returns the file with every alias inside `node` written out, if there is one.
fn expand_within(
    stream: &Stream<'_>,
    node: NodeId,
) -> Result<Option<Zeroizing<String>>, ExtractError> {
    let mut edits = yaml::Edits::new();
    let mut pending = vec![node];
    while let Some(id) = pending.pop() {
        if stream.node(id).kind == Kind::Alias {
            yaml::expand_alias(stream, &mut edits, id)?;
        }
        pending.extend(&stream.node(id).children);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    Ok(Some(edits.try_apply(stream.source())?))
}

/// Returns an object or array of JSON as it stands, moved left by the indentation of its line.
fn object(stream: &Stream<'_>, node: NodeId) -> String {
    let (source, span) = (stream.source(), stream.node(node).span.clone());
    let line = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let line = &source[line..span.start];
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut text = String::new();
    for (number, line) in source[span].split('\n').enumerate() {
        let moved = line.strip_prefix(indent).filter(|_| number > 0);
        text.push_str(moved.unwrap_or(line));
        text.push('\n');
    }
    text
}

/// Returns a section of an INI file as the lines of its keys.
fn section(stream: &Stream<'_>, node: NodeId) -> Result<String, ExtractError> {
    let value = stream
        .node_value(node)
        .map_err(|_| ExtractError::NoMapping)?;
    let file = Value::Map(vec![("DEFAULT".to_owned(), value)]);
    Ok(selkie_text::emit(&file, Syntax::Ini, None)?)
}

/// Returns a collection as text of its own: flow style as it stands, block style with every line
/// moved left by the column of the first entry. Blocks keep their relative indentation.
fn collection(stream: &Stream<'_>, node: NodeId) -> String {
    let (source, found) = (stream.source(), stream.node(node));
    let text = &source[found.span.clone()];
    if found.style == Style::Flow {
        return format!("{text}\n");
    }
    let line_start = source[..found.span.start]
        .rfind(['\n', '\r'])
        .map_or(0, |at| at + 1);
    let column = source[line_start..found.span.start].chars().count();
    let mut out = String::with_capacity(text.len() + 1);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let margin = if index == 0 { 0 } else { column };
        let blanks = line.bytes().take_while(|b| *b == b' ').count();
        out.push_str(&line[blanks.min(margin)..]);
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
a:
    b: text
    c: 42
    d: 1.0
    e: null
    f: true
    # note
    g:
        - one
        -   x: |
              line
                more
            y: 2
    h: {p: [1, 2]}
base: &base
    k: v
copy: *base
outer:
    inner: *base
t: 2024-01-01
\"a.b\": odd
---
other: 1
";

    fn get(path: &str) -> Result<String, String> {
        let path: ExtractPath = path.parse().map_err(|e: ExtractPathError| e.to_string())?;
        let found = extract(FILE, Format::Yaml, &path).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(found.expose().to_vec()).unwrap())
    }

    #[test]
    fn every_kind_of_value_is_extracted() {
        for (path, expected) in [
            (r#"["a"]["b"]"#, "text"),
            (r#"["a"]["c"]"#, "42\n"),
            (r#"["a"]["d"]"#, "1.0\n"),
            (r#"["a"]["e"]"#, "null\n"),
            (r#"["a"]["f"]"#, "true\n"),
            (r#"["a"]["g"][0]"#, "one"),
            (r#"["a"]["g"][1]["x"]"#, "line\n  more\n"),
            (r#"["a"]["g"][1]"#, "x: |\n  line\n    more\ny: 2\n"),
            (
                r#"["a"]["g"]"#,
                "- one\n-   x: |\n      line\n        more\n    y: 2\n",
            ),
            (r#"["a"]["h"]"#, "{p: [1, 2]}\n"),
            (r#"["a"]["h"]["p"][1]"#, "2\n"),
            (r#"["copy"]["k"]"#, "v"),
            (r#"["copy"]"#, "k: v\n"),
            (r#"["t"]"#, "2024-01-01T00:00:00Z\n"),
            (r#"['a.b']"#, "odd"),
        ] {
            assert_eq!(get(path).as_deref(), Ok(expected), "{path}");
        }
        assert!(get(r#"["outer"]"#).unwrap().contains("k: v"));
        assert_eq!(get("").as_deref(), Ok(FILE));
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (path, part) in [
            (r#"["z"]"#, "the document has no key `z`"),
            (r#"["a"]["z"]"#, "a has no key `z`"),
            (r#"["a"]["g"][2]"#, "a.g has 2 elements"),
            (
                r#"["a"]["b"]["x"]"#,
                "a.b is a single value, which has no keys",
            ),
            (r#"["a"][0]"#, "a is a mapping, which has no positions"),
            (r#"["a"]["g"]["x"]"#, "a.g is a list, which has no keys"),
            ("[-1]", "neither a quoted key nor a position"),
            ("a", "does not start with"),
            (r#"["a"#, "does not end in"),
            (r#"["]"#, "no closing quote"),
        ] {
            let error = get(path).unwrap_err();
            assert!(error.contains(part), "{path}: {error}");
        }
    }
}

//! The same texts through go-yaml v3.0.4 (recorded by tests/bed/yaml-oracle) and through us:
//! accepted or not, the tree, tags, values, styles, anchors, positions and comments.
#![allow(clippy::unwrap_used, missing_docs)]

use selkie_text::yaml::{Comment, Kind, Limits, NodeId, Scalar, Stream, Style, parse};
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    input: String,
    accepted: bool,
    #[serde(default)]
    dump: Vec<String>,
}

/// What go-yaml's parser takes and we refuse on purpose: its decoder refuses these too, or
/// expands them without end.
fn refused_on_purpose(reason: &str) -> bool {
    reason.starts_with("excessive aliasing") || reason.ends_with("contains an alias to itself")
}

/// go-yaml skips a byte order mark wherever its read buffer happens to begin with one, and then
/// counts a line too many at the end of the stream.
const ACCIDENTS: [&str; 2] = ["? \u{feff}\n", "? \u{feff}: \u{feff}\n"];

#[test]
fn trees_are_those_of_go_yaml() {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("goldens/trees.json")).unwrap();
    let mut failures = Vec::new();
    for answer in &answers {
        if ACCIDENTS.contains(&answer.input.as_str()) {
            continue;
        }
        let ours = match parse(&answer.input, &Limits::default()) {
            Ok(stream) => dump(&stream),
            Err(error) if answer.accepted && !refused_on_purpose(&error.reason) => {
                vec![format!("refused: {error}")]
            }
            Err(_) => continue,
        };
        if !answer.accepted {
            failures.push(format!("{:?}\n  go-yaml refuses it", answer.input));
        } else if ours != answer.dump {
            let mut lines = format!("{:?}", answer.input);
            let count = ours.len().max(answer.dump.len());
            for i in 0..count {
                if ours.get(i) != answer.dump.get(i) {
                    lines += &format!(
                        "\n  ours {:?}\n  go   {:?}",
                        ours.get(i),
                        answer.dump.get(i)
                    );
                }
            }
            failures.push(lines);
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} differ\n{}",
        failures.len(),
        answers.len(),
        failures.join("\n")
    );
}

#[test]
fn scalars_are_those_of_go_yaml() {
    let answers: Vec<Answer> = serde_json::from_str(include_str!("goldens/scalars.json")).unwrap();
    let mut failures = Vec::new();
    for answer in &answers {
        let source = format!("[{}]", answer.input);
        let ours = parse(&source, &Limits::default()).map_or_else(
            |_| Vec::new(),
            |stream| {
                let root = stream.documents()[0].content;
                let id = match stream.node(root).children[..] {
                    [id] if stream.node(id).kind == Kind::Scalar => id,
                    _ => return Vec::new(),
                };
                let value = match stream.resolve(id) {
                    Ok(Scalar::Null) => "null".to_owned(),
                    Ok(Scalar::Bool(value)) => value.to_string(),
                    Ok(Scalar::Int(value)) => value.to_string(),
                    Ok(Scalar::Uint(value)) => value.to_string(),
                    Ok(Scalar::Float(value)) if value.is_nan() => {
                        "float 7ff8000000000001".to_owned()
                    }
                    Ok(Scalar::Float(value)) => format!("float {:016x}", value.to_bits()),
                    Ok(Scalar::Timestamp(value)) => format!("time {}", value.rfc3339),
                    Ok(Scalar::Str(value)) => format!("string {}", quote(&value)),
                    Ok(Scalar::Merge) => "string \"<<\"".to_owned(),
                    Ok(Scalar::Binary(value)) => {
                        format!("string {}", quote(&String::from_utf8(value).unwrap()))
                    }
                    Err(_) => "error".to_owned(),
                };
                vec![stream.short_tag(id).into_owned(), value]
            },
        );
        if ours != answer.dump {
            failures.push(format!(
                "{:?}: ours {ours:?}, go {:?}",
                answer.input, answer.dump
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} differ\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(answers.len() >= 150);
}

fn dump(stream: &Stream<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for document in stream.documents() {
        let (line, column) = stream.line_column(document.start);
        lines.push(format!(
            "0 document - tag= anchor= value= at={line}:{column} head={} line=[] foot={}",
            texts(stream, &document.head),
            texts(stream, &document.foot)
        ));
        dump_node(stream, document.content, 1, &mut lines);
    }
    lines
}

fn dump_node(stream: &Stream<'_>, id: NodeId, depth: usize, lines: &mut Vec<String>) {
    let node = stream.node(id);
    let kind = match node.kind {
        Kind::Mapping => "mapping",
        Kind::Sequence => "sequence",
        Kind::Scalar => "scalar",
        Kind::Alias => "alias",
    };
    let style = match node.style {
        Style::Block | Style::Plain => "-",
        Style::Flow => "flow",
        Style::SingleQuoted => "single",
        Style::DoubleQuoted => "double",
        Style::Literal => "literal",
        Style::Folded => "folded",
    };
    let value = match node.kind {
        Kind::Scalar | Kind::Alias => quote(&node.value),
        _ => String::new(),
    };
    lines.push(format!(
        "{depth} {kind} {style} tag={} anchor={} value={value} at={}:{} head={} line={} foot={}",
        stream.short_tag(id),
        node.anchor.unwrap_or_default(),
        node.line_number(),
        node.column_number(),
        texts(stream, &node.head),
        texts(stream, &node.line),
        texts(stream, &node.foot),
    ));
    for child in &node.children {
        dump_node(stream, *child, depth + 1, lines);
    }
}

fn texts(stream: &Stream<'_>, comments: &[Comment]) -> String {
    let texts: Vec<&str> = comments
        .iter()
        .map(|comment| &stream.source()[comment.span.clone()])
        .collect();
    // encoding/json escapes these two everywhere.
    serde_json::to_string(&texts)
        .unwrap()
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Go's strconv.QuoteToASCII.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\x07' => quoted += "\\a",
            '\x08' => quoted += "\\b",
            '\x0c' => quoted += "\\f",
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            '\x0b' => quoted += "\\v",
            ' '..='~' => quoted.push(c),
            '\0'..='\x7f' => quoted += &format!("\\x{:02x}", c as u32),
            '\u{80}'..='\u{ffff}' => quoted += &format!("\\u{:04x}", c as u32),
            _ => quoted += &format!("\\U{:08x}", c as u32),
        }
    }
    quoted + "\""
}

//! Values: how they are quoted.

use super::FORMAT;
use crate::{Edits, Kind, Limits, Node, NodeId, Stream, Style, WriteError};

/// Puts a token in place of a value, within the quotes that are there.
pub(crate) fn set_token(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, token: &str) {
    let node = stream.node(node);
    let quote = quote_of(stream, node);
    edits.replace(node.span.clone(), format!("{quote}{token}{quote}"));
}

/// Puts a string in place of a value, in the quotes that are there if it reads back so.
pub(crate) fn set_scalar(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    match written(stream, node, text) {
        Ok(written) => edits.replace(stream.node(node).span.clone(), written),
        Err(_) => edits.refuse(stream.node(node).line_number(), UNWRITABLE),
    }
}

/// Puts a text in place of a value, quotes included.
pub(crate) fn set_scalar_raw(stream: &Stream<'_>, edits: &mut Edits, node: NodeId, text: &str) {
    edits.replace(stream.node(node).span.clone(), text);
}

const UNWRITABLE: &str = "an INI file cannot hold this value: no way of quoting reads back as it";

/// How a string is written in place of a value.
pub(super) fn written(stream: &Stream<'_>, node: NodeId, text: &str) -> Result<String, WriteError> {
    let node = stream.node(node);
    let end = node.span.end;
    let rest = &stream.source[end..super::line_after(stream.source, end)];
    quoted(text, quote_of(stream, node), rest)
}

/// A string so that it reads back before `rest` of a line: with `wanted` quotes where they do, else
/// as ini.v1 writes it, else with any.
pub(super) fn quoted(text: &str, wanted: &str, rest: &str) -> Result<String, WriteError> {
    let of_ini = if text.contains(['\n', '`']) {
        "\"\"\""
    } else if text.contains(['#', ';']) {
        "`"
    } else if text.trim().len() != text.len() {
        "\""
    } else {
        ""
    };
    [wanted, of_ini, "", "\"", "'", "`", "\"\"\""]
        .into_iter()
        .map(|quote| format!("{quote}{text}{quote}"))
        .find(|written| reads_back(written, text, rest))
        .ok_or(WriteError::Text {
            format: FORMAT,
            what: "this value: no way of quoting reads back as it",
        })
}

fn reads_back(written: &str, text: &str, rest: &str) -> bool {
    let ordinary = |b: u8| b.is_ascii_alphanumeric() || b"+/=[]:,_-.@".contains(&b);
    if written.bytes().all(ordinary) && (rest.trim().is_empty() || rest.starts_with(' ')) {
        return written == text;
    }
    let source = format!("k = {written}{rest}");
    let Ok(stream) = super::parse(&source, &Limits::default()) else {
        return false;
    };
    let mut scalars = stream
        .nodes()
        .filter(|(_, node)| node.kind == Kind::Scalar)
        .map(|(_, node)| node.value.as_ref());
    let read = [
        scalars.next(),
        scalars.next(),
        scalars.next(),
        scalars.next(),
    ];
    read == [Some("DEFAULT"), Some("k"), Some(text), None]
}

/// The quotes that a value is written in.
fn quote_of(stream: &Stream<'_>, node: &Node<'_>) -> &'static str {
    match node.style {
        Style::SingleQuoted => "'",
        Style::DoubleQuoted => "\"",
        Style::Literal if stream.source[node.span.start..].starts_with('`') => "`",
        Style::Literal => "\"\"\"",
        _ => "",
    }
}

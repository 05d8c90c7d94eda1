//! Canonical emission: the style of go-yaml's encoder as sops uses it (sops-format.md 11.5).

use super::{Value, quote};
use crate::float;

/// Writes a value in block style, with a line break at its end. `indent` is 2 to 9.
#[must_use]
pub fn emit(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    if !is_filled(value) {
        write_leading_comments(&mut out, value, 0);
    }
    match value {
        Value::Map(entries) if is_filled(value) => {
            write_entries(&mut out, entries, 0, indent, false);
        }
        Value::Seq(items) if is_filled(value) => write_items(&mut out, items, 0, indent, false),
        Value::Str(text) if quote::literal_allowed(text) => {
            write_literal(&mut out, text, -1, indent);
        }
        scalar => {
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
    out
}

/// Writes a string as a block mapping's value in one line: plain, single- or double-quoted.
#[must_use]
pub fn emit_scalar(text: &str) -> String {
    quote::canonical(text, false)
}

/// Writes one entry of a block mapping whose keys are at `column`, with a line break at its end.
pub(super) fn emit_entry(key: &str, value: &Value, column: usize, indent: usize) -> String {
    let mut out = String::new();
    write_entry(&mut out, key, value, column, indent, false);
    out
}

/// Writes one item of a block sequence whose dashes are at `column`.
pub(super) fn emit_item(value: &Value, column: usize, indent: usize) -> String {
    let mut out = String::new();
    write_items(&mut out, std::slice::from_ref(value), column, indent, false);
    out
}

/// Writes a filled collection whose keys or dashes are at `column`, the first one without blanks
/// before it.
pub(super) fn emit_nested(value: &Value, column: usize, indent: usize) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) => write_entries(&mut out, entries, column, indent, true),
        Value::Seq(items) => write_items(&mut out, items, column, indent, true),
        scalar => out.push_str(&inline(scalar)),
    }
    out
}

/// Writes a value within a flow collection as JSON, on one line.
pub(super) fn emit_json(value: &Value) -> String {
    match value {
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .filter(|(_, value)| !matches!(value, Value::Comment(_)))
                .map(|(key, value)| format!("{}: {}", quote::json_quoted(key), emit_json(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Seq(items) => {
            let items = items.iter();
            let items = items.filter(|item| !matches!(item, Value::Comment(_)));
            let items: Vec<String> = items.map(emit_json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Str(text) | Value::Quoted(text) => quote::json_quoted(text),
        // A plain scalar with these is a string; between brackets it needs quotes.
        Value::Raw(text)
            if !text.starts_with(['"', '\'']) && text.contains([',', '[', ']', '{', '}']) =>
        {
            quote::json_quoted(text)
        }
        scalar => inline(scalar),
    }
}

/// The column of what is nested in a mapping at `column` (emitterc.go, `increase_indent`).
fn nested(column: usize, indent: usize) -> usize {
    let indent = indent.clamp(2, 9);
    indent * ((column + indent) / indent)
}

fn write_entries(
    out: &mut String,
    entries: &[(String, Value)],
    column: usize,
    indent: usize,
    mut on_line: bool,
) {
    for (key, value) in entries {
        if let Value::Comment(text) = value {
            if !on_line {
                write_comment(out, text, column);
            }
            continue;
        }
        write_entry(out, key, value, column, indent, on_line);
        on_line = false;
    }
}

/// One line for each of the text, at `column`. Lines after the first keep a `#` of their own.
fn write_comment(out: &mut String, text: &str, column: usize) {
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    for (index, line) in text.split(breaks).enumerate() {
        if index > 0 && line.is_empty() {
            continue;
        }
        pad(out, column);
        out.push_str(match line {
            _ if index == 0 => "#",
            line if line.starts_with('#') => "",
            _ => "# ",
        });
        out.push_str(line);
        out.push('\n');
    }
}

/// Whether something else than comments is in a collection.
fn is_filled(value: &Value) -> bool {
    let is_comment = |value: &Value| matches!(value, Value::Comment(_));
    match value {
        Value::Map(entries) => !entries.iter().all(|(_, value)| is_comment(value)),
        Value::Seq(items) => !items.iter().all(is_comment),
        _ => false,
    }
}

/// The comments before the first entry of what begins on the line of a dash, and all of those that are alone:
/// they go above that line.
fn write_leading_comments(out: &mut String, value: &Value, column: usize) {
    let mut write = |value: &Value| match value {
        Value::Comment(text) => {
            write_comment(out, text, column);
            None
        }
        other => Some(other.clone()),
    };
    let first = match value {
        Value::Map(entries) => {
            entries.iter().find_map(|(_, value)| write(value));
            None
        }
        Value::Seq(items) => items.iter().find_map(write),
        _ => None,
    };
    if let Some(first) = first {
        write_leading_comments(out, &first, column);
    }
}

fn write_entry(
    out: &mut String,
    key: &str,
    value: &Value,
    column: usize,
    indent: usize,
    on_line: bool,
) {
    if !is_filled(value) {
        write_leading_comments(out, value, column);
    }
    if !on_line {
        pad(out, column);
    }
    out.push_str(&quote::canonical(key, false));
    out.push(':');
    match value {
        Value::Map(entries) if is_filled(value) => {
            out.push('\n');
            write_entries(out, entries, nested(column, indent), indent, false);
        }
        Value::Seq(items) if is_filled(value) => {
            out.push('\n');
            write_items(out, items, nested(column, indent), indent, false);
        }
        Value::Str(text) if literal_fits(text, nested(column, indent) - column) => {
            out.push(' ');
            write_literal(out, text, column as isize, nested(column, indent));
        }
        scalar => {
            out.push(' ');
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
}

fn write_items(out: &mut String, items: &[Value], column: usize, indent: usize, mut on_line: bool) {
    for item in items {
        if let Value::Comment(text) = item {
            if !on_line {
                write_comment(out, text, column);
            }
            continue;
        }
        if !on_line {
            write_leading_comments(out, item, column);
            pad(out, column);
        }
        on_line = false;
        out.push_str("- ");
        match item {
            Value::Map(entries) if is_filled(item) => {
                write_entries(out, entries, column + 2, indent, true);
            }
            Value::Seq(items) if is_filled(item) => {
                write_items(out, items, column + 2, indent, true);
            }
            Value::Str(text) if literal_fits(text, 2) => {
                write_literal(out, text, column as isize, column + 2);
            }
            scalar => {
                out.push_str(&inline(scalar));
                out.push('\n');
            }
        }
    }
}

/// The indentation indicator has one digit.
fn literal_fits(text: &str, indicator: usize) -> bool {
    indicator <= 9 && quote::literal_allowed(text)
}

/// Writes `|`, indicators and the lines at `column`, for a parent at `parent` (-1 at the root).
fn write_literal(out: &mut String, text: &str, parent: isize, column: usize) {
    out.push('|');
    if text.starts_with([' ', '\n', '\t']) {
        out.push_str(&(column as isize - parent.max(0)).to_string());
    }
    let core = text.trim_end_matches('\n');
    match text.len() - core.len() {
        0 => out.push('-'),
        1 if !core.is_empty() => {}
        _ => out.push('+'),
    }
    out.push('\n');
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if !line.is_empty() {
            pad(out, column);
            out.push_str(line);
        }
        out.push('\n');
    }
}

pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Map(_) => "{}".to_owned(),
        Value::Seq(_) => "[]".to_owned(),
        Value::Str(text) => quote::canonical(text, false),
        Value::Int(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Float(value) => emit_float(*value),
        Value::Null => "null".to_owned(),
        Value::Raw(text) | Value::Time(text) => text.clone(),
        Value::Comment(_) => String::new(),
        Value::Quoted(text) => quote::double_quoted(text),
    }
}

/// Returns a float as go-yaml writes it: `strconv.FormatFloat(value, 'g', -1, 64)`, with YAML's
/// names for what is no number. An integral value looks like an integer.
#[must_use]
pub fn emit_float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 {
            ".inf".to_owned()
        } else {
            "-.inf".to_owned()
        };
    }
    float::general(value)
}

fn pad(out: &mut String, column: usize) {
    out.extend(std::iter::repeat_n(' ', column));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_go_yaml() {
        let text = |text: &str| Value::Str(text.to_owned());
        let entry = |key: &str, value: Value| (key.to_owned(), value);
        let value = Value::Map(vec![
            entry(
                "age",
                Value::Seq(vec![Value::Map(vec![
                    entry("recipient", text("age1x")),
                    entry("enc", text("-----BEGIN\nx\n-----END\n")),
                    entry("deep", Value::Map(vec![entry("a", Value::Int(1))])),
                ])]),
            ),
            entry(
                "lists",
                Value::Seq(vec![
                    Value::Seq(vec![text("a"), text("b")]),
                    Value::Seq(vec![]),
                ]),
            ),
            entry(
                "lastmodified",
                Value::Quoted("2026-01-01T00:00:00Z".to_owned()),
            ),
            entry("y", Value::Bool(true)),
            entry("indented", text("  a\nb")),
            entry("kept", text("a\n\n")),
            entry("none", Value::Map(vec![])),
        ]);
        let expected = "\
age:
    - recipient: age1x
      enc: |
        -----BEGIN
        x
        -----END
      deep:
        a: 1
lists:
    - - a
      - b
    - []
lastmodified: \"2026-01-01T00:00:00Z\"
\"y\": true
indented: |4-
      a
    b
kept: |+
    a

none: {}
";
        assert_eq!(emit(&value, 4), expected);
    }
}

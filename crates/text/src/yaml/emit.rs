//! Canonical emission: the style of go-yaml's encoder as sops uses it (sops-format.md 11.5).

use super::{Value, quote};

/// Writes a value in block style, with a line break at its end. `indent` is 2 to 9.
#[must_use]
pub fn emit(value: &Value, indent: usize) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            write_entries(&mut out, entries, 0, indent, false);
        }
        Value::Seq(items) if !items.is_empty() => write_items(&mut out, items, 0, indent, false),
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

/// Writes a value within a flow collection as JSON, on one line.
pub(super) fn emit_json(value: &Value) -> String {
    match value {
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", quote::json_quoted(key), emit_json(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Seq(items) => {
            let items: Vec<String> = items.iter().map(emit_json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Str(text) | Value::Quoted(text) => quote::json_quoted(text),
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
        write_entry(out, key, value, column, indent, on_line);
        on_line = false;
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
    if !on_line {
        pad(out, column);
    }
    out.push_str(&quote::canonical(key, false));
    out.push(':');
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            write_entries(out, entries, nested(column, indent), indent, false);
        }
        Value::Seq(items) if !items.is_empty() => {
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
        if !on_line {
            pad(out, column);
        }
        on_line = false;
        out.push_str("- ");
        match item {
            Value::Map(entries) if !entries.is_empty() => {
                write_entries(out, entries, column + 2, indent, true);
            }
            Value::Seq(items) if !items.is_empty() => {
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

fn inline(value: &Value) -> String {
    match value {
        Value::Map(_) => "{}".to_owned(),
        Value::Seq(_) => "[]".to_owned(),
        Value::Str(text) => quote::canonical(text, false),
        Value::Int(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Float(value) => go_float(*value),
        Value::Null => "null".to_owned(),
        Value::Raw(text) => text.clone(),
        Value::Quoted(text) => quote::double_quoted(text),
    }
}

/// strconv.FormatFloat(value, 'g', -1, 64) with YAML's names for what is no number.
fn go_float(value: f64) -> String {
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
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // The shortest form goes by a precision of 6, but never writes zeros it need not write.
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    } else {
        format!("{value}")
    }
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

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, written) in [
            (1.5, "1.5"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (123_456.0, "123456"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.0, "-2"),
            (f64::INFINITY, ".inf"),
        ] {
            assert_eq!(go_float(value), written);
        }
    }
}

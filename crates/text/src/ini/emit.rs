//! Values as INI text, in the layout of ini.v1 (file.go, `writeToBuffer`).

use super::FORMAT;
use super::value::quoted;
use crate::{Limits, Value, WriteError, float};

/// Writes a mapping of sections as sops does: keys aligned, a blank line between sections. The
/// first comment of a section goes above its header, others above the key before them, where sops has
/// the comments of keys; of several for one key, all stay.
pub(crate) fn emit(value: &Value) -> Result<String, WriteError> {
    let Value::Map(sections) = value else {
        let (wanted, place) = ("sections", "at the top");
        return Err(mapping_wanted(wanted, place));
    };
    let mut out = String::new();
    let sections = || {
        let sections = sections.iter();
        sections.filter(|(_, section)| !matches!(section, Value::Comment(_)))
    };
    let count = sections().count();
    for (index, (name, section)) in sections().enumerate() {
        let is_default = index == 0 && name.eq_ignore_ascii_case("DEFAULT");
        let (comments, lines) = section_text(section, "\n")?;
        out.push_str(&comments);
        if !is_default {
            out.push_str(&header(name)?);
            out.push('\n');
        } else if lines.is_empty() {
            continue;
        }
        out.push_str(&lines);
        if index + 1 < count {
            out.push('\n');
        }
    }
    Ok(out)
}

pub(super) fn mapping_wanted(wanted: &'static str, place: &'static str) -> WriteError {
    WriteError::MappingWanted {
        format: FORMAT,
        wanted,
        place,
    }
}

/// `[name]`.
pub(super) fn header(name: &str) -> Result<String, WriteError> {
    let what = if name.is_empty() {
        "nothing"
    } else if name.contains('\n') {
        "a line break"
    } else {
        return Ok(format!("[{name}]"));
    };
    let format = FORMAT;
    Err(WriteError::Key { format, what })
}

/// The comment above a section's header, and the lines below it.
pub(super) fn section_text(
    section: &Value,
    line_end: &str,
) -> Result<(String, String), WriteError> {
    let Value::Map(entries) = section else {
        return Err(mapping_wanted(
            "sections of keys with values",
            "beside the sections",
        ));
    };
    let (mut above_header, mut lines) = (String::new(), Vec::<(String, String, String)>::new());
    for (key, value) in entries {
        if let Value::Comment(text) = value {
            match lines.last_mut() {
                Some((_, _, comment)) => write_comment(comment, text, str::trim, line_end),
                None => write_comment(&mut above_header, text, |line| line, line_end),
            }
            continue;
        }
        let value = quoted(&text_of(value)?, "", "")?;
        lines.push((key_text(key)?, value, String::new()));
    }
    let width = lines.iter().map(|(key, _, _)| key.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (key, value, comment) in lines {
        out.push_str(&comment);
        out.push_str(&format!(
            "{key:width$} = {value}{line_end}",
            width = padding(&key, width)
        ));
    }
    Ok((above_header, out))
}

/// Widths are in bytes for ini.v1, in characters for the formatter.
fn padding(key: &str, width: usize) -> usize {
    width - key.len() + key.chars().count()
}

fn write_comment(out: &mut String, text: &str, trim: impl Fn(&str) -> &str, line_end: &str) {
    for line in text.split('\n').map(trim) {
        match line.chars().next() {
            Some(mark @ ('#' | ';')) => {
                out.push(mark);
                let rest = line[1..].trim();
                if !rest.is_empty() {
                    out.push(' ');
                    out.push_str(rest);
                }
            }
            Some(_) => {
                out.push_str("; ");
                out.push_str(line);
            }
            None => out.push(';'),
        }
        out.push_str(line_end);
    }
}

/// How a key is written so that it reads back.
pub(super) fn key_text(key: &str) -> Result<String, WriteError> {
    let quote = if key.contains(['"', '=', ':']) {
        "`"
    } else if key.contains('`') {
        "\"\"\""
    } else {
        ""
    };
    [quote, "", "`", "\"", "\"\"\""]
        .into_iter()
        .map(|quote| format!("{quote}{key}{quote}"))
        .find(|written| key_reads_back(written, key))
        .ok_or(WriteError::Key {
            format: FORMAT,
            what: "this name",
        })
}

fn key_reads_back(written: &str, key: &str) -> bool {
    let source = format!("{written} = v");
    super::parse(&source, &Limits::default()).is_ok_and(|stream| {
        let nodes: Vec<&str> = stream
            .nodes()
            .map(|(_, node)| node.value.as_ref())
            .collect();
        nodes == ["", "DEFAULT", "", key, "v"]
    })
}

/// The text of a scalar; sops's `ValToString`.
pub(super) fn text_of(value: &Value) -> Result<String, WriteError> {
    Ok(match value {
        Value::Map(_) | Value::Seq(_) => {
            let (format, place) = (FORMAT, "below a section's key");
            return Err(WriteError::Container { format, place });
        }
        Value::Float(value) => float::flat(*value),
        value => value.flat_text(),
    })
}

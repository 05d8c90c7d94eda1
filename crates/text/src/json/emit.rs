//! Values as JSON text.

use std::fmt::Write as _;

use super::layout::Layout;
use crate::{Value, WriteError, float};

/// Writes a value as sops does (sops-format.md 12), without a line break at its end: `indent`
/// spaces per level, a tab for `None`. Comments are left out.
pub(crate) fn emit(value: &Value, indent: Option<usize>) -> Result<String, WriteError> {
    render(value, &Layout::of_sops(indent), "")
}

/// Writes a value whose own line is indented by `indent`.
pub(super) fn render(value: &Value, layout: &Layout, indent: &str) -> Result<String, WriteError> {
    let mut writer = Writer {
        out: String::new(),
        layout,
        indent,
    };
    writer.value(value, 1)?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: String,
    layout: &'a Layout,
    indent: &'a str,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, level: usize) -> Result<(), WriteError> {
        match value {
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .filter(|(_, value)| !matches!(value, Value::Comment(_)));
                self.items(entries, ['{', '}'], level, |writer, (key, value)| {
                    writer.out.push_str(&quoted(key, Spelling::GO));
                    writer.out.push_str(writer.layout.colon);
                    writer.value(value, level + 1)
                })?;
            }
            Value::Seq(items) => {
                let items = items
                    .iter()
                    .filter(|item| !matches!(item, Value::Comment(_)));
                self.items(items, ['[', ']'], level, |writer, item| {
                    writer.value(item, level + 1)
                })?;
            }
            Value::Str(text) | Value::Quoted(text) | Value::Time(text) => {
                self.out.push_str(&quoted(text, Spelling::GO));
            }
            Value::Int(value) => self.out.push_str(&value.to_string()),
            Value::Bool(value) => self.out.push_str(&value.to_string()),
            Value::Float(value) if !value.is_finite() => return Err(WriteError::NotFinite),
            Value::Float(value) => self.out.push_str(&float::json(*value)),
            Value::Null | Value::Comment(_) => self.out.push_str("null"),
            Value::Raw(text) => self.out.push_str(text),
        }
        Ok(())
    }

    fn items<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        brackets: [char; 2],
        level: usize,
        mut write: impl FnMut(&mut Self, T) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.out.push(brackets[0]);
        let mut empty = true;
        for item in items {
            if !empty {
                self.out.push_str(match self.layout.unit {
                    Some(_) => ",",
                    None => self.layout.comma,
                });
            }
            empty = false;
            self.line(level);
            write(self, item)?;
        }
        if !empty {
            self.line(level - 1);
        }
        self.out.push(brackets[1]);
        Ok(())
    }

    fn line(&mut self, level: usize) {
        if let Some(unit) = &self.layout.unit {
            self.out.push_str(self.layout.line_end);
            self.out.push_str(self.indent);
            self.out.extend(std::iter::repeat_n(unit.as_str(), level));
        }
    }
}

/// Which characters a string spells as escapes beyond those that JSON demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spelling(pub(super) u8);

impl Spelling {
    /// None.
    pub(super) const MINIMAL: Self = Self(0);
    /// What is beyond ASCII, as Python does by default.
    const ASCII: u8 = 1;
    /// `<`, `>`, `&`, U+2028 and U+2029, as Go does by default.
    const HTML: u8 = 2;
    /// `/`, as PHP does by default.
    const SLASH: u8 = 4;
    /// Upper-case hexadecimal digits.
    const UPPER: u8 = 8;
    /// As Go's `json.Marshal`.
    pub(super) const GO: Self = Self(Self::HTML);
    /// The most that there are.
    pub(super) const LAST: u8 = 15;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// The spelling of a string that is written so, its quotes included; the plainest one that
    /// fits, and `MINIMAL` where none does.
    pub(super) fn of(written: &str, text: &str) -> Self {
        if !written.contains('\\') {
            return Self::MINIMAL;
        }
        (0..=Self::LAST)
            .map(Self)
            .find(|spelling| quoted(text, *spelling) == written)
            .unwrap_or(Self::MINIMAL)
    }
}

/// A string in quotes.
pub(super) fn quoted(text: &str, spelling: Spelling) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if spelling.has(Spelling::SLASH) => out.push_str("\\/"),
            '\0'..='\x1f' => escape(&mut out, c, spelling),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if spelling.has(Spelling::HTML) => {
                escape(&mut out, c, spelling);
            }
            '\u{80}'.. if spelling.has(Spelling::ASCII) => escape(&mut out, c, spelling),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escape(out: &mut String, c: char, spelling: Spelling) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a string cannot fail.
        let _ = match spelling.has(Spelling::UPPER) {
            true => write!(out, "\\u{unit:04X}"),
            false => write!(out, "\\u{unit:04x}"),
        };
    }
}

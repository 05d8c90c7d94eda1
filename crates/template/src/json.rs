//! JSON as Go's `encoding/json` reads it into an `interface{}` and writes it.

use crate::error::Failure;
use crate::limits::Limit;
use crate::run::{Buffer, Run};
use crate::strconv;
use crate::text;
use crate::value::{Entries, List, Map, Str, Value};

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// On one line; `<`, `>` and `&` are escaped.
    Html,
    /// On one line, without that.
    Raw,
    /// Indented by two spaces, escaped.
    Pretty,
}

/// Writes a value; the inner error is Go's message for what cannot be written.
pub(crate) fn encode(
    run: &mut Run<'_, '_>,
    value: &Value,
    style: Style,
) -> Result<Result<Str, String>, Failure> {
    let mut writer = Writer {
        out: run.buffer(),
        style,
        problem: None,
    };
    writer.value(value, 0);
    let Writer { out, problem, .. } = writer;
    let text = run.finish(out)?;
    run.step(text.len() / 16)?;
    Ok(problem.map_or(Ok(text), Err))
}

struct Writer {
    out: Buffer,
    style: Style,
    problem: Option<String>,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: u32) {
        if self.problem.is_some() || !self.out.enter(depth) {
            return;
        }
        match value {
            Value::Invalid | Value::Nil => self.out.write(b"null"),
            Value::Bool(value) => self.out.write_str(if *value { "true" } else { "false" }),
            Value::Int(_, value) => self.out.write_str(&value.to_string()),
            Value::Uint(_, value) => self.out.write_str(&value.to_string()),
            Value::Float(value) => self.float(*value),
            Value::Complex(..) => {
                self.problem = Some("json: unsupported type: complex128".to_owned());
            }
            Value::String(text) => self.string(text),
            Value::List(list) => self.list(list, depth),
            Value::Map(map) => self.map(map, depth),
            Value::Time(time) => {
                let year = time.civil().year;
                if !(0..=9999).contains(&year) {
                    let message = "json: error calling MarshalJSON for type time.Time: \
                        Time.MarshalJSON: year outside of range [0,9999]";
                    self.problem = Some(message.to_owned());
                    return;
                }
                self.string(&time.format(b"2006-01-02T15:04:05.999999999Z07:00"));
            }
            Value::Version(version) => self.string(version.to_string().as_bytes()),
            Value::Certificate(certificate) => {
                let fields = [("Cert", &certificate.cert), ("Key", &certificate.key)];
                self.object(
                    depth,
                    fields.map(|(name, text)| (Str::from(name), Value::String(text.clone()))),
                );
            }
        }
    }

    fn float(&mut self, value: f64) {
        if !value.is_finite() {
            // The number is part of Go's message and a value.
            self.problem = Some("json: unsupported value".to_owned());
            return;
        }
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let text = strconv::format_float(value, b'e', None);
            return self.out.write_str(&text.replace("e-0", "e-"));
        }
        self.out
            .write_str(&strconv::format_float(value, b'f', None));
    }

    fn list(&mut self, list: &List, depth: u32) {
        if list.nil {
            return self.out.write(b"null");
        }
        self.out.push(b'[');
        for (at, item) in list.items.iter().enumerate() {
            if self.out.is_over() {
                return;
            }
            self.separate(at, depth);
            self.value(item, depth + 1);
        }
        self.end(list.items.is_empty(), depth);
        self.out.push(b']');
    }

    fn map(&mut self, map: &Map, depth: u32) {
        if map.entries.is_none() {
            return self.out.write(b"null");
        }
        self.object(depth, map.snapshot());
    }

    fn object(&mut self, depth: u32, entries: impl IntoIterator<Item = (Str, Value)>) {
        self.out.push(b'{');
        let mut empty = true;
        for (at, (key, item)) in entries.into_iter().enumerate() {
            if self.out.is_over() {
                return;
            }
            empty = false;
            self.separate(at, depth);
            self.string(&key);
            self.out.push(b':');
            if self.style == Style::Pretty {
                self.out.push(b' ');
            }
            self.value(&item, depth + 1);
        }
        self.end(empty, depth);
        self.out.push(b'}');
    }

    fn separate(&mut self, at: usize, depth: u32) {
        if at > 0 {
            self.out.push(b',');
        }
        self.line(depth + 1);
    }

    fn end(&mut self, empty: bool, depth: u32) {
        if !empty {
            self.line(depth);
        }
    }

    fn line(&mut self, depth: u32) {
        if self.style == Style::Pretty {
            self.out.push(b'\n');
            self.out.repeat(b' ', 2 * depth as usize);
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        for (at, c, width) in text::runes(bytes) {
            match c {
                '"' => self.out.write(b"\\\""),
                '\\' => self.out.write(b"\\\\"),
                '\u{8}' => self.out.write(b"\\b"),
                '\u{c}' => self.out.write(b"\\f"),
                '\n' => self.out.write(b"\\n"),
                '\r' => self.out.write(b"\\r"),
                '\t' => self.out.write(b"\\t"),
                '<' | '>' | '&' if self.style != Style::Raw => self.escape(c),
                '\u{2028}' | '\u{2029}' => self.escape(c),
                c if c < ' ' => self.escape(c),
                char::REPLACEMENT_CHARACTER if width == 1 => self.out.write(b"\\ufffd"),
                _ => self.out.write(&bytes[at..at + width]),
            }
        }
        self.out.push(b'"');
    }

    fn escape(&mut self, c: char) {
        self.out.write_str(&format!("\\u{:04x}", c as u32));
    }
}

/// Reads JSON; none where the text is no JSON. A number that is too large is a null, as `json.Unmarshal` leaves it.
pub(crate) fn decode(run: &mut Run<'_, '_>, source: &[u8]) -> Result<Option<Value>, Failure> {
    Ok(read(run, source)?.map(|(value, _)| value))
}

/// Reads JSON; none also where a number is too large.
pub(crate) fn decode_strictly(
    run: &mut Run<'_, '_>,
    source: &[u8],
) -> Result<Option<Value>, Failure> {
    Ok(read(run, source)?.and_then(|(value, lossless)| lossless.then_some(value)))
}

fn read(run: &mut Run<'_, '_>, source: &[u8]) -> Result<Option<(Value, bool)>, Failure> {
    run.step(source.len() / 16)?;
    let mut reader = Reader {
        run,
        source,
        at: 0,
        lossless: true,
        building: false,
    };
    // Go checks the whole text before it builds anything, so that nothing is limited by what is no JSON.
    reader.space();
    if reader.value(0)?.is_none() {
        return Ok(None);
    }
    reader.space();
    if reader.at != source.len() {
        return Ok(None);
    }
    reader.at = 0;
    reader.building = true;
    reader.space();
    let value = reader.value(0)?;
    let lossless = reader.lossless;
    Ok(value.map(|value| (value, lossless)))
}

struct Reader<'j, 'r, 'e, 'run> {
    run: &'run mut Run<'r, 'e>,
    source: &'j [u8],
    at: usize,
    lossless: bool,
    /// The second pass; the first one only looks.
    building: bool,
}

type Read<T> = Result<Option<T>, Failure>;

impl Reader<'_, '_, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: u32) -> Read<Value> {
        if depth > self.run.limits.depth {
            return Err(Limit::Depth.into());
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(self.string().map(Value::String)),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            Some(b't') => Ok(self.word("true", Value::Bool(true))),
            Some(b'f') => Ok(self.word("false", Value::Bool(false))),
            Some(b'n') => Ok(self.word("null", Value::Nil)),
            _ => Ok(None),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        let found = self.source[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found.then_some(value)
    }

    fn array(&mut self, depth: u32) -> Read<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Some(List::any(items).into()));
        }
        loop {
            self.space();
            let Some(value) = self.value(depth + 1)? else {
                return Ok(None);
            };
            if self.building {
                self.run.work(crate::run::ENTRY_SIZE)?;
                items.push(value);
            }
            self.space();
            if self.take(b']') {
                return Ok(Some(List::any(items).into()));
            }
            if !self.take(b',') {
                return Ok(None);
            }
        }
    }

    fn object(&mut self, depth: u32) -> Read<Value> {
        self.at += 1;
        let mut entries = Entries::new();
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    return Ok(None);
                }
                let Some(key) = self.string() else {
                    return Ok(None);
                };
                self.space();
                if !self.take(b':') {
                    return Ok(None);
                }
                self.space();
                let Some(value) = self.value(depth + 1)? else {
                    return Ok(None);
                };
                if self.building {
                    entries.insert(key, value);
                }
                self.space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Ok(None);
                }
            }
        }
        if !self.building {
            return Ok(Some(Value::Nil));
        }
        Ok(Some(self.run.map(entries)?.into()))
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') && self.digits() == 0 {
            return None;
        }
        if self.take(b'.') && self.digits() == 0 {
            return None;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return None;
            }
        }
        match strconv::parse_float(&self.source[start..self.at]) {
            Ok(value) => Some(Value::Float(value)),
            Err(_) => {
                self.lossless = false;
                Some(Value::Nil)
            }
        }
    }

    fn digits(&mut self) -> usize {
        let rest = &self.source[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Reads a string; what is no UTF-8 and half a surrogate pair become U+FFFD.
    fn string(&mut self) -> Option<Str> {
        self.at += 1;
        let mut out = zeroize::Zeroizing::new(Vec::new());
        loop {
            let rest = &self.source[self.at..];
            let (c, width) = text::decode(rest);
            match c {
                _ if width == 0 => return None,
                '"' => {
                    self.at += 1;
                    return Some(out.into());
                }
                '\\' => {
                    let c = self.escape()?;
                    text::push(&mut out, c);
                }
                c if c < ' ' => return None,
                c => {
                    self.at += width;
                    text::push(&mut out, c);
                }
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 1;
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                if !(0xd800..0xe000).contains(&unit) {
                    return char::from_u32(unit);
                }
                let after = self.at;
                if self.source[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.unit()?;
                    let pair = char::decode_utf16([unit, low].map(|u| u as u16)).next();
                    if let Some(Ok(c)) = pair {
                        return Some(c);
                    }
                }
                self.at = after;
                char::REPLACEMENT_CHARACTER
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.source.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

//! From text to tree, with a stack instead of calls.

use std::borrow::Cow;

use crate::tree::Builder;
use crate::{Kind, Limits, NodeId, ParseError, Stream, Style, Syntax};

pub(super) fn scan<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    let builder = Builder::new(source, limits)?;
    if source.starts_with('\u{feff}') {
        let reason =
            "the file begins with a byte order mark, which is no JSON; save it without one";
        return Err(ParseError::at(source, 0, reason));
    }
    if source.starts_with('\0') {
        let reason = "the file is UTF-16 or UTF-32; save it as UTF-8";
        return Err(ParseError::at(source, 0, reason));
    }
    Scanner {
        source,
        bytes: source.as_bytes(),
        at: 0,
        builder,
        open: Vec::new(),
        max_depth: limits.max_depth,
    }
    .run()
}

/// What may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Value,
    ItemOrEnd,
    KeyOrEnd,
    Key,
    CommaOrEnd,
}

struct Scanner<'a, 's> {
    source: &'s str,
    bytes: &'s [u8],
    at: usize,
    builder: Builder<'a, 's>,
    open: Vec<(NodeId, Kind)>,
    max_depth: usize,
}

impl<'s> Scanner<'_, 's> {
    fn run(mut self) -> Result<Stream<'s>, ParseError> {
        let mut next = Next::Value;
        loop {
            self.skip_blanks();
            let Some(&b) = self.bytes.get(self.at) else {
                return Err(self.cut());
            };
            next = match (next, b) {
                (Next::KeyOrEnd, b'}') | (Next::ItemOrEnd, b']') => self.close(),
                (Next::KeyOrEnd | Next::Key, b'"') => self.key()?,
                (Next::KeyOrEnd, _) => return Err(self.wrong("expected a key in quotes or '}'")),
                (Next::Key, b'}') => {
                    return Err(self.wrong("a comma before '}' is not JSON; remove it"));
                }
                (Next::Key, _) => return Err(self.wrong("expected a key in quotes")),
                (Next::CommaOrEnd, _) => self.separator(b)?,
                (Next::Value | Next::ItemOrEnd, _) => self.value(b)?,
            };
            if self.open.is_empty() {
                self.skip_blanks();
                if self.at < self.bytes.len() {
                    let reason =
                        "something follows the end of the JSON value; a file holds exactly one";
                    return Err(self.wrong(reason));
                }
                return Ok(self.builder.finish(Syntax::Json, Vec::new(), Vec::new()));
            }
        }
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn wrong(&self, reason: &str) -> ParseError {
        ParseError::at(self.source, self.at, reason)
    }

    fn cut(&self) -> ParseError {
        let reason = match self.open.last() {
            None => "the file is empty; a JSON file holds one value",
            Some((_, Kind::Mapping)) => "the file ends within an object; it has no closing '}'",
            Some(_) => "the file ends within an array; it has no closing ']'",
        };
        self.wrong(reason)
    }

    fn separator(&mut self, b: u8) -> Result<Next, ParseError> {
        let kind = self.open.last().map(|(_, kind)| *kind);
        match (b, kind) {
            (b',', Some(Kind::Mapping)) => {
                self.at += 1;
                Ok(Next::Key)
            }
            (b',', _) => {
                self.at += 1;
                Ok(Next::Value)
            }
            (b'}', Some(Kind::Mapping)) | (b']', Some(Kind::Sequence)) => Ok(self.close()),
            (_, Some(Kind::Mapping)) => Err(self.wrong("expected ',' or '}' after the value")),
            _ => Err(self.wrong("expected ',' or ']' after the value")),
        }
    }

    fn close(&mut self) -> Next {
        self.at += 1;
        if let Some((id, _)) = self.open.pop() {
            self.builder.node(id).span.end = self.at;
        }
        Next::CommaOrEnd
    }

    fn key(&mut self) -> Result<Next, ParseError> {
        self.string()?;
        self.skip_blanks();
        match self.bytes.get(self.at) {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.wrong("expected ':' after the key")),
            None => return Err(self.cut()),
        }
        Ok(Next::Value)
    }

    fn value(&mut self, b: u8) -> Result<Next, ParseError> {
        match b {
            b'{' => self.open(Kind::Mapping),
            b'[' => self.open(Kind::Sequence),
            b'"' => {
                self.string()?;
                Ok(Next::CommaOrEnd)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'\'' => Err(self.wrong("strings stand in double quotes")),
            b'/' | b'#' => Err(self.wrong("JSON has no comments")),
            b']' => Err(self.wrong("a comma before ']' is not JSON; remove it")),
            b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            _ => Err(self.wrong("expected a value")),
        }
    }

    fn open(&mut self, kind: Kind) -> Result<Next, ParseError> {
        if self.open.len() >= self.max_depth {
            let reason = format!("nested more than {} deep", self.max_depth);
            return Err(self.wrong(&reason));
        }
        let id = self.add(kind, Style::Flow, Cow::Borrowed(""), self.at + 1)?;
        self.open.push((id, kind));
        Ok(match kind {
            Kind::Mapping => Next::KeyOrEnd,
            _ => Next::ItemOrEnd,
        })
    }

    /// Adds the node from here to `end` and goes there.
    fn add(
        &mut self,
        kind: Kind,
        style: Style,
        value: Cow<'s, str>,
        end: usize,
    ) -> Result<NodeId, ParseError> {
        let parent = self.open.last().map(|(id, _)| *id);
        let id = self.builder.add(parent, kind, style, value, self.at..end)?;
        self.at = end;
        Ok(id)
    }

    fn word(&mut self) -> Result<Next, ParseError> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let word = &self.source[self.at..self.at + length];
        if !matches!(word, "true" | "false" | "null") {
            return Err(
                self.wrong("expected a value; only true, false and null stand without quotes")
            );
        }
        self.add(
            Kind::Scalar,
            Style::Plain,
            Cow::Borrowed(word),
            self.at + length,
        )?;
        Ok(Next::CommaOrEnd)
    }

    /// RFC 8259, section 6.
    fn number(&mut self) -> Result<Next, ParseError> {
        let digits = |from: usize| {
            let rest = &self.bytes[from..];
            from + rest.iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let first = self.at + usize::from(self.bytes[self.at] == b'-');
        let mut end = digits(first);
        let bad = |at: usize, reason: &str| Err(ParseError::at(self.source, at, reason));
        if end == first {
            return bad(first, "expected a digit");
        }
        if end > first + 1 && self.bytes[first] == b'0' {
            return bad(
                first,
                "a number does not begin with 0; put it in quotes if the 0 counts",
            );
        }
        if self.bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            if end == fraction {
                return bad(end, "expected a digit after the point");
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(end) {
            let sign = usize::from(matches!(self.bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = digits(exponent);
            if end == exponent {
                return bad(end, "expected a digit in the exponent");
            }
        }
        let text = &self.source[self.at..end];
        if text.parse::<i64>().is_err() && !text.parse::<f64>().is_ok_and(f64::is_finite) {
            return bad(
                self.at,
                "the number is too large for a 64-bit float; put it in quotes",
            );
        }
        self.add(Kind::Scalar, Style::Plain, Cow::Borrowed(text), end)?;
        Ok(Next::CommaOrEnd)
    }

    fn string(&mut self) -> Result<(), ParseError> {
        let inside = self.at + 1;
        let mut end = inside;
        let mut escaped = false;
        loop {
            match self.bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(..0x20) => {
                    let reason =
                        "a string has no raw line breaks or control characters; use an escape";
                    return Err(ParseError::at(self.source, end, reason));
                }
                Some(_) => end += 1,
                None => return Err(self.wrong("this string has no closing quote")),
            }
        }
        let value = if escaped {
            Cow::Owned(self.unescape(inside, end)?)
        } else {
            Cow::Borrowed(&self.source[inside..end])
        };
        self.add(Kind::Scalar, Style::DoubleQuoted, value, end + 1)?;
        Ok(())
    }

    /// Decodes the escapes between two offsets. The text never outgrows its first allocation.
    fn unescape(&self, from: usize, end: usize) -> Result<String, ParseError> {
        let mut text = String::with_capacity(end - from);
        let mut at = from;
        while at < end {
            let rest = &self.source[at..end];
            let plain = rest.find('\\').unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            at += plain;
            if at == end {
                break;
            }
            let c = match self.bytes[at + 1] {
                c @ (b'"' | b'\\' | b'/') => c as char,
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let (c, length) = self.unicode(at)?;
                    text.push(c);
                    at += length;
                    continue;
                }
                _ => {
                    let reason = "no such escape; a backslash itself is written \\\\";
                    return Err(ParseError::at(self.source, at, reason));
                }
            };
            text.push(c);
            at += 2;
        }
        Ok(text)
    }

    /// The character of a `\u` escape and the length of its one or two escapes.
    fn unicode(&self, at: usize) -> Result<(char, usize), ParseError> {
        let Some(unit) = self.unit(at) else {
            let reason = "expected four hexadecimal digits after \\u";
            return Err(ParseError::at(self.source, at, reason));
        };
        if let Some(c) = char::from_u32(unit) {
            return Ok((c, 6));
        }
        if (0xd800..0xdc00).contains(&unit)
            && let Some(low @ 0xdc00..0xe000) = self.unit(at + 6)
            && let Some(c) = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
        {
            return Ok((c, 12));
        }
        Ok((char::REPLACEMENT_CHARACTER, 6))
    }

    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | (*digit as char).to_digit(16)?)
        })
    }
}

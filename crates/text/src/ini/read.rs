//! From text to tree: what parser.go of ini.v1 does, with byte spans.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::bom;
use crate::tree::Builder;
use crate::{Comment, Kind, Limits, NodeId, ParseError, Stream, Style, Syntax, error};

pub(super) fn read<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    Reader {
        source,
        at: bom(source),
        builder: Builder::new(source, limits)?,
        above: None,
        inline: None,
        unattached: Vec::new(),
        passed_over: Vec::new(),
    }
    .run()
}

struct Reader<'a, 's> {
    source: &'s str,
    at: usize,
    builder: Builder<'a, 's>,
    /// Whole comment lines that wait for a header or key.
    above: Option<Range<usize>>,
    /// The comment on the line of the header or key.
    inline: Option<Range<usize>>,
    unattached: Vec<Comment>,
    /// What stands where only blanks and comments should.
    passed_over: Vec<Range<usize>>,
}

/// A value as it is written.
struct Written<'s> {
    text: Cow<'s, str>,
    style: Style,
    span: Range<usize>,
}

impl<'s> Reader<'_, 's> {
    fn run(mut self) -> Result<Stream<'s>, ParseError> {
        let start = self.at;
        let end = self.source.len();
        let root = self.add(None, Kind::Mapping, Style::Block, "", start..end)?;
        self.add(
            Some(root),
            Kind::Scalar,
            Style::Plain,
            "DEFAULT",
            start..start,
        )?;
        let mut section = self.add(Some(root), Kind::Mapping, Style::Block, "", start..start)?;
        let mut keys: HashMap<Cow<'s, str>, usize> = HashMap::new();
        let mut count = 1;
        while let Some(line) = self.next_line() {
            let Some(text) = self.trimmed_start(&line) else {
                continue;
            };
            match self.source.as_bytes()[text.start] {
                b'#' | b';' => {
                    let from = self.above.as_ref().map_or(text.start, |above| above.start);
                    let end = text.end - usize::from(self.source[text].ends_with('\n'));
                    self.above = Some(from..end);
                }
                b'[' => {
                    section = self.header(root, line.start, text)?;
                    keys.clear();
                    count = 1;
                }
                _ => {
                    let (name, span, value_at) = self.key_name(&text)?;
                    let name = if name == "-" {
                        count += 1;
                        Cow::Owned(format!("#{}", count - 1))
                    } else {
                        Cow::Borrowed(name)
                    };
                    if let Some(first) = keys.insert(name.clone(), span.start) {
                        return Err(self.repeated(first, span.start));
                    }
                    let key =
                        self.builder
                            .add(Some(section), Kind::Scalar, Style::Plain, name, span)?;
                    let value = self.value(value_at..line.end)?;
                    let end = value.span.end;
                    self.builder.add(
                        Some(section),
                        Kind::Scalar,
                        value.style,
                        value.text,
                        value.span,
                    )?;
                    self.builder.node(section).span.end = end;
                    self.builder.node(key).foot = self.comment(line.start);
                }
            }
        }
        let foot = self.above.take().map(|above| self.trimmed_end(above));
        let foot = foot.map(Comment::at).into_iter().collect();
        let mut stream = self.builder.finish(Syntax::Ini, foot, self.unattached);
        stream.passed_over = self.passed_over;
        Ok(stream)
    }

    fn add(
        &mut self,
        parent: Option<NodeId>,
        kind: Kind,
        style: Style,
        value: &'s str,
        span: Range<usize>,
    ) -> Result<NodeId, ParseError> {
        self.builder
            .add(parent, kind, style, Cow::Borrowed(value), span)
    }

    fn wrong(&self, at: usize, reason: impl Into<String>) -> ParseError {
        ParseError::at(self.source, at, reason)
    }

    fn repeated(&self, first: usize, second: usize) -> ParseError {
        let line = error::line_column(self.source, first).0;
        let reason = format!(
            "this section has the same key on line {line}; sops would keep only the last value, \
             so remove or rename one of the two"
        );
        self.wrong(second, reason)
    }

    /// The next line with its line break.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        self.at = super::line_after(self.source, start);
        (self.at > start).then_some(start..self.at)
    }

    /// Without blanks at the start; `None` when nothing is left.
    fn trimmed_start(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let text = self.source[range.clone()].trim_start();
        (!text.is_empty()).then_some(range.end - text.len()..range.end)
    }

    /// Notes what stands where nothing is read.
    fn pass_over(&mut self, range: Range<usize>) {
        let text = self.trimmed_start(&range);
        self.passed_over
            .extend(text.map(|text| self.trimmed_end(text)));
    }

    fn trimmed_end(&self, range: Range<usize>) -> Range<usize> {
        let text = self.source[range.clone()].trim_end();
        range.start..range.start + text.len()
    }

    /// The comment that ends on the line of a header or key.
    fn comment(&mut self, owner: usize) -> Vec<Comment> {
        let comment = match (self.above.take(), self.inline.take()) {
            (above, Some(span)) => Comment {
                span,
                above,
                owner: Some(owner),
            },
            (Some(above), None) => Comment::at(self.trimmed_end(above)),
            (None, None) => return Vec::new(),
        };
        vec![comment]
    }

    fn header(
        &mut self,
        root: NodeId,
        line: usize,
        text: Range<usize>,
    ) -> Result<NodeId, ParseError> {
        let written = &self.source[text.clone()];
        let Some(close) = written.rfind(']') else {
            return Err(self.wrong(text.start, "the section header has no closing ']'"));
        };
        if close == 1 {
            return Err(self.wrong(text.start, "the section has no name"));
        }
        let span = text.start + 1..text.start + close;
        let name = &self.source[span.clone()];
        let after = span.end + 1;
        let mark = written[close + 1..].find(['#', ';']);
        if let Some(mark) = mark {
            let inline = self.trimmed_end(after + mark..text.end);
            self.inline = Some(inline);
        }
        self.pass_over(after..mark.map_or(text.end, |mark| after + mark));
        self.add(Some(root), Kind::Scalar, Style::Plain, name, span)?;
        let section = self.add(Some(root), Kind::Mapping, Style::Block, "", after..after)?;
        self.builder.node(section).head = self.comment(line);
        Ok(section)
    }

    /// The key's name, where it is written, and where its value begins.
    fn key_name(
        &mut self,
        text: &Range<usize>,
    ) -> Result<(&'s str, Range<usize>, usize), ParseError> {
        let line = &self.source[text.clone()];
        let no_delimiter = || {
            let reason = "the line has no '='; every line is key = value, a comment that begins \
                          with '#' or ';', a [section] or empty";
            self.wrong(text.start, reason)
        };
        let quote = if line.starts_with("\"\"\"") && line.len() > 6 {
            "\"\"\""
        } else if line.starts_with('"') {
            "\""
        } else if line.starts_with('`') {
            "`"
        } else {
            let delimiter = line.find(['=', ':']).ok_or_else(no_delimiter)?;
            let name = line[..delimiter].trim_end();
            if name.is_empty() {
                return Err(self.wrong(text.start, "the line has no key before its '='"));
            }
            let span = text.start..text.start + name.len();
            return Ok((name, span, text.start + delimiter + 1));
        };
        let inside = quote.len();
        let Some(close) = line[inside..].find(quote).map(|at| at + inside) else {
            return Err(self.wrong(text.start, "the key has no closing quote"));
        };
        let name = line[inside..close].trim();
        if name.is_empty() {
            return Err(self.wrong(text.start, "the line has no key before its '='"));
        }
        let after = close + inside;
        let delimiter = line[after..].find(['=', ':']).ok_or_else(no_delimiter)?;
        let span = text.start..text.start + after;
        self.pass_over(span.end..span.end + delimiter);
        Ok((name, span, text.start + after + delimiter + 1))
    }

    fn value(&mut self, range: Range<usize>) -> Result<Written<'s>, ParseError> {
        let Some(text) = self.trimmed_start(&range) else {
            let blank = self.source[range.clone()].trim_end_matches(['\n', '\r']);
            let at = range.start + blank.len();
            return Ok(plain(Cow::Borrowed(""), at..at));
        };
        let line = &self.source[text.clone()];
        if line.starts_with("\"\"\"") && line.len() > 3 {
            return self.raw(text, "\"\"\"");
        }
        if line.starts_with('`') {
            return self.raw(text, "`");
        }
        let mut span = self.trimmed_end(text);
        if self.source[span.clone()].ends_with('\\') {
            return Ok(self.continued(span));
        }
        if let Some(mark) = self.source[span.clone()].find(['#', ';']) {
            self.inline = Some(span.start + mark..span.end);
            span = self.trimmed_end(span.start..span.start + mark);
        }
        let written = &self.source[span.clone()];
        for (quote, style) in [('\'', Style::SingleQuoted), ('"', Style::DoubleQuoted)] {
            let inside = written
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote));
            if let Some(inside) = inside.filter(|inside| !inside.contains(quote)) {
                let text = Cow::Borrowed(inside);
                return Ok(Written { text, style, span });
            }
        }
        Ok(plain(Cow::Borrowed(written), span))
    }

    /// A value between raw quotes: to the last quote of this line, or of the first later line that
    /// has one.
    fn raw(&mut self, text: Range<usize>, quote: &str) -> Result<Written<'s>, ParseError> {
        let inside = text.start + quote.len();
        let style = Style::Literal;
        if let Some(close) = self.source[inside..text.end].rfind(quote) {
            let span = text.start..inside + close + quote.len();
            let mark = self.source[span.end..text.end].find(['#', ';']);
            if let Some(mark) = mark {
                // ini.v1 drops it.
                let comment = self.trimmed_end(span.end + mark..text.end);
                self.unattached.push(Comment::at(comment));
            }
            self.pass_over(span.end..mark.map_or(text.end, |mark| span.end + mark));
            let text = Cow::Borrowed(&self.source[inside..inside + close]);
            return Ok(Written { text, style, span });
        }
        while let Some(line) = self.next_line() {
            let next = &self.source[line.clone()];
            let Some(close) = next.rfind(quote) else {
                continue;
            };
            if next[close + quote.len()..].trim_end().ends_with('\\') {
                continue;
            }
            let close = line.start + close;
            let span = text.start..close + quote.len();
            let mark = self.source[span.end..line.end].find(['#', ';']);
            if let Some(mark) = mark {
                self.inline = Some(self.trimmed_end(span.end + mark..line.end));
            }
            self.pass_over(span.end..mark.map_or(line.end, |mark| span.end + mark));
            let text = Cow::Borrowed(&self.source[inside..close]);
            return Ok(Written { text, style, span });
        }
        Err(self.wrong(text.start, "the value has no closing quote"))
    }

    /// A value that goes on in the next line, for as long as lines end in a backslash.
    fn continued(&mut self, first: Range<usize>) -> Written<'s> {
        let mut text = self.source[first.start..first.end - 1].to_owned();
        let mut end = first.end;
        while let Some(line) = self.next_line() {
            let Some(next) = self.trimmed_start(&line).map(|line| self.trimmed_end(line)) else {
                break;
            };
            end = next.end;
            text.push_str(&self.source[next]);
            if !text.ends_with('\\') {
                break;
            }
            text.pop();
        }
        plain(Cow::Owned(text), first.start..end)
    }
}

fn plain(text: Cow<'_, str>, span: Range<usize>) -> Written<'_> {
    Written {
        text,
        style: Style::Plain,
        span,
    }
}

//! Scalars: a port of the matching parts of go-yaml's scannerc.go.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use std::borrow::Cow;
use std::ops::Range;

use super::chars::{byte, is_blank, is_break, ordinary_run};
use super::scan_tag::hex;
use super::scanner::{Mark, Scanner, Token, TokenKind};
use super::{Block, Chomping, ParseError, Style};

/// Decoded text that stays a borrow of the source as long as it is one run of it.
struct Text<'s> {
    source: &'s str,
    run: Range<usize>,
    owned: Option<String>,
}

impl<'s> Text<'s> {
    fn new(source: &'s str) -> Self {
        Self {
            source,
            run: 0..0,
            owned: None,
        }
    }

    fn push_run(&mut self, run: Range<usize>) {
        if run.is_empty() {
            return;
        }
        match &mut self.owned {
            Some(owned) => owned.push_str(&self.source[run]),
            None if self.run.is_empty() => self.run = run,
            None if self.run.end == run.start => self.run.end = run.end,
            None => {
                let text = &self.source[run];
                self.own().push_str(text);
            }
        }
    }

    fn push_str(&mut self, text: &str) {
        if !text.is_empty() {
            self.own().push_str(text);
        }
    }

    fn own(&mut self) -> &mut String {
        let start = &self.source[self.run.clone()];
        self.owned.get_or_insert_with(|| start.to_owned())
    }

    fn finish(self) -> Cow<'s, str> {
        match self.owned {
            Some(owned) => Cow::Owned(owned),
            None => Cow::Borrowed(&self.source[self.run]),
        }
    }
}

/// What a line break reads as: LF, but LS and PS stay.
fn decoded_break(source: &str, run: &Range<usize>) -> &'static str {
    match &source[run.clone()] {
        "" => "",
        "\u{2028}" => "\u{2028}",
        "\u{2029}" => "\u{2029}",
        _ => "\n",
    }
}

/// Line breaks and blanks between two runs of text in a plain or quoted scalar.
#[derive(Default)]
struct Gap {
    blanks: Range<usize>,
    leading_break: Range<usize>,
    trailing_breaks: Vec<Range<usize>>,
}

impl Gap {
    /// Folds the line breaks: one is a space, more are one less.
    fn fold_into(&mut self, text: &mut Text<'_>) {
        let source = text.source;
        let first = decoded_break(source, &self.leading_break);
        if first == "\n" {
            if self.trailing_breaks.is_empty() {
                text.push_str(" ");
            }
        } else {
            text.push_str(first);
        }
        for run in self.trailing_breaks.drain(..) {
            text.push_str(decoded_break(source, &run));
        }
        self.leading_break = 0..0;
    }
}

impl<'s> Scanner<'s> {
    /// Passes one line break and gives back where it is; an empty range if there is none.
    fn read_line(&mut self) -> Range<usize> {
        let start = self.mark.offset;
        self.skip_line();
        start..self.mark.offset
    }

    pub(super) fn scan_block_scalar(&mut self, literal: bool) -> Result<(), ParseError> {
        let start = self.mark;
        self.skip();
        let mut chomping = Chomping::Clip;
        let mut indicator = None;
        let sign = |b| match b {
            b'+' => Some(Chomping::Keep),
            b'-' => Some(Chomping::Strip),
            _ => None,
        };
        if let Some(found) = sign(self.byte(0)) {
            chomping = found;
            self.skip();
            indicator = self.scan_indentation_indicator()?;
        } else {
            indicator = self.scan_indentation_indicator()?.or(indicator);
            if indicator.is_some()
                && let Some(found) = sign(self.byte(0))
            {
                chomping = found;
                self.skip();
            }
        }
        let header = start.offset..self.mark.offset;

        while self.is_blank() {
            self.skip();
        }
        if self.byte(0) == b'#' {
            self.scan_line_comment(start);
            while !self.is_break_or_end() {
                self.skip();
            }
        }
        if !self.is_break_or_end() {
            return Err(
                self.error("expected a comment or line break after the block scalar's header")
            );
        }
        let header_end = self.mark.offset;
        self.skip_line();

        let mut indent = indicator.map_or(0, |increment| self.indent.max(0) + i64::from(increment));
        let mut text = Text::new(self.source);
        let mut leading_break = 0..0;
        let mut trailing_breaks = Vec::new();
        let mut leading_blank = false;
        let mut content_end = header_end;
        let mut end = self.scan_block_scalar_breaks(&mut indent, &mut trailing_breaks)?;
        while self.mark.column == indent && self.byte(0) != 0 {
            // We are at the beginning of a non-empty line.
            let trailing_blank = self.is_blank();
            let folds = !literal
                && !leading_blank
                && !trailing_blank
                && decoded_break(self.source, &leading_break) == "\n";
            if !folds {
                push_break(&mut text, &leading_break);
            } else if trailing_breaks.is_empty() {
                text.push_str(" ");
            }
            for run in trailing_breaks.drain(..) {
                push_break(&mut text, &run);
            }
            leading_blank = self.is_blank();
            let line = self.mark.offset;
            while !self.is_break_or_end() {
                self.skip();
            }
            text.push_run(line..self.mark.offset);
            content_end = self.mark.offset;
            leading_break = self.read_line();
            end = self.scan_block_scalar_breaks(&mut indent, &mut trailing_breaks)?;
        }

        let open = leading_break.is_empty() && content_end != header_end;
        if chomping != Chomping::Strip {
            push_break(&mut text, &leading_break);
        }
        if chomping == Chomping::Keep {
            if let Some(last) = trailing_breaks.last() {
                content_end = last.start;
            }
            for run in &trailing_breaks {
                push_break(&mut text, run);
            }
        }
        let block = Block {
            header,
            chomping,
            indicator,
            indent: usize::try_from(indent).unwrap_or(0),
            parent: i32::try_from(self.indent).unwrap_or(-1),
            open,
        };
        let style = if literal {
            Style::Literal
        } else {
            Style::Folded
        };
        end.offset = content_end;
        self.push_scalar(text.finish(), style, Some(Box::new(block)), start, end);
        Ok(())
    }

    fn scan_indentation_indicator(&mut self) -> Result<Option<u8>, ParseError> {
        match self.byte(0) {
            b'0' => Err(self.error("the indentation indicator of a block scalar is 1 to 9")),
            b @ b'1'..=b'9' => {
                self.skip();
                Ok(Some(b - b'0'))
            }
            _ => Ok(None),
        }
    }

    /// Passes indentation and blank lines; finds the indentation where it is not yet known (0).
    fn scan_block_scalar_breaks(
        &mut self,
        indent: &mut i64,
        breaks: &mut Vec<Range<usize>>,
    ) -> Result<Mark, ParseError> {
        let mut end = self.mark;
        let mut max_indent = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b' ' {
                self.skip();
            }
            max_indent = max_indent.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b'\t' {
                return Err(
                    self.error("found a tab where indentation is expected; indent with spaces")
                );
            }
            if !self.is_break() {
                break;
            }
            breaks.push(self.read_line());
            end = self.mark;
        }
        if *indent == 0 {
            *indent = max_indent.max(self.indent + 1).max(1);
        }
        Ok(end)
    }

    pub(super) fn scan_flow_scalar(&mut self, single: bool) -> Result<(), ParseError> {
        let quote = if single { b'\'' } else { b'"' };
        let start = self.mark;
        self.skip();
        let mut text = Text::new(self.source);
        let mut gap = Gap::default();
        loop {
            if self.is_document_indicator() {
                return Err(
                    self.error("found a document marker inside a quoted value; close the quote")
                );
            }
            if self.byte(0) == 0 {
                let reason = "the quote that begins here is not closed";
                return Err(ParseError::at(self.source, start.offset, reason));
            }
            let mut leading_blanks = false;
            let mut run = self.mark.offset;
            while !self.is_blank_or_end(0) {
                let b = self.byte(0);
                if single && b == quote && self.byte(1) == quote {
                    // The first quote stays in the run, the second is left out.
                    self.skip();
                    text.push_run(run..self.mark.offset);
                    self.skip();
                    run = self.mark.offset;
                } else if b == quote {
                    break;
                } else if !single && b == b'\\' {
                    text.push_run(run..self.mark.offset);
                    if is_break(self.bytes, self.mark.offset + 1) {
                        // An escaped line break.
                        self.skip();
                        self.skip_line();
                        leading_blanks = true;
                        run = self.mark.offset;
                        break;
                    }
                    self.scan_escape(&mut text)?;
                    run = self.mark.offset;
                } else {
                    self.skip();
                }
            }
            text.push_run(run..self.mark.offset);
            if self.byte(0) == quote {
                break;
            }

            let blanks = self.mark.offset;
            let mut blanks_end = blanks;
            loop {
                if self.is_blank() {
                    self.skip();
                    if !leading_blanks {
                        blanks_end = self.mark.offset;
                    }
                } else if self.is_break() {
                    if leading_blanks {
                        let run = self.read_line();
                        gap.trailing_breaks.push(run);
                    } else {
                        gap.leading_break = self.read_line();
                        leading_blanks = true;
                    }
                } else {
                    break;
                }
            }
            if leading_blanks {
                gap.fold_into(&mut text);
            } else {
                text.push_run(blanks..blanks_end);
            }
        }
        self.skip();
        let style = if single {
            Style::SingleQuoted
        } else {
            Style::DoubleQuoted
        };
        self.push_scalar(text.finish(), style, None, start, self.mark);
        Ok(())
    }

    fn scan_escape(&mut self, text: &mut Text<'_>) -> Result<(), ParseError> {
        let digits = match self.byte(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            simple => {
                let decoded = match simple {
                    b'0' => "\0",
                    b'a' => "\x07",
                    b'b' => "\x08",
                    b't' | b'\t' => "\t",
                    b'n' => "\n",
                    b'v' => "\x0b",
                    b'f' => "\x0c",
                    b'r' => "\r",
                    b'e' => "\x1b",
                    b' ' => " ",
                    b'"' => "\"",
                    b'\'' => "'",
                    b'\\' => "\\",
                    b'N' => "\u{85}",
                    b'_' => "\u{a0}",
                    b'L' => "\u{2028}",
                    b'P' => "\u{2029}",
                    _ => {
                        return Err(self.error(
                            "unknown escape; write '\\\\' for a backslash or use single quotes",
                        ));
                    }
                };
                text.push_str(decoded);
                self.skip();
                self.skip();
                return Ok(());
            }
        };
        let mut code: u32 = 0;
        for at in 0..digits {
            let Some(digit) = hex(self.byte(2 + at)) else {
                return Err(self.error("expected hexadecimal digits in the escape"));
            };
            code = code.wrapping_shl(4) | u32::from(digit);
        }
        let Some(c) = char::from_u32(code) else {
            return Err(self.error("the escape is no Unicode character"));
        };
        text.push_str(c.encode_utf8(&mut [0; 4]));
        for _ in 0..digits + 2 {
            self.skip();
        }
        Ok(())
    }

    pub(super) fn scan_plain_scalar(&mut self) -> Result<(), ParseError> {
        let indent = self.indent + 1;
        let start = self.mark;
        let mut end = self.mark;
        let mut text = Text::new(self.source);
        let mut gap = Gap::default();
        let mut leading_blanks = false;
        loop {
            if self.is_document_indicator() || self.byte(0) == b'#' {
                break;
            }
            let run = self.mark.offset;
            self.skip_plain_run();
            if self.mark.offset > run {
                if leading_blanks {
                    gap.fold_into(&mut text);
                    leading_blanks = false;
                } else {
                    text.push_run(gap.blanks.clone());
                }
                gap.blanks = 0..0;
                text.push_run(run..self.mark.offset);
                end = self.mark;
            }
            if !(self.is_blank() || self.is_break()) {
                break;
            }
            let blanks = self.mark.offset;
            loop {
                if self.is_blank() {
                    if leading_blanks && self.mark.column < indent && self.byte(0) == b'\t' {
                        return Err(self.error(
                            "found a tab where indentation is expected; indent with spaces",
                        ));
                    }
                    self.skip();
                    if !leading_blanks {
                        gap.blanks = blanks..self.mark.offset;
                    }
                } else if self.is_break() {
                    if leading_blanks {
                        let run = self.read_line();
                        gap.trailing_breaks.push(run);
                    } else {
                        gap.blanks = 0..0;
                        gap.leading_break = self.read_line();
                        leading_blanks = true;
                    }
                } else {
                    break;
                }
            }
            if self.flow_level == 0 && self.mark.column < indent {
                break;
            }
        }
        self.push_scalar(text.finish(), Style::Plain, None, start, end);
        // Note that we change the 'simple_key_allowed' flag.
        if leading_blanks {
            self.simple_key_allowed = true;
        }
        Ok(())
    }

    /// Passes characters up to a blank, a break, the end or an indicator that ends a plain scalar.
    fn skip_plain_run(&mut self) {
        let from = self.mark.offset;
        let mut at = from;
        let mut chars = 0;
        loop {
            let run = ordinary_run(self.bytes.get(at..).unwrap_or_default());
            at += run;
            chars += run as i64;
            let Some(&b) = self.bytes.get(at) else { break };
            let ends = match b {
                b' ' | b'\t' | b'\r' | b'\n' => true,
                0xc2 | 0xe2 => is_break(self.bytes, at),
                b':' => {
                    let next = byte(self.bytes, at + 1);
                    next == 0 || is_blank(next) || is_break(self.bytes, at + 1)
                }
                b',' | b'?' | b'[' | b']' | b'{' | b'}' => self.flow_level > 0,
                _ => false,
            };
            if ends {
                break;
            }
            chars += i64::from(b & 0xc0 != 0x80);
            at += 1;
        }
        if at > from {
            self.newlines = 0;
            self.mark.offset = at;
            self.mark.index += chars;
            self.mark.column += chars;
        }
    }

    fn push_scalar(
        &mut self,
        value: Cow<'s, str>,
        style: Style,
        block: Option<Box<Block>>,
        start: Mark,
        end: Mark,
    ) {
        self.tokens.push_back(Token {
            kind: TokenKind::Scalar {
                value,
                style,
                block,
            },
            start,
            end,
        });
    }
}

/// A line break that is verbatim in the source keeps the text a borrow.
fn push_break(text: &mut Text<'_>, run: &Range<usize>) {
    let decoded = decoded_break(text.source, run);
    if text.source[run.clone()] == *decoded {
        text.push_run(run.clone());
    } else {
        text.push_str(decoded);
    }
}

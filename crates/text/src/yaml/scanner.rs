//! Tokens: a port of go-yaml's scannerc.go to a text in memory. The scalar, tag and comment
//! scanners are in the sibling files.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use super::chars::{byte, is_blank, is_blank_or_end, is_break, width};
use super::{Block, ParseError, Style};

/// A position. `index` counts characters, `offset` bytes; line and column are 0-based.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) index: i64,
    pub(super) line: i64,
    pub(super) column: i64,
    pub(super) offset: usize,
}

// No Debug: it would show values.
pub(super) enum TokenKind<'s> {
    StreamStart,
    StreamEnd,
    VersionDirective {
        major: u8,
        minor: u8,
    },
    TagDirective {
        handle: &'s str,
        prefix: String,
    },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(&'s str),
    Anchor(&'s str),
    Tag {
        handle: &'s str,
        suffix: String,
    },
    Scalar {
        value: Cow<'s, str>,
        style: Style,
        block: Option<Box<Block>>,
    },
}

pub(super) struct Token<'s> {
    pub(super) kind: TokenKind<'s>,
    pub(super) start: Mark,
    pub(super) end: Mark,
}

/// A part of a comment's text: a line from `#` on, or a line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Line(Range<usize>),
    Break,
}

/// go-yaml's `yaml_comment_t`.
#[derive(Debug, Default)]
pub(super) struct CommentGroup {
    pub(super) scan_mark: Mark,
    pub(super) token_mark: Mark,
    pub(super) start_mark: Mark,
    pub(super) end_mark: Mark,
    pub(super) head: Vec<Piece>,
    pub(super) line: Vec<Piece>,
    pub(super) foot: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token_number: usize,
    mark: Mark,
}

/// Which level's simple key begins at a token (`simple_keys_by_tok`); only numbers at or after
/// the next token to parse are ever looked up.
#[derive(Debug, Default)]
struct KeyIndex {
    first: usize,
    levels: VecDeque<Option<u32>>,
}

impl KeyIndex {
    fn set(&mut self, number: usize, level: Option<usize>) {
        let Some(at) = number.checked_sub(self.first) else {
            return;
        };
        if at >= self.levels.len() {
            if level.is_none() {
                return;
            }
            self.levels.resize(at + 1, None);
        }
        self.levels[at] = level.map(|level| level as u32);
    }

    fn level(&mut self, number: usize) -> Option<usize> {
        while self.first < number {
            self.levels.pop_front();
            self.first += 1;
        }
        self.levels
            .front()
            .copied()
            .flatten()
            .map(|level| level as usize)
    }
}

/// go-yaml's `max_flow_level` and `max_indents`.
const MAX_LEVEL: usize = 10_000;

/// Turns a text into tokens and comment groups.
pub(super) struct Scanner<'s> {
    pub(super) source: &'s str,
    pub(super) bytes: &'s [u8],
    pub(super) mark: Mark,
    /// Line breaks since the last character that is no blank.
    pub(super) newlines: i64,
    pub(super) flow_level: usize,
    pub(super) indent: i64,
    indents: Vec<i64>,
    pub(super) simple_key_allowed: bool,
    simple_keys: Vec<SimpleKey>,
    keys_by_token: KeyIndex,
    started: bool,
    /// Tokens that are scanned and not yet taken.
    pub(super) tokens: VecDeque<Token<'s>>,
    tokens_taken: usize,
    token_available: bool,
    pub(super) comments: Vec<CommentGroup>,
    pub(super) comments_head: usize,
    /// Every comment line, also those that go-yaml passes over.
    pub(super) comment_lines: Vec<Range<usize>>,
}

impl<'s> Scanner<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        let offset = if source.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            source,
            bytes: source.as_bytes(),
            mark: Mark {
                offset,
                ..Mark::default()
            },
            newlines: 0,
            flow_level: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: true,
            simple_keys: vec![SimpleKey::default()],
            keys_by_token: KeyIndex::default(),
            started: false,
            tokens: VecDeque::new(),
            tokens_taken: 0,
            token_available: false,
            comments: Vec::new(),
            comments_head: 0,
            comment_lines: Vec::new(),
        }
    }

    /// The next token, not yet taken.
    pub(super) fn peek(&mut self) -> Result<&Token<'s>, ParseError> {
        if !self.token_available {
            self.fetch_more_tokens()?;
        }
        Ok(&self.tokens[0])
    }

    /// Takes the token that [`Self::peek`] showed.
    pub(super) fn take(&mut self) -> Token<'s> {
        self.token_available = false;
        self.tokens_taken += 1;
        match self.tokens.pop_front() {
            Some(token) => token,
            None => Token {
                kind: TokenKind::StreamEnd,
                start: self.mark,
                end: self.mark,
            },
        }
    }

    pub(super) fn error(&self, reason: &str) -> ParseError {
        ParseError::at(self.source, self.mark.offset, reason)
    }

    pub(super) fn byte(&self, ahead: usize) -> u8 {
        byte(self.bytes, self.mark.offset + ahead)
    }

    pub(super) fn is_blank(&self) -> bool {
        is_blank(self.byte(0))
    }

    pub(super) fn is_break(&self) -> bool {
        is_break(self.bytes, self.mark.offset)
    }

    pub(super) fn is_break_or_end(&self) -> bool {
        self.byte(0) == 0 || self.is_break()
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        is_blank_or_end(self.bytes, self.mark.offset + ahead)
    }

    /// Whether `---` or `...` begins here and stands alone.
    pub(super) fn is_document_indicator(&self) -> bool {
        self.mark.column == 0
            && matches!(
                (self.byte(0), self.byte(1), self.byte(2)),
                (b'-', b'-', b'-') | (b'.', b'.', b'.')
            )
            && self.is_blank_or_end(3)
    }

    /// Passes one character.
    pub(super) fn skip(&mut self) {
        let b = self.byte(0);
        if !is_blank(b) {
            self.newlines = 0;
        }
        self.mark.index += 1;
        self.mark.column += 1;
        self.mark.offset = (self.mark.offset + width(b)).min(self.bytes.len());
    }

    /// Passes one line break, if there is one.
    pub(super) fn skip_line(&mut self) {
        if self.byte(0) == b'\r' && self.byte(1) == b'\n' {
            self.mark.index += 2;
            self.mark.offset += 2;
        } else if self.is_break() {
            self.mark.index += 1;
            self.mark.offset += width(self.byte(0));
        } else {
            return;
        }
        self.mark.column = 0;
        self.mark.line += 1;
        self.newlines += 1;
    }

    fn fetch_more_tokens(&mut self) -> Result<(), ParseError> {
        loop {
            // [Go] Comments need a lookahead of two tokens.
            if self.tokens.len() > 2 {
                // A possible simple key at the head needs the next token to be sure.
                let Some(level) = self.keys_by_token.level(self.tokens_taken) else {
                    break;
                };
                if level >= self.simple_keys.len() || !self.simple_key_is_valid(level)? {
                    break;
                }
            }
            self.fetch_next_token()?;
        }
        self.token_available = true;
        Ok(())
    }

    fn fetch_next_token(&mut self) -> Result<(), ParseError> {
        if !self.started {
            self.started = true;
            self.push(TokenKind::StreamStart, self.mark);
            return Ok(());
        }
        let scan_mark = self.mark;
        self.scan_to_next_token()?;
        self.unroll_indent(self.mark.column, scan_mark);

        let b = self.byte(0);
        if b == 0 {
            return self.fetch_stream_end();
        }
        if self.mark.column == 0 && b == b'%' {
            return self.fetch_directive();
        }
        if self.is_document_indicator() {
            let kind = if b == b'-' {
                TokenKind::DocumentStart
            } else {
                TokenKind::DocumentEnd
            };
            return self.fetch_document_indicator(kind);
        }

        let mut comment_mark = self.mark;
        if let Some(last) = self.tokens.back()
            && (self.flow_level == 0 && b == b':' || self.flow_level > 0 && b == b',')
        {
            // Associate any following comments with the prior token.
            comment_mark = last.start;
        }
        self.fetch_content_token(b)?;
        if matches!(self.tokens.back(), Some(token) if matches!(token.kind, TokenKind::BlockEntry))
        {
            // Sequence indicators alone have no line comments. It becomes a head comment for
            // whatever follows.
            return Ok(());
        }
        self.scan_line_comment(comment_mark);
        Ok(())
    }

    fn fetch_content_token(&mut self, b: u8) -> Result<(), ParseError> {
        let flow = self.flow_level > 0;
        match b {
            b'[' => self.fetch_flow_collection_start(TokenKind::FlowSequenceStart),
            b'{' => self.fetch_flow_collection_start(TokenKind::FlowMappingStart),
            b']' => self.fetch_flow_collection_end(TokenKind::FlowSequenceEnd),
            b'}' => self.fetch_flow_collection_end(TokenKind::FlowMappingEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if self.is_blank_or_end(1) => self.fetch_block_entry(),
            b'?' if flow || self.is_blank_or_end(1) => self.fetch_key(),
            b':' if flow || self.is_blank_or_end(1) => self.fetch_value(),
            b'*' | b'&' => self.fetch_anchor(b == b'*'),
            b'!' => self.fetch_tag(),
            b'|' if !flow => self.fetch_block_scalar(true),
            b'>' if !flow => self.fetch_block_scalar(false),
            b'\'' => self.fetch_flow_scalar(true),
            b'"' => self.fetch_flow_scalar(false),
            b'-' | b'?' | b':' => self.fetch_plain_scalar(),
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' => {
                Err(self.error("found a character that cannot start a value; quote the value"))
            }
            _ if self.is_blank_or_end(0) => {
                Err(self.error("found a tab where indentation is expected; indent with spaces"))
            }
            _ => self.fetch_plain_scalar(),
        }
    }

    pub(super) fn push(&mut self, kind: TokenKind<'s>, start: Mark) {
        self.tokens.push_back(Token {
            kind,
            start,
            end: self.mark,
        });
    }

    /// Puts a token before the one with this number; at the end without a number and, as go-yaml
    /// does, where that token was taken already.
    fn insert(&mut self, number: Option<usize>, token: Token<'s>) {
        let place = number.and_then(|number| number.checked_sub(self.tokens_taken));
        let place = place.unwrap_or(self.tokens.len()).min(self.tokens.len());
        self.tokens.insert(place, token);
    }

    fn simple_key_is_valid(&mut self, level: usize) -> Result<bool, ParseError> {
        let key = self.simple_keys[level];
        if !key.possible {
            return Ok(false);
        }
        // YAML 1.2: a key without `?` is on one line and at most 1024 characters long.
        if key.mark.line < self.mark.line || key.mark.index + 1024 < self.mark.index {
            if key.required {
                return Err(self.missing_colon(key));
            }
            self.simple_keys[level].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn missing_colon(&self, key: SimpleKey) -> ParseError {
        ParseError::at(
            self.source,
            key.mark.offset,
            "could not find the ':' that ends this key",
        )
    }

    fn save_simple_key(&mut self) -> Result<(), ParseError> {
        // Required: block context and the column is the indentation level.
        let required = self.flow_level == 0 && self.indent == self.mark.column;
        if !self.simple_key_allowed {
            return Ok(());
        }
        let key = SimpleKey {
            possible: true,
            required,
            token_number: self.tokens_taken + self.tokens.len(),
            mark: self.mark,
        };
        self.remove_simple_key()?;
        let level = self.simple_keys.len() - 1;
        self.simple_keys[level] = key;
        self.keys_by_token.set(key.token_number, Some(level));
        Ok(())
    }

    fn remove_simple_key(&mut self) -> Result<(), ParseError> {
        let level = self.simple_keys.len() - 1;
        let key = self.simple_keys[level];
        if key.possible {
            if key.required {
                return Err(self.missing_colon(key));
            }
            self.simple_keys[level].possible = false;
            self.keys_by_token.set(key.token_number, None);
        }
        Ok(())
    }

    fn roll_indent(
        &mut self,
        column: i64,
        number: Option<usize>,
        kind: TokenKind<'s>,
        mark: Mark,
    ) -> Result<(), ParseError> {
        if self.flow_level > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_LEVEL {
            return Err(self.error("nested too deeply"));
        }
        let token = Token {
            kind,
            start: mark,
            end: mark,
        };
        self.insert(number, token);
        Ok(())
    }

    /// Ends every block that is indented deeper than `column`.
    fn unroll_indent(&mut self, column: i64, scan_mark: Mark) {
        if self.flow_level > 0 {
            return;
        }
        let mut block_mark = scan_mark;
        block_mark.index -= 1;
        while self.indent > column {
            // [Go] Reposition the end token before potential following foot comments of parent
            //      blocks. For that, search backwards for recent comments that were at the same
            //      indent as the block that is ending now.
            let mut stop_index = block_mark.index;
            for comment in self.comments.iter().rev() {
                if comment.end_mark.index < stop_index {
                    break;
                }
                if comment.start_mark.column == self.indent + 1 {
                    // This is a good match. But maybe there's a former comment at that same
                    // indent level, so keep searching.
                    block_mark = comment.start_mark;
                }
                // While the end of the former comment matches with the start of the following
                // one, there's nothing in between and scanning is still safe.
                stop_index = comment.scan_mark.index;
            }
            self.tokens.push_back(Token {
                kind: TokenKind::BlockEnd,
                start: block_mark,
                end: block_mark,
            });
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), ParseError> {
        // Force new line.
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push(TokenKind::StreamEnd, self.mark);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), ParseError> {
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_directive()
    }

    fn fetch_document_indicator(&mut self, kind: TokenKind<'s>) -> Result<(), ParseError> {
        self.unroll_indent(-1, self.mark);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        self.skip();
        self.skip();
        self.skip();
        self.push(kind, start);
        Ok(())
    }

    fn push_indicator(&mut self, kind: TokenKind<'s>) {
        let start = self.mark;
        self.skip();
        self.push(kind, start);
    }

    fn fetch_flow_collection_start(&mut self, kind: TokenKind<'s>) -> Result<(), ParseError> {
        self.save_simple_key()?;
        self.simple_keys.push(SimpleKey {
            token_number: self.tokens_taken + self.tokens.len(),
            mark: self.mark,
            ..SimpleKey::default()
        });
        self.flow_level += 1;
        if self.flow_level > MAX_LEVEL {
            return Err(self.error("nested too deeply"));
        }
        self.simple_key_allowed = true;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_flow_collection_end(&mut self, kind: TokenKind<'s>) -> Result<(), ParseError> {
        self.remove_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            if let Some(key) = self.simple_keys.pop() {
                self.keys_by_token.set(key.token_number, None);
            }
        }
        self.simple_key_allowed = false;
        self.push_indicator(kind);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<(), ParseError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::FlowEntry);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), ParseError> {
        // In the flow context '-' is an error that the parser reports.
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(
                    self.error("a list item ('- ') cannot begin here; put it on a line of its own")
                );
            }
            self.roll_indent(
                self.mark.column,
                None,
                TokenKind::BlockSequenceStart,
                self.mark,
            )?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), ParseError> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.error("a key ('? ') cannot begin here"));
            }
            self.roll_indent(
                self.mark.column,
                None,
                TokenKind::BlockMappingStart,
                self.mark,
            )?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), ParseError> {
        let level = self.simple_keys.len() - 1;
        if self.simple_key_is_valid(level)? {
            let key = self.simple_keys[level];
            let token = Token {
                kind: TokenKind::Key,
                start: key.mark,
                end: key.mark,
            };
            self.insert(Some(key.token_number), token);
            self.roll_indent(
                key.mark.column,
                Some(key.token_number),
                TokenKind::BlockMappingStart,
                key.mark,
            )?;
            self.simple_keys[level].possible = false;
            self.keys_by_token.set(key.token_number, None);
            // A simple key cannot follow another simple key.
            self.simple_key_allowed = false;
        } else {
            // The ':' indicator follows a complex key.
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.error(
                        "a mapping value (': ') is not allowed here; quote the text if the colon belongs to it",
                    ));
                }
                self.roll_indent(
                    self.mark.column,
                    None,
                    TokenKind::BlockMappingStart,
                    self.mark,
                )?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(TokenKind::Value);
        Ok(())
    }

    fn fetch_anchor(&mut self, alias: bool) -> Result<(), ParseError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_anchor(alias)
    }

    fn fetch_tag(&mut self) -> Result<(), ParseError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_tag()
    }

    fn fetch_block_scalar(&mut self, literal: bool) -> Result<(), ParseError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.scan_block_scalar(literal)
    }

    fn fetch_flow_scalar(&mut self, single: bool) -> Result<(), ParseError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_flow_scalar(single)
    }

    fn fetch_plain_scalar(&mut self) -> Result<(), ParseError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_plain_scalar()
    }

    fn scan_to_next_token(&mut self) -> Result<(), ParseError> {
        let scan_mark = self.mark;
        loop {
            // Tabs are allowed in the flow context, and in the block context but not where a
            // simple key may begin.
            while self.byte(0) == b' '
                || (self.flow_level > 0 || !self.simple_key_allowed) && self.byte(0) == b'\t'
            {
                self.skip();
            }
            self.turn_line_comment_into_head();
            if self.byte(0) == b'#' {
                self.scan_comments(scan_mark);
            }
            if !self.is_break() {
                return Ok(());
            }
            self.skip_line();
            // In the block context, a new line may start a simple key.
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }
}

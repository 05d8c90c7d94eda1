//! Cuts a template into tokens, as `text/template/parse` does: text, delimiters, words, numbers, strings.

use crate::text;

/// One token: what it is, where it starts (byte), its text and the line it starts on.
#[derive(Debug, Clone)]
pub(crate) struct Token<'s> {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    pub(crate) text: &'s str,
    pub(crate) line: usize,
    /// The message, for [`Kind::Error`].
    pub(crate) error: Option<String>,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Error,
    Bool,
    /// A printable ASCII character with a meaning of its own: a comma.
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Nil,
    Keyword(Keyword),
}

/// A word with a meaning of its own at the start of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Token<'_> {
    /// The token as Go writes it into messages.
    pub(crate) fn shown(&self) -> String {
        match self.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.error.clone().unwrap_or_default(),
            Kind::Keyword(_) | Kind::Dot | Kind::Nil => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let cut: String = self.text.chars().take(10).collect();
                format!("{}...", quoted(&cut))
            }
            _ => quoted(self.text),
        }
    }
}

fn quoted(text: &str) -> String {
    String::from_utf8_lossy(&crate::strconv::quote(text.as_bytes(), b'"', false)).into_owned()
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const LEFT_COMMENT: &str = "/*";
const RIGHT_COMMENT: &str = "*/";
/// The marker and the space beside it (`{{- `, ` -}}`).
const TRIM_MARKER: usize = 2;

/// The state of the scan.
pub(crate) struct Lexer<'s> {
    source: &'s str,
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    parens: usize,
    inside: bool,
    failed: bool,
}

impl<'s> Lexer<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self {
            source,
            pos: 0,
            start: 0,
            line: 1,
            start_line: 1,
            parens: 0,
            inside: false,
            failed: false,
        }
    }

    /// Returns the next token; after the end or an error, the end again and again.
    pub(crate) fn next(&mut self) -> Token<'s> {
        if self.failed {
            return self.empty(Kind::End, self.pos);
        }
        if self.inside {
            self.inside_action()
        } else {
            self.text()
        }
    }

    fn rest(&self) -> &'s str {
        &self.source[self.pos..]
    }

    fn empty(&self, kind: Kind, at: usize) -> Token<'s> {
        Token {
            kind,
            at,
            text: "",
            line: self.start_line,
            error: None,
        }
    }

    fn emit(&mut self, kind: Kind) -> Token<'s> {
        let token = Token {
            kind,
            at: self.start,
            text: &self.source[self.start..self.pos],
            line: self.start_line,
            error: None,
        };
        self.start = self.pos;
        self.start_line = self.line;
        token
    }

    fn fail(&mut self, message: impl Into<String>) -> Token<'s> {
        self.failed = true;
        Token {
            kind: Kind::Error,
            at: self.start,
            text: "",
            line: self.start_line,
            error: Some(message.into()),
        }
    }

    /// Takes one character, counting lines.
    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_if(&mut self, fits: impl Fn(char) -> bool) -> bool {
        if self.peek().is_some_and(fits) {
            self.take();
            return true;
        }
        false
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) {
        while self.take_if(&fits) {}
    }

    /// Moves on by bytes that were looked at already, counting their lines.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.pos..self.pos + bytes];
        self.line += passed.matches('\n').count();
        self.pos += bytes;
    }

    /// Drops what was passed.
    fn ignore(&mut self) {
        self.start = self.pos;
        self.start_line = self.line;
    }

    fn text(&mut self) -> Token<'s> {
        loop {
            let Some(ahead) = self.rest().find(LEFT) else {
                self.advance(self.rest().len());
                if self.pos > self.start {
                    return self.emit(Kind::Text);
                }
                return self.empty(Kind::End, self.pos);
            };
            if ahead > 0 {
                let text = &self.rest()[..ahead];
                let trims = trims_left(&self.rest()[ahead + LEFT.len()..]);
                let kept = if trims {
                    text.trim_end_matches(is_space).len()
                } else {
                    ahead
                };
                self.advance(kept);
                let token = self.emit(Kind::Text);
                self.advance(ahead - kept);
                self.ignore();
                if !token.text.is_empty() {
                    return token;
                }
            }
            if let Some(token) = self.left_delim() {
                return token;
            }
        }
    }

    /// Reads `{{`; a comment is passed over (nothing is returned).
    fn left_delim(&mut self) -> Option<Token<'s>> {
        self.pos += LEFT.len();
        let marker = if trims_left(self.rest()) {
            TRIM_MARKER
        } else {
            0
        };
        if self.rest()[marker..].starts_with(LEFT_COMMENT) {
            self.advance(marker);
            self.ignore();
            return self.comment();
        }
        let token = self.emit(Kind::LeftDelim);
        self.inside = true;
        self.advance(marker);
        self.ignore();
        self.parens = 0;
        Some(token)
    }

    fn comment(&mut self) -> Option<Token<'s>> {
        let Some(end) = self.rest()[LEFT_COMMENT.len()..].find(RIGHT_COMMENT) else {
            return Some(self.fail("unclosed comment"));
        };
        self.pos += LEFT_COMMENT.len() + end + RIGHT_COMMENT.len();
        let (is_delim, trims) = self.at_right_delim();
        if !is_delim {
            return Some(self.fail("comment ends before closing delimiter"));
        }
        self.line += self.source[self.start..self.pos].matches('\n').count();
        self.close(trims);
        self.ignore();
        None
    }

    fn at_right_delim(&self) -> (bool, bool) {
        let rest = self.rest();
        if trims_right(rest) && rest[TRIM_MARKER..].starts_with(RIGHT) {
            return (true, true);
        }
        (rest.starts_with(RIGHT), false)
    }

    /// Passes the right delimiter, and the white space behind it when it trims.
    fn close(&mut self, trims: bool) {
        if trims {
            self.advance(TRIM_MARKER);
        }
        self.pos += RIGHT.len();
        if trims {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(is_space).len());
        }
    }

    fn right_delim(&mut self) -> Token<'s> {
        let (_, trims) = self.at_right_delim();
        if trims {
            self.advance(TRIM_MARKER);
            self.ignore();
        }
        self.pos += RIGHT.len();
        let token = self.emit(Kind::RightDelim);
        if trims {
            let rest = self.rest();
            self.advance(rest.len() - rest.trim_start_matches(is_space).len());
            self.ignore();
        }
        self.inside = false;
        token
    }

    fn inside_action(&mut self) -> Token<'s> {
        if self.at_right_delim().0 {
            if self.parens == 0 {
                return self.right_delim();
            }
            return self.fail("unclosed left paren");
        }
        let Some(c) = self.peek() else {
            return self.fail("unclosed action");
        };
        match c {
            c if is_space(c) => self.space(),
            '=' => self.single(Kind::Assign),
            ':' => {
                self.take();
                if self.take() != Some('=') {
                    return self.fail("expected :=");
                }
                self.emit(Kind::Declare)
            }
            '|' => self.single(Kind::Pipe),
            '"' => self.quote('"', Kind::String, "unterminated quoted string"),
            '\'' => self.quote('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw_quote(),
            '$' => {
                self.take();
                self.field_or_variable(Kind::Variable)
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit())
                && self.rest().len() > 1 =>
            {
                self.take();
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            c if is_word(c) => self.identifier(),
            '(' => {
                self.parens += 1;
                self.single(Kind::LeftParen)
            }
            ')' => {
                self.take();
                if self.parens == 0 {
                    return self.fail("unexpected right paren");
                }
                self.parens -= 1;
                self.emit(Kind::RightParen)
            }
            c if c.is_ascii() && text::is_print(c) => self.single(Kind::Char),
            c => {
                self.take();
                self.fail(format!(
                    "unrecognized character in action: {}",
                    code_point(c)
                ))
            }
        }
    }

    fn single(&mut self, kind: Kind) -> Token<'s> {
        self.take();
        self.emit(kind)
    }

    /// Reads a run of spaces; the one before a trimming `-}}` belongs to the delimiter.
    fn space(&mut self) -> Token<'s> {
        let run = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        let last = &self.rest()[run - 1..];
        if trims_right(last) && last[TRIM_MARKER..].starts_with(RIGHT) {
            if run == 1 {
                return self.right_delim();
            }
            self.advance(run - 1);
        } else {
            self.advance(run);
        }
        self.emit(Kind::Space)
    }

    fn identifier(&mut self) -> Token<'s> {
        self.take_while(is_word);
        if !self.at_terminator() {
            let bad = self.peek().map_or_else(String::new, code_point);
            return self.fail(format!("bad character {bad}"));
        }
        let kind = match &self.source[self.start..self.pos] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            word => keyword(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.emit(kind)
    }

    /// Reads `.name` or `$name`; the sign is passed.
    fn field_or_variable(&mut self, kind: Kind) -> Token<'s> {
        if self.at_terminator() {
            return self.emit(if kind == Kind::Variable {
                kind
            } else {
                Kind::Dot
            });
        }
        self.take_while(is_word);
        if !self.at_terminator() {
            let bad = self.peek().map_or_else(String::new, code_point);
            return self.fail(format!("bad character {bad}"));
        }
        self.emit(kind)
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with(RIGHT),
        }
    }

    fn quote(&mut self, mark: char, kind: Kind, unterminated: &str) -> Token<'s> {
        self.take();
        loop {
            match self.take() {
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.take();
                }
                None | Some('\n' | '\\') => return self.fail(unterminated),
                Some(c) if c == mark => return self.emit(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_quote(&mut self) -> Token<'s> {
        self.take();
        loop {
            match self.take() {
                None => return self.fail("unterminated raw quoted string"),
                Some('`') => return self.emit(Kind::RawString),
                Some(_) => {}
            }
        }
    }

    fn number(&mut self) -> Token<'s> {
        let mut kind = Kind::Number;
        let mut good = self.scan_number();
        if good && matches!(self.peek(), Some('+' | '-')) {
            // 1+2i: no spaces, and it ends in i.
            kind = Kind::Complex;
            good = self.scan_number() && self.source[..self.pos].ends_with('i');
        }
        if !good {
            let text = quoted(&self.source[self.start..self.pos]);
            return self.fail(format!("bad number syntax: {text}"));
        }
        self.emit(kind)
    }

    /// Passes what may be a number; the parser finds out whether it is one.
    fn scan_number(&mut self) -> bool {
        self.take_if(|c| matches!(c, '+' | '-'));
        let mut digits = "0123456789_";
        if self.take_if(|c| c == '0') {
            if self.take_if(|c| matches!(c, 'x' | 'X')) {
                digits = "0123456789abcdefABCDEF_";
            } else if self.take_if(|c| matches!(c, 'o' | 'O')) {
                digits = "01234567_";
            } else if self.take_if(|c| matches!(c, 'b' | 'B')) {
                digits = "01_";
            }
        }
        self.take_while(|c| digits.contains(c));
        if self.take_if(|c| c == '.') {
            self.take_while(|c| digits.contains(c));
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if self.take_if(|c| exponent.contains(c)) {
            self.take_if(|c| matches!(c, '+' | '-'));
            self.take_while(|c| c.is_ascii_digit() || c == '_');
        }
        self.take_if(|c| c == 'i');
        if self.peek().is_some_and(is_word) {
            self.take();
            return false;
        }
        true
    }
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return None,
    })
}

/// A code point as Go's `%#U` shows it.
fn code_point(c: char) -> String {
    if text::is_print(c) {
        format!("U+{:04X} '{c}'", c as u32)
    } else {
        format!("U+{:04X}", c as u32)
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || text::is_letter(c) || text::is_digit(c)
}

fn trims_left(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2 && bytes[0] == b'-' && is_space(char::from(bytes[1]))
}

fn trims_right(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2 && is_space(char::from(bytes[0])) && bytes[1] == b'-'
}

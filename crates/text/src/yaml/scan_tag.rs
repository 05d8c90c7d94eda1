//! Directives, anchors and tags: a port of the matching parts of go-yaml's scannerc.go.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use super::ParseError;
use super::chars::{is_alpha, width};
use super::scanner::{Mark, Scanner, TokenKind};

impl<'s> Scanner<'s> {
    pub(super) fn scan_directive(&mut self) -> Result<(), ParseError> {
        let start = self.mark;
        self.skip();
        let name = self.read_alpha();
        if name.is_empty() {
            return Err(self.error("expected a directive name after '%'"));
        }
        if !self.is_blank_or_end(0) {
            return Err(self.error("unexpected character in a directive name"));
        }
        let (kind, end) = match name {
            "YAML" => {
                self.skip_blanks();
                let major = self.scan_version_number()?;
                if self.byte(0) != b'.' {
                    return Err(self.error("expected a digit or '.' in the %YAML directive"));
                }
                self.skip();
                let minor = self.scan_version_number()?;
                (TokenKind::VersionDirective { major, minor }, self.mark)
            }
            "TAG" => {
                self.skip_blanks();
                let handle = self.scan_tag_handle(true)?;
                if !self.is_blank() {
                    return Err(
                        self.error("expected a blank after the handle of the %TAG directive")
                    );
                }
                self.skip_blanks();
                let prefix = self.scan_tag_uri("")?;
                if !self.is_blank_or_end(0) {
                    return Err(self.error("expected a line break after the %TAG directive"));
                }
                (TokenKind::TagDirective { handle, prefix }, self.mark)
            }
            _ => {
                return Err(ParseError::at(
                    self.source,
                    start.offset,
                    "unknown directive",
                ));
            }
        };
        self.skip_blanks();
        if self.byte(0) == b'#' {
            // go-yaml discards this comment.
            self.read_comment_line();
        }
        if !self.is_break_or_end() {
            return Err(self.error("expected a comment or line break after the directive"));
        }
        self.skip_line();
        self.push_until(kind, start, end);
        Ok(())
    }

    pub(super) fn scan_anchor(&mut self, alias: bool) -> Result<(), ParseError> {
        let start = self.mark;
        self.skip();
        let name = self.read_alpha();
        let follows = matches!(
            self.byte(0),
            b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`'
        );
        if name.is_empty() || !(follows || self.is_blank_or_end(0)) {
            let what = if alias { "an alias" } else { "an anchor" };
            return Err(self.error(&format!(
                "the name of {what} has letters, digits, '-' and '_' only"
            )));
        }
        let kind = if alias {
            TokenKind::Alias(name)
        } else {
            TokenKind::Anchor(name)
        };
        self.push(kind, start);
        Ok(())
    }

    pub(super) fn scan_tag(&mut self) -> Result<(), ParseError> {
        let start = self.mark;
        let (mut handle, mut suffix) = ("", String::new());
        if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            suffix = self.scan_tag_uri("")?;
            if self.byte(0) != b'>' {
                return Err(self.error("expected '>' at the end of the tag"));
            }
            self.skip();
        } else {
            let first = self.scan_tag_handle(false)?;
            if first.len() > 1 && first.ends_with('!') {
                handle = first;
                suffix = self.scan_tag_uri("")?;
            } else {
                // It wasn't a handle after all. Scan the rest of the tag. A tag of '!' alone has
                // no handle and the suffix '!'.
                let rest = self.scan_tag_uri(first)?;
                if rest.is_empty() {
                    suffix.push('!');
                } else {
                    (handle, suffix) = ("!", rest);
                }
            }
        }
        if !self.is_blank_or_end(0) {
            return Err(self.error("expected a blank or line break after the tag"));
        }
        self.push(TokenKind::Tag { handle, suffix }, start);
        Ok(())
    }

    fn push_until(&mut self, kind: TokenKind<'s>, start: Mark, end: Mark) {
        self.tokens
            .push_back(super::scanner::Token { kind, start, end });
    }

    fn skip_blanks(&mut self) {
        while self.is_blank() {
            self.skip();
        }
    }

    fn read_alpha(&mut self) -> &'s str {
        let start = self.mark.offset;
        while is_alpha(self.byte(0)) {
            self.skip();
        }
        &self.source[start..self.mark.offset]
    }

    fn scan_version_number(&mut self) -> Result<u8, ParseError> {
        let (mut value, mut length) = (0, 0);
        while self.byte(0).is_ascii_digit() {
            length += 1;
            if length > 2 {
                return Err(self.error("the version number in the %YAML directive is too long"));
            }
            value = value * 10 + (self.byte(0) - b'0');
            self.skip();
        }
        if length == 0 {
            return Err(self.error("expected a version number in the %YAML directive"));
        }
        Ok(value)
    }

    fn scan_tag_handle(&mut self, directive: bool) -> Result<&'s str, ParseError> {
        if self.byte(0) != b'!' {
            return Err(self.error("expected '!' at the start of the tag"));
        }
        let start = self.mark.offset;
        self.skip();
        self.read_alpha();
        if self.byte(0) == b'!' {
            self.skip();
        } else if directive && self.mark.offset - start != 1 {
            // In a tag it is part of the URI.
            return Err(self.error("expected '!' at the end of the tag handle"));
        }
        Ok(&self.source[start..self.mark.offset])
    }

    /// `head` was already read; its leading '!' is not copied.
    fn scan_tag_uri(&mut self, head: &str) -> Result<String, ParseError> {
        let mut uri = head.get(1..).unwrap_or_default().as_bytes().to_vec();
        let mut found = !head.is_empty();
        loop {
            let b = self.byte(0);
            if b == b'%' {
                self.scan_uri_escape(&mut uri)?;
            } else if is_alpha(b) || (b != 0 && b";/?:@&=+$,.!~*'()[]".contains(&b)) {
                uri.push(b);
                self.skip();
            } else {
                break;
            }
            found = true;
        }
        if !found {
            return Err(self.error("expected a tag"));
        }
        Ok(String::from_utf8_lossy(&uri).into_owned())
    }

    /// The escapes of one UTF-8 character.
    fn scan_uri_escape(&mut self, uri: &mut Vec<u8>) -> Result<(), ParseError> {
        let mut left = None;
        while left != Some(0) {
            let digits = (hex(self.byte(1)), hex(self.byte(2)));
            let (b'%', (Some(high), Some(low))) = (self.byte(0), digits) else {
                return Err(self.error("expected two hexadecimal digits after '%' in the tag"));
            };
            let octet = high << 4 | low;
            left = match left {
                None => match width(octet) {
                    0 => return Err(self.error("invalid UTF-8 in the tag's escapes")),
                    width => Some(width - 1),
                },
                Some(_) if octet & 0xc0 != 0x80 => {
                    return Err(self.error("invalid UTF-8 in the tag's escapes"));
                }
                Some(left) => Some(left - 1),
            };
            uri.push(octet);
            self.skip();
            self.skip();
            self.skip();
        }
        Ok(())
    }
}

/// The value of a hexadecimal digit.
pub(super) fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|digit| digit as u8)
}

//! Comments: a port of go-yaml's `yaml_parser_scan_line_comment` and `yaml_parser_scan_comments`.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use super::chars::{byte, is_blank, is_break, is_break_or_end};
use super::scanner::{CommentGroup, Mark, Piece, Scanner, TokenKind};

/// How far go-yaml looks ahead, in bytes of blanks and breaks.
const LOOKAHEAD: usize = 512;

impl Scanner<'_> {
    /// A line comment under a sequence entry that looks more like a header of what follows:
    ///
    /// ```yaml
    /// - # The comment
    ///   - Some data
    /// ```
    pub(super) fn turn_line_comment_into_head(&mut self) {
        let count = self.tokens.len();
        if count < 2 || self.is_break() {
            return;
        }
        let Some(comment) = self.comments.last_mut() else {
            return;
        };
        if comment.line.is_empty()
            || !matches!(self.tokens[count - 2].kind, TokenKind::BlockSequenceStart)
            || !matches!(self.tokens[count - 1].kind, TokenKind::BlockEntry)
        {
            return;
        }
        // If it was in the prior line, reposition so it becomes a header of the follow up token.
        // Otherwise, keep it in place so it becomes a header of the former.
        comment.head = std::mem::take(&mut comment.line);
        if comment.start_mark.line == self.mark.line - 1 {
            comment.token_mark = self.mark;
        }
    }

    /// The comment at the end of the line of the token that was just scanned.
    pub(super) fn scan_line_comment(&mut self, token_mark: Mark) {
        if self.newlines > 0 {
            return;
        }
        let ahead = (0..LOOKAHEAD).find(|ahead| !is_blank(self.byte(*ahead)));
        let Some(ahead) = ahead.filter(|ahead| self.byte(*ahead) == b'#') else {
            return;
        };
        for _ in 0..ahead {
            self.skip();
        }
        let start_mark = self.mark;
        let line = vec![self.read_comment_line()];
        self.comments.push(CommentGroup {
            token_mark,
            start_mark,
            line,
            ..CommentGroup::default()
        });
    }

    /// Comments on lines of their own, from the `#` at the current position on.
    pub(super) fn scan_comments(&mut self, mut scan_mark: Mark) {
        let count = self.tokens.len();
        let mut token = &self.tokens[count - 1];
        if matches!(token.kind, TokenKind::FlowEntry) && count > 1 {
            token = &self.tokens[count - 2];
        }
        let token_is_value = matches!(token.kind, TokenKind::Value);
        let mut token_mark = token.start;
        let mut start_mark = Mark::default();
        let mut next_indent = self.indent.max(0);

        let mut recent_empty = false;
        let mut first_empty = self.newlines <= 1;
        let mut line = self.mark.line;
        let mut column = self.mark.column;
        let mut text: Vec<Piece> = Vec::new();

        // The foot line is the place where a comment must start to still be considered as a foot
        // of the prior content. If there's some content in the currently parsed line, then the
        // foot is the line below it.
        let mut foot_line = -1;
        if scan_mark.line > 0 {
            foot_line = self.mark.line - self.newlines + 1;
            if self.newlines == 0 && self.mark.column > 1 {
                foot_line += 1;
            }
        }

        let mut peek = 0;
        while peek < LOOKAHEAD {
            let at = self.mark.offset + peek;
            let c = byte(self.bytes, at);
            column += 1;
            if is_blank(c) {
                peek += 1;
                continue;
            }
            let here = Mark {
                index: self.mark.index + peek as i64,
                line,
                column,
                offset: at,
            };
            let close_flow = self.flow_level > 0 && (c == b']' || c == b'}');
            if close_flow || is_break_or_end(self.bytes, at) {
                // Got line break or terminator.
                if close_flow || !recent_empty {
                    let dedented = start_mark.column - 1 < next_indent;
                    let foot = start_mark.line == foot_line && !token_is_value || dedented;
                    if close_flow || first_empty && foot {
                        // This is the first empty line and there were no empty lines before, so
                        // this initial part of the comment is a foot of the prior token instead
                        // of being a head for the following one. Split it up. Alternatively, this
                        // might also be the last comment inside a flow scope, so it must be a
                        // footer.
                        if !text.is_empty() {
                            if dedented {
                                // If dedented it's unrelated to the prior token.
                                token_mark = start_mark;
                            }
                            self.comments.push(CommentGroup {
                                scan_mark,
                                token_mark,
                                start_mark,
                                end_mark: here,
                                foot: std::mem::take(&mut text),
                                ..CommentGroup::default()
                            });
                            scan_mark = here;
                            token_mark = here;
                        }
                    } else if !text.is_empty() && c != 0 {
                        text.push(Piece::Break);
                    }
                }
                if !is_break(self.bytes, at) {
                    break;
                }
                first_empty = false;
                recent_empty = true;
                column = 0;
                line += 1;
                peek += 1;
                continue;
            }

            if !text.is_empty()
                && (close_flow || column - 1 < next_indent && column != start_mark.column)
            {
                // The comment at the different indentation is a foot of the preceding data rather
                // than a head of the upcoming one.
                self.comments.push(CommentGroup {
                    scan_mark,
                    token_mark,
                    start_mark,
                    end_mark: here,
                    foot: std::mem::take(&mut text),
                    ..CommentGroup::default()
                });
                scan_mark = here;
                token_mark = here;
            }

            if c != b'#' {
                break;
            }
            if text.is_empty() {
                start_mark = here;
            } else {
                text.push(Piece::Break);
            }
            recent_empty = false;

            // Consume until after the consumed comment line.
            while self.mark.offset < at {
                if self.is_break() {
                    self.skip_line();
                } else {
                    self.skip();
                }
            }
            text.push(self.read_comment_line());

            // As in go-yaml the line break that ends the comment is not looked at again.
            peek = 1;
            column = 0;
            line = self.mark.line;
            next_indent = self.indent.max(0);
        }

        if !text.is_empty() {
            self.comments.push(CommentGroup {
                scan_mark,
                token_mark: start_mark,
                start_mark,
                end_mark: Mark {
                    index: self.mark.index + peek as i64 - 1,
                    line,
                    column,
                    offset: self.mark.offset,
                },
                head: text,
                ..CommentGroup::default()
            });
        }
    }

    pub(super) fn read_comment_line(&mut self) -> Piece {
        let start = self.mark.offset;
        while !self.is_break_or_end() {
            self.skip();
        }
        self.comment_lines.push(start..self.mark.offset);
        Piece::Line(start..self.mark.offset)
    }
}

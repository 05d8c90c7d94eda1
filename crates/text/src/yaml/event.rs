//! Events: a port of go-yaml's parserc.go. Comments are joined to events here.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use std::borrow::Cow;
use std::ops::Range;

use super::scanner::{Mark, Piece, Scanner, Token, TokenKind};
use super::{Block, ParseError, Style};

// No Debug: it would show values.
pub(super) enum EventKind<'s> {
    StreamStart,
    StreamEnd,
    DocumentStart {
        marker: Option<Range<usize>>,
    },
    DocumentEnd {
        marker: Option<Range<usize>>,
    },
    Alias(&'s str),
    Scalar {
        value: Cow<'s, str>,
        style: Style,
        block: Option<Box<Block>>,
    },
    SequenceStart {
        flow: bool,
    },
    SequenceEnd,
    MappingStart {
        flow: bool,
    },
    MappingEnd,
}

pub(super) struct Event<'s> {
    pub(super) kind: EventKind<'s>,
    /// Where go-yaml says the node begins: at its tag or anchor.
    pub(super) start: Mark,
    /// The bytes of the content or of the indicator that begins or ends it.
    pub(super) span: Range<usize>,
    pub(super) anchor: Option<&'s str>,
    pub(super) tag: Option<String>,
    pub(super) properties: Option<Range<usize>>,
    pub(super) head: Vec<Piece>,
    pub(super) line: Vec<Piece>,
    pub(super) foot: Vec<Piece>,
}

impl<'s> Event<'s> {
    fn new(kind: EventKind<'s>, start: Mark, span: Range<usize>) -> Self {
        Self {
            kind,
            start,
            span,
            anchor: None,
            tag: None,
            properties: None,
            head: Vec::new(),
            line: Vec::new(),
            foot: Vec::new(),
        }
    }

    fn at_token(kind: EventKind<'s>, token: &Token<'_>) -> Self {
        Self::new(kind, token.start, token.start.offset..token.end.offset)
    }

    fn empty_scalar(mark: Mark) -> Self {
        let kind = EventKind::Scalar {
            value: Cow::Borrowed(""),
            style: Style::Plain,
            block: None,
        };
        Self::new(kind, mark, mark.offset..mark.offset)
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    StreamStart,
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockSequenceEntry { first: bool },
    IndentlessSequenceEntry,
    BlockMappingKey { first: bool },
    BlockMappingValue,
    FlowSequenceEntry { first: bool },
    FlowSequenceEntryMappingKey,
    FlowSequenceEntryMappingValue,
    FlowSequenceEntryMappingEnd,
    FlowMappingKey { first: bool },
    FlowMappingValue { empty: bool },
    End,
}

/// Turns tokens into events.
pub(super) struct EventParser<'s> {
    scanner: Scanner<'s>,
    state: State,
    states: Vec<State>,
    tag_directives: Vec<(String, String)>,
    head: Vec<Piece>,
    line: Vec<Piece>,
    foot: Vec<Piece>,
    stem: Option<Vec<Piece>>,
}

impl<'s> EventParser<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self {
            scanner: Scanner::new(source),
            state: State::StreamStart,
            states: Vec::new(),
            tag_directives: Vec::new(),
            head: Vec::new(),
            line: Vec::new(),
            foot: Vec::new(),
            stem: None,
        }
    }

    pub(super) fn next(&mut self) -> Result<Event<'s>, ParseError> {
        match self.state {
            State::StreamStart => {
                self.peek()?;
                self.state = State::ImplicitDocumentStart;
                let token = self.take();
                Ok(Event::at_token(EventKind::StreamStart, &token))
            }
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockSequenceEntry { first } => self.block_sequence_entry(first),
            State::IndentlessSequenceEntry => self.indentless_sequence_entry(),
            State::BlockMappingKey { first } => self.block_mapping_key(first),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequenceEntry { first } => self.flow_sequence_entry(first),
            State::FlowSequenceEntryMappingKey => self.flow_sequence_entry_mapping_key(),
            State::FlowSequenceEntryMappingValue => self.flow_sequence_entry_mapping_value(),
            State::FlowSequenceEntryMappingEnd => {
                let start = self.peek()?.start;
                self.state = State::FlowSequenceEntry { first: false };
                Ok(Event::new(
                    EventKind::MappingEnd,
                    start,
                    start.offset..start.offset,
                ))
            }
            State::FlowMappingKey { first } => self.flow_mapping_key(first),
            State::FlowMappingValue { empty } => self.flow_mapping_value(empty),
            State::End => {
                let mark = self.scanner.mark;
                Ok(Event::new(
                    EventKind::StreamEnd,
                    mark,
                    mark.offset..mark.offset,
                ))
            }
        }
    }

    /// Every comment line of the text.
    pub(super) fn comment_lines(&mut self) -> Vec<Range<usize>> {
        std::mem::take(&mut self.scanner.comment_lines)
    }

    /// The next token, with the comments before it joined to the pending ones.
    fn peek(&mut self) -> Result<&Token<'s>, ParseError> {
        self.scanner.peek()?;
        let token = &self.scanner.tokens[0];
        let is_block_end = matches!(token.kind, TokenKind::BlockEnd);
        while let Some(comment) = self.scanner.comments.get_mut(self.scanner.comments_head)
            && token.start.index >= comment.token_mark.index
        {
            if !comment.head.is_empty() {
                if is_block_end {
                    // No heads on ends, so keep comment.head for a follow up token.
                    break;
                }
                join(&mut self.head, &mut comment.head);
            }
            join(&mut self.foot, &mut comment.foot);
            join(&mut self.line, &mut comment.line);
            *comment = Default::default();
            self.scanner.comments_head += 1;
        }
        Ok(token)
    }

    fn take(&mut self) -> Token<'s> {
        self.scanner.take()
    }

    fn error(&self, mark: Mark, reason: &str) -> ParseError {
        ParseError::at(self.scanner.source, mark.offset, reason)
    }

    fn pop_state(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    fn set_comments(&mut self, event: &mut Event<'s>) {
        event.head = std::mem::take(&mut self.head);
        event.line = std::mem::take(&mut self.line);
        event.foot = std::mem::take(&mut self.foot);
        self.stem = None;
    }

    fn document_start(&mut self, implicit: bool) -> Result<Event<'s>, ParseError> {
        self.peek()?;
        if !implicit {
            while matches!(self.peek()?.kind, TokenKind::DocumentEnd) {
                self.take();
            }
        }
        let token = self.peek()?;
        let start = token.start;
        match token.kind {
            TokenKind::StreamEnd => {
                let token = self.take();
                self.state = State::End;
                Ok(Event::at_token(EventKind::StreamEnd, &token))
            }
            TokenKind::VersionDirective { .. }
            | TokenKind::TagDirective { .. }
            | TokenKind::DocumentStart => self.explicit_document_start(start),
            _ if !implicit => self.explicit_document_start(start),
            _ => {
                self.process_directives()?;
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                let kind = EventKind::DocumentStart { marker: None };
                let mut event = Event::new(kind, start, start.offset..start.offset);
                event.head = self.split_document_head();
                Ok(event)
            }
        }
    }

    fn explicit_document_start(&mut self, start: Mark) -> Result<Event<'s>, ParseError> {
        self.process_directives()?;
        let token = self.peek()?;
        let mark = token.start;
        if !matches!(token.kind, TokenKind::DocumentStart) {
            let reason = "expected the start of a document ('---'); is the indentation right?";
            return Err(self.error(mark, reason));
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        let token = self.take();
        let marker = token.start.offset..token.end.offset;
        let kind = EventKind::DocumentStart {
            marker: Some(marker.clone()),
        };
        Ok(Event::new(kind, start, marker))
    }

    /// [Go] Scan the header comment backwards, and if an empty line is found, break the header so
    /// the part before the last empty line goes into the document header, while the bottom of it
    /// goes into a follow up event.
    fn split_document_head(&mut self) -> Vec<Piece> {
        let head = &mut self.head;
        for i in (1..head.len()).rev() {
            if head[i] != Piece::Break {
                continue;
            }
            if i == head.len() - 1 {
                head.pop();
                return std::mem::take(head);
            }
            if head[i - 1] == Piece::Break {
                let rest = head.split_off(i + 1);
                head.truncate(i - 1);
                return std::mem::replace(head, rest);
            }
        }
        Vec::new()
    }

    fn document_content(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        let start = token.start;
        if matches!(
            token.kind,
            TokenKind::VersionDirective { .. }
                | TokenKind::TagDirective { .. }
                | TokenKind::DocumentStart
                | TokenKind::DocumentEnd
                | TokenKind::StreamEnd
        ) {
            self.pop_state();
            return Ok(Event::empty_scalar(start));
        }
        self.node(true, false)
    }

    fn document_end(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        let start = token.start;
        let marker = match token.kind {
            TokenKind::DocumentEnd => {
                let token = self.take();
                Some(token.start.offset..token.end.offset)
            }
            _ => None,
        };
        self.tag_directives.clear();
        self.state = State::DocumentStart;
        let kind = EventKind::DocumentEnd { marker };
        let mut event = Event::new(kind, start, start.offset..start.offset);
        self.set_comments(&mut event);
        if !event.head.is_empty() && event.foot.is_empty() {
            event.foot = std::mem::take(&mut event.head);
        }
        Ok(event)
    }

    fn node(&mut self, block: bool, indentless: bool) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        let start = token.start;
        if let TokenKind::Alias(name) = token.kind {
            self.pop_state();
            let span = token_span(&self.scanner.tokens[0]);
            let mut event = Event::new(EventKind::Alias(name), start, span);
            self.set_comments(&mut event);
            self.take();
            return Ok(event);
        }

        let (anchor, tag, properties) = self.properties()?;
        let explicit = anchor.is_some() || tag.is_some();
        let properties_end = properties.as_ref().map(|span| span.end);
        let token = self.peek()?;
        let (mark, span) = (token.start, token_span(token));
        let content = |kind: EventKind<'s>| Event {
            anchor,
            tag: tag.clone(),
            properties: properties.clone(),
            ..Event::new(kind, start, span.clone())
        };
        match &token.kind {
            TokenKind::BlockEntry if indentless => {
                self.state = State::IndentlessSequenceEntry;
                Ok(content(EventKind::SequenceStart { flow: false }))
            }
            TokenKind::Scalar { .. } => {
                self.pop_state();
                let placeholder = EventKind::SequenceEnd;
                let mut event = content(placeholder);
                self.set_comments(&mut event);
                if let TokenKind::Scalar {
                    value,
                    style,
                    block,
                } = self.take().kind
                {
                    event.kind = EventKind::Scalar {
                        value,
                        style,
                        block,
                    };
                }
                Ok(event)
            }
            TokenKind::FlowSequenceStart => {
                self.state = State::FlowSequenceEntry { first: true };
                let mut event = content(EventKind::SequenceStart { flow: true });
                self.set_comments(&mut event);
                Ok(event)
            }
            TokenKind::FlowMappingStart => {
                self.state = State::FlowMappingKey { first: true };
                let mut event = content(EventKind::MappingStart { flow: true });
                self.set_comments(&mut event);
                Ok(event)
            }
            TokenKind::BlockSequenceStart if block => {
                self.state = State::BlockSequenceEntry { first: true };
                let mut event = content(EventKind::SequenceStart { flow: false });
                event.head = self.stem.take().unwrap_or_default();
                Ok(event)
            }
            TokenKind::BlockMappingStart if block => {
                self.state = State::BlockMappingKey { first: true };
                let mut event = content(EventKind::MappingStart { flow: false });
                event.head = self.stem.take().unwrap_or_default();
                Ok(event)
            }
            _ if explicit => {
                let mut event = content(EventKind::Scalar {
                    value: Cow::Borrowed(""),
                    style: Style::Plain,
                    block: None,
                });
                let end = properties_end.unwrap_or(start.offset);
                event.span = end..end;
                self.pop_state();
                Ok(event)
            }
            _ => Err(self.error(mark, "expected a value")),
        }
    }

    /// Tag and anchor in either order.
    #[allow(clippy::type_complexity)]
    fn properties(
        &mut self,
    ) -> Result<(Option<&'s str>, Option<String>, Option<Range<usize>>), ParseError> {
        let (mut anchor, mut tag, mut span) = (None, None, None::<Range<usize>>);
        loop {
            let token = self.peek()?;
            match token.kind {
                TokenKind::Anchor(name) if anchor.is_none() => anchor = Some(name),
                TokenKind::Tag { .. } if tag.is_none() => {}
                _ => return Ok((anchor, tag, span)),
            }
            let token = self.take();
            span = Some(span.map_or(token.start.offset, |span| span.start)..token.end.offset);
            if let TokenKind::Tag { handle, suffix } = token.kind {
                tag = Some(self.resolve_tag(token.start, handle, suffix)?);
            }
            // libyaml takes each at most once, the second directly after the first.
            if anchor.is_some() && tag.is_some() {
                return Ok((anchor, tag, span));
            }
        }
    }

    fn resolve_tag(&self, mark: Mark, handle: &str, suffix: String) -> Result<String, ParseError> {
        if handle.is_empty() {
            return Ok(suffix);
        }
        match self
            .tag_directives
            .iter()
            .find(|(known, _)| known == handle)
        {
            Some((_, prefix)) => Ok(format!("{prefix}{suffix}")),
            None => Err(self.error(mark, "the tag's handle is not defined by a %TAG directive")),
        }
    }

    fn block_sequence_entry(&mut self, first: bool) -> Result<Event<'s>, ParseError> {
        if first {
            self.peek()?;
            self.take();
        }
        let token = self.peek()?;
        match token.kind {
            TokenKind::BlockEntry => {
                let mark = self.take_entry()?;
                let token = self.peek()?;
                if matches!(token.kind, TokenKind::BlockEntry | TokenKind::BlockEnd) {
                    self.state = State::BlockSequenceEntry { first: false };
                    return Ok(Event::empty_scalar(mark));
                }
                self.states.push(State::BlockSequenceEntry { first: false });
                self.node(true, false)
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                let token = self.take();
                Ok(Event::at_token(EventKind::SequenceEnd, &token))
            }
            _ => {
                let mark = token.start;
                Err(self.error(
                    mark,
                    "expected a list item ('- ') at the list's indentation",
                ))
            }
        }
    }

    fn indentless_sequence_entry(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        if matches!(token.kind, TokenKind::BlockEntry) {
            let mark = self.take_entry()?;
            let token = self.peek()?;
            if matches!(
                token.kind,
                TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
            ) {
                self.state = State::IndentlessSequenceEntry;
                return Ok(Event::empty_scalar(mark));
            }
            self.states.push(State::IndentlessSequenceEntry);
            return self.node(true, false);
        }
        let start = token.start;
        self.pop_state();
        Ok(Event::new(
            EventKind::SequenceEnd,
            start,
            start.offset..start.offset,
        ))
    }

    /// Takes a `-`. When a sequence or map is found under a sequence entry, the former head
    /// comment is assigned to the underlying sequence or map as a whole, not the individual
    /// sequence or map entry as would be expected otherwise: it is moved aside as the stem.
    fn take_entry(&mut self) -> Result<Mark, ParseError> {
        let stem_length = self.head.len();
        let mark = self.take().end;
        if stem_length == 0 {
            return Ok(mark);
        }
        let token = self.peek()?;
        if matches!(
            token.kind,
            TokenKind::BlockSequenceStart | TokenKind::BlockMappingStart
        ) {
            let mut rest = self.head.split_off(stem_length);
            if !rest.is_empty() {
                rest.remove(0);
            }
            self.stem = Some(std::mem::replace(&mut self.head, rest));
        }
        Ok(mark)
    }

    fn block_mapping_key(&mut self, first: bool) -> Result<Event<'s>, ParseError> {
        if first {
            self.peek()?;
            self.take();
        }
        let token = self.peek()?;
        match token.kind {
            TokenKind::Key => {
                let mark = self.take().end;
                let token = self.peek()?;
                if matches!(
                    token.kind,
                    TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
                ) {
                    self.state = State::BlockMappingValue;
                    return Ok(Event::empty_scalar(mark));
                }
                self.states.push(State::BlockMappingValue);
                self.node(true, true)
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                let span = token_span(&self.scanner.tokens[0]);
                let start = self.scanner.tokens[0].start;
                let mut event = Event::new(EventKind::MappingEnd, start, span);
                self.set_comments(&mut event);
                self.take();
                Ok(event)
            }
            _ => {
                let mark = token.start;
                Err(self.error(mark, "expected a key at the mapping's indentation"))
            }
        }
    }

    fn block_mapping_value(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        if !matches!(token.kind, TokenKind::Value) {
            let mark = token.start;
            self.state = State::BlockMappingKey { first: false };
            return Ok(Event::empty_scalar(mark));
        }
        let mark = self.take().end;
        let token = self.peek()?;
        if matches!(
            token.kind,
            TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd
        ) {
            self.state = State::BlockMappingKey { first: false };
            return Ok(Event::empty_scalar(mark));
        }
        self.states.push(State::BlockMappingKey { first: false });
        self.node(true, true)
    }

    fn flow_sequence_entry(&mut self, first: bool) -> Result<Event<'s>, ParseError> {
        if first {
            self.peek()?;
            self.take();
        }
        let token = self.peek()?;
        if !matches!(token.kind, TokenKind::FlowSequenceEnd) {
            if !first {
                let mark = token.start;
                if !matches!(token.kind, TokenKind::FlowEntry) {
                    return Err(self.error(mark, "expected ',' or ']'"));
                }
                self.take();
            }
            let token = self.peek()?;
            if matches!(token.kind, TokenKind::Key) {
                self.state = State::FlowSequenceEntryMappingKey;
                let token = self.take();
                return Ok(Event::at_token(
                    EventKind::MappingStart { flow: true },
                    &token,
                ));
            }
            if !matches!(token.kind, TokenKind::FlowSequenceEnd) {
                self.states.push(State::FlowSequenceEntry { first: false });
                return self.node(false, false);
            }
        }
        self.flow_end(EventKind::SequenceEnd)
    }

    fn flow_end(&mut self, kind: EventKind<'s>) -> Result<Event<'s>, ParseError> {
        self.pop_state();
        let token = &self.scanner.tokens[0];
        let mut event = Event::at_token(kind, token);
        self.set_comments(&mut event);
        self.take();
        Ok(event)
    }

    fn flow_sequence_entry_mapping_key(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        if !matches!(
            token.kind,
            TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
        ) {
            self.states.push(State::FlowSequenceEntryMappingValue);
            return self.node(false, false);
        }
        // As in go-yaml the token is taken, even where it is the ',' or ']'.
        let mark = self.take().end;
        self.state = State::FlowSequenceEntryMappingValue;
        Ok(Event::empty_scalar(mark))
    }

    fn flow_sequence_entry_mapping_value(&mut self) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        let mut mark = token.start;
        if matches!(token.kind, TokenKind::Value) {
            let value = self.take();
            let token = self.peek()?;
            if !matches!(
                token.kind,
                TokenKind::FlowEntry | TokenKind::FlowSequenceEnd
            ) {
                self.states.push(State::FlowSequenceEntryMappingEnd);
                return self.node(false, false);
            }
            mark = value.start;
        }
        self.state = State::FlowSequenceEntryMappingEnd;
        Ok(Event::empty_scalar(mark))
    }

    fn flow_mapping_key(&mut self, first: bool) -> Result<Event<'s>, ParseError> {
        if first {
            self.peek()?;
            self.take();
        }
        let token = self.peek()?;
        if !matches!(token.kind, TokenKind::FlowMappingEnd) {
            if !first {
                let mark = token.start;
                if !matches!(token.kind, TokenKind::FlowEntry) {
                    return Err(self.error(mark, "expected ',' or '}'"));
                }
                self.take();
            }
            let token = self.peek()?;
            if matches!(token.kind, TokenKind::Key) {
                self.take();
                let token = self.peek()?;
                if matches!(
                    token.kind,
                    TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMappingEnd
                ) {
                    let mark = token.start;
                    self.state = State::FlowMappingValue { empty: false };
                    return Ok(Event::empty_scalar(mark));
                }
                self.states.push(State::FlowMappingValue { empty: false });
                return self.node(false, false);
            }
            if !matches!(token.kind, TokenKind::FlowMappingEnd) {
                self.states.push(State::FlowMappingValue { empty: true });
                return self.node(false, false);
            }
        }
        self.flow_end(EventKind::MappingEnd)
    }

    fn flow_mapping_value(&mut self, empty: bool) -> Result<Event<'s>, ParseError> {
        let token = self.peek()?;
        let mut mark = token.start;
        if !empty && matches!(token.kind, TokenKind::Value) {
            self.take();
            let token = self.peek()?;
            mark = token.start;
            if !matches!(token.kind, TokenKind::FlowEntry | TokenKind::FlowMappingEnd) {
                self.states.push(State::FlowMappingKey { first: false });
                return self.node(false, false);
            }
        }
        self.state = State::FlowMappingKey { first: false };
        Ok(Event::empty_scalar(mark))
    }

    fn process_directives(&mut self) -> Result<(), ParseError> {
        let mut version = false;
        loop {
            let token = self.peek()?;
            let start = token.start;
            match token.kind {
                TokenKind::VersionDirective { major, minor } => {
                    if version {
                        return Err(self.error(start, "the %YAML directive is there twice"));
                    }
                    if (major, minor) != (1, 1) {
                        let reason =
                            "only '%YAML 1.1' is supported, as in sops; remove the directive";
                        return Err(self.error(start, reason));
                    }
                    version = true;
                    self.take();
                }
                TokenKind::TagDirective { .. } => {
                    let TokenKind::TagDirective { handle, prefix } = self.take().kind else {
                        continue;
                    };
                    if self.tag_directives.iter().any(|(known, _)| known == handle) {
                        return Err(
                            self.error(start, "the %TAG directive for this handle is there twice")
                        );
                    }
                    self.tag_directives.push((handle.to_owned(), prefix));
                }
                _ => break,
            }
        }
        for (handle, prefix) in [("!", "!"), ("!!", "tag:yaml.org,2002:")] {
            if !self.tag_directives.iter().any(|(known, _)| known == handle) {
                self.tag_directives
                    .push((handle.to_owned(), prefix.to_owned()));
            }
        }
        Ok(())
    }
}

fn token_span(token: &Token<'_>) -> Range<usize> {
    token.start.offset..token.end.offset
}

/// Appends a comment to pending ones, on a line of its own.
fn join(pending: &mut Vec<Piece>, comment: &mut Vec<Piece>) {
    if comment.is_empty() {
        return;
    }
    if !pending.is_empty() {
        pending.push(Piece::Break);
    }
    pending.append(comment);
}

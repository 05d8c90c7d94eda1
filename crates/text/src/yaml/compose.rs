//! The tree: a port of the `parser` type of go-yaml's decode.go, with a stack instead of calls.
//!
//! go-yaml v3.0.4, MIT and Apache-2.0, see `NOTICE`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::chars::first_forbidden;
use super::event::{Event, EventKind, EventParser};
use super::scanner::Piece;
use super::{Comment, Document, Kind, Limits, Node, NodeId, ParseError, Stream, Style, Syntax};

pub(super) fn compose<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> {
    if source.len() > limits.max_bytes {
        let reason = format!("the file is longer than {} bytes", limits.max_bytes);
        return Err(ParseError::at(source, 0, reason));
    }
    if source.starts_with("\u{feff}\0") || source.starts_with('\0') {
        return Err(ParseError::at(
            source,
            0,
            "the file is UTF-16 or UTF-32; save it as UTF-8",
        ));
    }
    if source.starts_with("\u{feff}\u{feff}") {
        // go-yaml would skip the first character of every line.
        let reason = "the file begins with two byte order marks; remove one";
        return Err(ParseError::at(source, 0, reason));
    }
    if let Some(at) = first_forbidden(source) {
        return Err(ParseError::at(
            source,
            at,
            "control characters are not allowed; use an escape in double quotes",
        ));
    }
    let composer = Composer {
        source,
        limits,
        events: EventParser::new(source),
        nodes: Vec::new(),
        sizes: Vec::new(),
        anchors: HashMap::new(),
        stack: Vec::new(),
        alias_size: 0,
    };
    composer.stream()
}

struct Composer<'a, 's> {
    source: &'s str,
    limits: &'a Limits,
    events: EventParser<'s>,
    nodes: Vec<Node<'s>>,
    /// Nodes of each subtree with aliases expanded; 0 while the node is not complete.
    sizes: Vec<u64>,
    anchors: HashMap<&'s str, NodeId>,
    stack: Vec<NodeId>,
    /// Nodes of the current document that come from aliases.
    alias_size: u64,
}

impl<'s> Composer<'_, 's> {
    fn stream(mut self) -> Result<Stream<'s>, ParseError> {
        let mut documents = Vec::new();
        let mut from = 0;
        loop {
            let event = self.events.next()?;
            match event.kind {
                EventKind::StreamEnd => break,
                EventKind::DocumentStart { .. } => {
                    let document = self.document(event, from)?;
                    from = document.span.end;
                    documents.push(document);
                }
                _ => {}
            }
        }
        let unattached = self.unattached(&documents);
        Ok(Stream {
            syntax: Syntax::Yaml,
            source: self.source,
            nodes: self.nodes,
            documents,
            limits: self.limits.clone(),
            unattached,
            passed_over: Vec::new(),
        })
    }

    fn unattached(&mut self, documents: &[Document]) -> Vec<Comment> {
        let lines = self.events.comment_lines();
        if lines.is_empty() {
            return Vec::new();
        }
        let of_nodes = self
            .nodes
            .iter()
            .flat_map(|node| node.head.iter().chain(&node.line).chain(&node.foot));
        let of_documents = documents
            .iter()
            .flat_map(|document| document.head.iter().chain(&document.foot));
        let attached: HashSet<usize> = of_nodes
            .chain(of_documents)
            .map(|comment| comment.span.start)
            .collect();
        let unattached = lines
            .into_iter()
            .filter(|span| !attached.contains(&span.start));
        unattached.map(Comment::at).collect()
    }

    fn document(&mut self, start: Event<'s>, from: usize) -> Result<Document, ParseError> {
        let content = NodeId(self.nodes.len() as u32);
        self.alias_size = 0;
        loop {
            let event = self.events.next()?;
            self.node_event(event)?;
            if self.stack.is_empty() {
                break;
            }
        }
        self.check_expansion(content)?;
        let end = self.events.next()?;
        let (end_at, end_marker) = match end.kind {
            EventKind::DocumentEnd {
                marker: Some(marker),
            } => (marker.end, Some(marker)),
            _ => (end.span.start.max(from), None),
        };
        let root = &self.nodes[content.index()];
        let empty = root.kind == Kind::Scalar && root.span.is_empty() && root.properties.is_none();
        let EventKind::DocumentStart { marker } = start.kind else {
            return Err(ParseError::at(
                self.source,
                start.span.start,
                "expected a document",
            ));
        };
        Ok(Document {
            root: (!empty).then_some(content),
            content,
            span: from..end_at,
            start: start.start.offset,
            start_marker: marker,
            end_marker,
            head: comments(&start.head),
            foot: comments(&end.foot),
        })
    }

    fn node_event(&mut self, event: Event<'s>) -> Result<(), ParseError> {
        let at = event.span.start;
        match event.kind {
            EventKind::SequenceStart { flow } => self.open(event, Kind::Sequence, flow),
            EventKind::MappingStart { flow } => self.open(event, Kind::Mapping, flow),
            EventKind::SequenceEnd | EventKind::MappingEnd => {
                self.close(&event);
                Ok(())
            }
            EventKind::Alias(name) => {
                let Some(&target) = self.anchors.get(name) else {
                    return Err(ParseError::at(
                        self.source,
                        at,
                        "the alias has no anchor before it",
                    ));
                };
                let size = self.sizes[target.index()];
                if size == 0 {
                    let reason = "the anchored value contains an alias to itself";
                    return Err(ParseError::at(self.source, at, reason));
                }
                self.alias_size = self.alias_size.saturating_add(size);
                let id = self.add(event, Kind::Alias, Style::Plain, Cow::Borrowed(name))?;
                self.nodes[id.index()].target = Some(target);
                self.complete(id, size.saturating_add(1));
                Ok(())
            }
            EventKind::Scalar { .. } => {
                let mut event = event;
                let kind = std::mem::replace(&mut event.kind, EventKind::SequenceEnd);
                let EventKind::Scalar {
                    value,
                    style,
                    block,
                } = kind
                else {
                    return Ok(());
                };
                let id = self.add(event, Kind::Scalar, style, value)?;
                self.nodes[id.index()].block = block;
                self.complete(id, 1);
                Ok(())
            }
            _ => Err(ParseError::at(self.source, at, "expected a value")),
        }
    }

    fn add(
        &mut self,
        event: Event<'s>,
        kind: Kind,
        style: Style,
        value: Cow<'s, str>,
    ) -> Result<NodeId, ParseError> {
        if self.nodes.len() >= self.limits.max_nodes.min(u32::MAX as usize) {
            let reason = format!("the file has more than {} values", self.limits.max_nodes);
            return Err(ParseError::at(self.source, event.span.start, reason));
        }
        let id = NodeId(self.nodes.len() as u32);
        if let Some(anchor) = event.anchor {
            self.anchors.insert(anchor, id);
        }
        self.nodes.push(Node {
            kind,
            style,
            tag: event.tag.map(Cow::Owned),
            anchor: event.anchor,
            value,
            span: event.span,
            properties: event.properties,
            children: Vec::new(),
            target: None,
            parent: self.stack.last().copied(),
            block: None,
            head: comments(&event.head),
            line: comments(&event.line),
            foot: comments(&event.foot),
            start: (event.start.line as usize, event.start.column as usize),
        });
        self.sizes.push(0);
        if let Some(parent) = self.stack.last() {
            self.nodes[parent.index()].children.push(id);
        }
        Ok(id)
    }

    fn open(&mut self, event: Event<'s>, kind: Kind, flow: bool) -> Result<(), ParseError> {
        if self.stack.len() >= self.limits.max_depth {
            let reason = format!("nested more than {} deep", self.limits.max_depth);
            return Err(ParseError::at(self.source, event.span.start, reason));
        }
        let style = if flow { Style::Flow } else { Style::Block };
        let id = self.add(event, kind, style, Cow::Borrowed(""))?;
        self.stack.push(id);
        Ok(())
    }

    fn close(&mut self, event: &Event<'s>) {
        let Some(id) = self.stack.pop() else { return };
        let node = &self.nodes[id.index()];
        let size = node.children.iter().fold(1_u64, |sum, child| {
            sum.saturating_add(self.sizes[child.index()])
        });
        let last = node.children.last().map(|child| {
            let child = &self.nodes[child.index()];
            child
                .properties
                .as_ref()
                .map_or(0, |span| span.end)
                .max(child.span.end)
        });
        let node = &mut self.nodes[id.index()];
        node.line = comments(&event.line);
        node.foot = comments(&event.foot);
        let closing = node.style == Style::Flow && !event.span.is_empty();
        node.span.end = if closing {
            event.span.end
        } else {
            last.unwrap_or(node.span.end)
        };
        if node.kind == Kind::Mapping
            && node.style == Style::Block
            && !node.foot.is_empty()
            && node.children.len() > 1
        {
            let key = node.children[node.children.len() - 2];
            let foot = std::mem::take(&mut node.foot);
            self.nodes[key.index()].foot = foot;
        }
        self.complete(id, size);
    }

    /// The rules of go-yaml's `mapping` for foot comments of keys and values.
    fn complete(&mut self, id: NodeId, size: u64) {
        self.sizes[id.index()] = size.max(1);
        let Some(&parent) = self.stack.last() else {
            return;
        };
        let parent = &self.nodes[parent.index()];
        if parent.kind != Kind::Mapping {
            return;
        }
        let count = parent.children.len();
        let is_key = count % 2 == 1;
        if is_key {
            if parent.style == Style::Block && count > 2 && !self.nodes[id.index()].foot.is_empty()
            {
                // Must be a foot comment for the prior value when being dedented.
                let prior = parent.children[count - 3];
                let foot = std::mem::take(&mut self.nodes[id.index()].foot);
                self.nodes[prior.index()].foot = foot;
            }
        } else {
            let key = parent.children[count - 2];
            if self.nodes[key.index()].foot.is_empty() {
                let foot = std::mem::take(&mut self.nodes[id.index()].foot);
                self.nodes[key.index()].foot = foot;
            }
        }
    }

    /// Refuses what go-yaml's decoder calls excessive aliasing (decode.go, `allowedAliasRatio`),
    /// and anything beyond the limit.
    fn check_expansion(&self, content: NodeId) -> Result<(), ParseError> {
        let total = self.sizes[content.index()];
        let aliased = self.alias_size;
        let ratio = aliased as f64 / total.max(1) as f64;
        let allowed = match total {
            ..=400_000 => 0.99,
            4_000_000.. => 0.10,
            _ => 0.99 - 0.89 * ((total - 400_000) as f64 / 3_600_000.0),
        };
        let excessive = aliased > 100 && total > 1_000 && ratio > allowed;
        if excessive || aliased > 0 && total > self.limits.max_alias_expansion as u64 {
            let at = self.nodes[content.index()].span.start;
            return Err(ParseError::at(
                self.source,
                at,
                "excessive aliasing: the document is too large with its aliases expanded",
            ));
        }
        Ok(())
    }
}

/// The lines of a comment; blank lines between them carry nothing.
fn comments(pieces: &[Piece]) -> Vec<Comment> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Line(span) => Some(Comment::at(span.clone())),
            Piece::Break => None,
        })
        .collect()
}

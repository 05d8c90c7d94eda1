//! The parsed stream: documents, nodes in one arena, comments as byte spans.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use crate::value::Scalar;
use crate::{ParseError, ResolveError, ini, json, yaml};

/// What a [`Stream`] was parsed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// [`crate::yaml::parse`].
    Yaml,
    /// [`crate::json::parse`].
    Json,
    /// [`crate::dotenv::parse`].
    Dotenv,
    /// [`crate::ini::parse`].
    Ini,
}

/// Bounds on what the parsers take. Lengths are in bytes, counts in nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Deepest nesting of collections. go-yaml itself stops at 10,000.
    pub max_depth: usize,
    /// Longest source text, in bytes.
    pub max_bytes: usize,
    /// Most nodes in all documents together, aliases counted as one.
    pub max_nodes: usize,
    /// Most nodes of one document after every alias is replaced by its copy.
    pub max_alias_expansion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_depth: 2_000,
            max_bytes: 256 << 20,
            max_nodes: 20_000_000,
            max_alias_expansion: 4_000_000,
        }
    }
}

/// The place of a node in its [`Stream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The position in the stream's arena: nodes are numbered in source order, parents first.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Keys and values, alternating in [`Node::children`].
    Mapping,
    /// Items.
    Sequence,
    /// Text.
    Scalar,
    /// A reference to an anchored node.
    Alias,
}

/// How a node is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// Collection by indentation.
    Block,
    /// Collection in braces or brackets.
    Flow,
    /// Scalar without quotes; also aliases.
    Plain,
    /// `'text'`.
    SingleQuoted,
    /// `"text"`.
    DoubleQuoted,
    /// `|`.
    Literal,
    /// `>`.
    Folded,
}

/// One comment: from `#` (in INI files also `;`) to before the line break. In YAML and dotenv files one line;
/// in INI files all the lines that stand together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Comment {
    /// Where the comment is, its `#` included. In an INI file that of its last part: a comment may
    /// stand above a key and go on behind its value.
    pub span: Range<usize>,
    /// In an INI file the lines above that are part of the comment, where `span` is behind the
    /// header or value.
    pub(crate) above: Option<Range<usize>>,
    /// In an INI file where the line of the header or key begins that `span` is behind.
    pub(crate) owner: Option<usize>,
}

impl Comment {
    /// A comment in one piece.
    pub(crate) fn at(span: Range<usize>) -> Self {
        let (above, owner) = (None, None);
        Self { span, above, owner }
    }
}

/// What a block scalar does with the line breaks at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chomping {
    /// `-`: none is kept.
    Strip,
    /// No indicator: one is kept.
    Clip,
    /// `+`: all are kept.
    Keep,
}

/// How a block scalar is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The indicators, from `|` or `>` to before blanks, comment or line break.
    pub header: Range<usize>,
    /// The chomping indicator.
    pub chomping: Chomping,
    /// The indentation indicator, 1 to 9.
    pub indicator: Option<u8>,
    /// Column where the text's lines begin, 0-based.
    pub indent: usize,
    /// Column of the collection that holds the scalar; -1 at the root.
    pub parent: i32,
    /// The text reaches the end of the source and its last line has no line break.
    pub open: bool,
}

/// One node.
#[derive(Clone)]
pub struct Node<'s> {
    /// What it is.
    pub kind: Kind,
    /// How it is written.
    pub style: Style,
    /// The explicit tag with its handle resolved (`tag:yaml.org,2002:str`, `!foo`, `!`).
    pub tag: Option<Cow<'s, str>>,
    /// The anchor's name.
    pub anchor: Option<&'s str>,
    /// The decoded text of a scalar, the name of an alias, else empty.
    pub value: Cow<'s, str>,
    /// The node without tag and anchor. Quotes are inside. A block scalar reaches from its header
    /// to before the line break of its last line (with `+`, of its last blank line). A block
    /// collection reaches from its first to its last child. An empty node is an empty range.
    pub span: Range<usize>,
    /// Tag and anchor, with what is between them.
    pub properties: Option<Range<usize>>,
    /// Items, or key, value, key, value.
    pub children: Vec<NodeId>,
    /// The node an alias points to.
    pub target: Option<NodeId>,
    /// The node that holds this one; `None` for the content of a document.
    pub parent: Option<NodeId>,
    /// How a block scalar is laid out.
    pub block: Option<Box<Block>>,
    /// go-yaml's `HeadComment`.
    pub head: Vec<Comment>,
    /// go-yaml's `LineComment`.
    pub line: Vec<Comment>,
    /// go-yaml's `FootComment`.
    pub foot: Vec<Comment>,
    /// Where go-yaml puts `Line` and `Column` (tag and anchor included): byte offset, 0-based
    /// line and 0-based column in characters.
    pub(crate) start: (usize, usize),
}

impl Node<'_> {
    /// 1-based line as go-yaml's `Node.Line`.
    #[must_use]
    pub fn line_number(&self) -> usize {
        self.start.0 + 1
    }

    /// 1-based column in characters as go-yaml's `Node.Column`.
    #[must_use]
    pub fn column_number(&self) -> usize {
        self.start.1 + 1
    }
}

impl fmt::Debug for Node<'_> {
    /// Leaves the text out, which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("kind", &self.kind)
            .field("style", &self.style)
            .field("span", &self.span)
            .field("children", &self.children)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// One document.
#[derive(Debug, Clone)]
pub struct Document {
    /// The root node; `None` when the document is empty.
    pub root: Option<NodeId>,
    /// The root node, an empty scalar when the document is empty.
    pub content: NodeId,
    /// From the first byte after the previous document's end to the end of this one, markers
    /// included. The spans of all documents are disjoint and in order.
    pub span: Range<usize>,
    /// Where go-yaml says the document begins: the first directive, else `---`, else the content.
    pub start: usize,
    /// `---`.
    pub start_marker: Option<Range<usize>>,
    /// `...`.
    pub end_marker: Option<Range<usize>>,
    /// go-yaml's `HeadComment` of the document.
    pub head: Vec<Comment>,
    /// go-yaml's `FootComment` of the document.
    pub foot: Vec<Comment>,
}

/// A parsed stream.
#[derive(Clone)]
pub struct Stream<'s> {
    pub(crate) syntax: Syntax,
    pub(crate) source: &'s str,
    pub(crate) nodes: Vec<Node<'s>>,
    pub(crate) documents: Vec<Document>,
    pub(crate) limits: Limits,
    pub(crate) unattached: Vec<Comment>,
    pub(crate) passed_over: Vec<Range<usize>>,
}

impl fmt::Debug for Stream<'_> {
    /// Leaves the source out, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("documents", &self.documents)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// Builds the tree of a format other than YAML: one document, nodes in source order.
pub(crate) struct Builder<'a, 's> {
    source: &'s str,
    limits: &'a Limits,
    nodes: Vec<Node<'s>>,
    /// Offset, 0-based line and 0-based column of the node that was added last.
    last: (usize, usize, usize),
}

impl<'a, 's> Builder<'a, 's> {
    /// Fails when the source is longer than the limits allow.
    pub(crate) fn new(source: &'s str, limits: &'a Limits) -> Result<Self, ParseError> {
        if source.len() > limits.max_bytes {
            let reason = format!("the file is longer than {} bytes", limits.max_bytes);
            return Err(ParseError::at(source, 0, reason));
        }
        let nodes = Vec::new();
        let last = (0, 0, 0);
        Ok(Self {
            source,
            limits,
            nodes,
            last,
        })
    }

    /// Adds a node behind all others, as the last child of `parent`.
    pub(crate) fn add(
        &mut self,
        parent: Option<NodeId>,
        kind: Kind,
        style: Style,
        value: Cow<'s, str>,
        span: Range<usize>,
    ) -> Result<NodeId, ParseError> {
        if self.nodes.len() >= self.limits.max_nodes.min(u32::MAX as usize) {
            let reason = format!("the file has more than {} values", self.limits.max_nodes);
            return Err(ParseError::at(self.source, span.start, reason));
        }
        let (offset, mut line, mut column) = self.last;
        let passed = self.source.get(offset..span.start).unwrap_or_default();
        for c in passed.chars() {
            (line, column) = if c == '\n' {
                (line + 1, 0)
            } else {
                (line, column + 1)
            };
        }
        self.last = (span.start.max(offset), line, column);
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node {
            kind,
            style,
            tag: None,
            anchor: None,
            value,
            span,
            properties: None,
            children: Vec::new(),
            target: None,
            parent,
            block: None,
            head: Vec::new(),
            line: Vec::new(),
            foot: Vec::new(),
            start: (line, column),
        });
        if let Some(parent) = parent {
            self.nodes[parent.index()].children.push(id);
        }
        Ok(id)
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Node<'s> {
        &mut self.nodes[id.index()]
    }

    /// The stream whose one document has the first node as its root.
    pub(crate) fn finish(
        self,
        syntax: Syntax,
        foot: Vec<Comment>,
        unattached: Vec<Comment>,
    ) -> Stream<'s> {
        let document = Document {
            root: Some(NodeId(0)),
            content: NodeId(0),
            span: 0..self.source.len(),
            start: 0,
            start_marker: None,
            end_marker: None,
            head: Vec::new(),
            foot,
        };
        Stream {
            syntax,
            source: self.source,
            nodes: self.nodes,
            documents: vec![document],
            limits: self.limits.clone(),
            unattached,
            passed_over: Vec::new(),
        }
    }
}

/// Two keys of one mapping that go-yaml's decoder takes for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateKey {
    /// The earlier key.
    pub first: NodeId,
    /// The later key.
    pub second: NodeId,
}

impl<'s> Stream<'s> {
    /// The documents in order. A stream of comments only has none.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The node of an id that this stream gave out.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node<'s> {
        &self.nodes[id.index()]
    }

    /// All nodes in source order, parents before children.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node<'s>)> {
        (0..).map(NodeId).zip(self.nodes.iter())
    }

    /// The text that was parsed.
    #[must_use]
    pub fn source(&self) -> &'s str {
        self.source
    }

    /// What the source was parsed as.
    #[must_use]
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The text of a comment without its marker. A comment of an INI file may have several lines.
    #[must_use]
    pub fn comment_text(&self, comment: &Comment) -> Cow<'s, str> {
        match self.syntax {
            Syntax::Ini => ini::comment_text(self.source, comment),
            _ => Cow::Borrowed(&self.source[comment.span.start + 1..comment.span.end]),
        }
    }

    /// What a scalar means: for YAML what go-yaml v3 decodes it to, its explicit tag included, and
    /// an alias stands for its target; for JSON what sops 3.13.3 takes it for; the values of dotenv
    /// and INI files are strings. Collections are an error.
    pub fn resolve(&self, id: NodeId) -> Result<Scalar<'_>, ResolveError> {
        match self.syntax {
            Syntax::Yaml => yaml::resolve(self, id),
            Syntax::Json => json::resolve(self, id),
            Syntax::Dotenv | Syntax::Ini => match self.node(id) {
                node if node.kind == Kind::Scalar => Ok(Scalar::Str(Cow::Borrowed(&node.value))),
                node => Err(ResolveError::not_a_scalar(node)),
            },
        }
    }

    /// The comments that go-yaml reads and attributes to no node (behind `[` or `{`, in a directive,
    /// replaced by a later foot comment, in a stream without documents), in source order.
    #[must_use]
    pub fn unattached_comments(&self) -> &[Comment] {
        &self.unattached
    }

    /// Text that no reader takes in, in source order: what stands behind a closing quote or bracket in
    /// an INI file (ini.v1 drops it) and is neither blank nor a comment.
    #[must_use]
    pub fn passed_over(&self) -> &[Range<usize>] {
        &self.passed_over
    }

    /// The 1-based line and column, in characters, of a byte offset.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        crate::error::line_column(self.source, offset)
    }

    /// The 0-based column, in characters, of a byte offset.
    pub(crate) fn column(&self, offset: usize) -> usize {
        let before = &self.source[..offset];
        let line = before.rfind(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        let line = line.map_or(before, |at| &before[at..]);
        let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];
        line.trim_start_matches(breaks).chars().count()
    }

    /// Entries of a mapping as (key, value); empty for other nodes.
    pub fn entries(&self, mapping: NodeId) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let node = self.node(mapping);
        let children: &[NodeId] = match node.kind {
            Kind::Mapping => &node.children,
            _ => &[],
        };
        children.chunks_exact(2).map(|pair| (pair[0], pair[1]))
    }

    /// The node itself, or what an alias points to.
    #[must_use]
    pub fn target(&self, id: NodeId) -> NodeId {
        self.node(id).target.unwrap_or(id)
    }

    /// The first pair of keys that go-yaml's decoder refuses as duplicates, anywhere in a
    /// document: same kind and same text, whatever their tags (decode.go, `mapping`). `None` for
    /// other formats: sops keeps every entry of theirs.
    #[must_use]
    pub fn duplicate_key(&self, document: usize) -> Option<DuplicateKey> {
        if self.syntax != Syntax::Yaml {
            return None;
        }
        let mut pending = vec![self.documents.get(document)?.content];
        while let Some(id) = pending.pop() {
            let mut seen = HashMap::new();
            for (key, _) in self.entries(id) {
                let node = self.node(key);
                if let Some(first) = seen.insert((node.kind, node.value.as_ref()), key) {
                    return Some(DuplicateKey { first, second: key });
                }
            }
            pending.extend(self.node(id).children.iter().rev());
        }
        None
    }
}

/// Decoded text that is no borrow of the source is cleared.
impl Drop for Stream<'_> {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Cow::Owned(text) = &mut node.value {
                zeroize::Zeroize::zeroize(text);
            }
        }
    }
}

//! The leaves of a file in the order sops walks them, each with its path and whether the rule
//! selects it (sops-format.md 1, 3, 4, 11.3).
//!
//! Comments are leaves: the order in which a node's head, line and foot comments come, and the
//! container each belongs to, decide the additional authenticated data and the active comments, so
//! this file follows `stores/yaml/store.go` of sops 3.13 step by step.

use std::borrow::Cow;
use std::cell::Cell;

use selkie_text::yaml::{Comment, Kind, Node, NodeId, Scalar, Stream};

use crate::metadata_tree::is_metadata_key;
use crate::selection::{Scope, Selection};
use crate::value::Value;

/// The key of the metadata block.
pub(crate) const SOPS_KEY: &str = "sops";

/// How many leaves beneath aliases are visited before a file counts as an alias bomb.
const MAX_ALIASED_LEAVES: usize = 1_000_000;

/// How many containers above its own a comment is looked for in (see [`Leaf::other_aads`]).
const MAX_ANCESTORS: usize = 16;
/// How many comments of a file may be looked for in vain.
const MAX_LOST_COMMENTS: usize = 200;

/// Why a file is not a tree that sops could hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// No document at all.
    #[error("the file holds no YAML document; there is nothing to encrypt or decrypt")]
    Empty,
    /// A document is a list or a single value.
    #[error("line {line}: the document is {what}, but a SOPS file needs a mapping at the top")]
    TopLevel {
        /// Line of the document's first byte.
        line: usize,
        /// "a list" or "a single value".
        what: &'static str,
    },
    /// A key is not a string (sops-format.md 1).
    #[error(
        "line {line}: a key under {path} is not a string; SOPS files have only string keys, \
         so put it in quotes"
    )]
    KeyNotString {
        /// Line of the key.
        line: usize,
        /// Path of the mapping.
        path: String,
    },
    /// A value does not fit its tag.
    #[error("line {line}: {path}: the value does not fit its tag")]
    Tag {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// An integer above the signed 64-bit range (sops-format.md 11.2).
    #[error(
        "line {line}: {path}: the number is above 9223372036854775807, which sops cannot hold; \
         put it in quotes"
    )]
    TooLarge {
        /// Line of the value.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// Text behind the closing quotes of an INI value, which ini.v1 drops: it would stay in clear.
    #[error(
        "line {line}: {path}: there is text behind the closing quotes of the value, which would stay \
         in clear (and which no reader sees); remove it or put it into the quotes"
    )]
    TextBehind {
        /// Line of the text.
        line: usize,
        /// Path of the value.
        path: String,
    },
    /// An alias stands inside what it names.
    #[error("line {line}: {path}: the alias stands inside the value that it repeats")]
    AliasCycle {
        /// Line of the alias.
        line: usize,
        /// Path of the alias.
        path: String,
    },
    /// Aliases of aliases multiply beyond all use.
    #[error(
        "line {line}: the aliases of this file unfold to more than {MAX_ALIASED_LEAVES} values"
    )]
    TooManyAliases {
        /// Line of the alias where the bound was met.
        line: usize,
    },
}

/// One element of a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A mapping key, by its node.
    Key(NodeId),
    /// A position in a sequence, counting items only.
    Index(usize),
}

/// What a leaf is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'w> {
    Comment(&'w Comment),
    Scalar(NodeId),
}

/// A leaf, as a walk meets it.
pub(crate) struct Leaf<'w> {
    pub(crate) what: What<'w>,
    /// The additional authenticated data (sops-format.md 3).
    pub(crate) aad: &'w str,
    /// The same of the container that was left last, for comments that another version of go-yaml
    /// would put there (sops-format.md 11.3).
    pub(crate) previous: &'w str,
    pub(crate) selected: bool,
    /// The outermost alias that the leaf is met through.
    pub(crate) alias: Option<NodeId>,
    /// Whether the container is a sequence.
    pub(crate) in_sequence: bool,
    steps: &'w [Step],
    stream: &'w Stream<'w>,
    /// How many comments may still be looked for in vain.
    lost: &'w Cell<usize>,
}

impl Leaf<'_> {
    /// Returns the path for messages: `data.password`, `list[0].x`.
    pub(crate) fn path(&self) -> String {
        path_text(self.stream, self.steps)
    }

    /// Returns the 1-based line of the leaf.
    pub(crate) fn line(&self) -> usize {
        match self.what {
            What::Comment(comment) => self.stream.line_column(comment.span.start).0,
            What::Scalar(node) => line_of(self.stream, node),
        }
    }

    /// Returns, for a comment that does not open under its own path, what other versions of go-yaml
    /// would take for it (sops-format.md 11.3): the paths of the containers above, nearest first,
    /// and of the one that was left last.
    ///
    /// Bounded, or a deep file of comments that were made up would take hours: so many containers,
    /// and nothing more once [`Self::is_lost`] was told of too many comments.
    pub(crate) fn other_aads(&self) -> Vec<&str> {
        if self.lost.get() == 0 {
            return Vec::new();
        }
        let mut aads = Vec::new();
        let mut aad = self.aad;
        for step in self.steps.iter().rev() {
            let Step::Key(key) = step else {
                continue;
            };
            if aads.len() == MAX_ANCESTORS {
                aads.push(":");
                break;
            }
            let key = key_text(self.stream, *key).unwrap_or_default();
            let above = aad
                .strip_suffix(':')
                .and_then(|aad| aad.strip_suffix(&*key));
            let Some(above) = above else {
                break;
            };
            aad = above;
            aads.push(if above.is_empty() { ":" } else { above });
        }
        aads.push(self.previous);
        aads
    }

    /// Tells that the comment opened under none of [`Self::other_aads`].
    pub(crate) fn is_lost(&self) {
        self.lost.set(self.lost.get().saturating_sub(1));
    }
}

/// Visits every leaf of every document in sops's order; a top-level `sops` value is left out.
pub(crate) fn walk<'s, E: From<TreeError>>(
    stream: &Stream<'s>,
    rule: &Selection,
    mut visit: impl FnMut(Leaf<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if stream.documents().is_empty() {
        return Err(TreeError::Empty.into());
    }
    let lost = Cell::new(MAX_LOST_COMMENTS);
    for document in 0..stream.documents().len() {
        Walk {
            stream,
            rule,
            document,
            aad: String::new(),
            previous: String::new(),
            steps: Vec::new(),
            frames: Vec::new(),
            aliased: 0,
            lost: &lost,
        }
        .document(&mut visit)?;
    }
    Ok(())
}

/// Returns the value of a scalar, or `None` for null.
pub(crate) fn value_of<'n>(
    stream: &'n Stream<'_>,
    node: NodeId,
    path: impl Fn() -> String,
) -> Result<Option<Value<'n>>, TreeError> {
    let line = || line_of(stream, node);
    let scalar = stream.resolve(node).map_err(|_| TreeError::Tag {
        line: line(),
        path: path(),
    })?;
    Ok(Some(match scalar {
        Scalar::Null => return Ok(None),
        Scalar::Bool(value) => Value::Bool(value),
        Scalar::Int(value) => Value::Int(value),
        Scalar::Uint(value) => match i64::try_from(value) {
            Ok(value) => Value::Int(value),
            Err(_) => {
                return Err(TreeError::TooLarge {
                    line: line(),
                    path: path(),
                });
            }
        },
        Scalar::Float(value) => Value::Float(value),
        Scalar::Timestamp(time) => Value::Time(time.rfc3339),
        Scalar::Str(Cow::Borrowed(text)) => Value::Str(Cow::Borrowed(text.as_bytes())),
        Scalar::Str(Cow::Owned(text)) => Value::Str(Cow::Owned(text.into_bytes())),
        Scalar::Merge => Value::Str(Cow::Borrowed(b"<<")),
        Scalar::Binary(bytes) => Value::Str(Cow::Owned(bytes)),
    }))
}

/// Returns the text of a key, or `None` when it is not a string.
pub(crate) fn key_text<'n>(stream: &'n Stream<'_>, key: NodeId) -> Option<Cow<'n, str>> {
    let key = stream.target(key);
    if stream.node(key).kind != Kind::Scalar {
        return None;
    }
    match stream.resolve(key).ok()? {
        Scalar::Str(text) => Some(text),
        Scalar::Merge => Some(Cow::Borrowed("<<")),
        Scalar::Binary(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        _ => None,
    }
}

/// Returns the value node under `key` of a mapping (the first one), following an alias.
pub(crate) fn member(stream: &Stream<'_>, mapping: NodeId, key: &str) -> Option<NodeId> {
    stream
        .entries(mapping)
        .find(|(name, _)| key_text(stream, *name).is_some_and(|text| text == key))
        .map(|(_, value)| stream.target(value))
}

/// Refuses a value that is to be encrypted while a part of its last line would stay in clear.
pub(crate) fn check_nothing_behind(
    stream: &Stream<'_>,
    node: NodeId,
    path: impl FnOnce() -> String,
) -> Result<(), TreeError> {
    let spans = stream.passed_over();
    let end = stream.node(node).span.end;
    let next = spans.partition_point(|span| span.start < end);
    match spans.get(next) {
        Some(span) if !stream.source()[end..span.start].contains('\n') => {
            Err(TreeError::TextBehind {
                line: stream.line_column(span.start).0,
                path: path(),
            })
        }
        _ => Ok(()),
    }
}

/// Returns the 1-based line a node starts on.
pub(crate) fn line_of(stream: &Stream<'_>, node: NodeId) -> usize {
    stream.node(node).line_number()
}

/// Returns a path for messages: keys joined by dots, odd keys as `["k"]`, positions as `[0]`.
pub(crate) fn path_text(stream: &Stream<'_>, steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key) => push_key(&mut text, &key_text(stream, *key).unwrap_or_default()),
        }
    }
    if text.is_empty() {
        text.push_str("the top level");
    }
    text
}

/// Appends a key to a path for messages.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let simple = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '$'));
    if !simple {
        path.push_str(&format!("[{key:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// A walk through one document, with its own stack: depth is bounded by the parser alone.
struct Walk<'w, 's> {
    stream: &'w Stream<'s>,
    rule: &'w Selection,
    document: usize,
    aad: String,
    previous: String,
    steps: Vec<Step>,
    frames: Vec<Frame>,
    aliased: usize,
    lost: &'w Cell<usize>,
}

/// An open container.
struct Frame {
    node: NodeId,
    /// Index of the next child.
    next: usize,
    /// Items met so far.
    items: usize,
    scope: Scope,
    /// Whether the container's own comments stand inside it (false for a sequence element, whose
    /// comments the sequence takes).
    own: bool,
    /// The outermost alias above, or this container's.
    alias: Option<NodeId>,
    /// Length of the joined path without this container's key.
    outer_aad: usize,
    /// Index of the child that was just walked and whose trailing comments are due.
    finished: Option<usize>,
}

impl<'w, 's> Walk<'w, 's> {
    fn document<E: From<TreeError>>(
        mut self,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let document = &self.stream.documents()[self.document];
        let mut scope = Scope::root();
        self.comments(&document.head, &mut scope, false, None, visit)?;
        let root = document.content;
        let node = self.stream.node(root);
        let refused = |what| TreeError::TopLevel {
            line: line_of(self.stream, root),
            what,
        };
        match node.kind {
            Kind::Mapping => {}
            Kind::Scalar if matches!(self.stream.resolve(root), Ok(Scalar::Null)) => {
                for comments in [&node.head, &node.line, &document.foot] {
                    self.comments(comments, &mut scope, false, None, visit)?;
                }
                return Ok(());
            }
            Kind::Sequence => return Err(refused("a list").into()),
            Kind::Scalar | Kind::Alias => return Err(refused("a single value").into()),
        }
        self.open(root, scope, true, None, 0, visit)?;
        while !self.frames.is_empty() {
            self.step(visit)?;
        }
        Ok(())
    }

    /// Opens a container and visits its own comments.
    fn open<E: From<TreeError>>(
        &mut self,
        node: NodeId,
        mut scope: Scope,
        own: bool,
        alias: Option<NodeId>,
        outer_aad: usize,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let opened: &'w Node<'s> = self.stream.node(node);
        if own {
            let in_sequence = opened.kind == Kind::Sequence;
            self.comments(&opened.head, &mut scope, in_sequence, alias, visit)?;
            self.comments(&opened.line, &mut scope, in_sequence, alias, visit)?;
        }
        self.frames.push(Frame {
            node,
            next: 0,
            items: 0,
            scope,
            own,
            alias,
            outer_aad,
            finished: None,
        });
        Ok(())
    }

    /// Takes the innermost container one item further.
    fn step<E: From<TreeError>>(
        &mut self,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(frame) = self.frames.last_mut() else {
            return Ok(());
        };
        let stream = self.stream;
        let node: &'w Node<'s> = stream.node(frame.node);
        let (next, alias, mut scope) = (frame.next, frame.alias, frame.scope);
        let sequence = node.kind == Kind::Sequence;
        if let Some(child) = frame.finished.take() {
            scope.item_done();
            let item = stream.node(node.children[child]);
            if sequence {
                self.comments(&item.foot, &mut scope, true, alias, visit)?;
            } else {
                if matches!(item.kind, Kind::Scalar | Kind::Alias) {
                    self.comments(&item.foot, &mut scope, false, alias, visit)?;
                }
                let key = stream.node(node.children[child - 1]);
                self.comments(&key.foot, &mut scope, false, alias, visit)?;
            }
            self.keep(scope);
            return Ok(());
        }
        if next >= node.children.len() {
            return self.close(visit);
        }
        if sequence {
            let child = node.children[next];
            let item = stream.node(child);
            self.comments(&item.head, &mut scope, true, alias, visit)?;
            self.comments(&item.line, &mut scope, true, alias, visit)?;
            let position = self.advance(scope, next + 1, Some(next));
            self.steps.push(Step::Index(position));
            let outer = self.aad.len();
            return self.item(
                child,
                scope.enter(self.rule, None),
                false,
                alias,
                outer,
                visit,
            );
        }
        let (key, child) = (node.children[next], node.children[next + 1]);
        let (key_node, item) = (stream.node(key), stream.node(child));
        self.comments(&key_node.head, &mut scope, false, alias, visit)?;
        self.comments(&key_node.line, &mut scope, false, alias, visit)?;
        let text = key_text(stream, key).ok_or_else(|| TreeError::KeyNotString {
            line: line_of(stream, key),
            path: path_text(stream, &self.steps),
        })?;
        let scalar = matches!(item.kind, Kind::Scalar | Kind::Alias);
        if scalar {
            self.comments(&item.head, &mut scope, false, alias, visit)?;
            self.comments(&item.line, &mut scope, false, alias, visit)?;
        }
        if self.frames.len() == 1 && is_metadata_key(stream.syntax(), &text) {
            // sops takes the item out of the tree before it walks; comments around it stay.
            if scalar {
                self.comments(&item.foot, &mut scope, false, alias, visit)?;
            }
            self.comments(&key_node.foot, &mut scope, false, alias, visit)?;
            self.advance(scope, next + 2, None);
            return Ok(());
        }
        self.advance(scope, next + 2, Some(next + 1));
        let outer = self.aad.len();
        self.aad.push_str(&text);
        self.aad.push(':');
        self.steps.push(Step::Key(key));
        let scope = scope.enter(self.rule, Some(&text));
        self.item(child, scope, true, alias, outer, visit)
    }

    /// Visits a scalar, or opens a container, that stands under a key or at a position.
    fn item<E: From<TreeError>>(
        &mut self,
        child: NodeId,
        scope: Scope,
        own: bool,
        alias: Option<NodeId>,
        outer_aad: usize,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let stream = self.stream;
        let in_sequence = matches!(self.steps.last(), Some(Step::Index(_)));
        let (mut target, mut own, mut alias) = (child, own, alias);
        if let (Kind::Alias, Some(named)) = (stream.node(child).kind, stream.node(child).target) {
            target = named;
            // An expanded alias brings the comments of what it names (store.go, AliasNode).
            own = true;
            alias = alias.or(Some(child));
            if self.frames.iter().any(|frame| frame.node == named) {
                return Err(TreeError::AliasCycle {
                    line: line_of(stream, child),
                    path: path_text(stream, &self.steps),
                }
                .into());
            }
        }
        if alias.is_some() {
            self.aliased += 1;
            if self.aliased > MAX_ALIASED_LEAVES {
                let line = line_of(stream, child);
                return Err(TreeError::TooManyAliases { line }.into());
            }
        }
        if stream.node(target).kind != Kind::Scalar {
            return self.open(target, scope, own, alias, outer_aad, visit);
        }
        visit(Leaf {
            what: What::Scalar(target),
            aad: if self.aad.is_empty() { ":" } else { &self.aad },
            previous: &self.previous,
            selected: scope.selects(self.rule),
            alias,
            in_sequence,
            steps: &self.steps,
            stream,
            lost: self.lost,
        })?;
        self.aad.truncate(outer_aad);
        self.steps.pop();
        Ok(())
    }

    /// Visits the comments at the end of the innermost container, and leaves it.
    fn close<E: From<TreeError>>(
        &mut self,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(frame) = self.frames.last() else {
            return Ok(());
        };
        let (mut scope, alias, outer, own) = (frame.scope, frame.alias, frame.outer_aad, frame.own);
        let stream = self.stream;
        let node = stream.node(frame.node);
        let in_sequence = node.kind == Kind::Sequence;
        if own {
            self.comments(&node.foot, &mut scope, in_sequence, alias, visit)?;
        }
        if self.frames.len() == 1 {
            let foot = &stream.documents()[self.document].foot;
            self.comments(foot, &mut scope, false, None, visit)?;
        }
        self.frames.pop();
        self.previous.clear();
        self.previous.push_str(&self.aad);
        self.aad.truncate(outer);
        self.steps.pop();
        Ok(())
    }

    /// Visits comments that stand in the innermost container.
    fn comments<E: From<TreeError>>(
        &self,
        comments: &[Comment],
        scope: &mut Scope,
        in_sequence: bool,
        alias: Option<NodeId>,
        visit: &mut impl FnMut(Leaf<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for comment in comments {
            let selected = scope.comment(self.rule, &self.stream.comment_text(comment));
            visit(Leaf {
                what: What::Comment(comment),
                aad: if self.aad.is_empty() { ":" } else { &self.aad },
                previous: &self.previous,
                selected,
                alias,
                in_sequence,
                steps: &self.steps,
                stream: self.stream,
                lost: self.lost,
            })?;
        }
        Ok(())
    }

    fn keep(&mut self, scope: Scope) {
        if let Some(frame) = self.frames.last_mut() {
            frame.scope = scope;
        }
    }

    /// Moves the innermost container on to child `next`; returns the position of the item.
    fn advance(&mut self, scope: Scope, next: usize, finished: Option<usize>) -> usize {
        let Some(frame) = self.frames.last_mut() else {
            return 0;
        };
        frame.scope = scope;
        frame.next = next;
        frame.finished = finished;
        frame.items += 1;
        frame.items - 1
    }
}

//! Copies of anchored nodes in place of aliases.

use super::edit::tag_span;
use super::{Edits, ExpandError, Kind, Node, NodeId, Stream, Style, quote};

/// Puts a copy of the anchored node, in canonical style and without comments, in place of an
/// alias. Aliases within the copy are expanded too. Apply and parse again before editing inside
/// the copy.
///
/// Fails when the copy has more nodes than the limits that the stream was parsed with allow.
pub fn expand_alias(
    stream: &Stream<'_>,
    edits: &mut Edits,
    alias: NodeId,
) -> Result<(), ExpandError> {
    let node = stream.node(alias);
    let (line, column) = (node.line_number(), node.column_number());
    let Some(target) = node.target else {
        return Err(ExpandError::NotAnAlias { line, column });
    };
    let limit = stream.limits.max_alias_expansion;
    let mut writer = Writer {
        stream,
        out: zeroize::Zeroizing::default(),
        left: limit,
    };
    let too_large = ExpandError::TooLarge {
        line,
        column,
        limit,
    };
    let parent = node.parent.map(|parent| stream.node(parent));
    let is_key = parent.is_some_and(|parent| {
        parent.kind == Kind::Mapping
            && parent
                .children
                .iter()
                .position(|child| *child == alias)
                .is_some_and(|at| at % 2 == 0)
    });
    let content = stream.node(stream.target(target));
    let block = content.kind != Kind::Scalar && !content.children.is_empty();
    let in_block = parent.is_none_or(|parent| parent.style == Style::Block);
    if !(block && in_block) || is_key {
        let flow = !in_block || is_key;
        writer.inline(target, flow).ok_or(too_large)?;
        edits.replace(node.span.clone(), writer.out.as_str());
        return Ok(());
    }

    // A block goes under the line, behind its comment.
    let column = parent.map_or(0, |parent| stream.column(parent.span.start) + 2);
    writer.block(target, column).ok_or(too_large)?;
    let source = stream.source;
    let rest = &source[node.span.end..];
    let line = node.span.end + rest.find(['\n', '\r']).unwrap_or(rest.len());
    let line_end = super::block_text::line_end(source, line);
    let lines = writer.out.trim_end_matches('\n').replace('\n', line_end);
    if source[node.span.end..line].trim().is_empty() {
        let before = source[..node.span.start]
            .trim_end_matches([' ', '\t'])
            .len();
        edits.replace(before..line, format!("{line_end}{lines}"));
    } else {
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        edits.delete(node.span.start..node.span.end + blanks);
        edits.insert(line, format!("{line_end}{lines}"));
    }
    Ok(())
}

struct Writer<'a, 's> {
    stream: &'a Stream<'s>,
    out: zeroize::Zeroizing<String>,
    left: usize,
}

/// Something of a block that is still to be written.
enum Step {
    /// A node after `key:` or `-` at this column; whether it may begin on this line.
    Node {
        id: NodeId,
        column: usize,
        after_dash: bool,
    },
    Key {
        id: NodeId,
        column: usize,
        on_line: bool,
    },
    Dash {
        column: usize,
        on_line: bool,
    },
}

impl Writer<'_, '_> {
    fn count(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    fn pad(&mut self, column: usize) {
        self.out.extend(std::iter::repeat_n(' ', column));
    }

    /// Writes a collection in block style with its first character at `column` of a new line.
    fn block(&mut self, id: NodeId, column: usize) -> Option<()> {
        let mut steps = Vec::new();
        self.push_children(&mut steps, self.stream.target(id), column, false)?;
        while let Some(step) = steps.pop() {
            match step {
                Step::Key {
                    id,
                    column,
                    on_line,
                } => {
                    if !on_line {
                        self.pad(column);
                    }
                    self.inline(id, true)?;
                    // `*a :` is no alias here, so the colon may follow at once.
                    self.out.push(':');
                }
                Step::Dash { column, on_line } => {
                    if !on_line {
                        self.pad(column);
                    }
                    self.out.push('-');
                }
                Step::Node {
                    id,
                    column,
                    after_dash,
                } => {
                    let target = self.stream.target(id);
                    let node = self.stream.node(target);
                    if node.kind == Kind::Scalar || node.children.is_empty() {
                        self.out.push(' ');
                        self.inline(target, false)?;
                        self.out.push('\n');
                        continue;
                    }
                    let tag = tag_of(self.stream, node);
                    let on_line = after_dash && tag.is_none();
                    if let Some(tag) = tag {
                        self.out.push(' ');
                        self.out.push_str(tag);
                    }
                    self.out.push(if on_line { ' ' } else { '\n' });
                    self.push_children(&mut steps, target, column + 2, on_line)?;
                }
            }
        }
        Some(())
    }

    fn push_children(
        &mut self,
        steps: &mut Vec<Step>,
        id: NodeId,
        column: usize,
        on_line: bool,
    ) -> Option<()> {
        self.count()?;
        let node = self.stream.node(id);
        let from = steps.len();
        match node.kind {
            Kind::Mapping => {
                for (at, (key, value)) in self.stream.entries(id).enumerate() {
                    steps.push(Step::Key {
                        id: key,
                        column,
                        on_line: on_line && at == 0,
                    });
                    steps.push(Step::Node {
                        id: value,
                        column,
                        after_dash: false,
                    });
                }
            }
            _ => {
                for (at, item) in node.children.iter().enumerate() {
                    steps.push(Step::Dash {
                        column,
                        on_line: on_line && at == 0,
                    });
                    steps.push(Step::Node {
                        id: *item,
                        column,
                        after_dash: true,
                    });
                }
            }
        }
        steps[from..].reverse();
        Some(())
    }

    /// Writes a node on one line: scalars, and collections in flow style.
    fn inline(&mut self, id: NodeId, flow: bool) -> Option<()> {
        enum Part {
            Node(NodeId),
            Text(&'static str),
        }
        let root = self.stream.target(id);
        let mut parts = vec![Part::Node(root)];
        while let Some(part) = parts.pop() {
            let id = match part {
                Part::Text(text) => {
                    self.out.push_str(text);
                    continue;
                }
                Part::Node(id) => self.stream.target(id),
            };
            self.count()?;
            let node = self.stream.node(id);
            if let Some(tag) = tag_of(self.stream, node) {
                self.out.push_str(tag);
                self.out.push(' ');
            }
            if node.kind == Kind::Scalar {
                let text = scalar_text(self.stream, node, flow || id != root);
                self.out.push_str(&text);
                continue;
            }
            let (open, close) = if node.kind == Kind::Mapping {
                ("{", "}")
            } else {
                ("[", "]")
            };
            self.out.push_str(open);
            let from = parts.len();
            for (at, child) in node.children.iter().enumerate() {
                if at > 0 {
                    let is_value = node.kind == Kind::Mapping && at % 2 == 1;
                    parts.push(Part::Text(if is_value { ": " } else { ", " }));
                }
                parts.push(Part::Node(*child));
            }
            parts.push(Part::Text(close));
            parts[from..].reverse();
        }
        Some(())
    }
}

/// The explicit tag as written.
fn tag_of<'s>(stream: &Stream<'s>, node: &Node<'_>) -> Option<&'s str> {
    tag_span(stream.source, node).map(|span| &stream.source[span])
}

/// The scalar as written where that is one line and fits, else in canonical style.
fn scalar_text(stream: &Stream<'_>, node: &Node<'_>, flow: bool) -> String {
    let written = &stream.source[node.span.clone()];
    let one_line =
        node.block.is_none() && !written.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    let place = if flow {
        quote::Place::Flow
    } else {
        quote::Place::Entry
    };
    match node.style {
        Style::SingleQuoted | Style::DoubleQuoted if one_line => written.to_owned(),
        // An empty plain scalar would run into what follows.
        Style::Plain if written.is_empty() && node.tag.is_none() => "null".to_owned(),
        Style::Plain if one_line && quote::reads_back_plain(written, place, true) => {
            written.to_owned()
        }
        Style::Plain if written.is_empty() => String::new(),
        _ => quote::double_quoted(&node.value),
    }
}

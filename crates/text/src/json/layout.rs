//! How a JSON file is laid out, so that new parts look like the old ones.

use crate::{Kind, Node, NodeId, Stream};

/// The blanks of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// What one level is indented by; `None` when everything stands on one line.
    pub(super) unit: Option<String>,
    /// The line break.
    pub(super) line_end: &'static str,
    /// From a key to its value.
    pub(super) colon: &'static str,
    /// Between two items on one line.
    pub(super) comma: &'static str,
}

impl Layout {
    /// What sops writes: `indent` spaces per level, a tab for `None`.
    pub(super) fn of_sops(indent: Option<usize>) -> Self {
        Self {
            unit: Some(indent.map_or("\t".to_owned(), |count| " ".repeat(count))),
            line_end: "\n",
            colon: ": ",
            comma: ",",
        }
    }

    /// The layout of a file: that of its root, or of the first collection with something in it
    /// that spans lines. A file without any is laid out as sops does it.
    pub(super) fn of(stream: &Stream<'_>) -> Self {
        let source = stream.source;
        let mut layout = Self::of_sops(None);
        if source
            .find('\n')
            .is_some_and(|at| source[..at].ends_with('\r'))
        {
            layout.line_end = "\r\n";
        }
        let mut filled = stream.nodes.iter().filter(|node| !node.children.is_empty());
        let Some(first) = filled.next() else {
            return layout;
        };
        let on_lines = |node: &&Node<'_>| {
            let child = stream.node(node.children[0]);
            source[node.span.start + 1..child.span.start].contains('\n')
        };
        let lines = if on_lines(&first) {
            Some(first)
        } else {
            filled.find(on_lines)
        };
        let spaced = |from: &Node<'_>, to: &Node<'_>| {
            source[from.span.end..to.span.start].ends_with([' ', '\n', '\t', '\r'])
        };
        let mapping = |node: &&Node<'_>| node.kind == Kind::Mapping;
        if let Some(mapping) = stream
            .nodes
            .iter()
            .filter(|node| !node.children.is_empty())
            .find(mapping)
        {
            let (key, value) = (mapping.children[0], mapping.children[1]);
            if !spaced(stream.node(key), stream.node(value)) {
                layout.colon = ":";
            }
        }
        let Some(lines) = lines else {
            layout.unit = None;
            let step = if first.kind == Kind::Mapping { 2 } else { 1 };
            if let [.., last, next] = first.children[..]
                && first.children.len() > step
            {
                let (from, to) = match step {
                    2 => (first.children[first.children.len() - 3], last),
                    _ => (last, next),
                };
                layout.comma = if spaced(stream.node(from), stream.node(to)) {
                    ", "
                } else {
                    ","
                };
            } else if layout.colon == ": " {
                layout.comma = ", ";
            }
            return layout;
        };
        let outer = line_indent(source, lines.span.start);
        let inner = line_indent(source, stream.node(lines.children[0]).span.start);
        layout.unit = Some(inner.strip_prefix(outer).unwrap_or(inner).to_owned());
        layout
    }

    /// The same for what is put within a collection that stands on one line.
    pub(super) fn on_one_line(&self) -> Self {
        let comma = if self.colon == ": " && self.unit.is_some() {
            ", "
        } else {
            self.comma
        };
        Self {
            unit: None,
            comma,
            ..self.clone()
        }
    }
}

/// The blanks that the line of this offset begins with.
pub(super) fn line_indent(source: &str, at: usize) -> &str {
    let start = source[..at].rfind('\n').map_or(0, |at| at + 1);
    let line = &source[start..at];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The blanks before a collection's last child (a mapping's last key), from the bracket or comma
/// before it.
pub(super) fn blanks_before<'s>(stream: &Stream<'s>, child: NodeId) -> &'s str {
    let source = stream.source;
    let before = &source[..stream.node(child).span.start];
    &before[before.trim_end_matches([' ', '\t', '\n', '\r']).len()..]
}

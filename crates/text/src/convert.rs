//! From the tree to a value: what a conversion to another format writes.

use crate::{Comment, Kind, NodeId, ResolveError, Scalar, Stream, Syntax, Value};

impl Stream<'_> {
    /// A document as a value, comments in the order in which sops walks them (sops-format.md 11.3),
    /// aliases as copies. An empty YAML document is an empty mapping. Keys are texts, whatever they
    /// resolve to.
    ///
    /// Fails where a scalar does not fit its tag. Binary scalars that are no UTF-8 are an error too.
    pub fn to_value(&self, document: usize) -> Result<Option<Value>, ResolveError> {
        let Some(document) = self.documents().get(document) else {
            return Ok(None);
        };
        let mut converter = Converter { stream: self };
        let content = self.node(document.content);
        if document.root.is_none() && self.syntax() == Syntax::Yaml {
            let mut entries = Vec::new();
            for comments in [&document.head, &content.head, &content.line, &document.foot] {
                converter.comments(comments, &mut entries);
            }
            return Ok(Some(Value::Map(entries)));
        }
        let mut value = converter.value(document.content, true)?;
        if let Value::Map(entries) = &mut value {
            let mut all = Vec::new();
            converter.comments(&document.head, &mut all);
            all.append(entries);
            converter.comments(&document.foot, &mut all);
            *entries = all;
        }
        Ok(Some(value))
    }

    /// A node as a value, as [`Stream::to_value`] does it.
    pub fn node_value(&self, node: NodeId) -> Result<Value, ResolveError> {
        Converter { stream: self }.value(node, true)
    }
}

struct Converter<'a, 's> {
    stream: &'a Stream<'s>,
}

impl Converter<'_, '_> {
    fn comments(&mut self, comments: &[Comment], entries: &mut Vec<(String, Value)>) {
        entries.extend(comments.iter().map(|comment| {
            let text = self.stream.comment_text(comment).into_owned();
            (String::new(), Value::Comment(text))
        }));
    }

    /// The comments of a collection that is an item of a sequence are items beside it.
    fn value(&mut self, id: NodeId, own_comments: bool) -> Result<Value, ResolveError> {
        let is_alias = self.stream.node(id).kind == Kind::Alias;
        let id = self.stream.target(id);
        let node = self.stream.node(id);
        if node.kind == Kind::Scalar {
            return self.scalar(id);
        }
        let own_comments = own_comments || is_alias;
        let mut entries = Vec::new();
        if own_comments {
            self.comments(&node.head, &mut entries);
            self.comments(&node.line, &mut entries);
        }
        if node.kind == Kind::Mapping {
            for pair in node.children.chunks_exact(2) {
                let (key, value) = (self.stream.node(pair[0]), self.stream.node(pair[1]));
                let is_scalar = matches!(value.kind, Kind::Scalar | Kind::Alias);
                self.comments(&key.head, &mut entries);
                self.comments(&key.line, &mut entries);
                if is_scalar {
                    self.comments(&value.head, &mut entries);
                    self.comments(&value.line, &mut entries);
                }
                let name = self.stream.node(self.stream.target(pair[0]));
                entries.push((name.value.clone().into_owned(), self.value(pair[1], true)?));
                if is_scalar {
                    self.comments(&value.foot, &mut entries);
                }
                self.comments(&key.foot, &mut entries);
            }
        } else {
            for child in &node.children {
                let item = self.stream.node(*child);
                self.comments(&item.head, &mut entries);
                self.comments(&item.line, &mut entries);
                entries.push((String::new(), self.value(*child, false)?));
                self.comments(&item.foot, &mut entries);
            }
        }
        if own_comments {
            self.comments(&node.foot, &mut entries);
        }
        Ok(match node.kind {
            Kind::Mapping => Value::Map(entries),
            _ => Value::Seq(entries.into_iter().map(|(_, value)| value).collect()),
        })
    }

    fn scalar(&self, id: NodeId) -> Result<Value, ResolveError> {
        let node = self.stream.node(id);
        let failed = |reason: &str| ResolveError {
            line: node.line_number(),
            column: node.column_number(),
            reason: reason.to_owned(),
        };
        Ok(match self.stream.resolve(id)? {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => Value::Bool(value),
            Scalar::Int(value) => Value::Int(value),
            Scalar::Uint(_) => {
                return Err(failed(
                    "the number is above 9223372036854775807; put it in quotes",
                ));
            }
            Scalar::Float(value) => Value::Float(value),
            Scalar::Timestamp(time) => Value::Time(time.rfc3339),
            Scalar::Str(text) => Value::Str(text.into_owned()),
            Scalar::Merge => Value::Str("<<".to_owned()),
            Scalar::Binary(bytes) => Value::Str(
                String::from_utf8(bytes).map_err(|_| failed("the !!binary value is not UTF-8"))?,
            ),
        })
    }
}

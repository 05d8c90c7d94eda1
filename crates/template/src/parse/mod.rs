//! Parses a template, as `text/template/parse` does: the same language, the same messages.

pub(crate) mod node;
mod number;

use std::collections::HashMap;

use node::{Branch, Call, Command, If, Node, Pipe, Term, What};

use crate::error::Error;
use crate::lexer::{Keyword, Kind, Lexer, Token};
use crate::limits::{Limit, Limits};
use crate::strconv;

/// The templates of one source by name: the whole and each `define` and `block` in it.
pub(crate) type Trees = HashMap<Vec<u8>, Vec<Node>>;

/// Parses `source`; `is_function` knows the functions that may be called.
pub(crate) fn parse<'s>(
    name: &'s str,
    source: &'s str,
    is_function: &'s dyn Fn(&str) -> bool,
    limits: &Limits,
) -> Result<Trees, Error> {
    let limited = |limit| Error::Limit {
        name: name.to_owned(),
        limit,
    };
    if source.len() > limits.source {
        return Err(limited(Limit::Source));
    }
    let mut parser = Parser {
        name,
        lexer: Lexer::new(source),
        ahead: Vec::new(),
        line: 1,
        trees: Trees::new(),
        is_function,
        variables: vec!["$".to_owned()],
        action_line: None,
        ranges: 0,
        depth: 0,
        max_depth: limits.depth,
    };
    match parser.whole() {
        Ok(()) => Ok(parser.trees),
        Err(Stop::Message(message)) => Err(Error::Parse {
            name: name.to_owned(),
            line: parser.line,
            message,
        }),
        Err(Stop::Depth) => Err(limited(Limit::Depth)),
    }
}

enum Stop {
    Message(String),
    Depth,
}

type Parsed<T> = Result<T, Stop>;

fn fail<T>(message: impl Into<String>) -> Parsed<T> {
    Err(Stop::Message(message.into()))
}

struct Parser<'s> {
    name: &'s str,
    lexer: Lexer<'s>,
    /// Tokens that were looked at and put back; the next one is last.
    ahead: Vec<Token<'s>>,
    /// Line of the token that was read last.
    line: usize,
    trees: Trees,
    is_function: &'s dyn Fn(&str) -> bool,
    variables: Vec<String>,
    action_line: Option<usize>,
    ranges: usize,
    depth: u32,
    max_depth: u32,
}

/// How a list of nodes ended.
enum End {
    End,
    /// With the keyword that follows `else`, which is still to be read.
    Else(Option<Keyword>),
}

impl End {
    fn shown(&self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else(_) => "{{else}}",
        }
    }
}

enum Item {
    Node(Node),
    End(End),
}

impl<'s> Parser<'s> {
    fn next(&mut self) -> Token<'s> {
        self.ahead.pop().unwrap_or_else(|| {
            let token = self.lexer.next();
            self.line = token.line;
            token
        })
    }

    fn put_back(&mut self, token: Token<'s>) {
        self.ahead.push(token);
    }

    fn peek(&mut self) -> Token<'s> {
        let token = self.next();
        self.put_back(token.clone());
        token
    }

    fn next_word(&mut self) -> Token<'s> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_word(&mut self) -> Token<'s> {
        let token = self.next_word();
        self.put_back(token.clone());
        token
    }

    fn unexpected<T>(&self, token: &Token<'s>, context: &str) -> Parsed<T> {
        let shown = token.shown();
        if token.kind != Kind::Error {
            return fail(format!("unexpected {shown} in {context}"));
        }
        match self.action_line {
            Some(line) if line != token.line => {
                let action = if shown.ends_with(" action") {
                    ""
                } else {
                    " in action"
                };
                let name = self.name;
                fail(format!("{shown}{action} started at {name}:{line}"))
            }
            _ => fail(shown),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token<'s>> {
        let token = self.next_word();
        if token.kind == kind {
            return Ok(token);
        }
        self.unexpected(&token, context)
    }

    /// Goes one level deeper for as long as `inner` takes.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= self.max_depth {
            return Err(Stop::Depth);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn whole(&mut self) -> Parsed<()> {
        let mut nodes = Vec::new();
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => break,
                Kind::LeftDelim => {
                    let delim = self.next();
                    let word = self.next_word();
                    if word.kind == Kind::Keyword(Keyword::Define) {
                        self.definition()?;
                        continue;
                    }
                    self.put_back(word);
                    self.put_back(delim);
                }
                _ => {}
            }
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::End(end) => return fail(format!("unexpected {}", end.shown())),
            }
        }
        self.add(self.name.as_bytes().to_vec(), nodes)
    }

    fn definition(&mut self) -> Parsed<()> {
        let context = "define clause";
        let token = self.next_word();
        let name = self.template_name(&token, context)?;
        self.expect(Kind::RightDelim, context)?;
        let (nodes, end) = self.in_new_template(Self::list)?;
        if !matches!(end, End::End) {
            return fail(format!("unexpected {} in {context}", end.shown()));
        }
        self.add(name, nodes)
    }

    /// Parses the body of another template: nothing of the outer one is visible in it.
    fn in_new_template<T>(&mut self, body: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let action_line = self.action_line.take();
        let result = self.deeper(body);
        if result.is_ok() {
            self.variables = variables;
            self.ranges = ranges;
            self.action_line = action_line;
        }
        result
    }

    fn add(&mut self, name: Vec<u8>, nodes: Vec<Node>) -> Parsed<()> {
        match self.trees.get(&name) {
            Some(old) if !is_empty(old) => {
                if !is_empty(&nodes) {
                    let name = strconv::quote(&name, b'"', false);
                    return fail(format!(
                        "template: multiple definition of template {}",
                        String::from_utf8_lossy(&name)
                    ));
                }
            }
            _ => {
                self.trees.insert(name, nodes);
            }
        }
        Ok(())
    }

    /// Reads up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Parsed<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        loop {
            if self.peek_word().kind == Kind::End {
                return fail("unexpected EOF");
            }
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::End(end) => return Ok((nodes, end)),
            }
        }
    }

    fn text_or_action(&mut self) -> Parsed<Item> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.as_bytes().to_vec()))),
            Kind::LeftDelim => {
                self.action_line = Some(token.line);
                let item = self.action()?;
                self.action_line = None;
                Ok(item)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_word();
        let Kind::Keyword(keyword) = token.kind else {
            self.put_back(token);
            let pipe = self.pipeline("command", Kind::RightDelim)?;
            return Ok(Item::Node(Node::Action(pipe)));
        };
        let node = match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => self.jump("break", Node::Break)?,
            Keyword::Continue => self.jump("continue", Node::Continue)?,
            Keyword::Else => return Ok(Item::End(self.otherwise()?)),
            Keyword::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::End(End::End));
            }
            Keyword::If => Node::If(self.conditional("if", Keyword::If)?),
            Keyword::With => Node::With(self.conditional("with", Keyword::With)?),
            Keyword::Range => Node::Range(self.range()?),
            Keyword::Template => self.template()?,
            Keyword::Define => return self.unexpected(&token, "command"),
        };
        Ok(Item::Node(node))
    }

    fn jump(&mut self, word: &str, node: Node) -> Parsed<Node> {
        let token = self.next_word();
        if token.kind != Kind::RightDelim {
            return self.unexpected(&token, &format!("{{{{{word}}}}}"));
        }
        if self.ranges == 0 {
            return fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn otherwise(&mut self) -> Parsed<End> {
        match self.peek_word().kind {
            Kind::Keyword(keyword @ (Keyword::If | Keyword::With)) => Ok(End::Else(Some(keyword))),
            _ => {
                self.expect(Kind::RightDelim, "else")?;
                Ok(End::Else(None))
            }
        }
    }

    /// Parses `if` or `with`; a chain of `else if` is one node, however long.
    fn conditional(&mut self, context: &str, keyword: Keyword) -> Parsed<If> {
        let outer = self.variables.len();
        let mut node = If {
            arms: Vec::new(),
            otherwise: None,
        };
        loop {
            let pipe = self.pipeline(context, Kind::RightDelim)?;
            let (list, end) = self.deeper(Self::list)?;
            node.arms.push((pipe, list));
            match end {
                End::End => break,
                End::Else(Some(next)) if next == keyword => {
                    self.next_word();
                }
                End::Else(_) => {
                    node.otherwise = Some(self.last_list()?);
                    break;
                }
            }
        }
        self.variables.truncate(outer);
        Ok(node)
    }

    fn range(&mut self) -> Parsed<Branch> {
        let outer = self.variables.len();
        let pipe = self.pipeline("range", Kind::RightDelim)?;
        self.ranges += 1;
        let (list, end) = self.deeper(Self::list)?;
        self.ranges -= 1;
        let otherwise = match end {
            End::End => None,
            End::Else(_) => Some(self.last_list()?),
        };
        self.variables.truncate(outer);
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    /// Reads what follows the last `{{else}}`.
    fn last_list(&mut self) -> Parsed<Vec<Node>> {
        let (list, end) = self.deeper(Self::list)?;
        match end {
            End::End => Ok(list),
            End::Else(_) => fail("expected end; found {{else}}"),
        }
    }

    fn block(&mut self) -> Parsed<Node> {
        let context = "block clause";
        let token = self.next_word();
        let name = self.template_name(&token, context)?;
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        let (nodes, end) = self.in_new_template(Self::list)?;
        if !matches!(end, End::End) {
            return fail(format!("unexpected {} in {context}", end.shown()));
        }
        self.add(name.clone(), nodes)?;
        Ok(Node::Template(Call {
            at: token.at,
            name,
            pipe: Some(pipe),
        }))
    }

    fn template(&mut self) -> Parsed<Node> {
        let context = "template clause";
        let token = self.next_word();
        let name = self.template_name(&token, context)?;
        let next = self.next_word();
        let pipe = if next.kind == Kind::RightDelim {
            None
        } else {
            self.put_back(next);
            Some(self.pipeline(context, Kind::RightDelim)?)
        };
        Ok(Node::Template(Call {
            at: token.at,
            name,
            pipe,
        }))
    }

    fn template_name(&mut self, token: &Token<'s>, context: &str) -> Parsed<Vec<u8>> {
        match token.kind {
            Kind::String | Kind::RawString => unquoted(token.text),
            _ => self.unexpected(token, context),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let mut pipe = Pipe {
            at: self.peek_word().at,
            assigns: false,
            variables: Vec::new(),
            commands: Vec::new(),
        };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.put_back(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return fail(format!("missing value for {context}"));
        }
        for (at, command) in pipe.commands.iter().enumerate().skip(1) {
            let first = &command.words[0].what;
            if matches!(
                first,
                What::Bool(_) | What::Dot | What::Nil | What::Number(_) | What::String { .. }
            ) {
                let stage = at + 1;
                return fail(format!("non executable command in pipeline stage {stage}"));
            }
        }
        Ok(pipe)
    }

    /// Reads `$x :=`, `$x =` and, for `range`, `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        loop {
            let variable = self.peek_word();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next_word();
            let after = self.peek();
            let next = self.peek_word();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    pipe.assigns = next.kind == Kind::Assign;
                    self.next_word();
                    self.declare(pipe, variable.text);
                    return Ok(());
                }
                Kind::Char if next.text == "," => {
                    self.next_word();
                    self.declare(pipe, variable.text);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return fail(format!("too many declarations in {context}"));
                    }
                    let kind = self.peek_word().kind;
                    if !matches!(kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        return fail("range can only initialize variables");
                    }
                }
                _ => {
                    if after.kind == Kind::Space {
                        self.put_back(after);
                    }
                    self.put_back(variable);
                    return Ok(());
                }
            }
        }
    }

    fn declare(&mut self, pipe: &mut Pipe, variable: &str) {
        pipe.variables.push(variable.to_owned());
        self.variables.push(variable.to_owned());
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command {
            at: self.peek_word().at,
            words: Vec::new(),
        };
        loop {
            self.peek_word();
            if let Some(term) = self.operand()? {
                command.words.push(term);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => {
                    self.put_back(token);
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if command.words.is_empty() {
            return fail("empty command");
        }
        Ok(command)
    }

    /// Reads a term and the fields behind it.
    fn operand(&mut self) -> Parsed<Option<Term>> {
        let Some(mut term) = self.term()? else {
            return Ok(None);
        };
        let first = self.peek();
        if first.kind != Kind::Field {
            return Ok(Some(term));
        }
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(self.next().text[1..].to_owned());
        }
        match &mut term.what {
            What::Field(fields) | What::Variable(fields) => {
                fields.extend(names);
                term.at = first.at;
                Ok(Some(term))
            }
            What::Bool(_) | What::String { .. } | What::Number(_) | What::Nil | What::Dot => {
                let term = strconv::quote(term.to_string().as_bytes(), b'"', false);
                fail(format!(
                    "unexpected . after term {}",
                    String::from_utf8_lossy(&term)
                ))
            }
            _ => Ok(Some(Term {
                at: first.at,
                what: What::Chain(Box::new(term), names),
            })),
        }
    }

    fn term(&mut self) -> Parsed<Option<Term>> {
        let token = self.next_word();
        let what = match token.kind {
            Kind::Identifier => {
                if !(self.is_function)(token.text) {
                    return fail(format!("function {} not defined", shown(token.text)));
                }
                What::Identifier(token.text.to_owned())
            }
            Kind::Dot => What::Dot,
            Kind::Nil => What::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|known| known == token.text) {
                    return fail(format!("undefined variable {}", shown(token.text)));
                }
                What::Variable(vec![token.text.to_owned()])
            }
            Kind::Field => What::Field(vec![token.text[1..].to_owned()]),
            Kind::Bool => What::Bool(token.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                What::Number(number::parse(token.text, token.kind).map_err(Stop::Message)?)
            }
            Kind::LeftParen => {
                What::Pipe(self.deeper(|p| p.pipeline("parenthesized pipeline", Kind::RightParen))?)
            }
            Kind::String | Kind::RawString => What::String {
                source: token.text.to_owned(),
                text: unquoted(token.text)?,
            },
            _ => {
                self.put_back(token);
                return Ok(None);
            }
        };
        Ok(Some(Term { at: token.at, what }))
    }
}

fn unquoted(source: &str) -> Parsed<Vec<u8>> {
    strconv::unquote(source).ok_or_else(|| Stop::Message("invalid syntax".to_owned()))
}

fn shown(text: &str) -> String {
    String::from_utf8_lossy(&strconv::quote(text.as_bytes(), b'"', false)).into_owned()
}

/// Whether nothing but white space is in a template, which then may be defined again.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(text) => crate::text::trim_space(text).is_empty(),
        _ => false,
    })
}

//! Walks a parsed template, as `text/template` executes it.

mod evaluate;

use std::fmt;

use crate::error::{Error, Failure};
use crate::functions::Functions;
use crate::limits::Limit;
use crate::parse::Trees;
use crate::parse::node::{Branch, Call, Command, If, Node, Pipe, Term};
use crate::printf;
use crate::run::{Buffer, Run};
use crate::strconv;
use crate::value::Value;

/// What a key that is not there gives (Go's option `missingkey`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// Nothing, which prints as `<no value>`: Go's default and that of Sealed Secrets.
    #[default]
    NoValue,
    /// An error, as in the External Secrets Operator.
    Error,
}

/// What is executed.
pub(crate) struct Program<'t> {
    pub(crate) name: &'t str,
    pub(crate) source: &'t str,
    pub(crate) trees: &'t Trees,
    pub(crate) functions: &'t Functions,
    pub(crate) missing_key: MissingKey,
}

/// Executes the template over `data`; the output is in `out`.
pub(crate) fn execute(
    program: &Program<'_>,
    data: &Value,
    run: &mut Run<'_, '_>,
    out: &mut Buffer,
) -> Result<(), Error> {
    let name = program.name.as_bytes();
    let Some(nodes) = program.trees.get(name) else {
        return Ok(());
    };
    let mut state = State {
        program,
        run,
        out,
        template: name,
        variables: vec![("$", data.clone())],
        place: Place::Nowhere,
        depth: 0,
    };
    let result = state.list(data, nodes);
    result.map(drop).map_err(|failure| state.located(failure))
}

struct State<'t, 's, 'r, 'e> {
    program: &'t Program<'t>,
    run: &'s mut Run<'r, 'e>,
    out: &'s mut Buffer,
    /// The template that is executing.
    template: &'t [u8],
    variables: Vec<(&'t str, Value)>,
    /// What is being evaluated, for messages.
    place: Place<'t>,
    depth: u32,
}

#[derive(Clone, Copy)]
enum Place<'t> {
    Nowhere,
    Pipe(&'t Pipe),
    Command(&'t Command),
    Term(&'t Term),
    Call(&'t Call),
}

impl Place<'_> {
    fn at(self) -> usize {
        match self {
            Self::Nowhere => 0,
            Self::Pipe(pipe) => pipe.at,
            Self::Command(command) => command.at,
            Self::Term(term) => term.at,
            Self::Call(call) => call.at,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => Ok(()),
            Self::Pipe(pipe) => write!(f, "{pipe}"),
            Self::Command(command) => write!(f, "{command}"),
            Self::Term(term) => write!(f, "{term}"),
            Self::Call(call) => write!(f, "{call}"),
        }
    }
}

/// What a list of nodes asks of the loop around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

type Done<T> = Result<T, Failure>;

fn fail<T>(message: impl Into<String>) -> Done<T> {
    Err(Failure::new(message))
}

fn quoted(name: &[u8]) -> String {
    String::from_utf8_lossy(&strconv::quote(name, b'"', false)).into_owned()
}

impl<'t> State<'t, '_, '_, '_> {
    fn located(&self, failure: Failure) -> Error {
        match failure {
            Failure::Limit(limit) => Error::Limit {
                name: self.program.name.to_owned(),
                limit,
            },
            Failure::Message(message) => {
                let at = self.place.at().min(self.program.source.len());
                let before = &self.program.source.as_bytes()[..at];
                let line = 1 + before.iter().filter(|b| **b == b'\n').count();
                let start = before
                    .iter()
                    .rposition(|b| *b == b'\n')
                    .map_or(0, |n| n + 1);
                Error::Render {
                    location: format!("{}:{line}:{}", self.program.name, at - start),
                    template: String::from_utf8_lossy(self.template).into_owned(),
                    action: self.place.to_string(),
                    message,
                }
            }
        }
    }

    /// Goes one level deeper for as long as `inner` takes.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        if self.depth >= self.run.limits.depth {
            return Err(Limit::Depth.into());
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Done<Flow> {
        self.deeper(|state| {
            for node in nodes {
                let flow = state.node(dot, node)?;
                if flow != Flow::On {
                    return Ok(flow);
                }
            }
            Ok(Flow::On)
        })
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Done<Flow> {
        self.run.step(1)?;
        match node {
            Node::Text(text) => {
                self.out.write(text);
                self.out.failed()?;
            }
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.variables.is_empty() {
                    self.print(value)?;
                }
            }
            Node::If(node) => return self.conditional(dot, node, false),
            Node::With(node) => return self.conditional(dot, node, true),
            Node::Range(node) => return self.range(dot, node),
            Node::Template(call) => self.template(dot, call)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: Value) -> Done<()> {
        if value.is_nil() {
            self.out.write_str("<no value>");
        } else {
            printf::print(self.out, &[value]);
        }
        self.out.failed()
    }

    fn conditional(&mut self, dot: &Value, node: &'t If, with: bool) -> Done<Flow> {
        let mark = self.variables.len();
        for (pipe, list) in &node.arms {
            let value = self.pipeline(dot, pipe)?;
            if value.is_true() {
                let flow = self.list(if with { &value } else { dot }, list)?;
                self.variables.truncate(mark);
                return Ok(flow);
            }
        }
        let mut flow = Flow::On;
        if let Some(list) = &node.otherwise {
            flow = self.list(dot, list)?;
        }
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, node: &'t Branch) -> Done<Flow> {
        let mark = self.variables.len();
        let value = self.pipeline(dot, &node.pipe)?;
        let mut flow = Flow::On;
        if !self.iterate(&value, node)?
            && let Some(list) = &node.otherwise
        {
            flow = self.list(dot, list)?;
        }
        self.variables.truncate(mark);
        Ok(flow)
    }

    /// Walks the elements; returns whether there was one.
    fn iterate(&mut self, value: &Value, node: &'t Branch) -> Done<bool> {
        match value {
            Value::Invalid | Value::Nil => Ok(false),
            Value::Int(..) | Value::Uint(..) => {
                if node.pipe.variables.len() > 1 {
                    let name = value.type_name();
                    return fail(format!(
                        "can't use {name} to iterate over more than one variable"
                    ));
                }
                let end = match value {
                    Value::Int(_, end) => u64::try_from(*end).unwrap_or(0),
                    Value::Uint(_, end) => *end,
                    _ => 0,
                };
                for at in 0..end {
                    let element = match value {
                        Value::Int(kind, _) => Value::Int(*kind, i64::try_from(at).unwrap_or(0)),
                        Value::Uint(kind, _) => Value::Uint(*kind, at),
                        _ => Value::Invalid,
                    };
                    if self.iteration(Value::Invalid, &element, node)? {
                        break;
                    }
                }
                Ok(end > 0)
            }
            Value::List(list) => {
                for (at, item) in list.items.iter().enumerate() {
                    let index = Value::int(i64::try_from(at).unwrap_or(i64::MAX));
                    if self.iteration(index, item, node)? {
                        break;
                    }
                }
                Ok(!list.items.is_empty())
            }
            Value::Map(map) => {
                let entries = map.snapshot();
                self.run.step(entries.len())?;
                for (key, item) in &entries {
                    if self.iteration(Value::String(key.clone()), item, node)? {
                        break;
                    }
                }
                Ok(!entries.is_empty())
            }
            other => fail(format!("range can't iterate over {}", other.type_name())),
        }
    }

    /// One pass through a loop; returns whether it was broken off.
    fn iteration(&mut self, index: Value, element: &Value, node: &'t Branch) -> Done<bool> {
        self.run.step(1)?;
        let mark = self.variables.len();
        let variables = &node.pipe.variables;
        if node.pipe.assigns {
            if let [first, second] = variables.as_slice() {
                self.assign(first, index)?;
                self.assign(second, element.clone())?;
            } else if let Some(only) = variables.first() {
                self.assign(only, element.clone())?;
            }
        } else if !variables.is_empty() {
            // The pipeline has just pushed them, the index first.
            self.variables[mark - 1].1 = element.clone();
            if variables.len() > 1 {
                self.variables[mark - 2].1 = index;
            }
        }
        let flow = self.list(element, &node.list)?;
        self.variables.truncate(mark);
        Ok(flow == Flow::Break)
    }

    fn template(&mut self, dot: &Value, call: &'t Call) -> Done<()> {
        self.place = Place::Call(call);
        let Some((name, nodes)) = self.program.trees.get_key_value(&call.name) else {
            return fail(format!("template {} not defined", quoted(&call.name)));
        };
        let dot = match &call.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Invalid,
        };
        let outer = std::mem::replace(&mut self.template, name);
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.list(&dot, nodes)?;
        self.template = outer;
        self.variables = variables;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Done<()> {
        match self.variables.iter_mut().rev().find(|(n, _)| *n == name) {
            Some((_, slot)) => {
                *slot = value;
                Ok(())
            }
            None => fail(format!("undefined variable: {name}")),
        }
    }
}

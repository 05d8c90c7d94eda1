//! Walks a parsed template, as `text/template` executes it.

use std::fmt;

use crate::error::{Error, Failure};
use crate::functions::{Function, Functions, Type, methods};
use crate::limits::Limit;
use crate::parse::Trees;
use crate::parse::node::{Branch, Call, Command, If, Node, Number, Pipe, Term, What};
use crate::printf;
use crate::run::{Buffer, Run};
use crate::strconv;
use crate::value::{Str, Value};

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

    // ---- actions ----

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

    // ---- values ----

    fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Done<Value> {
        self.place = Place::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(match self.command(dot, command, value)? {
                Value::Nil => Value::Invalid,
                value => value,
            });
        }
        let value = value.unwrap_or(Value::Invalid);
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Done<Value> {
        self.run.step(1)?;
        let first = &command.words[0];
        let arguments = &command.words[1..];
        match &first.what {
            What::Field(names) => {
                self.place = Place::Term(first);
                return self.fields(dot, dot.clone(), names, first, arguments, last);
            }
            What::Chain(inner, names) => {
                return self.chain(dot, first, inner, names, arguments, last);
            }
            What::Identifier(name) => {
                self.place = Place::Term(first);
                return self.function(dot, name, Place::Command(command), arguments, last);
            }
            What::Pipe(pipe) => {
                self.no_arguments(first, arguments, last.as_ref())?;
                return self.deeper(|state| state.pipeline(dot, pipe));
            }
            What::Variable(names) => {
                return self.variable(dot, first, names, arguments, last);
            }
            _ => {}
        }
        self.place = Place::Term(first);
        self.no_arguments(first, arguments, last.as_ref())?;
        match &first.what {
            What::Nil => fail("nil is not a command"),
            What::Dot => Ok(dot.clone()),
            _ => self.constant(first),
        }
    }

    fn no_arguments(&self, first: &Term, arguments: &[Term], last: Option<&Value>) -> Done<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        fail(format!("can't give argument to non-function {first}"))
    }

    /// The value of a constant whose type nothing asks for.
    fn constant(&mut self, term: &'t Term) -> Done<Value> {
        self.place = Place::Term(term);
        match &term.what {
            What::Bool(value) => Ok(Value::Bool(*value)),
            What::String { text, .. } => Ok(Value::String(Str::literal(text))),
            What::Number(number) => ideal(number),
            _ => fail(format!(
                "can't evaluate command {}",
                quoted(term.to_string().as_bytes())
            )),
        }
    }

    fn variable(
        &mut self,
        dot: &Value,
        term: &'t Term,
        names: &'t [String],
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        self.place = Place::Term(term);
        let name = names.first().map_or("", String::as_str);
        let found = self.variables.iter().rev().find(|(n, _)| *n == name);
        let Some((_, value)) = found else {
            return fail(format!("undefined variable: {name}"));
        };
        let value = value.clone();
        if names.len() == 1 {
            self.no_arguments(term, arguments, last.as_ref())?;
            return Ok(value);
        }
        self.fields(dot, value, &names[1..], term, arguments, last)
    }

    fn chain(
        &mut self,
        dot: &Value,
        term: &'t Term,
        inner: &'t Term,
        names: &'t [String],
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        self.place = Place::Term(inner);
        let receiver = match &inner.what {
            What::Pipe(pipe) => self.deeper(|state| state.pipeline(dot, pipe))?,
            What::Identifier(name) => self.function(dot, name, Place::Term(inner), &[], None)?,
            _ => return fail(format!("indirection through explicit nil in {term}")),
        };
        self.fields(dot, receiver, names, term, arguments, last)
    }

    /// Follows `.a.b.c`; the last name may be a method, which takes the arguments.
    fn fields(
        &mut self,
        dot: &Value,
        receiver: Value,
        names: &[String],
        term: &'t Term,
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        let Some((end, first)) = names.split_last() else {
            return Ok(receiver);
        };
        let mut receiver = receiver;
        for name in first {
            receiver = self.field(dot, &receiver, name, term, &[], None)?;
        }
        self.field(dot, &receiver, end, term, arguments, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        name: &str,
        term: &'t Term,
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        let missing_is_error = self.program.missing_key == MissingKey::Error;
        if let Value::Invalid = receiver {
            if missing_is_error {
                let name = quoted(name.as_bytes());
                return fail(format!("nil data; no entry for key {name}"));
            }
            return Ok(Value::Invalid);
        }
        if let Value::Nil = receiver {
            return fail(format!("nil pointer evaluating interface {{}}.{name}"));
        }
        if let Some(method) = methods::find(receiver, name) {
            let receiver = Some(receiver.clone());
            return self.call(
                dot,
                method,
                name,
                receiver,
                Place::Term(term),
                arguments,
                last,
            );
        }
        let has_arguments = !arguments.is_empty() || last.is_some();
        match receiver {
            Value::Map(_) if has_arguments => {
                fail(format!("{name} is not a method but has arguments"))
            }
            Value::Map(map) => match map.get(name.as_bytes()) {
                Some(value) => Ok(value),
                None if missing_is_error => {
                    let name = quoted(name.as_bytes());
                    fail(format!("map has no entry for key {name}"))
                }
                None => Ok(Value::Invalid),
            },
            Value::Certificate(certificate) if matches!(name, "Cert" | "Key") => {
                if has_arguments {
                    return fail(format!(
                        "{name} has arguments but cannot be invoked as function"
                    ));
                }
                let field = if name == "Cert" {
                    &certificate.cert
                } else {
                    &certificate.key
                };
                Ok(Value::String(field.clone()))
            }
            other => {
                let kind = other.type_name();
                fail(format!("can't evaluate field {name} in type {kind}"))
            }
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &str,
        place: Place<'t>,
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        let Some(function) = self.program.functions.get(name) else {
            return fail(format!(
                "{} is not a defined function",
                quoted(name.as_bytes())
            ));
        };
        if function.short_circuits() {
            return self.and_or(dot, name, place, arguments, last);
        }
        self.call(dot, function, name, None, place, arguments, last)
    }

    /// `and` and `or` evaluate no further than they must.
    fn and_or(
        &mut self,
        dot: &Value,
        name: &str,
        _place: Place<'t>,
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        if arguments.is_empty() && last.is_none() {
            return fail(format!(
                "wrong number of args for {name}: want at least 1 got 0"
            ));
        }
        let mut value = Value::Invalid;
        for argument in arguments {
            value = self.argument(dot, Type::Value, argument)?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    #[expect(clippy::too_many_arguments, reason = "what Go's evalCall takes")]
    fn call(
        &mut self,
        dot: &Value,
        function: &'t Function,
        name: &str,
        receiver: Option<Value>,
        place: Place<'t>,
        arguments: &'t [Term],
        last: Option<Value>,
    ) -> Done<Value> {
        let given = arguments.len() + usize::from(last.is_some());
        let fixed = function.parameters.len();
        if function.variadic.is_some() {
            if given < fixed {
                let got = arguments.len();
                return fail(format!(
                    "wrong number of args for {name}: want at least {fixed} got {got}"
                ));
            }
        } else if given != fixed {
            return fail(format!(
                "wrong number of args for {name}: want {fixed} got {given}"
            ));
        }
        let wanted = |at: usize| {
            let variadic = function.variadic.unwrap_or(Type::Any);
            function.parameters.get(at).copied().unwrap_or(variadic)
        };
        let mut values = Vec::with_capacity(given + 1);
        values.extend(receiver);
        for (at, argument) in arguments.iter().enumerate() {
            values.push(self.argument(dot, wanted(at), argument)?);
        }
        if let Some(last) = last {
            values.push(fitted(last, wanted(arguments.len()))?);
        }
        self.run.step(1 + values.len())?;
        let result = (function.body)(self.run, &values);
        drop(values);
        match result {
            Ok(Value::List(list)) if list.depth > self.run.limits.depth => Err(Limit::Depth.into()),
            Ok(value) => Ok(value),
            Err(Failure::Message(message)) => {
                self.place = place;
                fail(format!("error calling {name}: {message}"))
            }
            Err(limit @ Failure::Limit(_)) => Err(limit),
        }
    }

    /// Evaluates an operand as an argument of a type.
    fn argument(&mut self, dot: &Value, wanted: Type, term: &'t Term) -> Done<Value> {
        self.place = Place::Term(term);
        self.run.step(1)?;
        let value = match &term.what {
            What::Dot => dot.clone(),
            What::Nil => match wanted.nil() {
                Some(nil) => return Ok(nil),
                None => return fail(format!("cannot assign nil to {}", wanted.name())),
            },
            What::Field(names) => self.fields(dot, dot.clone(), names, term, &[], None)?,
            What::Variable(names) => self.variable(dot, term, names, &[], None)?,
            What::Pipe(pipe) => self.deeper(|state| state.pipeline(dot, pipe))?,
            What::Identifier(name) => self.function(dot, name, Place::Term(term), &[], None)?,
            What::Chain(inner, names) => self.chain(dot, term, inner, names, &[], None)?,
            What::Bool(_) | What::Number(_) | What::String { .. } => {
                return self.typed_constant(wanted, term);
            }
        };
        fitted(value, wanted)
    }

    fn typed_constant(&mut self, wanted: Type, term: &'t Term) -> Done<Value> {
        use crate::value::{IntType, UintType};
        let expected = |what: &str| fail(format!("expected {what}; found {term}"));
        let number = match &term.what {
            What::Number(number) => Some(number),
            _ => None,
        };
        let int = |kind| match number.and_then(|n| n.int) {
            Some(value) => Ok(Value::Int(kind, value)),
            None => expected("integer"),
        };
        match wanted {
            Type::Any | Type::Value => self.constant(term),
            Type::Bool => match term.what {
                What::Bool(value) => Ok(Value::Bool(value)),
                _ => expected("bool"),
            },
            Type::String => match &term.what {
                What::String { text, .. } => Ok(Value::String(Str::literal(text))),
                _ => expected("string"),
            },
            Type::Int => int(IntType::Int),
            Type::Int64 => int(IntType::Int64),
            Type::Duration => int(IntType::Duration),
            Type::Month => int(IntType::Month),
            Type::Uint32 => match number.and_then(|n| n.uint) {
                // Go's SetUint keeps the low bits.
                Some(value) => Ok(Value::Uint(UintType::Uint32, value & 0xffff_ffff)),
                None => expected("unsigned integer"),
            },
            Type::Float => match number.and_then(|n| n.float) {
                Some(value) => Ok(Value::Float(value)),
                None => expected("float"),
            },
            Type::List | Type::Map | Type::Time | Type::Certificate | Type::Version => fail(
                format!("can't handle {term} for arg of type {}", wanted.name()),
            ),
        }
    }
}

/// Checks that a value can be passed as a type.
fn fitted(value: Value, wanted: Type) -> Done<Value> {
    match value {
        Value::Invalid => match wanted.nil() {
            Some(nil) => Ok(nil),
            None => fail(format!("invalid value; expected {}", wanted.name())),
        },
        Value::Nil if !matches!(wanted, Type::Any | Type::Value) => fail(format!(
            "wrong type for value; expected {}; got interface {{}}",
            wanted.name()
        )),
        value if wanted.takes(&value) => Ok(value),
        value => fail(format!(
            "wrong type for value; expected {}; got {}",
            wanted.name(),
            value.type_name()
        )),
    }
}

/// The value of a number whose type its syntax tells.
fn ideal(number: &Number) -> Done<Value> {
    if let Some((real, imaginary)) = number.complex {
        return Ok(Value::Complex(real, imaginary));
    }
    let source = &number.source;
    let hex = source.len() > 2
        && (source.starts_with("0x") || source.starts_with("0X"))
        && !source.contains(['p', 'P']);
    let looks_like_float = source.contains(['.', 'e', 'E', 'p', 'P']);
    if let Some(float) = number.float
        && !hex
        && !source.starts_with('\'')
        && looks_like_float
    {
        return Ok(Value::Float(float));
    }
    match number.int {
        Some(int) => Ok(Value::int(int)),
        None => fail(format!("{source} overflows int")),
    }
}

//! Evaluates pipelines, commands and operands.

use super::{Done, MissingKey, Place, State, fail, quoted};
use crate::error::Failure;
use crate::functions::{Function, Type, methods};
use crate::limits::Limit;
use crate::parse::node::{Command, Number, Pipe, Term, What};
use crate::value::{Str, Value};

impl<'t> State<'t, '_, '_, '_> {
    pub(super) fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Done<Value> {
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
            return self.and_or(dot, name, arguments, last);
        }
        self.call(dot, function, name, None, place, arguments, last)
    }

    /// `and` and `or` evaluate no further than they must.
    fn and_or(
        &mut self,
        dot: &Value,
        name: &str,
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

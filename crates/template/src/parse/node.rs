//! The parsed template. Shown, a node is its source in Go's canonical form; messages quote it.

use std::fmt;

/// One element of a template.
#[derive(Debug)]
pub(crate) enum Node {
    Text(Vec<u8>),
    Action(Pipe),
    If(If),
    Range(Branch),
    With(If),
    Template(Call),
    Break,
    Continue,
}

/// `{{if}}` or `{{with}}` with all its `else if` or `else with` arms.
#[derive(Debug)]
pub(crate) struct If {
    pub(crate) arms: Vec<(Pipe, Vec<Node>)>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// `{{range}}`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: Vec<Node>,
    pub(crate) otherwise: Option<Vec<Node>>,
}

/// `{{template "name" pipeline}}`.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) at: usize,
    pub(crate) name: Vec<u8>,
    pub(crate) pipe: Option<Pipe>,
}

/// A pipeline with the variables that it sets.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    /// `=` and not `:=`.
    pub(crate) assigns: bool,
    pub(crate) variables: Vec<String>,
    pub(crate) commands: Vec<Command>,
}

/// One stage of a pipeline; never empty.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) at: usize,
    pub(crate) words: Vec<Term>,
}

/// An operand and where it stands.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) at: usize,
    pub(crate) what: What,
}

/// What an operand is.
#[derive(Debug)]
pub(crate) enum What {
    Bool(bool),
    Dot,
    Nil,
    Number(Number),
    String {
        source: String,
        text: Vec<u8>,
    },
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`: the variable with its sign, then fields.
    Variable(Vec<String>),
    /// The name of a function.
    Identifier(String),
    Pipe(Pipe),
    /// `(pipeline).a.b`, `function.a`
    Chain(Box<Term>, Vec<String>),
}

/// A numeric constant in every type that can hold it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Number {
    pub(crate) source: String,
    pub(crate) int: Option<i64>,
    pub(crate) uint: Option<u64>,
    pub(crate) float: Option<f64>,
    pub(crate) complex: Option<(f64, f64)>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::strconv::quote(&self.name, b'"', false);
        write!(f, "{{{{template {}", String::from_utf8_lossy(&name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            match &word.what {
                What::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => write!(f, "{word}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Bool(value) => write!(f, "{value}"),
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Number(number) => f.write_str(&number.source),
            What::String { source, .. } => f.write_str(source),
            What::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            What::Variable(names) => f.write_str(&names.join(".")),
            What::Identifier(name) => f.write_str(name),
            What::Pipe(pipe) => write!(f, "{pipe}"),
            What::Chain(term, names) => {
                match &term.what {
                    What::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{term}")?,
                }
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

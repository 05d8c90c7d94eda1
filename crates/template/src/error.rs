//! Why a template does not parse or render. No message holds a value; what it quotes is the template's own source.

use crate::limits::Limit;

/// Why a template does not parse or render, with Go's message where that holds no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is no template, or names a function that does not exist.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// The template's name.
        name: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An action failed while rendering.
    #[error("template: {location}: executing {} at <{action}>: {message}", quoted(.template))]
    Render {
        /// Name, line (from 1) and byte in the line (from 0), joined by colons.
        location: String,
        /// The template that was executing: a `define` inside has a name of its own.
        template: String,
        /// The source of the action.
        action: String,
        /// What is wrong.
        message: String,
    },
    /// A bound was hit, while parsing or rendering.
    #[error("template: {name}: {limit}")]
    Limit {
        /// The template's name.
        name: String,
        /// Which bound.
        limit: Limit,
    },
}

fn quoted(name: &str) -> String {
    String::from_utf8_lossy(&crate::strconv::quote(name.as_bytes(), b'"', false)).into_owned()
}

/// Why a function or an action fails, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Go's message, without values.
    Message(String),
    Limit(Limit),
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }
}

impl From<Limit> for Failure {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

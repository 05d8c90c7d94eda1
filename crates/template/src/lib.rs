//! Go's `text/template` language with the functions that Sealed Secrets exposes, equal to Go byte for byte.
//!
//! A template is parsed once and rendered over data any number of times. What it may use is bounded by [`Limits`] and by
//! [`Env::expired`]; the clock and the random source are arguments. Values are cleared when they are dropped, and no
//! error shows one: Go's messages keep the place and the cause, and lose the value.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use selkie_secret::SecretBytes;
//! use selkie_template::{Data, Env, Functions, Limits, Template};
//!
//! let template = Template::parse(
//!     "url",
//!     "postgres://{{ .user }}:{{ .password | urlquery }}@db",
//!     Functions::sealed_secrets(),
//!     &Limits::default(),
//! )?;
//! let values = BTreeMap::from([
//!     ("user".to_owned(), SecretBytes::from(b"app".to_vec())),
//!     ("password".to_owned(), SecretBytes::from(b"a/b".to_vec())),
//! ]);
//! let mut env = Env {
//!     now: &|| jiff::Timestamp::UNIX_EPOCH,
//!     expired: &|| false,
//!     random: &mut |bytes| bytes.fill(7), // a real one in a program
//!     local: jiff::tz::TimeZone::UTC,
//!     zones: jiff::tz::TimeZoneDatabase::none(),
//! };
//! let rendered = template.render(&Data::texts(&values), &mut env)?;
//! assert_eq!(rendered.expose(), b"postgres://app:a%2Fb@db");
//! # Ok::<(), selkie_template::Error>(())
//! ```

mod error;
mod exec;
mod functions;
mod json;
mod lexer;
mod limits;
mod parse;
mod printf;
mod run;
mod strconv;
mod text;
mod time;
mod value;

use std::collections::BTreeMap;

use selkie_secret::SecretBytes;

pub use error::Error;
pub use exec::MissingKey;
pub use functions::Functions;
pub use limits::{Limit, Limits};
pub use run::Env;

use error::Failure;
use exec::Program;
use run::{Buffer, Run};
use value::{Entries, MapElement, Str, Value};

/// A parsed template.
pub struct Template {
    name: String,
    source: String,
    trees: parse::Trees,
    functions: &'static Functions,
    limits: Limits,
    missing_key: MissingKey,
}

impl Template {
    /// Parses `source`. The name stands in messages, and `{{template}}` can call the whole by it.
    ///
    /// Fails when the syntax is wrong, when a function does not exist, or when a limit is hit.
    pub fn parse(
        name: &str,
        source: &str,
        functions: &'static Functions,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let is_function = |name: &str| functions.get(name).is_some();
        let trees = parse::parse(name, source, &is_function, limits)?;
        Ok(Self {
            name: name.to_owned(),
            source: source.to_owned(),
            trees,
            functions,
            limits: limits.clone(),
            missing_key: MissingKey::default(),
        })
    }

    /// Sets what a missing key gives.
    #[must_use]
    pub fn missing_key(mut self, missing_key: MissingKey) -> Self {
        self.missing_key = missing_key;
        self
    }

    /// Renders the template over `data`, which is the dot.
    ///
    /// Fails when an action fails or when a limit is hit; there is no partial output.
    pub fn render(&self, data: &Data<'_>, env: &mut Env<'_>) -> Result<SecretBytes, Error> {
        let mut run = Run::new(env, &self.limits);
        let located = |failure| match failure {
            Failure::Limit(limit) => Error::Limit {
                name: self.name.clone(),
                limit,
            },
            Failure::Message(message) => Error::Render {
                location: self.name.clone(),
                template: self.name.clone(),
                action: String::new(),
                message,
            },
        };
        let dot = data.value(&mut run).map_err(located)?;
        let mut out = Buffer::new(self.limits.output, Limit::Output, self.limits.depth);
        let program = Program {
            name: &self.name,
            source: &self.source,
            trees: &self.trees,
            functions: self.functions,
            missing_key: self.missing_key,
        };
        exec::execute(&program, &dot, &mut run, &mut out)?;
        let mut bytes = out.into_bytes().map_err(located)?;
        Ok(SecretBytes::new(std::mem::take(&mut *bytes)))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a template is rendered over.
pub struct Data<'d>(Kind<'d>);

enum Kind<'d> {
    Texts(&'d BTreeMap<String, SecretBytes>),
    Json(&'d [u8]),
}

impl<'d> Data<'d> {
    /// A `map[string]string`: the decrypted values, as Sealed Secrets and the External Secrets Operator pass them.
    pub fn texts(values: &'d BTreeMap<String, SecretBytes>) -> Self {
        Self(Kind::Texts(values))
    }

    /// A tree of `map[string]interface{}`, `[]interface{}` and scalars, from JSON; what is no JSON is nothing.
    pub fn json(source: &'d [u8]) -> Self {
        Self(Kind::Json(source))
    }

    fn value(&self, run: &mut Run<'_, '_>) -> Result<Value, Failure> {
        match self.0 {
            Kind::Texts(values) => {
                let entries: Entries = values
                    .iter()
                    .map(|(key, value)| (Str::from(key.as_str()), Value::string(value.expose())))
                    .collect();
                Ok(run.typed_map(MapElement::String, entries)?.into())
            }
            Kind::Json(source) => Ok(match json::decode(run, source)? {
                // Go's data is then no value at all.
                None | Some(Value::Nil) => Value::Invalid,
                Some(value) => value,
            }),
        }
    }
}

impl std::fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Data(redacted)")
    }
}

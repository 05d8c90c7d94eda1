//! The formats of SOPS files (sops-format.md 11-16).

use std::fmt;
use std::str::FromStr;

use selkie_text::{Limits, ParseError, Stream, Syntax, dotenv, ini, json, yaml};

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML, possibly of several documents.
    Yaml,
    /// One JSON object.
    Json,
    /// `KEY=value` lines.
    Dotenv,
    /// Sections of keys.
    Ini,
    /// Anything else: the whole file is one value, and the encrypted file is JSON.
    Binary,
}

/// A format has no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format `{0}`; the formats are yaml, json, dotenv, ini and binary")]
pub struct FormatError(pub String);

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [
        Self::Yaml,
        Self::Json,
        Self::Dotenv,
        Self::Ini,
        Self::Binary,
    ];

    /// Returns the format whose values stand in a text of this syntax one by one.
    pub(crate) fn of_syntax(syntax: Syntax) -> Self {
        match syntax {
            Syntax::Yaml => Self::Yaml,
            Syntax::Json => Self::Json,
            Syntax::Dotenv => Self::Dotenv,
            Syntax::Ini => Self::Ini,
        }
    }

    /// Returns the format by the suffix of a path; what has none of the known ones is binary (16).
    pub fn of_path(path: &str) -> Self {
        let suffixes = [
            (".yaml", Self::Yaml),
            (".yml", Self::Yaml),
            (".json", Self::Json),
            (".env", Self::Dotenv),
            (".ini", Self::Ini),
        ];
        let known = suffixes.iter().find(|(suffix, _)| path.ends_with(suffix));
        known.map_or(Self::Binary, |(_, format)| *format)
    }

    /// Returns the name that `--input-type` and `--output-type` take.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }

    /// Returns the syntax of the encrypted file; a binary one is JSON.
    pub fn syntax(self) -> Syntax {
        match self {
            Self::Yaml => Syntax::Yaml,
            Self::Json | Self::Binary => Syntax::Json,
            Self::Dotenv => Syntax::Dotenv,
            Self::Ini => Syntax::Ini,
        }
    }

    /// Parses an encrypted file, or a clear one that is not binary.
    pub fn parse(self, source: &str) -> Result<Stream<'_>, ParseError> {
        parse(self.syntax(), source)
    }
}

/// Parses a text in a syntax, with the usual limits.
pub(crate) fn parse(syntax: Syntax, source: &str) -> Result<Stream<'_>, ParseError> {
    let limits = Limits::default();
    match syntax {
        Syntax::Yaml => yaml::parse(source, &limits),
        Syntax::Json => json::parse(source, &limits),
        Syntax::Dotenv => dotenv::parse(source, &limits),
        Syntax::Ini => ini::parse(source, &limits),
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| FormatError(name.to_owned()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_says_the_format() {
        for (path, format) in [
            ("a/b.yaml", Format::Yaml),
            ("b.yml", Format::Yaml),
            ("b.json", Format::Json),
            (".env", Format::Dotenv),
            ("prod.env", Format::Dotenv),
            ("b.ini", Format::Ini),
            ("b.YAML", Format::Binary),
            ("b.env.txt", Format::Binary),
            ("", Format::Binary),
        ] {
            assert_eq!(Format::of_path(path), format, "{path}");
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("toml".parse::<Format>().is_err());
    }
}

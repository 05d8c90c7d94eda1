//! `.sops.yaml`: creation rules, destination rules, stores (sops-format.md 17).
//!
//! Stricter than sops in one way: a field of a rule that no version of sops knows is an error with
//! its place, since a mistyped `encrypted_regexp` would otherwise decide silently what stays in
//! clear. Top-level keys are free, as people keep lists of anchors there.

mod keys;
mod read;

use std::collections::BTreeMap;

use selkie_text::Value;

use crate::key_spec::KeySpec;
use crate::selection::Selection;
use selkie_goregex::GoRegex;

/// A parsed `.sops.yaml`.
#[derive(Debug, Clone)]
pub struct Config {
    rules: Option<Vec<CreationRule>>,
    destinations: Vec<DestinationRule>,
    stores: Stores,
    own: Option<Value>,
    whole_mac: WholeMacRule,
    warnings: Vec<ConfigError>,
}

/// One element of `creation_rules`.
#[derive(Debug, Clone)]
pub struct CreationRule {
    /// Line of the rule in the file, for messages.
    pub line: usize,
    /// The selection that the rule sets, if any.
    pub selection: Option<Selection>,
    /// Whether the MAC covers encrypted leaves only.
    pub mac_only_encrypted: bool,
    /// `shamir_threshold`, unless absent or 0.
    pub threshold: Option<usize>,
    /// What is wrong with the rule; only [`Config::parse_lenient`] leaves one. The rule must not be
    /// used then, and has no keys: sops looks at a rule only when a file comes under it.
    pub problem: Option<ConfigError>,
    groups: Vec<Vec<KeySpec>>,
    /// The keys stand in the rule itself, not in `key_groups`.
    flat: bool,
    path: PathPattern,
}

/// One element of `destination_rules` (17.3).
#[derive(Debug, Clone)]
pub struct DestinationRule {
    /// Line of the rule in the file.
    pub line: usize,
    /// Where matching files go.
    pub destination: Option<Destination>,
    /// Whether the published name loses its extensions.
    pub omit_extensions: bool,
    /// The rule that uploads to buckets are encrypted anew by, if it names keys.
    pub recreation: Option<CreationRule>,
    path: PathPattern,
}

/// A place that files are published to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// An S3 bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// Put before the file's name.
        prefix: String,
    },
    /// A Google Cloud Storage bucket.
    Gcs {
        /// Its name.
        bucket: String,
        /// Put before the file's name.
        prefix: String,
    },
    /// A key-value engine of Vault or OpenBao.
    Vault {
        /// The address; the client's own default where it is absent.
        address: Option<String>,
        /// Path below the mount.
        path: String,
        /// Mount of the engine, `secret/` where none is given.
        mount: String,
        /// 1 or 2.
        version: u8,
    },
}

/// `stores`: how output is laid out. Columns or blanks per level, as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stores {
    /// `stores.yaml.indent`; sops's default is 4.
    pub yaml_indent: Option<i64>,
    /// `stores.json.indent`; sops's default is a tab.
    pub json_indent: Option<i64>,
    /// `stores.json_binary.indent`; sops's default is a tab.
    pub json_binary_indent: Option<i64>,
}

/// Why a `.sops.yaml` cannot be used. Nothing in that file is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ConfigError {
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Which rule a file comes under, and why those before it do not match.
#[derive(Debug, Clone)]
pub struct Explanation<'c> {
    /// 1-based number of the rule and the rule; `None` when none matches.
    pub rule: Option<(usize, &'c CreationRule)>,
    /// The rules before it: number, line, and the `path_regex` that does not match.
    pub passed: Vec<(usize, usize, &'c str)>,
}

/// A rule that can never match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: creation rule {number} can never match: rule {by} on line {by_line} takes every \
     file that it could take; put it before that one, or remove it"
)]
pub struct ShadowedRule {
    /// 1-based number of the rule.
    pub number: usize,
    /// Its line.
    pub line: usize,
    /// Number of the earlier rule.
    pub by: usize,
    /// Its line.
    pub by_line: usize,
}

/// Which files get a whole-file MAC: `selkie.whole_mac`.
#[derive(Debug, Clone, Default)]
enum WholeMacRule {
    #[default]
    None,
    All,
    Paths(Vec<PathPattern>),
}

/// A `path_regex`: as written, and compiled. Absent or empty matches every path.
#[derive(Debug, Clone)]
struct PathPattern(Option<(String, GoRegex)>);

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        let Self(pattern) = self;
        pattern
            .as_ref()
            .is_none_or(|(_, regex)| regex.is_match(path))
    }

    fn text(&self) -> &str {
        self.0.as_ref().map_or("", |(text, _)| text)
    }

    /// Returns whether every path matches, by the forms that people write for that.
    fn is_catch_all(&self) -> bool {
        let text = self.text();
        let text = text.strip_prefix('^').unwrap_or(text);
        let text = text.strip_suffix('$').unwrap_or(text);
        // A path is never empty, so `.+` is as good as `.*`; a lone `^` or `$` matches, too.
        matches!(text, "" | ".*" | ".+" | ".*?" | "(.*)" | "(.+)" | ".")
            && !(text == "." && self.text() != ".")
    }
}

impl Config {
    /// Parses the text of a `.sops.yaml`. An unknown field of a rule is an error.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config = read::config(text)?;
        let problems = config
            .rules()
            .iter()
            .filter_map(|rule| rule.problem.as_ref());
        let first = problems
            .chain(&config.warnings)
            .min_by_key(|error| (error.line, error.column));
        match first {
            Some(error) => Err(error.clone()),
            None => Ok(config),
        }
    }

    /// Parses as sops does, which passes over unknown fields (they are among the
    /// [`Self::warnings`]), and over what is wrong in rules that no file comes under
    /// ([`CreationRule::problem`]).
    pub fn parse_lenient(text: &str) -> Result<Self, ConfigError> {
        read::config(text)
    }

    /// Returns what [`Self::parse`] would have refused.
    pub fn warnings(&self) -> &[ConfigError] {
        &self.warnings
    }

    /// Returns whether the file has a list of creation rules, be it empty: then one must match
    /// (17.2).
    pub fn has_creation_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Returns the creation rules in order.
    pub fn rules(&self) -> &[CreationRule] {
        self.rules.as_deref().unwrap_or_default()
    }

    /// Returns the first rule that matches `path`: the file's absolute path without the prefix of
    /// the config's folder, or the absolute path of a file outside it (17.2).
    pub fn rule_for(&self, path: &str) -> Option<&CreationRule> {
        self.rules().iter().find(|rule| rule.path.matches(path))
    }

    /// Returns the rule that [`Self::rule_for`] finds, and the rules that were passed over.
    pub fn explain(&self, path: &str) -> Explanation<'_> {
        let mut passed = Vec::new();
        for (number, rule) in (1..).zip(self.rules()) {
            if rule.path.matches(path) {
                return Explanation {
                    rule: Some((number, rule)),
                    passed,
                };
            }
            passed.push((number, rule.line, rule.path.text()));
        }
        Explanation { rule: None, passed }
    }

    /// Returns the rules that can never match: behind one that matches everything, or behind one
    /// with the same `path_regex`.
    pub fn shadowed_rules(&self) -> Vec<ShadowedRule> {
        let mut shadowed = Vec::new();
        let mut seen: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let mut all: Option<(usize, usize)> = None;
        for (number, rule) in (1..).zip(self.rules()) {
            let pattern = rule.path.text();
            if let Some((by, by_line)) = all.or_else(|| seen.get(pattern).copied()) {
                shadowed.push(ShadowedRule {
                    number,
                    line: rule.line,
                    by,
                    by_line,
                });
                continue;
            }
            seen.insert(pattern, (number, rule.line));
            if rule.path.is_catch_all() {
                all = Some((number, rule.line));
            }
        }
        shadowed
    }

    /// Returns the first destination rule that matches `path`, the path as typed (17.3).
    pub fn destination_for(&self, path: &str) -> Option<&DestinationRule> {
        let mut rules = self.destinations.iter();
        rules.find(|rule| rule.path.matches(path))
    }

    /// Returns the `stores` section.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Returns whether new files at `path` (as in [`Self::rule_for`]) get a whole-file MAC.
    pub fn asks_whole_mac(&self, path: &str) -> bool {
        match &self.whole_mac {
            WholeMacRule::None => false,
            WholeMacRule::All => true,
            WholeMacRule::Paths(patterns) => patterns.iter().any(|one| one.matches(path)),
        }
    }

    /// Returns the `selkie:` section, which sops passes over, as it was read.
    pub fn own_section(&self) -> Option<&Value> {
        self.own.as_ref()
    }
}

impl CreationRule {
    /// Returns the key groups: one for keys in the rule itself; none when it names no keys.
    ///
    /// `context` is the encryption context of the command line, which sops applies to the `kms`
    /// keys of the rule itself, not to those of `key_groups`.
    pub fn groups(&self, context: &BTreeMap<String, String>) -> Vec<Vec<KeySpec>> {
        let mut groups = self.groups.clone();
        for spec in groups.iter_mut().flatten().filter(|_| self.flat) {
            if let KeySpec::Kms(kms) = spec {
                kms.context.clone_from(context);
            }
        }
        groups
    }

    /// Returns the `path_regex` as written; empty when the rule matches every file.
    pub fn path_regex(&self) -> &str {
        self.path.text()
    }
}

#[cfg(test)]
mod tests;

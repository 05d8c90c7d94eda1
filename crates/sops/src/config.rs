//! `.sops.yaml`: creation rules (sops-format.md 17).
//!
//! Stricter than sops in one way: a key that no version of sops knows is an error with its place,
//! since a mistyped `encrypted_regexp` would otherwise decide silently what stays in clear.

use selkie_text::yaml::{self, Kind, NodeId, Scalar, Stream};

use crate::keys::KeyKind;
use crate::regex::GoRegex;
use crate::selection::{Selection, SelectionSettings};
use crate::tree;

/// A parsed `.sops.yaml`.
#[derive(Debug, Clone)]
pub struct Config {
    rules: Option<Vec<CreationRule>>,
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
    path: Option<GoRegex>,
    age: Vec<String>,
    /// Kinds of keys that the rule names and that cannot be used yet.
    unsupported: Vec<KeyKind>,
    /// How many groups `key_groups` has, when above one.
    groups: usize,
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

/// Why a rule that applies cannot be used yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It names keys of other kinds. Encrypting without them would lock their owners out.
    #[error(
        "the creation rule on line {line} names keys of type {kinds}, which are not supported yet; \
         only age is"
    )]
    UnsupportedKeys {
        /// Line of the rule.
        line: usize,
        /// The kinds, joined by commas.
        kinds: String,
    },
    /// It has several key groups.
    #[error(
        "the creation rule on line {line} has {groups} key groups (Shamir), \
         which are not supported yet; only one group is"
    )]
    KeyGroups {
        /// Line of the rule.
        line: usize,
        /// Their number.
        groups: usize,
    },
}

impl Config {
    /// Parses the text of a `.sops.yaml`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let stream = yaml::parse(text, &yaml::Limits::default()).map_err(|error| ConfigError {
            line: error.line,
            column: error.column,
            reason: error.reason,
        })?;
        let reader = Reader { stream: &stream };
        let root = stream
            .documents()
            .first()
            .and_then(|document| document.root);
        let Some(root) = root.filter(|root| !reader.is_null(*root)) else {
            return Ok(Self { rules: None });
        };
        let mut rules = None;
        for (name, key, value) in reader.fields(root, "the file")? {
            match name.as_str() {
                "creation_rules" if reader.is_null(value) => {}
                "creation_rules" => {
                    let list = reader.list(value, "creation_rules")?;
                    let parsed: Result<_, _> = list.into_iter().map(|n| reader.rule(n)).collect();
                    rules = Some(parsed?);
                }
                "destination_rules" | "stores" => {}
                _ => return Err(reader.unknown(key, &name, TOP_KEYS)),
            }
        }
        Ok(Self { rules })
    }

    /// Returns whether the file has a list of creation rules, be it empty: then one must match
    /// (17.2).
    pub fn has_creation_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Returns the first rule that matches `path`: the file's absolute path without the prefix of
    /// the config's folder, or the absolute path of a file outside it (17.2).
    pub fn rule_for(&self, path: &str) -> Option<&CreationRule> {
        let rules = self.rules.as_deref().unwrap_or_default();
        rules
            .iter()
            .find(|rule| rule.path.as_ref().is_none_or(|regex| regex.is_match(path)))
    }
}

impl CreationRule {
    /// Returns the age recipients as written, one per element; empty when the rule names no keys.
    ///
    /// Fails when the rule asks for keys that cannot be used yet, all of which sops would wrap for.
    pub fn recipients(&self) -> Result<&[String], RuleError> {
        if self.groups > 1 {
            return Err(RuleError::KeyGroups {
                line: self.line,
                groups: self.groups,
            });
        }
        if !self.unsupported.is_empty() {
            let names: Vec<&str> = self.unsupported.iter().map(|kind| kind.name()).collect();
            return Err(RuleError::UnsupportedKeys {
                line: self.line,
                kinds: names.join(", "),
            });
        }
        Ok(&self.age)
    }
}

const TOP_KEYS: &[&str] = &["creation_rules", "destination_rules", "stores"];
const RULE_KEYS: &[&str] = &[
    "path_regex",
    "age",
    "pgp",
    "kms",
    "gcp_kms",
    "hckms",
    "azure_keyvault",
    "hc_vault_transit_uri",
    "aws_profile",
    "key_groups",
    "shamir_threshold",
    "unencrypted_suffix",
    "encrypted_suffix",
    "unencrypted_regex",
    "encrypted_regex",
    "unencrypted_comment_regex",
    "encrypted_comment_regex",
    "mac_only_encrypted",
];
const GROUP_KEYS: &[&str] = &[
    "merge",
    "age",
    "pgp",
    "kms",
    "gcp_kms",
    "hckms",
    "azure_keyvault",
    "hc_vault",
];

/// Returns the kind of keys that a field of a rule or a group lists (17.2: not the names of 7.1).
fn kind_of(field: &str) -> Option<KeyKind> {
    Some(match field {
        "pgp" => KeyKind::Pgp,
        "kms" => KeyKind::Kms,
        "gcp_kms" => KeyKind::GcpKms,
        "hckms" => KeyKind::Hckms,
        "azure_keyvault" => KeyKind::AzureKv,
        "hc_vault_transit_uri" | "hc_vault" => KeyKind::HcVault,
        _ => return None,
    })
}

/// Reads nodes, and says where something is wrong.
struct Reader<'r, 's> {
    stream: &'r Stream<'s>,
}

impl Reader<'_, '_> {
    fn rule(&self, node: NodeId) -> Result<CreationRule, ConfigError> {
        let mut rule = CreationRule {
            line: tree::line_of(self.stream, node),
            selection: None,
            mac_only_encrypted: false,
            path: None,
            age: Vec::new(),
            unsupported: Vec::new(),
            groups: 0,
        };
        let mut settings = SelectionSettings::default();
        let mut key_groups = None;
        for (name, key, value) in self.fields(node, "a creation rule")? {
            let setting = match name.as_str() {
                "unencrypted_suffix" => &mut settings.unencrypted_suffix,
                "encrypted_suffix" => &mut settings.encrypted_suffix,
                "unencrypted_regex" => &mut settings.unencrypted_regex,
                "encrypted_regex" => &mut settings.encrypted_regex,
                "unencrypted_comment_regex" => &mut settings.unencrypted_comment_regex,
                "encrypted_comment_regex" => &mut settings.encrypted_comment_regex,
                other => {
                    match other {
                        "path_regex" => rule.path = self.path_regex(value)?,
                        "age" => rule.age = self.strings(value, "age")?,
                        "key_groups" => key_groups = Some(value),
                        "mac_only_encrypted" => rule.mac_only_encrypted = self.boolean(value)?,
                        "aws_profile" | "shamir_threshold" => {}
                        _ => self.other_keys(&name, key, value, RULE_KEYS, &mut rule)?,
                    }
                    continue;
                }
            };
            *setting = self.string(value, &name)?;
        }
        rule.selection = settings
            .compile()
            .map_err(|error| self.error(node, error.to_string()))?;
        if let Some(node) = key_groups {
            self.key_groups(node, &mut rule)?;
        }
        Ok(rule)
    }

    /// Reads `key_groups`; when not empty, the flat lists of the rule are ignored (17.2).
    fn key_groups(&self, node: NodeId, rule: &mut CreationRule) -> Result<(), ConfigError> {
        let groups = self.list(node, "key_groups")?;
        if groups.is_empty() {
            return Ok(());
        }
        rule.groups = groups.len();
        rule.age.clear();
        rule.unsupported.clear();
        for group in groups {
            self.group(group, rule, 0)?;
        }
        Ok(())
    }

    fn group(
        &self,
        node: NodeId,
        rule: &mut CreationRule,
        depth: usize,
    ) -> Result<(), ConfigError> {
        if depth > 100 {
            return Err(self.error(node, "key groups are merged too deep".to_owned()));
        }
        for (name, key, value) in self.fields(node, "a key group")? {
            match name.as_str() {
                "age" => rule.age.extend(self.strings(value, "age")?),
                "merge" => {
                    for inner in self.list(value, "merge")? {
                        self.group(inner, rule, depth + 1)?;
                    }
                }
                _ => self.other_keys(&name, key, value, GROUP_KEYS, rule)?,
            }
        }
        Ok(())
    }

    /// Notes keys of a kind that cannot be used yet, unless the list is empty.
    fn other_keys(
        &self,
        name: &str,
        key: NodeId,
        value: NodeId,
        known: &[&str],
        rule: &mut CreationRule,
    ) -> Result<(), ConfigError> {
        let Some(kind) = kind_of(name).filter(|_| known.contains(&name)) else {
            return Err(self.unknown(key, name, known));
        };
        let node = self.stream.node(value);
        let empty = match node.kind {
            Kind::Scalar => node.value.trim_matches([' ', ',']).is_empty() || self.is_null(value),
            _ => node.children.is_empty(),
        };
        if !empty && !rule.unsupported.contains(&kind) {
            rule.unsupported.push(kind);
        }
        Ok(())
    }

    fn path_regex(&self, node: NodeId) -> Result<Option<GoRegex>, ConfigError> {
        let Some(pattern) = self
            .string(node, "path_regex")?
            .filter(|text| !text.is_empty())
        else {
            return Ok(None);
        };
        GoRegex::new(&pattern)
            .map(Some)
            .map_err(|error| self.error(node, format!("path_regex: {error}")))
    }

    /// Returns the entries of a mapping as name, key node, value node.
    fn fields(
        &self,
        node: NodeId,
        what: &str,
    ) -> Result<Vec<(String, NodeId, NodeId)>, ConfigError> {
        if self.stream.node(node).kind != Kind::Mapping {
            return Err(self.error(node, format!("{what} is not a mapping")));
        }
        let mut fields: Vec<(String, NodeId, NodeId)> = Vec::new();
        for (key, value) in self.stream.entries(node) {
            let name = tree::key_text(self.stream, key)
                .ok_or_else(|| self.error(key, "a key is not a string".to_owned()))?;
            if fields.iter().any(|(other, ..)| *other == name) {
                return Err(self.error(key, format!("the key `{name}` is there twice")));
            }
            fields.push((name.into_owned(), key, self.stream.target(value)));
        }
        Ok(fields)
    }

    fn list(&self, node: NodeId, name: &str) -> Result<Vec<NodeId>, ConfigError> {
        let found = self.stream.node(node);
        match found.kind {
            Kind::Sequence => Ok(found
                .children
                .iter()
                .map(|child| self.stream.target(*child))
                .collect()),
            _ if self.is_null(node) => Ok(Vec::new()),
            _ => Err(self.error(node, format!("{name} is not a list"))),
        }
    }

    /// Reads a text that may be a comma-separated list, or a list of such texts (17.2).
    fn strings(&self, node: NodeId, name: &str) -> Result<Vec<String>, ConfigError> {
        let nodes = if self.stream.node(node).kind == Kind::Sequence {
            self.list(node, name)?
        } else {
            vec![node]
        };
        let mut texts = Vec::new();
        for node in nodes {
            let text = self.string(node, name)?.unwrap_or_default();
            texts.extend(
                text.split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty()),
            );
        }
        Ok(texts)
    }

    fn string(&self, node: NodeId, name: &str) -> Result<Option<String>, ConfigError> {
        let found = self.stream.node(node);
        if found.kind != Kind::Scalar {
            return Err(self.error(node, format!("{name} is not a text")));
        }
        match self.stream.resolve(node) {
            Ok(Scalar::Null) => Ok(None),
            Ok(Scalar::Str(text)) => Ok(Some(text.into_owned())),
            Ok(_) => Ok(Some(found.value.to_string())),
            Err(_) => Err(self.error(node, format!("{name} does not fit its tag"))),
        }
    }

    fn boolean(&self, node: NodeId) -> Result<bool, ConfigError> {
        match self.stream.resolve(node) {
            Ok(Scalar::Bool(value)) => Ok(value),
            Ok(Scalar::Null) => Ok(false),
            _ => Err(self.error(node, "mac_only_encrypted is not true or false".to_owned())),
        }
    }

    fn is_null(&self, node: NodeId) -> bool {
        self.stream.node(node).kind == Kind::Scalar
            && matches!(self.stream.resolve(node), Ok(Scalar::Null))
    }

    fn unknown(&self, key: NodeId, name: &str, known: &[&str]) -> ConfigError {
        let hint = known
            .iter()
            .find(|candidate| similar(candidate, name))
            .map_or_else(
                || format!("known here: {}", known.join(", ")),
                |candidate| format!("did you mean `{candidate}`?"),
            );
        self.error(key, format!("unknown key `{name}`; {hint}"))
    }

    fn error(&self, node: NodeId, reason: String) -> ConfigError {
        let (line, column) = self.stream.line_column(self.stream.node(node).span.start);
        ConfigError {
            line,
            column,
            reason,
        }
    }
}

/// Returns whether two names differ in case, separators, or one or two letters.
fn similar(known: &str, written: &str) -> bool {
    let plain = |text: &str| -> Vec<char> {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let (known, written) = (plain(known), plain(written));
    let mut row: Vec<usize> = (0..=written.len()).collect();
    for (i, a) in known.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in written.iter().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[written.len()] <= 2.min(known.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_wins() {
        let config = Config::parse(
            "creation_rules:\n  - path_regex: \\.prod\\.yaml$\n    age: age1a, age1b\n    \
             encrypted_regex: ^data$\n  - path_regex: ^dev/\n    age:\n      - age1c\n      - age1d,age1e\n    \
             mac_only_encrypted: true\n  - key_groups:\n      - age: [age1f]\n        merge:\n          - age: [age1g]\n",
        )
        .unwrap();
        let recipients = |path: &str| {
            config
                .rule_for(path)
                .unwrap()
                .recipients()
                .unwrap()
                .to_vec()
        };
        assert_eq!(recipients("x.prod.yaml"), ["age1a", "age1b"]);
        assert_eq!(recipients("dev/x.yaml"), ["age1c", "age1d", "age1e"]);
        assert_eq!(recipients("other.yaml"), ["age1f", "age1g"]);
        let rule = config.rule_for("x.prod.yaml").unwrap();
        assert_eq!(rule.line, 2);
        assert_eq!(
            rule.selection.as_ref().and_then(Selection::setting),
            Some(("encrypted_regex", "^data$"))
        );
        assert!(config.rule_for("dev/x.yaml").unwrap().mac_only_encrypted);
    }

    #[test]
    fn no_rules_and_no_match_are_different() {
        for text in [
            "",
            "# nothing\n",
            "stores: {yaml: {indent: 2}}\n",
            "creation_rules:\n",
        ] {
            assert!(!Config::parse(text).unwrap().has_creation_rules(), "{text}");
        }
        let empty = Config::parse("creation_rules: []\n").unwrap();
        assert!(empty.has_creation_rules() && empty.rule_for("a").is_none());
    }

    #[test]
    fn what_is_not_supported_yet_is_named_when_the_rule_applies() {
        let config = Config::parse(
            "creation_rules:\n  - path_regex: a\n    age: age1a\n    kms: arn:aws:kms:x\n    pgp: ''\n    hc_vault_transit_uri: [u]\n  \
             - path_regex: b\n    key_groups:\n      - age: [age1a]\n      - age: [age1b]\n  - age: age1z\n",
        )
        .unwrap();
        let error = |path: &str| config.rule_for(path).unwrap().recipients().unwrap_err();
        assert_eq!(
            error("a"),
            RuleError::UnsupportedKeys {
                line: 2,
                kinds: "kms, hc_vault".to_owned()
            }
        );
        assert_eq!(error("b"), RuleError::KeyGroups { line: 7, groups: 2 });
        assert!(config.rule_for("z").unwrap().recipients().is_ok());
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, message) in [
            (
                "creation_rules:\n  - age: x\n    encrypted_regexp: a\n",
                "line 3, column 5: unknown key `encrypted_regexp`; did you mean `encrypted_regex`?",
            ),
            (
                "creation_rule: []\n",
                "line 1, column 1: unknown key `creation_rule`; did you mean `creation_rules`?",
            ),
            (
                "creation_rules:\n  - color: red\n",
                "line 2, column 5: unknown key `color`; known here: path_regex",
            ),
            (
                "creation_rules:\n  - encrypted_regex: (\n",
                "line 2, column 5: encrypted_regex: the regular expression `(` does not compile",
            ),
            (
                "creation_rules:\n  - path_regex: '['\n",
                "line 2, column 17: path_regex: the regular expression `[` does not compile",
            ),
            (
                "creation_rules:\n  - encrypted_regex: a\n    encrypted_suffix: b\n",
                "line 2, column 5: encrypted_suffix and encrypted_regex are both set",
            ),
            (
                "creation_rules: 5\n",
                "line 1, column 17: creation_rules is not a list",
            ),
            ("- a\n", "line 1, column 1: the file is not a mapping"),
            (
                "creation_rules:\n  - age: {a: b}\n",
                "line 2, column 10: age is not a text",
            ),
            (
                "creation_rules:\n  - age: a\n    age: b\n",
                "line 3, column 5: the key `age` is there twice",
            ),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        assert!(Config::parse("a: [").is_err());
    }
}

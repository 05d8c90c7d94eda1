//! From YAML nodes to rules; says where something is wrong.

use std::cell::RefCell;

use selkie_text::yaml;
use selkie_text::{Kind, NodeId, Scalar, Stream};

use super::keys::{FLAT, unique};
use super::{
    Config, ConfigError, CreationRule, Destination, DestinationRule, PathPattern, Stores,
    WholeMacRule,
};
use crate::key_spec::KeySpec;
use crate::selection::SelectionSettings;
use crate::tree;
use selkie_goregex::GoRegex;

const TOP_FIELDS: &[&str] = &["creation_rules", "destination_rules", "stores", "selkie"];
const RULE_FIELDS: &[&str] = &[
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
const DESTINATION_FIELDS: &[&str] = &[
    "path_regex",
    "s3_bucket",
    "s3_prefix",
    "gcs_bucket",
    "gcs_prefix",
    "vault_path",
    "vault_address",
    "vault_kv_mount_name",
    "vault_kv_version",
    "recreation_rule",
    "omit_extensions",
];
/// Of the section `selkie`.
const OWN_FIELDS: &[&str] = &["whole_mac"];
const STORES: &[&str] = &["yaml", "json", "json_binary", "dotenv", "ini"];

/// Most fields that merge keys (`<<`) may bring into one mapping.
const MAX_FIELDS: usize = 1_000;

/// Parses a file; unknown fields are among the warnings.
pub(super) fn config(text: &str) -> Result<Config, ConfigError> {
    let stream = yaml::parse(text, &yaml::Limits::default()).map_err(|error| ConfigError {
        line: error.line,
        column: error.column,
        reason: error.reason,
    })?;
    let reader = Reader {
        stream: &stream,
        unknown: RefCell::default(),
    };
    let mut config = Config {
        rules: None,
        destinations: Vec::new(),
        stores: Stores::default(),
        own: None,
        whole_mac: WholeMacRule::None,
        warnings: Vec::new(),
    };
    let root = stream.documents().first().and_then(|first| first.root);
    let Some(root) = root.filter(|root| !reader.is_null(*root)) else {
        return Ok(config);
    };
    for (name, key, value) in reader.fields(root, "the file")? {
        match name.as_str() {
            "creation_rules" if reader.is_null(value) => {}
            "creation_rules" => {
                let list = reader.list(value, &name)?.into_iter();
                let rules = list.map(|node| match reader.rule(node) {
                    Ok(rule) => rule,
                    Err(problem) => reader.broken_rule(node, problem),
                });
                config.rules = Some(rules.collect());
            }
            "destination_rules" => {
                let list = reader.list(value, &name)?.into_iter();
                let rules: Result<_, _> = list.map(|node| reader.destination(node)).collect();
                config.destinations = rules?;
            }
            "stores" => config.stores = reader.stores(value)?,
            "selkie" => {
                let read = stream.node_value(value);
                config.own = Some(read.map_err(|error| reader.error(value, error.to_string()))?);
                // sops passes over the section, so it stops nobody under that name.
                match reader.own(value) {
                    Ok(rule) => config.whole_mac = rule,
                    Err(problem) => reader.unknown.borrow_mut().push(problem),
                }
            }
            // Free, but for what is surely a slip.
            _ if TOP_FIELDS.iter().any(|known| similar(known, &name)) => {
                reader.unknown(key, &name, TOP_FIELDS);
            }
            _ => {}
        }
    }
    config.warnings = reader.unknown.take();
    Ok(config)
}

/// Reads nodes, and says where something is wrong.
pub(super) struct Reader<'r, 's> {
    pub(super) stream: &'r Stream<'s>,
    /// Fields that sops would pass over.
    unknown: RefCell<Vec<ConfigError>>,
}

impl Reader<'_, '_> {
    fn rule(&self, node: NodeId) -> Result<CreationRule, ConfigError> {
        let mut settings = SelectionSettings::default();
        let mut path = PathPattern(None);
        let mut keys: Vec<KeySpec> = Vec::new();
        let (mut groups, mut profile, mut threshold) = (Vec::new(), None, None);
        let mut mac_only_encrypted = false;
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
                        "path_regex" => path = self.path_regex(value)?,
                        "key_groups" => groups = self.key_groups(value)?,
                        "aws_profile" => profile = self.string(value, other)?,
                        "shamir_threshold" => threshold = self.threshold(value)?,
                        "mac_only_encrypted" => mac_only_encrypted = self.boolean(value, other)?,
                        _ => match FLAT.iter().find(|(flat, _)| *flat == other) {
                            Some((_, kind)) => keys.extend(self.flat_keys(value, other, *kind)?),
                            None => self.unknown(key, other, RULE_FIELDS),
                        },
                    }
                    continue;
                }
            };
            *setting = self.string(value, &name)?;
        }
        let selection = settings
            .compile()
            .map_err(|error| self.error(node, error.to_string()))?;
        for key in &mut keys {
            if let KeySpec::Kms(kms) = key {
                kms.profile = profile.clone().filter(|text| !text.is_empty());
            }
        }
        // When there are groups, the flat lists of the rule are ignored (17.2).
        let flat = groups.is_empty();
        if flat && !keys.is_empty() {
            groups = vec![unique(keys)];
        }
        Ok(CreationRule {
            line: tree::line_of(self.stream, node),
            selection,
            mac_only_encrypted,
            threshold,
            groups,
            problem: None,
            flat,
            path,
        })
    }

    /// Returns a rule that matches what the broken one would, or everything if that is unknown.
    fn broken_rule(&self, node: NodeId, problem: ConfigError) -> CreationRule {
        let fields = self.fields(node, "a creation rule").unwrap_or_default();
        let path = fields.into_iter().find(|(name, ..)| name == "path_regex");
        let path = path.and_then(|(_, _, value)| self.path_regex(value).ok());
        CreationRule {
            line: tree::line_of(self.stream, node),
            selection: None,
            mac_only_encrypted: false,
            threshold: None,
            groups: Vec::new(),
            problem: Some(problem),
            flat: true,
            path: path.unwrap_or(PathPattern(None)),
        }
    }

    fn destination(&self, node: NodeId) -> Result<DestinationRule, ConfigError> {
        let mut rule = DestinationRule {
            line: tree::line_of(self.stream, node),
            destination: None,
            omit_extensions: false,
            recreation: None,
            path: PathPattern(None),
        };
        let mut texts = std::collections::BTreeMap::new();
        let mut version = 2;
        for (name, key, value) in self.fields(node, "a destination rule")? {
            match name.as_str() {
                "path_regex" => rule.path = self.path_regex(value)?,
                "omit_extensions" => rule.omit_extensions = self.boolean(value, &name)?,
                "recreation_rule" if self.is_null(value) => {}
                "recreation_rule" => rule.recreation = Some(self.rule(value)?),
                "vault_kv_version" => {
                    version = match self.stream.resolve(value) {
                        Ok(Scalar::Null | Scalar::Int(0 | 2)) => 2,
                        Ok(Scalar::Int(1)) => 1,
                        _ => return Err(self.error(value, format!("{name} is not 1 or 2"))),
                    }
                }
                _ if DESTINATION_FIELDS.contains(&name.as_str()) => {
                    let text = self.string(value, &name)?.filter(|text| !text.is_empty());
                    if let Some(text) = text {
                        texts.insert(name, text);
                    }
                }
                _ => self.unknown(key, &name, DESTINATION_FIELDS),
            }
        }
        let mut take = |name: &str| texts.remove(name);
        let prefixes = (
            take("s3_prefix").unwrap_or_default(),
            take("gcs_prefix").unwrap_or_default(),
        );
        let mut found: Vec<Destination> = Vec::new();
        found.extend(take("s3_bucket").map(|bucket| Destination::S3 {
            bucket,
            prefix: prefixes.0,
        }));
        found.extend(take("gcs_bucket").map(|bucket| Destination::Gcs {
            bucket,
            prefix: prefixes.1,
        }));
        let mount = take("vault_kv_mount_name").unwrap_or_else(|| "secret/".to_owned());
        let address = take("vault_address");
        found.extend(take("vault_path").map(|path| Destination::Vault {
            address,
            path,
            mount,
            version,
        }));
        if found.len() > 1 {
            let reason =
                "a destination rule names more than one of s3_bucket, gcs_bucket, vault_path";
            return Err(self.error(node, reason.to_owned()));
        }
        rule.destination = found.pop();
        Ok(rule)
    }

    /// Reads the section `selkie`.
    fn own(&self, node: NodeId) -> Result<WholeMacRule, ConfigError> {
        let mut rule = WholeMacRule::None;
        if self.is_null(node) {
            return Ok(rule);
        }
        for (name, key, value) in self.fields(node, "selkie")? {
            if name != "whole_mac" {
                // Of a later version, unless it is surely a slip.
                if OWN_FIELDS.iter().any(|known| similar(known, &name)) {
                    self.unknown(key, &name, OWN_FIELDS);
                }
            } else if self.stream.node(value).kind == Kind::Sequence {
                let paths = self.list(value, &name)?.into_iter();
                let paths: Result<_, _> = paths.map(|path| self.path_regex(path)).collect();
                rule = WholeMacRule::Paths(paths?);
            } else if self.boolean(value, &name)? {
                rule = WholeMacRule::All;
            }
        }
        Ok(rule)
    }

    fn stores(&self, node: NodeId) -> Result<Stores, ConfigError> {
        let mut stores = Stores::default();
        if self.is_null(node) {
            return Ok(stores);
        }
        for (name, key, value) in self.fields(node, "stores")? {
            let indent = match name.as_str() {
                "yaml" => &mut stores.yaml_indent,
                "json" => &mut stores.json_indent,
                "json_binary" => &mut stores.json_binary_indent,
                "dotenv" | "ini" => continue,
                _ => {
                    self.unknown(key, &name, STORES);
                    continue;
                }
            };
            if self.is_null(value) {
                continue;
            }
            for (field, key, value) in self.fields(value, &name)? {
                match (field.as_str(), self.stream.resolve(value)) {
                    ("indent", Ok(Scalar::Int(columns))) => *indent = Some(columns),
                    ("indent", Ok(Scalar::Null)) => {}
                    ("indent", _) => {
                        return Err(self.error(value, "indent is not a whole number".to_owned()));
                    }
                    _ => self.unknown(key, &field, &["indent"]),
                }
            }
        }
        Ok(stores)
    }

    fn path_regex(&self, node: NodeId) -> Result<PathPattern, ConfigError> {
        let pattern = self.string(node, "path_regex")?;
        let Some(pattern) = pattern.filter(|text| !text.is_empty()) else {
            return Ok(PathPattern(None));
        };
        match GoRegex::new(&pattern) {
            Ok(regex) => Ok(PathPattern(Some((pattern, regex)))),
            Err(error) => Err(self.error(node, format!("path_regex: {error}"))),
        }
    }

    fn threshold(&self, node: NodeId) -> Result<Option<usize>, ConfigError> {
        match self.stream.resolve(node) {
            Ok(Scalar::Null) => Ok(None),
            Ok(Scalar::Int(number)) if number >= 0 => {
                Ok(usize::try_from(number).ok().filter(|number| *number > 0))
            }
            _ => Err(self.error(node, "shamir_threshold is not a whole number".to_owned())),
        }
    }

    /// Returns the entries of a mapping as name, key node, value node. Merge keys (`<<`) bring in
    /// the entries of other mappings that it has not itself, as go-yaml does.
    pub(super) fn fields(
        &self,
        node: NodeId,
        what: &str,
    ) -> Result<Vec<(String, NodeId, NodeId)>, ConfigError> {
        let mut fields: Vec<(String, NodeId, NodeId)> = Vec::new();
        let mut pending = vec![node];
        let mut met = 0;
        while let Some(node) = pending.pop() {
            if self.stream.node(node).kind != Kind::Mapping {
                return Err(self.error(node, format!("{what} is not a mapping")));
            }
            let own = fields.len();
            let mut merged = Vec::new();
            for (key, value) in self.stream.entries(node) {
                met += 1;
                if met > MAX_FIELDS {
                    return Err(self.error(key, format!("{what} has too many fields")));
                }
                let value = self.stream.target(value);
                if matches!(self.stream.resolve(key), Ok(Scalar::Merge)) {
                    match self.stream.node(value).kind {
                        Kind::Sequence => merged.extend(self.list(value, "<<")?),
                        _ => merged.push(value),
                    }
                    continue;
                }
                let name = tree::key_text(self.stream, key)
                    .ok_or_else(|| self.error(key, "a key is not a string".to_owned()))?;
                match fields.iter().position(|(other, ..)| *other == name) {
                    // Met before through another mapping, which comes first.
                    Some(at) if at < own => {}
                    Some(_) => {
                        return Err(self.error(key, format!("the key `{name}` is there twice")));
                    }
                    None => fields.push((name.into_owned(), key, value)),
                }
            }
            merged.reverse();
            pending.extend(merged);
        }
        Ok(fields)
    }

    pub(super) fn list(&self, node: NodeId, name: &str) -> Result<Vec<NodeId>, ConfigError> {
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

    /// Returns a text, or the texts of a list, each with its place.
    pub(super) fn texts(
        &self,
        node: NodeId,
        name: &str,
    ) -> Result<Vec<(NodeId, String)>, ConfigError> {
        let nodes = match self.stream.node(node).kind {
            Kind::Sequence => self.list(node, name)?,
            _ => vec![node],
        };
        let texts = nodes.into_iter().map(|node| {
            let text = self.string(node, name)?.unwrap_or_default();
            Ok((node, text))
        });
        texts.collect()
    }

    pub(super) fn string(&self, node: NodeId, name: &str) -> Result<Option<String>, ConfigError> {
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

    fn boolean(&self, node: NodeId, name: &str) -> Result<bool, ConfigError> {
        match self.stream.resolve(node) {
            Ok(Scalar::Bool(value)) => Ok(value),
            Ok(Scalar::Null) => Ok(false),
            _ => Err(self.error(node, format!("{name} is not true or false"))),
        }
    }

    pub(super) fn is_null(&self, node: NodeId) -> bool {
        self.stream.node(node).kind == Kind::Scalar
            && matches!(self.stream.resolve(node), Ok(Scalar::Null))
    }

    /// Notes a field that sops would pass over.
    pub(super) fn unknown(&self, key: NodeId, name: &str, known: &[&str]) {
        let hint = known
            .iter()
            .find(|candidate| similar(candidate, name))
            .map_or_else(
                || format!("known here: {}", known.join(", ")),
                |candidate| format!("did you mean `{candidate}`?"),
            );
        let error = self.error(key, format!("unknown key `{name}`; {hint}"));
        self.unknown.borrow_mut().push(error);
    }

    pub(super) fn error(&self, node: NodeId, reason: String) -> ConfigError {
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

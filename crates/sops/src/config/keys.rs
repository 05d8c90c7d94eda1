//! The keys of a rule: flat lists, and `key_groups` (sops-format.md 17.2).

use std::collections::BTreeMap;

use selkie_text::{Kind, NodeId};

use super::ConfigError;
use super::read::Reader;
use crate::key_spec::{KeySpec, KeySpecError, KmsSpec};
use crate::keys::KeyKind;

/// Deepest `merge` within `merge`.
const MAX_MERGES: usize = 100;

/// Most keys of one rule: above it stands an alias bomb.
const MAX_KEYS: usize = 10_000;

/// The flat fields of a rule that list keys; the names are not those of the metadata.
pub(super) const FLAT: [(&str, KeyKind); 7] = [
    ("age", KeyKind::Age),
    ("pgp", KeyKind::Pgp),
    ("kms", KeyKind::Kms),
    ("gcp_kms", KeyKind::GcpKms),
    ("hckms", KeyKind::Hckms),
    ("azure_keyvault", KeyKind::AzureKv),
    ("hc_vault_transit_uri", KeyKind::HcVault),
];

const GROUP_FIELDS: &[&str] = &[
    "merge",
    "age",
    "pgp",
    "kms",
    "gcp_kms",
    "hckms",
    "azure_keyvault",
    "hc_vault",
];

impl Reader<'_, '_> {
    /// Reads a flat list: a text with commas, or a list of such texts.
    pub(super) fn flat_keys(
        &self,
        node: NodeId,
        name: &str,
        kind: KeyKind,
    ) -> Result<Vec<KeySpec>, ConfigError> {
        let mut keys = Vec::new();
        for (at, text) in self.texts(node, name)? {
            let found = KeySpec::parse_list(kind, &text).map_err(|e| self.bad_key(at, name, &e))?;
            keys.extend(found);
        }
        Ok(keys)
    }

    /// Reads `key_groups`; an empty list is as good as none.
    pub(super) fn key_groups(&self, node: NodeId) -> Result<Vec<Vec<KeySpec>>, ConfigError> {
        let groups = self.list(node, "key_groups")?.into_iter();
        let groups = groups.map(|group| {
            let mut keys = Vec::new();
            self.group(group, &mut keys, 0)?;
            Ok(unique(keys))
        });
        groups.collect()
    }

    fn group(
        &self,
        node: NodeId,
        keys: &mut Vec<KeySpec>,
        depth: usize,
    ) -> Result<(), ConfigError> {
        if depth > MAX_MERGES || keys.len() > MAX_KEYS {
            return Err(self.error(node, "key groups are merged without end".to_owned()));
        }
        for (name, key, value) in self.fields(node, "a key group")? {
            match name.as_str() {
                "merge" => {
                    for inner in self.list(value, "merge")? {
                        self.group(inner, keys, depth + 1)?;
                    }
                }
                "age" => keys.extend(self.listed(value, &name, KeyKind::Age)?),
                "pgp" => keys.extend(self.listed(value, &name, KeyKind::Pgp)?),
                "hc_vault" => keys.extend(self.listed(value, &name, KeyKind::HcVault)?),
                "kms" => {
                    for item in self.list(value, &name)? {
                        keys.push(self.kms(item)?);
                    }
                }
                "gcp_kms" => {
                    for item in self.list(value, &name)? {
                        keys.push(self.single(item, "resource_id", KeyKind::GcpKms)?);
                    }
                }
                "hckms" => {
                    for item in self.list(value, &name)? {
                        keys.push(self.single(item, "key_id", KeyKind::Hckms)?);
                    }
                }
                "azure_keyvault" => {
                    for item in self.list(value, &name)? {
                        keys.push(self.azure(item)?);
                    }
                }
                _ => self.unknown(key, &name, GROUP_FIELDS),
            }
        }
        Ok(())
    }

    fn listed(&self, node: NodeId, name: &str, kind: KeyKind) -> Result<Vec<KeySpec>, ConfigError> {
        if self.stream.node(node).kind == Kind::Scalar && !self.is_null(node) {
            return Err(self.error(node, format!("{name} of a key group is not a list")));
        }
        match self.is_null(node) {
            true => Ok(Vec::new()),
            false => self.flat_keys(node, name, kind),
        }
    }

    fn kms(&self, node: NodeId) -> Result<KeySpec, ConfigError> {
        let (mut arn, mut role, mut profile) = (None, None, None);
        let mut context = BTreeMap::new();
        for (name, key, value) in self.fields(node, "a kms key")? {
            match name.as_str() {
                "arn" => arn = self.string(value, &name)?,
                "role" => role = self.string(value, &name)?,
                "aws_profile" => profile = self.string(value, &name)?,
                "context" if self.is_null(value) => {}
                "context" => {
                    for (name, _, value) in self.fields(value, "context")? {
                        let text = self.string(value, &name)?.unwrap_or_default();
                        context.insert(name, text);
                    }
                }
                _ => self.unknown(key, &name, &["arn", "role", "context", "aws_profile"]),
            }
        }
        let mut kms = KmsSpec::parse(&arn.unwrap_or_default())
            .map_err(|error| self.bad_key(node, "kms", &error))?;
        kms.role = role.filter(|text| !text.is_empty()).or(kms.role);
        kms.profile = profile.filter(|text| !text.is_empty());
        kms.context = context;
        Ok(KeySpec::Kms(kms))
    }

    fn single(&self, node: NodeId, field: &str, kind: KeyKind) -> Result<KeySpec, ConfigError> {
        let mut text = None;
        for (name, key, value) in self.fields(node, "a key")? {
            if name == field {
                text = self.string(value, &name)?;
            } else {
                self.unknown(key, &name, &[field]);
            }
        }
        KeySpec::parse(kind, &text.unwrap_or_default())
            .map_err(|error| self.bad_key(node, field, &error))
    }

    fn azure(&self, node: NodeId) -> Result<KeySpec, ConfigError> {
        let (mut url, mut name, mut version) = (None, None, None);
        for (field, key, value) in self.fields(node, "an azure_keyvault key")? {
            match field.as_str() {
                "vaultUrl" => url = self.string(value, &field)?,
                "key" => name = self.string(value, &field)?,
                "version" => version = self.string(value, &field)?,
                _ => self.unknown(key, &field, &["vaultUrl", "key", "version"]),
            }
        }
        let url = url.unwrap_or_default();
        let url = url.trim_end_matches('/');
        let (name, version) = (name.unwrap_or_default(), version.unwrap_or_default());
        KeySpec::parse(KeyKind::AzureKv, &format!("{url}/keys/{name}/{version}"))
            .map_err(|error| self.bad_key(node, "azure_keyvault", &error))
    }

    fn bad_key(&self, node: NodeId, name: &str, error: &KeySpecError) -> ConfigError {
        self.error(node, format!("{name}: {error}"))
    }
}

/// Drops keys that come again, by kind and identity.
pub(super) fn unique(keys: Vec<KeySpec>) -> Vec<KeySpec> {
    let mut seen = std::collections::BTreeSet::new();
    let mut keys = keys;
    keys.retain(|key| seen.insert((key.kind(), key.identity())));
    keys
}

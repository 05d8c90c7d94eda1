//! The name of one master key, independent of any client (sops-format.md 8, 17.2, 18).

use std::collections::BTreeMap;
use std::fmt;

use crate::keys::{KeyEntry, KeyKind};

/// One master key: what the CLI, the environment, `.sops.yaml` and the entries of a file name.
///
/// Nothing in it is secret: what does not look like a public name is refused when it is parsed, and
/// is not shown then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeySpec {
    /// AWS KMS.
    Kms(KmsSpec),
    /// Google Cloud KMS.
    GcpKms {
        /// `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
        resource_id: String,
    },
    /// Huawei Cloud KMS.
    Hckms {
        /// `region:uuid`.
        key_id: String,
    },
    /// Azure Key Vault.
    AzureKv {
        /// `https://HOST`, without a path.
        vault_url: String,
        /// Name of the key.
        name: String,
        /// Its version; when absent the newest is looked up before wrapping.
        version: Option<String>,
    },
    /// Vault or OpenBao transit.
    HcVault {
        /// Scheme, host and port.
        address: String,
        /// Mount of the transit engine, possibly of several segments.
        engine_path: String,
        /// Name of the key.
        key_name: String,
    },
    /// OpenPGP.
    Pgp {
        /// As configured, without spaces; a trailing `!` selects a subkey.
        fingerprint: String,
    },
    /// age.
    Age {
        /// `age1...`, or an SSH public key line with its comment.
        recipient: String,
    },
}

/// A key of AWS KMS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KmsSpec {
    /// ARN of the key or alias.
    pub arn: String,
    /// ARN of the role that is assumed first.
    pub role: Option<String>,
    /// The encryption context; empty for none.
    pub context: BTreeMap<String, String>,
    /// The profile of the shared config that gives the credentials.
    pub profile: Option<String>,
}

/// Why a text does not name a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySpecError {
    /// It has not the form of its kind.
    #[error("{text} is no {kind} key: {reason}")]
    Malformed {
        /// The kind that was asked for.
        kind: KeyKind,
        /// The text in backquotes where it is surely public, else a wording.
        text: String,
        /// What form it should have.
        reason: &'static str,
    },
    /// An encryption context is not a list of `key:value`.
    #[error("the KMS encryption context has an element that is not key:value")]
    Context,
}

impl KeySpec {
    /// Returns which list of the metadata its entries stand in.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Kms(_) => KeyKind::Kms,
            Self::GcpKms { .. } => KeyKind::GcpKms,
            Self::Hckms { .. } => KeyKind::Hckms,
            Self::AzureKv { .. } => KeyKind::AzureKv,
            Self::HcVault { .. } => KeyKind::HcVault,
            Self::Pgp { .. } => KeyKind::Pgp,
            Self::Age { .. } => KeyKind::Age,
        }
    }

    /// Returns sops's text form, by which keys are compared, added and removed (sops-format.md 8).
    pub fn identity(&self) -> String {
        match self {
            Self::Kms(kms) => kms.identity(),
            Self::GcpKms { resource_id } => resource_id.clone(),
            Self::Hckms { key_id } => key_id.clone(),
            Self::AzureKv {
                vault_url,
                name,
                version,
            } => {
                let version = version.as_deref().unwrap_or_default();
                format!("{vault_url}/keys/{name}/{version}")
            }
            Self::HcVault {
                address,
                engine_path,
                key_name,
            } => format!("{address}/v1/{engine_path}/keys/{key_name}"),
            Self::Pgp { fingerprint } => fingerprint.clone(),
            Self::Age { recipient } => recipient.clone(),
        }
    }

    /// Parses a comma-separated list as flags, environment variables and `.sops.yaml` hold it.
    ///
    /// Blanks and empty elements are skipped; a key that comes twice is kept once.
    pub fn parse_list(kind: KeyKind, text: &str) -> Result<Vec<Self>, KeySpecError> {
        let mut specs = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let spec = Self::parse(kind, part)?;
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        Ok(specs)
    }

    /// Parses one key.
    pub fn parse(kind: KeyKind, text: &str) -> Result<Self, KeySpecError> {
        let text = text.trim();
        match kind {
            KeyKind::Kms => KmsSpec::parse(text).map(Self::Kms),
            KeyKind::GcpKms => gcp_kms(text),
            KeyKind::Hckms => hckms(text),
            KeyKind::AzureKv => azure_kv(text),
            KeyKind::HcVault => hc_vault(text),
            KeyKind::Pgp => pgp(text),
            KeyKind::Age => age(text),
        }
    }

    /// Returns the key that an entry of a file names; absent fields are empty.
    pub fn of_entry(entry: &KeyEntry) -> Self {
        let text = |name: &str| entry.field(name).unwrap_or_default().to_owned();
        let some = |name: &str| {
            let found = entry.field(name).filter(|text| !text.is_empty());
            found.map(str::to_owned)
        };
        match entry.kind {
            KeyKind::Kms => Self::Kms(KmsSpec {
                arn: text("arn"),
                role: some("role"),
                context: entry.context.clone(),
                profile: some("aws_profile"),
            }),
            KeyKind::GcpKms => Self::GcpKms {
                resource_id: text("resource_id"),
            },
            KeyKind::Hckms => Self::Hckms {
                key_id: text("key_id"),
            },
            KeyKind::AzureKv => Self::AzureKv {
                vault_url: text("vault_url"),
                name: text("name"),
                version: some("version"),
            },
            KeyKind::HcVault => Self::HcVault {
                address: text("vault_address"),
                engine_path: text("engine_path"),
                key_name: text("key_name"),
            },
            KeyKind::Pgp => Self::Pgp {
                fingerprint: text("fp"),
            },
            KeyKind::Age => Self::Age {
                recipient: text("recipient"),
            },
        }
    }

    /// Returns the entry that stores a wrapped key: the fields of sops-format.md 8 for this kind.
    ///
    /// `enc` is the text to store; `created_at` is when the key was configured, in UTC, and is
    /// left out for age.
    pub fn entry(&self, enc: &str, created_at: jiff::Timestamp) -> KeyEntry {
        let mut context = BTreeMap::new();
        let mut fields: Vec<(&str, &str)> = vec![("enc", enc)];
        let created_at = crate::rfc3339::of(created_at);
        if self.kind() != KeyKind::Age {
            fields.push(("created_at", &created_at));
        }
        match self {
            Self::Kms(kms) => {
                fields.push(("arn", &kms.arn));
                fields.extend(kms.role.as_deref().map(|role| ("role", role)));
                // Always there, even when empty (8.3).
                fields.push(("aws_profile", kms.profile.as_deref().unwrap_or_default()));
                context = kms.context.clone();
            }
            Self::GcpKms { resource_id } => fields.push(("resource_id", resource_id)),
            Self::Hckms { key_id } => fields.push(("key_id", key_id)),
            Self::AzureKv {
                vault_url,
                name,
                version,
            } => {
                fields.push(("vault_url", vault_url));
                fields.push(("name", name));
                fields.push(("version", version.as_deref().unwrap_or_default()));
            }
            Self::HcVault {
                address,
                engine_path,
                key_name,
            } => {
                fields.push(("vault_address", address));
                fields.push(("engine_path", engine_path));
                fields.push(("key_name", key_name));
            }
            Self::Pgp { fingerprint } => fields.push(("fp", fingerprint)),
            Self::Age { recipient } => fields.push(("recipient", recipient)),
        }
        fields.sort_unstable();
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        KeyEntry {
            kind: self.kind(),
            fields: fields.into_iter().map(owned).collect(),
            context,
        }
    }
}

impl fmt::Display for KeySpec {
    /// Writes the kind and the identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.identity())
    }
}

impl KmsSpec {
    /// Parses `ARN` or `ARN+ROLE_ARN`; spaces anywhere are dropped (8.3).
    pub fn parse(text: &str) -> Result<Self, KeySpecError> {
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        let (arn, role) = match text.find("+arn:") {
            Some(at) if at > 0 => (&text[..at], Some(text[at + 1..].to_owned())),
            _ => (text.as_str(), None),
        };
        if !is_kms_arn(arn) {
            return Err(malformed(
                KeyKind::Kms,
                &text,
                "arn:",
                "write arn:aws:kms:REGION:ACCOUNT:key/ID or .../alias/NAME, with +ROLE_ARN behind \
                 it for a role",
            ));
        }
        Ok(Self {
            arn: arn.to_owned(),
            role,
            ..Self::default()
        })
    }

    /// Parses an encryption context `k:v,k:v`; the empty text is none. One bad element makes the
    /// whole text bad (8.3).
    pub fn parse_context(text: &str) -> Result<BTreeMap<String, String>, KeySpecError> {
        if text.is_empty() {
            return Ok(BTreeMap::new());
        }
        let pairs = text.split(',').map(|part| {
            let (key, value) = part.split_once(':').ok_or(KeySpecError::Context)?;
            if value.contains(':') {
                return Err(KeySpecError::Context);
            }
            Ok((key.to_owned(), value.to_owned()))
        });
        pairs.collect()
    }

    fn identity(&self) -> String {
        let mut text = self.arn.clone();
        if let Some(role) = &self.role {
            text.push('+');
            text.push_str(role);
        }
        let pairs: Vec<String> = self
            .context
            .iter()
            .map(|(k, v)| format!("{k}:{v}"))
            .collect();
        match (&self.profile, pairs.is_empty()) {
            (Some(profile), _) => text.push_str(&format!("|{}|{profile}", pairs.join(","))),
            (None, false) => text.push_str(&format!("|{}", pairs.join(","))),
            (None, true) => {}
        }
        text
    }
}

/// Matches `^arn:aws[\w-]*:kms:(.+):[0-9]+:(key|alias)/.+$` (8.3).
fn is_kms_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service) = (next(), next(), next());
    let (region, account, resource) = (next(), next(), next());
    let named = |kind| {
        let name: Option<&str> = resource.strip_prefix(kind);
        name.is_some_and(|name| !name.is_empty())
    };
    arn == "arn"
        && partition.starts_with("aws")
        && partition
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && service == "kms"
        && !region.is_empty()
        && !account.is_empty()
        && account.bytes().all(|b| b.is_ascii_digit())
        && (named("key/") || named("alias/"))
}

fn gcp_kms(text: &str) -> Result<KeySpec, KeySpecError> {
    let resource_id: String = text.chars().filter(|c| *c != ' ').collect();
    let parts: Vec<&str> = resource_id.split('/').collect();
    let named = parts.len() == 8
        && ["projects", "locations", "keyRings", "cryptoKeys"]
            .iter()
            .enumerate()
            .all(|(i, name)| parts[2 * i] == *name && !parts[2 * i + 1].is_empty());
    if !named {
        return Err(malformed(
            KeyKind::GcpKms,
            &resource_id,
            "projects/",
            "write projects/P/locations/L/keyRings/R/cryptoKeys/K",
        ));
    }
    Ok(KeySpec::GcpKms { resource_id })
}

fn hckms(text: &str) -> Result<KeySpec, KeySpecError> {
    match text.split_once(':') {
        Some((region, uuid)) if !region.trim().is_empty() && !uuid.trim().is_empty() => {
            Ok(KeySpec::Hckms {
                key_id: text.to_owned(),
            })
        }
        _ => Err(malformed(KeyKind::Hckms, text, "\0", "write REGION:UUID")),
    }
}

/// Parses `https://HOST/keys/NAME[/VERSION]` (8.5).
fn azure_kv(text: &str) -> Result<KeySpec, KeySpecError> {
    let fail = || {
        malformed(
            KeyKind::AzureKv,
            text,
            "https://",
            "write https://HOST/keys/NAME or https://HOST/keys/NAME/VERSION",
        )
    };
    let rest = text.strip_prefix("https://").ok_or_else(fail)?;
    let parts: Vec<&str> = rest.split('/').collect();
    let (host, name, version) = match parts[..] {
        [host, "keys", name] => (host, name, ""),
        [host, "keys", name, version] => (host, name, version),
        _ => return Err(fail()),
    };
    if host.is_empty() || name.is_empty() || host.contains('@') {
        return Err(fail());
    }
    Ok(KeySpec::AzureKv {
        vault_url: format!("https://{host}"),
        name: name.to_owned(),
        version: Some(version.to_owned()).filter(|version| !version.is_empty()),
    })
}

/// Parses `https://HOST:PORT/v1/ENGINE/keys/NAME`; the engine may have several segments, a path
/// before `/v1/` is refused (8.6).
fn hc_vault(text: &str) -> Result<KeySpec, KeySpecError> {
    let fail = || {
        malformed(
            KeyKind::HcVault,
            text,
            "http",
            "write https://HOST:8200/v1/ENGINE/keys/NAME, without a path before /v1/",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(fail)?;
    let (host, path) = rest.split_once('/').ok_or_else(fail)?;
    let segments: Vec<&str> = path
        .trim_matches('/')
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let [version, engine @ .., keys, key_name] = &segments[..] else {
        return Err(fail());
    };
    let is_version = version.len() > 1
        && version.starts_with('v')
        && version[1..].bytes().all(|b| b.is_ascii_digit());
    // Credentials in the address would reach messages and the file.
    if scheme.is_empty() || host.is_empty() || host.contains('@') || !is_version {
        return Err(fail());
    }
    if engine.is_empty() || *keys != "keys" {
        return Err(fail());
    }
    Ok(KeySpec::HcVault {
        address: format!("{scheme}://{host}"),
        engine_path: engine.join("/"),
        key_name: (*key_name).to_owned(),
    })
}

fn pgp(text: &str) -> Result<KeySpec, KeySpecError> {
    let fingerprint: String = text.chars().filter(|c| *c != ' ').collect();
    let plain = |c: char| c.is_ascii_alphanumeric() || "!@.+-_".contains(c);
    // A leading dash would be an option of gpg.
    let usable = !fingerprint.is_empty()
        && !fingerprint.starts_with('-')
        && fingerprint.chars().all(plain)
        && !fingerprint.contains("SECRET");
    if !usable {
        return Err(malformed(
            KeyKind::Pgp,
            text,
            "\0",
            "write the fingerprint, 40 hexadecimal digits",
        ));
    }
    Ok(KeySpec::Pgp { fingerprint })
}

/// Checks the prefix only; whether the key is well-formed is for the client to say (9.1).
fn age(text: &str) -> Result<KeySpec, KeySpecError> {
    if text.starts_with("age1") || text.starts_with("ssh-") {
        return Ok(KeySpec::Age {
            recipient: text.to_owned(),
        });
    }
    Err(malformed(
        KeyKind::Age,
        text,
        "\0",
        "a recipient begins with age1 or ssh-; a secret key is never given here",
    ))
}

/// Shows a text only if it begins as a public name of its kind does: anything else may be a secret
/// that was given by mistake.
fn malformed(kind: KeyKind, text: &str, prefix: &str, reason: &'static str) -> KeySpecError {
    let public = text.starts_with(prefix) && !text.contains(['@', '\n']) && text.len() < 300;
    KeySpecError::Malformed {
        kind,
        text: if public {
            format!("`{text}`")
        } else {
            "the text given".to_owned()
        },
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:656532927350:key/920aff2e-c5f1";
    const ROLE: &str = "arn:aws:iam::927034868273:role/sops-dev";

    fn one(kind: KeyKind, text: &str) -> KeySpec {
        let mut list = KeySpec::parse_list(kind, text).unwrap();
        assert_eq!(list.len(), 1);
        list.remove(0)
    }

    #[test]
    fn identities_are_those_of_sops() {
        for (kind, text, identity) in [
            (KeyKind::Kms, ARN.to_owned(), ARN.to_owned()),
            (
                KeyKind::Kms,
                format!("{ARN} + {ROLE}"),
                format!("{ARN}+{ROLE}"),
            ),
            (
                KeyKind::GcpKms,
                "projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned(),
                "projects/p/locations/l/keyRings/r/cryptoKeys/k".to_owned(),
            ),
            (
                KeyKind::AzureKv,
                "https://v.vault.azure.net/keys/k/1".to_owned(),
                "https://v.vault.azure.net/keys/k/1".to_owned(),
            ),
            (
                KeyKind::AzureKv,
                "https://v.vault.azure.net/keys/k".to_owned(),
                "https://v.vault.azure.net/keys/k/".to_owned(),
            ),
            (
                KeyKind::HcVault,
                "http://127.0.0.1:8200/v1/team/sops/keys/first/".to_owned(),
                "http://127.0.0.1:8200/v1/team/sops/keys/first".to_owned(),
            ),
            (
                KeyKind::Hckms,
                "tr-west-1:abc-123".to_owned(),
                "tr-west-1:abc-123".to_owned(),
            ),
            (
                KeyKind::Pgp,
                "85D7 7543 B3D6!".to_owned(),
                "85D77543B3D6!".to_owned(),
            ),
            (
                KeyKind::Age,
                " ssh-ed25519 AAAA me@host ".to_owned(),
                "ssh-ed25519 AAAA me@host".to_owned(),
            ),
        ] {
            let spec = one(kind, &text);
            assert_eq!(spec.identity(), identity);
            assert_eq!(spec.kind(), kind);
        }
    }

    #[test]
    fn a_kms_identity_has_context_and_profile() {
        let mut kms = KmsSpec::parse(ARN).unwrap();
        kms.context = KmsSpec::parse_context("env:prod,app:web").unwrap();
        assert_eq!(kms.identity(), format!("{ARN}|app:web,env:prod"));
        kms.profile = Some("dev".to_owned());
        kms.role = Some(ROLE.to_owned());
        assert_eq!(kms.identity(), format!("{ARN}+{ROLE}|app:web,env:prod|dev"));
        kms.context.clear();
        assert_eq!(kms.identity(), format!("{ARN}+{ROLE}||dev"));
        for text in ["a", "a:b:c", "a:b,", ","] {
            assert_eq!(KmsSpec::parse_context(text), Err(KeySpecError::Context));
        }
    }

    #[test]
    fn an_entry_names_the_key_it_was_made_for() {
        let mut kms = KmsSpec::parse(&format!("{ARN}+{ROLE}")).unwrap();
        kms.context = KmsSpec::parse_context("a:b").unwrap();
        let specs = [
            KeySpec::Kms(kms),
            one(KeyKind::AzureKv, "https://v/keys/k/1"),
            one(KeyKind::HcVault, "https://v:8200/v1/sops/keys/k"),
            one(KeyKind::Pgp, "ABCD"),
            one(KeyKind::Age, "age1x"),
            one(KeyKind::Hckms, "r:u"),
            one(
                KeyKind::GcpKms,
                "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            ),
        ];
        for spec in specs {
            let entry = spec.entry("wrapped", jiff::Timestamp::UNIX_EPOCH);
            assert_eq!(KeySpec::of_entry(&entry), spec);
            assert_eq!(entry.field("enc"), Some("wrapped"));
            let created = entry.field("created_at");
            let expected = (spec.kind() != KeyKind::Age).then_some("1970-01-01T00:00:00Z");
            assert_eq!(created, expected);
            if spec.kind() == KeyKind::Kms {
                assert_eq!(entry.field("aws_profile"), Some(""));
                assert_eq!(entry.field("role"), Some(ROLE));
            }
        }
    }

    #[test]
    fn lists_skip_blanks_and_repetitions_and_bad_texts_are_not_shown() {
        let list = KeySpec::parse_list(KeyKind::Age, " age1a,, age1b ,age1a,\n").unwrap();
        assert_eq!(list.len(), 2);
        for (kind, text) in [
            (KeyKind::Age, "AGE-SECRET-KEY-1ABC"),
            (KeyKind::Pgp, "AGE-SECRET-KEY-1ABC"),
            (KeyKind::Pgp, "--output"),
            (KeyKind::Kms, "AGE-SECRET-KEY-1ABC"),
            (KeyKind::HcVault, "https://user:pass@v/v1/sops/keys/k"),
            (KeyKind::HcVault, "https://v/prefix/v1/sops/keys/k"),
            (KeyKind::HcVault, "v/v1/sops/keys/k"),
            (KeyKind::AzureKv, "http://v/keys/k"),
            (KeyKind::GcpKms, "projects/p/locations/l"),
            (KeyKind::Hckms, "region"),
            (KeyKind::Kms, "arn:aws:kms:us-east-1:1:grant/x"),
            (KeyKind::Kms, "arn:aws:kms::1:key/x"),
        ] {
            let error = KeySpec::parse_list(kind, text).unwrap_err().to_string();
            assert!(
                !error.contains("SECRET-KEY") && !error.contains("pass@"),
                "{error}"
            );
        }
    }
}

//! What a store's specification asks for, parsed: providers, methods and fields that are not carried
//! out are refused by name.

use std::time::Duration;

use selkie_api::secret_store::{
    AwsProvider, AwsSecretRef, CaProvider, SecretKeySelector, SecretStoreSpec, VaultProvider,
};
use selkie_stores::KvVersion;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::wish::{Refusal, asks};
use crate::support::duration::go_duration;

/// How often a store is validated when it does not say (the original's `--store-requeue-interval`).
pub const VALIDATION_INTERVAL: Duration = Duration::from_secs(300);

/// What an interval is brought to: no busy loop, and none that the clock cannot hold.
const SHORTEST_VALIDATION: Duration = Duration::from_secs(1);
const LONGEST_VALIDATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A store's provider, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// `provider.vault`.
    Vault(Box<VaultStore>),
    /// `provider.aws` with service SecretsManager.
    SecretsManager(Box<AwsStore>),
}

/// A Vault key-value mount.
#[derive(Clone, Debug, PartialEq)]
pub struct VaultStore {
    /// As specified.
    pub provider: VaultProvider,
    /// The engine's version.
    pub version: KvVersion,
    /// The token; absent sends none.
    pub token: Option<SecretKeySelector>,
    /// Where the certificate is, unless it is inline.
    pub ca: Option<CaProvider>,
}

/// AWS Secrets Manager with static keys.
#[derive(Clone, Debug, PartialEq)]
pub struct AwsStore {
    /// As specified.
    pub provider: AwsProvider,
    /// The keys.
    pub keys: AwsSecretRef,
}

/// How often a failed request is sent again: the number, and the wait where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// How many times.
    pub count: u32,
    /// The wait before each.
    pub wait: Option<Duration>,
}

impl Provider {
    /// Parses `spec.provider`.
    pub fn parse(spec: &SecretStoreSpec) -> Result<Self, Refusal> {
        let mut given = spec.provider.iter().filter(|(_, value)| !value.is_null());
        let Some((name, value)) = given.next() else {
            return Err(refused("spec.provider", "names no provider"));
        };
        if given.next().is_some() {
            return Err(refused("spec.provider", "names more than one provider"));
        }
        match name.as_str() {
            "vault" => vault(read("spec.provider.vault", value)?),
            "aws" => aws(read("spec.provider.aws", value)?),
            other => Err(not_yet(&format!("spec.provider.{other}"))),
        }
    }

    /// Returns what `status.capabilities` says: the original's constant for the provider.
    pub fn capabilities(&self) -> &'static str {
        "ReadWrite"
    }

    /// Returns every Secret key that is needed, each with the path of its field.
    pub fn credentials(&self) -> Vec<(String, &SecretKeySelector)> {
        match self {
            Self::Vault(store) => store
                .token
                .iter()
                .map(|token| ("spec.provider.vault.auth.tokenSecretRef".to_owned(), token))
                .collect(),
            Self::SecretsManager(store) => {
                let keys = &store.keys;
                let field = |name: &str| format!("spec.provider.aws.auth.secretRef.{name}");
                let mut credentials = vec![
                    (field("accessKeyIDSecretRef"), &keys.access_key_id),
                    (field("secretAccessKeySecretRef"), &keys.secret_access_key),
                ];
                let session = keys.session_token.as_ref();
                credentials.extend(session.map(|token| (field("sessionTokenSecretRef"), token)));
                credentials
            }
        }
    }

    /// Returns whether a ClusterSecretStore takes its credentials from whoever uses it.
    pub fn is_referent(&self) -> bool {
        self.credentials()
            .iter()
            .any(|(_, selector)| selector.namespace.as_deref().unwrap_or_default().is_empty())
    }
}

/// Parses `spec.retrySettings`; `None` when there are none.
pub fn retry_rule(spec: &SecretStoreSpec) -> Result<Option<RetryRule>, Refusal> {
    let Some(settings) = &spec.retry_settings else {
        return Ok(None);
    };
    let wait = match settings.retry_interval.as_deref() {
        None | Some("") => None,
        Some(text) => {
            let wait = go_duration(text).ok_or_else(|| {
                refused(
                    "spec.retrySettings.retryInterval",
                    "is not a duration like 10s",
                )
            })?;
            Some(wait.unwrap_or_default().min(Duration::from_secs(10)))
        }
    };
    let count = settings.max_retries.unwrap_or_default().clamp(0, 10);
    Ok(Some(RetryRule {
        count: count.unsigned_abs(),
        wait,
    }))
}

/// Parses `spec.refreshInterval`: seconds, or a Go duration; nothing or 0 is [`VALIDATION_INTERVAL`].
pub fn validation_interval(spec: &SecretStoreSpec) -> Result<Duration, Refusal> {
    let bad = || {
        refused(
            "spec.refreshInterval",
            "is neither a number of seconds nor a duration like 5m",
        )
    };
    let interval = match &spec.refresh_interval {
        None | Some(Value::Null) => None,
        Some(Value::Number(seconds)) => {
            Some(Duration::from_secs(seconds.as_u64().ok_or_else(bad)?))
        }
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => match text.parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) if text.starts_with('-') => return Err(bad()),
            Err(_) => go_duration(text).ok_or_else(bad)?,
        },
        Some(_) => return Err(bad()),
    };
    let given = interval.filter(|interval| !interval.is_zero());
    Ok(given
        .unwrap_or(VALIDATION_INTERVAL)
        .clamp(SHORTEST_VALIDATION, LONGEST_VALIDATION))
}

fn vault(provider: VaultProvider) -> Result<Provider, Refusal> {
    let path = "spec.provider.vault";
    known(path, &provider.rest)?;
    let auth = provider.auth.as_ref();
    // With a token there is no login, so the login's namespace changes nothing.
    let token = match auth {
        None => None,
        Some(auth) => {
            let methods = auth.rest.iter().filter(|(name, _)| *name != "namespace");
            let other = methods
                .filter(|(_, value)| asks(value))
                .map(|(name, _)| name);
            match (&auth.token_secret_ref, { other }.next()) {
                // The first method of the original's order wins (external-secrets.md 9.2).
                (Some(token), _) => Some(token.clone()),
                (None, Some(other)) => return Err(not_yet(&format!("{path}.auth.{other}"))),
                (None, None) => None,
            }
        }
    };
    let version = match provider.version.as_deref() {
        None | Some("" | "v2") => KvVersion::V2,
        Some("v1") => KvVersion::V1,
        Some(_) => return Err(refused(format!("{path}.version"), "is neither v1 nor v2")),
    };
    let inline = provider.ca_bundle.as_deref().unwrap_or_default();
    let ca = provider.ca_provider.clone().filter(|_| inline.is_empty());
    Ok(Provider::Vault(Box::new(VaultStore {
        version,
        token,
        ca,
        provider,
    })))
}

fn aws(provider: AwsProvider) -> Result<Provider, Refusal> {
    let path = "spec.provider.aws";
    known(path, &provider.rest)?;
    match provider.service.as_str() {
        "SecretsManager" => {}
        other => {
            return Err(refused(
                format!("{path}.service"),
                &format!("{other} is not supported by Selkie yet"),
            ));
        }
    }
    if let Some(auth) = &provider.auth {
        known(&format!("{path}.auth"), &auth.rest)?;
    }
    let keys = provider
        .auth
        .as_ref()
        .and_then(|auth| auth.secret_ref.clone());
    let Some(keys) = keys else {
        return Err(refused(
            format!("{path}.auth.secretRef"),
            "is missing, and other ways to find credentials are not supported by Selkie yet",
        ));
    };
    known(&format!("{path}.auth.secretRef"), &keys.rest)?;
    if provider.region.is_empty() {
        return Err(refused(format!("{path}.region"), "is empty"));
    }
    Ok(Provider::SecretsManager(Box::new(AwsStore {
        provider,
        keys,
    })))
}

fn read<T: DeserializeOwned>(path: &str, value: &Value) -> Result<T, Refusal> {
    // serde's message would show the value that does not fit.
    T::deserialize(value).map_err(|_| refused(path, "has a field of the wrong type"))
}

fn known(path: &str, rest: &Map<String, Value>) -> Result<(), Refusal> {
    match rest.iter().find(|(_, value)| asks(value)) {
        Some((name, _)) => Err(not_yet(&format!("{path}.{name}"))),
        None => Ok(()),
    }
}

fn not_yet(field: &str) -> Refusal {
    refused(field, "is not supported by Selkie yet")
}

fn refused(field: impl Into<String>, why: &str) -> Refusal {
    Refusal {
        field: field.into(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> SecretStoreSpec {
        serde_json::from_value(value).unwrap()
    }

    fn refusal(provider: &Value) -> String {
        Provider::parse(&spec(json!({ "provider": provider })))
            .unwrap_err()
            .field
    }

    #[test]
    fn what_is_carried_out() {
        let vault = Provider::parse(&spec(json!({ "provider": { "vault": {
            "server": "http://v", "path": "secret", "version": "v2", "readYourWrites": false,
            "auth": { "tokenSecretRef": { "name": "t", "key": "token" }, "namespace": "n" },
        } } })))
        .unwrap();
        assert_eq!(vault.credentials().len(), 1);
        assert!(vault.is_referent());
        let aws = Provider::parse(&spec(json!({ "provider": { "aws": {
            "service": "SecretsManager", "region": "eu-central-1",
            "secretsManager": { "recoveryWindowInDays": 7 },
            "auth": { "secretRef": {
                "accessKeyIDSecretRef": { "name": "a", "key": "id", "namespace": "x" },
                "secretAccessKeySecretRef": { "name": "a", "key": "secret", "namespace": "x" },
            } },
        } } })))
        .unwrap();
        assert_eq!(aws.credentials().len(), 2);
        assert!(!aws.is_referent());
    }

    #[test]
    fn refusals_name_the_field() {
        let aws = |auth: Value| json!({ "aws": { "service": "SecretsManager", "region": "r", "auth": auth } });
        for (provider, field) in [
            (json!({}), "spec.provider"),
            (json!({ "gcpsm": {} }), "spec.provider.gcpsm"),
            (
                json!({ "vault": { "server": "s", "auth": { "appRole": { "path": "p" } } } }),
                "spec.provider.vault.auth.appRole",
            ),
            (
                json!({ "vault": { "server": "s", "tls": { "certSecretRef": {} } } }),
                "spec.provider.vault.tls",
            ),
            (
                json!({ "vault": { "server": "s", "readYourWrites": true } }),
                "spec.provider.vault.readYourWrites",
            ),
            (json!({ "vault": { "server": 7 } }), "spec.provider.vault"),
            (
                json!({ "vault": { "server": "s", "version": "v3" } }),
                "spec.provider.vault.version",
            ),
            (
                json!({ "aws": { "service": "ParameterStore", "region": "r" } }),
                "spec.provider.aws.service",
            ),
            (aws(Value::Null), "spec.provider.aws.auth.secretRef"),
            (
                aws(json!({ "jwt": { "serviceAccountRef": { "name": "x" } } })),
                "spec.provider.aws.auth.jwt",
            ),
            (
                json!({ "aws": { "service": "SecretsManager", "region": "r", "role": "x" } }),
                "spec.provider.aws.role",
            ),
        ] {
            assert_eq!(refusal(&provider), field);
        }
    }

    #[test]
    fn intervals_and_retries() {
        let interval = |value: Value| {
            validation_interval(&spec(json!({ "refreshInterval": value })))
                .map_err(|error| error.field)
        };
        assert_eq!(interval(Value::Null), Ok(VALIDATION_INTERVAL));
        assert_eq!(interval(json!(0)), Ok(VALIDATION_INTERVAL));
        assert_eq!(interval(json!(30)), Ok(Duration::from_secs(30)));
        assert_eq!(interval(json!("2m")), Ok(Duration::from_secs(120)));
        assert_eq!(interval(json!("10ms")), Ok(SHORTEST_VALIDATION));
        assert_eq!(interval(json!(u64::MAX)), Ok(LONGEST_VALIDATION));
        assert_eq!(
            interval(json!(u64::MAX.to_string())),
            Ok(LONGEST_VALIDATION)
        );
        assert_eq!(interval(json!("2562047h")), Ok(LONGEST_VALIDATION));
        assert!(interval(json!(-1)).is_err());
        assert!(interval(json!("soon")).is_err());
        let rule = retry_rule(&spec(
            json!({ "retrySettings": { "maxRetries": 3, "retryInterval": "2s" } }),
        ));
        assert_eq!(
            rule.unwrap(),
            Some(RetryRule {
                count: 3,
                wait: Some(Duration::from_secs(2))
            })
        );
        assert_eq!(retry_rule(&spec(json!({}))), Ok(None));
    }
}

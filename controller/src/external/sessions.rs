//! The stores in use: one client and one login per store, shared by every ExternalSecret.
//!
//! A session is made when it is first needed and lives until the store's specification or one of the
//! Secrets with its credentials changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, Client};
use selkie_api::secret_store::{CaProvider, SecretKeySelector};
use selkie_cloud::aws::{AccessKey, SecretsManager, SecretsManagerConfig};
use selkie_cloud::vault::{Retries, VaultClient, VaultConfig, VaultSetupError};
use selkie_secret::SecretBytes;
use selkie_stores::{SecretBackend, SecretsManagerBackend, StoreSession, VaultBackend};
use tokio::sync::Mutex as AsyncMutex;

use super::guard::{Refused, StoreKind, certificate_namespace, credential_namespace, store_admits};
use super::provider::{Provider, RetryRule, retry_rule};
use super::store::StoreObject;
use super::wish::Refusal;
use crate::support::answer::cause;
use crate::support::context::Environment;
use crate::support::secret_object::SecretObject;
use crate::support::view::ObjectKey;

/// The time limit of one request to a backend.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

const CA_PROVIDER: &str = "spec.provider.vault.caProvider";

/// A store of the cluster: its kind and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey {
    /// Which of the two kinds.
    pub kind: StoreKind,
    /// Its namespace, empty for a ClusterSecretStore, and name.
    pub object: ObjectKey,
}

/// Why a store cannot be asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such store.
    #[error("{kind} {name:?} does not exist{place}")]
    NoStore {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// ` in namespace "x"`, or nothing.
        place: String,
    },
    /// It is another controller's. Nobody is told: this resource is none of ours.
    #[error("{kind} {name:?} belongs to another controller class")]
    Foreign {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The store asks for something that is not carried out.
    #[error("{kind} {name:?}: {cause}")]
    Refused {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The field.
        cause: Refusal,
    },
    /// A guard said no.
    #[error(transparent)]
    Guard(#[from] Refused),
    /// A Secret or ConfigMap that the store names is not there, or its key is not.
    #[error("{field}: {object} {what}")]
    Credential {
        /// Path of the field.
        field: String,
        /// The object, as `Secret a/b`.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// The client cannot be made.
    #[error("spec.provider.vault: {0}")]
    Vault(#[from] VaultSetupError),
    /// The API server did not answer.
    #[error("the API server did not give {what}: {cause}")]
    Api {
        /// What was asked for.
        what: String,
        /// Its words.
        cause: String,
    },
}

impl SessionError {
    /// Returns whether asking again helps although nothing that is watched changes.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api { .. } | Self::Vault(VaultSetupError::CaBundle) => true,
            // ConfigMaps are not watched.
            Self::Credential { field, .. } => field == CA_PROVIDER,
            _ => false,
        }
    }
}

/// All sessions of the process.
pub struct Sessions {
    client: Client,
    environment: Environment,
    known: Mutex<HashMap<SessionKey, Arc<AsyncMutex<Option<Session>>>>>,
    /// Who used which Secret, with the resource version that was read.
    credentials: Mutex<HashMap<ObjectKey, HashMap<SessionKey, Option<String>>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SessionKey {
    store: StoreKey,
    /// Namespace of the user, where credentials come from there (external-secrets.md 2).
    consumer: Option<String>,
}

struct Session {
    uid: String,
    generation: i64,
    made: Result<Arc<StoreSession>, SessionError>,
}

impl Sessions {
    /// Makes an empty set.
    pub fn new(client: Client, environment: Environment) -> Self {
        Self {
            client,
            environment,
            known: Mutex::default(),
            credentials: Mutex::default(),
        }
    }

    /// Returns the session of a store for a user in namespace `consumer`, and makes it if need be.
    ///
    /// `consumer` is `None` when the store itself is validated.
    pub async fn get(
        &self,
        store: &StoreObject,
        consumer: Option<&str>,
    ) -> Result<Arc<StoreSession>, SessionError> {
        let provider = Provider::parse(&store.spec).map_err(|cause| refused(store, cause))?;
        let referent = store.key.kind == StoreKind::Cluster && provider.is_referent();
        let key = SessionKey {
            store: store.key.clone(),
            consumer: consumer.filter(|_| referent).map(str::to_owned),
        };
        let slot = Arc::clone(lock(&self.known).entry(key.clone()).or_default());
        let mut session = slot.lock().await;
        if let Some(known) = session.as_ref()
            && known.uid == store.uid
            && known.generation == store.generation
            && !matches!(&known.made, Err(error) if error.is_transient())
        {
            return known.made.clone();
        }
        let made = self.make(store, &provider, &key).await;
        *session = Some(Session {
            uid: store.uid.clone(),
            generation: store.generation,
            made: made.clone(),
        });
        made
    }

    /// Checks a ClusterSecretStore's conditions for `namespace`.
    pub async fn admits(&self, store: &StoreObject, namespace: &str) -> Result<(), SessionError> {
        if store.key.kind == StoreKind::Namespaced || store.spec.conditions.is_empty() {
            return Ok(());
        }
        let selects =
            |of: &selkie_api::secret_store::StoreCondition| of.namespace_selector.is_some();
        let labels = if store.spec.conditions.iter().any(selects) {
            let found = Api::<Namespace>::all(self.client.clone())
                .get_opt(namespace)
                .await
                .map_err(|error| api_error(&format!("namespace {namespace}"), &error))?;
            found
                .and_then(|namespace| namespace.metadata.labels)
                .unwrap_or_default()
        } else {
            BTreeMap::new()
        };
        let name = &store.key.object.name;
        Ok(store_admits(
            name,
            &store.spec.conditions,
            namespace,
            &labels,
        )?)
    }

    /// Forgets the sessions whose credentials are in a Secret that changed; returns their stores.
    ///
    /// `version` is the Secret's resource version now, `None` when it is gone.
    pub fn secret_changed(&self, secret: &ObjectKey, version: Option<&str>) -> Vec<StoreKey> {
        let mut credentials = lock(&self.credentials);
        let Some(users) = credentials.get_mut(secret) else {
            return Vec::new();
        };
        let mut changed = Vec::new();
        users.retain(|key, read| {
            let same = read.as_deref() == version;
            if !same {
                lock(&self.known).remove(key);
                changed.push(key.store.clone());
            }
            same
        });
        changed
    }

    /// Forgets the sessions of a store: it is gone, or its certificate may have changed.
    pub fn forget(&self, store: &StoreKey) {
        lock(&self.known).retain(|key, _| key.store != *store);
        for users in lock(&self.credentials).values_mut() {
            users.retain(|key, _| key.store != *store);
        }
    }

    async fn make(
        &self,
        store: &StoreObject,
        provider: &Provider,
        key: &SessionKey,
    ) -> Result<Arc<StoreSession>, SessionError> {
        let retries = retry_rule(&store.spec).map_err(|cause| refused(store, cause))?;
        let mut values = Vec::new();
        for (field, selector) in provider.credentials() {
            values.push(self.credential(key, &field, selector).await?);
        }
        let mut values = values.into_iter();
        let backend: Box<dyn SecretBackend> = match provider {
            Provider::Vault(vault) => {
                let token = match values.next() {
                    Some(bytes) => Some(bytes.into_string().map_err(|_| VaultSetupError::Token)?),
                    None => None,
                };
                let given = &vault.provider;
                let config = VaultConfig {
                    server: given.server.clone(),
                    namespace: given.namespace.clone(),
                    headers: given.headers.clone(),
                    ca_pem: self
                        .certificate(store, given.ca_bundle.as_deref(), vault.ca.as_ref())
                        .await?,
                    timeout: REQUEST_LIMIT,
                    retries: vault_retries(retries),
                };
                let client = VaultClient::new(&config, token)?;
                Box::new(VaultBackend::new(client, given.path.clone(), vault.version))
            }
            Provider::SecretsManager(aws) => {
                let mut text = |field: &str| {
                    let bytes = values.next().unwrap_or_default();
                    bytes.into_string().map_err(|_| SessionError::Credential {
                        field: format!("spec.provider.aws.auth.secretRef.{field}"),
                        object: "the value".to_owned(),
                        what: "is not UTF-8 text".to_owned(),
                    })
                };
                let access_key = AccessKey {
                    id: text("accessKeyIDSecretRef")?,
                    secret: text("secretAccessKeySecretRef")?,
                    session_token: match aws.keys.session_token {
                        Some(_) => Some(text("sessionTokenSecretRef")?),
                        None => None,
                    },
                };
                let config = SecretsManagerConfig {
                    region: aws.provider.region.clone(),
                    endpoint: self.environment.aws_secretsmanager_endpoint.clone(),
                    timeout: REQUEST_LIMIT,
                    attempts: retries
                        .map(|rule| (rule.count + 1, rule.wait.unwrap_or(Duration::from_secs(1)))),
                };
                let client = SecretsManager::new(&config, &access_key);
                let prefix = aws.provider.prefix.clone().unwrap_or_default();
                Box::new(SecretsManagerBackend::new(client, prefix))
            }
        };
        Ok(Arc::new(StoreSession::new(backend, Instant::now)))
    }

    /// Reads one key of a Secret, and remembers to make the session again when that Secret changes.
    async fn credential(
        &self,
        key: &SessionKey,
        field: &str,
        selector: &SecretKeySelector,
    ) -> Result<SecretBytes, SessionError> {
        let namespace = credential_namespace(
            key.store.kind,
            &key.store.object.namespace,
            selector.namespace.as_deref(),
            key.consumer.as_deref(),
            field,
        )?;
        let Some(namespace) = namespace else {
            // Only a store that is validated on its own gets here, and it is not (see `store`).
            return Err(Refused::NoNamespace {
                field: field.to_owned(),
            }
            .into());
        };
        let object = ObjectKey::new(&*namespace, &*selector.name);
        let shown = format!("Secret {object}");
        let wrong = |what: String| SessionError::Credential {
            field: field.to_owned(),
            object: shown.clone(),
            what,
        };
        if selector.name.is_empty() || selector.key.is_empty() {
            return Err(wrong("needs both a name and a key".to_owned()));
        }
        // Before the read, so that a change right after it is noticed.
        self.note(&object, key, None);
        let found = Api::<SecretObject>::namespaced(self.client.clone(), &namespace)
            .get_opt(&selector.name)
            .await
            .map_err(|error| api_error(&shown, &error))?;
        let version = found
            .as_ref()
            .and_then(|secret| secret.metadata.resource_version.clone());
        self.note(&object, key, version);
        let mut secret = found.ok_or_else(|| wrong("does not exist".to_owned()))?;
        let value = secret.data.0.remove(&selector.key);
        value.ok_or_else(|| wrong(format!("has no key {:?}", selector.key)))
    }

    fn note(&self, secret: &ObjectKey, key: &SessionKey, version: Option<String>) {
        lock(&self.credentials)
            .entry(secret.clone())
            .or_default()
            .insert(key.clone(), version);
    }

    /// Returns the PEM certificates to trust: inline ones win (external-secrets.md 2).
    async fn certificate(
        &self,
        store: &StoreObject,
        bundle: Option<&str>,
        provider: Option<&CaProvider>,
    ) -> Result<Option<Vec<u8>>, SessionError> {
        if let Some(text) = bundle.filter(|text| !text.is_empty()) {
            return Ok(Some(pem(text.as_bytes())?));
        }
        let Some(ca) = provider else {
            return Ok(None);
        };
        let field = CA_PROVIDER;
        let wanted = ca.namespace.as_deref();
        let store_namespace = &store.key.object.namespace;
        let namespace = certificate_namespace(store.key.kind, store_namespace, wanted, field)?;
        let shown = format!("{} {namespace}/{}", ca.type_, ca.name);
        let key = ca.key.as_deref().unwrap_or_default();
        let missing = || SessionError::Credential {
            field: field.to_owned(),
            object: shown.clone(),
            what: format!("does not exist or has no key {key:?}"),
        };
        let failed = |error: &kube::Error| api_error(&shown, error);
        let bytes = match ca.type_.as_str() {
            "ConfigMap" => {
                let api = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace);
                let found = api
                    .get_opt(&ca.name)
                    .await
                    .map_err(|error| failed(&error))?;
                let text = found
                    .and_then(|map| map.data)
                    .and_then(|mut data| data.remove(key));
                text.map(String::into_bytes)
            }
            _ => {
                let api = Api::<SecretObject>::namespaced(self.client.clone(), &namespace);
                let found = api
                    .get_opt(&ca.name)
                    .await
                    .map_err(|error| failed(&error))?;
                let value = found.and_then(|mut secret| secret.data.0.remove(key));
                value.map(|value| value.expose().to_vec())
            }
        };
        Ok(Some(pem(&bytes.ok_or_else(missing)?)?))
    }
}

fn refused(store: &StoreObject, cause: Refusal) -> SessionError {
    SessionError::Refused {
        kind: store.key.kind.name(),
        name: store.key.object.name.clone(),
        cause,
    }
}

/// Without settings there are no retries of our own: the session's circuit breaker and the queue's
/// backoff do that work, and a store that is down is asked once.
fn vault_retries(rule: Option<RetryRule>) -> Retries {
    rule.map_or_else(Retries::default, |rule| Retries {
        count: rule.count,
        wait: rule.wait.unwrap_or(Duration::from_secs(1)),
    })
}

/// Takes PEM as it is, or base64 of it: manifests in use have one layer more than the API asks for.
fn pem(bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
    let mut bytes = bytes.to_vec();
    for _ in 0..2 {
        if bytes.windows(10).any(|window| window == b"-----BEGIN") {
            return Ok(bytes);
        }
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        bytes = BASE64_STANDARD
            .decode(&bytes)
            .map_err(|_| VaultSetupError::CaBundle)?;
    }
    if bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(bytes);
    }
    Err(VaultSetupError::CaBundle.into())
}

pub(super) fn api_error(what: &str, error: &kube::Error) -> SessionError {
    SessionError::Api {
        what: what.to_owned(),
        cause: cause(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_may_be_wrapped_once_more() {
        let certificate = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert_eq!(pem(certificate).unwrap(), certificate);
        let once = BASE64_STANDARD.encode(certificate);
        assert_eq!(pem(once.as_bytes()).unwrap(), certificate);
        let twice = BASE64_STANDARD.encode(format!("{once}\n"));
        assert_eq!(pem(twice.as_bytes()).unwrap(), certificate);
        assert!(pem(b"nothing").is_err());
    }
}

//! SecretStores and ClusterSecretStores: what the watch keeps of them, and their validation
//! (external-secrets.md 8.2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use selkie_api::external_secret::GROUP;
use selkie_api::secret_store::{
    ClusterSecretStore, SecretStore, SecretStoreSpec, SecretStoreStatus,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::{info, warn};

use super::guard::StoreKind;
use super::metrics::ExternalMetrics;
use super::provider::{Provider, validation_interval};
use super::sessions::{SessionError, Sessions, StoreKey, api_error};
use super::status::{self, Verdict};
use super::{COMPONENT, CONTROLLER_CLASS, FETCH_LIMIT};
use crate::support::answer::cause;
use crate::support::context::Context;
use crate::support::events::{Note, Severity};
use crate::support::queue::backoff;
use crate::support::resource_version::is_older;
use crate::support::view::{ObjectKey, View};

/// The waits of a store that cannot be validated and is not down.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A store as the watch keeps it.
#[derive(Clone, Debug)]
pub struct StoreObject {
    /// Which one it is.
    pub key: StoreKey,
    /// Its UID.
    pub uid: String,
    /// Generation of its specification.
    pub generation: i64,
    /// Resource version.
    pub resource_version: String,
    /// Its specification.
    pub spec: SecretStoreSpec,
    /// Its status.
    pub status: SecretStoreStatus,
}

/// Status and resource version are left out: what this controller writes itself is no news for it.
impl PartialEq for StoreObject {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
            && self.uid == other.uid
            && self.generation == other.generation
            && self.spec == other.spec
    }
}

impl StoreObject {
    /// Takes what is kept of a SecretStore.
    pub fn keep(store: SecretStore) -> Self {
        Self::of(
            StoreKind::Namespaced,
            store.metadata,
            store.spec,
            store.status,
        )
    }

    /// Takes what is kept of a ClusterSecretStore.
    pub fn keep_cluster(store: ClusterSecretStore) -> Self {
        let spec = store.spec.store;
        Self::of(StoreKind::Cluster, store.metadata, spec, store.status)
    }

    /// Returns whether this controller serves it (external-secrets.md 8.1).
    pub fn is_ours(&self) -> bool {
        match self.spec.controller.as_deref() {
            None | Some("") => true,
            Some(class) => class == CONTROLLER_CLASS,
        }
    }

    fn of(
        kind: StoreKind,
        metadata: kube::api::ObjectMeta,
        spec: SecretStoreSpec,
        status: Option<SecretStoreStatus>,
    ) -> Self {
        let object = ObjectKey::new(
            metadata.namespace.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        );
        Self {
            key: StoreKey { kind, object },
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        }
    }

    fn reference(&self) -> ObjectReference {
        let namespace = Some(self.key.object.namespace.clone());
        ObjectReference {
            api_version: Some(format!("{GROUP}/v1")),
            kind: Some(self.key.kind.name().to_owned()),
            namespace: namespace.filter(|name| !name.is_empty()),
            name: Some(self.key.object.name.clone()),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// All stores of the cluster, kept up to date by two watches.
#[derive(Clone)]
pub struct Stores {
    client: Client,
    /// SecretStores.
    pub namespaced: View<StoreObject>,
    /// ClusterSecretStores.
    pub cluster: View<StoreObject>,
}

impl Stores {
    /// Makes an empty set; the views have to be run.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            namespaced: View::new(),
            cluster: View::new(),
        }
    }

    /// Returns a store. One that the watch does not have is asked for once more before it is said to
    /// be missing: it may have been made together with what names it.
    pub async fn get(&self, key: &StoreKey) -> Result<Option<Arc<StoreObject>>, SessionError> {
        if let Some(store) = self.watched(key) {
            return Ok(Some(store));
        }
        let ObjectKey { namespace, name } = &key.object;
        let found = match key.kind {
            StoreKind::Namespaced => {
                let api = Api::<SecretStore>::namespaced(self.client.clone(), namespace);
                api.get_opt(name)
                    .await
                    .map(|store| store.map(StoreObject::keep))
            }
            StoreKind::Cluster => {
                let api = Api::<ClusterSecretStore>::all(self.client.clone());
                let found = api.get_opt(name).await;
                found.map(|store| store.map(StoreObject::keep_cluster))
            }
        };
        let what = format!("{} {name}", key.kind.name());
        let found = found.map_err(|error| api_error(&what, &error))?;
        Ok(found.map(Arc::new))
    }

    /// Returns a store as the watch has it.
    pub fn watched(&self, key: &StoreKey) -> Option<Arc<StoreObject>> {
        let view = match key.kind {
            StoreKind::Namespaced => &self.namespaced,
            StoreKind::Cluster => &self.cluster,
        };
        view.get(&key.object.namespace, &key.object.name)
    }
}

/// The validation of stores.
pub struct Validation {
    context: Context,
    stores: Stores,
    sessions: Arc<Sessions>,
    metrics: ExternalMetrics,
    memory: Mutex<HashMap<StoreKey, Memory>>,
}

/// What this process remembers of a store.
#[derive(Clone, Debug, Default)]
struct Memory {
    uid: String,
    /// Written last, and the resource version that made; the watch lags behind.
    status: Option<(SecretStoreStatus, String)>,
    failures: u32,
}

impl Memory {
    /// Returns the newer one of the status in the watch and the one written last. Others may have
    /// overwritten ours since.
    fn current_status<'a>(&'a self, store: &'a StoreObject) -> &'a SecretStoreStatus {
        match &self.status {
            Some((status, version)) if is_older(&store.resource_version, version) => status,
            _ => &store.status,
        }
    }
}

/// What follows from one validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// When to validate again; `None` when something has to change first.
    pub again: Option<Duration>,
    /// Whether the store works again, so that those who wait for it should try.
    pub recovered: bool,
}

impl Validation {
    /// Makes it ready.
    pub fn new(
        context: Context,
        stores: Stores,
        sessions: Arc<Sessions>,
        metrics: ExternalMetrics,
    ) -> Self {
        Self {
            context,
            stores,
            sessions,
            metrics,
            memory: Mutex::default(),
        }
    }

    /// Validates one store and writes its status if that says something new.
    pub async fn run(&self, key: &StoreKey) -> Validated {
        let nothing = Validated {
            again: None,
            recovered: false,
        };
        let Some(store) = self.stores.watched(key) else {
            self.sessions.forget(key);
            self.memory().remove(key);
            self.metrics.store_gone(key);
            return nothing;
        };
        if !store.is_ours() {
            return nothing;
        }
        let mut memory = self.memory().get(key).cloned().unwrap_or_default();
        if memory.uid != store.uid {
            memory = Memory {
                uid: store.uid.clone(),
                ..Memory::default()
            };
        }
        let before = memory.failures;
        let asked = tokio::time::timeout(FETCH_LIMIT, self.verdict(&store)).await;
        let (verdict, suspended) = asked.unwrap_or_else(|_| {
            let seconds = FETCH_LIMIT.as_secs();
            let cause = format!("the backend did not answer within {seconds} s");
            (Verdict::Invalid(cause), None)
        });
        let failed = matches!(verdict, Verdict::NoClient(_) | Verdict::Invalid(_));
        self.metrics.validated(key, !failed);
        memory.failures = if failed { before.saturating_add(1) } else { 0 };
        let again = match (&verdict, suspended) {
            (_, Some(wait)) => Some(wait + Duration::from_millis(200)),
            // The store or a credential has to change; both are watched.
            (Verdict::NoClient(_), None) => None,
            (Verdict::Invalid(_), None) => Some(backoff(FIRST_RETRY, LONGEST_RETRY, before)),
            _ => validation_interval(&store.spec).ok(),
        };
        let written = self.write(&store, &verdict, &mut memory).await;
        self.memory().insert(key.clone(), memory);
        Validated {
            again: if written { again } else { Some(FIRST_RETRY) },
            recovered: !failed && before > 0,
        }
    }

    /// Finds out whether the store works, and for how long it is left alone if it is down.
    async fn verdict(&self, store: &StoreObject) -> (Verdict, Option<Duration>) {
        let provider = match Provider::parse(&store.spec) {
            Ok(provider) => provider,
            Err(refusal) => return (Verdict::NoClient(refusal.to_string()), None),
        };
        if let Err(refusal) = validation_interval(&store.spec) {
            return (Verdict::NoClient(refusal.to_string()), None);
        }
        if store.key.kind == StoreKind::Cluster && provider.is_referent() {
            return (Verdict::Unknown, None);
        }
        let session = match self.sessions.get(store, None).await {
            Ok(session) => session,
            Err(error) => {
                let wait = error.is_transient().then_some(FIRST_RETRY);
                return (Verdict::NoClient(error.to_string()), wait);
            }
        };
        match session.validate().await {
            Ok(()) => (Verdict::Valid, None),
            Err(error) => {
                let wait = session.suspended_for();
                // A certificate that was replaced looks like an outage, and nobody watches it.
                if matches!(&provider, Provider::Vault(vault) if vault.ca.is_some()) {
                    self.sessions.forget(&store.key);
                }
                (Verdict::Invalid(error.to_string()), wait)
            }
        }
    }

    /// Writes the status; returns whether it says now what it should.
    async fn write(&self, store: &StoreObject, verdict: &Verdict, memory: &mut Memory) -> bool {
        let capabilities = Provider::parse(&store.spec).ok();
        let capabilities = capabilities.map(|provider| provider.capabilities());
        let old = memory.current_status(store);
        let Some(new) = status::store(old, verdict, capabilities, Timestamp::now()) else {
            return true;
        };
        let ObjectKey { namespace, name } = &store.key.object;
        let client = self.context.client.clone();
        let written = match store.key.kind {
            StoreKind::Namespaced => {
                let api = Api::<SecretStore>::namespaced(client, namespace);
                patch_status(&api, name, &new).await
            }
            StoreKind::Cluster => {
                let api = Api::<ClusterSecretStore>::all(client);
                patch_status(&api, name, &new).await
            }
        };
        let kind = store.key.kind.name();
        let version = match written {
            Ok(version) => version,
            Err(error) => {
                warn!(
                    kind,
                    namespace,
                    name,
                    error = cause(&error),
                    "status not written"
                );
                return false;
            }
        };
        let (reason, warning) = verdict.event();
        info!(
            kind,
            namespace,
            name,
            reason,
            message = verdict.message(),
            "store validated"
        );
        memory.status = Some((new, version));
        let note = Note {
            severity: if warning {
                Severity::Warning
            } else {
                Severity::Normal
            },
            reason,
            message: verdict.message(),
        };
        let reference = store.reference();
        self.context
            .events
            .publish(COMPONENT, &reference, note)
            .await;
        true
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<StoreKey, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn patch_status<K>(
    api: &Api<K>,
    name: &str,
    status: &SecretStoreStatus,
) -> Result<String, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + kube::Resource,
{
    let patch = Patch::Merge(json!({ "status": status }));
    let made = api
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(made.meta().resource_version.clone().unwrap_or_default())
}

/// Both kinds of store have the scope that their views expect.
const _: fn() = || {
    fn namespaced<K: kube::Resource<Scope = NamespaceResourceScope>>() {}
    namespaced::<SecretStore>();
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What others wrote over our status is seen, and so corrected.
    #[test]
    fn the_newer_status_counts() {
        let status = |text: &str| SecretStoreStatus {
            capabilities: Some(text.to_owned()),
            ..SecretStoreStatus::default()
        };
        let memory = Memory {
            status: Some((status("ours"), "10".to_owned())),
            ..Memory::default()
        };
        let seen = |version: &str| {
            let metadata = kube::api::ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..kube::api::ObjectMeta::default()
            };
            let spec = SecretStoreSpec::default();
            let store = StoreObject::of(
                StoreKind::Namespaced,
                metadata,
                spec,
                Some(status("watched")),
            );
            memory.current_status(&store).capabilities.clone()
        };
        assert_eq!(seen("9").as_deref(), Some("ours"));
        assert_eq!(seen("10").as_deref(), Some("watched"));
        assert_eq!(seen("11").as_deref(), Some("watched"));
    }
}

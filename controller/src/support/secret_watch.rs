//! One metadata-only watch of Secrets for the whole process.
//!
//! Values never cross the wire here. Of 10 000 Secrets of 4 KiB this keeps a few megabytes
//! (dependencies.md 7): managed fields are dropped, and of the annotations only the few that decide
//! something; `last-applied-configuration` can hold the values themselves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use futures::TryStreamExt;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, Client,
    api::ObjectMeta,
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::{broadcast, watch};
use tracing::warn;

use super::{context::Namespaces, health::Gate, shutdown::Shutdown};

/// Changes that a slow subscriber may be behind before it has to look at everything again.
const CHANGES: usize = 8192;
/// Annotations with these prefixes are kept.
const KEPT_ANNOTATIONS: [&str; 3] = [
    "sealedsecrets.bitnami.com/",
    "reconcile.external-secrets.io/",
    "external-secrets.io/",
];

/// Namespace and name of a Secret.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SecretKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What is known of a Secret without reading it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretMeta {
    /// UID.
    pub uid: String,
    /// Resource version; compare for equality only.
    pub resource_version: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations that decide something, see the module's head.
    pub annotations: BTreeMap<String, String>,
    /// Owner references.
    pub owner_references: Vec<OwnerReference>,
}

/// A change, as subscribers see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretChange {
    /// Look at this Secret: it is new, changed or gone.
    One(SecretKey),
    /// Changes were missed; look at every Secret.
    All,
}

/// The view of all Secrets; cloning is cheap.
#[derive(Clone)]
pub struct SecretWatch(Arc<Inner>);

struct Inner {
    known: RwLock<HashMap<SecretKey, Arc<SecretMeta>>>,
    changes: broadcast::Sender<SecretKey>,
    listed: watch::Sender<bool>,
}

/// A subscription to changes.
pub struct SecretChanges(broadcast::Receiver<SecretKey>);

impl SecretWatch {
    /// Makes an empty view; [`SecretWatch::run`] fills it.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            known: RwLock::default(),
            changes: broadcast::channel(CHANGES).0,
            listed: watch::channel(false).0,
        }))
    }

    /// Returns what is known of a Secret; `None` when there is none.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<SecretMeta>> {
        let key = SecretKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        self.read().get(&key).cloned()
    }

    /// Returns every Secret for which `predicate` holds.
    pub fn filter(&self, predicate: impl Fn(&SecretKey, &SecretMeta) -> bool) -> Vec<SecretKey> {
        self.read()
            .iter()
            .filter(|(key, meta)| predicate(key, meta))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Subscribes to changes from now on. Subscribe first, then [`SecretWatch::listed`].
    pub fn subscribe(&self) -> SecretChanges {
        SecretChanges(self.0.changes.subscribe())
    }

    /// Completes once every Secret was listed for the first time.
    pub async fn listed(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Watches until the shutdown is requested; `gate` opens after the first list.
    pub async fn run(
        &self,
        client: Client,
        namespaces: &Namespaces,
        gate: Gate,
        shutdown: &Shutdown,
    ) {
        let scopes = namespaces.watches();
        let missing = std::sync::atomic::AtomicUsize::new(scopes.len());
        let watches = scopes.into_iter().map(|namespace| {
            let (client, missing, gate) = (client.clone(), &missing, &gate);
            async move {
                let mut first = true;
                let mut listed = Vec::new();
                let stream = watcher(api(client, namespace.as_deref()), watcher::Config::default())
                    .default_backoff();
                let mut stream = std::pin::pin!(stream);
                loop {
                    match stream.try_next().await {
                        Ok(None) => return,
                        Ok(Some(event)) => {
                            if self.take(namespace.as_deref(), event, &mut listed) && first {
                                first = false;
                                if missing.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                                    self.0.listed.send_replace(true);
                                    gate.ready();
                                }
                            }
                        }
                        Err(error) => {
                            warn!(namespace, %error, "the watch of Secrets failed, it is tried again");
                        }
                    }
                }
            }
        });
        shutdown.or(futures::future::join_all(watches)).await;
    }

    /// Takes one watch event in; returns whether it ended a list.
    fn take(
        &self,
        scope: Option<&str>,
        event: watcher::Event<PartialObjectMeta<Secret>>,
        listed: &mut Vec<(SecretKey, Arc<SecretMeta>)>,
    ) -> bool {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => listed.extend(kept(object.metadata)),
            watcher::Event::Apply(object) => {
                if let Some((key, meta)) = kept(object.metadata) {
                    let before = self.write().insert(key.clone(), meta.clone());
                    if before.as_deref() != Some(&*meta) {
                        self.announce(key);
                    }
                }
            }
            watcher::Event::Delete(object) => {
                if let Some((key, _)) = kept(object.metadata) {
                    self.write().remove(&key);
                    self.announce(key);
                }
            }
            watcher::Event::InitDone => {
                self.swap(scope, std::mem::take(listed));
                return true;
            }
        }
        false
    }

    /// Replaces what is known of one scope by a list, and announces each difference.
    fn swap(&self, scope: Option<&str>, listed: Vec<(SecretKey, Arc<SecretMeta>)>) {
        let listed: HashMap<_, _> = listed.into_iter().collect();
        let mut changed = Vec::new();
        let mut known = self.write();
        known.retain(|key, _| {
            let stays =
                scope.is_some_and(|scope| scope != key.namespace) || listed.contains_key(key);
            if !stays {
                changed.push(key.clone());
            }
            stays
        });
        for (key, meta) in listed {
            let before = known.insert(key.clone(), meta.clone());
            if before.as_deref() != Some(&*meta) {
                changed.push(key);
            }
        }
        drop(known);
        for key in changed {
            self.announce(key);
        }
    }

    fn announce(&self, key: SecretKey) {
        // An error means that nobody subscribed.
        let _ = self.0.changes.send(key);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<SecretKey, Arc<SecretMeta>>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<SecretKey, Arc<SecretMeta>>> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SecretWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl SecretChanges {
    /// Waits for the next change. Never completes once the watch is gone.
    pub async fn next(&mut self) -> SecretChange {
        match self.0.recv().await {
            Ok(key) => SecretChange::One(key),
            Err(broadcast::error::RecvError::Lagged(_)) => SecretChange::All,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn api(client: Client, namespace: Option<&str>) -> Api<PartialObjectMeta<Secret>> {
    match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

fn kept(metadata: ObjectMeta) -> Option<(SecretKey, Arc<SecretMeta>)> {
    let key = SecretKey {
        namespace: metadata.namespace?,
        name: metadata.name?,
    };
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.retain(|name, _| {
        KEPT_ANNOTATIONS
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    let meta = SecretMeta {
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
        annotations,
        owner_references: metadata.owner_references.unwrap_or_default(),
    };
    Some((key, Arc::new(meta)))
}

#[cfg(test)]
mod tests {
    use kube::core::TypeMeta;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str) -> PartialObjectMeta<Secret> {
        PartialObjectMeta {
            types: Some(TypeMeta::default()),
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                resource_version: Some(version.to_owned()),
                annotations: Some(BTreeMap::from([
                    (
                        "kubectl.kubernetes.io/last-applied-configuration".to_owned(),
                        "canary".to_owned(),
                    ),
                    (
                        "sealedsecrets.bitnami.com/managed".to_owned(),
                        "true".to_owned(),
                    ),
                ])),
                ..ObjectMeta::default()
            },
            _phantom: std::marker::PhantomData,
        }
    }

    fn key(namespace: &str, name: &str) -> SecretKey {
        SecretKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_new_list_announces_what_differs() {
        let view = SecretWatch::new();
        let mut listed = Vec::new();
        let mut list = |scope: Option<&str>, objects: &[(&str, &str, &str)]| {
            view.take(scope, watcher::Event::Init, &mut listed);
            for (namespace, name, version) in objects {
                view.take(
                    scope,
                    watcher::Event::InitApply(object(namespace, name, version)),
                    &mut listed,
                );
            }
            assert!(view.take(scope, watcher::Event::InitDone, &mut listed));
        };
        list(
            None,
            &[
                ("a", "same", "1"),
                ("a", "changed", "2"),
                ("b", "gone", "3"),
                ("c", "elsewhere", "9"),
            ],
        );
        let mut changes = view.subscribe();
        list(Some("b"), &[]);
        assert_eq!(changes.next().await, SecretChange::One(key("b", "gone")));
        list(Some("a"), &[("a", "same", "1"), ("a", "changed", "4")]);
        assert_eq!(changes.next().await, SecretChange::One(key("a", "changed")));
        assert!(changes.0.is_empty());
        assert!(view.get("b", "gone").is_none());
        assert!(view.get("c", "elsewhere").is_some());
    }

    #[test]
    fn annotations_that_could_hold_values_are_dropped() {
        let (_, meta) = kept(object("a", "b", "1").metadata).unwrap();
        assert_eq!(
            meta.annotations.keys().collect::<Vec<_>>(),
            ["sealedsecrets.bitnami.com/managed"]
        );
    }
}

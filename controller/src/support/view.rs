//! The objects of one kind, kept up to date by a watch: what a controller looks things up in.

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::TryStreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, watch};
use tracing::warn;

use super::{answer::watch_cause, context::Namespaces, health::Gate, shutdown::Shutdown};

/// Changes that a slow subscriber may be behind before it has to look at everything again.
const CHANGES: usize = 8192;

/// Namespace and name of an object; the namespace of a cluster-wide one is empty.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A change, as subscribers see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Look at this object: it is new, changed or gone.
    One(ObjectKey),
    /// Changes were missed; look at every object.
    All,
}

/// All objects of one kind, as `V` each; cloning is cheap.
pub struct View<V>(Arc<Inner<V>>);

struct Inner<V> {
    known: RwLock<HashMap<ObjectKey, Arc<V>>>,
    changes: broadcast::Sender<ObjectKey>,
    listed: watch::Sender<bool>,
}

/// A subscription to changes.
pub struct Changes(broadcast::Receiver<ObjectKey>);

impl ObjectKey {
    /// Makes a key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Returns the key of `object`.
    pub fn of(object: &impl Resource) -> Self {
        Self::new(
            object.meta().namespace.clone().unwrap_or_default(),
            object.meta().name.clone().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl<V: PartialEq> View<V> {
    /// Makes an empty view; [`View::run`] fills it.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            known: RwLock::default(),
            changes: broadcast::channel(CHANGES).0,
            listed: watch::channel(false).0,
        }))
    }

    /// Returns an object; `None` when there is none.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        self.read().get(&ObjectKey::new(namespace, name)).cloned()
    }

    /// Returns the keys of the objects for which `predicate` holds.
    pub fn filter(&self, predicate: impl Fn(&ObjectKey, &V) -> bool) -> Vec<ObjectKey> {
        self.read()
            .iter()
            .filter(|(key, value)| predicate(key, value))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Subscribes to changes from now on. Subscribe first, then await [`View::listed`].
    pub fn subscribe(&self) -> Changes {
        Changes(self.0.changes.subscribe())
    }

    /// Completes once every object was listed for the first time.
    pub async fn listed(&self) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Watches the cluster-wide API or one API per namespace until the shutdown is requested.
    ///
    /// `keep` turns an object into what is kept of it. `gate` opens after the first list.
    pub async fn run<K>(
        &self,
        client: Client,
        namespaces: &Namespaces,
        keep: impl Fn(K) -> V,
        gate: Gate,
        shutdown: &Shutdown,
    ) where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    {
        self.run_selected(client, namespaces, None, keep, gate, shutdown)
            .await;
    }

    /// As [`View::run`], for the objects whose labels a selector admits.
    pub async fn run_selected<K>(
        &self,
        client: Client,
        namespaces: &Namespaces,
        selector: Option<&str>,
        keep: impl Fn(K) -> V,
        gate: Gate,
        shutdown: &Shutdown,
    ) where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    {
        let apis = namespaces.watches().into_iter().map(|namespace| {
            let api = match &namespace {
                Some(namespace) => Api::namespaced(client.clone(), namespace),
                None => Api::all(client.clone()),
            };
            (namespace, api)
        });
        let config = watcher::Config {
            label_selector: selector.map(str::to_owned),
            ..watcher::Config::default()
        };
        self.run_with(apis.collect(), &config, keep, gate, shutdown)
            .await;
    }

    /// As [`View::run`], for the given APIs, each with the namespace that it is limited to.
    pub async fn run_on<K>(
        &self,
        apis: Vec<(Option<String>, Api<K>)>,
        keep: impl Fn(K) -> V,
        gate: Gate,
        shutdown: &Shutdown,
    ) where
        K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    {
        self.run_with(apis, &watcher::Config::default(), keep, gate, shutdown)
            .await;
    }

    async fn run_with<K>(
        &self,
        apis: Vec<(Option<String>, Api<K>)>,
        config: &watcher::Config,
        keep: impl Fn(K) -> V,
        gate: Gate,
        shutdown: &Shutdown,
    ) where
        K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
    {
        let missing = AtomicUsize::new(apis.len());
        let watches = apis.into_iter().map(|(namespace, api)| {
            let (keep, gate, missing) = (&keep, &gate, &missing);
            async move {
                let scope = namespace.as_deref();
                let (mut first, mut listed) = (true, Vec::new());
                let mut stream = pin!(watcher(api, config.clone()).default_backoff());
                loop {
                    match stream.try_next().await {
                        Ok(None) => return,
                        Ok(Some(event)) => {
                            let ended = self.take(scope, event, keep, &mut listed);
                            if ended
                                && std::mem::take(&mut first)
                                && missing.fetch_sub(1, Ordering::AcqRel) == 1
                            {
                                self.0.listed.send_replace(true);
                                gate.ready();
                            }
                        }
                        Err(error) => {
                            let kind = K::kind(&());
                            warn!(%kind, namespace, error = watch_cause(&error), "watch failed; it is tried again");
                        }
                    }
                }
            }
        });
        shutdown.or(futures::future::join_all(watches)).await;
    }

    /// Takes one watch event in; returns whether it ended a list.
    fn take<K: Resource>(
        &self,
        scope: Option<&str>,
        event: Event<K>,
        keep: impl Fn(K) -> V,
        listed: &mut Vec<(ObjectKey, Arc<V>)>,
    ) -> bool {
        let entry = |mut object: K| {
            // Bookkeeping of the API server; often the larger half of an object.
            object.managed_fields_mut().clear();
            (ObjectKey::of(&object), Arc::new(keep(object)))
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.push(entry(object)),
            Event::Apply(object) => {
                let (key, value) = entry(object);
                let before = self.write().insert(key.clone(), value.clone());
                if before.as_deref() != Some(&*value) {
                    self.announce(key);
                }
            }
            Event::Delete(object) => {
                let key = ObjectKey::of(&object);
                self.write().remove(&key);
                self.announce(key);
            }
            Event::InitDone => {
                self.swap(scope, std::mem::take(listed));
                return true;
            }
        }
        false
    }

    /// Replaces what is known of one scope by a list, and announces each difference.
    fn swap(&self, scope: Option<&str>, listed: Vec<(ObjectKey, Arc<V>)>) {
        let listed: HashMap<_, _> = listed.into_iter().collect();
        let mut changed = Vec::new();
        let mut known = self.write();
        known.retain(|key, _| {
            let elsewhere = scope.is_some_and(|scope| scope != key.namespace);
            let stays = elsewhere || listed.contains_key(key);
            if !stays {
                changed.push(key.clone());
            }
            stays
        });
        for (key, value) in listed {
            let before = known.insert(key.clone(), value.clone());
            if before.as_deref() != Some(&*value) {
                changed.push(key);
            }
        }
        drop(known);
        for key in changed {
            self.announce(key);
        }
    }

    fn announce(&self, key: ObjectKey) {
        // An error means that nobody subscribed.
        let _ = self.0.changes.send(key);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<ObjectKey, Arc<V>>> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<ObjectKey, Arc<V>>> {
        self.0.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: PartialEq> Default for View<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Clone for View<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Changes {
    /// Waits for the next change. Never completes once the view is gone.
    pub async fn next(&mut self) -> Change {
        match self.0.recv().await {
            Ok(key) => Change::One(key),
            Err(broadcast::error::RecvError::Lagged(_)) => Change::All,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    #[tokio::test]
    async fn a_new_list_announces_what_differs() {
        let view = View::new();
        let mut listed = Vec::new();
        let mut list = |scope: Option<&str>, objects: &[(&str, &str, &str)]| {
            let keep = |map: ConfigMap| map.metadata.resource_version;
            view.take(scope, Event::Init, keep, &mut listed);
            for (namespace, name, version) in objects {
                let event = Event::InitApply(object(namespace, name, version));
                view.take(scope, event, keep, &mut listed);
            }
            assert!(view.take(scope, Event::InitDone, keep, &mut listed));
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
        assert_eq!(
            changes.next().await,
            Change::One(ObjectKey::new("b", "gone"))
        );
        list(Some("a"), &[("a", "same", "1"), ("a", "changed", "4")]);
        assert_eq!(
            changes.next().await,
            Change::One(ObjectKey::new("a", "changed"))
        );
        assert!(changes.0.is_empty());
        assert!(view.get("b", "gone").is_none());
        assert_eq!(view.filter(|key, _| key.namespace == "c").len(), 1);
    }

    #[tokio::test]
    async fn single_events_are_announced_once() {
        let view = View::new();
        let mut changes = view.subscribe();
        let keep = |map: ConfigMap| map.metadata.resource_version;
        let mut listed = Vec::new();
        for version in ["1", "1", "2"] {
            view.take(
                None,
                Event::Apply(object("a", "b", version)),
                keep,
                &mut listed,
            );
        }
        assert_eq!(changes.0.len(), 2);
        view.take(
            None,
            Event::Delete(object("a", "b", "3")),
            keep,
            &mut listed,
        );
        assert_eq!(changes.0.len(), 3);
        assert_eq!(changes.next().await, Change::One(ObjectKey::new("a", "b")));
        assert!(view.get("a", "b").is_none());
    }
}

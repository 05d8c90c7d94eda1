//! What wakes an ExternalSecret or a store: changes in the cluster.

use std::sync::Arc;

use super::guard::StoreKind;
use super::reconcile::{Controller, lock};
use super::sessions::StoreKey;
use crate::support::view::Change;

impl Controller {
    /// Turns changes in the cluster into work, for ever. Subscribes before the first await.
    pub(super) fn triggers(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let controller = Arc::clone(self);
        let mut wanted = self.kept.subscribe();
        let mut secrets = self.context.secrets.subscribe();
        let mut stores = self.stores.namespaced.subscribe();
        let mut cluster = self.stores.cluster.subscribe();
        async move {
            loop {
                tokio::select! {
                    change = wanted.next() => controller.wanted_changed(change),
                    change = secrets.next() => controller.secret_changed(change),
                    change = stores.next() => {
                        controller.store_changed(change, StoreKind::Namespaced);
                    }
                    change = cluster.next() => {
                        controller.store_changed(change, StoreKind::Cluster);
                    }
                }
            }
        }
    }

    fn wanted_changed(&self, change: Change) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All => self.kept.filter(|_, _| true),
        };
        for key in keys {
            let kept = self.kept.get(&key.namespace, &key.name);
            lock(&self.index).update(&key, kept.as_deref());
            self.queue.add(key);
        }
    }

    fn secret_changed(&self, change: Change) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All => {
                self.kept
                    .filter(|_, _| true)
                    .into_iter()
                    .for_each(|key| self.queue.add(key));
                self.context.secrets.filter(|_, _| true)
            }
        };
        for key in keys {
            let writers = lock(&self.index).writers(&key);
            writers
                .into_iter()
                .for_each(|writer| self.queue.add(writer));
            let secret = self.context.secrets.get(&key.namespace, &key.name);
            let version = secret.as_ref().map(|secret| &*secret.resource_version);
            for store in self.sessions.secret_changed(&key, version) {
                self.wake_store(store);
            }
        }
    }

    fn store_changed(&self, change: Change, kind: StoreKind) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All if kind == StoreKind::Cluster => self.stores.cluster.filter(|_, _| true),
            Change::All => self.stores.namespaced.filter(|_, _| true),
        };
        for object in keys {
            self.wake_store(StoreKey { kind, object });
        }
    }

    /// Looks at a store, and at everybody whom it failed.
    fn wake_store(&self, store: StoreKey) {
        let users = lock(&self.index).users(&store);
        users.into_iter().for_each(|user| self.queue.add(user));
        self.store_queue.add(store);
    }
}

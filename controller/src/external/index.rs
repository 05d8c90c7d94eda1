//! Which ExternalSecrets a change to a Secret or a store is about.

use std::collections::{BTreeSet, HashMap};

use super::fetch::store_key;
use super::observe::Kept;
use super::sessions::StoreKey;
use super::wish::named_stores;
use crate::support::view::ObjectKey;

/// ExternalSecrets by the Secret that they write and the stores that they name.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_secret: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    by_store: HashMap<StoreKey, BTreeSet<ObjectKey>>,
    known: HashMap<ObjectKey, (ObjectKey, Vec<StoreKey>)>,
}

impl Index {
    /// Takes a change to an ExternalSecret in; `None` is that it is gone.
    pub(super) fn update(&mut self, key: &ObjectKey, kept: Option<&Kept>) {
        if let Some((secret, stores)) = self.known.remove(key) {
            forget(&mut self.by_secret, &secret, key);
            for store in &stores {
                forget(&mut self.by_store, store, key);
            }
        }
        let Some(kept) = kept else {
            return;
        };
        let target = kept.spec.target.name.as_deref();
        let target = target.filter(|name| !name.is_empty()).unwrap_or(&key.name);
        let secret = ObjectKey::new(&*key.namespace, target);
        let stores: Vec<StoreKey> = named_stores(&kept.spec)
            .iter()
            .map(|store| store_key(&key.namespace, store))
            .collect();
        self.by_secret
            .entry(secret.clone())
            .or_default()
            .insert(key.clone());
        for store in &stores {
            self.by_store
                .entry(store.clone())
                .or_default()
                .insert(key.clone());
        }
        self.known.insert(key.clone(), (secret, stores));
    }

    /// Returns the ExternalSecrets that write a Secret.
    pub(super) fn writers(&self, secret: &ObjectKey) -> Vec<ObjectKey> {
        self.by_secret
            .get(secret)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Returns the ExternalSecrets that name a store.
    pub(super) fn users(&self, store: &StoreKey) -> Vec<ObjectKey> {
        self.by_store
            .get(store)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

fn forget<K: std::hash::Hash + Eq + Clone>(
    map: &mut HashMap<K, BTreeSet<ObjectKey>>,
    of: &K,
    key: &ObjectKey,
) {
    if let Some(keys) = map.get_mut(of) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use selkie_api::external_secret::ExternalSecret;
    use serde_json::json;

    use super::*;
    use crate::external::guard::StoreKind;

    fn kept(target: &str, store: &str) -> Kept {
        let object: ExternalSecret = serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": "es", "namespace": "a" },
            "spec": {
                "secretStoreRef": { "name": store },
                "target": { "name": target },
                "data": [{ "secretKey": "k", "remoteRef": { "key": "x" },
                    "sourceRef": { "storeRef": { "name": "shared", "kind": "ClusterSecretStore" } } }],
            },
        }))
        .unwrap();
        Kept::keep(object)
    }

    #[test]
    fn changes_are_followed() {
        let key = ObjectKey::new("a", "es");
        let secret = |name: &str| ObjectKey::new("a", name);
        let store = |name: &str| StoreKey {
            kind: StoreKind::Namespaced,
            object: secret(name),
        };
        let shared = StoreKey {
            kind: StoreKind::Cluster,
            object: ObjectKey::new("", "shared"),
        };
        let mut index = Index::default();
        index.update(&key, Some(&kept("one", "vault")));
        assert_eq!(index.writers(&secret("one")), vec![key.clone()]);
        assert_eq!(index.users(&store("vault")), vec![key.clone()]);
        assert_eq!(index.users(&shared), vec![key.clone()]);
        index.update(&key, Some(&kept("two", "aws")));
        assert!(index.writers(&secret("one")).is_empty());
        assert!(index.users(&store("vault")).is_empty());
        assert_eq!(index.writers(&secret("two")), vec![key.clone()]);
        index.update(&key, None);
        assert!(index.by_secret.is_empty() && index.by_store.is_empty() && index.known.is_empty());
    }
}

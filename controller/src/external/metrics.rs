//! Metrics under the original's names (external-secrets.md 18.3); alert rules read them.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::guard::StoreKind;
use super::sessions::StoreKey;
use super::status::READY;
use crate::support::metrics::Metrics;
use crate::support::view::ObjectKey;

/// The metrics of ExternalSecrets and stores; cloning is cheap.
#[derive(Clone)]
pub struct ExternalMetrics(Arc<Families>);

#[derive(Default)]
struct Families {
    calls: Family<Labels, Counter>,
    // The original's name for it is not a counter's in OpenMetrics: that would end in `_total`.
    errors: Family<Labels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
    stores: Family<ConditionLabels, Gauge>,
    cluster_stores: Family<ConditionLabels, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    name: String,
    namespace: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ConditionLabels {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
}

impl ExternalMetrics {
    /// Registers the metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let families = Families::default();
        metrics.register(|registry| {
            registry.register(
                "externalsecret_sync_calls",
                "Passes over an ExternalSecret",
                families.calls.clone(),
            );
            registry.register(
                "externalsecret_sync_calls_error",
                "Passes over an ExternalSecret that failed",
                families.errors.clone(),
            );
            for (name, of, family) in [
                (
                    "externalsecret_status_condition",
                    "ExternalSecret",
                    &families.conditions,
                ),
                (
                    "secretstore_status_condition",
                    "SecretStore",
                    &families.stores,
                ),
                (
                    "clustersecretstore_status_condition",
                    "ClusterSecretStore",
                    &families.cluster_stores,
                ),
            ] {
                let help = format!("Condition of each {of}: 1 for the status that it has");
                registry.register(name, help, family.clone());
            }
        });
        Self(Arc::new(families))
    }

    /// Counts one pass over an ExternalSecret and notes what its condition says.
    pub fn passed(&self, key: &ObjectKey, failed: bool) {
        let labels = labels(key);
        self.0.calls.get_or_create(&labels).inc();
        let errors = self.0.errors.get_or_create(&labels);
        if failed {
            errors.inc();
        }
        drop(errors);
        ready(&self.0.conditions, key, !failed);
    }

    /// Notes what a store's condition says.
    pub fn validated(&self, store: &StoreKey, valid: bool) {
        ready(self.of(store), &store.object, valid);
    }

    /// Drops the series of an ExternalSecret that is gone.
    pub fn gone(&self, key: &ObjectKey) {
        let labels = labels(key);
        self.0.calls.remove(&labels);
        self.0.errors.remove(&labels);
        forget(&self.0.conditions, key);
    }

    /// Drops the series of a store that is gone.
    pub fn store_gone(&self, store: &StoreKey) {
        forget(self.of(store), &store.object);
    }

    fn of(&self, store: &StoreKey) -> &Family<ConditionLabels, Gauge> {
        match store.kind {
            StoreKind::Namespaced => &self.0.stores,
            StoreKind::Cluster => &self.0.cluster_stores,
        }
    }
}

fn ready(family: &Family<ConditionLabels, Gauge>, key: &ObjectKey, is: bool) {
    for (status, value) in [("True", is), ("False", !is)] {
        let labels = condition(key, status);
        family.get_or_create(&labels).set(value.into());
    }
}

fn forget(family: &Family<ConditionLabels, Gauge>, key: &ObjectKey) {
    for status in ["True", "False"] {
        family.remove(&condition(key, status));
    }
}

fn labels(key: &ObjectKey) -> Labels {
    Labels {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
    }
}

fn condition(key: &ObjectKey, status: &'static str) -> ConditionLabels {
    ConditionLabels {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
        condition: READY,
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_the_originals_names() {
        let metrics = Metrics::default();
        let external = ExternalMetrics::new(&metrics);
        let key = ObjectKey::new("team", "db");
        external.passed(&key, true);
        let of = r#"{name="db",namespace="team"}"#;
        let condition = r#"{name="db",namespace="team",condition="Ready",status="#;
        let text = metrics.text().unwrap();
        for line in [
            format!("externalsecret_sync_calls_total{of} 1"),
            format!("externalsecret_sync_calls_error{of} 1"),
            format!("externalsecret_status_condition{condition}\"False\"}} 1"),
            format!("externalsecret_status_condition{condition}\"True\"}} 0"),
        ] {
            assert!(text.contains(&line), "{line} in\n{text}");
        }
        external.gone(&key);
        assert!(!metrics.text().unwrap().contains("team"));
    }
}

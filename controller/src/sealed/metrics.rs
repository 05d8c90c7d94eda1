//! Metrics under upstream's names (sealed-secrets.md 9.5).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use selkie_api::SealedSecret;
use selkie_seal::Fingerprint;

use super::decide::{Outcome, SYNCED};
use crate::support::{metrics::Metrics, view::ObjectKey};

const PREFIX: &str = "sealed_secrets_controller";
const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
const DURATIONS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of the SealedSecret controller; cloning is cheap.
#[derive(Clone)]
pub struct SealedMetrics(Arc<Families>);

struct Families {
    requests: Counter,
    errors: Family<ErrorLabels, Counter>,
    conditions: Family<ConditionLabels, Gauge>,
    keys: Family<KeyLabels, Gauge>,
    usage: Family<UsageLabels, Gauge>,
    private_operations: Counter,
    http_requests: Family<HttpLabels, Counter>,
    http_durations: Family<HttpDurationLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ErrorLabels {
    reason: &'static str,
    namespace: String,
}

/// How many key Secrets there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyCounts {
    /// Those that open.
    pub usable: usize,
    /// Of these, those that seal only once they are activated.
    pub waiting: usize,
    /// Those that cannot be read.
    pub unusable: usize,
    /// Those that another resource made.
    pub ignored: usize,
}

/// Labels of one `condition_info` series.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ConditionLabels {
    namespace: String,
    name: String,
    condition: &'static str,
    ss_app_kubernetes_io_instance: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KeyLabels {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UsageLabels {
    key: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct BuildLabels {
    revision: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HttpLabels {
    path: &'static str,
    code: u16,
    method: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct HttpDurationLabels {
    path: &'static str,
    method: &'static str,
}

impl SealedMetrics {
    /// Registers the metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let families = Families {
            requests: Counter::default(),
            errors: Family::default(),
            conditions: Family::default(),
            keys: Family::default(),
            usage: Family::default(),
            private_operations: Counter::default(),
            http_requests: Family::default(),
            http_durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
        };
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix(PREFIX);
            let build = Family::<BuildLabels, Gauge>::default();
            let revision = env!("CARGO_PKG_VERSION");
            build.get_or_create(&BuildLabels { revision }).set(1);
            registry.register("build_info", "Version of this controller", build);
            registry.register(
                "unseal_requests",
                "Passes over SealedSecrets",
                families.requests.clone(),
            );
            registry.register(
                "unseal_errors",
                "Passes that failed, by reason",
                families.errors.clone(),
            );
            registry.register(
                "condition_info",
                "Condition of each SealedSecret: 1 True, 0 Unknown, -1 False",
                families.conditions.clone(),
            );
            registry.register(
                "sealing_keys",
                "Sealing keys in the controller's namespace, by state",
                families.keys.clone(),
            );
            registry.register(
                "sealing_key_values",
                "Values of SealedSecrets in this cluster that a key opens, by the key's fingerprint",
                families.usage.clone(),
            );
            registry.register(
                "opened_values",
                "Values that were decrypted; what is known to be in order is not",
                families.private_operations.clone(),
            );
            registry.register(
                "http_requests",
                "Requests of the HTTP API",
                families.http_requests.clone(),
            );
            registry.register(
                "http_request_duration_seconds",
                "Time to answer a request of the HTTP API",
                families.http_durations.clone(),
            );
        });
        Self(Arc::new(families))
    }

    /// Counts a pass.
    pub fn pass(&self) {
        self.0.requests.inc();
    }

    /// Counts a failed pass. `reason` is one of `fetch`, `unseal`, `unmanaged`, `update`, `status`.
    pub fn error(&self, reason: &'static str, namespace: &str) {
        let namespace = namespace.to_owned();
        self.0
            .errors
            .get_or_create(&ErrorLabels { reason, namespace })
            .inc();
    }

    /// Shows the condition of an object, and takes the series away that showed it before.
    pub fn condition(
        &self,
        sealed: &SealedSecret,
        outcome: &Outcome,
        shown: &mut Option<ConditionLabels>,
    ) {
        let key = ObjectKey::of(sealed);
        let labels = sealed.metadata.labels.as_ref();
        let instance = labels.and_then(|labels| labels.get(INSTANCE_LABEL));
        let labels = ConditionLabels {
            namespace: key.namespace,
            name: key.name,
            condition: SYNCED,
            ss_app_kubernetes_io_instance: instance.cloned().unwrap_or_default(),
        };
        if shown.as_ref() != Some(&labels) {
            self.forget(shown.take().as_ref());
        }
        let value = match outcome {
            Outcome::Synced => 1,
            Outcome::Failed(_) => -1,
        };
        self.0.conditions.get_or_create(&labels).set(value);
        *shown = Some(labels);
    }

    /// Takes the series of an object away.
    pub fn forget(&self, shown: Option<&ConditionLabels>) {
        if let Some(labels) = shown {
            self.0.conditions.remove(labels);
        }
    }

    /// Shows how many keys there are.
    pub fn keys(&self, counts: &KeyCounts) {
        for (state, count) in [
            ("usable", counts.usable),
            ("waiting", counts.waiting),
            ("unusable", counts.unusable),
            ("ignored", counts.ignored),
        ] {
            let gauge = self.0.keys.get_or_create(&KeyLabels { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Shows how many values each key opens.
    pub fn usage(&self, usage: &BTreeMap<Fingerprint, u64>) {
        self.0.usage.clear();
        for (key, count) in usage {
            let key = key.to_string();
            let gauge = self.0.usage.get_or_create(&UsageLabels { key });
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// Counts values that were decrypted.
    pub fn opened(&self, values: u64) {
        self.0.private_operations.inc_by(values);
    }

    /// Counts a request of the HTTP API.
    pub fn http(&self, path: &'static str, method: &str, code: u16, took: Duration) {
        let method = method_label(method);
        let duration = HttpDurationLabels { path, method };
        self.0
            .http_durations
            .get_or_create(&duration)
            .observe(took.as_secs_f64());
        self.0
            .http_requests
            .get_or_create(&HttpLabels { path, code, method })
            .inc();
    }
}

/// Returns the label of a method. Anybody may send any word as a method, and each would be a series
/// for ever.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [(&str, &str); 9] = [
        ("GET", "get"),
        ("HEAD", "head"),
        ("POST", "post"),
        ("PUT", "put"),
        ("PATCH", "patch"),
        ("DELETE", "delete"),
        ("OPTIONS", "options"),
        ("CONNECT", "connect"),
        ("TRACE", "trace"),
    ];
    let known = KNOWN.iter().find(|(name, _)| *name == method);
    known.map_or("other", |(_, label)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_upstreams() {
        let metrics = Metrics::default();
        let sealed = SealedMetrics::new(&metrics);
        sealed.pass();
        sealed.error("unseal", "ns");
        sealed.http("/v1/cert.pem", "GET", 200, Duration::from_millis(3));
        let mut object = SealedSecret::new("n", selkie_api::SealedSecretSpec::default());
        object.metadata.namespace = Some("ns".to_owned());
        let mut shown = None;
        sealed.condition(&object, &Outcome::Synced, &mut shown);
        let text = metrics.text().unwrap();
        for line in [
            "sealed_secrets_controller_unseal_requests_total 1",
            "sealed_secrets_controller_unseal_errors_total{reason=\"unseal\",namespace=\"ns\"} 1",
            "sealed_secrets_controller_condition_info{namespace=\"ns\",name=\"n\",condition=\"Synced\",ss_app_kubernetes_io_instance=\"\"} 1",
            "sealed_secrets_controller_http_requests_total{path=\"/v1/cert.pem\",code=\"200\",method=\"get\"} 1",
            "sealed_secrets_controller_http_request_duration_seconds_bucket{le=\"0.005\",path=\"/v1/cert.pem\",method=\"get\"} 1",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line}\n\n{text}");
        }
        for method in ["A", "B", "get", "canary-4711"] {
            sealed.http("/v1/cert.pem", method, 200, Duration::ZERO);
        }
        let text = metrics.text().unwrap();
        let requests =
            |line: &&str| line.starts_with("sealed_secrets_controller_http_requests_total{");
        let requests: Vec<_> = text.lines().filter(requests).collect();
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(
            requests
                .iter()
                .any(|line| line.ends_with("method=\"other\"} 4")),
            "{requests:?}"
        );
        sealed.forget(shown.as_ref());
        assert!(!metrics.text().unwrap().contains("condition_info{"));
    }
}

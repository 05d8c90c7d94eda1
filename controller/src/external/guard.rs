//! The checks that stand between a tenant's resource and what the controller may do.
//!
//! Each is a pure function; its doc comment names the attack it stops (design.md, invariant 3).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use regex::Regex;
use selkie_api::external_secret::GROUP;
use selkie_api::secret_store::StoreCondition;

use crate::support::ownership::token_account;

/// Label that Sealed Secrets' private keys carry.
const SEALING_KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// Types of Secrets that Kubernetes itself acts on or fills.
const SYSTEM_TYPES: [&str; 2] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
];

/// The two kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreKind {
    /// `SecretStore`.
    Namespaced,
    /// `ClusterSecretStore`.
    Cluster,
}

impl StoreKind {
    /// Returns the kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespaced => "SecretStore",
            Self::Cluster => "ClusterSecretStore",
        }
    }
}

/// Why something is refused. Nothing was read or written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// A SecretStore names another namespace.
    #[error(
        "{field}: the namespace should either be empty or match the SecretStore's ({store}), and it is {wanted}"
    )]
    ForeignNamespace {
        /// Path of the field.
        field: String,
        /// Namespace of the store.
        store: String,
        /// Namespace that was asked for.
        wanted: String,
    },
    /// A ClusterSecretStore has to name a namespace here.
    #[error("{field}: a ClusterSecretStore has to name the namespace")]
    NoNamespace {
        /// Path of the field.
        field: String,
    },
    /// The cluster store's conditions leave the namespace out.
    #[error(
        "using cluster store {store:?} is not allowed from namespace {namespace:?}: denied by spec.conditions"
    )]
    Denied {
        /// Name of the store.
        store: String,
        /// Namespace that asked.
        namespace: String,
    },
    /// A condition's expression is not one.
    #[error("spec.conditions[].namespaceRegexes: {expression:?} is not a regular expression")]
    Regex {
        /// The expression.
        expression: String,
    },
}

/// Returns the namespace of a Secret that a store names.
///
/// Attack: somebody who may create a SecretStore in one namespace names a Secret of another one as
/// its credential, or its certificate (CVE-2026-42875), and has the controller read it for them.
/// So a SecretStore stays in its own namespace. A ClusterSecretStore, which only an administrator
/// writes, may name any; without a name it means the namespace of the ExternalSecret that uses it
/// (`consumer`), and `None` is returned where there is none (external-secrets.md 2).
pub fn credential_namespace(
    kind: StoreKind,
    store_namespace: &str,
    wanted: Option<&str>,
    consumer: Option<&str>,
    field: &str,
) -> Result<Option<String>, Refused> {
    let wanted = wanted.filter(|name| !name.is_empty());
    match (kind, wanted) {
        (StoreKind::Namespaced, None) => Ok(Some(store_namespace.to_owned())),
        (StoreKind::Namespaced, Some(name)) if name == store_namespace => Ok(Some(name.to_owned())),
        (StoreKind::Namespaced, Some(name)) => Err(Refused::ForeignNamespace {
            field: field.to_owned(),
            store: store_namespace.to_owned(),
            wanted: name.to_owned(),
        }),
        (StoreKind::Cluster, Some(name)) => Ok(Some(name.to_owned())),
        (StoreKind::Cluster, None) => Ok(consumer.map(str::to_owned)),
    }
}

/// Returns the namespace of a CA certificate that a store names.
///
/// Attack: as [`credential_namespace`]; and a tenant's own certificate must never decide which
/// server a cluster-wide store trusts, so there is no consumer's namespace here.
pub fn certificate_namespace(
    kind: StoreKind,
    store_namespace: &str,
    wanted: Option<&str>,
    field: &str,
) -> Result<String, Refused> {
    credential_namespace(kind, store_namespace, wanted, None, field)?.ok_or_else(|| {
        Refused::NoNamespace {
            field: field.to_owned(),
        }
    })
}

/// Decides whether `namespace` may use a ClusterSecretStore.
///
/// Attack: a tenant refers to a cluster-wide store that was meant for another team, and reads that
/// team's secrets. The list is an OR of ORs; an empty list lets everybody in (external-secrets.md 8.1).
/// An expression that does not compile lets nobody in.
pub fn store_admits(
    store: &str,
    conditions: &[StoreCondition],
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), Refused> {
    if conditions.is_empty() {
        return Ok(());
    }
    let mut admitted = false;
    for condition in conditions {
        let selector = condition.namespace_selector.as_ref();
        admitted |= selector.is_some_and(|selector| selects(selector, labels));
        admitted |= condition.namespaces.iter().any(|name| name == namespace);
        for expression in &condition.namespace_regexes {
            let regex = Regex::new(expression).map_err(|_| Refused::Regex {
                expression: expression.clone(),
            })?;
            admitted |= regex.is_match(namespace);
        }
    }
    if admitted {
        Ok(())
    } else {
        Err(Refused::Denied {
            store: store.to_owned(),
            namespace: namespace.to_owned(),
        })
    }
}

/// Who has a Secret that an ExternalSecret wants to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This ExternalSecret is its controller.
    Ours,
    /// It has no controller: it is adopted (external-secrets.md 6.7).
    Nobody,
    /// Another ExternalSecret is its controller.
    OtherExternalSecret(String),
    /// Something else is its controller.
    Other(String),
    /// It has no controller and is none to adopt.
    System(&'static str),
}

/// Finds out who has a Secret.
///
/// Attack: an ExternalSecret names a Secret that belongs to somebody else — another ExternalSecret, an
/// operator's object, a ServiceAccount's token, the private keys of Sealed Secrets — and so replaces
/// what others rely on, with two controllers writing in turns at best. The original adopts whatever
/// has no controller; tokens and sealing keys are left out here.
pub fn holder(
    owners: &[OwnerReference],
    labels: &BTreeMap<String, String>,
    type_: Option<&str>,
    name: &str,
    uid: &str,
) -> Holder {
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        if labels.contains_key(SEALING_KEY_LABEL) {
            return Holder::System("it is a key of Sealed Secrets");
        }
        return match SYSTEM_TYPES.iter().find(|system| Some(**system) == type_) {
            Some(_) => Holder::System("Kubernetes fills Secrets of this type"),
            None => Holder::Nobody,
        };
    };
    let ours = owner.kind == "ExternalSecret" && group(&owner.api_version) == GROUP;
    // The same name under another UID is an ExternalSecret that was deleted and made again.
    if ours && (owner.uid == uid || owner.name == name) {
        return Holder::Ours;
    }
    if ours {
        return Holder::OtherExternalSecret(owner.name.clone());
    }
    Holder::Other(format!("{} {}", owner.kind, owner.name))
}

/// Refuses a type of Secret that Kubernetes acts on; returns why.
///
/// Attack: see [`token_account`]; and a Secret of type bootstrap token lets nodes join the cluster. It
/// has to be asked about the Secret as it would be written, not only about the template.
pub fn refuse_type(
    type_: Option<&str>,
    annotations: Option<&BTreeMap<String, String>>,
) -> Option<&'static str> {
    if type_ == Some("bootstrap.kubernetes.io/token") {
        return Some("a bootstrap token lets nodes join the cluster");
    }
    token_account(type_, annotations).map(|_| {
        "with the annotation kubernetes.io/service-account.name it would be filled with a token"
    })
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// An operator that is not known selects nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|term| {
        let listed = |value: &String| term.values.iter().flatten().any(|one| one == value);
        let value = labels.get(&term.key);
        match term.operator.as_str() {
            "In" => value.is_some_and(listed),
            "NotIn" => !value.is_some_and(listed),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && expressions
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The table of external-secrets.md 2.
    #[test]
    fn namespaces_of_credentials() {
        use StoreKind::{Cluster, Namespaced};
        let of = |kind, wanted: Option<&str>, consumer: Option<&str>| {
            credential_namespace(kind, "team", wanted, consumer, "f")
        };
        let named = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(of(Namespaced, None, Some("x")), named("team"));
        assert_eq!(of(Namespaced, Some(""), None), named("team"));
        assert_eq!(of(Namespaced, Some("team"), None), named("team"));
        assert!(matches!(
            of(Namespaced, Some("other"), Some("other")),
            Err(Refused::ForeignNamespace { .. })
        ));
        assert_eq!(of(Cluster, Some("vault"), Some("x")), named("vault"));
        assert_eq!(of(Cluster, None, Some("x")), named("x"));
        assert_eq!(of(Cluster, None, None), Ok(None));

        let certificate = |kind, wanted| certificate_namespace(kind, "team", wanted, "f");
        assert_eq!(certificate(Namespaced, None).unwrap(), "team");
        assert!(certificate(Namespaced, Some("other")).is_err());
        assert_eq!(certificate(Cluster, Some("pki")).unwrap(), "pki");
        assert_eq!(
            certificate(Cluster, None),
            Err(Refused::NoNamespace {
                field: "f".to_owned()
            })
        );
    }

    #[test]
    fn conditions_are_an_or() {
        let conditions = |value: serde_json::Value| -> Vec<StoreCondition> {
            serde_json::from_value(value).unwrap()
        };
        let admits = |value: serde_json::Value, set: &[(&str, &str)]| {
            store_admits("s", &conditions(value), "team-a", &labels(set)).is_ok()
        };
        assert!(admits(json!([]), &[]));
        assert!(!admits(json!([{}]), &[]));
        assert!(admits(json!([{ "namespaces": ["x", "team-a"] }]), &[]));
        assert!(!admits(json!([{ "namespaces": ["team"] }]), &[]));
        assert!(admits(json!([{ "namespaceRegexes": ["am-"] }]), &[]));
        assert!(!admits(json!([{ "namespaceRegexes": ["^am-"] }]), &[]));
        let selector = json!([{ "namespaceSelector": { "matchLabels": { "tier": "prod" } } }]);
        assert!(admits(selector.clone(), &[("tier", "prod")]));
        assert!(!admits(selector.clone(), &[]));
        assert!(admits(
            json!([{ "namespaceSelector": { "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["prod"] },
                { "key": "off", "operator": "DoesNotExist" },
            ] } }]),
            &[("tier", "prod")]
        ));
        assert!(!admits(
            json!([{ "namespaceSelector": { "matchExpressions": [{ "key": "a", "operator": "Like" }] } }]),
            &[("a", "b")]
        ));
        let broken = conditions(json!([{ "namespaces": ["team-a"], "namespaceRegexes": ["("] }]));
        assert!(matches!(
            store_admits("s", &broken, "team-a", &labels(&[])),
            Err(Refused::Regex { .. })
        ));
    }

    #[test]
    fn holders() {
        let owner = |api: &str, kind: &str, name: &str, uid: &str| OwnerReference {
            api_version: api.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        let of = |owners: &[OwnerReference]| holder(owners, &labels(&[]), None, "db", "u1");
        let api = "external-secrets.io/v1";
        assert_eq!(of(&[]), Holder::Nobody);
        assert_eq!(
            of(&[owner(api, "ExternalSecret", "db", "u1")]),
            Holder::Ours
        );
        let old = owner("external-secrets.io/v1beta1", "ExternalSecret", "db", "u1");
        assert_eq!(of(&[old]), Holder::Ours);
        assert_eq!(
            of(&[owner(api, "ExternalSecret", "db", "u0")]),
            Holder::Ours
        );
        assert_eq!(
            of(&[owner(api, "ExternalSecret", "other", "u2")]),
            Holder::OtherExternalSecret("other".to_owned())
        );
        assert_eq!(
            of(&[owner("evil.io/v1", "ExternalSecret", "db", "u1")]),
            Holder::Other("ExternalSecret db".to_owned())
        );
        assert_eq!(
            of(&[owner("bitnami.com/v1alpha1", "SealedSecret", "x", "u")]),
            Holder::Other("SealedSecret x".to_owned())
        );
        let mut reference = owner("v1", "ConfigMap", "x", "u");
        reference.controller = None;
        assert_eq!(of(&[reference]), Holder::Nobody);
        let key = labels(&[(SEALING_KEY_LABEL, "active")]);
        assert!(matches!(
            holder(&[], &key, None, "db", "u1"),
            Holder::System(_)
        ));
        let token = Some("kubernetes.io/service-account-token");
        assert!(matches!(
            holder(&[], &labels(&[]), token, "db", "u1"),
            Holder::System(_)
        ));
    }

    #[test]
    fn types_that_kubernetes_acts_on() {
        let account = labels(&[("kubernetes.io/service-account.name", "admin")]);
        let none = labels(&[]);
        let refuse = |type_, annotations| refuse_type(Some(type_), Some(annotations));
        let token = "kubernetes.io/service-account-token";
        assert!(refuse(token, &account).is_some());
        assert!(refuse(token, &none).is_none());
        assert!(refuse("bootstrap.kubernetes.io/token", &none).is_some());
        assert!(refuse("kubernetes.io/tls", &account).is_none());
        assert!(refuse_type(None, Some(&account)).is_none());
    }
}

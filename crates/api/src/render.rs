//! Renders the CRDs as documents: one `Crd` per file of `crds/`.
//!
//! A kind's module builds its own document (a `pub fn crd() -> serde_json::Value`, keys in the
//! order they shall be printed) and is listed in [`all`]. `cargo run -p selkie-api --example crds`
//! writes them, and a test compares the files byte for byte.

use serde_json::{Value, json};

use crate::{external_secret, sealed_secret, secret_store};

/// One rendered CRD.
#[derive(Clone, Debug)]
pub struct Crd {
    /// File name below `crds/`.
    pub file: &'static str,
    /// The document, keys in printing order.
    pub document: Value,
}

/// Returns every CRD that we serve, in file name order.
pub fn all() -> Vec<Crd> {
    vec![
        Crd {
            file: "clustersecretstores.yaml",
            document: secret_store::cluster_crd(),
        },
        Crd {
            file: "externalsecrets.yaml",
            document: external_secret::crd(),
        },
        Crd {
            file: "sealedsecrets.yaml",
            document: sealed_secret::crd(),
        },
        Crd {
            file: "secretstores.yaml",
            document: secret_store::crd(),
        },
    ]
}

/// Names of one custom resource kind.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// API group, as `bitnami.com`.
    pub group: &'static str,
    /// Kind, as `SealedSecret`; the list kind is this with `List` after it.
    pub kind: &'static str,
    /// Plural, as `sealedsecrets`.
    pub plural: &'static str,
    /// Singular, as `sealedsecret`.
    pub singular: &'static str,
    /// Short names for kubectl.
    pub short_names: &'static [&'static str],
    /// Categories for kubectl (`kubectl get CATEGORY`).
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
}

/// Builds a CRD document around `versions`, each made with [`version`].
#[expect(
    clippy::needless_pass_by_value,
    reason = "the values move into the document"
)]
pub fn document(names: Names, versions: Vec<Value>) -> Value {
    let mut spoken = json!({
        "kind": names.kind,
        "listKind": format!("{}List", names.kind),
        "plural": names.plural,
        "singular": names.singular,
    });
    if !names.short_names.is_empty() {
        spoken["shortNames"] = json!(names.short_names);
    }
    if !names.categories.is_empty() {
        spoken["categories"] = json!(names.categories);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{}.{}", names.plural, names.group) },
        "spec": {
            "group": names.group,
            "names": spoken,
            "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
            "versions": versions,
        },
    })
}

/// Builds one entry of `spec.versions`, with the status subresource.
///
/// `columns` are printer columns, each made with [`column`]; `schema` is the OpenAPI v3 schema of
/// the whole object.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the values move into the document"
)]
pub fn version(name: &str, storage: bool, columns: Vec<Value>, schema: Value) -> Value {
    json!({
        "name": name,
        "served": true,
        "storage": storage,
        "subresources": { "status": {} },
        "additionalPrinterColumns": columns,
        "schema": { "openAPIV3Schema": schema },
    })
}

/// Builds one printer column: its title, its OpenAPI type and its JSON path.
pub fn column(name: &str, kind: &str, path: &str) -> Value {
    json!({ "name": name, "type": kind, "jsonPath": path })
}

//! `external-secrets.io/v1 ExternalSecret` (external-secrets.md 3).
//!
//! The CRD serves v1beta1 beside v1 with one schema and no conversion, so one set of types reads both.
//! Fields that are not known here are kept in `rest`: what a resource asks for and nobody carries
//! out has to be refused by name, not overlooked.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::render::{Names, column, document, version};
use crate::schema::{
    anything, choice, dns_name, flag, list, object, open_object, secret_key, text, text_map, time,
    with,
};

/// Name of the API group.
pub const GROUP: &str = "external-secrets.io";

/// What to fetch, and the Secret to make of it.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    plural = "externalsecrets",
    singular = "externalsecret",
    shortname = "es",
    namespaced,
    status = "ExternalSecretStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretSpec {
    /// The store of every entry that brings none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_store_ref: Option<StoreRef>,
    /// The Secret to write.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub target: Target,
    /// When to fetch: Periodic, CreatedOnce or OnChange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_policy: Option<String>,
    /// How often to fetch, as a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<String>,
    /// One value each.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub data: Vec<DataEntry>,
    /// Many values each.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub data_from: Vec<DataFromEntry>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Names a store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct StoreRef {
    /// Its name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub name: String,
    /// SecretStore, also when absent, or ClusterSecretStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The Secret to write.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Its name; the ExternalSecret's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Owner, also when absent, Orphan, Merge, CreateOrMerge or None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_policy: Option<String>,
    /// Retain, also when absent, Delete or Merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<String>,
    /// Whether the Secret is made immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Type, labels and annotations of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What the Secret looks like besides its values.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// The Secret's type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Always v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// Replace or Merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_policy: Option<String>,
    /// Labels and annotations.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub metadata: TemplateMetadata,
    /// Fields that are not known here: data, templateFrom and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that are not known here: finalizers and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One key of the Secret and where its value is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataEntry {
    /// The key in the Secret.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub secret_key: String,
    /// Where the value is.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub remote_ref: RemoteRef,
    /// A store of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Many keys of the Secret at once.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataFromEntry {
    /// A JSON object whose members become keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteRef>,
    /// A store of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
    /// Fields that are not known here: find, rewrite and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A value in a store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// The provider's name of the secret.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub key: String,
    /// A member inside the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub property: Option<String>,
    /// The provider's name of a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// None, also when absent, or Fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_policy: Option<String>,
    /// Default, also when absent, or Unicode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion_strategy: Option<String>,
    /// None, also when absent, Base64, Base64URL or Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding_strategy: Option<String>,
    /// Ignore, also when absent, or Fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_byte_policy: Option<String>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A store of an entry's own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// The store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<StoreRef>,
    /// Fields that are not known here: generatorRef and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What became of the ExternalSecret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// Start of the last synchronisation that changed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_time: Option<Time>,
    /// Generation, labels and annotations that were synchronised (external-secrets.md 7.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced_resource_version: Option<String>,
    /// Conditions.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
    /// The Secret, for the service binding specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
}

/// The Secret that was written.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// One condition of an ExternalSecret or a store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its type: `Ready`.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default)]
    pub status: String,
    /// The cause in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cause in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// Renders the CRD.
pub fn crd() -> Value {
    let names = Names {
        group: GROUP,
        kind: "ExternalSecret",
        plural: "externalsecrets",
        singular: "externalsecret",
        short_names: &["es"],
        categories: &["external-secrets"],
        namespaced: true,
    };
    let columns = || {
        vec![
            column("StoreType", "string", ".spec.secretStoreRef.kind"),
            column("Store", "string", ".spec.secretStoreRef.name"),
            column("Refresh Interval", "string", ".spec.refreshInterval"),
            ready_column("Status", "reason"),
            ready_column("Ready", "status"),
            column("Last Sync", "date", ".status.refreshTime"),
        ]
    };
    let mut v1 = version("v1", true, columns(), schema());
    v1["selectableFields"] = json!([
        { "jsonPath": ".spec.secretStoreRef.name" },
        { "jsonPath": ".spec.secretStoreRef.kind" },
        { "jsonPath": ".spec.target.name" },
        { "jsonPath": ".spec.refreshInterval" },
    ]);
    // The API server refuses selectable fields of one version when the schemas of all are equal.
    let mut older = schema();
    older["description"] = json!("Values of an external store, kept in a Secret; the same as v1.");
    let v1beta1 = version("v1beta1", false, columns(), older);
    both_versions(document(names, vec![v1, v1beta1]))
}

/// A printer column over one field of the condition `Ready`.
pub(crate) fn ready_column(name: &str, field: &str) -> Value {
    let path = format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    column(name, "string", &path)
}

/// Adds what both served versions need: one representation, and the label that the original's CRDs carry.
pub(crate) fn both_versions(mut document: Value) -> Value {
    document["metadata"]["labels"] = json!({ "external-secrets.io/component": "controller" });
    document["spec"]["conversion"] = json!({ "strategy": "None" });
    document
}

/// The schema of a condition list.
pub(crate) fn conditions() -> Value {
    let condition = object(
        "One condition.",
        [
            (
                "lastTransitionTime",
                time("When the status of this condition last changed."),
            ),
            ("message", text("The cause in words.")),
            ("reason", text("The cause in one word.")),
            ("status*", text("True, False or Unknown.")),
            ("type*", text("Type of the condition: Ready.")),
        ],
    );
    list("Conditions; Ready says whether all is well.", condition)
}

/// The schema of a whole object.
pub(crate) fn resource(description: &str, spec: Value, status: Value) -> Value {
    object(
        description,
        [
            ("apiVersion", text("Version of this representation.")),
            ("kind", text("Kind of this object.")),
            ("metadata", json!({ "type": "object" })),
            ("spec", spec),
            ("status", status),
        ],
    )
}

fn schema() -> Value {
    resource(
        "Values of an external store, kept in a Secret.",
        spec_schema(),
        object(
            "What became of it.",
            [
                (
                    "binding",
                    with(
                        object(
                            "The Secret, for the service binding specification.",
                            [("name", text("Its name."))],
                        ),
                        "x-kubernetes-map-type",
                        "atomic",
                    ),
                ),
                ("conditions", conditions()),
                (
                    "refreshTime",
                    with(
                        time("Start of the last synchronisation that changed something."),
                        "nullable",
                        true,
                    ),
                ),
                (
                    "syncedResourceVersion",
                    text(
                        "Generation, labels and annotations of this object that were synchronised.",
                    ),
                ),
            ],
        ),
    )
}

fn spec_schema() -> Value {
    let data = object(
        "One key of the Secret and where its value is.",
        [
            ("remoteRef*", remote_ref("Where the value is.")),
            ("secretKey*", secret_key("The key in the Secret.")),
            ("sourceRef", source_ref()),
        ],
    );
    let data_from = open_object(
        "Many keys of the Secret at once.",
        [
            (
                "extract",
                remote_ref("A JSON object whose members become keys."),
            ),
            ("find", anything("A search for secrets by name or tags.")),
            (
                "rewrite",
                list(
                    "Changes to the keys, carried out in order.",
                    anything("One of regexp, transform and merge."),
                ),
            ),
            ("sourceRef", source_ref()),
        ],
    );
    object(
        "What to fetch, and the Secret to make of it.",
        [
            ("data", list("Single values.", data)),
            (
                "dataFrom",
                list(
                    "Many values at once; entries of data win over them.",
                    data_from,
                ),
            ),
            (
                "refreshInterval",
                with(
                    text("How often to fetch, as a Go duration (1h30m, 15s). 0 fetches once."),
                    "default",
                    "1h0m0s",
                ),
            ),
            (
                "refreshPolicy",
                choice(
                    "When to fetch: at each interval, once, or when this object changes.",
                    &["CreatedOnce", "Periodic", "OnChange"],
                ),
            ),
            (
                "secretStoreRef",
                store_ref("The store of every entry that brings none of its own."),
            ),
            (
                "syncWindows",
                anything("Times at which fetching is allowed or denied."),
            ),
            ("target", target_schema()),
        ],
    )
}

fn target_schema() -> Value {
    let target = object(
        "The Secret to write.",
        [
            (
                "creationPolicy",
                with(
                    choice(
                        "Whether this object owns the Secret, leaves it behind, merges into it, or writes none.",
                        &["Owner", "Orphan", "Merge", "CreateOrMerge", "None"],
                    ),
                    "default",
                    "Owner",
                ),
            ),
            (
                "deletionPolicy",
                with(
                    choice(
                        "What happens when the store says that the secret is gone.",
                        &["Delete", "Merge", "Retain"],
                    ),
                    "default",
                    "Retain",
                ),
            ),
            ("immutable", flag("Whether the Secret is made immutable.")),
            (
                "manifest",
                anything("An object to write instead of a Secret."),
            ),
            (
                "name",
                dns_name("The Secret's name; this object's name when absent."),
            ),
            ("template", template_schema()),
        ],
    );
    with(
        target,
        "default",
        json!({ "creationPolicy": "Owner", "deletionPolicy": "Retain" }),
    )
}

fn template_schema() -> Value {
    let metadata = open_object(
        "Labels and annotations of the Secret. Without a template, this object's own are taken.",
        [
            (
                "annotations",
                text_map("Annotations; values are templates."),
            ),
            ("labels", text_map("Labels; values are templates.")),
        ],
    );
    object(
        "What the Secret looks like.",
        [
            ("data", text_map("Templates by key.")),
            (
                "engineVersion",
                with(
                    choice("Version of the template engine.", &["v2"]),
                    "default",
                    "v2",
                ),
            ),
            (
                "mergePolicy",
                with(
                    choice(
                        "Whether templated keys replace the fetched ones or join them.",
                        &["Replace", "Merge"],
                    ),
                    "default",
                    "Replace",
                ),
            ),
            ("metadata", metadata),
            (
                "templateFrom",
                list(
                    "Templates from ConfigMaps, Secrets or literals.",
                    anything("One source of templates."),
                ),
            ),
            (
                "type",
                text("The Secret's type; an existing Secret keeps its own when absent."),
            ),
        ],
    )
}

fn remote_ref(description: &str) -> Value {
    open_object(
        description,
        [
            (
                "conversionStrategy",
                choice(
                    "How characters are replaced that a key cannot have.",
                    &["Default", "Unicode"],
                ),
            ),
            (
                "decodingStrategy",
                choice(
                    "How the value is decoded.",
                    &["Auto", "Base64", "Base64URL", "None"],
                ),
            ),
            ("key*", text("The provider's name of the secret.")),
            (
                "metadataPolicy",
                choice(
                    "Whether to take the secret's tags and metadata instead of its value.",
                    &["None", "Fetch"],
                ),
            ),
            (
                "nullBytePolicy",
                choice(
                    "What to do with zero bytes in a value.",
                    &["Ignore", "Fail"],
                ),
            ),
            ("property", text("A member inside the value.")),
            ("version", text("The provider's name of a version.")),
        ],
    )
}

fn source_ref() -> Value {
    with(
        object(
            "A source of this entry's own; exactly one.",
            [
                ("generatorRef", anything("A generator of values.")),
                ("storeRef", store_ref("A store.")),
            ],
        ),
        "maxProperties",
        json!(1),
    )
}

fn store_ref(description: &str) -> Value {
    object(
        description,
        [
            (
                "kind",
                choice(
                    "SecretStore when absent.",
                    &["SecretStore", "ClusterSecretStore"],
                ),
            ),
            ("name", dns_name("The store's name.")),
        ],
    )
}

/// Reads `null` as the empty value.
pub(crate) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_kept_by_name() {
        let secret: ExternalSecret = serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": { "name": "a" },
            "spec": {
                "target": { "template": { "type": "Opaque", "data": { "a": "{{ .b }}" } } },
                "dataFrom": [{ "find": { "path": "x" } }, { "extract": { "key": "k" } }],
                "data": null,
                "syncWindows": { "kind": "allow" },
            },
        }))
        .unwrap();
        let spec = secret.spec;
        assert!(spec.rest.contains_key("syncWindows"));
        assert!(spec.data_from[0].rest.contains_key("find"));
        assert!(spec.data_from[1].rest.is_empty());
        let template = spec.target.template.unwrap();
        assert!(template.rest.contains_key("data"));
        assert_eq!(template.type_.as_deref(), Some("Opaque"));
    }
}

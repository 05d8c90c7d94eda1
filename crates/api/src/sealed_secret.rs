//! `bitnami.com/v1alpha1 SealedSecret` (sealed-secrets.md 4).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::render::{Names, column, document, version};

/// Name of the CRD's API group.
pub const GROUP: &str = "bitnami.com";

/// What is sealed, and the Secret to make of it.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "bitnami.com",
    version = "v1alpha1",
    kind = "SealedSecret",
    plural = "sealedsecrets",
    singular = "sealedsecret",
    namespaced,
    status = "SealedSecretStatus",
    derive = "PartialEq",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretSpec {
    /// Base64 ciphertexts by Secret key.
    ///
    /// A value may be anything: a number or `null` here is the fault of one object, and must not
    /// keep the list of all of them from loading (sealed-secrets.md 4, tolerance).
    #[serde(default, deserialize_with = "null_is_empty")]
    pub encrypted_data: BTreeMap<String, Value>,
    /// The deprecated form: one ciphertext of a whole Secret (sealed-secrets.md 6.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The Secret around the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
}

/// The Secret around the unsealed values.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Metadata for the Secret, as written by the user; see [`TemplateMetadata`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Secret type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Whether the Secret is made immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Go templates by Secret key (sealed-secrets.md 6.2).
    #[serde(
        default,
        deserialize_with = "null_is_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data: BTreeMap<String, Value>,
}

/// The part of `spec.template.metadata` that reaches the Secret.
///
/// Name, namespace and owner come from the SealedSecret. Server-side fields that old sealers left
/// in (`creationTimestamp: null`, `uid`, `resourceVersion`) are ignored: with them a create fails.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels for the Secret.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations for the Secret.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers, set when the Secret is created.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub finalizers: Vec<String>,
}

/// What the controller made of the SealedSecret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretStatus {
    /// Generation of the specification that the conditions speak about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions; `Synced` is the first one, as the printer columns read index 0.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub conditions: Vec<SealedSecretCondition>,
}

/// One condition of a SealedSecret.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretCondition {
    /// Condition type: `Synced`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the condition was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Cause in one word; upstream never sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Cause in words, absent on success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl SealedSecretSpec {
    /// Returns whether `template.data` asks for a template.
    pub fn has_templates(&self) -> bool {
        self.template
            .as_ref()
            .is_some_and(|template| !template.data.is_empty())
    }

    /// Returns the metadata for the Secret, empty when the template has none.
    ///
    /// Fails when the user's labels, annotations or finalizers are not maps and lists of strings.
    pub fn template_metadata(&self) -> Result<TemplateMetadata, serde_json::Error> {
        match self
            .template
            .as_ref()
            .and_then(|template| template.metadata.as_ref())
        {
            None | Some(Value::Null) => Ok(TemplateMetadata::default()),
            Some(metadata) => TemplateMetadata::deserialize(metadata),
        }
    }
}

/// Renders the CRD.
pub fn crd() -> Value {
    document(
        Names {
            group: GROUP,
            kind: "SealedSecret",
            plural: "sealedsecrets",
            singular: "sealedsecret",
            short_names: &[],
            categories: &[],
            namespaced: true,
        },
        vec![version(
            "v1alpha1",
            true,
            vec![
                column("Status", "string", ".status.conditions[0].message"),
                column("Synced", "string", ".status.conditions[0].status"),
                column("Age", "date", ".metadata.creationTimestamp"),
            ],
            schema(),
        )],
    )
}

fn schema() -> Value {
    json!({
        "type": "object",
        "description": "A Secret sealed for this cluster: only the controller's private key opens it, \
                        and only under the name and namespace it was sealed for, unless its scope is wider.",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string", "description": "Version of this representation." },
            "kind": { "type": "string", "description": "Kind of this object: SealedSecret." },
            "metadata": { "type": "object" },
            "spec": spec_schema(),
            "status": status_schema(),
        },
    })
}

fn spec_schema() -> Value {
    let text_map = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "nullable": true,
            "additionalProperties": { "type": "string" },
        })
    };
    json!({
        "type": "object",
        "description": "What is sealed, and the Secret to make of it.",
        "required": ["encryptedData"],
        "properties": {
            "data": {
                "type": "string",
                "format": "byte",
                "description": "Deprecated: one ciphertext of a whole Secret. Seal again to get encryptedData.",
            },
            "encryptedData": {
                "type": "object",
                "description": "Sealed values by Secret key, base64. May be empty.",
                "additionalProperties": { "type": "string" },
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "template": {
                "type": "object",
                "description": "The Secret around the unsealed values.",
                "properties": {
                    "data": text_map("Go templates by Secret key; the unsealed values are their variables."),
                    "immutable": {
                        "type": "boolean",
                        "description": "Whether the Secret is made immutable. Applies when it is created.",
                    },
                    "metadata": {
                        "type": "object",
                        "description": "Labels, annotations and finalizers for the Secret. Its name and namespace are always \
                                        those of the SealedSecret.",
                        "nullable": true,
                        "properties": {
                            "annotations": text_map("Annotations for the Secret."),
                            "finalizers": {
                                "type": "array",
                                "description": "Finalizers, set when the Secret is created.",
                                "nullable": true,
                                "items": { "type": "string" },
                            },
                            "labels": text_map("Labels for the Secret."),
                            "name": { "type": "string", "description": "Ignored: the SealedSecret's name is used." },
                            "namespace": { "type": "string", "description": "Ignored: the SealedSecret's namespace is used." },
                        },
                        "x-kubernetes-preserve-unknown-fields": true,
                    },
                    "type": {
                        "type": "string",
                        "description": "Secret type. Without it the type of an existing Secret stays, and a new one is Opaque.",
                    },
                },
            },
        },
    })
}

fn status_schema() -> Value {
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    json!({
        "type": "object",
        "description": "What the controller made of it.",
        "properties": {
            "conditions": {
                "type": "array",
                "description": "Conditions; Synced is the first one.",
                "items": {
                    "type": "object",
                    "required": ["status", "type"],
                    "properties": {
                        "lastTransitionTime": time("When the status of this condition last changed."),
                        "lastUpdateTime": time("When this condition was last written."),
                        "message": { "type": "string", "description": "The cause in words; absent on success." },
                        "reason": { "type": "string", "description": "The cause in one word." },
                        "status": { "type": "string", "description": "True, False or Unknown." },
                        "type": { "type": "string", "description": "Type of the condition: Synced." },
                    },
                },
            },
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "Generation of the specification that the conditions speak about.",
            },
        },
    })
}

/// Reads `null` as the empty value: older sealers print `data: null` (sealed-secrets.md 4).
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
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
    fn what_old_sealers_print_loads() {
        let sealed: SealedSecret = serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": { "name": "a", "namespace": "b", "creationTimestamp": null },
            "spec": {
                "encryptedData": { "good": "AgA=", "number": 7, "nothing": null },
                "template": {
                    "data": null,
                    "metadata": { "creationTimestamp": null, "labels": null, "annotations": { "x": "y" }, "uid": "u" },
                },
            },
            "status": {},
        }))
        .unwrap();
        assert_eq!(sealed.spec.encrypted_data.len(), 3);
        assert!(!sealed.spec.has_templates());
        assert_eq!(sealed.status, Some(SealedSecretStatus::default()));
        let metadata = sealed.spec.template_metadata().unwrap();
        assert_eq!(metadata.annotations["x"], "y");
        assert!(metadata.labels.is_empty());
    }

    #[test]
    fn absent_maps_are_empty() {
        let spec: SealedSecretSpec =
            serde_json::from_value(json!({ "encryptedData": null, "template": {} })).unwrap();
        assert!(spec.encrypted_data.is_empty());
        assert_eq!(
            spec.template_metadata().unwrap(),
            TemplateMetadata::default()
        );
        assert!(spec.data.is_none());
    }
}

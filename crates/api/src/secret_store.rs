//! `external-secrets.io/v1 SecretStore` and `ClusterSecretStore` (external-secrets.md 8).
//!
//! The provider is read as it stands and parsed when it is used, so that a store of a provider that
//! is not known here is one refused store and not a broken watch.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::external_secret::{
    Condition, GROUP, both_versions, conditions, null_is_empty, ready_column, resource,
};
use crate::render::{Names, column, document, version};
use crate::schema::{
    anything, choice, dns_name, list, namespace, object, open_object, secret_key, text, text_map,
    with,
};

/// The providers of the original's API whose configuration is kept and not carried out (external-secrets.md 8.1).
const OTHER_PROVIDERS: [&str; 43] = [
    "akeyless",
    "alibaba",
    "azurekv",
    "barbican",
    "beyondtrust",
    "beyondtrustworkloadcredentials",
    "bitwardensecretsmanager",
    "chef",
    "cloudrusm",
    "conjur",
    "crd",
    "delinea",
    "device42",
    "doppler",
    "dvls",
    "fake",
    "fortanix",
    "gcpsm",
    "github",
    "gitlab",
    "ibm",
    "infisical",
    "keepersecurity",
    "kubernetes",
    "nebiusmysterybox",
    "ngrok",
    "onboardbase",
    "onepassword",
    "onepasswordSDK",
    "openBao",
    "oracle",
    "ovh",
    "passbolt",
    "passworddepot",
    "previder",
    "pulumi",
    "scaleway",
    "secretserver",
    "senhasegura",
    "volcengine",
    "webhook",
    "yandexcertificatemanager",
    "yandexlockbox",
];

/// Where secrets come from, for one namespace.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "SecretStore",
    plural = "secretstores",
    singular = "secretstore",
    shortname = "ss",
    namespaced,
    status = "SecretStoreStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreSpec {
    /// Exactly one member: the provider's name and its configuration.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub provider: Map<String, Value>,
    /// The controller class; empty is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// How failed requests are sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// How often the store is validated: seconds, or a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<Value>,
    /// Who may use a ClusterSecretStore.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub conditions: Vec<StoreCondition>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Where secrets come from, for the whole cluster.
#[derive(CustomResource, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterSecretStore",
    plural = "clustersecretstores",
    singular = "clustersecretstore",
    shortname = "css",
    status = "SecretStoreStatus",
    schema = "disabled"
)]
pub struct ClusterSecretStoreSpec {
    /// The same as in a SecretStore.
    #[serde(flatten)]
    pub store: SecretStoreSpec,
}

/// How failed requests are sent again.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// How many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
    /// The wait before each, as a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_interval: Option<String>,
}

/// Namespaces that may use a ClusterSecretStore; any member suffices.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreCondition {
    /// Namespaces with these labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// These namespaces.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces whose names match, unanchored.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub namespace_regexes: Vec<String>,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct SecretKeySelector {
    /// The Secret's name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub name: String,
    /// The key.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub key: String,
    /// The Secret's namespace (external-secrets.md 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A certificate in a Secret or ConfigMap.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct CaProvider {
    /// Secret or ConfigMap.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// The object's name.
    #[serde(default)]
    pub name: String,
    /// The key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `provider.vault` (external-secrets.md 9.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultProvider {
    /// The server's URL.
    #[serde(default)]
    pub server: String,
    /// The mount of the key-value engine.
    #[serde(default)]
    pub path: Option<String>,
    /// v2, also when absent, or v1.
    #[serde(default)]
    pub version: Option<String>,
    /// The Vault namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Headers of every request.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub headers: BTreeMap<String, String>,
    /// PEM certificates, base64.
    #[serde(default)]
    pub ca_bundle: Option<String>,
    /// Where PEM certificates are.
    #[serde(default)]
    pub ca_provider: Option<CaProvider>,
    /// How to log in; absent sends no token.
    #[serde(default)]
    pub auth: Option<VaultAuth>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `provider.vault.auth`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultAuth {
    /// A token in a Secret.
    #[serde(default)]
    pub token_secret_ref: Option<SecretKeySelector>,
    /// Fields that are not known here: the other methods.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `provider.aws` (external-secrets.md 10.1).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsProvider {
    /// SecretsManager or another service.
    #[serde(default)]
    pub service: String,
    /// The region.
    #[serde(default)]
    pub region: String,
    /// Stands before every key.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Where the credentials are.
    #[serde(default)]
    pub auth: Option<AwsAuth>,
    /// Only about deleting, which no ExternalSecret does.
    #[serde(default)]
    pub secrets_manager: Option<Value>,
    /// Fields that are not known here: role and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `provider.aws.auth`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsAuth {
    /// Keys in Secrets.
    #[serde(default)]
    pub secret_ref: Option<AwsSecretRef>,
    /// Fields that are not known here: jwt and later ones.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// `provider.aws.auth.secretRef`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct AwsSecretRef {
    /// The access key id.
    #[serde(default, rename = "accessKeyIDSecretRef")]
    pub access_key_id: SecretKeySelector,
    /// The secret access key.
    #[serde(default, rename = "secretAccessKeySecretRef")]
    pub secret_access_key: SecretKeySelector,
    /// The session token of temporary credentials.
    #[serde(default, rename = "sessionTokenSecretRef")]
    pub session_token: Option<SecretKeySelector>,
    /// Fields that are not known here.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What became of the store.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SecretStoreStatus {
    /// ReadOnly, WriteOnly or ReadWrite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<String>,
    /// Conditions.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub conditions: Vec<Condition>,
}

/// Renders the CRD of SecretStore.
pub fn crd() -> Value {
    store_crd(Names {
        group: GROUP,
        kind: "SecretStore",
        plural: "secretstores",
        singular: "secretstore",
        short_names: &["ss"],
        categories: &["external-secrets"],
        namespaced: true,
    })
}

/// Renders the CRD of ClusterSecretStore.
pub fn cluster_crd() -> Value {
    store_crd(Names {
        group: GROUP,
        kind: "ClusterSecretStore",
        plural: "clustersecretstores",
        singular: "clustersecretstore",
        short_names: &["css"],
        categories: &["external-secrets"],
        namespaced: false,
    })
}

fn store_crd(names: Names) -> Value {
    let columns = || {
        vec![
            column("AGE", "date", ".metadata.creationTimestamp"),
            ready_column("Status", "reason"),
            column("Capabilities", "string", ".status.capabilities"),
            ready_column("Ready", "status"),
        ]
    };
    both_versions(document(
        names,
        vec![
            version("v1", true, columns(), schema()),
            version("v1beta1", false, columns(), schema()),
        ],
    ))
}

fn schema() -> Value {
    resource(
        "Where secrets come from, and how to get at them.",
        spec_schema(),
        object(
            "What became of it.",
            [
                ("capabilities", text("ReadOnly, WriteOnly or ReadWrite.")),
                ("conditions", conditions()),
            ],
        ),
    )
}

fn spec_schema() -> Value {
    let selector = with(
        anything("Namespaces with these labels."),
        "x-kubernetes-map-type",
        "atomic",
    );
    let condition = object(
        "Namespaces that may use the store; any member suffices.",
        [
            (
                "namespaceRegexes",
                list(
                    "Expressions that names of namespaces match, unanchored.",
                    text("One expression."),
                ),
            ),
            ("namespaceSelector", selector),
            (
                "namespaces",
                list("Names of namespaces.", namespace("One name.")),
            ),
        ],
    );
    object(
        "Where secrets come from.",
        [
            (
                "conditions",
                list(
                    "Who may use a ClusterSecretStore; everybody when empty.",
                    condition,
                ),
            ),
            (
                "controller",
                text("The class of the controller that serves this store; any when empty."),
            ),
            ("provider*", provider_schema()),
            (
                "refreshInterval",
                json!({
                    "description": "How often the store is validated: seconds, or a Go duration.",
                    "x-kubernetes-int-or-string": true,
                }),
            ),
            (
                "retrySettings",
                object(
                    "How failed requests are sent again.",
                    [
                        (
                            "maxRetries",
                            json!({ "type": "integer", "format": "int32", "description": "How many times." }),
                        ),
                        (
                            "retryInterval",
                            text("The wait before each, as a Go duration."),
                        ),
                    ],
                ),
            ),
        ],
    )
}

fn provider_schema() -> Value {
    let mut provider = open_object(
        "Exactly one provider and its configuration.",
        [("aws", aws_schema()), ("vault", vault_schema())],
    );
    for name in OTHER_PROVIDERS {
        provider["properties"][name] =
            anything("Kept as it is; this provider is not carried out yet.");
    }
    provider["minProperties"] = json!(1);
    provider["maxProperties"] = json!(1);
    provider
}

fn selector(description: &str) -> Value {
    object(
        description,
        [
            ("key", secret_key("The key in the Secret.")),
            ("name", dns_name("The Secret's name.")),
            (
                "namespace",
                namespace(
                    "The Secret's namespace; only a ClusterSecretStore may name another one.",
                ),
            ),
        ],
    )
}

fn vault_schema() -> Value {
    let auth = open_object(
        "How to log in. Absent sends no token.",
        [
            (
                "namespace",
                text("The Vault namespace of the login; the store's own when absent."),
            ),
            ("tokenSecretRef", selector("A token in a Secret.")),
        ],
    );
    open_object(
        "HashiCorp Vault or OpenBao, key-value engine.",
        [
            ("auth", auth),
            (
                "caBundle",
                with(
                    text("PEM certificates to trust instead of the system's, base64."),
                    "format",
                    "byte",
                ),
            ),
            (
                "caProvider",
                object(
                    "Where PEM certificates are that are trusted instead of the system's.",
                    [
                        ("key", secret_key("The key.")),
                        ("name*", dns_name("The object's name.")),
                        (
                            "namespace",
                            namespace(
                                "The object's namespace; a ClusterSecretStore has to name it.",
                            ),
                        ),
                        (
                            "type*",
                            choice("The object's kind.", &["Secret", "ConfigMap"]),
                        ),
                    ],
                ),
            ),
            ("headers", text_map("Headers of every request.")),
            ("namespace", text("The Vault namespace.")),
            (
                "path",
                text("The mount of the key-value engine; absent when keys begin with it."),
            ),
            ("server*", text("The server's URL.")),
            (
                "version",
                with(
                    choice("Version of the key-value engine.", &["v1", "v2"]),
                    "default",
                    "v2",
                ),
            ),
        ],
    )
}

fn aws_schema() -> Value {
    let secret_ref = object(
        "Keys in Secrets.",
        [
            ("accessKeyIDSecretRef", selector("The access key id.")),
            (
                "secretAccessKeySecretRef",
                selector("The secret access key."),
            ),
            (
                "sessionTokenSecretRef",
                selector("The session token of temporary credentials."),
            ),
        ],
    );
    open_object(
        "Amazon Web Services.",
        [
            (
                "auth",
                open_object("Where the credentials are.", [("secretRef", secret_ref)]),
            ),
            ("prefix", text("Stands before every key.")),
            ("region*", text("The region.")),
            (
                "service*",
                choice(
                    "The service.",
                    &["SecretsManager", "ParameterStore", "CertificateManager"],
                ),
            ),
        ],
    )
}

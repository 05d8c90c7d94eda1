//! A controller that runs as it is deployed, and what it works on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::bed::new_folder;
use compat::cluster::{Account, Cluster};
use compat::controller::{Controller, Settings};
use compat::openbao::ROOT_TOKEN;
use compat::originals::kubeseal;
use compat::wait::eventually;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use crate::harness::*;

/// Within this, what is not about speed happens.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The value of every Secret.
pub(crate) const CANARY: &str = "canary-4711";
/// What a right is about.
pub(crate) const RBAC: [&str; 5] = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// Settings with the arguments of a rendered Deployment; the addresses are the bed's.
pub(crate) fn as_deployed(
    objects: &Objects,
    deployment: &str,
    namespace: &str,
) -> Result<Settings> {
    let mut settings = Controller::with(namespace);
    let mut arguments = objects.arguments(deployment)?.into_iter();
    while let Some(argument) = arguments.next() {
        if argument.starts_with("--listen") {
            // `--flag value` as the stock chart has it.
            if !argument.contains('=') {
                arguments.next();
            }
            continue;
        }
        settings = settings.arg(argument);
    }
    Ok(settings)
}

/// Makes the accounts, roles and bindings of some objects.
pub(crate) fn install(cluster: &Cluster, objects: &Objects) -> Result<()> {
    let list = objects.list(&RBAC);
    cluster
        .kubectl()
        .args(["apply", "--filename", "-"])
        .input(serde_json::to_vec(&list)?)
        .ok()?;
    Ok(())
}

/// Seals with the real kubeseal, for every name and namespace.
pub(crate) fn seal(certificate: &str, secret: &Value) -> Result<Value> {
    let file = new_folder("certificate")?.join("cert.pem");
    std::fs::write(&file, certificate)?;
    kubeseal()?
        .arg("--cert")
        .arg(&file)
        .args(["--scope", "cluster-wide", "--format", "json"])
        .input(serde_json::to_vec(secret)?)
        .ok()?
        .json()
}

/// A Secret with one value.
pub(crate) fn plain(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
        "stringData": { "password": CANARY } })
}

/// Waits until a Secret has the value.
pub(crate) async fn has(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(cluster.client().await?, namespace);
    eventually(SOON, || async {
        let secret = secrets.get(name).await?;
        let data = secret.data.context("no data")?;
        ensure!(
            data.get("password")
                .is_some_and(|value| value.0 == CANARY.as_bytes()),
            "{:?}",
            data.keys()
        );
        Ok(())
    })
    .await
    .with_context(|| format!("Secret {namespace}/{name}"))
}

/// Fails when the account was refused anything.
pub(crate) fn nothing_refused(cluster: &Cluster, account: &Account) -> Result<()> {
    let audit = cluster.audit()?.by(&account.user);
    let refused = audit.only(|event| event.code == 403);
    ensure!(refused.is_empty(), "it was refused {:?}", refused.events());
    Ok(())
}

/// Changes a Secret, if it is there.
pub(crate) fn drift(cluster: &Cluster, home: &str, name: &str) -> Result<()> {
    let changed = json!({ "data": { "password": BASE64_STANDARD.encode("changed") } }).to_string();
    let patched = cluster
        .kubectl()
        .args([
            "patch",
            "secret",
            name,
            "--namespace",
            home,
            "--type",
            "merge",
            "--patch",
            &changed,
        ])
        .run()?;
    ensure!(
        patched.code == Some(0) || patched.stderr.contains("NotFound"),
        "{}",
        patched.stderr
    );
    Ok(())
}

/// A SecretStore on OpenBao by the token of [`token`]; with an authority from the ConfigMap `ca`, if wanted.
pub(crate) fn store(name: &str, url: &str, authority: bool) -> Value {
    let mut vault = vault(url);
    if authority {
        vault["caProvider"] = json!({ "type": "ConfigMap", "name": "ca", "key": "ca" });
    }
    json!({ "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": { "name": name },
        "spec": { "provider": { "vault": vault } } })
}

/// A ClusterSecretStore on OpenBao for one namespace, with the token that lies there.
pub(crate) fn cluster_store(name: &str, url: &str, namespace: &str) -> Value {
    let mut vault = vault(url);
    vault["auth"]["tokenSecretRef"]["namespace"] = json!(namespace);
    let labels = json!({ "kubernetes.io/metadata.name": namespace });
    json!({ "apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "metadata": { "name": name },
        "spec": { "conditions": [{ "namespaceSelector": { "matchLabels": labels } }], "provider": { "vault": vault } } })
}

fn vault(url: &str) -> Value {
    json!({ "server": url, "path": "secret", "version": "v2",
        "auth": { "tokenSecretRef": { "name": "token", "key": "token" } } })
}

/// The Secret that stores log in with.
pub(crate) fn token() -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "token" },
        "stringData": { "token": ROOT_TOKEN } })
}

/// An ExternalSecret with all of one path; `round` is a new one each time.
pub(crate) fn external_secret(name: &str, store: &Value, path: &str, round: u32) -> Value {
    json!({ "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": name, "annotations": { "force-sync": round.to_string() } },
        "spec": { "refreshInterval": "1h", "secretStoreRef": store, "dataFrom": [{ "extract": { "key": path } }] } })
}

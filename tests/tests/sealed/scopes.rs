//! Sealing in both directions, and what the scopes let through.

use anyhow::{Context, Result, ensure};
use compat::bed::new_folder;
use compat::originals::kubeseal;
use compat::selkie::selkie;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::harness::*;

#[tokio::test]
async fn kubeseal_seals_and_we_open_in_all_scopes() -> Result<()> {
    let test = Test::new().await?;
    let values = [
        ("user", "canary-4711-admin"),
        ("password", "canary-4711-\u{e9}\n"),
    ];
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let mut sealed = test.seal(scope, scope, &values)?;
        sealed["spec"]["template"]["metadata"]["labels"] = json!({ "app": "db" });
        sealed["spec"]["template"]["type"] = json!("example.com/credentials");
        test.create(&sealed).await?;
        let secret = test.has(SOON, scope, &values).await?;
        ensure!(secret.type_.as_deref() == Some("example.com/credentials"));
        ensure!(secret.metadata.labels.context("labels")?["app"] == "db");
        let owners = secret
            .metadata
            .owner_references
            .context("owner references")?;
        let uid = test.sealed().get(scope).await?.metadata.uid;
        ensure!(
            serde_json::to_value(&owners)?
                == json!([{ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
                    "name": scope, "uid": uid, "controller": true }]),
            "{owners:?}"
        );
        let condition = test.synced(scope, "True").await?;
        ensure!(condition["lastUpdateTime"] == condition["lastTransitionTime"]);
        ensure!(condition.get("message").is_none() && condition["reason"] == "Unsealed");
        let message = "SealedSecret unsealed successfully";
        test.event(scope, "Normal", "Unsealed", message).await?;
    }
    // The wider scopes open under another name, the widest in another namespace.
    let mut renamed = test.seal("first", "namespace-wide", &values)?;
    renamed["metadata"]["name"] = json!("second");
    test.create(&renamed).await?;
    test.has(SOON, "second", &values).await?;
    let other = Test::new().await?;
    let mut moved = test.seal("first", "cluster-wide", &values)?;
    moved["metadata"]["namespace"] = json!(other.namespace);
    moved["metadata"]["name"] = json!("third");
    test.create(&moved).await?;
    other.has(SOON, "third", &values).await?;
    test.nothing_leaked().await?;
    other.nothing_leaked().await
}

#[tokio::test]
async fn we_seal_and_kubeseal_opens_in_all_scopes() -> Result<()> {
    let test = Test::new().await?;
    let values = [
        ("user", "canary-4711-admin"),
        ("password", "canary-4711-\u{e9}\n"),
    ];
    let key = new_folder("recovery")?.join("keys.json");
    let keys = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active");
    let home = Api::<Secret>::namespaced(test.client.clone(), &test.shared.home);
    let keys = home.list(&keys).await?.items;
    std::fs::write(
        &key,
        serde_json::to_vec(&json!({ "apiVersion": "v1", "kind": "List", "items": keys }))?,
    )?;
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let sealed = selkie()?
            .arg("seal")
            .arg("--cert")
            .arg(&test.shared.certificate)
            .args(["--scope", scope, "--stdout", "-"])
            .input(serde_json::to_vec(&secret(
                &test.namespace,
                scope,
                &values,
            ))?)
            .ok()?
            .stdout;
        let opened = kubeseal()?
            .arg("--recovery-unseal")
            .arg("--recovery-private-key")
            .arg(&key)
            .input(sealed.clone())
            .ok()?
            .json()?;
        let opened: Secret = serde_json::from_value(opened)?;
        ensure!(
            data(&opened) == expected(&values),
            "{scope}: kubeseal reads other values"
        );
        test.shared
            .cluster
            .apply(&test.namespace, std::str::from_utf8(&sealed)?)?;
        test.has(SOON, scope, &values).await?;
        test.synced(scope, "True").await?;
    }
    test.nothing_leaked().await
}

#[tokio::test]
async fn renamed_or_moved_across_its_scope_is_refused() -> Result<()> {
    let test = Test::new().await?;
    let other = Test::new().await?;
    let values = [("user", "canary-4711"), ("password", "canary-4711")];
    let mut renamed = test.seal("strict", "strict", &values)?;
    renamed["metadata"]["name"] = json!("renamed");
    test.create(&renamed).await?;
    for scope in ["strict", "namespace-wide"] {
        let mut moved = test.seal(scope, scope, &values)?;
        moved["metadata"]["namespace"] = json!(other.namespace);
        test.create(&moved).await?;
    }
    let message = "no key could decrypt secret (password, user)";
    let event = format!("Failed to unseal: {message}");
    for (place, name) in [
        (&test, "renamed"),
        (&other, "strict"),
        (&other, "namespace-wide"),
    ] {
        place.refused(name, message).await?;
        place
            .event(name, "Warning", "ErrUnsealFailed", &event)
            .await?;
        place.no_secret(name).await?;
    }
    // The template has no say in the scope.
    let mut widened = test.seal("strict", "strict", &values)?;
    widened["metadata"]["name"] = json!("widened");
    widened["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
    test.create(&widened).await?;
    test.refused("widened", message).await?;
    test.no_secret("widened").await?;
    test.nothing_leaked().await
}

#[tokio::test]
async fn a_changed_scope_annotation_counts_at_once() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    let mut sealed = test.seal("db", "strict", &values)?;
    let annotation = "sealedsecrets.bitnami.com/cluster-wide";
    sealed["metadata"]["annotations"] = json!({ annotation: "true" });
    test.create(&sealed).await?;
    test.refused("db", "no key could decrypt secret (password)")
        .await?;
    let without = json!({ "metadata": { "annotations": { annotation: null } } });
    test.merge_sealed("db", without).await?;
    test.has(SOON, "db", &values).await?;
    test.synced("db", "True").await?;
    Ok(())
}

//! What is refused, and Secrets of others.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::wait::throughout;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::harness::*;

#[tokio::test]
async fn bad_entries_are_named_and_the_secret_stays() -> Result<()> {
    let test = Test::new().await?;
    let values = [("good", "canary-4711"), ("bad", "canary-4711-b")];
    test.seal_and_apply("db", &values).await?;
    test.has(SOON, "db", &values).await?;
    let data = json!({ "spec": { "encryptedData": { "bad": "AgB!notbase64" } } });
    test.merge_sealed("db", data).await?;
    let message = "illegal base64 data at input byte 3 (bad)";
    test.refused("db", message).await?;
    let event = format!("Failed to unseal: {message}");
    test.event("db", "Warning", "ErrUnsealFailed", &event)
        .await?;
    test.has(Duration::from_secs(1), "db", &values).await?;

    let data = json!({ "spec": { "encryptedData": { "bad": "AgA=" } } });
    test.merge_sealed("db", data).await?;
    test.refused("db", "no key could decrypt secret (bad)")
        .await?;
    test.has(Duration::from_secs(1), "db", &values).await?;
    test.nothing_leaked().await
}

#[tokio::test]
async fn what_is_not_done_yet_is_refused_by_name() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    test.seal_and_apply("db", &values).await?;
    test.has(SOON, "db", &values).await?;
    let template = json!({ "spec": { "template": { "data": { "url": "x://{{ .password }}" } } } });
    test.merge_sealed("db", template).await?;
    let condition = test.synced("db", "False").await?;
    let message = condition["message"].as_str().context("message")?;
    ensure!(
        message.starts_with("spec.template.data is not supported: "),
        "{message}"
    );
    test.has(Duration::from_secs(1), "db", &values).await?;

    let deprecated = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "name": "old", "namespace": test.namespace },
        "spec": { "data": "AgA=", "encryptedData": {} },
    });
    test.create(&deprecated).await?;
    test.refused("old", "no key could decrypt secret").await?;
    test.no_secret("old").await
}

#[tokio::test]
async fn secrets_of_others_are_left_alone() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    test.taken_by_others("taken").await?;
    test.seal_and_apply("taken", &values).await?;
    let text = format!("Resource \"taken\" {UNMANAGED}");
    test.refused("taken", &format!("failed update: {text}"))
        .await?;
    test.event("taken", "Warning", "ErrUpdateFailed", &text)
        .await?;
    test.has(Duration::from_secs(1), "taken", &[("theirs", "theirs")])
        .await?;

    // Two owners of one Secret: the first one keeps it.
    let owner = ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some("owner".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    let maps = Api::<ConfigMap>::namespaced(test.client.clone(), &test.namespace);
    let owner = maps.create(&PostParams::default(), &owner).await?;
    test.taken_by_others("owned").await?;
    let owners = json!({ "metadata": { "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
        "controller": true,
    }] } });
    test.merge("owned", owners).await?;
    test.seal_and_apply("owned", &values).await?;
    let text = format!("Resource \"owned\" {UNMANAGED} (it is controlled by ConfigMap \"owner\")");
    test.refused("owned", &format!("failed update: {text}"))
        .await?;
    test.has(Duration::from_secs(1), "owned", &[("theirs", "theirs")])
        .await?;

    // Gone, or handed over: ours.
    test.secrets()
        .delete("taken", &DeleteParams::default())
        .await?;
    test.has(SOON, "taken", &values).await?;
    test.synced("taken", "True").await?;
    let handed = json!({ "metadata": {
        "ownerReferences": null,
        "annotations": { "sealedsecrets.bitnami.com/managed": "true", "x.io/y": "z" },
    } });
    test.merge("owned", handed).await?;
    let secret = test.has(SOON, "owned", &values).await?;
    ensure!(
        secret
            .metadata
            .annotations
            .context("annotations")?
            .contains_key("x.io/y")
    );
    test.synced("owned", "True").await?;
    Ok(())
}

#[tokio::test]
async fn a_patch_is_merged_and_owns_nothing() -> Result<()> {
    let test = Test::new().await?;
    test.taken_by_others("shared").await?;
    let annotation =
        json!({ "metadata": { "annotations": { "sealedsecrets.bitnami.com/patch": "true" } } });
    test.merge("shared", annotation).await?;
    test.seal_and_apply("shared", &[("password", "canary-4711")])
        .await?;
    let both = [("theirs", "theirs"), ("password", "canary-4711")];
    let secret = test.has(SOON, "shared", &both).await?;
    ensure!(secret.metadata.owner_references.is_none());
    test.synced("shared", "True").await?;
    test.sealed()
        .delete("shared", &DeleteParams::default())
        .await?;
    throughout(Duration::from_secs(3), || async {
        ensure!(data(&test.secrets().get("shared").await?) == expected(&both));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn without_owner_the_secret_outlives_its_sealed_secret() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    let mut sealed = test.seal("db", "strict", &values)?;
    sealed["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sealedsecrets.bitnami.com/skip-set-owner-references": "true" });
    test.create(&sealed).await?;
    let secret = test.has(SOON, "db", &values).await?;
    ensure!(secret.metadata.owner_references.is_none());
    test.synced("db", "True").await?;
    let drift = json!({ "data": { "password": BASE64_STANDARD.encode("drifted") } });
    test.merge("db", drift).await?;
    test.has(REPAIR, "db", &values).await?;
    test.sealed().delete("db", &DeleteParams::default()).await?;
    throughout(Duration::from_secs(3), || async {
        ensure!(data(&test.secrets().get("db").await?) == expected(&values));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_change_of_type_replaces_and_an_impossible_one_does_not() -> Result<()> {
    let test = Test::new().await?;
    let values = [("username", "canary-4711"), ("password", "canary-4711")];
    test.seal_and_apply("db", &values).await?;
    let before = test.has(SOON, "db", &values).await?.metadata.uid;
    let type_ = |type_: &str| json!({ "spec": { "template": { "type": type_ } } });
    // Needs tls.crt and tls.key, which are not there: the Secret must survive the attempt.
    test.merge_sealed("db", type_("kubernetes.io/tls")).await?;
    let condition = test.synced("db", "False").await?;
    let message = condition["message"].as_str().context("message")?;
    ensure!(message.contains("tls.crt"), "{message}");
    let secret = test.has(Duration::from_secs(1), "db", &values).await?;
    ensure!(secret.metadata.uid == before, "it was replaced");

    test.merge_sealed("db", type_("kubernetes.io/basic-auth"))
        .await?;
    test.synced("db", "True").await?;
    let secret = test.has(SOON, "db", &values).await?;
    ensure!(secret.type_.as_deref() == Some("kubernetes.io/basic-auth"));
    ensure!(secret.metadata.uid != before);
    test.nothing_leaked().await
}

#[tokio::test]
async fn an_immutable_secret_is_not_fought() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    let mut sealed = test.seal("db", "strict", &values)?;
    sealed["spec"]["template"]["immutable"] = json!(true);
    test.create(&sealed).await?;
    let secret = test.has(SOON, "db", &values).await?;
    ensure!(secret.immutable == Some(true));
    let other = test.seal("db", "strict", &[("password", "canary-4711-b")])?;
    test.merge_sealed("db", json!({ "spec": other["spec"] }))
        .await?;
    let condition = test.synced("db", "False").await?;
    let message = condition["message"].as_str().context("message")?;
    ensure!(
        message.ends_with("field is immutable when `immutable` is set"),
        "{message}"
    );
    let events = test.events().await?;
    ensure!(
        told(&events).contains("the target Secret is immutable"),
        "{}",
        told(&events)
    );
    test.has(Duration::from_secs(1), "db", &values).await?;
    // Its owner deletes it, as the message says.
    test.secrets()
        .delete("db", &DeleteParams::default())
        .await?;
    test.has(SOON, "db", &[("password", "canary-4711-b")])
        .await?;
    test.synced("db", "True").await?;
    Ok(())
}

#[tokio::test]
async fn the_status_lands_while_others_write_the_object() -> Result<()> {
    let test = Test::new().await?;
    test.seal_and_apply("busy", &[("password", "canary-4711")])
        .await?;
    for round in 0..20 {
        let label = json!({ "metadata": { "labels": { "round": round.to_string() } } });
        test.merge_sealed("busy", label).await?;
        let value = format!("canary-4711-{round}");
        let sealed = test.seal("busy", "strict", &[("password", &value)])?;
        test.merge_sealed("busy", json!({ "spec": sealed["spec"] }))
            .await?;
    }
    test.synced("busy", "True").await?;
    test.has(SOON, "busy", &[("password", "canary-4711-19")])
        .await?;
    Ok(())
}

//! Drift, replacement, deletion, and no write without a change.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::wait::{eventually, throughout};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::harness::*;

#[tokio::test]
async fn drift_is_repaired_and_what_others_added_stays() -> Result<()> {
    let test = Test::new().await?;
    let values = [("user", "canary-4711"), ("password", "canary-4711-b")];
    let made = async |name: &str| {
        let mut sealed = test.seal(name, "strict", &values)?;
        sealed["spec"]["template"]["metadata"]["labels"] = json!({ "app": "db" });
        test.create(&sealed).await?;
        test.has(SOON, name, &values).await?;
        test.synced(name, "True").await?;
        let foreign =
            json!({ "metadata": { "labels": { "team": "x" }, "annotations": { "x.io/y": "z" } } });
        test.merge(name, foreign).await
    };

    let wrong = BASE64_STANDARD.encode("drifted");
    // One each: several repairs of one Secret are a fight.
    for (number, (what, drift)) in [
        ("value", json!({ "data": { "password": wrong } })),
        ("key added", json!({ "data": { "extra": wrong } })),
        ("key removed", json!({ "data": { "user": null } })),
        ("data removed", json!({ "data": null })),
        (
            "label",
            json!({ "metadata": { "labels": { "app": "other" } } }),
        ),
        (
            "owner removed",
            json!({ "metadata": { "ownerReferences": null } }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("db-{number}");
        made(&name).await?;
        test.merge(&name, drift).await?;
        in_order(&test, &name, "Opaque")
            .await
            .with_context(|| format!("drift: {what}"))?;
    }

    made("db").await?;
    // A type cannot be edited: what drifts is a Secret that was made anew with another one.
    let mut other = test.secrets().get("db").await?;
    other.type_ = Some("example.com/other".to_owned());
    other.metadata.resource_version = None;
    other.metadata.uid = None;
    other.metadata.managed_fields = None;
    test.merge_sealed(
        "db",
        json!({ "spec": { "template": { "type": "Opaque" } } }),
    )
    .await?;
    test.synced("db", "True").await?;
    eventually(SOON, || async {
        // The controller makes it again at once: be faster, sooner or later.
        test.secrets()
            .delete("db", &DeleteParams::default())
            .await?;
        test.secrets()
            .create(&PostParams::default(), &other)
            .await?;
        Ok(())
    })
    .await?;
    in_order(&test, "db", "Opaque")
        .await
        .context("drift: type")?;

    test.secrets()
        .delete("db", &DeleteParams::default())
        .await?;
    test.has(REPAIR, "db", &values).await.context("deleted")?;
    test.nothing_leaked().await
}

/// Waits until the Secret of the drift test is as it was, with what others added.
async fn in_order(test: &Test, name: &str, type_: &str) -> Result<()> {
    let uid = test.sealed().get(name).await?.metadata.uid.context("uid")?;
    eventually(REPAIR, || async {
        let secret = test.secrets().get(name).await?;
        let values = [("user", "canary-4711"), ("password", "canary-4711-b")];
        ensure!(data(&secret) == expected(&values), "keys or values differ");
        ensure!(
            secret.type_.as_deref() == Some(type_),
            "its type is {:?}",
            secret.type_
        );
        let meta = secret.metadata;
        let owners = meta.owner_references.unwrap_or_default();
        ensure!(
            owners.len() == 1 && owners[0].uid == uid,
            "owners: {owners:?}"
        );
        let labels = meta.labels.unwrap_or_default();
        ensure!(
            labels.get("app").is_some_and(|app| app == "db"),
            "labels: {labels:?}"
        );
        ensure!(
            labels.get("team").is_some_and(|team| team == "x"),
            "labels: {labels:?}"
        );
        let annotations = meta.annotations.unwrap_or_default();
        ensure!(
            annotations.contains_key("x.io/y"),
            "annotations: {annotations:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_label_that_leaves_the_template_leaves_the_secret() -> Result<()> {
    let test = Test::new().await?;
    let mut sealed = test.seal("db", "strict", &[("a", "canary-4711")])?;
    sealed["spec"]["template"]["metadata"]["labels"] = json!({ "stays": "1", "goes": "1" });
    test.create(&sealed).await?;
    test.synced("db", "True").await?;
    test.merge(
        "db",
        json!({ "metadata": { "labels": { "foreign": "1" } } }),
    )
    .await?;
    let labels = json!({ "spec": { "template": { "metadata": { "labels": { "goes": null } } } } });
    test.merge_sealed("db", labels).await?;
    eventually(SOON, || async {
        let labels = test
            .secrets()
            .get("db")
            .await?
            .metadata
            .labels
            .unwrap_or_default();
        let names: Vec<_> = labels.keys().map(String::as_str).collect();
        ensure!(names == ["foreign", "stays"], "the labels are {names:?}");
        Ok(())
    })
    .await?;
    let condition = test.synced("db", "True").await?;
    ensure!(condition["lastUpdateTime"].as_str() >= condition["lastTransitionTime"].as_str());
    Ok(())
}

#[tokio::test]
async fn deletion_collects_the_secret_and_a_quick_replacement_keeps_it() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    test.seal_and_apply("db", &values).await?;
    test.has(SOON, "db", &values).await?;
    let before = test.sealed().get("db").await?.metadata.uid;

    // Deleted and made again at once, as `kubectl replace --force` and Argo CD do.
    test.sealed().delete("db", &DeleteParams::default()).await?;
    test.seal_and_apply("db", &values).await?;
    let now = test.sealed().get("db").await?.metadata.uid.context("uid")?;
    ensure!(before.as_ref() != Some(&now));
    let owned = || async {
        let owners = test.secrets().get("db").await?.metadata.owner_references;
        let owners = owners.unwrap_or_default();
        ensure!(
            owners.len() == 1 && owners[0].uid == now,
            "owners: {owners:?}"
        );
        Ok(())
    };
    eventually(SOON, owned).await?;
    test.synced("db", "True").await?;
    // The garbage collector may have had its eye on the old one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    eventually(SOON, owned).await?;

    test.sealed().delete("db", &DeleteParams::default()).await?;
    eventually(SOON, || test.no_secret("db")).await?;
    throughout(Duration::from_secs(2), || test.no_secret("db")).await
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changes() -> Result<()> {
    let test = Test::new().await?;
    let names: Vec<_> = (0..5).map(|number| format!("idle-{number}")).collect();
    for name in &names {
        test.seal_and_apply(name, &[("password", "canary-4711")])
            .await?;
    }
    let mut broken = test.seal("broken", "strict", &[("password", "canary-4711")])?;
    broken["metadata"]["name"] = json!("idle-broken");
    test.create(&broken).await?;
    test.taken_by_others("unmanaged").await?;
    test.seal_and_apply("unmanaged", &[("password", "canary-4711")])
        .await?;
    for name in &names {
        test.synced(name, "True").await?;
    }
    test.refused("idle-broken", "no key could decrypt secret (password)")
        .await?;
    test.synced("unmanaged", "False").await?;
    // The Events come after the status, and what is in order is noted a little later.
    tokio::time::sleep(Duration::from_secs(8)).await;

    let since = jiff::Timestamp::now();
    let user = &test.shared.controller.account().user;
    for name in &names {
        // What others write is no reason to write.
        test.merge(name, json!({ "metadata": { "labels": { "team": "x" } } }))
            .await?;
        test.merge_sealed(name, json!({ "metadata": { "labels": { "team": "x" } } }))
            .await?;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    let audit = test.shared.cluster.audit()?.by(user).since(since);
    let writes = audit.clone().namespace(&test.namespace).writes();
    ensure!(writes.is_empty(), "it wrote {:?}", writes.events());
    let home = audit.namespace(&test.shared.home).writes();
    let leases = home.clone().resource("leases");
    ensure!(!leases.is_empty(), "the Lease is renewed");
    // The records are of the objects of all tests, and those write.
    let others = home.events().iter().filter(|event| {
        event.resource != "leases" && !event.name.starts_with("selkie-sealed-secrets-records-")
    });
    let others: Vec<_> = others.collect();
    ensure!(others.is_empty(), "it wrote {others:?}");
    Ok(())
}

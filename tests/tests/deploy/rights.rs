//! The controller under the very roles that are installed: ours, and the stock chart's as they are.

use anyhow::{Result, ensure};
use compat::cluster::{AuditEvent, Cluster};
use compat::controller::Controller;
use compat::openbao::OpenBao;
use compat::wait::eventually;
use serde_json::{Value, json};

use crate::harness::*;
use crate::needed::{refused, without};
use crate::running::*;
use crate::upgrade::{Right, rights};

/// Seals a Secret for a running controller, sees it made, and put right after a change.
async fn seals(
    cluster: &Cluster,
    controller: &Controller,
    namespace: &str,
    name: &str,
) -> Result<()> {
    let certificate = eventually(SOON, || async {
        let (status, pem) = controller.get("/v1/cert.pem").await?;
        ensure!(status == 200, "{status}");
        Ok(pem)
    })
    .await?;
    let sealed = seal(&certificate, &plain(namespace, name))?;
    cluster.apply(namespace, &sealed.to_string())?;
    has(cluster, namespace, name).await?;
    drift(cluster, namespace, name)?;
    has(cluster, namespace, name).await
}

/// On a cluster of its own, as each of these controllers serves all of it.
#[tokio::test]
async fn it_works_under_cluster_wide_roles() -> Result<()> {
    let cluster = Cluster::start().await?;
    let namespace = cluster.namespace().await?;
    let home = cluster.namespace().await?;
    let values = json!({ "keySize": 2048, "external": { "enabled": true } });
    let objects = Release::of(ours(), "sealed-secrets", &home).objects(&values)?;
    install(&cluster, &objects)?;

    let account = cluster.account_named(&home, "sealed-secrets").await?;
    let sealed = as_deployed(&objects, "sealed-secrets", &home)?
        .start_as(&account)
        .await?;
    seals(&cluster, &sealed, &namespace, "ours").await?;
    // One that fails, for the metrics.
    let broken = json!({ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": { "name": "broken" },
        "spec": { "encryptedData": { "password": "AgBy" } } });
    cluster.apply(&namespace, &broken.to_string())?;
    eventually(SOON, || async {
        let metrics = sealed.metrics().await?;
        ensure!(metrics.contains("unseal_errors_total{"), "no error yet");
        Ok(())
    })
    .await?;
    nothing_refused(&cluster, &account)?;
    let stores = |event: &AuditEvent| event.resource.contains("store");
    let looked = cluster.audit()?.by(&account.user).only(stores);
    ensure!(looked.is_empty(), "the half with the keys looks at stores");

    let bao = OpenBao::start().await?;
    let account = cluster
        .account_named(&home, "sealed-secrets-external")
        .await?;
    let external = as_deployed(&objects, "sealed-secrets-external", &home)?
        .start_as(&account)
        .await?;
    fetches(&cluster, &bao, &namespace).await?;
    nothing_refused(&cluster, &account)?;
    ensure!(
        external.get("/v1/cert.pem").await?.0 == 404,
        "the half without keys serves a certificate"
    );
    let metrics = (sealed.metrics().await?, external.metrics().await?);
    crate::metrics::every_query_is_answered(&metrics.0, &metrics.1)?;
    external.terminate()?;

    // A ClusterSecretStore is only served with rights to the whole cluster.
    let only_cluster = |right: &Right| {
        right.resource.starts_with("clustersecretstores") || right.resource == "namespaces"
    };
    let role = objects.get("ClusterRole", "selkie-external")?;
    for right in rights(role)?.into_iter().filter(only_cluster) {
        let reduced = without(role, &right)?;
        cluster
            .kubectl()
            .args(["replace", "--filename", "-"])
            .input(reduced.to_string())
            .ok()?;
        let running = as_deployed(&objects, "sealed-secrets-external", &home)?
            .do_not_wait()
            .start_as(&account)
            .await?;
        let since = jiff::Timestamp::now();
        let store = format!("gone-{}", right.verb);
        refused(&cluster, &account, since, &right, async |round| {
            cluster.apply(&namespace, &from_cluster_store(&store, round).to_string())?;
            cluster.apply(
                &namespace,
                &from_cluster_store("conditional", round).to_string(),
            )?;
            touch_cluster_store(&cluster, round)
        })
        .await?;
        running.terminate()?;
    }
    sealed.terminate()?;

    // The stock chart's objects as they are, and its arguments.
    let home = cluster.namespace().await?;
    let stock = Release::of(stock()?, "stock", &home).objects(&json!({}))?;
    install(&cluster, &stock)?;
    let name = "stock-sealed-secrets";
    let account = cluster.account_named(&home, name).await?;
    let called = as_deployed(&stock, name, &home)?
        .arg("--key-size=2048")
        .called("controller");
    let controller = called.start_as(&account).await?;
    seals(&cluster, &controller, &namespace, "stock").await?;
    nothing_refused(&cluster, &account)?;
    let leases = cluster.audit()?.by(&account.user).resource("leases");
    ensure!(leases.is_empty(), "{:?}", leases.events());
    println!(
        "verified: seal -> Secret under our roles and under the stock chart's ClusterRole and Role verbatim, nothing refused"
    );
    Ok(())
}

/// The stock chart's Roles, one for each namespace.
#[tokio::test]
async fn it_works_under_the_stock_charts_namespaced_roles() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let home = cluster.namespace().await?;
    let namespace = cluster.namespace().await?;
    for chart in [stock()?, ours()] {
        let values = json!({ "additionalNamespaces": [namespace, home], "nameOverride": "seal",
            "rbac": { "clusterRole": false, "namespacedRoles": true } });
        let objects = Release::of(chart.clone(), "seal", &home).objects(&values)?;
        ensure!(
            objects.0.keys().all(|id| !id.0.starts_with("ClusterRole")),
            "{:?}",
            objects.0.keys()
        );
        install(&cluster, &objects)?;
        let account = cluster.account_named(&home, "seal").await?;
        let mut settings = as_deployed(&objects, "seal", &home)?.arg("--key-size=2048");
        let is_stock = chart == stock()?;
        if is_stock {
            settings = settings.called("controller");
        }
        let controller = settings.start_as(&account).await?;
        let name = if is_stock { "stock" } else { "ours" };
        seals(&cluster, &controller, &namespace, name).await?;
        nothing_refused(&cluster, &account)?;
        controller.terminate()?;
        cluster
            .kubectl()
            .args(["delete", "--wait=false", "--filename", "-"])
            .input(serde_json::to_vec(&objects.list(&RBAC))?)
            .ok()?;
    }
    Ok(())
}

/// Values from OpenBao through both kinds of store, and one that fails.
async fn fetches(cluster: &Cluster, bao: &OpenBao, namespace: &str) -> Result<()> {
    bao.kv_put("app", &json!({ "password": CANARY })).await?;
    for object in [
        token(),
        store("vault", &bao.url(), false),
        cluster_store("conditional", &bao.url(), namespace),
        external_secret("fetched", &json!({ "name": "vault" }), "app", 0),
        external_secret("missing", &json!({ "name": "vault" }), "nowhere", 0),
        from_cluster_store("conditional", 0),
    ] {
        cluster.apply(namespace, &object.to_string())?;
    }
    for name in ["fetched", "conditional"] {
        has(cluster, namespace, name).await?;
    }
    Ok(())
}

fn from_cluster_store(store: &str, round: u32) -> Value {
    let reference = json!({ "name": store, "kind": "ClusterSecretStore" });
    external_secret(store, &reference, "app", round)
}

/// Changes what the status of the store says, back and forth.
fn touch_cluster_store(cluster: &Cluster, round: u32) -> Result<()> {
    let token = if round.is_multiple_of(2) {
        "absent"
    } else {
        "token"
    };
    let auth = json!({ "tokenSecretRef": { "name": token } });
    let patch = json!({ "spec": { "provider": { "vault": { "auth": auth } } } }).to_string();
    cluster
        .kubectl()
        .args([
            "patch",
            "clustersecretstore",
            "conditional",
            "--type",
            "merge",
            "--patch",
            &patch,
        ])
        .ok()?;
    Ok(())
}

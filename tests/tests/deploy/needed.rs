//! Each right of our Roles is needed: without it a request is refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat::cluster::{Account, Cluster};
use compat::controller::Controller;
use compat::openbao::OpenBao;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::*;
use crate::running::*;
use crate::upgrade::{Right, rights};

/// A role without one right.
pub(crate) fn without(role: &Value, right: &Right) -> Result<Value> {
    let mut reduced = role.clone();
    let left = rights(role)?.into_iter().filter(|it| it != right);
    reduced["rules"] = left
        .map(|it| {
            let mut rule =
                json!({ "apiGroups": [it.group], "resources": [it.resource], "verbs": [it.verb] });
            if let Some(name) = it.name {
                rule["resourceNames"] = json!([name]);
            }
            rule
        })
        .collect();
    Ok(reduced)
}

/// Repeats `act` until the account is refused the right; fails when it never asks for it.
pub(crate) async fn refused(
    cluster: &Cluster,
    account: &Account,
    since: jiff::Timestamp,
    right: &Right,
    mut act: impl AsyncFnMut(u32) -> Result<()>,
) -> Result<()> {
    let (resource, sub) = right
        .resource
        .split_once('/')
        .unwrap_or((&right.resource, ""));
    let began = Instant::now();
    for round in 0.. {
        act(round).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = cluster
            .audit()?
            .by(&account.user)
            .since(since)
            .only(|event| {
                event.code == 403
                    && event.verb == right.verb
                    && event.resource == resource
                    && event.subresource == sub
            });
        if !seen.is_empty() {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(60) {
            bail!("nothing fails without {right:?}");
        }
    }
    Ok(())
}

/// A sealing key and a SealedSecret for it, made once: a controller that may not make keys has to have one.
struct Sealed {
    key: Value,
    sealed: Value,
}

async fn sealed(cluster: &Cluster) -> Result<&'static Sealed> {
    static SEALED: OnceCell<Sealed> = OnceCell::const_new();
    SEALED
        .get_or_try_init(|| async {
            let home = cluster.namespace().await?;
            let controller = Controller::with(&home)
                .arg("--serve=sealed")
                .arg("--key-size=2048")
                .arg("--all-namespaces=false")
                .start(cluster)
                .await?;
            let certificate = controller.get("/v1/cert.pem").await?.1;
            let keys = cluster
                .kubectl()
                .args(["get", "secrets", "--namespace", &home, "--output", "json"])
                .args(["--selector", "sealedsecrets.bitnami.com/sealed-secrets-key=active"])
                .ok()?
                .json()?;
            let key = &keys["items"][0];
            let key = json!({ "apiVersion": "v1", "kind": "Secret", "type": key["type"], "data": key["data"],
                "metadata": { "name": "key", "labels": key["metadata"]["labels"] } });
            let sealed = seal(&certificate, &plain(&home, "sealed"))?;
            Ok(Sealed { key, sealed })
        })
        .await
}

/// A half of the controller.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Sealed,
    External,
}

/// Every right of the namespaced Roles, taken away one after the other.
#[tokio::test]
async fn each_right_is_needed() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let bao = Arc::new(OpenBao::start().await?);
    bao.kv_put("app", &json!({ "password": CANARY })).await?;
    let values = json!({ "rbac": { "clusterRole": false, "namespacedRoles": true }, "external": { "enabled": true } });
    let objects = usual().objects(&values)?;
    let mut cases = Vec::new();
    for (half, roles) in [
        (
            Half::Sealed,
            ["secrets-unsealer", "sealed-secrets-key-admin"],
        ),
        (
            Half::External,
            ["selkie-external", "sealed-secrets-external-leader"],
        ),
    ] {
        for role in roles {
            for right in rights(objects.get("Role", role)?)? {
                cases.push((half, role, right));
            }
        }
    }
    ensure!(cases.len() > 30, "{} rights only", cases.len());
    let count = cases.len();
    let distinct: BTreeSet<_> = cases
        .iter()
        .map(|(_, role, right)| (*role, right.clone()))
        .collect();
    ensure!(distinct.len() == count, "a right is granted twice");
    stream::iter(cases)
        .map(|(half, role, right)| {
            let (cluster, bao) = (Arc::clone(&cluster), Arc::clone(&bao));
            async move {
                let tried = fails_without(&cluster, &bao, half, role, &right).await;
                tried.with_context(|| format!("{role} without {} {}", right.verb, right.resource))
            }
        })
        .buffer_unordered(4)
        .try_collect::<()>()
        .await?;
    println!("verified: each of {count} rights of our Roles taken away, and a request is refused");
    Ok(())
}

async fn fails_without(
    cluster: &Cluster,
    bao: &OpenBao,
    half: Half,
    reduced: &str,
    right: &Right,
) -> Result<()> {
    let home = cluster.namespace().await?;
    let values = json!({ "keySize": 2048, "rbac": { "clusterRole": false, "namespacedRoles": true, "serviceProxier": { "create": false } },
        "external": { "enabled": half == Half::External } });
    let mut objects = Release::of(ours(), "sealed-secrets", &home).objects(&values)?;
    for (id, object) in &mut objects.0 {
        if id.0 == "Role" && id.2 == reduced {
            *object = without(object, right)?;
        }
    }
    install(cluster, &objects)?;
    let name = match half {
        Half::Sealed => "sealed-secrets",
        Half::External => "sealed-secrets-external",
    };
    let account = cluster.account_named(&home, name).await?;
    match half {
        Half::Sealed => {
            let made = sealed(cluster).await?;
            cluster.apply(&home, &made.key.to_string())?;
        }
        Half::External => {
            for object in [
                token(),
                store("vault", &bao.url(), false),
                store("authority", &bao.url(), true),
            ] {
                cluster.apply(&home, &object.to_string())?;
            }
        }
    }
    let since = jiff::Timestamp::now();
    let controller = as_deployed(&objects, name, &home)?
        .do_not_wait()
        .start_as(&account)
        .await?;
    refused(cluster, &account, since, right, async |round| match half {
        Half::Sealed => change_sealed(cluster, &home, round).await,
        Half::External => change_external(cluster, &home, round),
    })
    .await?;
    controller.kill()
}

/// Makes the controller do all that it can: new values, another type, a changed Secret, and changes while it writes.
async fn change_sealed(cluster: &Cluster, home: &str, round: u32) -> Result<()> {
    let mut object = sealed(cluster).await?.sealed.clone();
    object["metadata"]["namespace"] = json!(home);
    object["spec"]["template"]["metadata"]["namespace"] = json!(home);
    object["spec"]["template"]["metadata"]["labels"] = json!({ "round": round.to_string() });
    if round % 3 == 2 {
        object["spec"]["template"]["type"] = json!("example.com/other");
    }
    cluster.apply(home, &object.to_string())?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drift(cluster, home, "sealed")?;
    // Its status is written from what it read: a change in between makes it read again.
    let statuses = (0..20).map(|n| json!({ "metadata": { "annotations": { "n": format!("{round}-{n}") } }, "spec": { "template": { "metadata": { "labels": { "n": n.to_string() } } } } }));
    let objects = sealed_secrets(&cluster.client().await?, home);
    for patch in statuses {
        let patch = kube::api::Patch::Merge(patch);
        objects
            .patch("sealed", &kube::api::PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

/// Makes the controller do all that it can: another type, a changed Secret, an authority and a store that are not there, and
/// the original's finalizer to take off.
fn change_external(cluster: &Cluster, home: &str, round: u32) -> Result<()> {
    let external =
        |name: &str, store: &str| external_secret(name, json!({ "name": store }), "app", round);
    let mut fetched = external("fetched", "vault");
    let kind = if round % 3 == 2 {
        "example.com/other"
    } else {
        "Opaque"
    };
    fetched["spec"]["target"] = json!({ "template": { "type": kind } });
    let leaving = format!("leaving-{round}");
    let mut finalized = external(&leaving, "vault");
    finalized["metadata"]["finalizers"] =
        json!(["externalsecrets.external-secrets.io/externalsecret-cleanup"]);
    let storeless = external(&format!("storeless-{round}"), "nowhere");
    for object in [
        fetched,
        finalized,
        storeless,
        external("authority", "authority"),
    ] {
        cluster.apply(home, &object.to_string())?;
    }
    drift(cluster, home, "fetched")?;
    cluster
        .kubectl()
        .args([
            "delete",
            "externalsecret",
            &leaving,
            "--namespace",
            home,
            "--wait=false",
        ])
        .ok()?;
    Ok(())
}

//! Each right of our Roles is needed: without it a request is refused.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use compat::bed::{Cache, Tool};
use compat::cluster::{Account, Cluster};
use compat::controller::Controller;
use compat::openbao::OpenBao;
use compat::program::Program;
use compat::wait::eventually;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Patch, PatchParams};
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
    // With all of them nothing is refused: what is below has one cause.
    for half in [Half::Sealed, Half::External] {
        let (account, controller) = start(&cluster, &bao, half, None).await?;
        for round in 0..6 {
            half.work(&cluster, &account.namespace, round).await?;
        }
        eventually(SOON, || async { written(&cluster, &account, half) }).await?;
        nothing_refused(&cluster, &account)?;
        controller.terminate()?;
    }
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

/// Fails until a Secret was written again.
fn written(cluster: &Cluster, account: &Account, half: Half) -> Result<()> {
    let name = match half {
        Half::Sealed => "sealed",
        Half::External => "fetched",
    };
    let writes = cluster
        .audit()?
        .by(&account.user)
        .writes()
        .resource("secrets");
    let writes =
        writes.only(|event| event.name == name && event.verb == "update" && event.code == 200);
    ensure!(!writes.is_empty(), "Secret {name} was not written again");
    Ok(())
}

async fn fails_without(
    cluster: &Cluster,
    bao: &OpenBao,
    half: Half,
    role: &str,
    right: &Right,
) -> Result<()> {
    let since = jiff::Timestamp::now();
    let (account, controller) = start(cluster, bao, half, Some((role, right))).await?;
    refused(cluster, &account, since, right, async |round| {
        half.work(cluster, &account.namespace, round).await
    })
    .await?;
    controller.kill()
}

/// Starts a half in a namespace of its own, under our Roles without one right.
async fn start(
    cluster: &Cluster,
    bao: &OpenBao,
    half: Half,
    less: Option<(&str, &Right)>,
) -> Result<(Account, Controller)> {
    let home = cluster.namespace().await?;
    let rbac = json!({ "clusterRole": false, "namespacedRoles": true, "serviceProxier": { "create": false } });
    let values =
        json!({ "keySize": 2048, "rbac": rbac, "external": { "enabled": half == Half::External } });
    let mut objects = Release::of(ours(), "sealed-secrets", &home).objects(&values)?;
    for (id, object) in &mut objects.0 {
        if let Some((role, right)) = less
            && id.0 == "Role"
            && id.2 == role
        {
            *object = without(object, right)?;
        }
    }
    install(cluster, &objects)?;
    let (name, needs) = match half {
        Half::Sealed => ("sealed-secrets", vec![sealed(cluster).await?.key.clone()]),
        Half::External => {
            let stores = [("vault", false), ("authority", true)];
            let stores = stores.map(|(name, authority)| store(name, &bao.url(), authority));
            (
                "sealed-secrets-external",
                [token()].into_iter().chain(stores).collect(),
            )
        }
    };
    for object in needs {
        cluster.apply(&home, &object.to_string())?;
    }
    let account = cluster.account_named(&home, name).await?;
    let settings = as_deployed(&objects, name, &home)?.do_not_wait();
    let controller = settings.start_as(&account).await?;
    Ok((account, controller))
}

impl Half {
    /// Makes the controller do all that it can.
    async fn work(self, cluster: &Cluster, home: &str, round: u32) -> Result<()> {
        match self {
            Self::Sealed => change_sealed(cluster, home, round).await,
            Self::External => change_external(cluster, home, round),
        }
    }
}

/// New values, another type, a changed Secret, and changes while it writes.
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
    let objects = sealed_secrets(&cluster.client().await?, home);
    for n in 0..20 {
        let template = json!({ "metadata": { "labels": { "n": n.to_string() } } });
        let patch = Patch::Merge(json!({ "spec": { "template": template } }));
        objects
            .patch("sealed", &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}

/// Another type, a changed Secret, an authority and a store that are not there, and the original's finalizer to take off.
fn change_external(cluster: &Cluster, home: &str, round: u32) -> Result<()> {
    let external =
        |name: &str, store: &str| external_secret(name, &json!({ "name": store }), "app", round);
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

/// The role for people: what kubeseal and kubectl ask for is refused for the want of a right, and otherwise only because
/// nothing answers behind the Service.
#[tokio::test]
async fn people_need_each_right_of_the_proxier() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let home = cluster.namespace().await?;
    let anybody = cluster.account(&home, "anybody", Vec::new()).await?;
    let objects = Release::of(ours(), "sealed-secrets", &home).objects(&json!({}))?;
    let role = objects.get("Role", "sealed-secrets-service-proxier")?;
    let apply = |object: &Value| cluster.apply(&home, &object.to_string());
    apply(objects.get("RoleBinding", "sealed-secrets-service-proxier")?)?;
    apply(objects.get("Service", "sealed-secrets")?)?;
    let refused = |right: &Right| -> Result<bool> {
        let name = right.name.as_deref().context("each is for one Service")?;
        let service = format!("/api/v1/namespaces/{home}/services/{name}");
        let path = match (&*right.resource, &*right.verb) {
            ("services", "get") => service,
            ("services/proxy", "get") => format!("{service}/proxy/v1/cert.pem"),
            ("services/proxy", "create") => format!("{service}/proxy/v1/verify"),
            other => bail!("{other:?} is not known here"),
        };
        let kubectl = Program::new(Cache::open()?.tool(Tool::Kubectl)?)
            .env("KUBECONFIG", anybody.kubeconfig.path())
            .env("HOME", cluster.folder());
        let asked = match &*right.verb {
            "get" => kubectl.args(["get", "--raw", &path]),
            _ => kubectl
                .args(["create", "--raw", &path, "--filename", "-"])
                .input("{}"),
        };
        let answer = asked.run()?;
        // Nothing answers behind the Service, and it has no port without a name.
        let other = ["(ServiceUnavailable)", "(NotFound)"];
        let refused = answer.stderr.contains("(Forbidden)");
        let known =
            refused || answer.code == Some(0) || other.iter().any(|it| answer.stderr.contains(it));
        ensure!(known, "{path}: {}", answer.stderr);
        Ok(refused)
    };
    let all = rights(role)?;
    ensure!(all.len() == 7, "{all:?}");
    for right in &all {
        // What a role grants counts a moment later.
        for (role, expected) in [(role.clone(), false), (without(role, right)?, true)] {
            apply(&role)?;
            eventually(SOON, || async {
                ensure!(refused(right)? == expected, "{right:?}");
                Ok(())
            })
            .await?;
        }
    }
    Ok(())
}

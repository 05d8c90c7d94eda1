//! The controller under the very roles that are installed: ours, and the stock chart's as they are; and each right is needed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::bed::new_folder;
use compat::cluster::{Account, AuditEvent, Cluster};
use compat::controller::{Controller, Settings};
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::originals::kubeseal;
use compat::wait::eventually;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::*;
use crate::upgrade::{Right, rights};

const SOON: Duration = Duration::from_secs(30);
const CANARY: &str = "canary-4711";
/// What a right is about.
const RBAC: [&str; 5] = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// Settings with the arguments of a rendered Deployment; the addresses are the bed's.
fn as_deployed(objects: &Objects, deployment: &str, namespace: &str) -> Result<Settings> {
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

fn install(cluster: &Cluster, objects: &Objects) -> Result<()> {
    let list = objects.list(&RBAC);
    cluster
        .kubectl()
        .args(["apply", "--filename", "-"])
        .input(serde_json::to_vec(&list)?)
        .ok()?;
    Ok(())
}

fn seal(certificate: &str, secret: &Value) -> Result<Value> {
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

fn plain(namespace: &str, name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
        "stringData": { "password": CANARY } })
}

async fn has(cluster: &Cluster, namespace: &str, name: &str, key: &str) -> Result<()> {
    let secrets = Api::<Secret>::namespaced(cluster.client().await?, namespace);
    eventually(SOON, || async {
        let secret = secrets.get(name).await?;
        let data = secret.data.context("no data")?;
        ensure!(
            data.get(key)
                .is_some_and(|value| value.0 == CANARY.as_bytes()),
            "{:?}",
            data.keys()
        );
        Ok(())
    })
    .await
    .with_context(|| format!("Secret {namespace}/{name}"))
}

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
    has(cluster, namespace, name, "password").await?;
    let changed = json!({ "data": { "password": BASE64_STANDARD.encode("changed") } }).to_string();
    cluster
        .kubectl()
        .args([
            "patch",
            "secret",
            name,
            "--namespace",
            namespace,
            "--type",
            "merge",
            "--patch",
            &changed,
        ])
        .ok()?;
    has(cluster, namespace, name, "password").await
}

/// Fails when the account was refused anything.
fn nothing_refused(cluster: &Cluster, account: &Account) -> Result<()> {
    let refused = cluster
        .audit()?
        .by(&account.user)
        .only(|event| event.code == 403);
    ensure!(refused.is_empty(), "it was refused {:?}", refused.events());
    Ok(())
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
            cluster.apply(&namespace, &from_cluster_store(&store, round))?;
            cluster.apply(&namespace, &from_cluster_store("conditional", round))?;
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
    let controller = called.do_not_wait().start_as(&account).await?;
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
    cluster.apply(namespace, &stores(namespace, &bao.url()))?;
    cluster.apply(namespace, &from_store("vault", "fetched", "app"))?;
    cluster.apply(namespace, &from_store("vault", "missing", "nowhere"))?;
    cluster.apply(namespace, &from_cluster_store("conditional", 0))?;
    for name in ["fetched", "conditional"] {
        has(cluster, namespace, name, "password").await?;
    }
    Ok(())
}

fn vault(url: &str) -> String {
    format!(
        "{{server: '{url}', path: secret, version: v2, auth: {{tokenSecretRef: {{name: token, key: token"
    )
}

fn stores(namespace: &str, url: &str) -> String {
    let vault = vault(url);
    format!(
        "
{{apiVersion: v1, kind: Secret, metadata: {{name: token}}, stringData: {{token: {ROOT_TOKEN}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: vault}}
spec: {{provider: {{vault: {vault}}}}}}}}}}}
---
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {{name: conditional}}
spec:
  conditions: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}}}]
  provider: {{vault: {vault}, namespace: {namespace}}}}}}}}}
"
    )
}

fn from_store(store: &str, name: &str, key: &str) -> String {
    format!(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  refreshInterval: 1h
  secretStoreRef: {{name: {store}}}
  dataFrom: [{{extract: {{key: {key}}}}}]
"
    )
}

fn from_cluster_store(store: &str, round: u32) -> String {
    format!(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {store}, annotations: {{force-sync: '{round}'}}}}
spec:
  refreshInterval: 1h
  secretStoreRef: {{name: {store}, kind: ClusterSecretStore}}
  dataFrom: [{{extract: {{key: app}}}}]
"
    )
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

/// A role without one right.
fn without(role: &Value, right: &Right) -> Result<Value> {
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
async fn refused(
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
            let vault = vault(&bao.url());
            let manifest = format!(
                "
{{apiVersion: v1, kind: Secret, metadata: {{name: token}}, stringData: {{token: {ROOT_TOKEN}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: vault}}
spec: {{provider: {{vault: {vault}}}}}}}}}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: authority}}
spec: {{provider: {{vault: {vault}}}}}, caProvider: {{type: ConfigMap, name: ca, key: ca}}}}}}}}
"
            );
            cluster.apply(&home, &manifest)?;
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

fn change_external(cluster: &Cluster, home: &str, round: u32) -> Result<()> {
    let kind = if round % 3 == 2 {
        "example.com/other"
    } else {
        "Opaque"
    };
    let manifest = format!("
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: fetched, annotations: {{force-sync: '{round}'}}}}
spec:
  refreshInterval: 1h
  secretStoreRef: {{name: vault}}
  target: {{template: {{type: {kind}}}}}
  dataFrom: [{{extract: {{key: app}}}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: authority, annotations: {{force-sync: '{round}'}}}}
spec:
  secretStoreRef: {{name: authority}}
  dataFrom: [{{extract: {{key: app}}}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: storeless-{round}}}
spec:
  secretStoreRef: {{name: nowhere}}
  dataFrom: [{{extract: {{key: app}}}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: leaving-{round}, finalizers: [externalsecrets.external-secrets.io/externalsecret-cleanup]}}
spec:
  secretStoreRef: {{name: vault}}
  dataFrom: [{{extract: {{key: app}}}}]
");
    cluster.apply(home, &manifest)?;
    drift(cluster, home, "fetched")?;
    cluster
        .kubectl()
        .args([
            "delete",
            "externalsecret",
            &format!("leaving-{round}"),
            "--namespace",
            home,
            "--wait=false",
        ])
        .ok()?;
    Ok(())
}

/// Changes a Secret, if it is there.
fn drift(cluster: &Cluster, home: &str, name: &str) -> Result<()> {
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

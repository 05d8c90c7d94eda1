//! SealedSecrets on a real API server: sealed by the real kubeseal, materialised by our controller.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::bed::new_folder;
use compat::cluster::Cluster;
use compat::controller::{Controller, rule, usual_rights};
use compat::originals::kubeseal;
use compat::selkie::{binary, selkie};
use compat::server::Server;
use compat::wait::{eventually, throughout};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Within this, drift is repaired (issue 3, "Must show" 5).
const REPAIR: Duration = Duration::from_secs(2);
/// Within this, what is not about speed happens.
const SOON: Duration = Duration::from_secs(20);
/// Every sealed value starts with it, and no output may hold it.
const CANARY: &str = "canary-4711";

const UNMANAGED: &str = "already exists and is not managed by SealedSecret";

/// One controller that serves the whole cluster, for every test of this file.
struct Shared {
    cluster: Arc<Cluster>,
    controller: Controller,
    /// The namespace of the controller and its keys.
    home: String,
    certificate: PathBuf,
}

/// What one test works with: its own namespace and clients.
struct Test {
    shared: &'static Shared,
    namespace: String,
    client: kube::Client,
}

impl Test {
    async fn new() -> Result<Self> {
        static SHARED: OnceCell<Shared> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(|| async {
                let cluster = Cluster::shared().await?;
                let home = cluster.namespace().await?;
                let controller = Controller::with(&home)
                    .arg("--key-size=2048")
                    .start(&cluster)
                    .await?;
                let certificate = certificate(&controller).await?;
                Ok::<_, anyhow::Error>(Shared {
                    cluster,
                    controller,
                    home,
                    certificate,
                })
            })
            .await?;
        Ok(Self {
            shared,
            namespace: shared.cluster.namespace().await?,
            client: shared.cluster.client().await?,
        })
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn sealed(&self) -> Api<DynamicObject> {
        sealed_in(&self.client, &self.namespace)
    }

    /// Seals with the real kubeseal and applies.
    async fn seal_and_apply(&self, name: &str, values: &[(&str, &str)]) -> Result<()> {
        let sealed = self.seal(name, "strict", values)?;
        self.create(&sealed).await
    }

    fn seal(&self, name: &str, scope: &str, values: &[(&str, &str)]) -> Result<Value> {
        let secret = secret(&self.namespace, name, values);
        seal(&self.shared.certificate, scope, &secret)
    }

    /// Creates a SealedSecret in the namespace that its manifest names.
    async fn create(&self, sealed: &Value) -> Result<()> {
        let namespace = sealed["metadata"]["namespace"].as_str();
        let api = sealed_in(&self.client, namespace.unwrap_or(&self.namespace));
        api.create(
            &PostParams::default(),
            &serde_json::from_value(sealed.clone())?,
        )
        .await?;
        Ok(())
    }

    async fn merge(&self, name: &str, patch: Value) -> Result<()> {
        let params = PatchParams::default();
        self.secrets()
            .patch(name, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn merge_sealed(&self, name: &str, patch: Value) -> Result<()> {
        let params = PatchParams::default();
        self.sealed()
            .patch(name, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until the Secret has exactly these values.
    async fn has(&self, limit: Duration, name: &str, values: &[(&str, &str)]) -> Result<Secret> {
        eventually(limit, || async {
            let secret = self.secrets().get(name).await?;
            ensure!(
                data(&secret) == expected(values),
                "other keys or values: {:?}",
                data(&secret).keys()
            );
            Ok(secret)
        })
        .await
        .with_context(|| format!("Secret {name}"))
    }

    /// Waits until `Synced` is as given and speaks about the present generation.
    async fn synced(&self, name: &str, status: &str) -> Result<Value> {
        eventually(SOON, || async {
            let object = self.sealed().get(name).await?;
            let present = &object.data["status"];
            let condition = &present["conditions"][0];
            ensure!(
                condition["type"] == "Synced" && condition["status"] == status,
                "the status is {present}"
            );
            ensure!(
                present["observedGeneration"].as_i64() == object.metadata.generation,
                "the status is of another generation: {present}"
            );
            Ok(condition.clone())
        })
        .await
        .with_context(|| format!("SealedSecret {name}"))
    }

    /// Waits until `Synced` is `False` with exactly this message.
    async fn refused(&self, name: &str, message: &str) -> Result<()> {
        eventually(SOON, || async {
            let object = self.sealed().get(name).await?;
            let condition = &object.data["status"]["conditions"][0];
            ensure!(condition["status"] == "False", "the status is {condition}");
            ensure!(
                condition["message"] == message,
                "the message is {}",
                condition["message"]
            );
            Ok(())
        })
        .await
        .with_context(|| format!("SealedSecret {name}"))
    }

    /// Waits for an Event about a SealedSecret.
    async fn event(&self, name: &str, type_: &str, reason: &str, message: &str) -> Result<Event> {
        eventually(SOON, || async {
            let events = self.events().await?;
            let found = events.iter().find(|event| {
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && event.message.as_deref() == Some(message)
            });
            let event = found.with_context(|| format!("the events are {}", told(&events)))?;
            ensure!(
                event.type_.as_deref() == Some(type_),
                "its type is {:?}",
                event.type_
            );
            ensure!(
                event
                    .source
                    .as_ref()
                    .and_then(|source| source.component.as_deref())
                    == Some("sealed-secrets"),
                "its source is {:?}",
                event.source
            );
            Ok(event.clone())
        })
        .await
        .with_context(|| format!("event {reason} of {name}"))
    }

    async fn events(&self) -> Result<Vec<Event>> {
        let api = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    async fn no_secret(&self, name: &str) -> Result<()> {
        ensure!(
            self.secrets().get_opt(name).await?.is_none(),
            "there is a Secret {name}"
        );
        Ok(())
    }

    /// Searches everything that was said about this namespace, and the log, for the canary.
    async fn nothing_leaked(&self) -> Result<()> {
        let encoded = BASE64_STANDARD.encode(CANARY);
        let sealed = self.sealed().list(&ListParams::default()).await?;
        let statuses: Vec<_> = sealed.iter().map(|object| &object.data["status"]).collect();
        for (what, text) in [
            ("the log", self.shared.controller.log()?),
            ("an event", serde_json::to_string(&self.events().await?)?),
            ("a status", serde_json::to_string(&statuses)?),
        ] {
            ensure!(
                !text.contains(CANARY) && !text.contains(encoded.trim_end_matches('=')),
                "{what} shows a value"
            );
        }
        Ok(())
    }
}

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
        ensure!(condition.get("message").is_none() && condition.get("reason").is_none());
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

#[tokio::test]
async fn drift_is_repaired_and_what_others_added_stays() -> Result<()> {
    let test = Test::new().await?;
    let values = [("user", "canary-4711"), ("password", "canary-4711-b")];
    let mut sealed = test.seal("db", "strict", &values)?;
    sealed["spec"]["template"]["metadata"]["labels"] = json!({ "app": "db" });
    test.create(&sealed).await?;
    test.has(SOON, "db", &values).await?;
    test.synced("db", "True").await?;
    let foreign =
        json!({ "metadata": { "labels": { "team": "x" }, "annotations": { "x.io/y": "z" } } });
    test.merge("db", foreign).await?;

    let wrong = BASE64_STANDARD.encode("drifted");
    for (what, drift) in [
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
    ] {
        test.merge("db", drift).await?;
        in_order(&test, "Opaque")
            .await
            .with_context(|| format!("drift: {what}"))?;
    }

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
    in_order(&test, "Opaque").await.context("drift: type")?;

    test.secrets()
        .delete("db", &DeleteParams::default())
        .await?;
    test.has(REPAIR, "db", &values).await.context("deleted")?;
    test.nothing_leaked().await
}

/// Waits until the Secret of the drift test is as it was, with what others added.
async fn in_order(test: &Test, type_: &str) -> Result<()> {
    let uid = test.sealed().get("db").await?.metadata.uid.context("uid")?;
    eventually(REPAIR, || async {
        let secret = test.secrets().get("db").await?;
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
    // The Events come after the status.
    tokio::time::sleep(Duration::from_secs(1)).await;

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
    ensure!(
        leases.events().len() == home.events().len(),
        "it wrote {:?}",
        home.events()
    );
    Ok(())
}

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
    let condition = test.synced("old", "False").await?;
    let message = condition["message"].as_str().context("message")?;
    ensure!(
        message.starts_with("spec.data is not supported: "),
        "{message}"
    );
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

#[tokio::test]
async fn it_ends_cleanly_and_comes_back_with_the_same_key() -> Result<()> {
    let test = Test::new().await?;
    let settings = Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false");
    let cluster = &test.shared.cluster;
    let first = settings.start(cluster).await?;
    let certificate = first.get("/v1/cert.pem").await?.1;
    ensure!(
        certificate.starts_with("-----BEGIN CERTIFICATE-----"),
        "{certificate}"
    );
    ensure!(first.get("/healthz").await?.1 == "ok\n");
    ensure!(first.get("/nowhere").await?.0 == 404);
    let metrics = first.metrics().await?;
    for name in [
        "sealed_secrets_controller_build_info{",
        "sealed_secrets_controller_unseal_requests_total ",
        "sealed_secrets_controller_http_requests_total{path=\"/v1/cert.pem\",code=\"200\",method=\"get\"} 1",
    ] {
        ensure!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    let began = Instant::now();
    let status = first.terminate()?;
    ensure!(status.success(), "it ended with {status}");
    ensure!(
        began.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        began.elapsed()
    );
    let leases = Api::<Lease>::namespaced(test.client.clone(), &test.namespace);
    let lease = leases.get("selkie-controller").await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity);
    ensure!(
        holder.is_none_or(|holder| holder.is_empty()),
        "the Lease was not given back"
    );

    let began = Instant::now();
    let second = settings.start(cluster).await?;
    ensure!(
        began.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        began.elapsed()
    );
    ensure!(
        second.get("/v1/cert.pem").await?.1 == certificate,
        "another key seals"
    );
    for line in second.log()?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(
            line.get("message").is_some() && line.get("level").is_some(),
            "{line}"
        );
    }
    let keys = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active");
    let keys = test.secrets().list(&keys).await?.items;
    ensure!(keys.len() == 1, "there are {} keys", keys.len());
    ensure!(keys[0].type_.as_deref() == Some("kubernetes.io/tls"));
    let name = keys[0].metadata.name.as_deref().context("name")?;
    ensure!(name.starts_with("sealed-secrets-key"), "{name}");
    Ok(())
}

#[tokio::test]
async fn two_controllers_with_other_keys_do_not_keep_each_other_busy() -> Result<()> {
    let test = Test::new().await?;
    let other = Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
        .start(&test.shared.cluster)
        .await?;
    // Only the other one can open it; the shared one serves this namespace as well and cannot.
    let values = [("password", "canary-4711")];
    let sealed = secret(&test.namespace, "db", &values);
    let sealed = seal(&certificate(&other).await?, "strict", &sealed)?;
    let since = jiff::Timestamp::now();
    test.create(&sealed).await?;
    test.has(SOON, "db", &values).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let audit = test.shared.cluster.audit()?.since(since);
    let writes = audit
        .namespace(&test.namespace)
        .writes()
        .resource("sealedsecrets");
    let count = writes.events().len();
    ensure!(
        count < 20,
        "{count} writes of one status within ten seconds"
    );
    Ok(())
}

#[tokio::test]
async fn it_finds_the_cluster_from_its_service_account() -> Result<()> {
    let test = Test::new().await?;
    let cluster = &test.shared.cluster;
    let account = cluster
        .account(&test.namespace, "in-cluster", usual_rights())
        .await?;
    // The path of a service account's files is fixed; a mount namespace gives the process its own.
    let folder = new_folder("service-account")?;
    let config: Value = serde_json::from_slice(&std::fs::read(account.kubeconfig.path())?)?;
    let authority = &config["clusters"][0]["cluster"]["certificate-authority-data"];
    let authority = BASE64_STANDARD.decode(authority.as_str().context("authority")?)?;
    std::fs::write(folder.join("ca.crt"), authority)?;
    let token = &config["users"][0]["user"]["token"];
    std::fs::write(folder.join("token"), token.as_str().context("token")?)?;
    std::fs::write(folder.join("namespace"), &test.namespace)?;
    let (_, port) = account.kubeconfig.url().rsplit_once(':').context("port")?;
    let script = "mount -t tmpfs none /var/run && mkdir -p /var/run/secrets/kubernetes.io && \
                  ln -s \"$0\" /var/run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(&folder)
        .arg(binary("selkie-controller", "selkie-controller")?)
        .args([
            "--key-size=2048",
            "--listen-addr=127.0.0.1:0",
            "--listen-metrics-addr=127.0.0.1:0",
        ])
        .arg("--all-namespaces=false")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", port.trim_end_matches('/'));
    let log = folder.join("controller.log");
    let server = Server::start("selkie-controller in a cluster", command, &log)?;
    // Its own namespace comes from the service account, too.
    let keys = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active");
    eventually(SOON, || async {
        server.check_alive()?;
        let keys = test.secrets().list(&keys).await?.items;
        ensure!(keys.len() == 1, "there are {} keys", keys.len());
        Ok(())
    })
    .await?;
    ensure!(server.terminate(Duration::from_secs(5))?.success());
    Ok(())
}

#[tokio::test]
async fn a_second_replica_stands_by_and_takes_over() -> Result<()> {
    let test = Test::new().await?;
    let settings = Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false");
    let first = settings.start(&test.shared.cluster).await?;
    let second = settings.start_as(first.account()).await?;
    let (one, two) = (
        first.get("/v1/cert.pem").await?.1,
        second.get("/v1/cert.pem").await?.1,
    );
    ensure!(one == two, "the replicas serve different certificates");
    let leads =
        |controller: &Controller| Ok::<_, anyhow::Error>(controller.log()?.contains("leading"));
    ensure!(
        leads(&first)? && !leads(&second)?,
        "not exactly the first one leads"
    );
    ensure!(first.terminate()?.success());
    eventually(Duration::from_secs(6), || async {
        ensure!(leads(&second)?, "the second one does not lead");
        Ok(())
    })
    .await?;
    let sealed = seal(
        &certificate(&second).await?,
        "strict",
        &secret(&test.namespace, "db", &[("password", "canary-4711")]),
    )?;
    test.create(&sealed).await?;
    test.has(SOON, "db", &[("password", "canary-4711")]).await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_comes_later_opens_what_failed() -> Result<()> {
    let test = Test::new().await?;
    let here = Test::new().await?;
    // A broken key Secret is skipped, and does not keep the first key from being made.
    let broken = json!({
        "metadata": { "name": "sealed-secrets-keybroken",
            "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": "active" } },
        "data": { "tls.crt": BASE64_STANDARD.encode("canary-4711"), "tls.key": "" },
    });
    here.secrets()
        .create(&PostParams::default(), &serde_json::from_value(broken)?)
        .await?;
    // Limited to a namespace of its own, which the shared controller must not serve: take its Secrets
    // as ours only by values that the shared one cannot open.
    let controller = Controller::with(&here.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
        .arg("--update-status=false")
        .start(&test.shared.cluster)
        .await?;
    ensure!(
        controller.log()?.contains("sealed-secrets-keybroken"),
        "the broken key is told of"
    );
    let certificate = certificate(&controller).await?;
    let values = [("password", "canary-4711")];
    // Sealed for the other controller: ours cannot open it until it gets that key.
    let sealed = seal(
        &certificate,
        "cluster-wide",
        &secret(&test.namespace, "late", &values),
    )?;
    test.create(&sealed).await?;
    test.refused("late", "no key could decrypt secret (password)")
        .await?;

    let keys = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active");
    let keys = here.secrets().list(&keys).await?;
    let good = keys
        .iter()
        .find(|key| key.type_.as_deref() == Some("kubernetes.io/tls"));
    let mut copy = good.context("the key of the other controller")?.clone();
    copy.metadata = kube::api::ObjectMeta {
        name: Some("brought".to_owned()),
        labels: copy.metadata.labels,
        ..Default::default()
    };
    let home = Api::<Secret>::namespaced(test.client.clone(), &test.shared.home);
    home.create(&PostParams::default(), &copy).await?;
    test.has(SOON, "late", &values).await?;
    test.synced("late", "True").await?;
    // Taken away again: what is open stays open.
    home.delete("brought", &DeleteParams::default()).await?;
    test.refused("late", "no key could decrypt secret (password)")
        .await?;
    test.has(Duration::from_secs(1), "late", &values).await?;
    ensure!(!controller.log()?.contains(CANARY));
    test.nothing_leaked().await
}

#[tokio::test]
async fn the_rights_of_existing_installations_suffice() -> Result<()> {
    let test = Test::new().await?;
    // sealed-secrets.md 10: no patch but of Events, no Leases.
    let rights = vec![
        rule("bitnami.com", &["sealedsecrets"], &["get", "list", "watch"]),
        rule("bitnami.com", &["sealedsecrets/status"], &["update"]),
        rule(
            "",
            &["secrets"],
            &["get", "list", "create", "update", "delete", "watch"],
        ),
        rule("", &["events"], &["create", "patch"]),
        rule("", &["namespaces"], &["get"]),
    ];
    ensure!(rights.len() < usual_rights().len());
    let controller = Controller::with(&test.namespace)
        .rights(rights)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
        .do_not_wait()
        .start(&test.shared.cluster)
        .await?;
    let certificate = eventually(SOON, || certificate(&controller)).await?;
    let values = [("password", "canary-4711")];
    let sealed = seal(
        &certificate,
        "strict",
        &secret(&test.namespace, "db", &values),
    )?;
    test.create(&sealed).await?;
    test.has(SOON, "db", &values).await?;
    let drift = json!({ "data": { "password": BASE64_STANDARD.encode("drifted") } });
    test.merge("db", drift).await?;
    test.has(SOON, "db", &values).await?;
    let audit = test.shared.cluster.audit()?.by(&controller.account().user);
    let refused = audit.only(|event| event.code == 403 && event.resource != "leases");
    let ours = refused.only(|event| !is_external(&event.resource));
    ensure!(ours.is_empty(), "it was refused {:?}", ours.events());
    Ok(())
}

#[tokio::test]
async fn an_old_key_gets_a_successor_and_still_opens() -> Result<()> {
    let test = Test::new().await?;
    let controller = Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
        .arg("--key-renew-period=4s")
        .start(&test.shared.cluster)
        .await?;
    let first = controller.get("/v1/cert.pem").await?.1;
    eventually(SOON, || async {
        ensure!(
            controller.get("/v1/cert.pem").await?.1 != first,
            "the same key seals"
        );
        Ok(())
    })
    .await?;
    let keys = ListParams::default().labels("sealedsecrets.bitnami.com/sealed-secrets-key=active");
    let count = test.secrets().list(&keys).await?.items.len();
    ensure!((2..=8).contains(&count), "there are {count} keys");
    Ok(())
}

impl Test {
    /// Makes a Secret as somebody else would.
    async fn taken_by_others(&self, name: &str) -> Result<()> {
        let theirs = secret(&self.namespace, name, &[("theirs", "theirs")]);
        self.secrets()
            .create(&PostParams::default(), &serde_json::from_value(theirs)?)
            .await?;
        Ok(())
    }
}

fn is_external(resource: &str) -> bool {
    resource.contains("externalsecret") || resource.contains("secretstore")
}

fn sealed_in(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "bitnami.com".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "bitnami.com/v1alpha1".to_owned(),
        kind: "SealedSecret".to_owned(),
        plural: "sealedsecrets".to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn secret(namespace: &str, name: &str, values: &[(&str, &str)]) -> Value {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": serde_json::Map::from_iter(values),
    })
}

/// Seals with the real kubeseal.
fn seal(certificate: &std::path::Path, scope: &str, secret: &Value) -> Result<Value> {
    kubeseal()?
        .arg("--cert")
        .arg(certificate)
        .args(["--scope", scope, "--format", "json"])
        .input(serde_json::to_vec(secret)?)
        .ok()?
        .json()
}

/// Saves the certificate of a controller to a file of its own.
async fn certificate(controller: &Controller) -> Result<PathBuf> {
    let (status, pem) = controller.get("/v1/cert.pem").await?;
    if status != 200 {
        bail!("/v1/cert.pem answers {status}: {pem}");
    }
    let path = new_folder("certificate")?.join("cert.pem");
    std::fs::write(&path, pem)?;
    Ok(path)
}

fn data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

fn expected(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let values = values.iter();
    values
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn told(events: &[Event]) -> String {
    let told = events.iter().map(|event| {
        format!(
            "{} {}: {}",
            event.involved_object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default()
        )
    });
    told.collect::<Vec<_>>().join(" | ")
}

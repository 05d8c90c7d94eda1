//! ExternalSecrets on a real API server, with values from OpenBao and moto (issue 3, Must show 5).
//!
//! One controller serves all tests of this binary; each has a namespace of its own. Every value
//! begins with `canary-`, and no log, event or status may hold one.

mod external_bed;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::wait::{eventually, throughout};
use external_bed::{Bed, SOON, WITHIN_2_S};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// The manifest of many existing repositories, as the issue gives it.
const V1BETA1: &str = "
apiVersion: external-secrets.io/v1beta1
kind: ExternalSecret
metadata:
  name: database
spec:
  refreshInterval: 1h
  secretStoreRef:
    name: vault-backend
    kind: SecretStore
  target:
    name: db-credentials
    creationPolicy: Owner
  data:
    - secretKey: username
      remoteRef:
        key: database/prod
        property: username
    - secretKey: password
      remoteRef:
        key: database/prod
        property: password
";

#[tokio::test]
async fn a_v1beta1_manifest_is_synchronised() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1beta1", "vault-backend").await?;
    bed.put(
        "database/prod",
        &json!({ "username": "canary-app", "password": "canary-pw" }),
    )
    .await?;
    bed.apply(V1BETA1)?;
    bed.synced("database").await?;

    let secret = bed.secret("db-credentials").await?;
    let data = secret.data.context("data")?;
    assert_eq!(data["username"].0, b"canary-app");
    assert_eq!(data["password"].0, b"canary-pw");
    assert_eq!(data.len(), 2);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));

    // The marks of the original (external-secrets.md 7).
    let labels = secret.metadata.labels.context("labels")?;
    assert_eq!(labels["reconcile.external-secrets.io/managed"], "true");
    assert_eq!(labels["reconcile.external-secrets.io/created-by"].len(), 56);
    let annotations = secret.metadata.annotations.context("annotations")?;
    assert_eq!(
        annotations["reconcile.external-secrets.io/data-hash"].len(),
        56
    );
    let owner = &secret.metadata.owner_references.context("owner")?[0];
    assert_eq!(
        (&*owner.kind, &*owner.name, owner.controller),
        ("ExternalSecret", "database", Some(true))
    );
    let manager = &secret.metadata.managed_fields.context("managed fields")?[0];
    assert_eq!(
        manager.manager.as_deref(),
        Some("externalsecrets.external-secrets.io/database")
    );

    let status = bed.status("database").await?;
    assert!(status.refresh_time.is_some());
    assert_eq!(status.binding.context("binding")?.name, "db-credentials");
    // v1 reads what was written as v1beta1, and the API server's defaults are there.
    let stored = bed.external("database").await?;
    assert_eq!(
        stored.spec.target.deletion_policy.as_deref(),
        Some("Retain")
    );
    let store = bed.store_condition("vault-backend").await?;
    assert_eq!((&*store.0, &*store.1), ("True", "Valid"));
    bed.no_canary().await
}

#[tokio::test]
async fn values_of_both_backends_arrive_and_follow() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.aws_store("aws", "").await?;
    let name = format!("{}/app", bed.namespace);
    bed.put("app", &json!({ "user": "canary-one", "nested": { "list": ["canary-a", "canary-b"] }, "port": 5432 })).await?;
    bed.moto
        .create_secret(&name, r#"{"key":"canary-aws","a.b":"canary-dot","n":1.50}"#)
        .await?;
    let path = bed.path("app");
    bed.apply(&format!(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: both, labels: {{team: a}}}}
spec:
  refreshInterval: 2s
  secretStoreRef: {{name: vault}}
  target: {{template: {{type: example.com/both, metadata: {{labels: {{l: x}}, annotations: {{a: 'y'}}}}}}}}
  dataFrom:
    - extract: {{key: {path}}}
    - extract: {{key: {name}}}
      sourceRef: {{storeRef: {{name: aws}}}}
  data:
    - {{secretKey: second, remoteRef: {{key: {path}, property: nested.list.1}}}}
    - {{secretKey: count, remoteRef: {{key: {path}, property: 'nested.list.#'}}}}
    - {{secretKey: aws, remoteRef: {{key: {name}, property: a.b}}, sourceRef: {{storeRef: {{name: aws, kind: SecretStore}}}}}}
"
    ))?;
    bed.synced("both").await?;
    let secret = bed.secret("both").await?;
    let data = secret.data.context("data")?;
    let text = |key: &str| String::from_utf8_lossy(&data[key].0).into_owned();
    assert_eq!(text("user"), "canary-one");
    assert_eq!(text("port"), "5432");
    assert_eq!(text("nested"), r#"{"list":["canary-a","canary-b"]}"#);
    assert_eq!(text("second"), "canary-b");
    assert_eq!(text("count"), "2");
    assert_eq!(text("key"), "canary-aws");
    assert_eq!(text("n"), "1.50");
    assert_eq!(text("aws"), "canary-dot");
    assert_eq!(secret.type_.as_deref(), Some("example.com/both"));
    assert_eq!(secret.metadata.labels.context("labels")?["l"], "x");
    assert_eq!(
        secret.metadata.annotations.context("annotations")?["a"],
        "y"
    );

    bed.put(
        "app",
        &json!({ "user": "canary-two", "nested": { "list": ["canary-a", "canary-c"] } }),
    )
    .await?;
    bed.moto
        .put_secret_value(&name, r#"{"a.b":"canary-new"}"#)
        .await?;
    eventually(SOON, || async {
        let data = bed.secret("both").await?.data.context("data")?;
        ensure!(
            data["user"].0 == b"canary-two" && data["aws"].0 == b"canary-new",
            "old values"
        );
        ensure!(
            !data.contains_key("port") && !data.contains_key("key"),
            "old keys"
        );
        Ok(())
    })
    .await?;
    bed.no_canary().await
}

#[tokio::test]
async fn drift_is_repaired_within_two_seconds() -> Result<()> {
    let bed = Bed::new().await?;
    // A server of its own, whose logins are this test's.
    let bao = OpenBao::start().await?;
    bao.kv_put(&bed.path("drift"), &json!({ "k": "canary-drift" }))
        .await?;
    bed.vault_store_with("v1", "vault", &bao.url(), ROOT_TOKEN)
        .await?;
    bed.simple("drift", "drift", "1h")?;
    bed.synced("drift").await?;
    eventually(SOON, || async {
        let (status, _, _) = bed.store_condition("vault").await?;
        ensure!(status == "True", "{status}");
        Ok(())
    })
    .await?;
    let logins = bao.logins()?;
    ensure!(logins > 0, "the validation of the store counts as one");
    let secrets = bed.secrets().await?;
    let params = PatchParams::default();
    let in_order = || async {
        let secret = bed.secret("drift").await?;
        let data = secret.data.context("data")?;
        ensure!(
            data.len() == 1 && data["k"].0 == b"canary-drift",
            "data: {:?}",
            data.keys()
        );
        ensure!(
            secret.type_.as_deref() == Some("Opaque"),
            "type: {:?}",
            secret.type_
        );
        let owners = secret.metadata.owner_references.unwrap_or_default();
        ensure!(
            owners.len() == 1 && owners[0].name == "drift",
            "owners: {owners:?}"
        );
        Ok(())
    };

    // Data, and the hash with it.
    let data = json!({ "data": { "k": "eA==", "more": "eA==" } });
    secrets
        .patch("drift", &params, &Patch::Merge(&data))
        .await?;
    eventually(WITHIN_2_S, in_order).await.context("data")?;
    let hash = json!({ "data": { "k": "eA==" }, "metadata": { "annotations": {
        "reconcile.external-secrets.io/data-hash": "0".repeat(56) } } });
    secrets
        .patch("drift", &params, &Patch::Merge(&hash))
        .await?;
    eventually(WITHIN_2_S, in_order)
        .await
        .context("data and hash")?;
    // Owner.
    let owner = json!({ "metadata": { "ownerReferences": [] } });
    secrets
        .patch("drift", &params, &Patch::Merge(&owner))
        .await?;
    eventually(WITHIN_2_S, in_order).await.context("owner")?;
    // Existence.
    secrets.delete("drift", &DeleteParams::default()).await?;
    eventually(WITHIN_2_S, in_order).await.context("deleted")?;
    // Type: the API server allows it only as a new object, as `kubectl replace --force` makes one.
    let mut other = bed.secret("drift").await?;
    other.type_ = Some("example.com/other".to_owned());
    other.metadata.uid = None;
    other.metadata.resource_version = None;
    other.metadata.managed_fields = None;
    // The controller would be faster than the second request.
    bed.controller.server().freeze()?;
    secrets.delete("drift", &DeleteParams::default()).await?;
    let made = secrets.create(&PostParams::default(), &other).await;
    bed.controller.server().thaw()?;
    made?;
    eventually(WITHIN_2_S, in_order).await.context("type")?;

    // What others add stays, through a repair as well.
    let foreign =
        json!({ "metadata": { "labels": { "theirs": "l" }, "annotations": { "theirs": "a" } } });
    secrets
        .patch("drift", &params, &Patch::Merge(&foreign))
        .await?;
    secrets
        .patch("drift", &params, &Patch::Merge(&data))
        .await?;
    eventually(WITHIN_2_S, in_order).await?;
    let metadata = bed.secret("drift").await?.metadata;
    assert_eq!(metadata.labels.context("labels")?["theirs"], "l");
    assert_eq!(metadata.annotations.context("annotations")?["theirs"], "a");
    // All of it without asking Vault who we are.
    assert_eq!(bao.logins()?, logins, "logins");
    bed.no_canary().await
}

#[tokio::test]
async fn the_secret_goes_with_its_owner() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("gc", &json!({ "k": "canary-gc" })).await?;
    bed.simple("gc", "gc", "1h")?;
    bed.synced("gc").await?;
    let externals = bed.externals().await?;
    // As the original leaves it behind.
    let finalizer = json!({ "metadata": { "finalizers": ["externalsecrets.external-secrets.io/externalsecret-cleanup"] } });
    externals
        .patch("gc", &PatchParams::default(), &Patch::Merge(&finalizer))
        .await?;
    externals.delete("gc", &DeleteParams::default()).await?;
    eventually(Duration::from_secs(60), || async {
        ensure!(
            externals.get_opt("gc").await?.is_none(),
            "the ExternalSecret is still there"
        );
        ensure!(
            bed.secrets().await?.get_opt("gc").await?.is_none(),
            "the Secret is still there"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_secret_has_one_owner() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.put("b", &json!({ "k": "canary-b" })).await?;
    bed.simple("first", "a", "2s")?;
    bed.synced("first").await?;
    let before = bed.secret("first").await?.metadata.resource_version;
    bed.apply(&format!(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: second}}
spec:
  refreshInterval: 2s
  secretStoreRef: {{name: vault}}
  target: {{name: first}}
  dataFrom: [{{extract: {{key: {}}}}}]
",
        bed.path("b")
    ))?;
    bed.not_ready("second", "target is owned by another ExternalSecret: first")
        .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bed.secret("first").await?.metadata.resource_version, before);

    // A Secret that something else controls is left alone, too.
    let owned: Secret = serde_json::from_value(json!({
        "metadata": { "name": "theirs", "ownerReferences": [{ "apiVersion": "example.com/v1", "kind": "Thing",
            "name": "t", "uid": "0a0a0a0a-0000-0000-0000-000000000000", "controller": true }] },
    }))?;
    // The garbage collector would remove it soon: its owner does not exist. A finalizer keeps it.
    let mut owned = owned;
    owned.metadata.finalizers = Some(vec!["example.com/keep".to_owned()]);
    bed.secrets()
        .await?
        .create(&PostParams::default(), &owned)
        .await?;
    bed.simple("theirs", "a", "2s")?;
    bed.not_ready(
        "theirs",
        "failed to take ownership of target secret: it is controlled by Thing t",
    )
    .await?;
    ensure!(
        bed.secret("theirs").await?.data.is_none(),
        "the Secret was written"
    );
    let free = json!({ "metadata": { "finalizers": null } });
    bed.secrets()
        .await?
        .patch("theirs", &PatchParams::default(), &Patch::Merge(&free))
        .await?;

    // When the first one goes, the second one takes over by itself.
    bed.externals()
        .await?
        .delete("first", &DeleteParams::default())
        .await?;
    bed.synced_within("second", Duration::from_secs(60)).await?;
    assert_eq!(
        bed.secret("first").await?.data.context("data")?["k"].0,
        b"canary-b"
    );
    bed.no_canary().await
}

#[tokio::test]
async fn a_renamed_target_leaves_nothing_behind() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.simple("es", "a", "1h")?;
    bed.synced("es").await?;
    let rename = json!({ "spec": { "target": { "name": "renamed" } } });
    bed.externals()
        .await?
        .patch("es", &PatchParams::default(), &Patch::Merge(&rename))
        .await?;
    eventually(SOON, || async {
        bed.secret("renamed").await?;
        ensure!(
            bed.secrets().await?.get_opt("es").await?.is_none(),
            "the old Secret is still there"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_not_carried_out_is_refused_by_name() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.simple("es", "a", "1h")?;
    bed.synced("es").await?;
    let before = bed.secret("es").await?.metadata.resource_version;
    let externals = bed.externals().await?;
    let original = externals.get("es").await?.spec;
    for (change, field) in [
        (
            json!({ "dataFrom": [{ "find": { "path": "x" } }] }),
            "spec.dataFrom[0].find",
        ),
        (
            json!({ "dataFrom": [{ "sourceRef": { "generatorRef": { "kind": "UUID", "name": "x" } } }] }),
            "spec.dataFrom[0].sourceRef.generatorRef",
        ),
        (
            json!({ "target": { "template": { "data": { "k": "{{ .k }}" } } } }),
            "spec.target.template.data",
        ),
        (
            json!({ "target": { "creationPolicy": "Merge" } }),
            "spec.target.creationPolicy",
        ),
        (
            json!({ "target": { "deletionPolicy": "Delete" } }),
            "spec.target.deletionPolicy",
        ),
        (
            json!({ "syncWindows": { "kind": "allow", "windows": [] } }),
            "spec.syncWindows",
        ),
    ] {
        externals
            .patch(
                "es",
                &PatchParams::default(),
                &Patch::Merge(&json!({ "spec": change })),
            )
            .await?;
        bed.not_ready("es", field).await.context(field)?;
        let mut whole = externals.get("es").await?;
        whole.spec = original.clone();
        whole.metadata.managed_fields = None;
        externals
            .replace("es", &PostParams::default(), &whole)
            .await?;
        bed.synced("es").await.context(field)?;
    }
    assert_eq!(bed.secret("es").await?.metadata.resource_version, before);

    bed.apply(
        "
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: gcp}
spec: {provider: {gcpsm: {projectID: p}}}
",
    )?;
    eventually(SOON, || async {
        let (status, reason, message) = bed.store_condition("gcp").await?;
        ensure!(
            status == "False" && reason == "InvalidProviderConfig",
            "{status} {reason}"
        );
        ensure!(message.contains("spec.provider.gcpsm"), "{message}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn errors_of_the_backends_are_told() -> Result<()> {
    let bed = Bed::new().await?;
    bed.bao
        .policy(
            &bed.namespace,
            "path \"secret/data/allowed/*\" { capabilities = [\"read\"] }\n",
        )
        .await?;
    let token = bed.bao.token(&[&bed.namespace]).await?;
    bed.vault_store_with("v1", "vault", &bed.bao.url(), &token)
        .await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.simple("forbidden", "a", "1h")?;
    bed.not_ready(
        "forbidden",
        &format!(
            "Vault at {} answered 403 for secret/data/{}",
            bed.bao.url(),
            bed.path("a")
        ),
    )
    .await?;

    bed.vault_store("v1", "vault").await?;
    bed.synced("forbidden")
        .await
        .context("a new token helps at once")?;
    bed.simple("missing", "nothing-here", "1h")?;
    bed.not_ready("missing", "answered 404").await?;
    ensure!(
        bed.secrets().await?.get_opt("missing").await?.is_none(),
        "a Secret was made"
    );

    // Nothing is mounted there: that says nothing about the secret.
    let elsewhere = bed.vault_manifest("v1", "elsewhere", &bed.bao.url());
    bed.token("elsewhere-token", ROOT_TOKEN)?;
    bed.apply(&elsewhere.replace("path: secret", "path: no-such-mount"))?;
    bed.simple_from("elsewhere", "elsewhere", "a", "1h")?;
    bed.not_ready("elsewhere", "check the store's path").await?;

    bed.property("property", "a", "absent")?;
    bed.not_ready("property", r#"has no property "absent""#)
        .await?;
    bed.property("wildcard", "a", "a.*")?;
    bed.not_ready("wildcard", "a wildcard").await?;

    bed.aws_store("aws", "").await?;
    bed.apply(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: aws}
spec:
  secretStoreRef: {name: aws}
  data: [{secretKey: k, remoteRef: {key: no/such/secret}}]
",
    )?;
    bed.not_ready("aws", "ResourceNotFoundException").await?;
    // The position comes first.
    bed.not_ready(
        "aws",
        "could not get secret data from provider: spec.data[0] (key: no/such/secret): AWS",
    )
    .await?;
    let events = bed.events().await?;
    ensure!(
        events
            .iter()
            .any(|event| event.contains("UpdateFailed")
                && event.contains("ResourceNotFoundException")),
        "{events:?}"
    );
    bed.no_canary().await
}

#[tokio::test]
async fn a_store_or_credential_that_appears_is_used_at_once() -> Result<()> {
    let bed = Bed::new().await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.simple("es", "a", "1h")?;
    bed.not_ready(
        "es",
        &format!(
            "SecretStore \"vault\" does not exist in namespace {:?}",
            bed.namespace
        ),
    )
    .await?;
    // The store comes, its token does not yet.
    bed.store(&bed.vault_manifest("v1", "vault", &bed.bao.url()))?;
    bed.not_ready(
        "es",
        &format!("Secret {}/vault-token does not exist", bed.namespace),
    )
    .await?;
    let (status, reason, _) = eventually(SOON, || bed.store_condition("vault")).await?;
    assert_eq!((&*status, &*reason), ("False", "InvalidProviderConfig"));
    bed.token("vault-token", ROOT_TOKEN)?;
    bed.synced_within("es", Duration::from_secs(3)).await?;
    eventually(SOON, || async {
        let (status, reason, _) = bed.store_condition("vault").await?;
        ensure!(status == "True" && reason == "Valid", "{status} {reason}");
        Ok(())
    })
    .await?;
    bed.no_canary().await
}

#[tokio::test]
async fn cluster_stores_keep_namespaces_apart() -> Result<()> {
    let bed = Bed::new().await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.token("vault-token", ROOT_TOKEN)?;
    let cluster_store = |name: &str, selector: &str, conditions: &str| {
        format!(
            "
apiVersion: external-secrets.io/v1
kind: ClusterSecretStore
metadata: {{name: {name}}}
spec:
  provider: {{vault: {{server: '{}', path: secret, auth: {{tokenSecretRef: {selector}}}}}}}
  conditions: {conditions}
",
            bed.bao.url()
        )
    };
    let use_of = |name: &str| {
        format!(
            "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  secretStoreRef: {{name: {name}, kind: ClusterSecretStore}}
  dataFrom: [{{extract: {{key: {}}}}}]
",
            bed.path("a")
        )
    };
    // The credential of whoever uses it; nobody can tell whether that works.
    let referent = format!("{}-referent", bed.namespace);
    bed.apply(&cluster_store(
        &referent,
        "{name: vault-token, key: token}",
        "[]",
    ))?;
    bed.apply(&use_of(&referent))?;
    bed.synced(&referent).await?;
    eventually(SOON, || async {
        let (status, reason, _) = bed.cluster_store_condition(&referent).await?;
        ensure!(
            status == "True" && reason == "ValidationUnknown",
            "{status} {reason}"
        );
        Ok(())
    })
    .await?;

    let shared = format!("{}-shared", bed.namespace);
    let selector = format!(
        "{{name: vault-token, key: token, namespace: {}}}",
        bed.namespace
    );
    bed.apply(&cluster_store(
        &shared,
        &selector,
        "[{namespaces: [elsewhere]}, {namespaceRegexes: ['^nobody$']}]",
    ))?;
    bed.apply(&use_of(&shared))?;
    bed.not_ready(&shared, "is not allowed from namespace")
        .await?;
    bed.apply(&cluster_store(
        &shared,
        &selector,
        &format!(
            "[{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}}}]",
            bed.namespace
        ),
    ))?;
    bed.synced(&shared).await?;

    // A SecretStore may not reach into another namespace, even where the Secret exists.
    let other = bed.other_namespace().await?;
    bed.apply(&format!(
        "
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: thief, namespace: {other}}}
spec:
  provider: {{vault: {{server: '{}', path: secret, auth: {{tokenSecretRef: {selector}}}}}}}
",
        bed.bao.url()
    ))?;
    let thief = || async {
        let stores = Api::<selkie_api::SecretStore>::namespaced(bed.client().await?, &other);
        let status = stores.get("thief").await?.status.context("no status")?;
        let message = status
            .conditions
            .first()
            .and_then(|ready| ready.message.clone())
            .unwrap_or_default();
        ensure!(
            message.contains("the namespace should either be empty or match"),
            "{message}"
        );
        Ok(())
    };
    eventually(SOON, thief).await?;
    bed.no_canary().await
}

#[tokio::test]
async fn an_outage_changes_nothing_and_ends_by_itself() -> Result<()> {
    let bed = Bed::new().await?;
    let mut bao = OpenBao::start().await?;
    bao.kv_put("o", &json!({ "k": "canary-o" })).await?;
    bed.vault_store_with("v1", "vault", &bao.url(), ROOT_TOKEN)
        .await?;
    for name in ["one", "two"] {
        bed.apply(&format!(
            "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  refreshInterval: 2s
  secretStoreRef: {{name: vault}}
  dataFrom: [{{extract: {{key: o}}}}]
"
        ))?;
        bed.synced(name).await?;
    }
    let before = bed.secret("one").await?.metadata.resource_version;

    // Down.
    bao.stop()?;
    for name in ["one", "two"] {
        bed.not_ready(name, &format!("Vault at {} cannot be reached: ", bao.url()))
            .await?;
    }
    eventually(SOON, || async {
        let (status, _, message) = bed.store_condition("vault").await?;
        ensure!(
            status == "False" && message.contains("cannot be reached"),
            "{status} {message}"
        );
        Ok(())
    })
    .await?;
    let version =
        || async { Ok::<_, anyhow::Error>(bed.external("one").await?.metadata.resource_version) };
    let told = version().await?;
    // `SELKIE_FULL=1` makes it the minute that the issue names.
    let full = compat::counts::everything();
    let outage = Duration::from_secs(if full { 60 } else { 12 });
    throughout(outage, || async {
        let secret = bed.secret("one").await?;
        ensure!(
            secret.metadata.resource_version == before,
            "the Secret changed"
        );
        ensure!(
            version().await? == told,
            "the status was written again, with no news"
        );
        Ok(())
    })
    .await?;
    bao.start_again().await?;
    for name in ["one", "two"] {
        bed.synced_within(name, Duration::from_secs(8))
            .await
            .context("recovery")?;
    }
    eventually(SOON, || async {
        let (status, _, _) = bed.store_condition("vault").await?;
        ensure!(status == "True", "{status}");
        Ok(())
    })
    .await?;

    // Sealed: it answers, with 503.
    bao.seal().await?;
    bed.not_ready("one", &format!("Vault at {} answered 503", bao.url()))
        .await?;
    bao.unseal().await?;
    bed.synced_within("one", Duration::from_secs(8))
        .await
        .context("unsealed")?;
    assert_eq!(bed.secret("one").await?.metadata.resource_version, before);
    bed.no_canary().await
}

#[tokio::test]
async fn wrong_aws_credentials_are_named() -> Result<()> {
    use compat::moto::{Moto, REGION};
    use selkie_cloud::aws::{
        AccessKey, SecretVersion, SecretsManager, SecretsManagerConfig, SecretsManagerError,
    };
    use selkie_secret::SecretString;

    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*" },
    ] });
    let (moto, right) = Moto::start_checking(&policy).await?;
    let config = SecretsManagerConfig {
        region: REGION.to_owned(),
        endpoint: Some(moto.url()),
        timeout: Duration::from_secs(10),
        attempts: Some((1, Duration::ZERO)),
    };
    let ask = |id: &str, secret: &str| {
        let key = AccessKey {
            id: SecretString::new(id.to_owned()),
            secret: SecretString::new(secret.to_owned()),
            session_token: None,
        };
        SecretsManager::new(&config, &key)
    };
    let version = SecretVersion::parse(None);
    let wrong = ask(&right.id, "canary-wrong")
        .get("db", &version)
        .await
        .unwrap_err();
    ensure!(
        matches!(wrong, SecretsManagerError::Denied { .. }),
        "{wrong}"
    );
    ensure!(!wrong.to_string().contains("canary"), "{wrong}");
    let unknown = ask("AKIAUNKNOWN", "canary-wrong")
        .get("db", &version)
        .await
        .unwrap_err();
    ensure!(
        matches!(unknown, SecretsManagerError::Denied { .. }),
        "{unknown}"
    );
    let missing = ask(&right.id, &right.secret)
        .get("db", &version)
        .await
        .unwrap_err();
    ensure!(
        matches!(missing, SecretsManagerError::NotFound { .. }),
        "{missing}"
    );
    Ok(())
}

//! What the controller leaves alone: no write and no needless read while nothing changes (issue 3,
//! Must show 6), and no write when it takes Secrets over from the original.
//!
//! Each test has a cluster of its own, so that every request in the audit log counts.

mod external_bed;

use std::time::Duration;

use anyhow::{Result, ensure};
use compat::cluster::Cluster;
use compat::openbao::{OpenBao, ROOT_TOKEN};
use external_bed::Bed;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use selkie_api::ExternalSecret;
use serde_json::json;

#[tokio::test]
async fn three_intervals_without_news_cost_one_read_each() -> Result<()> {
    let bed = Bed::alone(async |_, _| Ok(())).await?;
    bed.vault_store("v1", "vault").await?;
    bed.aws_store("aws", "").await?;
    bed.put("shared", &json!({ "a": "canary-a", "b": "canary-b" }))
        .await?;
    bed.put("other", &json!({ "k": "canary-k" })).await?;
    bed.moto
        .create_secret("db", r#"{"k":"canary-aws"}"#)
        .await?;
    // Four ExternalSecrets over three paths; `shared` is read by three of them, one twice.
    for name in ["one", "two"] {
        bed.simple(name, "shared", "5s")?;
    }
    let shared = bed.path("shared");
    bed.apply(&format!(
        "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: three}}
spec:
  refreshInterval: 5s
  secretStoreRef: {{name: vault}}
  data:
    - {{secretKey: a, remoteRef: {{key: {shared}, property: a}}}}
    - {{secretKey: b, remoteRef: {{key: {shared}, property: b}}}}
    - {{secretKey: k, remoteRef: {{key: {}, property: k}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: four}}
spec:
  refreshInterval: 5s
  secretStoreRef: {{name: aws}}
  data: [{{secretKey: k, remoteRef: {{key: db, property: k}}}}]
",
        bed.path("other")
    ))?;
    for name in ["one", "two", "three", "four"] {
        bed.synced(name).await?;
    }
    // Let the first round and its events end.
    tokio::time::sleep(Duration::from_secs(7)).await;

    let (shared, other) = (bed.path("shared"), bed.path("other"));
    let (reads, other_reads) = (bed.bao.reads(&shared)?, bed.bao.reads(&other)?);
    let (logins, requests) = (bed.bao.logins()?, bed.bao.requests()?.len());
    bed.moto.record().await?;
    let began = Timestamp::now();
    tokio::time::sleep(Duration::from_secs(15)).await;
    let ended = Timestamp::now();

    // Three intervals in 15 s, whatever the moment at which the 15 s begin.
    assert_eq!(bed.bao.reads(&shared)? - reads, 3, "reads of {shared}");
    assert_eq!(bed.bao.reads(&other)? - other_reads, 3, "reads of {other}");
    assert_eq!(bed.moto.reads("db").await?, 3, "reads of db");
    assert_eq!(bed.bao.logins()?, logins, "logins");
    assert_eq!(
        bed.bao.requests()?.len() - requests,
        6,
        "requests to OpenBao"
    );
    // The API server writes its log a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let user = &bed.controller.account().user;
    let mine = bed.cluster.audit()?.by(user).since(began);
    let mine = mine.only(|event| event.at <= ended && event.resource != "leases");
    let writes = mine.clone().writes();
    ensure!(
        writes.is_empty(),
        "the controller wrote: {:?}",
        writes.events()
    );
    // Nor does it read: it has its watches.
    let reads = mine.only(|event| event.verb != "watch");
    ensure!(
        reads.is_empty(),
        "the controller read: {:?}",
        reads.events()
    );
    bed.no_canary().await
}

/// The state that the original leaves: marks, hashes and status as it writes them.
#[tokio::test]
async fn secrets_of_the_original_are_taken_over_without_a_write() -> Result<()> {
    let bed = Bed::alone(async |cluster: &Cluster, bao: &OpenBao| {
        let client = cluster.client().await?;
        let url = bao.url();
        bao.kv_put("db", &json!({ "password": "s3cr3t", "username": "admin" })).await?;
        cluster.apply("default", &format!("
apiVersion: v1
kind: Secret
metadata: {{name: vault-token}}
stringData: {{token: {ROOT_TOKEN}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: vault}}
spec: {{provider: {{vault: {{server: '{url}', path: secret, version: v2, auth: {{tokenSecretRef: {{name: vault-token, key: token}}}}}}}}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: my-es
  finalizers: [externalsecrets.external-secrets.io/externalsecret-cleanup]
spec:
  refreshInterval: 3s
  secretStoreRef: {{name: vault}}
  dataFrom: [{{extract: {{key: db}}}}]
"))?;
        let externals = Api::<ExternalSecret>::namespaced(client.clone(), "default");
        let es = externals.get("my-es").await?;
        let annotations = es.metadata.annotations.clone().unwrap_or_default();
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": "my-es",
                "labels": {
                    "reconcile.external-secrets.io/managed": "true",
                    // SHA3-224 of default/my-es (external-secrets.md 7.2).
                    "reconcile.external-secrets.io/created-by": "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4",
                },
                "annotations": {
                    // Of password=s3cr3t, username=admin (7.1).
                    "reconcile.external-secrets.io/data-hash": "4dc87f1bc1b42f99971f11cd8a752c3c1babc6486c0744d841d68c6a",
                    "kubectl.kubernetes.io/last-applied-configuration": annotations["kubectl.kubernetes.io/last-applied-configuration"],
                },
                "ownerReferences": [{
                    "apiVersion": "external-secrets.io/v1beta1", "kind": "ExternalSecret", "name": "my-es",
                    "uid": es.metadata.uid, "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "stringData": { "password": "s3cr3t", "username": "admin" },
        }))?;
        let manager = PostParams {
            field_manager: Some("externalsecrets.external-secrets.io/my-es".to_owned()),
            ..PostParams::default()
        };
        Api::<Secret>::namespaced(client, "default").create(&manager, &secret).await?;
        let version = synced_version(&es)?;
        let status = json!({ "status": {
            "refreshTime": "2026-11-01T00:00:00Z",
            "syncedResourceVersion": version,
            "binding": { "name": "my-es" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
                "lastTransitionTime": "2026-11-01T00:00:00Z" }],
        } });
        externals.patch_status("my-es", &PatchParams::default(), &Patch::Merge(&status)).await?;
        Ok(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    ensure!(
        bed.bao.reads("db")? >= 2,
        "the controller serves it: {} reads",
        bed.bao.reads("db")?
    );
    let user = &bed.controller.account().user;
    let writes = bed.cluster.audit()?.by(user).writes();
    let writes = writes.only(|event| {
        event.resource == "secrets" && event.name == "my-es" || event.resource == "externalsecrets"
    });
    ensure!(
        writes.is_empty(),
        "the controller wrote: {:?}",
        writes.events()
    );
    Ok(())
}

/// The version that the original writes (external-secrets.md 7.3), with SHA3-224 from the system's
/// Python: not from the code under test.
fn synced_version(es: &ExternalSecret) -> Result<String> {
    let map = |entries: &Option<std::collections::BTreeMap<String, String>>| {
        let entries: Vec<String> = entries
            .iter()
            .flatten()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        format!("map[{}]", entries.join(" "))
    };
    let text = format!(
        "{{annotations:{} labels:{}}}",
        map(&es.metadata.annotations),
        map(&es.metadata.labels)
    );
    let script = "import hashlib, sys; print(hashlib.sha3_224(sys.argv[1].encode()).hexdigest())";
    let output = std::process::Command::new("python3")
        .args(["-c", script, &text])
        .output()?;
    let hash = String::from_utf8(output.stdout)?;
    Ok(format!(
        "{}-{}",
        es.metadata.generation.unwrap_or_default(),
        hash.trim()
    ))
}

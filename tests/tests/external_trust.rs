//! What may not be trusted, or relied on: words of admission plugins, a store that hangs, a status that
//! does not land, resources of others.
//!
//! One controller serves all tests of this binary; each has a namespace of its own. Every value
//! begins with `canary-`.

mod external_bed;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "sealed/harness.rs"]
mod sealed;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::wait::{eventually, throughout};
use external_bed::{Bed, SOON};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

/// A policy that refuses objects of one name in the test's namespace; `message` is a CEL expression.
fn policy(bed: &Bed, rule: &str, condition: &str, message: &str) -> String {
    let namespace = &bed.namespace;
    format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {namespace}.example.com}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    resourceRules: [{rule}]
  matchConditions: [{{name: those, expression: \"{condition}\"}}]
  validations: [{{expression: 'false', messageExpression: \"{message}\"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {namespace}}}
spec: {{policyName: {namespace}.example.com, validationActions: [Deny]}}
"
    )
}

fn remove_policy(bed: &Bed) -> Result<()> {
    let names = [
        "delete".to_owned(),
        format!("validatingadmissionpolicybinding/{}", bed.namespace),
        format!("validatingadmissionpolicy/{}.example.com", bed.namespace),
    ];
    bed.cluster.kubectl().args(names).ok()?;
    Ok(())
}

/// A policy's message can hold the object that it refuses: whoever may write policies would read the
/// values in status, events and log.
#[tokio::test]
async fn the_words_of_an_admission_policy_are_not_repeated() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("leak", &json!({ "k": "canary-policy" })).await?;
    let name = "object.metadata.name in ['leak', 'sealed-leak', 'probe']";
    let rule =
        "{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}";
    bed.apply(&policy(
        &bed,
        rule,
        name,
        "'refused: ' + string(object.data.k)",
    ))?;
    // It works only a little later; and it does show the value.
    let probe = sealed::secret(&bed.namespace, "probe", &[("k", "canary-probe")]);
    let secrets = bed.secrets().await?;
    eventually(SOON, || async {
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let refused = secrets
            .create(&params, &serde_json::from_value(probe.clone())?)
            .await;
        let error = refused.err().context("the policy does not work yet")?;
        ensure!(
            error.to_string().contains("refused: Y2FuYXJ5LXByb2Jl"),
            "{error}"
        );
        Ok(())
    })
    .await?;

    bed.simple("leak", "leak", "1h")?;
    let plugin = format!(
        "ValidatingAdmissionPolicy \"{}.example.com\" denied the request",
        bed.namespace
    );
    bed.not_ready("leak", &plugin).await?;
    bed.no_canary().await?;

    // The same for a SealedSecret, which the same controller serves.
    let certificate = sealed::certificate(&bed.controller).await?;
    let secret = sealed::secret(&bed.namespace, "sealed-leak", &[("k", "canary-sealed")]);
    let object = sealed::seal(&certificate, "strict", &secret)?;
    let api = sealed::sealed_in(&bed.client().await?, &bed.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    eventually(SOON, || async {
        let status = api.get("sealed-leak").await?.data["status"].to_string();
        let status = status.replace("\\\"", "\"");
        ensure!(status.contains(&plugin), "{status}");
        ensure!(
            !status.contains("canary-") && !status.contains("Y2FuYXJ5"),
            "a value in the status: {status}"
        );
        Ok(())
    })
    .await?;
    bed.no_canary().await?;
    remove_policy(&bed)
}

/// One backend that hangs must not hold every worker, and its users are told.
#[tokio::test]
async fn one_slow_store_leaves_workers_for_the_others() -> Result<()> {
    let bed = Bed::new().await?;
    let slow = OpenBao::start().await?;
    slow.kv_put("s", &json!({ "k": "canary-slow" })).await?;
    bed.token("slow-token", ROOT_TOKEN)?;
    let store = bed.vault_manifest("v1", "slow", &slow.url());
    bed.apply(&format!(
        "{store}  retrySettings: {{maxRetries: 10, retryInterval: 10s}}\n"
    ))?;
    bed.vault_store("v1", "vault").await?;
    bed.put("fast", &json!({ "k": "canary-fast" })).await?;
    let manifests = (0..30).map(|n| {
        format!(
            "
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: slow-{n}}}
spec:
  refreshInterval: 1h
  secretStoreRef: {{name: slow}}
  dataFrom: [{{extract: {{key: s}}}}]
"
        )
    });
    bed.apply(&manifests.collect::<String>())?;
    for n in 0..30 {
        bed.synced(&format!("slow-{n}")).await?;
    }
    // Sealed, it answers 503 each time that it is asked again: a pass would take 100 s.
    slow.seal().await?;
    bed.cluster
        .kubectl()
        .args([
            "annotate",
            "externalsecrets",
            "--all",
            "force-sync=1",
            "-n",
            &bed.namespace,
        ])
        .ok()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bed.simple("fast", "fast", "1h")?;
    let fast = bed.synced_within("fast", Duration::from_secs(6)).await;
    let told = eventually(Duration::from_secs(50), || async {
        let list = bed.externals().await?.list(&ListParams::default()).await?;
        let told: Vec<String> = list
            .into_iter()
            .filter_map(|object| object.status?.conditions.into_iter().next()?.message)
            .collect();
        ensure!(
            told.iter()
                .any(|message| message.contains("did not give all values within 30 s")),
            "{told:?}"
        );
        Ok(())
    })
    .await;
    slow.unseal().await?;
    fast.context("the fast one waits for the slow store")?;
    told?;
    for n in 0..30 {
        bed.synced_within(&format!("slow-{n}"), Duration::from_secs(90))
            .await?;
    }
    bed.no_canary().await
}

/// Neither status nor finalizer of an ExternalSecret is touched whose store is another controller's.
#[tokio::test]
async fn resources_of_another_class_are_left_alone() -> Result<()> {
    let bed = Bed::new().await?;
    // Together, so that the watch of ExternalSecrets may be ahead of that of stores; `odd` asks for
    // something that is refused.
    let store = bed.vault_manifest("v1", "theirs", &bed.bao.url());
    bed.apply(&format!(
        "{store}  controller: another
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: plain, finalizers: [{FINALIZER}]}}
spec:
  secretStoreRef: {{name: theirs}}
  dataFrom: [{{extract: {{key: a}}}}]
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: odd}}
spec:
  secretStoreRef: {{name: theirs}}
  target: {{creationPolicy: Merge}}
  dataFrom: [{{extract: {{key: a}}}}]
"
    ))?;
    let externals = bed.externals().await?;
    throughout(Duration::from_secs(3), || async {
        for name in ["plain", "odd"] {
            let status = externals.get(name).await?.status;
            ensure!(status.is_none(), "{name} has a status: {status:?}");
        }
        Ok(())
    })
    .await?;
    externals.delete("plain", &DeleteParams::default()).await?;
    throughout(Duration::from_secs(3), || async {
        let kept = externals.get_opt("plain").await?;
        let kept = kept.context("the finalizer of others was removed")?;
        ensure!(kept.metadata.finalizers == Some(vec![FINALIZER.to_owned()]));
        Ok(())
    })
    .await?;
    let free = json!({ "metadata": { "finalizers": null } });
    externals
        .patch("plain", &PatchParams::default(), &Patch::Merge(&free))
        .await?;
    ensure!(bed.events().await?.is_empty(), "{:?}", bed.events().await?);
    Ok(())
}

#[tokio::test]
async fn a_type_that_is_refused_and_an_emptied_document_keep_the_secret() -> Result<()> {
    let bed = Bed::new().await?;
    bed.vault_store("v1", "vault").await?;
    bed.put("a", &json!({ "k": "canary-a" })).await?;
    bed.simple("es", "a", "2s")?;
    bed.synced("es").await?;
    let before = bed.secret("es").await?;
    let externals = bed.externals().await?;
    let target =
        |template: serde_json::Value| json!({ "spec": { "target": { "template": template } } });
    // A Secret of that type needs other keys: the one that is there must not be deleted for it.
    let tls = target(json!({ "type": "kubernetes.io/tls" }));
    externals
        .patch("es", &PatchParams::default(), &Patch::Merge(&tls))
        .await?;
    bed.not_ready("es", "could not update secret: ").await?;
    bed.not_ready("es", "tls.crt").await?;
    let same = |now: &Secret| {
        ensure!(now.metadata.uid == before.metadata.uid, "another Secret");
        ensure!(now.data == before.data, "other data");
        Ok(())
    };
    same(&bed.secret("es").await?)?;
    let back = target(json!(null));
    externals
        .patch("es", &PatchParams::default(), &Patch::Merge(&back))
        .await?;
    bed.synced("es").await?;

    // Nothing left at the backend: external-secrets.md 6.6.
    let says = |wanted: &'static str| {
        let bed = &bed;
        eventually(SOON, move || async move {
            let status = bed.status("es").await?;
            let ready = &status.conditions[0];
            ensure!(
                ready.status == "True"
                    && ready.reason.as_deref() == Some("SecretSynced")
                    && ready.message.as_deref() == Some(wanted),
                "{ready:?}"
            );
            Ok(())
        })
    };
    bed.put("a", &json!({})).await?;
    says("secret retained due to DeletionPolicy=Retain").await?;
    throughout(Duration::from_secs(3), || async {
        same(&bed.secret("es").await?)
    })
    .await?;
    bed.put("a", &json!({ "k": "canary-b" })).await?;
    says("secret synced").await?;
    let data = bed.secret("es").await?.data.context("data")?;
    assert_eq!(data["k"].0, b"canary-b");
    bed.no_canary().await
}

/// The status becomes true without a further fetch.
#[tokio::test]
async fn a_status_is_put_right_when_the_secret_is() -> Result<()> {
    let bed = Bed::new().await?;
    let mut bao = OpenBao::start().await?;
    bao.kv_put("o", &json!({ "k": "canary-o" })).await?;
    bed.vault_store_with("v1", "vault", &bao.url(), ROOT_TOKEN)
        .await?;
    for (name, policy) in [("once", "CreatedOnce"), ("late", "Periodic")] {
        bed.apply(&format!(
            "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  refreshPolicy: {policy}
  refreshInterval: 1h
  secretStoreRef: {{name: vault}}
  dataFrom: [{{extract: {{key: o}}}}]
"
        ))?;
        bed.synced(name).await?;
    }
    let secrets = bed.secrets().await?;
    let mut once = bed.secret("once").await?;
    bao.stop()?;
    // Another session knows no values.
    bed.apply(&format!(
        "{}  retrySettings: {{maxRetries: 0}}\n",
        bed.vault_manifest("v1", "vault", &bao.url())
    ))?;
    for name in ["once", "late"] {
        secrets.delete(name, &DeleteParams::default()).await?;
        bed.not_ready(name, "cannot be reached").await?;
    }

    // Put back by hand, as it was.
    once.metadata.uid = None;
    once.metadata.resource_version = None;
    once.metadata.creation_timestamp = None;
    once.metadata.managed_fields = None;
    secrets.create(&PostParams::default(), &once).await?;
    bed.synced("once").await.context("put right by hand")?;

    // The status that says that it is in order does not land at first.
    let rule = "{apiGroups: [external-secrets.io], apiVersions: ['*'], operations: [UPDATE], resources: [externalsecrets/status]}";
    bed.apply(&policy(
        &bed,
        rule,
        "object.metadata.name == 'late'",
        "'not now'",
    ))?;
    eventually(SOON, || async {
        let edit = json!({ "status": { "refreshTime": "2026-01-01T00:00:00Z" } });
        let externals = bed.externals().await?;
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let refused = externals
            .patch_status("late", &params, &Patch::Merge(&edit))
            .await;
        ensure!(refused.is_err(), "the policy does not work yet");
        Ok(())
    })
    .await?;
    bao.start_again().await?;
    eventually(SOON, || async {
        let log = bed.controller.log()?;
        let refused = log.lines().any(|line| {
            line.contains("status not written")
                && line.contains(&bed.namespace)
                && line.contains("denied the request")
        });
        ensure!(refused, "no write was refused yet");
        Ok(())
    })
    .await?;
    remove_policy(&bed)?;
    bed.synced_within("late", Duration::from_secs(40)).await?;
    bed.no_canary().await
}

/// `patch` lets values be merged into a Secret of others; without it the Secret is theirs again, also
/// for the process that wrote it (sealed-secrets.md 5).
#[tokio::test]
async fn consent_ends_with_its_annotation() -> Result<()> {
    let bed = Bed::new().await?;
    let secrets = bed.secrets().await?;
    let mut theirs = sealed::secret(&bed.namespace, "shared", &[("theirs", "theirs")]);
    theirs["metadata"]["annotations"] = json!({ "sealedsecrets.bitnami.com/patch": "true" });
    secrets
        .create(&PostParams::default(), &serde_json::from_value(theirs)?)
        .await?;
    let certificate = sealed::certificate(&bed.controller).await?;
    let secret = sealed::secret(&bed.namespace, "shared", &[("ours", "canary-merged")]);
    let object = sealed::seal(&certificate, "strict", &secret)?;
    let api = sealed::sealed_in(&bed.client().await?, &bed.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    eventually(SOON, || async {
        let keys = sealed::data(&bed.secret("shared").await?).into_keys();
        ensure!(keys.eq(["ours", "theirs"]), "not merged yet");
        Ok(())
    })
    .await?;

    let withdrawn = json!({ "metadata": { "annotations": null }, "data": { "ours": null } });
    secrets
        .patch("shared", &PatchParams::default(), &Patch::Merge(&withdrawn))
        .await?;
    eventually(SOON, || async {
        let status = api.get("shared").await?.data["status"].to_string();
        ensure!(status.contains(sealed::UNMANAGED), "{status}");
        Ok(())
    })
    .await?;
    let keys = sealed::data(&bed.secret("shared").await?).into_keys();
    ensure!(keys.eq(["theirs"]), "it was written without consent");
    bed.no_canary().await
}

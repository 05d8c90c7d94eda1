//! The key ring: who may seal, and which Secrets hold a key.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat::controller::{Controller, Settings};
use compat::wait::{eventually, throughout};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::harness::*;

const STATE: &str = "selkie-sealed-secrets";
const KEYS: &str = "sealedsecrets.bitnami.com/sealed-secrets-key=active";

fn settings(test: &Test) -> Settings {
    Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
        .arg("--update-status=false")
}

async fn served(controller: &Controller) -> Result<String> {
    let (status, certificate) = controller.get("/v1/cert.pem").await?;
    ensure!(status == 200, "/v1/cert.pem answers {status}");
    Ok(certificate)
}

async fn still_serves(controller: &Controller, certificate: &str) -> Result<()> {
    ensure!(
        served(controller).await? == certificate,
        "another key seals"
    );
    Ok(())
}

/// The key that a controller in a namespace of its own makes, later than all keys before it.
async fn a_later_key() -> Result<(Secret, Test)> {
    let elsewhere = Test::new().await?;
    // NotBefore has seconds only.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let _controller = settings(&elsewhere)
        .start(&elsewhere.shared.cluster)
        .await?;
    let mut keys = elsewhere
        .secrets()
        .list(&ListParams::default().labels(KEYS))
        .await?
        .items;
    let key = keys.pop().context("it has a key")?;
    Ok((key, elsewhere))
}

/// The same key, to be put elsewhere.
fn copied(key: &Secret) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some("brought".to_owned()),
            labels: key.metadata.labels.clone(),
            ..ObjectMeta::default()
        },
        ..key.clone()
    }
}

/// The attack: whoever can have a Secret made in the controller's namespace decides what everybody seals to.
#[tokio::test]
async fn a_key_that_appears_opens_and_seals_once_it_is_activated() -> Result<()> {
    let test = Test::new().await?;
    let cluster = &test.shared.cluster;
    let first = settings(&test).start(cluster).await?;
    let certificate = served(&first).await?;
    let (key, elsewhere) = a_later_key().await?;
    let theirs = String::from_utf8(data(&key)["tls.crt"].clone())?;
    test.secrets()
        .create(&PostParams::default(), &copied(&key))
        .await?;
    // It opens at once.
    let values = [("password", "canary-4711")];
    let path = compat::bed::new_folder("their-certificate")?.join("cert.pem");
    std::fs::write(&path, &theirs)?;
    let sealed = seal(&path, "strict", &secret(&test.namespace, "db", &values))?;
    test.create(&sealed).await?;
    test.has(SOON, "db", &values).await?;
    // It does not seal, and neither after a restart.
    still_serves(&first, &certificate).await?;
    ensure!(
        first
            .metrics()
            .await?
            .contains("sealing_keys{state=\"waiting\"} 1")
    );
    ensure!(first.log()?.contains("seals once it is activated"));
    ensure!(first.terminate()?.success());
    let second = settings(&test).start(cluster).await?;
    throughout(Duration::from_secs(1), || {
        still_serves(&second, &certificate)
    })
    .await?;
    // Until somebody who may write Secrets there says so.
    let fingerprint = fingerprint(&theirs)?;
    let activate =
        json!({ "metadata": { "annotations": { "selkie/activate-keys": fingerprint } } });
    test.secrets()
        .patch(STATE, &PatchParams::default(), &Patch::Merge(activate))
        .await?;
    eventually(SOON, || async {
        ensure!(served(&second).await? == theirs, "it does not seal");
        Ok(())
    })
    .await?;
    ensure!(
        second
            .metrics()
            .await?
            .contains("sealing_keys{state=\"waiting\"} 0")
    );
    drop(elsewhere);
    ensure!(!second.log()?.contains(CANARY));
    Ok(())
}

/// As `ssh-keygen -l` prints it, by way of the public key that openssl reads.
fn fingerprint(certificate: &str) -> Result<String> {
    let public = compat::program::Program::new("openssl")
        .args(["x509", "-pubkey", "-noout"])
        .input(certificate)
        .ok()?
        .text();
    let path = compat::bed::new_folder("public-key")?.join("key.pub");
    std::fs::write(&path, public)?;
    let ssh = compat::program::Program::new("ssh-keygen")
        .args(["-i", "-m", "PKCS8", "-f"])
        .arg(&path)
        .ok()?
        .text();
    std::fs::write(&path, ssh)?;
    let told = compat::program::Program::new("ssh-keygen")
        .arg("-lf")
        .arg(&path)
        .ok()?
        .text();
    let word = told.split(' ').find(|word| word.starts_with("SHA256:"));
    Ok(word.with_context(|| told.clone())?.to_owned())
}

#[tokio::test]
async fn a_key_that_another_resource_made_does_not_count() -> Result<()> {
    let test = Test::new().await?;
    let cluster = &test.shared.cluster;
    let controller = settings(&test).start(cluster).await?;
    let (key, _elsewhere) = a_later_key().await?;
    let maps = Api::<ConfigMap>::namespaced(test.client.clone(), &test.namespace);
    let owner: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "owner" } }))?;
    let owner = maps.create(&PostParams::default(), &owner).await?;
    let mut owned = copied(&key);
    let reference = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid,
    }]);
    owned.metadata.owner_references = serde_json::from_value(reference)?;
    test.secrets()
        .create(&PostParams::default(), &owned)
        .await?;
    eventually(SOON, || async {
        let metrics = controller.metrics().await?;
        ensure!(
            metrics.contains("sealing_keys{state=\"ignored\"} 1"),
            "{metrics}"
        );
        ensure!(
            metrics.contains("sealing_keys{state=\"usable\"} 1"),
            "{metrics}"
        );
        Ok(())
    })
    .await?;
    let events = Api::<Event>::namespaced(test.client.clone(), &test.namespace);
    eventually(SOON, || async {
        let events = events.list(&ListParams::default()).await?.items;
        let ignored = events
            .iter()
            .find(|event| event.reason.as_deref() == Some("IgnoredKey"));
        let event = ignored.with_context(|| told(&events))?;
        ensure!(event.involved_object.name.as_deref() == Some("brought"));
        Ok(())
    })
    .await?;
    ensure!(controller.terminate()?.success());
    // People do feed their own key this way.
    let admitting = settings(&test)
        .arg("--accept-managed-keys")
        .start(cluster)
        .await?;
    let metrics = admitting.metrics().await?;
    ensure!(
        metrics.contains("sealing_keys{state=\"usable\"} 2"),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_asked_for_opens_at_once_and_seals_after_the_delay() -> Result<()> {
    let test = Test::new().await?;
    let controller = settings(&test)
        .arg("--key-activation-delay=6s")
        .arg("--key-renew-period=0")
        .arg("--privatekey-labels=team=x")
        .arg("--privatekey-annotations=note=y")
        .start(&test.shared.cluster)
        .await?;
    // The first one seals without delay: somebody has to.
    let certificate = served(&controller).await?;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    controller.ask_for_a_key()?;
    let keys = ListParams::default().labels(KEYS);
    eventually(SOON, || async {
        let keys = test.secrets().list(&keys).await?.items;
        ensure!(keys.len() == 2, "there are {} keys", keys.len());
        for key in keys {
            let (labels, annotations) = (key.metadata.labels, key.metadata.annotations);
            ensure!(labels.unwrap_or_default()["team"] == "x");
            ensure!(annotations.unwrap_or_default()["note"] == "y");
        }
        Ok(())
    })
    .await?;
    ensure!(
        served(&controller).await? == certificate,
        "it seals at once"
    );
    eventually(SOON, || async {
        ensure!(
            served(&controller).await? != certificate,
            "it does not seal"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_secret_is_made_that_is_a_key_or_a_token() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711")];
    let mut key = test.seal("key", "strict", &values)?;
    key["spec"]["template"]["metadata"]["labels"] =
        json!({ "sealedsecrets.bitnami.com/sealed-secrets-key": "active" });
    let mut token = test.seal("token", "strict", &values)?;
    token["spec"]["template"]["type"] = json!("bootstrap.kubernetes.io/token");
    for (name, sealed) in [("key", &key), ("token", &token)] {
        test.create(sealed).await?;
        let condition = test.synced(name, "False").await?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(
            message.starts_with(&format!("Secret \"{name}\" is refused: ")),
            "{message}"
        );
        test.no_secret(name).await?;
    }
    test.nothing_leaked().await
}

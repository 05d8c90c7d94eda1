//! What a restart, a fight and the policies about drift do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::controller::{Controller, Settings};
use compat::wait::{eventually, throughout};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::*;

const VALUES: [(&str, &str); 2] = [("password", "canary-4711"), ("user", "canary-4711-b")];

/// A test with a controller of its own, which serves its namespace only; the shared one has other keys, fails there and must
/// not write the status.
struct Own {
    test: Test,
    certificate: std::path::PathBuf,
    settings: Settings,
    controller: Option<Controller>,
}

impl Own {
    async fn new(arguments: &[&str]) -> Result<Self> {
        let test = Test::new().await?;
        let mut settings = Controller::with(&test.namespace)
            .arg("--key-size=2048")
            .arg("--all-namespaces=false")
            .arg("--update-status=false");
        for argument in arguments {
            settings = settings.arg(*argument);
        }
        let controller = settings.start(&test.shared.cluster).await?;
        Ok(Self {
            certificate: certificate(&controller).await?,
            controller: Some(controller),
            settings,
            test,
        })
    }

    async fn restarted(&mut self) -> Result<()> {
        let controller = self.controller.take().context("a controller")?;
        ensure!(controller.terminate()?.success());
        self.controller = Some(self.settings.start(&self.test.shared.cluster).await?);
        Ok(())
    }

    fn controller(&self) -> Result<&Controller> {
        self.controller.as_ref().context("a controller")
    }

    async fn create(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Result<()> {
        let secret = secret(&self.test.namespace, name, &VALUES);
        let mut sealed = seal(&self.certificate, "strict", &secret)?;
        edit(&mut sealed);
        self.test.create(&sealed).await?;
        Ok(())
    }

    async fn has(&self, name: &str) -> Result<()> {
        self.test.has(SOON, name, &VALUES).await?;
        Ok(())
    }

    /// Changes a value as somebody else.
    async fn drift(&self, name: &str, value: &str) -> Result<()> {
        let data = json!({ "data": { "password": BASE64_STANDARD.encode(value) } });
        let params = PatchParams::apply("somebody-else").force();
        let mut patch = data;
        patch["apiVersion"] = json!("v1");
        patch["kind"] = json!("Secret");
        self.test
            .secrets()
            .patch(name, &params, &Patch::Apply(&patch))
            .await?;
        Ok(())
    }

    async fn metric(&self, name: &str) -> Result<u64> {
        let metrics = self.controller()?.metrics().await?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("sealed_secrets_controller_{name}")));
        let line = line.with_context(|| format!("{name} is missing"))?;
        let value = line.rsplit(' ').next().context("value")?;
        Ok(value.parse()?)
    }
}

#[tokio::test]
async fn a_restart_decrypts_and_writes_nothing() -> Result<()> {
    let mut own = Own::new(&[]).await?;
    for number in 0..10 {
        own.create(&format!("db-{number}"), |_| {}).await?;
    }
    own.create("changed", |_| {}).await?;
    own.create("drifted", |_| {}).await?;
    for name in ["db-0", "db-9", "changed", "drifted"] {
        own.has(name).await?;
    }
    eventually(SOON, || async {
        let used = own.metric("sealing_key_values{").await?;
        ensure!(used == 24, "{used} values are counted");
        Ok(())
    })
    .await?;
    let usage = own
        .test
        .secrets()
        .get("selkie-sealed-secrets-records-0")
        .await?;
    let usage: Value = serde_json::from_slice(&data(&usage)["usage"])?;
    let counts: Vec<_> = usage.as_object().context("usage")?.values().collect();
    ensure!(counts == [&json!(24)], "{usage}");

    let since = jiff::Timestamp::now();
    ensure!(
        own.controller
            .take()
            .context("it runs")?
            .terminate()?
            .success()
    );
    // While it is away: one manifest and one Secret change.
    own.test
        .merge_sealed(
            "changed",
            json!({ "spec": { "template": { "metadata": { "labels": { "app": "x" } } } } }),
        )
        .await?;
    own.drift("drifted", "drifted").await?;
    own.controller = Some(own.settings.start(&own.test.shared.cluster).await?);
    own.has("drifted").await?;
    eventually(SOON, || async {
        let labels = own.test.secrets().get("changed").await?.metadata.labels;
        ensure!(labels.unwrap_or_default().contains_key("app"));
        Ok(())
    })
    .await?;
    // Two objects of two values.
    eventually(SOON, || async {
        let opened = own.metric("opened_values_total").await?;
        ensure!(opened == 4, "{opened} values were decrypted");
        Ok(())
    })
    .await?;
    let user = own.controller()?.account().user.clone();
    let writes = own
        .test
        .shared
        .cluster
        .audit()?
        .since(since)
        .namespace(&own.test.namespace)
        .writes();
    let writes = writes.resource("secrets").only(|event| event.user == user);
    let names: Vec<_> = writes
        .events()
        .iter()
        .map(|event| event.name.clone())
        .collect();
    let other = names
        .iter()
        .filter(|name| !name.starts_with("selkie-sealed-secrets"));
    let mut other: Vec<_> = other.cloned().collect();
    other.sort();
    ensure!(other == ["changed", "drifted"], "it wrote {names:?}");

    own.restarted().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(
        own.metric("opened_values_total").await? == 0,
        "it decrypted again"
    );
    ensure!(
        own.metric("sealing_key_values{").await? == 24,
        "the usage is lost"
    );
    Ok(())
}

#[tokio::test]
async fn a_fight_ends_after_three_repairs_and_names_the_other() -> Result<()> {
    let test = Test::new().await?;
    test.seal_and_apply("db", &VALUES).await?;
    test.has(SOON, "db", &VALUES).await?;
    test.synced("db", "True").await?;
    let drift = async |value: &str| {
        let patch = json!({
            "apiVersion": "v1", "kind": "Secret", "data": { "password": BASE64_STANDARD.encode(value) },
        });
        let params = PatchParams::apply("somebody-else").force();
        test.secrets()
            .patch("db", &params, &Patch::Apply(&patch))
            .await
    };
    for number in 0..3 {
        drift(&format!("theirs-{number}")).await?;
        test.has(SOON, "db", &VALUES).await?;
    }
    drift("theirs").await?;
    let condition = test.synced("db", "False").await?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with(
            "Secret \"db\" was changed by field manager \"somebody-else\", again after 3 repairs"
        ),
        "{message}"
    );
    ensure!(condition["reason"] == "Drifted", "{condition}");
    let stays = || async {
        let secret = test.secrets().get("db").await?;
        ensure!(data(&secret)["password"] == b"theirs", "it was repaired");
        Ok(())
    };
    throughout(Duration::from_secs(2), stays).await?;
    // Put right by hand, it is in order again.
    let fixed = json!({ "data": { "password": BASE64_STANDARD.encode(VALUES[0].1) } });
    test.merge("db", fixed).await?;
    let condition = test.synced("db", "True").await?;
    ensure!(condition["reason"] == "Unsealed", "{condition}");
    // A new specification counts at once.
    drift("theirs again").await?;
    test.synced("db", "False").await?;
    let labels = json!({ "spec": { "template": { "metadata": { "labels": { "app": "x" } } } } });
    test.merge_sealed("db", labels).await?;
    test.has(SOON, "db", &VALUES).await?;
    test.nothing_leaked().await
}

#[tokio::test]
async fn drift_is_repaired_reported_or_left() -> Result<()> {
    let test = Test::new().await?;
    let annotated = async |name: &str, word: Option<&str>| {
        let mut sealed = test.seal(name, "strict", &VALUES)?;
        if let Some(word) = word {
            sealed["metadata"]["annotations"] = json!({ "selkie/drift": word });
        }
        test.create(&sealed).await?;
        test.has(SOON, name, &VALUES).await?;
        test.synced(name, "True").await
    };
    let drift = json!({ "data": { "password": BASE64_STANDARD.encode("theirs") } });
    let theirs = [("password", "theirs"), ("user", "canary-4711-b")];

    annotated("report", Some("report")).await?;
    test.merge("report", drift.clone()).await?;
    let condition = test.synced("report", "False").await?;
    ensure!(condition["reason"] == "Drifted", "{condition}");
    test.has(Duration::from_secs(1), "report", &theirs).await?;
    // Another word counts at once.
    test.merge_sealed(
        "report",
        json!({ "metadata": { "annotations": { "selkie/drift": "repair" } } }),
    )
    .await?;
    test.has(SOON, "report", &VALUES).await?;
    test.synced("report", "True").await?;

    annotated("off", Some("off")).await?;
    test.merge("off", drift.clone()).await?;
    throughout(Duration::from_secs(2), || async {
        test.has(Duration::from_secs(1), "off", &theirs).await?;
        Ok(())
    })
    .await?;
    test.synced("off", "True").await?;

    // What was adopted is reported.
    test.taken_by_others("adopted").await?;
    test.merge(
        "adopted",
        json!({ "metadata": { "annotations": { "sealedsecrets.bitnami.com/managed": "true" } } }),
    )
    .await?;
    annotated("adopted", None).await?;
    test.merge("adopted", drift).await?;
    let condition = test.synced("adopted", "False").await?;
    ensure!(condition["reason"] == "Drifted", "{condition}");
    test.has(Duration::from_secs(1), "adopted", &theirs).await?;
    // But one that is gone is made again, and is ours then.
    test.secrets()
        .delete("adopted", &DeleteParams::default())
        .await?;
    test.has(SOON, "adopted", &VALUES).await?;
    test.synced("adopted", "True").await?;
    test.nothing_leaked().await
}

#[tokio::test]
async fn selected_left_away_and_collected() -> Result<()> {
    let own = Own::new(&[
        "--label-selector=team=x",
        "--skip-recreate",
        "--old-gc-behavior",
    ])
    .await?;
    own.create("mine", |sealed| {
        sealed["metadata"]["labels"] = json!({ "team": "x" });
    })
    .await?;
    own.create("other", |_| {}).await?;
    own.has("mine").await?;
    own.test
        .secrets()
        .delete("mine", &DeleteParams::default())
        .await?;
    throughout(Duration::from_secs(2), || own.test.no_secret("mine")).await?;
    own.test.no_secret("other").await?;
    // A change brings it back.
    own.test
        .merge_sealed(
            "mine",
            json!({ "spec": { "template": { "metadata": { "labels": { "app": "x" } } } } }),
        )
        .await?;
    own.has("mine").await?;
    own.test
        .sealed()
        .delete("mine", &DeleteParams::default())
        .await?;
    eventually(SOON, || own.test.no_secret("mine")).await?;
    // Kubernetes would have collected it, too, a little later.
    let audit = own
        .test
        .shared
        .cluster
        .audit()?
        .by(&own.controller()?.account().user);
    let deleted = audit
        .resource("secrets")
        .only(|event| event.verb == "delete" && event.name == "mine");
    ensure!(!deleted.is_empty(), "it left that to Kubernetes");
    own.test.no_secret("other").await
}

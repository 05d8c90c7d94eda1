//! `/v1/verify` and `/v1/rotate`: what they answer, and what they do not tell.

use anyhow::{Context, Result, ensure};
use compat::bed::new_folder;
use compat::originals::kubeseal;
use compat::selkie::binary;
use serde_json::{Value, json};

use crate::harness::*;

const VERIFY: &str = "/v1/verify";
const ROTATE: &str = "/v1/rotate";

impl Test {
    async fn verified(&self, client: &str, body: impl Into<String>) -> Result<(u16, String)> {
        let controller = &self.shared.controller;
        let answer = controller.post(VERIFY, client, body.into()).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn rotated(&self, body: impl Into<String>) -> Result<(u16, String)> {
        let answer = self
            .shared
            .controller
            .post(ROTATE, "rotate", body.into())
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

#[tokio::test]
async fn verify_says_whether_all_opens_and_no_more() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711"), ("user", "canary-4711-b")];
    let good = test.seal("db", "strict", &values)?;
    let mut renamed = good.clone();
    renamed["metadata"]["name"] = json!("other");
    let mut half = good.clone();
    half["spec"]["encryptedData"]["password"] = json!("AgA=");
    // Never rendered: with it anybody could read what he has the ciphertext of.
    let mut asking = good.clone();
    asking["spec"]["template"]["data"] =
        json!({ "x": "{{ if hasPrefix \"canary\" .password }}{{ fail \"yes\" }}{{ end }}" });
    let mut wider = good.clone();
    wider["metadata"]["name"] = json!("other");
    wider["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
    let nameless = json!({ "metadata": good["metadata"], "spec": good["spec"] });
    let both = format!("---\n{good}\n---\n{good}\n");
    let large = "x".repeat(3 * 1024 * 1024);
    for (number, (what, body, code)) in [
        ("good", good.to_string(), 200),
        ("YAML", format!("---\n{good}\n"), 200),
        ("renamed", renamed.to_string(), 409),
        ("one value is wrong", half.to_string(), 409),
        ("a template that asks", asking.to_string(), 200),
        ("the template says another scope", wider.to_string(), 409),
        ("without a kind", nameless.to_string(), 500),
        (
            "a Secret",
            secret(&test.namespace, "db", &values).to_string(),
            500,
        ),
        ("two documents", both, 500),
        ("nothing", String::new(), 500),
        ("no YAML", "{canary-4711".to_owned(), 500),
        ("too large", large, 413),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = test.verified(&format!("client-{number}"), body).await?;
        ensure!(answer == (code, String::new()), "{what}: {answer:?}");
    }
    // A method is not asked for (sealed-secrets.md 9).
    let (status, _) = test.shared.controller.get(VERIFY).await?;
    ensure!(status == 500, "GET answers {status}");
    let metrics = test.shared.controller.metrics().await?;
    ensure!(
        metrics.contains("http_requests_total{path=\"/v1/verify\",code=\"409\",method=\"post\"}"),
        "{metrics}"
    );
    test.nothing_leaked().await
}

/// sealed-secrets.md 9.3: three at once, then two in a second, for each client.
#[tokio::test]
async fn verify_has_a_rate() -> Result<()> {
    let test = Test::new().await?;
    let post = async |client: &'static str| {
        let controller = &test.shared.controller;
        controller.post(VERIFY, client, "canary").await
    };
    let header = |answer: &reqwest::Response, name: &str| {
        let value = answer.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let mut refused = None;
    for _ in 0..40 {
        let answer = post("Busy").await?;
        ensure!(header(&answer, "x-ratelimit-limit").as_deref() == Some("3"));
        ensure!(header(&answer, "x-ratelimit-remaining").is_some());
        ensure!(header(&answer, "x-ratelimit-reset").is_some());
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("forty requests of one client were answered")?;
    ensure!(header(&refused, "retry-after").as_deref() == Some("1"));
    ensure!(header(&refused, "x-ratelimit-remaining").as_deref() == Some("0"));
    ensure!(refused.text().await? == "limit exceeded\n");
    let other = post("somebody else").await?;
    ensure!(other.status() == 500, "{}", other.status());
    Ok(())
}

#[tokio::test]
async fn rotate_seals_values_anew_and_keeps_the_rest() -> Result<()> {
    let test = Test::new().await?;
    let values = [("password", "canary-4711"), ("user", "canary-4711-b")];
    let mut sealed = test.seal("db", "strict", &values)?;
    sealed["metadata"]["labels"] = json!({ "team": "x" });
    sealed["metadata"]["uid"] = json!("7f1c");
    sealed["metadata"]["resourceVersion"] = json!("12");
    sealed["spec"]["template"]["metadata"]["labels"] = json!({ "app": "db" });
    // Must not widen the scope, whatever it says (sealed-secrets.md 2).
    sealed["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
    sealed["spec"]["template"]["type"] = json!("example.com/x");
    sealed["spec"]["template"]["data"] = json!({ "url": "{{ fail \"canary-4711\" }}" });
    let (code, text) = test.rotated(sealed.to_string()).await?;
    ensure!(code == 200, "{code}: {text}");
    let rotated: Value = serde_json::from_str(&text)?;
    ensure!(rotated["kind"] == "SealedSecret" && rotated["apiVersion"] == "bitnami.com/v1alpha1");
    let metadata = json!({ "name": "db", "namespace": test.namespace, "labels": { "team": "x" } });
    ensure!(rotated["metadata"] == metadata, "{}", rotated["metadata"]);
    ensure!(rotated["spec"]["template"]["data"] == sealed["spec"]["template"]["data"]);
    ensure!(rotated["spec"]["template"]["type"] == "example.com/x");
    ensure!(rotated["spec"]["template"]["metadata"]["labels"]["app"] == "db");
    for key in ["password", "user"] {
        let of = |object: &Value| object["spec"]["encryptedData"][key].clone();
        ensure!(of(&rotated) != of(&sealed) && of(&rotated).is_string());
    }
    // Still bound to its name.
    let mut moved = rotated.clone();
    moved["metadata"]["name"] = json!("other");
    ensure!(test.verified("rotate-moved", moved.to_string()).await?.0 == 409);
    let mut plain = rotated;
    plain["spec"]["template"]["data"] = Value::Null;
    plain["spec"]["template"]["metadata"]["annotations"] = json!({});
    test.create(&plain).await?;
    test.has(SOON, "db", &values).await?;
    for wrong in [moved.to_string(), String::new(), "[]".to_owned()] {
        ensure!(test.rotated(wrong).await? == (500, String::new()));
    }
    test.nothing_leaked().await
}

/// sealed-secrets.md 6.4: the form of before 2018.
#[tokio::test]
async fn the_deprecated_form_is_served() -> Result<()> {
    let test = Test::new().await?;
    let inside = new_folder("deprecated")?.join("secret.json");
    let secret = json!({
        "metadata": { "name": "ignored", "labels": { "app": "old" } },
        "type": "example.com/x", "data": { "password": "Y2FuYXJ5LTQ3MTE=" },
    });
    std::fs::write(&inside, secret.to_string())?;
    let raw = kubeseal()?
        .arg("--cert")
        .arg(&test.shared.certificate)
        .args(["--raw", "--name", "old", "--namespace", &test.namespace])
        .arg("--from-file")
        .arg(&inside)
        .ok()?
        .text();
    let sealed = json!({
        "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": { "name": "old", "namespace": test.namespace },
        "spec": { "data": raw.trim(), "encryptedData": {} },
    });
    test.create(&sealed).await?;
    let made = test
        .has(SOON, "old", &[("password", "canary-4711")])
        .await?;
    ensure!(made.type_.as_deref() == Some("example.com/x"));
    ensure!(made.metadata.labels.unwrap_or_default()["app"] == "old");
    test.synced("old", "True").await?;
    test.nothing_leaked().await
}

#[test]
fn flags_are_those_of_the_original() -> Result<()> {
    let program = || {
        anyhow::Ok(compat::program::Program::new(binary(
            "selkie-controller",
            "selkie-controller",
        )?))
    };
    let version = program()?.arg("--version").ok()?.text();
    let number = version.strip_prefix("controller version: v");
    let number = number.with_context(|| version.clone())?.trim();
    ensure!(
        number
            .split('.')
            .filter(|part| part.parse::<u32>().is_ok())
            .count()
            == 3,
        "{version}"
    );
    let unknown = program()?.arg("--no-such-flag").run()?;
    ensure!(unknown.code == Some(2), "{}", unknown.stderr);
    let wrong = program()?.env("SEALED_SECRETS_RATE_LIMIT", "0").run()?;
    ensure!(wrong.code == Some(2), "{}", wrong.stderr);
    Ok(())
}

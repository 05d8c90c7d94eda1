//! Replicas: one leads, and never two write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat::controller::{Controller, Settings, rule, usual_rights};
use compat::wait::eventually;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::*;

/// A Lease that nobody renews is taken within 15 s; the rest is for a loaded machine.
const TAKEOVER: Duration = Duration::from_secs(60);

fn replica(test: &Test) -> Settings {
    Controller::with(&test.namespace)
        .arg("--key-size=2048")
        .arg("--all-namespaces=false")
}

fn leads(controller: &Controller) -> Result<bool> {
    Ok(controller.log()?.contains("\"message\":\"leading\""))
}

#[tokio::test]
async fn a_second_replica_stands_by_and_takes_over() -> Result<()> {
    let test = Test::new().await?;
    let settings = replica(&test);
    let first = settings.start(&test.shared.cluster).await?;
    let second = settings.start_as(first.account()).await?;
    let (one, two) = (
        first.get("/v1/cert.pem").await?.1,
        second.get("/v1/cert.pem").await?.1,
    );
    ensure!(one == two, "the replicas serve different certificates");
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

/// How the leader is taken away.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    /// As a node without CPU time: it goes on amid what it was doing.
    Freeze,
    /// As a node without power.
    Kill,
}

#[tokio::test]
async fn a_frozen_leader_writes_nothing_once_another_one_leads() -> Result<()> {
    one_writes_at_a_time(Stop::Freeze).await
}

#[tokio::test]
async fn a_killed_leader_is_followed() -> Result<()> {
    one_writes_at_a_time(Stop::Kill).await
}

async fn one_writes_at_a_time(stop: Stop) -> Result<()> {
    let test = Test::new().await?;
    let cluster = &test.shared.cluster;
    // Accounts of their own, so that the audit log tells them apart.
    let first = replica(&test).start(cluster).await?;
    let second = replica(&test).start(cluster).await?;
    ensure!(
        leads(&first)? && !leads(&second)?,
        "not the first one leads"
    );
    let sealed = seal(
        &certificate(&first).await?,
        "cluster-wide",
        &secret(&test.namespace, "load", &[("password", "canary-4711")]),
    )?;
    let made = AtomicUsize::new(0);
    let rename = |number: usize| {
        let mut sealed = sealed.clone();
        for path in ["/metadata/name", "/spec/template/metadata/name"] {
            if let Some(name) = sealed.pointer_mut(path) {
                *name = Value::String(format!("load-{number}"));
            }
        }
        sealed
    };
    let load = async {
        loop {
            test.create(&rename(made.load(Ordering::Relaxed))).await?;
            made.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let takeover = async {
        test.has(SOON, "load-5", &[("password", "canary-4711")])
            .await?;
        match stop {
            Stop::Freeze => first.server().freeze()?,
            Stop::Kill => first.kill()?,
        }
        eventually(TAKEOVER, || async {
            ensure!(leads(&second)?, "the second one does not lead");
            Ok(())
        })
        .await?;
        first.server().thaw()?;
        if stop == Stop::Freeze {
            eventually(SOON, || async {
                let ended = first.server().ended()?;
                let status = ended.context("the first one goes on without the Lease")?;
                ensure!(!status.success(), "it ended with {status}");
                Ok(())
            })
            .await?;
        }
        // What it might have sent arrives, and the new leader is in full swing.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    };
    tokio::select! {
        failed = load => { let failed: Result<()> = failed; failed? }
        done = takeover => { let done: Result<()> = done; done? }
    }
    let last = format!("load-{}", made.load(Ordering::Relaxed) - 1);
    test.has(SOON, &last, &[("password", "canary-4711")])
        .await?;

    let audit = cluster.audit()?;
    let written = |controller: &Controller| {
        let writes = audit.clone().by(&controller.account().user).writes();
        writes.only(|event| event.code < 400)
    };
    let (ours, theirs) = (written(&first), written(&second));
    let taken = theirs.clone().resource("leases");
    let taken = taken.events().first().context("it took no Lease")?.at;
    let early = theirs.only(|event| event.resource != "leases" && event.at < taken);
    ensure!(
        early.is_empty(),
        "the second one wrote {:?}",
        early.events()
    );
    ensure!(!ours.is_empty(), "the first one wrote nothing");
    let late = ours.since(taken);
    ensure!(late.is_empty(), "the first one wrote {:?}", late.events());
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_leases_nothing_is_written_until_it_is_granted() -> Result<()> {
    let test = Test::new().await?;
    let cluster = &test.shared.cluster;
    let without = usual_rights()
        .into_iter()
        .filter(|rule| !rule.resources.iter().flatten().any(|name| name == "leases"));
    let controller = replica(&test)
        .rights(without.collect())
        .do_not_wait()
        .start(cluster)
        .await?;
    let told = |log: &str| log.matches("no right to Leases").count();
    eventually(SOON, || async {
        ensure!(told(&controller.log()?) > 0, "it does not say so");
        Ok(())
    })
    .await?;
    let (status, missing) = eventually(SOON, || controller.get("/readyz")).await?;
    ensure!(status == 503 && missing.contains("Lease"), "{missing}");
    // Longer than until the next attempt.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let user = &controller.account().user;
    let writes = cluster.audit()?.by(user).writes();
    ensure!(writes.is_empty(), "it wrote {:?}", writes.events());
    ensure!(!leads(&controller)?, "it leads without the right to");
    ensure!(told(&controller.log()?) == 1, "it says so again and again");

    let roles = Api::<ClusterRole>::all(test.client.clone());
    let role = user.trim_start_matches("system:serviceaccount:");
    let lease = rule(
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "update"],
    );
    let more = json!([{ "op": "add", "path": "/rules/-", "value": lease }]);
    let more: Patch<()> = Patch::Json(serde_json::from_value(more)?);
    roles.patch(role, &PatchParams::default(), &more).await?;
    eventually(TAKEOVER, || async {
        ensure!(leads(&controller)?, "it does not lead");
        let (status, text) = controller.get("/readyz").await?;
        ensure!(status == 200, "{text}");
        Ok(())
    })
    .await
}

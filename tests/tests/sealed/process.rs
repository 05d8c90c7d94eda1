//! The process: start, end, replicas, keys, rights.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::bed::new_folder;
use compat::controller::{Controller, rule, usual_rights};
use compat::selkie::binary;
use compat::server::Server;
use compat::wait::eventually;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::harness::*;

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
    let mut command = unshare();
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

/// Namespaces are root's; anybody else is root in a user namespace of their own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
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
    // sealed-secrets.md 10: no patch but of Events, no Leases, so one replica has to be enough.
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
        .arg("--leader-elect=false")
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
    let refused = audit.only(|event| event.code == 403);
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

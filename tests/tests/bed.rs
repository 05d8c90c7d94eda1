//! The test bed itself: each server does what the suites rely on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat::cluster::Cluster;
use compat::controller::rule;
use compat::moto::Moto;
use compat::openbao::OpenBao;
use compat::originals;
use compat::server::{Server, free_port, with_new_ports};
use compat::wait::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use serde_json::json;

#[tokio::test]
async fn cluster_collects_what_an_owner_leaves() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let client = cluster.client().await?;
    let owners = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let owner = ConfigMap {
        metadata: named("owner"),
        ..ConfigMap::default()
    };
    let owner = owners.create(&PostParams::default(), &owner).await?;
    let reference = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: "owner".to_owned(),
        uid: owner.metadata.uid.context("the API server sets the uid")?,
        controller: Some(true),
        ..OwnerReference::default()
    };
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    let metadata = ObjectMeta {
        owner_references: Some(vec![reference]),
        ..named("owned")
    };
    let owned = Secret {
        metadata,
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &owned).await?;

    owners.delete("owner", &DeleteParams::default()).await?;
    eventually(Duration::from_secs(30), || async {
        ensure!(
            secrets.get_opt("owned").await?.is_none(),
            "the Secret is still there"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn audit_log_tells_who_did_what() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let rules = vec![rule("", &["secrets"], &["create"])];
    let account = cluster.account(&namespace, "writer", rules).await?;
    let secrets = Api::<Secret>::namespaced(account.kubeconfig.client().await?, &namespace);
    let before = Timestamp::now();

    let secret = Secret {
        metadata: named("db"),
        ..Secret::default()
    };
    secrets.create(&PostParams::default(), &secret).await?;
    let refused = secrets.get("db").await;
    ensure!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "the account may only create, yet: {refused:?}"
    );

    let all = eventually(Duration::from_secs(5), || async {
        let audit = cluster
            .audit()?
            .by(&account.user)
            .since(before)
            .resource("secrets");
        ensure!(
            audit.events().len() == 2,
            "expected two requests: {audit:?}"
        );
        Ok(audit)
    })
    .await?;
    let seen: Vec<_> = all
        .events()
        .iter()
        .map(|it| (it.verb.as_str(), it.code))
        .collect();
    assert_eq!(seen, [("create", 201), ("get", 403)]);
    assert_eq!(all.clone().writes().events().len(), 1);
    assert!(all.clone().namespace("another").is_empty());
    assert!(
        cluster
            .audit()?
            .by(&account.user)
            .since(Timestamp::now())
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn cluster_serves_our_crds_and_kubectl_works() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let printed = cluster.apply(
        &namespace,
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}",
    )?;
    assert_eq!(printed.text(), "configmap/a created\n");
    let value = cluster
        .kubectl()
        .args(["get", "configmap", "a", "-n", &namespace, "-o", "json"]);
    assert_eq!(value.ok()?.json()?["data"]["k"], "v");
    let kinds = cluster
        .kubectl()
        .args(["api-resources", "-o", "name"])
        .ok()?
        .text();
    ensure!(
        kinds.contains("sealedsecrets.bitnami.com"),
        "our CRDs are missing:\n{kinds}"
    );
    cluster.check_alive()
}

#[tokio::test]
async fn openbao_keeps_its_data_over_an_outage() -> Result<()> {
    let mut bao = OpenBao::start().await?;
    bao.kv_put("database/prod", &json!({"password": "one"}))
        .await?;
    bao.kv_put("database/prod", &json!({"password": "two"}))
        .await?;
    assert_eq!(
        bao.kv_get("database/prod").await?,
        json!({"password": "two"})
    );
    assert_eq!(bao.reads("database/prod")?, 1);
    assert_eq!(bao.logins()?, 0);

    bao.policy(
        "nothing",
        "path \"secret/data/other\" { capabilities = [\"read\"] }",
    )
    .await?;
    let token = bao.token(&["nothing"]).await?;
    assert_eq!(status(&bao, &token).await?, 403);
    assert_eq!(
        bao.reads("database/prod")?,
        2,
        "a refused read is a request, too"
    );
    let look_up = reqwest::Client::new().get(format!("{}/v1/auth/token/lookup-self", bao.url()));
    look_up
        .header("X-Vault-Token", "root")
        .send()
        .await?
        .error_for_status()?;
    assert_eq!(bao.logins()?, 1);

    bao.seal().await?;
    assert_eq!(status(&bao, "root").await?, 503);
    bao.unseal().await?;
    assert_eq!(status(&bao, "root").await?, 200);

    bao.stop()?;
    ensure!(
        bao.kv_get("database/prod").await.is_err(),
        "it answers although it was stopped"
    );
    bao.start_again().await?;
    assert_eq!(
        bao.kv_get("database/prod").await?,
        json!({"password": "two"})
    );
    bao.kv_delete("database/prod").await?;
    assert_eq!(status(&bao, "root").await?, 404);
    Ok(())
}

#[tokio::test]
async fn moto_keeps_secrets_and_records_reads() -> Result<()> {
    let moto = Moto::start().await?;
    moto.create_secret("database/prod", "one").await?;
    moto.put_secret_value("database/prod", "two").await?;
    moto.record().await?;
    let value = moto
        .secrets_manager("GetSecretValue", &json!({"SecretId": "database/prod"}))
        .await?;
    assert_eq!(value["SecretString"], "two");
    assert_eq!(moto.reads("database/prod").await?, 1);
    assert_eq!(moto.reads("another").await?, 0);
    moto.create_binary_secret("bytes", &[0, 255]).await?;
    let value = moto
        .secrets_manager("GetSecretValue", &json!({"SecretId": "bytes"}))
        .await?;
    assert_eq!(value["SecretBinary"], "AP8=");
    moto.delete_secret("bytes").await?;
    moto.reset().await?;
    let gone = moto
        .secrets_manager("GetSecretValue", &json!({"SecretId": "database/prod"}))
        .await;
    let message = gone
        .err()
        .context("the secret outlived the reset")?
        .to_string();
    assert!(message.contains("ResourceNotFoundException"), "{message}");
    Ok(())
}

#[tokio::test]
async fn moto_checks_credentials_when_asked() -> Result<()> {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "*"}],
    });
    let (moto, key) = Moto::start_checking(&policy).await?;
    assert!(key.id.starts_with("AKIA") && key.secret.len() == 40);
    let refused = moto
        .create_secret("a", "b")
        .await
        .err()
        .context("credentials are not checked")?;
    assert!(
        format!("{refused:#}").contains("InvalidClientTokenId"),
        "{refused:#}"
    );
    Ok(())
}

#[test]
fn originals_open_what_they_wrote() -> Result<()> {
    let folder = compat::bed::new_folder("originals")?;
    let identity = originals::age_keygen()?.ok()?.text();
    let recipient = identity
        .lines()
        .find_map(|line| line.strip_prefix("# public key: "));
    let recipient = recipient.context("age-keygen prints the recipient")?;
    let key_file = folder.join("key.txt");
    std::fs::write(&key_file, &identity)?;

    for (sops, version) in [
        (originals::sops as fn() -> _, "3.13.3"),
        (originals::sops_3_11, "3.11.0"),
    ] {
        let encrypt = sops()?.args(["encrypt", "--input-type", "yaml", "--output-type", "yaml"]);
        let encrypt = encrypt.args(["--age", recipient, "--filename-override", "a.yaml"]);
        let encrypted = encrypt.input("password: one\n").ok()?;
        assert!(
            encrypted.text().contains(&format!("version: {version}")),
            "{}",
            encrypted.text()
        );
        let file = folder.join(format!("{version}.yaml"));
        std::fs::write(&file, &encrypted.stdout)?;
        let decrypt = sops()?
            .arg("decrypt")
            .arg(&file)
            .env("SOPS_AGE_KEY_FILE", &key_file);
        assert_eq!(decrypt.ok()?.text(), "password: one\n");
    }

    let encrypted = originals::age()?
        .args(["-r", recipient])
        .input("one")
        .ok()?
        .stdout;
    let decrypt = originals::age()?
        .args(["-d", "-i"])
        .arg(&key_file)
        .input(encrypted);
    assert_eq!(decrypt.ok()?.text(), "one");
    assert_eq!(
        originals::kubeseal()?.arg("--version").ok()?.text(),
        "kubeseal version: v0.38.4\n"
    );
    Ok(())
}

/// A second process starts a server and is killed; the kernel ends the server.
#[test]
fn servers_end_with_their_process() -> Result<()> {
    const MARK: &str = "SELKIE_BED_PARENT";
    if let Some(report) = std::env::var_os(MARK) {
        // We are that second process: the thread of this test ends, the server must not.
        let started = std::thread::spawn(sleeper).join();
        let server = started.map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        std::thread::sleep(Duration::from_millis(200));
        server.check_alive()?;
        std::fs::write(report, server.pid().to_string())?;
        std::thread::sleep(Duration::from_secs(60));
        return Ok(());
    }
    let folder = compat::bed::new_folder("parent")?;
    let report = folder.join("pid");
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "servers_end_with_their_process", "--nocapture"])
        .env(MARK, &report)
        .spawn()?;
    let began = Instant::now();
    let pid = loop {
        match std::fs::read_to_string(&report) {
            Ok(pid) if !pid.is_empty() => break pid,
            _ => ensure!(
                began.elapsed() < Duration::from_secs(20),
                "no server was started"
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let process = std::path::PathBuf::from(format!("/proc/{pid}/cmdline"));
    ensure!(
        std::fs::read_to_string(&process)?.starts_with("sleep"),
        "the server runs"
    );
    child.kill()?;
    child.wait()?;
    let killed = Instant::now();
    while std::fs::read_to_string(&process).is_ok_and(|line| line.starts_with("sleep")) {
        ensure!(
            killed.elapsed() < Duration::from_secs(10),
            "the server outlived its parent"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_server_that_ends_at_once_shows_its_log() -> Result<()> {
    let folder = compat::bed::new_folder("ended")?;
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "echo what is wrong >&2; exit 3"]);
    let server = Server::start("shell", command, &folder.join("log"))?;
    let began = Instant::now();
    let error = loop {
        if let Err(error) = server.check_alive() {
            break error.to_string();
        }
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "the end was not noticed"
        );
    };
    assert!(
        error.contains("exit status: 3") && error.contains("what is wrong"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_lost_port_means_another_try() -> Result<()> {
    let tries = Cell::new(0);
    let start = || async {
        tries.set(tries.get() + 1);
        ensure!(
            tries.get() == 3,
            "listen tcp 127.0.0.1:1: bind: address already in use"
        );
        Ok(())
    };
    with_new_ports(start).await?;
    let other = with_new_ports(|| async { Err::<(), _>(anyhow::anyhow!("bad configuration")) });
    assert_eq!(
        other.await.err().context("it fails")?.to_string(),
        "bad configuration"
    );
    assert_eq!(tries.get(), 3);
    Ok(())
}

fn sleeper() -> Result<Server> {
    let folder = compat::bed::new_folder("sleeper")?;
    let mut command = std::process::Command::new("sleep");
    command.arg("60");
    Server::start("sleep", command, &folder.join("log"))
}

async fn status(bao: &OpenBao, token: &str) -> Result<u16> {
    let request = reqwest::Client::new().get(format!("{}/v1/secret/data/database/prod", bao.url()));
    Ok(request
        .header("X-Vault-Token", token)
        .send()
        .await?
        .status()
        .as_u16())
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

#[test]
fn ports_differ() -> Result<()> {
    let listeners: Vec<_> = (0..20)
        .map(|_| Ok(std::net::TcpListener::bind(("127.0.0.1", free_port()?))?))
        .collect::<Result<_>>()?;
    let ports: BTreeMap<_, _> = listeners
        .iter()
        .map(|it| Ok((it.local_addr()?.port(), ())))
        .collect::<Result<_>>()?;
    assert_eq!(ports.len(), 20);
    Ok(())
}

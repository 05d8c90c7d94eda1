//! What the tests of ExternalSecrets share: one controller, one OpenBao, one moto, and a namespace
//! for each test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat::cluster::Cluster;
use compat::controller::Controller;
use compat::moto::{Moto, REGION};
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::wait::eventually;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Client;
use kube::api::{Api, ListParams};
use selkie_api::external_secret::{Condition, ExternalSecretStatus};
use selkie_api::{ClusterSecretStore, ExternalSecret, SecretStore};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Time for something that is not measured, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The limit of the issue for repairs.
pub(crate) const WITHIN_2_S: Duration = Duration::from_secs(2);

/// A test's part of the bed.
pub(crate) struct Bed {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) controller: Arc<Controller>,
    pub(crate) bao: Arc<OpenBao>,
    pub(crate) moto: Arc<Moto>,
    pub(crate) namespace: String,
}

type Servers = (Arc<Controller>, Arc<OpenBao>, Arc<Moto>);

impl Bed {
    /// Returns a new namespace of the bed that all tests of this binary share.
    pub(crate) async fn new() -> Result<Self> {
        static SERVERS: OnceCell<Servers> = OnceCell::const_new();
        let cluster = Cluster::shared().await?;
        let (controller, bao, moto) = SERVERS
            .get_or_try_init(|| async {
                let (bao, moto) = tokio::try_join!(OpenBao::start(), Moto::start())?;
                let controller = start(&cluster, &moto).await?;
                Ok::<_, anyhow::Error>((Arc::new(controller), Arc::new(bao), Arc::new(moto)))
            })
            .await?
            .clone();
        let namespace = cluster.namespace().await?;
        Ok(Self {
            cluster,
            controller,
            bao,
            moto,
            namespace,
        })
    }

    /// Returns servers of its own: nobody else writes to this cluster.
    pub(crate) async fn alone(
        before: impl AsyncFnOnce(&Cluster, &OpenBao) -> Result<()>,
    ) -> Result<Self> {
        let (cluster, bao, moto) =
            tokio::try_join!(Cluster::start(), OpenBao::start(), Moto::start())?;
        before(&cluster, &bao).await?;
        let controller = start(&cluster, &moto).await?;
        let namespace = cluster.namespace().await?;
        Ok(Self {
            controller: Arc::new(controller),
            cluster: Arc::new(cluster),
            bao: Arc::new(bao),
            moto: Arc::new(moto),
            namespace,
        })
    }

    /// The client of an administrator, for this test's runtime.
    pub(crate) async fn client(&self) -> Result<Client> {
        self.cluster.client().await
    }

    pub(crate) async fn secrets(&self) -> Result<Api<Secret>> {
        Ok(Api::namespaced(self.client().await?, &self.namespace))
    }

    pub(crate) async fn externals(&self) -> Result<Api<ExternalSecret>> {
        Ok(Api::namespaced(self.client().await?, &self.namespace))
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Secret> {
        Ok(self.secrets().await?.get(name).await?)
    }

    pub(crate) async fn external(&self, name: &str) -> Result<ExternalSecret> {
        Ok(self.externals().await?.get(name).await?)
    }

    pub(crate) async fn status(&self, name: &str) -> Result<ExternalSecretStatus> {
        self.external(name)
            .await?
            .status
            .context("it has no status")
    }

    pub(crate) async fn other_namespace(&self) -> Result<String> {
        self.cluster.namespace().await
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        // Without a namespace of its own it goes into the test's.
        if manifest.contains("namespace:") && manifest.contains("name: thief") {
            self.cluster
                .kubectl()
                .args(["apply", "--filename", "-"])
                .input(manifest)
                .ok()?;
            return Ok(());
        }
        self.cluster.apply(&self.namespace, manifest).map(drop)
    }

    pub(crate) fn store(&self, manifest: &str) -> Result<()> {
        self.apply(manifest)
    }

    /// The path of a secret of this test in OpenBao: its tests share a server.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// Writes a secret of this test, but for `database/prod`, which a manifest names.
    pub(crate) async fn put(&self, name: &str, data: &Value) -> Result<()> {
        let path = match name {
            "database/prod" => name.to_owned(),
            name => self.path(name),
        };
        self.bao.kv_put(&path, data).await
    }

    /// Makes a Secret with a token.
    pub(crate) fn token(&self, name: &str, token: &str) -> Result<()> {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}}}, stringData: {{token: '{token}'}}}}"
        ))
    }

    pub(crate) fn vault_manifest(&self, version: &str, name: &str, url: &str) -> String {
        format!(
            "
apiVersion: external-secrets.io/{version}
kind: SecretStore
metadata: {{name: {name}}}
spec:
  provider:
    vault:
      server: {url}
      path: secret
      version: v2
      auth: {{tokenSecretRef: {{name: {name}-token, key: token}}}}
"
        )
    }

    /// Makes a SecretStore on the shared OpenBao, and the Secret with its token.
    pub(crate) async fn vault_store(&self, version: &str, name: &str) -> Result<()> {
        self.vault_store_with(version, name, &self.bao.url(), ROOT_TOKEN)
            .await
    }

    pub(crate) async fn vault_store_with(
        &self,
        version: &str,
        name: &str,
        url: &str,
        token: &str,
    ) -> Result<()> {
        self.token(&format!("{name}-token"), token)?;
        self.apply(&self.vault_manifest(version, name, url))
    }

    /// Makes a SecretStore on moto, and the Secret with its keys.
    pub(crate) async fn aws_store(&self, name: &str, prefix: &str) -> Result<()> {
        self.apply(&format!(
            "
apiVersion: v1
kind: Secret
metadata: {{name: {name}-keys}}
stringData: {{id: AKIAEXAMPLE, secret: canary-aws-key}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {{name: {name}}}
spec:
  provider:
    aws:
      service: SecretsManager
      region: {REGION}
      prefix: '{prefix}'
      auth:
        secretRef:
          accessKeyIDSecretRef: {{name: {name}-keys, key: id}}
          secretAccessKeySecretRef: {{name: {name}-keys, key: secret}}
"
        ))
    }

    /// Makes an ExternalSecret with everything of one secret, from the store `vault`.
    pub(crate) fn simple(&self, name: &str, key: &str, interval: &str) -> Result<()> {
        self.simple_from("vault", name, key, interval)
    }

    pub(crate) fn simple_from(
        &self,
        store: &str,
        name: &str,
        key: &str,
        interval: &str,
    ) -> Result<()> {
        let path = self.path(key);
        self.apply(&format!(
            "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  refreshInterval: {interval}
  secretStoreRef: {{name: {store}}}
  dataFrom: [{{extract: {{key: {path}}}}}]
"
        ))
    }

    /// Makes an ExternalSecret with one property, from the store `vault`.
    pub(crate) fn property(&self, name: &str, key: &str, property: &str) -> Result<()> {
        let path = self.path(key);
        self.apply(&format!(
            "
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}}}
spec:
  secretStoreRef: {{name: vault}}
  data: [{{secretKey: k, remoteRef: {{key: {path}, property: '{property}'}}}}]
"
        ))
    }

    /// Waits until an ExternalSecret is Ready.
    pub(crate) async fn synced(&self, name: &str) -> Result<()> {
        self.synced_within(name, SOON).await
    }

    pub(crate) async fn synced_within(&self, name: &str, limit: Duration) -> Result<()> {
        eventually(limit, || async {
            let ready = self.ready(name).await?;
            ensure!(ready.status == "True", "{name}: {:?}", ready.message);
            ensure!(
                ready.reason.as_deref() == Some("SecretSynced"),
                "{:?}",
                ready.reason
            );
            Ok(())
        })
        .await
    }

    /// Waits until an ExternalSecret is not Ready, with `cause` in its message.
    pub(crate) async fn not_ready(&self, name: &str, cause: &str) -> Result<()> {
        eventually(SOON, || async {
            let ready = self.ready(name).await?;
            let message = ready.message.unwrap_or_default();
            ensure!(ready.status == "False", "{name} is {}", ready.status);
            ensure!(
                ready.reason.as_deref() == Some("SecretSyncedError"),
                "{:?}",
                ready.reason
            );
            ensure!(message.contains(cause), "{name}: {message}");
            Ok(())
        })
        .await
    }

    async fn ready(&self, name: &str) -> Result<Condition> {
        let conditions = self.status(name).await?.conditions;
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready");
        ready.context("it has no condition Ready")
    }

    /// Status, reason and message of a SecretStore.
    pub(crate) async fn store_condition(&self, name: &str) -> Result<(String, String, String)> {
        let stores = Api::<SecretStore>::namespaced(self.client().await?, &self.namespace);
        told(
            stores
                .get(name)
                .await?
                .status
                .map(|status| status.conditions),
        )
    }

    pub(crate) async fn cluster_store_condition(
        &self,
        name: &str,
    ) -> Result<(String, String, String)> {
        let stores = Api::<ClusterSecretStore>::all(self.client().await?);
        told(
            stores
                .get(name)
                .await?
                .status
                .map(|status| status.conditions),
        )
    }

    /// The events of the namespace: reason and message.
    pub(crate) async fn events(&self) -> Result<Vec<String>> {
        let events = Api::<Event>::namespaced(self.client().await?, &self.namespace);
        let list = events.list(&ListParams::default()).await?;
        Ok(list
            .items
            .into_iter()
            .map(|event| {
                format!(
                    "{} {}",
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default()
                )
            })
            .collect())
    }

    /// Fails when a value is in the controller's log or metrics, in an event or in a resource.
    pub(crate) async fn no_canary(&self) -> Result<()> {
        let log = self.controller.log()?;
        ensure!(!log.is_empty(), "the controller logs");
        let leak = log.lines().find(|line| shows_a_value(line));
        ensure!(leak.is_none(), "a value in the log: {leak:?}");
        ensure!(
            !shows_a_value(&self.controller.metrics().await?),
            "a value in the metrics"
        );
        let events = self.events().await?;
        ensure!(
            !events.iter().any(|event| shows_a_value(event)),
            "a value in an event: {events:?}"
        );
        for kind in ["externalsecrets", "secretstores", "clustersecretstores"] {
            let objects = self
                .cluster
                .kubectl()
                .args(["get", kind, "-n", &self.namespace, "-o", "yaml"])
                .ok()?
                .text();
            ensure!(!shows_a_value(&objects), "a value in {kind}:\n{objects}");
        }
        Ok(())
    }
}

/// As it is or as base64: every value begins with `canary-`.
fn shows_a_value(text: &str) -> bool {
    text.contains("canary-") || text.contains("Y2FuYXJ5")
}

async fn start(cluster: &Cluster, moto: &Moto) -> Result<Controller> {
    Controller::with("default")
        .arg("--log-level=debug")
        .env("AWS_SECRETSMANAGER_ENDPOINT", moto.url())
        .start(cluster)
        .await
}

fn told(conditions: Option<Vec<Condition>>) -> Result<(String, String, String)> {
    let conditions = conditions.context("no status yet")?;
    let ready = conditions.first().context("no condition yet")?.clone();
    Ok((
        ready.status,
        ready.reason.unwrap_or_default(),
        ready.message.unwrap_or_default(),
    ))
}

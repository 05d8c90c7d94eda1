//! What the tests share: one controller for the whole cluster, a namespace each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use compat::bed::new_folder;
use compat::cluster::Cluster;
use compat::controller::Controller;
use compat::originals::kubeseal;
use compat::wait::eventually;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Within this, drift is repaired (issue 3, "Must show" 5).
pub(crate) const REPAIR: Duration = Duration::from_secs(2);
/// Within this, what is not about speed happens.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// Every sealed value starts with it, and no output may hold it.
pub(crate) const CANARY: &str = "canary-4711";

pub(crate) const UNMANAGED: &str = "already exists and is not managed by SealedSecret";

/// One controller that serves the whole cluster, for every test of this file.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) controller: Controller,
    /// The namespace of the controller and its keys.
    pub(crate) home: String,
    pub(crate) certificate: PathBuf,
}

/// What one test works with: its own namespace and clients.
pub(crate) struct Test {
    pub(crate) shared: &'static Shared,
    pub(crate) namespace: String,
    pub(crate) client: kube::Client,
}

impl Test {
    pub(crate) async fn new() -> Result<Self> {
        static SHARED: OnceCell<Shared> = OnceCell::const_new();
        let shared = SHARED
            .get_or_try_init(|| async {
                let cluster = Cluster::shared().await?;
                let home = cluster.namespace().await?;
                let controller = Controller::with(&home)
                    .arg("--key-size=2048")
                    .start(&cluster)
                    .await?;
                let certificate = certificate(&controller).await?;
                Ok::<_, anyhow::Error>(Shared {
                    cluster,
                    controller,
                    home,
                    certificate,
                })
            })
            .await?;
        Ok(Self {
            shared,
            namespace: shared.cluster.namespace().await?,
            client: shared.cluster.client().await?,
        })
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn sealed(&self) -> Api<DynamicObject> {
        sealed_in(&self.client, &self.namespace)
    }

    /// Seals with the real kubeseal and applies.
    pub(crate) async fn seal_and_apply(&self, name: &str, values: &[(&str, &str)]) -> Result<()> {
        let sealed = self.seal(name, "strict", values)?;
        self.create(&sealed).await
    }

    pub(crate) fn seal(&self, name: &str, scope: &str, values: &[(&str, &str)]) -> Result<Value> {
        let secret = secret(&self.namespace, name, values);
        seal(&self.shared.certificate, scope, &secret)
    }

    /// Creates a SealedSecret in the namespace that its manifest names.
    pub(crate) async fn create(&self, sealed: &Value) -> Result<()> {
        let namespace = sealed["metadata"]["namespace"].as_str();
        let api = sealed_in(&self.client, namespace.unwrap_or(&self.namespace));
        api.create(
            &PostParams::default(),
            &serde_json::from_value(sealed.clone())?,
        )
        .await?;
        Ok(())
    }

    pub(crate) async fn merge(&self, name: &str, patch: Value) -> Result<()> {
        let params = PatchParams::default();
        self.secrets()
            .patch(name, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    pub(crate) async fn merge_sealed(&self, name: &str, patch: Value) -> Result<()> {
        let params = PatchParams::default();
        self.sealed()
            .patch(name, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until the Secret has exactly these values.
    pub(crate) async fn has(
        &self,
        limit: Duration,
        name: &str,
        values: &[(&str, &str)],
    ) -> Result<Secret> {
        eventually(limit, || async {
            let secret = self.secrets().get(name).await?;
            ensure!(
                data(&secret) == expected(values),
                "other keys or values: {:?}",
                data(&secret).keys()
            );
            Ok(secret)
        })
        .await
        .with_context(|| format!("Secret {name}"))
    }

    /// Waits until `Synced` is as given and speaks about the present generation.
    pub(crate) async fn synced(&self, name: &str, status: &str) -> Result<Value> {
        eventually(SOON, || async {
            let object = self.sealed().get(name).await?;
            let present = &object.data["status"];
            let condition = &present["conditions"][0];
            ensure!(
                condition["type"] == "Synced" && condition["status"] == status,
                "the status is {present}"
            );
            ensure!(
                present["observedGeneration"].as_i64() == object.metadata.generation,
                "the status is of another generation: {present}"
            );
            Ok(condition.clone())
        })
        .await
        .with_context(|| format!("SealedSecret {name}"))
    }

    /// Waits until `Synced` is `False` with exactly this message.
    pub(crate) async fn refused(&self, name: &str, message: &str) -> Result<()> {
        eventually(SOON, || async {
            let object = self.sealed().get(name).await?;
            let condition = &object.data["status"]["conditions"][0];
            ensure!(condition["status"] == "False", "the status is {condition}");
            ensure!(
                condition["message"] == message,
                "the message is {}",
                condition["message"]
            );
            Ok(())
        })
        .await
        .with_context(|| format!("SealedSecret {name}"))
    }

    /// Waits for an Event about a SealedSecret.
    pub(crate) async fn event(
        &self,
        name: &str,
        type_: &str,
        reason: &str,
        message: &str,
    ) -> Result<Event> {
        eventually(SOON, || async {
            let events = self.events().await?;
            let found = events.iter().find(|event| {
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
                    && event.message.as_deref() == Some(message)
            });
            let event = found.with_context(|| format!("the events are {}", told(&events)))?;
            ensure!(
                event.type_.as_deref() == Some(type_),
                "its type is {:?}",
                event.type_
            );
            ensure!(
                event
                    .source
                    .as_ref()
                    .and_then(|source| source.component.as_deref())
                    == Some("sealed-secrets"),
                "its source is {:?}",
                event.source
            );
            Ok(event.clone())
        })
        .await
        .with_context(|| format!("event {reason} of {name}"))
    }

    pub(crate) async fn events(&self) -> Result<Vec<Event>> {
        let api = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        Ok(api.list(&ListParams::default()).await?.items)
    }

    pub(crate) async fn no_secret(&self, name: &str) -> Result<()> {
        ensure!(
            self.secrets().get_opt(name).await?.is_none(),
            "there is a Secret {name}"
        );
        Ok(())
    }

    /// Searches everything that was said about this namespace, the log and the metrics for the canary.
    pub(crate) async fn nothing_leaked(&self) -> Result<()> {
        let encoded = BASE64_STANDARD.encode(CANARY);
        let sealed = self.sealed().list(&ListParams::default()).await?;
        let statuses: Vec<_> = sealed.iter().map(|object| &object.data["status"]).collect();
        for (what, text) in [
            ("the log", self.shared.controller.log()?),
            ("an event", serde_json::to_string(&self.events().await?)?),
            ("a metric", self.shared.controller.metrics().await?),
            ("a status", serde_json::to_string(&statuses)?),
        ] {
            ensure!(
                !text.contains(CANARY) && !text.contains(encoded.trim_end_matches('=')),
                "{what} shows a value"
            );
        }
        Ok(())
    }
}

impl Test {
    /// Makes a Secret as somebody else would.
    pub(crate) async fn taken_by_others(&self, name: &str) -> Result<()> {
        let theirs = secret(&self.namespace, name, &[("theirs", "theirs")]);
        self.secrets()
            .create(&PostParams::default(), &serde_json::from_value(theirs)?)
            .await?;
        Ok(())
    }
}

pub(crate) fn is_external(resource: &str) -> bool {
    resource.contains("externalsecret") || resource.contains("secretstore")
}

pub(crate) fn sealed_in(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "bitnami.com".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "bitnami.com/v1alpha1".to_owned(),
        kind: "SealedSecret".to_owned(),
        plural: "sealedsecrets".to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

pub(crate) fn secret(namespace: &str, name: &str, values: &[(&str, &str)]) -> Value {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "stringData": serde_json::Map::from_iter(values),
    })
}

/// Seals with the real kubeseal.
pub(crate) fn seal(certificate: &std::path::Path, scope: &str, secret: &Value) -> Result<Value> {
    kubeseal()?
        .arg("--cert")
        .arg(certificate)
        .args(["--scope", scope, "--format", "json"])
        .input(serde_json::to_vec(secret)?)
        .ok()?
        .json()
}

/// Saves the certificate of a controller to a file of its own.
pub(crate) async fn certificate(controller: &Controller) -> Result<PathBuf> {
    let (status, pem) = controller.get("/v1/cert.pem").await?;
    if status != 200 {
        bail!("/v1/cert.pem answers {status}: {pem}");
    }
    let path = new_folder("certificate")?.join("cert.pem");
    std::fs::write(&path, pem)?;
    Ok(path)
}

pub(crate) fn data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.iter().flatten();
    data.map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

pub(crate) fn expected(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let values = values.iter();
    values
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

pub(crate) fn told(events: &[Event]) -> String {
    let told = events.iter().map(|event| {
        format!(
            "{} {}: {}",
            event.involved_object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default()
        )
    });
    told.collect::<Vec<_>>().join(" | ")
}

//! SealedSecrets: `observe` reads, `decide` is pure, `apply` writes.

pub mod apply;
pub mod decide;
pub mod digests;
pub mod drift;
pub mod flags;
pub mod http;
pub mod key_secret;
pub mod keys;
pub mod metrics;
pub mod observe;
mod pass;
pub mod records;
pub mod trust;
pub mod unseal;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
};

use kube::{Api, Resource};
use selkie_api::SealedSecret;
use tokio::sync::{Semaphore, watch};

use self::{
    drift::Drift,
    http::HttpSettings,
    keys::{KeySettings, Keys},
    metrics::SealedMetrics,
    pass::{Memory, Passes},
    records::Records,
};
use crate::support::{
    bucket::Rate,
    context::Context,
    queue::Queue,
    view::{Change, ObjectKey, View},
};

/// SealedSecrets that are worked on at the same time. Most of a pass is waiting for the API server;
/// the decryption has a limit of its own.
const WORKERS: usize = 8;

/// How SealedSecrets are served.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How keys are made.
    pub keys: KeySettings,
    /// Whether the status is written.
    pub update_status: bool,
    /// Which SealedSecrets are served; `None` is all.
    pub selector: Option<String>,
    /// Whether `spec.data` is opened.
    pub accept_deprecated: bool,
    /// Whether the Secret of a deleted SealedSecret is deleted here.
    pub old_gc: bool,
    /// Whether a deleted Secret stays away until something changes.
    pub skip_recreate: bool,
    /// Quick retries of a refused write.
    pub quick_retries: u32,
    /// Whether Secrets with the label of keys or of a token type are made.
    pub allow_privileged: bool,
    /// What is done when somebody else changes a Secret; `None` depends on who made it.
    pub drift: Option<Drift>,
    /// Rate of the client of the API server; `None` is no limit.
    pub api_rate: Option<Rate>,
    /// How the HTTP API is served.
    pub http: HttpSettings,
}

/// Serves SealedSecrets until the shutdown is requested.
///
/// `keys` is filled for the HTTP API, too. A replica that does not lead reads the keys, so that it
/// serves the certificate, and writes nothing.
pub async fn run(
    context: Context,
    settings: Settings,
    keys: Keys,
    metrics: SealedMetrics,
    leading: watch::Receiver<bool>,
) {
    let keys_gate = context.health.gate("sealing keys");
    let list_gate = context.health.gate("the list of SealedSecrets");
    let sealed = View::<SealedSecret>::new();
    let queue = Queue::new();
    let records = Records::default();
    let passes = Passes {
        context: &context,
        settings: &settings,
        sealed: &sealed,
        keys: &keys,
        metrics: &metrics,
        queue: &queue,
        memory: Mutex::new(HashMap::new()),
        cpu: Semaphore::new(available_parallelism().map_or(2, Into::into)),
        records: &records,
    };
    let makes_keys = leading.clone();
    tokio::join!(
        keys.run(&context, &settings.keys, &metrics, makes_keys, keys_gate),
        sealed.run_selected(
            context.client.clone(),
            &context.namespaces,
            settings.selector.as_deref(),
            |object: SealedSecret| object,
            list_gate,
            &context.shutdown,
        ),
        context
            .shutdown
            .or(enqueue(&context, &sealed, &keys, &queue, &passes.memory)),
        async {
            let mut leading = leading.clone();
            let ready = async {
                // An error means that the process is ending.
                let _ = leading.wait_for(|leading| *leading).await;
                sealed.listed().await;
                context.secrets.listed().await;
                // Without keys everything would fail once and be told so.
                let _ = keys
                    .subscribe()
                    .wait_for(|loaded| !loaded.ring.is_empty())
                    .await;
                records.load(&context).await;
            };
            if context.shutdown.or(ready).await.is_some() {
                records.retain(&uids(&sealed));
                tokio::join!(
                    queue.run(WORKERS, &context.shutdown, |key| passes.run(key)),
                    records.run(&context, &metrics),
                );
            }
        },
    );
}

fn uids(sealed: &View<SealedSecret>) -> BTreeSet<String> {
    let keys = sealed.filter(|_, _| true).into_iter();
    let objects = keys.filter_map(|key| sealed.get(&key.namespace, &key.name));
    objects
        .filter_map(|object| object.metadata.uid.clone())
        .collect()
}

/// Puts into the queue what a change concerns.
async fn enqueue(
    context: &Context,
    sealed: &View<SealedSecret>,
    keys: &Keys,
    queue: &Queue<ObjectKey>,
    memory: &Mutex<HashMap<ObjectKey, Memory>>,
) {
    let mut sealed_changes = sealed.subscribe();
    let mut secret_changes = context.secrets.subscribe();
    let mut key_changes = keys.subscribe();
    let all = || {
        let remembered: Vec<_> = {
            let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.keys().cloned().collect()
        };
        for key in sealed.filter(|_, _| true).into_iter().chain(remembered) {
            queue.add_to_backlog(key);
        }
    };
    all();
    loop {
        let change = tokio::select! {
            change = sealed_changes.next() => change,
            change = secret_changes.next() => match change {
                // The Secret has the name of its SealedSecret.
                Change::One(key) if sealed.get(&key.namespace, &key.name).is_none() => continue,
                change => change,
            },
            // With another key, what failed may open, and what opened may not.
            Ok(()) = key_changes.changed() => Change::All,
        };
        match change {
            Change::One(key) => queue.add(key),
            Change::All => all(),
        }
    }
}

fn api<K>(context: &Context, namespace: &str) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(context.client.clone(), namespace)
}

/// The handle that the passes share.
type Shared = Arc<SealedSecret>;

//! ExternalSecrets and their stores (external-secrets.md 1-10).
//!
//! `observe` reads, [`fetch`] asks the stores, [`decide`] is pure, [`apply`] writes; `reconcile` puts
//! them together for one ExternalSecret and [`store`] validates stores. Differences from the original
//! and their reasons: docs/decisions/0007-external-secrets.md.

pub mod apply;
pub mod decide;
pub mod fetch;
pub mod guard;
mod index;
pub mod markers;
pub mod metrics;
pub mod observe;
pub mod provider;
mod reconcile;
pub mod sessions;
pub mod status;
pub mod store;
mod triggers;
mod turns;
pub mod wish;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use kube::Api;
use selkie_api::external_secret::GROUP;
use selkie_api::secret_store::ClusterSecretStore;
use tracing::info;

use crate::support::context::{Context, Namespaces};
use crate::support::health::Gate;
use reconcile::Controller;
use store::StoreObject;

/// Component name of events, the original's.
pub(crate) const COMPONENT: &str = "external-secrets";
/// The class of stores that this controller serves, besides those without one.
const CONTROLLER_CLASS: &str = "default";
/// ExternalSecrets that are worked on at the same time.
const WORKERS: usize = 24;
/// Of these, those that fetch from one store: one that is slow leaves workers for the others.
const AT_ONE_STORE: usize = 8;
/// Stores that are validated at the same time.
const STORE_WORKERS: usize = 8;
/// How long all values of one ExternalSecret, or the validation of one store, may take.
const FETCH_LIMIT: Duration = Duration::from_secs(30);
/// How often to look whether the resources are there at all.
const PROBE: Duration = Duration::from_secs(10);

/// Runs the controllers of this module until the shutdown is requested.
pub async fn run(context: Context) {
    let gates = [
        context.health.gate("externalsecrets"),
        context.health.gate("secretstores"),
        context.health.gate("clustersecretstores"),
    ];
    let served = async {
        let mut told = false;
        while !is_served(&context).await {
            if !told {
                info!("{GROUP} is not served by this cluster; ExternalSecrets wait for its CRDs");
                told = true;
                gates.iter().for_each(Gate::ready);
            }
            tokio::time::sleep(PROBE).await;
        }
    };
    if context.shutdown.or(served).await.is_none() {
        return;
    }
    let controller = Arc::new(Controller::new(context.clone()));
    let shutdown = &context.shutdown;
    let [secrets_gate, stores_gate, cluster_gate] = gates;
    let (client, namespaces) = (context.client.clone(), &context.namespaces);
    let kept = controller.kept.clone();
    let stores = controller.stores.clone();
    // Before the watches, so that no change is missed.
    let triggers = controller.triggers();
    let watches = async {
        let secrets = kept.run(
            client.clone(),
            namespaces,
            observe::Kept::keep,
            secrets_gate,
            shutdown,
        );
        let namespaced = stores.namespaced.run(
            client.clone(),
            namespaces,
            StoreObject::keep,
            stores_gate,
            shutdown,
        );
        // Without rights to the whole cluster there are no cluster-wide stores.
        let apis = match namespaces {
            Namespaces::All => vec![(None, Api::<ClusterSecretStore>::all(client.clone()))],
            Namespaces::Only(_) => {
                cluster_gate.ready();
                Vec::new()
            }
        };
        let cluster =
            stores
                .cluster
                .run_on(apis, StoreObject::keep_cluster, cluster_gate, shutdown);
        join(join(secrets, namespaced), cluster).await;
    };
    let work = async {
        let listed = async {
            context.secrets.listed().await;
            kept.listed().await;
            stores.namespaced.listed().await;
            if matches!(namespaces, Namespaces::All) {
                stores.cluster.listed().await;
            }
        };
        if shutdown.or(listed).await.is_none() {
            return;
        }
        let secrets = controller.queue.run(WORKERS, shutdown, |key| {
            let controller = Arc::clone(&controller);
            async move { controller.reconcile(key).await }
        });
        let validation = controller.store_queue.run(STORE_WORKERS, shutdown, |key| {
            let controller = Arc::clone(&controller);
            async move { controller.validate(key).await }
        });
        join(secrets, validation).await;
    };
    join(join(watches, shutdown.or(triggers)), work).await;
}

/// Asks whether the CRDs are installed; when nobody can tell, the watches will.
async fn is_served(context: &Context) -> bool {
    let group = format!("{GROUP}/v1");
    match context.client.list_api_group_resources(&group).await {
        Ok(list) => ["externalsecrets", "secretstores", "clustersecretstores"]
            .iter()
            .all(|plural| {
                list.resources
                    .iter()
                    .any(|resource| resource.name == *plural)
            }),
        Err(kube::Error::Api(status)) if status.is_not_found() => false,
        Err(_) => true,
    }
}

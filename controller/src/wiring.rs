//! Puts the parts together and runs them until the end is requested.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::future::OptionFuture;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tracing::{error, info};

use crate::{
    args::{Kinds, Serve},
    external,
    sealed::{self, keys::Keys, metrics::SealedMetrics},
    support::{
        api_calls,
        context::{Context, Environment},
        events::Recorder,
        health::Health,
        http::{self, ListenError, Listener},
        lease::{Candidate, Leadership, LeaseEnd, Pace, Tenure, lead},
        metrics::Metrics,
        secret_watch::{SecretMeta, SecretWatch},
        shutdown::{Shutdown, shutdown},
    },
};

/// Time that running passes have to end after the shutdown was requested.
const GRACE: Duration = Duration::from_secs(5);

/// What the surroundings say, read once in `main`.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `POD_NAMESPACE`.
    pub pod_namespace: Option<String>,
    /// Pod or host name and, outside of a cluster, the process number.
    pub identity: String,
    /// `KUBECONFIG`.
    pub kubeconfig: Option<PathBuf>,
    /// Told when SIGUSR1 asks for a new sealing key.
    pub renewals: Arc<Notify>,
    /// Endpoint overrides.
    pub environment: Environment,
}

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {path} cannot be used: {source}")]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor a service account.
    #[error("no cluster: not in a pod ({0}), and neither --kubeconfig nor KUBECONFIG names a file")]
    NoCluster(#[source] Box<kube::config::InClusterError>),
    /// The client cannot be made.
    #[error("the client of the API server cannot be made: {0}")]
    Client(#[source] Box<kube::Error>),
    /// A port is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Another replica took over.
    #[error("the Lease was lost; the process ends so that another replica can lead")]
    LeaseLost,
    /// Nobody asked for it.
    #[error(
        "the controllers ended by themselves, which is a defect; the process ends to be restarted"
    )]
    Stopped,
}

/// Serves until `ended` completes, then ends cleanly.
pub async fn serve(
    options: Serve,
    surroundings: Surroundings,
    ended: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let config = config(&options, &surroundings).await?;
    let own_namespace = surroundings
        .pod_namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let tenure = if options.leader_elect {
        Tenure::none()
    } else {
        Tenure::unlimited()
    };
    let wrong = |error| ServeError::Client(Box::new(error));
    // The Lease itself is written before there is a tenure.
    let lease_client = api_calls::client(config.clone(), None, None).map_err(wrong)?;
    let rate = options.sealed.api_rate;
    let client = api_calls::client(config, Some(tenure.clone()), rate).map_err(wrong)?;
    let limits = &options.sealed.http;
    let api = Listener::open("the HTTP API", options.listen)?
        .with_limits(limits.read_timeout, limits.write_timeout);
    let metrics_listener = Listener::open("metrics", options.listen_metrics)?;

    let (trigger, shutdown) = shutdown();
    let context = Context {
        client: client.clone(),
        events: Recorder::new(client.clone(), &surroundings.identity),
        metrics: Metrics::default(),
        health: Health::default(),
        shutdown: shutdown.clone(),
        secrets: SecretWatch::new(),
        namespaces: options.namespaces.resolve(&own_namespace),
        own_namespace,
        environment: surroundings.environment.clone(),
    };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = context.own_namespace,
        namespaces = ?context.namespaces,
        sealed = options.kinds.sealed,
        external = options.kinds.external,
        "starting"
    );
    let candidate = Candidate {
        namespace: context.own_namespace.clone(),
        name: lease(options.kinds).to_owned(),
        identity: surroundings.identity,
        pace: Pace::default(),
    };
    let (leads, leading) = watch::channel(!options.leader_elect);
    let keys = Keys::new(surroundings.renewals);
    let work = work(&context, &options, keys, leading, api, metrics_listener);
    let (finish, finished) = self::shutdown();
    let lease = async {
        if !options.leader_elect {
            finished.requested().await;
            return LeaseEnd::Released;
        }
        let leadership = Leadership {
            tenure: &tenure,
            leading: &leads,
            gate: context.health.gate("the Lease, see the log"),
            shutdown: &shutdown,
            finished: &finished,
        };
        lead(lease_client, &candidate, leadership).await
    };
    let (mut work, mut lease) = (Box::pin(work), Box::pin(lease));
    tokio::select! {
        () = ended => {}
        // Whoever lost the Lease must not write any more, so nothing is waited for.
        _ = &mut lease => return Err(ServeError::LeaseLost),
        () = &mut work => return Err(ServeError::Stopped),
    }
    info!("ending");
    trigger.request();
    // The Lease is renewed until all that writes has ended, and given back only then.
    let working = timeout(GRACE, async {
        tokio::select! {
            () = &mut work => None,
            end = &mut lease => Some(end),
        }
    });
    match working.await {
        Ok(None) => {
            finish.request();
            if timeout(GRACE, lease).await.is_err() {
                error!("the Lease was not given back within {GRACE:?}; it ends by itself");
            }
        }
        Ok(Some(LeaseEnd::Lost)) => return Err(ServeError::LeaseLost),
        // It never led, so nothing was being written.
        Ok(Some(LeaseEnd::Released)) => {
            if timeout(GRACE, work).await.is_err() {
                error!("something was still running after {GRACE:?}");
            }
        }
        Err(_) => {
            error!("something was still running after {GRACE:?}; the Lease ends by itself");
        }
    }
    info!("ended");
    Ok(())
}

/// Everything that runs at the same time.
async fn work(
    context: &Context,
    options: &Serve,
    keys: Keys,
    leading: watch::Receiver<bool>,
    api: Listener,
    metrics_listener: Listener,
) {
    let Kinds { sealed, external } = options.kinds;
    let probes = http::probes(context.health.clone());
    let (routes, sealed) = if sealed {
        let metrics = SealedMetrics::new(&context.metrics);
        let routes = sealed::http::routes(keys.clone(), metrics.clone(), &options.sealed);
        let routes = routes.merge(probes);
        let (settings, leading) = (options.sealed.clone(), leading.clone());
        let run = sealed::run(context.clone(), settings, keys, metrics, leading);
        (routes, Some(run))
    } else {
        (probes, None)
    };
    let external = external.then(|| lead_external(context, leading, &context.shutdown));
    let list_gate = context.health.gate("the list of Secrets");
    let shutdown = &context.shutdown;
    tokio::join!(
        api.serve(routes, shutdown),
        metrics_listener.serve(http::metrics(context.metrics.clone()), shutdown),
        context.secrets.run(
            context.client.clone(),
            &context.namespaces,
            SecretMeta::keep,
            list_gate,
            shutdown,
        ),
        OptionFuture::from(sealed),
        OptionFuture::from(external),
    );
}

/// Returns the name of the Lease. Processes that serve different halves do not wait for each other.
///
/// One that serves both competes for SealedSecrets only: nothing keeps it from writing beside one that
/// serves ExternalSecrets alone, so an installation is of one kind or the other (docs/install.md).
fn lease(kinds: Kinds) -> &'static str {
    if kinds.sealed {
        "selkie-controller"
    } else {
        "selkie-controller-external"
    }
}

async fn lead_external(context: &Context, mut leading: watch::Receiver<bool>, shutdown: &Shutdown) {
    let led = async {
        // An error means that the process is ending.
        let _ = leading.wait_for(|leading| *leading).await;
    };
    if shutdown.or(led).await.is_some() {
        external::run(context.clone()).await;
    }
}

async fn config(options: &Serve, surroundings: &Surroundings) -> Result<Config, ServeError> {
    let named = options.kubeconfig.clone();
    let Some(path) = named.or_else(|| surroundings.kubeconfig.clone()) else {
        return Config::incluster().map_err(|error| ServeError::NoCluster(Box::new(error)));
    };
    let wrong = |source| ServeError::Kubeconfig {
        path: path.clone(),
        source: Box::new(source),
    };
    let file = Kubeconfig::read_from(&path).map_err(wrong)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(wrong)
}

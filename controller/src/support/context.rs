//! What every controller of this process shares.

use kube::Client;

use super::{
    events::Recorder, health::Health, metrics::Metrics, secret_watch::SecretWatch,
    shutdown::Shutdown,
};

/// The shared parts; cloning is cheap, every part is a handle.
#[derive(Clone)]
pub struct Context {
    /// Client of the API server. Its retries of 429, 503 and 504 are kube's own.
    pub client: Client,
    /// Writes core/v1 Events, aggregated and limited.
    pub events: Recorder,
    /// What `/metrics` shows; register metrics with [`Metrics::register`].
    pub metrics: Metrics,
    /// What `/readyz` waits for; take a gate with [`Health::gate`] before the first await.
    pub health: Health,
    /// Asks every task to end; a controller returns soon after it is requested.
    pub shutdown: Shutdown,
    /// Metadata of all Secrets of the watched namespaces, from one watch.
    pub secrets: SecretWatch,
    /// Namespace that the controller runs in.
    pub own_namespace: String,
    /// Namespaces that are served.
    pub namespaces: Namespaces,
    /// Endpoint overrides and the like that the process was started with.
    pub environment: Environment,
}

/// The namespaces that are served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Namespaces {
    /// The whole cluster.
    All,
    /// These, sorted, each once.
    Only(Vec<String>),
}

impl Namespaces {
    /// Returns the namespace of each watch to start; `None` is the whole cluster.
    pub fn watches(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Only(names) => names.iter().cloned().map(Some).collect(),
        }
    }
}

/// What the environment says, read once in `main` (design.md, invariant 7).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Environment {
    /// `AWS_SECRETSMANAGER_ENDPOINT`, else `AWS_ENDPOINT_URL_SECRETS_MANAGER`, else `AWS_ENDPOINT_URL`.
    pub aws_secretsmanager_endpoint: Option<String>,
}

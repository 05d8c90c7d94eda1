//! The cluster that a kubeconfig names. The runtime and the TLS library start here, and only here,
//! so that verbs that need no network pay for neither.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::Service;
use kube::client::{AuthError, Body};
use kube::{Api, Client};

use crate::certificate_source::causes;
use crate::failure::{Failure, Kind};
use crate::kubeconfig::{Access, KubeconfigProblem, Overrides};

/// Which cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// Path of the kubeconfig; else KUBECONFIG, ~/.kube/config, or the cluster this runs in
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) context: Option<String>,
}

impl ClusterFlags {
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone().unwrap_or_default(),
            ..Overrides::default()
        }
    }
}

/// Runs something that needs the network.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    // Somebody else may have installed one; either will do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Kind::Other, format!("the network cannot be used: {error}"))
        })?;
    Ok(runtime.block_on(future))
}

/// Why the controller of a cluster does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerProblem {
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigProblem),
    /// The runtime or the TLS library does not start.
    #[error("{0}")]
    Network(String),
    /// Its Service cannot be read.
    #[error("{0}")]
    Service(String),
    /// The request through the Service did not succeed.
    #[error("{reason}")]
    Answer {
        /// The status, if there was an answer.
        status: Option<StatusCode>,
        reason: String,
    },
}

/// The controller of a cluster, reached through the API server's proxy as kubeseal reaches it
/// (sealed-secrets.md 10).
pub(crate) struct Controller {
    client: Client,
    /// The path of its Service's proxy.
    path: String,
    limit: Option<Duration>,
}

impl Controller {
    /// Finds the Service. `limit` is for each request; `None` waits for ever.
    pub(crate) async fn connect(
        overrides: &Overrides,
        name: &str,
        namespace: &str,
        limit: Option<Duration>,
    ) -> Result<Self, ControllerProblem> {
        let mut config = Access::load(overrides)?.config().await?;
        // The library's own retries go on for minutes, in silence.
        config.default_retry = false;
        let client =
            Client::try_from(config).map_err(|error| ControllerProblem::Network(told(&error)))?;
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let service = within(limit, services.get(name)).await;
        let service = service
            .map_err(ControllerProblem::Service)?
            .map_err(|error| ControllerProblem::Service(told(&error)))?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports
            .first()
            .and_then(|port| port.name.clone())
            .unwrap_or_default();
        // The name is literal in the RBAC rules: nothing after the second colon when unnamed.
        let path = format!("/api/v1/namespaces/{namespace}/services/http:{name}:{port}/proxy");
        Ok(Self {
            client,
            path,
            limit,
        })
    }

    /// Fetches the certificate that seals.
    pub(crate) async fn certificate(&self) -> Result<Vec<u8>, ControllerProblem> {
        let request = Request::get(format!("{}/v1/cert.pem", self.path))
            .header("Accept", "application/x-pem-file, */*");
        self.send(request, Vec::new()).await
    }

    /// Posts a SealedSecret to `/v1/verify` or `/v1/rotate` and returns the answer.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Result<Vec<u8>, ControllerProblem> {
        let request = Request::post(format!("{}{path}", self.path));
        self.send(request, body.as_bytes().to_vec()).await
    }

    /// Sends a request; an answer that says when to ask again is obeyed, as client-go does.
    async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, ControllerProblem> {
        let no_answer = |reason: String| ControllerProblem::Answer {
            status: None,
            reason,
        };
        let request = request
            .body(body)
            .map_err(|error| no_answer(error.to_string()))?;
        let mut asked = 0;
        loop {
            asked += 1;
            let exchange = async {
                let answer = self.client.send(request.clone().map(Body::from)).await?;
                let (head, body) = answer.into_parts();
                Ok::<_, kube::Error>((head, body.collect_bytes().await?))
            };
            let answer = within(self.limit, exchange).await.map_err(no_answer)?;
            let (head, body) = answer.map_err(|error| no_answer(told(&error)))?;
            if head.status.is_success() {
                return Ok(body.to_vec());
            }
            let again = head.headers.get("retry-after");
            let seconds = again.and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
            let may_wait =
                head.status == StatusCode::TOO_MANY_REQUESTS || head.status.is_server_error();
            if let Some(seconds) = seconds.filter(|_| may_wait && asked <= MOST_RETRIES) {
                let wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
                tokio::time::sleep(wait).await;
                continue;
            }
            return Err(ControllerProblem::Answer {
                status: Some(head.status),
                reason: reason(head.status, &body),
            });
        }
    }
}

/// What an answer says: the message of a Status of the API server, else a short text.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = parsed.and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
    match text.as_str() {
        "" => format!("the server answered {status}"),
        text if text.len() > LONGEST_TEXT => format!("the server answered {status}"),
        text => text.to_owned(),
    }
}

/// An error of the API server in its own words; another one with what caused it, but never with
/// what a login program printed: that may be a token.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => {
            let status = out.status;
            format!("getting credentials: exec: executable {cmd} failed with {status}")
        }
        kube::Error::Auth(AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_)) => {
            "getting credentials: exec: what the login program printed is no ExecCredential"
                .to_owned()
        }
        error => causes(error),
    }
}

/// Fetches the certificate of a controller, for the verbs of `selkie`.
pub(crate) fn certificate(
    flags: &ClusterFlags,
    name: &str,
    namespace: &str,
) -> Result<String, Failure> {
    let overrides = flags.overrides();
    let fetched = block_on(async {
        let controller = Controller::connect(&overrides, name, namespace, Some(TIMEOUT)).await?;
        controller.certificate().await
    })?;
    let bytes = fetched.map_err(|problem| match problem {
        ControllerProblem::Kubeconfig(problem) => unusable(&problem),
        ControllerProblem::Network(reason) => unusable(&reason),
        ControllerProblem::Service(reason) => {
            let message = format!("cannot get sealed secret service {namespace}/{name}: {reason}");
            Failure::new(Kind::Other, message).hint(
                "name the controller with --controller-name and --controller-namespace,\n\
                 or give the certificate with --cert",
            )
        }
        ControllerProblem::Answer { reason, .. } => {
            Failure::new(Kind::Other, format!("cannot fetch certificate: {reason}"))
                .hint("is the controller running? It may need a moment after its first start")
        }
    })?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(
            Kind::Other,
            "cannot fetch certificate: the answer is not text",
        )
    })
}

/// Runs something for at most so long; the error says so.
async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Result<T, String> {
    match limit {
        None => Ok(future.await),
        Some(limit) => tokio::time::timeout(limit, future)
            .await
            .map_err(|_| format!("the cluster did not answer within {} s", limit.as_secs())),
    }
}

/// Returns the namespace of a Secret that names none: that of the context, or `default` when there
/// is a usable kubeconfig (sealed-secrets.md 12.5, rule 4).
pub(crate) fn default_namespace(flags: &ClusterFlags) -> Option<String> {
    let overrides = flags.overrides();
    let (namespace, _) = Access::load(&overrides).ok()?.namespace().ok()?;
    Some(namespace)
}

fn unusable(reason: &impl std::fmt::Display) -> Failure {
    Failure::new(
        Kind::Other,
        format!("no usable cluster configuration: {reason}"),
    )
    .hint("see --kubeconfig and --context, or give the certificate with --cert")
}

/// For each request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// As client-go: so often, and never longer than a caller would wait.
const MOST_RETRIES: usize = 10;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Longer texts are pages of a proxy.
const LONGEST_TEXT: usize = 500;

//! The cluster that a kubeconfig names. The runtime and the TLS library start here, and only here,
//! so that verbs that need no network pay for neither.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Service;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};

use crate::certificate_source::causes;
use crate::failure::{Failure, Kind};

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

/// Fetches the certificate of a controller through the API server's proxy, as kubeseal does
/// (sealed-secrets.md 10).
pub(crate) fn certificate(
    flags: &ClusterFlags,
    name: &str,
    namespace: &str,
) -> Result<String, Failure> {
    block_on(within(TIMEOUT, async {
        let mut config = config(flags).await?;
        // The library's own retries go on for minutes, in silence.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let service = services.get(name).await.map_err(|error| {
            let message = format!(
                "cannot get sealed secret service {namespace}/{name}: {}",
                causes(&error)
            );
            Failure::new(Kind::Other, message).hint(
                "name the controller with --controller-name and --controller-namespace,\n\
                 or give the certificate with --cert",
            )
        })?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports
            .first()
            .and_then(|port| port.name.clone())
            .unwrap_or_default();
        // The name is literal in the RBAC rules: nothing after the second colon when unnamed.
        let path =
            format!("/api/v1/namespaces/{namespace}/services/http:{name}:{port}/proxy/v1/cert.pem");
        let failed = |reason: String| {
            Failure::new(Kind::Other, format!("cannot fetch certificate: {reason}"))
                .hint("is the controller running? It may need a moment after its first start")
        };
        let request = http::Request::get(path)
            .header("Accept", "application/x-pem-file, */*")
            .body(Vec::new())
            .map_err(|error| failed(error.to_string()))?;
        let text = client.request_text(request).await;
        text.map_err(|error| failed(causes(&error)))
    }))?
}

async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("the cluster did not answer within {} s", limit.as_secs());
            Err(Failure::new(Kind::Other, message)
                .hint("see --kubeconfig and --context, or give the certificate with --cert"))
        }
    }
}

/// Returns the namespace of a Secret that names none: that of the context, or `default` when there
/// is a usable kubeconfig (sealed-secrets.md 12.5, rule 4).
pub(crate) fn default_namespace(flags: &ClusterFlags) -> Option<String> {
    let config = block_on(config(flags)).ok()?.ok()?;
    Some(config.default_namespace)
}

async fn config(flags: &ClusterFlags) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: flags.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &flags.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.map_err(|error| unusable(&error));
    }
    if flags.context.is_some() {
        let config = Config::from_kubeconfig(&options).await;
        return config.map_err(|error| unusable(&error));
    }
    Config::infer().await.map_err(|error| unusable(&error))
}

/// A parser's error could quote the kubeconfig, which holds tokens: those are told without it.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut chain =
        std::iter::successors(Some(error), |error: &&(dyn std::error::Error + 'static)| {
            error.source()
        });
    let hides = chain.any(|error| matches!(error.downcast_ref(), Some(KubeconfigError::Parse(_))));
    let reason = match hides {
        true => "the kubeconfig is not valid".to_owned(),
        false => causes(error),
    };
    Failure::new(
        Kind::Other,
        format!("no usable cluster configuration: {reason}"),
    )
    .hint("see --kubeconfig and --context, or give the certificate with --cert")
}

/// For all requests of one fetch together.
const TIMEOUT: Duration = Duration::from_secs(30);

//! The HTTP API of SealedSecrets: `/v1/cert.pem` (sealed-secrets.md 9.2).

use std::time::Instant;

use axum::{
    Router,
    extract::State,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};

use super::{keys::Keys, metrics::SealedMetrics};

const CERTIFICATE: &str = "/v1/cert.pem";

#[derive(Clone)]
struct Served {
    keys: Keys,
    metrics: SealedMetrics,
}

/// Returns the routes. Methods are not checked, as upstream.
pub fn routes(keys: Keys, metrics: SealedMetrics) -> Router {
    Router::new()
        .route(CERTIFICATE, any(certificate))
        .with_state(Served { keys, metrics })
}

/// Answers with the certificate that seals.
async fn certificate(State(served): State<Served>, method: Method) -> Response {
    let began = Instant::now();
    let response = match served.keys.certificate() {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "cannot get certificate\n",
        )
            .into_response(),
    };
    let code = response.status().as_u16();
    served
        .metrics
        .http(CERTIFICATE, method.as_str(), code, began.elapsed());
    response
}

//! The two listeners: the HTTP API with the probes, and the metrics.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::{
    health::Health,
    metrics::{CONTENT_TYPE, Metrics},
    shutdown::Shutdown,
};

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {source}; another process may use the port")]
pub struct ListenError {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// An open listener.
pub struct Listener {
    what: &'static str,
    socket: TcpListener,
}

impl Listener {
    /// Opens a port. `what` names it in messages.
    pub async fn open(what: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        match TcpListener::bind(address).await {
            Ok(socket) => Ok(Self { what, socket }),
            Err(source) => Err(ListenError {
                what,
                address,
                source,
            }),
        }
    }

    /// Serves `routes` until the shutdown is requested.
    pub async fn serve(self, routes: Router, shutdown: &Shutdown) {
        let Self { what, socket } = self;
        match socket.local_addr() {
            Ok(address) => info!(%address, what, "listening"),
            Err(error) => error!(%error, what, "listening on an unknown address"),
        }
        // Not graceful: a client that keeps its connection open must not keep the process.
        if let Some(Err(error)) = shutdown
            .or(async { axum::serve(socket, routes).await })
            .await
        {
            error!(%error, what, "the listener ended");
        }
    }
}

/// Returns the probes: `/healthz` is alive, `/readyz` names what is missing.
pub fn probes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found\n") })
        .with_state(health)
}

/// Returns the route of the metrics.
pub fn metrics(metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(text))
        .with_state(metrics)
}

async fn ready(State(health): State<Health>) -> Response {
    let closed = health.closed();
    if closed.is_empty() {
        return "ok\n".into_response();
    }
    let text = format!("not ready, waiting for: {}\n", closed.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn text(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

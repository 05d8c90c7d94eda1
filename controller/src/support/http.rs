//! The two listeners: the HTTP API with the probes, and the metrics.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tracing::{error, info};

use super::{
    health::Health,
    metrics::{CONTENT_TYPE, Metrics},
    shutdown::Shutdown,
    timed::{Limits, TimedListener},
};

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {what}: {source}; another process may use the port")]
pub struct ListenError {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// Connections that wait for being accepted.
const BACKLOG: i32 = 1024;

/// An open listener.
pub struct Listener {
    what: &'static str,
    socket: TcpListener,
    limits: Limits,
}

impl Listener {
    /// Opens a port. `what` names it in messages.
    ///
    /// `[::]` means every address of both families, whatever the system's default
    /// (`net.ipv6.bindv6only`), and `0.0.0.0` where there is no IPv6. Must be called in a runtime.
    pub fn open(what: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let opened = match listen(address) {
            Err(error) if is_any_v6(address) && has_no_ipv6(&error) => {
                listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
            }
            opened => opened,
        };
        match opened {
            Ok(socket) => Ok(Self {
                what,
                socket,
                limits: Limits::default(),
            }),
            Err(source) => Err(ListenError {
                what,
                address,
                source,
            }),
        }
    }

    /// Closes connections that are silent for so long; zero is no limit.
    #[must_use]
    pub fn with_limits(self, read: Duration, write: Duration) -> Self {
        let limits = Limits { read, write };
        Self { limits, ..self }
    }

    /// Serves `routes` until the shutdown is requested.
    pub async fn serve(self, routes: Router, shutdown: &Shutdown) {
        let Self {
            what,
            socket,
            limits,
        } = self;
        match socket.local_addr() {
            Ok(address) => info!(%address, what, "listening"),
            Err(error) => error!(%error, what, "listening on an unknown address"),
        }
        // Not graceful: a client that keeps its connection open must not keep the process.
        if let Some(Err(error)) = shutdown
            .or(async { axum::serve(TimedListener { socket, limits }, routes).await })
            .await
        {
            error!(%error, what, "the listener ended");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if is_any_v6(address) {
        socket.set_only_v6(false)?;
    }
    // A restarted process takes its port back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Returns whether the kernel knows no IPv6 at all, or has none switched on.
fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Returns the probes: `/healthz` is alive, whatever the method (sealed-secrets.md 9.1); `/readyz` names what is missing.
pub fn probes(health: Health) -> Router {
    Router::new()
        .route("/healthz", any(|| async { "ok\n" }))
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    #[tokio::test]
    async fn every_address_means_both_families() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = Listener::open("test", any).unwrap();
        let port = listener.socket.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let error = Listener::open("test", SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("for test") && error.contains("in use"),
            "{error}"
        );
    }

    #[test]
    fn a_kernel_without_ipv6_is_recognised() {
        for (errno, expected) in [
            (rustix::io::Errno::AFNOSUPPORT, true),
            (rustix::io::Errno::ADDRNOTAVAIL, true),
            (rustix::io::Errno::ADDRINUSE, false),
            (rustix::io::Errno::ACCESS, false),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(has_no_ipv6(&error), expected, "{errno:?}");
        }
    }
}

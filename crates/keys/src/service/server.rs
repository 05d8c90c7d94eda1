//! Being a key service.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream;
use selkie_sops::{KeyEntry, KeySpec};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use super::message::{KeyRequest, KeyResponse};
use super::{DECRYPT, ENCRYPT, LARGEST_MESSAGE};
use crate::prompt::printable;

/// So many requests are worked on at once; the others wait.
const AT_ONCE: usize = 16;

/// So many requests of one connection are taken at once.
const STREAMS: u32 = 64;

/// So many connections are open at once; more are closed as they come in.
const CONNECTIONS: usize = 256;

/// A connection that stays idle longer is asked whether it is still there.
const IDLE: Duration = Duration::from_secs(60);

/// The time between attempts to accept a connection while the system refuses.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Wrapping a data key.
    Encrypt,
    /// Unwrapping one.
    Decrypt,
}

impl Operation {
    /// Returns its name as a word of a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
        }
    }
}

/// Who has the keys. Each method may take its time: it runs on a thread of its own.
pub trait KeyHolder: Send + Sync {
    /// Says whether a request is granted, before anything is done for it; else why not.
    fn allow(&self, operation: Operation, key: &KeySpec) -> Result<(), String>;

    /// Wraps `secret` and returns the text of an `enc` field, or why not, without a secret.
    fn wrap(&self, key: &KeySpec, secret: &[u8]) -> Result<String, String>;

    /// Unwraps an entry, which has an `enc` field and what names its key, or says why not.
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Serves until `end`, then finishes what was begun. To be called on a runtime of tokio.
pub async fn serve(
    listener: Listener,
    holder: Arc<dyn KeyHolder>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let accept = async move |listener: &tokio::net::TcpListener| {
                listener.accept().await.map(|(stream, _)| stream)
            };
            run(listener, accept, holder, end).await
        }
        Listener::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            let accept = async move |listener: &tokio::net::UnixListener| {
                listener.accept().await.map(|(stream, _)| stream)
            };
            run(listener, accept, holder, end).await
        }
    }
}

async fn run<L, S>(
    listener: L,
    accept: impl AsyncFn(&L) -> io::Result<S>,
    holder: Arc<dyn KeyHolder>,
    end: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let state = (listener, accept, places);
    let connections = stream::unfold(state, |(listener, accept, places)| async move {
        loop {
            match accept(&listener).await {
                Ok(stream) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        continue;
                    };
                    let connection = Counted {
                        stream,
                        _place: place,
                    };
                    let state = (listener, accept, places);
                    return Some((Ok::<_, io::Error>(connection), state));
                }
                // Too many open files, or a client that has gone: the next one may fare better.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    let service = Service {
        holder,
        turns: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(IDLE))
        .serve_with_incoming_shutdown(service, connections, end)
        .await
        .map_err(io::Error::other)
}

/// A connection, with its place among those that may be open.
struct Counted<S> {
    stream: S,
    _place: OwnedSemaphorePermit,
}

impl<S: Connected> Connected for Counted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The two methods.
#[derive(Clone)]
struct Service {
    holder: Arc<dyn KeyHolder>,
    turns: Arc<Semaphore>,
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let service = self.clone();
        Box::pin(async move {
            let operation = match request.uri().path() {
                ENCRYPT => Operation::Encrypt,
                DECRYPT => Operation::Decrypt,
                _ => return Ok(Status::unimplemented("no such method").into_http()),
            };
            let work = tower::service_fn(move |request: Request<KeyRequest>| {
                service.clone().answer(operation, request.into_inner())
            });
            let codec = ProstCodec::<KeyResponse, KeyRequest>::default();
            let mut grpc =
                tonic::server::Grpc::new(codec).max_decoding_message_size(LARGEST_MESSAGE);
            Ok(grpc.unary(work, request).await)
        })
    }
}

impl Service {
    async fn answer(
        self,
        operation: Operation,
        mut request: KeyRequest,
    ) -> Result<Response<KeyResponse>, Status> {
        let Some(key) = request.key.take() else {
            return Err(Status::not_found("Must provide a key"));
        };
        let Some(key) = key.spec() else {
            return Err(Status::not_found("Unknown key type"));
        };
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the key service is ending"))?;
        // Dropped with this future: nobody waits for the answer then.
        let waiting = Waiting::default();
        let is_waited_for = Arc::clone(&waiting.0);
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let gone = || !is_waited_for.load(Ordering::Relaxed);
            if gone() {
                return Err(Status::cancelled("nobody waits for the answer"));
            }
            self.holder
                .allow(operation, &key)
                .map_err(Status::permission_denied)?;
            if gone() {
                return Err(Status::cancelled("nobody waits for the answer"));
            }
            self.work(operation, &key, &request.data)
        });
        let data = done
            .await
            .map_err(|_| Status::internal("the key service failed"))??;
        Ok(Response::new(KeyResponse { data }))
    }

    fn work(&self, operation: Operation, key: &KeySpec, data: &[u8]) -> Result<Vec<u8>, Status> {
        match operation {
            Operation::Encrypt => {
                let wrapped = self.holder.wrap(key, data).map_err(Status::unknown)?;
                Ok(wrapped.into_bytes())
            }
            Operation::Decrypt => {
                let enc = std::str::from_utf8(data)
                    .map_err(|_| Status::invalid_argument("the ciphertext is not text"))?;
                let entry = key.entry(enc, jiff::Timestamp::UNIX_EPOCH);
                let mut plain = self.holder.unwrap_key(&entry).map_err(Status::unknown)?;
                Ok(std::mem::take(&mut *plain))
            }
        }
    }
}

/// Whether somebody waits; ends with the drop.
struct Waiting(Arc<AtomicBool>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Names a key as sops does when it asks whether a request is granted. The text may come from a
/// client, so it is on one line and has no control character.
pub fn describe(key: &KeySpec) -> String {
    let id = printable(&key.identity());
    match key {
        KeySpec::Pgp { .. } => format!("PGP key with fingerprint {id}"),
        KeySpec::Kms(kms) => {
            // Role and profile decide whose rights are used, so they belong to the question.
            let mut text = format!("AWS KMS key with ARN {}", printable(&kms.arn));
            for (name, value) in [("role", &kms.role), ("profile", &kms.profile)] {
                if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                    let _ = write!(text, ", {name} {}", printable(value));
                }
            }
            for (name, value) in &kms.context {
                let _ = write!(text, ", context {}:{}", printable(name), printable(value));
            }
            text
        }
        KeySpec::GcpKms { .. } => format!("GCP KMS key with resource ID {id}"),
        KeySpec::AzureKv { .. } => format!("Azure Key Vault key with URL {id}"),
        KeySpec::HcVault { .. } => format!("Hashicorp Vault key with URI {id}"),
        KeySpec::Hckms { .. } => format!("HuaweiCloud KMS key with ID {id}"),
        KeySpec::Age { .. } => format!("age key with recipient {id}"),
        other => printable(&other.to_string()),
    }
}

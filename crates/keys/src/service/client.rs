//! Asking a key service.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use selkie_sops::{DataKeySource, KeyEntry, KeySpec, UnwrapError};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use zeroize::Zeroizing;

use super::address::ServiceAddress;
use super::message::{Key, KeyRequest, KeyResponse};
use super::{DECRYPT, ENCRYPT, LARGEST_MESSAGE};
use crate::network::{Health, Network};
use crate::prompt::printable;

/// Requests under way on one connection; servers allow more.
const AT_A_TIME: usize = 32;

/// How long a key service may take.
#[derive(Debug, Clone, Copy)]
pub struct ServiceLimits {
    /// For the connection.
    pub connect: Duration,
    /// For an answer: somebody may have to allow it.
    pub answer: Duration,
}

/// A key service at an address.
pub struct RemoteKeys {
    address: ServiceAddress,
    limits: ServiceLimits,
    network: Arc<Network>,
    /// Whose Unix sockets are asked: this process's user's and root's.
    pub(super) trusted: [u32; 2],
    /// Made when it is first asked; it connects again by itself.
    channel: Mutex<Option<Channel>>,
    health: Health,
}

/// Why a key service gave no answer to use.
#[derive(Debug, thiserror::Error)]
enum RemoteError {
    #[error("the protocol has no keys of this kind")]
    Kind,
    #[error("{0}")]
    Resting(String),
    #[error("no thread can be started: {0}")]
    Runtime(io::Error),
    #[error("its address cannot be used: {0}")]
    Address(String),
    #[error("it cannot be reached: {0}")]
    Connect(String),
    #[error(
        "its socket belongs to the user with the id {0}; only one of your own or of root is asked, so \
         nothing was sent"
    )]
    Foreign(u32),
    #[error("it gave no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("it refused: {0}")]
    Refused(String),
    #[error("it answered: {0}")]
    Failed(String),
    #[error("its answer cannot be used")]
    Malformed,
}

impl RemoteKeys {
    /// Names a service; nothing is opened before a key is used.
    pub fn new(address: ServiceAddress, limits: ServiceLimits, network: &Arc<Network>) -> Self {
        Self {
            address,
            limits,
            network: Arc::clone(network),
            trusted: [rustix::process::geteuid().as_raw(), 0],
            channel: Mutex::default(),
            health: Health::default(),
        }
    }

    /// Wraps and returns the text of an `enc` field.
    pub(super) fn encrypt(&self, spec: &KeySpec, secret: &[u8]) -> Result<String, String> {
        let wrapped = self.ask(ENCRYPT, spec, secret).and_then(|answer| {
            let text = std::str::from_utf8(&answer).map_err(|_| RemoteError::Malformed)?;
            match text.is_empty() {
                true => Err(RemoteError::Malformed),
                false => Ok(text.to_owned()),
            }
        });
        wrapped.map_err(|error| self.told(&error))
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> &ServiceAddress {
        &self.address
    }

    fn told(&self, error: &RemoteError) -> String {
        format!("key service {}: {error}", self.address)
    }

    fn ask(
        &self,
        method: &'static str,
        spec: &KeySpec,
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
        let request = KeyRequest {
            key: Some(Key::of(spec).ok_or(RemoteError::Kind)?),
            data: data.to_vec(),
        };
        if let Some(cause) = self.health.resting(Instant::now()) {
            return Err(RemoteError::Resting(cause));
        }
        let answer = self.network.run(async {
            let channel = self.channel()?;
            let path = PathAndQuery::from_static(method);
            call(channel, path, request)
                .await
                .map_err(|status| self.cause(&status))
        });
        let answer = answer.map_err(RemoteError::Runtime)?;
        match &answer {
            Err(
                error @ (RemoteError::Connect(_)
                | RemoteError::Timeout(_)
                | RemoteError::Foreign(_)),
            ) => {
                self.health.failed(&error.to_string(), Instant::now());
            }
            _ => self.health.answered(),
        }
        answer
    }

    /// Returns the connection; called on the runtime that it lives on.
    fn channel(&self) -> Result<Channel, RemoteError> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let target = match &self.address {
            // The connector knows the path.
            ServiceAddress::Unix(_) => "http://socket".to_owned(),
            ServiceAddress::Tcp { host, port } if host.contains(':') => {
                format!("http://[{host}]:{port}")
            }
            ServiceAddress::Tcp { host, port } => format!("http://{host}:{port}"),
        };
        let endpoint = Endpoint::from_shared(target)
            .map_err(|error| RemoteError::Address(error.to_string()))?
            // Before a server has told its limit, a request too many would be refused by it.
            .concurrency_limit(AT_A_TIME)
            .connect_timeout(self.limits.connect)
            .timeout(self.limits.answer);
        let made = match &self.address {
            ServiceAddress::Tcp { .. } => endpoint.connect_lazy(),
            ServiceAddress::Unix(path) => {
                let (path, trusted) = (path.clone(), self.trusted);
                let connect = move |_: Uri| connect(path.clone(), trusted);
                endpoint.connect_with_connector_lazy(tower::service_fn(connect))
            }
        };
        Ok(channel.insert(made).clone())
    }

    fn cause(&self, status: &Status) -> RemoteError {
        // The server's words: on one line, and no longer than a line should be.
        let words: String = printable(status.message())
            .chars()
            .take(MAX_WORDS)
            .collect();
        match status.code() {
            Code::DeadlineExceeded => RemoteError::Timeout(self.limits.answer),
            // A time limit of ours; the service has none to tell of.
            Code::Cancelled if words == "Timeout expired" => {
                RemoteError::Timeout(self.limits.answer)
            }
            Code::Unavailable => root_cause(status).unwrap_or(RemoteError::Connect(words)),
            Code::PermissionDenied | Code::Unauthenticated => RemoteError::Refused(words),
            Code::Unimplemented => RemoteError::Failed(format!("no such method ({words})")),
            _ => RemoteError::Failed(words),
        }
    }
}

async fn call(
    channel: Channel,
    path: PathAndQuery,
    request: KeyRequest,
) -> Result<Zeroizing<Vec<u8>>, Status> {
    let mut service = tonic::client::Grpc::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let failed = |error: tonic::transport::Error| Status::from_error(error.into());
    service.ready().await.map_err(failed)?;
    let codec = ProstCodec::<KeyRequest, KeyResponse>::default();
    let answer = service
        .unary(tonic::Request::new(request), path, codec)
        .await?;
    let mut answer = answer.into_inner();
    Ok(Zeroizing::new(std::mem::take(&mut answer.data)))
}

/// Why a Unix socket is not spoken to.
#[derive(Debug, thiserror::Error)]
enum SocketError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error("it belongs to the user with the id {0}")]
    Foreign(u32),
}

/// Connects to a Unix socket. The attack: in a folder that others write to, as /tmp, somebody else
/// listens under the name first, and gets the data keys that are to be wrapped.
async fn connect(
    path: PathBuf,
    trusted: [u32; 2],
) -> Result<TokioIo<tokio::net::UnixStream>, SocketError> {
    let stream = tokio::net::UnixStream::connect(path).await?;
    let owner = stream.peer_cred()?.uid();
    match trusted.contains(&owner) {
        true => Ok(TokioIo::new(stream)),
        false => Err(SocketError::Foreign(owner)),
    }
}

/// Returns why there is no connection, in the operating system's words.
fn root_cause(status: &Status) -> Option<RemoteError> {
    let mut cause = status.source()?;
    loop {
        if let Some(SocketError::Foreign(owner)) = cause.downcast_ref() {
            return Some(RemoteError::Foreign(*owner));
        }
        match cause.source() {
            Some(next) => cause = next,
            None => return Some(RemoteError::Connect(cause.to_string())),
        }
    }
}

impl DataKeySource for RemoteKeys {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let enc = entry.enc()?;
        self.ask(DECRYPT, &KeySpec::of_entry(entry), enc.as_bytes())
            .map_err(|error| UnwrapError::Failed(self.told(&error)))
    }
}

impl fmt::Display for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteKeys").field(&self.address).finish()
    }
}

const MAX_WORDS: usize = 500;

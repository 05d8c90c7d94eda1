//! The HTTP API of SealedSecrets: `/v1/cert.pem`, `/v1/verify`, `/v1/rotate` (sealed-secrets.md 9).
//!
//! Nobody is asked who they are, so nothing here may tell more than whether all values of an object open. Templates are
//! never rendered: they are not covered by the encryption, and whoever posts somebody's ciphertext with a template of his
//! own would read the plaintext bit by bit from the answers (sealed-secrets.md 6.3).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use futures::StreamExt;
use selkie_seal::{
    Certificate, encode_value,
    object::{OutputFormat, SealedSecret},
    seal_value,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Settings,
    keys::{Keys, Loaded},
    metrics::SealedMetrics,
    unseal::Opening,
};
use crate::support::bucket::{Bucket, Left, Rate};

const CERTIFICATE: &str = "/v1/cert.pem";
const VERIFY: &str = "/v1/verify";
const ROTATE: &str = "/v1/rotate";

/// Largest body that is read: more than etcd stores of one object.
const BODY_LIMIT: usize = 2 * 1024 * 1024;
/// Bytes of all bodies that are held at once. Only what has arrived counts, so that slow clients take no room from others.
const BODIES_LIMIT: usize = 32 * 1024 * 1024;
/// Time for a body to arrive, whatever `--read-timeout` allows beyond it.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Requests that wait for the one that is decrypting.
const WAITING: usize = 16;
/// Clients whose rate is remembered.
const CLIENTS: usize = 4096;

/// How the API is served.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSettings {
    /// Rate of `/v1/verify` for each client; `None` is no limit.
    pub verify_rate: Option<Rate>,
    /// Time for a request to arrive; zero is no limit.
    pub read_timeout: Duration,
    /// Time for an answer to leave; zero is no limit.
    pub write_timeout: Duration,
}

#[derive(Clone)]
struct Served {
    keys: Keys,
    metrics: SealedMetrics,
    settings: Arc<HttpSettings>,
    accept_deprecated: bool,
    /// Who waits or decrypts; more are sent away.
    places: Arc<Semaphore>,
    /// One at a time: the API must not take the processor from what the cluster waits for.
    cpu: Arc<Semaphore>,
    /// Bytes of bodies.
    room: Arc<Semaphore>,
    clients: Arc<Mutex<Clients>>,
}

/// The rates of clients.
#[derive(Default)]
struct Clients {
    /// By the hash of who it is: the text may be as long as a head. `None` is all for whom there is no room.
    buckets: HashMap<Option<u64>, Bucket>,
    hasher: RandomState,
}

/// A body, with its part of the room.
struct Read {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// Returns the routes. Methods are not checked, as upstream.
pub fn routes(keys: Keys, metrics: SealedMetrics, settings: &Settings) -> Router {
    let served = Served {
        keys,
        metrics,
        settings: Arc::new(settings.http.clone()),
        accept_deprecated: settings.accept_deprecated,
        places: Arc::new(Semaphore::new(WAITING + 1)),
        cpu: Arc::new(Semaphore::new(1)),
        room: Arc::new(Semaphore::new(BODIES_LIMIT)),
        clients: Arc::default(),
    };
    Router::new()
        .route(CERTIFICATE, any(certificate))
        .route(VERIFY, any(verify))
        .route(ROTATE, any(rotate))
        .with_state(served)
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
    served.counted(CERTIFICATE, &method, began, response)
}

/// Answers whether every value opens: 200 or 409 (sealed-secrets.md 9.3).
async fn verify(
    State(served): State<Served>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let began = Instant::now();
    let left = served.take_turn(&headers, VERIFY);
    let mut response = match left {
        Some(Left {
            refused_for: Some(wait),
            ..
        }) => {
            let retry = [(header::RETRY_AFTER, seconds(wait))];
            (StatusCode::TOO_MANY_REQUESTS, retry, "limit exceeded\n").into_response()
        }
        _ => served
            .decrypting(body, |served, loaded, text| {
                verified(text, loaded, served.accept_deprecated)
            })
            .await
            .unwrap_or_else(|refused| refused)
            .into_response(),
    };
    if let (Some(left), Some(rate)) = (left, served.settings.verify_rate) {
        for (name, value) in [
            ("x-ratelimit-limit", rate.burst().into()),
            ("x-ratelimit-remaining", left.tokens.into()),
            ("x-ratelimit-reset", seconds(left.full_in)),
        ] {
            response.headers_mut().insert(name, value);
        }
    }
    served.counted(VERIFY, &method, began, response)
}

/// Answers with the object, every value sealed anew (sealed-secrets.md 9.4).
async fn rotate(State(served): State<Served>, method: Method, body: Body) -> Response {
    let began = Instant::now();
    let rotated = served.decrypting(body, |_, loaded, text| rotated(text, loaded));
    let response = rotated.await.unwrap_or_else(|refused| refused);
    served.counted(ROTATE, &method, began, response)
}

impl Served {
    /// Reads the body and works on it in a thread of its own, one request at a time. The place, the turn and the room are
    /// the thread's: it runs on when the client leaves, which drops this future.
    async fn decrypting(
        &self,
        body: Body,
        work: impl FnOnce(&Self, &Arc<Loaded>, &str) -> Response + Send + 'static,
    ) -> Result<Response, Response> {
        let refused = |status: StatusCode| status.into_response();
        let limit = Some(self.settings.read_timeout).filter(|limit| !limit.is_zero());
        let limit = limit.map_or(BODY_TIME, |limit| limit.min(BODY_TIME));
        let read = tokio::time::timeout(limit, self.read(body))
            .await
            .map_err(|_| refused(StatusCode::REQUEST_TIMEOUT))??;
        // Only now: whoever is slow keeps nobody out.
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| busy())?;
        let turn = self.cpu.clone().acquire_owned().await;
        let (served, loaded) = (self.clone(), self.keys.current());
        let worked = tokio::task::spawn_blocking(move || {
            let _held = (place, turn, read.room);
            let Ok(text) = std::str::from_utf8(&read.bytes) else {
                return refused(StatusCode::INTERNAL_SERVER_ERROR);
            };
            work(&served, &loaded, text)
        });
        Ok(worked
            .await
            .unwrap_or_else(|_| refused(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    async fn read(&self, body: Body) -> Result<Read, Response> {
        let mut chunks = body.into_data_stream();
        let mut read = Read {
            bytes: Vec::new(),
            room: None,
        };
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| StatusCode::BAD_REQUEST.into_response())?;
            if chunk.len() > BODY_LIMIT - read.bytes.len() {
                return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
            }
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let room = self.room.clone().try_acquire_many_owned(size);
            let room = room.map_err(|_| busy())?;
            match &mut read.room {
                Some(held) => held.merge(room),
                none => *none = Some(room),
            }
            read.bytes.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    /// Takes a token of the client's bucket; `None` without a rate. The header is the API server's, for whoever comes
    /// through its proxy; others may write anything, and get a bucket for it as upstream.
    fn take_turn(&self, headers: &HeaderMap, path: &str) -> Option<Left> {
        let rate = self.settings.verify_rate?;
        let client = headers.get("x-forwarded-for");
        let client = client.map(HeaderValue::as_bytes).unwrap_or_default();
        let now = tokio::time::Instant::now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let Clients { buckets, hasher } = &mut *clients;
        let client = Some(hasher.hash_one((client.to_ascii_lowercase(), path)));
        if buckets.len() >= CLIENTS {
            buckets.retain(|_, bucket| !bucket.is_full(rate, now));
        }
        let fits = buckets.len() < CLIENTS || buckets.contains_key(&client);
        // So many at once are one client.
        let bucket = buckets.entry(client.filter(|_| fits));
        Some(
            bucket
                .or_insert_with(|| Bucket::full(rate, now))
                .take(rate, now),
        )
    }

    fn counted(
        &self,
        path: &'static str,
        method: &Method,
        began: Instant,
        response: Response,
    ) -> Response {
        let code = response.status().as_u16();
        self.metrics
            .http(path, method.as_str(), code, began.elapsed());
        response
    }
}

fn busy() -> Response {
    let later = [(header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, later).into_response()
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> HeaderValue {
    let up = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(up).into()
}

/// Answers whether the one object of `text` opens. What is no single SealedSecret is 500, as upstream.
fn verified(text: &str, loaded: &Arc<Loaded>, accept_deprecated: bool) -> Response {
    let Ok(object) = SealedSecret::read_one(text) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let json = object.print(OutputFormat::Json);
    let Ok(object) = serde_json::from_str::<selkie_api::SealedSecret>(&json) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut opening = Opening::new(Arc::new(object), loaded.clone(), None, accept_deprecated);
    while !opening.step(usize::MAX) {}
    match opening.decrypted() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(_) => StatusCode::CONFLICT.into_response(),
    }
}

/// Answers with the one object of `text`, sealed anew. Metadata, template and scope stay; what the server wrote goes.
fn rotated(text: &str, loaded: &Loaded) -> Response {
    let rotated = loaded
        .sealing()
        .and_then(|key| reseal(text, loaded, key.certificate()));
    match rotated {
        Some(json) => {
            let json_type = [(header::CONTENT_TYPE, "application/json")];
            (json_type, json).into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn reseal(text: &str, loaded: &Loaded, certificate: &Certificate) -> Option<String> {
    let mut object = SealedSecret::read_one(text).ok()?;
    // The scope is that of the object's own metadata: a template must not widen it (sealed-secrets.md 2).
    let label = object.label();
    let opened = object
        .open_values(&mut loaded.ring.unsealer(&label, None))
        .ok()?;
    let mut sealed = HashMap::new();
    for (key, value) in &opened {
        let value = seal_value(certificate, &label, value.expose()).ok()?;
        sealed.insert(key.clone(), encode_value(&value));
    }
    object.replace(|key| sealed.get(key).cloned());
    let object = object.without_server_fields();
    Some(object.print(OutputFormat::Json))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::Bytes;

    use super::*;
    use crate::support::metrics::Metrics;

    fn served(rate: Option<Rate>) -> Served {
        Served {
            keys: Keys::new(Arc::default()),
            metrics: SealedMetrics::new(&Metrics::default()),
            settings: Arc::new(HttpSettings {
                verify_rate: rate,
                read_timeout: Duration::from_millis(200),
                write_timeout: Duration::ZERO,
            }),
            accept_deprecated: true,
            places: Arc::new(Semaphore::new(WAITING + 1)),
            cpu: Arc::new(Semaphore::new(1)),
            room: Arc::new(Semaphore::new(BODIES_LIMIT)),
            clients: Arc::default(),
        }
    }

    #[tokio::test]
    async fn the_turn_outlasts_a_client_that_leaves() {
        let served = served(None);
        let (began, begun) = tokio::sync::oneshot::channel();
        let (end, ended) = mpsc::channel::<()>();
        let request = tokio::spawn({
            let served = served.clone();
            async move {
                let work = move |_: &Served, _: &Arc<Loaded>, _: &str| {
                    began.send(()).unwrap();
                    ended.recv().unwrap();
                    StatusCode::OK.into_response()
                };
                served.decrypting(Body::from("body"), work).await.is_ok()
            }
        });
        begun.await.unwrap();
        // As hyper does when the connection ends.
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        assert_eq!(served.cpu.available_permits(), 0);
        assert_eq!(served.places.available_permits(), WAITING);
        assert_eq!(served.room.available_permits(), BODIES_LIMIT - 4);
        end.send(()).unwrap();
        let turn = tokio::time::timeout(Duration::from_secs(10), served.cpu.acquire());
        drop(turn.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn bodies_that_never_arrive_keep_nobody_out() {
        let served = served(None);
        let ok = |_: &Served, _: &Arc<Loaded>, _: &str| StatusCode::OK.into_response();
        let never = || {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from("{"))]);
            Body::from_stream(first.chain(futures::stream::pending()))
        };
        let slow = (0..4 * WAITING).map(|_| served.decrypting(never(), ok));
        let slow = futures::future::join_all(slow);
        let quick = served.decrypting(Body::from("{}"), ok);
        let (slow, quick) = tokio::join!(slow, quick);
        assert_eq!(quick.unwrap().status(), StatusCode::OK);
        for slow in slow {
            assert_eq!(slow.unwrap_err().status(), StatusCode::REQUEST_TIMEOUT);
        }
        assert_eq!(served.room.available_permits(), BODIES_LIMIT);
        let large = served.decrypting(Body::from(vec![b' '; BODY_LIMIT + 1]), ok);
        let large = large.await.unwrap_err().status();
        assert_eq!(large, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn clients_have_buckets_of_their_own_as_long_as_there_is_room() {
        let served = served(Rate::new(0.001, 1));
        let refused = |client: String| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", client.parse().unwrap());
            let left = served.take_turn(&headers, VERIFY).unwrap();
            left.refused_for.is_some()
        };
        let long = "a".repeat(100_000);
        assert!(!refused(long.clone() + "b") && refused(long.clone() + "B"));
        assert!(!refused(long + "c"));
        for client in 2..CLIENTS {
            assert!(!refused(client.to_string()), "{client}");
        }
        // The bucket of all others, and one that is known.
        assert!(!refused("x".to_owned()) && refused("y".to_owned()) && refused("2".to_owned()));
        let clients = served.clients.lock().unwrap();
        assert_eq!(clients.buckets.len(), CLIENTS + 1);
    }
}

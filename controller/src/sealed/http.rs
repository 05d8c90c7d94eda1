//! The HTTP API of SealedSecrets: `/v1/cert.pem`, `/v1/verify`, `/v1/rotate` (sealed-secrets.md 9).
//!
//! Nobody is asked who they are, so nothing here may tell more than whether all values of an object open. Templates are
//! never rendered: they are not covered by the encryption, and whoever posts somebody's ciphertext with a template of his
//! own would read the plaintext bit by bit from the answers (sealed-secrets.md 6.3).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use selkie_seal::{
    Certificate, encode_value,
    object::{OutputFormat, SealedSecret},
    seal_value,
};
use tokio::sync::Semaphore;

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
    clients: Arc<Mutex<HashMap<String, Bucket>>>,
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
    /// Reads the body and works on it in a thread of its own, one request at a time.
    async fn decrypting(
        &self,
        body: Body,
        work: impl FnOnce(&Self, &Arc<Loaded>, &str) -> Response + Send + 'static,
    ) -> Result<Response, Response> {
        let refused = |status: StatusCode| status.into_response();
        let Ok(_place) = self.places.try_acquire() else {
            let later = [(header::RETRY_AFTER, "1")];
            return Err((StatusCode::SERVICE_UNAVAILABLE, later).into_response());
        };
        let read = to_bytes(body, BODY_LIMIT);
        let limit = Some(self.settings.read_timeout).filter(|limit| !limit.is_zero());
        let read = match limit {
            Some(limit) => tokio::time::timeout(limit, read)
                .await
                .map_err(|_| refused(StatusCode::REQUEST_TIMEOUT))?,
            None => read.await,
        };
        let bytes = read.map_err(|error| {
            // axum tells neither in a type.
            let too_large = error.to_string().contains("length limit");
            refused(match too_large {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            })
        })?;
        // Never closed.
        let _turn = self.cpu.acquire().await;
        let (served, loaded) = (self.clone(), self.keys.current());
        let worked = tokio::task::spawn_blocking(move || {
            let Ok(text) = std::str::from_utf8(&bytes) else {
                return refused(StatusCode::INTERNAL_SERVER_ERROR);
            };
            work(&served, &loaded, text)
        });
        Ok(worked
            .await
            .unwrap_or_else(|_| refused(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Takes a token of the client's bucket; `None` without a rate. The header is the API server's, for whoever comes
    /// through its proxy; others may write anything, and get a bucket for it as upstream.
    fn take_turn(&self, headers: &HeaderMap, path: &str) -> Option<Left> {
        let rate = self.settings.verify_rate?;
        let client = headers.get("x-forwarded-for");
        let client = client.map(HeaderValue::as_bytes).unwrap_or_default();
        let client = String::from_utf8_lossy(client).to_ascii_lowercase();
        let now = tokio::time::Instant::now();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS {
            clients.retain(|_, bucket| !bucket.is_full(rate, now));
        }
        let client = match clients.len() < CLIENTS {
            true => client + path,
            // So many at once are one client.
            false => String::new(),
        };
        let bucket = clients.entry(client);
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

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> HeaderValue {
    let up = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(up).into()
}

/// Answers whether the one object of `text` opens. What is no single SealedSecret is 500, as upstream.
fn verified(text: &str, loaded: &Arc<Loaded>, accept_deprecated: bool) -> Response {
    let objects = SealedSecret::read(text).ok();
    let Some([object]) = objects.as_deref() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let json = object.print(OutputFormat::Json);
    let Ok(object) = serde_json::from_str::<selkie_api::SealedSecret>(&json) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut opening = Opening::new(Arc::new(object), loaded.clone(), None, accept_deprecated);
    while !opening.step(usize::MAX) {}
    match opening.finish() {
        Ok(_) => StatusCode::OK.into_response(),
        Err(_) => StatusCode::CONFLICT.into_response(),
    }
}

/// Answers with the first object of `text`, sealed anew. Metadata, template and scope stay; what the server wrote goes.
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
    let objects = SealedSecret::read(text).ok()?;
    let mut object = objects.into_iter().next()?;
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

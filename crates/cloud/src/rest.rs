//! What the REST clients of this crate share: one exchange, its limits, and bodies that are cleared.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "azure-kv")]
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response, Url};
use selkie_secret::SecretBytes;
use serde::Deserialize;
use tokio::time::Instant;

use crate::message::root_cause;

/// The largest answer that is read, in bytes. A Kubernetes Secret holds 1 MiB.
pub(crate) const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Returns whether a part of a name may be a segment of a URL's path: a server could resolve a dot segment to another
/// path, and a tab or a line break inside one is dropped where URLs are read.
pub(crate) fn is_segment(part: &str) -> bool {
    !part.contains(char::is_control) && !matches!(part, "." | "..")
}

/// After a server error a request is sent again, so often and after this wait.
const RETRIES: u32 = 2;
const WAIT: Duration = Duration::from_millis(500);

/// Why no answer came that could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// TLS could not be set up: no certificates to trust, for example.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The request cannot be written.
    #[error("a request to {server} cannot be made: {what}")]
    Request {
        /// The server.
        server: String,
        /// What is wrong with it.
        what: String,
    },
    /// No connection.
    #[error("{server} cannot be reached: {cause}")]
    Connect {
        /// The server.
        server: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("{server} did not answer within {seconds} s")]
    Timeout {
        /// The server.
        server: String,
        /// The time limit.
        seconds: u64,
    },
    /// The answer is not what the API promises.
    #[error("{server} gave an answer that cannot be used: {what}")]
    Malformed {
        /// The server.
        server: String,
        /// What is wrong with it.
        what: String,
    },
}

impl RestError {
    /// Returns whether the server as a whole is not there.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Timeout { .. })
    }
}

/// How a server is reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// The time limit of a request, connecting and further attempts included.
    pub(crate) timeout: Duration,
    /// The server's name and the only addresses that it is sought at (see [`crate::endpoint`]).
    pub(crate) pinned: Option<(&'a str, &'a [SocketAddr])>,
    /// Never through a proxy: a metadata service is for this machine alone.
    pub(crate) direct: bool,
}

impl Reach<'_> {
    /// By name, as the system finds it, through the user's proxy where there is one.
    #[cfg(feature = "gcp-kms")]
    pub(crate) fn by_name(timeout: Duration) -> Self {
        Self {
            timeout,
            pinned: None,
            direct: false,
        }
    }
}

/// A client that follows no redirect: it would carry a token to a server that nobody named.
pub(crate) struct Rest {
    http: Client,
    timeout: Duration,
}

/// A client that is made when it is first used: reading the certificates that the system trusts takes
/// longer than a start of the program may.
pub(crate) struct LazyRest {
    timeout: Duration,
    direct: bool,
    made: OnceLock<Rest>,
}

impl LazyRest {
    /// Servers by name, as the system finds them, through the user's proxy unless `direct`.
    pub(crate) fn new(timeout: Duration, direct: bool) -> Self {
        Self {
            timeout,
            direct,
            made: OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> Result<&Rest, RestError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = Rest::new(Reach {
            timeout: self.timeout,
            pinned: None,
            direct: self.direct,
        })?;
        Ok(self.made.get_or_init(|| made))
    }
}

/// An answer, whatever its status.
pub(crate) struct Answer {
    pub(crate) server: String,
    pub(crate) status: u16,
    #[cfg(feature = "azure-kv")]
    pub(crate) headers: HeaderMap,
    pub(crate) body: SecretBytes,
}

impl Rest {
    /// Makes a client; sends nothing.
    pub(crate) fn new(reach: Reach<'_>) -> Result<Self, RestError> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(reach.timeout.min(Duration::from_secs(5)))
            .timeout(reach.timeout);
        if let Some((name, addresses)) = reach.pinned {
            builder = builder.resolve_to_addrs(name, addresses);
        }
        if reach.direct {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| RestError::Tls(root_cause(&error)))?;
        Ok(Self {
            http,
            timeout: reach.timeout,
        })
    }

    /// Sends a request, and again after a server error (5xx), and returns the last answer. The time limit
    /// is one for all attempts together; when it passes in a later one, the answer before counts.
    pub(crate) async fn send(
        &self,
        url: &Url,
        request: impl Fn(&Client) -> RequestBuilder,
    ) -> Result<Answer, RestError> {
        let wait = WAIT.min(self.timeout / 4);
        let end = Instant::now() + self.timeout;
        let mut left = RETRIES;
        let mut before = None;
        loop {
            let attempt = self.send_once(url, request(&self.http));
            let Ok(answer) = tokio::time::timeout_at(end, attempt).await else {
                return before.ok_or_else(|| self.timed_out(origin(url)));
            };
            let answer = answer?;
            if answer.status < 500 || left == 0 || Instant::now() + wait >= end {
                return Ok(answer);
            }
            left -= 1;
            before = Some(answer);
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends a request one time.
    pub(crate) async fn send_once(
        &self,
        url: &Url,
        request: RequestBuilder,
    ) -> Result<Answer, RestError> {
        let server = origin(url);
        let failed = |error: &reqwest::Error| self.failed(&server, error);
        let response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        #[cfg(feature = "azure-kv")]
        let headers = response.headers().clone();
        let body = match limited(response).await {
            Ok(bytes) => SecretBytes::new(bytes),
            Err(Body::Transport(error)) => return Err(failed(&error)),
            Err(Body::TooLarge) => {
                let what = format!("it is larger than {} MiB", LARGEST_ANSWER >> 20);
                return Err(RestError::Malformed { server, what });
            }
        };
        Ok(Answer {
            server,
            status,
            #[cfg(feature = "azure-kv")]
            headers,
            body,
        })
    }

    fn timed_out(&self, server: String) -> RestError {
        RestError::Timeout {
            server,
            seconds: self.timeout.as_secs(),
        }
    }

    fn failed(&self, server: &str, error: &reqwest::Error) -> RestError {
        let server = server.to_owned();
        if error.is_timeout() {
            return self.timed_out(server);
        }
        let cause = root_cause(error);
        match error.is_builder() {
            true => RestError::Request {
                server,
                what: cause,
            },
            false => RestError::Connect { server, cause },
        }
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads the body as JSON; `what` says what it has to hold.
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self, what: &str) -> Result<T, RestError> {
        serde_json::from_slice(self.body.expose())
            .map_err(|_| self.malformed(&format!("it is no JSON with {what}")))
    }

    pub(crate) fn malformed(&self, what: &str) -> RestError {
        RestError::Malformed {
            server: self.server.clone(),
            what: what.to_owned(),
        }
    }
}

/// A body that is cleared when the connection is done with it.
pub(crate) struct Exposed(pub(crate) SecretBytes);

impl AsRef<[u8]> for Exposed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Returns an object of texts as JSON, in memory that is cleared.
pub(crate) fn json_body(fields: &[(&str, &str)]) -> Bytes {
    // An escape makes a character at most six times as long: no second allocation leaves a copy.
    let room: usize = fields.iter().map(|(k, v)| k.len() + v.len() * 6 + 8).sum();
    let mut json = Vec::with_capacity(room + 2);
    json.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut json, name);
        json.push(b':');
        let _ = serde_json::to_writer(&mut json, value);
    }
    json.push(b'}');
    Bytes::from_owner(Exposed(SecretBytes::new(json)))
}

/// Returns fields as `application/x-www-form-urlencoded`, in memory that is cleared.
pub(crate) fn form_body(fields: &[(&str, &str)]) -> Bytes {
    let room: usize = fields
        .iter()
        .map(|(k, v)| (k.len() + v.len()) * 3 + 2)
        .sum();
    let mut form = Vec::with_capacity(room);
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            form.push(b'&');
        }
        for piece in url::form_urlencoded::byte_serialize(name.as_bytes()) {
            form.extend_from_slice(piece.as_bytes());
        }
        form.push(b'=');
        for piece in url::form_urlencoded::byte_serialize(value.as_bytes()) {
            form.extend_from_slice(piece.as_bytes());
        }
    }
    Bytes::from_owner(Exposed(SecretBytes::new(form)))
}

pub(crate) enum Body {
    Transport(reqwest::Error),
    TooLarge,
}

/// Reads a body of at most [`LARGEST_ANSWER`] bytes.
pub(crate) async fn limited(mut response: Response) -> Result<Vec<u8>, Body> {
    let expected = response.content_length().unwrap_or(16 * 1024);
    if expected > LARGEST_ANSWER as u64 {
        return Err(Body::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(Body::Transport)? {
        if bytes.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Body::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Returns a URL as messages show it: without credentials and query.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

/// Returns scheme, host and port: the same text for every request to a server.
pub(crate) fn origin(url: &Url) -> String {
    let mut origin = url.clone();
    origin.set_path("");
    shown_url(&origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        for part in [".", "..", ".\t.", "a\nb", "\u{7f}"] {
            assert!(!is_segment(part), "{part:?}");
        }
        for part in ["a", "...", "a.b", "a%2e", "\u{e9}", ""] {
            assert!(is_segment(part), "{part:?}");
        }
    }

    /// A server that fails slowly costs the time limit once, not once for each attempt, and what it said counts.
    #[tokio::test]
    async fn the_time_limit_is_one_for_all_attempts() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU32, Ordering};
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 1024]).await;
                tokio::time::sleep(Duration::from_millis(600)).await;
                let answer = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        });
        let reach = Reach {
            timeout: Duration::from_secs(1),
            pinned: None,
            direct: true,
        };
        let began = Instant::now();
        let answer = Rest::new(reach)
            .unwrap()
            .send(&url, |http| http.get(url.clone()))
            .await;
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(answer.unwrap().status, 503);
        assert_eq!(seen.load(Ordering::SeqCst), 2);
        server.abort();
    }

    #[test]
    fn bodies_are_escaped() {
        let json = json_body(&[("a", "1\"\\\n\u{1}é"), ("b", "")]);
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, serde_json::json!({"a": "1\"\\\n\u{1}é", "b": ""}));
        let form = form_body(&[("a b", "c&d=e+f/ü"), ("g", "")]);
        assert_eq!(&form[..], b"a+b=c%26d%3De%2Bf%2F%C3%BC&g=");
        assert_eq!(&json_body(&[])[..], b"{}");
    }

    #[test]
    fn messages_show_a_server_and_nothing_secret() {
        let url = Url::parse("https://user:canary@host:8443/path/canary?q=canary#canary").unwrap();
        assert_eq!(origin(&url), "https://host:8443");
        assert_eq!(shown_url(&url), "https://host:8443/path/canary");
    }
}

//! A client for the parts of the Vault API that stores and keys use: KV reads, the token's own state,
//! and the writes that [`crate::transit`] is made of.
//!
//! Works with HashiCorp Vault and OpenBao, which share this API.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url};
use selkie_secret::{SecretBytes, SecretString};
use serde::Deserialize;

use crate::message::{cleaned, root_cause};
use crate::rest::{Body, Exposed, LARGEST_ANSWER, is_segment, limited, shown_url};

/// Where a Vault is and how to speak to it.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// The server's URL, with a path where Vault lies below one.
    pub server: String,
    /// The Vault namespace, sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// Headers that every request carries.
    pub headers: BTreeMap<String, String>,
    /// PEM certificates that are trusted instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The time limit of one request, connecting included.
    pub timeout: Duration,
    /// How often a request that failed with 412 or a server error is sent again, and after which wait.
    pub retries: Retries,
}

/// How to reach the server, where it is not by name and with the usual checks.
#[derive(Debug, Default)]
pub struct VaultConnection<'a> {
    /// The server's name and the only addresses that it is sought at (see [`crate::endpoint`]).
    pub pinned: Option<(&'a str, &'a [SocketAddr])>,
    /// A certificate and its private key in PEM, shown to the server.
    pub client_pem: Option<SecretBytes>,
    /// Takes any certificate of the server's: whoever is in between can read the token.
    pub skip_verify: bool,
}

/// How a failed request is sent again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retries {
    /// How many times after the first.
    pub count: u32,
    /// The wait before each.
    pub wait: Duration,
}

/// Why a client cannot be made. Nothing was sent.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultSetupError {
    /// The server is not an http or https URL.
    #[error("the Vault server is not an http:// or https:// URL")]
    Server,
    /// A header name or value cannot be sent.
    #[error(
        "the header {0:?} cannot be sent: its name or its value has a character that HTTP does not allow"
    )]
    Header(String),
    /// The token cannot be sent as a header.
    #[error(
        "the Vault token has a character that HTTP does not allow in a header (often a line break at its end)"
    )]
    Token,
    /// The CA bundle holds no certificate that can be read.
    #[error("the CA bundle holds no PEM certificate that can be read")]
    CaBundle,
    /// The client's own certificate cannot be read.
    #[error(
        "the client certificate and key cannot be read: both have to be PEM, and belong together"
    )]
    ClientCertificate,
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// Why Vault gave no answer to use. `server` is the URL without credentials.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultError {
    /// 404 in Vault's own words and without a cause: there is no such secret.
    #[error("Vault at {server} answered 404 for {path}: there is no such secret")]
    NotFound {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
    },
    /// 404 because nothing is mounted there, which says nothing about the secret.
    #[error(
        "Vault at {server} answered 404 for {path}: {detail}; check the store's path and namespace"
    )]
    NoMount {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
        /// The server's words.
        detail: String,
    },
    /// 404 by something else, such as a proxy, which says nothing about the secret.
    #[error(
        "{server} answered 404 for {path}, but not as Vault does: a proxy or another server may have answered; check \
         the server's URL, the path below which Vault lies, and what stands in between"
    )]
    NotVault {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
    },
    /// 403: the token is not valid, or its policies do not allow the path.
    #[error(
        "Vault at {server} answered 403 for {path}: {detail}; check the token and its policies"
    )]
    Forbidden {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
        /// The server's words.
        detail: String,
    },
    /// A server error or a rate limit. No path: the same text for every secret of a store that is down.
    #[error("Vault at {server} answered {status}: {detail}")]
    Unavailable {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        detail: String,
    },
    /// Any other status.
    #[error("Vault at {server} answered {status} for {path}: {detail}")]
    Status {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
        /// The HTTP status.
        status: u16,
        /// The server's words.
        detail: String,
    },
    /// No connection.
    #[error("Vault at {server} cannot be reached: {cause}")]
    Connect {
        /// The server.
        server: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("Vault at {server} did not answer within {seconds} s")]
    Timeout {
        /// The server.
        server: String,
        /// The time limit.
        seconds: u64,
    },
    /// The answer is not what the API promises.
    #[error("Vault at {server} gave an answer for {path} that cannot be used: {what}")]
    Malformed {
        /// The server.
        server: String,
        /// The path, from the mount on.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The path would leave its place (`..`), which a server or a proxy may resolve.
    #[error("the Vault path {path:?} has a `.` or `..` segment, which is refused")]
    Path {
        /// The path as given.
        path: String,
    },
}

impl VaultError {
    /// Returns whether the server as a whole is unavailable, so that asking for other paths is no use.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Unavailable { .. }
        )
    }
}

/// A client of one Vault server with one token.
pub struct VaultClient {
    http: Client,
    base: Url,
    shown: String,
    timeout: Duration,
    retries: Retries,
    token: Option<SecretString>,
}

impl VaultClient {
    /// Makes a client; sends nothing. Without a token, requests carry none (a proxy adds one).
    pub fn new(config: &VaultConfig, token: Option<SecretString>) -> Result<Self, VaultSetupError> {
        Self::connected(config, token, &VaultConnection::default())
    }

    /// Makes a client that reaches the server in its own way; sends nothing.
    pub fn connected(
        config: &VaultConfig,
        token: Option<SecretString>,
        connection: &VaultConnection<'_>,
    ) -> Result<Self, VaultSetupError> {
        let base = Url::parse(&config.server).map_err(|_| VaultSetupError::Server)?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(VaultSetupError::Server);
        }
        let mut builder = Client::builder()
            .default_headers(default_headers(config, token.as_ref())?)
            // A redirect would carry the token to a server that nobody named.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.timeout.min(Duration::from_secs(5)))
            .timeout(config.timeout);
        if let Some(pem) = &config.ca_pem {
            let certificates =
                Certificate::from_pem_bundle(pem).map_err(|_| VaultSetupError::CaBundle)?;
            if certificates.is_empty() {
                return Err(VaultSetupError::CaBundle);
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let Some((name, addresses)) = connection.pinned {
            builder = builder.resolve_to_addrs(name, addresses);
        }
        if let Some(pem) = &connection.client_pem {
            let identity = reqwest::Identity::from_pem(pem.expose())
                .map_err(|_| VaultSetupError::ClientCertificate)?;
            builder = builder.identity(identity);
        }
        if connection.skip_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let http = builder
            .build()
            .map_err(|error| VaultSetupError::Tls(root_cause(&error)))?;
        Ok(Self {
            http,
            shown: shown_url(&base),
            base,
            timeout: config.timeout,
            retries: config.retries,
            token,
        })
    }

    /// Returns the server's URL as messages show it: without credentials and query.
    pub fn server(&self) -> &str {
        &self.shown
    }

    /// Returns whether requests carry a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Reads `path` (mount and all, without `/v1`) and returns the whole JSON answer.
    ///
    /// `version` is a KV v2 version number. A 404 is [`VaultError::NotFound`], whether the secret never was or was deleted.
    pub async fn read(&self, path: &str, version: Option<&str>) -> Result<SecretBytes, VaultError> {
        let mut url = self.url(path)?;
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("version", version);
        }
        let response = self.get(url, path).await?;
        self.body(response, path).await
    }

    /// Asks Vault whether the token is valid, without making or renewing one.
    pub async fn lookup_self(&self) -> Result<(), VaultError> {
        let path = "auth/token/lookup-self";
        self.get(self.url(path)?, path).await.map(drop)
    }

    /// Sends a JSON body to `path` by PUT and returns the whole JSON answer. `hidden` is a text of the
    /// body that no error may repeat.
    pub(crate) async fn write(
        &self,
        path: &str,
        body: SecretBytes,
        hidden: &str,
    ) -> Result<SecretBytes, VaultError> {
        let body = Bytes::from_owner(Exposed(body));
        let request = self
            .http
            .put(self.url(path)?)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let again = || request.try_clone().map(|again| again.body(body.clone()));
        let response = self.send(again, path, hidden).await?;
        self.body(response, path).await
    }

    /// Sends a JSON body of values, as [`Self::write`]; an error repeats none of the server's words,
    /// which may repeat a value.
    pub(crate) async fn write_value(
        &self,
        path: &str,
        body: SecretBytes,
    ) -> Result<(), VaultError> {
        match self.write(path, body, "").await {
            Ok(_) => Ok(()),
            Err(VaultError::Status {
                server,
                path,
                status,
                ..
            }) => {
                let known = StatusCode::from_u16(status).ok();
                let reason = known.and_then(|status| status.canonical_reason());
                Err(VaultError::Status {
                    server,
                    path,
                    status,
                    detail: reason.unwrap_or("no reason given").to_owned(),
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn get(&self, url: Url, path: &str) -> Result<Response, VaultError> {
        self.send(|| Some(self.http.get(url.clone())), path, "")
            .await
    }

    /// Sends the request, and again as the retry settings say.
    async fn send(
        &self,
        request: impl Fn() -> Option<RequestBuilder>,
        path: &str,
        hidden: &str,
    ) -> Result<Response, VaultError> {
        let mut left = self.retries.count;
        loop {
            let answer = self.send_once(request(), path, hidden).await;
            match answer {
                Err(
                    VaultError::Status { status: 412, .. }
                    | VaultError::Unavailable { status: 500.., .. },
                ) if left > 0 => {
                    left -= 1;
                    tokio::time::sleep(self.retries.wait).await;
                }
                answer => return answer,
            }
        }
    }

    async fn send_once(
        &self,
        request: Option<RequestBuilder>,
        path: &str,
        hidden: &str,
    ) -> Result<Response, VaultError> {
        let request =
            request.ok_or_else(|| self.malformed(path, "it cannot be asked for again"))?;
        let response = request
            .send()
            .await
            .map_err(|error| self.transport(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = limited(response).await.unwrap_or_default();
        Err(self.refusal(status, path, &body, hidden))
    }

    fn refusal(&self, status: StatusCode, path: &str, body: &[u8], hidden: &str) -> VaultError {
        let (server, path) = (self.shown.clone(), path.to_owned());
        let refusal = Refusal::parse(body);
        let detail = self.detail(&refusal, hidden);
        match status.as_u16() {
            404 if detail.is_empty() && refusal.is_vaults() => {
                VaultError::NotFound { server, path }
            }
            404 if detail.is_empty() => VaultError::NotVault { server, path },
            404 => VaultError::NoMount {
                server,
                path,
                detail,
            },
            403 => VaultError::Forbidden {
                server,
                path,
                detail: or_else(detail, "permission denied"),
            },
            status @ (429 | 500..) => VaultError::Unavailable {
                server,
                status,
                detail: or_else(detail, meaning(status)),
            },
            status => VaultError::Status {
                server,
                path,
                status,
                detail: or_else(detail, meaning(status)),
            },
        }
    }

    fn transport(&self, error: &reqwest::Error) -> VaultError {
        if error.is_timeout() {
            return VaultError::Timeout {
                server: self.shown.clone(),
                seconds: self.timeout.as_secs(),
            };
        }
        VaultError::Connect {
            server: self.shown.clone(),
            cause: root_cause(error),
        }
    }

    /// Returns the server's `errors` and `warnings`, cleaned, and empty when it gave none.
    ///
    /// The token and `hidden` are cut out should a proxy have echoed them.
    fn detail(&self, refusal: &Refusal, hidden: &str) -> String {
        let errors = refusal.errors.iter().flatten();
        let words: Vec<&str> = errors
            .chain(refusal.warnings.iter().flatten())
            .map(String::as_str)
            .collect();
        let mut text = words.join("; ").replace(['\n', '\t'], " ");
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            text = text.replace(token.expose(), "(token)");
        }
        if !hidden.is_empty() {
            text = text.replace(hidden, "(not shown)");
        }
        cleaned(&text)
    }

    async fn body(&self, response: Response, path: &str) -> Result<SecretBytes, VaultError> {
        match limited(response).await {
            Ok(bytes) => Ok(SecretBytes::new(bytes)),
            Err(Body::Transport(error)) => Err(self.transport(&error)),
            Err(Body::TooLarge) => Err(self.malformed(
                path,
                &format!("it is larger than {} MiB", LARGEST_ANSWER >> 20),
            )),
        }
    }

    /// Makes the error for an answer whose JSON is not what the API promises.
    pub fn malformed(&self, path: &str, what: &str) -> VaultError {
        VaultError::Malformed {
            server: self.shown.clone(),
            path: path.to_owned(),
            what: what.to_owned(),
        }
    }

    /// Makes the error for a version that was deleted or destroyed.
    pub fn not_found(&self, path: &str) -> VaultError {
        VaultError::NotFound {
            server: self.shown.clone(),
            path: path.to_owned(),
        }
    }

    /// Builds the URL; every segment is escaped, empty ones are dropped as the original's client does.
    fn url(&self, path: &str) -> Result<Url, VaultError> {
        let refused = || VaultError::Path {
            path: path.to_owned(),
        };
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        let mut segments = url.path_segments_mut().map_err(|()| refused())?;
        segments.pop_if_empty().push("v1");
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if !is_segment(segment) {
                return Err(refused());
            }
            segments.push(segment);
        }
        drop(segments);
        Ok(url)
    }
}

impl fmt::Debug for VaultClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultClient")
            .field("server", &self.shown)
            .finish_non_exhaustive()
    }
}

fn default_headers(
    config: &VaultConfig,
    token: Option<&SecretString>,
) -> Result<HeaderMap, VaultSetupError> {
    let mut headers = HeaderMap::new();
    // Vault's agents and proxies refuse requests without it.
    headers.insert("x-vault-request", HeaderValue::from_static("true"));
    for (name, value) in &config.headers {
        let refused = || VaultSetupError::Header(name.clone());
        let header = HeaderName::try_from(name.as_str()).map_err(|_| refused())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| refused())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    if let Some(namespace) = config.namespace.as_ref().filter(|name| !name.is_empty()) {
        let value = HeaderValue::try_from(namespace.as_str())
            .map_err(|_| VaultSetupError::Header("X-Vault-Namespace".to_owned()))?;
        headers.insert("x-vault-namespace", value);
    }
    if let Some(token) = token {
        let mut value =
            HeaderValue::try_from(token.expose()).map_err(|_| VaultSetupError::Token)?;
        value.set_sensitive(true);
        headers.insert("x-vault-token", value);
    }
    Ok(headers)
}

/// The body of an answer that is no success.
#[derive(Default, Deserialize)]
struct Refusal {
    errors: Option<Vec<String>>,
    /// A version 1 path of a version 2 mount is a 404 with a warning, and nothing else tells.
    warnings: Option<Vec<String>>,
    data: Option<Gone>,
}

/// What a version 2 mount says of a version that was deleted or destroyed.
#[derive(Deserialize)]
struct Gone {
    metadata: Option<GoneMetadata>,
}

#[derive(Deserialize)]
struct GoneMetadata {
    version: Option<u64>,
}

impl Refusal {
    fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// Returns whether it has one of the two forms in which Vault says that a secret is not there:
    /// `{"errors":[]}`, or the metadata of a version that was deleted.
    fn is_vaults(&self) -> bool {
        let gone = self.data.as_ref().and_then(|data| data.metadata.as_ref());
        self.errors.is_some() || gone.is_some_and(|metadata| metadata.version.is_some())
    }
}

fn or_else(detail: String, otherwise: &str) -> String {
    if detail.is_empty() {
        otherwise.to_owned()
    } else {
        detail
    }
}

/// What Vault's documentation says a status without text means.
fn meaning(status: u16) -> &'static str {
    match status {
        301 | 302 | 307 | 308 => {
            "it redirects to another server; name the active node in spec.provider.vault.server"
        }
        400 => "the request is not valid",
        412 => "the node has not caught up yet",
        429 => "it is a standby node, or a rate limit was reached",
        472 | 473 => "it is a standby node that cannot answer reads",
        501 => "it is not initialised",
        503 => "it is sealed or down for maintenance",
        _ => "no reason given",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str) -> VaultConfig {
        VaultConfig {
            server: server.to_owned(),
            namespace: None,
            headers: BTreeMap::new(),
            ca_pem: None,
            timeout: Duration::from_secs(1),
            retries: Retries::default(),
        }
    }

    fn client(server: &str) -> VaultClient {
        VaultClient::new(
            &config(server),
            Some(SecretString::new("s.canary".to_owned())),
        )
        .unwrap()
    }

    #[test]
    fn urls_are_joined_and_escaped() {
        let vault = client("https://vault.example/base/");
        let url = vault.url("secret/data//a b/c?d%2f#e").unwrap();
        assert_eq!(
            url.as_str(),
            "https://vault.example/base/v1/secret/data/a%20b/c%3Fd%252f%23e"
        );
        for path in ["secret/../sys/raw", "a/./b", ".."] {
            assert!(
                matches!(vault.url(path), Err(VaultError::Path { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn credentials_in_the_url_are_not_shown() {
        let vault = client("https://user:canary@vault.example/base?x=canary");
        assert_eq!(vault.server(), "https://vault.example/base");
        assert!(!format!("{vault:?}").contains("canary"));
    }

    #[test]
    fn setup_errors_name_the_cause() {
        let refused = |config: &VaultConfig, token: &str| {
            VaultClient::new(config, Some(SecretString::new(token.to_owned()))).unwrap_err()
        };
        assert_eq!(
            refused(&config("vault.example"), "t"),
            VaultSetupError::Server
        );
        assert_eq!(
            refused(&config("file:///etc"), "t"),
            VaultSetupError::Server
        );
        assert_eq!(
            refused(&config("http://v"), "token\n"),
            VaultSetupError::Token
        );
        let mut bad = config("http://v");
        bad.ca_pem = Some(b"no certificate".to_vec());
        assert_eq!(refused(&bad, "t"), VaultSetupError::CaBundle);
        let mut bad = config("http://v");
        bad.headers.insert("a b".to_owned(), "c".to_owned());
        assert_eq!(
            refused(&bad, "t"),
            VaultSetupError::Header("a b".to_owned())
        );
    }

    #[test]
    fn only_vaults_own_404_is_a_missing_secret() {
        let vault = client("http://v");
        let of = |body: &str| vault.refusal(StatusCode::NOT_FOUND, "kv/a", body.as_bytes(), "");
        // As OpenBao 2.3 answers: never was, version deleted, version destroyed.
        let gone = |destroyed: bool| {
            r#"{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":null,"metadata":{"created_time":"2026-11-21T14:47:19Z","custom_metadata":null,"deletion_time":"2026-11-21T14:47:20Z","destroyed":DESTROYED,"version":1}},"wrap_info":null,"warnings":null,"auth":null}"#
                .replace("DESTROYED", if destroyed { "true" } else { "false" })
        };
        for body in ["{\"errors\":[]}\n", &gone(false), &gone(true)] {
            let missing = of(body);
            assert!(matches!(missing, VaultError::NotFound { .. }), "{missing}");
        }
        for (body, words) in [
            (
                r#"{"errors":["no handler for route \"nomount/a\". route entry not found."]}"#,
                "no handler",
            ),
            (
                r#"{"request_id":"1","data":null,"warnings":["Invalid path for a versioned K/V secrets engine."],"auth":null}"#,
                "Invalid path for a versioned",
            ),
        ] {
            let mount = of(body);
            assert!(matches!(mount, VaultError::NoMount { .. }), "{mount}");
            assert!(mount.to_string().contains(words), "{mount}");
            assert!(!mount.is_outage());
        }
        for body in [
            "",
            "<html><body>404 Not Found</body></html>",
            "404 page not found",
            "{}",
            "[]",
            "null",
            r#"{"error":"not found","data":null}"#,
            r#"{"errors":"none"}"#,
            r#"{"message":"no Route matched with those values"}"#,
            r#"{"data":{"data":null}}"#,
        ] {
            let foreign = of(body);
            assert!(
                matches!(foreign, VaultError::NotVault { .. }),
                "{body}: {foreign}"
            );
            assert!(!foreign.is_outage());
        }
        assert!(
            of("")
                .to_string()
                .starts_with("http://v answered 404 for kv/a, but not as Vault does")
        );
    }

    #[test]
    fn a_status_without_words_gets_its_meaning() {
        let sealed = client("http://v").refusal(StatusCode::SERVICE_UNAVAILABLE, "kv/a", b"", "");
        assert_eq!(
            sealed.to_string(),
            "Vault at http://v answered 503: it is sealed or down for maintenance"
        );
        assert!(sealed.is_outage());
    }

    #[tokio::test]
    async fn a_closed_port_is_an_outage() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = client(&format!("http://{address}"))
            .read("secret/data/a", None)
            .await
            .unwrap_err();
        assert!(matches!(error, VaultError::Connect { .. }), "{error}");
        assert!(error.is_outage());
        assert!(error.to_string().contains("refused"), "{error}");
    }
}

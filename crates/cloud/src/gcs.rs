//! Putting an object into a bucket of Google Cloud Storage, over its JSON API.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::gcp_auth::{GcpLogin, GcpLoginError};
use crate::message::cleaned;
use crate::rest::{Answer, Reach, Rest, RestError, shown_url};

/// Bytes that a slow line brings in a second; the time limit grows with the object.
const SLOW: usize = 100 * 1024;

/// What every encrypted file is.
const TEXT: &str = "text/plain; charset=utf-8";

/// Returns the server of a universe; the usual one is `googleapis.com`.
pub fn default_endpoint(universe: Option<&str>) -> String {
    let universe = universe.unwrap_or(crate::gcp_auth::UNIVERSE);
    format!("https://storage.{universe}")
}

/// Why an object was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GcsError {
    /// The name cannot be part of an address.
    #[error("`{0}` is not the name of a bucket: lower-case letters, digits, `-`, `_` and `.`")]
    Bucket(String),
    /// There is no name.
    #[error("the object has no name")]
    Name,
    /// The endpoint is not a URL.
    #[error(
        "the endpoint of Cloud Storage is not an http:// or https:// URL; see STORAGE_EMULATOR_HOST"
    )]
    Endpoint,
    /// There is no token.
    #[error(transparent)]
    Login(#[from] GcpLoginError),
    /// No answer.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// Cloud Storage said no.
    #[error("Cloud Storage at {server} refused gs://{bucket}/{name} ({status}): {detail}")]
    Refused {
        /// The server.
        server: String,
        /// The bucket.
        bucket: String,
        /// The object.
        name: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
}

/// A client of one endpoint.
pub struct Gcs {
    base: Url,
    /// None for an emulator, which takes everybody.
    login: Option<GcpLogin>,
    timeout: Duration,
}

impl Gcs {
    /// Makes a client; sends nothing. `timeout` is for a request without its body.
    pub fn new(
        endpoint: &str,
        login: Option<GcpLogin>,
        timeout: Duration,
    ) -> Result<Self, GcsError> {
        let base = Url::parse(endpoint).map_err(|_| GcsError::Endpoint)?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(GcsError::Endpoint);
        }
        Ok(Self {
            base,
            login,
            timeout,
        })
    }

    /// Stores an object in the place of one that is there.
    pub async fn put(&self, bucket: &str, name: &str, body: &[u8]) -> Result<(), GcsError> {
        let url = self.url(bucket, name)?;
        let timeout = self.timeout + Duration::from_secs((body.len() / SLOW) as u64);
        let rest = Rest::new(Reach::by_name(timeout))?;
        let access = match &self.login {
            Some(login) => Some(login.access().await?),
            None => None,
        };
        let request = rest.send(&url, |http| {
            let request = http
                .post(url.clone())
                .header(CONTENT_TYPE, TEXT)
                .body(body.to_vec());
            match &access {
                Some(access) => access.sign(request),
                None => request,
            }
        });
        let answer = request.await?;
        if answer.is_success() {
            return Ok(());
        }
        let mut words = words(&answer);
        if let Some(access) = &access {
            words = words.replace(access.token.expose(), "(token)");
        }
        Err(GcsError::Refused {
            server: shown_url(&self.base),
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            status: answer.status,
            detail: cleaned(&words),
        })
    }

    /// `{base}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}`.
    fn url(&self, bucket: &str, name: &str) -> Result<Url, GcsError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if bucket.len() < 3 || !bucket.bytes().all(allowed) || bucket.contains("..") {
            return Err(GcsError::Bucket(bucket.to_owned()));
        }
        if name.is_empty() {
            return Err(GcsError::Name);
        }
        let mut url = self.base.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| GcsError::Endpoint)?;
            segments
                .pop_if_empty()
                .extend(["upload", "storage", "v1", "b", bucket, "o"]);
        }
        url.query_pairs_mut()
            .append_pair("uploadType", "media")
            .append_pair("name", name);
        Ok(url)
    }
}

impl fmt::Debug for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcs")
            .field("base", &shown_url(&self.base))
            .finish_non_exhaustive()
    }
}

/// Google's reason: JSON, or for some refusals plain text.
fn words(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(answer.body.expose()) {
        Ok(Refusal { error }) => error.message,
        Err(_) => "no reason given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_buckets_checked() {
        let gcs = Gcs::new(&default_endpoint(None), None, Duration::from_secs(1)).unwrap();
        assert_eq!(
            gcs.url("team", "p/a b+&.yaml").unwrap().as_str(),
            "https://storage.googleapis.com/upload/storage/v1/b/team/o\
             ?uploadType=media&name=p%2Fa+b%2B%26.yaml"
        );
        for bucket in ["", "a/b", "..", "a..b", "team?x"] {
            assert_eq!(
                gcs.url(bucket, "n"),
                Err(GcsError::Bucket(bucket.to_owned()))
            );
        }
        assert_eq!(gcs.url("team", ""), Err(GcsError::Name));
        assert!(Gcs::new("ftp://x", None, Duration::from_secs(1)).is_err());
    }
}

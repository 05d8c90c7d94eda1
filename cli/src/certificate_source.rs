//! Where a sealing certificate comes from: a file, a URL, or the controller of a cluster
//! (sealed-secrets.md 10, 12.4).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use selkie_seal::{Certificate, CertificateError};

use crate::cluster::{self, ClusterFlags};
use crate::failure::{Failure, Kind};

/// Which controller, in which cluster.
#[derive(Debug, Args)]
pub(crate) struct ControllerFlags {
    /// Name of the controller's Service
    #[arg(
        long,
        value_name = "NAME",
        default_value = "sealed-secrets-controller",
        env = "SEALED_SECRETS_CONTROLLER_NAME",
        hide_env_values = true,
        help_heading = "Cluster"
    )]
    pub(crate) controller_name: String,
    /// Namespace of the controller
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "kube-system",
        env = "SEALED_SECRETS_CONTROLLER_NAMESPACE",
        hide_env_values = true,
        help_heading = "Cluster"
    )]
    pub(crate) controller_namespace: String,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

/// A place that a certificate is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file.
    File(PathBuf),
    /// A URL with the scheme http or https.
    Http(String),
    /// The controller, through the API server.
    Cluster,
    /// A file named by a `file://` URL.
    FileUrl(PathBuf, String),
}

impl Origin {
    /// Tells a URL from a path: what has no scheme, or one of a single letter as a Windows drive
    /// has, is a path.
    pub(crate) fn of(text: &str) -> Self {
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => Self::Http(text.to_owned()),
            Some("file") => {
                // An authority other than none or localhost would be another machine.
                let rest = &text["file://".len()..];
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                Self::FileUrl(PathBuf::from(unescape(path)), text.to_owned())
            }
            _ => Self::File(PathBuf::from(text)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Http(url) | Self::FileUrl(_, url) => f.write_str(&without_credentials(url)),
            Self::Cluster => f.write_str("the certificate of the cluster"),
        }
    }
}

/// Fetches the text of a certificate.
pub(crate) fn fetch(origin: &Origin, controller: &ControllerFlags) -> Result<String, Failure> {
    match origin {
        Origin::File(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                Kind::Other,
                format!("the certificate {origin} cannot be read: {error}"),
            )
            .hint("see --cert; `selkie cert` fetches the certificate of a controller")
        }),
        Origin::FileUrl(path, _) => std::fs::read_to_string(path).map_err(|error| {
            Failure::new(Kind::Other, format!("cannot fetch \"{origin}\": {error}"))
        }),
        Origin::Http(url) => fetch_url(url),
        Origin::Cluster => cluster::certificate(
            &controller.cluster,
            &controller.controller_name,
            &controller.controller_namespace,
        ),
    }
}

/// Parses what was fetched; the message names the place.
pub(crate) fn parse(text: &str, origin: &Origin) -> Result<Certificate, Failure> {
    Certificate::parse(text).map_err(|error| {
        let failure = Failure::new(Kind::Other, format!("{origin}: {error}"));
        match error {
            CertificateError::NotRsa(_) => failure.hint(
                "values are sealed with RSA; take the certificate of the controller: selkie cert",
            ),
            _ => failure.hint("this has to be the controller's certificate in PEM form"),
        }
    })
}

/// Fetches a URL; the environment's proxies are honoured.
pub(crate) fn fetch_url(url: &str) -> Result<String, Failure> {
    cluster::block_on(fetch_from(url))?
}

async fn fetch_from(url: &str) -> Result<String, Failure> {
    let shown = without_credentials(url);
    let failed =
        |reason: String| Failure::new(Kind::Other, format!("cannot fetch \"{shown}\": {reason}"));
    let client = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .user_agent(concat!("selkie/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(causes(&error.without_url())))?;
    let mut answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| failed(causes(&error.without_url())))?;
    if !answer.status().is_success() {
        return Err(failed(answer.status().to_string()));
    }
    let mut body = Vec::new();
    while let Some(part) = answer
        .chunk()
        .await
        .map_err(|error| failed(causes(&error.without_url())))?
    {
        body.extend_from_slice(&part);
        if body.len() > MAX_CERTIFICATE_LEN {
            return Err(failed(
                "the answer is too long for a certificate".to_owned(),
            ));
        }
    }
    String::from_utf8(body).map_err(|_| failed("the answer is not text".to_owned()))
}

/// An error with what caused it, which is where the reason stands.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// A URL without `user:password@`.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// Decodes `%20` and the like in the path of a file URL.
fn unescape(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CERTIFICATE_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_told_apart() {
        let file = |path: &str| Origin::File(PathBuf::from(path));
        assert_eq!(Origin::of("cert.pem"), file("cert.pem"));
        assert_eq!(Origin::of("/a/b:c.pem"), file("/a/b:c.pem"));
        assert_eq!(Origin::of("c:/cert.pem"), file("c:/cert.pem"));
        assert!(matches!(Origin::of("HTTPS://x/c"), Origin::Http(_)));
        let Origin::FileUrl(path, _) = Origin::of("file:///a%20b/c.pem") else {
            panic!("not a file URL");
        };
        assert_eq!(path, PathBuf::from("/a b/c.pem"));
    }

    #[test]
    fn credentials_in_a_url_are_not_shown() {
        for (url, shown) in [
            ("https://u:p@h:1/x@y", "https://h:1/x@y"),
            ("https://h/x", "https://h/x"),
            ("http://u@h", "http://h"),
        ] {
            assert_eq!(Origin::of(url).to_string(), shown);
        }
    }
}

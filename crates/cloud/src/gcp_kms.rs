//! Google Cloud KMS over REST, version 1 of its API: a key that never leaves it encrypts small data
//! (sops-format.md 8.4).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use selkie_secret::{SecretBytes, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::gcp_auth::{GcpLogin, GcpLoginError};
use crate::message::cleaned;
use crate::rest::{Answer, Reach, Rest, RestError, is_segment, json_body, shown_url};

/// Returns the server of a universe; the usual one is `googleapis.com`.
pub fn default_endpoint(universe: Option<&str>) -> String {
    let universe = universe.unwrap_or(crate::gcp_auth::UNIVERSE);
    format!("https://cloudkms.{universe}")
}

/// Why Cloud KMS did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GcpKmsError {
    /// The key's name could not be sent as it is.
    #[error(
        "`{0}` is not the name of a key \
         (projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY)"
    )]
    Name(String),
    /// The endpoint is not a URL.
    #[error("the endpoint of Cloud KMS is not an http:// or https:// URL")]
    Endpoint,
    /// There is no token.
    #[error(transparent)]
    Login(#[from] GcpLoginError),
    /// No answer.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// Cloud KMS said no.
    #[error("Cloud KMS at {server} refused ({status}): {detail}{}", advice(*.status))]
    Refused {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
}

impl GcpKmsError {
    /// Returns whether the service as a whole is not there.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Rest(error) => error.is_outage(),
            Self::Login(error) => error.is_outage(),
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// A client of one endpoint with one account.
pub struct GcpKms {
    rest: Rest,
    base: Url,
    login: Arc<GcpLogin>,
}

impl GcpKms {
    /// Makes a client; sends nothing. `pinned` are the only addresses that the endpoint's name is
    /// sought at.
    pub fn new(
        endpoint: &Url,
        login: &Arc<GcpLogin>,
        timeout: Duration,
        pinned: Option<(&str, &[SocketAddr])>,
    ) -> Result<Self, GcpKmsError> {
        if endpoint.cannot_be_a_base() {
            return Err(GcpKmsError::Endpoint);
        }
        Ok(Self {
            rest: Rest::new(Reach {
                timeout,
                pinned,
                direct: false,
            })?,
            base: endpoint.clone(),
            login: Arc::clone(login),
        })
    }

    /// Encrypts `plain` with the key of this name, and returns standard base64.
    pub async fn encrypt(&self, name: &str, plain: &[u8]) -> Result<String, GcpKmsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Encrypted {
            #[serde(default)]
            name: String,
            ciphertext: String,
            ciphertext_crc32c: Option<Checksum>,
        }
        let plain = Zeroizing::new(STANDARD.encode(plain));
        let answer = self.call(name, "encrypt", "plaintext", &plain).await?;
        let encrypted: Encrypted = answer.json("a ciphertext")?;
        // The version of a key is the one that it has at the moment.
        if !is_version_of(&encrypted.name, name) {
            let what = "it was encrypted with another key than the one that was asked";
            return Err(answer.malformed(what).into());
        }
        let bytes = STANDARD.decode(&encrypted.ciphertext).unwrap_or_default();
        if bytes.is_empty() {
            return Err(answer.malformed("its ciphertext is not base64").into());
        }
        check(&answer, encrypted.ciphertext_crc32c.as_ref(), &bytes)?;
        Ok(encrypted.ciphertext)
    }

    /// Decrypts what [`Self::encrypt`] returned.
    pub async fn decrypt(&self, name: &str, encrypted: &str) -> Result<SecretBytes, GcpKmsError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Decrypted {
            // Left out by proto3 when it is empty.
            #[serde(default)]
            plaintext: String,
            plaintext_crc32c: Option<Checksum>,
        }
        let answer = self.call(name, "decrypt", "ciphertext", encrypted).await?;
        let decrypted: Decrypted = answer.json("a plaintext")?;
        let plain = SecretString::new(decrypted.plaintext);
        let plain = STANDARD
            .decode(plain.expose())
            .map(SecretBytes::new)
            .map_err(|_| answer.malformed("its plaintext is not base64"))?;
        check(&answer, decrypted.plaintext_crc32c.as_ref(), plain.expose())?;
        Ok(plain)
    }

    async fn call(
        &self,
        name: &str,
        verb: &str,
        field: &str,
        value: &str,
    ) -> Result<Answer, GcpKmsError> {
        let url = self.url(name, verb)?;
        let escaped: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let routing = format!("name={escaped}");
        let access = self.login.access().await?;
        let request = self.rest.send(&url, |http| {
            let request = http
                .post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .header("x-goog-api-client", "gl-rust/unknown rest/unknown")
                .header("x-goog-request-params", &routing)
                .body(json_body(&[("name", name), (field, value)]));
            access.sign(request)
        });
        let answer = request.await?;
        if answer.is_success() {
            return Ok(answer);
        }
        if answer.status == 401 {
            self.login.forget().await;
        }
        let words = words(&answer).replace(access.token.expose(), "(token)");
        Err(GcpKmsError::Refused {
            detail: cleaned(&words.replace(value, "(not shown)")),
            status: answer.status,
            server: shown_url(&self.base),
        })
    }

    /// `{base}/v1/{name}:{verb}`, with the query of Google's own clients.
    fn url(&self, name: &str, verb: &str) -> Result<Url, GcpKmsError> {
        let refused = || GcpKmsError::Name(name.to_owned());
        let parts: Vec<&str> = name.split('/').collect();
        let named = |(index, collection): (usize, &&str)| {
            let part = parts[2 * index + 1];
            parts[2 * index] == *collection && !part.is_empty() && is_segment(part)
        };
        let collections = ["projects", "locations", "keyRings", "cryptoKeys"];
        if parts.len() != 8 || !collections.iter().enumerate().all(named) {
            return Err(refused());
        }
        let mut url = self.base.clone();
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| GcpKmsError::Endpoint)?;
            segments.pop_if_empty().push("v1").extend(&parts[..7]);
            segments.push(&format!("{}:{verb}", parts[7]));
        }
        url.set_query(Some("%24alt=json%3Benum-encoding%3Dint"));
        Ok(url)
    }
}

impl fmt::Debug for GcpKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKms")
            .field("base", &shown_url(&self.base))
            .finish_non_exhaustive()
    }
}

/// Returns whether this is the name of a version of the key. A project has a number and an id, and the
/// answer may have the other one of the two.
fn is_version_of(version: &str, key: &str) -> bool {
    let (version, key): (Vec<&str>, Vec<&str>) =
        (version.split('/').collect(), key.split('/').collect());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    version.len() == 10
        && version[8] == "cryptoKeyVersions"
        && !version[9].is_empty()
        && version[2..8] == key[2..]
        && version[0] == key[0]
        && (version[1] == key[1] || is_number(version[1]) != is_number(key[1]))
}

/// A checksum as proto3 writes 64 bits into JSON: a text, or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Checksum {
    Text(String),
    Number(i64),
}

/// Checks the data of an answer where it has a checksum, as Google asks of its clients
/// (cloud.google.com/kms/docs/data-integrity-guidelines).
fn check(answer: &Answer, checksum: Option<&Checksum>, data: &[u8]) -> Result<(), RestError> {
    let found = i64::from(crc32c(data));
    let fits = match checksum {
        None => true,
        Some(Checksum::Text(text)) => text.parse() == Ok(found),
        Some(Checksum::Number(number)) => *number == found,
    };
    match fits {
        true => Ok(()),
        false => Err(answer.malformed("its data do not fit their checksum (CRC32C)")),
    }
}

/// CRC-32C (RFC 3720 12.1), bit by bit: what is summed up has a few hundred bytes.
fn crc32c(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |sum: u32, _| (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
    !data
        .iter()
        .fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

/// The words of `google.rpc.Status`.
fn words(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
        #[serde(default)]
        status: String,
    }
    let refusal: Result<Refusal, _> = serde_json::from_slice(answer.body.expose());
    match refusal {
        Ok(Refusal { error }) if !error.message.is_empty() => match error.status.as_str() {
            "" => error.message,
            status => format!("{status}: {}", error.message),
        },
        _ => "no reason given, so something else than Cloud KMS may have answered".to_owned(),
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "; the token is not valid: log in again (`gcloud auth application-default login`)",
        403 => {
            "; the account needs cloudkms.cryptoKeyVersions.useToEncrypt or .useToDecrypt on this key"
        }
        404 => "; check project, location, ring and key",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::gcp_auth::GcpLoginSettings;

    const NAME: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    fn client(endpoint: &str) -> GcpKms {
        let login = GcpLogin::new(GcpLoginSettings::default(), || Timestamp::UNIX_EPOCH);
        let url = Url::parse(endpoint).unwrap();
        GcpKms::new(&url, &Arc::new(login), Duration::from_secs(1), None).unwrap()
    }

    #[test]
    fn the_url_is_that_of_googles_clients() {
        let url = |base: &str, name: &str| client(base).url(name, "encrypt");
        assert_eq!(
            url("https://cloudkms.googleapis.com", NAME)
                .unwrap()
                .as_str(),
            "https://cloudkms.googleapis.com/v1/projects/p/locations/l/keyRings/r/cryptoKeys/k\
             :encrypt?%24alt=json%3Benum-encoding%3Dint"
        );
        let below = url(
            "http://host:1/base/",
            "projects/p:q/locations/l/keyRings/r?a/cryptoKeys/k#%2f",
        );
        assert_eq!(
            below.unwrap().path(),
            "/base/v1/projects/p:q/locations/l/keyRings/r%3Fa/cryptoKeys/k%23%252f:encrypt"
        );
        for name in [
            "",
            "projects/p",
            "projects/../locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations//keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "Projects/p/locations/l/keyRings/r/cryptoKeys/k",
        ] {
            assert!(
                matches!(url("http://h", name), Err(GcpKmsError::Name(_))),
                "{name}"
            );
        }
    }

    /// The vectors of RFC 3720 B.4.
    #[test]
    fn checksums_are_those_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn an_answer_names_a_version_of_the_key() {
        let version = |key: &str| format!("{key}/cryptoKeyVersions/3");
        assert!(is_version_of(&version(NAME), NAME));
        assert!(is_version_of(&version(&NAME.replace("/p/", "/42/")), NAME));
        for other in [
            String::new(),
            NAME.to_owned(),
            version(&NAME.replace("/p/", "/q/")),
            version(&NAME.replace("/r/", "/s/")),
            version(&format!("{NAME}2")),
            format!("{NAME}/cryptoKeyVersions/"),
            format!("{NAME}/cryptoKeyVersions/3/x"),
        ] {
            assert!(!is_version_of(&other, NAME), "{other}");
        }
    }

    #[test]
    fn the_universe_is_a_part_of_the_host() {
        assert_eq!(default_endpoint(None), "https://cloudkms.googleapis.com");
        assert_eq!(
            default_endpoint(Some("s3nsapis.fr")),
            "https://cloudkms.s3nsapis.fr"
        );
    }
}

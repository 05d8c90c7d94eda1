//! Azure Key Vault over REST: a key that never leaves it encrypts small data with RSA-OAEP-256
//! (sops-format.md 8.5).
//!
//! The vault itself says where to log in and for which resource. A resource that is not the vault's
//! own domain is refused: a server could else collect tokens for another one.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Url};
use selkie_secret::{SecretBytes, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::azure_auth::{Asked, AzureLogin, AzureLoginError};
use crate::message::cleaned;
use crate::rest::{Answer, Reach, Rest, RestError, is_segment, json_body, shown_url};

/// What the client of sops 3.13.3 asks for.
const API_VERSION: &str = "2025-07-01";
const ALGORITHM: &str = "RSA-OAEP-256";
const JSON: &str = "application/json";

/// Why the vault did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureKvError {
    /// The key's name or version could not be sent as it is.
    #[error("`{0}` is not the name or the version of a key")]
    Name(String),
    /// The `enc` of an entry is not what a vault gave.
    #[error("its enc field is not URL-safe base64")]
    Ciphertext,
    /// It does not say where to log in.
    #[error("{server} does not ask for a login as a vault does ({status}): {what}")]
    NoChallenge {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// What is missing.
        what: &'static str,
    },
    /// It asks for a token that is good elsewhere.
    #[error(
        "{server} asks for a token for {resource}, which is not its own domain, so it gets none"
    )]
    Resource {
        /// The server.
        server: String,
        /// What it asked for.
        resource: String,
    },
    /// There is no token.
    #[error(transparent)]
    Login(#[from] AzureLoginError),
    /// No answer.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The vault said no.
    #[error("the vault {server} refused ({status}): {detail}{}", advice(*.status))]
    Refused {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
}

impl AzureKvError {
    /// Returns whether the vault as a whole is not there.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Rest(error) => error.is_outage(),
            Self::Login(error) => error.is_outage(),
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// A client of one vault with one account.
pub struct AzureKv {
    rest: Rest,
    base: Url,
    login: Arc<AzureLogin>,
    asked: Mutex<Option<Asked>>,
}

impl AzureKv {
    /// Makes a client; sends nothing. `pinned` are the only addresses that the vault's name is
    /// sought at.
    pub fn new(
        vault: &Url,
        login: &Arc<AzureLogin>,
        timeout: Duration,
        pinned: Option<(&str, &[SocketAddr])>,
    ) -> Result<Self, AzureKvError> {
        Ok(Self {
            rest: Rest::new(Reach {
                timeout,
                pinned,
                direct: false,
            })?,
            base: vault.clone(),
            login: Arc::clone(login),
            asked: Mutex::default(),
        })
    }

    /// Returns the newest version of a key.
    pub async fn newest(&self, name: &str) -> Result<String, AzureKvError> {
        #[derive(Deserialize)]
        struct Bundle {
            key: Key,
        }
        #[derive(Deserialize)]
        struct Key {
            kid: String,
        }
        let url = self.url(&[name, ""])?;
        let answer = self.call(&Method::GET, &url, None, "").await?;
        let bundle: Bundle = answer.json("a key.kid")?;
        match self.version_of(&bundle.key.kid, name) {
            Some(version) => Ok(version),
            None => {
                let what = "its key.kid names no version of the key that was asked for";
                Err(answer.malformed(what).into())
            }
        }
    }

    /// Encrypts `plain` with a version of a key, and returns URL-safe base64 without padding.
    pub async fn encrypt(
        &self,
        name: &str,
        version: &str,
        plain: &[u8],
    ) -> Result<String, AzureKvError> {
        let plain = Zeroizing::new(URL_SAFE_NO_PAD.encode(plain));
        let (answer, value) = self.operate(name, version, "encrypt", &plain).await?;
        match URL_SAFE_NO_PAD.decode(value.expose()) {
            Ok(bytes) if !bytes.is_empty() => Ok(value.expose().to_owned()),
            _ => Err(answer.malformed("its value is not URL-safe base64").into()),
        }
    }

    /// Decrypts what [`Self::encrypt`] returned.
    pub async fn decrypt(
        &self,
        name: &str,
        version: &str,
        encrypted: &str,
    ) -> Result<SecretBytes, AzureKvError> {
        if URL_SAFE_NO_PAD.decode(encrypted).is_err() {
            return Err(AzureKvError::Ciphertext);
        }
        let (answer, value) = self.operate(name, version, "decrypt", encrypted).await?;
        let text = value.expose();
        URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .map(SecretBytes::new)
            .map_err(|_| answer.malformed("its value is not URL-safe base64").into())
    }

    async fn operate(
        &self,
        name: &str,
        version: &str,
        verb: &str,
        value: &str,
    ) -> Result<(Answer, SecretString), AzureKvError> {
        #[derive(Deserialize)]
        struct Done {
            kid: String,
            value: String,
        }
        let url = self.url(&[name, version, verb])?;
        let body = json_body(&[("alg", ALGORITHM), ("value", value)]);
        let answer = self.call(&Method::POST, &url, Some(&body), value).await?;
        let done: Done = answer.json("a kid and a value")?;
        let value = SecretString::new(done.value);
        let used = self.version_of(&done.kid, name);
        if used.is_none_or(|used| !version.is_empty() && used != version) {
            let what = "its kid names another key than the one that was asked";
            return Err(answer.malformed(what).into());
        }
        Ok((answer, value))
    }

    /// Returns the version in the identifier of a key, if it is that key of this vault.
    fn version_of(&self, kid: &str, name: &str) -> Option<String> {
        let kid = Url::parse(kid).ok()?;
        let parts: Vec<&str> = kid.path_segments()?.collect();
        let ["keys", key, version] = parts[..] else {
            return None;
        };
        let whole = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric());
        let here = kid.host_str() == self.base.host_str();
        // Names do not differ by case.
        (whole && here && key.eq_ignore_ascii_case(name)).then(|| version.to_owned())
    }

    /// Sends a request with a token; before the first one, asks the vault what the token is for.
    /// `hidden` is a text of the body that no error may repeat.
    async fn call(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Bytes>,
        hidden: &str,
    ) -> Result<Answer, AzureKvError> {
        let mut asked = self.asked(method, url).await?;
        let mut sent = self.send(method, url, body, &asked).await?;
        // The token is good, but has to prove more: one more login.
        if let Some(claims) = claims(&sent.0) {
            asked.claims = Some(claims);
            sent = self.send(method, url, body, &asked).await?;
        }
        let (answer, token) = sent;
        if answer.is_success() {
            return Ok(answer);
        }
        if answer.status == 401 {
            self.login.forget().await;
            *self.asked.lock().await = None;
        }
        let mut words = words(&answer).replace(token.expose(), "(token)");
        if !hidden.is_empty() {
            words = words.replace(hidden, "(not shown)");
        }
        Err(AzureKvError::Refused {
            detail: cleaned(&words),
            status: answer.status,
            server: shown_url(&self.base),
        })
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&Bytes>,
        asked: &Asked,
    ) -> Result<(Answer, Arc<SecretString>), AzureKvError> {
        let token = self.login.token(asked).await?;
        let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut bearer = bearer.map_err(|_| RestError::Request {
            server: shown_url(&self.base),
            what: "the token has a character that HTTP does not allow in a header".to_owned(),
        })?;
        bearer.set_sensitive(true);
        let request = self.rest.send(url, |http| {
            let request = request(http, method, url).header(AUTHORIZATION, bearer.clone());
            match body {
                Some(body) => request.header(CONTENT_TYPE, JSON).body(body.clone()),
                None => request,
            }
        });
        Ok((request.await?, token))
    }

    /// Sends the request without body and token, as Azure's libraries do, so that the vault says
    /// where to log in.
    async fn asked(&self, method: &Method, url: &Url) -> Result<Asked, AzureKvError> {
        let mut known = self.asked.lock().await;
        if let Some(asked) = &*known {
            return Ok(asked.clone());
        }
        let request = self.rest.send(url, |http| {
            let request = request(http, method, url);
            match *method == Method::POST {
                true => request.header(reqwest::header::CONTENT_LENGTH, 0),
                false => request,
            }
        });
        let answer = request.await?;
        let server = shown_url(&self.base);
        let missing = |what| AzureKvError::NoChallenge {
            server: server.clone(),
            status: answer.status,
            what,
        };
        if answer.status != 401 {
            return Err(missing(
                "a request without a token is not answered with 401",
            ));
        }
        let header = answer.headers.get(WWW_AUTHENTICATE);
        let header = header.and_then(|value| value.to_str().ok());
        let header = header.ok_or_else(|| missing("there is no WWW-Authenticate header"))?;
        let mut asked = challenge(header)
            .ok_or_else(|| missing("its WWW-Authenticate header names no resource"))?;
        // What is asked for is the domain itself, not the server's spelling of it.
        asked.resource = own_domain(&asked.resource, &self.base).ok_or_else(|| {
            let resource = cleaned(&asked.resource);
            AzureKvError::Resource { server, resource }
        })?;
        Ok(known.insert(asked).clone())
    }

    fn url(&self, parts: &[&str]) -> Result<Url, AzureKvError> {
        let mut url = self.base.clone();
        {
            let refused = |part: &str| AzureKvError::Name(part.to_owned());
            let mut segments = url.path_segments_mut().map_err(|()| refused(""))?;
            segments.pop_if_empty().push("keys");
            for (index, part) in parts.iter().enumerate() {
                if !is_segment(part) || (index == 0 && part.is_empty()) {
                    return Err(refused(part));
                }
                segments.push(part);
            }
        }
        url.set_query(Some(&format!("api-version={API_VERSION}")));
        Ok(url)
    }
}

impl fmt::Debug for AzureKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKv")
            .field("base", &shown_url(&self.base))
            .finish_non_exhaustive()
    }
}

/// Reads `Bearer authorization="URL/TENANT", resource="URL"`; newer vaults name a `scope`.
fn challenge(header: &str) -> Option<Asked> {
    let rest = bearer(header)?;
    let resource = parameter(rest, "scope").or_else(|| parameter(rest, "resource"))?;
    let resource = resource.strip_suffix("/.default").unwrap_or(resource);
    let authority = parameter(rest, "authorization");
    let authority = authority.or_else(|| parameter(rest, "authorization_uri"));
    let authority = Url::parse(authority?).ok()?;
    let tenant = authority.path_segments()?.next()?.to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let fits = tenant.starts_with(|c: char| c.is_ascii_alphanumeric());
    (fits && tenant.chars().all(plain) && !resource.is_empty()).then(|| Asked {
        tenant,
        resource: resource.to_owned(),
        claims: None,
    })
}

/// Returns what a token has to prove that was not enough (continuous access evaluation).
fn claims(answer: &Answer) -> Option<Value> {
    let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter();
    let mut headers = headers.filter_map(|value| bearer(value.to_str().ok()?));
    let insufficient = |rest: &&str| parameter(rest, "error") == Some("insufficient_claims");
    let text = parameter(headers.find(insufficient)?, "claims")?;
    let claims: Value = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
    Some(claims).filter(|claims| answer.status == 401 && claims.is_object())
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(rest)
}

/// Returns a parameter of a challenge; none of those that matter has a comma or a blank in it.
fn parameter<'h>(rest: &'h str, wanted: &str) -> Option<&'h str> {
    let mut fields = rest
        .split([',', ' '])
        .filter_map(|part| part.split_once('='));
    let (_, value) = fields.find(|(name, _)| name.trim() == wanted)?;
    Some(value.trim().trim_matches('"'))
}

/// Returns the resource, if it is the domain that the vault's host lies in, as Azure's libraries check,
/// and nothing else: scheme, host and a port.
fn own_domain(resource: &str, vault: &Url) -> Option<String> {
    let resource = Url::parse(resource).ok()?;
    let domain = resource.host_str()?;
    let bare = resource.scheme() == "https"
        && resource.username().is_empty()
        && resource.password().is_none()
        && matches!(resource.path(), "" | "/")
        && resource.query().is_none()
        && resource.fragment().is_none();
    let above = vault.host_str()?.ends_with(&format!(".{domain}"));
    // A top-level domain is nobody's own.
    let own = bare && above && domain.contains('.') && vault.port() == resource.port();
    own.then(|| resource.origin().ascii_serialization())
}

fn request(http: &Client, method: &Method, url: &Url) -> RequestBuilder {
    http.request(method.clone(), url.clone())
        .header(ACCEPT, JSON)
}

fn words(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: Words,
    }
    #[derive(Deserialize)]
    struct Words {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice(answer.body.expose()) {
        Ok(Refusal { error }) if !error.message.is_empty() => match error.code.as_str() {
            "" => error.message,
            code => format!("{code}: {}", error.message),
        },
        _ => "no reason given, so something else than a vault may have answered".to_owned(),
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 => "; the token is not valid: log in again (`az login`)",
        403 => {
            "; the account needs the key permissions get, encrypt and decrypt (the role Key Vault \
             Crypto User), and the vault's firewall has to let it in"
        }
        404 => "; check the vault, the key's name and its version",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure_auth::AzureLoginSettings;

    fn vault(url: &str) -> AzureKv {
        let login = AzureLogin::new(AzureLoginSettings::default(), || {
            jiff::Timestamp::UNIX_EPOCH
        });
        let url = Url::parse(url).unwrap();
        AzureKv::new(&url, &Arc::new(login), Duration::from_secs(1), None).unwrap()
    }

    #[test]
    fn urls_are_those_of_azures_libraries() {
        let kv = vault("https://v.vault.azure.net");
        assert_eq!(
            kv.url(&["k", "1", "encrypt"]).unwrap().as_str(),
            "https://v.vault.azure.net/keys/k/1/encrypt?api-version=2025-07-01"
        );
        assert_eq!(
            kv.url(&["k", ""]).unwrap().as_str(),
            "https://v.vault.azure.net/keys/k/?api-version=2025-07-01"
        );
        assert_eq!(kv.url(&["a/b?c", "1"]).unwrap().path(), "/keys/a%2Fb%3Fc/1");
        for parts in [&["..", "1"][..], &["k", "."], &["", "1"]] {
            assert!(
                matches!(kv.url(parts), Err(AzureKvError::Name(_))),
                "{parts:?}"
            );
        }
    }

    #[test]
    fn an_answer_names_a_version_of_the_key() {
        let kv = vault("https://v.vault.azure.net");
        let version = |kid: &str| kv.version_of(kid, "sops");
        let right = version("https://v.vault.azure.net/keys/SOPS/a1");
        assert_eq!(right.as_deref(), Some("a1"));
        for kid in [
            "",
            "https://w.vault.azure.net/keys/sops/a1",
            "https://v.vault.azure.net/keys/other/a1",
            "https://v.vault.azure.net/secrets/sops/a1",
            "https://v.vault.azure.net/keys/sops",
            "https://v.vault.azure.net/keys/sops/",
            "https://v.vault.azure.net/keys/sops/a1/x",
            "https://v.vault.azure.net/keys/sops/a%2F",
        ] {
            assert_eq!(version(kid), None, "{kid}");
        }
    }

    #[test]
    fn a_challenge_is_read_in_its_forms() {
        let read = |header: &str| challenge(header).map(|c| (c.tenant, c.resource));
        let expected = Some(("t-1".to_owned(), "https://vault.azure.net".to_owned()));
        for header in [
            r#"Bearer authorization="https://login.windows.net/t-1", resource="https://vault.azure.net""#,
            r#"Bearer authorization="https://login.windows.net/t-1" resource="https://vault.azure.net""#,
            r#"bearer authorization_uri="https://login.windows.net/t-1/", scope="https://vault.azure.net/.default""#,
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
        for header in [
            "",
            "Basic realm=x",
            r#"Bearer resource="https://vault.azure.net""#,
            r#"Bearer authorization="https://login.windows.net/t-1""#,
            r#"Bearer authorization="https://login.windows.net/--help", resource="https://v""#,
            r#"Bearer authorization="https://login.windows.net/", resource="https://v""#,
        ] {
            assert_eq!(read(header), None, "{header}");
        }
    }

    /// The attack: a server that a file names asks for a token of Azure's management, or of another
    /// vault's domain, and uses it there.
    #[test]
    fn the_resource_is_the_vaults_own_domain() {
        let own = |vault: &str, resource: &str| own_domain(resource, &Url::parse(vault).unwrap());
        for spelling in ["https://vault.azure.net", "HTTPS://VAULT.azure.net:443/"] {
            let normal = own("https://a.vault.azure.net", spelling);
            assert_eq!(normal.as_deref(), Some("https://vault.azure.net"));
        }
        let with_port = "https://vault.azure.net:8443";
        let normal = own("https://a.vault.azure.net:8443", with_port);
        assert_eq!(normal.as_deref(), Some(with_port));
        for (vault, resource) in [
            ("https://a.vault.azure.net", "https://management.azure.com"),
            ("https://vault.azure.net", "https://vault.azure.net"),
            ("https://evil.example", "https://vault.azure.net"),
            ("https://evilvault.azure.net", "https://vault.azure.net"),
            (
                "https://vault.azure.net.evil.example",
                "https://vault.azure.net",
            ),
            ("https://a.vault.azure.net", "http://vault.azure.net"),
            ("https://a.vault.azure.net", "https://x@vault.azure.net"),
            ("https://a.vault.azure.net", "https://vault.azure.net:1"),
            ("https://a.vault.azure.net", "vault.azure.net"),
            ("https://a.vault.azure.net", "https://net"),
            ("https://a.vault.azure.net", "https://vault.azure.net/x"),
            ("https://a.vault.azure.net", "https://vault.azure.net?x"),
            ("https://a.vault.azure.net", "https://vault.azure.net#x"),
        ] {
            assert_eq!(own(vault, resource), None, "{vault} {resource}");
        }
    }
}

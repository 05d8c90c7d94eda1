//! Logging in to Google Cloud: the flows of its own libraries, in the order in which sops asks them
//! (sops-format.md 8.4).
//!
//! Nothing is read or sent before the first token is needed, and a token is kept until shortly before
//! it ends.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use selkie_secret::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::jwt::Algorithm;
use crate::message::{cleaned, code};
use crate::rest::{Answer, LazyRest, RestError, form_body};

#[path = "gcp_credentials.rs"]
mod credentials;
use credentials::{External, ExternalUser, ServiceAccount, Source, SubjectFrom, User};

/// What the client of Cloud KMS asks for: sops's own list.
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/cloudkms",
];
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
pub(crate) const UNIVERSE: &str = "googleapis.com";
const FORM: &str = "application/x-www-form-urlencoded";

/// A token is asked for again so long before it ends, as Google's libraries do.
const EARLY: Duration = Duration::from_secs(225);

/// A machine that is none of Google's does not wait longer than this for its metadata service.
const METADATA_LIMIT: Duration = Duration::from_secs(2);

/// What the user's environment says about credentials.
#[derive(Debug, Default)]
pub struct GcpLoginSettings {
    /// `GOOGLE_CREDENTIALS`: the path of a file if there is one, else JSON.
    pub credentials: Option<SecretString>,
    /// `GOOGLE_OAUTH_ACCESS_TOKEN`.
    pub access_token: Option<SecretString>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub application_credentials: Option<PathBuf>,
    /// `~/.config/gcloud/application_default_credentials.json`, which `gcloud auth
    /// application-default login` writes.
    pub user_file: Option<PathBuf>,
    /// `GCE_METADATA_HOST`: host and port of the metadata service.
    pub metadata_host: Option<String>,
    /// `GOOGLE_CLOUD_QUOTA_PROJECT`: the project that calls are counted for.
    pub quota_project: Option<String>,
    /// `SOPS_GCP_KMS_UNIVERSE_DOMAIN` or `GOOGLE_CLOUD_UNIVERSE_DOMAIN`.
    pub universe: Option<String>,
    /// The time limit of one request; ten seconds when `None`.
    pub timeout: Option<Duration>,
}

/// Why there is no token. Messages show no token, no key and no assertion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GcpLoginError {
    /// No credentials anywhere.
    #[error(
        "no Google credentials: GOOGLE_CREDENTIALS, GOOGLE_OAUTH_ACCESS_TOKEN and \
         GOOGLE_APPLICATION_CREDENTIALS are not set, {user_file}, and no metadata service answers \
         ({metadata}); run `gcloud auth application-default login`, or set one of them"
    )]
    Nowhere {
        /// What of the user's file.
        user_file: String,
        /// Why not the metadata service.
        metadata: String,
    },
    /// A file of credentials cannot be read.
    #[error("the credentials of {place} cannot be read from {path}: {cause}")]
    File {
        /// Which variable or file.
        place: &'static str,
        /// The path.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// They are not what they should be.
    #[error("the credentials of {place} cannot be used: {what}")]
    Credentials {
        /// Which variable or file.
        place: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Credentials of another universe than the one that is asked.
    #[error(
        "the Google credentials are for the universe {theirs}, and {ours} is asked: set \
         SOPS_GCP_KMS_UNIVERSE_DOMAIN={theirs} if that is meant"
    )]
    Universe {
        /// The one of the credentials.
        theirs: String,
        /// The one that is asked.
        ours: String,
    },
    /// A token server said no.
    #[error("{server} gave no token ({status}): {detail}")]
    Refused {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// Its error codes, and what to do.
        detail: String,
    },
    /// A token server did not answer.
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl GcpLoginError {
    /// Returns whether asking again at once is no use.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Rest(error) => error.is_outage(),
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// What a request is sent with.
pub struct GcpAccess {
    /// For `Authorization: Bearer`.
    pub(crate) token: Arc<SecretString>,
    /// For `X-Goog-User-Project`.
    pub(crate) quota_project: Option<String>,
}

/// The user's account: logs in when it is first needed.
pub struct GcpLogin {
    settings: GcpLoginSettings,
    clock: fn() -> Timestamp,
    rest: LazyRest,
    metadata: LazyRest,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    source: Option<Arc<Found>>,
    token: Option<Token>,
}

/// Credentials, and where they were found.
struct Found {
    place: &'static str,
    source: Source,
    universe: Option<String>,
    quota_project: Option<String>,
}

struct Token {
    value: Arc<SecretString>,
    /// `None` for one that the user gave, of which nothing is known.
    until: Option<Instant>,
}

impl GcpLogin {
    /// Makes it; reads and sends nothing. `clock` dates assertions.
    pub fn new(settings: GcpLoginSettings, clock: fn() -> Timestamp) -> Self {
        let timeout = settings.timeout.unwrap_or(Duration::from_secs(10));
        Self {
            settings,
            clock,
            rest: LazyRest::new(timeout, false),
            metadata: LazyRest::new(timeout.min(METADATA_LIMIT), true),
            state: Mutex::default(),
        }
    }

    /// Returns a token that is still good for a while.
    pub async fn access(&self) -> Result<GcpAccess, GcpLoginError> {
        let mut state = self.state.lock().await;
        let found = match &state.source {
            Some(found) => Arc::clone(found),
            None => {
                let found = Arc::new(self.find()?);
                self.check_universe(&found)?;
                Arc::clone(state.source.insert(found))
            }
        };
        let good = |token: &&Token| token.until.is_none_or(|until| Instant::now() < until);
        let token = match state.token.as_ref().filter(good) {
            Some(token) => Arc::clone(&token.value),
            None => {
                let token = self.fetch(&found, &found.source).await?;
                Arc::clone(&state.token.insert(token).value)
            }
        };
        Ok(GcpAccess {
            token,
            quota_project: found.quota_project.clone(),
        })
    }

    /// Forgets the token: a server did not take it.
    pub(crate) async fn forget(&self) {
        self.state.lock().await.token = None;
    }

    fn find(&self) -> Result<Found, GcpLoginError> {
        let settings = &self.settings;
        if let Some(credentials) = &settings.credentials {
            const PLACE: &str = "GOOGLE_CREDENTIALS";
            let path = Path::new(credentials.expose());
            return match path.exists() {
                true => self.parse(PLACE, &read(PLACE, path)?),
                false => self.parse(PLACE, credentials),
            };
        }
        if let Some(token) = &settings.access_token {
            return Ok(Found {
                place: "GOOGLE_OAUTH_ACCESS_TOKEN",
                source: Source::Token(token.duplicate()),
                universe: None,
                quota_project: settings.quota_project.clone(),
            });
        }
        if let Some(path) = &settings.application_credentials {
            const PLACE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
            return self.parse(PLACE, &read(PLACE, path)?);
        }
        if let Some(path) = settings.user_file.as_ref().filter(|path| path.exists()) {
            const PLACE: &str = "gcloud's application default credentials";
            return self.parse(PLACE, &read(PLACE, path)?);
        }
        Ok(Found {
            place: "the metadata service",
            source: Source::Metadata,
            universe: None,
            quota_project: settings.quota_project.clone(),
        })
    }

    fn parse(&self, place: &'static str, json: &SecretString) -> Result<Found, GcpLoginError> {
        let parsed = credentials::parse(json.expose())
            .map_err(|what| GcpLoginError::Credentials { place, what })?;
        let own = self.settings.quota_project.clone();
        Ok(Found {
            place,
            source: parsed.source,
            universe: Some(parsed.universe.unwrap_or_else(|| UNIVERSE.to_owned())),
            quota_project: own.or(parsed.quota_project),
        })
    }

    fn check_universe(&self, found: &Found) -> Result<(), GcpLoginError> {
        let ours = self.settings.universe.as_deref().unwrap_or(UNIVERSE);
        match &found.universe {
            Some(theirs) if theirs != ours => Err(GcpLoginError::Universe {
                theirs: cleaned(theirs),
                ours: ours.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn fetch(&self, found: &Found, source: &Source) -> Result<Token, GcpLoginError> {
        match source {
            Source::Token(token) => Ok(Token {
                value: Arc::new(token.duplicate()),
                until: None,
            }),
            Source::ServiceAccount(account) => self.service_account(found, account).await,
            Source::User(user) => self.user(found, user).await,
            Source::External(external) => self.external(found, external).await,
            Source::ExternalUser(user) => self.external_user(found, user).await,
            Source::Impersonated {
                url,
                delegates,
                source,
            } => {
                let own = Box::pin(self.fetch(found, source)).await?;
                self.impersonate(found, url, delegates, "3600s", &own).await
            }
            Source::Metadata => self.metadata().await,
        }
    }

    /// RFC 7523; outside Google's own universe the assertion itself is the token.
    async fn service_account(
        &self,
        found: &Found,
        account: &ServiceAccount,
    ) -> Result<Token, GcpLoginError> {
        let now = (self.clock)().as_second();
        let scopes = SCOPES.join(" ");
        let mut header = vec![];
        if !account.key_id.is_empty() {
            header.push(("kid", Value::from(account.key_id.as_str())));
        }
        let sign = |claims: &Value| {
            account
                .key
                .sign(Algorithm::Rs256, &header, claims)
                .map_err(|what| found.unusable(what))
        };
        if found.universe.as_deref().is_some_and(|u| u != UNIVERSE) {
            let email = &account.email;
            let claims = json!({"iss": email, "scope": scopes, "exp": now + 3600, "iat": now,
                "aud": "", "sub": email});
            return Ok(Token {
                value: Arc::new(sign(&claims)?),
                until: Some(Instant::now() + Duration::from_secs(3600) - EARLY),
            });
        }
        // Ten seconds back, for clocks that differ.
        let issued = now - 10;
        let claims = json!({"iss": account.email, "scope": scopes, "exp": issued + 3600,
            "iat": issued, "aud": account.token_url.as_deref().unwrap_or(TOKEN_URL)});
        let assertion = sign(&claims)?;
        let url = found.url(account.token_url.as_deref().unwrap_or(TOKEN_URL))?;
        let fields = [
            ("assertion", assertion.expose()),
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ];
        self.token(&url, &fields, None).await
    }

    async fn user(&self, found: &Found, user: &User) -> Result<Token, GcpLoginError> {
        let url = found.url(TOKEN_URL)?;
        let fields = [
            ("client_id", user.client_id.as_str()),
            ("client_secret", user.client_secret.expose()),
            ("grant_type", "refresh_token"),
            ("refresh_token", user.refresh_token.expose()),
        ];
        self.token(&url, &fields, None).await
    }

    /// A token of somebody else's for one of Google's (RFC 8693).
    async fn external(&self, found: &Found, external: &External) -> Result<Token, GcpLoginError> {
        let (subject, provider) = match &external.subject {
            SubjectFrom::File { path, field } => {
                let text = read(found.place, path)?;
                let text = credentials::subject(text.expose().trim(), field.as_deref());
                (text.map_err(|what| found.unusable(&what))?, "file")
            }
            SubjectFrom::Url {
                url,
                headers,
                field,
            } => {
                let url = found.url(url)?;
                let request = self.rest.get()?.send(&url, |http| {
                    let mut request = http.get(url.clone());
                    for (name, value) in headers {
                        request = request.header(name, value);
                    }
                    request
                });
                let answer = success(request.await?)?;
                let text = std::str::from_utf8(answer.body.expose())
                    .map_err(|_| answer.malformed("it is no text"))?;
                let text = credentials::subject(text, field.as_deref());
                (text.map_err(|what| found.unusable(&what))?, "url")
            }
        };
        let own = ["https://www.googleapis.com/auth/cloud-platform"].join(" ");
        let scopes = match external.impersonation {
            Some(_) => own,
            None => SCOPES.join(" "),
        };
        let options = external.options();
        let mut fields = vec![
            ("audience", external.audience.as_str()),
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
        ];
        if let Some(options) = &options {
            fields.push(("options", options));
        }
        fields.extend([
            (
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("scope", scopes.as_str()),
            ("subject_token", subject.expose()),
            ("subject_token_type", external.subject_type.as_str()),
        ]);
        let domain = found.universe.as_deref().unwrap_or(UNIVERSE);
        let default = format!("https://sts.{domain}/v1/token");
        let url = found.url(external.token_url.as_deref().unwrap_or(&default))?;
        let told = format!(
            "gl-rust/unknown auth/unknown google-byoid-sdk source/{provider} \
             sa-impersonation/{} config-lifetime/{}",
            external.impersonation.is_some(),
            external.lifetime.is_some()
        );
        let client = external.client.as_ref();
        let request = self.rest.get()?.send(&url, |http| {
            let request = http
                .post(url.clone())
                .header(CONTENT_TYPE, FORM)
                .header("x-goog-api-client", &told)
                .body(form_body(&fields));
            match client {
                Some((id, secret)) => request.basic_auth(id, Some(secret.expose())),
                None => request,
            }
        });
        let token = self.read_token(&success(request.await?)?)?;
        let Some(url) = &external.impersonation else {
            return Ok(token);
        };
        let lifetime = format!("{}s", external.lifetime.unwrap_or(3600));
        self.impersonate(found, url, &[], &lifetime, &token).await
    }

    async fn external_user(
        &self,
        found: &Found,
        user: &ExternalUser,
    ) -> Result<Token, GcpLoginError> {
        let url = found.url(&user.token_url)?;
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", user.refresh_token.expose()),
        ];
        let client = (user.client_id.as_str(), user.client_secret.expose());
        self.token(&url, &fields, Some(client)).await
    }

    async fn impersonate(
        &self,
        found: &Found,
        url: &str,
        delegates: &[String],
        lifetime: &str,
        own: &Token,
    ) -> Result<Token, GcpLoginError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Issued {
            #[serde(deserialize_with = "credentials::secret")]
            access_token: SecretString,
            expire_time: Timestamp,
        }
        let url = found.url(url)?;
        let mut body = json!({"lifetime": lifetime, "scope": SCOPES});
        if !delegates.is_empty() {
            body["delegates"] = json!(delegates);
        }
        let body = body.to_string();
        let request = self.rest.get()?.send(&url, |http| {
            http.post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .bearer_auth(own.value.expose())
                .body(body.clone())
        });
        let answer = success(request.await?)?;
        let issued: Issued = answer.json("accessToken and expireTime")?;
        let left = issued.expire_time.as_second() - (self.clock)().as_second();
        Ok(Token::lasting(
            issued.access_token,
            u64::try_from(left).unwrap_or_default(),
        ))
    }

    async fn metadata(&self) -> Result<Token, GcpLoginError> {
        let host = self.settings.metadata_host.as_deref();
        let host = host.unwrap_or("169.254.169.254");
        let text =
            format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
        let mut url = Url::parse(&text).map_err(|_| GcpLoginError::Credentials {
            place: "GCE_METADATA_HOST",
            what: "it is not HOST or HOST:PORT".to_owned(),
        })?;
        url.query_pairs_mut()
            .append_pair("scopes", &SCOPES.join(","));
        let request = |http: &reqwest::Client| {
            http.get(url.clone())
                .header("Metadata-Flavor", "Google")
                .header("User-Agent", "gcloud-golang/0.1")
        };
        match self.metadata.get()?.send(&url, request).await {
            Ok(answer) => self.read_token(&success(answer)?),
            Err(error) if self.settings.metadata_host.is_some() => Err(error.into()),
            Err(error) => Err(GcpLoginError::Nowhere {
                user_file: match &self.settings.user_file {
                    Some(path) => format!("there is no {}", path.display()),
                    None => "HOME is not set".to_owned(),
                },
                metadata: error.to_string(),
            }),
        }
    }

    async fn token(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        client: Option<(&str, &str)>,
    ) -> Result<Token, GcpLoginError> {
        let request = self.rest.get()?.send(url, |http| {
            let request = http
                .post(url.clone())
                .header(CONTENT_TYPE, FORM)
                .body(form_body(fields));
            match client {
                Some((id, secret)) => request.basic_auth(id, Some(secret)),
                None => request,
            }
        });
        self.read_token(&success(request.await?)?)
    }

    fn read_token(&self, answer: &Answer) -> Result<Token, GcpLoginError> {
        #[derive(Deserialize)]
        struct Issued {
            #[serde(deserialize_with = "credentials::secret")]
            access_token: SecretString,
            expires_in: Option<u64>,
        }
        let issued: Issued = answer.json("an access_token")?;
        if issued.access_token.is_empty() {
            return Err(answer.malformed("its access_token is empty").into());
        }
        // No length of life: good for this call alone.
        let seconds = issued.expires_in.unwrap_or_default();
        Ok(Token::lasting(issued.access_token, seconds))
    }
}

impl Found {
    fn unusable(&self, what: &str) -> GcpLoginError {
        GcpLoginError::Credentials {
            place: self.place,
            what: what.to_owned(),
        }
    }

    fn url(&self, text: &str) -> Result<Url, GcpLoginError> {
        let url = Url::parse(text).ok();
        // Tokens and secrets go there; the metadata server of a machine speaks http alone.
        let near = |url: &Url| {
            let hosts = [
                "localhost",
                "127.0.0.1",
                "[::1]",
                "metadata.google.internal",
                "169.254.169.254",
            ];
            url.scheme() == "http" && url.host_str().is_some_and(|host| hosts.contains(&host))
        };
        url.filter(|url| url.has_host() && (url.scheme() == "https" || near(url)))
            .ok_or_else(|| self.unusable("one of its URLs is not an https:// URL"))
    }
}

impl Token {
    fn lasting(value: SecretString, seconds: u64) -> Self {
        let life = Duration::from_secs(seconds).saturating_sub(EARLY);
        Self {
            value: Arc::new(value),
            until: Some(Instant::now() + life.min(Duration::from_secs(24 * 3600))),
        }
    }
}

impl fmt::Debug for GcpLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpLogin")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl GcpAccess {
    /// Adds what the request is sent with.
    pub(crate) fn sign(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = match &self.quota_project {
            Some(project) => request.header("X-Goog-User-Project", project),
            None => request,
        };
        let bearer = format!("Bearer {}", self.token.expose());
        match reqwest::header::HeaderValue::try_from(bearer) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // The builder tells that it is no header, without showing it.
            Err(_) => request.header(AUTHORIZATION, "\n"),
        }
    }
}

/// Returns an answer that is one, or what the server said.
fn success(answer: Answer) -> Result<Answer, GcpLoginError> {
    if answer.is_success() {
        return Ok(answer);
    }
    let text: Value = serde_json::from_slice(answer.body.expose()).unwrap_or_default();
    // RFC 6749 5.2, with a code of Google's own beside it, or `google.rpc.Status`.
    let codes = [
        &text["error"],
        &text["error_subtype"],
        &text["error"]["status"],
    ];
    let codes = codes
        .into_iter()
        .filter_map(|value| code(value.as_str()?))
        .collect::<Vec<_>>();
    let advice = match codes.first() {
        Some(&"invalid_grant") => {
            "; the login has ended or was revoked, or this machine's clock is wrong: log in again \
             (`gcloud auth application-default login`)"
        }
        Some(&"invalid_client" | &"unauthorized_client") => {
            "; the client of these credentials is not known, or may not log in so"
        }
        Some(&"PERMISSION_DENIED") => {
            "; the account needs roles/iam.serviceAccountTokenCreator on the one that it acts as"
        }
        _ => "",
    };
    let codes = match codes.is_empty() {
        true => "no reason given".to_owned(),
        false => codes.join(": "),
    };
    Err(GcpLoginError::Refused {
        detail: format!("{codes}{advice}"),
        status: answer.status,
        server: answer.server,
    })
}

fn read(place: &'static str, path: &Path) -> Result<SecretString, GcpLoginError> {
    let failed = |error: io::Error| GcpLoginError::File {
        place,
        path: path.display().to_string(),
        cause: error.to_string(),
    };
    fs::read_to_string(path)
        .map(SecretString::new)
        .map_err(failed)
}

#[cfg(test)]
#[path = "gcp_auth_tests.rs"]
mod tests;

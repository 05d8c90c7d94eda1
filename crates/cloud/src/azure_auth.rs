//! Logging in to Azure: the credentials of its own libraries' default chain, in its order
//! (sops-format.md 8.5).
//!
//! A credential that is not set up leads to the next one; one that is set up and refused ends the
//! chain, as there. Nothing is read or sent before the first token is needed.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use selkie_secret::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::message::code;
use crate::rest::{Answer, LazyRest, RestError, form_body};

#[path = "azure_credentials.rs"]
mod credentials;
use credentials::{Certificate, Missing};

const AUTHORITY: &str = "https://login.microsoftonline.com";
const IMDS: &str = "http://169.254.169.254";

/// So many tokens are kept.
const MOST_TOKENS: usize = 64;

/// A token is asked for again so long before it ends.
const EARLY: Duration = Duration::from_secs(300);

/// A machine that is none of Azure's does not wait longer than this for its metadata service.
const IMDS_LIMIT: Duration = Duration::from_secs(1);

/// What the user's environment says about credentials.
#[derive(Debug, Default)]
pub struct AzureLoginSettings {
    /// `AZURE_TENANT_ID`.
    pub tenant: Option<String>,
    /// `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<SecretString>,
    /// `AZURE_CLIENT_CERTIFICATE_PATH`: certificate and key in PEM.
    pub certificate: Option<PathBuf>,
    /// `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`.
    pub send_chain: bool,
    /// Whether `AZURE_USERNAME` is set.
    pub user_name: bool,
    /// `AZURE_FEDERATED_TOKEN_FILE`: the token of a workload.
    pub federated_token: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`: the login server of another cloud.
    pub authority: Option<String>,
    /// `AZURE_ADDITIONALLY_ALLOWED_TENANTS`, separated by semicolons; `*` for all.
    pub more_tenants: Option<String>,
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`, which App Service sets.
    pub identity: Option<(String, SecretString)>,
    /// A variable of a kind of managed identity that is not supported, if one is set.
    pub other_identity: Option<&'static str>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`: a metadata service in the place of the usual one.
    pub metadata_host: Option<String>,
    /// `AZURE_TOKEN_CREDENTIALS`: `dev`, `prod` or the name of one credential.
    pub only: Option<String>,
    /// The time limit of one request; ten seconds when `None`.
    pub timeout: Option<Duration>,
}

/// Why there is no token. Messages show no token, no key and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureLoginError {
    /// No credential is set up.
    #[error("no Azure credential can be used: {}; run `az login`, or set one of them up", .0.join("; "))]
    Nowhere(Vec<String>),
    /// One is set up, but not as it should be.
    #[error("{credential} cannot be used: {what}")]
    Credential {
        /// Its name, as Azure's libraries call it.
        credential: &'static str,
        /// What is wrong.
        what: String,
    },
    /// `AZURE_TOKEN_CREDENTIALS` names none.
    #[error(
        "AZURE_TOKEN_CREDENTIALS is none of dev, prod, EnvironmentCredential, \
         WorkloadIdentityCredential, ManagedIdentityCredential and AzureCLICredential"
    )]
    Only,
    /// The vault belongs to another tenant.
    #[error(
        "the vault asks for a login at the tenant {asked}, and {credential} is for {own}; if that is \
         meant, add it to AZURE_ADDITIONALLY_ALLOWED_TENANTS"
    )]
    Tenant {
        /// The credential.
        credential: &'static str,
        /// Its tenant.
        own: String,
        /// The vault's tenant.
        asked: String,
    },
    /// A login server said no.
    #[error("{credential}: {server} gave no token ({status}): {detail}")]
    Refused {
        /// The credential.
        credential: &'static str,
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// Its error codes, and what to do.
        detail: String,
    },
    /// A login server did not answer.
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl AzureLoginError {
    /// Returns whether asking again at once is no use.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Rest(error) => error.is_outage(),
            Self::Refused { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// What a vault asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Where the user is known.
    pub(crate) tenant: String,
    /// What the token is for: `https://vault.azure.net`.
    pub(crate) resource: String,
    /// What the token has to prove, if the last one was not enough: a JSON object.
    pub(crate) claims: Option<Value>,
}

impl Asked {
    /// The claims, with what this client can do: answer when it is asked for more (continuous access
    /// evaluation).
    fn claims(&self) -> String {
        let mut claims = self.claims.clone().unwrap_or_else(|| json!({}));
        if claims.get("access_token").is_none_or(Value::is_object) {
            claims["access_token"]["xms_cc"] = json!({"values": ["CP1"]});
        }
        claims.to_string()
    }
}

/// The credentials of the chain that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Credential {
    Environment,
    Workload,
    Managed,
    Cli,
}

impl Credential {
    const CHAIN: [Self; 4] = [Self::Environment, Self::Workload, Self::Managed, Self::Cli];

    fn name(self) -> &'static str {
        match self {
            Self::Environment => "EnvironmentCredential",
            Self::Workload => "WorkloadIdentityCredential",
            Self::Managed => "ManagedIdentityCredential",
            Self::Cli => "AzureCLICredential",
        }
    }
}

/// Why one credential of the chain gave no token.
enum Failed {
    /// It is not set up: the next one is tried.
    Unavailable(String),
    /// It is set up: the chain ends.
    Error(AzureLoginError),
}

impl<E: Into<AzureLoginError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// The user's account: logs in when it is first needed.
pub struct AzureLogin {
    settings: AzureLoginSettings,
    clock: fn() -> Timestamp,
    rest: LazyRest,
    metadata: LazyRest,
    timeout: Duration,
    tokens: Mutex<HashMap<(String, String), Token>>,
}

struct Token {
    value: Arc<SecretString>,
    until: Instant,
}

impl AzureLogin {
    /// Makes it; reads and sends nothing. `clock` dates assertions.
    pub fn new(settings: AzureLoginSettings, clock: fn() -> Timestamp) -> Self {
        let timeout = settings.timeout.unwrap_or(Duration::from_secs(10));
        Self {
            settings,
            clock,
            rest: LazyRest::new(timeout, false),
            metadata: LazyRest::new(timeout.min(IMDS_LIMIT), true),
            timeout,
            tokens: Mutex::default(),
        }
    }

    /// Returns a token for the resource that is still good for a while; a new one where claims are
    /// asked for.
    pub(crate) async fn token(&self, asked: &Asked) -> Result<Arc<SecretString>, AzureLoginError> {
        let mut tokens = self.tokens.lock().await;
        let place = (asked.tenant.clone(), asked.resource.clone());
        if let Some(token) = tokens.get(&place)
            && Instant::now() < token.until
            && asked.claims.is_none()
        {
            return Ok(Arc::clone(&token.value));
        }
        let token = self.chain(asked).await?;
        // Vaults say which tenant and resource: their names must not fill the memory.
        if tokens.len() >= MOST_TOKENS {
            tokens.clear();
        }
        let value = Arc::clone(&token.value);
        tokens.insert(place, token);
        Ok(value)
    }

    /// Forgets the tokens: a server did not take one.
    pub(crate) async fn forget(&self) {
        self.tokens.lock().await.clear();
    }

    async fn chain(&self, asked: &Asked) -> Result<Token, AzureLoginError> {
        let mut causes = Vec::new();
        for credential in self.selected()? {
            let answer = match credential {
                Credential::Environment => self.environment(asked).await,
                Credential::Workload => self.workload(asked).await,
                Credential::Managed => self.managed(&asked.resource).await,
                Credential::Cli => self.cli(asked).await,
            };
            match answer {
                Ok(token) => return Ok(token),
                Err(Failed::Error(error)) => return Err(error),
                Err(Failed::Unavailable(cause)) => {
                    causes.push(format!("{}: {cause}", credential.name()));
                }
            }
        }
        Err(AzureLoginError::Nowhere(causes))
    }

    fn selected(&self) -> Result<Vec<Credential>, AzureLoginError> {
        let chain = Credential::CHAIN;
        match self.settings.only.as_deref() {
            None => Ok(chain.to_vec()),
            Some("dev") => Ok(vec![Credential::Cli]),
            Some("prod") => Ok(chain[..3].to_vec()),
            Some(name) => chain
                .into_iter()
                .find(|credential| credential.name().eq_ignore_ascii_case(name))
                .map(|credential| vec![credential])
                .ok_or(AzureLoginError::Only),
        }
    }

    /// A service principal with a secret or a certificate.
    async fn environment(&self, asked: &Asked) -> Result<Token, Failed> {
        let settings = &self.settings;
        let unset = |name: &str| Failed::Unavailable(format!("{name} is not set"));
        let own = settings.tenant.as_deref();
        let own = own.ok_or_else(|| unset("AZURE_TENANT_ID"))?;
        let client = settings.client_id.as_deref();
        let client = client.ok_or_else(|| unset("AZURE_CLIENT_ID"))?;
        let this = Credential::Environment;
        if let Some(secret) = &settings.client_secret {
            let tenant = self.tenant(this, own, &asked.tenant)?;
            let fields = [
                ("client_id", client),
                ("client_secret", secret.expose()),
                ("grant_type", "client_credentials"),
            ];
            return self.issue(this, tenant, asked, &fields).await;
        }
        if let Some(path) = &settings.certificate {
            let tenant = self.tenant(this, own, &asked.tenant)?;
            let unusable = |what: String| AzureLoginError::Credential {
                credential: this.name(),
                what,
            };
            let certificate = Certificate::read(path).map_err(unusable)?;
            let audience = self.token_url(tenant)?;
            let assertion = certificate
                .assertion(
                    audience.as_str(),
                    client,
                    (self.clock)(),
                    settings.send_chain,
                )
                .map_err(unusable)?;
            return self.assert(this, tenant, asked, client, &assertion).await;
        }
        Err(Failed::Unavailable(
            match settings.user_name {
                true => "AZURE_USERNAME is set, and logging in with a password is not supported",
                false => "neither AZURE_CLIENT_SECRET nor AZURE_CLIENT_CERTIFICATE_PATH is set",
            }
            .to_owned(),
        ))
    }

    /// A token of Kubernetes for one of Azure's.
    async fn workload(&self, asked: &Asked) -> Result<Token, Failed> {
        let settings = &self.settings;
        let all = (
            &settings.client_id,
            &settings.federated_token,
            &settings.tenant,
        );
        let (Some(client), Some(path), Some(own)) = all else {
            let what = "AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE and AZURE_TENANT_ID are not \
                        all set";
            return Err(Failed::Unavailable(what.to_owned()));
        };
        let this = Credential::Workload;
        let tenant = self.tenant(this, own, &asked.tenant)?;
        let assertion = std::fs::read_to_string(path)
            .map(SecretString::new)
            .map_err(|error| AzureLoginError::Credential {
                credential: this.name(),
                what: format!("{}: {error}", path.display()),
            })?;
        self.assert(this, tenant, asked, client, &assertion).await
    }

    /// The identity of App Service or of a virtual machine.
    async fn managed(&self, resource: &str) -> Result<Token, Failed> {
        let settings = &self.settings;
        if let Some(variable) = settings.other_identity {
            return Err(Failed::Unavailable(format!(
                "{variable} is set, and that kind of managed identity is not supported: that of \
                 App Service and of virtual machines are"
            )));
        }
        let this = Credential::Managed.name();
        let (endpoint, version) = match &settings.identity {
            Some((endpoint, _)) => (endpoint.clone(), "2019-08-01"),
            None => {
                let host = settings.metadata_host.as_deref().unwrap_or(IMDS);
                let host = host.trim_end_matches('/');
                (
                    format!("{host}/metadata/identity/oauth2/token"),
                    "2018-02-01",
                )
            }
        };
        let mut url = Url::parse(&endpoint).map_err(|_| AzureLoginError::Credential {
            credential: this,
            what: "its endpoint is not a URL".to_owned(),
        })?;
        url.query_pairs_mut()
            .append_pair("api-version", version)
            .append_pair("resource", resource);
        if let Some(client) = &settings.client_id {
            url.query_pairs_mut().append_pair("client_id", client);
        }
        let answer = match &settings.identity {
            Some((_, header)) => {
                let request = self.rest.get()?.send(&url, |http| {
                    http.get(url.clone())
                        .header("X-IDENTITY-HEADER", header.expose())
                });
                request.await?
            }
            None => {
                let request = self.metadata.get()?.send(&url, |http| {
                    http.get(url.clone()).header("Metadata", "true")
                });
                match request.await {
                    Ok(answer) => answer,
                    // No machine of Azure's.
                    Err(error) => return Err(Failed::Unavailable(error.to_string())),
                }
            }
        };
        match success(this, answer) {
            // A machine without an identity.
            Err(AzureLoginError::Refused {
                status: 400,
                detail,
                ..
            }) if settings.identity.is_none() && settings.client_id.is_none() => {
                Err(Failed::Unavailable(detail))
            }
            answer => Ok(self.read(&answer?)?),
        }
    }

    /// What `az login` left behind.
    async fn cli(&self, asked: &Asked) -> Result<Token, Failed> {
        if asked.claims.is_some() {
            return Err(Failed::Error(AzureLoginError::Credential {
                credential: Credential::Cli.name(),
                what: "the vault asks for a new login: run `az login`".to_owned(),
            }));
        }
        match credentials::cli(&asked.tenant, &asked.resource, self.timeout).await {
            Ok((value, expires_on)) => {
                let left = expires_on - (self.clock)().as_second();
                Ok(Token::lasting(
                    value,
                    u64::try_from(left).unwrap_or_default(),
                ))
            }
            Err(Missing(cause)) => Err(Failed::Unavailable(cause)),
        }
    }

    async fn assert(
        &self,
        credential: Credential,
        tenant: &str,
        asked: &Asked,
        client: &str,
        assertion: &SecretString,
    ) -> Result<Token, Failed> {
        let fields = [
            ("client_assertion", assertion.expose()),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_id", client),
            ("client_info", "1"),
            ("grant_type", "client_credentials"),
        ];
        self.issue(credential, tenant, asked, &fields).await
    }

    async fn issue(
        &self,
        credential: Credential,
        tenant: &str,
        asked: &Asked,
        fields: &[(&str, &str)],
    ) -> Result<Token, Failed> {
        let url = self.token_url(tenant)?;
        let scope = format!("{}/.default openid offline_access profile", asked.resource);
        let claims = asked.claims();
        let fields = [fields, &[("claims", &*claims), ("scope", &*scope)]].concat();
        let request = self.rest.get()?.send(&url, |http| {
            http.post(url.clone())
                .header(
                    CONTENT_TYPE,
                    "application/x-www-form-urlencoded; charset=utf-8",
                )
                .body(form_body(&fields))
        });
        let answer = success(credential.name(), request.await?)?;
        Ok(self.read(&answer)?)
    }

    fn read(&self, answer: &Answer) -> Result<Token, AzureLoginError> {
        #[derive(Deserialize)]
        struct Issued {
            #[serde(deserialize_with = "credentials::secret")]
            access_token: SecretString,
            // A number here, a text there.
            expires_in: Option<Value>,
            expires_on: Option<Value>,
        }
        let seconds = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        };
        let issued: Issued = answer.json("an access_token")?;
        if issued.access_token.is_empty() {
            return Err(answer.malformed("its access_token is empty").into());
        }
        let on = issued.expires_on.as_ref().and_then(seconds);
        let left = match (issued.expires_in.as_ref().and_then(seconds), on) {
            (Some(left), _) => left,
            (None, Some(on)) => on - (self.clock)().as_second(),
            (None, None) => 0,
        };
        let left = u64::try_from(left).unwrap_or_default();
        Ok(Token::lasting(issued.access_token, left))
    }

    fn token_url(&self, tenant: &str) -> Result<Url, AzureLoginError> {
        let authority = self.settings.authority.as_deref().unwrap_or(AUTHORITY);
        let unusable = |what: &str| AzureLoginError::Credential {
            credential: "AZURE_AUTHORITY_HOST",
            what: what.to_owned(),
        };
        let mut url = Url::parse(authority).map_err(|_| unusable("it is not a URL"))?;
        if url.scheme() != "https" {
            return Err(unusable("it is not an https:// URL"));
        }
        url.path_segments_mut()
            .map_err(|()| unusable("it is not a URL"))?
            .pop_if_empty()
            .extend([tenant, "oauth2", "v2.0", "token"]);
        Ok(url)
    }

    /// The tenant to log in at: the vault's, if the credential is for it.
    fn tenant<'t>(
        &self,
        credential: Credential,
        own: &'t str,
        asked: &'t str,
    ) -> Result<&'t str, AzureLoginError> {
        let more = self.settings.more_tenants.as_deref().unwrap_or_default();
        if asked.is_empty() || asked == own {
            return Ok(own);
        }
        if more
            .split(';')
            .any(|tenant| tenant == "*" || tenant == asked)
        {
            return Ok(asked);
        }
        Err(AzureLoginError::Tenant {
            credential: credential.name(),
            own: own.to_owned(),
            asked: asked.to_owned(),
        })
    }
}

impl Token {
    fn lasting(value: SecretString, seconds: u64) -> Self {
        let life = Duration::from_secs(seconds).saturating_sub(EARLY);
        Self {
            value: Arc::new(value),
            until: Instant::now() + life.min(Duration::from_secs(24 * 3600)),
        }
    }
}

impl fmt::Debug for AzureLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureLogin")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Returns an answer that is one, or what the server said.
fn success(credential: &'static str, answer: Answer) -> Result<Answer, AzureLoginError> {
    if answer.is_success() {
        return Ok(answer);
    }
    let text: Value = serde_json::from_slice(answer.body.expose()).unwrap_or_default();
    // The description begins with a code of Entra's own.
    let described = text["error_description"].as_str().unwrap_or_default();
    let described = described.split([':', ' ']).next().unwrap_or_default();
    let described = code(described).filter(|code| code.starts_with("AADSTS"));
    let codes: Vec<&str> = text["error"]
        .as_str()
        .and_then(code)
        .into_iter()
        .chain(described)
        .collect();
    let advice = match described {
        Some("AADSTS7000215") => "; the client secret is wrong",
        Some("AADSTS7000222") => "; the client secret has ended",
        Some("AADSTS700016") => "; the tenant has no such client",
        Some("AADSTS90002") => "; there is no such tenant",
        Some("AADSTS700027" | "AADSTS700024") => {
            "; the certificate or token is not one of this client, or this machine's clock is wrong"
        }
        Some("AADSTS70021") => {
            "; no federated credential of this client has that issuer, subject and audience"
        }
        Some(_) => "; https://login.microsoftonline.com/error says what the code means",
        None => "",
    };
    let detail = match codes.is_empty() {
        true => "no reason given".to_owned(),
        false => format!("{}{advice}", codes.join(": ")),
    };
    Err(AzureLoginError::Refused {
        credential,
        detail,
        status: answer.status,
        server: answer.server,
    })
}

#[cfg(test)]
#[path = "azure_auth_tests.rs"]
mod tests;

//! The files in which Google keeps credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;

use selkie_secret::SecretString;
use serde::{Deserialize, Deserializer};

use crate::jwt::SigningKey;

/// What gives a token.
pub(super) enum Source {
    Token(SecretString),
    ServiceAccount(ServiceAccount),
    User(User),
    External(External),
    ExternalUser(ExternalUser),
    Impersonated {
        url: String,
        delegates: Vec<String>,
        source: Box<Source>,
    },
    Metadata,
}

/// `service_account`.
pub(super) struct ServiceAccount {
    pub(super) email: String,
    pub(super) key: SigningKey,
    pub(super) key_id: String,
    pub(super) token_url: Option<String>,
}

/// `authorized_user`.
pub(super) struct User {
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    pub(super) refresh_token: SecretString,
}

/// `external_account`.
pub(super) struct External {
    pub(super) audience: String,
    pub(super) subject_type: String,
    pub(super) token_url: Option<String>,
    pub(super) subject: SubjectFrom,
    pub(super) client: Option<(String, SecretString)>,
    pub(super) user_project: Option<String>,
    pub(super) impersonation: Option<String>,
    pub(super) lifetime: Option<u64>,
}

/// Where the token of the other side comes from. `field` names it in JSON; without one the whole
/// text is the token.
pub(super) enum SubjectFrom {
    File {
        path: PathBuf,
        field: Option<String>,
    },
    Url {
        url: String,
        headers: BTreeMap<String, String>,
        field: Option<String>,
    },
}

/// `external_account_authorized_user`.
pub(super) struct ExternalUser {
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
    pub(super) refresh_token: SecretString,
    pub(super) token_url: String,
}

/// A file of credentials.
pub(super) struct Parsed {
    pub(super) source: Source,
    pub(super) universe: Option<String>,
    pub(super) quota_project: Option<String>,
}

impl External {
    /// The project that is billed for a workforce pool; a client id says it already.
    pub(super) fn options(&self) -> Option<String> {
        let project = self.user_project.as_ref();
        let project = project.filter(|_| self.client.is_none())?;
        Some(serde_json::json!({"userProject": project}).to_string())
    }
}

/// The fields of all kinds of credentials.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    universe_domain: Option<String>,
    quota_project_id: Option<String>,
    #[serde(default)]
    client_email: String,
    #[serde(default, deserialize_with = "secret")]
    private_key: SecretString,
    #[serde(default)]
    private_key_id: String,
    token_uri: Option<String>,
    #[serde(default)]
    client_id: String,
    #[serde(default, deserialize_with = "secret")]
    client_secret: SecretString,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: SecretString,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    subject_token_type: String,
    token_url: Option<String>,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Lifetime>,
    workforce_pool_user_project: Option<String>,
    credential_source: Option<CredentialSource>,
    #[serde(default)]
    delegates: Vec<String>,
    source_credentials: Option<Box<File>>,
}

#[derive(Deserialize)]
struct Lifetime {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    format: Option<Format>,
    environment_id: Option<String>,
    executable: Option<serde::de::IgnoredAny>,
    certificate: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    subject_token_field_name: String,
}

/// Reads credentials. The error says what is wrong and repeats no value.
pub(super) fn parse(json: &str) -> Result<Parsed, String> {
    let file: File = serde_json::from_str(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            "one of its fields has not the form that Google's libraries write".to_owned()
        }
        _ => "neither the path of a file nor JSON (or the file holds no JSON)".to_owned(),
    })?;
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (universe, quota_project) = (some(&file.universe_domain), some(&file.quota_project_id));
    Ok(Parsed {
        source: source(file)?,
        universe,
        quota_project,
    })
}

fn source(file: File) -> Result<Source, String> {
    let missing = |name: &str| Err(format!("{name} is missing"));
    match file.kind.as_str() {
        "service_account" => {
            if file.client_email.is_empty() {
                return missing("client_email");
            }
            if file.private_key.is_empty() {
                return missing("private_key");
            }
            let key = SigningKey::from_pem(file.private_key.expose())
                .map_err(|what| format!("private_key: {what}"))?;
            Ok(Source::ServiceAccount(ServiceAccount {
                email: file.client_email,
                key,
                key_id: file.private_key_id,
                token_url: file.token_uri.filter(|url| !url.is_empty()),
            }))
        }
        "authorized_user" => match file.refresh_token.is_empty() {
            true => missing("refresh_token"),
            false => Ok(Source::User(User {
                client_id: file.client_id,
                client_secret: file.client_secret,
                refresh_token: file.refresh_token,
            })),
        },
        "external_account" => external(file).map(Source::External),
        "external_account_authorized_user" => {
            let url = file.token_url.unwrap_or_default();
            if file.refresh_token.is_empty() || file.client_id.is_empty() || url.is_empty() {
                return missing("refresh_token, client_id or token_url");
            }
            Ok(Source::ExternalUser(ExternalUser {
                client_id: file.client_id,
                client_secret: file.client_secret,
                refresh_token: file.refresh_token,
                token_url: url,
            }))
        }
        "impersonated_service_account" => {
            let url = file.service_account_impersonation_url.unwrap_or_default();
            let Some(own) = file.source_credentials.filter(|_| !url.is_empty()) else {
                return missing("service_account_impersonation_url or source_credentials");
            };
            if own.kind == "impersonated_service_account" {
                return Err("source_credentials are themselves impersonated".to_owned());
            }
            Ok(Source::Impersonated {
                url,
                delegates: file.delegates,
                source: Box::new(source(*own)?),
            })
        }
        "" => missing("its type"),
        "gdch_service_account" => Err(
            "they are of type gdch_service_account (Google Distributed Cloud), which is not \
             supported; use a service_account"
                .to_owned(),
        ),
        _ => Err(
            "their type is none of service_account, authorized_user, external_account, \
             external_account_authorized_user and impersonated_service_account"
                .to_owned(),
        ),
    }
}

fn external(file: File) -> Result<External, String> {
    let Some(from) = file.credential_source else {
        return Err("credential_source is missing".to_owned());
    };
    if file.audience.is_empty() || file.subject_token_type.is_empty() {
        return Err("audience or subject_token_type is missing".to_owned());
    }
    let field = match &from.format {
        Some(format) if format.kind == "json" => Some(format.subject_token_field_name.clone()),
        Some(format) if !matches!(format.kind.as_str(), "" | "text") => {
            return Err("credential_source.format.type is neither text nor json".to_owned());
        }
        _ => None,
    };
    let subject = match (from.file, from.url) {
        _ if from.environment_id.is_some() => {
            return Err(unsupported("an AWS identity (environment_id)"));
        }
        (Some(path), _) => SubjectFrom::File { path, field },
        (None, Some(url)) => SubjectFrom::Url {
            url,
            headers: from.headers,
            field,
        },
        _ if from.executable.is_some() => return Err(unsupported("a program (executable)")),
        _ if from.certificate.is_some() => return Err(unsupported("a certificate")),
        _ => return Err("credential_source names neither a file nor a url".to_owned()),
    };
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(External {
        audience: file.audience,
        subject_type: file.subject_token_type,
        token_url: some(file.token_url),
        subject,
        client: (!file.client_id.is_empty() && !file.client_secret.is_empty())
            .then_some((file.client_id, file.client_secret)),
        user_project: some(file.workforce_pool_user_project),
        impersonation: some(file.service_account_impersonation_url),
        lifetime: file
            .service_account_impersonation
            .and_then(|given| given.token_lifetime_seconds)
            .filter(|seconds| *seconds > 0),
    })
}

fn unsupported(what: &str) -> String {
    format!(
        "their credential_source is {what}, which is not supported: a file and a url are; or give \
         a token in GOOGLE_OAUTH_ACCESS_TOKEN (`gcloud auth print-access-token` prints one)"
    )
}

/// Returns the token in a text of the other side's.
pub(super) fn subject(text: &str, field: Option<&str>) -> Result<SecretString, String> {
    let Some(field) = field else {
        return Ok(SecretString::new(text.to_owned()));
    };
    let mut fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| "the subject token is not in JSON".to_owned())?;
    match fields.remove(field) {
        Some(serde_json::Value::String(token)) => Ok(SecretString::new(token)),
        _ => Err(format!("the subject token's JSON has no text {field}")),
    }
}

/// Reads a text that must not be shown.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(SecretString::new)
}

//! A client for AWS Secrets Manager with static credentials.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::timeout::TimeoutConfig;
use aws_sdk_secretsmanager::config::{Builder, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use selkie_secret::{SecretBytes, SecretString};

use crate::message::{cleaned, root_cause};
use crate::refusal::Refusal;

/// An access key as it stands in a Secret of the cluster.
#[derive(Debug)]
pub struct AccessKey {
    /// The access key id.
    pub id: SecretString,
    /// The secret access key.
    pub secret: SecretString,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// Where Secrets Manager is and how to speak to it.
#[derive(Debug, Clone)]
pub struct SecretsManagerConfig {
    /// The region, for example `eu-central-1`.
    pub region: String,
    /// A URL to use instead of AWS's own for the region.
    pub endpoint: Option<String>,
    /// The time limit of one call, retries included.
    pub timeout: Duration,
    /// How many attempts one call makes, and the first wait; `None` for the SDK's own choice.
    pub attempts: Option<(u32, Duration)>,
}

/// Which version of a secret to read (external-secrets.md 10.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretVersion {
    /// A staging label, `AWSCURRENT` unless told otherwise.
    Stage(String),
    /// A version id.
    Id(String),
}

impl SecretVersion {
    /// Reads a `remoteRef.version`: empty, `uuid/ID`, or a staging label.
    pub fn parse(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "" => Self::Stage("AWSCURRENT".to_owned()),
            text => match text.strip_prefix("uuid/") {
                Some(id) => Self::Id(id.to_owned()),
                None => Self::Stage(text.to_owned()),
            },
        }
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(stage) => write!(f, "stage {stage}"),
            Self::Id(id) => write!(f, "version {id}"),
        }
    }
}

/// A secret as Secrets Manager keeps it.
#[derive(Debug)]
pub enum SecretPayload {
    /// `SecretString`.
    Text(SecretString),
    /// `SecretBinary`.
    Binary(SecretBytes),
}

/// Why Secrets Manager gave no value.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretsManagerError {
    /// There is no such secret or version, or it is scheduled for deletion.
    #[error("AWS Secrets Manager in {region} has no secret {id} ({code}): {detail}")]
    NotFound {
        /// The region.
        region: String,
        /// Name or ARN as asked for.
        id: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// The credentials are not valid, or may not read this secret.
    #[error(
        "AWS Secrets Manager in {region} refused access to {id} ({code}): {detail}; check the store's access key and its policies"
    )]
    Denied {
        /// The region.
        region: String,
        /// Name or ARN as asked for.
        id: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// A server error or throttling. No id: the same text for every secret of a service that is down.
    #[error("AWS Secrets Manager in {region} answered {status} ({code}): {detail}")]
    Unavailable {
        /// The region.
        region: String,
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// Any other error of the service.
    #[error("AWS Secrets Manager in {region} answered {status} for {id} ({code}): {detail}")]
    Service {
        /// The region.
        region: String,
        /// Name or ARN as asked for.
        id: String,
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// No connection.
    #[error("AWS Secrets Manager in {region} cannot be reached: {cause}")]
    Connect {
        /// The region.
        region: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("AWS Secrets Manager in {region} did not answer within {seconds} s")]
    Timeout {
        /// The region.
        region: String,
        /// The time limit.
        seconds: u64,
    },
    /// The answer holds neither text nor bytes, or cannot be parsed.
    #[error("AWS Secrets Manager in {region} gave an answer for {id} that cannot be used")]
    Malformed {
        /// The region.
        region: String,
        /// Name or ARN as asked for.
        id: String,
    },
}

impl SecretsManagerError {
    /// Returns whether the service as a whole is unavailable, so that asking for other secrets is no use.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Unavailable { .. }
        )
    }
}

/// A client of one region with one access key.
pub struct SecretsManager {
    client: Client,
    region: String,
    timeout: Duration,
}

impl SecretsManager {
    /// Makes a client; sends nothing. The SDK reads no profile, environment or instance metadata.
    pub fn new(config: &SecretsManagerConfig, key: &AccessKey) -> Self {
        let credentials = Credentials::new(
            key.id.expose(),
            key.secret.expose(),
            key.session_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
            None,
            "store",
        );
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.timeout.min(Duration::from_secs(5)))
            .operation_timeout(config.timeout)
            .build();
        let retries = match config.attempts {
            Some((attempts, wait)) => RetryConfig::standard()
                .with_max_attempts(attempts.max(1))
                .with_initial_backoff(wait),
            None => RetryConfig::standard(),
        };
        let mut builder = Builder::new()
            .behavior_version_latest()
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(builder.build()),
            region: config.region.clone(),
            timeout: config.timeout,
        }
    }

    /// Reads one version of the secret `id` (name or ARN): one `GetSecretValue` call.
    pub async fn get(
        &self,
        id: &str,
        version: &SecretVersion,
    ) -> Result<SecretPayload, SecretsManagerError> {
        let call = self.client.get_secret_value().secret_id(id);
        let call = match version {
            SecretVersion::Stage(stage) => call.version_stage(stage),
            SecretVersion::Id(version) => call.version_id(version),
        };
        match call.send().await {
            Ok(answer) => payload(answer).ok_or_else(|| SecretsManagerError::Malformed {
                region: self.region.clone(),
                id: id.to_owned(),
            }),
            Err(error) => Err(self.refusal(id, &error)),
        }
    }

    fn refusal<E>(&self, id: &str, error: &SdkError<E>) -> SecretsManagerError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (region, id) = (self.region.clone(), id.to_owned());
        let seconds = self.timeout.as_secs();
        match error {
            SdkError::TimeoutError(_) => SecretsManagerError::Timeout { region, seconds },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                SecretsManagerError::Timeout { region, seconds }
            }
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or("no code");
                let detail = answer.err().message().unwrap_or("no reason given");
                classified(region, id, status, code, detail)
            }
            SdkError::ResponseError(_) => SecretsManagerError::Malformed { region, id },
            other => SecretsManagerError::Connect {
                region,
                cause: root_cause(other),
            },
        }
    }
}

impl fmt::Debug for SecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManager")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// SecretString wins over SecretBinary (external-secrets.md 10.2); an answer has one of them.
fn payload(answer: GetSecretValueOutput) -> Option<SecretPayload> {
    if let Some(text) = answer.secret_string {
        return Some(SecretPayload::Text(SecretString::new(text)));
    }
    let binary = answer.secret_binary?;
    Some(SecretPayload::Binary(SecretBytes::new(binary.into_inner())))
}

/// Sorts a service error by its code.
///
/// A secret that is scheduled for deletion counts as missing; AWS documents InvalidRequestException
/// for it, the original looks for InvalidParameterException (external-secrets.md 10.2).
fn classified(
    region: String,
    id: String,
    status: u16,
    code: &str,
    text: &str,
) -> SecretsManagerError {
    let (code, detail) = (cleaned(code), cleaned(text));
    let deleted = text.contains("marked for deletion");
    match code.as_str() {
        "ResourceNotFoundException" => SecretsManagerError::NotFound {
            region,
            id,
            code,
            detail,
        },
        "InvalidRequestException" | "InvalidParameterException" if deleted => {
            SecretsManagerError::NotFound {
                region,
                id,
                code,
                detail,
            }
        }
        code_name => match Refusal::of(code_name, status) {
            Refusal::Denied => SecretsManagerError::Denied {
                region,
                id,
                code,
                detail,
            },
            Refusal::Unavailable => SecretsManagerError::Unavailable {
                region,
                status,
                code,
                detail,
            },
            Refusal::Other => SecretsManagerError::Service {
                region,
                id,
                status,
                code,
                detail,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: &str, text: &str) -> SecretsManagerError {
        classified("r".to_owned(), "db".to_owned(), status, code, text)
    }

    #[test]
    fn versions() {
        let stage = |name: &str| SecretVersion::Stage(name.to_owned());
        assert_eq!(SecretVersion::parse(None), stage("AWSCURRENT"));
        assert_eq!(SecretVersion::parse(Some("")), stage("AWSCURRENT"));
        assert_eq!(
            SecretVersion::parse(Some("AWSPREVIOUS")),
            stage("AWSPREVIOUS")
        );
        assert_eq!(
            SecretVersion::parse(Some("uuid/1-2")),
            SecretVersion::Id("1-2".to_owned())
        );
    }

    #[test]
    fn codes_are_sorted() {
        let missing = of(400, "ResourceNotFoundException", "no");
        assert!(matches!(missing, SecretsManagerError::NotFound { .. }));
        let deleted = of(
            400,
            "InvalidRequestException",
            "it was marked for deletion.",
        );
        assert!(matches!(deleted, SecretsManagerError::NotFound { .. }));
        let denied = of(
            403,
            "AccessDeniedException",
            "User x is not authorized. RequestId: 1",
        );
        assert_eq!(
            denied.to_string(),
            "AWS Secrets Manager in r refused access to db (AccessDeniedException): User x is not \
             authorized.; check the store's access key and its policies"
        );
        assert!(!denied.is_outage() && !missing.is_outage());
        let unnamed = of(403, "no code", "no reason given");
        assert!(matches!(unnamed, SecretsManagerError::Denied { .. }));
        assert!(of(500, "InternalServiceError", "").is_outage());
        assert!(of(400, "ThrottlingException", "").is_outage());
    }
}

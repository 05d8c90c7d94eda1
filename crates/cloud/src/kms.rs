//! A client for AWS KMS: encrypts and decrypts a data key under one KMS key (sops-format.md 8.3).
//!
//! Credentials and endpoint come from where every AWS tool takes them: the environment (`AWS_*`), the
//! shared config and its profiles, web identity, SSO, container and instance metadata. That is the
//! SDK's own chain, which reads them itself.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use selkie_secret::SecretBytes;
use zeroize::Zeroize as _;

use crate::message::{cleaned, root_cause};
use crate::refusal::Refusal;

/// As whom, and where, KMS is asked. One client serves all keys with the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KmsTarget {
    /// The region, as in the key's ARN.
    pub region: String,
    /// The profile of the shared config; `None` for the default chain.
    pub profile: Option<String>,
    /// The ARN of a role that is assumed with those credentials.
    pub role: Option<String>,
}

/// Time limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsTimeouts {
    /// Of a connection's set-up.
    pub connect: Duration,
    /// Of one attempt, answer included.
    pub attempt: Duration,
    /// Of the whole call, all attempts and waits between them included.
    pub call: Duration,
}

impl KmsTimeouts {
    /// Makes the limits from that of one attempt: a call is two attempts long.
    pub fn of_attempt(attempt: Duration) -> Self {
        Self {
            connect: attempt.min(Duration::from_secs(5)),
            attempt,
            call: attempt * 2,
        }
    }
}

impl Default for KmsTimeouts {
    fn default() -> Self {
        Self::of_attempt(Duration::from_secs(10))
    }
}

/// Why KMS did not encrypt or decrypt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The text names no region that a host name can be made of.
    #[error("the ARN's region is not the name of an AWS region, so nothing was sent")]
    Region,
    /// There is no such key in this region and account.
    #[error("AWS KMS in {region} has no such key ({code}): {detail}; check the ARN")]
    NotFound {
        /// The region.
        region: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// The credentials are not valid, or may not use the key.
    #[error(
        "AWS KMS in {region} refused access ({code}): {detail}; \
         check the credentials, the key's policy and kms:{action}"
    )]
    Denied {
        /// The region.
        region: String,
        /// The action that was asked for.
        action: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// The key is disabled, or its deletion is scheduled.
    #[error(
        "the AWS KMS key cannot be used now ({code}): {detail}; enable it, or cancel its deletion"
    )]
    Disabled {
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// The key is of a sort that cannot wrap a data key.
    #[error(
        "the AWS KMS key cannot wrap a data key ({code}): sops needs a symmetric key for encryption and \
         decryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT), and this one is asymmetric, or for signing \
         or HMAC"
    )]
    WrongSort {
        /// AWS's error code.
        code: String,
    },
    /// The ciphertext does not belong to this key, or not to this encryption context.
    #[error(
        "AWS KMS in {region} does not open the wrapped key ({code}): it was made with another key, or \
         with another encryption context than {context}"
    )]
    Ciphertext {
        /// The region.
        region: String,
        /// AWS's error code.
        code: String,
        /// Names of the context that was sent, for the message.
        context: String,
    },
    /// No credentials were found, or those found could not be completed.
    #[error("no AWS credentials{place}: {cause}")]
    Credentials {
        /// Which profile was asked, for the message.
        place: String,
        /// The SDK's words.
        cause: String,
    },
    /// STS did not let the role be assumed.
    #[error("the role {role} cannot be assumed ({code}): {detail}; check its trust policy")]
    Role {
        /// The role's ARN.
        role: String,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// A server error or throttling.
    #[error("AWS KMS in {region} answered {status} ({code}): {detail}")]
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
    #[error("AWS KMS in {region} answered {status} ({code}): {detail}")]
    Service {
        /// The region.
        region: String,
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
    /// No connection.
    #[error("AWS KMS in {region} cannot be reached: {cause}")]
    Connect {
        /// The region.
        region: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("AWS KMS in {region} did not answer within {seconds} s")]
    Timeout {
        /// The region.
        region: String,
        /// The time limit of the call.
        seconds: u64,
    },
    /// The answer cannot be parsed, or lacks its only field.
    #[error("AWS KMS in {region} gave an answer that cannot be used")]
    Malformed {
        /// The region.
        region: String,
    },
}

impl KmsError {
    /// Returns whether the service as a whole is unavailable, so that asking it again is no use for now.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Timeout { .. } | Self::Unavailable { .. }
        )
    }
}

/// A client for one target.
pub struct Kms {
    client: Client,
    target: KmsTarget,
    timeouts: KmsTimeouts,
}

impl Kms {
    /// Makes a client: reads the shared config, sends nothing. Credentials are fetched by the first
    /// call. `session_name` is what the role's account sees, see [`session_name`].
    ///
    /// Fails for a region that is not one: it becomes a host name, and stands in the file.
    pub async fn new(
        target: KmsTarget,
        timeouts: KmsTimeouts,
        session_name: &str,
    ) -> Result<Self, KmsError> {
        if !is_region(&target.region) {
            return Err(KmsError::Region);
        }
        let limits = TimeoutConfig::builder()
            .connect_timeout(timeouts.connect)
            .operation_attempt_timeout(timeouts.attempt)
            .operation_timeout(timeouts.call)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(target.region.clone()))
            .timeout_config(limits)
            .retry_config(RetryConfig::standard().with_max_attempts(3));
        if let Some(profile) = &target.profile {
            loader = loader.profile_name(profile);
        }
        let mut config = loader.load().await;
        if let Some(role) = &target.role {
            config = with_role(config, role, session_name).await;
        }
        Ok(Self {
            client: Client::new(&config),
            target,
            timeouts,
        })
    }

    /// Encrypts `plain` under a key: one `Encrypt` call. Returns the ciphertext blob.
    pub async fn encrypt(
        &self,
        key_arn: &str,
        plain: &[u8],
        context: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, KmsError> {
        let call = self
            .client
            .encrypt()
            .key_id(key_arn)
            .plaintext(Blob::new(plain))
            .set_encryption_context(sent(context))
            .send();
        let answer = call
            .await
            .map_err(|error| self.refusal("Encrypt", context, &error))?;
        answer
            .ciphertext_blob
            .map(Blob::into_inner)
            .filter(|blob| !blob.is_empty())
            .ok_or_else(|| self.malformed())
    }

    /// Decrypts a ciphertext blob under a key: one `Decrypt` call.
    pub async fn decrypt(
        &self,
        key_arn: &str,
        blob: &[u8],
        context: &BTreeMap<String, String>,
    ) -> Result<SecretBytes, KmsError> {
        let call = self
            .client
            .decrypt()
            .key_id(key_arn)
            .ciphertext_blob(Blob::new(blob))
            .set_encryption_context(sent(context))
            .send();
        let answer = call
            .await
            .map_err(|error| self.refusal("Decrypt", context, &error))?;
        let mut plain = answer
            .plaintext
            .map(Blob::into_inner)
            .ok_or_else(|| self.malformed())?;
        let secret = SecretBytes::new(plain.clone());
        plain.zeroize();
        Ok(secret)
    }

    fn malformed(&self) -> KmsError {
        let region = self.target.region.clone();
        KmsError::Malformed { region }
    }

    fn refusal<E>(
        &self,
        action: &'static str,
        context: &BTreeMap<String, String>,
        error: &SdkError<E>,
    ) -> KmsError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let region = self.target.region.clone();
        let timeout = || KmsError::Timeout {
            region: region.clone(),
            seconds: self.timeouts.call.as_secs(),
        };
        match error {
            SdkError::ServiceError(answer) => classified(
                region,
                action,
                answer.raw().status().as_u16(),
                answer.err().code().unwrap_or("no code"),
                answer.err().message().unwrap_or("no reason given"),
                context,
            ),
            SdkError::TimeoutError(_) => timeout(),
            SdkError::ResponseError(_) => KmsError::Malformed { region },
            SdkError::DispatchFailure(failure) if failure.is_timeout() => timeout(),
            other => self
                .credentials_refusal(other)
                .unwrap_or_else(|| KmsError::Connect {
                    region,
                    cause: root_cause(other),
                }),
        }
    }

    /// Finds out whether the call ended before it was sent, for want of credentials.
    fn credentials_refusal(&self, error: &(dyn Error + 'static)) -> Option<KmsError> {
        let mut wanting = false;
        let mut next = Some(error);
        while let Some(error) = next {
            wanting |= error.is::<CredentialsError>();
            if let (Some(refused), Some(role)) =
                (error.downcast_ref::<AssumeRoleError>(), &self.target.role)
            {
                return Some(KmsError::Role {
                    role: cleaned(role),
                    code: cleaned(refused.code().unwrap_or("no code")),
                    detail: cleaned(refused.message().unwrap_or("no reason given")),
                });
            }
            next = error.source();
        }
        wanting.then(|| KmsError::Credentials {
            place: match &self.target.profile {
                Some(profile) => format!(" in the profile {}", cleaned(profile)),
                None => " (environment, shared config, instance)".to_owned(),
            },
            cause: root_cause(error),
        })
    }
}

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Returns the session name that a role is assumed under: `sops@HOST`, at most 64 long, without the
/// characters that sops drops (8.3: hyphens among them) or STS refuses (`[\]^`, which sops keeps).
pub fn session_name(host: &str) -> String {
    let taken = |c: &char| c.is_ascii_alphanumeric() || "=,.@_".contains(*c);
    let host: String = host.chars().filter(taken).collect();
    let mut name = format!("sops@{host}");
    name.truncate(64);
    name
}

/// Takes the region out of a KMS ARN, its fourth field.
pub fn region_of(key_arn: &str) -> Option<&str> {
    key_arn.split(':').nth(3).filter(|region| is_region(region))
}

/// A region becomes part of the host name that the data key is sent to: letters, digits and hyphens.
pub(crate) fn is_region(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

async fn with_role(config: SdkConfig, role: &str, session_name: &str) -> SdkConfig {
    let provider = AssumeRoleProvider::builder(role)
        .configure(&config)
        .session_name(session_name)
        .build()
        .await;
    config
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

fn sent(context: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    let pairs = context.iter().map(|(k, v)| (k.clone(), v.clone()));
    (!context.is_empty()).then(|| pairs.collect())
}

fn shown(context: &BTreeMap<String, String>) -> String {
    match context.is_empty() {
        true => "the empty one of this entry".to_owned(),
        false => {
            let names: Vec<String> = context.keys().map(|name| cleaned(name)).collect();
            format!("this entry's ({})", names.join(", "))
        }
    }
}

/// Sorts a service error by its code.
fn classified(
    region: String,
    action: &'static str,
    status: u16,
    code: &str,
    text: &str,
    context: &BTreeMap<String, String>,
) -> KmsError {
    let (code, detail) = (cleaned(code), cleaned(text));
    match code.as_str() {
        "NotFoundException" => KmsError::NotFound {
            region,
            code,
            detail,
        },
        "DisabledException" | "KMSInvalidStateException" | "InvalidStateException" => {
            KmsError::Disabled { code, detail }
        }
        "InvalidKeyUsageException" | "UnsupportedOperationException" => {
            KmsError::WrongSort { code }
        }
        "InvalidCiphertextException" | "IncorrectKeyException" => KmsError::Ciphertext {
            region,
            code,
            context: shown(context),
        },
        code_name => match Refusal::of(code_name, status) {
            Refusal::Denied => KmsError::Denied {
                region,
                action,
                code,
                detail,
            },
            Refusal::Unavailable => KmsError::Unavailable {
                region,
                status,
                code,
                detail,
            },
            Refusal::Other => KmsError::Service {
                region,
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

    #[test]
    fn session_names_are_those_of_sops_and_fit_sts() {
        assert_eq!(session_name("host-1.example_x"), "sops@host1.example_x");
        assert_eq!(session_name("a[b]^c\\dé e"), "sops@abcde");
        assert_eq!(session_name(&"x".repeat(80)).len(), 64);
        assert_eq!(session_name(""), "sops@");
    }

    #[test]
    fn a_region_is_never_another_host() {
        let arn = |region: &str| format!("arn:aws:kms:{region}:1:key/a");
        assert_eq!(region_of(&arn("eu-west-1")), Some("eu-west-1"));
        for region in [
            "",
            "evil.example/",
            "evil.example#",
            "a@b",
            "-a",
            "a-",
            "EU",
            "a b",
        ] {
            assert_eq!(region_of(&arn(region)), None, "{region}");
        }
        assert_eq!(region_of("arn:aws:kms"), None);
    }

    #[test]
    fn codes_are_sorted() {
        let context = BTreeMap::from([("team".to_owned(), "canary".to_owned())]);
        let of = |status, code: &str| {
            classified(
                "r".to_owned(),
                "Decrypt",
                status,
                code,
                "why. RequestId: 1",
                &context,
            )
        };
        let text = of(400, "InvalidCiphertextException").to_string();
        assert!(
            text.contains("this entry's (team)") && !text.contains("canary"),
            "{text}"
        );
        assert!(
            of(400, "AccessDeniedException")
                .to_string()
                .contains("kms:Decrypt")
        );
        assert!(
            of(400, "UnsupportedOperationException")
                .to_string()
                .contains("symmetric")
        );
        assert!(matches!(
            of(400, "DisabledException"),
            KmsError::Disabled { .. }
        ));
        assert!(matches!(
            of(400, "NotFoundException"),
            KmsError::NotFound { .. }
        ));
        assert!(matches!(of(403, "Whatever"), KmsError::Denied { .. }));
        assert!(of(500, "KMSInternalException").is_outage());
        assert!(of(400, "ThrottlingException").is_outage());
        assert!(!of(400, "DisabledException").is_outage());
    }
}

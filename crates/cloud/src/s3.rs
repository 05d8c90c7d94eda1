//! Putting an object into an S3 bucket, with the credentials and settings that AWS's own tools find.
//!
//! One signed request instead of the whole SDK for S3, which is larger than everything else here.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};

use crate::kms::is_region;
use crate::message::{cleaned, root_cause};

/// What S3 signs as it is; every other byte is escaped.
const SIGNED_AS_IS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// So many attempts are made while the server fails, this long apart.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Bytes that a slow line brings in a second; the time limit grows with the object.
const SLOW: usize = 100 * 1024;

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Why an object was not stored.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum S3Error {
    /// The name cannot be part of an address.
    #[error(
        "`{0}` is not the name of an S3 bucket: lower-case letters, digits, `-` and `.`, 3 to 63 of them"
    )]
    Bucket(String),
    /// A part of the key cannot be part of an address.
    #[error("`{0}` cannot be the key of an object: a part of it is `.` or `..`, or it is empty")]
    Key(String),
    /// There is no region.
    #[error("no AWS region is set; set AWS_REGION, or `region` in the profile")]
    Region,
    /// The configured address is none.
    #[error("the endpoint for S3 is not an http:// or https:// URL; see AWS_ENDPOINT_URL_S3")]
    Endpoint,
    /// There are no credentials, or they cannot be had.
    #[error("no AWS credentials: {0}; see AWS_PROFILE, AWS_ACCESS_KEY_ID and `aws sso login`")]
    Credentials(String),
    /// The request could not be made or signed.
    #[error("the request cannot be signed: {0}")]
    Signing(String),
    /// No connection.
    #[error("S3 cannot be reached at {host}: {cause}")]
    Connect {
        /// The server.
        host: String,
        /// The system's words.
        cause: String,
    },
    /// No answer in time.
    #[error("S3 at {host} did not answer within {seconds} s")]
    Timeout {
        /// The server.
        host: String,
        /// The time limit.
        seconds: u64,
    },
    /// The bucket lies somewhere else.
    #[error("the bucket {bucket} is not in {region}: {status}{}", elsewhere(.other.as_ref()))]
    OtherRegion {
        /// The bucket.
        bucket: String,
        /// The region that was asked.
        region: String,
        /// The HTTP status.
        status: u16,
        /// Where it lies, if S3 tells.
        other: Option<String>,
    },
    /// The server refused.
    #[error("S3 answered {status} for s3://{bucket}/{key} ({code}): {detail}")]
    Service {
        /// The bucket.
        bucket: String,
        /// The object.
        key: String,
        /// The HTTP status.
        status: u16,
        /// AWS's error code.
        code: String,
        /// AWS's words.
        detail: String,
    },
}

fn elsewhere(region: Option<&String>) -> String {
    match region {
        Some(region) => format!("; set AWS_REGION={region}"),
        None => "; set AWS_REGION to the bucket's region".to_owned(),
    }
}

/// A client with the settings of this machine.
pub struct S3 {
    config: SdkConfig,
    endpoint: Option<String>,
    http: Client,
    timeout: Duration,
}

impl S3 {
    /// Reads the shared config; sends nothing. `timeout` is for the request without its body.
    pub async fn new(timeout: Duration) -> Result<Self, S3Error> {
        let config = aws_config::defaults(BehaviorVersion::latest()).load().await;
        let key = ServiceConfigKey::builder()
            .service_id("S3")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let of_service = key.ok().and_then(|key| {
            let services = config.service_config()?;
            services.load_config(key)
        });
        let endpoint = of_service.or_else(|| config.endpoint_url().map(str::to_owned));
        let http = Client::builder()
            // A signature is for one server.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(timeout.min(Duration::from_secs(10)))
            .build()
            .map_err(|error| S3Error::Signing(root_cause(&error)))?;
        Ok(Self {
            config,
            endpoint,
            http,
            timeout,
        })
    }

    /// Stores an object in the place of one that is there: one `PutObject` call, at the time `now`.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), S3Error> {
        let region = self.config.region().ok_or(S3Error::Region)?.to_string();
        let url = self.url(&region, bucket, key)?;
        let place = Place {
            bucket,
            key,
            region: &region,
        };
        let mut attempt = 1;
        loop {
            let answer = self.put_once(&url, &place, body, now).await;
            match answer {
                Err(S3Error::Service { status: 500.., .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await;
                    attempt += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn put_once(
        &self,
        url: &str,
        place: &Place<'_>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), S3Error> {
        let request = self.signed(url, place, body, now).await?;
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let limit = self.timeout + Duration::from_secs((body.len() / SLOW) as u64);
        let answer = self.http.execute(request);
        let answer = tokio::time::timeout(limit, answer).await;
        let failed = |error: &reqwest::Error| S3Error::Connect {
            host: host.clone(),
            cause: root_cause(error),
        };
        let answer = match answer {
            Err(_) => {
                return Err(S3Error::Timeout {
                    host,
                    seconds: limit.as_secs(),
                });
            }
            Ok(answer) => answer.map_err(|error| failed(&error))?,
        };
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let other = answer.headers().get("x-amz-bucket-region");
        let other = other.and_then(|region| Some(region.to_str().ok()?.to_owned()));
        let text = limited(answer).await;
        Err(place.refusal(status, other.filter(|region| is_region(region)), &text))
    }

    async fn signed(
        &self,
        url: &str,
        place: &Place<'_>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<reqwest::Request, S3Error> {
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| S3Error::Credentials("there is no source of any".to_owned()))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| S3Error::Credentials(cleaned(&root_cause(&error))))?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let unsigned = |error: &dyn fmt::Display| S3Error::Signing(error.to_string());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(place.region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| unsigned(&error))?
            .into();
        let headers = [("content-type", BINARY)];
        let signable =
            SignableRequest::new("PUT", url, headers.into_iter(), SignableBody::Bytes(body))
                .map_err(|error| unsigned(&error))?;
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| unsigned(&error))?
            .into_parts();
        let mut request = http::Request::put(url)
            .header(CONTENT_TYPE, BINARY)
            .body(body.to_vec())
            .map_err(|error| unsigned(&error))?;
        instructions.apply_to_request_http1x(&mut request);
        reqwest::Request::try_from(request).map_err(|error| unsigned(&error))
    }

    /// The address of an object: below the endpoint that is configured, else at AWS, with the bucket
    /// in the host's name where that can be (a dot in it would not fit the certificate).
    fn url(&self, region: &str, bucket: &str, key: &str) -> Result<String, S3Error> {
        if !is_bucket(bucket) {
            return Err(S3Error::Bucket(bucket.to_owned()));
        }
        if key.is_empty() || key.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(S3Error::Key(key.to_owned()));
        }
        let parts = key.split('/');
        let parts: Vec<String> = parts
            .map(|part| utf8_percent_encode(part, SIGNED_AS_IS).to_string())
            .collect();
        let key = parts.join("/");
        if let Some(endpoint) = &self.endpoint {
            let base = endpoint.trim_end_matches('/');
            let known = base.starts_with("http://") || base.starts_with("https://");
            return match known {
                true => Ok(format!("{base}/{bucket}/{key}")),
                false => Err(S3Error::Endpoint),
            };
        }
        if !is_region(region) {
            return Err(S3Error::Region);
        }
        let fips = if self.config.use_fips() == Some(true) {
            "-fips"
        } else {
            ""
        };
        let dual = match self.config.use_dual_stack() {
            Some(true) => "dualstack.",
            _ => "",
        };
        let suffix = match region {
            region if region.starts_with("cn-") => "amazonaws.com.cn",
            region if region.starts_with("us-iso-") => "c2s.ic.gov",
            region if region.starts_with("us-isob-") => "sc2s.sgov.gov",
            _ => "amazonaws.com",
        };
        let host = format!("s3{fips}.{dual}{region}.{suffix}");
        Ok(match bucket.contains('.') {
            true => format!("https://{host}/{bucket}/{key}"),
            false => format!("https://{bucket}.{host}/{key}"),
        })
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Where an object goes.
struct Place<'a> {
    bucket: &'a str,
    key: &'a str,
    region: &'a str,
}

impl Place<'_> {
    fn refusal(&self, status: StatusCode, other: Option<String>, text: &str) -> S3Error {
        let status = status.as_u16();
        let code = element(text, "Code");
        let moved = matches!(status, 301 | 307) || code == Some("AuthorizationHeaderMalformed");
        if moved {
            return S3Error::OtherRegion {
                bucket: self.bucket.to_owned(),
                region: self.region.to_owned(),
                status,
                other: other.filter(|other| other != self.region),
            };
        }
        S3Error::Service {
            bucket: self.bucket.to_owned(),
            key: self.key.to_owned(),
            status,
            code: cleaned(code.unwrap_or("no code")),
            detail: cleaned(element(text, "Message").unwrap_or("no reason given")),
        }
    }
}

/// Returns the text of an element of the answer, which is XML and flat.
fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    Some(text).filter(|text| !text.is_empty())
}

async fn limited(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(part)) = answer.chunk().await {
        bytes.extend_from_slice(&part);
        if bytes.len() > LARGEST_ANSWER {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names that are no part of a path or of a host's name but what they should be; with capitals and
/// `_`, which old buckets have.
fn is_bucket(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (3..=63).contains(&name.len())
        && name.bytes().all(allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.contains("..")
}

const BINARY: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use aws_types::region::Region;

    use super::*;

    fn client(endpoint: Option<&str>, region: &'static str) -> S3 {
        S3 {
            config: SdkConfig::builder().region(Region::new(region)).build(),
            endpoint: endpoint.map(str::to_owned),
            http: Client::new(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn addresses_are_those_of_the_sdks() {
        let aws = client(None, "eu-west-1");
        let url = |bucket, key| aws.url("eu-west-1", bucket, key).unwrap();
        assert_eq!(
            url("team", "a/b c+(1).yaml"),
            "https://team.s3.eu-west-1.amazonaws.com/a/b%20c%2B%281%29.yaml"
        );
        assert_eq!(
            url("team.example", "/a"),
            "https://s3.eu-west-1.amazonaws.com/team.example//a"
        );
        let china = aws.url("cn-north-1", "team", "a").unwrap();
        assert_eq!(china, "https://team.s3.cn-north-1.amazonaws.com.cn/a");
        let minio = client(Some("http://127.0.0.1:9000/"), "eu-west-1");
        let place = minio.url("eu-west-1", "team", "ä").unwrap();
        assert_eq!(place, "http://127.0.0.1:9000/team/%C3%A4");
        for (bucket, key) in [
            ("a/b", "k"),
            ("team@evil", "k"),
            ("..", "k"),
            ("team", ""),
            ("team", "../k"),
            ("team", "a/./b"),
        ] {
            assert!(aws.url("eu-west-1", bucket, key).is_err(), "{bucket} {key}");
        }
        assert_eq!(aws.url("x.evil", "team", "k"), Err(S3Error::Region));
    }

    #[test]
    fn refusals_are_told_in_the_servers_words() {
        let place = Place {
            bucket: "team",
            key: "k",
            region: "eu-west-1",
        };
        let text = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        let error = place.refusal(StatusCode::FORBIDDEN, None, text).to_string();
        assert_eq!(
            error,
            "S3 answered 403 for s3://team/k (AccessDenied): Access Denied"
        );
        let moved = place.refusal(
            StatusCode::MOVED_PERMANENTLY,
            Some("us-west-2".to_owned()),
            "",
        );
        assert!(moved.to_string().ends_with("set AWS_REGION=us-west-2"));
    }
}

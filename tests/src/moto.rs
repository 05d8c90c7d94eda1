//! moto as AWS: Secrets Manager, KMS and what they need of IAM. Its other services answer at the same
//! address.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bed::{Cache, Tool, new_folder};
use crate::server::{Server, free_port, http_client, with_new_ports};
use crate::wait::eventually;

/// The region of the secrets that this client makes.
pub const REGION: &str = "eu-west-1";

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running moto server. It forgets everything when it ends.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    server: Server,
    http: reqwest::Client,
}

/// The keys of an AWS user.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
}

impl Moto {
    /// Starts a server that accepts any credentials.
    pub async fn start() -> Result<Self> {
        Self::start_with(None).await
    }

    /// Starts a server that checks keys and policies, with one user who may do what `policy` (a
    /// policy document) allows.
    ///
    /// This client has no rights there: whatever the tests read has to be written by another one,
    /// with the returned key.
    pub async fn start_checking(policy: &Value) -> Result<(Self, AccessKey)> {
        // These three actions pass unchecked, everything after them is checked.
        let moto = Self::start_with(Some(3)).await?;
        moto.iam(&[("Action", "CreateUser"), ("UserName", "bed")])
            .await?;
        let document = policy.to_string();
        moto.iam(&[
            ("Action", "PutUserPolicy"),
            ("UserName", "bed"),
            ("PolicyName", "bed"),
            ("PolicyDocument", &document),
        ])
        .await?;
        let answer = moto
            .iam(&[("Action", "CreateAccessKey"), ("UserName", "bed")])
            .await?;
        let element = |name: &str| {
            let (_, after) = answer.split_once(&format!("<{name}>"))?;
            Some(after.split_once('<')?.0.to_owned())
        };
        let id = element("AccessKeyId").context("the answer has an access key id")?;
        let secret = element("SecretAccessKey").context("the answer has a secret access key")?;
        Ok((moto, AccessKey { id, secret }))
    }

    async fn start_with(unchecked_actions: Option<u32>) -> Result<Self> {
        with_new_ports(|| async {
            let port = free_port()?;
            let mut command = Cache::open()?.command(Tool::MotoServer)?;
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            if let Some(count) = unchecked_actions {
                command.env("INITIAL_NO_AUTH_ACTION_COUNT", count.to_string());
            }
            let folder = new_folder("moto")?;
            command.env("MOTO_RECORDER_FILEPATH", folder.join("recording"));
            let server = Server::start("moto", command, &folder.join("moto.log"))?;
            let http = http_client()?;
            let moto = Self { port, server, http };
            eventually(START_LIMIT, || async {
                moto.server.check_alive()?;
                moto.http
                    .get(format!("{}/moto-api/data.json", moto.url()))
                    .send()
                    .await?
                    .error_for_status()?;
                Ok(())
            })
            .await
            .context("moto did not start")?;
            Ok(moto)
        })
        .await
    }

    /// The address, `http://127.0.0.1:PORT`, for every service.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The process, to kill or freeze it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes a secret.
    pub async fn create_secret(&self, name: &str, value: &str) -> Result<()> {
        self.secrets_manager(
            "CreateSecret",
            &json!({"Name": name, "SecretString": value}),
        )
        .await
        .map(drop)
    }

    /// Makes a secret of bytes.
    pub async fn create_binary_secret(&self, name: &str, value: &[u8]) -> Result<()> {
        let value = STANDARD.encode(value);
        self.secrets_manager(
            "CreateSecret",
            &json!({"Name": name, "SecretBinary": value}),
        )
        .await
        .map(drop)
    }

    /// Writes a new version of a secret.
    pub async fn put_secret_value(&self, name: &str, value: &str) -> Result<()> {
        self.secrets_manager(
            "PutSecretValue",
            &json!({"SecretId": name, "SecretString": value}),
        )
        .await
        .map(drop)
    }

    /// Removes a secret at once.
    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        self.secrets_manager(
            "DeleteSecret",
            &json!({"SecretId": name, "ForceDeleteWithoutRecovery": true}),
        )
        .await
        .map(drop)
    }

    /// Calls an action of Secrets Manager, in its JSON protocol, and returns the answer.
    pub async fn secrets_manager(&self, action: &str, body: &Value) -> Result<Value> {
        let request = self
            .http
            .post(self.url())
            .header("X-Amz-Target", format!("secretsmanager.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("Authorization", authorization("secretsmanager"))
            .body(body.to_string());
        let text = send(request, action).await?;
        serde_json::from_str(&text).with_context(|| format!("moto's answer to {action}"))
    }

    /// Makes a KMS key (`body` is that of `CreateKey`, `{}` for a symmetric one) and returns its ARN.
    pub async fn create_key(&self, body: &Value) -> Result<String> {
        let answer = self.kms("CreateKey", body).await?;
        let arn = answer["KeyMetadata"]["Arn"].as_str();
        Ok(arn.context("the answer has an ARN")?.to_owned())
    }

    /// Calls an action of KMS, in its JSON protocol, and returns the answer.
    pub async fn kms(&self, action: &str, body: &Value) -> Result<Value> {
        let request = self
            .http
            .post(self.url())
            .header("X-Amz-Target", format!("TrentService.{action}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("Authorization", authorization("kms"))
            .body(body.to_string());
        let text = send(request, action).await?;
        match text.is_empty() {
            true => Ok(Value::Null),
            false => {
                serde_json::from_str(&text).with_context(|| format!("moto's answer to {action}"))
            }
        }
    }

    /// Removes everything: secrets, users, the recording.
    pub async fn reset(&self) -> Result<()> {
        send(
            self.http.post(format!("{}/moto-api/reset", self.url())),
            "reset",
        )
        .await
        .map(drop)
    }

    /// Records the requests from now on; the recording so far is dropped.
    pub async fn record(&self) -> Result<()> {
        for action in ["reset-recording", "start-recording"] {
            send(
                self.http
                    .post(format!("{}/moto-api/recorder/{action}", self.url())),
                action,
            )
            .await?;
        }
        Ok(())
    }

    /// Returns the requests since [`Moto::record`] in order.
    pub async fn requests(&self) -> Result<Vec<MotoRequest>> {
        let request = self.http.get(format!(
            "{}/moto-api/recorder/download-recording",
            self.url()
        ));
        let text = send(request, "download-recording").await?;
        text.lines()
            .map(|line| {
                let line: Line =
                    serde_json::from_str(line).context("a line of moto's recording")?;
                let header = |name| line.header(name).unwrap_or_default().to_owned();
                let text = line.text()?;
                Ok(MotoRequest {
                    target: header("X-Amz-Target"),
                    authorization: header("Authorization"),
                    body: serde_json::from_str(&text).unwrap_or(Value::Null),
                    text,
                })
            })
            .collect()
    }

    /// Counts the reads of a secret (`GetSecretValue` by this name or ARN) since [`Moto::record`].
    pub async fn reads(&self, name: &str) -> Result<usize> {
        let is_read = |request: &&MotoRequest| {
            request.target == "secretsmanager.GetSecretValue" && request.body["SecretId"] == name
        };
        Ok(self.requests().await?.iter().filter(is_read).count())
    }

    /// Calls IAM, which has a form protocol and answers XML.
    async fn iam(&self, form: &[(&str, &str)]) -> Result<String> {
        let mut body = vec!["Version=2010-05-08".to_owned()];
        body.extend(
            form.iter()
                .map(|(name, value)| format!("{name}={}", percent(value))),
        );
        let request = self
            .http
            .post(self.url())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Authorization", authorization("iam"))
            .body(body.join("&"));
        send(request, form[0].1).await
    }
}

/// A recorded request.
#[derive(Debug, Clone)]
pub struct MotoRequest {
    /// The service and action, as in `secretsmanager.GetSecretValue`.
    pub target: String,
    /// Who signed it, and what.
    pub authorization: String,
    /// The JSON body; null for other bodies.
    pub body: Value,
    /// The body as it came.
    pub text: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    /// In base64 when `body_encoded` says so.
    #[serde(default)]
    body: String,
    #[serde(default)]
    body_encoded: bool,
}

impl Line {
    fn header(&self, wanted: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> Result<String> {
        let bytes = match self.body_encoded {
            true => STANDARD.decode(&self.body)?,
            false => self.body.as_bytes().to_vec(),
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The header that names region and service: moto looks at nothing else in it, unless it checks
/// credentials.
fn authorization(service: &str) -> String {
    let credential = format!("bed/20260101/{REGION}/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0")
}

async fn send(request: reqwest::RequestBuilder, action: &str) -> Result<String> {
    let answer = request
        .send()
        .await
        .with_context(|| format!("moto: {action}"))?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("moto answers {status} to {action}: {text}");
    }
    ensure!(
        !text.contains("<Error>"),
        "moto answers {action} with an error: {text}"
    );
    Ok(text)
}

/// Percent-encodes a form value.
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}

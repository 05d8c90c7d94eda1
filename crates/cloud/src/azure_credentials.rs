//! Credentials of Azure that are not a text in a variable.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use selkie_secret::{SecretBytes, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::jwt::{Algorithm, SigningKey};
use crate::message::cleaned;

/// A service principal's certificate and key.
pub(super) struct Certificate {
    key: SigningKey,
    /// DER, the principal's own first.
    chain: Vec<Vec<u8>>,
}

impl Certificate {
    /// Reads a PEM file. The error says what is wrong.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
        let text = SecretBytes::new(text).into_string().map_err(|_| {
            format!(
                "{shown} is not PEM (PKCS#12 is not supported: `openssl pkcs12 -nodes` turns one \
                 into the other)"
            )
        })?;
        let key = SigningKey::from_pem(text.expose())
            .map_err(|what| format!("the private key in {shown}: {what}"))?;
        let blocks = pem::parse_many(text.expose()).map_err(|_| format!("{shown} is not PEM"))?;
        let certificates = blocks
            .into_iter()
            .filter(|block| block.tag() == "CERTIFICATE");
        let chain: Vec<Vec<u8>> = certificates.map(pem::Pem::into_contents).collect();
        match chain.is_empty() {
            true => Err(format!("{shown} holds no certificate")),
            false => Ok(Self { key, chain }),
        }
    }

    /// Returns what shows to a login server that the client has the key.
    pub(super) fn assertion(
        &self,
        audience: &str,
        client: &str,
        now: Timestamp,
        send_chain: bool,
    ) -> Result<SecretString, String> {
        let encoded: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        let own = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        let thumbprint = STANDARD.encode(digest(&SHA256, own));
        let mut header = vec![("x5t#S256", Value::from(thumbprint))];
        if send_chain {
            header.push(("x5c", json!(encoded)));
        }
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| "there are no random bytes".to_owned())?;
        let now = now.as_second();
        let claims = json!({"aud": audience, "exp": now + 600, "iss": client,
            "jti": STANDARD.encode(random), "nbf": now, "sub": client});
        self.key
            .sign(Algorithm::Ps256, &header, &claims)
            .map_err(str::to_owned)
    }
}

/// Why the Azure CLI gave no token.
pub(super) struct Missing(pub(super) String);

/// Asks the Azure CLI for a token, and returns it with the time of its end in seconds since 1970.
pub(super) async fn cli(
    tenant: &str,
    resource: &str,
    limit: Duration,
) -> Result<(SecretString, i64), Missing> {
    #[derive(Deserialize)]
    struct Printed {
        #[serde(rename = "accessToken", deserialize_with = "secret")]
        access_token: SecretString,
        #[serde(default)]
        expires_on: i64,
    }
    let mut command = Command::new("az");
    command.args(["account", "get-access-token", "-o", "json"]);
    command.args(["--resource", resource]);
    // The vault names it, so it must not be taken for a flag.
    if tenant.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        command.args(["--tenant", tenant]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Missing(format!("`az` cannot be run: {error}")))?;
    let end = Instant::now() + limit.max(Duration::from_secs(10));
    // Its answer is smaller than the buffer of a pipe, so it ends without being read.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Missing(
                    "`az account get-access-token` did not end".to_owned(),
                ));
            }
        }
    };
    let mut printed = Vec::with_capacity(64 * 1024);
    let mut told = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_end(&mut printed);
    }
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut told);
    }
    let printed = SecretBytes::new(printed);
    if !status.success() {
        let cause = format!("`az account get-access-token`: {}", cleaned(&told));
        return Err(Missing(cause));
    }
    let token: Printed = serde_json::from_slice(printed.expose())
        .map_err(|_| Missing("`az account get-access-token` printed no token".to_owned()))?;
    Ok((token.access_token, token.expires_on))
}

/// Reads a text that must not be shown.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<SecretString, D::Error> {
    String::deserialize(from).map(SecretString::new)
}

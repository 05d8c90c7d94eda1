//! Azure Key Vault, Entra ID and the managed identities.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::google::pem;
use super::{Answer, Request, lock};

/// The tenant of the user.
pub const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// The vault that is there, without a slash at its end.
pub const VAULT: &str = "https://first.vault.azure.net";

const TOKEN: &str = "azure.the-right-token";
const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
const SECRET: &str = "azure~client+secret";
const RESOURCE: &str = "https://vault.azure.net";

/// Azure's side of the servers. The vault has one key, `sops`, in two versions.
pub struct Azure {
    key: PrivateDecryptingKey,
    certificate: KeyPair,
    certificate_pem: String,
    /// What the challenge names as resource.
    resource: Mutex<String>,
    /// Whether a token has to prove more than the usual.
    wants_claims: AtomicBool,
}

impl Azure {
    pub(super) fn new() -> Result<Self> {
        let certificate =
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
        let params = CertificateParams::new(vec!["sops".to_owned()])?;
        let certificate_pem = params.self_signed(&certificate)?.pem();
        Ok(Self {
            key: PrivateDecryptingKey::generate(KeySize::Rsa2048)?,
            certificate,
            certificate_pem,
            resource: Mutex::new(RESOURCE.to_owned()),
            wants_claims: AtomicBool::new(false),
        })
    }

    /// The versions of the key, the newest one last.
    pub fn versions() -> [&'static str; 2] {
        [
            "11111111111111111111111111111111",
            "22222222222222222222222222222222",
        ]
    }

    /// The variables of a service principal with a secret.
    pub fn principal() -> [(&'static str, &'static str); 3] {
        [
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", CLIENT),
            ("AZURE_CLIENT_SECRET", SECRET),
        ]
    }

    /// Writes the certificate and key of the service principal.
    pub fn certificate(&self, path: &Path) -> Result<PathBuf> {
        let key = pem("PRIVATE KEY", &self.certificate.serialize_der());
        fs::write(path, format!("{}{key}", self.certificate_pem))?;
        Ok(path.to_owned())
    }

    /// Writes a script that answers as `az account get-access-token` does.
    pub fn cli(folder: &Path) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join("az");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> '{}'\n\
             echo '{{\"accessToken\": \"{TOKEN}\", \"expires_on\": 32503680000, \"expiresOn\": \"2999-01-01 00:00:00.000000\", \"tokenType\": \"Bearer\"}}'\n",
            folder.join("az.log").display()
        );
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let made = fs::metadata(&path)?.permissions().mode();
        ensure!(made & 0o111 != 0, "the script can be run");
        Ok(path)
    }

    /// Lets the vault name another resource in its challenge.
    pub fn challenge_with(&self, resource: &str) {
        resource.clone_into(&mut lock(&self.resource));
    }

    /// Lets the vault refuse the next token, good as it is, until a login brings the claims that it
    /// asks for.
    pub fn ask_for_claims(&self) {
        self.wants_claims.store(true, Ordering::SeqCst);
    }

    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        match (request.host.as_str(), request.path.as_str()) {
            (host, _) if host.ends_with(".vault.azure.net") || host == "vault.example" => {
                Some(self.vault(request))
            }
            ("login.microsoftonline.com" | "login.example", _) => Some(self.entra(request)),
            (_, "/msi/token" | "/metadata/identity/oauth2/token") => Some(identity(request)),
            _ => None,
        }
    }

    fn vault(&self, request: &Request) -> Answer {
        let bearer = request.header("authorization");
        if bearer.is_empty() {
            let mut answer = refused(401, "Unauthorized", "AKV10000: no token");
            answer.headers.push((
                "WWW-Authenticate",
                format!(
                    "Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", \
                     resource=\"{}\"",
                    lock(&self.resource)
                ),
            ));
            return answer;
        }
        if bearer != format!("Bearer {TOKEN}") {
            return refused(403, "Forbidden", "Caller is not authorized");
        }
        if self.wants_claims.load(Ordering::SeqCst) {
            let mut answer = refused(401, "Unauthorized", "AKV10139: more claims are needed");
            let claims = json!({"access_token": {"nbf": {"essential": true, "value": "1"}}});
            answer.headers.push((
                "WWW-Authenticate",
                format!(
                    "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/\
                     oauth2/authorize\", error=\"insufficient_claims\", claims=\"{}\"",
                    STANDARD.encode(claims.to_string())
                ),
            ));
            return answer;
        }
        if request
            .query
            .get("api-version")
            .is_none_or(String::is_empty)
        {
            return refused(400, "BadParameter", "api-version is missing");
        }
        let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
        let newest = Self::versions()[1];
        let kid = |version: &str| format!("https://{}/keys/sops/{version}", request.host);
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["keys", "sops"] | ["keys", "sops", ""]) => {
                let bundle = json!({
                    "key": {"kid": kid(newest), "kty": "RSA", "n": "AQAB", "e": "AQAB",
                        "key_ops": ["encrypt", "decrypt"]},
                    "attributes": {"enabled": true, "created": 1, "updated": 1},
                });
                Answer::json(200, &bundle)
            }
            ("POST", ["keys", "sops", version, verb]) if Self::versions().contains(version) => {
                let body = request.json();
                let value = URL_SAFE_NO_PAD.decode(body["value"].as_str().unwrap_or_default());
                let done = match (*verb, value) {
                    _ if body["alg"] != "RSA-OAEP-256" => None,
                    ("encrypt", Ok(plain)) => self.encrypt(&plain),
                    ("decrypt", Ok(sealed)) => self.decrypt(&sealed),
                    _ => None,
                };
                match done {
                    Some(value) => {
                        let value = URL_SAFE_NO_PAD.encode(value);
                        Answer::json(200, &json!({"kid": kid(version), "value": value}))
                    }
                    None => refused(400, "BadParameter", "The parameter is incorrect."),
                }
            }
            _ => refused(
                404,
                "KeyNotFound",
                "A key with this name was not found in this key vault.",
            ),
        }
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = OaepPublicEncryptingKey::new(self.key.public_key()).ok()?;
        let mut sealed = vec![0; key.ciphertext_size()];
        let made = key
            .encrypt(&OAEP_SHA256_MGF1SHA256, plain, &mut sealed, None)
            .ok()?;
        Some(made.to_vec())
    }

    fn decrypt(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let der: Pkcs8V1Der = self.key.as_der().ok()?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).ok()?;
        let key = OaepPrivateDecryptingKey::new(key).ok()?;
        let mut plain = vec![0; key.min_output_size()];
        let opened = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut plain, None)
            .ok()?;
        Some(opened.to_vec())
    }

    fn entra(&self, request: &Request) -> Answer {
        let authority = format!("https://{}/{TENANT}", request.host);
        match request.path.as_str() {
            "/common/discovery/instance" => {
                let host = &request.host;
                let answer = json!({
                    "tenant_discovery_endpoint":
                        format!("{authority}/v2.0/.well-known/openid-configuration"),
                    "api-version": "1.1",
                    "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
                });
                Answer::json(200, &answer)
            }
            path if path == format!("/{TENANT}/v2.0/.well-known/openid-configuration") => {
                let answer = json!({
                    "token_endpoint": format!("{authority}/oauth2/v2.0/token"),
                    "authorization_endpoint": format!("{authority}/oauth2/v2.0/authorize"),
                    "issuer": format!("{authority}/v2.0"),
                });
                Answer::json(200, &answer)
            }
            path if path == format!("/{TENANT}/oauth2/v2.0/token") => self.issue(request),
            _ => Answer::json(404, &json!({"error": "not_found"})),
        }
    }

    fn issue(&self, request: &Request) -> Answer {
        let form = request.form();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let scopes: Vec<&str> = field("scope").split(' ').collect();
        let denied = |code: &str, text: &str| {
            Answer::json(401, &json!({"error": code, "error_description": text}))
        };
        if field("grant_type") != "client_credentials"
            || field("client_id") != CLIENT
            || !scopes.contains(&"https://vault.azure.net/.default")
        {
            return denied("invalid_request", "AADSTS900144: the request is malformed");
        }
        if field("claims").contains("nbf") {
            self.wants_claims.store(false, Ordering::SeqCst);
        }
        let assertion = field("client_assertion");
        match (field("client_secret"), assertion) {
            (SECRET, "") => token(),
            ("", "their.workload.token") => token(),
            ("", assertion) if self.signed(assertion) => token(),
            _ => denied(
                "invalid_client",
                "AADSTS7000215: Invalid client secret provided.",
            ),
        }
    }

    fn signed(&self, token: &str) -> bool {
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return false;
        };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else {
            return false;
        };
        let head = signed
            .split_once('.')
            .map(|(head, _)| head)
            .unwrap_or_default();
        let head = URL_SAFE_NO_PAD.decode(head).unwrap_or_default();
        let head: Value = serde_json::from_slice(&head).unwrap_or_default();
        let public = self.certificate.public_key_raw();
        head["alg"] == "PS256"
            && UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
                .verify(signed.as_bytes(), &signature)
                .is_ok()
    }
}

/// App Service's identity endpoint, and that of virtual machines.
fn identity(request: &Request) -> Answer {
    let service = request.header("x-identity-header") == "identity-header";
    let machine = request.header("metadata") == "true";
    let resource = request.query.get("resource").map_or("", String::as_str);
    match (service || machine) && resource == RESOURCE {
        true => {
            let answer = json!({
                "access_token": TOKEN, "expires_on": "32503680000", "expires_in": "86400",
                "resource": RESOURCE, "token_type": "Bearer",
            });
            Answer::json(200, &answer)
        }
        false => Answer::json(400, &json!({"error": "invalid_request"})),
    }
}

fn token() -> Answer {
    let answer = json!({
        "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": TOKEN,
    });
    Answer::json(200, &answer)
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::json(
        status,
        &json!({"error": {"code": code, "message": message}}),
    )
}

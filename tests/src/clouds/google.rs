//! Cloud KMS, the token servers and the metadata service of Google Cloud.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::fill;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Answer, Request};

/// The key that is there.
pub const KMS_KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/k";

/// The token that Cloud KMS takes.
pub const TOKEN: &str = "ya29.the-right-token";

/// The token of the own account, which may impersonate another one and nothing else.
const OWN_TOKEN: &str = "ya29.own";

const EMAIL: &str = "sops@p.iam.gserviceaccount.com";

/// Google's side of the servers.
pub struct Google {
    account: KeyPair,
    /// What the keys of KMS are made of.
    root: [u8; 32],
}

impl Google {
    pub(super) fn new() -> Result<Self> {
        let mut root = [0; 32];
        fill(&mut root)?;
        Ok(Self {
            account: KeyPair::generate(KeySize::Rsa2048)?,
            root,
        })
    }

    /// Writes the file of a service account; `universe` is another one than Google's own.
    pub fn service_account(&self, path: &Path, universe: Option<&str>) -> Result<PathBuf> {
        let der: Pkcs8V1Der = self.account.as_der()?;
        let mut file = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "key-1",
            "private_key": pem("PRIVATE KEY", der.as_ref()), "client_email": EMAIL,
            "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
        });
        if let Some(universe) = universe {
            file["universe_domain"] = json!(universe);
        }
        fs::write(path, file.to_string())?;
        Ok(path.to_owned())
    }

    /// Returns the file that `gcloud auth application-default login` writes.
    pub fn user() -> Value {
        json!({
            "type": "authorized_user", "client_id": "client-1", "client_secret": "client-secret",
            "refresh_token": "refresh/1", "quota_project_id": "billed",
        })
    }

    /// Returns the credentials of a workload outside Google, whose token is in a file.
    pub fn external(subject: &Path, impersonating: bool) -> Value {
        let mut file = json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": subject, "format": {"type": "json", "subject_token_field_name": "token"}},
        });
        if impersonating {
            file["service_account_impersonation_url"] = json!(IMPERSONATION);
        }
        file
    }

    /// Returns the credentials of a user who impersonates a service account.
    pub fn impersonated() -> Value {
        json!({
            "type": "impersonated_service_account", "delegates": ["d@p.iam.gserviceaccount.com"],
            "service_account_impersonation_url": IMPERSONATION,
            "source_credentials": {
                "type": "authorized_user", "client_id": "client-2",
                "client_secret": "client-secret", "refresh_token": "refresh/own",
            },
        })
    }

    pub(super) fn answer(&self, request: &Request) -> Option<Answer> {
        let path = request.path.as_str();
        if path.starts_with("/computeMetadata/") {
            return Some(self.metadata(request));
        }
        match (request.host.as_str(), path) {
            ("oauth2.googleapis.com", "/token") => Some(self.oauth(request)),
            ("sts.googleapis.com", "/v1/token") => Some(sts(request)),
            ("iamcredentials.googleapis.com", _) => Some(impersonate(request)),
            (_, path) if path.starts_with("/v1/projects/") => Some(self.kms(request)),
            _ => None,
        }
    }

    fn metadata(&self, request: &Request) -> Answer {
        let path = request.path.trim_start_matches("/computeMetadata/v1/");
        match path {
            _ if request.header("metadata-flavor") != "Google" => denied(403, "Metadata-Flavor"),
            "instance/service-accounts/default/token" => token(TOKEN),
            "universe/universe-domain" | "universe/universe_domain" => {
                Answer::json_text(200, "googleapis.com".to_owned())
            }
            "project/project-id" => Answer::json_text(200, "p".to_owned()),
            _ => denied(404, "no such metadata"),
        }
    }

    fn oauth(&self, request: &Request) -> Answer {
        let form = request.form();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        match field("grant_type") {
            "refresh_token" if field("client_secret") != "client-secret" => {
                refused("invalid_client")
            }
            "refresh_token" => match field("refresh_token") {
                "refresh/1" => token(TOKEN),
                "refresh/own" => token(OWN_TOKEN),
                _ => refused("invalid_grant"),
            },
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                let claims = self.claims(field("assertion"));
                let audience = "https://oauth2.googleapis.com/token";
                match claims {
                    Some(claims) if claims["iss"] == EMAIL && claims["aud"] == audience => {
                        token(TOKEN)
                    }
                    _ => refused("invalid_grant"),
                }
            }
            _ => refused("unsupported_grant_type"),
        }
    }

    /// Returns the claims of a token that the service account signed.
    fn claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let public = self.account.public_key();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// Whether a service takes this header for one of an account that may use it.
    pub(super) fn accepts(&self, authorization: &str) -> bool {
        let bearer = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let self_signed = self
            .claims(bearer)
            .is_some_and(|claims| claims["sub"] == EMAIL);
        bearer == TOKEN || self_signed
    }

    fn kms(&self, request: &Request) -> Answer {
        if !self.accepts(request.header("authorization")) {
            return status(401, "UNAUTHENTICATED", "Request had invalid credentials.");
        }
        let Some((name, verb)) = request.path["/v1/".len()..].rsplit_once(':') else {
            return status(404, "NOT_FOUND", "Method not found.");
        };
        if !name.starts_with("projects/p/") {
            return status(
                403,
                "PERMISSION_DENIED",
                "Permission denied on the resource.",
            );
        }
        if name != KMS_KEY {
            return status(404, "NOT_FOUND", "CryptoKey not found.");
        }
        let body = request.json();
        let field = |name: &str| {
            STANDARD
                .decode(body[name].as_str().unwrap_or_default())
                .ok()
        };
        match verb {
            "encrypt" => match field("plaintext") {
                Some(plain) => {
                    let version = format!("{name}/cryptoKeyVersions/1");
                    let sealed = STANDARD.encode(self.seal(name, &plain));
                    Answer::json(200, &json!({"name": version, "ciphertext": sealed}))
                }
                None => status(400, "INVALID_ARGUMENT", "The plaintext is not base64."),
            },
            "decrypt" => match field("ciphertext").and_then(|sealed| self.open(name, &sealed)) {
                Some(plain) => Answer::json(200, &json!({"plaintext": STANDARD.encode(plain)})),
                None => status(
                    400,
                    "INVALID_ARGUMENT",
                    "Decryption failed: the ciphertext is invalid.",
                ),
            },
            _ => status(404, "NOT_FOUND", "Method not found."),
        }
    }

    fn key(&self, name: &str) -> LessSafeKey {
        let key = digest(&SHA256, &[&self.root[..], name.as_bytes()].concat());
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("32 bytes"))
    }

    fn seal(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce).expect("the system gives random bytes");
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let done = self
            .key(name)
            .seal_in_place_append_tag(unique, Aad::empty(), &mut sealed);
        done.expect("small data is sealed");
        [&nonce[..], &sealed].concat()
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let opened = self
            .key(name)
            .open_in_place(nonce, Aad::empty(), &mut plain);
        opened.ok().map(|plain| plain.to_vec())
    }
}

const IMPERSONATION: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\
                             sops@p.iam.gserviceaccount.com:generateAccessToken";

fn sts(request: &Request) -> Answer {
    let form = request.form();
    let fits = form
        .get("subject_token")
        .is_some_and(|t| t == "their-token")
        && form
            .get("grant_type")
            .is_some_and(|grant| grant.ends_with(":token-exchange"));
    match fits {
        // Who impersonates asks for the platform's scope alone.
        true if form.get("scope").is_some_and(|scope| scope.contains(' ')) => token(TOKEN),
        true => token(OWN_TOKEN),
        false => refused("invalid_grant"),
    }
}

fn impersonate(request: &Request) -> Answer {
    if request.header("authorization") != format!("Bearer {OWN_TOKEN}") {
        return status(401, "UNAUTHENTICATED", "Request had invalid credentials.");
    }
    Answer::json(
        200,
        &json!({"accessToken": TOKEN, "expireTime": "2999-01-01T00:00:00Z"}),
    )
}

fn token(value: &str) -> Answer {
    let answer = json!({
        "access_token": value, "expires_in": 3599, "token_type": "Bearer",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    Answer::json(200, &answer)
}

fn refused(code: &str) -> Answer {
    Answer::json(
        400,
        &json!({"error": code, "error_description": "Bad Request"}),
    )
}

fn denied(code: u16, what: &str) -> Answer {
    Answer::json_text(code, what.to_owned())
}

fn status(code: u16, status: &str, message: &str) -> Answer {
    Answer::json(
        code,
        &json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

pub(super) fn pem(tag: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n",
        lines.join("\n")
    )
}

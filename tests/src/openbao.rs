//! OpenBao as the Vault API: a real server whose data outlive an outage (dev mode forgets them).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bed::{Cache, DATA, Tool, new_folder};
use crate::server::{Server, free_port, http_client, with_new_ports};
use crate::wait::eventually;

const START_LIMIT: Duration = Duration::from_secs(60);

/// The root token. It is worth nothing outside of the bed.
pub const ROOT_TOKEN: &str = "root";

/// A running OpenBao: unsealed, KV version 2 at `secret/`, the token [`ROOT_TOKEN`], a file audit
/// device.
#[derive(Debug)]
pub struct OpenBao {
    folder: PathBuf,
    port: u16,
    server: Server,
    /// The unseal key, in hexadecimal.
    key: String,
    http: reqwest::Client,
}

impl OpenBao {
    /// Starts a server with an empty `secret/`.
    pub async fn start() -> Result<Self> {
        with_new_ports(|| async {
            Self::start_at(&new_folder("openbao")?, free_port()?, free_port()?).await
        })
        .await
    }

    async fn start_at(folder: &Path, port: u16, cluster_port: u16) -> Result<Self> {
        std::fs::create_dir(folder.join(DATA))?;
        std::fs::write(config(folder), configuration(folder, port, cluster_port))?;
        let server = start_server(folder)?;
        let mut bao = Self {
            folder: folder.to_owned(),
            port,
            server,
            key: String::new(),
            http: http_client()?,
        };
        let start = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys: Keys = eventually(START_LIMIT, || async {
            bao.server.check_alive()?;
            bao.request(Method::PUT, "sys/init", "", &start).await
        })
        .await
        .context("OpenBao did not start")?;
        bao.key = keys.keys.first().context("one key was asked for")?.clone();
        bao.unseal().await?;
        let root = json!({"id": ROOT_TOKEN, "policies": ["root"], "no_parent": true});
        let _: Value = bao
            .request(Method::POST, "auth/token/create", &keys.root_token, &root)
            .await?;
        bao.write(
            "sys/mounts/secret",
            &json!({"type": "kv", "options": {"version": "2"}}),
        )
        .await?;
        // A new KV version 2 refuses requests for a moment, while it upgrades its storage.
        eventually(START_LIMIT, || async {
            bao.kv_put("bed/ready", &json!({})).await
        })
        .await?;
        Ok(bao)
    }

    /// The address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Writes a new version of a secret of `secret/`; `data` is an object.
    pub async fn kv_put(&self, path: &str, data: &Value) -> Result<()> {
        self.write(&format!("secret/data/{path}"), &json!({"data": data}))
            .await
    }

    /// Reads the newest version of a secret of `secret/`.
    pub async fn kv_get(&self, path: &str) -> Result<Value> {
        let mut answer: Value = self
            .request(
                Method::GET,
                &format!("secret/data/{path}"),
                ROOT_TOKEN,
                &Value::Null,
            )
            .await?;
        Ok(answer["data"]["data"].take())
    }

    /// Removes a secret of `secret/` with all its versions.
    pub async fn kv_delete(&self, path: &str) -> Result<()> {
        self.send(
            Method::DELETE,
            &format!("secret/metadata/{path}"),
            ROOT_TOKEN,
            &Value::Null,
        )
        .await
        .map(drop)
    }

    /// Writes to any path below `/v1/` as root: mounts, policies, auth methods.
    pub async fn write(&self, path: &str, body: &Value) -> Result<()> {
        self.send(Method::POST, path, ROOT_TOKEN, body)
            .await
            .map(drop)
    }

    /// Makes a token that has only the named policies, and returns it.
    pub async fn token(&self, policies: &[&str]) -> Result<String> {
        let body = json!({"policies": policies, "no_default_policy": true});
        let answer: Value = self
            .request(Method::POST, "auth/token/create", ROOT_TOKEN, &body)
            .await?;
        Ok(answer["auth"]["client_token"]
            .as_str()
            .context("the answer has a token")?
            .to_owned())
    }

    /// Makes or replaces a policy, in HCL.
    pub async fn policy(&self, name: &str, rules: &str) -> Result<()> {
        self.write(
            &format!("sys/policies/acl/{name}"),
            &json!({"policy": rules}),
        )
        .await
    }

    /// Ends the server: connections are refused from now on.
    pub fn stop(&self) -> Result<()> {
        self.server.terminate(Duration::from_secs(20)).map(drop)
    }

    /// Starts the server again after [`OpenBao::stop`], at the same address and with the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        self.server = start_server(&self.folder)?;
        eventually(START_LIMIT, || async {
            self.server.check_alive()?;
            self.unseal().await
        })
        .await
    }

    /// Seals the storage: every request is answered with 503 from now on.
    pub async fn seal(&self) -> Result<()> {
        self.send(Method::PUT, "sys/seal", ROOT_TOKEN, &Value::Null)
            .await
            .map(drop)
    }

    /// Unseals the storage.
    pub async fn unseal(&self) -> Result<()> {
        let answer: Value = self
            .request(Method::PUT, "sys/unseal", "", &json!({"key": self.key}))
            .await?;
        ensure!(answer["sealed"] == false, "OpenBao stays sealed");
        // Unsealed, it is a standby for a moment.
        eventually(START_LIMIT, || async {
            self.send(Method::GET, "sys/health", "", &Value::Null)
                .await
                .map(drop)
        })
        .await
    }

    /// The process, to freeze it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Reads the audit log: every request that came so far, in order.
    pub fn requests(&self) -> Result<Vec<BaoRequest>> {
        let log =
            std::fs::read_to_string(audit_log(&self.folder)).context("OpenBao's audit log")?;
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole.lines().map(|line| {
            serde_json::from_str::<Line>(line).context("a line of OpenBao's audit log")
        });
        let requests = lines.filter_map(|line| match line {
            Ok(line) => (line.kind == "request").then_some(Ok(line.request)),
            Err(error) => Some(Err(error)),
        });
        requests.collect()
    }

    /// Counts the reads of a secret of `secret/` by everybody.
    pub fn reads(&self, path: &str) -> Result<usize> {
        let path = format!("secret/data/{path}");
        Ok(self
            .requests()?
            .iter()
            .filter(|request| request.operation == "read" && request.path == path)
            .count())
    }

    /// Counts the logins, and what stands for one where a token is given: looking the token up or
    /// renewing it.
    pub fn logins(&self) -> Result<usize> {
        let is_login = |path: &str| {
            path.starts_with("auth/") && path.contains("/login")
                || ["auth/token/lookup-self", "auth/token/renew-self"].contains(&path)
        };
        Ok(self
            .requests()?
            .iter()
            .filter(|request| is_login(&request.path))
            .count())
    }

    async fn request<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<T> {
        let answer = self.send(method, path, token, body).await?;
        answer
            .json()
            .await
            .with_context(|| format!("OpenBao's answer to {path}"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
    ) -> Result<reqwest::Response> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}/v1/{path}", self.url()))
            .timeout(Duration::from_secs(10));
        if !token.is_empty() {
            request = request.header("X-Vault-Token", token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!(
                "OpenBao answers {status} to {method} {path}: {}",
                answer.text().await?
            );
        }
        Ok(answer)
    }
}

/// A request as OpenBao's audit log has it; values and tokens are hashed there.
#[derive(Debug, Clone, Deserialize)]
pub struct BaoRequest {
    /// `read`, `create`, `update`, `delete`, `list`.
    pub operation: String,
    /// The path below `/v1/`.
    pub path: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    request: BaoRequest,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<String>,
    root_token: String,
}

/// The configuration, in HCL. Audit devices cannot be enabled by the API (testbed.md 4).
fn configuration(folder: &Path, port: u16, cluster_port: u16) -> String {
    let (data, audit) = (folder.join(DATA), audit_log(folder));
    format!(
        r#"
storage "raft" {{
  path                   = "{data}"
  node_id                = "bed"
  performance_multiplier = 1
}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable     = true
}}
audit "file" "log" {{
  options = {{ file_path = "{audit}" }}
}}
api_addr     = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
log_level    = "warn"
"#,
        data = data.display(),
        audit = audit.display(),
    )
}

fn start_server(folder: &Path) -> Result<Server> {
    let mut command = Cache::open()?.command(Tool::Bao)?;
    command
        .arg("server")
        .arg(format!("-config={}", config(folder).display()));
    Server::start("OpenBao", command, &folder.join("openbao.log"))
}

fn config(folder: &Path) -> PathBuf {
    folder.join("openbao.hcl")
}

fn audit_log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

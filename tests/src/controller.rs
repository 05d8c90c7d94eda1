//! Our controller as a process outside of the cluster, with the rights of a service account.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;
use reqwest::StatusCode;

use crate::bed::new_folder;
use crate::cluster::{Account, Cluster};
use crate::selkie::binary;
use crate::server::{Server, free_port, http_client, with_new_ports};
use crate::wait::eventually;

const START_LIMIT: Duration = Duration::from_secs(60);

/// How a controller shall be started: see [`Controller::with`].
#[derive(Debug, Clone)]
pub struct Settings {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    namespace: String,
    rules: Vec<PolicyRule>,
    wait_until_ready: bool,
    name: Option<String>,
}

/// A running controller. Dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    server: Server,
    account: Account,
    port: u16,
    metrics_port: u16,
    http: reqwest::Client,
}

impl Controller {
    /// Settings of a controller whose own namespace is `namespace`: the usual rights, no further
    /// arguments.
    pub fn with(namespace: &str) -> Settings {
        Settings {
            arguments: Vec::new(),
            environment: Vec::new(),
            namespace: namespace.to_owned(),
            rules: usual_rights(),
            wait_until_ready: true,
            name: None,
        }
    }

    /// The account that it runs as; its name is the user of the audit log.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The address of its HTTP API, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address that serves the sealing certificate, for `selkie seal --cert` and `selkie cert
    /// --url`.
    pub fn certificate_url(&self) -> String {
        format!("{}/v1/cert.pem", self.url())
    }

    /// Fetches a path of the HTTP API and returns status and body.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        self.fetch(&format!("{}{path}", self.url())).await
    }

    /// Fetches the metrics.
    pub async fn metrics(&self) -> Result<String> {
        let (status, text) = self
            .fetch(&format!("http://127.0.0.1:{}/metrics", self.metrics_port))
            .await?;
        ensure!(
            status == StatusCode::OK,
            "/metrics answers {status}: {text}"
        );
        Ok(text)
    }

    /// The process: its log, and signals for it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Reads its log so far: JSON, one object in a line.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Sends SIGTERM and waits for the end, at most 15 s.
    pub fn terminate(&self) -> Result<ExitStatus> {
        self.server.terminate(Duration::from_secs(15))
    }

    /// Posts to a path of the HTTP API, as a client that the API server's proxy names `client`.
    pub async fn post(
        &self,
        path: &str,
        client: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<reqwest::Response> {
        let request = self.http.post(format!("{}{path}", self.url()));
        let request = request.header("X-Forwarded-For", client).body(body);
        Ok(request.timeout(Duration::from_secs(30)).send().await?)
    }

    /// Sends SIGUSR1.
    pub fn ask_for_a_key(&self) -> Result<()> {
        self.server.signal(rustix::process::Signal::USR1)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) -> Result<()> {
        self.server.kill()
    }

    async fn fetch(&self, url: &str) -> Result<(StatusCode, String)> {
        let answer = self
            .http
            .get(url)
            .timeout(Duration::from_secs(5))
            .send()
            .await?;
        Ok((answer.status(), answer.text().await?))
    }
}

impl Settings {
    /// Adds a command-line argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable; the environment is empty otherwise, but for `POD_NAMESPACE`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces the rights.
    #[must_use]
    pub fn rights(mut self, rules: Vec<PolicyRule>) -> Self {
        self.rules = rules;
        self
    }

    /// Calls the program by another name.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Returns as soon as the process runs: for a controller that shall not get ready.
    #[must_use]
    pub fn do_not_wait(mut self) -> Self {
        self.wait_until_ready = false;
        self
    }

    /// Makes an account and starts the controller; returns when `/readyz` answers 200.
    pub async fn start(&self, cluster: &Cluster) -> Result<Controller> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("selkie-controller-{number}");
        let account = cluster
            .account(&self.namespace, &name, self.rules.clone())
            .await?;
        self.start_as(&account).await
    }

    /// Starts the controller with an account that exists: after a first one ended, or beside it.
    pub async fn start_as(&self, account: &Account) -> Result<Controller> {
        let mut binary = binary("selkie-controller", "selkie-controller")?;
        if let Some(name) = &self.name {
            let link = new_folder("called")?.join(name);
            std::os::unix::fs::symlink(&binary, &link)?;
            binary = link;
        }
        with_new_ports(|| self.start_binary(binary.clone(), account))
            .await
            .context("the controller did not start")
    }

    async fn start_binary(&self, binary: PathBuf, account: &Account) -> Result<Controller> {
        let (port, metrics_port) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command
            .env_clear()
            .arg(format!(
                "--kubeconfig={}",
                account.kubeconfig.path().display()
            ))
            .arg(format!("--listen-addr=127.0.0.1:{port}"))
            .arg(format!("--listen-metrics-addr=127.0.0.1:{metrics_port}"))
            .args(&self.arguments)
            .env("POD_NAMESPACE", &self.namespace)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log = new_folder("controller")?.join("controller.log");
        let server = Server::start("selkie-controller", command, &log)?;
        let http = http_client()?;
        let controller = Controller {
            server,
            account: account.clone(),
            port,
            metrics_port,
            http,
        };
        if self.wait_until_ready {
            let ready = eventually(START_LIMIT, || async {
                let (status, text) = controller.get("/readyz").await?;
                ensure!(
                    status == StatusCode::OK,
                    "/readyz answers {status}: {}",
                    text.trim()
                );
                Ok(())
            });
            tokio::select! {
                ready = ready => ready.with_context(|| format!("its log is {}", log.display()))?,
                ended = controller.server.end() => return Err(ended),
            }
        }
        Ok(controller)
    }
}

/// The rights of a controller that serves the whole cluster, and no more (sealed-secrets.md 10,
/// external-secrets.md 19).
pub fn usual_rights() -> Vec<PolicyRule> {
    vec![
        rule("bitnami.com", &["sealedsecrets"], &["get", "list", "watch"]),
        rule("bitnami.com", &["sealedsecrets/status"], &["update"]),
        rule(
            "external-secrets.io",
            &["externalsecrets", "secretstores", "clustersecretstores"],
            &["get", "list", "watch"],
        ),
        // To take the original's finalizer off an ExternalSecret that is being deleted.
        rule("external-secrets.io", &["externalsecrets"], &["patch"]),
        rule(
            "external-secrets.io",
            &[
                "externalsecrets/status",
                "secretstores/status",
                "clustersecretstores/status",
            ],
            &["get", "update", "patch"],
        ),
        rule(
            "",
            &["secrets"],
            &[
                "get", "list", "watch", "create", "update", "delete", "patch",
            ],
        ),
        rule("", &["events"], &["create", "patch"]),
        rule("", &["namespaces", "configmaps"], &["get", "list", "watch"]),
        rule(
            "coordination.k8s.io",
            &["leases"],
            &["get", "create", "update", "patch"],
        ),
    ]
}

/// A rule of a role.
pub fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

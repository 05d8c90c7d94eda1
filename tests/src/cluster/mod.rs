//! A Kubernetes control plane: etcd, kube-apiserver, kube-controller-manager (testbed.md 2).
//!
//! There is no kubelet: a Pod stays Pending. RBAC, server-side apply, garbage collection, namespace
//! deletion, service-account tokens and the audit log are real.

mod access;
mod audit;

pub use access::{Account, Kubeconfig};
pub use audit::{Audit, AuditEvent};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::OnceCell;

use crate::bed::{Cache, DATA, Tool, new_folder};
use crate::program::{Finished, Program};
use crate::server::{Server, free_port, with_new_ports};
use crate::wait::eventually;

/// How long the API server may take to get ready; 3 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The token of the user `admin`, a member of `system:masters`. It is worth nothing outside of the
/// bed.
const ADMIN_TOKEN: &str = "admin";

/// A running control plane. Its servers end when it is dropped or the process ends.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    kubeconfig: Kubeconfig,
    kubectl: PathBuf,
    // Dropped in this order: clients of a server before the server.
    controller_manager: Server,
    apiserver: Server,
    etcd: Server,
}

impl Cluster {
    /// Returns the cluster of this process, started on the first call.
    ///
    /// The test that calls it has the folder of the server logs in its output, which is shown when
    /// it fails.
    #[allow(
        clippy::print_stdout,
        reason = "captured by the test harness and shown with a failure"
    )]
    pub async fn shared() -> Result<Arc<Self>> {
        static SHARED: OnceCell<Arc<Cluster>> = OnceCell::const_new();
        let cluster = SHARED
            .get_or_try_init(|| async { Ok::<_, anyhow::Error>(Arc::new(Self::start().await?)) })
            .await?;
        println!(
            "cluster: logs of the servers are in {}",
            cluster.folder.display()
        );
        Ok(Arc::clone(cluster))
    }

    /// Starts a cluster of its own that serves our CRDs, for tests that freeze its servers or
    /// change the CRDs.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")).await
    }

    /// Starts a cluster of its own that serves the CRDs of a folder.
    ///
    /// They are there before the controller manager starts: it looks for new kinds only every 30 s,
    /// and does not collect what a resource of a kind owns before it knows the kind.
    pub async fn start_with(crds: &Path) -> Result<Self> {
        let cache = Cache::open()?;
        with_new_ports(|| start(&cache, crds))
            .await
            .context("the cluster did not start")
    }

    /// The folder of logs, keys and data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The access of the user `admin`, who may do everything.
    pub fn admin(&self) -> &Kubeconfig {
        &self.kubeconfig
    }

    /// Returns a client of the user `admin`.
    ///
    /// A client belongs to the async runtime that uses it first: make one for every test.
    pub async fn client(&self) -> Result<kube::Client> {
        self.kubeconfig.client().await
    }

    /// Makes a new namespace and returns its name, `test-` and some letters.
    pub async fn namespace(&self) -> Result<String> {
        let namespaces = Api::<Namespace>::all(self.client().await?);
        let metadata = ObjectMeta {
            generate_name: Some("test-".to_owned()),
            ..ObjectMeta::default()
        };
        let made = namespaces
            .create(
                &PostParams::default(),
                &Namespace {
                    metadata,
                    ..Namespace::default()
                },
            )
            .await?;
        made.metadata
            .name
            .context("the API server names the namespace")
    }

    /// kubectl as `admin`; see [`Kubeconfig::kubectl`].
    pub fn kubectl(&self) -> Program {
        Program::new(&self.kubectl)
            .env("KUBECONFIG", self.kubeconfig.path())
            .env("HOME", &self.folder)
    }

    /// Applies a manifest as `kubectl apply -f -` does, and returns what kubectl printed.
    pub fn apply(&self, namespace: &str, manifest: &str) -> Result<Finished> {
        self.kubectl()
            .args(["apply", "--namespace", namespace, "--filename", "-"])
            .input(manifest)
            .ok()
    }

    /// Applies the CRDs of a folder and waits until the API server serves them.
    pub async fn install_crds(&self, folder: &Path) -> Result<()> {
        install_crds(self.kubectl(), &self.client().await?, folder).await
    }

    /// Reads the audit log: every request that was answered so far.
    pub fn audit(&self) -> Result<Audit> {
        Audit::read(&audit_log(&self.folder))
    }

    /// The API server, to freeze it or to look at its log.
    pub fn apiserver(&self) -> &Server {
        &self.apiserver
    }

    /// Fails when one of the servers has ended.
    pub fn check_alive(&self) -> Result<()> {
        [&self.etcd, &self.apiserver, &self.controller_manager]
            .into_iter()
            .try_for_each(Server::check_alive)
    }
}

/// Starts the three servers and waits until the API server is ready and its `default` namespace
/// exists.
async fn start(cache: &Cache, crds: &Path) -> Result<Cluster> {
    let folder = new_folder("cluster")?;
    let (etcd, etcd_url) = start_etcd(cache, &folder)?;
    let port = free_port()?;
    let apiserver = start_apiserver(cache, &folder, &etcd_url, port)?;
    let ready = eventually(START_LIMIT, || wait_for_apiserver(&folder, port));
    // A server that has ended will not get ready: say so at once.
    let kubeconfig = tokio::select! {
        ready = ready => ready?,
        ended = etcd.end() => return Err(ended),
        ended = apiserver.end() => return Err(ended),
    };
    let client = kubeconfig.client().await?;
    let kubectl = cache.tool(Tool::Kubectl)?;
    let program = Program::new(&kubectl)
        .env("KUBECONFIG", kubeconfig.path())
        .env("HOME", &folder);
    install_crds(program, &client, crds).await?;
    let controller_manager = start_controller_manager(cache, &folder, &kubeconfig)?;
    Ok(Cluster {
        folder,
        kubeconfig,
        kubectl,
        controller_manager,
        apiserver,
        etcd,
    })
}

/// Succeeds when the API server is ready; returns the access of `admin`.
async fn wait_for_apiserver(folder: &Path, port: u16) -> Result<Kubeconfig> {
    // It makes its certificate while it starts, before it listens.
    let certificate = folder.join("certs/apiserver.crt");
    let authority = std::fs::read_to_string(certificate).context("the server's certificate")?;
    let url = format!("https://127.0.0.1:{port}");
    let path = folder.join("admin.kubeconfig");
    let kubeconfig = Kubeconfig::write(&path, &url, &authority, ADMIN_TOKEN)?;
    let client = kubeconfig.client().await?;
    let readyz = http::Request::get("/readyz").body(Vec::new())?;
    let answer = client.request_text(readyz).await?;
    ensure!(answer == "ok", "/readyz answers {answer}");
    Api::<Namespace>::all(client).get("default").await?;
    Ok(kubeconfig)
}

async fn install_crds(kubectl: Program, client: &kube::Client, folder: &Path) -> Result<()> {
    let applied = kubectl
        .args([
            "apply",
            "--server-side",
            "--force-conflicts",
            "--output=name",
            "--filename",
        ])
        .arg(folder)
        .ok()?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let text = applied.text();
    for name in text
        .lines()
        .filter_map(|line| line.strip_prefix("customresourcedefinition.apiextensions.k8s.io/"))
    {
        eventually(Duration::from_secs(20), || async {
            let status = crds.get_status(name).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            let established = conditions
                .iter()
                .any(|it| it.type_ == "Established" && it.status == "True");
            ensure!(
                established,
                "the CRD {name} is not established: {conditions:?}"
            );
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Starts etcd and returns it with the address for its clients.
fn start_etcd(cache: &Cache, folder: &Path) -> Result<(Server, String)> {
    let clients = format!("http://127.0.0.1:{}", free_port()?);
    let peers = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = cache.command(Tool::Etcd)?;
    command.arg("--data-dir").arg(folder.join(DATA)).args([
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // Nothing has to survive the machine; without it a slow disk makes every write slow.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=error".to_owned(),
    ]);
    Ok((
        Server::start("etcd", command, &folder.join("etcd.log"))?,
        clients,
    ))
}

fn start_apiserver(cache: &Cache, folder: &Path, etcd: &str, port: u16) -> Result<Server> {
    let key = service_account_key(folder);
    std::fs::write(&key, SERVICE_ACCOUNT_KEY)?;
    std::fs::write(
        folder.join("tokens.csv"),
        format!("{ADMIN_TOKEN},admin,admin,system:masters\n"),
    )?;
    std::fs::write(folder.join("audit-policy.yaml"), audit::POLICY)?;
    let mut command = cache.command(Tool::KubeApiserver)?;
    command
        .arg(format!("--etcd-servers={etcd}"))
        .arg("--bind-address=127.0.0.1")
        .arg(format!("--secure-port={port}"))
        // Never dialled, and a loopback address would be refused.
        .arg("--advertise-address=192.0.2.1")
        .arg(flag("--cert-dir", &folder.join("certs")))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("--service-account-key-file", &key))
        .arg(flag("--service-account-signing-key-file", &key))
        .arg(flag("--token-auth-file", &folder.join("tokens.csv")))
        .arg("--authorization-mode=RBAC")
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        // It would refuse Pods until the controller manager has made the namespace's account.
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg(flag(
            "--audit-policy-file",
            &folder.join("audit-policy.yaml"),
        ))
        .arg(flag("--audit-log-path", &audit_log(folder)));
    Server::start(
        "kube-apiserver",
        command,
        &folder.join("kube-apiserver.log"),
    )
}

fn start_controller_manager(
    cache: &Cache,
    folder: &Path,
    kubeconfig: &Kubeconfig,
) -> Result<Server> {
    let mut command = cache.command(Tool::KubeControllerManager)?;
    command
        .arg(flag("--kubeconfig", kubeconfig.path()))
        .arg(flag("--service-account-private-key-file", &service_account_key(folder)))
        .args(["--leader-elect=false", "--secure-port=0"])
        .arg("--controllers=garbagecollector,namespace,serviceaccount,deployment,replicaset,cronjob,job")
        // The defaults, 20 and 30, make tests that run beside each other wait.
        .args(["--kube-api-qps=200", "--kube-api-burst=400"]);
    Server::start(
        "kube-controller-manager",
        command,
        &folder.join("kube-controller-manager.log"),
    )
}

fn audit_log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

fn service_account_key(folder: &Path) -> PathBuf {
    folder.join("service-account.key")
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// Signs the service-account tokens of the bed: a fixed throw-away key, since making one takes
/// time.
const SERVICE_ACCOUNT_KEY: &str = include_str!("service-account.key");

//! How a cluster is found: kubeconfig files, what a command line puts over them, and the cluster
//! that the process runs in, all as kubectl's library reads them (client-go, `tools/clientcmd`).

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kube::Config;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use selkie_secret::SecretString;

use crate::proxy;

/// What a command line says about the cluster; empty fields say nothing.
#[derive(Default)]
pub(crate) struct Overrides {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) context: String,
    pub(crate) cluster: String,
    pub(crate) user: String,
    pub(crate) namespace: String,
    pub(crate) server: String,
    pub(crate) certificate_authority: String,
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) tls_server_name: String,
    pub(crate) proxy_url: String,
    pub(crate) disable_compression: bool,
    pub(crate) token: SecretString,
    pub(crate) username: String,
    pub(crate) password: SecretString,
    pub(crate) client_certificate: String,
    pub(crate) client_key: String,
    pub(crate) impersonate: String,
    pub(crate) impersonate_uid: String,
    pub(crate) impersonate_groups: Vec<String>,
}

/// Why no cluster is found, in the words of client-go. Holds no credential.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubeconfigProblem {
    #[error("stat {}: {reason}", .path.display())]
    Missing { path: PathBuf, reason: String },
    #[error("error loading config file \"{}\": {reason}", .path.display())]
    Load { path: PathBuf, reason: String },
    #[error("context {0:?} does not exist")]
    NoContext(String),
    #[error("cluster {0:?} does not exist")]
    NoCluster(String),
    #[error("auth info {0:?} does not exist")]
    NoUser(String),
    #[error(
        "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER \
         environment variable"
    )]
    Empty,
    #[error("invalid configuration: {}", aggregate(.0))]
    Invalid(Vec<String>),
    #[error("{0}")]
    Unusable(String),
}

fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// The kubeconfig files together, first one first.
pub(crate) struct Access<'o> {
    overrides: &'o Overrides,
    files: Kubeconfig,
}

impl<'o> Access<'o> {
    /// Reads the file of `--kubeconfig`, else those of `KUBECONFIG` that are there, else
    /// `~/.kube/config`.
    pub(crate) fn load(overrides: &'o Overrides) -> Result<Self, KubeconfigProblem> {
        let mut files = Kubeconfig::default();
        let mut add = |path: &Path| {
            let read = Kubeconfig::read_from(path);
            let merged = read.and_then(|read| std::mem::take(&mut files).merge(read));
            // The reason could quote the file, which holds tokens.
            files = merged.map_err(|_| KubeconfigProblem::Load {
                path: path.to_owned(),
                reason: "it cannot be read, or is no valid kubeconfig".to_owned(),
            })?;
            Ok(())
        };
        if let Some(path) = &overrides.kubeconfig {
            std::fs::metadata(path).map_err(|error| KubeconfigProblem::Missing {
                path: path.clone(),
                reason: as_go(&error),
            })?;
            add(path)?;
            return Ok(Self { overrides, files });
        }
        let listed = env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
        let paths: Vec<PathBuf> = match (listed, home()) {
            (Some(list), _) => env::split_paths(&list).collect(),
            (None, Some(home)) => vec![Path::new(&home).join(".kube/config")],
            (None, None) => Vec::new(),
        };
        for path in paths.iter().filter(|path| path.is_file()) {
            add(path)?;
        }
        Ok(Self { overrides, files })
    }

    /// The namespace of the command line, else of the context, else of the cluster that this
    /// process runs in, else `default`; and whether the command line names it.
    pub(crate) fn namespace(&self) -> Result<(String, bool), KubeconfigProblem> {
        if !self.overrides.namespace.is_empty() {
            return Ok((self.overrides.namespace.clone(), true));
        }
        let context = match self.usable(false) {
            Ok((context, ..)) => Some(context),
            Err(KubeconfigProblem::Empty) if is_in_cluster() => None,
            Err(problem) => return Err(problem),
        };
        let named = context.and_then(|context| context.namespace);
        let named = named.filter(|namespace| !namespace.is_empty());
        Ok((
            named.unwrap_or_else(|| match is_in_cluster() {
                true => in_cluster_namespace(),
                false => "default".to_owned(),
            }),
            false,
        ))
    }

    /// What a client is made of.
    pub(crate) async fn config(&self) -> Result<Config, KubeconfigProblem> {
        match self.usable(true) {
            Ok((context, cluster, user)) => config_of(context, cluster, user).await,
            Err(KubeconfigProblem::Empty) if is_in_cluster() => {
                let (cluster, user) = self.in_cluster();
                config_of(Context::default(), cluster, user).await
            }
            Err(problem) => Err(problem),
        }
    }

    /// The cluster that this process runs in; a server, a token and an authority of the command
    /// line count here, too.
    fn in_cluster(&self) -> (Cluster, AuthInfo) {
        let variable = |name| env::var(name).unwrap_or_default();
        let host = variable("KUBERNETES_SERVICE_HOST");
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host,
        };
        let server = format!("https://{host}:{}", variable("KUBERNETES_SERVICE_PORT"));
        let of_account = |name: &str| format!("{ACCOUNT}/{name}");
        let overrides = self.overrides;
        let authority = of_account("ca.crt");
        let cluster = Cluster {
            server: Some(first_of(&overrides.server, &server).to_owned()),
            certificate_authority: Some(
                first_of(&overrides.certificate_authority, &authority).to_owned(),
            ),
            ..Cluster::default()
        };
        let mut user = AuthInfo::default();
        match overrides.token.is_empty() {
            true => user.token_file = Some(of_account("token")),
            false => user.token = Some(overrides.token.expose().into()),
        }
        (cluster, user)
    }

    /// The context, cluster and user with the command line over them, as `DirectClientConfig`
    /// merges and checks them. To connect, whatever the command line names has to be there; for the
    /// namespace alone, a user that is not there does not count.
    fn usable(&self, connects: bool) -> Result<(Context, Cluster, AuthInfo), KubeconfigProblem> {
        let overrides = self.overrides;
        let current = self.files.current_context.clone().unwrap_or_default();
        let name = first_of(&overrides.context, &current);
        let found = self.files.contexts.iter().find(|found| found.name == *name);
        let found = found.and_then(|found| found.context.clone());
        let is_there = found.is_some();
        let mut context = found.unwrap_or_default();
        let user_name = context.user.clone().unwrap_or_default();
        let user_name = first_of(&overrides.user, &user_name).to_owned();
        let cluster_name = first_of(&overrides.cluster, &context.cluster).to_owned();
        context.cluster.clone_from(&cluster_name);

        let user = self.user(&user_name);
        let cluster = self.cluster(&cluster_name);
        if connects {
            if let Err(problem) = user {
                return Err(problem);
            }
            if !is_there && !overrides.context.is_empty() {
                return Err(KubeconfigProblem::NoContext(name.to_owned()));
            }
            if let Err(problem) = cluster {
                return Err(problem);
            }
        }
        let mut problems = Vec::new();
        if !is_there && !name.is_empty() {
            problems.push(format!(
                "context was not found for specified context: {name}"
            ));
        }
        let user = user.unwrap_or_default();
        problems.extend(problems_of_user(&user_name, &user));
        let (cluster, of_cluster) = match cluster {
            Ok(cluster) => {
                let problems = problems_of_cluster(&cluster_name, &cluster);
                (cluster, problems)
            }
            Err(_) => (Cluster::default(), vec![no_server(&cluster_name)]),
        };
        if problems.is_empty() && of_cluster == [NO_SERVER] {
            return Err(KubeconfigProblem::Empty);
        }
        problems.extend(of_cluster);
        match problems.is_empty() {
            true => Ok((context, cluster, user)),
            false => Err(KubeconfigProblem::Invalid(problems)),
        }
    }

    fn user(&self, name: &str) -> Result<AuthInfo, KubeconfigProblem> {
        let overrides = self.overrides;
        let found = self.files.auth_infos.iter().find(|user| user.name == name);
        let found = found.and_then(|found| found.auth_info.clone());
        if found.is_none() && !overrides.user.is_empty() {
            return Err(KubeconfigProblem::NoUser(name.to_owned()));
        }
        let mut user = found.unwrap_or_default();
        for (given, field) in [
            (&overrides.username, &mut user.username),
            (&overrides.impersonate, &mut user.impersonate),
            (&overrides.impersonate_uid, &mut user.impersonate_uid),
        ] {
            if !given.is_empty() {
                *field = Some(given.clone());
            }
        }
        if !overrides.token.is_empty() {
            user.token = Some(overrides.token.expose().into());
        }
        if !overrides.password.is_empty() {
            user.password = Some(overrides.password.expose().into());
        }
        if !overrides.impersonate_groups.is_empty() {
            user.impersonate_groups = Some(overrides.impersonate_groups.clone());
        }
        if !overrides.client_certificate.is_empty() {
            user.client_certificate = Some(overrides.client_certificate.clone());
            user.client_certificate_data = None;
        }
        if !overrides.client_key.is_empty() {
            user.client_key = Some(overrides.client_key.clone());
            user.client_key_data = None;
        }
        Ok(user)
    }

    fn cluster(&self, name: &str) -> Result<Cluster, KubeconfigProblem> {
        let overrides = self.overrides;
        let found = self.files.clusters.iter().find(|found| found.name == name);
        let found = found.and_then(|found| found.cluster.clone());
        if found.is_none() && !overrides.cluster.is_empty() {
            return Err(KubeconfigProblem::NoCluster(name.to_owned()));
        }
        let mut cluster = found.unwrap_or_default();
        for (given, field) in [
            (&overrides.server, &mut cluster.server),
            (&overrides.proxy_url, &mut cluster.proxy_url),
        ] {
            if !given.is_empty() {
                *field = Some(given.clone());
            }
        }
        if overrides.disable_compression {
            cluster.disable_compression = Some(true);
        }
        let authority = &overrides.certificate_authority;
        if overrides.insecure_skip_tls_verify || !authority.is_empty() {
            cluster.insecure_skip_tls_verify = Some(overrides.insecure_skip_tls_verify);
            cluster.certificate_authority = Some(authority.clone()).filter(|a| !a.is_empty());
            cluster.certificate_authority_data = None;
        }
        // A server of the command line has not the name that the file gives to its own.
        if !overrides.tls_server_name.is_empty() || !overrides.server.is_empty() {
            cluster.tls_server_name =
                Some(overrides.tls_server_name.clone()).filter(|name| !name.is_empty());
        }
        Ok(cluster)
    }
}

async fn config_of(
    context: Context,
    mut cluster: Cluster,
    mut user: AuthInfo,
) -> Result<Config, KubeconfigProblem> {
    let server = cluster.server.clone().unwrap_or_default();
    let server = with_scheme(&server, &cluster, &user);
    // Credentials go over TLS only.
    if server.starts_with("http://") {
        user = AuthInfo {
            impersonate: user.impersonate,
            impersonate_uid: user.impersonate_uid,
            impersonate_groups: user.impersonate_groups,
            impersonate_user_extra: user.impersonate_user_extra,
            ..AuthInfo::default()
        };
    }
    let proxy = cluster.proxy_url.take().filter(|url| !url.is_empty());
    cluster.server = Some(server.clone());
    let name = "selected".to_owned();
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(Context {
                cluster: name.clone(),
                user: Some(name.clone()),
                ..context
            }),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| unusable(&error))?;
    config.proxy_url = match proxy.or_else(|| proxy::of_environment(&server)) {
        Some(url) => Some(
            url.replacen("socks5h://", "socks5://", 1)
                .parse()
                .map_err(|_| unusable(&"the URL of the proxy is not valid"))?,
        ),
        None => None,
    };
    Ok(config)
}

fn first_of<'a>(given: &'a str, else_: &'a str) -> &'a str {
    if given.is_empty() { else_ } else { given }
}

fn is_set(text: Option<&String>) -> bool {
    text.is_some_and(|text| !text.is_empty())
}

/// client-go's `validateClusterInfo`.
fn problems_of_cluster(name: &str, cluster: &Cluster) -> Vec<String> {
    let is_empty = !is_set(cluster.server.as_ref())
        && !is_set(cluster.certificate_authority.as_ref())
        && !is_set(cluster.certificate_authority_data.as_ref())
        && !is_set(cluster.proxy_url.as_ref())
        && !is_set(cluster.tls_server_name.as_ref())
        && !cluster.insecure_skip_tls_verify.unwrap_or_default()
        && !cluster.disable_compression.unwrap_or_default();
    if is_empty {
        return vec![NO_SERVER.to_owned()];
    }
    let mut problems = Vec::new();
    if !is_set(cluster.server.as_ref()) {
        problems.push(no_server(name));
    }
    if is_set(cluster.certificate_authority.as_ref())
        && is_set(cluster.certificate_authority_data.as_ref())
    {
        problems.push(format!(
            "certificate-authority-data and certificate-authority are both specified for {name}. \
             certificate-authority-data will override."
        ));
    }
    let authority = cluster.certificate_authority.as_deref();
    problems.extend(unreadable("certificate-authority", authority, name));
    problems
}

fn no_server(cluster: &str) -> String {
    match cluster {
        "" => "default cluster has no server defined".to_owned(),
        name => format!("no server found for cluster {name:?}"),
    }
}

/// client-go's `validateAuthInfo`.
fn problems_of_user(name: &str, user: &AuthInfo) -> Vec<String> {
    let mut problems = Vec::new();
    let certificate = user.client_certificate.as_ref();
    let certificate_data = user.client_certificate_data.as_ref();
    let has_key_data = user.client_key_data.is_some();
    if is_set(certificate) || is_set(certificate_data) {
        if is_set(certificate) && is_set(certificate_data) {
            problems.push(format!(
                "client-cert-data and client-cert are both specified for {name}. client-cert-data \
                 will override."
            ));
        }
        if is_set(user.client_key.as_ref()) && has_key_data {
            problems.push(format!(
                "client-key-data and client-key are both specified for {name}; client-key-data \
                 will override"
            ));
        }
        if !is_set(user.client_key.as_ref()) && !has_key_data {
            problems.push(format!(
                "client-key-data or client-key must be specified for {name} to use the clientCert \
                 authentication method."
            ));
        }
        problems.extend(unreadable(
            "client-cert",
            certificate.map(String::as_str),
            name,
        ));
        problems.extend(unreadable("client-key", user.client_key.as_deref(), name));
    }
    if let Some(exec) = &user.exec {
        if !is_set(exec.command.as_ref()) {
            problems.push(format!(
                "command must be specified for {name} to use exec authentication plugin"
            ));
        }
        if !is_set(exec.api_version.as_ref()) {
            problems.push(format!(
                "apiVersion must be specified for {name} to use exec authentication plugin"
            ));
        }
    }
    let more = is_set(user.impersonate_uid.as_ref())
        || user
            .impersonate_groups
            .as_ref()
            .is_some_and(|g| !g.is_empty())
        || user
            .impersonate_user_extra
            .as_ref()
            .is_some_and(|e| !e.is_empty());
    if more && !is_set(user.impersonate.as_ref()) {
        problems.push(format!(
            "requesting uid, groups or user-extra for {name} without impersonating a user"
        ));
    }
    problems
}

fn unreadable(what: &str, path: Option<&str>, name: &str) -> Option<String> {
    let path = path.filter(|path| !path.is_empty())?;
    let error = std::fs::File::open(path).err()?;
    let reason = as_go(&error);
    Some(format!(
        "unable to read {what} {path} for {name} due to open {path}: {reason}"
    ))
}

/// A server may be given as `host:port`: then TLS is used if something is said about it.
fn with_scheme(server: &str, cluster: &Cluster, user: &AuthInfo) -> String {
    if server.contains("://") {
        return server.to_owned();
    }
    let tls = cluster.insecure_skip_tls_verify.unwrap_or_default()
        || is_set(cluster.certificate_authority.as_ref())
        || is_set(cluster.certificate_authority_data.as_ref())
        || is_set(user.client_certificate.as_ref())
        || is_set(user.client_certificate_data.as_ref());
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{server}")
}

/// The reason of an error as Go's `os` package words it.
pub(crate) fn as_go(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ => error.to_string(),
    }
}

fn unusable(reason: &impl std::fmt::Display) -> KubeconfigProblem {
    KubeconfigProblem::Unusable(reason.to_string())
}

fn home() -> Option<OsString> {
    env::var_os("HOME").filter(|home| !home.is_empty())
}

fn is_in_cluster() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    set("KUBERNETES_SERVICE_HOST")
        && set("KUBERNETES_SERVICE_PORT")
        && Path::new(ACCOUNT).join("token").is_file()
}

fn in_cluster_namespace() -> String {
    let given = env::var("POD_NAMESPACE").unwrap_or_default();
    if !given.is_empty() {
        return given;
    }
    let file = std::fs::read_to_string(Path::new(ACCOUNT).join("namespace"));
    match file.unwrap_or_default().trim() {
        "" => "default".to_owned(),
        namespace => namespace.to_owned(),
    }
}

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NO_SERVER: &str = "cluster has no server defined";

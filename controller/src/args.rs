//! What was typed (`Args`), and what it means (`Options`).

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, ValueEnum, builder::BoolishValueParser};

use crate::{
    sealed::{Settings, flags::SealedFlags, keys::KeySettings},
    support::{context::Namespaces, duration::go_duration},
};

/// Turns SealedSecrets and ExternalSecrets into Secrets.
///
/// Flags that Sealed Secrets has as well keep its names, defaults and environment variables
/// (SEALED_SECRETS_ and the name in upper case). The command line wins over the environment.
#[derive(Debug, Parser)]
#[command(name = "selkie-controller", disable_version_flag = true)]
pub struct Args {
    /// Prefix of the names of Secrets that hold sealing keys.
    #[arg(
        long,
        env = "SEALED_SECRETS_KEY_PREFIX",
        default_value = "sealed-secrets-key",
        value_parser = key_prefix
    )]
    key_prefix: String,

    /// Bits of a new sealing key: 2048, 3072, 4096 or 8192.
    #[arg(
        long,
        env = "SEALED_SECRETS_KEY_SIZE",
        default_value = "4096",
        value_parser = key_size
    )]
    key_size: usize,

    /// Validity of a new sealing certificate.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALED_SECRETS_KEY_TTL",
        default_value = "87600h0m0s",
        value_parser = positive_duration
    )]
    key_ttl: Duration,

    /// Common name of a new sealing certificate.
    #[arg(
        long,
        value_name = "NAME",
        env = "SEALED_SECRETS_MY_CN",
        default_value = "",
        hide_default_value = true
    )]
    my_cn: String,

    /// Age at which the latest sealing key gets a successor; 0 is never.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALED_SECRETS_KEY_RENEW_PERIOD",
        default_value = "720h0m0s",
        value_parser = period
    )]
    key_renew_period: Period,

    #[command(flatten)]
    sealed: SealedFlags,

    /// Address of the HTTP API: the certificate and the probes.
    #[arg(
        long,
        value_name = "[HOST]:PORT",
        env = "SEALED_SECRETS_LISTEN_ADDR",
        default_value = ":8080",
        value_parser = listen_address
    )]
    listen_addr: SocketAddr,

    /// Address of the metrics.
    #[arg(
        long,
        value_name = "[HOST]:PORT",
        env = "SEALED_SECRETS_LISTEN_METRICS_ADDR",
        default_value = ":8081",
        value_parser = listen_address
    )]
    listen_metrics_addr: SocketAddr,

    /// Whether the status of SealedSecrets is written.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_UPDATE_STATUS",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    update_status: bool,

    /// Whether every namespace is served, or the controller's own one only.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_ALL_NAMESPACES",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    all_namespaces: bool,

    /// Namespaces that are served beside the controller's own one, and no others.
    #[arg(
        long,
        value_name = "NAMESPACES",
        env = "SEALED_SECRETS_ADDITIONAL_NAMESPACES",
        value_delimiter = ','
    )]
    additional_namespaces: Vec<String>,

    /// Kubeconfig to reach the cluster from outside; default: KUBECONFIG, then the service account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// What this process serves: SealedSecrets, which needs the sealing keys, or ExternalSecrets and their stores; default:
    /// both, and SealedSecrets under the name `controller`.
    #[arg(
        long,
        value_enum,
        value_name = "KINDS",
        value_delimiter = ',',
        num_args = 1
    )]
    serve: Vec<Kind>,

    /// Whether replicas agree on one leader by a Lease, which needs the right to Leases; false says that there is one
    /// replica only; default: true, and false under the name `controller`.
    #[arg(
        long,
        value_name = "BOOL",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    leader_elect: Option<bool>,

    /// Least severe log lines that are written.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        env = "SEALED_SECRETS_LOG_LEVEL",
        default_value = "info"
    )]
    log_level: LogLevel,

    /// Form of log lines.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        env = "SEALED_SECRETS_LOG_FORMAT",
        default_value = "json"
    )]
    log_format: LogFormat,

    /// Whether lines without a warning go to standard output; false sends every line to standard error.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_LOG_INFO_STDOUT",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    log_info_stdout: bool,

    /// Print the version.
    #[arg(long)]
    version: bool,
}

/// Severity of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what may become one.
    Warn,
    /// And what was done.
    Info,
    /// And what was not.
    Debug,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object for each line.
    Json,
    /// For people.
    Text,
}

/// One half of what a process can serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// SealedSecrets.
    Sealed,
    /// ExternalSecrets and their stores.
    External,
}

/// The name that the program was called by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CalledAs {
    /// Its own name, or any other.
    Selkie,
    /// `controller`: the name in the image of Sealed Secrets, whose chart and roles call it so. They know one replica, grant
    /// no Leases, and nothing of ExternalSecrets (sealed-secrets.md 10).
    SealedSecrets,
}

impl CalledAs {
    /// Reads the first argument of the process.
    pub fn of(program: &Path) -> Self {
        match program.file_name() {
            Some(name) if name == "controller" => Self::SealedSecrets,
            _ => Self::Selkie,
        }
    }
}

/// What the command line means.
#[derive(Clone, Debug)]
pub enum Options {
    /// Print the version and end.
    Version,
    /// Serve.
    Serve(Box<Serve>),
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Serve {
    /// How SealedSecrets are served.
    pub sealed: Settings,
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Address of the metrics.
    pub listen_metrics: SocketAddr,
    /// Namespaces that are served; the own one is added when there are any.
    pub namespaces: NamespaceChoice,
    /// Kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// What is served.
    pub kinds: Kinds,
    /// Whether a Lease is used.
    pub leader_elect: bool,
    /// Severity of log lines.
    pub log_level: LogLevel,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Whether lines without a warning go to standard output.
    pub log_info_stdout: bool,
}

/// What is served: one half or both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kinds {
    /// SealedSecrets.
    pub sealed: bool,
    /// ExternalSecrets and their stores.
    pub external: bool,
}

/// Which namespaces are served (sealed-secrets.md 7.7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NamespaceChoice {
    /// Every namespace.
    All,
    /// The own one and these.
    OwnAnd(Vec<String>),
}

impl NamespaceChoice {
    /// Resolves the choice for a controller that runs in `own`.
    pub fn resolve(&self, own: &str) -> Namespaces {
        match self {
            Self::All => Namespaces::All,
            Self::OwnAnd(others) => {
                let mut names = others.clone();
                names.push(own.to_owned());
                names.sort();
                names.dedup();
                Namespaces::Only(names)
            }
        }
    }
}

/// A period that may be off.
#[derive(Clone, Copy, Debug)]
struct Period(Option<Duration>);

impl Args {
    /// Resolves what was typed to a program called `called`.
    pub fn resolve(self, called: CalledAs) -> Options {
        if self.version {
            return Options::Version;
        }
        let names = self.additional_namespaces.iter().map(|name| name.trim());
        let names: Vec<_> = names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let as_upstream = called == CalledAs::SealedSecrets;
        let serves = |kind| self.serve.contains(&kind);
        let kinds = Kinds {
            sealed: self.serve.is_empty() || serves(Kind::Sealed),
            external: (self.serve.is_empty() && !as_upstream) || serves(Kind::External),
        };
        let keys = KeySettings {
            prefix: self.key_prefix,
            bits: self.key_size,
            validity: self.key_ttl,
            common_name: self.my_cn,
            renewal: self.key_renew_period.0,
            ..KeySettings::default()
        };
        Options::Serve(Box::new(Serve {
            sealed: self.sealed.resolve(keys, self.update_status),
            listen: self.listen_addr,
            listen_metrics: self.listen_metrics_addr,
            namespaces: if self.all_namespaces && names.is_empty() {
                NamespaceChoice::All
            } else {
                NamespaceChoice::OwnAnd(names)
            },
            kubeconfig: self.kubeconfig,
            kinds,
            leader_elect: self.leader_elect.unwrap_or(!as_upstream),
            log_level: self.log_level,
            log_format: self.log_format,
            log_info_stdout: self.log_info_stdout,
        }))
    }
}

/// Checks a key prefix (sealed-secrets.md 8.1): five characters of the name are the API server's.
fn key_prefix(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 245 || !text.bytes().all(allowed) {
        return Err("1 to 245 characters of a-z, 0-9 and '-' are allowed".to_owned());
    }
    Ok(text.to_owned())
}

fn key_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bits @ (2048 | 3072 | 4096 | 8192)) => Ok(bits),
        _ => Err("2048, 3072, 4096 or 8192 bits are allowed".to_owned()),
    }
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match go_duration(text) {
        Some(Some(duration)) => Ok(duration),
        _ => Err("a duration above zero is needed, as 87600h or 1h30m".to_owned()),
    }
}

fn period(text: &str) -> Result<Period, String> {
    let duration = go_duration(text);
    duration
        .map(Period)
        .ok_or_else(|| "a duration is needed, as 720h or 1h30m; 0 is off".to_owned())
}

/// Reads an address as Go's listeners do: without a host all addresses are meant.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let wrong =
        || "an IP address and a port are needed, as :8080, 127.0.0.1:8080 or [::1]:8080".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.trim_matches(['[', ']']).parse().map_err(|_| wrong())?,
    };
    Ok(SocketAddr::new(host, port))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::{sealed::keys::KeyOrder, support::bucket::Rate};

    fn serve(args: &[&str]) -> Serve {
        serve_as(CalledAs::Selkie, args)
    }

    fn serve_as(called: CalledAs, args: &[&str]) -> Serve {
        let args = ["selkie-controller"].iter().chain(args);
        match Args::try_parse_from(args).unwrap().resolve(called) {
            Options::Serve(serve) => *serve,
            Options::Version => panic!("not a version request"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_upstreams() {
        let serve = serve(&[]);
        assert_eq!(serve.sealed.keys.prefix, "sealed-secrets-key");
        assert_eq!(serve.sealed.keys.bits, 4096);
        assert_eq!(
            serve.sealed.keys.validity,
            Duration::from_secs(87600 * 3600)
        );
        assert_eq!(
            serve.sealed.keys.renewal,
            Some(Duration::from_secs(720 * 3600))
        );
        assert!(serve.sealed.update_status);
        assert_eq!(serve.listen, "[::]:8080".parse().unwrap());
        assert_eq!(serve.namespaces, NamespaceChoice::All);
    }

    #[test]
    fn one_half_can_be_served() {
        let kinds = |sealed, external| Kinds { sealed, external };
        assert_eq!(serve(&[]).kinds, kinds(true, true));
        assert_eq!(serve(&["--serve=sealed"]).kinds, kinds(true, false));
        assert_eq!(serve(&["--serve", "external"]).kinds, kinds(false, true));
        assert_eq!(serve(&["--serve=sealed,external"]).kinds, kinds(true, true));
        for wrong in ["--serve=", "--serve=secrets"] {
            assert!(Args::try_parse_from(["selkie-controller", wrong]).is_err());
        }
    }

    #[test]
    fn the_stock_chart_gets_what_its_roles_allow() {
        let called = CalledAs::of(Path::new("/usr/local/bin/controller"));
        assert_eq!(called, CalledAs::SealedSecrets);
        let stock = [
            "--update-status",
            "--key-prefix",
            "sealed-secrets-key",
            "--listen-addr",
            ":8080",
            "--listen-metrics-addr",
            ":8081",
        ];
        let stock = serve_as(called, &stock);
        assert!(stock.kinds.sealed && !stock.kinds.external && !stock.leader_elect);
        assert!(stock.sealed.update_status);
        let both = ["--serve=sealed,external", "--leader-elect"];
        let both = serve_as(called, &both);
        assert!(both.kinds.sealed && both.kinds.external && both.leader_elect);
        let usual = CalledAs::of(Path::new("selkie-controller"));
        assert!(serve_as(usual, &[]).leader_elect);
    }

    #[test]
    fn booleans_are_gos() {
        assert!(!serve(&["--update-status=false"]).sealed.update_status);
        assert!(!serve(&["--update-status=f"]).sealed.update_status);
        assert!(serve(&["--update-status"]).sealed.update_status);
        assert!(serve(&["--update-status=TRUE"]).sealed.update_status);
    }

    #[test]
    fn namespaces_resolve() {
        let only =
            |names: &[&str]| Namespaces::Only(names.iter().map(|&name| name.to_owned()).collect());
        let resolve = |args: &[&str]| serve(args).namespaces.resolve("own");
        assert_eq!(resolve(&[]), Namespaces::All);
        assert_eq!(resolve(&["--all-namespaces=false"]), only(&["own"]));
        assert_eq!(
            resolve(&["--additional-namespaces=b, a,b,"]),
            only(&["a", "b", "own"])
        );
    }

    #[test]
    fn wrong_values_are_refused() {
        for args in [
            ["--key-prefix=Upper"],
            ["--key-size=1024"],
            ["--key-ttl=0"],
            ["--key-renew-period=30d"],
            ["--listen-addr=8080"],
            ["--listen-addr=host:8080"],
            ["--key-cutoff-time=x"],
            ["--rate-limit=0"],
            ["--privatekey-labels=a"],
            ["--read-timeout=soon"],
            ["--drift=maybe"],
            ["--no-such-flag"],
        ] {
            let args = ["selkie-controller"].into_iter().chain(args);
            assert!(Args::try_parse_from(args).is_err());
        }
    }

    #[test]
    fn every_flag_of_the_original_has_its_meaning() {
        let options = serve(&[
            "--key-order-priority=SecretCreationTimestamp",
            "--key-cutoff-time=Mon, 02 Jan 2006 15:04:05 -0700",
            "--privatekey-labels=a=b,c=d=e",
            "--privatekey-annotations=x=",
            "--accept-deprecated-v1-data=false",
            "--label-selector=team in (a, b)",
            "--rate-limit=7",
            "--rate-limit-burst=3",
            "--old-gc-behavior",
            "--skip-recreate",
            "--watch-for-secrets",
            "--max-unseal-retries=9",
            "--kubeclient-qps=50",
            "--kubeclient-burst=100",
            "--read-timeout=1m",
            "--write-timeout=30s",
            "--log-info-stdout=false",
        ]);
        let sealed = options.sealed;
        assert_eq!(sealed.keys.order, KeyOrder::SecretCreationTimestamp);
        let cutoff = sealed.keys.cutoff.unwrap().to_string();
        assert_eq!(cutoff, "2006-01-02T22:04:05Z");
        assert_eq!(sealed.keys.labels["a"], "b");
        assert_eq!(sealed.keys.labels["c"], "d=e");
        assert_eq!(sealed.keys.annotations["x"], "");
        assert!(!sealed.accept_deprecated);
        assert_eq!(sealed.selector.as_deref(), Some("team in (a, b)"));
        assert_eq!(sealed.http.verify_rate, Rate::new(7.0, 4));
        assert!(sealed.old_gc && sealed.skip_recreate && sealed.keys.new_keys_seal);
        assert_eq!(sealed.quick_retries, 9);
        assert_eq!(sealed.api_rate, Rate::new(50.0, 100));
        assert_eq!(sealed.http.read_timeout, Duration::from_secs(60));
        assert_eq!(sealed.http.write_timeout, Duration::from_secs(30));
        assert!(!options.log_info_stdout);
        let unset = serve(&[]).sealed;
        assert_eq!(unset.api_rate, None);
        assert_eq!(unset.http.verify_rate, Rate::new(2.0, 3));
        assert_eq!((unset.selector, unset.keys.cutoff), (None, None));
        assert!(unset.accept_deprecated && !unset.keys.new_keys_seal);
        let odd = serve(&["--key-order-priority=x", "--kubeclient-qps=-1"]).sealed;
        assert_eq!(odd.keys.order, KeyOrder::Unknown("x".to_owned()));
        assert_eq!(odd.api_rate, None);
        let large = serve(&["--rate-limit-burst=4294967295", "--privatekey-labels="]).sealed;
        assert_eq!(large.http.verify_rate, Rate::new(2.0, u32::MAX));
        assert!(large.keys.labels.is_empty());
    }

    #[test]
    fn every_flag_of_the_original_has_its_variable() {
        let command = Args::command();
        for name in ORIGINAL {
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(name));
            let arg = arg.unwrap_or_else(|| panic!("--{name} is missing"));
            let variable = format!("SEALED_SECRETS_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(
                arg.get_env().and_then(|name| name.to_str()),
                Some(&*variable)
            );
        }
    }

    /// sealed-secrets.md 11, without `--version`.
    const ORIGINAL: [&str; 32] = [
        "key-prefix",
        "key-size",
        "key-ttl",
        "my-cn",
        "key-renew-period",
        "rotate-period",
        "key-order-priority",
        "key-cutoff-time",
        "accept-deprecated-v1-data",
        "all-namespaces",
        "additional-namespaces",
        "label-selector",
        "rate-limit",
        "rate-limit-burst",
        "privatekey-annotations",
        "privatekey-labels",
        "old-gc-behavior",
        "update-status",
        "skip-recreate",
        "watch-for-secrets",
        "max-unseal-retries",
        "kubeclient-qps",
        "kubeclient-burst",
        "log-info-stdout",
        "log-level",
        "log-format",
        "listen-addr",
        "listen-metrics-addr",
        "read-timeout",
        "write-timeout",
        "key-activation-delay",
        "accept-managed-keys",
    ];

    #[test]
    fn addresses_are_gos() {
        for (text, expected) in [
            (":8080", "[::]:8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:9", "[::1]:9"),
            ("localhost:9", "127.0.0.1:9"),
        ] {
            assert_eq!(
                listen_address(text),
                Ok(expected.parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn renewal_can_be_off() {
        assert_eq!(serve(&["--key-renew-period=0"]).sealed.keys.renewal, None);
        assert_eq!(serve(&["--rotate-period=0s"]).sealed.keys.renewal, None);
    }
}

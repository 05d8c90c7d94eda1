//! The flags of kubeseal (sealed-secrets.md 12.1).

use std::path::PathBuf;
use std::time::Duration;

use selkie_secret::SecretString;

use crate::kubeconfig::Overrides;
use crate::personality::pflag::{Flag, Kind, Values};

const fn flag(name: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        kind,
        value,
        help,
        default: "",
        deprecated: None,
    }
}

const fn text(name: &'static str, help: &'static str) -> Flag {
    flag(name, Kind::Text, "string", help)
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    flag(name, Kind::Bool, "", help)
}

const fn short(letter: char, flag: Flag) -> Flag {
    Flag {
        short: Some(letter),
        ..flag
    }
}

const fn default(value: &'static str, flag: Flag) -> Flag {
    Flag {
        default: value,
        ..flag
    }
}

/// Every flag, those of klog too: they are taken and have no effect.
pub(super) const FLAGS: &[Flag] = &[
    text(
        "cert",
        "Certificate / public key file/URL to use for encryption. Overrides --controller-*",
    ),
    default(
        "\"kube-system\"",
        text(
            "controller-namespace",
            "Namespace of sealed-secrets controller.",
        ),
    ),
    default(
        "\"sealed-secrets-controller\"",
        text("controller-name", "Name of sealed-secrets controller."),
    ),
    default(
        "\"json\"",
        short(
            'o',
            text(
                "format",
                "Output format for sealed secret. Either json or yaml",
            ),
        ),
    ),
    short(
        'w',
        text("sealed-secret-file", "Sealed-secret (output) file"),
    ),
    short('f', text("secret-file", "Secret (input) file")),
    switch(
        "fetch-cert",
        "Write certificate to stdout. Useful for later use with --cert",
    ),
    switch("allow-empty-data", "Allow empty data in the secret object"),
    switch(
        "validate",
        "Validate that the sealed secret can be decrypted",
    ),
    text(
        "merge-into",
        "Merge items from secret into an existing sealed secret file, updating the file in-place instead of writing to stdout.",
    ),
    switch(
        "raw",
        "Encrypt a raw value passed via the --from-* flags instead of the whole secret object",
    ),
    text(
        "name",
        "Name of the sealed secret (required with --raw and default (strict) scope)",
    ),
    flag(
        "from-file",
        Kind::List,
        "strings",
        "(only with --raw) Secret items can be sourced from files. Pro-tip: you can use /dev/stdin to read pipe input. This flag tries to follow the same syntax as in kubectl",
    ),
    text(
        "kubeconfig",
        "Path to a kube config. Only required if out-of-cluster",
    ),
    default(
        "\"strict\"",
        flag(
            "scope",
            Kind::Checked(scope),
            "string",
            "Set the scope of the sealed secret: strict, namespace-wide, cluster-wide (defaults to strict). Mandatory for --raw, otherwise the 'sealedsecrets.bitnami.com/cluster-wide' and 'sealedsecrets.bitnami.com/namespace-wide' annotations on the input secret can be used to select the scope.",
        ),
    ),
    Flag {
        deprecated: Some("please use --re-encrypt instead"),
        ..switch("rotate", "")
    },
    switch(
        "re-encrypt",
        "Re-encrypt the given sealed secret to use the latest cluster key.",
    ),
    switch(
        "recovery-unseal",
        "Decrypt a sealed secrets file obtained from stdin, using the private key passed with --recovery-private-key. Intended to be used in disaster recovery mode.",
    ),
    flag(
        "recovery-private-key",
        Kind::List,
        "strings",
        "Private key filename used by the --recovery-unseal command. Multiple files accepted either via comma separated list or by repetition of the flag. Either PEM encoded private keys or a backup of a json/yaml encoded k8s sealed-secret controller secret (and v1.List) are accepted. ",
    ),
    switch("help", "Print this help message"),
    switch("version", "Print version information and exit"),
    text(
        "client-certificate",
        "Path to a client certificate file for TLS",
    ),
    text("client-key", "Path to a client key file for TLS"),
    text("token", "Bearer token for authentication to the API server"),
    text("as", "Username to impersonate for the operation"),
    text("as-uid", "UID to impersonate for the operation"),
    flag(
        "as-group",
        Kind::Array,
        "stringArray",
        "Group to impersonate for the operation, this flag can be repeated to specify multiple groups.",
    ),
    text(
        "username",
        "Username for basic authentication to the API server",
    ),
    text(
        "password",
        "Password for basic authentication to the API server",
    ),
    text(
        "server",
        "The address and port of the Kubernetes API server",
    ),
    text(
        "certificate-authority",
        "Path to a cert file for the certificate authority",
    ),
    switch(
        "insecure-skip-tls-verify",
        "If true, the server's certificate will not be checked for validity. This will make your HTTPS connections insecure",
    ),
    text(
        "tls-server-name",
        "If provided, this name will be used to validate server certificate. If this is not provided, hostname used to contact the server is used.",
    ),
    text(
        "proxy-url",
        "If provided, this URL will be used to connect via proxy",
    ),
    switch(
        "disable-compression",
        "If true, opt-out of response compression for all requests to the server",
    ),
    text("cluster", "The name of the kubeconfig cluster to use"),
    text("user", "The name of the kubeconfig user to use"),
    short(
        'n',
        text(
            "namespace",
            "If present, the namespace scope for this CLI request",
        ),
    ),
    text("context", "The name of the kubeconfig context to use"),
    default(
        "\"0\"",
        text(
            "request-timeout",
            "The length of time to wait before giving up on a single server request. Non-zero values should contain a corresponding time unit (e.g. 1s, 2m, 3h). A value of zero means don't timeout requests.",
        ),
    ),
    switch(
        "add_dir_header",
        "If true, adds the file directory to the header of the log messages",
    ),
    switch(
        "alsologtostderr",
        "log to standard error as well as files (no effect when -logtostderr=true)",
    ),
    flag(
        "alsologtostderrthreshold",
        Kind::Checked(severity),
        "severity",
        "logs at or above this threshold go to stderr when -alsologtostderr=true (no effect when -logtostderr=true)",
    ),
    default(
        "true",
        switch(
            "legacy_stderr_threshold_behavior",
            "If true, stderrthreshold is ignored when logtostderr=true (legacy behavior). If false, stderrthreshold is honored even when logtostderr=true",
        ),
    ),
    default(
        ":0",
        flag(
            "log_backtrace_at",
            Kind::Checked(trace_location),
            "traceLocation",
            "when logging hits line file:N, emit a stack trace",
        ),
    ),
    text(
        "log_dir",
        "If non-empty, write log files in this directory (no effect when -logtostderr=true)",
    ),
    text(
        "log_file",
        "If non-empty, use this log file (no effect when -logtostderr=true)",
    ),
    default(
        "1800",
        flag(
            "log_file_max_size",
            Kind::Checked(unsigned),
            "uint",
            "Defines the maximum size a log file can grow to (no effect when -logtostderr=true). Unit is megabytes. If the value is 0, the maximum file size is unlimited.",
        ),
    ),
    default(
        "true",
        switch("logtostderr", "log to standard error instead of files"),
    ),
    switch(
        "one_output",
        "If true, only write logs to their native severity level (vs also writing to each lower severity level; no effect when -logtostderr=true)",
    ),
    switch(
        "skip_headers",
        "If true, avoid header prefixes in the log messages",
    ),
    switch(
        "skip_log_headers",
        "If true, avoid headers when opening log files (no effect when -logtostderr=true)",
    ),
    default(
        "2",
        flag(
            "stderrthreshold",
            Kind::Checked(severity),
            "severity",
            "logs at or above this threshold go to stderr when writing to files and stderr (no effect when -logtostderr=true or -alsologtostderr=true unless -legacy_stderr_threshold_behavior=false)",
        ),
    ),
    short(
        'v',
        flag(
            "v",
            Kind::Checked(level),
            "Level",
            "number for the log level verbosity",
        ),
    ),
    flag(
        "vmodule",
        Kind::Checked(modules),
        "moduleSpec",
        "comma-separated list of pattern=N settings for file-filtered logging",
    ),
];

/// The flags of klog stand at the end; the environment has no say in them.
const FIRST_OF_KLOG: &str = "add_dir_header";

/// The environment variable of a flag.
pub(super) fn variable_of(flag: &str) -> Option<String> {
    let klog = FLAGS.iter().position(|known| known.name == FIRST_OF_KLOG);
    let own = FLAGS.iter().position(|known| known.name == flag) < klog;
    own.then(|| {
        let name = flag.to_ascii_uppercase().replace('-', "_");
        format!("SEALED_SECRETS_{name}")
    })
}

/// What the flags say about the cluster.
pub(super) fn overrides(values: &Values) -> Overrides {
    let text = |name: &str| values.text(name).to_owned();
    let secret = |name: &str| SecretString::new(text(name));
    Overrides {
        kubeconfig: Some(PathBuf::from(values.text("kubeconfig")))
            .filter(|path| !path.as_os_str().is_empty()),
        context: text("context"),
        cluster: text("cluster"),
        user: text("user"),
        namespace: namespace(values.text("namespace")).to_owned(),
        server: text("server"),
        certificate_authority: text("certificate-authority"),
        insecure_skip_tls_verify: values.switch("insecure-skip-tls-verify"),
        tls_server_name: text("tls-server-name"),
        proxy_url: text("proxy-url"),
        disable_compression: values.switch("disable-compression"),
        token: secret("token"),
        username: text("username"),
        password: secret("password"),
        client_certificate: text("client-certificate"),
        client_key: text("client-key"),
        impersonate: text("as"),
        impersonate_uid: text("as-uid"),
        impersonate_groups: values
            .texts("as-group")
            .into_iter()
            .map(str::to_owned)
            .collect(),
    }
}

/// The time of `--request-timeout`: whole seconds or a Go duration; `None` for 0 and when it is not
/// given.
pub(super) fn request_timeout(text: &str) -> Result<Option<Duration>, String> {
    let time = match text.parse::<i64>() {
        _ if text.is_empty() => Some(Duration::ZERO),
        Ok(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        Err(_) => go_duration(text),
    };
    let time = time.ok_or_else(|| {
        "invalid timeout value. Timeout must be a single integer in seconds, or an integer \
         followed by a corresponding time unit (e.g. 1s | 2m | 3h)"
            .to_owned()
    })?;
    Ok(Some(time).filter(|time| !time.is_zero()))
}

/// Go's `time.ParseDuration`, without signs: `1h30m`, `1.5s`, `300ms`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let factor = match &tail[..unit] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number * factor;
        rest = &tail[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// A namespace may be written as kubectl prints it: `ns/web`.
fn namespace(text: &str) -> &str {
    for prefix in ["namespaces/", "namespace/", "ns/"] {
        let head = text.get(..prefix.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(prefix)) && text.len() > prefix.len() {
            return &text[prefix.len()..];
        }
    }
    text
}

fn scope(text: &str) -> Result<(), String> {
    match text {
        "" | "strict" | "namespace-wide" | "cluster-wide" => Ok(()),
        _ => Err("must be one of: strict, namespace-wide, cluster-wide".to_owned()),
    }
}

fn severity(text: &str) -> Result<(), String> {
    let names = ["INFO", "WARNING", "ERROR", "FATAL"];
    match names.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        true => Ok(()),
        false => level(text),
    }
}

fn level(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "strconv.ParseInt: parsing {text:?}: invalid syntax"
        ));
    }
    match text.parse::<i32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "strconv.ParseInt: parsing {text:?}: value out of range"
        )),
    }
}

fn unsigned(text: &str) -> Result<(), String> {
    let digits = text.to_ascii_lowercase();
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    let begins = digits.starts_with(|c: char| c.is_ascii_alphanumeric());
    match u64::from_str_radix(digits, base) {
        Ok(_) if begins => Ok(()),
        _ => Err("parse error".to_owned()),
    }
}

fn trace_location(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let syntax = || "syntax error: expect file.go:234".to_owned();
    let (file, line) = text.split_once(':').ok_or_else(syntax)?;
    let line: i64 = line.parse().map_err(|_| syntax())?;
    if !file.contains('.') {
        return Err(syntax());
    }
    match line {
        1.. => Ok(()),
        _ => Err("negative or zero value for level".to_owned()),
    }
}

fn modules(text: &str) -> Result<(), String> {
    let syntax = || "syntax error: expect comma-separated list of filename=N".to_owned();
    for entry in text.split(',').filter(|entry| !entry.is_empty()) {
        let (pattern, level) = entry.split_once('=').ok_or_else(syntax)?;
        if pattern.is_empty() || level.is_empty() || level.contains('=') {
            return Err(syntax());
        }
        let level: i64 = level.parse().map_err(|_| syntax())?;
        if level < 0 {
            return Err("negative value for vmodule level".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_but_those_of_klog_has_a_variable() {
        let name = |flag: &str| variable_of(flag);
        assert_eq!(name("cert").as_deref(), Some("SEALED_SECRETS_CERT"));
        assert_eq!(
            name("recovery-private-key").as_deref(),
            Some("SEALED_SECRETS_RECOVERY_PRIVATE_KEY")
        );
        assert_eq!(
            name("request-timeout").as_deref(),
            Some("SEALED_SECRETS_REQUEST_TIMEOUT")
        );
        assert_eq!(name("add_dir_header"), None);
        assert_eq!(name("v"), None);
    }

    #[test]
    fn times_and_namespaces_are_read_as_kubectl_reads_them() {
        let seconds = |text: &str| {
            request_timeout(text)
                .unwrap()
                .map(|time| time.as_secs_f64())
        };
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("0"), None);
        assert_eq!(seconds("7"), Some(7.0));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        for text in ["x", "-1", "5d", "1"] {
            assert_eq!(request_timeout(text).is_ok(), text == "1", "{text}");
        }
        for (text, expected) in [
            ("ns/a", "a"),
            ("Namespace/a", "a"),
            ("ns/", "ns/"),
            ("a", "a"),
        ] {
            assert_eq!(namespace(text), expected);
        }
    }
}

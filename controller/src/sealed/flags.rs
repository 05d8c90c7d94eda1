//! The flags of Sealed Secrets that `args.rs` does not share with ExternalSecrets (sealed-secrets.md 11), and ours beside
//! them.

use std::{collections::BTreeMap, time::Duration};

use clap::builder::BoolishValueParser;
use jiff::Timestamp;

use super::{
    Settings,
    drift::Drift,
    http::HttpSettings,
    keys::{KeyOrder, KeySettings},
};
use crate::support::{bucket::Rate, duration::go_duration};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct SealedFlags {
    /// What decides which sealing key is the latest: CertNotBefore or SecretCreationTimestamp. Anything else is told in the
    /// log and means the first.
    #[arg(
        long,
        value_name = "TIME",
        env = "SEALED_SECRETS_KEY_ORDER_PRIORITY",
        default_value = "CertNotBefore"
    )]
    key_order_priority: String,

    /// A key from before this time gets a successor at the start, as `date -R` prints it: Mon, 02 Jan 2006 15:04:05 -0700.
    #[arg(
        long,
        value_name = "TIME",
        env = "SEALED_SECRETS_KEY_CUTOFF_TIME",
        default_value = "",
        hide_default_value = true,
        value_parser = cutoff
    )]
    key_cutoff_time: Cutoff,

    /// Deprecated name of --key-renew-period.
    #[arg(long, hide = true, env = "SEALED_SECRETS_ROTATE_PERIOD", value_parser = duration)]
    rotate_period: Option<Duration>,

    /// Time after which a renewed key seals, so that it can be backed up first; it opens at once.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALED_SECRETS_KEY_ACTIVATION_DELAY",
        default_value = "0s",
        value_parser = duration
    )]
    key_activation_delay: Duration,

    /// Whether a sealing key that appears while the controller runs seals without `selkie keys activate`. Whoever can have a
    /// Secret made in the controller's namespace decides then what everybody seals to.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_WATCH_FOR_SECRETS",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    watch_for_secrets: bool,

    /// Whether sealing keys count that another resource makes, an ExternalSecret for instance.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_ACCEPT_MANAGED_KEYS",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    accept_managed_keys: bool,

    /// Annotations of new key Secrets: NAME=VALUE,...
    #[arg(
        long,
        value_name = "PAIRS",
        env = "SEALED_SECRETS_PRIVATEKEY_ANNOTATIONS",
        value_delimiter = ',',
        value_parser = pair
    )]
    privatekey_annotations: Vec<Pair>,

    /// Labels of new key Secrets: NAME=VALUE,...
    #[arg(
        long,
        value_name = "PAIRS",
        env = "SEALED_SECRETS_PRIVATEKEY_LABELS",
        value_delimiter = ',',
        value_parser = pair
    )]
    privatekey_labels: Vec<Pair>,

    /// Whether SealedSecrets of the deprecated form, with spec.data, are served.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_ACCEPT_DEPRECATED_V1_DATA",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    accept_deprecated_v1_data: bool,

    /// Only SealedSecrets with labels that this selector admits are served.
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "SEALED_SECRETS_LABEL_SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    label_selector: String,

    /// Requests of /v1/verify in a second, for each client.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALED_SECRETS_RATE_LIMIT",
        default_value = "2",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    rate_limit: u32,

    /// Requests of /v1/verify beyond the limit at once, for each client.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALED_SECRETS_RATE_LIMIT_BURST",
        default_value = "2"
    )]
    rate_limit_burst: u32,

    /// Whether the controller deletes the Secret of a deleted SealedSecret itself; else Kubernetes does.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_OLD_GC_BEHAVIOR",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    old_gc_behavior: bool,

    /// Whether a Secret that somebody deleted stays away until its SealedSecret changes or the controller starts anew.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_SKIP_RECREATE",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    skip_recreate: bool,

    /// Quick retries of a write that the API server refuses, before the slow ones, every five minutes.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALED_SECRETS_MAX_UNSEAL_RETRIES",
        default_value = "5"
    )]
    max_unseal_retries: u32,

    /// Whether Secrets are made that carry the label of sealing keys, or whose type lets Kubernetes put a token in.
    #[arg(
        long,
        value_name = "BOOL",
        env = "SEALED_SECRETS_ALLOW_PRIVILEGED_SECRETS",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        value_parser = BoolishValueParser::new()
    )]
    allow_privileged_secrets: bool,

    /// What is done when somebody else changes a Secret: put it right, say so in the condition, or nothing. Default: what was
    /// made here is put right, what was adopted is reported. The annotation selkie/drift of a SealedSecret goes ahead.
    #[arg(long, value_enum, value_name = "POLICY", env = "SEALED_SECRETS_DRIFT")]
    drift: Option<Drift>,

    /// Requests of the API server in a second; zero or less is no limit, which is the default.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALED_SECRETS_KUBECLIENT_QPS",
        default_value = "-1",
        allow_negative_numbers = true
    )]
    kubeclient_qps: f64,

    /// Requests of the API server beyond the limit at once.
    #[arg(
        long,
        value_name = "NUMBER",
        env = "SEALED_SECRETS_KUBECLIENT_BURST",
        default_value = "10"
    )]
    kubeclient_burst: u32,

    /// Time for a request of the HTTP API to arrive; 0 is no limit.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALED_SECRETS_READ_TIMEOUT",
        default_value = "2m0s",
        value_parser = duration
    )]
    read_timeout: Duration,

    /// Time for an answer of the HTTP API to leave; 0 is no limit.
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALED_SECRETS_WRITE_TIMEOUT",
        default_value = "2m0s",
        value_parser = duration
    )]
    write_timeout: Duration,
}

/// NAME=VALUE, or nothing: an empty variable means none.
#[derive(Clone, Debug)]
struct Pair(Option<(String, String)>);

fn pairs(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    pairs.into_iter().filter_map(|pair| pair.0).collect()
}

/// A time, or none.
#[derive(Clone, Copy, Debug)]
struct Cutoff(Option<Timestamp>);

impl SealedFlags {
    /// Resolves what was typed, together with what `args.rs` read; `keys` has what it knows of keys.
    pub fn resolve(self, keys: KeySettings, update_status: bool) -> Settings {
        let order = match self.key_order_priority.as_str() {
            "CertNotBefore" => KeyOrder::CertNotBefore,
            "SecretCreationTimestamp" => KeyOrder::SecretCreationTimestamp,
            _ => KeyOrder::Unknown(self.key_order_priority),
        };
        let renewal = match self.rotate_period {
            Some(period) => Some(period).filter(|period| !period.is_zero()),
            None => keys.renewal,
        };
        Settings {
            keys: KeySettings {
                order,
                renewal,
                cutoff: self.key_cutoff_time.0,
                activation_delay: self.key_activation_delay,
                new_keys_seal: self.watch_for_secrets,
                accept_managed: self.accept_managed_keys,
                annotations: pairs(self.privatekey_annotations),
                labels: pairs(self.privatekey_labels),
                ..keys
            },
            update_status,
            selector: Some(self.label_selector).filter(|text| !text.trim().is_empty()),
            accept_deprecated: self.accept_deprecated_v1_data,
            old_gc: self.old_gc_behavior,
            skip_recreate: self.skip_recreate,
            quick_retries: self.max_unseal_retries,
            allow_privileged: self.allow_privileged_secrets,
            drift: self.drift,
            api_rate: Rate::new(self.kubeclient_qps, self.kubeclient_burst),
            http: HttpSettings {
                verify_rate: Rate::new(
                    self.rate_limit.into(),
                    self.rate_limit_burst.saturating_add(1),
                ),
                read_timeout: self.read_timeout,
                write_timeout: self.write_timeout,
            },
        }
    }
}

/// Reads a Go duration; zero and less are zero.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = go_duration(text);
    duration
        .map(Option::unwrap_or_default)
        .ok_or_else(|| "a duration is needed, as 720h or 1h30m".to_owned())
}

fn cutoff(text: &str) -> Result<Cutoff, String> {
    if text.trim().is_empty() {
        return Ok(Cutoff(None));
    }
    match jiff::fmt::rfc2822::parse(text) {
        Ok(time) => Ok(Cutoff(Some(time.timestamp()))),
        Err(_) => Err(
            "a time as `date -R` prints it is needed: Mon, 02 Jan 2006 15:04:05 -0700".to_owned(),
        ),
    }
}

/// Upstream panics without `=`, and drops what follows a second one.
fn pair(text: &str) -> Result<Pair, String> {
    if text.trim().is_empty() {
        return Ok(Pair(None));
    }
    let pair = text.trim().split_once('=');
    let pair = pair.filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| "NAME=VALUE is needed".to_owned())?;
    Ok(Pair(Some((name.to_owned(), value.to_owned()))))
}

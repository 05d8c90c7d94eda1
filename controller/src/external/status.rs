//! What an ExternalSecret's and a store's status say, and whether that is worth a write.
//!
//! Reasons and the beginning of every message are the original's: Argo CD's health checks, alert rules and
//! printer columns read them (external-secrets.md 6.9, 8.2, 19). The cause follows after a colon.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use selkie_api::external_secret::{Binding, Condition, ExternalSecretStatus};
use selkie_api::secret_store::SecretStoreStatus;

/// The only condition type that is written.
pub const READY: &str = "Ready";
/// The Secret is in order.
pub const SYNCED: &str = "SecretSynced";
/// It is not.
pub const SYNCED_ERROR: &str = "SecretSyncedError";
/// The store works.
pub const VALID: &str = "Valid";
/// Nobody can tell whether the store works.
pub const VALIDATION_UNKNOWN: &str = "ValidationUnknown";
/// It does not.
pub const INVALID_PROVIDER_CONFIG: &str = "InvalidProviderConfig";

/// Message of a Secret that was fetched and written.
pub const SECRET_SYNCED: &str = "secret synced";
/// Message of a Secret that stays although the store gave no value at all (external-secrets.md 6.6).
pub const SECRET_RETAINED: &str = "secret retained due to DeletionPolicy=Retain";

/// The longest message that is written, in characters.
const LONGEST: usize = 1000;

/// Returns the status after a synchronisation, `None` when it would say what it says already.
///
/// `refreshTime` moves only with something else: the original moves it at every interval, which is
/// one write per ExternalSecret and interval for no news.
pub fn synced(
    old: &ExternalSecretStatus,
    version: &str,
    target: &str,
    message: &str,
    wrote: bool,
    now: Timestamp,
) -> Option<ExternalSecretStatus> {
    let mut new = old.clone();
    new.conditions = with_ready(&old.conditions, "True", SYNCED, message, now);
    new.synced_resource_version = Some(version.to_owned());
    new.binding = Some(Binding {
        name: target.to_owned(),
    });
    if !wrote && new == *old && old.refresh_time.is_some() {
        return None;
    }
    new.refresh_time = Some(Time(now));
    Some(new)
}

/// Returns the status of a Secret that is in order without a fetch, `None` when it says so already.
///
/// `fetched` is when this process fetched last. The version that was synchronised stays: with
/// CreatedOnce the present one never was.
pub fn recovered(
    old: &ExternalSecretStatus,
    target: &str,
    fetched: Option<Timestamp>,
    now: Timestamp,
) -> Option<ExternalSecretStatus> {
    let mut conditions = old.conditions.iter();
    if conditions.any(|condition| condition.type_ == READY && condition.status == "True") {
        return None;
    }
    let mut new = old.clone();
    new.conditions = with_ready(&old.conditions, "True", SYNCED, SECRET_SYNCED, now);
    new.binding = Some(Binding {
        name: target.to_owned(),
    });
    if let Some(fetched) = fetched {
        new.refresh_time = Some(Time(fetched));
    }
    Some(new)
}

/// Returns the status after a failure, `None` when it would say what it says already.
pub fn failed(
    old: &ExternalSecretStatus,
    message: &str,
    now: Timestamp,
) -> Option<ExternalSecretStatus> {
    let mut new = old.clone();
    new.conditions = with_ready(&old.conditions, "False", SYNCED_ERROR, message, now);
    (new != *old).then_some(new)
}

/// Returns a store's status, `None` when it would say what it says already.
pub fn store(
    old: &SecretStoreStatus,
    verdict: &Verdict,
    capabilities: Option<&str>,
    now: Timestamp,
) -> Option<SecretStoreStatus> {
    let (status, reason) = match verdict {
        Verdict::Valid => ("True", VALID),
        Verdict::Unknown => ("True", VALIDATION_UNKNOWN),
        Verdict::NoClient(_) | Verdict::Invalid(_) => ("False", INVALID_PROVIDER_CONFIG),
    };
    let new = SecretStoreStatus {
        capabilities: capabilities
            .map(str::to_owned)
            .or_else(|| old.capabilities.clone()),
        conditions: with_ready(&old.conditions, status, reason, &verdict.message(), now),
    };
    (new != *old).then_some(new)
}

/// What became of a store's validation (external-secrets.md 8.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Valid,
    /// Nobody can tell: its credentials come from whoever uses it.
    Unknown,
    /// No client can be made.
    NoClient(String),
    /// The backend refuses, or does not answer.
    Invalid(String),
}

impl Verdict {
    /// Returns the condition's message.
    pub fn message(&self) -> String {
        match self {
            Self::Valid => "store validated".to_owned(),
            Self::Unknown => "could not determine validation status".to_owned(),
            Self::NoClient(cause) => format!("unable to create client: {cause}"),
            Self::Invalid(cause) => format!("unable to validate store: {cause}"),
        }
    }

    /// Returns the event's reason, and whether it is a warning.
    pub fn event(&self) -> (&'static str, bool) {
        match self {
            Self::Valid => (VALID, false),
            Self::Unknown => (VALIDATION_UNKNOWN, true),
            Self::NoClient(_) | Self::Invalid(_) => (INVALID_PROVIDER_CONFIG, true),
        }
    }
}

/// Replaces the condition `Ready`; the time moves only when the status does.
fn with_ready(
    old: &[Condition],
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let before = old.iter().find(|condition| condition.type_ == READY);
    let since = before
        .filter(|condition| condition.status == status)
        .and_then(|condition| condition.last_transition_time.clone());
    let ready = Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.chars().take(LONGEST).collect()),
        last_transition_time: since.or(Some(Time(now))),
    };
    let mut conditions = old.to_vec();
    match conditions
        .iter_mut()
        .find(|condition| condition.type_ == READY)
    {
        Some(condition) => *condition = ready,
        None => conditions.push(ready),
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn nothing_new_is_no_write() {
        let first = synced(
            &ExternalSecretStatus::default(),
            "1-a",
            "db",
            SECRET_SYNCED,
            true,
            at(0),
        )
        .unwrap();
        assert_eq!(first.conditions[0].reason.as_deref(), Some(SYNCED));
        assert_eq!(
            synced(&first, "1-a", "db", SECRET_SYNCED, false, at(10)),
            None
        );
        let again = synced(&first, "1-a", "db", SECRET_SYNCED, true, at(20)).unwrap();
        assert_eq!(again.refresh_time, Some(Time(at(20))));
        assert_eq!(again.conditions[0].last_transition_time, Some(Time(at(0))));
        assert!(synced(&first, "2-a", "db", SECRET_SYNCED, false, at(30)).is_some());
    }

    #[test]
    fn a_failure_keeps_what_was_synchronised() {
        let ok = synced(
            &ExternalSecretStatus::default(),
            "1-a",
            "db",
            SECRET_SYNCED,
            true,
            at(0),
        )
        .unwrap();
        let bad = failed(&ok, "could not get secret data from provider: x", at(5)).unwrap();
        assert_eq!(bad.refresh_time, ok.refresh_time);
        assert_eq!(bad.synced_resource_version, ok.synced_resource_version);
        assert_eq!(bad.conditions[0].status, "False");
        assert_eq!(bad.conditions[0].last_transition_time, Some(Time(at(5))));
        assert_eq!(
            failed(&bad, "could not get secret data from provider: x", at(9)),
            None
        );
        let other = failed(&bad, "could not get secret data from provider: y", at(9)).unwrap();
        assert_eq!(other.conditions[0].last_transition_time, Some(Time(at(5))));
        assert!(synced(&bad, "1-a", "db", SECRET_SYNCED, false, at(10)).is_some());
    }

    #[test]
    fn what_is_in_order_again_is_said() {
        let ok = synced(
            &ExternalSecretStatus::default(),
            "1-a",
            "db",
            SECRET_SYNCED,
            true,
            at(0),
        )
        .unwrap();
        assert_eq!(recovered(&ok, "db", Some(at(5)), at(9)), None);
        let retained = synced(&ok, "1-a", "db", SECRET_RETAINED, false, at(3)).unwrap();
        assert_eq!(recovered(&retained, "db", Some(at(5)), at(9)), None);
        let bad = failed(&ok, "could not update secret: x", at(5)).unwrap();
        let again = recovered(&bad, "db", None, at(9)).unwrap();
        assert_eq!(again.conditions[0].status, "True");
        assert_eq!(again.conditions[0].message.as_deref(), Some(SECRET_SYNCED));
        assert_eq!(again.refresh_time, ok.refresh_time);
        assert_eq!(again.synced_resource_version.as_deref(), Some("1-a"));
        let fetched = recovered(&bad, "db", Some(at(7)), at(9)).unwrap();
        assert_eq!(fetched.refresh_time, Some(Time(at(7))));
        // Somebody took the conditions away.
        let bare = ExternalSecretStatus {
            conditions: Vec::new(),
            ..ok
        };
        assert!(recovered(&bare, "db", None, at(9)).is_some());
    }

    #[test]
    fn stores() {
        let old = SecretStoreStatus::default();
        let valid = store(&old, &Verdict::Valid, Some("ReadWrite"), at(0)).unwrap();
        assert_eq!(valid.capabilities.as_deref(), Some("ReadWrite"));
        assert_eq!(
            store(&valid, &Verdict::Valid, Some("ReadWrite"), at(9)),
            None
        );
        let down = Verdict::Invalid("Vault is down".to_owned());
        let invalid = store(&valid, &down, Some("ReadWrite"), at(9)).unwrap();
        assert_eq!(
            invalid.conditions[0].message.as_deref(),
            Some("unable to validate store: Vault is down")
        );
        assert_eq!(down.event(), ("InvalidProviderConfig", true));
    }
}

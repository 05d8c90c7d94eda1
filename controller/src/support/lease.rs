//! One leader among replicas, by a Lease in the own namespace.
//!
//! Two replicas that serve the same objects would each make sealing keys and overwrite each other's
//! status (sealed-secrets.md 8.3, 7.7). Existing installations of the originals do not grant `leases`,
//! so without the right the process leads alone, as they did, and says so.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, time::Instant};
use tracing::{error, info, warn};

use super::shutdown::Shutdown;

/// Time without renewal after which another replica may take over.
const DURATION: Duration = Duration::from_secs(15);
/// Time between two renewals.
const RENEWAL: Duration = Duration::from_secs(5);
/// Time between two looks at a Lease that another replica holds.
const RETRY: Duration = Duration::from_secs(2);

/// Who competes for what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This replica, different from every other one.
    pub identity: String,
}

/// How the leadership ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaseEnd {
    /// The shutdown was requested; the Lease was given back.
    Released,
    /// The Lease could not be renewed in time; this process must write nothing any more.
    Lost,
}

/// Waits for the Lease, sets `leading`, and renews until the shutdown is requested or it is lost.
pub async fn lead(
    client: Client,
    candidate: &Candidate,
    leading: &watch::Sender<bool>,
    shutdown: &Shutdown,
) -> LeaseEnd {
    let leases = Api::<Lease>::namespaced(client, &candidate.namespace);
    let mut seen = Observed::default();
    loop {
        match try_hold(&leases, candidate, &mut seen).await {
            Ok(Some(held)) => {
                info!(
                    lease = candidate.name,
                    identity = candidate.identity,
                    "leading"
                );
                leading.send_replace(true);
                return keep(&leases, candidate, held, shutdown).await;
            }
            Ok(None) => {}
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                warn!(
                    namespace = candidate.namespace,
                    "no right to Leases: leading without one, so there must be one replica only"
                );
                leading.send_replace(true);
                shutdown.requested().await;
                return LeaseEnd::Released;
            }
            Err(error) => {
                warn!(%error, lease = candidate.name, "the Lease cannot be had; it is tried again");
            }
        }
        if shutdown.or(tokio::time::sleep(RETRY)).await.is_none() {
            return LeaseEnd::Released;
        }
    }
}

/// What the Lease said when it last changed, and when we saw that: clocks of replicas differ, so
/// its own times are not compared with ours.
#[derive(Default)]
struct Observed {
    version: Option<String>,
    since: Option<Instant>,
}

impl Observed {
    /// Returns whether the holder has not renewed for as long as it promised.
    fn expired(&mut self, lease: &Lease, now: Instant) -> bool {
        let version = lease.metadata.resource_version.clone();
        if self.since.is_none() || self.version != version {
            *self = Self {
                version,
                since: Some(now),
            };
        }
        let promised = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds);
        let promised = promised.and_then(|seconds| u64::try_from(seconds).ok());
        let promised = promised.map_or(DURATION, Duration::from_secs);
        self.since
            .is_some_and(|since| now.duration_since(since) >= promised)
    }
}

/// Takes the Lease if it is free, ours, or expired; returns it as written.
async fn try_hold(
    leases: &Api<Lease>,
    candidate: &Candidate,
    seen: &mut Observed,
) -> Result<Option<Lease>, kube::Error> {
    let now = Timestamp::now();
    let Some(lease) = leases.get_opt(&candidate.name).await? else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(candidate.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(held(candidate, None, now)),
        };
        return lost_race(leases.create(&PostParams::default(), &lease).await);
    };
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    let free = holder.is_none_or(|holder| holder.is_empty() || holder == candidate.identity);
    if !free && !seen.expired(&lease, Instant::now()) {
        return Ok(None);
    }
    let wanted = Lease {
        spec: Some(held(candidate, lease.spec.as_ref(), now)),
        ..lease
    };
    lost_race(
        leases
            .replace(&candidate.name, &PostParams::default(), &wanted)
            .await,
    )
}

/// Renews until the shutdown is requested or the Lease is lost.
async fn keep(
    leases: &Api<Lease>,
    candidate: &Candidate,
    mut lease: Lease,
    shutdown: &Shutdown,
) -> LeaseEnd {
    let mut renewed = Instant::now();
    loop {
        if shutdown.or(tokio::time::sleep(RENEWAL)).await.is_none() {
            release(leases, candidate, lease).await;
            return LeaseEnd::Released;
        }
        let mut wanted = lease.clone();
        wanted.spec = Some(held(candidate, lease.spec.as_ref(), Timestamp::now()));
        // Within what is left, so that a server that hangs cannot make two leaders.
        let left = DURATION.saturating_sub(renewed.elapsed());
        let params = PostParams::default();
        let renewal = leases.replace(&candidate.name, &params, &wanted);
        match tokio::time::timeout(left, renewal).await {
            Ok(Ok(written)) => {
                lease = written;
                renewed = Instant::now();
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_not_found() => {
                match try_hold(leases, candidate, &mut Observed::default()).await {
                    Ok(Some(written)) => {
                        lease = written;
                        renewed = Instant::now();
                    }
                    Ok(None) => {
                        error!(lease = candidate.name, "another replica holds the Lease");
                        return LeaseEnd::Lost;
                    }
                    Err(error) => warn!(%error, "the Lease cannot be renewed; it is tried again"),
                }
            }
            Ok(Err(error)) => warn!(%error, "the Lease cannot be renewed; it is tried again"),
            Err(_) => {}
        }
        if renewed.elapsed() + RENEWAL > DURATION {
            error!(
                lease = candidate.name,
                "the Lease could not be renewed in time"
            );
            return LeaseEnd::Lost;
        }
    }
}

/// Gives the Lease back, so that the next replica need not wait for its end.
async fn release(leases: &Api<Lease>, candidate: &Candidate, mut lease: Lease) {
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..lease.spec.unwrap_or_default()
    });
    let params = PostParams::default();
    let written = leases.replace(&candidate.name, &params, &lease);
    match tokio::time::timeout(RETRY, written).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(%error, "the Lease was not given back"),
        Err(_) => warn!("the Lease was not given back in time"),
    }
}

fn held(candidate: &Candidate, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
    let ours = |spec: &&LeaseSpec| spec.holder_identity.as_ref() == Some(&candidate.identity);
    let kept = before.filter(ours);
    let transitions = before
        .and_then(|spec| spec.lease_transitions)
        .unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: kept
            .and_then(|spec| spec.acquire_time.clone())
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions + i32::from(before.is_some() && kept.is_none())),
        ..LeaseSpec::default()
    }
}

/// Somebody else was faster: not ours, and no error.
fn lost_race(written: Result<Lease, kube::Error>) -> Result<Option<Lease>, kube::Error> {
    match written {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(10),
                lease_transitions: Some(3),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn a_lease_expires_when_it_stands_still_for_its_duration() {
        let mut seen = Observed::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!seen.expired(&lease("1", "b"), start));
        assert!(!seen.expired(&lease("1", "b"), after(9)));
        assert!(!seen.expired(&lease("2", "b"), after(11)), "it was renewed");
        assert!(!seen.expired(&lease("2", "b"), after(20)));
        assert!(seen.expired(&lease("2", "b"), after(21)));
    }

    #[test]
    fn a_new_holder_counts_as_a_transition() {
        let candidate = Candidate {
            namespace: "n".to_owned(),
            name: "l".to_owned(),
            identity: "a".to_owned(),
        };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let taken = held(&candidate, lease("1", "b").spec.as_ref(), now);
        assert_eq!(taken.lease_transitions, Some(4));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
        let later = Timestamp::from_second(1_000_005).unwrap();
        let renewed = held(&candidate, Some(&taken), later);
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));
        assert_eq!(held(&candidate, None, now).lease_transitions, Some(0));
    }
}

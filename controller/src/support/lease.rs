//! One leader among replicas, by a Lease in the own namespace.
//!
//! Two replicas that serve the same objects would each make sealing keys and overwrite each other's
//! status (sealed-secrets.md 8.3, 7.7). So a replica writes only within its [`Tenure`], which the
//! client checks at each write (`api_calls.rs`), and which ends before another replica may follow.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{error, info, warn};

use super::{health::Gate, shutdown::Shutdown};

/// Who competes for what.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// This replica, different from every other one.
    pub identity: String,
    /// How fast.
    pub pace: Pace,
}

/// The times of the competition; the default is client-go's.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time without renewal after which another replica may take over. At least one second.
    pub duration: Duration,
    /// Time after the start of the last renewal at which this replica stops writing, and after
    /// which a request is given up. Below `duration`.
    pub deadline: Duration,
    /// Time between two renewals.
    pub renewal: Duration,
    /// Time between two attempts, and two looks at a Lease that another replica holds.
    pub retry: Duration,
    /// Time between two attempts without the right to Leases.
    pub forbidden: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            renewal: Duration::from_secs(5),
            retry: Duration::from_secs(2),
            forbidden: Duration::from_secs(10),
        }
    }
}

/// How long this process may write; cloning shares it.
#[derive(Clone, Debug)]
pub struct Tenure(Arc<Mutex<Term>>);

#[derive(Clone, Copy, Debug)]
enum Term {
    Unlimited,
    Until(Option<Held>),
}

/// The two ends of a term.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// No write may begin from here on.
    pub writes: Instant,
    /// Another replica may write from here on.
    pub lease: Instant,
}

/// The time limit of a write that begins now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permit {
    /// None: there is one replica only.
    Unlimited,
    /// Until then.
    Until(Instant),
    /// This process does not lead and must not write.
    Refused,
}

impl Tenure {
    /// Makes the tenure of a process that is the only replica.
    pub fn unlimited() -> Self {
        Self(Arc::new(Mutex::new(Term::Unlimited)))
    }

    /// Makes the tenure of a process that does not lead yet.
    pub fn none() -> Self {
        Self(Arc::new(Mutex::new(Term::Until(None))))
    }

    /// Returns whether a write may begin at `now`, and by when it has to be over.
    ///
    /// Stops the write of a leader that was paused (a frozen process, a node without CPU time) and
    /// goes on amid a pass, while another replica leads already.
    pub fn permit(&self, now: Instant) -> Permit {
        match *self.lock() {
            Term::Unlimited => Permit::Unlimited,
            Term::Until(Some(held)) if now < held.writes => Permit::Until(held.lease),
            Term::Until(_) => Permit::Refused,
        }
    }

    fn extend(&self, asked: Instant, pace: &Pace) {
        *self.lock() = Term::Until(Some(Held {
            writes: asked + pace.deadline,
            lease: asked + pace.duration,
        }));
    }

    fn end(&self) {
        *self.lock() = Term::Until(None);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Term> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the leadership ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeaseEnd {
    /// The shutdown was requested; a Lease that was held was given back.
    Released,
    /// The Lease could not be renewed in time; this process must write nothing any more.
    Lost,
}

/// What the competition tells the rest of the process, and hears from it.
pub struct Leadership<'a> {
    /// Extended with each renewal.
    pub tenure: &'a Tenure,
    /// Set when the Lease is had.
    pub leading: &'a watch::Sender<bool>,
    /// Opened when the Lease can be read and written.
    pub gate: Gate,
    /// Ends the waiting for the Lease.
    pub shutdown: &'a Shutdown,
    /// Everything that writes has ended: the Lease can be given back.
    pub finished: &'a Shutdown,
}

/// Waits for the Lease, sets `leading`, and renews until the rest has `finished` or the Lease is lost.
///
/// `client` must not be bound by the tenure. Without the right to Leases nobody leads: the process
/// says so once and tries again, since it cannot know that it is alone.
pub async fn lead(client: Client, candidate: &Candidate, leadership: Leadership<'_>) -> LeaseEnd {
    let leases = Api::<Lease>::namespaced(client, &candidate.namespace);
    let pace = &candidate.pace;
    let shutdown = leadership.shutdown;
    let mut seen = Observed::default();
    let mut told = false;
    loop {
        let mut wait = pace.retry;
        // Not ended by the shutdown: a Lease that is taken has to be given back.
        match timeout(pace.deadline, try_hold(&leases, candidate, &mut seen)).await {
            Ok(Ok(Some(held))) => {
                leadership.gate.ready();
                return keep(&leases, candidate, held, &leadership).await;
            }
            Ok(Ok(None)) => {
                leadership.gate.ready();
                told = false;
            }
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                wait = pace.forbidden;
                if !told {
                    told = true;
                    error!(
                        namespace = candidate.namespace,
                        lease = candidate.name,
                        "no right to Leases, so nothing is written: grant get, create and update on leases of \
                         coordination.k8s.io in this namespace, or say with --leader-elect=false that there is one \
                         replica only; it is tried again"
                    );
                }
            }
            Ok(Err(error)) => {
                warn!(%error, lease = candidate.name, "the Lease cannot be had; it is tried again");
            }
            Err(_) => warn!(
                lease = candidate.name,
                "the API server did not answer for the Lease within {:?}; it is tried again",
                pace.deadline
            ),
        }
        if shutdown.or(tokio::time::sleep(wait)).await.is_none() {
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
    fn expired(&mut self, lease: &Lease, now: Instant, pace: &Pace) -> bool {
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
        let promised = promised.map_or(pace.duration, Duration::from_secs);
        self.since
            .is_some_and(|since| now.duration_since(since) >= promised)
    }
}

/// A Lease as we wrote it.
struct Written {
    lease: Lease,
    /// Before it was sent: others count from when the server wrote it, which is later.
    asked: Instant,
}

/// Takes the Lease if it is free, ours, or expired; returns it as written.
async fn try_hold(
    leases: &Api<Lease>,
    candidate: &Candidate,
    seen: &mut Observed,
) -> Result<Option<Written>, kube::Error> {
    let lease = leases.get_opt(&candidate.name).await?;
    let (asked, now) = (Instant::now(), Timestamp::now());
    let params = PostParams::default();
    let Some(lease) = lease else {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(candidate.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(held(candidate, None, now)),
        };
        return lost_race(leases.create(&params, &lease).await, asked);
    };
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    let free = holder.is_none_or(|holder| holder.is_empty() || holder == candidate.identity);
    if !free && !seen.expired(&lease, asked, &candidate.pace) {
        return Ok(None);
    }
    let wanted = Lease {
        spec: Some(held(candidate, lease.spec.as_ref(), now)),
        ..lease
    };
    lost_race(
        leases.replace(&candidate.name, &params, &wanted).await,
        asked,
    )
}

/// Renews until the rest has finished or the Lease is lost.
async fn keep(
    leases: &Api<Lease>,
    candidate: &Candidate,
    mut held: Written,
    leadership: &Leadership<'_>,
) -> LeaseEnd {
    let (pace, tenure) = (&candidate.pace, leadership.tenure);
    tenure.extend(held.asked, pace);
    info!(
        lease = candidate.name,
        identity = candidate.identity,
        "leading"
    );
    leadership.leading.send_replace(true);
    let mut next = held.asked + pace.renewal;
    loop {
        let deadline = held.asked + pace.deadline;
        let wait = sleep_until(next.min(deadline));
        if leadership.finished.or(wait).await.is_none() {
            tenure.end();
            release(leases, candidate, held.lease).await;
            return LeaseEnd::Released;
        }
        let renewal = async {
            if Instant::now() >= deadline {
                std::future::pending::<()>().await;
            }
            renew(leases, candidate, &held.lease).await
        };
        match timeout_at(deadline, renewal).await {
            Ok(Ok(Some(written))) => {
                held = written;
                tenure.extend(held.asked, pace);
                next = held.asked + pace.renewal;
            }
            Ok(Ok(None)) => {
                tenure.end();
                error!(lease = candidate.name, "another replica holds the Lease");
                return LeaseEnd::Lost;
            }
            Ok(Err(error)) => {
                warn!(%error, lease = candidate.name, "the Lease cannot be renewed; it is tried again");
                next = Instant::now() + pace.retry;
            }
            Err(_) => {
                tenure.end();
                error!(
                    lease = candidate.name,
                    "the Lease could not be renewed within {:?}", pace.deadline
                );
                return LeaseEnd::Lost;
            }
        }
    }
}

/// Renews the Lease; `None` when another replica holds it.
async fn renew(
    leases: &Api<Lease>,
    candidate: &Candidate,
    lease: &Lease,
) -> Result<Option<Written>, kube::Error> {
    let asked = Instant::now();
    let mut wanted = lease.clone();
    wanted.spec = Some(held(candidate, lease.spec.as_ref(), Timestamp::now()));
    match leases
        .replace(&candidate.name, &PostParams::default(), &wanted)
        .await
    {
        Ok(lease) => Ok(Some(Written { lease, asked })),
        // Somebody edited or deleted it, or an earlier renewal of ours arrived after all.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
            try_hold(leases, candidate, &mut Observed::default()).await
        }
        Err(error) => Err(error),
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
    match timeout(candidate.pace.retry, written).await {
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
        lease_duration_seconds: i32::try_from(candidate.pace.duration.as_secs().max(1)).ok(),
        acquire_time: kept
            .and_then(|spec| spec.acquire_time.clone())
            .or(Some(MicroTime(now))),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions + i32::from(before.is_some() && kept.is_none())),
        ..LeaseSpec::default()
    }
}

/// Somebody else was faster: not ours, and no error.
fn lost_race(
    written: Result<Lease, kube::Error>,
    asked: Instant,
) -> Result<Option<Written>, kube::Error> {
    match written {
        Ok(lease) => Ok(Some(Written { lease, asked })),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;

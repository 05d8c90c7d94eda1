//! One pass over one SealedSecret: observe, decide, apply, and what is remembered of it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use selkie_api::{SealedSecret, SealedSecretStatus};
use selkie_seal::Fingerprint;
use tokio::{sync::Semaphore, time::Instant};
use tracing::{debug, error, info, warn};

use super::{
    Settings, Shared, api,
    apply::{write_secret, write_status},
    decide::{Failure, FailureKind, Observed, Outcome, Report, Write, decide, is_of, report},
    digests::{Digest, Digests},
    drift::{self, Drift, Reversions},
    keys::Keys,
    metrics::{ConditionLabels, SealedMetrics},
    observe::{Inputs, Observation, Reader, Seen, Settled, StandsOn, observe},
    records::{Record, Records},
};
use crate::support::{
    answer::cause,
    context::Context,
    ownership::controller_of,
    queue::{Queue, backoff},
    repairs::Repairs,
    resource_version::is_older,
    secret_object::SecretObject,
    secret_write::{WriteError, delete},
    view::{ObjectKey, View},
};

/// Name under which Events are written (sealed-secrets.md 7.6).
const COMPONENT: &str = "sealed-secrets";
/// Writes of one Secret and of one status, without a change on our side, within a minute.
const SECRET_REPAIRS: u32 = 20;
const STATUS_REPAIRS: u32 = 3;

/// Time between slow retries.
const SLOW: Duration = Duration::from_secs(300);

/// What passes need.
pub(super) struct Passes<'a> {
    pub(super) context: &'a Context,
    pub(super) settings: &'a Settings,
    pub(super) sealed: &'a View<SealedSecret>,
    pub(super) keys: &'a Keys,
    pub(super) metrics: &'a SealedMetrics,
    pub(super) queue: &'a Queue<ObjectKey>,
    pub(super) memory: Mutex<HashMap<ObjectKey, Memory>>,
    pub(super) cpu: Semaphore,
    pub(super) records: &'a Records,
}

/// What is remembered of one SealedSecret, by its UID.
#[derive(Clone, Default)]
pub(super) struct Memory {
    uid: String,
    settled: Option<Settled>,
    /// How the last pass ended, settled or not.
    outcome: Option<Outcome>,
    /// UID of the Secret that was written or found in order.
    wrote: Option<String>,
    /// The key that opened it.
    first_key: Option<Fingerprint>,
    /// The status that was written last, with the resource version of the object then.
    status: Option<(String, Option<SealedSecretStatus>)>,
    shown: Option<ConditionLabels>,
    failures: u32,
    /// The source for which the Secret was in order last, in this process or before.
    in_order: Option<Digest>,
    /// When its templates were rendered.
    rendered: Option<Timestamp>,
    reversions: Reversions,
    /// Until then a Secret that others keep changing is left as it is.
    stopped: Option<Instant>,
    secret_repairs: Repairs,
    status_repairs: Repairs,
}

/// How a pass ended.
struct End {
    outcome: Outcome,
    stands_on: StandsOn,
    /// Whether only a change can alter it.
    settled: bool,
    /// Whether the Secret is as it shall be.
    recorded: bool,
}

/// When to come back without a change.
enum Next {
    /// Never.
    Wait,
    /// After somebody else's write.
    Conflict,
    /// When the API server may take it.
    Later,
    /// After this time.
    After(Duration),
}

impl Passes<'_> {
    /// Makes a pass and puts the key back into the queue if it has to come again.
    pub(super) async fn run(&self, key: ObjectKey) {
        let Some(sealed) = self.sealed.get(&key.namespace, &key.name) else {
            self.forget(&key);
            if self.settings.old_gc {
                self.collect(&key).await;
            }
            return;
        };
        if sealed.meta().deletion_timestamp.is_some() {
            // Its Secret goes first when it is deleted in the foreground; it must not come back.
            return;
        }
        self.metrics.pass();
        let mut memory = self.recall(&key, &sealed);
        let next = self.pass(&key, &sealed, &mut memory).await;
        let delay = match next {
            Next::Wait => {
                memory.failures = 0;
                None
            }
            Next::After(delay) => Some(delay),
            Next::Conflict => Some(backoff(
                Duration::from_millis(20),
                Duration::from_secs(5),
                memory.failures,
            )),
            Next::Later if memory.failures >= self.settings.quick_retries => Some(SLOW),
            Next::Later => Some(backoff(Duration::from_secs(1), SLOW, memory.failures)),
        };
        if let Some(delay) = delay {
            memory.failures = memory.failures.saturating_add(1);
            self.queue.add_after(key.clone(), delay);
        }
        self.lock().insert(key, memory);
    }

    async fn pass(&self, key: &ObjectKey, sealed: &Shared, memory: &mut Memory) -> Next {
        let keys = self.keys.current();
        let Some(digest_key) = &keys.digest_key else {
            // With the first keys it is there; they wake all.
            return Next::Conflict;
        };
        let digests = Digests::new(digest_key);
        let source = digests.source(sealed);
        let record = self.records.get(&memory.uid);
        if let Some(record) = &record
            && record.source == source
            && memory.in_order != Some(source)
        {
            memory.in_order = Some(source);
            memory.rendered = Some(record.rendered);
            memory.first_key = record.used.keys().next().copied();
        }
        if memory.stopped.is_some_and(|until| until <= Instant::now()) {
            (memory.stopped, memory.settled) = (None, None);
        }
        let view = self.context.secrets.get(&key.namespace, &key.name);
        let reader = Reader {
            secrets: api(self.context, &key.namespace),
            cpu: &self.cpu,
            digests: &digests,
            source,
            stopped: memory.stopped.is_some(),
            accept_deprecated: self.settings.accept_deprecated,
        };
        let observed = observe(
            &reader,
            sealed,
            &keys,
            view.as_deref(),
            memory.settled.as_ref(),
            record.as_ref(),
            memory.first_key,
        );
        let (live, opened) = match observed.await {
            Ok(Observation::AsRecorded(live)) => {
                let used = record.map(|record| record.used).unwrap_or_default();
                let end = End {
                    outcome: Outcome::Synced,
                    stands_on: StandsOn::Keys(used),
                    settled: true,
                    recorded: true,
                };
                self.remember(sealed, memory, &reader, &end, Some(&live));
                return self
                    .tell(key, sealed, memory, &Outcome::Synced, false)
                    .await;
            }
            Ok(Observation::StillFought(live)) => {
                let now = Instant::now();
                memory.reversions.are_exhausted(now);
                memory.stopped = Some(now + drift::SPAN);
                let outcome = Outcome::Failed(drift::fought(&live.metadata));
                if let Some(settled) = &mut memory.settled {
                    settled.secret = Some(Seen::of(&live));
                    settled.digest = Some(digests.secret(sealed, &live));
                    settled.outcome = outcome.clone();
                }
                let next = self.tell(key, sealed, memory, &outcome, false).await;
                return self.until_quiet(memory, next);
            }
            Ok(Observation::Unchanged(seen)) => {
                if let Some(settled) = &mut memory.settled {
                    settled.secret = seen.or(settled.secret.take());
                    let outcome = settled.outcome.clone();
                    let next = self.tell(key, sealed, memory, &outcome, false).await;
                    return self.until_quiet(memory, next);
                }
                return Next::Conflict;
            }
            Ok(Observation::Changed { live, opened }) => (live.map(|live| *live), opened),
            Err(error) => {
                self.metrics.error("fetch", "");
                warn!(sealedsecret = %key, error = cause(&error), "the Secret cannot be read; it is tried again");
                return Next::Later;
            }
        };
        let mut stands_on = StandsOn::Ring(keys.version);
        let opened = opened.map(|opened| {
            memory.first_key = opened.fitting;
            self.metrics
                .opened(opened.used.values().copied().map(u64::from).sum());
            stands_on = StandsOn::Keys(opened.used);
            opened.content
        });
        let plan = decide(Observed {
            sealed,
            live: live.as_ref(),
            wrote: memory.wrote.as_deref(),
            allow_privileged: self.settings.allow_privileged,
            opened,
        });
        if live.is_none() && self.stays_away(sealed, memory) {
            return Next::Wait;
        }
        let is_write = matches!(
            plan,
            Ok(Write::Create(_) | Write::Update(_) | Write::Replace { .. })
        );
        let unchanged = is_write && memory.in_order == Some(source);
        let drifted = unchanged && live.is_some();
        let plan = match &live {
            Some(live) if drifted => self.on_drift(sealed, live, memory, plan),
            _ => plan,
        };
        if unchanged
            && plan.is_ok()
            && let Err(wait) = memory.secret_repairs.allow(SECRET_REPAIRS, Instant::now())
        {
            warn!(sealedsecret = %key, ?wait, "somebody keeps changing the Secret; its repair waits");
            return Next::After(wait);
        }
        if memory.rendered.is_none() || memory.in_order != Some(source) {
            memory.rendered = Some(Timestamp::now());
        }
        let (outcome, settled, wrote, there) = match plan {
            Err(failure) => (Outcome::Failed(failure), true, false, live),
            Ok(write) => match write_secret(&reader.secrets, &write, live.as_ref()).await {
                Ok(written) => {
                    self.log_write(key, &write);
                    let wrote = written.is_some();
                    if drifted && wrote {
                        memory.reversions.count(Instant::now());
                    }
                    (Outcome::Synced, true, wrote, written.or(live))
                }
                Err(WriteError::Conflict) => {
                    debug!(sealedsecret = %key, "the Secret changed meanwhile");
                    return Next::Conflict;
                }
                Err(WriteError::Unavailable(error)) => {
                    self.metrics.error("update", &key.namespace);
                    warn!(sealedsecret = %key, error, "the Secret cannot be written; it is tried again");
                    return Next::Later;
                }
                Err(WriteError::Rejected(message)) => {
                    let failure = Failure {
                        kind: FailureKind::Update,
                        status: message.clone(),
                        event: message,
                    };
                    (Outcome::Failed(failure), false, false, live)
                }
            },
        };
        let end = End {
            outcome: outcome.clone(),
            stands_on,
            settled,
            // What is left as others made it is not what was in order.
            recorded: wrote || !drifted,
        };
        self.remember(sealed, memory, &reader, &end, there.as_ref());
        if let Outcome::Failed(failure) = &outcome {
            self.log_failure(key, memory, failure, &outcome);
        }
        match self.tell(key, sealed, memory, &outcome, wrote).await {
            Next::Wait if !settled => Next::Later,
            next => self.until_quiet(memory, next),
        }
    }

    /// Decides about a Secret that somebody else changed.
    fn on_drift(
        &self,
        sealed: &SealedSecret,
        live: &SecretObject,
        memory: &mut Memory,
        plan: Result<Write, Failure>,
    ) -> Result<Write, Failure> {
        let template = sealed.spec.template_metadata().unwrap_or_default();
        let adopted = drift::is_adopted(&live.metadata, &template);
        match drift::policy(sealed, self.settings.drift, adopted) {
            Drift::Off => Ok(Write::Nothing),
            Drift::Report => Err(drift::reported(&live.metadata)),
            Drift::Repair if !memory.reversions.are_exhausted(Instant::now()) => plan,
            Drift::Repair => {
                memory.stopped = Some(Instant::now() + drift::SPAN);
                Err(drift::fought(&live.metadata))
            }
        }
    }

    /// Comes back once others have left the Secret alone for long enough.
    fn until_quiet(&self, memory: &Memory, next: Next) -> Next {
        match (next, memory.stopped) {
            (Next::Wait, Some(until)) => {
                Next::After(until.saturating_duration_since(Instant::now()))
            }
            (next, _) => next,
        }
    }

    /// Returns whether the Secret was there, somebody deleted it, and `--skip-recreate` says that it stays away.
    fn stays_away(&self, sealed: &SealedSecret, memory: &Memory) -> bool {
        let settled = memory
            .settled
            .as_ref()
            .filter(|settled| settled.inputs == Inputs::of(sealed) && settled.secret.is_some());
        self.settings.skip_recreate && settled.is_some()
    }

    /// Deletes the Secret of a SealedSecret that is gone, if it was its own (`--old-gc-behavior`).
    async fn collect(&self, key: &ObjectKey) {
        let Some(secret) = self.context.secrets.get(&key.namespace, &key.name) else {
            return;
        };
        let owner = secret
            .owner_references
            .iter()
            .find(|owner| owner.controller == Some(true));
        if !owner.is_some_and(|owner| is_of(owner, &key.name)) {
            return;
        }
        let secrets = api(self.context, &key.namespace);
        let (uid, version) = (secret.uid.clone(), secret.resource_version.clone());
        match delete(&secrets, &key.name, Some(uid), Some(version)).await {
            Ok(()) => info!(sealedsecret = %key, "Secret deleted"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                warn!(sealedsecret = %key, error = cause(&error), "the Secret cannot be deleted; Kubernetes collects it");
            }
        }
    }

    /// Writes status and Event if there is something to say.
    async fn tell(
        &self,
        key: &ObjectKey,
        sealed: &SealedSecret,
        memory: &mut Memory,
        outcome: &Outcome,
        wrote: bool,
    ) -> Next {
        self.metrics.condition(sealed, outcome, &mut memory.shown);
        if !self.settings.update_status {
            // Says what changed since the last pass only.
            let quiet = report(
                None,
                None,
                memory.outcome.as_ref(),
                outcome,
                wrote,
                Timestamp::now(),
            );
            let changed = match &memory.outcome {
                Some(before) => wrote || before != outcome,
                None => wrote || *outcome != Outcome::Synced,
            };
            memory.outcome = Some(outcome.clone());
            if changed {
                self.publish(sealed, quiet).await;
            }
            return Next::Wait;
        }
        let before = memory.outcome.clone();
        let generation = sealed.meta().generation;
        let make = |present: Option<&SealedSecretStatus>| {
            report(
                generation,
                present,
                before.as_ref(),
                outcome,
                wrote,
                Timestamp::now(),
            )
        };
        let present = present_status(sealed, memory);
        let told = make(present.as_ref());
        let mut landed = Ok(None);
        if told.status.is_some() {
            let said = memory
                .status
                .as_ref()
                .and_then(|(_, status)| status.as_ref());
            let overwritten = before.as_ref() == Some(outcome)
                && said.is_some_and(|said| said.observed_generation == generation);
            if overwritten
                && let Err(wait) = memory.status_repairs.allow(STATUS_REPAIRS, Instant::now())
            {
                warn!(sealedsecret = %key, ?wait, "somebody else writes the status; ours waits");
                return Next::After(wait);
            }
            let based_on = SealedSecret {
                status: present,
                ..sealed.clone()
            };
            landed = write_status(&api(self.context, &key.namespace), &based_on, |present| {
                make(present).status
            })
            .await;
        }
        let next = match &landed {
            Ok(written) => {
                if let Some(written) = written {
                    let version = written.resource_version().unwrap_or_default();
                    memory.status = Some((version, written.status.clone()));
                }
                Next::Wait
            }
            Err(error) => {
                self.metrics.error("status", &key.namespace);
                warn!(sealedsecret = %key, error = cause(error), "the status cannot be written; it is tried again");
                Next::Later
            }
        };
        // A status that does not land is tried again and again; it is told of once.
        if landed.is_ok() || wrote || before.as_ref() != Some(outcome) {
            self.publish(sealed, told).await;
        }
        memory.outcome = Some(outcome.clone());
        next
    }

    async fn publish(&self, sealed: &SealedSecret, report: Report) {
        if let Some(note) = report.note {
            let regarding = sealed.object_ref(&());
            self.context
                .events
                .publish(COMPONENT, &regarding, note)
                .await;
        }
    }

    fn remember(
        &self,
        sealed: &SealedSecret,
        memory: &mut Memory,
        reader: &Reader<'_>,
        end: &End,
        there: Option<&SecretObject>,
    ) {
        let digest = there.map(|secret| reader.digests.secret(sealed, secret));
        if end.outcome == Outcome::Synced {
            memory.in_order = Some(reader.source);
            memory.stopped = None;
            let rendered = *memory.rendered.get_or_insert_with(Timestamp::now);
            if let (Some(secret), StandsOn::Keys(used)) = (digest, &end.stands_on)
                && end.recorded
            {
                let record = Record {
                    source: reader.source,
                    secret,
                    rendered,
                    used: used.clone(),
                };
                self.records.put(&memory.uid, record);
            }
            // Only what is ours: a Secret that others let us write stays theirs when they take that back.
            memory.wrote = there.and_then(|secret| owned_uid(secret, sealed));
        }
        let unseal = FailureKind::Unseal;
        if matches!(&end.outcome, Outcome::Failed(Failure { kind, .. }) if *kind == unseal) {
            self.records.remove(&memory.uid);
        }
        memory.settled = end.settled.then(|| Settled {
            inputs: Inputs::of(sealed),
            stands_on: end.stands_on.clone(),
            outcome: end.outcome.clone(),
            secret: there.map(Seen::of),
            digest,
        });
    }

    fn log_write(&self, key: &ObjectKey, write: &Write) {
        match write {
            Write::Nothing => debug!(sealedsecret = %key, "the Secret is in order"),
            Write::Create(_) => info!(sealedsecret = %key, "Secret created"),
            Write::Update(_) => info!(sealedsecret = %key, "Secret updated"),
            Write::Replace { .. } => {
                info!(sealedsecret = %key, "Secret replaced to change its type");
            }
        }
    }

    fn log_failure(&self, key: &ObjectKey, memory: &Memory, failure: &Failure, outcome: &Outcome) {
        let reason = failure.kind.metric_reason();
        self.metrics.error(reason, &key.namespace);
        if memory.outcome.as_ref() != Some(outcome) {
            error!(sealedsecret = %key, reason, message = failure.event, "not unsealed");
        }
    }

    fn recall(&self, key: &ObjectKey, sealed: &SealedSecret) -> Memory {
        let uid = sealed.uid().unwrap_or_default();
        let memory = self.lock();
        let shown = memory.get(key).and_then(|memory| memory.shown.clone());
        match memory.get(key) {
            Some(memory) if memory.uid == uid => memory.clone(),
            _ => Memory {
                uid,
                shown,
                ..Memory::default()
            },
        }
    }

    fn forget(&self, key: &ObjectKey) {
        if let Some(memory) = self.lock().remove(key) {
            self.records.remove(&memory.uid);
            self.metrics.forget(memory.shown.as_ref());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the UID of a Secret that the SealedSecret is the controller of.
fn owned_uid(secret: &SecretObject, sealed: &SealedSecret) -> Option<String> {
    let owner = controller_of(&secret.metadata)?;
    (Some(&owner.uid) == sealed.meta().uid.as_ref()).then(|| secret.metadata.uid.clone())?
}

/// Returns the status that is there: our own last one while the watch has not brought it yet.
fn present_status(sealed: &SealedSecret, memory: &Memory) -> Option<SealedSecretStatus> {
    let watched = sealed.resource_version().unwrap_or_default();
    match &memory.status {
        Some((written, status)) if is_older(&watched, written) => status.clone(),
        _ => sealed.status.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Secret that others let us write (`patch`, `managed`) is not ours when they take that back.
    #[test]
    fn only_a_secret_that_is_owned_is_remembered_as_written() {
        let sealed: SealedSecret = serde_json::from_value(json!({
            "metadata": { "name": "db", "uid": "ours" }, "spec": { "encryptedData": {} },
        }))
        .unwrap();
        let owned = |owners: serde_json::Value| {
            let secret: SecretObject = serde_json::from_value(json!({
                "metadata": { "name": "db", "uid": "secret", "ownerReferences": owners },
            }))
            .unwrap();
            owned_uid(&secret, &sealed)
        };
        let owner = |uid: &str, controller: bool| json!([{ "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "name": "db", "uid": uid, "controller": controller }]);
        assert_eq!(owned(owner("ours", true)).as_deref(), Some("secret"));
        assert_eq!(owned(owner("ours", false)), None);
        assert_eq!(owned(owner("theirs", true)), None);
        assert_eq!(owned(json!([])), None);
    }
}

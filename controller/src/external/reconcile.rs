//! One ExternalSecret from watch event to status, and what wakes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use selkie_stores::Members;
use tracing::{debug, info, warn};

use super::apply::{self, Done};
use super::decide::{self, Because, Next, Observed, Plan};
use super::fetch::{FetchError, Retry, fetch, store_key};
use super::index::Index;
use super::markers::{CREATED_BY_LABEL, created_by, data_hash};
use super::metrics::ExternalMetrics;
use super::observe::{Kept, Memory, live};
use super::sessions::{Sessions, StoreKey, api_cause};
use super::store::{Stores, Validation};
use super::wish::{Refusal, Wish};
use super::{COMPONENT, status};
use crate::support::context::Context;
use crate::support::events::{Note, Severity};
use crate::support::queue::{Queue, backoff};
use crate::support::secret_object::SecretObject;
use crate::support::view::{Change, ObjectKey, View};

/// The waits of an ExternalSecret that fails for a reason that may pass.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The wait after somebody else wrote in between.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);
/// Repairs that come within this time of one another are a fight with another writer.
const FIGHT: Duration = Duration::from_secs(10);
/// Repairs of a fight that are made at once.
const QUICK_REPAIRS: u32 = 5;

/// Everything that ExternalSecrets and their stores need.
pub(super) struct Controller {
    context: Context,
    /// All ExternalSecrets.
    pub(super) kept: View<Kept>,
    /// All stores.
    pub(super) stores: Stores,
    /// ExternalSecrets to look at.
    pub(super) queue: Queue<ObjectKey>,
    /// Stores to validate.
    pub(super) store_queue: Queue<StoreKey>,
    sessions: Arc<Sessions>,
    validation: Validation,
    index: Mutex<Index>,
    memory: Mutex<HashMap<ObjectKey, Memory>>,
    metrics: ExternalMetrics,
    started: Timestamp,
}

/// Why an ExternalSecret is not in order: the message, and when to look again.
struct Failure {
    message: String,
    again: Option<Duration>,
}

impl Controller {
    /// Makes it ready; nothing runs yet.
    pub(super) fn new(context: Context) -> Self {
        let stores = Stores::new(context.client.clone());
        let sessions = Arc::new(Sessions::new(
            context.client.clone(),
            context.environment.clone(),
        ));
        let metrics = ExternalMetrics::new(&context.metrics);
        Self {
            validation: Validation::new(
                context.clone(),
                stores.clone(),
                Arc::clone(&sessions),
                metrics.clone(),
            ),
            metrics,
            context,
            kept: View::new(),
            stores,
            queue: Queue::new(),
            store_queue: Queue::new(),
            sessions,
            index: Mutex::default(),
            memory: Mutex::default(),
            started: Timestamp::now(),
        }
    }

    /// Turns changes in the cluster into work, for ever. Subscribes before the first await.
    pub(super) fn triggers(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        let controller = Arc::clone(self);
        let mut wanted = self.kept.subscribe();
        let mut secrets = self.context.secrets.subscribe();
        let mut stores = self.stores.namespaced.subscribe();
        let mut cluster = self.stores.cluster.subscribe();
        async move {
            loop {
                tokio::select! {
                    change = wanted.next() => controller.wanted_changed(change),
                    change = secrets.next() => controller.secret_changed(change),
                    change = stores.next() => {
                        controller.store_changed(change, super::guard::StoreKind::Namespaced);
                    }
                    change = cluster.next() => {
                        controller.store_changed(change, super::guard::StoreKind::Cluster);
                    }
                }
            }
        }
    }

    /// Validates one store.
    pub(super) async fn validate(&self, key: StoreKey) {
        let validated = self.validation.run(&key).await;
        if validated.recovered {
            let failing =
                |key: &ObjectKey| self.memory().get(key).is_some_and(|memory| memory.failing);
            let users = lock(&self.index).users(&key);
            users
                .into_iter()
                .filter(failing)
                .for_each(|user| self.queue.add(user));
        }
        if let Some(again) = validated.again {
            self.store_queue.add_after(key, again);
        }
    }

    /// Brings one ExternalSecret's Secret in order.
    pub(super) async fn reconcile(&self, key: ObjectKey) {
        let Some(kept) = self.kept.get(&key.namespace, &key.name) else {
            self.memory().remove(&key);
            self.metrics.gone(&key);
            return;
        };
        if kept.deleting {
            if let Err(error) = apply::release(&self.context.client, &kept).await {
                warn!(%key, error = api_cause(&error), "finalizer not removed");
                self.queue.add_after(key, FIRST_RETRY);
            }
            return;
        }
        let memory = self.memory().get(&key).cloned().unwrap_or_default();
        let wish = Wish::parse(
            &kept.identity.name,
            &kept.labels,
            &kept.annotations,
            &kept.spec,
        );
        let target = wish
            .as_ref()
            .map_or(&*kept.identity.name, |wish| &*wish.target);
        let mut memory = memory.of(&kept, target);
        let outcome = match &wish {
            Err(refusal) => Err(refused(refusal)),
            Ok(wish) if self.is_foreign(&kept, wish) => return,
            Ok(wish) => self.bring_in_order(&kept, wish, &mut memory).await,
        };
        let again = match outcome {
            Ok(again) => {
                memory.failures = 0;
                memory.failing = false;
                again
            }
            Err(failure) => {
                memory.failures = memory.failures.saturating_add(1);
                memory.failing = true;
                self.fail(&kept, &mut memory, failure).await
            }
        };
        self.metrics.passed(&key, memory.failing);
        self.memory().insert(key.clone(), memory);
        if let Some(again) = again {
            self.queue.add_after(key, again);
        }
    }

    /// Whether a store of another controller class is named (external-secrets.md 6.1, step 5).
    fn is_foreign(&self, kept: &Kept, wish: &Wish) -> bool {
        wish.stores().iter().any(|store| {
            let key = store_key(&kept.identity.namespace, store);
            let store = self.stores.watched(&key);
            store.is_some_and(|store| !store.is_ours())
        })
    }

    /// Observes, fetches, decides and applies; returns when to look again.
    async fn bring_in_order(
        &self,
        kept: &Kept,
        wish: &Wish,
        memory: &mut Memory,
    ) -> Result<Option<Duration>, Failure> {
        let version = kept.version();
        let now = Timestamp::now();
        let in_order = self.is_in_order(kept, wish, memory, &version);
        let secret = match in_order {
            true => None,
            false => self.read(kept, wish, memory).await?,
        };
        let past = memory.past.clone();
        let observed = Observed {
            identity: &kept.identity,
            wish,
            version: &version,
            past: &past,
            started: self.started,
        };
        let drift = match in_order {
            true => None,
            false => decide::drift(&observed, secret.as_ref()),
        };
        let (not_before, because) = match decide::next(&observed, drift, now) {
            Next::Fetch {
                not_before,
                because,
            } => (not_before, because),
            Next::Wait(until) => {
                if let Some(secret) = &secret {
                    remember(memory, &version, secret);
                }
                return Ok(until.map(|until| after(now, until)));
            }
        };
        debug!(
            namespace = kept.identity.namespace,
            name = kept.identity.name,
            ?because,
            "fetching"
        );
        let age = Duration::try_from(now.duration_since(not_before)).unwrap_or_default();
        let not_before = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let data = fetch(
            &kept.identity,
            wish,
            &self.stores,
            &self.sessions,
            not_before,
        )
        .await
        .map_err(|error| self.not_fetched(&error, memory))?;
        if data.is_empty() {
            // An emptied document at the backend is no word that the secret is gone
            // (external-secrets.md 6.6, deletionPolicy Retain).
            return Err(Failure {
                message: "the store gave no values; secret retained due to DeletionPolicy=Retain"
                    .to_owned(),
                again: Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
            });
        }
        // Nothing to compare with a Secret that is as it was written.
        let mut wrote = false;
        if !in_order || memory.past.hash.as_deref() != Some(&*data_hash(&data)) {
            let secret = match in_order {
                true => self.read(kept, wish, memory).await?,
                false => secret,
            };
            let plan = decide::plan(&kept.identity, wish, secret.as_ref(), &past, &data).map_err(
                |conflict| Failure {
                    message: conflict.to_string(),
                    again: None,
                },
            )?;
            if let Some(wait) = fight(memory, &plan, because, now) {
                return Ok(Some(wait));
            }
            let done = self.write(kept, plan, &data, memory).await?;
            wrote = done.0 != Done::Kept;
            if let Some(secret) = done.1.as_ref().or(secret.as_ref()) {
                remember(memory, &version, secret);
            }
            if wrote {
                memory.wrote = Some(now);
            }
            self.announce(kept, done.0).await;
        }
        if because == Because::Changed {
            self.delete_orphans(kept, wish)
                .await
                .map_err(|error| Failure {
                    message: format!("could not delete orphaned secrets: {}", api_cause(&error)),
                    again: Some(FIRST_RETRY),
                })?;
        }
        memory.past.fetched = Some(now);
        self.synced(kept, wish, memory, &version, wrote, now)
            .await?;
        memory.past.synced_version = Some(version.clone());
        memory.past.refreshed = true;
        let past = memory.past.clone();
        let observed = Observed {
            past: &past,
            ..observed
        };
        Ok(match decide::next(&observed, None, now) {
            Next::Wait(until) => until.map(|until| after(now, until)),
            Next::Fetch { .. } => Some(FIRST_RETRY),
        })
    }

    /// Whether the Secret is the very version that was in order for this very ExternalSecret.
    fn is_in_order(&self, kept: &Kept, wish: &Wish, memory: &Memory, version: &str) -> bool {
        let watched = self
            .context
            .secrets
            .get(&kept.identity.namespace, &wish.target);
        match (&memory.in_order, watched) {
            (Some((of, uid, resource_version)), Some(secret)) => {
                of == version && *uid == secret.uid && *resource_version == secret.resource_version
            }
            _ => false,
        }
    }

    async fn read(
        &self,
        kept: &Kept,
        wish: &Wish,
        memory: &Memory,
    ) -> Result<Option<SecretObject>, Failure> {
        live(&self.context.client, &kept.identity.namespace, &wish.target)
            .await
            .map_err(|error| Failure {
                message: format!("could not read secret: {}", api_cause(&error)),
                again: Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
            })
    }

    async fn write(
        &self,
        kept: &Kept,
        plan: Plan,
        data: &Members,
        memory: &Memory,
    ) -> Result<(Done, Option<SecretObject>), Failure> {
        let written = apply::secret(&self.context.client, &kept.identity, plan).await;
        written.map_err(|error| {
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            let again = match conflict {
                true => CONFLICT_RETRY.saturating_mul(memory.failures.min(50) + 1),
                false => backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures),
            };
            Failure {
                message: match conflict {
                    true => String::new(),
                    false => format!("could not update secret: {}", apply::shown(&error, data)),
                },
                again: Some(again),
            }
        })
    }

    /// Deletes Secrets that this ExternalSecret made under another name.
    ///
    /// The label alone is no proof, anybody can copy it: the owner reference has to name the ExternalSecret, too.
    async fn delete_orphans(&self, kept: &Kept, wish: &Wish) -> Result<(), kube::Error> {
        let identity = &kept.identity;
        let label = created_by(&identity.namespace, &identity.name);
        let orphans = self.context.secrets.filter(|key, secret| {
            let owned = secret
                .owner_references
                .iter()
                .any(|owner| owner.controller == Some(true) && owner.uid == identity.uid);
            key.namespace == identity.namespace
                && key.name != wish.target
                && owned
                && secret.labels.get(CREATED_BY_LABEL) == Some(&label)
        });
        for orphan in orphans {
            let Some(secret) = self.context.secrets.get(&orphan.namespace, &orphan.name) else {
                continue;
            };
            apply::delete_orphan(
                &self.context.client,
                &orphan.namespace,
                &orphan.name,
                &secret.uid,
            )
            .await?;
            let message = "secret deleted because it was orphaned";
            self.note(kept, Severity::Normal, "Deleted", message.to_owned())
                .await;
        }
        Ok(())
    }

    async fn synced(
        &self,
        kept: &Kept,
        wish: &Wish,
        memory: &mut Memory,
        version: &str,
        wrote: bool,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let old = memory.current_status(kept);
        let Some(new) = status::synced(old, version, &wish.target, wrote, now) else {
            return Ok(());
        };
        let written = apply::status(&self.context.client, &kept.identity, &new).await;
        let made = written.map_err(|error| {
            let identity = &kept.identity;
            warn!(
                namespace = identity.namespace,
                name = identity.name,
                error = api_cause(&error),
                "status not written"
            );
            Failure {
                message: String::new(),
                again: Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
            }
        })?;
        memory.status = Some((new, made));
        Ok(())
    }

    /// Writes a failure into the status and an event, unless they say so already. An empty message is
    /// a failure that the status does not tell: a conflict, or a status that did not land.
    async fn fail(&self, kept: &Kept, memory: &mut Memory, failure: Failure) -> Option<Duration> {
        if failure.message.is_empty() {
            return failure.again;
        }
        let old = memory.current_status(kept);
        let Some(new) = status::failed(old, &failure.message, Timestamp::now()) else {
            return failure.again;
        };
        let identity = &kept.identity;
        warn!(
            namespace = identity.namespace,
            name = identity.name,
            message = failure.message,
            "not synchronised"
        );
        match apply::status(&self.context.client, identity, &new).await {
            Ok(version) => memory.status = Some((new, version)),
            Err(error) => {
                warn!(
                    namespace = identity.namespace,
                    name = identity.name,
                    error = api_cause(&error),
                    "status not written"
                );
                return Some(failure.again.unwrap_or(FIRST_RETRY).min(LONGEST_RETRY));
            }
        }
        self.note(kept, Severity::Warning, "UpdateFailed", failure.message)
            .await;
        failure.again
    }

    fn not_fetched(&self, error: &FetchError, memory: &Memory) -> Failure {
        let again = match error.retry() {
            Retry::Outage(wait) => {
                // The store's own condition should say so as well.
                self.store_queue.add(error.store.clone());
                Some(wait + jitter(&memory.uid))
            }
            Retry::Backoff => Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
            Retry::OnChange => None,
        };
        Failure {
            message: format!("could not get secret data from provider: {error}"),
            again,
        }
    }

    async fn announce(&self, kept: &Kept, done: Done) {
        let (reason, message) = match done {
            Done::Kept => return,
            Done::Created => ("Created", "secret created"),
            Done::Updated => ("Updated", "secret updated"),
        };
        let identity = &kept.identity;
        info!(
            namespace = identity.namespace,
            name = identity.name,
            message
        );
        self.note(kept, Severity::Normal, reason, message.to_owned())
            .await;
    }

    async fn note(&self, kept: &Kept, severity: Severity, reason: &'static str, message: String) {
        let note = Note {
            severity,
            reason,
            message,
        };
        self.context
            .events
            .publish(COMPONENT, &kept.reference(), note)
            .await;
    }

    fn wanted_changed(&self, change: Change) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All => self.kept.filter(|_, _| true),
        };
        for key in keys {
            let kept = self.kept.get(&key.namespace, &key.name);
            lock(&self.index).update(&key, kept.as_deref());
            self.queue.add(key);
        }
    }

    fn secret_changed(&self, change: Change) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All => {
                self.kept
                    .filter(|_, _| true)
                    .into_iter()
                    .for_each(|key| self.queue.add(key));
                self.context.secrets.filter(|_, _| true)
            }
        };
        for key in keys {
            let writers = lock(&self.index).writers(&key);
            writers
                .into_iter()
                .for_each(|writer| self.queue.add(writer));
            let secret = self.context.secrets.get(&key.namespace, &key.name);
            let version = secret.as_ref().map(|secret| &*secret.resource_version);
            for store in self.sessions.secret_changed(&key, version) {
                self.wake_store(store);
            }
        }
    }

    fn store_changed(&self, change: Change, kind: super::guard::StoreKind) {
        let keys = match change {
            Change::One(key) => vec![key],
            Change::All if kind == super::guard::StoreKind::Cluster => {
                self.stores.cluster.filter(|_, _| true)
            }
            Change::All => self.stores.namespaced.filter(|_, _| true),
        };
        for object in keys {
            self.wake_store(StoreKey { kind, object });
        }
    }

    /// Looks at a store, and at everybody whom it failed.
    fn wake_store(&self, store: StoreKey) {
        let users = lock(&self.index).users(&store);
        users.into_iter().for_each(|user| self.queue.add(user));
        self.store_queue.add(store);
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<ObjectKey, Memory>> {
        lock(&self.memory)
    }
}

/// Remembers a Secret that is in order.
fn remember(memory: &mut Memory, version: &str, secret: &SecretObject) {
    let metadata = &secret.metadata;
    let uid = metadata.uid.clone().unwrap_or_default();
    let resource_version = metadata.resource_version.clone().unwrap_or_default();
    memory.past.hash = Some(data_hash(&secret.data.0));
    memory.past.secret = Some((uid.clone(), secret.type_.clone()));
    memory.in_order = Some((version.to_owned(), uid, resource_version));
}

/// Slows repairs down when another writer changes the Secret back each time.
fn fight(memory: &mut Memory, plan: &Plan, because: Because, now: Timestamp) -> Option<Duration> {
    if *plan == Plan::Keep || !matches!(because, Because::Drift(_)) {
        return None;
    }
    let since = memory.wrote.map(|wrote| now.duration_since(wrote));
    let since = since.and_then(|since| Duration::try_from(since).ok());
    let wait = backoff(
        FIRST_RETRY,
        LONGEST_RETRY,
        memory.repairs.saturating_sub(QUICK_REPAIRS),
    );
    match since {
        Some(since) if memory.repairs >= QUICK_REPAIRS && since < wait => Some(wait - since),
        Some(since) if since < FIGHT + wait => {
            memory.repairs += 1;
            None
        }
        _ => {
            memory.repairs = 0;
            None
        }
    }
}

fn refused(refusal: &Refusal) -> Failure {
    let phrase = match refusal.field.starts_with("spec.target") {
        true => "could not update secret",
        false => "could not get secret data from provider",
    };
    Failure {
        message: format!("{phrase}: {refusal}"),
        again: None,
    }
}

fn after(now: Timestamp, until: Timestamp) -> Duration {
    // A little later than the slot begins, so that clocks of a different grain agree that it has.
    Duration::try_from(until.duration_since(now)).unwrap_or_default() + Duration::from_millis(5)
}

/// Up to half a second, always the same for one object.
fn jitter(uid: &str) -> Duration {
    let sum: u64 = uid.bytes().map(u64::from).sum();
    Duration::from_millis(50 + sum % 450)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

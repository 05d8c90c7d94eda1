//! One ExternalSecret from watch event to status, and what wakes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use selkie_api::external_secret::ExternalSecretStatus;
use selkie_stores::Members;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::apply::{self, Done};
use super::decide::{self, Because, Next, Observed, Plan};
use super::fetch::{FetchError, Retry, fetch, store_key};
use super::guard::StoreKind;
use super::index::Index;
use super::markers::{CREATED_BY_LABEL, created_by, data_hash};
use super::metrics::ExternalMetrics;
use super::observe::{Kept, Memory, live};
use super::sessions::{SessionError, Sessions, StoreKey};
use super::store::{Stores, Validation};
use super::turns::Turns;
use super::wish::{Refresh, Refusal, Wish, named_stores};
use super::{AT_ONE_STORE, COMPONENT, FETCH_LIMIT, status};
use crate::support::answer::cause;
use crate::support::context::{Context, Namespaces};
use crate::support::events::{Note, Severity};
use crate::support::queue::{Queue, backoff};
use crate::support::secret_object::SecretObject;
use crate::support::secret_write::WriteError;
use crate::support::view::{ObjectKey, View};

/// The waits of an ExternalSecret that fails for a reason that may pass.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// The wait after somebody else wrote in between.
const CONFLICT_RETRY: Duration = Duration::from_millis(100);
/// Repairs of one Secret within a minute.
const REPAIRS: u32 = 20;

/// Everything that ExternalSecrets and their stores need.
pub(super) struct Controller {
    pub(super) context: Context,
    /// All ExternalSecrets.
    pub(super) kept: View<Kept>,
    /// All stores.
    pub(super) stores: Stores,
    /// ExternalSecrets to look at.
    pub(super) queue: Queue<ObjectKey>,
    /// Stores to validate.
    pub(super) store_queue: Queue<StoreKey>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) index: Mutex<Index>,
    validation: Validation,
    turns: Turns,
    memory: Mutex<HashMap<ObjectKey, Memory>>,
    metrics: ExternalMetrics,
    started: Timestamp,
}

/// How a pass ended that did not fail.
enum Ended {
    /// The Secret is as it should be; when to look again.
    InOrder(Option<Duration>),
    /// Nothing was done or decided: it is not ours, or its turn comes later.
    Left,
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
            turns: Turns::new(AT_ONE_STORE),
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
        match self.is_foreign(&kept).await {
            Ok(false) => {}
            Ok(true) => {
                self.memory().remove(&key);
                self.metrics.gone(&key);
                return;
            }
            Err(error) => {
                warn!(%key, %error, "nobody knows whose it is; it is tried again");
                self.queue.add_after(key, FIRST_RETRY);
                return;
            }
        }
        if kept.deleting {
            if let Err(error) = apply::release(&self.context.client, &kept).await {
                warn!(%key, error = cause(&error), "finalizer not removed");
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
            Ok(wish) => self.bring_in_order(&kept, wish, &mut memory).await,
        };
        let again = match outcome {
            Ok(Ended::Left) => return,
            Ok(Ended::InOrder(again)) => {
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

    /// Whether a store of another controller class is named (external-secrets.md 6.1, step 5): then
    /// neither status nor finalizer is ours to write.
    async fn is_foreign(&self, kept: &Kept) -> Result<bool, SessionError> {
        for store in named_stores(&kept.spec) {
            // Without rights to the whole cluster there are none; `fetch` says so.
            if store.kind == StoreKind::Cluster
                && matches!(self.context.namespaces, Namespaces::Only(_))
            {
                continue;
            }
            let key = store_key(&kept.identity.namespace, &store);
            if self
                .stores
                .get(&key)
                .await?
                .is_some_and(|store| !store.is_ours())
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Observes, fetches, decides and applies.
    async fn bring_in_order(
        &self,
        kept: &Kept,
        wish: &Wish,
        memory: &mut Memory,
    ) -> Result<Ended, Failure> {
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
                self.recovered(kept, wish, memory, now).await?;
                return Ok(Ended::InOrder(until.map(|until| after(now, until))));
            }
        };
        let stores = wish.stores().into_iter();
        let stores = stores.map(|store| store_key(&kept.identity.namespace, store));
        let Some(turn) = self
            .turns
            .take(&self.queue, stores.collect(), &kept.identity.key())
        else {
            // Woken when there is room; this is for the case that who was woken did not need it.
            self.queue.add_after(kept.identity.key(), FETCH_LIMIT);
            return Ok(Ended::Left);
        };
        debug!(
            namespace = kept.identity.namespace,
            name = kept.identity.name,
            ?because,
            "fetching"
        );
        let age = Duration::try_from(now.duration_since(not_before)).unwrap_or_default();
        let not_before = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let fetched = fetch(
            &kept.identity,
            wish,
            &self.stores,
            &self.sessions,
            not_before.into_std(),
            FETCH_LIMIT,
        )
        .await;
        drop(turn);
        let data = match fetched {
            Ok(data) => data,
            Err(error) if error.is_foreign() => return Ok(Ended::Left),
            Err(error) => {
                memory.past.fetch_failed();
                return Err(self.not_fetched(&error, memory));
            }
        };
        let (mut wrote, mut told) = (false, status::SECRET_SYNCED);
        if data.is_empty() {
            // An emptied document at the backend is no word that the secret is gone
            // (external-secrets.md 6.6, deletionPolicy Retain).
            told = status::SECRET_RETAINED;
        } else if !in_order || memory.past.hash.as_deref() != Some(&*data_hash(&data)) {
            // Else there is nothing to compare with a Secret that is as it was written.
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
            if plan != Plan::Keep
                && matches!(because, Because::Drift(_))
                && let Err(wait) = memory.repairs.allow(REPAIRS, Instant::now())
            {
                warn!(
                    namespace = kept.identity.namespace,
                    name = kept.identity.name,
                    ?wait,
                    "somebody keeps changing the Secret; its repair waits"
                );
                return Ok(Ended::InOrder(Some(wait)));
            }
            let done = self
                .write(kept, plan, secret.as_ref(), &data, memory)
                .await?;
            wrote = done.0 != Done::Kept;
            if let Some(secret) = done.1.as_ref().or(secret.as_ref()) {
                remember(memory, &version, secret);
            }
            self.announce(kept, done.0).await;
        }
        if because == Because::Changed && !data.is_empty() {
            self.delete_orphans(kept, wish)
                .await
                .map_err(|error| Failure {
                    message: format!("could not delete orphaned secrets: {}", cause(&error)),
                    again: Some(FIRST_RETRY),
                })?;
        }
        memory.past.fetched = Some(now);
        let old = memory.current_status(kept);
        let new = status::synced(old, &version, &wish.target, told, wrote, now);
        self.write_status(kept, memory, new).await?;
        memory.past.synced_version = Some(version.clone());
        memory.past.refreshed = true;
        let past = memory.past.clone();
        let observed = Observed {
            past: &past,
            ..observed
        };
        Ok(Ended::InOrder(match decide::next(&observed, None, now) {
            Next::Wait(until) => until.map(|until| after(now, until)),
            Next::Fetch { .. } => Some(FIRST_RETRY),
        }))
    }

    /// Says that a Secret is in order that the status says something else of: a write of the status did
    /// not land, or what was wrong was put right by hand.
    async fn recovered(
        &self,
        kept: &Kept,
        wish: &Wish,
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<(), Failure> {
        // A new process does not know yet what the store would say, nor does one whose last fetch failed.
        if memory.past.fetched.is_none() && matches!(wish.refresh, Refresh::Every(_)) {
            return Ok(());
        }
        let old = memory.current_status(kept);
        let new = status::recovered(old, &wish.target, memory.past.fetched, now);
        self.write_status(kept, memory, new).await
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
                message: format!("could not read secret: {}", cause(&error)),
                again: Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
            })
    }

    async fn write(
        &self,
        kept: &Kept,
        plan: Plan,
        live: Option<&SecretObject>,
        data: &Members,
        memory: &Memory,
    ) -> Result<(Done, Option<SecretObject>), Failure> {
        let written = apply::secret(&self.context.client, &kept.identity, plan).await;
        written.map_err(|error| {
            let old = live.into_iter().flat_map(|live| live.data.0.values());
            match WriteError::of(&error, data.values().chain(old)) {
                WriteError::Conflict => Failure {
                    message: String::new(),
                    again: Some(CONFLICT_RETRY.saturating_mul(memory.failures.min(50) + 1)),
                },
                told => Failure {
                    message: format!("could not update secret: {told}"),
                    again: Some(backoff(FIRST_RETRY, LONGEST_RETRY, memory.failures)),
                },
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

    async fn write_status(
        &self,
        kept: &Kept,
        memory: &mut Memory,
        new: Option<ExternalSecretStatus>,
    ) -> Result<(), Failure> {
        let Some(new) = new else {
            return Ok(());
        };
        let written = apply::status(&self.context.client, &kept.identity, &new).await;
        let made = written.map_err(|error| {
            let identity = &kept.identity;
            warn!(
                namespace = identity.namespace,
                name = identity.name,
                error = cause(&error),
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
                    error = cause(&error),
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

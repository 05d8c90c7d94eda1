//! The sealing keys: read from Secrets as upstream stores them, made when there is none, renewed
//! (sealed-secrets.md 8). All of them open; which one seals, `trust.rs` decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use selkie_seal::{Fingerprint, GenerateError, KeyRing, PrivateKeyError, RingKey};
use selkie_secret::SecretBytes;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use super::{
    decide::FIELD_MANAGER,
    key_secret::{ACTIVE, KEY_LABEL, is_labelled, made_by_another, new_key, ring_key},
    metrics::{KeyCounts, SealedMetrics},
    trust::{STATE, State, Trust, activated},
};
use crate::support::{
    answer::cause,
    context::Context,
    events::{Note, Severity},
    health::Gate,
    queue::backoff,
    secret_object::SecretObject,
    secret_watch::{SecretChange, SecretKey, SecretWatch},
    shutdown::Shutdown,
};

/// How keys are made, and which are used for what.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySettings {
    /// Prefix of the names of key Secrets.
    pub prefix: String,
    /// Bits of a new key.
    pub bits: usize,
    /// Validity of a new certificate.
    pub validity: Duration,
    /// Common name of a new certificate; may be empty.
    pub common_name: String,
    /// Labels of a new key Secret, beside its own.
    pub labels: BTreeMap<String, String>,
    /// Annotations of a new key Secret.
    pub annotations: BTreeMap<String, String>,
    /// Age at which the latest key gets a successor; `None` is never.
    pub renewal: Option<Duration>,
    /// A latest key from before gets a successor at the start.
    pub cutoff: Option<Timestamp>,
    /// What orders keys.
    pub order: KeyOrder,
    /// Time after which a renewed key seals.
    pub activation_delay: Duration,
    /// Whether a key that appears while the controller runs seals.
    pub new_keys_seal: bool,
    /// Whether keys count that another resource made.
    pub accept_managed: bool,
}

/// What decides which key is the latest (sealed-secrets.md 8.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum KeyOrder {
    /// The certificate's NotBefore.
    #[default]
    CertNotBefore,
    /// The time at which the Secret was made.
    SecretCreationTimestamp,
    /// Something else; taken for the first, and told.
    Unknown(String),
}

/// The keys as they are now.
#[derive(Clone, Default)]
pub struct Loaded {
    /// Counts up with each change of the ring; 0 is before the first load.
    pub version: u64,
    /// The keys, latest first.
    pub ring: KeyRing,
    /// Key of the digests of what is in order, once it is known.
    pub digest_key: Option<Arc<SecretBytes>>,
    /// The key that seals.
    pub(super) sealing: Option<Fingerprint>,
    /// Names of the Secrets that were looked at.
    pub(super) secrets: BTreeSet<String>,
}

impl Loaded {
    /// Returns the key that seals; `None` before the first one.
    pub fn sealing(&self) -> Option<&RingKey> {
        self.ring.get(self.sealing?)
    }
}

/// The handle on the keys; cloning is cheap.
#[derive(Clone)]
pub struct Keys {
    loaded: Arc<watch::Sender<Arc<Loaded>>>,
    renewals: Arc<Notify>,
}

/// Why the keys could not be loaded or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The key Secrets cannot be listed.
    #[error(
        "the sealing keys in namespace {namespace} cannot be read: {}",
        cause(source)
    )]
    Read {
        /// The namespace.
        namespace: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// A new key cannot be made.
    #[error("a sealing key cannot be made: {0}")]
    Generate(#[from] GenerateError),
    /// A new key cannot be written down.
    #[error("a sealing key cannot be encoded: {0}")]
    Encode(#[from] PrivateKeyError),
    /// A new key cannot be stored.
    #[error(
        "a new sealing key cannot be stored in namespace {namespace}: {}",
        cause(source)
    )]
    Store {
        /// The namespace.
        namespace: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// Which keys may seal cannot be stored.
    #[error(
        "Secret {STATE} in namespace {namespace} cannot be written: {}",
        cause(source)
    )]
    State {
        /// The namespace.
        namespace: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// No random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// The thread that made the key ended early.
    #[error("the making of a sealing key was interrupted")]
    Interrupted,
}

impl Keys {
    /// Makes a handle without keys; `renewals` is told when a new key is asked for.
    pub fn new(renewals: Arc<Notify>) -> Self {
        Self {
            loaded: Arc::new(watch::channel(Arc::default()).0),
            renewals,
        }
    }

    /// Returns the keys as they are now.
    pub fn current(&self) -> Arc<Loaded> {
        self.loaded.borrow().clone()
    }

    /// Subscribes to changes of the ring.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Loaded>> {
        self.loaded.subscribe()
    }

    /// Returns the certificate that seals, as PEM; `None` before the first key.
    pub fn certificate(&self) -> Option<String> {
        let loaded = self.current();
        Some(loaded.sealing()?.certificate().pem().to_owned())
    }

    /// Loads the keys, makes the first one, renews, and follows the key Secrets, until the shutdown
    /// is requested. `gate` opens with the first keys.
    ///
    /// `makes_keys` is false for a replica that only stands by: two that make keys would each seal
    /// with their own.
    pub async fn run(
        &self,
        context: &Context,
        settings: &KeySettings,
        metrics: &SealedMetrics,
        makes_keys: watch::Receiver<bool>,
        gate: Gate,
    ) {
        if let KeyOrder::Unknown(order) = &settings.order {
            error!(order, "unknown --key-order-priority; CertNotBefore is used");
        }
        let follower = Follower {
            keys: self,
            client: context.client.clone(),
            secrets: &context.secrets,
            namespace: &context.own_namespace,
            context,
            settings,
            metrics,
            makes_keys,
            cutoff: settings.cutoff,
            state: Memory::default(),
        };
        follower.follow(&gate).await;
    }
}

struct Follower<'a> {
    keys: &'a Keys,
    client: Client,
    secrets: &'a SecretWatch,
    namespace: &'a str,
    context: &'a Context,
    settings: &'a KeySettings,
    metrics: &'a SealedMetrics,
    makes_keys: watch::Receiver<bool>,
    /// Counts at the start only.
    cutoff: Option<Timestamp>,
    state: Memory,
}

/// What the follower remembers.
#[derive(Default)]
struct Memory {
    state: Option<State>,
    /// Metadata of the state's Secret as it was read.
    stored: Option<ObjectMeta>,
    /// The Secret is not ours, or must not be read or written: what is remembered has to do.
    denied: bool,
    /// The Secret of before labels must not be read.
    legacy_denied: bool,
    /// What was told: the resource version of a Secret by its name, nothing by a fingerprint.
    told: BTreeMap<String, String>,
}

/// What the key Secrets hold.
#[derive(Default)]
struct Found {
    ring: KeyRing,
    names: BTreeSet<String>,
    counts: KeyCounts,
}

impl Follower<'_> {
    async fn follow(mut self, gate: &Gate) {
        let shutdown = self.context.shutdown.clone();
        let mut changes = self.secrets.subscribe();
        let mut failures = 0;
        let mut again = Some(Duration::ZERO);
        let mut asked = false;
        loop {
            let due = self.next_look(Timestamp::now());
            let wait = async {
                // After a failure the wait counts, or what is due would be tried without a pause.
                match again.or(due) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let look = tokio::select! {
                () = wait => true,
                () = changed(&mut self.makes_keys) => true,
                change = changes.next() => self.concerns(&change),
                () = self.keys.renewals.notified() => {
                    asked = true;
                    true
                }
                () = shutdown.requested() => return,
            };
            if !look {
                continue;
            }
            match self.load_and_renew(&shutdown, asked).await {
                Ok(()) => {
                    (failures, again, asked) = (0, None, false);
                    if !self.keys.current().ring.is_empty() {
                        gate.ready();
                    }
                }
                Err(error) => {
                    warn!(%error, "sealing keys; it is tried again");
                    let wait = backoff(Duration::from_secs(1), Duration::from_secs(60), failures);
                    (failures, again) = (failures + 1, Some(wait));
                }
            }
        }
    }

    /// Returns whether a change of a Secret may change the keys. One that was relabelled or deleted
    /// has no label any more, so the names of the last load count as well.
    fn concerns(&self, change: &SecretChange) -> bool {
        let SecretChange::One(SecretKey { namespace, name }) = change else {
            return true;
        };
        let labelled = || {
            let meta = self.secrets.get(namespace, name);
            meta.is_some_and(|meta| {
                meta.labels
                    .get(KEY_LABEL)
                    .is_some_and(|value| value == ACTIVE)
            })
        };
        namespace == self.namespace
            && (*name == self.settings.prefix
                || name == STATE
                || self.keys.current().secrets.contains(name)
                || labelled())
    }

    fn leads(&self) -> bool {
        *self.makes_keys.borrow()
    }

    /// Returns how long until something is due without a change; `None` is never.
    fn next_look(&self, now: Timestamp) -> Option<Duration> {
        let loaded = self.keys.current();
        let trust = &self.state.state.as_ref()?.trust;
        let activation = trust
            .next_change(&loaded.ring, now)
            .map(|at| until(at, now));
        let renewal = self.renewal_due(now);
        activation.into_iter().chain(renewal).min()
    }

    /// Returns how long until the next key is due; `None` is never.
    fn renewal_due(&self, now: Timestamp) -> Option<Duration> {
        if !self.leads() {
            return None;
        }
        let trust = &self.state.state.as_ref()?.trust;
        let latest = trust.latest(&self.keys.current().ring)?;
        until_renewal(latest, self.settings.renewal?, now)
    }

    async fn load_and_renew(&mut self, shutdown: &Shutdown, asked: bool) -> Result<(), KeysError> {
        let Some(loaded) = shutdown.or(self.load()).await else {
            return Ok(());
        };
        loaded?;
        if asked && !self.leads() {
            info!("a new sealing key was asked for; another replica leads and makes keys");
        }
        if !self.leads() || self.state.state.is_none() {
            return Ok(());
        }
        let due = self.is_due(Timestamp::now(), asked);
        if due {
            self.make(shutdown).await?;
        }
        // Judged once: a certificate may be from before it for other reasons later on.
        self.cutoff = None;
        if due {
            shutdown.or(self.load()).await.transpose()?;
        }
        Ok(())
    }

    fn is_due(&self, now: Timestamp, asked: bool) -> bool {
        if !self.leads() {
            return false;
        }
        let Some(state) = &self.state.state else {
            return false;
        };
        let Some(latest) = state.trust.latest(&self.keys.current().ring) else {
            return true;
        };
        let cut_off = self.cutoff.is_some_and(|cutoff| latest < cutoff);
        asked || cut_off || self.renewal_due(now) == Some(Duration::ZERO)
    }

    /// Reads all key Secrets and who may seal; a new version appears only when the keys differ from those before.
    async fn load(&mut self) -> Result<(), KeysError> {
        let wrong = |error| KeysError::Read {
            namespace: self.namespace.to_owned(),
            source: Box::new(error),
        };
        let secrets = self.read().await;
        let secrets = secrets.map_err(wrong)?;
        let mut found = self.found(&secrets).await;
        self.judge(&mut found, Timestamp::now()).await?;
        let state = self.state.state.as_ref();
        let sealing = state.and_then(|state| state.trust.sealing(&found.ring, Timestamp::now()));
        self.metrics.keys(&found.counts);
        let fingerprints =
            |ring: &KeyRing| ring.iter().map(RingKey::fingerprint).collect::<Vec<_>>();
        self.keys.loaded.send_if_modified(|loaded| {
            let same =
                loaded.version > 0 && fingerprints(&loaded.ring) == fingerprints(&found.ring);
            let version = loaded.version + u64::from(!same);
            if !same || loaded.sealing != sealing {
                let seals_with = sealing.map(|key| key.to_string());
                info!(keys = found.ring.len(), seals_with, "sealing keys loaded");
            }
            *loaded = Arc::new(Loaded {
                version,
                ring: found.ring,
                sealing,
                digest_key: state.map(|state| Arc::new(state.digest_key.duplicate())),
                secrets: found.names,
            });
            !same
        });
        Ok(())
    }

    /// Sorts out which Secrets hold keys that count.
    async fn found(&mut self, secrets: &[SecretObject]) -> Found {
        let mut found = Found::default();
        for secret in secrets {
            let name = secret.metadata.name.clone().unwrap_or_default();
            found.names.insert(name.clone());
            let by = made_by_another(&secret.metadata).filter(|_| !self.settings.accept_managed);
            if let Some(mark) = by {
                found.counts.ignored += 1;
                let text = format!(
                    "this sealing key is ignored, as another resource made the Secret ({mark}); \
                     --accept-managed-keys admits it"
                );
                self.tell(secret, &name, "IgnoredKey", text).await;
                continue;
            }
            match ring_key(secret, &self.settings.order) {
                Ok(key) => {
                    found.ring.insert(key);
                }
                Err(error) => {
                    found.counts.unusable += 1;
                    let text = format!("this sealing key cannot be used and is skipped: {error}");
                    self.tell(secret, &name, "UnusableKey", text).await;
                }
            }
        }
        found.counts.usable = found.ring.len();
        found
    }

    /// Tells of a Secret once, in the log and in an Event on it.
    async fn tell(
        &mut self,
        secret: &SecretObject,
        name: &str,
        reason: &'static str,
        text: String,
    ) {
        let version = secret.metadata.resource_version.clone();
        let version = version.unwrap_or_default();
        let told = self.state.told.insert(name.to_owned(), version.clone());
        if told == Some(version) {
            return;
        }
        warn!(namespace = self.namespace, secret = name, "{text}");
        if self.leads() {
            let regarding = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: secret.metadata.name.clone(),
                namespace: secret.metadata.namespace.clone(),
                uid: secret.metadata.uid.clone(),
                ..ObjectReference::default()
            };
            let note = Note {
                severity: Severity::Warning,
                reason,
                message: text,
            };
            let events = &self.context.events;
            events.publish("sealed-secrets", &regarding, note).await;
        }
    }

    /// Brings up to date which keys may seal, and stores it if this replica leads.
    async fn judge(&mut self, found: &mut Found, now: Timestamp) -> Result<(), KeysError> {
        let present = self.read_state().await?;
        let leads = self.leads();
        let (mut state, stored) = match (present, self.state.state.take()) {
            (Some(state), _) => (state, true),
            // What a standby made up must not outlive the word of the leader.
            (None, Some(state)) if leads || self.state.denied => (state, false),
            (None, _) => {
                let trust = Trust::of_first_start(&found.ring);
                (State::new(trust).ok_or(KeysError::Random)?, false)
            }
        };
        let before = state.trust.clone();
        for key in self.state.stored.iter().flat_map(activated) {
            if found.ring.get(key).is_some() && !state.trust.knows(key) {
                info!(%key, "a sealing key was activated");
                state.trust.admit(key, now);
            }
        }
        for key in found.ring.iter().map(RingKey::fingerprint) {
            if state.trust.knows(key) {
                continue;
            }
            if self.settings.new_keys_seal {
                warn!(%key, "a sealing key appeared, and may seal because of --watch-for-secrets");
                state.trust.admit(key, now);
                continue;
            }
            found.counts.waiting += 1;
            let told = self.state.told.insert(key.to_string(), String::new());
            if told.is_none() {
                warn!(
                    %key,
                    "a sealing key appeared: it opens, and seals once it is activated: selkie keys activate, or \
                     kubectl annotate secret {STATE} {}={key}",
                    super::trust::ACTIVATE
                );
            }
        }
        let changed = !stored || state.trust != before;
        let written = match leads && changed && !self.state.denied {
            true => self.write_state(&state).await,
            false => Ok(()),
        };
        // What is remembered outlasts a failure: without it, whatever is there would be trusted.
        self.state.state = Some(state);
        written
    }

    async fn read_state(&mut self) -> Result<Option<State>, KeysError> {
        if self.state.denied {
            return Ok(None);
        }
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let secret = match api.get_opt(STATE).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                self.state.stored = None;
                return Ok(None);
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.deny("it must not be read");
                return Ok(None);
            }
            Err(error) => {
                return Err(KeysError::Read {
                    namespace: self.namespace.to_owned(),
                    source: Box::new(error),
                });
            }
        };
        let state = State::read(&secret);
        if state.is_none() {
            self.deny("somebody else made it");
            return Ok(None);
        }
        self.state.stored = Some(secret.metadata);
        Ok(state)
    }

    async fn write_state(&mut self, state: &State) -> Result<(), KeysError> {
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let secret = state.secret(self.state.stored.clone());
        let params = post();
        let written = match &self.state.stored {
            Some(_) => api.replace(STATE, &params, &secret).await,
            None => api.create(&params, &secret).await,
        };
        match written {
            Ok(secret) => {
                self.state.stored = Some(secret.metadata);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.deny("it must not be written");
                Ok(())
            }
            Err(error) => Err(KeysError::State {
                namespace: self.namespace.to_owned(),
                source: Box::new(error),
            }),
        }
    }

    fn deny(&mut self, why: &str) {
        self.state.denied = true;
        self.state.stored = None;
        warn!(
            namespace = self.namespace,
            secret = STATE,
            why,
            "which keys may seal is not kept over a restart: every key that is there at a start seals, and all \
             SealedSecrets are opened then"
        );
    }

    /// Lists the labelled Secrets, oldest first, and the one from before labels, which has exactly
    /// the prefix as its name.
    async fn read(&mut self) -> Result<Vec<SecretObject>, kube::Error> {
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let labelled = ListParams::default().labels(&format!("{KEY_LABEL}={ACTIVE}"));
        let mut secrets = api.list(&labelled).await?.items;
        if !self.state.legacy_denied {
            match api.get_opt(&self.settings.prefix).await {
                Ok(Some(legacy)) if !is_labelled(&legacy) => secrets.push(legacy),
                Ok(_) => {}
                // The stock role grants `get` on this name in the Helm chart only.
                Err(kube::Error::Api(status)) if status.is_forbidden() => {
                    self.state.legacy_denied = true;
                }
                Err(error) => return Err(error),
            }
        }
        secrets.sort_by_key(|secret| {
            secret
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0)
        });
        Ok(secrets)
    }

    /// Makes a key and stores it. The shutdown does not interrupt the storing: the Lease must not
    /// be given back before it has ended.
    async fn make(&mut self, shutdown: &Shutdown) -> Result<(), KeysError> {
        let now = Timestamp::now();
        let settings = self.settings.clone();
        let made = tokio::task::spawn_blocking(move || new_key(&settings, now));
        let Some(made) = shutdown.or(made).await else {
            return Ok(());
        };
        let made = made.map_err(|_| KeysError::Interrupted)??;
        let delay = SignedDuration::try_from(self.settings.activation_delay);
        let since = delay.ok().and_then(|delay| now.checked_add(delay).ok());
        // First who may seal, then the key: it must not be taken for a stranger's meanwhile.
        if let Some(mut state) = self.state.state.take() {
            state
                .trust
                .admit(made.fingerprint, since.unwrap_or(Timestamp::MAX));
            let written = match self.state.denied {
                true => Ok(()),
                false => self.write_state(&state).await,
            };
            self.state.state = Some(state);
            written?;
        }
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let stored = api
            .create(&post(), &made.secret)
            .await
            .map_err(|error| KeysError::Store {
                namespace: self.namespace.to_owned(),
                source: Box::new(error),
            })?;
        let (name, certificate) = (stored.metadata.name, made.certificate);
        let fingerprint = made.fingerprint;
        info!(namespace = self.namespace, secret = name, %fingerprint, certificate, "new sealing key made");
        Ok(())
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

async fn changed(receiver: &mut watch::Receiver<bool>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns how long until the key that was made at `latest` gets a successor.
fn until_renewal(latest: Timestamp, period: Duration, now: Timestamp) -> Option<Duration> {
    let due = latest
        .checked_add(SignedDuration::try_from(period).ok()?)
        .ok()?;
    Some(until(due, now))
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_counts_from_the_latest_key() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(
            until_renewal(at(0), hour, at(600)),
            Some(Duration::from_secs(3000))
        );
        assert_eq!(until_renewal(at(0), hour, at(3600)), Some(Duration::ZERO));
        assert_eq!(until_renewal(at(0), hour, at(9999)), Some(Duration::ZERO));
        assert_eq!(until_renewal(at(0), Duration::MAX, at(0)), None);
    }
}

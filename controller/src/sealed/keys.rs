//! The sealing keys: read from Secrets as upstream stores them, made when there is none, renewed
//! (sealed-secrets.md 8).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use selkie_seal::{
    Certificate, CertificateError, Fingerprint, GenerateError, KeyRing, PrivateKey,
    PrivateKeyError, RingKey, RingKeyError,
};
use selkie_secret::SecretBytes;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{decide::FIELD_MANAGER, metrics::SealedMetrics};
use crate::support::{
    answer::cause,
    context::Context,
    health::Gate,
    queue::backoff,
    secret_object::{SecretData, SecretObject},
    secret_watch::{SecretChange, SecretKey, SecretWatch},
    shutdown::Shutdown,
};

/// The label that marks a key Secret; only [`ACTIVE`] counts.
pub const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The value of [`KEY_LABEL`] of a key that is used.
pub const ACTIVE: &str = "active";

const TLS_TYPE: &str = "kubernetes.io/tls";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// How keys are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySettings {
    /// Prefix of the names of key Secrets.
    pub prefix: String,
    /// Bits of a new key.
    pub bits: usize,
    /// Validity of a new certificate.
    pub validity: Duration,
    /// Common name of a new certificate; may be empty.
    pub common_name: String,
    /// Age at which the latest key gets a successor; `None` is never.
    pub renewal: Option<Duration>,
}

/// The keys as they are now.
#[derive(Clone, Default)]
pub struct Loaded {
    /// Counts up with each change; 0 is before the first load.
    pub version: u64,
    /// The keys, latest first.
    pub ring: KeyRing,
    /// Names of the Secrets that were looked at.
    secrets: BTreeSet<String>,
}

/// The handle on the keys; cloning is cheap.
#[derive(Clone)]
pub struct Keys(Arc<watch::Sender<Arc<Loaded>>>);

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
    /// The thread that made the key ended early.
    #[error("the making of a sealing key was interrupted")]
    Interrupted,
}

/// Why a Secret holds no usable key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum UnusableKey {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not text")]
    NotText(&'static str),
    #[error("its certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("its private key: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    #[error(transparent)]
    Pair(#[from] RingKeyError),
}

impl Keys {
    /// Makes a handle without keys.
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(Arc::default()).0))
    }

    /// Returns the keys as they are now.
    pub fn current(&self) -> Arc<Loaded> {
        self.0.borrow().clone()
    }

    /// Subscribes to changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Loaded>> {
        self.0.subscribe()
    }

    /// Returns the certificate that seals, as PEM; `None` before the first key.
    pub fn certificate(&self) -> Option<String> {
        let loaded = self.current();
        Some(loaded.ring.latest()?.certificate().pem().to_owned())
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
        let follower = Follower {
            keys: self,
            client: context.client.clone(),
            secrets: &context.secrets,
            namespace: &context.own_namespace,
            settings,
            metrics,
            makes_keys,
        };
        follower.follow(context, &gate).await;
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

struct Follower<'a> {
    keys: &'a Keys,
    client: Client,
    secrets: &'a SecretWatch,
    namespace: &'a str,
    settings: &'a KeySettings,
    metrics: &'a SealedMetrics,
    makes_keys: watch::Receiver<bool>,
}

impl Follower<'_> {
    async fn follow(mut self, context: &Context, gate: &Gate) {
        let mut changes = context.secrets.subscribe();
        let mut failures = 0;
        let mut again = Some(Duration::ZERO);
        loop {
            let due = self.renewal_due(Timestamp::now());
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
                () = context.shutdown.requested() => return,
            };
            if !look {
                continue;
            }
            match self.load_and_renew(&context.shutdown).await {
                Ok(()) => {
                    (failures, again) = (0, None);
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
                || self.keys.current().secrets.contains(name)
                || labelled())
    }

    /// Returns how long until the next key is due; `None` is never.
    fn renewal_due(&self, now: Timestamp) -> Option<Duration> {
        let loaded = self.keys.current();
        let latest = loaded.ring.latest()?.ordering();
        if !*self.makes_keys.borrow() {
            return None;
        }
        until_renewal(latest, self.settings.renewal?, now)
    }

    async fn load_and_renew(&self, shutdown: &Shutdown) -> Result<(), KeysError> {
        let Some(loaded) = shutdown.or(self.load()).await else {
            return Ok(());
        };
        loaded?;
        let loaded = self.keys.current();
        let due = match loaded.ring.latest() {
            None => *self.makes_keys.borrow(),
            Some(_) => self.renewal_due(Timestamp::now()) == Some(Duration::ZERO),
        };
        if due {
            self.make(shutdown).await?;
            shutdown.or(self.load()).await.transpose()?;
        }
        Ok(())
    }

    /// Reads all key Secrets; a new version appears only when the keys differ from those before.
    async fn load(&self) -> Result<(), KeysError> {
        let secrets = self.read().await.map_err(|error| KeysError::Read {
            namespace: self.namespace.to_owned(),
            source: Box::new(error),
        })?;
        let (mut ring, mut unusable) = (KeyRing::default(), 0);
        let mut names = BTreeSet::new();
        for secret in &secrets {
            let name = secret.metadata.name.clone().unwrap_or_default();
            match ring_key(secret) {
                Ok(key) => {
                    ring.insert(key);
                }
                Err(error) => {
                    unusable += 1;
                    warn!(namespace = self.namespace, secret = name, %error, "this sealing key cannot be used; it is skipped");
                }
            }
            names.insert(name);
        }
        self.metrics.keys(ring.len(), unusable);
        let fingerprints =
            |ring: &KeyRing| ring.iter().map(RingKey::fingerprint).collect::<Vec<_>>();
        self.keys.0.send_if_modified(|loaded| {
            let same = loaded.version > 0 && fingerprints(&loaded.ring) == fingerprints(&ring);
            let version = loaded.version + u64::from(!same);
            if !same {
                let seals_with = ring.latest().map(|key| key.fingerprint().to_string());
                info!(keys = ring.len(), seals_with, "sealing keys loaded");
            }
            *loaded = Arc::new(Loaded {
                version,
                ring,
                secrets: names,
            });
            !same
        });
        Ok(())
    }

    /// Lists the labelled Secrets, oldest first, and the one from before labels, which has exactly
    /// the prefix as its name.
    async fn read(&self) -> Result<Vec<SecretObject>, kube::Error> {
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let labelled = ListParams::default().labels(&format!("{KEY_LABEL}={ACTIVE}"));
        let mut secrets = api.list(&labelled).await?.items;
        match api.get_opt(&self.settings.prefix).await {
            Ok(Some(legacy)) if !is_labelled(&legacy) => secrets.push(legacy),
            Ok(_) => {}
            // The stock role grants `get` on this name in the Helm chart only.
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(error) => return Err(error),
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
    async fn make(&self, shutdown: &Shutdown) -> Result<(), KeysError> {
        let now = Timestamp::now();
        let settings = self.settings.clone();
        let made = tokio::task::spawn_blocking(move || new_key_secret(&settings, now));
        let Some(made) = shutdown.or(made).await else {
            return Ok(());
        };
        let (secret, fingerprint) = made.map_err(|_| KeysError::Interrupted)??;
        let api = Api::<SecretObject>::namespaced(self.client.clone(), self.namespace);
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let stored = api
            .create(&params, &secret)
            .await
            .map_err(|error| KeysError::Store {
                namespace: self.namespace.to_owned(),
                source: Box::new(error),
            })?;
        let name = stored.metadata.name;
        info!(namespace = self.namespace, secret = name, %fingerprint, "new sealing key made");
        Ok(())
    }
}

async fn changed(receiver: &mut watch::Receiver<bool>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_labelled(secret: &SecretObject) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(KEY_LABEL))
}

fn ring_key(secret: &SecretObject) -> Result<RingKey, UnusableKey> {
    let text = |field: &'static str| {
        let bytes = secret
            .data
            .0
            .get(field)
            .ok_or(UnusableKey::Missing(field))?;
        std::str::from_utf8(bytes.expose()).map_err(|_| UnusableKey::NotText(field))
    };
    let certificate = Certificate::parse(text(TLS_CERTIFICATE)?)?;
    let private = PrivateKey::parse(text(TLS_KEY)?)?;
    let ordering = certificate.not_before();
    Ok(RingKey::new(&private, certificate, ordering)?)
}

/// Makes the Secret of a new key (sealed-secrets.md 8.1); seconds of work.
fn new_key_secret(
    settings: &KeySettings,
    now: Timestamp,
) -> Result<(SecretObject, Fingerprint), KeysError> {
    let private = PrivateKey::generate(settings.bits)?;
    let validity = SignedDuration::try_from(settings.validity).unwrap_or(SignedDuration::MAX);
    let certificate = Certificate::self_signed(&private, &settings.common_name, now, validity)?;
    let data = BTreeMap::from([
        (
            TLS_CERTIFICATE.to_owned(),
            SecretBytes::new(certificate.pem().as_bytes().to_vec()),
        ),
        (TLS_KEY.to_owned(), private.to_pkcs1_pem()?.into_bytes()),
    ]);
    let secret = SecretObject {
        metadata: ObjectMeta {
            generate_name: Some(settings.prefix.clone()),
            labels: Some(BTreeMap::from([(KEY_LABEL.to_owned(), ACTIVE.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some(TLS_TYPE.to_owned()),
        immutable: None,
        data: SecretData(data),
    };
    Ok((secret, private.fingerprint()))
}

/// Returns how long until the key that was made at `latest` gets a successor.
fn until_renewal(latest: Timestamp, period: Duration, now: Timestamp) -> Option<Duration> {
    let due = latest
        .checked_add(SignedDuration::try_from(period).ok()?)
        .ok()?;
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
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

    #[test]
    fn a_new_key_is_stored_as_upstream_stores_it() {
        let settings = KeySettings {
            prefix: "sealed-secrets-key".to_owned(),
            bits: 2048,
            validity: Duration::from_secs(87600 * 3600),
            common_name: String::new(),
            renewal: None,
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let (secret, fingerprint) = new_key_secret(&settings, now).unwrap();
        assert_eq!(
            secret.metadata.generate_name.as_deref(),
            Some("sealed-secrets-key")
        );
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        assert!(is_labelled(&secret));
        let pem = std::str::from_utf8(secret.data.0[TLS_KEY].expose()).unwrap();
        assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        let key = ring_key(&secret).unwrap();
        assert_eq!(key.fingerprint(), fingerprint);
        assert_eq!(key.ordering(), now);
        assert_eq!(
            key.certificate().not_after().duration_since(now).as_hours(),
            87600
        );
    }

    #[test]
    fn a_broken_key_says_what_is_wrong_and_shows_nothing() {
        let with = |entries: &[(&str, &[u8])]| SecretObject {
            data: SecretData(
                entries
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), SecretBytes::new(value.to_vec())))
                    .collect(),
            ),
            ..SecretObject::default()
        };
        for (entries, expected) in [
            (&[][..], "it has no tls.crt"),
            (
                &[(TLS_CERTIFICATE, &b"\xff"[..])][..],
                "its tls.crt is not text",
            ),
            (
                &[(TLS_CERTIFICATE, &b"canary"[..])][..],
                "its certificate: ",
            ),
        ] {
            let error = ring_key(&with(entries)).err().unwrap().to_string();
            assert!(
                error.starts_with(expected) && !error.contains("canary"),
                "{error}"
            );
        }
    }
}

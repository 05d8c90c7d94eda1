//! What to do about an ExternalSecret: pure, total, without clock, network or chance.
//!
//! Two questions, asked in turn: does anything have to be fetched ([`next`]), and what has to be
//! written once it is there ([`plan`]).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use selkie_stores::Members;

use super::guard::{Holder, StoreKind, holder, refuse_type};
use super::markers::{
    CREATED_BY_LABEL, DATA_HASH_ANNOTATION, MANAGED_LABEL, created_by, data_hash, field_manager,
};
use super::wish::{Refresh, Wish};
use crate::support::managed_fields::SetBy;
use crate::support::secret_object::{SecretData, SecretObject};
use crate::support::view::ObjectKey;

/// API version that owner references are written with.
const OWNER_API_VERSION: &str = "external-secrets.io/v1";
/// The longest time by which one ExternalSecret's fetch comes after the beginning of its interval.
const LONGEST_SPREAD: Duration = Duration::from_secs(10);
/// The time over which fetches are spread after a start of the process.
const START_SPREAD: Duration = Duration::from_secs(30);

/// Who an ExternalSecret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl Identity {
    /// Returns where it is.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&*self.namespace, &*self.name)
    }
}

/// What is known about earlier synchronisations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// `status.syncedResourceVersion`.
    pub synced_version: Option<String>,
    /// Whether `status.refreshTime` is set.
    pub refreshed: bool,
    /// When this process fetched last; `None` as well when that failed.
    pub fetched: Option<Timestamp>,
    /// The type that the Secret had when it was last in order, and its UID then.
    pub secret: Option<(String, Option<String>)>,
    /// Hash of the data that was last written or found in order.
    pub hash: Option<String>,
}

impl Past {
    /// What was read before is no longer the store's last word: with an interval, each look fetches until one
    /// succeeds. Else the gap between the start of a slot and the turn in it would count as in order.
    pub fn fetch_failed(&mut self) {
        self.fetched = None;
    }
}

/// What [`next`] and [`drift`] look at.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// For what.
    pub wish: &'a Wish,
    /// Present version of the ExternalSecret (external-secrets.md 7.3).
    pub version: &'a str,
    /// Earlier synchronisations.
    pub past: &'a Past,
    /// When the process started.
    pub started: Timestamp,
}

/// Whether to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Now, and values read since then will do.
    Fetch {
        /// Not older than this.
        not_before: Timestamp,
        /// Why, for the log.
        because: Because,
    },
    /// Not before then; `None` is not at all.
    Wait(Option<Timestamp>),
}

/// Why something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It never was, or the ExternalSecret changed since.
    Changed,
    /// The interval is over.
    Due,
    /// The Secret is not as it was written.
    Drift(Drift),
}

/// How a Secret differs from what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It does not exist.
    Missing,
    /// Its data is not what the hash says, or what this process wrote.
    Data,
    /// A mark, label or annotation is gone or changed.
    Metadata,
    /// It is not owned by the ExternalSecret.
    Owner,
    /// Its type is another one.
    Type,
}

/// What has to be written.
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Plan {
    /// Nothing: it is in order.
    Keep,
    /// A Secret that does not exist.
    Create(Box<Secret>),
    /// The whole Secret, over the version that was read.
    Replace(Box<Secret>),
    /// The same under another type, which needs a new Secret.
    Recreate(Box<Secret>),
}

/// A Secret to write; only its metadata is compared and shown in tests.
#[derive(Debug)]
pub struct Secret(pub SecretObject);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.metadata == other.0.metadata
            && self.0.type_ == other.0.type_
            && self.0.immutable == other.0.immutable
            && self.0.data == other.0.data
    }
}

/// Why nothing may be written. Retrying does not help; a change to the Secret does.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflict {
    /// Another ExternalSecret is its controller.
    #[error("target is owned by another ExternalSecret: {0}")]
    OtherExternalSecret(String),
    /// Something else is its controller.
    #[error("failed to take ownership of target secret: it is controlled by {0}")]
    OtherOwner(String),
    /// It is none to adopt.
    #[error("failed to take ownership of target secret: {0}")]
    System(&'static str),
    /// Kubernetes would act on it; see [`refuse_type`].
    #[error("could not update secret: a Secret of type {type_} is refused: {why}")]
    Refused {
        /// The type that it would have.
        type_: String,
        /// Why.
        why: &'static str,
    },
    /// It cannot be changed any more.
    #[error("could not update secret, target is immutable")]
    Immutable,
    /// It is somebody else's and of another type.
    #[error(
        "could not update secret: it has type {live} and spec.target.template.type asks for {wanted}; a Secret's type \
         cannot be changed, and this one was not made by this ExternalSecret: delete it, or give spec.target another name"
    )]
    Type {
        /// The Secret's.
        live: String,
        /// The template's.
        wanted: String,
    },
}

/// Decides whether to fetch.
///
/// Intervals are slots of the clock, shifted by store, so that all ExternalSecrets of a store with the
/// same interval share one read of a path; each takes its turn a little after the slot began.
/// `drift` is what [`drift`] found.
pub fn next(observed: &Observed<'_>, drift: Option<Drift>, now: Timestamp) -> Next {
    let fetch = |not_before, because| Next::Fetch {
        not_before,
        because,
    };
    let past = observed.past;
    let synced = past
        .synced_version
        .as_deref()
        .filter(|text| !text.is_empty());
    let never = synced.is_none() || !past.refreshed;
    let changed = synced != Some(observed.version);
    let due = match observed.wish.refresh {
        Refresh::Once => never,
        Refresh::OnChange | Refresh::Every(_) => never || changed,
    };
    if due {
        return fetch(now, Because::Changed);
    }
    let slot = match observed.wish.refresh {
        Refresh::Every(interval) => Some(Slot::at(interval, phase(observed), now)),
        Refresh::Once | Refresh::OnChange => None,
    };
    if let Some(drift) = drift {
        // What was read in this slot already is as good as what would have been there without the drift.
        return fetch(slot.map_or(now, |slot| slot.start), Because::Drift(drift));
    }
    let Some(slot) = slot else {
        return Next::Wait(None);
    };
    let turn = match past.fetched {
        Some(fetched) => slot.turn_after(fetched, &observed.identity.uid),
        // A new process does not know; it spreads its first round.
        None => observed.started + spread(&observed.identity.uid, START_SPREAD.min(slot.interval)),
    };
    if turn <= now {
        return fetch(slot.start, Because::Due);
    }
    Next::Wait(Some(turn))
}

/// Finds out how the Secret differs from what was written (external-secrets.md 6.3, and the owner, type,
/// labels and annotations besides, which the original leaves as they are).
pub fn drift(observed: &Observed<'_>, live: Option<&SecretObject>) -> Option<Drift> {
    let Some(live) = live else {
        return Some(Drift::Missing);
    };
    let empty = BTreeMap::new();
    let labels = live.metadata.labels.as_ref().unwrap_or(&empty);
    let annotations = live.metadata.annotations.as_ref().unwrap_or(&empty);
    if !owned_by(live, observed.identity) {
        return Some(Drift::Owner);
    }
    let hash = data_hash(&live.data.0);
    let written = observed.past.hash.as_ref();
    if annotations.get(DATA_HASH_ANNOTATION) != Some(&hash)
        || written.is_some_and(|written| *written != hash)
    {
        return Some(Drift::Data);
    }
    if type_of(live) != wanted_type(observed.wish, Some(live), observed.past).as_deref() {
        return Some(Drift::Type);
    }
    let has = |map: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
        wanted
            .iter()
            .all(|(key, value)| map.get(key) == Some(value))
    };
    let marks = marks(observed.identity);
    let immutable = !observed.wish.immutable || live.immutable == Some(true);
    let in_order = has(labels, &marks)
        && has(labels, &without(&observed.wish.labels, &marks))
        && has(annotations, &without_hash(&observed.wish.annotations))
        && immutable;
    (!in_order).then_some(Drift::Metadata)
}

/// Decides what to write, now that the values are known.
///
/// Labels and annotations of others stay; those that this ExternalSecret set earlier and no longer
/// wants go, found by its field manager (external-secrets.md 7.4).
pub fn plan(
    identity: &Identity,
    wish: &Wish,
    live: Option<&SecretObject>,
    past: &Past,
    data: &Members,
) -> Result<Plan, Conflict> {
    let hash = data_hash(data);
    let Some(live) = live else {
        let mut secret = SecretObject {
            metadata: ObjectMeta {
                name: Some(wish.target.clone()),
                namespace: Some(identity.namespace.clone()),
                ..ObjectMeta::default()
            },
            type_: wanted_type(wish, None, past),
            immutable: wish.immutable.then_some(true),
            data: duplicate(data),
        };
        dress(&mut secret, identity, wish, &hash);
        return Ok(Plan::Create(guarded(secret)?));
    };
    may_write(identity, live)?;
    let mut wanted = live.duplicate();
    wanted.data = duplicate(data);
    wanted.immutable = if wish.immutable {
        Some(true)
    } else {
        live.immutable
    };
    dress(&mut wanted, identity, wish, &hash);
    let type_ = wanted_type(wish, Some(live), past);
    if live.immutable == Some(true)
        && (live.data != wanted.data || type_of(live) != type_.as_deref())
    {
        return Err(Conflict::Immutable);
    }
    if type_of(live) != type_.as_deref() {
        let known = past.secret.is_some() || owned_by(live, identity);
        if !known {
            return Err(Conflict::Type {
                live: type_of(live).unwrap_or("Opaque").to_owned(),
                wanted: type_.unwrap_or_default(),
            });
        }
        wanted.type_ = type_;
        return Ok(Plan::Recreate(guarded(wanted)?));
    }
    let same = Secret(live.duplicate()) == Secret(wanted.duplicate());
    if same {
        return Ok(Plan::Keep);
    }
    Ok(Plan::Replace(guarded(wanted)?))
}

/// Judges a Secret as it would be written: type, template and what is left on it come together here.
fn guarded(secret: SecretObject) -> Result<Box<Secret>, Conflict> {
    match refuse_type(type_of(&secret), secret.metadata.annotations.as_ref()) {
        Some(why) => Err(Conflict::Refused {
            type_: secret.type_.unwrap_or_default(),
            why,
        }),
        None => Ok(Box::new(Secret(secret))),
    }
}

/// Refuses to write a Secret of somebody else; [`holder`] names the attack.
pub fn may_write(identity: &Identity, live: &SecretObject) -> Result<(), Conflict> {
    let empty = BTreeMap::new();
    let metadata = &live.metadata;
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let labels = metadata.labels.as_ref().unwrap_or(&empty);
    match holder(owners, labels, type_of(live), &identity.name, &identity.uid) {
        Holder::Ours | Holder::Nobody => Ok(()),
        Holder::OtherExternalSecret(name) => Err(Conflict::OtherExternalSecret(name)),
        Holder::Other(owner) => Err(Conflict::OtherOwner(owner)),
        Holder::System(why) => Err(Conflict::System(why)),
    }
}

/// Returns whether the Secret's controller is this very ExternalSecret.
pub fn owned_by(secret: &SecretObject, identity: &Identity) -> bool {
    let owners = secret.metadata.owner_references.iter().flatten();
    { owners }.any(|owner| owner.controller == Some(true) && owner.uid == identity.uid)
}

/// The labels of every Secret of this ExternalSecret (external-secrets.md 7.2).
fn marks(identity: &Identity) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_LABEL.to_owned(), "true".to_owned()),
        (
            CREATED_BY_LABEL.to_owned(),
            created_by(&identity.namespace, &identity.name),
        ),
    ])
}

/// Puts labels, annotations and the owner on.
fn dress(secret: &mut SecretObject, identity: &Identity, wish: &Wish, hash: &str) {
    let metadata = &mut secret.metadata;
    let manager = field_manager(&identity.name);
    let earlier = SetBy::of(&manager, metadata);
    let labels = metadata.labels.get_or_insert_default();
    labels.retain(|key, _| !earlier.labels.contains(key));
    labels.extend(wish.labels.clone());
    labels.extend(marks(identity));
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.retain(|key, _| !earlier.annotations.contains(key));
    annotations.extend(wish.annotations.clone());
    annotations.insert(DATA_HASH_ANNOTATION.to_owned(), hash.to_owned());
    let owners = metadata.owner_references.get_or_insert_default();
    // One that is ours stays as it is written: older ones say v1beta1.
    if !owners
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid == identity.uid)
    {
        owners.retain(|owner| owner.controller != Some(true) && owner.uid != identity.uid);
        owners.push(OwnerReference {
            api_version: OWNER_API_VERSION.to_owned(),
            kind: "ExternalSecret".to_owned(),
            name: identity.name.clone(),
            uid: identity.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        });
    }
}

/// The type that the Secret should have: the template's; else the one it had when it was last in order
/// and has been made anew by hand since; else its own.
fn wanted_type(wish: &Wish, live: Option<&SecretObject>, past: &Past) -> Option<String> {
    if wish.type_.is_some() {
        return wish.type_.clone();
    }
    let live_uid = live.and_then(|live| live.metadata.uid.as_ref());
    match &past.secret {
        Some((uid, type_)) if Some(uid) != live_uid && type_.is_some() => type_.clone(),
        _ => live.and_then(|live| type_of(live).map(str::to_owned)),
    }
}

fn type_of(secret: &SecretObject) -> Option<&str> {
    secret.type_.as_deref()
}

fn without(
    map: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let kept = map.iter().filter(|(key, _)| !other.contains_key(*key));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn without_hash(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let kept = map.iter().filter(|(key, _)| *key != DATA_HASH_ANNOTATION);
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn duplicate(data: &Members) -> SecretData {
    let copied = data.iter();
    SecretData(
        copied
            .map(|(key, value)| (key.clone(), value.duplicate()))
            .collect(),
    )
}

/// One interval of the clock.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: Timestamp,
    interval: Duration,
}

impl Slot {
    /// Returns the interval that `now` is in. The first one began `phase` after the epoch.
    fn at(interval: Duration, phase: u64, now: Timestamp) -> Self {
        let length = i128::try_from(interval.as_nanos())
            .unwrap_or(i128::MAX)
            .max(1);
        let phase = i128::from(phase) % length;
        let since = now.as_nanosecond() - phase;
        let start = phase + since.div_euclid(length) * length;
        Self {
            start: Timestamp::from_nanosecond(start).unwrap_or(now),
            interval,
        }
    }

    /// Returns when it is the turn of `uid` after a fetch: in the slot after the one of that fetch.
    fn turn_after(&self, fetched: Timestamp, uid: &str) -> Timestamp {
        let begin = if fetched < self.start {
            self.start
        } else {
            self.start
                .checked_add(self.interval)
                .unwrap_or(Timestamp::MAX)
        };
        let share = LONGEST_SPREAD.min(self.interval / 10);
        begin.checked_add(spread(uid, share)).unwrap_or(begin)
    }
}

/// Returns the shift of a store's intervals, in nanoseconds: another one for each store.
fn phase(observed: &Observed<'_>) -> u64 {
    let Some(store) = observed.wish.entries.first().map(|entry| &entry.store) else {
        return 0;
    };
    let namespace = match store.kind {
        StoreKind::Namespaced => &*observed.identity.namespace,
        StoreKind::Cluster => "",
    };
    hashed(&format!("{}/{namespace}/{}", store.kind.name(), store.name)) >> 16
}

/// Returns a share of `at_most` that is always the same for `uid`.
fn spread(uid: &str, at_most: Duration) -> Duration {
    let thousandths = u32::try_from(hashed(uid) % 1000).unwrap_or_default();
    at_most * thousandths / 1000
}

/// FNV-1a; spreads and nothing else.
fn hashed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

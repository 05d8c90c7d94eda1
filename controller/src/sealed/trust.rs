//! Which keys may seal, and from when; kept in a Secret of the controller's namespace.
//!
//! The attack: somebody can have a Secret made in the controller's namespace (by an operator that makes Secrets there, with
//! labels of his choice), but not write Secrets there himself. Were its key used for sealing as soon as it is the latest,
//! he would read what everybody seals from then on. So what was there at the very first start seals, and what this
//! controller made; any other key opens only, until somebody who may write Secrets in that namespace activates it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::ObjectMeta;
use selkie_seal::{Fingerprint, KeyRing, RingKey};
use selkie_secret::SecretBytes;

use super::key_secret::made_by_another;
use crate::support::secret_object::{SecretData, SecretObject};

/// Name of the Secret.
pub const STATE: &str = "selkie-sealed-secrets";
/// Annotation on it that activates keys: fingerprints, separated by commas or blanks. `selkie keys activate` sets it.
pub const ACTIVATE: &str = "selkie/activate-keys";

/// Type of the Secrets that keep the controller's own state.
pub const STATE_TYPE: &str = "selkie/state";
const SEALING_KEYS: &str = "sealing-keys";
const DIGEST_KEY: &str = "digest-key";
const DIGEST_KEY_LENGTH: usize = 32;

/// The keys that may seal, with the time from which each may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust(BTreeMap<Fingerprint, Timestamp>);

impl Trust {
    /// Trusts what is there at the first start, as the original does.
    pub fn of_first_start(ring: &KeyRing) -> Self {
        let keys = ring.iter().map(RingKey::fingerprint);
        Self(keys.map(|key| (key, Timestamp::UNIX_EPOCH)).collect())
    }

    /// Lets a key seal from then on, or from earlier if that was said before; returns whether that is news.
    pub fn admit(&mut self, key: Fingerprint, since: Timestamp) -> bool {
        match self.0.get(&key) {
            Some(known) if *known <= since => false,
            _ => self.0.insert(key, since) != Some(since),
        }
    }

    /// Returns whether a key may seal, now or later.
    pub fn knows(&self, key: Fingerprint) -> bool {
        self.0.contains_key(&key)
    }

    /// Returns the key that seals: the latest one that may by now. Without one, the one that may soonest: somebody has to.
    pub fn sealing(&self, ring: &KeyRing, now: Timestamp) -> Option<Fingerprint> {
        let trusted = || {
            let keys = ring.iter().map(RingKey::fingerprint);
            keys.filter_map(|key| Some((key, *self.0.get(&key)?)))
        };
        let ready = trusted().find(|(_, since)| *since <= now);
        let soonest = || trusted().min_by_key(|(_, since)| *since);
        ready.or_else(soonest).map(|(key, _)| key)
    }

    /// Returns the latest time that orders a key which may seal, now or later: a successor counts from it.
    pub fn latest(&self, ring: &KeyRing) -> Option<Timestamp> {
        let mut keys = ring.iter().filter(|key| self.knows(key.fingerprint()));
        keys.next().map(RingKey::ordering)
    }

    /// Returns the next time at which another key may begin to seal.
    pub fn next_change(&self, ring: &KeyRing, now: Timestamp) -> Option<Timestamp> {
        let times = ring.iter().filter_map(|key| self.0.get(&key.fingerprint()));
        times.filter(|since| **since > now).min().copied()
    }

    fn parse(text: &str) -> Self {
        let entry = |line: &str| {
            let (key, since) = line.trim().split_once(' ')?;
            Some((key.parse().ok()?, since.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(entry).collect())
    }

    fn print(&self) -> String {
        let lines = self.0.iter().map(|(key, since)| format!("{key} {since}\n"));
        lines.collect()
    }
}

/// What the Secret holds.
#[derive(Debug)]
pub struct State {
    /// Key of the digests of what is in order.
    pub digest_key: SecretBytes,
    /// Which keys may seal.
    pub trust: Trust,
}

impl State {
    /// Makes a new one.
    pub fn new(trust: Trust) -> Option<Self> {
        let mut key = vec![0; DIGEST_KEY_LENGTH];
        aws_lc_rs::rand::fill(&mut key).ok()?;
        Some(Self {
            digest_key: SecretBytes::new(key),
            trust,
        })
    }

    /// Reads the Secret; `None` when it is not one that this controller wrote.
    ///
    /// The attack is the same as with the keys: a Secret of this name that somebody had made.
    pub fn read(secret: &SecretObject) -> Option<Self> {
        if secret.type_.as_deref() != Some(STATE_TYPE)
            || made_by_another(&secret.metadata).is_some()
        {
            return None;
        }
        let key = secret.data.0.get(DIGEST_KEY)?;
        let trust = secret.data.0.get(SEALING_KEYS)?;
        (key.len() == DIGEST_KEY_LENGTH).then_some(())?;
        Some(Self {
            digest_key: key.duplicate(),
            trust: Trust::parse(std::str::from_utf8(trust.expose()).ok()?),
        })
    }

    /// Makes the Secret; `live` is the metadata of the one that is there.
    pub fn secret(&self, live: Option<ObjectMeta>) -> SecretObject {
        let entry = |key: &str, value| (key.to_owned(), value);
        let trust = SecretBytes::new(self.trust.print().into_bytes());
        let data = [
            entry(DIGEST_KEY, self.digest_key.duplicate()),
            entry(SEALING_KEYS, trust),
        ];
        let new = ObjectMeta {
            name: Some(STATE.to_owned()),
            ..ObjectMeta::default()
        };
        SecretObject {
            metadata: ObjectMeta {
                managed_fields: None,
                ..live.unwrap_or(new)
            },
            type_: Some(STATE_TYPE.to_owned()),
            immutable: None,
            data: SecretData(data.into()),
        }
    }
}

/// Returns the keys that somebody activated on the Secret.
pub fn activated(metadata: &ObjectMeta) -> Vec<Fingerprint> {
    let annotations = metadata.annotations.as_ref();
    let text = annotations.and_then(|all| all.get(ACTIVATE));
    let words = text
        .into_iter()
        .flat_map(|text| text.split([',', ' ', '\n']));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use selkie_seal::{Certificate, PrivateKey};

    use super::*;

    const A: &str = include_str!("../../../crates/seal/tests/vectors/key.pem");
    const B: &str = include_str!("../../../crates/seal/tests/vectors/other-key.pem");

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn key(pem: &str) -> Fingerprint {
        PrivateKey::parse(pem).unwrap().fingerprint()
    }

    /// `A` of 100 and `B` of 200.
    fn ring() -> KeyRing {
        let mut ring = KeyRing::default();
        for (pem, second) in [(A, 100), (B, 200)] {
            let private = PrivateKey::parse(pem).unwrap();
            let hour = SignedDuration::from_hours(1);
            let certificate = Certificate::self_signed(&private, "", at(second), hour).unwrap();
            ring.insert(RingKey::new(&private, certificate, at(second)).unwrap());
        }
        ring
    }

    #[test]
    fn who_seals() {
        let (a, b) = (key(A), key(B));
        for (trusted, now, seals, next) in [
            (&[][..], 300, None, None),
            (&[(a, 0)], 300, Some(a), None),
            (&[(a, 0), (b, 0)], 300, Some(b), None),
            (&[(a, 0), (b, 400)], 300, Some(a), Some(400)),
            (&[(a, 0), (b, 400)], 400, Some(b), None),
            (&[(b, 400)], 300, Some(b), Some(400)),
            (&[(a, 500), (b, 400)], 300, Some(b), Some(400)),
        ] {
            let trust = Trust(
                trusted
                    .iter()
                    .map(|(key, since)| (*key, at(*since)))
                    .collect(),
            );
            let case = format!("{trusted:?} at {now}");
            assert_eq!(trust.sealing(&ring(), at(now)), seals, "{case}");
            assert_eq!(trust.next_change(&ring(), at(now)), next.map(at), "{case}");
        }
        let first = Trust::of_first_start(&ring());
        assert_eq!(first.sealing(&ring(), at(0)), Some(b));
        assert_eq!(first.latest(&ring()), Some(at(200)));
        let mut one = Trust::default();
        assert!(one.admit(a, at(5)) && !one.admit(a, at(7)) && one.admit(a, at(3)));
        assert_eq!(one.latest(&ring()), Some(at(100)));
    }

    #[test]
    fn the_secret_comes_back_and_a_foreign_one_does_not_count() {
        let state = State::new(Trust::of_first_start(&ring())).unwrap();
        let secret = state.secret(None);
        let wire = serde_json::to_value(&secret).unwrap();
        let secret: SecretObject = serde_json::from_value(wire).unwrap();
        let read = State::read(&secret).unwrap();
        assert_eq!(read.trust, state.trust);
        assert_eq!(read.digest_key.expose(), state.digest_key.expose());
        let mut owned = secret.duplicate();
        owned.metadata.owner_references = Some(vec![Default::default()]);
        let mut other = secret.duplicate();
        other.type_ = Some("Opaque".to_owned());
        assert!(State::read(&owned).is_none() && State::read(&other).is_none());
    }

    #[test]
    fn keys_are_activated_by_their_fingerprints() {
        let text = format!("{},x {}", key(A), key(B));
        let metadata = ObjectMeta {
            annotations: Some(BTreeMap::from([(ACTIVATE.to_owned(), text)])),
            ..ObjectMeta::default()
        };
        assert_eq!(activated(&metadata), [key(A), key(B)]);
        assert!(activated(&ObjectMeta::default()).is_empty());
    }
}

//! All the keys that may open a value, in the order they are worth trying (sealed-secrets.md 8.2).

use std::sync::Arc;

use aws_lc_rs::rsa::OaepPrivateDecryptingKey;
use jiff::Timestamp;
use selkie_secret::SecretBytes;

use crate::cipher::Sealed;
use crate::{Certificate, Fingerprint, Label, PrivateKey, PrivateKeyError, UnsealError};

/// A private key, ready to decrypt.
pub(crate) struct Opener {
    fingerprint: Fingerprint,
    decrypting: OaepPrivateDecryptingKey,
}

impl Opener {
    pub(crate) fn new(key: &PrivateKey) -> Result<Self, PrivateKeyError> {
        Ok(Self {
            fingerprint: key.fingerprint(),
            decrypting: key.decrypting()?,
        })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// One sealing key: its private half, ready to decrypt, and its certificate.
pub struct RingKey {
    opener: Opener,
    certificate: Certificate,
    ordering: Timestamp,
}

/// Why a key cannot join a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingKeyError {
    /// The certificate is that of another key: what it seals could not be opened.
    #[error("the certificate {certificate} does not belong to the private key {private}")]
    Mismatch {
        /// The certificate's public key.
        certificate: Fingerprint,
        /// The private key.
        private: Fingerprint,
    },
    /// The private key cannot be used.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
}

impl RingKey {
    /// Joins the two halves. `ordering` decides which key of a ring seals: the certificate's
    /// NotBefore, or the time of the Secret that holds the key.
    pub fn new(
        private: &PrivateKey,
        certificate: Certificate,
        ordering: Timestamp,
    ) -> Result<Self, RingKeyError> {
        if private.fingerprint() != certificate.fingerprint() {
            return Err(RingKeyError::Mismatch {
                certificate: certificate.fingerprint(),
                private: private.fingerprint(),
            });
        }
        Ok(Self {
            opener: Opener::new(private)?,
            certificate,
            ordering,
        })
    }

    /// Returns the certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the time that orders the key.
    pub fn ordering(&self) -> Timestamp {
        self.ordering
    }

    /// Returns the fingerprint of both halves.
    pub fn fingerprint(&self) -> Fingerprint {
        self.certificate.fingerprint()
    }
}

/// The keys of a controller, latest first. A clone shares the parsed keys.
#[derive(Clone, Default)]
pub struct KeyRing(Vec<Arc<RingKey>>);

impl KeyRing {
    /// Adds a key and returns whether it was new; a key with a known fingerprint changes nothing.
    ///
    /// The latest ordering time comes first, and of equal times the one added first.
    pub fn insert(&mut self, key: RingKey) -> bool {
        if self
            .0
            .iter()
            .any(|known| known.fingerprint() == key.fingerprint())
        {
            return false;
        }
        let after = |known: &Arc<RingKey>| known.ordering >= key.ordering;
        let at = self.0.partition_point(after);
        self.0.insert(at, Arc::new(key));
        true
    }

    /// Returns the key that seals new values.
    pub fn latest(&self) -> Option<&RingKey> {
        self.0.first().map(AsRef::as_ref)
    }

    /// Returns the key with this fingerprint.
    pub fn get(&self, fingerprint: Fingerprint) -> Option<&RingKey> {
        self.iter().find(|key| key.fingerprint() == fingerprint)
    }

    /// Returns the keys, latest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RingKey> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// Returns the number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens one value (the bytes, not base64) under `label`, trying the latest key first.
    pub fn unseal(&self, label: &Label, sealed: &[u8]) -> Result<SecretBytes, UnsealError> {
        self.unsealer(label, None).unseal(sealed)
    }

    /// Returns what opens the values of one object. `first` names the key to try before the
    /// others: the one that opened the object before.
    pub fn unsealer<'a>(&'a self, label: &'a Label, first: Option<Fingerprint>) -> Unsealer<'a> {
        let keys = self.0.iter().map(|key| &key.opener).collect();
        Unsealer::new(keys, label, first)
    }

    /// As [`KeyRing::unsealer`], trying the keys in `order`, and then the others, latest first.
    pub fn unsealer_in_order<'a>(
        &'a self,
        label: &'a Label,
        order: &[Fingerprint],
    ) -> Unsealer<'a> {
        let place = |opener: &&Opener| {
            let place = order.iter().position(|key| *key == opener.fingerprint);
            place.unwrap_or(order.len())
        };
        let mut keys: Vec<_> = self.0.iter().map(|key| &key.opener).collect();
        keys.sort_by_key(place);
        Unsealer::new(keys, label, None)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(RingKey::fingerprint))
            .finish()
    }
}

/// Opens the values of one object; the key that opened one is tried first on the next, since a
/// wrong key costs as much time as the right one (about 5 ms).
pub struct Unsealer<'a> {
    keys: Vec<&'a Opener>,
    label: &'a Label,
    first: Option<Fingerprint>,
}

impl<'a> Unsealer<'a> {
    pub(crate) fn new(keys: Vec<&'a Opener>, label: &'a Label, first: Option<Fingerprint>) -> Self {
        Self { keys, label, first }
    }

    /// Opens one value. Every key is tried before it fails with [`UnsealError::NoKey`].
    pub fn unseal(&mut self, sealed: &[u8]) -> Result<SecretBytes, UnsealError> {
        Ok(self.unseal_with(sealed, None)?.1)
    }

    /// As [`Unsealer::unseal`], trying the key that `hint` names before all others; returns the key that opened the value,
    /// too.
    pub fn unseal_with(
        &mut self,
        sealed: &[u8],
        hint: Option<Fingerprint>,
    ) -> Result<(Fingerprint, SecretBytes), UnsealError> {
        let sealed = Sealed::parse(sealed)?;
        let first = [hint, self.first];
        let named = |key: &Opener| first.contains(&Some(key.fingerprint));
        let keys = || self.keys.iter().copied();
        let of = |name: Option<Fingerprint>| keys().find(|key| Some(key.fingerprint) == name);
        let second = of(self.first).filter(|_| self.first != hint);
        let others = keys().filter(|key| !named(key));
        let opened = of(hint)
            .into_iter()
            .chain(second)
            .chain(others)
            .find_map(|key| {
                let plaintext = sealed.open(&key.decrypting, self.label)?;
                Some((key.fingerprint, plaintext))
            });
        let (fingerprint, plaintext) = opened.ok_or(UnsealError::NoKey)?;
        self.first = Some(fingerprint);
        Ok((fingerprint, plaintext))
    }

    /// Returns the key that opened the last value, to be passed as `first` next time.
    pub fn fitting(&self) -> Option<Fingerprint> {
        self.first
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rsa::pkcs1::DecodeRsaPrivateKey as _;
    use rsa::{Oaep, RsaPrivateKey};

    use super::*;
    use crate::{Scope, decode_value, encode_value, seal_value};

    /// The throw-away key of sealed-secrets.md 14.
    pub(crate) const VECTOR_KEY: &str = include_str!("../tests/vectors/key.pem");
    const OTHER_KEY: &str = include_str!("../tests/vectors/other-key.pem");
    const STRICT: &str = include_str!("../tests/vectors/strict.b64");
    const NAMESPACE_WIDE: &str = include_str!("../tests/vectors/namespace-wide.b64");
    const CLUSTER_WIDE: &str = include_str!("../tests/vectors/cluster-wide.b64");

    pub(crate) fn vector_key() -> PrivateKey {
        PrivateKey::parse(VECTOR_KEY).unwrap()
    }

    fn ring_key(key: &str, ordering: i64) -> RingKey {
        let key = PrivateKey::parse(key).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let day = jiff::SignedDuration::from_hours(24);
        let certificate = Certificate::self_signed(&key, "", now, day).unwrap();
        RingKey::new(&key, certificate, Timestamp::from_second(ordering).unwrap()).unwrap()
    }

    fn ring() -> KeyRing {
        let mut ring = KeyRing::default();
        assert!(ring.insert(ring_key(VECTOR_KEY, 1)));
        ring
    }

    #[test]
    fn the_vectors_of_the_reference_open_under_their_label_only() {
        let ring = ring();
        for (text, own) in [
            (STRICT, Scope::Strict),
            (NAMESPACE_WIDE, Scope::NamespaceWide),
            (CLUSTER_WIDE, Scope::ClusterWide),
        ] {
            let sealed = decode_value(text).unwrap();
            assert_eq!(sealed.len(), 277);
            for scope in Scope::ALL {
                let opened = ring.unseal(&scope.label("myns", "mysecret"), &sealed);
                match scope == own {
                    true => assert_eq!(opened.unwrap().expose(), b"bar"),
                    false => assert_eq!(opened.unwrap_err(), UnsealError::NoKey),
                }
            }
            let renamed = ring.unseal(&own.label("myns", "other"), &sealed);
            assert_eq!(renamed.is_ok(), own != Scope::Strict);
            let moved = ring.unseal(&own.label("other", "mysecret"), &sealed);
            assert_eq!(moved.is_ok(), own == Scope::ClusterWide);
        }
    }

    #[test]
    fn what_we_seal_opens_with_an_independent_rsa() {
        let key = RsaPrivateKey::from_pkcs1_pem(VECTOR_KEY).unwrap();
        let label = Scope::Strict.label("myns", "mysecret");
        for plaintext in [&b""[..], b"bar", &[0xff; 10_000]] {
            let sealed =
                seal_value(ring_key(VECTOR_KEY, 1).certificate(), &label, plaintext).unwrap();
            assert_eq!(sealed.len(), 2 + 256 + plaintext.len() + 16);
            assert_eq!(sealed[..2], [1, 0]);
            let padding = Oaep::<sha2::Sha256>::new_with_label(label.as_bytes().to_vec());
            let session = key.decrypt(padding, &sealed[2..258]).unwrap();
            assert_eq!(session.len(), 32);
            assert_eq!(ring().unseal(&label, &sealed).unwrap().expose(), plaintext);
        }
    }

    #[test]
    fn what_an_independent_rsa_seals_opens_for_every_aes_length() {
        use aws_lc_rs::aead::{
            AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey,
        };
        let key = RsaPrivateKey::from_pkcs1_pem(VECTOR_KEY).unwrap();
        let label = Scope::NamespaceWide.label("myns", "");
        for algorithm in [&AES_128_GCM, &AES_192_GCM, &AES_256_GCM] {
            let session = vec![7; algorithm.key_len()];
            let padding = Oaep::<sha2::Sha256>::new_with_label(label.as_bytes().to_vec());
            let block = key
                .to_public_key()
                .encrypt(&mut rand_core_for_tests(), padding, &session)
                .unwrap();
            let mut body = b"bar".to_vec();
            LessSafeKey::new(UnboundKey::new(algorithm, &session).unwrap())
                .seal_in_place_append_tag(
                    Nonce::assume_unique_for_key([0; 12]),
                    Aad::empty(),
                    &mut body,
                )
                .unwrap();
            let sealed = [&[1, 0][..], &block, &body].concat();
            assert_eq!(ring().unseal(&label, &sealed).unwrap().expose(), b"bar");
        }
    }

    fn rand_core_for_tests() -> impl rsa::rand_core::CryptoRng {
        use rsa::rand_core::UnwrapErr;
        UnwrapErr(getrandom::SysRng)
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let label = Scope::Strict.label("myns", "mysecret");
        let sealed = decode_value(STRICT).unwrap();
        let ring = ring();
        for position in [0, 1, 2, 100, 257, 258, 260, 276] {
            let mut changed = sealed.to_vec();
            changed[position] ^= 1;
            assert!(ring.unseal(&label, &changed).is_err(), "{position}");
        }
        for length in [0, 1, 2, 100, 257] {
            assert_eq!(
                ring.unseal(&label, &sealed[..length]).unwrap_err(),
                UnsealError::TooShort
            );
        }
        for length in [258, 260, 276] {
            assert_eq!(
                ring.unseal(&label, &sealed[..length]).unwrap_err(),
                UnsealError::NoKey
            );
        }
        assert_eq!(
            KeyRing::default()
                .unseal(&label, &sealed)
                .unwrap_err()
                .to_string(),
            "no key could decrypt secret"
        );
    }

    #[test]
    fn a_key_that_opened_is_tried_first_and_others_still_work() {
        let mut ring = KeyRing::default();
        assert!(ring.insert(ring_key(VECTOR_KEY, 1)));
        assert!(ring.insert(ring_key(OTHER_KEY, 2)));
        assert!(!ring.insert(ring_key(OTHER_KEY, 3)));
        let label = Scope::Strict.label("myns", "mysecret");
        let old = decode_value(STRICT).unwrap();
        let new = seal_value(ring.latest().unwrap().certificate(), &label, b"new").unwrap();
        let mut unsealer = ring.unsealer(&label, None);
        assert_eq!(unsealer.fitting(), None);
        assert_eq!(unsealer.unseal(&old).unwrap().expose(), b"bar");
        assert_eq!(unsealer.fitting(), Some(vector_key().fingerprint()));
        assert_eq!(unsealer.unseal(&new).unwrap().expose(), b"new");
        assert_ne!(unsealer.fitting(), Some(vector_key().fingerprint()));
    }

    #[test]
    fn a_hint_orders_the_keys_and_excludes_none() {
        let mut ring = KeyRing::default();
        assert!(ring.insert(ring_key(VECTOR_KEY, 1)));
        assert!(ring.insert(ring_key(OTHER_KEY, 2)));
        let (vector, other) = (
            vector_key().fingerprint(),
            ring.latest().unwrap().fingerprint(),
        );
        assert_eq!(ring.get(vector).unwrap().ordering().as_second(), 1);
        let unknown = "SHA256:G2iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y".parse();
        let label = Scope::Strict.label("myns", "mysecret");
        let sealed = decode_value(STRICT).unwrap();
        for order in [&[][..], &[vector], &[other, vector]] {
            for hint in [None, Some(vector), Some(other), unknown.ok()] {
                let mut unsealer = ring.unsealer_in_order(&label, order);
                for _ in 0..2 {
                    let (key, value) = unsealer.unseal_with(&sealed, hint).unwrap();
                    assert_eq!((key, value.expose()), (vector, &b"bar"[..]));
                }
            }
        }
        let order = ring.unsealer_in_order(&label, &[vector]).keys;
        assert_eq!(order[0].fingerprint(), vector);
        assert_eq!(vector.to_string().parse(), Ok(vector));
    }

    #[test]
    fn the_latest_key_seals_and_ties_keep_the_first() {
        let of = |orders: [(&str, i64); 2]| {
            let mut ring = KeyRing::default();
            for (key, order) in orders {
                ring.insert(ring_key(key, order));
            }
            ring.latest().unwrap().fingerprint() == vector_key().fingerprint()
        };
        assert!(of([(VECTOR_KEY, 2), (OTHER_KEY, 1)]));
        assert!(!of([(VECTOR_KEY, 1), (OTHER_KEY, 2)]));
        assert!(of([(VECTOR_KEY, 1), (OTHER_KEY, 1)]));
        assert!(!of([(OTHER_KEY, 1), (VECTOR_KEY, 1)]));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let RingKey { certificate, .. } = ring_key(OTHER_KEY, 1);
        let error = RingKey::new(&vector_key(), certificate, Timestamp::UNIX_EPOCH);
        assert!(matches!(error, Err(RingKeyError::Mismatch { .. })));
    }

    #[test]
    fn a_value_survives_its_text_form() {
        let label = Scope::ClusterWide.label("", "");
        let sealed = seal_value(ring_key(VECTOR_KEY, 1).certificate(), &label, b"x").unwrap();
        let text = encode_value(&sealed);
        assert!(text.starts_with("AQ"));
        assert_eq!(*decode_value(&text).unwrap(), sealed);
    }
}

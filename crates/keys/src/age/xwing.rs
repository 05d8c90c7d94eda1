//! X-Wing, the key encapsulation of post-quantum age: ML-KEM-768 and X25519 together, safe as long
//! as one of them is (draft-connolly-cfrg-xwing-kem; HPKE KEM 0x647a of draft-ietf-hpke-pq).

use std::fmt;

use hpke::generic_array::GenericArray;
use hpke::generic_array::typenum::{Sum, U32, U64, U96, U128, U1024};
use hpke::kem::SharedSecret;
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use ml_kem::kem::{Decapsulate as _, DecapsulationKey, EncapsulationKey};
use ml_kem::{B32, EncapsulateDeterministic as _, EncodedSizeUser as _, KemCore, MlKem768};
use ml_kem::{Encoded, MlKem768Params};
use sha3::digest::{ExtendableOutput as _, Update as _, XofReader as _};
use sha3::{Digest as _, Sha3_256, Shake256};
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

/// The KEM, for the generic HPKE functions.
pub(super) struct XWing;

/// `enc`: the ciphertext of ML-KEM-768, then the ephemeral share of X25519.
#[derive(Clone)]
pub(super) struct EncappedKey([u8; ENC_LEN]);

/// The encapsulation key of ML-KEM-768, then the point of X25519.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey([u8; PUBLIC_LEN]);

/// The seed that both private keys are expanded from.
#[derive(Clone)]
pub(super) struct PrivateKey(Zeroizing<[u8; SEED_LEN]>);

const SEED_LEN: usize = 32;
const SHARE_LEN: usize = 32;
const PQ_PUBLIC_LEN: usize = 1184;
const PQ_ENC_LEN: usize = 1088;
pub(super) const PUBLIC_LEN: usize = PQ_PUBLIC_LEN + SHARE_LEN;
pub(super) const ENC_LEN: usize = PQ_ENC_LEN + SHARE_LEN;
type PublicSize = Sum<U1024, Sum<U128, U64>>;
type EncSize = Sum<U1024, U96>;

/// Domain separation in the combiner (draft-connolly-cfrg-xwing-kem 5.3): an X-Wing in ASCII art.
const LABEL: &[u8; 6] = br"\.//^\";

impl Kem for XWing {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(private: &PrivateKey) -> PublicKey {
        let (pq, t) = private.expand();
        PublicKey::join(pq.encapsulation_key(), &x25519_dalek::PublicKey::from(&t))
    }

    /// `DeriveKeyPair` of draft-ietf-hpke-pq: SHAKE256 as a one-stage key derivation.
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        let label = b"DeriveKeyPair";
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        let mut shake = Shake256::default();
        shake.update(ikm);
        shake.update(b"HPKE-v1KEM");
        shake.update(&Self::KEM_ID.to_be_bytes());
        shake.update(&(label.len() as u16).to_be_bytes());
        shake.update(label);
        shake.update(&(SEED_LEN as u16).to_be_bytes());
        shake.finalize_xof().read(&mut *seed);
        let private = PrivateKey(seed);
        let public = Self::sk_to_pk(&private);
        (private, public)
    }

    fn encap<R: CryptoRng + RngCore>(
        public: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        random: &mut R,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        // X-Wing has no authenticated mode, and age uses the base mode.
        if sender.is_some() {
            return Err(HpkeError::EncapError);
        }
        let (pq, point) = public.split();
        let mut ephemeral = Zeroizing::new([0; SHARE_LEN]);
        random.fill_bytes(&mut *ephemeral);
        let ephemeral = StaticSecret::from(*ephemeral);
        let share = x25519_dalek::PublicKey::from(&ephemeral);
        let t_secret = ephemeral.diffie_hellman(&point);
        // As age does for a recipient of low order, whose secret anybody knows.
        if !t_secret.was_contributory() {
            return Err(HpkeError::EncapError);
        }
        let mut message = Zeroizing::new([0; 32]);
        random.fill_bytes(&mut *message);
        let (pq_enc, pq_secret) = pq
            .encapsulate_deterministic(<&B32>::from(&*message))
            .map_err(|()| HpkeError::EncapError)?;
        let pq_secret = Zeroizing::new(<[u8; 32]>::from(pq_secret));
        let mut enc = [0; ENC_LEN];
        enc[..PQ_ENC_LEN].copy_from_slice(&pq_enc);
        enc[PQ_ENC_LEN..].copy_from_slice(share.as_bytes());
        let secret = combine(&*pq_secret, t_secret.as_bytes(), &share, &point);
        Ok((secret, EncappedKey(enc)))
    }

    fn decap(
        private: &PrivateKey,
        sender: Option<&PublicKey>,
        enc: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        if sender.is_some() {
            return Err(HpkeError::DecapError);
        }
        let (pq_enc, share) = enc.0.split_at(PQ_ENC_LEN);
        let share: [u8; SHARE_LEN] = share.try_into().map_err(|_| HpkeError::DecapError)?;
        let share = x25519_dalek::PublicKey::from(share);
        let pq_enc = pq_enc.try_into().map_err(|_| HpkeError::DecapError)?;
        let (pq, t) = private.expand();
        // ML-KEM rejects implicitly: a wrong key shows in the AEAD only.
        let pq_secret = pq.decapsulate(pq_enc).map_err(|()| HpkeError::DecapError)?;
        let pq_secret = Zeroizing::new(<[u8; 32]>::from(pq_secret));
        let t_secret = t.diffie_hellman(&share);
        if !t_secret.was_contributory() {
            return Err(HpkeError::DecapError);
        }
        let point = x25519_dalek::PublicKey::from(&t);
        Ok(combine(&*pq_secret, t_secret.as_bytes(), &share, &point))
    }
}

/// SHA3-256 of both secrets, the share, the recipient's point and the label.
fn combine(
    pq_secret: &[u8],
    t_secret: &[u8],
    share: &x25519_dalek::PublicKey,
    point: &x25519_dalek::PublicKey,
) -> SharedSecret<XWing> {
    let mut hash = Sha3_256::new();
    for part in [
        pq_secret,
        t_secret,
        share.as_bytes(),
        point.as_bytes(),
        LABEL,
    ] {
        sha3::Digest::update(&mut hash, part);
    }
    let secret = Zeroizing::new(<[u8; 32]>::from(hash.finalize()));
    SharedSecret(GenericArray::clone_from_slice(&*secret))
}

impl PrivateKey {
    /// Makes a key from the operating system's random source.
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        getrandom::fill(&mut *seed)?;
        Ok(Self(seed))
    }

    /// Shows the seed, which is the whole key.
    pub(super) fn expose(&self) -> &[u8; SEED_LEN] {
        &self.0
    }

    /// Expands the seed: 64 bytes for ML-KEM (FIPS 203, `KeyGen_internal(d, z)`), 32 for X25519.
    fn expand(&self) -> (DecapsulationKey<MlKem768Params>, StaticSecret) {
        let mut xof = Shake256::default().chain(*self.0).finalize_xof();
        let mut take = || {
            let mut part = Zeroizing::new([0; 32]);
            xof.read(&mut *part);
            part
        };
        let (d, z, t) = (take(), take(), take());
        let (pq, _) = MlKem768::generate_deterministic(<&B32>::from(&*d), <&B32>::from(&*z));
        (pq, StaticSecret::from(*t))
    }
}

impl PartialEq for PrivateKey {
    /// By the public keys, so that no time tells anything of the seeds.
    fn eq(&self, other: &Self) -> bool {
        XWing::sk_to_pk(self) == XWing::sk_to_pk(other)
    }
}

impl Eq for PrivateKey {}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&*self.0);
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        if bytes.len() != SEED_LEN {
            return Err(HpkeError::IncorrectInputLength(SEED_LEN, bytes.len()));
        }
        seed.copy_from_slice(bytes);
        Ok(Self(seed))
    }
}

impl PublicKey {
    fn join(pq: &EncapsulationKey<MlKem768Params>, point: &x25519_dalek::PublicKey) -> Self {
        let mut bytes = [0; PUBLIC_LEN];
        bytes[..PQ_PUBLIC_LEN].copy_from_slice(&pq.as_bytes());
        bytes[PQ_PUBLIC_LEN..].copy_from_slice(point.as_bytes());
        Self(bytes)
    }

    fn split(&self) -> (EncapsulationKey<MlKem768Params>, x25519_dalek::PublicKey) {
        let (pq, point) = self.0.split_at(PQ_PUBLIC_LEN);
        let mut encoded = Encoded::<EncapsulationKey<MlKem768Params>>::default();
        encoded.copy_from_slice(pq);
        let mut bytes = [0; SHARE_LEN];
        bytes.copy_from_slice(point);
        (EncapsulationKey::from_bytes(&encoded), bytes.into())
    }
}

impl Serializable for PublicKey {
    type OutputSize = PublicSize;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let bytes = bytes
            .try_into()
            .map_err(|_| HpkeError::IncorrectInputLength(PUBLIC_LEN, bytes.len()))?;
        let key = Self(bytes);
        // The modulus check of FIPS 203, 7.2: coefficients above q are reduced by the crate, and
        // come out otherwise than they went in.
        let (pq, point) = key.split();
        if Self::join(&pq, &point) != key {
            return Err(HpkeError::ValidationError);
        }
        Ok(key)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

impl Serializable for EncappedKey {
    type OutputSize = EncSize;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(bytes: &[u8]) -> Result<Self, HpkeError> {
        let bytes = bytes
            .try_into()
            .map_err(|_| HpkeError::IncorrectInputLength(ENC_LEN, bytes.len()))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use hpke::aead::ChaCha20Poly1305;
    use hpke::kdf::HkdfSha256;

    use super::*;

    fn field(name: &str) -> Vec<u8> {
        let text = include_str!("xwing_vector.txt");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let digits = line.unwrap().trim().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    #[test]
    fn the_vector_of_the_draft_opens() {
        let private = PrivateKey::from_bytes(&field("skRm ")).unwrap();
        let public = XWing::sk_to_pk(&private);
        assert_eq!(public.to_bytes().to_vec(), field("pkRm "));
        assert!(XWing::derive_keypair(&field("ikmR ")) == (private.clone(), public));
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &hpke::OpModeR::Base,
            &private,
            &EncappedKey::from_bytes(&field("enc ")).unwrap(),
            &field("info "),
            &field("ct "),
            &field("aad "),
        );
        assert_eq!(opened.unwrap(), field("pt "));
    }

    #[test]
    fn a_public_key_beyond_the_modulus_is_refused() {
        let mut bytes = field("pkRm ");
        assert!(PublicKey::from_bytes(&bytes).is_ok());
        bytes[..2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(
            PublicKey::from_bytes(&bytes).unwrap_err(),
            HpkeError::ValidationError
        );
        bytes.pop();
        assert!(PublicKey::from_bytes(&bytes).is_err());
    }
}

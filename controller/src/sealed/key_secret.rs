//! One sealing key as a Secret (sealed-secrets.md 8.1): read, made, and told from one that another resource made.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use kube::api::ObjectMeta;
use selkie_seal::{
    Certificate, CertificateError, Fingerprint, PrivateKey, PrivateKeyError, RingKey, RingKeyError,
};
use selkie_secret::SecretBytes;

use super::keys::{KeyOrder, KeySettings, KeysError};
use crate::{
    external::markers::{CREATED_BY_LABEL, DATA_HASH_ANNOTATION, MANAGED_LABEL},
    support::{
        ownership::MARKS,
        secret_object::{SecretData, SecretObject},
    },
};

/// The label that marks a key Secret; only [`ACTIVE`] counts.
pub const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The value of [`KEY_LABEL`] of a key that is used.
pub const ACTIVE: &str = "active";

const TLS_TYPE: &str = "kubernetes.io/tls";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";

/// Why a Secret holds no usable key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableKey {
    /// A field is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A field is no text.
    #[error("its {0} is not text")]
    NotText(&'static str),
    /// The certificate cannot be used.
    #[error("its certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The private key cannot be used.
    #[error("its private key: {0}")]
    PrivateKey(#[from] PrivateKeyError),
    /// They do not belong together.
    #[error(transparent)]
    Pair(#[from] RingKeyError),
}

/// Returns what on a Secret says that another resource made it.
///
/// The attack: somebody may create ExternalSecrets, SealedSecrets or the like in the controller's namespace, and has one
/// make a Secret with the label of sealing keys, whose private key he knows. People do feed their own key this way, so a
/// flag admits them.
pub fn made_by_another(metadata: &ObjectMeta) -> Option<&str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.is_empty() {
        return Some("owner references");
    }
    let marked = |map: &'_ Option<BTreeMap<String, String>>, names: &[&'static str]| {
        let map = map.as_ref()?;
        names.iter().find(|name| map.contains_key(**name)).copied()
    };
    marked(&metadata.labels, &[MANAGED_LABEL, CREATED_BY_LABEL])
        .or_else(|| marked(&metadata.annotations, &[DATA_HASH_ANNOTATION]))
        .or_else(|| marked(&metadata.annotations, &MARKS))
}

/// Returns whether a Secret carries the label of keys, whatever its value.
pub fn is_labelled(secret: &SecretObject) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(KEY_LABEL))
}

/// Reads the key of a Secret.
pub fn ring_key(secret: &SecretObject, order: &KeyOrder) -> Result<RingKey, UnusableKey> {
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
    let created = secret.metadata.creation_timestamp.as_ref();
    let ordering = match (order, created) {
        (KeyOrder::SecretCreationTimestamp, Some(created)) => created.0,
        _ => certificate.not_before(),
    };
    Ok(RingKey::new(&private, certificate, ordering)?)
}

/// A new key, and the Secret to store it in.
pub struct NewKey {
    /// The Secret.
    pub secret: SecretObject,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its certificate, as PEM.
    pub certificate: String,
}

/// Makes a key; seconds of work.
pub fn new_key(settings: &KeySettings, now: Timestamp) -> Result<NewKey, KeysError> {
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
    // The key's own label cannot be overridden.
    let mut labels = settings.labels.clone();
    labels.insert(KEY_LABEL.to_owned(), ACTIVE.to_owned());
    let annotations = settings.annotations.clone();
    let secret = SecretObject {
        metadata: ObjectMeta {
            generate_name: Some(settings.prefix.clone()),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        type_: Some(TLS_TYPE.to_owned()),
        immutable: None,
        data: SecretData(data),
    };
    Ok(NewKey {
        secret,
        fingerprint: private.fingerprint(),
        certificate: certificate.pem().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_new_key_is_stored_as_upstream_stores_it() {
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let owned = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect::<BTreeMap<_, _>>()
        };
        let settings = KeySettings {
            prefix: "sealed-secrets-key".to_owned(),
            bits: 2048,
            validity: Duration::from_secs(87600 * 3600),
            labels: pairs(&[("team", "x"), (KEY_LABEL, "other")]),
            annotations: pairs(&[("note", "y")]),
            ..KeySettings::default()
        };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let made = new_key(&settings, now).unwrap();
        let secret = made.secret;
        let metadata = &secret.metadata;
        assert_eq!(
            metadata.generate_name.as_deref(),
            Some("sealed-secrets-key")
        );
        assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
        let labels = metadata.labels.as_ref().unwrap();
        assert_eq!((&*labels[KEY_LABEL], &*labels["team"]), (ACTIVE, "x"));
        assert_eq!(metadata.annotations.as_ref().unwrap()["note"], "y");
        assert_eq!(made_by_another(metadata), None);
        let pem = std::str::from_utf8(secret.data.0[TLS_KEY].expose()).unwrap();
        assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        let key = ring_key(&secret, &KeyOrder::CertNotBefore).unwrap();
        assert_eq!(key.fingerprint(), made.fingerprint);
        assert_eq!(key.ordering(), now);
        assert_eq!(
            key.certificate().not_after().duration_since(now).as_hours(),
            87600
        );
        let mut later = secret.duplicate();
        let created: Value = json!("2024-01-01T00:00:00Z");
        later.metadata.creation_timestamp = serde_json::from_value(created).unwrap();
        let order = |order: &KeyOrder| ring_key(&later, order).unwrap().ordering();
        assert_eq!(order(&KeyOrder::CertNotBefore), now);
        let created = "2024-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(order(&KeyOrder::SecretCreationTimestamp), created);
    }

    #[test]
    fn a_secret_that_another_resource_made_is_told() {
        let made_by = |metadata: Value| {
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            made_by_another(&metadata).map(str::to_owned)
        };
        let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y" });
        for (metadata, expected) in [
            (json!({ "labels": { KEY_LABEL: ACTIVE } }), None),
            // Whoever installs with Helm may write Secrets anyway.
            (
                json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }),
                None,
            ),
            (
                json!({ "ownerReferences": [owner] }),
                Some("owner references"),
            ),
            (
                json!({ "labels": { MANAGED_LABEL: "true" } }),
                Some(MANAGED_LABEL),
            ),
            (
                json!({ "labels": { CREATED_BY_LABEL: "x" } }),
                Some(CREATED_BY_LABEL),
            ),
            (
                json!({ "annotations": { DATA_HASH_ANNOTATION: "x" } }),
                Some(DATA_HASH_ANNOTATION),
            ),
            (
                json!({ "annotations": { "sealedsecrets.bitnami.com/skip-set-owner-references": "true" } }),
                Some("sealedsecrets.bitnami.com/skip-set-owner-references"),
            ),
        ] {
            assert_eq!(made_by(metadata).as_deref(), expected);
        }
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
            let error = ring_key(&with(entries), &KeyOrder::CertNotBefore);
            let error = error.err().unwrap().to_string();
            assert!(
                error.starts_with(expected) && !error.contains("canary"),
                "{error}"
            );
        }
    }
}

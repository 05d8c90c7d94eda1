//! Keyed digests of a SealedSecret and of the Secret it makes: they tell, after a restart too, that nothing changed, without
//! decrypting anything.
//!
//! HMAC-SHA-256 under a random key that stays in the controller's namespace, cut to 128 bits: a digest of low-entropy
//! values must not let anybody guess them, and nobody may make one up for a Secret that he changed.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use selkie_api::SealedSecret;
use selkie_seal::Label;
use selkie_secret::SecretBytes;

use super::unseal::label;
use crate::support::{ownership::MARKS, secret_object::SecretObject};

const LENGTH: usize = 16;

/// A digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digest([u8; LENGTH]);

impl Digest {
    /// Writes it as text.
    pub fn text(self) -> String {
        BASE64_STANDARD_NO_PAD.encode(self.0)
    }

    /// Reads its text.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_STANDARD_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

/// Makes digests.
pub struct Digests(hmac::Key);

impl Digests {
    /// Takes the key.
    pub fn new(key: &SecretBytes) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// Returns the digest of all that decides what a SealedSecret makes: who it is, its scope, its ciphertexts, its template.
    pub fn source(&self, sealed: &SealedSecret) -> Digest {
        let mut parts = self.parts("source");
        let meta = &sealed.metadata;
        let label: Label = label(meta);
        for text in [&meta.uid, &meta.namespace, &meta.name] {
            parts.text(text.as_deref());
        }
        parts.bytes(label.as_bytes());
        // Maps are sorted, so that the same object is the same text.
        parts.bytes(&serde_json::to_vec(&sealed.spec).unwrap_or_default());
        parts.end()
    }

    /// Returns the digest of what of a Secret the SealedSecret answers for: values, type, owners, and the labels and
    /// annotations that its template names. Others' labels change nothing.
    pub fn secret(&self, sealed: &SealedSecret, secret: &SecretObject) -> Digest {
        let mut parts = self.parts("secret");
        let meta = &secret.metadata;
        parts.text(meta.uid.as_deref());
        parts.text(secret.type_.as_deref());
        parts.number(usize::from(secret.immutable == Some(true)));
        parts.number(usize::from(meta.deletion_timestamp.is_some()));
        parts.number(secret.data.0.len());
        for (key, value) in &secret.data.0 {
            parts.bytes(key.as_bytes());
            parts.bytes(value.expose());
        }
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        parts.number(owners.len());
        for owner in owners {
            for text in [&owner.api_version, &owner.kind, &owner.name, &owner.uid] {
                parts.bytes(text.as_bytes());
            }
            parts.number(usize::from(owner.controller == Some(true)));
        }
        let template = sealed.spec.template_metadata().unwrap_or_default();
        // The deprecated form has its names inside: then all labels and annotations count.
        let all = sealed.spec.data.is_some();
        for (live, template) in [
            (&meta.labels, &template.labels),
            (&meta.annotations, &template.annotations),
        ] {
            let counts = |name: &String| {
                all || template.contains_key(name) || MARKS.contains(&name.as_str())
            };
            let live: BTreeMap<_, _> = live
                .iter()
                .flatten()
                .filter(|(name, _)| counts(name))
                .collect();
            parts.number(live.len());
            for (name, value) in live {
                parts.bytes(name.as_bytes());
                parts.bytes(value.as_bytes());
            }
        }
        parts.end()
    }

    /// Returns the seed of what is random in the templates of a source.
    pub fn seed(&self, source: Digest, entry: &str) -> SecretBytes {
        let mut parts = self.parts("template");
        parts.bytes(&source.0);
        parts.bytes(entry.as_bytes());
        SecretBytes::new(parts.0.sign().as_ref().to_vec())
    }

    fn parts(&self, purpose: &str) -> Parts {
        let mut parts = Parts(hmac::Context::with_key(&self.0));
        parts.bytes(purpose.as_bytes());
        parts
    }
}

/// What is digested, each part with its length: no two lists of parts are the same bytes.
struct Parts(hmac::Context);

impl Parts {
    fn number(&mut self, number: usize) {
        self.0
            .update(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: Option<&str>) {
        self.number(usize::from(text.is_some()));
        self.bytes(text.unwrap_or_default().as_bytes());
    }

    fn end(self) -> Digest {
        let mut digest = [0; LENGTH];
        digest.copy_from_slice(&self.0.sign().as_ref()[..LENGTH]);
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digests(key: u8) -> Digests {
        Digests::new(&SecretBytes::new(vec![key; 32]))
    }

    /// Sets the member that a path names, its parts separated by blanks.
    fn with(object: &Value, path: &str, value: Value) -> Value {
        let mut object = object.clone();
        let mut at = &mut object;
        for part in path.split(' ') {
            at = &mut at[part];
        }
        *at = value;
        object
    }

    #[test]
    fn what_decides_is_in_the_digest_of_the_source() {
        let base = json!({
            "metadata": { "name": "db", "namespace": "ns", "uid": "u", "resourceVersion": "1" },
            "spec": { "encryptedData": { "a": "AgA=" }, "template": { "type": "x" } },
        });
        let of = |object: Value| {
            let object: SealedSecret = serde_json::from_value(object).unwrap();
            digests(1).source(&object)
        };
        let same = of(base.clone());
        for (path, value) in [
            ("metadata labels", json!({ "a": "b" })),
            ("metadata resourceVersion", json!("2")),
            ("status", json!({ "observedGeneration": 3 })),
        ] {
            assert_eq!(of(with(&base, path, value)), same, "{path}");
        }
        let cluster_wide = json!({ "sealedsecrets.bitnami.com/cluster-wide": "true" });
        for (path, value) in [
            ("metadata uid", json!("v")),
            ("metadata name", json!("other")),
            ("metadata annotations", cluster_wide),
            ("spec encryptedData a", json!("AgB=")),
            ("spec encryptedData", json!({ "b": "AgA=" })),
            ("spec template type", json!("y")),
            ("spec template data", json!({ "a": "{{ .b }}" })),
        ] {
            assert_ne!(of(with(&base, path, value)), same, "{path}");
        }
        let object: SealedSecret = serde_json::from_value(base).unwrap();
        assert_ne!(digests(2).source(&object), same);
        assert_eq!(Digest::parse(&same.text()), Some(same));
        assert_eq!(Digest::parse("AAAA"), None);
    }

    #[test]
    fn what_is_answered_for_is_in_the_digest_of_the_secret() {
        let sealed: SealedSecret = serde_json::from_value(json!({
            "metadata": { "name": "db" },
            "spec": { "encryptedData": {}, "template": { "metadata": { "labels": { "app": "db" } } } },
        }))
        .unwrap();
        let owner = |controller: bool| {
            json!([{
                "apiVersion": "v1", "kind": "K", "name": "n", "uid": "o", "controller": controller,
            }])
        };
        let base = json!({
            "metadata": { "uid": "s", "labels": { "app": "db" }, "ownerReferences": owner(true) },
            "type": "Opaque", "data": { "a": "YQ==", "b": "Yg==" },
        });
        let of = |object: Value| {
            let object: SecretObject = serde_json::from_value(object).unwrap();
            digests(1).secret(&sealed, &object)
        };
        let same = of(base.clone());
        for (path, value) in [
            ("metadata labels team", json!("x")),
            ("metadata annotations", json!({ "a": "b" })),
            ("metadata resourceVersion", json!("2")),
        ] {
            assert_eq!(of(with(&base, path, value)), same, "{path}");
        }
        for (path, value) in [
            ("data a", json!("YWE=")),
            ("data", json!({ "a": "YWI=", "b": "" })),
            ("data c", json!("")),
            ("metadata labels app", json!("x")),
            ("metadata labels", json!({})),
            ("metadata ownerReferences", owner(false)),
            ("type", json!("x")),
            ("metadata uid", json!("t")),
            (
                "metadata annotations",
                json!({ "sealedsecrets.bitnami.com/patch": "true" }),
            ),
        ] {
            assert_ne!(of(with(&base, path, value)), same, "{path}");
        }
    }
}

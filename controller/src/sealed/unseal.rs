//! Opening one SealedSecret (sealed-secrets.md 6.1).

use std::{collections::BTreeMap, fmt, ops::Bound, sync::Arc};

use jiff::Timestamp;
use kube::api::ObjectMeta;
use selkie_api::sealed_secret::{SealedSecret, SealedSecretSpec, TemplateMetadata};
use selkie_seal::{
    Fingerprint, KeyHints, KeyRing, Label, RingKey, SEALED_WITH_ANNOTATION, Scope, Unsealer,
    decode_value,
};
use selkie_secret::SecretBytes;
use serde_json::Value;

use super::keys::Loaded;
use crate::support::secret_object::{SecretData, SecretObject};

/// What a SealedSecret holds: the values, and what is around them if that was sealed, too.
#[derive(Debug, Default)]
pub struct Content {
    /// The values.
    pub data: SecretData,
    /// The Secret around them in the deprecated form; `None` means that of `spec.template`.
    pub shape: Option<Shape>,
}

/// The Secret around values.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Labels, annotations, finalizers.
    pub metadata: TemplateMetadata,
    /// Type; `None` keeps that of an existing Secret.
    pub type_: Option<String>,
    /// Whether it is made immutable.
    pub immutable: Option<bool>,
}

impl Shape {
    /// Returns what `spec.template` says.
    pub fn of_template(spec: &SealedSecretSpec) -> Result<Self, UnsealError> {
        let metadata = spec
            .template_metadata()
            .map_err(|error| UnsealError::Metadata(error.to_string()))?;
        let template = spec.template.as_ref();
        let type_ = template.and_then(|template| template.type_.clone());
        Ok(Self {
            metadata,
            type_: type_.filter(|type_| !type_.is_empty()),
            immutable: template.and_then(|template| template.immutable),
        })
    }
}

impl From<SecretData> for Content {
    fn from(data: SecretData) -> Self {
        Self { data, shape: None }
    }
}

/// An opened SealedSecret.
#[derive(Debug)]
pub struct Opened {
    /// What it holds.
    pub content: Content,
    /// How many values each key opened.
    pub used: BTreeMap<Fingerprint, u32>,
    /// The key to try first next time.
    pub fitting: Option<Fingerprint>,
}

/// Why a SealedSecret does not open. Names keys and fields, never a value or a ciphertext.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnsealError {
    /// The field asks for something that is not done.
    Unsupported {
        /// Path of the field.
        field: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The deprecated form, which is not accepted; upstream's words.
    Deprecated,
    /// Both forms at once; upstream's words.
    BothForms,
    /// The value of the deprecated form does not open.
    DeprecatedValue(EntryError),
    /// The value of the deprecated form is no Secret.
    DeprecatedSecret,
    /// `spec.template.metadata` is not what it should be; the parser's words.
    Metadata(String),
    /// Entries of `spec.encryptedData` by key.
    Entries(BTreeMap<String, EntryError>),
}

/// Why one entry does not open.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum EntryError {
    /// No key opens it. Never more specific, whatever the reason (sealed-secrets.md 1, rule 4).
    NoKey,
    /// It is not base64, as Go says it.
    Base64 {
        /// Offset of the first byte that does not belong.
        position: usize,
    },
    /// It is not a string.
    NotText,
    /// The key is not one that a Secret may have.
    BadName,
}

impl std::error::Error for UnsealError {}

impl fmt::Display for UnsealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { field, instead } => {
                write!(f, "{field} is not supported: {instead}")
            }
            Self::Deprecated => f.write_str(
                "using deprecated 'data' field, use 'encryptedData' or flip the feature flag",
            ),
            Self::BothForms => f.write_str(
                "cannot use the field 'encryptedData' and the deprecated field 'data' at the same time",
            ),
            Self::DeprecatedValue(why) => write!(f, "{why}"),
            Self::DeprecatedSecret => {
                f.write_str("what the deprecated field 'data' holds is no Secret")
            }
            Self::Metadata(why) => write!(f, "spec.template.metadata cannot be read: {why}"),
            Self::Entries(entries) => {
                // Entries with the same cause share one sentence, the keys in brackets, as upstream.
                let mut keys_by_cause = BTreeMap::<&EntryError, Vec<&str>>::new();
                for (key, cause) in entries {
                    keys_by_cause.entry(cause).or_default().push(key);
                }
                for (index, (cause, keys)) in keys_by_cause.into_iter().enumerate() {
                    let before = if index > 0 { "; " } else { "" };
                    write!(f, "{before}{cause} ({})", keys.join(", "))?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("no key could decrypt secret"),
            Self::Base64 { position } => write!(f, "illegal base64 data at input byte {position}"),
            Self::NotText => f.write_str("the sealed value is not a string"),
            Self::BadName => f.write_str(
                "not a key that a Secret may have: only letters, digits, '-', '_' and '.' count",
            ),
        }
    }
}

/// Returns the first field that asks for something that is not done.
pub fn unsupported(spec: &SealedSecretSpec) -> Result<(), UnsealError> {
    if spec.has_templates() {
        return Err(UnsealError::Unsupported {
            field: "spec.template.data",
            instead: "templates are not rendered yet; seal the finished values in spec.encryptedData",
        });
    }
    Ok(())
}

/// A SealedSecret that is being opened, some values at a time: one with thousands must not keep a thread from others.
///
/// Templates are not rendered here, so that it serves whoever only asks whether all opens (sealed-secrets.md 6.3).
pub struct Opening {
    sealed: Arc<SealedSecret>,
    keys: Arc<Loaded>,
    accept_deprecated: bool,
    label: Label,
    hints: KeyHints,
    order: Vec<Fingerprint>,
    last: Option<Fingerprint>,
    /// The last entry that was looked at.
    at: Option<String>,
    opened: BTreeMap<String, SecretBytes>,
    failed: BTreeMap<String, EntryError>,
    used: BTreeMap<Fingerprint, u32>,
}

impl Opening {
    /// Begins; `last` is the key that opened the object before.
    pub fn new(
        sealed: Arc<SealedSecret>,
        keys: Arc<Loaded>,
        last: Option<Fingerprint>,
        accept_deprecated: bool,
    ) -> Self {
        let label = label(&sealed.metadata);
        let annotations = sealed.metadata.annotations.as_ref();
        let note = annotations.and_then(|all| all.get(SEALED_WITH_ANNOTATION));
        let created = sealed.metadata.creation_timestamp.as_ref();
        let order = by_age(&keys.ring, created.map(|time| time.0));
        Self {
            hints: note.map(|note| KeyHints::parse(note)).unwrap_or_default(),
            sealed,
            keys,
            accept_deprecated,
            label,
            order,
            last,
            at: None,
            opened: BTreeMap::new(),
            failed: BTreeMap::new(),
            used: BTreeMap::new(),
        }
    }

    /// Opens up to `count` further values; returns whether all were looked at.
    pub fn step(&mut self, count: usize) -> bool {
        let spec = &self.sealed.spec;
        if spec.data.is_some() {
            return true;
        }
        let after = match &self.at {
            Some(at) => Bound::Excluded(at.clone()),
            None => Bound::Unbounded,
        };
        let mut unsealer = unsealer(&self.keys.ring, &self.label, &self.order);
        let entries = spec.encrypted_data.range((after, Bound::Unbounded));
        let mut looked_at = 0;
        for (key, value) in entries.take(count) {
            let hint = self.hints.of(key).or(self.last);
            match open(&mut unsealer, key, value, hint) {
                Ok((fingerprint, bytes)) => {
                    *self.used.entry(fingerprint).or_default() += 1;
                    self.last = Some(fingerprint);
                    self.opened.insert(key.clone(), bytes);
                }
                Err(error) => {
                    self.failed.insert(key.clone(), error);
                }
            }
            self.at = Some(key.clone());
            looked_at += 1;
        }
        looked_at < count || self.opened.len() + self.failed.len() == spec.encrypted_data.len()
    }

    /// Returns what was opened, once all was looked at. One entry that does not open fails the whole.
    pub fn finish(self) -> Result<Opened, UnsealError> {
        if let Some(sealed) = &self.sealed.spec.data {
            return self.deprecated(sealed);
        }
        if !self.failed.is_empty() {
            return Err(UnsealError::Entries(self.failed));
        }
        Ok(Opened {
            content: SecretData(self.opened).into(),
            used: self.used,
            fitting: self.last,
        })
    }

    /// Returns whether all was opened, once all was looked at. What the deprecated form holds is not looked into: whoever
    /// asks must not learn anything of a plaintext.
    pub fn decrypted(self) -> Result<(), UnsealError> {
        match &self.sealed.spec.data {
            Some(sealed) => self.deprecated_text(sealed).map(|_| ()),
            None => self.finish().map(|_| ()),
        }
    }

    /// Opens the form of before 2018: one ciphertext of a whole Secret, whose own labels, annotations and type count
    /// (sealed-secrets.md 6.4).
    fn deprecated(&self, sealed: &Value) -> Result<Opened, UnsealError> {
        let (fingerprint, secret) = self.deprecated_text(sealed)?;
        // The parser's words may show values.
        let secret: SecretObject =
            serde_json::from_slice(secret.expose()).map_err(|_| UnsealError::DeprecatedSecret)?;
        let shape = Shape {
            metadata: TemplateMetadata {
                labels: secret.metadata.labels.unwrap_or_default(),
                annotations: secret.metadata.annotations.unwrap_or_default(),
                finalizers: secret.metadata.finalizers.unwrap_or_default(),
            },
            type_: secret.type_.filter(|type_| !type_.is_empty()),
            immutable: secret.immutable,
        };
        Ok(Opened {
            content: Content {
                data: secret.data,
                shape: Some(shape),
            },
            used: BTreeMap::from([(fingerprint, 1)]),
            fitting: Some(fingerprint),
        })
    }

    fn deprecated_text(&self, sealed: &Value) -> Result<(Fingerprint, SecretBytes), UnsealError> {
        if !self.accept_deprecated {
            return Err(UnsealError::Deprecated);
        }
        if !self.sealed.spec.encrypted_data.is_empty() {
            return Err(UnsealError::BothForms);
        }
        let mut unsealer = unsealer(&self.keys.ring, &self.label, &self.order);
        open_text(&mut unsealer, sealed, self.last).map_err(UnsealError::DeprecatedValue)
    }
}

fn unsealer<'a>(ring: &'a KeyRing, label: &'a Label, order: &[Fingerprint]) -> Unsealer<'a> {
    ring.unsealer_in_order(label, order)
}

/// Returns the keys in the order in which they are likely to have sealed an object of this age: the latest that was there
/// then, those before it, and those that came later, the nearest first.
fn by_age(ring: &KeyRing, created: Option<Timestamp>) -> Vec<Fingerprint> {
    let later = |ordering| created.is_some_and(|created| ordering > created);
    let of = |wanted: bool| {
        let keys = ring
            .iter()
            .filter(move |key| later(key.ordering()) == wanted);
        keys.map(RingKey::fingerprint)
    };
    let mut newer: Vec<_> = of(true).collect();
    newer.reverse();
    of(false).chain(newer).collect()
}

/// Returns the label that the entries of an object with this metadata are sealed under.
///
/// It comes from the name, the namespace and the annotations of the SealedSecret itself, never from
/// its template: a template is not covered by the encryption, and a wider scope in it would open
/// what was sealed for somewhere else (sealed-secrets.md 2, security).
pub fn label(metadata: &ObjectMeta) -> Label {
    let annotations = metadata.annotations.as_ref();
    let scope = Scope::of_annotations(|name| annotations?.get(name).map(String::as_str));
    scope.label(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

fn open(
    unsealer: &mut Unsealer<'_>,
    key: &str,
    value: &Value,
    hint: Option<Fingerprint>,
) -> Result<(Fingerprint, SecretBytes), EntryError> {
    if !is_secret_key(key) {
        return Err(EntryError::BadName);
    }
    open_text(unsealer, value, hint)
}

fn open_text(
    unsealer: &mut Unsealer<'_>,
    value: &Value,
    hint: Option<Fingerprint>,
) -> Result<(Fingerprint, SecretBytes), EntryError> {
    let text = value.as_str().ok_or(EntryError::NotText)?;
    let sealed = decode_value(text).map_err(|error| EntryError::Base64 {
        position: error.position,
    })?;
    unsealer
        .unseal_with(&sealed, hint)
        .map_err(|_| EntryError::NoKey)
}

/// Checks a key as the API server does, so that it is refused by name and before anything is written.
fn is_secret_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !key.is_empty()
        && key.len() <= 253
        && key.bytes().all(allowed)
        && key != "."
        && !key.starts_with("..")
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use selkie_seal::{Certificate, PrivateKey};
    use serde_json::json;

    use super::*;

    #[test]
    fn causes_are_merged_and_keys_sorted() {
        let entry = |key: &str, error| (key.to_owned(), error);
        let error = UnsealError::Entries(BTreeMap::from([
            entry("foo", EntryError::NoKey),
            entry("broken", EntryError::Base64 { position: 4 }),
            entry("bar", EntryError::NoKey),
        ]));
        assert_eq!(
            error.to_string(),
            "no key could decrypt secret (bar, foo); illegal base64 data at input byte 4 (broken)"
        );
    }

    /// The throw-away key and values of sealed-secrets.md 14: `bar` for `myns/mysecret`.
    const KEY: &str = include_str!("../../../crates/seal/tests/vectors/key.pem");
    const OTHER_KEY: &str = include_str!("../../../crates/seal/tests/vectors/other-key.pem");
    const STRICT: &str = include_str!("../../../crates/seal/tests/vectors/strict.b64");
    const NAMESPACE_WIDE: &str =
        include_str!("../../../crates/seal/tests/vectors/namespace-wide.b64");
    const CLUSTER_WIDE: &str = include_str!("../../../crates/seal/tests/vectors/cluster-wide.b64");

    fn ring() -> KeyRing {
        let key = PrivateKey::parse(KEY).unwrap();
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let certificate = Certificate::self_signed(&key, "", now, SignedDuration::from_hours(1));
        let mut ring = KeyRing::default();
        ring.insert(RingKey::new(&key, certificate.unwrap(), now).unwrap());
        ring
    }

    fn unseal(sealed: &SealedSecret, ring: &KeyRing) -> Result<Opened, UnsealError> {
        unseal_with(sealed, ring, None, true, 1)
    }

    fn unseal_with(
        sealed: &SealedSecret,
        ring: &KeyRing,
        last: Option<Fingerprint>,
        accept_deprecated: bool,
        at_once: usize,
    ) -> Result<Opened, UnsealError> {
        let keys = Arc::new(Loaded {
            ring: ring.clone(),
            ..Loaded::default()
        });
        let mut opening = Opening::new(Arc::new(sealed.clone()), keys, last, accept_deprecated);
        let mut steps = 0;
        while !opening.step(at_once) {
            steps += 1;
            assert!(steps < 100);
        }
        opening.finish()
    }

    fn object(name: &str, namespace: &str, annotations: &Value, data: &Value) -> SealedSecret {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": namespace, "annotations": annotations },
            "spec": {
                "encryptedData": data,
                // Never asked: it is not covered by the encryption.
                "template": { "metadata": { "annotations": wide("cluster") } },
            },
        }))
        .unwrap()
    }

    fn wide(scope: &str) -> Value {
        json!({ format!("sealedsecrets.bitnami.com/{scope}-wide"): "true" })
    }

    #[test]
    fn name_namespace_and_own_annotations_decide() {
        let none = json!({});
        for (text, annotations, name, namespace, opens) in [
            (STRICT, &none, "mysecret", "myns", true),
            (STRICT, &none, "other", "myns", false),
            (STRICT, &none, "mysecret", "other", false),
            (STRICT, &wide("namespace"), "mysecret", "myns", false),
            (NAMESPACE_WIDE, &wide("namespace"), "other", "myns", true),
            (
                NAMESPACE_WIDE,
                &wide("namespace"),
                "mysecret",
                "other",
                false,
            ),
            (NAMESPACE_WIDE, &none, "mysecret", "myns", false),
            (CLUSTER_WIDE, &wide("cluster"), "other", "other", true),
            (CLUSTER_WIDE, &none, "mysecret", "myns", false),
        ] {
            let sealed = object(name, namespace, annotations, &json!({ "foo": text }));
            let opened = unseal(&sealed, &ring());
            let case = format!("{name} {namespace} {annotations} {}", &text[..8]);
            if opens {
                assert_eq!(
                    opened.unwrap().content.data.0["foo"].expose(),
                    b"bar",
                    "{case}"
                );
            } else {
                let error = opened.unwrap_err().to_string();
                assert_eq!(error, "no key could decrypt secret (foo)", "{case}");
            }
        }
    }

    #[test]
    fn one_bad_entry_fails_the_whole_by_name() {
        let data =
            json!({ "good": STRICT, "number": 7, "a/b": STRICT, "base": "A*==", "short": "" });
        let sealed = object("mysecret", "myns", &json!({}), &data);
        let error = unseal(&sealed, &ring()).unwrap_err().to_string();
        for part in [
            "no key could decrypt secret (short)",
            "illegal base64 data at input byte 1 (base)",
            "the sealed value is not a string (number)",
            "(a/b)",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("good"), "{error}");
    }

    #[test]
    fn what_is_not_done_is_named() {
        let refused = |template: Value| {
            let spec = json!({ "encryptedData": {}, "template": template });
            let sealed = json!({ "metadata": { "name": "n" }, "spec": spec });
            let sealed: SealedSecret = serde_json::from_value(sealed).unwrap();
            unsupported(&sealed.spec)
        };
        let template = json!({ "data": { "a": "{{ .b }}" } });
        assert!(matches!(
            refused(template),
            Err(UnsealError::Unsupported {
                field: "spec.template.data",
                ..
            })
        ));
        assert_eq!(refused(json!({ "data": null })), Ok(()));
    }

    /// sealed-secrets.md 6.4, with upstream's words.
    #[test]
    fn the_deprecated_form_is_a_whole_secret() {
        let ring = ring();
        let label = Scope::Strict.label("myns", "mysecret");
        let inside = json!({
            "metadata": { "name": "ignored", "labels": { "app": "db" } }, "type": "example.com/x",
            "data": { "password": "Y2FuYXJ5LTQ3MTE=" },
        });
        let seal = |text: &str| {
            let certificate = ring.latest().unwrap().certificate();
            let sealed = selkie_seal::seal_value(certificate, &label, text.as_bytes()).unwrap();
            selkie_seal::encode_value(&sealed)
        };
        let object = |data: &str, encrypted: Value| -> SealedSecret {
            serde_json::from_value(json!({
                "metadata": { "name": "mysecret", "namespace": "myns" },
                "spec": { "data": data, "encryptedData": encrypted },
            }))
            .unwrap()
        };
        let good = object(&seal(&inside.to_string()), json!({}));
        let opened = unseal(&good, &ring).unwrap();
        assert_eq!(opened.content.data.0["password"].expose(), b"canary-4711");
        let shape = opened.content.shape.unwrap();
        assert_eq!(shape.metadata.labels["app"], "db");
        assert_eq!(shape.type_.as_deref(), Some("example.com/x"));
        for (object, accept, expected) in [
            (
                good.clone(),
                false,
                "using deprecated 'data' field, use 'encryptedData' or flip the feature flag",
            ),
            (
                object(&seal(&inside.to_string()), json!({ "a": STRICT })),
                true,
                "cannot use the field 'encryptedData' and the deprecated field 'data' at the same time",
            ),
            (
                object("AQ==", json!({})),
                true,
                "no key could decrypt secret",
            ),
            (
                object("*", json!({})),
                true,
                "illegal base64 data at input byte 0",
            ),
            (
                object(&seal("{\"data\":{\"a\":\"canary-4711\"}}"), json!({})),
                true,
                "what the deprecated field 'data' holds is no Secret",
            ),
        ] {
            let error = unseal_with(&object, &ring, None, accept, 1).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn values_are_opened_in_steps_and_counted_by_key() {
        let data: BTreeMap<_, _> = (0..7).map(|n| (format!("k{n}"), STRICT)).collect();
        let sealed = object("mysecret", "myns", &json!({}), &json!(data));
        for at_once in [1, 3, 7, 100] {
            let opened = unseal_with(&sealed, &ring(), None, true, at_once).unwrap();
            assert_eq!(opened.content.data.0.len(), 7);
            let key = ring().latest().unwrap().fingerprint();
            assert_eq!(opened.used, BTreeMap::from([(key, 7)]));
            assert_eq!(opened.fitting, Some(key));
        }
        let empty = object("mysecret", "myns", &json!({}), &json!({}));
        assert!(unseal(&empty, &ring()).unwrap().content.data.0.is_empty());
    }

    #[test]
    fn keys_are_tried_by_their_age() {
        let key = |text: &str, second: i64| {
            let key = PrivateKey::parse(text).unwrap();
            let at = Timestamp::from_second(second).unwrap();
            let certificate = Certificate::self_signed(&key, "", at, SignedDuration::from_hours(1));
            RingKey::new(&key, certificate.unwrap(), at).unwrap()
        };
        let mut ring = KeyRing::default();
        ring.insert(key(KEY, 100));
        ring.insert(key(OTHER_KEY, 200));
        let (old, new) = (
            PrivateKey::parse(KEY).unwrap().fingerprint(),
            PrivateKey::parse(OTHER_KEY).unwrap().fingerprint(),
        );
        let order = |second: Option<i64>| {
            by_age(
                &ring,
                second.map(|second| Timestamp::from_second(second).unwrap()),
            )
        };
        assert_eq!(order(None), [new, old]);
        assert_eq!(order(Some(300)), [new, old]);
        assert_eq!(order(Some(150)), [old, new]);
        // After a restore the keys are older than all; before all, the nearest comes first.
        assert_eq!(order(Some(50)), [old, new]);
    }

    #[test]
    fn secret_keys_are_those_of_the_api_server() {
        let long = "a".repeat(254);
        for (key, good) in [
            ("a", true),
            ("tls.crt", true),
            (".dockerconfigjson", true),
            ("A_b-c.9", true),
            ("", false),
            (".", false),
            ("..", false),
            ("..a", false),
            ("a/b", false),
            ("a b", false),
            ("é", false),
            (&long, false),
        ] {
            assert_eq!(is_secret_key(key), good, "{key}");
        }
    }
}

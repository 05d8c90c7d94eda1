//! Opening one SealedSecret (sealed-secrets.md 6.1).

use std::{collections::BTreeMap, fmt};

use kube::api::ObjectMeta;
use selkie_api::sealed_secret::{SealedSecret, SealedSecretSpec};
use selkie_seal::{Fingerprint, KeyRing, Label, Scope, Unsealer, decode_value};
use selkie_secret::SecretBytes;
use serde_json::Value;

use crate::support::secret_object::SecretData;

/// The values of a SealedSecret, and the key that opened them.
#[derive(Debug)]
pub struct Opened {
    /// The values.
    pub data: SecretData,
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
    if spec.data.is_some() {
        return Err(UnsealError::Unsupported {
            field: "spec.data",
            instead: "it is the deprecated form; seal the Secret again to get spec.encryptedData",
        });
    }
    if spec.has_templates() {
        return Err(UnsealError::Unsupported {
            field: "spec.template.data",
            instead: "templates are not rendered yet; seal the finished values in spec.encryptedData",
        });
    }
    Ok(())
}

/// Opens every entry; `first` is the key to try before the others. One entry that does not open
/// fails the whole.
pub fn unseal(
    sealed: &SealedSecret,
    ring: &KeyRing,
    first: Option<Fingerprint>,
) -> Result<Opened, UnsealError> {
    unsupported(&sealed.spec)?;
    let label = label(&sealed.metadata);
    let mut unsealer = ring.unsealer(&label, first);
    let mut opened = BTreeMap::new();
    let mut failed = BTreeMap::new();
    for (key, value) in &sealed.spec.encrypted_data {
        match open(&mut unsealer, key, value) {
            Ok(bytes) => {
                opened.insert(key.clone(), bytes);
            }
            Err(error) => {
                failed.insert(key.clone(), error);
            }
        }
    }
    if !failed.is_empty() {
        return Err(UnsealError::Entries(failed));
    }
    Ok(Opened {
        data: SecretData(opened),
        fitting: unsealer.fitting(),
    })
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

fn open(unsealer: &mut Unsealer<'_>, key: &str, value: &Value) -> Result<SecretBytes, EntryError> {
    if !is_secret_key(key) {
        return Err(EntryError::BadName);
    }
    let text = value.as_str().ok_or(EntryError::NotText)?;
    let sealed = decode_value(text).map_err(|error| EntryError::Base64 {
        position: error.position,
    })?;
    unsealer.unseal(&sealed).map_err(|_| EntryError::NoKey)
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
    use selkie_seal::{Certificate, PrivateKey, RingKey};
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
            let opened = unseal(&sealed, &ring(), None);
            let case = format!("{name} {namespace} {annotations} {}", &text[..8]);
            if opens {
                assert_eq!(opened.unwrap().data.0["foo"].expose(), b"bar", "{case}");
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
        let error = unseal(&sealed, &ring(), None).unwrap_err().to_string();
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
        let refused = |field: &str, value: Value| {
            let spec = json!({ "encryptedData": {}, field: value });
            let sealed = json!({ "metadata": { "name": "n" }, "spec": spec });
            let sealed: SealedSecret = serde_json::from_value(sealed).unwrap();
            unseal(&sealed, &ring(), None).map(drop)
        };
        let named = |result: Result<(), UnsealError>| match result {
            Err(UnsealError::Unsupported { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(named(refused("data", json!(""))), "spec.data");
        let template = json!({ "data": { "a": "{{ .b }}" } });
        assert_eq!(named(refused("template", template)), "spec.template.data");
        assert_eq!(refused("template", json!({ "data": null })), Ok(()));
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

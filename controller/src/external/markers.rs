//! The marks that the original leaves on the cluster, byte for byte (external-secrets.md 7), so that
//! its Secrets are taken over, and handed back, without one write.

use std::collections::BTreeMap;

use selkie_stores::Members;
use sha3::{Digest, Sha3_224};

/// Label of every Secret that is written.
pub const MANAGED_LABEL: &str = "reconcile.external-secrets.io/managed";
/// Label that names the ExternalSecret that owns the Secret, as [`created_by`].
pub const CREATED_BY_LABEL: &str = "reconcile.external-secrets.io/created-by";
/// Annotation with [`data_hash`].
pub const DATA_HASH_ANNOTATION: &str = "reconcile.external-secrets.io/data-hash";
/// The original's finalizer on ExternalSecrets.
pub const ORIGINAL_FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

/// Hashes the data of a Secret: SHA3-224 of Go's `%+v` of a `map[string][]byte` (7.1).
pub fn data_hash(data: &Members) -> String {
    let mut hash = Sha3_224::new();
    hash.update("map[");
    for (i, (key, value)) in data.iter().enumerate() {
        if i > 0 {
            hash.update(" ");
        }
        hash.update(key);
        hash.update(":[");
        for (i, byte) in value.expose().iter().enumerate() {
            if i > 0 {
                hash.update(" ");
            }
            hash.update(&DECIMAL[usize::from(*byte)]);
        }
        hash.update("]");
    }
    hash.update("]");
    hex(&hash.finalize())
}

/// The decimal texts of all bytes: formatting each byte would leave copies of the value behind.
static DECIMAL: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| (0..=255).map(|byte: u8| byte.to_string()).collect());

/// Hashes the owner's name (7.2).
pub fn created_by(namespace: &str, name: &str) -> String {
    hashed(&format!("{namespace}/{name}"))
}

/// Names the state of an ExternalSecret that a synchronisation is about (7.3).
pub fn synced_version(
    generation: i64,
    labels: Option<&BTreeMap<String, String>>,
    annotations: Option<&BTreeMap<String, String>>,
) -> String {
    let text = format!(
        "{{annotations:{} labels:{}}}",
        go_map(annotations),
        go_map(labels)
    );
    format!("{generation}-{}", hashed(&text))
}

/// Names the field manager of the Secrets of one ExternalSecret (7.4).
pub fn field_manager(name: &str) -> String {
    let plain = format!("externalsecrets.external-secrets.io/{name}");
    if plain.len() <= 63 {
        return plain;
    }
    format!("externalsecrets.external-secrets.io/sha3/{}", hashed(name))
}

fn go_map(map: Option<&BTreeMap<String, String>>) -> String {
    let entries: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    format!("map[{}]", entries.join(" "))
}

fn hashed(text: &str) -> String {
    hex(&Sha3_224::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use selkie_secret::SecretBytes;

    use super::*;

    fn data(entries: &[(&str, &str)]) -> Members {
        entries
            .iter()
            .map(|(key, value)| {
                let value = SecretBytes::new(value.as_bytes().to_vec());
                ((*key).to_owned(), value)
            })
            .collect()
    }

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// The hashes of external-secrets.md 7.1, which the original wrote.
    #[test]
    fn data_hashes_are_the_originals() {
        for (entries, hash) in [
            (
                &[][..],
                "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b",
            ),
            (
                &[("foo", "value1"), ("bar", "value2")][..],
                "1bed8bcbcb4547ffe19a19cd47d9078e84aa6598266d86b99f992d64",
            ),
            (
                &[("password", "s3cr3t"), ("username", "admin")],
                "4dc87f1bc1b42f99971f11cd8a752c3c1babc6486c0744d841d68c6a",
            ),
            (
                &[("a", "")],
                "b4267d3031c382774d3148a47147cc308a0e534ac8381b5d58565df8",
            ),
        ] {
            assert_eq!(data_hash(&data(entries)), hash, "{entries:?}");
        }
    }

    #[test]
    fn names_and_versions_are_the_originals() {
        assert_eq!(
            created_by("default", "my-es"),
            "b8464376b5fe3535e690594280bfe59b60be2603cb6cbb6d6c8bcbb4"
        );
        assert_eq!(
            synced_version(1, None, Some(&BTreeMap::new())),
            "1-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2"
        );
        let labels = map(&[("team", "y"), ("app", "x")]);
        let annotations = map(&[("force-sync", "1")]);
        assert_eq!(
            synced_version(7, Some(&labels), Some(&annotations)),
            "7-f30eff916147dd4b0542487d44664139edccdba5689d6f936c1f3a20"
        );
        assert_eq!(
            field_manager("db"),
            "externalsecrets.external-secrets.io/db"
        );
        assert_eq!(
            field_manager(&"x".repeat(27)),
            format!("externalsecrets.external-secrets.io/{}", "x".repeat(27))
        );
        let hashed = field_manager(&"x".repeat(28));
        assert!(hashed.starts_with("externalsecrets.external-secrets.io/sha3/"));
        assert_eq!(hashed.len(), 41 + 56);
    }
}

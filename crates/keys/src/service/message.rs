//! The messages of the protocol (sops-format.md 21), and the keys that they name.

use std::collections::BTreeMap;
use std::fmt;

use selkie_sops::{KeySpec, KmsSpec};
use zeroize::Zeroize as _;

/// `Key`: the name of a master key.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Key {
    #[prost(oneof = "KeyType", tags = "1, 2, 3, 4, 5, 6, 7")]
    key_type: Option<KeyType>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum KeyType {
    #[prost(message, tag = "1")]
    Kms(KmsKey),
    #[prost(message, tag = "2")]
    Pgp(PgpKey),
    #[prost(message, tag = "3")]
    GcpKms(GcpKmsKey),
    #[prost(message, tag = "4")]
    AzureKeyvault(AzureKeyVaultKey),
    #[prost(message, tag = "5")]
    Vault(VaultKey),
    #[prost(message, tag = "6")]
    Age(AgeKey),
    #[prost(message, tag = "7")]
    Hckms(HckmsKey),
}

#[derive(Clone, PartialEq, prost::Message)]
struct KmsKey {
    #[prost(string, tag = "1")]
    arn: String,
    #[prost(string, tag = "2")]
    role: String,
    #[prost(btree_map = "string, string", tag = "3")]
    context: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    aws_profile: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PgpKey {
    #[prost(string, tag = "1")]
    fingerprint: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GcpKmsKey {
    #[prost(string, tag = "1")]
    resource_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AzureKeyVaultKey {
    #[prost(string, tag = "1")]
    vault_url: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct VaultKey {
    #[prost(string, tag = "1")]
    vault_address: String,
    #[prost(string, tag = "2")]
    engine_path: String,
    #[prost(string, tag = "3")]
    key_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AgeKey {
    #[prost(string, tag = "1")]
    recipient: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HckmsKey {
    #[prost(string, tag = "1")]
    key_id: String,
}

/// `EncryptRequest` and `DecryptRequest`, which have the same form: a key and its data.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct KeyRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) key: Option<Key>,
    /// What is to be wrapped, or the text of an `enc` field.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

/// `EncryptResponse` and `DecryptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct KeyResponse {
    /// The text of an `enc` field, or what was wrapped.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) data: Vec<u8>,
}

impl Drop for KeyRequest {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl Drop for KeyResponse {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRequest")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyResponse").finish_non_exhaustive()
    }
}

impl Key {
    /// Returns the key of this name; `None` for a kind that the protocol does not know.
    pub(super) fn of(spec: &KeySpec) -> Option<Self> {
        let key_type = match spec.clone() {
            KeySpec::Kms(kms) => KeyType::Kms(KmsKey {
                arn: kms.arn,
                role: kms.role.unwrap_or_default(),
                context: kms.context,
                aws_profile: kms.profile.unwrap_or_default(),
            }),
            KeySpec::Pgp { fingerprint } => KeyType::Pgp(PgpKey { fingerprint }),
            KeySpec::GcpKms { resource_id } => KeyType::GcpKms(GcpKmsKey { resource_id }),
            KeySpec::AzureKv {
                vault_url,
                name,
                version,
            } => KeyType::AzureKeyvault(AzureKeyVaultKey {
                vault_url,
                name,
                version: version.unwrap_or_default(),
            }),
            KeySpec::HcVault {
                address,
                engine_path,
                key_name,
            } => KeyType::Vault(VaultKey {
                vault_address: address,
                engine_path,
                key_name,
            }),
            KeySpec::Age { recipient } => KeyType::Age(AgeKey { recipient }),
            KeySpec::Hckms { key_id } => KeyType::Hckms(HckmsKey { key_id }),
            _ => return None,
        };
        Some(Self {
            key_type: Some(key_type),
        })
    }

    /// Returns the name of the key; `None` for one of a kind that is not known here, or of none.
    pub(super) fn spec(self) -> Option<KeySpec> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Some(match self.key_type? {
            KeyType::Kms(kms) => KeySpec::Kms(KmsSpec {
                arn: kms.arn,
                role: some(kms.role),
                context: kms.context,
                profile: some(kms.aws_profile),
            }),
            KeyType::Pgp(pgp) => KeySpec::Pgp {
                fingerprint: pgp.fingerprint,
            },
            KeyType::GcpKms(gcp) => KeySpec::GcpKms {
                resource_id: gcp.resource_id,
            },
            KeyType::AzureKeyvault(azure) => KeySpec::AzureKv {
                vault_url: azure.vault_url,
                name: azure.name,
                version: some(azure.version),
            },
            KeyType::Vault(vault) => KeySpec::HcVault {
                address: vault.vault_address,
                engine_path: vault.engine_path,
                key_name: vault.key_name,
            },
            KeyType::Age(age) => KeySpec::Age {
                recipient: age.recipient,
            },
            KeyType::Hckms(hckms) => KeySpec::Hckms {
                key_id: hckms.key_id,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use selkie_sops::KeyKind;

    use super::*;

    #[test]
    fn every_kind_of_key_survives_the_wire() {
        let kms = KmsSpec {
            role: Some("arn:aws:iam::1:role/r".to_owned()),
            context: BTreeMap::from([("app".to_owned(), "db".to_owned())]),
            profile: Some("prod".to_owned()),
            ..KmsSpec::parse("arn:aws:kms:eu-west-1:1:key/k").unwrap()
        };
        let mut specs = vec![KeySpec::Kms(kms)];
        for (kind, text) in [
            (KeyKind::Pgp, "FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4"),
            (
                KeyKind::GcpKms,
                "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            ),
            (KeyKind::AzureKv, "https://v.vault.azure.net/keys/k/1"),
            (KeyKind::AzureKv, "https://v.vault.azure.net/keys/k"),
            (KeyKind::HcVault, "https://v:8200/v1/team/sops/keys/k"),
            (
                KeyKind::Age,
                "age1khs6jtqk496puwsuttey2nwe6x6jds7z44vd02vr7haesw5x3yysysry4x",
            ),
            (KeyKind::Hckms, "region:0000"),
        ] {
            specs.push(KeySpec::parse(kind, text).unwrap());
        }
        for spec in specs {
            let sent = Key::of(&spec).unwrap().encode_to_vec();
            let come = Key::decode(&*sent).unwrap();
            assert_eq!(come.spec(), Some(spec));
        }
        assert_eq!(Key::default().spec(), None);
        // Field 8, which this version of the protocol does not have.
        assert_eq!(Key::decode(&[0x42, 0][..]).unwrap().spec(), None);
    }

    /// As protoc and the table of section 21 have it: field number, type, length, bytes.
    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let key = KeySpec::Age {
            recipient: "age1x".to_owned(),
        };
        let request = KeyRequest {
            key: Key::of(&key),
            data: vec![1, 2],
        };
        let expected = b"\x0a\x09\x32\x07\x0a\x05age1x\x12\x02\x01\x02";
        assert_eq!(request.encode_to_vec(), expected);
        let shown = format!("{request:?} {:?}", KeyResponse { data: vec![7, 7] });
        assert!(shown.contains("age1x") && !shown.contains('7') && !shown.contains("[1"));
    }
}

//! Vault's key-value engine as a store (external-secrets.md 9.3 and 9.4).

use selkie_cloud::vault::VaultClient;
use selkie_secret::SecretBytes;

use crate::json::{self, Node};
use crate::property::Path;
use crate::{BoxFuture, Document, Location, Members, RemoteRef, SecretBackend, StoreError};

/// Which version of the key-value engine is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvVersion {
    /// Without versions.
    V1,
    /// With versions.
    #[default]
    V2,
}

/// One Vault server, one mount, one token.
#[derive(Debug)]
pub struct VaultBackend {
    client: VaultClient,
    mount: Option<String>,
    version: KvVersion,
}

impl VaultBackend {
    /// Makes a store of `client`; `mount` is `spec.provider.vault.path`.
    pub fn new(client: VaultClient, mount: Option<String>, version: KvVersion) -> Self {
        Self {
            client,
            mount: mount.filter(|mount| !mount.is_empty()),
            version,
        }
    }
}

impl SecretBackend for VaultBackend {
    fn locate(&self, remote: &RemoteRef) -> Result<Location, StoreError> {
        let version = remote.version.clone().filter(|text| !text.is_empty());
        if let Some(version) = version.as_ref() {
            // Vault answers a word here with a 500, which would look like an outage.
            if !version.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(StoreError::Version {
                    version: version.clone(),
                    expected: "Vault's versions are numbers",
                });
            }
        }
        Ok(Location {
            path: read_path(self.mount.as_deref(), self.version, &remote.key),
            version,
        })
    }

    fn read<'a>(&'a self, location: &'a Location) -> BoxFuture<'a, Result<Document, StoreError>> {
        Box::pin(async move {
            let Location { path, version } = location;
            let answer = self.client.read(path, version.as_deref()).await?;
            self.document(path, &answer)
        })
    }

    fn value(&self, document: &Document, remote: &RemoteRef) -> Result<SecretBytes, StoreError> {
        // An exact member wins over the path syntax.
        value_of(&document.0, remote, |root, property| {
            Some(root.member(property)?.token_bytes())
        })
    }

    fn members(&self, document: &Document, remote: &RemoteRef) -> Result<Members, StoreError> {
        let value = self.value(document, remote)?;
        members_of(&value, remote, Node::float_bytes)
    }

    fn validate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.client.lookup_self().await?) })
    }
}

impl VaultBackend {
    /// Takes the data out of Vault's answer and writes it as Go's JSON, which properties look into.
    fn document(&self, path: &str, answer: &SecretBytes) -> Result<Document, StoreError> {
        let malformed = |what: &str| StoreError::from(self.client.malformed(path, what));
        let root = json::parse(answer.expose()).map_err(|error| malformed(&error.to_string()))?;
        let outer = root
            .member("data")
            .ok_or_else(|| malformed("it has no `data`"))?;
        let data = match self.version {
            KvVersion::V1 => outer,
            KvVersion::V2 => outer.member("data").ok_or_else(|| {
                malformed("it has no `data.data`; is this a version 1 mount? (spec.provider.vault.version)")
            })?,
        };
        match data {
            Node::Object { .. } => Ok(Document(data.go_json())),
            // A deleted or destroyed version.
            Node::Null => Err(self.client.not_found(path).into()),
            _ => Err(malformed("its data is not an object")),
        }
    }
}

/// Builds the path to read (external-secrets.md 9.3).
fn read_path(mount: Option<&str>, version: KvVersion, key: &str) -> String {
    let Some(mount) = mount else {
        return match version {
            KvVersion::V1 => key.to_owned(),
            KvVersion::V2 if key.contains("/data/") => key.to_owned(),
            KvVersion::V2 => match key.split_once('/') {
                Some((first, rest)) => format!("{first}/data/{rest}"),
                None => format!("{key}/data"),
            },
        };
    };
    let stripped = key
        .strip_prefix(mount)
        .and_then(|rest| rest.strip_prefix('/'));
    match version {
        KvVersion::V1 => format!("{mount}/{}", stripped.unwrap_or(key)),
        KvVersion::V2 => {
            let rest = stripped.map_or(key, |rest| rest.strip_prefix("data/").unwrap_or(rest));
            format!("{mount}/data/{rest}")
        }
    }
}

/// Returns the value that a remote reference asks for: the whole of it, or the property of a JSON
/// object, which `exact` looks up before it is read as a path.
pub(crate) fn value_of(
    value: &SecretBytes,
    remote: &RemoteRef,
    exact: impl Fn(&Node<'_>, &str) -> Option<SecretBytes>,
) -> Result<SecretBytes, StoreError> {
    let Some(property) = remote.property.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(value.duplicate());
    };
    let root = parsed(value, remote)?;
    if let Some(found) = exact(&root, property) {
        return Ok(found);
    }
    let path = Path::parse(property).map_err(|cause| StoreError::Property {
        property: property.to_owned(),
        cause,
    })?;
    path.find(&root).ok_or_else(|| StoreError::MissingProperty {
        key: remote.key.clone(),
        property: property.to_owned(),
    })
}

/// Parses a value that a property or `extract` looks into.
pub(crate) fn parsed<'a>(
    value: &'a SecretBytes,
    remote: &RemoteRef,
) -> Result<Node<'a>, StoreError> {
    json::parse(value.expose()).map_err(|cause| StoreError::NotJson {
        key: remote.key.clone(),
        cause,
    })
}

/// Takes an object apart.
pub(crate) fn members_of<'a>(
    value: &'a SecretBytes,
    remote: &RemoteRef,
    bytes: impl for<'n> Fn(&'n Node<'a>) -> SecretBytes,
) -> Result<Members, StoreError> {
    let root = parsed(value, remote)?;
    let members = root.members().ok_or_else(|| StoreError::NotAnObject {
        key: remote.key.clone(),
    })?;
    Ok(members
        .iter()
        .map(|(key, node)| (json::unquoted(key).expose().to_owned(), bytes(node)))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use selkie_cloud::vault::{Retries, VaultConfig};

    use super::*;

    fn backend(version: KvVersion) -> VaultBackend {
        let config = VaultConfig {
            server: "http://vault.example".to_owned(),
            namespace: None,
            headers: BTreeMap::new(),
            ca_pem: None,
            timeout: Duration::from_secs(1),
            retries: Retries::default(),
        };
        let client = VaultClient::new(&config, None).unwrap();
        VaultBackend::new(client, Some("secret".to_owned()), version)
    }

    fn remote(property: &str) -> RemoteRef {
        RemoteRef {
            key: "db".to_owned(),
            property: Some(property.to_owned()),
            version: None,
        }
    }

    fn answer(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn paths() {
        use KvVersion::{V1, V2};
        for (mount, version, key, expected) in [
            (Some("secret"), V2, "db/prod", "secret/data/db/prod"),
            (Some("secret"), V2, "secret/db", "secret/data/db"),
            (Some("secret"), V2, "secret/data/db", "secret/data/db"),
            (Some("secret"), V2, "data/db", "secret/data/data/db"),
            (
                Some("secret"),
                V2,
                "secret/secret/x",
                "secret/data/secret/x",
            ),
            (Some("secret"), V2, "secrets/x", "secret/data/secrets/x"),
            (Some("team/kv"), V2, "team/kv/a", "team/kv/data/a"),
            (Some("secret"), V1, "secret/db", "secret/db"),
            (Some("secret"), V1, "db", "secret/db"),
            (None, V2, "secret/db/prod", "secret/data/db/prod"),
            (None, V2, "team/kv/data/x", "team/kv/data/x"),
            (None, V1, "secret/db", "secret/db"),
        ] {
            assert_eq!(read_path(mount, version, key), expected, "{mount:?} {key}");
        }
    }

    #[test]
    fn properties() {
        let vault = backend(KvVersion::V2);
        let document = vault
            .document(
                "p",
                &answer(r#"{"data":{"data":{"z":"<1>","a.b":"exact","a":{"b":"path","n":1.50},"n":1e3,"nul":null},"metadata":{}}}"#),
            )
            .unwrap();
        let value = |property: &str| {
            let value = vault.value(&document, &remote(property))?;
            Ok::<_, StoreError>(String::from_utf8(value.expose().to_vec()).unwrap())
        };
        assert_eq!(
            value("").unwrap(),
            r#"{"a":{"b":"path","n":1.50},"a.b":"exact","n":1e3,"nul":null,"z":"\u003c1\u003e"}"#
        );
        assert_eq!(value("a.b").unwrap(), "exact");
        assert_eq!(value("a.n").unwrap(), "1.5");
        assert_eq!(value("n").unwrap(), "1e3");
        assert_eq!(value("nul").unwrap(), "");
        assert_eq!(value("a").unwrap(), r#"{"b":"path","n":1.50}"#);
        assert_eq!(
            value("nope").unwrap_err().to_string(),
            r#"the secret "db" has no property "nope""#
        );
        assert!(matches!(value("a.*"), Err(StoreError::Property { .. })));

        let members = vault.members(&document, &remote("")).unwrap();
        assert_eq!(members["n"].expose(), b"1000");
        assert_eq!(members["z"].expose(), b"<1>");
        let inner = vault.members(&document, &remote("a")).unwrap();
        assert_eq!(inner["n"].expose(), b"1.5");
        assert!(matches!(
            vault.members(&document, &remote("a.b")),
            Err(StoreError::NotJson { .. })
        ));
    }

    #[test]
    fn answers_without_data() {
        let vault = backend(KvVersion::V2);
        let of = |text: &str| vault.document("p", &answer(text)).unwrap_err();
        assert!(of(r#"{"data":{"data":null,"metadata":{}}}"#).is_no_secret());
        for text in ["{}", r#"{"data":{}}"#, r#"{"data":{"data":1}}"#, "<html>"] {
            let error = of(text);
            assert!(!error.is_no_secret() && !error.is_outage(), "{error}");
        }
        let v1 = backend(KvVersion::V1);
        let document = v1.document("p", &answer(r#"{"data":{"a":"b"}}"#)).unwrap();
        assert_eq!(v1.value(&document, &remote("a")).unwrap().expose(), b"b");
    }

    #[test]
    fn versions_are_numbers() {
        let vault = backend(KvVersion::V2);
        let mut of = remote("");
        of.version = Some("3".to_owned());
        assert_eq!(vault.locate(&of).unwrap().version.as_deref(), Some("3"));
        of.version = Some("latest".to_owned());
        assert!(matches!(vault.locate(&of), Err(StoreError::Version { .. })));
    }
}

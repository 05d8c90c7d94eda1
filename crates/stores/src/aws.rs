//! AWS Secrets Manager as a store (external-secrets.md 10.2).

use selkie_cloud::aws::{SecretPayload, SecretVersion, SecretsManager};
use selkie_secret::SecretBytes;

use crate::json::Node;
use crate::property::Path;
use crate::vault::{members_of, value_of};
use crate::{BoxFuture, Document, Location, Members, RemoteRef, SecretBackend, StoreError};

/// One region, one access key.
#[derive(Debug)]
pub struct SecretsManagerBackend {
    client: SecretsManager,
    prefix: String,
}

impl SecretsManagerBackend {
    /// Makes a store of `client`; `prefix` stands before every key.
    pub fn new(client: SecretsManager, prefix: String) -> Self {
        Self { client, prefix }
    }
}

impl SecretBackend for SecretsManagerBackend {
    fn locate(&self, remote: &RemoteRef) -> Result<Location, StoreError> {
        Ok(Location {
            path: format!("{}{}", self.prefix, remote.key),
            version: remote.version.clone().filter(|text| !text.is_empty()),
        })
    }

    fn read<'a>(&'a self, location: &'a Location) -> BoxFuture<'a, Result<Document, StoreError>> {
        Box::pin(async move {
            let version = SecretVersion::parse(location.version.as_deref());
            Ok(match self.client.get(&location.path, &version).await? {
                SecretPayload::Text(text) => Document(text.into_bytes()),
                SecretPayload::Binary(bytes) => Document(bytes),
            })
        })
    }

    fn value(&self, document: &Document, remote: &RemoteRef) -> Result<SecretBytes, StoreError> {
        value_of(&document.0, remote, |root, property| {
            // With dots in it, first as one member's name.
            property
                .contains('.')
                .then(|| Path::literal(property).find(root))?
        })
    }

    fn members(&self, document: &Document, remote: &RemoteRef) -> Result<Members, StoreError> {
        let value = self.value(document, remote)?;
        members_of(&value, remote, Node::raw_bytes)
    }

    /// Static credentials say nothing until they are used, as in the original.
    fn validate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selkie_cloud::aws::{AccessKey, SecretsManagerConfig};
    use selkie_secret::SecretString;

    use super::*;

    fn backend() -> SecretsManagerBackend {
        let config = SecretsManagerConfig {
            region: "eu-central-1".to_owned(),
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            timeout: Duration::from_secs(1),
            attempts: Some((1, Duration::ZERO)),
        };
        let key = AccessKey {
            id: SecretString::new("id".to_owned()),
            secret: SecretString::new("canary".to_owned()),
            session_token: None,
        };
        SecretsManagerBackend::new(SecretsManager::new(&config, &key), "team/".to_owned())
    }

    fn value(text: &str, property: &str) -> Result<String, StoreError> {
        let document = Document(SecretBytes::new(text.as_bytes().to_vec()));
        let remote = RemoteRef {
            key: "db".to_owned(),
            property: Some(property.to_owned()),
            version: None,
        };
        let value = backend().value(&document, &remote)?;
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    #[test]
    fn properties() {
        let text = r#"{"a.b":"literal","a":{"b":"path","c":{ "d" : 1.50 }},"n":1.50,"x":1,"x":2}"#;
        assert_eq!(value(text, "").unwrap(), text);
        assert_eq!(value(text, "a.b").unwrap(), "literal");
        assert_eq!(value(text, "a.c").unwrap(), r#"{ "d" : 1.50 }"#);
        assert_eq!(value(text, "n").unwrap(), "1.5");
        assert_eq!(value(text, "x").unwrap(), "1");
        assert!(matches!(
            value(text, "y"),
            Err(StoreError::MissingProperty { .. })
        ));
        assert_eq!(value("plain text", "").unwrap(), "plain text");
        assert!(matches!(
            value("plain text", "a"),
            Err(StoreError::NotJson { .. })
        ));
    }

    #[test]
    fn members_keep_their_text() {
        let text = r#"{"n":12345678901234567890.50,"s":"t","o":{ "k": 1 },"z":null}"#;
        let document = Document(SecretBytes::new(text.as_bytes().to_vec()));
        let members = backend().members(&document, &RemoteRef::default()).unwrap();
        let texts: Vec<&[u8]> = members.values().map(SecretBytes::expose).collect();
        assert_eq!(
            texts,
            [&b"12345678901234567890.50"[..], b"{ \"k\": 1 }", b"t", b""]
        );
    }

    #[test]
    fn the_prefix_stands_before_the_key() {
        let remote = RemoteRef {
            key: "db".to_owned(),
            property: Some("a".to_owned()),
            version: Some("AWSPREVIOUS".to_owned()),
        };
        let location = backend().locate(&remote).unwrap();
        assert_eq!(location.path, "team/db");
        assert_eq!(location.version.as_deref(), Some("AWSPREVIOUS"));
    }

    #[tokio::test]
    async fn a_closed_port_is_an_outage() {
        let store = backend();
        let location = store.locate(&RemoteRef::default()).unwrap();
        let error = store.read(&location).await.unwrap_err();
        assert!(error.is_outage(), "{error}");
        assert!(!error.to_string().contains("canary"));
    }
}

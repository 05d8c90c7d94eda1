//! core/v1 Secret with its values as [`SecretBytes`].
//!
//! k8s-openapi's `Secret` shows its values in `Debug` and its parse errors; this one does neither.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::{NamespaceResourceScope, api::core::v1::Secret};
use kube::{Resource, api::ObjectMeta};
use selkie_secret::SecretBytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::Value;

/// A Secret as it is read and written; the API server never sees `stringData` from us.
#[derive(Debug, Default, Deserialize)]
pub struct SecretObject {
    /// Object metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Secret type; `None` lets the API server default it to `Opaque`.
    #[serde(default, rename = "type")]
    pub type_: Option<String>,
    /// Whether the data may not be changed any more.
    #[serde(default)]
    pub immutable: Option<bool>,
    /// Values by key.
    #[serde(default)]
    pub data: SecretData,
}

/// Values by key; `Debug` shows the keys only.
#[derive(Default, Eq, PartialEq)]
pub struct SecretData(pub BTreeMap<String, SecretBytes>);

impl SecretData {
    /// Makes a second copy, which is cleared on its own drop.
    pub fn duplicate(&self) -> Self {
        let copied = self.0.iter();
        Self(
            copied
                .map(|(key, value)| (key.clone(), value.duplicate()))
                .collect(),
        )
    }
}

impl SecretObject {
    /// Makes a second copy; its values are cleared on their own drop.
    pub fn duplicate(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            type_: self.type_.clone(),
            immutable: self.immutable,
            data: self.data.duplicate(),
        }
    }
}

// kube's `Api` asks for it; nothing of ours calls it but `duplicate`.
impl Clone for SecretObject {
    fn clone(&self) -> Self {
        self.duplicate()
    }
}

impl Resource for SecretObject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Secret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Secret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Secret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Secret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The request body: this is where values leave the process.
impl Serialize for SecretObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Secret", 6)?;
        object.serialize_field("apiVersion", "v1")?;
        object.serialize_field("kind", "Secret")?;
        object.serialize_field("metadata", &self.metadata)?;
        if let Some(type_) = &self.type_ {
            object.serialize_field("type", type_)?;
        }
        if let Some(immutable) = self.immutable {
            object.serialize_field("immutable", &immutable)?;
        }
        object.serialize_field("data", &DataBody(&self.data))?;
        object.end()
    }
}

struct DataBody<'a>(&'a SecretData);

impl Serialize for DataBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.0.len()))?;
        for (key, value) in &self.0.0 {
            let text = selkie_secret::SecretString::new(BASE64_STANDARD.encode(value.expose()));
            map.serialize_entry(key, text.expose())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for SecretData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = SecretData;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of base64 values")
    }

    fn visit_none<E>(self) -> Result<SecretData, E> {
        Ok(SecretData::default())
    }

    fn visit_unit<E>(self) -> Result<SecretData, E> {
        Ok(SecretData::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<SecretData, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretData, A::Error> {
        let mut data = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            // Not `String`: serde would show a value of another type in its message.
            let value = match map.next_value::<Value>()? {
                Value::String(text) => selkie_secret::SecretString::new(text),
                Value::Null => selkie_secret::SecretString::default(),
                _ => return Err(A::Error::custom(format!("data.{key} is not a string"))),
            };
            let bytes = BASE64_STANDARD
                .decode(value.expose())
                .map_err(|_| A::Error::custom(format!("data.{key} is not base64")))?;
            data.insert(key, SecretBytes::new(bytes));
        }
        Ok(SecretData(data))
    }
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_survives_the_round_trip() {
        let wire = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "n", "namespace": "s" },
            "type": "kubernetes.io/tls", "immutable": true,
            "data": { "k": "Y2FuYXJ5", "empty": "" },
        });
        let secret: SecretObject = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(secret.data.0["k"].expose(), b"canary");
        assert_eq!(serde_json::to_value(secret.clone()).unwrap(), wire);
    }

    #[test]
    fn absent_and_null_data_are_empty() {
        for text in [
            r#"{"metadata":{}}"#,
            r#"{"metadata":{},"data":null}"#,
            r#"{"data":{}}"#,
        ] {
            let secret: SecretObject = serde_json::from_str(text).unwrap();
            assert!(secret.data.0.is_empty());
        }
    }

    #[test]
    fn neither_debug_nor_errors_show_values() {
        let secret: SecretObject = serde_json::from_str(r#"{"data":{"k":"Y2FuYXJ5"}}"#).unwrap();
        let shown = format!("{secret:?}");
        assert!(
            shown.contains('k') && !shown.contains("Y2FuYXJ5") && !shown.contains("canary"),
            "{shown}"
        );
        for text in [r#"{"data":{"k":"canary!"}}"#, r#"{"data":{"k":4711}}"#] {
            let error = serde_json::from_str::<SecretObject>(text)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("data.k") && !error.contains("canary") && !error.contains("4711"),
                "{error}"
            );
        }
    }
}

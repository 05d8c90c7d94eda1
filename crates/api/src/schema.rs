//! Small pieces of OpenAPI v3 schema, so that a CRD reads as a list of fields.

use serde_json::{Map, Value, json};

/// Lower-case RFC 1123 subdomain.
const DNS_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// RFC 1123 label.
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A key of a Secret.
const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";

/// An object with named fields; a name that ends in `*` is required.
pub(crate) fn object<const N: usize>(description: &str, fields: [(&str, Value); N]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in fields {
        let plain = name.trim_end_matches('*');
        if plain.len() < name.len() {
            required.push(plain);
        }
        properties.insert(plain.to_owned(), schema);
    }
    let mut schema = json!({ "type": "object", "description": description });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema["properties"] = Value::Object(properties);
    schema
}

/// An object whose other fields are kept as well: newer versions of the original have more of them.
pub(crate) fn open_object<const N: usize>(description: &str, fields: [(&str, Value); N]) -> Value {
    with(
        object(description, fields),
        "x-kubernetes-preserve-unknown-fields",
        true,
    )
}

/// An object that is kept as it is, whatever it holds.
pub(crate) fn anything(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// A string.
pub(crate) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// A string that is one of `values`.
pub(crate) fn choice(description: &str, values: &[&str]) -> Value {
    with(text(description), "enum", values)
}

/// A boolean.
pub(crate) fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// A time.
pub(crate) fn time(description: &str) -> Value {
    with(text(description), "format", "date-time")
}

/// A list.
pub(crate) fn list(description: &str, items: Value) -> Value {
    let mut schema = json!({ "type": "array", "description": description });
    schema["items"] = items;
    schema
}

/// A map from text to text.
pub(crate) fn text_map(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "additionalProperties": { "type": "string" },
    })
}

/// The name of a cluster object.
pub(crate) fn dns_name(description: &str) -> Value {
    bounded(description, DNS_NAME, 253)
}

/// The name of a namespace.
pub(crate) fn namespace(description: &str) -> Value {
    bounded(description, DNS_LABEL, 63)
}

/// The key of a Secret.
pub(crate) fn secret_key(description: &str) -> Value {
    bounded(description, SECRET_KEY, 253)
}

/// Adds one keyword to a schema.
pub(crate) fn with(mut schema: Value, keyword: &str, value: impl Into<Plain>) -> Value {
    schema[keyword] = value.into().0;
    schema
}

/// What [`with`] takes.
pub(crate) struct Plain(Value);

impl From<Value> for Plain {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<bool> for Plain {
    fn from(value: bool) -> Self {
        Self(json!(value))
    }
}

impl From<&str> for Plain {
    fn from(value: &str) -> Self {
        Self(json!(value))
    }
}

impl From<&[&str]> for Plain {
    fn from(value: &[&str]) -> Self {
        Self(json!(value))
    }
}

fn bounded(description: &str, pattern: &str, longest: u32) -> Value {
    json!({
        "type": "string",
        "description": description,
        "minLength": 1,
        "maxLength": longest,
        "pattern": pattern,
    })
}

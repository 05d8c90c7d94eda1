//! Writing a secret of a key-value engine of Vault or OpenBao, version 1 or 2.

use selkie_secret::SecretBytes;
use serde_json::Value;
use zeroize::Zeroize as _;

use crate::vault::{VaultClient, VaultError};

/// A secret of a key-value engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSecret {
    /// The mount, with or without slashes around it.
    pub mount: String,
    /// The path below the mount.
    pub path: String,
    /// Whether the engine keeps versions (version 2).
    pub versioned: bool,
}

/// What a write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// There is a new version, or another value.
    New,
    /// The secret was so already; nothing was written.
    UpToDate,
}

impl KvSecret {
    /// Returns the path below `/v1/` that the secret is read and written at.
    pub fn api_path(&self) -> String {
        let mount = self.mount.trim_matches('/');
        let path = self.path.trim_matches('/');
        match self.versioned {
            true => format!("{mount}/data/{path}"),
            false => format!("{mount}/{path}"),
        }
    }

    /// Makes `data`, a JSON object, the value of the secret, unless it is so already. A server that
    /// does not let the secret be read gets it written in any case.
    pub async fn write(
        &self,
        vault: &VaultClient,
        data: &SecretBytes,
    ) -> Result<Written, VaultError> {
        let path = self.api_path();
        if let Ok(answer) = vault.read(&path, None).await
            && self.holds(&answer, data)
        {
            return Ok(Written::UpToDate);
        }
        let body = match self.versioned {
            true => {
                let mut body = Vec::with_capacity(data.len() + 16);
                body.extend_from_slice(b"{\"data\":");
                body.extend_from_slice(data.expose());
                body.push(b'}');
                SecretBytes::new(body)
            }
            false => data.duplicate(),
        };
        vault.write_value(&path, body).await?;
        Ok(Written::New)
    }

    /// Whether an answer to a read holds these data.
    fn holds(&self, answer: &SecretBytes, data: &SecretBytes) -> bool {
        let parse = |bytes: &SecretBytes| serde_json::from_slice::<Value>(bytes.expose()).ok();
        let (Some(mut answer), Some(mut data)) = (parse(answer), parse(data)) else {
            return false;
        };
        let found = match self.versioned {
            true => answer.pointer("/data/data"),
            false => answer.pointer("/data"),
        };
        let same = found == Some(&data);
        clear(&mut answer);
        clear(&mut data);
        same
    }
}

/// Clears the texts of a value.
fn clear(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(clear),
        Value::Object(entries) => entries.values_mut().for_each(clear),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(versioned: bool) -> KvSecret {
        KvSecret {
            mount: "team/kv/".to_owned(),
            path: "apps//db.yaml".to_owned(),
            versioned,
        }
    }

    fn bytes(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn paths_follow_the_version_of_the_engine() {
        assert_eq!(secret(true).api_path(), "team/kv/data/apps//db.yaml");
        assert_eq!(secret(false).api_path(), "team/kv/apps//db.yaml");
    }

    #[test]
    fn only_the_same_data_are_the_same() {
        let data = bytes(r#"{"a":1,"b":{"c":["x",null]}}"#);
        for (versioned, answer, same) in [
            (
                true,
                r#"{"data":{"data":{"b":{"c":["x",null]},"a":1}}}"#,
                true,
            ),
            (true, r#"{"data":{"data":{"a":1}}}"#, false),
            (true, r#"{"data":{"data":null}}"#, false),
            (true, r#"{"data":{"a":1,"b":{"c":["x",null]}}}"#, false),
            (false, r#"{"data":{"a":1,"b":{"c":["x",null]}}}"#, true),
            (false, "no JSON", false),
        ] {
            assert_eq!(
                secret(versioned).holds(&bytes(answer), &data),
                same,
                "{answer}"
            );
        }
    }
}

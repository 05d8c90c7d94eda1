//! The transit engine of Vault and OpenBao: a key that never leaves the server encrypts small data
//! (sops-format.md 8.6).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selkie_secret::{SecretBytes, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::vault::{VaultClient, VaultError};

/// A key of a transit engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TransitKey {
    /// The mount, possibly of several segments.
    pub engine_path: String,
    /// The key's name.
    pub name: String,
}

impl TransitKey {
    /// Encrypts `plain` and returns the server's text, `vault:v1:...`.
    pub async fn encrypt(&self, vault: &VaultClient, plain: &[u8]) -> Result<String, VaultError> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            ciphertext: String,
        }
        let path = self.path("encrypt");
        let plain = Zeroizing::new(STANDARD.encode(plain));
        let answer = vault
            .write(&path, body("plaintext", &plain), &plain)
            .await?;
        let answer: Answer = serde_json::from_slice(answer.expose())
            .map_err(|_| vault.malformed(&path, "it has no data.ciphertext"))?;
        let text = answer.data.ciphertext;
        if text.is_empty() || text.chars().any(char::is_whitespace) {
            return Err(vault.malformed(&path, "its data.ciphertext is not one word"));
        }
        Ok(text)
    }

    /// Decrypts a text of the server's.
    pub async fn decrypt(
        &self,
        vault: &VaultClient,
        ciphertext: &str,
    ) -> Result<SecretBytes, VaultError> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            plaintext: String,
        }
        let path = self.path("decrypt");
        let answer = vault
            .write(&path, body("ciphertext", ciphertext), "")
            .await?;
        let answer: Answer = serde_json::from_slice(answer.expose())
            .map_err(|_| vault.malformed(&path, "it has no data.plaintext"))?;
        let plain = SecretString::new(answer.data.plaintext);
        STANDARD
            .decode(plain.expose())
            .map(SecretBytes::new)
            .map_err(|_| vault.malformed(&path, "its data.plaintext is not base64"))
    }

    fn path(&self, operation: &str) -> String {
        format!("{}/{operation}/{}", self.engine_path, self.name)
    }
}

/// `{"name":"value"}`, in memory that is cleared. JSON escapes make a text at most six times as long.
fn body(name: &str, value: &str) -> SecretBytes {
    let mut json = Vec::with_capacity(name.len() + value.len() * 6 + 16);
    json.extend_from_slice(b"{\"");
    json.extend_from_slice(name.as_bytes());
    json.extend_from_slice(b"\":");
    // Writing to memory does not fail.
    let _ = serde_json::to_writer(&mut json, value);
    json.push(b'}');
    SecretBytes::new(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_json_and_the_path_is_below_the_engine() {
        let sent = body("ciphertext", "vault:v1:a\"\\\n\u{1}é");
        let read: serde_json::Value = serde_json::from_slice(sent.expose()).unwrap();
        assert_eq!(read["ciphertext"], "vault:v1:a\"\\\n\u{1}é");
        let key = TransitKey {
            engine_path: "team/sops".to_owned(),
            name: "first".to_owned(),
        };
        assert_eq!(key.path("encrypt"), "team/sops/encrypt/first");
    }
}

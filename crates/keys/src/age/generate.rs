//! A new key pair, for `selkie keygen`.

use ::age::secrecy::ExposeSecret as _;
use ::age::x25519;
use selkie_secret::SecretString;

use super::hybrid::HybridIdentity;

/// A new key pair.
pub struct GeneratedKey {
    secret: SecretString,
    public: String,
}

impl GeneratedKey {
    /// Makes an X25519 key from the operating system's random source.
    pub fn generate() -> Self {
        let identity = x25519::Identity::generate();
        Self {
            secret: SecretString::new(identity.to_string().expose_secret().to_owned()),
            public: identity.to_public().to_string(),
        }
    }

    /// Makes a post-quantum key (ML-KEM-768 and X25519), as `age-keygen -pq` does.
    ///
    /// Fails when the operating system gives no random bytes.
    pub fn generate_post_quantum() -> Result<Self, getrandom::Error> {
        let identity = HybridIdentity::generate()?;
        Ok(Self {
            secret: identity.to_text(),
            public: identity.to_public().to_string(),
        })
    }

    /// Returns the recipient, `age1...`.
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// Returns the identity file as age-keygen writes it: three lines, each ended by a newline.
    pub fn file(&self, now: jiff::Timestamp) -> SecretString {
        SecretString::new(format!(
            "# created: {}\n# public key: {}\n{}\n",
            now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            self.public,
            self.secret.expose()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_file_has_the_form_of_age_keygen() {
        let now = "2026-11-21T12:00:00.5Z".parse().unwrap();
        for (key, prefix) in [
            (GeneratedKey::generate(), "AGE-SECRET-KEY-1"),
            (
                GeneratedKey::generate_post_quantum().unwrap(),
                "AGE-SECRET-KEY-PQ-1",
            ),
        ] {
            let file = key.file(now);
            let lines: Vec<&str> = file.expose().split('\n').collect();
            assert_eq!(lines[0], "# created: 2026-11-21T12:00:00Z");
            assert_eq!(lines[1], format!("# public key: {}", key.public_key()));
            assert!(lines[2].starts_with(prefix), "{prefix}");
            assert_eq!(lines[3..], [""]);
        }
    }
}

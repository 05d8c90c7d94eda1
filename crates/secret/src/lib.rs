//! Secret bytes and strings: redacted in `Debug`, compared in constant time, cleared on drop.
//!
//! A value is one of these types from the byte it is read to the byte it is written (design.md,
//! invariant 2). Neither type implements `Display`, `Serialize` or `Clone`; a copy is made with
//! [`SecretBytes::duplicate`], so that every copy is visible in a review.

mod hidden;
mod process;

pub use hidden::{HiddenValues, SHORTEST_PART};
pub use process::{HardenError, harden_process};

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that must not be shown: a key, a plaintext value, a file that holds one.
#[derive(Default)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes ownership of `bytes`; they are cleared when the value is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Shows the bytes. The caller must not let them reach a message, a log or a status.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a second copy, which is cleared on its own drop.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Turns the bytes into text, or gives them back when they are not UTF-8.
    pub fn into_string(mut self) -> Result<SecretString, Self> {
        match String::from_utf8(std::mem::take(&mut *self.0)) {
            Ok(text) => Ok(SecretString::new(text)),
            Err(error) => Err(Self::new(error.into_bytes())),
        }
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(redacted)")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

/// UTF-8 text that must not be shown.
#[derive(Default)]
pub struct SecretString(Zeroizing<String>);

impl SecretString {
    /// Takes ownership of `text`; it is cleared when the value is dropped.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Shows the text. The caller must not let it reach a message, a log or a status.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a second copy, which is cleared on its own drop.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Turns the text into its bytes without copying them.
    pub fn into_bytes(mut self) -> SecretBytes {
        SecretBytes::new(std::mem::take(&mut *self.0).into_bytes())
    }
}

impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretString(redacted)")
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let shown = format!(
            "{:?} {:?}",
            SecretBytes::new(b"canary".to_vec()),
            SecretString::new("canary".to_owned())
        );
        assert_eq!(shown, "SecretBytes(redacted) SecretString(redacted)");
    }

    #[test]
    fn bytes_that_are_not_text_come_back() {
        let bytes = SecretBytes::new(vec![0xff, 0x00]);
        assert_eq!(bytes.into_string().unwrap_err().expose(), [0xff, 0x00]);
        let text = SecretBytes::new(b"plain".to_vec()).into_string().unwrap();
        assert_eq!(text.expose(), "plain");
        assert_eq!(text.into_bytes().expose(), b"plain");
    }

    #[test]
    fn equality_looks_at_every_byte() {
        assert_eq!(SecretBytes::new(vec![1, 2]), SecretBytes::new(vec![1, 2]));
        assert_ne!(SecretBytes::new(vec![1, 2]), SecretBytes::new(vec![1, 3]));
        assert_ne!(SecretBytes::new(vec![1]), SecretBytes::new(vec![1, 0]));
    }
}

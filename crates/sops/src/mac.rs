//! The message authentication code of a file (sops-format.md 5).

use std::fmt::Write as _;

use sha2::{Digest, Sha512};

use crate::value::Value;

/// SHA-256 of the ASCII text "sops": fed first when only encrypted leaves count, so that the two
/// modes never give the same code (sops-format.md 5.1).
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// SHA-512 over the values of all leaves in document order; comments and nulls do not enter.
#[derive(Clone)]
pub(crate) struct Mac {
    hash: Sha512,
    only_encrypted: bool,
}

impl Mac {
    pub(crate) fn new(only_encrypted: bool) -> Self {
        let mut hash = Sha512::new();
        if only_encrypted {
            hash.update(ONLY_ENCRYPTED);
        }
        Self {
            hash,
            only_encrypted,
        }
    }

    /// Adds a leaf by its clear value; `encrypted` says whether the rule selects it.
    pub(crate) fn add(&mut self, value: &Value<'_>, encrypted: bool) {
        if encrypted || !self.only_encrypted {
            match value {
                Value::Str(bytes) => self.hash.update(bytes),
                other => self.hash.update(&*other.bytes()),
            }
        }
    }

    /// Returns the digest in upper-case hex: lower case is a mismatch to sops.
    pub(crate) fn finish(self) -> String {
        let mut text = String::with_capacity(128);
        for byte in self.hash.finalize() {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02X}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn text(text: &str) -> Value<'_> {
        Value::Str(Cow::Borrowed(text.as_bytes()))
    }

    /// sops-format.md 23.
    #[test]
    fn published_vectors() {
        let mut mac = Mac::new(false);
        for value in [text("hello"), Value::Int(42), Value::Bool(true)] {
            mac.add(&value, true);
        }
        assert_eq!(
            mac.finish(),
            "BF1494391A064ACD74287133C3513E6D83138622ADE775AF717114C140FDA3FFA76BA3F18A17372570590FD8C141133F0B77C33F26120802F9CB730EA5BF2DC1"
        );
        let mut mac = Mac::new(true);
        mac.add(&text("hello"), true);
        mac.add(&text("clear"), false);
        assert_eq!(
            mac.finish(),
            "AB53BE959DEF78AB23AB9F9A75E134502533FE5A3993047AE8796EADC89707E5244788D2F0A5AD9DF18F64582C106BDAD4937DACD054F46B4FB0B49BDA6E9E7D"
        );
    }
}

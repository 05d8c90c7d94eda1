//! The ciphertexts of a file by what they hide, so that a value that was not touched keeps its own
//! when the file is encrypted again (sops-format.md 6).

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use crate::cipher::Kind;

/// Tokens by additional data, type and plaintext, each queue in the order of the file.
///
/// sops keeps the last IV of equal values alone, so that after an edit all equal elements of a list
/// have one ciphertext and show that they are equal. Here every element gets its own back, and an
/// added one a fresh IV. Never use it under another data key than that of the file it comes from.
#[derive(Clone, Default)]
pub(crate) struct Stash {
    /// By a digest, so that no second copy of a plaintext lies about.
    tokens: HashMap<[u8; 32], VecDeque<String>>,
}

impl Stash {
    /// Remembers a token; equal ones are given back in the order they were added.
    pub(crate) fn add(&mut self, aad: &str, kind: Kind, plaintext: &[u8], token: &str) {
        let queue = self.tokens.entry(digest(aad, kind, plaintext));
        queue.or_default().push_back(token.to_owned());
    }

    /// Takes the next token of a plaintext out.
    pub(crate) fn take(&mut self, aad: &str, kind: Kind, plaintext: &[u8]) -> Option<String> {
        if self.tokens.is_empty() {
            return None;
        }
        self.tokens
            .get_mut(&digest(aad, kind, plaintext))?
            .pop_front()
    }
}

fn digest(aad: &str, kind: Kind, plaintext: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((aad.len() as u64).to_le_bytes());
    hash.update(aad);
    hash.update([kind as u8]);
    hash.update(plaintext);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_keep_tokens_of_their_own_in_order() {
        let mut stash = Stash::default();
        stash.add("l:", Kind::Str, b"x", "first");
        stash.add("l:", Kind::Str, b"x", "second");
        stash.add("l:", Kind::Int, b"5", "int");
        let mut copy = stash.clone();
        assert_eq!(stash.take("l:", Kind::Str, b"x").as_deref(), Some("first"));
        assert_eq!(stash.take("l:", Kind::Str, b"x").as_deref(), Some("second"));
        assert_eq!(stash.take("l:", Kind::Str, b"x"), None);
        // Type and path count, and the border between path and text.
        assert_eq!(copy.take("l:", Kind::Str, b"5"), None);
        assert_eq!(copy.take("m:", Kind::Int, b"5"), None);
        assert_eq!(copy.take("l", Kind::Int, b":5"), None);
        assert_eq!(copy.take("l:", Kind::Int, b"5").as_deref(), Some("int"));
    }
}

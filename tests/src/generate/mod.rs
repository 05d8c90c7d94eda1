//! YAML trees from a seed, with the knowledge of what encryption may touch.
//!
//! A case is a list of pieces. Their texts, one after the other, are the source; their roles say which bytes the rule selects and which
//! must stay whatever happens, so that [`Case::check_encrypted`] and [`Case::check_decrypted`] can hold a tool's output against them
//! byte by byte. The same seed gives the same case on every machine and in every release of our dependencies: the generator has its own
//! random numbers.

mod matching;
mod random;
mod scalars;
mod tree;

pub use matching::{Mismatch, without_metadata};
pub use random::Random;

/// Which leaves a case selects, as a `.sops.yaml` creation rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing is configured: everything but keys that end in `_unencrypted`.
    Default,
    /// `unencrypted_suffix: _clear`.
    UnencryptedSuffix,
    /// `encrypted_suffix: _secret`.
    EncryptedSuffix,
    /// `encrypted_regex: ^(data|secret)`.
    EncryptedRegex,
    /// `unencrypted_regex: ^(meta|kind)`.
    UnencryptedRegex,
    /// `encrypted_comment_regex: sops:hide`.
    EncryptedComment,
    /// `unencrypted_comment_regex: sops:show`.
    UnencryptedComment,
}

impl Rule {
    /// All rules; the default one, the common case, stands first.
    pub const ALL: [Rule; 7] = [
        Rule::Default,
        Rule::EncryptedRegex,
        Rule::UnencryptedSuffix,
        Rule::EncryptedSuffix,
        Rule::UnencryptedRegex,
        Rule::EncryptedComment,
        Rule::UnencryptedComment,
    ];

    /// Returns the line of the creation rule, without indentation; `None` where nothing is configured.
    pub fn setting(self) -> Option<&'static str> {
        match self {
            Rule::Default => None,
            Rule::UnencryptedSuffix => Some("unencrypted_suffix: _clear"),
            Rule::EncryptedSuffix => Some("encrypted_suffix: _secret"),
            Rule::EncryptedRegex => Some("encrypted_regex: ^(data|secret)"),
            Rule::UnencryptedRegex => Some("unencrypted_regex: ^(meta|kind)"),
            Rule::EncryptedComment => Some("encrypted_comment_regex: 'sops:hide'"),
            Rule::UnencryptedComment => Some("unencrypted_comment_regex: 'sops:show'"),
        }
    }
}

/// What a tool may do with a piece of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Stays, byte for byte, in the encrypted and in the decrypted file.
    Fixed,
    /// A selected scalar on one line: one `ENC[...]` in its place. `quoted` allows quotes around it: inside flow collections plain
    /// text cannot hold the brackets. `exact` says that decryption gives back these very bytes, otherwise a canonical form.
    Leaf {
        /// Whether quotes may appear around the ciphertext.
        quoted: bool,
        /// Whether the text comes back byte for byte.
        exact: bool,
    },
    /// A selected block scalar: the text after its header line, to before its last line break.
    Block {
        /// Whether the text comes back byte for byte.
        exact: bool,
    },
    /// A comment or a scalar of which only the original knows whether it is selected: the text or one `ENC[...]`.
    Maybe {
        /// Whether the text comes back byte for byte.
        exact: bool,
    },
    /// Text that is written anew when something beneath it is selected: anchors, aliases, folded text.
    Loose,
}

/// Some bytes of the source and what may happen to them.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The bytes.
    pub text: String,
    /// What may happen to them.
    pub role: Role,
}

/// A generated file.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// Which leaves are selected.
    pub rule: Rule,
    /// Whether the rule asks for `mac_only_encrypted`.
    pub mac_only_encrypted: bool,
    /// The file, in order.
    pub pieces: Vec<Piece>,
    /// The texts of all comments, without `#`; each is unique in the file.
    pub comments: Vec<String>,
}

impl Case {
    /// Makes the case of a seed.
    pub fn new(seed: u64) -> Case {
        tree::case(seed)
    }

    /// Returns the file's text.
    pub fn source(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| piece.text.as_str())
            .collect()
    }

    /// Whether decryption must give back the source byte for byte.
    pub fn is_exact(&self) -> bool {
        self.pieces.iter().all(|piece| match piece.role {
            Role::Fixed => true,
            Role::Leaf { exact, .. } | Role::Block { exact } | Role::Maybe { exact } => exact,
            Role::Loose => false,
        })
    }

    /// Returns a `.sops.yaml` with this case's rule for one age recipient.
    pub fn config(&self, recipient: &str) -> String {
        let mut config = format!("creation_rules:\n  - age: {recipient}\n");
        if let Some(setting) = self.rule.setting() {
            config.push_str(&format!("    {setting}\n"));
        }
        if self.mac_only_encrypted {
            config.push_str("    mac_only_encrypted: true\n");
        }
        config
    }

    /// Checks that `encrypted` is the source with every selected piece replaced by ciphertext, plus the metadata, and nothing else.
    pub fn check_encrypted(&self, encrypted: &str) -> Result<(), Mismatch> {
        matching::encrypted(self, encrypted)
    }

    /// Checks that `decrypted` is the source, up to the pieces that come back in canonical form.
    pub fn check_decrypted(&self, decrypted: &str) -> Result<(), Mismatch> {
        matching::decrypted(self, decrypted)
    }
}

/// The seeds of a run: `sample` spread over the `full` ones, or all of them when `SELKIE_FULL=1` (which the caller reads).
pub fn seeds(full: u64, sample: u64, everything: bool) -> Vec<u64> {
    if everything || sample >= full {
        return (0..full).collect();
    }
    (0..sample).map(|i| i * full / sample).collect()
}

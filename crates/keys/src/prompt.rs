//! Asking the person at the keyboard, on behalf of a key: a passphrase, or what a plugin wants.

use std::fmt;
use std::sync::Arc;

use ::age::secrecy::SecretString as AgeSecretString;
use selkie_secret::SecretString;

/// Who is asked. Nothing is asked before it is needed.
///
/// A library has no terminal: the caller implements this, or passes [`NoPrompt`].
pub trait Prompt: Send + Sync {
    /// Asks for the passphrase of something, e.g. of an identity file.
    ///
    /// Called again with `attempt` 1, 2, ... after a wrong one. `None` ends it: there is nobody to
    /// ask, the person gave up, or the source has no other answer.
    fn passphrase(&self, of: &Passphrase<'_>, attempt: u32) -> Option<SecretString>;

    /// Shows a message of a plugin or of gpg, e.g. to touch a hardware key.
    fn show(&self, message: &str);

    /// Asks a question of a plugin; `None` when there is nobody to ask.
    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool>;

    /// Asks for a text that is no secret; `None` when there is nobody to ask.
    fn text(&self, description: &str) -> Option<String>;
}

/// What a passphrase belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passphrase<'a> {
    /// A passphrase-protected age identity file, by the name of its place.
    IdentityFile(&'a str),
    /// An encrypted SSH private key, by the name of its place.
    SshKey(&'a str),
    /// What a plugin asks for, in its own words.
    Plugin(&'a str),
}

impl fmt::Display for Passphrase<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdentityFile(place) => write!(f, "the passphrase of the identity file {place}"),
            Self::SshKey(place) => write!(f, "the passphrase of the SSH key {place}"),
            Self::Plugin(words) => f.write_str(words),
        }
    }
}

/// Nobody to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPrompt;

impl Prompt for NoPrompt {
    fn passphrase(&self, _of: &Passphrase<'_>, _attempt: u32) -> Option<SecretString> {
        None
    }

    fn show(&self, _message: &str) {}

    fn confirm(&self, _message: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    fn text(&self, _description: &str) -> Option<String> {
        None
    }
}

/// A [`Prompt`] as the age crate asks its plugins' questions.
#[derive(Clone)]
pub(crate) struct PluginPrompt(pub(crate) Arc<dyn Prompt>);

impl ::age::Callbacks for PluginPrompt {
    fn display_message(&self, message: &str) {
        self.0.show(&printable(message));
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let no = no.map(printable);
        self.0
            .confirm(&printable(message), &printable(yes), no.as_deref())
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.text(&printable(description))
    }

    fn request_passphrase(&self, description: &str) -> Option<AgeSecretString> {
        let words = printable(description);
        let given = self.0.passphrase(&Passphrase::Plugin(&words), 0)?;
        Some(AgeSecretString::from(given.expose().to_owned()))
    }
}

/// Returns the text of another program on one line and without control characters and marks of
/// direction, with which it could write over what the terminal shows.
pub(crate) fn printable(text: &str) -> String {
    let hidden = |c: &char| matches!(*c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text: String = text.chars().filter(|c| !hidden(c)).collect();
    let words: Vec<&str> = text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

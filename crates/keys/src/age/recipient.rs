//! Recipients: what a data key is wrapped for (sops-format.md 9.1).

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use ::age::armor::{ArmoredWriter, Format};
use ::age::ssh::ParseRecipientKeyError;
use ::age::{EncryptError, Encryptor, plugin, ssh, x25519};
use selkie_sops::{KeyEntry, KeyKind, KeySpec, MasterKey, WrapError};

use super::hybrid::HybridRecipient;
use crate::prompt::{NoPrompt, PluginPrompt, Prompt};

/// A recipient: a public key that a data key is wrapped for, or what a plugin needs for that.
#[derive(Clone)]
pub struct AgeRecipient {
    /// As configured: an SSH key keeps its comment.
    text: String,
    key: Key,
    prompt: Arc<dyn Prompt>,
}

#[derive(Clone)]
enum Key {
    X25519(x25519::Recipient),
    Hybrid(Box<HybridRecipient>),
    Ssh(Box<ssh::Recipient>),
    Plugin(plugin::Recipient),
}

/// Why a recipient cannot be used. Recipients are public and shown, other text is not: it may be
/// a key file, given by mistake through `--age`, SOPS_AGE_RECIPIENTS or .sops.yaml.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// Neither `age1...` nor another form that sops knows.
    #[error("{recipient} is not an age recipient: {reason}")]
    Malformed {
        /// The text as given, in backquotes, where it looks like a recipient; else a wording.
        recipient: String,
        /// Why it does not parse.
        reason: String,
    },
    /// The private key was given where the public one belongs; it is not shown.
    #[error(
        "this is an age identity (a private key), not a recipient; \
         give the line after `# public key:` of its file"
    )]
    PrivateKey,
}

impl AgeRecipient {
    /// Has a plugin ask its questions through `prompt`; without it there is nobody to ask.
    #[must_use]
    pub fn with_prompt(mut self, prompt: &Arc<dyn Prompt>) -> Self {
        self.prompt = Arc::clone(prompt);
        self
    }

    fn armored(&self, secret: &[u8]) -> Result<String, EncryptError> {
        match &self.key {
            Key::X25519(key) => armored(key, secret),
            Key::Hybrid(key) => armored(key.as_ref(), secret),
            Key::Ssh(key) => armored(key.as_ref(), secret),
            Key::Plugin(key) => {
                let prompt = PluginPrompt(Arc::clone(&self.prompt));
                let own = std::slice::from_ref(key);
                let program = plugin::RecipientPluginV1::new(key.plugin(), own, &[], prompt)
                    .map_err(EncryptError::PluginResolve)?;
                armored(&program, secret).map_err(|error| match error {
                    EncryptError::Io(error) => {
                        EncryptError::Io(super::plugin_ended(key.plugin(), &error))
                    }
                    other => other,
                })
            }
        }
    }
}

/// Returns an armored age file for one recipient; it ends in a newline. The function of the same
/// purpose in the crate panics when the recipient fails, as a plugin may.
fn armored(recipient: &dyn ::age::Recipient, secret: &[u8]) -> Result<String, EncryptError> {
    let encryptor = Encryptor::with_recipients(std::iter::once(recipient))?;
    let mut file = Vec::new();
    let armor = ArmoredWriter::wrap_output(&mut file, Format::AsciiArmor)?;
    let mut writer = encryptor.wrap_output(armor)?;
    writer.write_all(secret)?;
    writer.finish()?.finish()?;
    // The crate writes the platform's line ends.
    Ok(String::from_utf8_lossy(&file).replace('\r', ""))
}

impl FromStr for AgeRecipient {
    type Err = RecipientError;

    /// Parses one recipient; surrounding blanks are dropped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if holds_private_key(text) {
            return Err(RecipientError::PrivateKey);
        }
        let malformed = |reason: &str| RecipientError::Malformed {
            recipient: shown(text),
            reason: reason.to_owned(),
        };
        // In the order of sops-format.md 9.1.
        let key = if text.starts_with("age1pq1") {
            let key = text.parse().map_err(malformed)?;
            Key::Hybrid(Box::new(key))
        } else if text.starts_with("age1") && text.matches('1').count() > 1 {
            Key::Plugin(text.parse().map_err(malformed)?)
        } else if text.starts_with("age1") {
            Key::X25519(text.parse().map_err(malformed)?)
        } else if text.starts_with("ssh-") && !text.contains(['\n', '\r']) {
            let key = text
                .parse()
                .map_err(|error| malformed(&ssh_reason(&error)))?;
            Key::Ssh(Box::new(key))
        } else {
            return Err(malformed("it starts with neither age1 nor ssh-"));
        };
        Ok(Self {
            text: text.to_owned(),
            key,
            prompt: Arc::new(NoPrompt),
        })
    }
}

fn ssh_reason(error: &ParseRecipientKeyError) -> String {
    match error {
        ParseRecipientKeyError::RsaModulusTooSmall => "RSA keys need at least 2048 bits".to_owned(),
        ParseRecipientKeyError::RsaModulusTooLarge => "RSA keys may have 4096 bits".to_owned(),
        ParseRecipientKeyError::Unsupported(kind) => format!(
            "age takes ssh-ed25519 and ssh-rsa, not {}",
            crate::prompt::printable(kind)
        ),
        _ => "it is not a line of an SSH public key file".to_owned(),
    }
}

/// Returns whether a private key stands anywhere in a text, as in a whole key file.
fn holds_private_key(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY"]
        .iter()
        .any(|mark| upper.contains(mark))
}

/// Returns a refused text as a message may show it: whole only where it looks like a recipient.
fn shown(text: &str) -> String {
    let public = text.starts_with("age1") || text.starts_with("ssh-");
    if !public || text.contains(['\n', '\r']) {
        return "the given text (not shown)".to_owned();
    }
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// A post-quantum recipient has 1,959 characters.
const MAX_SHOWN: usize = 100;

/// Returns what two recipients have to share to be the same: an SSH key is the same under
/// another comment.
pub(super) fn bare(recipient: &str) -> &str {
    if !recipient.starts_with("ssh-") {
        return recipient;
    }
    let mut ends = recipient.match_indices([' ', '\t']).map(|(at, _)| at);
    ends.nth(1).map_or(recipient, |end| &recipient[..end])
}

impl fmt::Display for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for AgeRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for AgeRecipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AgeRecipient {}

/// Parses a comma-separated list; blanks and empty elements are skipped, repetitions dropped.
pub fn parse_recipients(list: &str) -> Result<Vec<AgeRecipient>, RecipientError> {
    let mut recipients: Vec<AgeRecipient> = Vec::new();
    for text in list.split(',').filter(|text| !text.trim().is_empty()) {
        let recipient = text.parse()?;
        if !recipients.contains(&recipient) {
            recipients.push(recipient);
        }
    }
    Ok(recipients)
}

impl MasterKey for AgeRecipient {
    fn kind(&self) -> KeyKind {
        KeyKind::Age
    }

    fn id(&self) -> &str {
        &self.text
    }

    /// Wraps for this recipient alone: sops reads one age file per entry (sops-format.md 8.1).
    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let armor = self.armored(secret).map_err(|error| WrapError {
            kind: KeyKind::Age,
            id: self.text.clone(),
            reason: super::plain_wrap(&error),
        })?;
        let spec = KeySpec::Age {
            recipient: self.text.clone(),
        };
        // age entries carry no time.
        Ok(spec.entry(&armor, jiff::Timestamp::UNIX_EPOCH))
    }
}

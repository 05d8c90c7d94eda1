//! age: recipients and identities of every type that sops knows (sops-format.md 8.1, 9).

mod generate;
mod hybrid;
mod identity;
mod open;
mod pool;
mod protected;
mod recipient;
mod ssh;
#[cfg(test)]
mod tests;
mod xwing;

pub use generate::GeneratedKey;
pub use hybrid::{HybridIdentity, HybridRecipient};
pub use identity::{AgeIdentity, NotAnIdentity};
pub use open::{OpenError, open, payload};
pub use pool::{AgeIdentities, Effort, IdentitySource, SourceForm, SourceReport};
pub use protected::{ProtectedFile, decrypt as decrypt_with_passphrase};
pub use recipient::{AgeRecipient, RecipientError, parse_recipients};
pub use ssh::{SshIdentity, SshKeyError};

use std::fmt;
use std::io;

use ::age::plugin::ResolveError;
use ::age::{DecryptError, EncryptError};

use crate::prompt::printable;

/// Returns an error of the age crate in one line of our own words: its texts are translated,
/// have several lines and hidden marks.
fn plain(error: &DecryptError) -> String {
    match error {
        DecryptError::Plugin(errors) => plugin_errors(errors),
        DecryptError::PluginResolve(error) => unresolved(error),
        DecryptError::KeyDecryptionFailed => "the passphrase is wrong or was not given".to_owned(),
        DecryptError::InvalidHeader => "its age header is malformed".to_owned(),
        DecryptError::Io(error) => printable(&error.to_string()),
        _ => "an identity fits, but its part of the header was changed".to_owned(),
    }
}

/// The same for wrapping.
fn plain_wrap(error: &EncryptError) -> String {
    match error {
        EncryptError::Plugin(errors) => plugin_errors(errors),
        EncryptError::PluginResolve(error) => unresolved(error),
        other => printable(&other.to_string()),
    }
}

fn plugin_errors(errors: &[impl fmt::Display]) -> String {
    let each = errors.iter().map(|error| printable(&error.to_string()));
    each.collect::<Vec<_>>().join("; ")
}

/// Names the plugin whose pipe broke.
fn plugin_ended(name: &str, error: &io::Error) -> io::Error {
    let words = match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "it ended before it had answered; AGEDEBUG=plugin shows what it said".to_owned()
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("age-plugin-{name}: {words}"))
}

fn unresolved(error: &ResolveError) -> String {
    match error {
        ResolveError::MissingPlugin { binary_name } => {
            format!("the program {binary_name} is not on the PATH; install the plugin")
        }
        _ => "the name of the plugin is malformed".to_owned(),
    }
}

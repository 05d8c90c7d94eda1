//! What wraps and unwraps data keys in this run: clients and settings from the environment, which
//! do nothing before they are used.

use std::sync::Arc;

use jiff::Timestamp;
use selkie_keys::pgp::{Gpg, GpgSettings};
use selkie_keys::prompt::Prompt;
use selkie_keys::{KeyContext, KeySources};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, UnwrapError};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::identities::Identities;
use crate::terminal::{self, Terminal};

/// Every source of data keys.
pub(crate) struct Keys {
    identities: Identities,
    gpg: Arc<Gpg>,
}

impl Keys {
    /// Reads identity files; runs no command and opens no connection.
    pub(crate) fn collect(environment: &Environment) -> Self {
        let prompt = prompt(environment);
        Self {
            identities: Identities::collect(environment, &prompt),
            gpg: Arc::new(gpg(environment, &prompt)),
        }
    }

    /// Says, a line each, where age identities were looked for and what was found.
    pub(crate) fn places(&self) -> String {
        self.identities.places()
    }

    fn sources(&self) -> KeySources<'_> {
        KeySources::default()
            .with(KeyKind::Age, &self.identities)
            .with(KeyKind::Pgp, self.gpg.as_ref())
    }
}

impl DataKeySource for Keys {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.sources().fits(entry)
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        self.sources().unwrap_key(entry)
    }
}

/// Returns what master keys are made with.
pub(crate) fn context(environment: &Environment, now: Timestamp) -> KeyContext {
    let prompt = prompt(environment);
    KeyContext {
        now,
        gpg: Arc::new(gpg(environment, &prompt)),
        prompt,
    }
}

fn prompt(environment: &Environment) -> Arc<dyn Prompt> {
    Arc::new(Terminal {
        passphrase_command: environment.passphrase_command.clone(),
        ..Terminal::default()
    })
}

fn gpg(environment: &Environment, prompt: &Arc<dyn Prompt>) -> Gpg {
    let mut settings = GpgSettings {
        home: environment.gpg_home.clone(),
        ..GpgSettings::default()
    };
    if let Some(program) = &environment.gpg_program {
        settings.program = program.clone();
    }
    if !environment.has_gpg_terminal {
        settings.terminal = terminal::name();
    }
    Gpg::new(settings, Arc::clone(prompt))
}

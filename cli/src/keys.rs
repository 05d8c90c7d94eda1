//! What wraps and unwraps data keys in this run: clients and settings from the environment, which
//! do nothing before they are used.

use std::sync::Arc;

use jiff::Timestamp;
use selkie_cloud::endpoint::Unnamed;
use selkie_keys::aws_kms::AwsKms;
#[cfg(feature = "azure-kv")]
use selkie_keys::azure_kv::AzureKv;
#[cfg(feature = "gcp-kms")]
use selkie_keys::gcp_kms::GcpKms;
use selkie_keys::hckms::HuaweiKms;
use selkie_keys::pgp::{Gpg, GpgSettings};
use selkie_keys::prompt::Prompt;
use selkie_keys::vault_transit::VaultTransit;
use selkie_keys::{KeyContext, KeySources, Remembered};
use selkie_sops::{DataKeySource, DecryptOptions, KeyEntry, KeyKind, KeySpec, UnwrapError};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::identities::Identities;
use crate::services::Services;
use crate::terminal::{self, Terminal};
use crate::ui::Ui;

/// The clients of one run, which share their connections.
pub(crate) struct Clients {
    prompt: Arc<dyn Prompt>,
    gpg: Arc<Gpg>,
    services: Services,
    opening: DecryptOptions,
}

impl Clients {
    /// Makes the clients; reads no file but the user's configuration, runs no command and opens no
    /// connection. `given` are the keys that flags and variables name.
    pub(crate) fn new(environment: &Environment, given: &[KeySpec]) -> Result<Arc<Self>, Failure> {
        Self::with(environment, given, Unnamed::Refused)
    }

    /// As [`Self::new`]; a server that only the file names is used with a warning, as in sops.
    pub(crate) fn under_sops_name(
        environment: &Environment,
        given: &[KeySpec],
    ) -> Result<Arc<Self>, Failure> {
        Self::with(environment, given, Unnamed::Warned)
    }

    fn with(
        environment: &Environment,
        given: &[KeySpec],
        unnamed: Unnamed,
    ) -> Result<Arc<Self>, Failure> {
        let prompt = prompt(environment);
        Ok(Arc::new(Self {
            gpg: Arc::new(gpg(environment, &prompt)),
            services: Services::new(&environment.services, given, unnamed)?,
            opening: environment.opening()?,
            prompt,
        }))
    }

    /// Returns what master keys are made with.
    pub(crate) fn context(&self, now: Timestamp) -> KeyContext {
        KeyContext {
            now,
            prompt: Arc::clone(&self.prompt),
            gpg: Arc::clone(&self.gpg),
            aws_kms: Arc::clone(&self.services.aws_kms),
            vault: Arc::clone(&self.services.vault),
            #[cfg(feature = "gcp-kms")]
            gcp_kms: Arc::clone(&self.services.gcp_kms),
            #[cfg(feature = "azure-kv")]
            azure_kv: Arc::clone(&self.services.azure_kv),
        }
    }

    /// Returns what the services have to say and did not say yet.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        self.services.take_warnings()
    }

    /// Tells it.
    pub(crate) fn warn(&self, ui: &Ui) {
        for warning in self.take_warnings() {
            ui.warn(None, &warning);
        }
    }
}

/// Every source of data keys.
pub(crate) struct Keys {
    identities: Identities,
    clients: Arc<Clients>,
    aws_kms: Remembered<AwsKms>,
    vault: Remembered<VaultTransit>,
    #[cfg(feature = "gcp-kms")]
    gcp_kms: Remembered<GcpKms>,
    #[cfg(feature = "azure-kv")]
    azure_kv: Remembered<AzureKv>,
}

impl Keys {
    /// Reads identity files; runs no command and opens no connection.
    pub(crate) fn collect(environment: &Environment, clients: &Arc<Clients>) -> Self {
        Self {
            identities: Identities::collect(environment, &clients.prompt),
            clients: Arc::clone(clients),
            aws_kms: Remembered::new(&clients.services.aws_kms),
            vault: Remembered::new(&clients.services.vault),
            #[cfg(feature = "gcp-kms")]
            gcp_kms: Remembered::new(&clients.services.gcp_kms),
            #[cfg(feature = "azure-kv")]
            azure_kv: Remembered::new(&clients.services.azure_kv),
        }
    }

    /// Says, a line each, where age identities were looked for and what was found.
    pub(crate) fn places(&self) -> String {
        self.identities.places()
    }

    /// Returns how files are opened: with what the user demands of them.
    pub(crate) fn opening(&self) -> DecryptOptions {
        self.clients.opening.clone()
    }

    /// Returns whether whoever has these keys surely cannot open a file that is encrypted for `groups`:
    /// there are age identities, and too few groups have one of them or a key of another type.
    pub(crate) fn surely_miss(&self, groups: &[Vec<KeySpec>], threshold: Option<usize>) -> bool {
        let mine = |spec: &KeySpec| {
            spec.kind() != KeyKind::Age || self.fits(&spec.entry("", Timestamp::UNIX_EPOCH))
        };
        let opens = |group: &&Vec<KeySpec>| group.iter().any(mine);
        let needed = match groups.len() {
            1 => 1,
            all => threshold.unwrap_or(all),
        };
        self.identities.are_known() && groups.iter().filter(opens).count() < needed
    }

    fn sources(&self) -> KeySources<'_> {
        let sources = KeySources::default()
            .with(KeyKind::Age, &self.identities)
            .with(KeyKind::Pgp, self.clients.gpg.as_ref())
            .with(KeyKind::Kms, &self.aws_kms)
            .with(KeyKind::HcVault, &self.vault)
            .with(KeyKind::Hckms, &HuaweiKms);
        #[cfg(feature = "gcp-kms")]
        let sources = sources.with(KeyKind::GcpKms, &self.gcp_kms);
        #[cfg(feature = "azure-kv")]
        let sources = sources.with(KeyKind::AzureKv, &self.azure_kv);
        sources
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

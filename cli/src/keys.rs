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
use selkie_keys::pgp::{Gpg, GpgSettings, NamedKey};
use selkie_keys::prompt::Prompt;
use selkie_keys::service::{EachInTurn, RemoteKeys};
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
            opening: environment.opening()?,
            services: Services::new(
                &environment.services,
                &environment.key_services,
                given,
                unnamed,
            )?,
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
            local: self.services.local,
            remote: self.services.remote.clone(),
        }
    }

    /// Returns the services over the network.
    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// Returns who is asked on behalf of keys.
    pub(crate) fn prompt(&self) -> &Arc<dyn Prompt> {
        &self.prompt
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
    /// None where this process may not unwrap.
    local: Option<Local>,
    remote: Vec<Remembered<RemoteKeys>>,
    opening: DecryptOptions,
}

/// The sources of this process.
struct Local {
    identities: Identities,
    clients: Arc<Clients>,
    aws_kms: Remembered<AwsKms>,
    vault: Remembered<VaultTransit>,
    #[cfg(feature = "gcp-kms")]
    gcp_kms: Remembered<GcpKms>,
    #[cfg(feature = "azure-kv")]
    azure_kv: Remembered<AzureKv>,
    /// OpenPGP where the key that an entry names, and no other, may open it.
    named_pgp: Option<NamedKey>,
    /// Whether each distinct wrapped key is unwrapped once.
    remembers: bool,
}

impl Keys {
    /// Reads identity files; runs no command and opens no connection.
    pub(crate) fn collect(environment: &Environment, clients: &Arc<Clients>) -> Self {
        Self::with(environment, clients, true)
    }

    /// As [`Self::collect`], for a process that does it for others and lives long: the key that an entry
    /// names opens it or none, as that one was granted. Services over the network are asked each time, so
    /// that no data key stays in memory and a right that was taken away is gone.
    pub(crate) fn for_others(environment: &Environment, clients: &Arc<Clients>) -> Self {
        Self::with(environment, clients, false)
    }

    fn with(environment: &Environment, clients: &Arc<Clients>, remembers: bool) -> Self {
        let services = &clients.services;
        let local = services.local.then(|| Local {
            identities: Identities::collect(environment, &clients.prompt, !remembers),
            named_pgp: (!remembers).then(|| NamedKey(Arc::clone(&clients.gpg))),
            clients: Arc::clone(clients),
            aws_kms: Remembered::new(&services.aws_kms),
            vault: Remembered::new(&services.vault),
            #[cfg(feature = "gcp-kms")]
            gcp_kms: Remembered::new(&services.gcp_kms),
            #[cfg(feature = "azure-kv")]
            azure_kv: Remembered::new(&services.azure_kv),
            remembers,
        });
        Self {
            local,
            remote: services.remote.iter().map(Remembered::new).collect(),
            opening: clients.opening.clone(),
        }
    }

    /// Says, a line each, where age identities were looked for and what was found.
    pub(crate) fn places(&self) -> String {
        let local = self.local.as_ref();
        let places = local.map(|local| local.identities.places());
        places.unwrap_or_default()
    }

    /// Returns how files are opened: with what the user demands of them.
    pub(crate) fn opening(&self) -> DecryptOptions {
        self.opening.clone()
    }

    /// Returns whether whoever has these keys surely cannot open a file that is encrypted for `groups`:
    /// there are age identities, and too few groups have one of them or a key of another type. What a
    /// key service opens is known to it alone.
    pub(crate) fn surely_miss(&self, groups: &[Vec<KeySpec>], threshold: Option<usize>) -> bool {
        let mine = |spec: &KeySpec| {
            spec.kind() != KeyKind::Age || self.fits(&spec.entry("", Timestamp::UNIX_EPOCH))
        };
        let opens = |group: &&Vec<KeySpec>| group.iter().any(mine);
        let needed = match groups.len() {
            1 => 1,
            all => threshold.unwrap_or(all),
        };
        let known = self.local.as_ref();
        self.remote.is_empty()
            && known.is_some_and(|local| local.identities.are_known())
            && groups.iter().filter(opens).count() < needed
    }
}

impl Local {
    fn sources(&self) -> KeySources<'_> {
        let pgp: &(dyn DataKeySource + Sync) = match &self.named_pgp {
            Some(named) => named,
            None => self.clients.gpg.as_ref(),
        };
        let sources = KeySources::default()
            .with(KeyKind::Age, &self.identities)
            .with(KeyKind::Pgp, pgp)
            .with(KeyKind::Kms, self.each(&self.aws_kms))
            .with(KeyKind::HcVault, self.each(&self.vault))
            .with(KeyKind::Hckms, &HuaweiKms);
        #[cfg(feature = "gcp-kms")]
        let sources = sources.with(KeyKind::GcpKms, self.each(&self.gcp_kms));
        #[cfg(feature = "azure-kv")]
        let sources = sources.with(KeyKind::AzureKv, self.each(&self.azure_kv));
        sources
    }

    /// A service with its memory, or without.
    fn each<'s, S: DataKeySource + Sync + Send>(
        &self,
        service: &'s Remembered<S>,
    ) -> &'s (dyn DataKeySource + Sync) {
        match self.remembers {
            true => service,
            false => service.source(),
        }
    }
}

impl DataKeySource for Keys {
    fn fits(&self, entry: &KeyEntry) -> bool {
        let local = self.local.as_ref();
        local.is_some_and(|local| local.sources().fits(entry))
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let local = self.local.as_ref().map(Local::sources);
        let mut each: Vec<&dyn DataKeySource> = Vec::new();
        each.extend(local.iter().map(|source| source as &dyn DataKeySource));
        each.extend(
            self.remote
                .iter()
                .map(|source| source as &dyn DataKeySource),
        );
        EachInTurn(each).unwrap_key(entry)
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

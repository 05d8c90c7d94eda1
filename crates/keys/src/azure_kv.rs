//! Azure Key Vault (sops-format.md 8.5).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use selkie_cloud::azure_auth::{AzureLogin, AzureLoginSettings};
use selkie_cloud::azure_kv::{AzureKv as Client, AzureKvError};
use selkie_cloud::endpoint::{
    EndpointError, EndpointPolicy, NameError, Resolver, SystemResolver, Unnamed,
};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use crate::network::{self, Health, Network};

/// The domains below which Microsoft's clouds have their vaults.
const DOMAINS: [&str; 6] = [
    ".vault.azure.net",
    ".managedhsm.azure.net",
    ".vault.azure.cn",
    ".managedhsm.azure.cn",
    ".vault.usgovcloudapi.net",
    ".managedhsm.usgovcloudapi.net",
];

const LIST: &str = "SELKIE_AZURE_VAULTS";

/// How vaults are asked, and which may be: what the user's environment says.
#[derive(Debug, Default)]
pub struct AzureKvSettings {
    /// Vaults that the user named: by a flag or by `SOPS_AZURE_KEYVAULT_URLS`.
    pub named: Vec<String>,
    /// `SELKIE_AZURE_VAULTS`: URL prefixes with commas between them; `azure` for every vault in a
    /// domain of Azure's own.
    pub allow_list: Option<String>,
    /// What becomes of a vault that none of these names.
    pub unnamed: Unnamed,
    /// Where credentials come from.
    pub login: AzureLoginSettings,
    /// Whether requests go through a proxy (`HTTPS_PROXY` and the like).
    pub proxied: bool,
    /// The time limit of one request; ten seconds when `None`.
    pub timeout: Option<Duration>,
}

/// Azure's vaults: one client for each, made when it is first asked, and one login for all.
pub struct AzureKv {
    settings: AzureKvSettings,
    login: Arc<AzureLogin>,
    network: Arc<Network>,
    resolver: Arc<dyn Resolver>,
    vaults: Mutex<HashMap<String, Arc<Vault>>>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Vault {
    /// Made once; locked while it is being made.
    client: Mutex<Option<Arc<Client>>>,
    health: Health,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("{variable}: {error}")]
    Name {
        variable: &'static str,
        error: NameError,
    },
    #[error("the address of an Azure vault is https://HOST, and this one is not")]
    Scheme,
    #[error("{0}")]
    Resting(String),
    #[error("no thread can be started: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Vault(#[from] AzureKvError),
}

impl AzureKv {
    /// Makes the service; reads and sends nothing. `clock` dates what it shows to log in.
    pub fn new(
        mut settings: AzureKvSettings,
        clock: fn() -> jiff::Timestamp,
        network: &Arc<Network>,
    ) -> Self {
        let login = std::mem::take(&mut settings.login);
        Self {
            settings,
            login: Arc::new(AzureLogin::new(login, clock)),
            network: Arc::clone(network),
            resolver: Arc::new(SystemResolver),
            vaults: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// Returns what the user should know and was not told yet.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ask<T>(
        &self,
        address: &str,
        call: impl AsyncFnOnce(&Client) -> Result<T, AzureKvError>,
    ) -> Result<T, Refusal> {
        let vault = network::place(&self.vaults, address.to_owned());
        if let Some(cause) = vault.health.resting(Instant::now()) {
            return Err(Refusal::Resting(cause));
        }
        let client = {
            let mut client = vault.client.lock().unwrap_or_else(PoisonError::into_inner);
            match &*client {
                Some(client) => Arc::clone(client),
                None => Arc::clone(client.insert(Arc::new(self.client(address)?))),
            }
        };
        let answer = self.network.run(call(&client)).map_err(Refusal::Runtime)?;
        match &answer {
            Err(error) if error.is_outage() => {
                vault.health.failed(&error.to_string(), Instant::now());
            }
            _ => vault.health.answered(),
        }
        Ok(answer?)
    }

    fn client(&self, address: &str) -> Result<Client, Refusal> {
        let admitted = self.policy(address)?.admit(address, &*self.resolver)?;
        let url = admitted.url();
        // A token in clear on the way is nobody's intention.
        if url.scheme() != "https" || url.path() != "/" {
            return Err(Refusal::Scheme);
        }
        let warning = admitted.warning().map(str::to_owned);
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(warning);
        let timeout = self.settings.timeout.unwrap_or(Duration::from_secs(10));
        Ok(Client::new(url, &self.login, timeout, admitted.pinned())?)
    }

    /// The endpoint policy that the settings ask for (decisions/0010).
    fn policy(&self, address: &str) -> Result<EndpointPolicy, Refusal> {
        const BOTH: &str = "SELKIE_AZURE_VAULTS or SOPS_AZURE_KEYVAULT_URLS";
        let settings = &self.settings;
        let mut policy = EndpointPolicy::new("Azure vault", BOTH, settings.unnamed);
        let mut name = |variable, text: &str| {
            let named = policy.name(text);
            named.map_err(|error| Refusal::Name { variable, error })
        };
        for vault in &settings.named {
            name("the key's URL", vault)?;
        }
        let list = settings.allow_list.as_deref().unwrap_or_default();
        for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            match entry {
                "azure" if is_azures(address) => name(LIST, address)?,
                "azure" => {}
                entry => name(LIST, entry)?,
            }
        }
        policy.proxied(settings.proxied);
        Ok(policy)
    }
}

impl DataKeySource for AzureKv {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let KeySpec::AzureKv {
            vault_url,
            name,
            version,
        } = KeySpec::of_entry(entry)
        else {
            return Err(UnwrapError::Unsupported(entry.kind));
        };
        let version = version.unwrap_or_default();
        let enc = entry.enc()?;
        let plain = self
            .ask(&vault_url, async |vault| {
                vault.decrypt(&name, &version, enc.trim()).await
            })
            .map_err(|error| UnwrapError::Failed(error.to_string()))?;
        Ok(Zeroizing::new(plain.expose().to_vec()))
    }
}

impl fmt::Debug for AzureKv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKv")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One key of a vault, to wrap with.
#[derive(Debug)]
pub struct AzureKvKey {
    spec: KeySpec,
    id: String,
    service: Arc<AzureKv>,
    created_at: jiff::Timestamp,
}

impl AzureKvKey {
    /// Names the key, a [`KeySpec::AzureKv`]; `created_at` goes into its entries. Nothing is sent: a
    /// version that is not named is looked up when it is used, and stands in the entry.
    pub fn new(spec: &KeySpec, service: &Arc<AzureKv>, created_at: jiff::Timestamp) -> Self {
        Self {
            id: spec.identity(),
            spec: spec.clone(),
            service: Arc::clone(service),
            created_at,
        }
    }
}

impl MasterKey for AzureKvKey {
    fn kind(&self) -> KeyKind {
        KeyKind::AzureKv
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let failed = |reason: String| WrapError {
            kind: KeyKind::AzureKv,
            id: self.id.clone(),
            reason,
        };
        let KeySpec::AzureKv {
            vault_url,
            name,
            version,
        } = &self.spec
        else {
            return Err(failed("it is not a key of an Azure vault".to_owned()));
        };
        let wrapped = self.service.ask(vault_url, async |vault| {
            let version = match version {
                Some(version) => version.clone(),
                None => vault.newest(name).await?,
            };
            let enc = vault.encrypt(name, &version, secret).await?;
            Ok((version, enc))
        });
        let (version, enc) = wrapped.map_err(|error| failed(error.to_string()))?;
        let spec = KeySpec::AzureKv {
            vault_url: vault_url.clone(),
            name: name.clone(),
            version: Some(version),
        };
        Ok(spec.entry(&enc, self.created_at))
    }
}

/// Whether a vault lies in a domain of Azure's own, at the usual port: only Microsoft has the
/// certificates for it, so that no token reaches anybody else there.
fn is_azures(address: &str) -> bool {
    let host = address.strip_prefix("https://").unwrap_or_default();
    let host = host.trim_end_matches('/').to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    host.chars().all(plain) && DOMAINS.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: AzureKvSettings, vault: &str) -> String {
        let settings = AzureKvSettings {
            timeout: Some(Duration::from_secs(1)),
            ..settings
        };
        let kv = AzureKv::new(settings, || jiff::Timestamp::UNIX_EPOCH, &Arc::default());
        let spec = KeySpec::AzureKv {
            vault_url: vault.to_owned(),
            name: "k".to_owned(),
            version: Some("1".to_owned()),
        };
        let entry = spec.entry("AAAA", jiff::Timestamp::UNIX_EPOCH);
        kv.unwrap_key(&entry).unwrap_err().to_string()
    }

    fn listed(list: &str) -> AzureKvSettings {
        AzureKvSettings {
            allow_list: Some(list.to_owned()),
            ..AzureKvSettings::default()
        }
    }

    #[test]
    fn a_vault_that_only_the_file_names_gets_nothing() {
        for (settings, vault) in [
            (AzureKvSettings::default(), "https://v.vault.azure.net"),
            (
                listed("https://other.vault.azure.net"),
                "https://v.vault.azure.net",
            ),
            (listed("azure"), "https://vault.example"),
            (listed("azure"), "https://v.vault.azure.net.example"),
            (listed("azure"), "https://v.vault.azure.net:8443"),
            (listed("azure"), "https://x@v.vault.azure.net"),
        ] {
            let message = refused(settings, vault);
            let words = ["nothing of yours does", "not a plain"];
            assert!(
                words.iter().any(|w| message.contains(w)),
                "{vault}: {message}"
            );
        }
    }

    #[test]
    fn what_the_user_names_is_https_and_no_metadata_service() {
        for (list, vault, words) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1", "https://HOST"),
            (
                "https://127.0.0.1:1",
                "https://127.0.0.1:1/path",
                "https://HOST",
            ),
            (
                "https://169.254.169.254",
                "https://169.254.169.254",
                "link-local",
            ),
            (
                "vault.example",
                "https://vault.example",
                "SELKIE_AZURE_VAULTS",
            ),
        ] {
            let message = refused(listed(list), vault);
            assert!(message.contains(words), "{list} {vault}: {message}");
        }
    }

    #[test]
    fn azures_own_domains_are_told_from_others() {
        for vault in ["https://v.vault.azure.net", "https://V.vault.azure.cn/"] {
            assert!(is_azures(vault), "{vault}");
        }
        for vault in [
            "http://v.vault.azure.net",
            "https://vault.azure.net.example",
            "https://v.vault.azure.net:1",
            "https://a@v.vault.azure.net",
            "https://evil/.vault.azure.net",
            "https://evil?.vault.azure.net",
        ] {
            assert!(!is_azures(vault), "{vault}");
        }
    }
}

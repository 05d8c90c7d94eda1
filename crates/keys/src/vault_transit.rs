//! The transit engine of HashiCorp Vault and OpenBao (sops-format.md 8.6).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use selkie_cloud::endpoint::{
    Admitted, EndpointError, EndpointPolicy, NameError, Resolver, SystemResolver, Unnamed,
};
use selkie_cloud::transit::TransitKey;
use selkie_cloud::vault::{
    Retries, VaultClient, VaultConfig, VaultConnection, VaultError, VaultSetupError,
};
use selkie_secret::{SecretBytes, SecretString};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use crate::network::{self, Health, Network};

/// How Vault is asked, and which servers may be: what the user's environment says.
#[derive(Debug, Default)]
pub struct VaultSettings {
    /// `VAULT_ADDR`: a server that gets the token. It is never asked instead of the one in the file.
    pub address: Option<String>,
    /// Servers that the user named in other ways: by a flag or by `SOPS_VAULT_URIS`.
    pub named: Vec<String>,
    /// `SOPS_HC_VAULT_ALLOWLIST`: `all`, `none`, or URL prefixes with commas between them. When it is
    /// a list or `none`, it alone decides, as in sops.
    pub allow_list: Option<String>,
    /// What becomes of a server that none of these names.
    pub unnamed: Unnamed,
    /// `VAULT_TOKEN`.
    pub token: Option<SecretString>,
    /// `~/.vault-token`, read when there is no other token and one is needed.
    pub token_file: Option<PathBuf>,
    /// `VAULT_NAMESPACE`.
    pub namespace: Option<String>,
    /// `VAULT_CACERT`: trusted instead of the system's certificates.
    pub ca_file: Option<PathBuf>,
    /// `VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY`.
    pub client_files: Option<(PathBuf, PathBuf)>,
    /// `VAULT_SKIP_VERIFY`.
    pub skip_verify: bool,
    /// Variables that Vault's own programs take and that are set, but have no effect here.
    pub ignored: Vec<&'static str>,
    /// Whether requests go through a proxy (`HTTPS_PROXY` and the like).
    pub proxied: bool,
    /// The time limit of one request; ten seconds when `None`.
    pub timeout: Option<Duration>,
}

/// The transit engines of all servers: one client for each, made when it is first asked.
pub struct VaultTransit {
    settings: VaultSettings,
    network: Arc<Network>,
    resolver: Arc<dyn Resolver>,
    servers: Mutex<HashMap<String, Arc<Server>>>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Server {
    /// Made once; locked while it is being made.
    client: Mutex<Option<Arc<VaultClient>>>,
    health: Health,
}

/// Why a server is not asked, or did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum TransitError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("SOPS_HC_VAULT_ALLOWLIST: its entry {0} is empty")]
    EmptyAllowed(usize),
    #[error("{variable}: {error}")]
    Name {
        variable: &'static str,
        error: NameError,
    },
    #[error("{what} ({path}) cannot be read: {error}", path = .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error(
        "{0}; see VAULT_TOKEN, ~/.vault-token, VAULT_NAMESPACE, VAULT_CACERT and VAULT_CLIENT_CERT"
    )]
    Setup(VaultSetupError),
    #[error("no thread can be started: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Resting(String),
    #[error("{}", cause(.error, *.with_token))]
    Vault { error: VaultError, with_token: bool },
}

impl VaultTransit {
    /// Makes the service; reads and sends nothing.
    pub fn new(settings: VaultSettings, network: &Arc<Network>) -> Self {
        Self::with_resolver(settings, network, Arc::new(SystemResolver))
    }

    /// Makes the service with another way to find a server's addresses.
    pub fn with_resolver(
        settings: VaultSettings,
        network: &Arc<Network>,
        resolver: Arc<dyn Resolver>,
    ) -> Self {
        Self {
            settings,
            network: Arc::clone(network),
            resolver,
            servers: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    /// Returns what the user should know and was not told yet.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks a server for something else than the transit engine, with the same settings and the same
    /// policy for who gets the token; returns why not as the user should read it.
    pub fn with_server<T>(
        &self,
        address: &str,
        call: impl AsyncFnOnce(&VaultClient) -> Result<T, VaultError>,
    ) -> Result<T, String> {
        self.ask(address, call).map_err(|error| error.to_string())
    }

    fn ask<T>(
        &self,
        address: &str,
        call: impl AsyncFnOnce(&VaultClient) -> Result<T, VaultError>,
    ) -> Result<T, TransitError> {
        let server = network::place(&self.servers, address.to_owned());
        if let Some(cause) = server.health.resting(Instant::now()) {
            return Err(TransitError::Resting(cause));
        }
        let client = {
            let mut client = server.client.lock().unwrap_or_else(PoisonError::into_inner);
            match &*client {
                Some(client) => Arc::clone(client),
                None => Arc::clone(client.insert(Arc::new(self.client(address)?))),
            }
        };
        let answer = self
            .network
            .run(call(&client))
            .map_err(TransitError::Runtime)?;
        match &answer {
            Err(error) if error.is_outage() => {
                server.health.failed(&error.to_string(), Instant::now());
            }
            _ => server.health.answered(),
        }
        answer.map_err(|error| TransitError::Vault {
            error,
            with_token: client.has_token(),
        })
    }

    fn client(&self, address: &str) -> Result<VaultClient, TransitError> {
        let settings = &self.settings;
        let admitted = self.admit(address)?;
        let config = VaultConfig {
            server: admitted.url().to_string(),
            namespace: settings.namespace.clone(),
            headers: BTreeMap::new(),
            ca_pem: match &settings.ca_file {
                Some(path) => Some(read(path, "VAULT_CACERT")?.expose().to_vec()),
                None => None,
            },
            timeout: settings.timeout.unwrap_or(Duration::from_secs(10)),
            retries: Retries {
                count: 2,
                wait: Duration::from_millis(500),
            },
        };
        let client_pem = match &settings.client_files {
            Some((certificate, key)) => {
                let mut pem = read(certificate, "VAULT_CLIENT_CERT")?.expose().to_vec();
                pem.push(b'\n');
                pem.extend_from_slice(read(key, "VAULT_CLIENT_KEY")?.expose());
                Some(SecretBytes::new(pem))
            }
            None => None,
        };
        let mut warnings = Vec::from_iter(admitted.warning().map(str::to_owned));
        if settings.skip_verify {
            warnings.push(format!(
                "VAULT_SKIP_VERIFY is set: whoever sits between here and {admitted} can read the \
                 token and the data key; VAULT_CACERT names a certificate to trust"
            ));
        }
        if !settings.ignored.is_empty() {
            warnings.push(format!(
                "{} is set, and has no effect here",
                settings.ignored.join(", ")
            ));
        }
        let connection = VaultConnection {
            pinned: admitted.pinned(),
            client_pem,
            skip_verify: settings.skip_verify,
        };
        let client = VaultClient::connected(&config, self.token()?, &connection)
            .map_err(TransitError::Setup)?;
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(warnings);
        Ok(client)
    }

    fn admit(&self, address: &str) -> Result<Admitted, TransitError> {
        let policy = policy(&self.settings)?;
        Ok(policy.admit(address, &*self.resolver)?)
    }

    /// `VAULT_TOKEN`, else `~/.vault-token`; none is no error, as a proxy may add one.
    fn token(&self) -> Result<Option<SecretString>, TransitError> {
        if let Some(token) = &self.settings.token {
            return Ok(Some(token.duplicate()));
        }
        let Some(path) = &self.settings.token_file else {
            return Ok(None);
        };
        let bytes = match read(path, "the Vault token") {
            Err(TransitError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            bytes => bytes?,
        };
        let text = String::from_utf8_lossy(bytes.expose());
        let token = text.trim();
        Ok((!token.is_empty()).then(|| SecretString::new(token.to_owned())))
    }
}

impl DataKeySource for VaultTransit {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let spec = KeySpec::of_entry(entry);
        let Some((address, key)) = transit_key(&spec) else {
            return Err(UnwrapError::Unsupported(entry.kind));
        };
        let enc = entry.enc()?;
        let plain = self
            .ask(address, async |vault| key.decrypt(vault, enc).await)
            .map_err(|error| UnwrapError::Failed(error.to_string()))?;
        Ok(Zeroizing::new(plain.expose().to_vec()))
    }
}

impl fmt::Debug for VaultTransit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultTransit")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One key of a transit engine, to wrap with.
#[derive(Debug)]
pub struct VaultTransitKey {
    spec: KeySpec,
    id: String,
    service: Arc<VaultTransit>,
    created_at: jiff::Timestamp,
}

impl VaultTransitKey {
    /// Names the key, a [`KeySpec::HcVault`]; `created_at` goes into its entries. Nothing is sent.
    pub fn new(spec: &KeySpec, service: &Arc<VaultTransit>, created_at: jiff::Timestamp) -> Self {
        Self {
            id: spec.identity(),
            spec: spec.clone(),
            service: Arc::clone(service),
            created_at,
        }
    }
}

impl MasterKey for VaultTransitKey {
    fn kind(&self) -> KeyKind {
        KeyKind::HcVault
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let failed = |reason: String| WrapError {
            kind: KeyKind::HcVault,
            id: self.id.clone(),
            reason,
        };
        let (address, key) = transit_key(&self.spec)
            .ok_or_else(|| failed("it is not a key of a transit engine".to_owned()))?;
        let enc = self
            .service
            .ask(address, async |vault| key.encrypt(vault, secret).await)
            .map_err(|error| failed(error.to_string()))?;
        Ok(self.spec.entry(&enc, self.created_at))
    }
}

fn transit_key(spec: &KeySpec) -> Option<(&str, TransitKey)> {
    match spec {
        KeySpec::HcVault {
            address,
            engine_path,
            key_name,
        } => Some((
            address,
            TransitKey {
                engine_path: engine_path.clone(),
                name: key_name.clone(),
            },
        )),
        _ => None,
    }
}

/// The endpoint policy that the settings ask for (sops-format.md 8.6).
fn policy(settings: &VaultSettings) -> Result<EndpointPolicy, TransitError> {
    const SERVICE: &str = "Vault server";
    const LIST: &str = "SOPS_HC_VAULT_ALLOWLIST";
    const BOTH: &str = "VAULT_ADDR or SOPS_HC_VAULT_ALLOWLIST";
    let name = |policy: &mut EndpointPolicy, variable, text: &str| {
        let named = policy.name(text);
        named.map_err(|error| TransitError::Name { variable, error })
    };
    let list = settings.allow_list.as_deref().unwrap_or_default();
    let mut policy = match (list, settings.unnamed) {
        ("", unnamed) => EndpointPolicy::new(SERVICE, BOTH, unnamed),
        // Where sops's behaviour is kept, this machine is one of all.
        ("all", Unnamed::Warned) => EndpointPolicy::new(SERVICE, BOTH, Unnamed::Warned),
        ("all", _) => EndpointPolicy::new(SERVICE, BOTH, Unnamed::Allowed),
        _ => EndpointPolicy::new(SERVICE, LIST, Unnamed::Refused),
    };
    match list {
        "" | "all" => {
            if let Some(address) = &settings.address {
                name(&mut policy, "VAULT_ADDR", address)?;
            }
            for address in &settings.named {
                name(&mut policy, "the key's URI", address)?;
            }
        }
        "none" => {}
        list => {
            for (index, entry) in list.split(',').map(str::trim).enumerate() {
                if entry.is_empty() {
                    return Err(TransitError::EmptyAllowed(index + 1));
                }
                name(&mut policy, LIST, entry)?;
            }
        }
    }
    policy.proxied(settings.proxied);
    Ok(policy)
}

fn read(path: &PathBuf, what: &'static str) -> Result<SecretBytes, TransitError> {
    fs::read(path)
        .map(SecretBytes::new)
        .map_err(|error| TransitError::File {
            what,
            path: path.clone(),
            error,
        })
}

/// What a refusal means for a transit key, and what to do.
fn cause(error: &VaultError, with_token: bool) -> String {
    let token = match with_token {
        true => "check the token, and that its policies allow update on this path",
        false => "no token was sent: set VAULT_TOKEN, or log in so that ~/.vault-token is there",
    };
    match error {
        VaultError::Forbidden {
            server,
            path,
            detail,
        } => format!("Vault at {server} refused {path} (403): {detail}; {token}"),
        VaultError::Status {
            server,
            path,
            status: 400 | 401,
            detail,
        } if !with_token => format!("Vault at {server} refused {path}: {detail}; {token}"),
        VaultError::Status {
            server,
            path,
            status: 301 | 302 | 303 | 307 | 308,
            ..
        } => format!(
            "Vault at {server} redirects {path} to another address, which gets no token: \
             name the active node in the key's URI"
        ),
        VaultError::NotFound { server, path } => format!(
            "Vault at {server} has nothing at {path} (404): check the engine's path, the key's name \
             and VAULT_NAMESPACE"
        ),
        VaultError::NoMount {
            server,
            path,
            detail,
        } => format!(
            "Vault at {server} has no transit engine for {path} (404): {detail}; check the engine's \
             path and VAULT_NAMESPACE"
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "vault_transit_tests.rs"]
mod tests;

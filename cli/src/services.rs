//! The key services over the network as the user set them up: AWS KMS, Vault transit, Google Cloud
//! KMS, Azure Key Vault. Nothing is read or sent before a key of theirs is used.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "gcp-kms")]
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

#[cfg(feature = "azure-kv")]
use selkie_cloud::azure_auth::AzureLoginSettings;
use selkie_cloud::endpoint::Unnamed;
#[cfg(feature = "gcp-kms")]
use selkie_cloud::gcp_auth::{GcpLogin, GcpLoginSettings};
#[cfg(feature = "gcp-kms")]
use selkie_cloud::gcs::{self, Gcs, GcsError};
use selkie_cloud::kms::KmsTimeouts;
use selkie_keys::Network;
use selkie_keys::aws_kms::{AwsKms, AwsKmsSettings};
#[cfg(feature = "azure-kv")]
use selkie_keys::azure_kv::{AzureKv, AzureKvSettings};
#[cfg(feature = "gcp-kms")]
use selkie_keys::gcp_kms::{GcpKms, GcpKmsSettings};
use selkie_keys::service::{RemoteKeys, ServiceAddress, ServiceLimits};
use selkie_keys::vault_transit::{VaultSettings, VaultTransit};
use selkie_secret::SecretString;
use selkie_sops::KeySpec;

use crate::failure::{Failure, Kind};

/// What the environment says about key services. The variables of AWS are not here: its own chain
/// of credentials reads them (crates/cloud/src/kms.rs).
#[derive(Default)]
pub(crate) struct ServiceVariables {
    /// `SELKIE_KEY_SERVICE_TIMEOUT`: seconds that one attempt may take.
    timeout: Option<String>,
    /// `VAULT_ADDR`.
    vault_address: Option<String>,
    /// `SOPS_HC_VAULT_ALLOWLIST`.
    vault_allow_list: Option<String>,
    /// `VAULT_TOKEN`.
    vault_token: Option<SecretString>,
    /// `~/.vault-token`.
    vault_token_file: Option<PathBuf>,
    /// `VAULT_NAMESPACE`.
    vault_namespace: Option<String>,
    /// `VAULT_CACERT`.
    vault_ca_file: Option<PathBuf>,
    /// `VAULT_CLIENT_CERT` and `VAULT_CLIENT_KEY`.
    vault_client_files: Option<(PathBuf, PathBuf)>,
    /// `VAULT_SKIP_VERIFY`.
    vault_skip_verify: bool,
    /// Variables of Vault's own programs that are set and have no effect here.
    vault_unsupported: Vec<&'static str>,
    /// What Google Cloud KMS is asked with.
    #[cfg(feature = "gcp-kms")]
    gcp: GcpVariables,
    /// What Azure Key Vault is asked with.
    #[cfg(feature = "azure-kv")]
    azure: AzureVariables,
    /// Whether a variable names a proxy.
    proxied: bool,
}

/// The variables of Google Cloud (sops-format.md 8.4, and those of Google's libraries).
#[cfg(feature = "gcp-kms")]
#[derive(Default)]
struct GcpVariables {
    /// `SOPS_GCP_KMS_ENDPOINT`.
    endpoint: Option<String>,
    /// `GOOGLE_CREDENTIALS`.
    credentials: Option<SecretString>,
    /// `GOOGLE_OAUTH_ACCESS_TOKEN`.
    access_token: Option<SecretString>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    application_credentials: Option<PathBuf>,
    /// Where `gcloud auth application-default login` writes.
    user_file: Option<PathBuf>,
    /// `STORAGE_EMULATOR_HOST`.
    storage_emulator: Option<String>,
    /// `GCE_METADATA_HOST`.
    metadata_host: Option<String>,
    /// `GOOGLE_CLOUD_QUOTA_PROJECT`.
    quota_project: Option<String>,
    /// `SOPS_GCP_KMS_UNIVERSE_DOMAIN`, else `GOOGLE_CLOUD_UNIVERSE_DOMAIN`.
    universe: Option<String>,
}

#[cfg(feature = "gcp-kms")]
impl GcpVariables {
    fn read(set: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(PathBuf::from);
        let home = path("HOME");
        Self {
            endpoint: text("SOPS_GCP_KMS_ENDPOINT"),
            credentials: text("GOOGLE_CREDENTIALS").map(SecretString::new),
            access_token: text("GOOGLE_OAUTH_ACCESS_TOKEN").map(SecretString::new),
            application_credentials: path("GOOGLE_APPLICATION_CREDENTIALS"),
            user_file: home
                .map(|home| home.join(".config/gcloud/application_default_credentials.json")),
            storage_emulator: text("STORAGE_EMULATOR_HOST"),
            metadata_host: text("GCE_METADATA_HOST"),
            quota_project: text("GOOGLE_CLOUD_QUOTA_PROJECT"),
            universe: text("SOPS_GCP_KMS_UNIVERSE_DOMAIN")
                .or_else(|| text("GOOGLE_CLOUD_UNIVERSE_DOMAIN")),
        }
    }

    /// How Cloud Storage is reached: by the application default credentials, as the client of Google
    /// that sops uses does, and nobody's for an emulator.
    fn storage(&self, attempt: Duration) -> StorageSettings {
        let emulator = self.storage_emulator.as_ref();
        let endpoint = emulator.map(|place| match place.contains("://") {
            true => place.clone(),
            false => format!("http://{place}"),
        });
        let login = GcpLoginSettings {
            credentials: None,
            access_token: None,
            ..self.settings(attempt, false).login
        };
        StorageSettings {
            login: emulator.is_none().then_some(login),
            endpoint: endpoint.unwrap_or_else(|| gcs::default_endpoint(self.universe.as_deref())),
        }
    }

    fn settings(&self, attempt: Duration, proxied: bool) -> GcpKmsSettings {
        let secret = |text: &Option<SecretString>| text.as_ref().map(SecretString::duplicate);
        GcpKmsSettings {
            endpoint: self.endpoint.clone(),
            login: GcpLoginSettings {
                credentials: secret(&self.credentials),
                access_token: secret(&self.access_token),
                application_credentials: self.application_credentials.clone(),
                user_file: self.user_file.clone(),
                metadata_host: self.metadata_host.clone(),
                quota_project: self.quota_project.clone(),
                universe: self.universe.clone(),
                timeout: Some(attempt),
            },
            proxied,
            timeout: Some(attempt),
        }
    }
}

/// The variables of Azure (sops-format.md 8.5, and those of Azure's libraries).
#[cfg(feature = "azure-kv")]
#[derive(Default)]
struct AzureVariables {
    /// `SELKIE_AZURE_VAULTS`: vaults that get tokens though only a file names them.
    vaults: Option<String>,
    /// `AZURE_TENANT_ID`.
    tenant: Option<String>,
    /// `AZURE_CLIENT_ID`.
    client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    client_secret: Option<SecretString>,
    /// `AZURE_CLIENT_CERTIFICATE_PATH`.
    certificate: Option<PathBuf>,
    /// `AZURE_CLIENT_SEND_CERTIFICATE_CHAIN`.
    send_chain: bool,
    /// Whether `AZURE_USERNAME` is set.
    user_name: bool,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    federated_token: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`.
    authority: Option<String>,
    /// `AZURE_ADDITIONALLY_ALLOWED_TENANTS`.
    more_tenants: Option<String>,
    /// `IDENTITY_ENDPOINT` and `IDENTITY_HEADER`.
    identity: Option<(String, SecretString)>,
    /// A variable of a managed identity that is not supported.
    other_identity: Option<&'static str>,
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST`.
    metadata_host: Option<String>,
    /// `AZURE_TOKEN_CREDENTIALS`.
    only: Option<String>,
}

#[cfg(feature = "azure-kv")]
impl AzureVariables {
    fn read(set: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(PathBuf::from);
        let identity = text("IDENTITY_ENDPOINT").zip(text("IDENTITY_HEADER"));
        // In the order in which Azure's library tells them apart.
        let others = match identity {
            Some(_) => &["IDENTITY_SERVER_THUMBPRINT"][..],
            None => &["MSI_ENDPOINT", "IMDS_ENDPOINT"],
        };
        Self {
            vaults: text("SELKIE_AZURE_VAULTS"),
            tenant: text("AZURE_TENANT_ID"),
            client_id: text("AZURE_CLIENT_ID"),
            client_secret: text("AZURE_CLIENT_SECRET").map(SecretString::new),
            certificate: path("AZURE_CLIENT_CERTIFICATE_PATH"),
            send_chain: text("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            user_name: set("AZURE_USERNAME").is_some(),
            federated_token: path("AZURE_FEDERATED_TOKEN_FILE"),
            authority: text("AZURE_AUTHORITY_HOST"),
            more_tenants: text("AZURE_ADDITIONALLY_ALLOWED_TENANTS"),
            other_identity: others.iter().copied().find(|name| set(name).is_some()),
            identity: identity.map(|(endpoint, header)| (endpoint, SecretString::new(header))),
            metadata_host: text("AZURE_POD_IDENTITY_AUTHORITY_HOST"),
            only: text("AZURE_TOKEN_CREDENTIALS"),
        }
    }

    fn settings(&self, attempt: Duration, proxied: bool) -> AzureKvSettings {
        let secret = |text: &Option<SecretString>| text.as_ref().map(SecretString::duplicate);
        let identity = self.identity.as_ref();
        AzureKvSettings {
            allow_list: self.vaults.clone(),
            login: AzureLoginSettings {
                tenant: self.tenant.clone(),
                client_id: self.client_id.clone(),
                client_secret: secret(&self.client_secret),
                certificate: self.certificate.clone(),
                send_chain: self.send_chain,
                user_name: self.user_name,
                federated_token: self.federated_token.clone(),
                authority: self.authority.clone(),
                more_tenants: self.more_tenants.clone(),
                identity: identity.map(|(to, header)| (to.clone(), header.duplicate())),
                other_identity: self.other_identity,
                metadata_host: self.metadata_host.clone(),
                only: self.only.clone(),
                timeout: Some(attempt),
            },
            proxied,
            timeout: Some(attempt),
            ..AzureKvSettings::default()
        }
    }
}

impl ServiceVariables {
    /// `set` gives the value of a variable that is set and not empty.
    pub(crate) fn read(set: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
        let path = |name: &str| set(name).map(PathBuf::from);
        let which = |names: &[&'static str]| -> Vec<&'static str> {
            let present = names.iter().copied().filter(|name| set(name).is_some());
            present.collect()
        };
        Self {
            timeout: text("SELKIE_KEY_SERVICE_TIMEOUT"),
            vault_address: text("VAULT_ADDR"),
            vault_allow_list: text("SOPS_HC_VAULT_ALLOWLIST"),
            vault_token: text("VAULT_TOKEN").map(SecretString::new),
            vault_token_file: path("HOME").map(|home| home.join(".vault-token")),
            vault_namespace: text("VAULT_NAMESPACE"),
            vault_ca_file: path("VAULT_CACERT"),
            vault_client_files: path("VAULT_CLIENT_CERT").zip(path("VAULT_CLIENT_KEY")),
            // As Vault's own programs read it.
            vault_skip_verify: text("VAULT_SKIP_VERIFY").is_some_and(|value| {
                ["1", "t", "T", "TRUE", "true", "True"].contains(&value.as_str())
            }),
            vault_unsupported: which(&[
                "VAULT_AGENT_ADDR",
                "VAULT_CACERT_BYTES",
                "VAULT_CAPATH",
                "VAULT_HTTP_PROXY",
                "VAULT_PROXY_ADDR",
                "VAULT_TLS_SERVER_NAME",
            ]),
            #[cfg(feature = "gcp-kms")]
            gcp: GcpVariables::read(set),
            #[cfg(feature = "azure-kv")]
            azure: AzureVariables::read(set),
            proxied: !which(&[
                "HTTPS_PROXY",
                "https_proxy",
                "HTTP_PROXY",
                "http_proxy",
                "ALL_PROXY",
                "all_proxy",
            ])
            .is_empty(),
        }
    }

    fn attempt(&self) -> Result<Duration, Failure> {
        const DEFAULT: Duration = Duration::from_secs(10);
        let Some(text) = &self.timeout else {
            return Ok(DEFAULT);
        };
        match text.parse() {
            Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
            _ => {
                let message =
                    "SELKIE_KEY_SERVICE_TIMEOUT is not a number of seconds from 1 to 3600";
                Err(Failure::new(Kind::Other, message))
            }
        }
    }
}

/// Which processes wrap and unwrap data keys: this one, then the others in turn.
#[derive(Debug, Clone)]
pub(crate) struct KeyServices {
    pub(crate) local: bool,
    pub(crate) remote: Vec<ServiceAddress>,
}

impl Default for KeyServices {
    fn default() -> Self {
        Self {
            local: true,
            remote: Vec::new(),
        }
    }
}

/// How Cloud Storage of Google is reached.
#[cfg(feature = "gcp-kms")]
struct StorageSettings {
    /// None for an emulator.
    login: Option<GcpLoginSettings>,
    endpoint: String,
}

/// The services of one run; shared by everything that wraps and unwraps.
pub(crate) struct Services {
    pub(crate) aws_kms: Arc<AwsKms>,
    pub(crate) vault: Arc<VaultTransit>,
    #[cfg(feature = "gcp-kms")]
    pub(crate) gcp_kms: Arc<GcpKms>,
    #[cfg(feature = "azure-kv")]
    pub(crate) azure_kv: Arc<AzureKv>,
    #[cfg(feature = "gcp-kms")]
    storage_settings: Mutex<Option<StorageSettings>>,
    #[cfg(feature = "gcp-kms")]
    storage: OnceLock<Result<Arc<Gcs>, GcsError>>,
    /// Runs what is asked of them.
    pub(crate) network: Arc<Network>,
    /// `VAULT_ADDR`.
    pub(crate) vault_address: Option<String>,
    /// The time limit of one attempt.
    pub(crate) attempt: Duration,
    /// Whether this process wraps and unwraps.
    pub(crate) local: bool,
    /// The processes that do so besides.
    pub(crate) remote: Vec<Arc<RemoteKeys>>,
}

impl Services {
    /// Makes the services. `given` are the keys that the user named outside any file: what they
    /// stand on is trusted. `unnamed` says what becomes of other servers.
    pub(crate) fn new(
        variables: &ServiceVariables,
        processes: &KeyServices,
        given: &[KeySpec],
        unnamed: Unnamed,
    ) -> Result<Self, Failure> {
        let attempt = variables.attempt()?;
        let network = Arc::<Network>::default();
        let limits = ServiceLimits {
            connect: attempt,
            answer: ANSWER,
        };
        let remote = processes.remote.iter();
        let remote = remote.map(|at| Arc::new(RemoteKeys::new(at.clone(), limits, &network)));
        let kms = AwsKmsSettings {
            timeouts: KmsTimeouts::of_attempt(attempt),
            host_name: hostname::get()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
        };
        let servers = given.iter().filter_map(|spec| match spec {
            KeySpec::HcVault { address, .. } => Some(address.clone()),
            _ => None,
        });
        #[cfg(feature = "azure-kv")]
        let vaults = given.iter().filter_map(|spec| match spec {
            KeySpec::AzureKv { vault_url, .. } => Some(vault_url.clone()),
            _ => None,
        });
        #[cfg(feature = "azure-kv")]
        let vaults: Vec<String> = vaults.collect();
        let vault = VaultSettings {
            address: variables.vault_address.clone(),
            named: servers.collect(),
            allow_list: variables.vault_allow_list.clone(),
            unnamed,
            token: variables.vault_token.as_ref().map(SecretString::duplicate),
            token_file: variables.vault_token_file.clone(),
            namespace: variables.vault_namespace.clone(),
            ca_file: variables.vault_ca_file.clone(),
            client_files: variables.vault_client_files.clone(),
            skip_verify: variables.vault_skip_verify,
            ignored: variables.vault_unsupported.clone(),
            proxied: variables.proxied,
            timeout: Some(attempt),
        };
        Ok(Self {
            #[cfg(feature = "gcp-kms")]
            storage_settings: Mutex::new(Some(variables.gcp.storage(attempt))),
            #[cfg(feature = "gcp-kms")]
            storage: OnceLock::new(),
            network: Arc::clone(&network),
            vault_address: variables.vault_address.clone(),
            attempt,
            local: processes.local,
            remote: remote.collect(),
            aws_kms: Arc::new(AwsKms::new(kms, &network)),
            vault: Arc::new(VaultTransit::new(vault, &network)),
            #[cfg(feature = "gcp-kms")]
            gcp_kms: Arc::new(GcpKms::new(
                variables.gcp.settings(attempt, variables.proxied),
                jiff::Timestamp::now,
                &network,
            )),
            #[cfg(feature = "azure-kv")]
            azure_kv: Arc::new(AzureKv::new(
                AzureKvSettings {
                    named: vaults,
                    unnamed,
                    ..variables.azure.settings(attempt, variables.proxied)
                },
                jiff::Timestamp::now,
                &network,
            )),
        })
    }

    /// Returns the client of Google's Cloud Storage.
    #[cfg(feature = "gcp-kms")]
    pub(crate) fn storage(&self) -> Result<Arc<Gcs>, GcsError> {
        let made = self.storage.get_or_init(|| {
            let mut settings = self
                .storage_settings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let settings = settings.take().ok_or(GcsError::Endpoint)?;
            let login = settings.login;
            let login = login.map(|login| GcpLogin::new(login, jiff::Timestamp::now));
            let client = Gcs::new(&settings.endpoint, login, self.attempt)?;
            Ok(Arc::new(client))
        });
        made.clone()
    }

    /// Returns what the services have to say and did not say yet.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        let of_vault = self.vault.take_warnings();
        #[cfg(feature = "azure-kv")]
        let of_azure = self.azure_kv.take_warnings();
        #[cfg(not(feature = "azure-kv"))]
        let of_azure = Vec::new();
        [of_vault, of_azure].concat()
    }
}

/// The time for an answer of a key service: somebody may have to allow it.
const ANSWER: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> ServiceVariables {
        ServiceVariables::read(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_variables_of_vault_are_read_as_vault_reads_them() {
        let home = of(&[("HOME", "/home/u"), ("VAULT_CLIENT_CERT", "c")]);
        assert_eq!(home.vault_token_file, Some("/home/u/.vault-token".into()));
        assert!(home.vault_client_files.is_none());
        for (value, skip) in [("1", true), ("true", true), ("0", false), ("yes", false)] {
            assert_eq!(of(&[("VAULT_SKIP_VERIFY", value)]).vault_skip_verify, skip);
        }
        let other = of(&[("VAULT_CAPATH", "/etc"), ("https_proxy", "http://p")]);
        assert_eq!(other.vault_unsupported, ["VAULT_CAPATH"]);
        assert!(other.proxied && !home.proxied);
    }

    #[cfg(feature = "gcp-kms")]
    #[test]
    fn the_variables_of_google_are_read_as_sops_reads_them() {
        let gcp = of(&[("HOME", "/h"), ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "g")]).gcp;
        assert_eq!(
            gcp.user_file,
            Some("/h/.config/gcloud/application_default_credentials.json".into())
        );
        assert_eq!(gcp.universe.as_deref(), Some("g"));
        let own = of(&[
            ("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "g"),
            ("SOPS_GCP_KMS_UNIVERSE_DOMAIN", "s"),
        ]);
        assert_eq!(own.gcp.universe.as_deref(), Some("s"));
    }

    #[cfg(feature = "azure-kv")]
    #[test]
    fn the_variables_of_azure_are_read_as_its_libraries_read_them() {
        let service = of(&[
            ("IDENTITY_ENDPOINT", "http://e"),
            ("IDENTITY_HEADER", "h"),
            ("MSI_ENDPOINT", "http://m"),
            ("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "TRUE"),
        ])
        .azure;
        assert!(service.identity.is_some() && service.other_identity.is_none());
        assert!(service.send_chain);
        let fabric = of(&[
            ("IDENTITY_ENDPOINT", "http://e"),
            ("IDENTITY_HEADER", "h"),
            ("IDENTITY_SERVER_THUMBPRINT", "t"),
        ]);
        let other = Some("IDENTITY_SERVER_THUMBPRINT");
        assert_eq!(fabric.azure.other_identity, other);
        let half = of(&[("IDENTITY_ENDPOINT", "http://e"), ("MSI_ENDPOINT", "m")]).azure;
        assert!(half.identity.is_none());
        assert_eq!(half.other_identity, Some("MSI_ENDPOINT"));
    }

    #[test]
    fn a_time_limit_that_is_none_is_refused() {
        assert_eq!(of(&[]).attempt().unwrap(), Duration::from_secs(10));
        let limit = |text| of(&[("SELKIE_KEY_SERVICE_TIMEOUT", text)]).attempt();
        assert_eq!(limit("3").unwrap(), Duration::from_secs(3));
        for text in ["0", "-1", "1.5", "10s", "99999"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}

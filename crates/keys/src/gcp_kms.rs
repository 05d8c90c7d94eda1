//! Google Cloud KMS (sops-format.md 8.4).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use selkie_cloud::endpoint::{
    EndpointError, EndpointPolicy, NameError, Resolver, SystemResolver, Unnamed,
};
use selkie_cloud::gcp_auth::{GcpLogin, GcpLoginSettings};
use selkie_cloud::gcp_kms::{GcpKms as Client, GcpKmsError, default_endpoint};
use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError, WrapError};
use zeroize::Zeroizing;

use crate::network::{Health, Network};

/// How Cloud KMS is asked: what the user's environment says.
#[derive(Debug, Default)]
pub struct GcpKmsSettings {
    /// `SOPS_GCP_KMS_ENDPOINT`: a URL, or HOST[:PORT] for https.
    pub endpoint: Option<String>,
    /// Where credentials come from.
    pub login: GcpLoginSettings,
    /// Whether requests go through a proxy (`HTTPS_PROXY` and the like).
    pub proxied: bool,
    /// The time limit of one request; ten seconds when `None`.
    pub timeout: Option<Duration>,
}

/// Cloud KMS as a service: one client, made when it is first asked.
///
/// The endpoint comes from the user's own environment alone; of a file only the key's name reaches
/// the path of a request.
pub struct GcpKms {
    settings: GcpKmsSettings,
    login: Arc<GcpLogin>,
    network: Arc<Network>,
    resolver: Arc<dyn Resolver>,
    client: Mutex<Option<Arc<Client>>>,
    health: Health,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("SOPS_GCP_KMS_ENDPOINT: {0}")]
    Name(#[from] NameError),
    #[error("{0}")]
    Resting(String),
    #[error("no thread can be started: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Kms(#[from] GcpKmsError),
}

impl GcpKms {
    /// Makes the service; reads and sends nothing. `clock` dates what it shows to log in.
    pub fn new(
        mut settings: GcpKmsSettings,
        clock: fn() -> jiff::Timestamp,
        network: &Arc<Network>,
    ) -> Self {
        // The endpoint follows from the universe as well.
        let universe = settings.login.universe.clone();
        let login = std::mem::take(&mut settings.login);
        settings.login.universe = universe;
        Self {
            settings,
            login: Arc::new(GcpLogin::new(login, clock)),
            network: Arc::clone(network),
            resolver: Arc::new(SystemResolver),
            client: Mutex::default(),
            health: Health::default(),
        }
    }

    fn ask<T>(
        &self,
        call: impl AsyncFnOnce(&Client) -> Result<T, GcpKmsError>,
    ) -> Result<T, Refusal> {
        if let Some(cause) = self.health.resting(Instant::now()) {
            return Err(Refusal::Resting(cause));
        }
        let client = self.client()?;
        let answer = self.network.run(call(&client)).map_err(Refusal::Runtime)?;
        match &answer {
            Err(error) if error.is_outage() => {
                self.health.failed(&error.to_string(), Instant::now());
            }
            _ => self.health.answered(),
        }
        Ok(answer?)
    }

    fn client(&self) -> Result<Arc<Client>, Refusal> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let settings = &self.settings;
        let endpoint = endpoint(settings);
        let mut policy = EndpointPolicy::new(
            "Cloud KMS endpoint",
            "SOPS_GCP_KMS_ENDPOINT",
            Unnamed::Refused,
        );
        policy.name(&endpoint)?;
        policy.proxied(settings.proxied);
        let admitted = policy.admit(&endpoint, &*self.resolver)?;
        let timeout = settings.timeout.unwrap_or(Duration::from_secs(10));
        let made = Client::new(admitted.url(), &self.login, timeout, admitted.pinned())?;
        Ok(Arc::clone(client.insert(Arc::new(made))))
    }
}

impl DataKeySource for GcpKms {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let KeySpec::GcpKms { resource_id } = KeySpec::of_entry(entry) else {
            return Err(UnwrapError::Unsupported(entry.kind));
        };
        let enc = entry.enc()?;
        let plain = self
            .ask(async |kms| kms.decrypt(&resource_id, enc.trim()).await)
            .map_err(|error| UnwrapError::Failed(error.to_string()))?;
        Ok(Zeroizing::new(plain.expose().to_vec()))
    }
}

impl fmt::Debug for GcpKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKms")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One key of Cloud KMS, to wrap with.
#[derive(Debug)]
pub struct GcpKmsKey {
    resource_id: String,
    service: Arc<GcpKms>,
    created_at: jiff::Timestamp,
}

impl GcpKmsKey {
    /// Names the key; `created_at` goes into its entries. Nothing is sent.
    pub fn new(resource_id: &str, service: &Arc<GcpKms>, created_at: jiff::Timestamp) -> Self {
        Self {
            resource_id: resource_id.to_owned(),
            service: Arc::clone(service),
            created_at,
        }
    }
}

impl MasterKey for GcpKmsKey {
    fn kind(&self) -> KeyKind {
        KeyKind::GcpKms
    }

    fn id(&self) -> &str {
        &self.resource_id
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let enc = self
            .service
            .ask(async |kms| kms.encrypt(&self.resource_id, secret).await)
            .map_err(|error| WrapError {
                kind: KeyKind::GcpKms,
                id: self.resource_id.clone(),
                reason: error.to_string(),
            })?;
        let spec = KeySpec::GcpKms {
            resource_id: self.resource_id.clone(),
        };
        Ok(spec.entry(&enc, self.created_at))
    }
}

/// The user's endpoint, else the one of the universe. Without a scheme it is HOST[:PORT], as the
/// gRPC client of sops takes it.
fn endpoint(settings: &GcpKmsSettings) -> String {
    match &settings.endpoint {
        Some(given) if given.contains("://") => given.clone(),
        Some(host) => format!("https://{host}"),
        None => default_endpoint(settings.login.universe.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";

    fn service(endpoint: &str) -> GcpKms {
        let settings = GcpKmsSettings {
            endpoint: Some(endpoint.to_owned()),
            timeout: Some(Duration::from_secs(1)),
            ..GcpKmsSettings::default()
        };
        GcpKms::new(settings, || jiff::Timestamp::UNIX_EPOCH, &Arc::default())
    }

    fn refused(service: &GcpKms) -> String {
        let spec = KeySpec::GcpKms {
            resource_id: NAME.to_owned(),
        };
        let entry = spec.entry("AAAA", jiff::Timestamp::UNIX_EPOCH);
        service.unwrap_key(&entry).unwrap_err().to_string()
    }

    #[test]
    fn endpoints_are_urls_or_hosts() {
        let of = |given: Option<&str>, universe: Option<&str>| {
            endpoint(&GcpKmsSettings {
                endpoint: given.map(str::to_owned),
                login: GcpLoginSettings {
                    universe: universe.map(str::to_owned),
                    ..GcpLoginSettings::default()
                },
                ..GcpKmsSettings::default()
            })
        };
        assert_eq!(of(None, None), "https://cloudkms.googleapis.com");
        assert_eq!(
            of(None, Some("s3nsapis.fr")),
            "https://cloudkms.s3nsapis.fr"
        );
        assert_eq!(of(Some("host:443"), Some("u")), "https://host:443");
        assert_eq!(of(Some("http://host:1/x"), None), "http://host:1/x");
    }

    #[test]
    fn metadata_addresses_and_what_is_no_url_are_never_contacted() {
        for (endpoint, words) in [
            ("http://169.254.169.254/", "a link-local address"),
            ("https://[fd00:ec2::254]", "metadata"),
            ("ftp://host", "SOPS_GCP_KMS_ENDPOINT"),
            ("https://user:canary@host", "SOPS_GCP_KMS_ENDPOINT"),
        ] {
            let message = refused(&service(endpoint));
            assert!(message.contains(words), "{endpoint}: {message}");
            assert!(!message.contains("canary"), "{message}");
        }
    }
}

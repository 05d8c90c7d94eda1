//! AWS KMS (sops-format.md 8.3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use selkie_cloud::kms::{Kms, KmsError, KmsTarget, KmsTimeouts, region_of, session_name};
use selkie_secret::SecretBytes;
use selkie_sops::{
    DataKeySource, KeyEntry, KeyKind, KeySpec, KmsSpec, MasterKey, UnwrapError, WrapError,
};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::network::{self, Health, Network};

/// How KMS is asked.
#[derive(Debug, Clone, Default)]
pub struct AwsKmsSettings {
    /// Time limits of one call.
    pub timeouts: KmsTimeouts,
    /// This machine's name, for the session of an assumed role.
    pub host_name: String,
}

/// AWS KMS as a service: one client for each region, profile and role, made when it is first asked.
///
/// Endpoints come from the user's own environment and shared config alone (`AWS_ENDPOINT_URL_KMS`,
/// `AWS_ENDPOINT_URL`); of a file only the region reaches the host name.
pub struct AwsKms {
    settings: AwsKmsSettings,
    network: Arc<Network>,
    clients: Mutex<HashMap<KmsTarget, Arc<Service>>>,
}

#[derive(Default)]
struct Service {
    client: OnceCell<Kms>,
    health: Health,
}

impl AwsKms {
    /// Makes the service; reads and sends nothing.
    pub fn new(settings: AwsKmsSettings, network: &Arc<Network>) -> Self {
        Self {
            settings,
            network: Arc::clone(network),
            clients: Mutex::default(),
        }
    }

    fn encrypt(&self, spec: &KmsSpec, plain: &[u8]) -> Result<Vec<u8>, String> {
        self.ask(spec, async |client| {
            client.encrypt(&spec.arn, plain, &spec.context).await
        })
        .map_err(|error| error.to_string())
    }

    /// Decrypts, and tries what sops before 3.3.0 may have used as context: each value in the place of
    /// every other (8.3). That costs calls only where the entry's own context does not fit.
    fn decrypt(&self, spec: &KmsSpec, blob: &[u8]) -> Result<SecretBytes, String> {
        let mut contexts = vec![spec.context.clone()];
        contexts.extend(corrupted(&spec.context));
        self.ask(spec, async |client| {
            let mut first = None;
            for context in &contexts {
                match client.decrypt(&spec.arn, blob, context).await {
                    Err(error @ KmsError::Ciphertext { .. }) => {
                        first.get_or_insert(error);
                    }
                    answer => return answer,
                }
            }
            Err(first.unwrap_or(KmsError::Region))
        })
        .map_err(|error| error.to_string())
    }

    fn ask<T>(
        &self,
        spec: &KmsSpec,
        call: impl AsyncFnOnce(&Kms) -> Result<T, KmsError>,
    ) -> Result<T, Refusal> {
        let region = region_of(&spec.arn).ok_or_else(|| Refusal::Arn(spec.arn.clone()))?;
        let target = KmsTarget {
            region: region.to_owned(),
            profile: spec.profile.clone(),
            role: spec.role.clone(),
        };
        let service = network::place(&self.clients, target.clone());
        if let Some(cause) = service.health.resting(Instant::now()) {
            return Err(Refusal::Resting(cause));
        }
        let session = session_name(&self.settings.host_name);
        let answer = self.network.run(async {
            let client = service
                .client
                .get_or_try_init(|| Kms::new(target, self.settings.timeouts, &session))
                .await?;
            call(client).await
        });
        match answer.map_err(Refusal::Runtime)? {
            Err(error) if error.is_outage() => {
                service.health.failed(&error.to_string(), Instant::now());
                Err(Refusal::Kms(error))
            }
            answer => {
                service.health.answered();
                answer.map_err(Refusal::Kms)
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("`{0}` is not the ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID)")]
    Arn(String),
    #[error("{0}")]
    Resting(String),
    #[error("no thread can be started: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Kms(KmsError),
}

impl DataKeySource for AwsKms {
    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let KeySpec::Kms(spec) = KeySpec::of_entry(entry) else {
            return Err(UnwrapError::Unsupported(entry.kind));
        };
        let failed = |reason: &str| UnwrapError::Failed(reason.to_owned());
        let enc = entry.enc()?;
        let blob = STANDARD
            .decode(enc.trim())
            .map_err(|_| failed("its enc field is not base64"))?;
        let plain = self.decrypt(&spec, &blob).map_err(UnwrapError::Failed)?;
        Ok(Zeroizing::new(plain.expose().to_vec()))
    }
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKms")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// One key of AWS KMS, to wrap with.
#[derive(Debug)]
pub struct AwsKmsKey {
    spec: KmsSpec,
    id: String,
    service: Arc<AwsKms>,
    created_at: jiff::Timestamp,
}

impl AwsKmsKey {
    /// Names the key; `created_at` goes into its entries. Nothing is sent.
    pub fn new(spec: &KmsSpec, service: &Arc<AwsKms>, created_at: jiff::Timestamp) -> Self {
        Self {
            id: KeySpec::Kms(spec.clone()).identity(),
            spec: spec.clone(),
            service: Arc::clone(service),
            created_at,
        }
    }
}

impl MasterKey for AwsKmsKey {
    fn kind(&self) -> KeyKind {
        KeyKind::Kms
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, secret: &[u8]) -> Result<KeyEntry, WrapError> {
        let blob = self
            .service
            .encrypt(&self.spec, secret)
            .map_err(|reason| WrapError {
                kind: KeyKind::Kms,
                id: self.id.clone(),
                reason,
            })?;
        Ok(KeySpec::Kms(self.spec.clone()).entry(&STANDARD.encode(blob), self.created_at))
    }
}

/// The contexts that sops before 3.3.0 may have sent for one with several values: its loop variable
/// gave every key the value that came last, and no order was kept (8.3).
fn corrupted(context: &BTreeMap<String, String>) -> Vec<BTreeMap<String, String>> {
    let values: BTreeSet<&String> = context.values().collect();
    if values.len() < 2 {
        return Vec::new();
    }
    let all = |value: &String| context.keys().map(|k| (k.clone(), value.clone())).collect();
    values.into_iter().map(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_old_files_have_one_value() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert!(corrupted(&of(&[])).is_empty());
        assert!(corrupted(&of(&[("a", "1"), ("b", "1")])).is_empty());
        assert_eq!(
            corrupted(&of(&[("a", "1"), ("b", "2"), ("c", "1")])),
            [
                of(&[("a", "1"), ("b", "1"), ("c", "1")]),
                of(&[("a", "2"), ("b", "2"), ("c", "2")])
            ]
        );
    }

    #[test]
    fn a_bad_entry_is_refused_before_anything_is_sent() {
        let kms = AwsKms::new(AwsKmsSettings::default(), &Arc::default());
        let refused = |arn: &str, enc: &str| {
            let spec = KmsSpec {
                arn: arn.to_owned(),
                ..KmsSpec::default()
            };
            let entry = KeySpec::Kms(spec).entry(enc, jiff::Timestamp::UNIX_EPOCH);
            kms.unwrap_key(&entry).unwrap_err().to_string()
        };
        let arn = "arn:aws:kms:eu-west-1:1:key/a";
        assert_eq!(refused(arn, "%"), "its enc field is not base64");
        for arn in ["", "arn:aws:kms:evil.example/:1:key/a", "key/a"] {
            assert!(refused(arn, "AAAA").contains("is not the ARN"), "{arn}");
        }
    }
}

//! From the name of a master key to what wraps with it, and from a kind of key to what unwraps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use selkie_sops::{DataKeySource, KeyEntry, KeyKind, KeySpec, MasterKey, UnwrapError};
use zeroize::Zeroizing;

use crate::age::{AgeRecipient, RecipientError};
use crate::aws_kms::{AwsKms, AwsKmsKey};
#[cfg(feature = "azure-kv")]
use crate::azure_kv::{AzureKv, AzureKvKey};
#[cfg(feature = "gcp-kms")]
use crate::gcp_kms::{GcpKms, GcpKmsKey};
use crate::hckms;
use crate::pgp::{Gpg, PgpKey};
use crate::prompt::Prompt;
use crate::service::{RemoteKeys, ServedKey};
use crate::vault_transit::{VaultTransit, VaultTransitKey};

/// What master keys are made with: settings and clients, which do nothing before they are used.
#[derive(Clone)]
pub struct KeyContext {
    /// `created_at` of new entries.
    pub now: jiff::Timestamp,
    /// Asked by age plugins.
    pub prompt: Arc<dyn Prompt>,
    /// Wraps for OpenPGP keys.
    pub gpg: Arc<Gpg>,
    /// Wraps for keys of AWS KMS.
    pub aws_kms: Arc<AwsKms>,
    /// Wraps for keys of Vault and OpenBao.
    pub vault: Arc<VaultTransit>,
    /// Wraps for keys of Google Cloud KMS.
    #[cfg(feature = "gcp-kms")]
    pub gcp_kms: Arc<GcpKms>,
    /// Wraps for keys of Azure Key Vault.
    #[cfg(feature = "azure-kv")]
    pub azure_kv: Arc<AzureKv>,
    /// Whether this process wraps, before any key service is asked.
    pub local: bool,
    /// The key services that are asked in turn.
    pub remote: Vec<Arc<RemoteKeys>>,
}

/// Why nothing can be wrapped with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MasterKeyError {
    /// Its recipient is malformed.
    #[error(transparent)]
    Age(#[from] RecipientError),
    /// There is no client for Huawei Cloud.
    #[error("{}", hckms::REFUSAL)]
    Huawei,
    /// This build leaves the client out.
    #[error("keys of type {0} cannot be used: this build of Selkie was made without their client")]
    Unsupported(KeyKind),
    /// This process may not, and nobody else is named.
    #[error("no key service is enabled")]
    NoService,
}

/// Returns what wraps data keys with the key of this name: this process, then the key services.
pub fn master_key(
    spec: &KeySpec,
    context: &KeyContext,
) -> Result<Box<dyn MasterKey + Send + Sync>, MasterKeyError> {
    let local = match context.local {
        true => local_key(spec, context),
        false => Err(MasterKeyError::NoService),
    };
    if context.remote.is_empty() {
        return local;
    }
    Ok(Box::new(ServedKey {
        spec: spec.clone(),
        id: spec.identity(),
        local,
        remote: context.remote.clone(),
        created_at: context.now,
    }))
}

fn local_key(
    spec: &KeySpec,
    context: &KeyContext,
) -> Result<Box<dyn MasterKey + Send + Sync>, MasterKeyError> {
    Ok(match spec {
        KeySpec::Age { recipient } => {
            let recipient: AgeRecipient = recipient.parse()?;
            Box::new(recipient.with_prompt(&context.prompt))
        }
        KeySpec::Pgp { fingerprint } => {
            Box::new(PgpKey::new(fingerprint, &context.gpg, context.now))
        }
        KeySpec::Kms(kms) => Box::new(AwsKmsKey::new(kms, &context.aws_kms, context.now)),
        KeySpec::HcVault { .. } => {
            Box::new(VaultTransitKey::new(spec, &context.vault, context.now))
        }
        #[cfg(feature = "gcp-kms")]
        KeySpec::GcpKms { resource_id } => {
            Box::new(GcpKmsKey::new(resource_id, &context.gcp_kms, context.now))
        }
        #[cfg(feature = "azure-kv")]
        KeySpec::AzureKv { .. } => Box::new(AzureKvKey::new(spec, &context.azure_kv, context.now)),
        KeySpec::Hckms { .. } => return Err(MasterKeyError::Huawei),
        other => return Err(MasterKeyError::Unsupported(other.kind())),
    })
}

/// One source of data keys for entries of every kind: the one for the kind is asked.
#[derive(Default)]
pub struct KeySources<'a> {
    sources: BTreeMap<KeyKind, &'a (dyn DataKeySource + Sync)>,
}

impl<'a> KeySources<'a> {
    /// Asks `source` for the entries of a kind.
    #[must_use]
    pub fn with(mut self, kind: KeyKind, source: &'a (dyn DataKeySource + Sync)) -> Self {
        self.sources.insert(kind, source);
        self
    }
}

impl DataKeySource for KeySources<'_> {
    fn fits(&self, entry: &KeyEntry) -> bool {
        let source = self.sources.get(&entry.kind);
        source.is_some_and(|source| source.fits(entry))
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        match self.sources.get(&entry.kind) {
            Some(source) => source.unwrap_key(entry),
            None => Err(UnwrapError::Unsupported(entry.kind)),
        }
    }
}

impl fmt::Debug for KeySources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.sources.keys()).finish()
    }
}

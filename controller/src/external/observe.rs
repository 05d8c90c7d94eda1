//! What is read before anything is decided: the ExternalSecret as the watch has it, what this process
//! remembers of it, and the Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client};
use selkie_api::external_secret::{
    ExternalSecret, ExternalSecretSpec, ExternalSecretStatus, GROUP,
};

use super::decide::{Identity, Past};
use super::markers::synced_version;
use crate::support::repairs::Repairs;
use crate::support::resource_version::is_older;
use crate::support::secret_object::SecretObject;

/// An ExternalSecret as the watch keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Who it is.
    pub identity: Identity,
    /// Generation of its specification.
    pub generation: i64,
    /// Resource version; newer than another one when it is the larger number.
    pub resource_version: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its specification.
    pub spec: ExternalSecretSpec,
    /// Its status.
    pub status: ExternalSecretStatus,
}

/// Status and resource version are left out: what this controller writes itself is no news for it.
impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
            && self.generation == other.generation
            && self.labels == other.labels
            && self.annotations == other.annotations
            && self.finalizers == other.finalizers
            && self.deleting == other.deleting
            && self.spec == other.spec
    }
}

impl Kept {
    /// Takes what is kept.
    pub fn keep(object: ExternalSecret) -> Self {
        let metadata = object.metadata;
        Self {
            identity: Identity {
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
                uid: metadata.uid.unwrap_or_default(),
            },
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            spec: object.spec,
            status: object.status.unwrap_or_default(),
        }
    }

    /// Returns what a synchronisation of it as it is now is called (external-secrets.md 7.3).
    pub fn version(&self) -> String {
        synced_version(self.generation, Some(&self.labels), Some(&self.annotations))
    }

    /// Returns what an Event is about.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(format!("{GROUP}/v1")),
            kind: Some("ExternalSecret".to_owned()),
            namespace: Some(self.identity.namespace.clone()),
            name: Some(self.identity.name.clone()),
            uid: Some(self.identity.uid.clone()),
            ..ObjectReference::default()
        }
    }
}

/// What this process remembers of one ExternalSecret.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Its UID: another one is another ExternalSecret.
    pub uid: String,
    /// The Secret that the rest of the memory is about.
    pub target: String,
    /// See [`Past`].
    pub past: Past,
    /// Version of the ExternalSecret, and UID and resource version of the Secret, that were in order.
    pub in_order: Option<(String, String, String)>,
    /// Status that was written, and the resource version which that write made.
    pub status: Option<(ExternalSecretStatus, String)>,
    /// Failures in a row.
    pub failures: u32,
    /// Repairs of late.
    pub repairs: Repairs,
    /// Whether the last attempt failed.
    pub failing: bool,
}

impl Memory {
    /// Returns the memory of `kept`, with what it no longer stands for left out.
    pub fn of(self, kept: &Kept, target: &str) -> Self {
        let mut memory = self;
        if memory.uid != kept.identity.uid {
            memory = Self {
                uid: kept.identity.uid.clone(),
                ..Self::default()
            };
        }
        if memory.target != target {
            target.clone_into(&mut memory.target);
            memory.past.secret = None;
            memory.past.hash = None;
            memory.in_order = None;
        }
        let status = memory.current_status(kept).clone();
        memory.past.synced_version = status.synced_resource_version;
        memory.past.refreshed = status.refresh_time.is_some();
        memory
    }

    /// Returns the newer one of the status in the watch and the one written last: the watch lags behind.
    pub fn current_status<'a>(&'a self, kept: &'a Kept) -> &'a ExternalSecretStatus {
        match &self.status {
            Some((status, version)) if is_older(&kept.resource_version, version) => status,
            _ => &kept.status,
        }
    }
}

/// Reads the Secret, values and all.
pub async fn live(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<SecretObject>, kube::Error> {
    Api::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(version: &str, status: ExternalSecretStatus) -> Kept {
        let mut object = ExternalSecret::new("db", ExternalSecretSpec::default());
        object.metadata.uid = Some("u".to_owned());
        object.metadata.resource_version = Some(version.to_owned());
        object.status = Some(status);
        Kept::keep(object)
    }

    fn status(version: &str) -> ExternalSecretStatus {
        ExternalSecretStatus {
            synced_resource_version: Some(version.to_owned()),
            ..ExternalSecretStatus::default()
        }
    }

    #[test]
    fn our_own_status_is_no_news() {
        assert_eq!(kept("1", status("a")), kept("2", status("b")));
        let mut labelled = kept("1", status("a"));
        labelled.labels.insert("a".to_owned(), "b".to_owned());
        assert_ne!(kept("1", status("a")), labelled);
    }

    #[test]
    fn the_newer_status_counts() {
        let memory = Memory {
            uid: "u".to_owned(),
            status: Some((status("written"), "10".to_owned())),
            ..Memory::default()
        };
        let of = |version: &str| {
            let kept = kept(version, status("watched"));
            memory.clone().of(&kept, "db").past.synced_version
        };
        assert_eq!(of("9").as_deref(), Some("written"));
        assert_eq!(of("10").as_deref(), Some("watched"));
        assert_eq!(of("11").as_deref(), Some("watched"));
    }

    #[test]
    fn another_uid_or_target_is_forgotten() {
        let memory = Memory {
            uid: "old".to_owned(),
            failures: 3,
            ..Memory::default()
        };
        assert_eq!(memory.of(&kept("1", status("a")), "db").failures, 0);
        let memory = Memory {
            uid: "u".to_owned(),
            target: "db".to_owned(),
            failures: 3,
            in_order: Some(Default::default()),
            ..Memory::default()
        };
        let renamed = memory.of(&kept("1", status("a")), "other");
        assert_eq!((renamed.failures, renamed.in_order), (3, None));
    }
}

//! Carries a plan out: the only code of this module that writes Secrets and ExternalSecrets.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use selkie_api::external_secret::{ExternalSecret, ExternalSecretStatus};
use serde_json::json;

use super::decide::{Identity, Plan, Secret};
use super::markers::{ORIGINAL_FINALIZER, field_manager};
use super::observe::Kept;
use crate::support::secret_object::SecretObject;
use crate::support::secret_write::{delete, recreate, successor};

/// What was done to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing.
    Kept,
    /// It was made.
    Created,
    /// It was changed.
    Updated,
}

/// Carries out a plan; returns the Secret as it is now, unless nothing was done.
pub async fn secret(
    client: &Client,
    identity: &Identity,
    plan: Plan,
) -> Result<(Done, Option<SecretObject>), kube::Error> {
    let api = Api::<SecretObject>::namespaced(client.clone(), &identity.namespace);
    let params = PostParams {
        field_manager: Some(field_manager(&identity.name)),
        ..PostParams::default()
    };
    match plan {
        Plan::Keep => Ok((Done::Kept, None)),
        Plan::Create(wanted) => {
            let made = api.create(&params, &wanted.0).await?;
            Ok((Done::Created, Some(made)))
        }
        Plan::Replace(wanted) => {
            let name = wanted.0.metadata.name.clone().unwrap_or_default();
            // The resource version of the read stands in it: a change in between is a conflict.
            let made = api.replace(&name, &params, &wanted.0).await?;
            Ok((Done::Updated, Some(made)))
        }
        Plan::Recreate(wanted) => {
            let Secret(mut wanted) = *wanted;
            let replaced = std::mem::take(&mut wanted.metadata);
            let (uid, version) = (replaced.uid.clone(), replaced.resource_version.clone());
            wanted.metadata = successor(replaced);
            let made = recreate(&api, &params, uid, version, &wanted).await?;
            Ok((Done::Updated, Some(made)))
        }
    }
}

/// Deletes a Secret of this ExternalSecret that has a name which it no longer asks for.
pub async fn delete_orphan(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), kube::Error> {
    let api = Api::<SecretObject>::namespaced(client.clone(), namespace);
    match delete(&api, name, Some(uid.to_owned()), None).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other,
    }
}

/// Writes an ExternalSecret's status; returns its resource version.
pub async fn status(
    client: &Client,
    identity: &Identity,
    status: &ExternalSecretStatus,
) -> Result<String, kube::Error> {
    let api = Api::<ExternalSecret>::namespaced(client.clone(), &identity.namespace);
    // The UID keeps it from landing on another object of that name.
    let patch = json!({ "metadata": { "uid": identity.uid }, "status": status });
    let made = api
        .patch_status(
            &identity.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
    Ok(made.metadata.resource_version.unwrap_or_default())
}

/// Takes the original's finalizer off an ExternalSecret that is being deleted.
///
/// It is never put on here: the owner reference is all that the policies that are carried out need. But
/// an ExternalSecret taken over from the original has it, and would stay for ever.
pub async fn release(client: &Client, kept: &Kept) -> Result<(), kube::Error> {
    if !kept
        .finalizers
        .iter()
        .any(|name| name == ORIGINAL_FINALIZER)
    {
        return Ok(());
    }
    let Identity {
        namespace, name, ..
    } = &kept.identity;
    let api = Api::<ExternalSecret>::namespaced(client.clone(), namespace);
    let others: Vec<&String> = kept
        .finalizers
        .iter()
        .filter(|name| *name != ORIGINAL_FINALIZER)
        .collect();
    let patch = json!({ "metadata": {
        "finalizers": others,
        "resourceVersion": kept.resource_version,
    } });
    match api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}

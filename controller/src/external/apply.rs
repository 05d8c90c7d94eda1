//! Carries a plan out: the only code of this module that writes Secrets and ExternalSecrets.

use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use selkie_api::external_secret::{ExternalSecret, ExternalSecretStatus};
use selkie_stores::Members;
use serde_json::json;

use super::decide::{Identity, Plan, Secret};
use super::markers::{ORIGINAL_FINALIZER, field_manager};
use super::observe::Kept;
use super::sessions::api_cause;
use crate::support::secret_object::SecretObject;

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
            let name = wanted.metadata.name.clone().unwrap_or_default();
            rehearse(&api, &params, &wanted).await?;
            delete(&api, &name, &wanted.metadata).await?;
            wanted.metadata = fresh(wanted.metadata);
            let made = api.create(&params, &wanted).await?;
            Ok((Done::Updated, Some(made)))
        }
    }
}

/// Asks the API server whether it would take `wanted`, before the one in its place is deleted: a type
/// without its required keys must not cost the Secret that is there.
async fn rehearse(
    api: &Api<SecretObject>,
    params: &PostParams,
    wanted: &SecretObject,
) -> Result<(), kube::Error> {
    let mut rehearsal = wanted.duplicate();
    rehearsal.metadata = ObjectMeta {
        name: None,
        generate_name: Some("selkie-rehearsal-".to_owned()),
        ..fresh(rehearsal.metadata)
    };
    let dry_run = PostParams {
        dry_run: true,
        ..params.clone()
    };
    api.create(&dry_run, &rehearsal).await.map(drop)
}

/// Deletes a Secret of this ExternalSecret that has a name which it no longer asks for.
pub async fn delete_orphan(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<(), kube::Error> {
    let api = Api::<SecretObject>::namespaced(client.clone(), namespace);
    let metadata = ObjectMeta {
        uid: Some(uid.to_owned()),
        ..ObjectMeta::default()
    };
    match delete(&api, name, &metadata).await {
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

/// Returns what may be shown of an error about a write of `data`: an admission webhook's words may
/// hold a value, and are left out then.
pub fn shown(error: &kube::Error, data: &Members) -> String {
    let text = api_cause(error);
    let leaks = data.values().any(|value| {
        let value = String::from_utf8_lossy(value.expose());
        let value = value.trim();
        value.len() >= 3 && text.contains(value)
    });
    match error {
        kube::Error::Api(status) if leaks => {
            format!(
                "{} ({}); the message holds a value and is not shown",
                status.reason, status.code
            )
        }
        _ if leaks => "the message holds a value and is not shown".to_owned(),
        _ => text,
    }
}

async fn delete(
    api: &Api<SecretObject>,
    name: &str,
    metadata: &ObjectMeta,
) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    // Not `Secret`'s answer: it may be the object or a status.
    api.delete(name, &params).await.map(drop)
}

/// What a new object may say of itself.
fn fresh(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        owner_references: metadata.owner_references,
        ..ObjectMeta::default()
    }
}

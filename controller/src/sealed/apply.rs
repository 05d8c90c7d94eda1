//! Carries a plan out. Nothing else of this kind writes to the cluster.
//!
//! Only verbs that existing installations grant are used: create, update and delete of Secrets, update
//! of the status; no patch, no server-side apply (sealed-secrets.md 10).

use kube::{
    Api, Resource,
    api::{DeleteParams, ObjectMeta, PostParams, Preconditions},
};
use selkie_api::{SealedSecret, SealedSecretStatus};

use super::{
    decide::{FIELD_MANAGER, Failure, FailureKind, Write},
    observe::Seen,
};
use crate::support::secret_object::SecretObject;

/// Conflicts in a row after which a status write waits for the next pass.
const STATUS_ATTEMPTS: usize = 5;

/// Why a write did not happen.
#[derive(Debug)]
pub enum WriteError {
    /// Somebody else wrote in between: observe again, at once.
    Conflict,
    /// The API server refuses what we want; worth a word to the user.
    Rejected(Failure),
    /// It cannot be said now: no connection, an overloaded server, a namespace that is going away.
    Unavailable(Box<kube::Error>),
}

/// Writes the Secret; returns the one that is there afterwards, `None` when nothing was to be done.
pub async fn write_secret(
    secrets: &Api<SecretObject>,
    write: &Write,
) -> Result<Option<SecretObject>, WriteError> {
    match write {
        Write::Nothing => Ok(None),
        Write::Create(new) => create(secrets, new).await.map(Some),
        Write::Update(wanted) => {
            let name = wanted.metadata.name.as_deref().unwrap_or_default();
            let updated = secrets.replace(name, &post(), wanted).await;
            updated.map(Some).map_err(classify)
        }
        Write::Replace {
            uid,
            resource_version,
            new,
        } => {
            rehearse(secrets, new).await?;
            let name = new.metadata.name.as_deref().unwrap_or_default();
            let only_this_one = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(uid.clone()),
                    resource_version: Some(resource_version.clone()),
                }),
                ..DeleteParams::default()
            };
            secrets
                .delete(name, &only_this_one)
                .await
                .map_err(classify)?;
            create(secrets, new).await.map(Some)
        }
    }
}

/// Writes the status that `make` returns for the present one; returns the object as it is then.
///
/// A conflict reads the object again, so that no status is lost to a change of labels meanwhile. When
/// the specification changed or the object is gone, nothing is written: another pass is on its way.
pub async fn write_status(
    objects: &Api<SealedSecret>,
    sealed: &SealedSecret,
    make: impl Fn(Option<&SealedSecretStatus>) -> Option<SealedSecretStatus>,
) -> Result<Option<SealedSecret>, kube::Error> {
    let name = sealed.meta().name.as_deref().unwrap_or_default();
    let mut present = sealed.clone();
    for attempt in 1.. {
        let Some(status) = make(present.status.as_ref()) else {
            return Ok(Some(present));
        };
        let mut wanted = present.clone();
        wanted.metadata.managed_fields = None;
        wanted.status = Some(status);
        match objects.replace_status(name, &post(), &wanted).await {
            Ok(written) => return Ok(Some(written)),
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
            Err(kube::Error::Api(status)) if status.is_conflict() && attempt < STATUS_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
        match objects.get_opt(name).await? {
            Some(live) if is_same_specification(&live, sealed) => present = live,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn is_same_specification(left: &SealedSecret, right: &SealedSecret) -> bool {
    let meta = |object: &SealedSecret| (object.meta().uid.clone(), object.meta().generation);
    meta(left) == meta(right)
}

async fn create(
    secrets: &Api<SecretObject>,
    new: &SecretObject,
) -> Result<SecretObject, WriteError> {
    secrets.create(&post(), new).await.map_err(classify)
}

/// Asks the API server whether it would take `new`, before the one in its place is deleted: a
/// template that asks for a type without its required keys must not cost the Secret that is there.
async fn rehearse(secrets: &Api<SecretObject>, new: &SecretObject) -> Result<(), WriteError> {
    let mut rehearsal = new.duplicate();
    rehearsal.metadata = ObjectMeta {
        name: None,
        generate_name: Some("selkie-rehearsal-".to_owned()),
        ..rehearsal.metadata
    };
    let dry_run = PostParams {
        dry_run: true,
        ..post()
    };
    secrets
        .create(&dry_run, &rehearsal)
        .await
        .map(drop)
        .map_err(classify)
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn classify(error: kube::Error) -> WriteError {
    let kube::Error::Api(status) = &error else {
        return WriteError::Unavailable(Box::new(error));
    };
    let gone = status.is_not_found();
    if status.is_conflict() || status.is_already_exists() || gone {
        return WriteError::Conflict;
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut causes = causes.map(|cause| cause.reason.as_str());
    if status.code >= 500
        || status.code == 429
        || causes.any(|cause| cause == "NamespaceTerminating")
    {
        return WriteError::Unavailable(Box::new(error));
    }
    WriteError::Rejected(Failure {
        kind: FailureKind::Update,
        status: status.message.clone(),
        event: status.message.clone(),
    })
}

impl Seen {
    /// Takes it from the result of a write; without a write the Secret is the one that was read.
    pub fn after(written: Option<&SecretObject>, live: Option<&SecretObject>) -> Option<Self> {
        written.or(live).map(Self::of)
    }
}

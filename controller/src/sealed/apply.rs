//! Carries a plan out. Nothing else of this kind writes to the cluster.
//!
//! Only verbs that existing installations grant are used: create, update and delete of Secrets, update
//! of the status; no patch, no server-side apply (sealed-secrets.md 10).

use kube::{Api, Resource, api::PostParams};
use selkie_api::{SealedSecret, SealedSecretStatus};

use super::decide::{FIELD_MANAGER, Write};
use crate::support::{
    secret_object::SecretObject,
    secret_write::{WriteError, recreate},
};

/// Conflicts in a row after which a status write waits for the next pass.
const STATUS_ATTEMPTS: usize = 5;

/// Writes the Secret; returns the one that is there afterwards, `None` when nothing was to be done.
///
/// `live` is the one that was read: its values may stand in an answer, too.
pub async fn write_secret(
    secrets: &Api<SecretObject>,
    write: &Write,
    live: Option<&SecretObject>,
) -> Result<Option<SecretObject>, WriteError> {
    let (new, written) = match write {
        Write::Nothing => return Ok(None),
        Write::Create(new) => (new, secrets.create(&post(), new).await),
        Write::Update(wanted) => {
            let name = wanted.metadata.name.as_deref().unwrap_or_default();
            (wanted, secrets.replace(name, &post(), wanted).await)
        }
        Write::Replace {
            uid,
            resource_version,
            new,
        } => {
            let (uid, version) = (Some(uid.clone()), Some(resource_version.clone()));
            (new, recreate(secrets, &post(), uid, version, new).await)
        }
    };
    let values = || {
        let live = live.into_iter().flat_map(|live| live.data.0.values());
        new.data.0.values().chain(live)
    };
    written
        .map(Some)
        .map_err(|error| WriteError::of(&error, values()))
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

fn post() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

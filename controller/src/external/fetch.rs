//! Between observe and decide: the values, from the stores (external-secrets.md 5.1 and 5.2).

use std::time::{Duration, Instant};

use selkie_stores::values::{ValueError, check_keys, convert_keys, decode, refuse_null_bytes};
use selkie_stores::{Members, StoreError, StoreSession};

use super::decide::Identity;
use super::guard::StoreKind;
use super::sessions::{SessionError, Sessions, StoreKey};
use super::store::{StoreObject, Stores};
use super::wish::{Entry, Into, StoreName, Wish};
use crate::support::view::ObjectKey;

/// Why there are no values. The position comes first: `spec.data[0] (key: a): ...`.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{position}: {cause}")]
pub struct FetchError {
    /// Where the entry stands.
    pub position: String,
    /// The store that was asked.
    pub store: StoreKey,
    /// Why.
    pub cause: Cause,
    /// How long the store is left alone yet, if it is down.
    pub suspended: Option<Duration>,
}

/// Why an entry has no value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The store cannot be asked.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The store gave no value.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The value cannot be used.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It takes too long.
    #[error(
        "{kind} {name:?} did not give all values within {seconds} s; check the backend, or lower the store's \
         spec.retrySettings"
    )]
    TooSlow {
        /// Kind of the store.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The limit.
        seconds: u64,
    },
}

/// How soon asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As soon as the store is asked again, after this time.
    Outage(Duration),
    /// With growing waits: the backend may change its mind.
    Backoff,
    /// When something changes that is watched.
    OnChange,
}

impl FetchError {
    /// Returns whether the store belongs to another controller class.
    pub fn is_foreign(&self) -> bool {
        matches!(self.cause, Cause::Session(SessionError::Foreign { .. }))
    }

    /// Returns how soon asking again may help.
    pub fn retry(&self) -> Retry {
        match &self.cause {
            Cause::Store(error) if error.is_outage() => {
                Retry::Outage(self.suspended.unwrap_or_default())
            }
            Cause::Store(_) | Cause::Value(_) | Cause::TooSlow { .. } => Retry::Backoff,
            // A namespace's labels, which conditions look at, are not watched.
            Cause::Session(SessionError::Guard(_)) => Retry::Backoff,
            Cause::Session(error) if error.is_transient() => Retry::Backoff,
            Cause::Session(_) => Retry::OnChange,
        }
    }
}

/// Returns the key of a store that an ExternalSecret in `namespace` names.
pub fn store_key(namespace: &str, store: &StoreName) -> StoreKey {
    let namespace = match store.kind {
        StoreKind::Namespaced => namespace,
        StoreKind::Cluster => "",
    };
    StoreKey {
        kind: store.kind,
        object: ObjectKey::new(namespace, &*store.name),
    }
}

/// Fetches everything that `wish` asks for. One failure fails it all.
///
/// Values that were read at or after `not_before` need not be read again. What is not there after
/// `limit` is a failure: retries of many entries add up, and the worker has others to serve.
pub async fn fetch(
    identity: &Identity,
    wish: &Wish,
    stores: &Stores,
    sessions: &Sessions,
    not_before: Instant,
    limit: Duration,
) -> Result<Members, FetchError> {
    let deadline = tokio::time::Instant::now() + limit;
    let mut data = Members::new();
    for entry in &wish.entries {
        let key = store_key(&identity.namespace, &entry.store);
        let failed = |cause: Cause, suspended| FetchError {
            position: entry.position.clone(),
            store: key.clone(),
            cause,
            suspended,
        };
        let asked = async {
            let session = session(identity, &key, stores, sessions)
                .await
                .map_err(|error| failed(error.into(), None))?;
            values(entry, &session, not_before)
                .await
                .map_err(|cause| failed(cause, session.suspended_for()))
        };
        let too_slow = || Cause::TooSlow {
            kind: key.kind.name(),
            name: key.object.name.clone(),
            seconds: limit.as_secs(),
        };
        match tokio::time::timeout_at(deadline, asked).await {
            Ok(members) => data.extend(members?),
            Err(_) => return Err(failed(too_slow(), None)),
        }
    }
    Ok(data)
}

async fn session(
    identity: &Identity,
    key: &StoreKey,
    stores: &Stores,
    sessions: &Sessions,
) -> Result<std::sync::Arc<StoreSession>, SessionError> {
    let store = stores.get(key).await?.ok_or_else(|| no_store(key))?;
    let store: &StoreObject = &store;
    // Looked at here, too: the watch may have brought this one after the pass began.
    if !store.is_ours() {
        return Err(SessionError::Foreign {
            kind: key.kind.name(),
            name: key.object.name.clone(),
        });
    }
    sessions.admits(store, &identity.namespace).await?;
    sessions.get(store, Some(&identity.namespace)).await
}

fn no_store(key: &StoreKey) -> SessionError {
    let place = match key.kind {
        StoreKind::Namespaced => format!(" in namespace {:?}", key.object.namespace),
        StoreKind::Cluster => String::new(),
    };
    SessionError::NoStore {
        kind: key.kind.name(),
        name: key.object.name.clone(),
        place,
    }
}

async fn values(
    entry: &Entry,
    session: &StoreSession,
    not_before: Instant,
) -> Result<Members, Cause> {
    let mut members = match &entry.into {
        Into::Key(key) => {
            let value = session.value(&entry.remote, not_before).await?;
            Members::from([(key.clone(), value)])
        }
        Into::Members(conversion) => {
            let members = session.members(&entry.remote, not_before).await?;
            check_keys(convert_keys(*conversion, members)?)?
        }
    };
    for value in members.values_mut() {
        *value = decode(entry.decoding, std::mem::take(value))?;
        if entry.refuse_null_bytes {
            refuse_null_bytes(value)?;
        }
    }
    Ok(members)
}

//! Reads what a decision stands on, and no more than has changed since the last one.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Api, Resource};
use selkie_api::SealedSecret;
use selkie_seal::{Fingerprint, Label};
use tokio::sync::Semaphore;

use super::{
    decide::{Failure, FailureKind, Outcome},
    digests::{Digest, Digests},
    drift,
    keys::Loaded,
    records::Record,
    unseal::{Opened, Opening, UnsealError, label, unsupported},
};
use crate::support::{secret_object::SecretObject, secret_watch::SecretMeta};

/// Everything on our side that decides how a pass ends, but for the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inputs {
    uid: Option<String>,
    generation: Option<i64>,
    label: Label,
    drift: Option<String>,
}

impl Inputs {
    /// Takes the inputs of a pass.
    pub fn of(sealed: &SealedSecret) -> Self {
        Self {
            uid: sealed.meta().uid.clone(),
            generation: sealed.meta().generation,
            // Annotations do not raise the generation, but the scope and the policy are in them.
            label: label(sealed.meta()),
            drift: drift::word(sealed).map(str::to_owned),
        }
    }
}

/// What of the keys an outcome stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StandsOn {
    /// On all of them: with another one it may open.
    Ring(u64),
    /// On these: what they opened stays open with others beside them.
    Keys(BTreeMap<Fingerprint, u32>),
}

impl StandsOn {
    /// Returns whether the outcome is still the same with these keys.
    pub fn holds(&self, keys: &Loaded) -> bool {
        match self {
            Self::Ring(version) => *version == keys.version,
            Self::Keys(used) => used.keys().all(|key| keys.ring.get(*key).is_some()),
        }
    }
}

/// Which Secret a pass ended with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// UID.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
}

impl Seen {
    /// Takes it from what was read or written.
    pub fn of(secret: &SecretObject) -> Self {
        Self {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
            resource_version: secret.metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    fn of_meta(meta: &SecretMeta) -> Self {
        Self {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        }
    }
}

/// What is remembered of the last pass that came to an end which only a change can alter.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it stood on.
    pub inputs: Inputs,
    /// And which keys.
    pub stands_on: StandsOn,
    /// How it ended.
    pub outcome: Outcome,
    /// The Secret that it ended with.
    pub secret: Option<Seen>,
    /// Digest of what it found in order there.
    pub digest: Option<Digest>,
}

/// What was read.
pub enum Observation {
    /// Nothing changed since that pass; if the Secret was looked at, this is the look.
    Unchanged(Option<Seen>),
    /// It is as it was when it was found in order, by this process or an earlier one.
    AsRecorded(Box<SecretObject>),
    /// Somebody keeps changing the Secret, and has done so again.
    StillFought(Box<SecretObject>),
    /// Something did.
    Changed {
        /// The Secret, if there is one.
        live: Option<Box<SecretObject>>,
        /// The values, or why there are none.
        opened: Result<Opened, UnsealError>,
    },
}

/// Observes one SealedSecret.
///
/// `view` is what the watch knows of its Secret. Without a change nothing is read; after a change of
/// the Secret alone it is read, and the values are decrypted only if more than foreign labels or
/// annotations changed. After a restart `record` says what was in order before.
pub async fn observe(
    reader: &Reader<'_>,
    sealed: &Arc<SealedSecret>,
    keys: &Arc<Loaded>,
    view: Option<&SecretMeta>,
    last: Option<&Settled>,
    record: Option<&Record>,
    first_key: Option<Fingerprint>,
) -> Result<Observation, kube::Error> {
    let inputs = Inputs::of(sealed);
    let last = last.filter(|last| last.inputs == inputs && last.stands_on.holds(keys));
    if let Some(last) = last
        && (last.outcome.depends_on_inputs_only() || last.secret == view.map(Seen::of_meta))
    {
        return Ok(Observation::Unchanged(last.secret.clone()));
    }
    let name = sealed.meta().name.as_deref().unwrap_or_default();
    let live = reader.secrets.get_opt(name).await?;
    if let (Some(last), Some(live)) = (last, &live) {
        let digest = || Some(reader.digests.secret(sealed, live));
        let same = Some(Seen::of(live)) == last.secret
            || (last.digest.is_some() && last.digest == digest());
        if same {
            return Ok(Observation::Unchanged(Some(Seen::of(live))));
        }
    }
    let live = match (record, live) {
        (Some(record), Some(live))
            if record.source == reader.source
                && StandsOn::Keys(record.used.clone()).holds(keys)
                && record.secret == reader.digests.secret(sealed, &live) =>
        {
            return Ok(Observation::AsRecorded(Box::new(live)));
        }
        (_, Some(live)) if last.is_some() && reader.stopped => {
            return Ok(Observation::StillFought(Box::new(live)));
        }
        (_, live) => live,
    };
    let opened = open(reader, sealed, keys, first_key).await;
    Ok(Observation::Changed {
        live: live.map(Box::new),
        opened,
    })
}

/// What an observation reads with.
pub struct Reader<'a> {
    /// Secrets of the namespace.
    pub secrets: Api<SecretObject>,
    /// Limits how many threads decrypt.
    pub cpu: &'a Semaphore,
    /// Makes digests.
    pub digests: &'a Digests,
    /// Digest of the SealedSecret.
    pub source: Digest,
    /// Whether a Secret that others keep changing is left alone.
    pub stopped: bool,
    /// Whether the deprecated form is opened.
    pub accept_deprecated: bool,
}

impl Outcome {
    /// Returns whether only our side can change this outcome, whatever the Secret is.
    fn depends_on_inputs_only(&self) -> bool {
        let unseal = FailureKind::Unseal;
        matches!(self, Self::Failed(Failure { kind, .. }) if *kind == unseal)
    }
}

/// Values that are opened before another object gets its turn.
const AT_ONCE: usize = 16;

enum Step {
    Unfinished(Box<Opening>),
    Finished(Result<Opened, UnsealError>),
}

/// Decrypts on a thread of its own: some milliseconds of RSA for each value and key.
async fn open(
    reader: &Reader<'_>,
    sealed: &Arc<SealedSecret>,
    keys: &Arc<Loaded>,
    first_key: Option<Fingerprint>,
) -> Result<Opened, UnsealError> {
    unsupported(&sealed.spec)?;
    let (sealed, keys) = (sealed.clone(), keys.clone());
    let mut opening = Opening::new(sealed, keys, first_key, reader.accept_deprecated);
    loop {
        // Never closed, and first come first served: objects take turns.
        let _permit = reader.cpu.acquire().await;
        let stepped = tokio::task::spawn_blocking(move || match opening.step(AT_ONCE) {
            true => Step::Finished(opening.finish()),
            false => Step::Unfinished(Box::new(opening)),
        });
        opening = match stepped.await {
            Ok(Step::Unfinished(opening)) => *opening,
            Ok(Step::Finished(opened)) => return opened,
            Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
            // The runtime is ending, and this task with it.
            Err(_) => std::future::pending().await,
        };
    }
}

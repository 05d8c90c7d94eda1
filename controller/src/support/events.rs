//! core/v1 Events, aggregated and limited.
//!
//! Existing RBAC grants `create` and `patch` on core `events` only (sealed-secrets.md 7.6, 10), so
//! kube's recorder, which writes `events.k8s.io`, is not used.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::warn;

use super::answer::cause;

/// Longest message that is written, in bytes; the limit of the newer events API.
const MESSAGE_LIMIT: usize = 1024;
/// Notes that are remembered for aggregation.
const REMEMBERED: usize = 4096;
/// The same note within this time raises the count of the Event that is there.
const AGGREGATION: Duration = Duration::from_secs(10 * 60);
/// Events that one object may have at once, and the time after which it may have one more
/// (client-go's limits).
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(5 * 60);

/// Writes Events. Failures are logged and never fail a reconcile.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    instance: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

/// What an Event says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// Normal or Warning.
    pub severity: Severity,
    /// One word, as `Unsealed`.
    pub reason: &'static str,
    /// The sentence. Must hold no value.
    pub message: String,
}

/// Type of an Event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

impl Recorder {
    /// Makes a recorder; `instance` is the pod or host name, shown as the reporting instance.
    pub fn new(client: Client, instance: &str) -> Self {
        Self {
            client,
            instance: instance.into(),
            seen: Arc::default(),
        }
    }

    /// Writes `note` about the object `regarding`, in the name of `component`.
    ///
    /// The same note within ten minutes raises the count of the Event that is already there.
    pub async fn publish(&self, component: &'static str, regarding: &ObjectReference, note: Note) {
        let now = Timestamp::now();
        let message = truncated(&note.message);
        let key = NoteKey {
            uid: regarding.uid.clone().unwrap_or_default(),
            component,
            severity: note.severity,
            reason: note.reason,
            message: message.to_owned(),
        };
        let verdict = self.lock().note(&key, now);
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let written = match verdict {
            Verdict::Drop => return,
            Verdict::Repeat { name, count } => {
                let repeat = json!({ "count": count, "lastTimestamp": Time(now) });
                match events
                    .patch(&name, &PatchParams::default(), &Patch::Merge(&repeat))
                    .await
                {
                    // Events expire on the server; then it is a new one.
                    Err(kube::Error::Api(status)) if status.is_not_found() => {
                        self.create(&events, &key, regarding, now).await
                    }
                    other => other.map(drop),
                }
            }
            Verdict::New => self.create(&events, &key, regarding, now).await,
        };
        if let Err(error) = written {
            warn!(
                namespace,
                name = regarding.name,
                reason = note.reason,
                error = cause(&error),
                "event not written"
            );
        }
    }

    async fn create(
        &self,
        events: &Api<Event>,
        key: &NoteKey,
        regarding: &ObjectReference,
        now: Timestamp,
    ) -> Result<(), kube::Error> {
        let object = regarding.name.as_deref().unwrap_or_default();
        let name = format!("{object}.{:x}", now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: regarding.clone(),
            type_: Some(key.severity.name().to_owned()),
            reason: Some(key.reason.to_owned()),
            message: Some(key.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource {
                component: Some(key.component.to_owned()),
                host: None,
            }),
            reporting_component: Some(key.component.to_owned()),
            reporting_instance: Some(self.instance.to_string()),
            ..Event::default()
        };
        events.create(&PostParams::default(), &event).await?;
        self.lock().created(key.clone(), name, now);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct NoteKey {
    uid: String,
    component: &'static str,
    severity: Severity,
    reason: &'static str,
    message: String,
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    New,
    Repeat { name: String, count: i32 },
    Drop,
}

/// What was written lately.
#[derive(Default)]
struct Seen {
    notes: HashMap<NoteKey, SeenNote>,
    order: VecDeque<NoteKey>,
    buckets: HashMap<String, Bucket>,
}

struct SeenNote {
    name: String,
    count: i32,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

impl Seen {
    fn note(&mut self, key: &NoteKey, now: Timestamp) -> Verdict {
        if !self.take_token(&key.uid, now) {
            return Verdict::Drop;
        }
        match self.notes.get_mut(key) {
            Some(seen) if since(seen.last, now) < AGGREGATION => {
                seen.count = seen.count.saturating_add(1);
                seen.last = now;
                Verdict::Repeat {
                    name: seen.name.clone(),
                    count: seen.count,
                }
            }
            _ => Verdict::New,
        }
    }

    fn created(&mut self, key: NoteKey, name: String, now: Timestamp) {
        let seen = SeenNote {
            name,
            count: 1,
            last: now,
        };
        if self.notes.insert(key.clone(), seen).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.notes.remove(&oldest);
            }
        }
    }

    fn take_token(&mut self, uid: &str, now: Timestamp) -> bool {
        if self.buckets.len() > REMEMBERED {
            self.buckets
                .retain(|_, bucket| since(bucket.filled, now) < REFILL);
        }
        let bucket = self.buckets.entry(uid.to_owned()).or_insert(Bucket {
            tokens: BURST,
            filled: now,
        });
        let refilled = since(bucket.filled, now).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refilled).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn since(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(earlier)).unwrap_or_default()
}

fn truncated(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(message: &str) -> NoteKey {
        NoteKey {
            uid: "u".to_owned(),
            component: "c",
            severity: Severity::Warning,
            reason: "R",
            message: message.to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_repeated_note_raises_the_count() {
        let mut seen = Seen::default();
        assert_eq!(seen.note(&key("m"), at(0)), Verdict::New);
        seen.created(key("m"), "e".to_owned(), at(0));
        let repeat = |count| Verdict::Repeat {
            name: "e".to_owned(),
            count,
        };
        assert_eq!(seen.note(&key("m"), at(1)), repeat(2));
        assert_eq!(seen.note(&key("m"), at(2)), repeat(3));
        assert_eq!(seen.note(&key("other"), at(2)), Verdict::New);
        assert_eq!(seen.note(&key("m"), at(2 + 600)), Verdict::New);
    }

    #[test]
    fn one_object_cannot_flood_the_server() {
        let mut seen = Seen::default();
        let written = (0..100)
            .filter(|n| seen.note(&key(&n.to_string()), at(0)) != Verdict::Drop)
            .count();
        assert_eq!(written, 25);
        assert_eq!(seen.note(&key("later"), at(300)), Verdict::New);
        assert_eq!(seen.note(&key("too soon"), at(301)), Verdict::Drop);
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let message = "é".repeat(600);
        assert_eq!(truncated(&message).len(), 1024);
        assert_eq!(truncated("short"), "short");
    }
}

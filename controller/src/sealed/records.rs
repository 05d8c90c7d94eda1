//! What is known to be in order, kept over a restart in Secrets of the controller's namespace: digests, and which keys
//! opened what. Nothing of it is on a user's object, and nothing in it is a value.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use selkie_seal::Fingerprint;
use selkie_secret::SecretBytes;
use tokio::sync::Notify;
use tracing::warn;

use super::{
    decide::FIELD_MANAGER, digests::Digest, key_secret::made_by_another, metrics::SealedMetrics,
    trust::STATE_TYPE,
};
use crate::support::{
    answer::cause,
    context::Context,
    secret_object::{SecretData, SecretObject},
};

/// Name of the Secrets, a dash and a number follow.
pub const RECORDS: &str = "selkie-sealed-secrets-records";
/// Field of the first one: how many values of this cluster each key opens, as JSON by fingerprint. `selkie keys` reads it.
pub const USAGE: &str = "usage";

const ENTRIES: &str = "entries";
/// Objects in one Secret: below the megabyte that one may hold.
const IN_ONE: usize = 4000;
/// Time for further changes before a write, and between two writes.
const GATHERING: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of one SealedSecret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Digest of the SealedSecret.
    pub source: Digest,
    /// Digest of the Secret that is in order for it.
    pub secret: Digest,
    /// When its templates were rendered.
    pub rendered: Timestamp,
    /// How many values each key opened.
    pub used: BTreeMap<Fingerprint, u32>,
}

/// The records, by the UID of the SealedSecret.
#[derive(Default)]
pub struct Records {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, Record>,
    /// The texts that are stored, by number.
    stored: Vec<String>,
    usage: String,
}

impl Records {
    /// Returns what is known of an object.
    pub fn get(&self, uid: &str) -> Option<Record> {
        self.lock().known.get(uid).cloned()
    }

    /// Notes that an object is in order.
    pub fn put(&self, uid: &str, record: Record) {
        let before = self.lock().known.insert(uid.to_owned(), record.clone());
        if before != Some(record) {
            self.changed.notify_one();
        }
    }

    /// Forgets an object.
    pub fn remove(&self, uid: &str) {
        if self.lock().known.remove(uid).is_some() {
            self.changed.notify_one();
        }
    }

    /// Forgets all objects but these.
    pub fn retain(&self, uids: &BTreeSet<String>) {
        let mut inner = self.lock();
        let before = inner.known.len();
        inner.known.retain(|uid, _| uids.contains(uid));
        if inner.known.len() != before {
            self.changed.notify_one();
        }
    }

    /// Returns how many values each key opens.
    pub fn usage(&self) -> BTreeMap<Fingerprint, u64> {
        let mut usage = BTreeMap::new();
        for record in self.lock().known.values() {
            for (key, count) in &record.used {
                *usage.entry(*key).or_default() += u64::from(*count);
            }
        }
        usage
    }

    /// Reads what an earlier process stored. What cannot be read is as if it were not there: its objects are opened again.
    pub async fn load(&self, context: &Context) {
        let api = Api::<SecretObject>::namespaced(context.client.clone(), &context.own_namespace);
        let mut known = HashMap::new();
        let (mut stored, mut usage) = (Vec::new(), String::new());
        for number in 0.. {
            let secret = match api.get_opt(&name(number)).await {
                Ok(Some(secret)) => secret,
                Ok(None) => break,
                Err(error) => {
                    warn!(
                        error = cause(&error),
                        "what was in order before cannot be read; all is opened again"
                    );
                    break;
                }
            };
            let foreign = secret.type_.as_deref() != Some(STATE_TYPE);
            if foreign || made_by_another(&secret.metadata).is_some() {
                warn!(
                    secret = name(number),
                    "somebody else made this Secret; it is passed over"
                );
                break;
            }
            let text = |field: &str| {
                let bytes = secret.data.0.get(field)?;
                std::str::from_utf8(bytes.expose()).ok().map(str::to_owned)
            };
            let entries = text(ENTRIES).unwrap_or_default();
            usage += &text(USAGE).unwrap_or_default();
            known.extend(parse(&entries));
            stored.push(entries);
        }
        let mut inner = self.lock();
        (inner.stored, inner.usage) = (stored, usage);
        for (uid, record) in known {
            inner.known.entry(uid).or_insert(record);
        }
    }

    /// Stores changes until the shutdown is requested, the last ones then. Runs in the leader only.
    pub async fn run(&self, context: &Context, metrics: &SealedMetrics) {
        let shutdown = &context.shutdown;
        metrics.usage(&self.usage());
        loop {
            let changed = shutdown.or(self.changed.notified()).await;
            if changed.is_some() {
                shutdown.or(tokio::time::sleep(GATHERING)).await;
            }
            metrics.usage(&self.usage());
            if let Err(error) = self.store(context).await {
                if is_forbidden(&error) {
                    warn!(
                        namespace = context.own_namespace,
                        "what is in order is not kept over a restart, as Secrets {RECORDS}-N must not be written; all \
                         SealedSecrets are opened at each start"
                    );
                    return self.show(context, metrics).await;
                }
                warn!(
                    error = cause(&error),
                    "what is in order cannot be stored; it is tried again"
                );
                self.changed.notify_one();
            }
            if shutdown.is_requested() {
                return;
            }
            shutdown.or(tokio::time::sleep(PAUSE)).await;
        }
    }

    /// Keeps the metric up to date where nothing can be stored.
    async fn show(&self, context: &Context, metrics: &SealedMetrics) {
        while context.shutdown.or(self.changed.notified()).await.is_some() {
            metrics.usage(&self.usage());
            context.shutdown.or(tokio::time::sleep(PAUSE)).await;
        }
    }

    async fn store(&self, context: &Context) -> Result<(), kube::Error> {
        let usage = usage_text(&self.usage());
        let mut texts = texts(&self.lock().known);
        let stored = {
            let inner = self.lock();
            (inner.stored.clone(), inner.usage.clone())
        };
        // Those that are not needed any more become empty.
        texts.resize(texts.len().max(stored.0.len()), String::new());
        let api = Api::<SecretObject>::namespaced(context.client.clone(), &context.own_namespace);
        for (number, text) in texts.iter().enumerate() {
            let same_usage = number > 0 || usage == stored.1;
            if same_usage && stored.0.get(number) == Some(text) {
                continue;
            }
            write(&api, number, text, (number == 0).then_some(usage.as_str())).await?;
        }
        let mut inner = self.lock();
        inner.stored = texts;
        inner.usage = usage;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(
    api: &Api<SecretObject>,
    number: usize,
    text: &str,
    usage: Option<&str>,
) -> Result<(), kube::Error> {
    let entry =
        |key: &str, text: &str| (key.to_owned(), SecretBytes::new(text.as_bytes().to_vec()));
    let mut data = BTreeMap::from([entry(ENTRIES, text)]);
    data.extend(usage.map(|usage| entry(USAGE, usage)));
    let secret = SecretObject {
        metadata: ObjectMeta {
            name: Some(name(number)),
            ..ObjectMeta::default()
        },
        type_: Some(STATE_TYPE.to_owned()),
        immutable: None,
        data: SecretData(data),
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    // Without a resource version: only the leader writes them, and what is there is of no use to anybody else.
    match api.replace(&name(number), &params, &secret).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            api.create(&params, &secret).await.map(drop)
        }
        written => written.map(drop),
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

fn name(number: usize) -> String {
    format!("{RECORDS}-{number}")
}

fn usage_text(usage: &BTreeMap<Fingerprint, u64>) -> String {
    let entries = usage
        .iter()
        .map(|(key, count)| (key.to_string(), (*count).into()));
    serde_json::Value::Object(entries.collect()).to_string()
}

/// Writes the records, so many in one text, sorted: keys as `key NUMBER FINGERPRINT`, then a line for each object.
fn texts(known: &HashMap<String, Record>) -> Vec<String> {
    let sorted: BTreeMap<_, _> = known.iter().collect();
    let sorted: Vec<_> = sorted.into_iter().collect();
    let mut texts: Vec<_> = sorted.chunks(IN_ONE).map(text).collect();
    if texts.is_empty() {
        texts.push(String::new());
    }
    texts
}

fn text(records: &[(&String, &Record)]) -> String {
    let keys: BTreeSet<_> = records
        .iter()
        .flat_map(|(_, record)| record.used.keys())
        .collect();
    let numbers: BTreeMap<_, _> = keys.into_iter().zip(0_usize..).collect();
    let mut text: String = numbers
        .iter()
        .map(|(key, number)| format!("key {number} {key}\n"))
        .collect();
    for (uid, record) in records {
        let used = record.used.iter();
        let used = used.filter_map(|(key, count)| Some(format!("{}:{count}", numbers.get(key)?)));
        text += &format!(
            "{uid} {} {} {} {}\n",
            record.source.text(),
            record.secret.text(),
            record.rendered.as_second(),
            used.collect::<Vec<_>>().join(",")
        );
    }
    text
}

fn parse(text: &str) -> HashMap<String, Record> {
    let mut keys = HashMap::new();
    let mut known = HashMap::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["key", number, key] => {
                if let Ok(key) = key.parse::<Fingerprint>() {
                    keys.insert(number, key);
                }
            }
            [uid, source, secret, rendered, used] => {
                if let Some(record) = record(source, secret, rendered, used, &keys) {
                    known.insert(uid.to_owned(), record);
                }
            }
            _ => {}
        }
    }
    known
}

fn record(
    source: &str,
    secret: &str,
    rendered: &str,
    used: &str,
    keys: &HashMap<&str, Fingerprint>,
) -> Option<Record> {
    let used = used.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (number, count) = part.split_once(':')?;
        Some((*keys.get(number)?, count.parse().ok()?))
    });
    Some(Record {
        source: Digest::parse(source)?,
        secret: Digest::parse(secret)?,
        rendered: Timestamp::from_second(rendered.parse().ok()?).ok()?,
        used: used.collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "SHA256:G1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y";
    const B: &str = "SHA256:H1iTSfiwtIK+8GsraO/BFz58AKTr/xiS65WbxFn5A4Y";

    fn example(used: &[(&str, u32)]) -> Record {
        let digest = Digest::parse("AAECAwQFBgcICQoLDA0ODw").unwrap();
        Record {
            source: digest,
            secret: digest,
            rendered: Timestamp::from_second(7).unwrap(),
            used: used
                .iter()
                .map(|(key, count)| (key.parse().unwrap(), *count))
                .collect(),
        }
    }

    #[test]
    fn records_come_back() {
        let mut known = HashMap::from([
            ("u1".to_owned(), example(&[(A, 3)])),
            ("u2".to_owned(), example(&[(A, 1), (B, 2)])),
            ("u3".to_owned(), example(&[])),
        ]);
        let written = texts(&known);
        assert_eq!(written.len(), 1);
        assert_eq!(parse(&written[0]), known);
        for number in 0..2 * IN_ONE {
            known.insert(format!("n{number}"), example(&[(B, 3)]));
        }
        let written = texts(&known);
        assert_eq!(written.len(), 3);
        assert!(written.iter().all(|text| text.len() < 700_000));
        let read: HashMap<_, _> = written.iter().flat_map(|text| parse(text)).collect();
        assert_eq!(read, known);
        assert_eq!(texts(&HashMap::new()), [""]);
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let good = text(&[(&"u".to_owned(), &example(&[(A, 1)]))]);
        for bad in [
            "x",
            "key 0 x",
            "u a b 1 ",
            "u AAECAwQFBgcICQoLDA0ODw AAECAwQFBgcICQoLDA0ODw x ",
            "u AAECAwQFBgcICQoLDA0ODw AAECAwQFBgcICQoLDA0ODw 1 9:1",
        ] {
            assert!(parse(bad).is_empty(), "{bad}");
            assert_eq!(parse(&format!("{bad}\n{good}")).len(), 1, "{bad}");
        }
    }

    #[test]
    fn usage_counts_values() {
        let records = Records::default();
        records.put("u1", example(&[(A, 3)]));
        records.put("u2", example(&[(A, 1), (B, 2)]));
        let expected = format!("{{\"{A}\":4,\"{B}\":2}}");
        assert_eq!(usage_text(&records.usage()), expected);
        records.remove("u2");
        assert_eq!(usage_text(&records.usage()), format!("{{\"{A}\":3}}"));
        records.retain(&BTreeSet::new());
        assert_eq!(usage_text(&records.usage()), "{}");
    }
}

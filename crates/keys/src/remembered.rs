//! Unwrapping each distinct wrapped key once, however many files carry it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use selkie_sops::{DataKeySource, KeyEntry, UnwrapError};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A source that asks another one once for each distinct entry and remembers what it unwrapped to,
/// in memory that is cleared when this is dropped.
///
/// Threads that ask for the same entry at the same time wait for one answer. A failure is not
/// remembered: it may be over the next time.
pub struct Remembered<S> {
    source: Arc<S>,
    entries: Mutex<HashMap<[u8; 32], Arc<Entry>>>,
}

/// What an entry unwrapped to; locked while it is being unwrapped.
type Entry = Mutex<Option<Zeroizing<Vec<u8>>>>;

impl<S> Remembered<S> {
    /// Puts a memory before a source.
    pub fn new(source: &Arc<S>) -> Self {
        Self {
            source: Arc::clone(source),
            entries: Mutex::default(),
        }
    }

    /// Returns the source.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: DataKeySource> DataKeySource for Remembered<S> {
    fn fits(&self, entry: &KeyEntry) -> bool {
        self.source.fits(entry)
    }

    fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let place = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(entries.entry(digest(entry)).or_default())
        };
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let key = self.source.unwrap_key(entry)?;
        *known = Some(key.clone());
        Ok(key)
    }
}

impl<S: fmt::Debug> fmt::Debug for Remembered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Everything that an answer depends on; lengths keep one field from running into the next.
fn digest(entry: &KeyEntry) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    add(entry.kind.name());
    let mut fields: Vec<_> = entry.fields.iter().collect();
    fields.sort_unstable();
    for (name, value) in fields {
        add(name);
        add(value);
    }
    add("");
    for (name, value) in &entry.context {
        add(name);
        add(value);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use selkie_sops::KeyKind;

    use super::*;

    /// Counts how often it is asked; every second answer to `flaky` is a failure.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl DataKeySource for Counting {
        fn unwrap_key(&self, entry: &KeyEntry) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            let enc = entry.field("enc").unwrap();
            if enc == "flaky" && count == 0 {
                return Err(UnwrapError::Failed("once".to_owned()));
            }
            let context = entry.context.keys().cloned().collect::<String>();
            Ok(Zeroizing::new(format!("{enc}{context}").into_bytes()))
        }
    }

    fn entry(enc: &str, context: &[&str]) -> KeyEntry {
        let pairs = context
            .iter()
            .map(|name| ((*name).to_owned(), String::new()));
        KeyEntry {
            kind: KeyKind::Kms,
            fields: vec![("enc".to_owned(), enc.to_owned())],
            context: pairs.collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn each_distinct_entry_is_asked_for_once() {
        let source = Remembered::new(&Arc::new(Counting::default()));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    assert_eq!(&**source.unwrap_key(&entry("a", &[])).unwrap(), b"a");
                });
            }
        });
        assert_eq!(source.source().0.load(Ordering::SeqCst), 1);
        assert_eq!(&**source.unwrap_key(&entry("b", &[])).unwrap(), b"b");
        assert_eq!(&**source.unwrap_key(&entry("a", &["x"])).unwrap(), b"ax");
        assert_eq!(&**source.unwrap_key(&entry("a", &[])).unwrap(), b"a");
        assert_eq!(source.source().0.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let source = Remembered::new(&Arc::new(Counting::default()));
        assert!(source.unwrap_key(&entry("flaky", &[])).is_err());
        assert_eq!(
            &**source.unwrap_key(&entry("flaky", &[])).unwrap(),
            b"flaky"
        );
    }
}

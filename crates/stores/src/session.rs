//! One store's client with what stands before it: a value cache, single flight, a limit on
//! requests at a time, and a circuit breaker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::{Document, Location, Members, RemoteRef, SecretBackend, StoreError};
use selkie_secret::SecretBytes;

/// Requests that one store gets at the same time.
const AT_ONCE: usize = 8;
/// The waits of a store that is down: short enough that recovery takes seconds.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How long a value may be found in the cache at all.
const KEPT: Duration = Duration::from_secs(60);

/// A store in use: the one client of one configuration, shared by everybody who reads from it.
#[derive(Debug)]
pub struct StoreSession {
    backend: Box<dyn SecretBackend>,
    clock: fn() -> Instant,
    slots: Mutex<HashMap<Location, Arc<Slot>>>,
    requests: Semaphore,
    breaker: Mutex<Breaker>,
}

/// The last answer for one location. Its lock is held while the location is read, so that everybody
/// who asks meanwhile gets that answer.
type Slot = AsyncMutex<Option<Read>>;

#[derive(Debug)]
struct Read {
    started: Instant,
    ended: Instant,
    answer: Result<Arc<Document>, StoreError>,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open: Option<(Instant, StoreError)>,
}

impl StoreSession {
    /// Puts `backend` to use; `clock` is the process's monotonic clock.
    pub fn new(backend: Box<dyn SecretBackend>, clock: fn() -> Instant) -> Self {
        Self {
            backend,
            clock,
            slots: Mutex::default(),
            requests: Semaphore::new(AT_ONCE),
            breaker: Mutex::default(),
        }
    }

    /// Returns one value. A document read at or after `not_before` is not read again.
    pub async fn value(
        &self,
        remote: &RemoteRef,
        not_before: Instant,
    ) -> Result<SecretBytes, StoreError> {
        let document = self.document(remote, not_before).await?;
        self.backend.value(&document, remote)
    }

    /// Returns the members of an object. A document read at or after `not_before` is not read again.
    pub async fn members(
        &self,
        remote: &RemoteRef,
        not_before: Instant,
    ) -> Result<Members, StoreError> {
        let document = self.document(remote, not_before).await?;
        self.backend.members(&document, remote)
    }

    /// Asks the backend whether the credentials are good.
    pub async fn validate(&self) -> Result<(), StoreError> {
        self.admitted()?;
        let answer = self.backend.validate().await;
        self.note(answer.as_ref().err());
        answer
    }

    /// Returns how long a store that is down is left alone yet.
    pub fn suspended_for(&self) -> Option<Duration> {
        let until = lock(&self.breaker).open.as_ref()?.0;
        Some(until.saturating_duration_since((self.clock)()))
    }

    async fn document(
        &self,
        remote: &RemoteRef,
        not_before: Instant,
    ) -> Result<Arc<Document>, StoreError> {
        let location = self.backend.locate(remote)?;
        let arrived = (self.clock)();
        let slot = self.slot(&location, arrived);
        let mut last = slot.lock().await;
        if let Some(read) = last.as_ref() {
            match &read.answer {
                Ok(document) if read.started >= not_before => return Ok(Arc::clone(document)),
                // An error is shared only by those who waited for that very read.
                Err(error) if arrived < read.ended && read.started >= not_before => {
                    return Err(error.clone());
                }
                _ => {}
            }
        }
        self.admitted()?;
        let permit = self.requests.acquire().await;
        let started = (self.clock)();
        let answer = self.backend.read(&location).await.map(Arc::new);
        drop(permit);
        self.note(answer.as_ref().err());
        *last = Some(Read {
            started,
            ended: (self.clock)(),
            answer: answer.clone(),
        });
        answer
    }

    /// Returns the slot of a location, and drops the values of others that nobody will ask for again.
    fn slot(&self, location: &Location, now: Instant) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        slots.retain(|_, slot| {
            // In use means that somebody holds or waits for its lock.
            Arc::strong_count(slot) > 1
                || slot.try_lock().map_or(true, |read| {
                    read.as_ref()
                        .is_some_and(|read| now.saturating_duration_since(read.ended) < KEPT)
                })
        });
        Arc::clone(slots.entry(location.clone()).or_default())
    }

    /// Refuses while the store is left alone; lets one caller through when that time is over.
    fn admitted(&self) -> Result<(), StoreError> {
        let now = (self.clock)();
        let mut breaker = lock(&self.breaker);
        let wait = wait_after(breaker.failures);
        match breaker.open.as_mut() {
            Some((until, cause)) if now < *until => Err(cause.clone()),
            Some((until, _)) => {
                *until = now + wait;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn note(&self, error: Option<&StoreError>) {
        let mut breaker = lock(&self.breaker);
        match error.filter(|error| error.is_outage()) {
            None => *breaker = Breaker::default(),
            Some(error) => {
                breaker.failures = breaker.failures.saturating_add(1);
                let until = (self.clock)() + wait_after(breaker.failures);
                breaker.open = Some((until, error.clone()));
            }
        }
    }
}

fn wait_after(failures: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(LONGEST_WAIT)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use selkie_cloud::vault::VaultError;

    use super::*;
    use crate::BoxFuture;

    /// A backend in memory that counts its reads.
    #[derive(Debug, Default)]
    struct Counted {
        reads: Arc<AtomicUsize>,
        down: Arc<AtomicBool>,
    }

    impl SecretBackend for Counted {
        fn locate(&self, remote: &RemoteRef) -> Result<Location, StoreError> {
            Ok(Location {
                path: remote.key.clone(),
                version: None,
            })
        }

        fn read<'a>(&'a self, _: &'a Location) -> BoxFuture<'a, Result<Document, StoreError>> {
            Box::pin(async move {
                self.reads.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                if self.down.load(Ordering::SeqCst) {
                    return Err(VaultError::Connect {
                        server: "s".to_owned(),
                        cause: "refused".to_owned(),
                    }
                    .into());
                }
                Ok(Document(SecretBytes::new(b"v".to_vec())))
            })
        }

        fn value(&self, document: &Document, _: &RemoteRef) -> Result<SecretBytes, StoreError> {
            Ok(document.0.duplicate())
        }

        fn members(&self, _: &Document, _: &RemoteRef) -> Result<Members, StoreError> {
            Ok(Members::new())
        }

        fn validate(&self) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn session() -> (StoreSession, Arc<AtomicUsize>, Arc<AtomicBool>) {
        let backend = Counted::default();
        let (reads, down) = (Arc::clone(&backend.reads), Arc::clone(&backend.down));
        (
            StoreSession::new(Box::new(backend), Instant::now),
            reads,
            down,
        )
    }

    fn key(key: &str) -> RemoteRef {
        RemoteRef {
            key: key.to_owned(),
            ..RemoteRef::default()
        }
    }

    #[tokio::test]
    async fn one_read_serves_all_who_ask_meanwhile_and_after() {
        let (session, reads, _) = session();
        let start = Instant::now();
        let (a, b) = (key("a"), key("b"));
        let (x, y, z) = tokio::join!(
            session.value(&a, start),
            session.value(&a, start),
            session.value(&b, start)
        );
        assert!(x.is_ok() && y.is_ok() && z.is_ok());
        assert_eq!(reads.load(Ordering::SeqCst), 2);
        session.value(&a, start).await.unwrap();
        assert_eq!(reads.load(Ordering::SeqCst), 2);
        session.value(&a, Instant::now()).await.unwrap();
        assert_eq!(reads.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_store_that_is_down_is_left_alone_and_comes_back() {
        let (session, reads, down) = session();
        down.store(true, Ordering::SeqCst);
        let a = key("a");
        let error = session.value(&a, Instant::now()).await.unwrap_err();
        for _ in 0..5 {
            let again = session.value(&a, Instant::now()).await.unwrap_err();
            assert_eq!(again, error);
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        down.store(false, Ordering::SeqCst);
        tokio::time::sleep(session.suspended_for().unwrap()).await;
        session.value(&a, Instant::now()).await.unwrap();
        assert_eq!(session.suspended_for(), None);
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn waits_are_bounded() {
        assert_eq!(wait_after(1), FIRST_WAIT);
        assert_eq!(wait_after(2), FIRST_WAIT * 2);
        assert_eq!(wait_after(1000), LONGEST_WAIT);
    }
}

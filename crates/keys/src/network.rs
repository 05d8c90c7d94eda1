//! What the key services over the network share: a runtime that starts when the first one is asked,
//! and leaving one alone that does not answer.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

/// Runs the requests of key services. Until the first one it has no thread and opens nothing.
#[derive(Default)]
pub struct Network(Mutex<Option<Runtime>>);

impl Network {
    /// Runs a request to its end on the calling thread, which must not be one that runs async tasks.
    pub fn run<F: Future>(&self, request: F) -> io::Result<F::Output> {
        let handle = {
            let mut started = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = match started.take() {
                Some(runtime) => runtime,
                // One thread: it only moves bytes; the callers bring their own.
                None => Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("key-services")
                    .enable_all()
                    .build()?,
            };
            started.insert(runtime).handle().clone()
        };
        Ok(handle.block_on(request))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let started = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = started.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// So many services of one kind are remembered at a time.
const MOST: usize = 128;

/// Returns the place of a service among those that are remembered. A key service is asked for names that
/// its clients make up: when there are too many, those that nobody uses at the moment go.
pub(crate) fn place<K: Eq + Hash, V: Default>(
    places: &Mutex<HashMap<K, Arc<V>>>,
    name: K,
) -> Arc<V> {
    let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
    if places.len() >= MOST && !places.contains_key(&name) {
        places.retain(|_, place| Arc::strong_count(place) > 1);
    }
    Arc::clone(places.entry(name).or_default())
}

/// So many requests in a row without an answer, and a service is left alone.
const FAILURES: u32 = 3;

/// For so long a service that is down is not asked.
const REST: Duration = Duration::from_secs(30);

/// Whether one service answers: a run over thousands of files must not wait for a time limit at each.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Failures>);

#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    cause: String,
    rests_until: Option<Instant>,
}

impl Health {
    /// Returns why the service is not to be asked at this moment.
    pub(crate) fn resting(&self, now: Instant) -> Option<String> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = failures.rests_until.is_some_and(|until| now < until);
        rests.then(|| {
            format!(
                "not asked again so soon after {FAILURES} failures: {}",
                failures.cause
            )
        })
    }

    /// Notes that the service answered, whatever it said.
    pub(crate) fn answered(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Failures::default();
    }

    /// Notes that it is down.
    pub(crate) fn failed(&self, cause: &str, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.in_a_row += 1;
        cause.clone_into(&mut failures.cause);
        if failures.in_a_row >= FAILURES {
            failures.rests_until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_run_from_many_threads_on_one_runtime() {
        let network = Network::default();
        std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8)
                .map(|n| {
                    let network = &network;
                    scope.spawn(move || {
                        let wait = async move {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            n
                        };
                        network.run(wait).unwrap()
                    })
                })
                .collect();
            let answers: Vec<i32> = asked.into_iter().map(|a| a.join().unwrap()).collect();
            assert_eq!(answers, [0, 1, 2, 3, 4, 5, 6, 7]);
        });
    }

    #[test]
    fn made_up_names_do_not_fill_the_memory() {
        let places: Mutex<HashMap<usize, Arc<Health>>> = Mutex::default();
        let used = place(&places, 0);
        for name in 1..10 * MOST {
            place(&places, name);
        }
        assert!(places.lock().unwrap().len() <= MOST);
        assert!(Arc::ptr_eq(&used, &place(&places, 0)));
    }

    #[test]
    fn a_service_that_is_down_rests_and_is_asked_again() {
        let (health, start) = (Health::default(), Instant::now());
        health.failed("down", start);
        health.failed("down", start);
        assert_eq!(health.resting(start), None);
        health.answered();
        for _ in 0..3 {
            health.failed("no answer", start);
        }
        let resting = health.resting(start + REST / 2).unwrap();
        assert!(resting.ends_with("no answer"), "{resting}");
        assert_eq!(health.resting(start + REST), None);
        // Still down: one failure is enough for the next rest.
        health.failed("no answer", start + REST);
        assert!(health.resting(start + REST).is_some());
        health.answered();
        assert_eq!(health.resting(start + REST), None);
    }
}

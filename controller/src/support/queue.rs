//! A queue of keys: each key once, never worked on by two workers at the same time.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::shutdown::Shutdown;

/// The queue. Adding a key that waits already changes nothing; adding one that is being worked on
/// makes it due again as soon as that work is done.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// Due when nothing else is; may hold keys that became urgent since.
    backlog: VecDeque<K>,
    /// The keys that wait in `ready` (`true`) or in `backlog`.
    waiting: HashMap<K, bool>,
    running: HashSet<K>,
    again: HashSet<K>,
    later: BTreeSet<(Instant, K)>,
    due: HashMap<K, Instant>,
}

impl<K: Clone + Debug + Eq + Hash + Ord + Send> Queue<K> {
    /// Makes an empty queue.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                backlog: VecDeque::new(),
                waiting: HashMap::new(),
                running: HashSet::new(),
                again: HashSet::new(),
                later: BTreeSet::new(),
                due: HashMap::new(),
            }),
            changed: Notify::new(),
        }
    }

    /// Makes `key` due now.
    pub fn add(&self, key: K) {
        self.lock().add(key, true);
        self.changed.notify_one();
    }

    /// Makes `key` due once nothing is due that was added by [`Queue::add`].
    pub fn add_to_backlog(&self, key: K) {
        self.lock().add(key, false);
        self.changed.notify_one();
    }

    /// Makes `key` due after `delay`, or earlier if it is due earlier already.
    pub fn add_after(&self, key: K, delay: Duration) {
        let now = Instant::now();
        // A delay comes from a manifest; one beyond what the clock can hold is as good as a year.
        let at = now.checked_add(delay).unwrap_or(now + A_YEAR);
        let mut state = self.lock();
        match state.due.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                let later = *later;
                state.later.remove(&(later, key.clone()));
            }
            None => {}
        }
        state.due.insert(key.clone(), at);
        state.later.insert((at, key));
        drop(state);
        self.changed.notify_one();
    }

    /// Returns how many keys are due now.
    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Runs `work` for each key that is due, `workers` at a time, until the shutdown is requested.
    ///
    /// Work that has begun is finished first.
    pub async fn run<F, Fut>(&self, workers: usize, shutdown: &Shutdown, work: F)
    where
        F: Fn(K) -> Fut,
        Fut: Future<Output = ()>,
    {
        let worker = || async {
            while let Some(key) = shutdown.or(self.next()).await {
                let _running = Running {
                    queue: self,
                    key: key.clone(),
                };
                work(key).await;
            }
        };
        futures::future::join_all((0..workers).map(|_| worker())).await;
    }

    async fn next(&self) -> K {
        loop {
            // Registered before the look, so that an `add` in between is not missed.
            let changed = self.changed.notified();
            let wake = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.pop() {
                    state.running.insert(key.clone());
                    if !state.waiting.is_empty() || !state.later.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match wake {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Debug + Eq + Hash + Ord + Send> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Marks a key as worked on, until dropped: a worker that is cancelled does not lock its key out.
struct Running<'a, K: Clone + Debug + Eq + Hash + Ord + Send> {
    queue: &'a Queue<K>,
    key: K,
}

impl<K: Clone + Debug + Eq + Hash + Ord + Send> Drop for Running<'_, K> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.running.remove(&self.key);
        if state.again.remove(&self.key) {
            state.add(self.key.clone(), true);
            drop(state);
            self.queue.changed.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn add(&mut self, key: K, urgent: bool) {
        if self.running.contains(&key) {
            self.again.insert(key);
            return;
        }
        match self.waiting.get(&key) {
            Some(waits_urgently) if *waits_urgently || !urgent => return,
            _ => {}
        }
        self.waiting.insert(key.clone(), urgent);
        match urgent {
            true => self.ready.push_back(key),
            false => self.backlog.push_back(key),
        }
    }

    fn pop(&mut self) -> Option<K> {
        if let Some(key) = self.ready.pop_front() {
            self.waiting.remove(&key);
            return Some(key);
        }
        while let Some(key) = self.backlog.pop_front() {
            // Else it became urgent meanwhile, and was taken.
            if self.waiting.get(&key) == Some(&false) {
                self.waiting.remove(&key);
                return Some(key);
            }
        }
        None
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, _)) = self.later.first() {
            if *at > now {
                break;
            }
            if let Some((_, key)) = self.later.pop_first() {
                self.due.remove(&key);
                self.add(key, false);
            }
        }
    }
}

/// Returns the delay before attempt `failures + 1`: `base` doubled for each failure, at most `cap`.
pub fn backoff(base: Duration, cap: Duration, failures: u32) -> Duration {
    base.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX))
        .min(cap)
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::{super::shutdown::shutdown, *};

    #[tokio::test]
    async fn a_key_is_taken_once_and_again_when_added_meanwhile() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.depth(), 1);
        assert_eq!(queue.next().await, "a");
        let running = Running {
            queue: &queue,
            key: "a",
        };
        queue.add("a");
        assert_eq!(queue.depth(), 0, "not while it is worked on");
        drop(running);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test]
    async fn what_is_new_goes_ahead_of_a_backlog() {
        let queue = Queue::new();
        for key in ["a", "b", "c"] {
            queue.add_to_backlog(key);
        }
        queue.add("new");
        queue.add("c");
        queue.add_to_backlog("new");
        assert_eq!(queue.depth(), 4);
        for key in ["new", "c", "a", "b"] {
            assert_eq!(queue.next().await, key);
        }
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test]
    async fn the_earlier_time_wins() {
        let queue = Queue::new();
        queue.add_after("a", Duration::from_secs(3600));
        queue.add_after("a", Duration::from_millis(5));
        queue.add_after("a", Duration::from_secs(3600));
        let taken = tokio::time::timeout(Duration::from_secs(5), queue.next()).await;
        assert_eq!(taken, Ok("a"));
        assert!(queue.lock().later.is_empty() && queue.lock().due.is_empty());
    }

    /// A delay comes from a manifest: `refreshInterval: 2562047h` is a valid one.
    #[tokio::test]
    async fn a_delay_beyond_the_clock_is_no_panic() {
        let queue = Queue::new();
        queue.add_after("a", Duration::MAX);
        queue.add_after("b", Duration::from_millis(1));
        let taken = tokio::time::timeout(Duration::from_secs(5), queue.next()).await;
        assert_eq!(taken, Ok("b"));
        let state = queue.lock();
        assert!(state.due["a"] > Instant::now() + A_YEAR / 2);
    }

    #[tokio::test]
    async fn workers_share_the_keys_and_end() {
        let queue = Arc::new(Queue::new());
        let (trigger, ending) = shutdown();
        let (done, most, now) = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
        for key in 0..20 {
            queue.add(key);
        }
        queue
            .run(4, &ending, |_| async {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                if done.fetch_add(1, Ordering::SeqCst) == 19 {
                    trigger.request();
                }
            })
            .await;
        assert_eq!(done.into_inner(), 20);
        assert_eq!(most.into_inner(), 4);
    }

    #[test]
    fn backoff_doubles_up_to_the_cap() {
        let delay = |failures| {
            backoff(
                Duration::from_millis(100),
                Duration::from_secs(60),
                failures,
            )
        };
        assert_eq!(delay(0), Duration::from_millis(100));
        assert_eq!(delay(3), Duration::from_millis(800));
        assert_eq!(delay(40), Duration::from_secs(60));
    }
}

//! Who may fetch: so many at a time from one store, so that a slow one does not hold every worker.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sessions::StoreKey;
use crate::support::queue::Queue;
use crate::support::view::ObjectKey;

/// The turns of all stores.
#[derive(Debug)]
pub(super) struct Turns {
    /// How many may fetch from one store at the same time.
    at_once: usize,
    stores: Mutex<HashMap<StoreKey, Line>>,
}

/// Who fetches from a store, and who waits for it.
#[derive(Debug, Default)]
struct Line {
    busy: usize,
    waiting: BTreeSet<ObjectKey>,
}

/// The right to fetch, until dropped; then those who wait are put into the queue.
#[must_use]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    queue: &'a Queue<ObjectKey>,
    stores: BTreeSet<StoreKey>,
}

impl Turns {
    /// Lets `at_once` fetch from each store at the same time.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once,
            stores: Mutex::default(),
        }
    }

    /// Takes a turn at all of `stores`. Without one `who` is put into `queue` when there may be one:
    /// a worker that waited would be held as well.
    pub(super) fn take<'a>(
        &'a self,
        queue: &'a Queue<ObjectKey>,
        stores: BTreeSet<StoreKey>,
        who: &ObjectKey,
    ) -> Option<Turn<'a>> {
        let mut lines = self.lock();
        for store in &stores {
            if let Some(line) = lines.get_mut(store)
                && line.busy >= self.at_once
            {
                line.waiting.insert(who.clone());
                return None;
            }
        }
        for store in &stores {
            lines.entry(store.clone()).or_default().busy += 1;
        }
        drop(lines);
        Some(Turn {
            turns: self,
            queue,
            stores,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StoreKey, Line>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut woken = Vec::new();
        let mut lines = self.turns.lock();
        for store in &self.stores {
            let Some(line) = lines.get_mut(store) else {
                continue;
            };
            line.busy = line.busy.saturating_sub(1);
            // As many as there is room for: one that is woken may find another store of its busy, and
            // must not be the last one that is.
            for _ in line.busy..self.turns.at_once {
                woken.extend(line.waiting.pop_first());
            }
            if line.busy == 0 && line.waiting.is_empty() {
                lines.remove(store);
            }
        }
        drop(lines);
        woken.into_iter().for_each(|key| self.queue.add(key));
    }
}

#[cfg(test)]
mod tests {
    use super::super::guard::StoreKind;
    use super::*;

    fn stores(names: &[&str]) -> BTreeSet<StoreKey> {
        let keys = names.iter().map(|name| StoreKey {
            kind: StoreKind::Namespaced,
            object: ObjectKey::new("ns", *name),
        });
        keys.collect()
    }

    fn user(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    #[test]
    fn a_slow_store_holds_its_share_and_no_more() {
        let (turns, queue) = (Turns::new(2), Queue::new());
        let take = |who: &str, of: &[&str]| turns.take(&queue, stores(of), &user(who));
        let first = take("a", &["slow"]);
        let second = take("b", &["slow"]);
        assert!(first.is_some() && second.is_some());
        assert!(take("c", &["slow"]).is_none());
        assert!(take("d", &["fast"]).is_some());
        assert_eq!(queue.depth(), 0);
        drop(first);
        assert_eq!(queue.depth(), 1, "`c` comes again");
        let third = take("c", &["slow"]);
        assert!(third.is_some());
        drop((second, third));
        assert!(turns.lock().is_empty());
    }

    /// All or none, or two who need the same two stores would wait for one another.
    #[test]
    fn a_turn_is_for_all_stores_of_a_resource() {
        let (turns, queue) = (Turns::new(1), Queue::new());
        let take = |who: &str, of: &[&str]| turns.take(&queue, stores(of), &user(who));
        let slow = take("a", &["slow"]);
        assert!(take("b", &["fast", "slow"]).is_none());
        let fast = take("c", &["fast"]);
        assert!(fast.is_some(), "nothing of it is held");
        assert!(take("d", &["fast"]).is_none());
        drop(slow);
        assert_eq!(queue.depth(), 1, "`b` comes again");
        assert!(take("b", &["fast", "slow"]).is_none());
        drop(fast);
        let both = take("b", &["fast", "slow"]);
        assert!(both.is_some());
        drop(both);
        assert_eq!(queue.depth(), 2, "`d` comes after it");
    }
}

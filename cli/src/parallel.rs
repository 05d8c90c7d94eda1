//! Work on many things at once, with the results in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread;

/// Does `work` for every item on several threads, and hands each result to `take` on this thread, in
/// the order of the items.
///
/// Work begins at most [`AHEAD`] items per thread before the one that is due, so that results do not pile
/// up behind a slow item or a slow terminal.
pub(crate) fn in_order<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(&T, R),
) {
    let threads = threads().min(items.len());
    if threads <= 1 {
        for item in items {
            let result = work(item);
            take(item, result);
        }
        return;
    }
    let next = AtomicUsize::new(0);
    let window = Window::new(threads * AHEAD);
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        // Also when `take` panics: nobody waits for ever.
        let _end = End(&window);
        let start = |_: &usize| {
            let (send, next, work, window) = (send.clone(), &next, &work, &window);
            let thread = thread::Builder::new().spawn_scoped(scope, move || {
                let _end = End(window);
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        return;
                    };
                    if !window.wait_for(at) || send.send((at, work(item))).is_err() {
                        return;
                    }
                }
            });
            thread.is_ok()
        };
        // Where the system allows fewer threads, those do the work; without any, this one does.
        if (0..threads).filter(start).count() == 0 {
            items.iter().for_each(|item| take(item, work(item)));
            return;
        }
        drop(send);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (at, result) in receive {
            early.insert(at, result);
            while let Some(result) = early.remove(&due) {
                take(&items[due], result);
                due += 1;
                window.move_to(due);
            }
        }
    });
}

/// How many items per thread may be begun before the one that is due is done.
const AHEAD: usize = 8;

/// Which items may be begun. Items are begun in order, so the thread that has the one that is due never
/// waits, and the window moves on.
struct Window {
    length: usize,
    /// The first item whose result is not taken yet; `None` once a thread panicked.
    due: Mutex<Option<usize>>,
    moved: Condvar,
}

impl Window {
    fn new(length: usize) -> Self {
        Self {
            length,
            due: Mutex::new(Some(0)),
            moved: Condvar::new(),
        }
    }

    /// Waits until an item may be begun; returns whether it shall be at all.
    fn wait_for(&self, at: usize) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *due {
                None => return false,
                Some(first) if at < first + self.length => return true,
                Some(_) => due = self.moved.wait(due).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn move_to(&self, first: usize) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due) = &mut *due {
            *due = first;
        }
        drop(due);
        self.moved.notify_all();
    }
}

/// Ends the waiting of all threads when this one panics.
struct End<'w>(&'w Window);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            *self.0.due.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.0.moved.notify_all();
        }
    }
}

/// More than there are cores: much of the time is spent waiting for the disk or a key service.
fn threads() -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores * 4).clamp(4, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order() {
        let items: Vec<u64> = (0..200).collect();
        let mut seen = Vec::new();
        let work = |item: &u64| {
            thread::sleep(std::time::Duration::from_micros((200 - item) * 10));
            item * 2
        };
        in_order(&items, work, |item, result| seen.push((*item, result)));
        let expected: Vec<_> = items.iter().map(|item| (*item, item * 2)).collect();
        assert_eq!(seen, expected);
        in_order(&Vec::<u8>::new(), |_| (), |_, ()| unreachable!());
    }

    /// The first item is slow: the others wait, and what they gave is never more than the window.
    #[test]
    fn results_do_not_pile_up_behind_a_slow_item() {
        let items: Vec<usize> = (0..5_000).collect();
        let most = threads() * AHEAD;
        let begun = AtomicUsize::new(0);
        let mut ahead = 0;
        let mut seen = 0;
        let work = |item: &usize| {
            begun.fetch_max(*item, Ordering::SeqCst);
            if *item == 0 {
                // Until nobody begins anything any more.
                let mut last = usize::MAX;
                while last != begun.load(Ordering::SeqCst) || last + 1 < most {
                    last = begun.load(Ordering::SeqCst);
                    thread::sleep(std::time::Duration::from_millis(50));
                }
            }
        };
        in_order(&items, work, |item, ()| {
            ahead = ahead.max(begun.load(Ordering::SeqCst) - item);
            seen += 1;
        });
        assert_eq!(seen, items.len());
        assert_eq!(ahead, most - 1, "as many as may be, and no more");
    }

    #[test]
    fn a_panic_ends_the_run() {
        let items: Vec<usize> = (0..2_000).collect();
        let ended = |fails: usize, takes: usize| {
            let run = std::panic::AssertUnwindSafe(|| {
                let work = |item: &usize| assert_ne!(*item, fails);
                in_order(&items, work, |item, ()| assert_ne!(*item, takes));
            });
            std::panic::catch_unwind(run).is_err()
        };
        assert!(ended(3, usize::MAX), "in the work");
        assert!(ended(usize::MAX, 3), "where a result is taken");
    }
}

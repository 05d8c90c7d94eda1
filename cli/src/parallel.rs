//! Work on many things at once, with the results in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does `work` for every item on several threads, and hands each result to `take` on this thread, in
/// the order of the items.
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
    // Bounded, so that results do not pile up behind a slow terminal.
    let (send, receive) = mpsc::sync_channel(threads * 4);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (send, next, work) = (send.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else {
                        return;
                    };
                    if send.send((at, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (at, result) in receive {
            early.insert(at, result);
            while let Some(result) = early.remove(&due) {
                take(&items[due], result);
                due += 1;
            }
        }
    });
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
}

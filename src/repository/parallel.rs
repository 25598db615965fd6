//! Doing several things at once, each after those that it needs.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Runs `work` for every item on up to `threads` threads. `after` says which earlier items an item needs; it starts
/// when they are done.
pub(super) fn in_order<T: Send>(
    items: Vec<T>,
    threads: usize,
    after: impl Fn(&T) -> Vec<usize>,
    work: impl Fn(usize, T) + Sync,
) {
    let needs: Vec<Vec<usize>> = items.iter().map(after).collect();
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(Some).map(Mutex::new).collect();
    let (next, done, changed) = (
        AtomicUsize::new(0),
        Mutex::new(vec![false; items.len()]),
        Condvar::new(),
    );
    let run = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else {
                return;
            };
            // Whoever took an earlier item waits for still earlier ones only, so that somebody always gets on.
            let waits = |done: &mut Vec<bool>| {
                let mut earlier = needs[place].iter().filter(|&&need| need < place);
                earlier.any(|&need| !done[need])
            };
            let guard = done.lock().unwrap_or_else(PoisonError::into_inner);
            drop(changed.wait_while(guard, waits).unwrap_or_else(PoisonError::into_inner));
            let item = item.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Also after a panic: others must not wait for ever.
            let _done = Done {
                place,
                done: &done,
                changed: &changed,
            };
            if let Some(item) = item {
                work(place, item);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            // Where the system has no more threads, fewer do it.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, run) {
                tracing::debug!(%error, "no thread can be started");
                break;
            }
        }
        run();
    });
}

struct Done<'a> {
    place: usize,
    done: &'a Mutex<Vec<bool>>,
    changed: &'a Condvar,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)[self.place] = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn what_needs_nothing_runs_side_by_side() {
        let together = Barrier::new(2);
        // Ends only if both run at once.
        in_order(
            vec![(), ()],
            2,
            |()| Vec::new(),
            |_, ()| {
                together.wait();
            },
        );
    }

    #[test]
    fn everything_runs_once_and_after_what_it_needs() {
        for threads in 1..5 {
            let finished = Mutex::new(Vec::new());
            let needs = vec![vec![], vec![], vec![0, 1], vec![], vec![2, 3], vec![0]];
            in_order(needs.clone(), threads, Vec::clone, |place, needs| {
                let mut finished = finished.lock().unwrap();
                assert!(needs.iter().all(|need| finished.contains(need)));
                finished.push(place);
            });
            let mut finished = finished.into_inner().unwrap();
            finished.sort_unstable();
            assert_eq!(finished, [0, 1, 2, 3, 4, 5]);
        }
    }
}

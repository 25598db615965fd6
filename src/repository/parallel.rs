//! Doing several things at once, each after those that it needs.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// Runs `work` for every item on up to `threads` threads. `after` says which earlier items an item needs; it starts
/// when they are done. Whoever is free takes the first item that can start, so that none waits while there is work.
pub(super) fn in_order<T: Send>(
    items: Vec<T>,
    threads: usize,
    after: impl Fn(&T) -> Vec<usize>,
    work: impl Fn(usize, T) + Sync,
) {
    let threads = threads.min(items.len());
    let earlier = |place: usize, item: &T| after(item).into_iter().filter(|&need| need < place).collect();
    let needs = items.iter().enumerate().map(|(place, item)| earlier(place, item));
    let queue = Queue {
        needs: needs.collect(),
        progress: Mutex::new(Progress {
            is_done: vec![false; items.len()],
            waiting: items.into_iter().map(Some).collect(),
        }),
        changed: Condvar::new(),
    };
    let run = || {
        while let Some((place, item)) = queue.next() {
            // Also after a panic: others must not wait for ever.
            let _done = Done { place, queue: &queue };
            work(place, item);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system has no more threads, fewer do it.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, run) {
                tracing::debug!(%error, "no thread can be started");
                break;
            }
        }
        run();
    });
}

/// Items and those that each needs.
struct Queue<T> {
    needs: Vec<Vec<usize>>,
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

struct Progress<T> {
    waiting: Vec<Option<T>>,
    is_done: Vec<bool>,
}

impl<T> Queue<T> {
    /// Takes the first item that can start, when there is one; `None` when all are taken.
    fn next(&self) -> Option<(usize, T)> {
        let mut progress = self.progress();
        loop {
            let mut places = 0..self.needs.len();
            let can_start = |&place: &usize| {
                let mut needs = self.needs[place].iter();
                progress.waiting[place].is_some() && needs.all(|&need| progress.is_done[need])
            };
            // The first that waits needs earlier items only, and all of these are taken: somebody is at work.
            if let Some(place) = places.find(can_start) {
                return Some((place, progress.waiting[place].take()?));
            }
            if progress.waiting.iter().all(Option::is_none) {
                return None;
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done<'a, T> {
    place: usize,
    queue: &'a Queue<T>,
}

impl<T> Drop for Done<'_, T> {
    fn drop(&mut self) {
        self.queue.progress().is_done[self.place] = true;
        self.queue.changed.notify_all();
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
    fn what_can_start_does_not_wait_for_what_cannot() {
        let both = Barrier::new(2);
        // The second waits for the first, which ends only once the third runs.
        in_order(vec![vec![], vec![0], vec![]], 2, Vec::clone, |place, _| {
            if place != 1 {
                both.wait();
            }
        });
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

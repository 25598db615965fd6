//! Doing several things at once, each after those that it needs.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

/// How much may be done at once.
pub(super) struct Bounds<'a> {
    pub(super) threads: usize,
    /// How much room there is beside what is under way, as its weights state it.
    pub(super) room: &'a (dyn Fn() -> u64 + Sync),
}

/// Runs `work` for every item, as many at once as the bounds allow, and one at least. `about` says which earlier items
/// an item needs, and its weight; it starts when they are done. Whoever is free takes the first item that can start, so
/// that none waits while there is work.
pub(super) fn in_order<T: Send>(
    items: Vec<T>,
    bounds: Bounds<'_>,
    about: impl Fn(&T) -> (Vec<usize>, u64),
    work: impl Fn(usize, T) + Sync,
) {
    let threads = bounds.threads.min(items.len());
    let queue = Queue::new(items, bounds.room, about);
    let run = || {
        while let Some((place, item)) = queue.next() {
            // Also after a panic: others must not wait for ever.
            let _done = Done { place, queue: &queue };
            work(place, item);
        }
    };
    let (starting, started) = mpsc::channel::<()>();
    thread::scope(|scope| {
        for _ in 1..threads {
            let starting = starting.clone();
            let work = || {
                drop(starting);
                run();
            };
            // Where the system has no more threads, fewer do it.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                tracing::debug!(%error, "no thread can be started");
                break;
            }
        }
        drop(starting);
        // Until all run: a load could take the memory that a starting thread cannot do without.
        let _ = started.recv();
        run();
    });
}

/// Items, those that each needs, and their weights.
struct Queue<'a, T> {
    needs: Vec<Vec<usize>>,
    weights: Vec<u64>,
    room: &'a (dyn Fn() -> u64 + Sync),
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

struct Progress<T> {
    waiting: Vec<Option<T>>,
    is_done: Vec<bool>,
}

impl<'a, T> Queue<'a, T> {
    fn new(items: Vec<T>, room: &'a (dyn Fn() -> u64 + Sync), about: impl Fn(&T) -> (Vec<usize>, u64)) -> Self {
        let about = items.iter().enumerate().map(|(place, item)| {
            let (after, weight) = about(item);
            (after.into_iter().filter(|&need| need < place).collect(), weight)
        });
        let (needs, weights) = about.unzip();
        Self {
            needs,
            weights,
            room,
            progress: Mutex::new(Progress {
                is_done: vec![false; items.len()],
                waiting: items.into_iter().map(Some).collect(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes the first item that can start, when there is one; `None` when all are taken.
    fn next(&self) -> Option<(usize, T)> {
        let mut progress = self.progress();
        loop {
            // The first that waits needs earlier items only, and all of these are taken: somebody is at work. So is
            // somebody where there is no room.
            if let Some(taken) = self.start(&mut progress) {
                return Some(taken);
            }
            if progress.waiting.iter().all(Option::is_none) {
                return None;
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes the first item that can start now.
    fn start(&self, progress: &mut Progress<T>) -> Option<(usize, T)> {
        let places = 0..self.needs.len();
        let is_under_way = |&place: &usize| progress.waiting[place].is_none() && !progress.is_done[place];
        let under_way: Vec<u64> = places
            .clone()
            .filter(is_under_way)
            .map(|place| self.weights[place])
            .collect();
        let room = match under_way.is_empty() {
            // What there is no room for at all is tried all the same.
            true => u64::MAX,
            false => (self.room)().saturating_sub(under_way.iter().sum()),
        };
        let mut places = places;
        let place = places.find(|&place| {
            let mut needs = self.needs[place].iter();
            progress.waiting[place].is_some()
                && needs.all(|&need| progress.is_done[need])
                && self.weights[place] <= room
        })?;
        Some((place, progress.waiting[place].take()?))
    }

    fn progress(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Done<'a, T> {
    place: usize,
    queue: &'a Queue<'a, T>,
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

    fn threads(threads: usize) -> Bounds<'static> {
        Bounds {
            threads,
            room: &|| u64::MAX,
        }
    }

    #[test]
    fn what_needs_nothing_runs_side_by_side() {
        let together = Barrier::new(2);
        // Ends only if both run at once.
        in_order(
            vec![(), ()],
            threads(2),
            |()| (Vec::new(), 1),
            |_, ()| {
                together.wait();
            },
        );
    }

    #[test]
    fn what_can_start_does_not_wait_for_what_cannot() {
        let both = Barrier::new(2);
        let about = |needs: &Vec<usize>| (needs.clone(), 1);
        // The second waits for the first, which ends only once the third runs.
        in_order(vec![vec![], vec![0], vec![]], threads(2), about, |place, _| {
            if place != 1 {
                both.wait();
            }
        });
    }

    #[test]
    fn what_has_no_room_beside_others_waits_for_their_end_and_then_runs_though_it_has_none() {
        let weights = [5, 9, 2, 1];
        let queue = Queue::new(weights.to_vec(), &|| 8, |&weight| (Vec::new(), weight));
        let start = || queue.start(&mut queue.progress()).map(|(place, _)| place);
        let end = |place| drop(Done { place, queue: &queue });
        // Five of eight, then two; one more would fit.
        assert_eq!([start(), start(), start(), start()], [Some(0), Some(2), Some(3), None]);
        end(0);
        end(2);
        assert_eq!(start(), None);
        end(3);
        assert_eq!([start(), start()], [Some(1), None]);
        end(1);
        assert!(queue.next().is_none());
    }

    #[test]
    fn everything_runs_once_and_after_what_it_needs() {
        for (number, room) in [(1, 99), (2, 99), (3, 99), (4, 99), (4, 0), (4, 2)] {
            let finished = Mutex::new(Vec::new());
            let needs = vec![vec![], vec![], vec![0, 1], vec![], vec![2, 3], vec![0]];
            let bounds = Bounds {
                threads: number,
                room: &|| room,
            };
            let about = |needs: &Vec<usize>| (needs.clone(), 1);
            in_order(needs.clone(), bounds, about, |place, needs| {
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

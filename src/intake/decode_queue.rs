//! The queue of what waits to be decoded: who joins it, and who is told to come back.
//!
//! Threads take requests in the order in which they came, so it is known how long whoever joins will wait. A request
//! that would not be decoded in time is refused at once: else the threads would always work for those that have waited
//! longest, and give them up just before they are done.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Seconds that a pixel takes, as long as none was measured.
const FIRST_GUESS: f64 = 10e-9;

/// Weight of a new measurement.
const WEIGHT: f64 = 1.0 / 8.0;

/// So much of the time to a deadline may go by until a request is decoded; the rest is for what comes then.
const SHARE: f64 = 0.75;

/// What waits and what is being decoded.
#[derive(Debug)]
pub(super) struct DecodeQueue {
    threads: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Pixels of all that are in it.
    pixels: u64,
    /// Seconds of one thread for a pixel.
    pace: f64,
}

/// A place in the line, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    line: Arc<DecodeQueue>,
    pixels: u64,
}

impl DecodeQueue {
    /// A line before so many threads.
    pub(super) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: threads.max(1) as f64,
            state: Mutex::new(State {
                pixels: 0,
                pace: FIRST_GUESS,
            }),
        })
    }

    /// Lets in a request of so many pixels that has so much time left, or says in what time those before it will be
    /// done. Before whom nobody is, may always try.
    pub(super) fn join(self: &Arc<Self>, pixels: u64, left: Duration) -> Result<Place, Duration> {
        let mut state = self.state();
        let time = |pixels: u64| pixels as f64 * state.pace / self.threads;
        let all = state.pixels.saturating_add(pixels);
        if state.pixels > 0 && time(all) > left.as_secs_f64() * SHARE {
            return Err(Duration::try_from_secs_f64(time(state.pixels)).unwrap_or(Duration::MAX));
        }
        state.pixels = all;
        Ok(Place {
            line: Arc::clone(self),
            pixels,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Its request was decoded by one thread in this time.
    pub(super) fn took(&self, duration: Duration) {
        let mut state = self.line.state();
        let own = duration.as_secs_f64() / self.pixels.max(1) as f64;
        state.pace += (own - state.pace) * WEIGHT;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.pixels = state.pixels.saturating_sub(self.pixels);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn who_comes_first_may_try_and_others_are_let_in_while_there_is_time() {
        let line = DecodeQueue::new(2);
        // A million pixels take 10 ms at first guess.
        let huge = line.join(1_000_000_000, ms(1)).unwrap();
        assert_eq!(line.join(1, ms(1000)).unwrap_err(), ms(5_000));
        drop(huge);
        let places: Vec<_> = (0..200).filter_map(|_| line.join(1_000_000, ms(1000)).ok()).collect();
        assert_eq!(places.len(), 150, "three quarters of a second of two threads");
        line.join(1_000_000, ms(2000)).unwrap();
    }

    #[test]
    fn the_pace_is_that_of_late() {
        let line = DecodeQueue::new(1);
        for _ in 0..100 {
            line.join(1_000, ms(1000)).unwrap().took(ms(1));
        }
        let _before = line.join(1_000, ms(1000)).unwrap();
        let told = line.join(1_000_000, ms(1000)).unwrap_err();
        assert!((0.9e-3..1.1e-3).contains(&told.as_secs_f64()), "{told:?}");
    }

    /// Two threads decode pictures of 20 ms each, which come at a multiple of what they can; how much of what they can
    /// is decoded within a second?
    fn goodput(load: u64) -> f64 {
        // In steps of 0.1 ms, like all times here.
        const COST: u64 = 200;
        const DEADLINE: u64 = 10_000;
        const END: u64 = 200_000;
        let line = DecodeQueue::new(2);
        let mut waiting = VecDeque::new();
        let mut threads: [Option<(u64, u64, Place)>; 2] = [None, None];
        let (mut good, mut next) = (0, 0);
        for now in 0..END {
            for thread in &mut threads {
                if let Some((end, deadline, place)) = thread.take_if(|(end, ..)| *end <= now) {
                    place.took(Duration::from_micros(100 * COST));
                    good += u64::from(end <= deadline);
                }
                if thread.is_none()
                    && let Some((deadline, place)) = waiting.pop_front()
                {
                    *thread = Some((now + COST, deadline, place));
                }
            }
            if now >= next {
                next += COST / 2 / load;
                // They take twice as long as is guessed at first.
                if let Ok(place) = line.join(1_000_000, Duration::from_micros(100 * DEADLINE)) {
                    waiting.push_back((now + DEADLINE, place));
                }
            }
        }
        good as f64 / (2 * END / COST) as f64
    }

    #[test]
    fn as_much_is_decoded_in_time_under_any_load() {
        for load in [1, 2, 10] {
            let goodput = goodput(load);
            assert!(goodput > 0.95, "{goodput} at {load} times what can be done");
        }
    }
}

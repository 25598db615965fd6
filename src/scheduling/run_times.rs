//! How long a row takes to run, estimated from the runs so far.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known about the time that rows of one kind of work take. Times are in nanoseconds.
#[derive(Debug)]
pub(super) struct RunTimes(Mutex<Measured>);

#[derive(Debug, Clone, Copy)]
struct Measured {
    /// Smoothed time of one worker for one row. Before the first run, a guess.
    row: f64,
    /// Smoothed duration of a run of a single row on one thread.
    lone: Option<f64>,
    /// Time of a row when the machine has nothing else to do: the least that was measured, forgotten slowly.
    idle: Option<f64>,
    /// When the last run was measured.
    at: u64,
}

/// Weight of a new value: a few slow runs do not close the door, and a lasting change is followed within some dozens of
/// runs.
const WEIGHT: f64 = 1.0 / 8.0;
/// Without a run for so long, half of what an estimate is above the idle cost is forgotten. What was learnt on a busy
/// machine says little about the machine some seconds later.
const HALF_LIFE: f64 = 10e9;
/// A run of one row counts as at most so many times what such runs took before. A thread is sometimes stopped in the
/// middle of one, for much longer than the run takes.
const OUTLIER: f64 = 8.0;
/// The idle cost doubles in this time unless a run is as fast, so that a machine that stays slower is believed in the
/// end.
const IDLE_DOUBLING: f64 = 600e9;

impl RunTimes {
    pub(super) fn new(row_guess: u64) -> Self {
        Self(Mutex::new(Measured {
            row: row_guess as f64,
            lone: None,
            idle: None,
            at: 0,
        }))
    }

    /// The expected time of one worker for one row, at least 1.
    pub(super) fn row(&self, now: u64) -> u64 {
        (self.measured().row_at(now) as u64).max(1)
    }

    /// The expected duration of a run of one row on one thread, once such a run has been measured.
    pub(super) fn lone(&self) -> Option<u64> {
        self.measured().lone.map(|lone| lone as u64)
    }

    /// The expected duration of a run of `rows` rows on one thread. Rows of larger runs are cheaper, so this is an
    /// upper estimate.
    pub(super) fn narrow(&self, rows: usize) -> u64 {
        let measured = self.measured();
        (measured.lone.unwrap_or(measured.row) * rows as f64) as u64
    }

    /// A run of `rows` rows took `duration`.
    pub(super) fn observe(&self, rows: usize, duration: u64, now: u64) {
        let mut measured = self.measured();
        let row = duration as f64 / rows.max(1) as f64;
        if rows == 1 {
            let lone = measured
                .lone
                .map_or(row, |before| before + (row.min(before * OUTLIER) - before) * WEIGHT);
            measured.lone = Some(lone);
        }
        match measured.idle {
            None => {
                measured.row = row;
                measured.idle = Some(row);
            }
            Some(idle) => {
                let age = now.saturating_sub(measured.at) as f64;
                // The longer ago the others were, the less they count.
                let kept = (1.0 - WEIGHT) * (-age / HALF_LIFE).exp2();
                measured.row = row + (measured.row - row) * kept;
                measured.idle = Some(row.min(idle * (age / IDLE_DOUBLING).exp2()));
            }
        }
        measured.at = now;
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    fn row_at(&self, now: u64) -> f64 {
        let idle = self.idle.unwrap_or(self.row).min(self.row);
        let age = now.saturating_sub(self.at) as f64;
        idle + (self.row - idle) * (-age / HALF_LIFE).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_first_run_replaces_the_guess_and_later_ones_are_followed() {
        let run_times = RunTimes::new(500);
        assert_eq!(run_times.row(0), 500);
        assert_eq!((run_times.lone(), run_times.narrow(2)), (None, 1000));
        run_times.observe(1, 80, 0);
        assert_eq!((run_times.row(0), run_times.narrow(3)), (80, 240));
        for _ in 0..60 {
            run_times.observe(4, 640, 0);
        }
        assert_eq!(run_times.row(0), 159);
        assert_eq!(run_times.lone(), Some(80), "only single rows count");
    }

    #[test]
    fn a_run_that_was_interrupted_does_not_make_the_others_long() {
        let run_times = RunTimes::new(500);
        run_times.observe(1, 80, 0);
        run_times.observe(1, 1_000_000, 0);
        assert_eq!(run_times.lone(), Some(150));
        (0..40).for_each(|_| run_times.observe(1, 1_000_000, 0));
        assert!(run_times.lone() > Some(500_000), "one that stays slower is believed");
    }

    #[test]
    fn what_a_busy_machine_taught_is_forgotten_without_a_run() {
        let run_times = RunTimes::new(1);
        run_times.observe(1, 100, 0);
        for second in 1..=60 {
            run_times.observe(1, 10_000, second * SECOND);
        }
        let busy = run_times.row(60 * SECOND);
        assert!(busy > 9_000, "{busy}");
        let later = [70, 80, 180].map(|second| run_times.row(second * SECOND));
        assert!(later[0] < busy * 11 / 20, "{later:?}");
        assert!(later[1] < busy * 6 / 20, "{later:?}");
        assert!((100..120).contains(&later[2]), "{later:?}");
    }

    #[test]
    fn a_machine_that_stays_slower_is_believed() {
        let run_times = RunTimes::new(1);
        run_times.observe(1, 100, 0);
        for minute in 1..=60 {
            run_times.observe(1, 1_000, minute * 60 * SECOND);
        }
        assert!(run_times.row(100 * 60 * SECOND) > 900);
    }
}

//! The deadlines that were promised to requests, and whether one more can be kept (earliest deadline first).
//!
//! If all requests can be finished in time at all, they are when the earliest deadline goes first; and they can if, for
//! every deadline, the work due until then is no more than the workers can do until then. So admission asks this for
//! the deadlines that a new request would add to. While some time is left over everywhere, the order makes no
//! difference to deadlines and is free to be the fair one; when it is nearly used up somewhere, the earliest deadline
//! goes first.

use std::collections::BTreeMap;

/// Promised work of one class by deadline. Times are in nanoseconds, work in nanoseconds of one worker.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Deadlines are rounded down by at most a sixteenth of the time that was left when they were promised. So there
    /// are at most 32 for every doubling of that time, however many requests wait.
    demand: BTreeMap<u64, u64>,
}

/// What the workers can do for one class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supply {
    pub(super) workers: u64,
    /// The share of the class while the other one has work.
    pub(super) share: f64,
    /// Work of the other class.
    pub(super) other: u64,
}

impl Supply {
    /// Work that can be done in a time: the other class takes its share at most, and no more than it has.
    pub(super) fn within(&self, time: u64) -> u64 {
        let all = time.saturating_mul(self.workers);
        let shared = (all as f64 * self.share) as u64;
        shared.max(all.saturating_sub(self.other))
    }

    /// The time in which so much work can be done.
    pub(super) fn time_for(&self, work: u64) -> u64 {
        let shared = (work as f64 / (self.workers as f64 * self.share)) as u64;
        shared.min(work.saturating_add(self.other) / self.workers)
    }
}

/// Estimates are not exact and a turn that runs is not interrupted: a quarter of the time to a deadline is not promised
/// to anybody.
fn promised(supply: u64) -> u64 {
    supply - supply / 4
}

/// Of that quarter, half may be used up before the order has to change.
fn endangered(supply: u64) -> u64 {
    supply - supply / 8
}

impl Deadlines {
    /// The name under which a deadline is kept.
    pub(super) fn key(now: u64, deadline: u64) -> u64 {
        let step = 1 << (deadline.saturating_sub(now) / 16).max(1).ilog2();
        deadline / step * step
    }

    /// Whether `cost` can be promised for `key` without breaking a promise. `held` is room kept for somebody else, of
    /// which half of what there is stays free to all. If not, how much work stands in the way.
    pub(super) fn fits(&self, now: u64, key: u64, (cost, held): (u64, u64), supply: Supply) -> Result<(), u64> {
        let mut due = 0_u64;
        let check = |due: u64, deadline: u64| {
            let room = promised(supply.within(deadline.saturating_sub(now)));
            let wanted = due.saturating_add(cost).saturating_add(held.min(room / 2));
            if wanted <= room { Ok(()) } else { Err(due) }
        };
        let mut own = Some(key);
        for (&deadline, &demand) in &self.demand {
            if deadline > key
                && let Some(own) = own.take()
            {
                check(due, own)?;
            }
            due = due.saturating_add(demand);
            if deadline >= key {
                own = None;
                check(due, deadline)?;
            }
        }
        own.map_or(Ok(()), |own| check(due, own))
    }

    /// Whether `cost` could be promised for `key` with half of the room taken.
    pub(super) fn fits_half(now: u64, key: u64, cost: u64, supply: Supply) -> bool {
        cost <= promised(supply.within(key.saturating_sub(now))) / 2
    }

    /// The latest key.
    pub(super) fn last(&self) -> u64 {
        self.demand.last_key_value().map_or(0, |(&key, _)| key)
    }

    pub(super) fn add(&mut self, key: u64, cost: u64) {
        if cost > 0 {
            *self.demand.entry(key).or_default() += cost;
        }
    }

    /// Work was done or given up.
    pub(super) fn remove(&mut self, key: u64, work: u64) {
        if let Some(demand) = self.demand.get_mut(&key) {
            *demand = demand.saturating_sub(work);
            if *demand == 0 {
                self.demand.remove(&key);
            }
        }
    }

    /// Whether any promise is about to be broken.
    pub(super) fn are_endangered(&self, now: u64, supply: Supply) -> bool {
        let mut due = 0_u64;
        self.demand.iter().any(|(&deadline, &demand)| {
            due = due.saturating_add(demand);
            due > endangered(supply.within(deadline.saturating_sub(now)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Supply = Supply {
        workers: 2,
        share: 0.8,
        other: 0,
    };

    #[test]
    fn work_is_promised_as_long_as_every_deadline_holds() {
        let mut deadlines = Deadlines::default();
        let fits = |deadlines: &Deadlines, deadline, cost| deadlines.fits(0, deadline, (cost, 0), ALL);
        // Two workers, 1,000 until the deadline: 2,000, less a quarter.
        assert_eq!(fits(&deadlines, 1_000, 1_500), Ok(()));
        assert_eq!(fits(&deadlines, 1_000, 1_501), Err(0));
        deadlines.add(1_000, 1_400);
        assert_eq!(fits(&deadlines, 1_000, 101), Err(1_400));
        assert_eq!(fits(&deadlines, 500, 100), Ok(()));
        assert_eq!(
            fits(&deadlines, 500, 101),
            Err(1_400),
            "it would push the later one out"
        );
        assert_eq!(fits(&deadlines, 2_000, 1_600), Ok(()));
        assert_eq!(fits(&deadlines, 2_000, 1_601), Err(1_400));
        deadlines.remove(1_000, 1_400);
        assert_eq!(fits(&deadlines, 500, 750), Ok(()));
    }

    #[test]
    fn room_that_is_held_for_another_leaves_half() {
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.fits(0, 1_000, (750, u64::MAX), ALL), Ok(()));
        assert_eq!(deadlines.fits(0, 1_000, (751, u64::MAX), ALL), Err(0));
        assert_eq!(deadlines.fits(0, 1_000, (1_400, 100), ALL), Ok(()));
        assert!(Deadlines::fits_half(0, 1_000, 750, ALL));
        assert!(!Deadlines::fits_half(0, 1_000, 751, ALL));
    }

    #[test]
    fn danger_is_seen_before_a_promise_breaks() {
        let mut deadlines = Deadlines::default();
        deadlines.add(1_000, 1_500);
        assert!(!deadlines.are_endangered(0, ALL));
        // Others were served for a while.
        assert!(!deadlines.are_endangered(140, ALL));
        assert!(deadlines.are_endangered(145, ALL));
        deadlines.remove(1_000, 1_000);
        assert!(!deadlines.are_endangered(500, ALL));
    }

    #[test]
    fn the_other_class_takes_its_share_and_no_more_than_it_has() {
        let beside = |other| Supply { other, ..ALL };
        assert_eq!(ALL.within(100), 200);
        assert_eq!(beside(10).within(100), 190);
        assert_eq!(beside(1_000).within(100), 160);
        assert_eq!(beside(1_000).time_for(160), 100);
        assert_eq!(beside(10).time_for(190), 100);
    }

    #[test]
    fn there_are_few_keys_however_many_deadlines() {
        let mut keys: Vec<u64> = (0..1_000_000)
            .step_by(7)
            .map(|now| Deadlines::key(now, now + 1_000_000))
            .collect();
        keys.dedup();
        assert!(keys.len() <= 33, "{}", keys.len());
        assert!((937_500..=1_000_000).contains(&Deadlines::key(0, 1_000_000)));
        assert_eq!(Deadlines::key(5, 5), 5);
        assert_eq!(Deadlines::key(5, 0), 0);
    }
}

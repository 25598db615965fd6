//! A lower bound of what an item of a request costs the workers, learnt from requests.
//!
//! How much a request costs is known when its images have been read and its options understood. What is refused for
//! want of room should be refused before, so a bound from below is kept: what the cheapest of late cost.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::scheduling::Class;

/// Without a request for so long, half of what was learnt is forgotten.
const HALF_LIFE: f64 = 10.0;

/// Weight of a request that costs more than those before.
const WEIGHT: f64 = 1.0 / 8.0;

/// The least cost of an item.
#[derive(Debug, Default)]
pub struct CostFloor(Mutex<Option<Learnt>>);

#[derive(Debug, Clone, Copy)]
struct Learnt {
    class: Class,
    seconds: f64,
    at: Instant,
}

impl CostFloor {
    /// A request of so many items costs so much work of a class.
    pub fn note(&self, class: Class, items: usize, cost: Duration, now: Instant) {
        let own = cost.as_secs_f64() / items.max(1) as f64;
        let mut learnt = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = learnt.map_or(own, |learnt| learnt.seconds);
        let seconds = own.min(before + (own - before) * WEIGHT);
        *learnt = Some(Learnt {
            class,
            seconds,
            at: now,
        });
    }

    /// What so many items cost at least, and of which class of work, if anything is known.
    pub fn of(&self, items: usize, now: Instant) -> Option<(Class, Duration)> {
        let learnt = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let age = now.saturating_duration_since(learnt.at).as_secs_f64();
        let seconds = learnt.seconds * items as f64 * (-age / HALF_LIFE).exp2();
        Some((learnt.class, Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn note(least: &CostFloor, items: usize, cost: u64, now: Instant) {
        least.note(Class::Interactive, items, ms(cost), now);
    }

    #[test]
    fn the_cheapest_counts_and_what_is_dearer_is_followed_slowly() {
        let (least, now) = (CostFloor::default(), Instant::now());
        let of = |items| least.of(items, now).map(|(_, cost)| cost);
        assert_eq!(of(5), None);
        note(&least, 4, 400, now);
        assert_eq!(of(2), Some(ms(200)));
        note(&least, 1, 900, now);
        assert_eq!(of(1), Some(ms(200)));
        note(&least, 1, 10, now);
        assert_eq!(of(1), Some(ms(10)));
    }

    #[test]
    fn what_was_learnt_long_ago_says_little() {
        let (least, now) = (CostFloor::default(), Instant::now());
        note(&least, 1, 80, now);
        let later = |time| least.of(1, now + ms(time)).unwrap().1;
        assert_eq!(later(20_000), ms(20));
        assert!(later(1_000_000) < ms(1));
    }
}

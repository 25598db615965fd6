//! The quota of each client in the long run: so much time of workers in a second, and so much at once.
//!
//! A bucket that fills at a steady rate and is emptied by what requests are expected to cost, kept as the one moment at
//! which it will be full again (the generic cell rate algorithm, ITU-T I.371). A request is let in while anything is in
//! the bucket, and then takes what it needs, which may leave a debt. So no request is too large for ever, and in the
//! long run nobody has more than the rate.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Clients that are looked through for those whose buckets are full.
const SWEEP_ABOVE: usize = 1024;

/// The buckets of all clients.
#[derive(Debug)]
pub struct Quota {
    /// Seconds of workers that come back in a second.
    rate: f64,
    /// Time in which an empty bucket fills.
    depth: Duration,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each bucket will be full, since the start. Who is not here has a full one.
    full_at: HashMap<u64, Duration>,
    sweep_above: usize,
}

impl Quota {
    /// Buckets of `burst` that get `rate` seconds of workers back in a second, which is more than 0.
    pub fn new(rate: f64, burst: Duration) -> Self {
        Self {
            rate,
            depth: time(burst, rate),
            start: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Whether a client has anything left; if not, after which time it will.
    pub fn check(&self, client: u64) -> Result<(), Duration> {
        self.check_at(client, self.start.elapsed())
    }

    /// Takes what a client was given.
    pub fn charge(&self, client: u64, cost: Duration) {
        self.charge_at(client, cost, self.start.elapsed());
    }

    fn check_at(&self, client: u64, now: Duration) -> Result<(), Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let until_full = state
            .full_at
            .get(&client)
            .map_or(Duration::ZERO, |at| at.saturating_sub(now));
        if until_full < self.depth {
            return Ok(());
        }
        Err(until_full - self.depth + Duration::from_millis(1))
    }

    fn charge_at(&self, client: u64, cost: Duration, now: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = state.full_at.entry(client).or_default();
        *full_at = (*full_at).max(now).saturating_add(time(cost, self.rate));
        if state.full_at.len() > state.sweep_above.max(SWEEP_ABOVE) {
            state.full_at.retain(|_, at| *at > now);
            // So that many busy clients are not looked through at every request.
            state.sweep_above = 2 * state.full_at.len();
        }
    }
}

/// The time in which so much comes back.
fn time(work: Duration, rate: f64) -> Duration {
    Duration::try_from_secs_f64(work.as_secs_f64() / rate).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn in_the_long_run_a_client_has_its_rate_and_a_burst() {
        let quota = Quota::new(0.5, 2 * SECOND);
        let cost = Duration::from_millis(100);
        let mut had = Duration::ZERO;
        for step in 0..100_000 {
            let now = step * Duration::from_millis(1);
            if quota.check_at(7, now).is_ok() {
                quota.charge_at(7, cost, now);
                had += cost;
            }
        }
        // 100 s at half a second in a second, the burst, and what the last one went beyond.
        assert!(had >= 52 * SECOND && had <= 52 * SECOND + 2 * cost, "{had:?}");
    }

    #[test]
    fn a_large_request_is_let_in_once_and_paid_off() {
        let quota = Quota::new(1.0, SECOND);
        assert_eq!(quota.check_at(1, Duration::ZERO), Ok(()));
        quota.charge_at(1, 10 * SECOND, Duration::ZERO);
        let wait = quota.check_at(1, Duration::ZERO).unwrap_err();
        assert!(wait > 9 * SECOND && wait < 10 * SECOND, "{wait:?}");
        assert!(quota.check_at(1, wait).is_ok());
        assert!(quota.check_at(2, Duration::ZERO).is_ok(), "another client has its own");
    }

    #[test]
    fn clients_that_owe_nothing_are_forgotten() {
        let quota = Quota::new(1.0, SECOND);
        for client in 0..100_000_u64 {
            quota.charge_at(client, SECOND, client as u32 * SECOND);
        }
        assert!(quota.state.lock().unwrap().full_at.len() <= 2 * SWEEP_ABOVE + 2);
    }
}

//! How fast impatient clients are refused.
//!
//! A refusal is little work, but clients that ask again at once, however often they are refused, can ask for so much of
//! it that nothing else gets done. So the refusals of a listener have turns, so many a second. Whoever was refused for
//! the first time, or waited as long as it was told, is answered at once and only counted; who did not waits for its
//! turn. With few refusals nobody waits, and with many a client that is never patient gets slow answers: its next
//! question comes that much later.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Refusals of so long a time may come at once.
const AT_ONCE: Duration = Duration::from_millis(100);

/// The longest wait. Whoever waits has one of the listener's connections.
const LONGEST: Duration = Duration::from_secs(3);

/// The turns of one listener.
#[derive(Debug)]
pub(super) struct RefusalRate {
    /// Time between two.
    interval: Duration,
    /// When the turn after the last one that was given is.
    next: Mutex<Option<Instant>>,
}

impl RefusalRate {
    /// So many a second.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            next: Mutex::default(),
        }
    }

    /// Takes a turn, and answers how long it is until then.
    pub(super) fn take(&self) -> Duration {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        let wait = turn.saturating_duration_since(now + AT_ONCE);
        if wait < LONGEST {
            *next = Some(turn + self.interval);
        }
        wait.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_there_are_few() {
        let refusal_rate = RefusalRate::new(100);
        for _ in 0..1_000 {
            assert_eq!(refusal_rate.take(), Duration::ZERO);
            advance(Duration::from_millis(10)).await;
        }
        // Ten and one at once.
        let waits: Vec<u128> = (0..14).map(|_| refusal_rate.take().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 30]);
    }

    #[tokio::test(start_paused = true)]
    async fn many_wait_so_that_there_are_so_many_a_second_and_not_for_ever() {
        let refusal_rate = RefusalRate::new(100);
        let waits: Vec<Duration> = (0..10_000).map(|_| refusal_rate.take()).collect();
        let within = |time| waits.iter().filter(|wait| wait.as_millis() <= time).count();
        assert_eq!([within(1000), within(2000), within(2500)], [111, 211, 261]);
        assert_eq!(waits.last(), Some(&LONGEST));
        advance(LONGEST).await;
        assert_eq!(refusal_rate.take(), Duration::ZERO);
    }
}

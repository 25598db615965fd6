//! Where the scheduler reads the time, and how it counts it: in nanoseconds since it was started.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// A clock. It is injected, so that tests decide what time it is.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now; never before an earlier answer.
    fn now(&self) -> Instant;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// The time of one scheduler.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    clock: Arc<dyn Clock>,
    epoch: Instant,
}

impl Timeline {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let epoch = clock.now();
        Self { clock, epoch }
    }

    pub(super) fn now(&self) -> u64 {
        self.at(self.clock.now())
    }

    /// Moments before the start count as the start.
    pub(super) fn at(&self, moment: Instant) -> u64 {
        nanoseconds(moment.saturating_duration_since(self.epoch))
    }
}

/// Saturates after 584 years.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

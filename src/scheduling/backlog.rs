//! The backlog of one class of work: what waits, what was promised, and the rules by which more is let in.
//!
//! What decides is what waits already and the caller's deadline, not the size of the request:
//! 1. If nothing waits, a request is let in, whatever it is expected to cost.
//! 2. As long as less waits than may, the next request is let in, small or large.
//! 3. It must be possible to finish it by its deadline without breaking a promise made to another (`deadlines`).
//!
//! Whoever is let in is promised to be finished by the deadline, or earlier: within [`SLOWDOWN`] times the time that it
//! and all that is there would take. That is what ages a large request, which in the fair order alone (`fair_shares`)
//! would have to wait as long as many small ones keep coming.
//!
//! Small requests would take every bit of room before a large one comes by again, so a refused request leaves a
//! *claim*: until it had time to come back, others find its room taken, up to half of all room. So a request that needs
//! at most three eighths of the time to its deadline waits for one `retry_after`, not for a lucky moment.

use std::time::Duration;

use super::{
    clock::nanoseconds,
    deadlines::{Deadlines, Supply},
    fair_shares::FairShares,
};

/// The books of one class: work in nanoseconds of one worker.
#[derive(Debug)]
pub(super) struct Backlog {
    /// How much may wait.
    capacity: u64,
    pub(super) waiting: u64,
    pub(super) running: u64,
    pub(super) deadlines: Deadlines,
    pub(super) fair_shares: FairShares,
    claim: Option<Claim>,
}

/// An [`super::Ask`] in the scheduler's time.
pub(super) struct Candidate {
    pub(super) cost: u64,
    pub(super) deadline: Option<u64>,
    pub(super) client: Option<u64>,
}

/// Room that is kept for a request which was refused.
#[derive(Debug)]
struct Claim {
    cost: u64,
    client: Option<u64>,
    until: u64,
}

/// Whoever waits is served in at most so many times the time that first come, first served would take. The more, the
/// more freely small requests pass large ones.
const SLOWDOWN: u64 = 3;
/// A refused request has the time that it was told, rounded up to whole seconds as protocols do, and this much to come
/// back.
const RETURN: Duration = Duration::from_secs(1);

impl Backlog {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            waiting: 0,
            running: 0,
            deadlines: Deadlines::default(),
            fair_shares: FairShares::default(),
            claim: None,
        }
    }

    /// By when the request will be finished if it is let in, or how much work stands in the way.
    pub(super) fn consider(&mut self, now: u64, candidate: &Candidate, supply: Supply) -> Result<u64, u64> {
        self.claim.take_if(|claim| claim.until < now);
        let held = match &self.claim {
            // Half more, because estimates change until it comes back.
            Some(claim) if !claim.is_of(candidate) => claim.cost.saturating_add(claim.cost / 2),
            _ => 0,
        };
        let due = self.judge(now, candidate, supply, held)?;
        self.claim.take_if(|claim| claim.is_of(candidate));
        Ok(due)
    }

    /// Whether a request of at least this cost will be let in, as far as can be seen now. Claims do not count: the
    /// request may be the one that left the claim, and cost more than is known yet.
    pub(super) fn foresee(&self, now: u64, candidate: &Candidate, supply: Supply) -> Result<(), u64> {
        self.judge(now, candidate, supply, 0).map(drop)
    }

    /// The same, where so much room is held for another.
    fn judge(&self, now: u64, candidate: &Candidate, supply: Supply, held: u64) -> Result<u64, u64> {
        let total = self.waiting + self.running;
        let time = supply.time_for(total.saturating_add(candidate.cost));
        let aged = now.saturating_add(time.saturating_mul(SLOWDOWN));
        let aged = Deadlines::key(now, aged);
        let by = |due: u64| {
            let work = (candidate.cost, held);
            self.deadlines.fits(now, due, work, supply).map(|()| due)
        };
        let deadline = candidate.deadline.map(|deadline| Deadlines::key(now, deadline));
        let fits = match deadline {
            Some(deadline) if deadline <= aged => by(deadline),
            // If too much was promised to others for that, it goes behind them.
            Some(deadline) => by(aged).or_else(|_| by(deadline)),
            None => Ok(by(aged).unwrap_or(aged.max(self.deadlines.last()))),
        };
        if self.waiting == 0 {
            // If it cannot hope for its deadline it may try; others need not make way for it.
            return Ok(fits.unwrap_or(aged));
        }
        if self.waiting.saturating_add(held.min(self.capacity / 2)) >= self.capacity {
            return Err(total);
        }
        fits
    }

    pub(super) fn leave_claim(&mut self, now: u64, candidate: &Candidate, supply: Supply, retry_after: Duration) {
        let can_be_kept = candidate
            .deadline
            .is_none_or(|d| Deadlines::fits_half(now, Deadlines::key(now, d), candidate.cost, supply));
        let is_largest = self.claim.as_ref().is_none_or(|claim| candidate.cost > claim.cost);
        if can_be_kept && is_largest {
            let wait = Duration::from_secs(retry_after.as_secs() + 1) + RETURN;
            self.claim = Some(Claim {
                cost: candidate.cost,
                client: candidate.client,
                until: now.saturating_add(nanoseconds(wait)),
            });
        }
    }

    /// Work was done or given up.
    pub(super) fn leave(&mut self, due: u64, work: u64) {
        self.deadlines.remove(due, work);
        self.fair_shares.advance(work);
        if self.waiting == 0 && self.running == 0 {
            self.fair_shares.clear();
        }
    }
}

impl Claim {
    /// Whether a request is the one that left the claim, or takes its place. Estimates change a little meanwhile.
    fn is_of(&self, candidate: &Candidate) -> bool {
        match (self.client, candidate.client) {
            (Some(own), Some(client)) => own == client,
            _ => candidate.cost.saturating_mul(2) >= self.cost,
        }
    }
}

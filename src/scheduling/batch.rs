//! Batches: how large they are, and what the workers know of them and of the lanes that they come from.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Class, JobError, Parallelism,
    admission::Charge,
    queue::{Order, Place},
};

/// How large a batch may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// In rows.
    pub(super) rows: usize,
    /// In expected time, but always one item.
    pub(super) duration: Duration,
    /// A run of one row that is expected to take less is no longer than a hop to another thread.
    pub(super) hop: Duration,
}

impl BatchLimits {
    /// A run that takes less is not worth waking the threads of the runtime for.
    pub(super) fn narrow(&self) -> Duration {
        self.hop.saturating_mul(4)
    }

    /// The most that a caller does for itself and others. It saves each of them a hop.
    pub(super) fn brief(&self) -> Duration {
        self.hop.saturating_mul(8)
    }
}

/// A lane of any kind of work, as the workers see it.
pub(super) trait AnyLane: Send + Sync {
    fn class(&self) -> Class;
    /// Rank of what goes first; `None` if nothing waits.
    fn first_rank(&self, order: Order) -> Option<(u64, u64, u64)>;
    /// Whether its work is so short that whoever asks for it does it.
    fn is_short(&self) -> bool;
    /// Takes a batch of what waits; `None` if nobody waits any more for any of it.
    fn take(&self, order: Order, portion: Portion) -> Option<Batch>;
}

/// How much of what waits makes a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Portion {
    /// An equal share for each of so many workers.
    Share(usize),
    /// All that a caller may do.
    Brief,
}

/// A batch that has begun and is ready to run.
pub(super) struct Batch {
    /// Its size.
    pub(super) rows: usize,
    /// Whether it gains by more than one thread.
    pub(super) is_long: bool,
    /// Runs it, accounts for the run and answers.
    pub(super) run: Box<dyn FnOnce(Parallelism) + Send>,
}

/// What remains of an entry while its item is being worked on.
pub(super) struct Ticket<O> {
    pub(super) reply: oneshot::Sender<Result<O, JobError>>,
    pub(super) charge: Arc<Charge>,
    pub(super) place: Place,
    pub(super) deadline: u64,
    pub(super) submitted: u64,
    /// Whether it has had a turn already: the wait is counted once.
    pub(super) started: bool,
}

impl<O> Ticket<O> {
    /// The client may just have gone; then nobody needs the answer.
    pub(super) fn answer(self, result: Result<O, JobError>) {
        let _ = self.reply.send(result);
    }
}

//! Batches: how large they are, and how one runs. Whatever becomes of it, everybody in it is answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Class, JobError, Parallelism,
    admission::{Begun, Charge},
    lane::Lane,
    queue::{Order, Place},
    spans::BatchSpan,
    work::Work,
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
    fn take(&self, order: Order, portion: Portion) -> Option<Box<dyn Batch>>;
}

/// How much of what waits makes a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Portion {
    /// An equal share for each of so many workers.
    Share(usize),
    /// All that a caller may do.
    Brief,
}

/// A batch ready to run.
pub(super) trait Batch: Send {
    /// Whether it gains by more than one thread.
    fn is_long(&self) -> bool;

    /// Runs it, accounts for the run and answers.
    fn run(self: Box<Self>, parallelism: Parallelism);

    /// Its size.
    fn rows(&self) -> usize;
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

/// A batch of one lane.
pub(super) struct LaneBatch<W: Work> {
    pub(super) lane: Arc<Lane<W>>,
    pub(super) items: Vec<W::Item>,
    pub(super) tickets: Vec<Ticket<W::Output>>,
    pub(super) rows: usize,
    pub(super) begun_at: u64,
    pub(super) begun: Begun,
    pub(super) span: BatchSpan,
}

impl<W: Work> Batch for LaneBatch<W> {
    fn is_long(&self) -> bool {
        self.lane.is_long(self.rows)
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn run(self: Box<Self>, parallelism: Parallelism) {
        let Self {
            lane,
            items,
            tickets,
            rows,
            begun_at,
            begun,
            mut span,
        } = *self;
        // Items are moved into the run and lost if it panics; tickets stay here, so that everyone gets an answer.
        let run = span.run(parallelism);
        let outcome = catch_unwind(AssertUnwindSafe(|| lane.work().run(items, parallelism)));
        drop(run);
        let (pace, metrics, shared) = lane.books();
        let now = shared.timeline.now();
        let duration = now.saturating_sub(begun_at);
        metrics.ran(rows, Duration::from_nanos(duration));
        pace.observe(rows, duration, now);
        let steps = match outcome {
            Ok(Ok(steps)) if steps.len() == tickets.len() => Ok(steps),
            Ok(Ok(_)) => Err("a batch came back with the wrong number of results".to_owned()),
            Ok(Err(cause)) => Err(cause),
            Err(_) => {
                metrics.panics.inc();
                Err("a worker panicked".to_owned())
            }
        };
        let answers = match steps {
            Ok(steps) => lane.settle(steps, tickets),
            Err(cause) => {
                metrics.failures.inc();
                span.fail(&cause);
                tracing::error!(work = ?lane.work(), rows, %cause, "a batch failed");
                let failed = |ticket| (ticket, Err(JobError::Failed(cause.clone())));
                tickets.into_iter().map(failed).collect()
            }
        };
        // Before anybody is answered: who asks again at once must find the room, and the worker idle.
        drop((begun, span));
        shared.end(lane.class(), begun_at);
        for (ticket, result) in answers {
            ticket.answer(result);
        }
    }
}

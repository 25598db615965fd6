//! A lane: the queue of one kind of work, and how a batch of it runs.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Class, JobError, Parallelism, Permit, worker::Shared};
use crate::metrics::OperationMetrics;

/// A kind of work that is done in batches.
pub trait Work: fmt::Debug + Send + Sync + 'static {
    /// What goes in.
    type Item: Send + 'static;
    /// What comes out.
    type Output: Send + 'static;

    /// Rows that the item adds to a batch: at least 1.
    fn rows(&self, item: &Self::Item) -> usize;

    /// One turn for a batch: for each item, in order, its result or the item itself if it needs another turn. An error, a
    /// panic or a wrong number of steps fails every item of the batch.
    fn run(
        &self,
        items: Vec<Self::Item>,
        parallelism: Parallelism,
    ) -> Turn<Self::Item, Self::Output>;
}

/// What a turn comes to: a step for each item, or why the batch failed.
pub type Turn<I, O> = Result<Vec<Step<I, O>>, String>;

/// Where an item stands after a turn.
#[derive(Debug)]
pub enum Step<I, O> {
    /// Finished.
    Done(O),
    /// It needs another turn.
    Again(I),
}

/// The queue of one kind of work. Made by [`super::Scheduler::lane`].
pub struct Lane<W: Work> {
    work: W,
    class: Class,
    limits: BatchLimits,
    /// Smoothed time of one worker for one row.
    row_nanoseconds: AtomicU64,
    metrics: OperationMetrics,
    queue: Mutex<VecDeque<Entry<W>>>,
    shared: Arc<Shared>,
    this: Weak<Self>,
}

/// How large a batch may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// In rows.
    pub(super) rows: usize,
    /// In expected time, but always one item.
    pub(super) duration: Duration,
}

struct Entry<W: Work> {
    item: W::Item,
    ticket: Ticket<W::Output>,
}

/// What remains of an entry while its item is being worked on.
struct Ticket<O> {
    reply: oneshot::Sender<Result<O, JobError>>,
    deadline: Instant,
    submitted: Instant,
    /// Whether it has had a turn already: the wait is counted once.
    started: bool,
}

/// A lane of any kind of work, as the workers see it.
pub(super) trait AnyLane: Send + Sync {
    fn class(&self) -> Class;
    /// Items that wait.
    fn len(&self) -> usize;
    /// Takes a batch of at most a `share`-th of what waits; `None` if nobody waits any more for any of it.
    fn take(&self, share: usize) -> Option<Box<dyn Batch>>;
}

/// A batch ready to run.
pub(super) trait Batch: Send {
    /// Runs it and answers.
    fn run(self: Box<Self>, parallelism: Parallelism);
}

impl<W: Work> Lane<W> {
    pub(super) fn new(
        work: W,
        class: Class,
        limits: BatchLimits,
        row_duration: Duration,
        metrics: OperationMetrics,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            work,
            class,
            limits,
            row_nanoseconds: AtomicU64::new(row_duration.as_nanos() as u64),
            metrics,
            queue: Mutex::default(),
            shared,
            this: Weak::clone(this),
        })
    }

    /// The work that the lane does.
    pub fn work(&self) -> &W {
        &self.work
    }

    /// The time of one worker that `rows` rows are expected to take, from what rows took before.
    pub fn estimate(&self, rows: u64) -> Duration {
        Duration::from_nanos(
            self.row_nanoseconds
                .load(Ordering::Relaxed)
                .saturating_mul(rows),
        )
    }

    /// Rows that a batch may have now.
    fn max_rows(&self) -> usize {
        let row = self.row_nanoseconds.load(Ordering::Relaxed).max(1);
        let in_time = self.limits.duration.as_nanos() / u128::from(row);
        usize::try_from(in_time)
            .unwrap_or(usize::MAX)
            .clamp(1, self.limits.rows.max(1))
    }

    /// Rows of one batch if what waits is to be shared out between `workers`. The queue can be long, so counting ends where more
    /// would not matter.
    fn share_of(&self, queue: &VecDeque<Entry<W>>, workers: usize) -> usize {
        let max_rows = self.max_rows();
        let enough = max_rows.saturating_mul(workers);
        let mut waiting = 0;
        for entry in queue {
            waiting += self.work.rows(&entry.item);
            if waiting >= enough {
                return max_rows;
            }
        }
        waiting.div_ceil(workers)
    }

    fn observe(&self, rows: usize, duration: Duration) {
        let measured = duration.as_nanos() as u64 / rows.max(1) as u64;
        let previous = self.row_nanoseconds.load(Ordering::Relaxed);
        // An eighth of each new value: a few slow runs do not close the door, a lasting change is followed in seconds.
        self.row_nanoseconds
            .store(previous - previous / 8 + measured / 8, Ordering::Relaxed);
    }

    /// Has every item worked on; results come in the order of the items. If the future is dropped, items that have not been
    /// started cost nothing, and items that take several turns stop before their next.
    ///
    /// # Panics
    /// If the permit is for another class of work.
    pub async fn run(
        &self,
        permit: &Permit,
        items: Vec<W::Item>,
        deadline: Instant,
    ) -> Vec<Result<W::Output, JobError>> {
        assert_eq!(permit.class(), self.class, "permit for another class");
        let receivers = self.submit(items, deadline);
        let mut results = Vec::with_capacity(receivers.len());
        let until = tokio::time::Instant::from_std(deadline);
        for receiver in receivers {
            results.push(match tokio::time::timeout_at(until, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(JobError::Failed(
                    "the work was dropped unanswered".to_owned(),
                )),
                Err(_) => Err(JobError::DeadlineExceeded),
            });
        }
        results
    }

    fn submit(
        &self,
        items: Vec<W::Item>,
        deadline: Instant,
    ) -> Vec<oneshot::Receiver<Result<W::Output, JobError>>> {
        let submitted = Instant::now();
        let mut receivers = Vec::with_capacity(items.len());
        {
            let mut queue = self.queue();
            for item in items {
                let (reply, receiver) = oneshot::channel();
                receivers.push(receiver);
                queue.push_back(Entry {
                    item,
                    ticket: Ticket {
                        reply,
                        deadline,
                        submitted,
                        started: false,
                    },
                });
            }
        }
        self.announce();
        receivers
    }

    fn announce(&self) {
        if let Some(this) = self.this.upgrade() {
            self.shared.announce(this);
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Entry<W>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> fmt::Debug for Lane<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("work", &self.work).finish()
    }
}

impl<W: Work> AnyLane for Lane<W> {
    fn class(&self) -> Class {
        self.class
    }

    fn len(&self) -> usize {
        self.queue().len()
    }

    fn take(&self, share: usize) -> Option<Box<dyn Batch>> {
        let now = Instant::now();
        let mut queue = self.queue();
        let limit = self.share_of(&queue, share.max(1));
        let (mut items, mut tickets, mut rows) = (Vec::new(), Vec::new(), 0);
        while let Some(entry) = queue.front() {
            let more = self.work.rows(&entry.item);
            if rows > 0 && rows + more > limit {
                break;
            }
            let Some(Entry { item, mut ticket }) = queue.pop_front() else {
                break;
            };
            if ticket.reply.is_closed() {
                self.metrics.abandoned.inc();
                continue;
            }
            if ticket.deadline <= now {
                self.metrics.abandoned.inc();
                // The client may just have gone; then nobody needs the answer.
                let _ = ticket.reply.send(Err(JobError::DeadlineExceeded));
                continue;
            }
            if !ticket.started {
                ticket.started = true;
                self.metrics.waited(now - ticket.submitted);
            }
            rows += more;
            items.push(item);
            tickets.push(ticket);
        }
        if items.is_empty() {
            return None;
        }
        Some(Box::new(LaneBatch {
            lane: self.this.upgrade()?,
            items,
            tickets,
            rows,
        }))
    }
}

struct LaneBatch<W: Work> {
    lane: Arc<Lane<W>>,
    items: Vec<W::Item>,
    tickets: Vec<Ticket<W::Output>>,
    rows: usize,
}

impl<W: Work> Batch for LaneBatch<W> {
    fn run(self: Box<Self>, parallelism: Parallelism) {
        let Self {
            lane,
            items,
            tickets,
            rows,
        } = *self;
        let start = Instant::now();
        // Items are moved into the run and lost if it panics; tickets stay here, so that everyone gets an answer.
        let outcome = catch_unwind(AssertUnwindSafe(|| lane.work.run(items, parallelism)));
        let duration = start.elapsed();
        lane.metrics.ran(rows, duration);
        lane.observe(rows, duration);
        let steps = match outcome {
            Ok(Ok(steps)) if steps.len() == tickets.len() => Ok(steps),
            Ok(Ok(_)) => Err("a batch came back with the wrong number of results".to_owned()),
            Ok(Err(cause)) => Err(cause),
            Err(_) => {
                lane.metrics.panics.inc();
                Err("a worker panicked".to_owned())
            }
        };
        match steps {
            Ok(steps) => lane.settle(steps, tickets),
            Err(cause) => {
                lane.metrics.failures.inc();
                tracing::error!(work = ?lane.work, rows, %cause, "a batch failed");
                for ticket in tickets {
                    let _ = ticket.reply.send(Err(JobError::Failed(cause.clone())));
                }
            }
        }
    }
}

impl<W: Work> Lane<W> {
    /// Answers what is done; what needs another turn goes back to the front in its old order, so that images finish in the
    /// order in which they came and new ones fill the room that finished ones leave.
    fn settle(&self, steps: Vec<Step<W::Item, W::Output>>, tickets: Vec<Ticket<W::Output>>) {
        let mut unfinished = Vec::new();
        for (step, ticket) in steps.into_iter().zip(tickets) {
            match step {
                Step::Done(output) => {
                    let _ = ticket.reply.send(Ok(output));
                }
                Step::Again(item) => unfinished.push(Entry { item, ticket }),
            }
        }
        if unfinished.is_empty() {
            return;
        }
        {
            let mut queue = self.queue();
            for entry in unfinished.into_iter().rev() {
                queue.push_front(entry);
            }
        }
        self.announce();
    }
}

//! A lane: the queue of one kind of work, and which of it makes the next batch.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Class, JobError, Parallelism, Permit,
    admission::Begun,
    batch::{AnyLane, Batch, BatchLimits, Portion, Ticket},
    clock::nanoseconds,
    coalescing::{Coalescing, moment},
    gathering::{Entry, Gathered},
    queue::{Order, Place, Queue},
    run_times::RunTimes,
    spans::BatchSpan,
    work::{Step, Work},
    worker::{Lead, Shared},
};
use crate::metrics::OperationMetrics;

/// What an entry's client is told.
type Answer<O> = (Ticket<O>, Result<O, JobError>);

/// The queue of one kind of work. Made by [`super::Scheduler::lane`].
pub struct Lane<W: Work> {
    work: W,
    class: Class,
    limits: BatchLimits,
    run_times: RunTimes,
    coalescing: Coalescing,
    metrics: OperationMetrics,
    queue: Mutex<Queue<Entry<W>>>,
    shared: Arc<Shared>,
    this: Weak<Self>,
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
            run_times: RunTimes::new(nanoseconds(row_duration)),
            coalescing: Coalescing::default(),
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

    /// The time of one worker that `rows` rows are expected to take, from what rows took before. What was learnt while
    /// the machine was busy is forgotten in some seconds without a run.
    pub fn estimate(&self, rows: u64) -> Duration {
        let row = self.run_times.row(self.shared.timeline.now());
        Duration::from_nanos(row.saturating_mul(rows))
    }

    /// Has every item worked on; results come in the order of the items. If the future is dropped, items that have not
    /// been started cost nothing, and items that take several turns stop before their next.
    ///
    /// If a worker is idle and the work is shorter than waking it would take, it is done here, by the calling thread,
    /// with whatever else has been asked for by then.
    ///
    /// # Panics
    /// If the permit is for another class of work.
    pub async fn run(
        &self,
        permit: &Permit,
        items: Vec<W::Item>,
        deadline: Instant,
    ) -> Vec<Result<W::Output, JobError>> {
        assert_eq!(permit.charge().class(), self.class, "permit for another class");
        let mut submitted = self.submit(permit, items, deadline);
        if let Some(lead) = submitted.lead.take() {
            if self.coalescing.is_likely() {
                // Others that have come to this thread by now join.
                moment().await;
            }
            if let Some(rows) = lead.run() {
                self.coalescing.note(rows > submitted.rows);
            }
        }
        let mut results = Vec::with_capacity(submitted.receivers.len());
        let until = tokio::time::Instant::from_std(deadline);
        for receiver in &mut submitted.receivers {
            results.push(match tokio::time::timeout_at(until, receiver).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(JobError::Failed("the work was dropped unanswered".to_owned())),
                Err(_) => Err(JobError::DeadlineExceeded),
            });
        }
        results
    }

    /// Queues items. The caller is to run them itself if that is shorter than waking a worker.
    pub(super) fn submit(&self, permit: &Permit, items: Vec<W::Item>, deadline: Instant) -> Submitted<'_, W> {
        let timeline = &self.shared.timeline;
        let (now, deadline) = (timeline.now(), timeline.at(deadline));
        let charge = permit.charge();
        let first = Place {
            tag: charge.tag(),
            due: charge.due(),
            sequence: self.shared.sequence(items.len() as u64),
        };
        let mut receivers = Vec::with_capacity(items.len());
        let entries: Vec<Entry<W>> = (first.sequence..)
            .zip(items)
            .map(|(sequence, item)| {
                charge.queue(self.work.rows(&item));
                let (reply, receiver) = oneshot::channel();
                receivers.push(receiver);
                let ticket = Ticket {
                    reply,
                    charge: Arc::clone(charge),
                    place: Place { sequence, ..first },
                    deadline,
                    submitted: now,
                    started: false,
                };
                Entry { item, ticket }
            })
            .collect();
        let rows = entries.iter().map(|entry| self.work.rows(&entry.item)).sum();
        let is_brief = self.is_short() && !self.is_long(rows);
        Submitted {
            lane: self,
            first,
            receivers,
            rows,
            lead: self.enqueue(entries, is_brief),
        }
    }

    /// Queues entries, and tells the workers unless the caller may run what is brief.
    fn enqueue(&self, entries: Vec<Entry<W>>, is_brief: bool) -> Option<Lead> {
        if entries.is_empty() {
            return None;
        }
        {
            let mut queue = self.queue();
            self.shared.depth(self.class).add(entries.len() as i64);
            for entry in entries {
                queue.push(entry.ticket.place, entry);
            }
        }
        self.shared.announce(self.this.upgrade()?, is_brief)
    }

    /// Whether a run of so many rows is worth waking others for.
    fn is_long(&self, rows: usize) -> bool {
        self.run_times.narrow(rows) >= nanoseconds(self.limits.narrow())
    }

    /// Takes an entry out of the queue.
    fn withdraw(&self, queue: &mut Queue<Entry<W>>, place: Place) -> Option<Entry<W>> {
        let entry = queue.remove(place)?;
        self.shared.depth(self.class).dec();
        Some(entry)
    }

    /// Rows of one batch. The queue can be long, so counting ends where more would not matter.
    fn rows_of(&self, queue: &Queue<Entry<W>>, row: u64, portion: Portion) -> usize {
        let (duration, workers, least) = match portion {
            Portion::Share(workers) => (self.limits.duration, workers.max(1), self.work.together()),
            Portion::Brief => (self.limits.brief(), 1, 1),
        };
        let in_time = nanoseconds(duration) / row;
        let most = self.limits.rows.max(1);
        let max_rows = usize::try_from(in_time)
            .unwrap_or(usize::MAX)
            .clamp(least.clamp(1, most), most);
        let enough = max_rows.saturating_mul(workers);
        let mut waiting = 0;
        for entry in queue.iter() {
            waiting += self.work.rows(&entry.item);
            if waiting >= enough {
                return max_rows;
            }
        }
        waiting.div_ceil(workers)
    }

    fn batch(&self, gathered: Gathered<W>, now: u64) -> Option<Batch> {
        if gathered.items.is_empty() {
            return None;
        }
        let row = self.run_times.row(now);
        let parts = gathered.items.iter().zip(&gathered.tickets);
        let parts = parts.map(|(item, ticket)| (&*ticket.charge, self.work.rows(item)));
        let (rows, begun) = (gathered.rows, self.shared.admission.begin(self.class, row, parts));
        let lane = self.this.upgrade()?;
        Some(Batch {
            rows,
            is_long: self.is_long(rows),
            run: Box::new(move |parallelism| lane.finish(gathered, now, begun, parallelism)),
        })
    }

    /// Runs a batch that has begun, accounts for the run and answers. Whatever becomes of it, everybody in it is
    /// answered.
    fn finish(&self, gathered: Gathered<W>, begun_at: u64, begun: Begun, parallelism: Parallelism) {
        let Gathered {
            items,
            tickets,
            rows,
            starting,
            ..
        } = gathered;
        let mut span = BatchSpan::begin(&starting, self.metrics.names(), rows);
        // Items are moved into the run and lost if it panics; tickets stay here, so that everyone gets an answer.
        let run = span.run(parallelism);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work.run(items, parallelism)));
        drop(run);
        let now = self.shared.timeline.now();
        let duration = now.saturating_sub(begun_at);
        self.metrics.ran(rows, Duration::from_nanos(duration));
        self.run_times.observe(rows, duration, now);
        let steps = match outcome {
            Ok(Ok(steps)) if steps.len() == tickets.len() => Ok(steps),
            Ok(Ok(_)) => Err("a batch came back with the wrong number of results".to_owned()),
            Ok(Err(cause)) => Err(cause),
            Err(_) => {
                self.metrics.panics.inc();
                Err("a worker panicked".to_owned())
            }
        };
        let answers = match steps {
            Ok(steps) => self.settle(steps, tickets),
            Err(cause) => {
                self.metrics.failures.inc();
                span.fail(&cause);
                tracing::error!(work = ?self.work, rows, %cause, "a batch failed");
                let failed = |ticket| (ticket, Err(JobError::Failed(cause.clone())));
                tickets.into_iter().map(failed).collect()
            }
        };
        // Before anybody is answered: who asks again at once must find the room, and the worker idle.
        drop((begun, span));
        self.shared.end(self.class, begun_at);
        for (ticket, result) in answers {
            ticket.answer(result);
        }
    }

    /// An entry that will not be worked on. Its client may have gone already.
    fn give_up(&self, entry: Entry<W>) {
        self.metrics.abandoned.inc();
        entry.ticket.charge.unqueue(self.work.rows(&entry.item));
        entry.ticket.answer(Err(JobError::DeadlineExceeded));
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Entry<W>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answers of what is done. What needs another turn goes back to its old place, so that images finish in the
    /// order in which they came and new ones fill the room that finished ones leave.
    fn settle(&self, steps: Vec<Step<W::Item, W::Output>>, tickets: Vec<Ticket<W::Output>>) -> Vec<Answer<W::Output>> {
        let (mut answers, mut unfinished) = (Vec::new(), Vec::new());
        for (step, ticket) in steps.into_iter().zip(tickets) {
            match step {
                Step::Done(output) => answers.push((ticket, Ok(output))),
                Step::Again(_) if ticket.reply.is_closed() => self.metrics.abandoned.inc(),
                Step::Again(item) => {
                    ticket.charge.queue(self.work.rows(&item));
                    unfinished.push(Entry { item, ticket });
                }
            }
        }
        self.enqueue(unfinished, false);
        answers
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

    fn first_rank(&self, order: Order) -> Option<(u64, u64, u64)> {
        self.queue().first_rank(order)
    }

    fn is_short(&self) -> bool {
        self.run_times
            .lone()
            .is_some_and(|run| run < nanoseconds(self.limits.hop))
    }

    fn take(&self, order: Order, portion: Portion) -> Option<Batch> {
        let now = self.shared.timeline.now();
        let row = self.run_times.row(now);
        let ends = |rows: usize, turns: u64| {
            let time = row.saturating_mul(rows as u64).saturating_mul(turns);
            // An eighth more, because an answer that comes just too late has cost as much as one in time.
            now.saturating_add(time).saturating_add(time / 8)
        };
        let mut queue = self.queue();
        let limit = self.rows_of(&queue, row, portion);
        let mut gathered = Gathered::new();
        // Of those that cannot be finished in time, the one that has most time left.
        let mut last_hope: Option<Entry<W>> = None;
        while let Some((place, entry)) = queue.first(order) {
            let more = self.work.rows(&entry.item);
            let ticket = &entry.ticket;
            let is_open = !ticket.reply.is_closed();
            let is_late = ticket.deadline <= now;
            let is_hopeless = ends(more, self.work.turns(&entry.item)) > ticket.deadline;
            let rows = gathered.rows + more;
            if is_open && !is_late && !is_hopeless && gathered.rows > 0 {
                let deadline = gathered.deadline.min(ticket.deadline);
                if rows > limit || ends(rows, 1) > deadline {
                    break;
                }
            }
            let Some(entry) = self.withdraw(&mut queue, place) else {
                break;
            };
            if !is_open || is_late {
                self.give_up(entry);
            } else if is_hopeless {
                let has_less_time = last_hope
                    .as_ref()
                    .is_some_and(|hope| entry.ticket.deadline <= hope.ticket.deadline);
                let given_up = if has_less_time {
                    Some(entry)
                } else {
                    last_hope.replace(entry)
                };
                given_up.into_iter().for_each(|entry| self.give_up(entry));
            } else {
                gathered.add(entry, more, now, &self.metrics);
            }
        }
        drop(queue);
        // An estimate can be wrong, and only a run can correct it: a worker that has nothing better to do tries.
        match last_hope {
            Some(hope) if gathered.items.is_empty() => {
                let rows = self.work.rows(&hope.item);
                gathered.add(hope, rows, now, &self.metrics);
            }
            Some(hope) => self.give_up(hope),
            None => {}
        }
        self.batch(gathered, now)
    }
}

/// Items that were submitted. When it is dropped, what still waits of them leaves the queue.
pub(super) struct Submitted<'a, W: Work> {
    lane: &'a Lane<W>,
    /// The place of the first item; the others follow.
    first: Place,
    pub(super) receivers: Vec<oneshot::Receiver<Result<W::Output, JobError>>>,
    rows: usize,
    /// Who submitted them is to run them, in a moment.
    lead: Option<Lead>,
}

impl<W: Work> Drop for Submitted<'_, W> {
    fn drop(&mut self) {
        if self.receivers.iter().all(oneshot::Receiver::is_terminated) {
            return;
        }
        let mut queue = self.lane.queue();
        for sequence in (self.first.sequence..).take(self.receivers.len()) {
            let place = Place { sequence, ..self.first };
            if let Some(entry) = self.lane.withdraw(&mut queue, place) {
                self.lane.give_up(entry);
            }
        }
    }
}

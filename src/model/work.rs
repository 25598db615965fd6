//! What models share to work with: the runtime, the workers, the metrics, and the plainest kind of work for the
//! workers.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Call, Refusal};
use crate::{
    metrics::{Metrics, OperationMetrics},
    runtime::{Engine, Threads},
    scheduling::{Class, JobError, Lane, Parallelism, Scheduler, Step, Turn, Work},
};

/// What a model is made with.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Runs graphs.
    pub engine: Arc<dyn Engine>,
    /// Does the work.
    pub scheduler: Arc<Scheduler>,
    /// Counts it.
    pub metrics: Arc<Metrics>,
    /// Where the drift of detectors is kept; without it nobody watches it.
    pub drift: Option<PathBuf>,
}

impl Resources {
    /// One that does not watch for drift.
    pub fn new(engine: Arc<dyn Engine>, scheduler: Arc<Scheduler>, metrics: Arc<Metrics>) -> Self {
        Self {
            engine,
            scheduler,
            metrics,
            drift: None,
        }
    }

    /// From now on the streams that detectors judge are watched, and kept in `folder`.
    #[must_use]
    pub fn watching_drift(mut self, folder: impl Into<PathBuf>) -> Self {
        self.drift = Some(folder.into());
        self
    }

    /// One for comparison: it computes on the processor at full precision, and watches nothing.
    #[must_use]
    pub fn at_reference(&self) -> Self {
        let engine = self.engine.reference().unwrap_or_else(|| Arc::clone(&self.engine));
        Self {
            engine,
            drift: None,
            ..self.clone()
        }
    }

    /// The queue of one kind of work of a model, one row of which takes about `time` at first guess.
    pub fn lane<W: Work>(&self, model: &str, operation: &str, class: Class, work: W, time: Duration) -> Arc<Lane<W>> {
        let metrics = OperationMetrics::new(&self.metrics, model, operation);
        self.scheduler.lane(class, work, time, metrics)
    }

    /// A queue of interactive work of which each item is done in one turn of a batch, by `run`.
    pub fn batches<I, O>(
        &self,
        model: &str,
        operation: &str,
        time: Duration,
        run: impl Fn(&[I], Threads) -> Result<Vec<O>, String> + Send + Sync + 'static,
    ) -> Batches<I, O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let work = Batch { run: Box::new(run) };
        self.lane(model, operation, Class::Interactive, work, time)
    }

    /// A request of the server's own.
    pub fn call(&self, deadline: Instant) -> Call {
        Call::new(Arc::clone(&self.scheduler), Arc::clone(&self.metrics), deadline)
    }
}

/// The queue of a [`Batch`].
pub type Batches<I, O> = Arc<Lane<Batch<I, O>>>;

/// What a batch of items comes to, in order; an error is that of the whole batch.
type Run<I, O> = dyn Fn(&[I], Threads) -> Result<Vec<O>, String> + Send + Sync;

/// Work of which each item is one row and done in one turn.
pub struct Batch<I, O> {
    run: Box<Run<I, O>>,
}

impl<I, O> fmt::Debug for Batch<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch")
    }
}

impl<I: Send + 'static, O: Send + 'static> Work for Batch<I, O> {
    type Item = I;
    type Output = O;

    fn rows(&self, _: &I) -> usize {
        1
    }

    fn run(&self, items: Vec<I>, parallelism: Parallelism) -> Turn<I, O> {
        let outputs = (self.run)(&items, threads(parallelism))?;
        Ok(outputs.into_iter().map(Step::Done).collect())
    }
}

/// Threads of the runtime for a batch that runs beside others, or alone.
pub fn threads(parallelism: Parallelism) -> Threads {
    match parallelism {
        Parallelism::Shared => Threads::One,
        Parallelism::Alone => Threads::All,
    }
}

impl Call {
    /// Has interactive work done, one row an item; results come in the order of the items.
    pub async fn run<W: Work>(
        &self,
        lane: &Lane<W>,
        items: Vec<W::Item>,
    ) -> Result<Vec<Result<W::Output, JobError>>, Refusal> {
        let permit = self.admit(Class::Interactive, lane.estimate(items.len() as u64))?;
        Ok(lane.run(&permit, items, self.deadline).await)
    }
}

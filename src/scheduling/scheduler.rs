//! A scheduler: queues, workers, and the admission of requests to both.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    AdmissionError, Ask, Class, Clock, Permit, SystemClock, admission::Admission, batch::BatchLimits, clock::Timeline,
    lane::Lane, work::Work, worker::Shared,
};
use crate::metrics::{Metrics, OperationMetrics};

/// Sizes of a scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Worker threads, and runs at once.
    pub workers: usize,
    /// Interactive work that may wait, in estimated time of one worker. What waits can be more by one request, which is
    /// never refused for its own size.
    pub interactive_capacity: Duration,
    /// The same for bulk work.
    pub bulk_capacity: Duration,
    /// Rows in one batch of interactive work.
    pub interactive_rows: usize,
    /// Rows in one step of bulk work.
    pub bulk_rows: usize,
    /// A batch gets no further row once it is expected to take this long, but for those that [`Work::together`] tells.
    /// What a batch saves is spent after some milliseconds; beyond them it only makes others wait, and large
    /// activations fall out of the caches.
    pub batch_duration: Duration,
    /// Work of which one row is expected to take less is run by the thread that asks for it, if a worker is idle:
    /// waking the worker and being woken would take about as long. Such a thread is kept from its other tasks for at
    /// most some times as long.
    pub hop_duration: Duration,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            interactive_capacity: Duration::from_secs(10),
            bulk_capacity: Duration::from_secs(600),
            interactive_rows: 32,
            bulk_rows: 16,
            batch_duration: Duration::from_millis(8),
            hop_duration: Duration::from_micros(250),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Queues and workers.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    pub(super) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Scheduler {
    /// Starts the workers.
    pub fn start(config: SchedulerConfig, metrics: &Metrics) -> std::io::Result<Self> {
        let scheduler = Self::without_threads(config, metrics);
        *scheduler.threads() = scheduler.shared.start()?;
        Ok(scheduler)
    }

    /// A scheduler whose workers are somebody else: see [`Shared::begin`].
    pub(super) fn without_threads(config: SchedulerConfig, metrics: &Metrics) -> Self {
        let workers = config.workers.max(1);
        metrics.workers.set(workers as f64);
        let timeline = Timeline::new(Arc::clone(&config.clock));
        let (interactive, bulk) = (config.interactive_capacity, config.bulk_capacity);
        let admission = Admission::new(timeline.clone(), workers, interactive, bulk);
        let depth = Class::ALL.map(|class| metrics.queue_depth.with_label_values(&[class.name()]));
        let shared = Arc::new(Shared::new(workers, timeline, admission, depth));
        Self {
            config,
            shared,
            threads: Mutex::default(),
        }
    }

    /// A queue for a kind of work, one row of which takes about `row_duration` at first guess.
    pub fn lane<W: Work>(
        &self,
        class: Class,
        work: W,
        row_duration: Duration,
        metrics: OperationMetrics,
    ) -> Arc<Lane<W>> {
        let rows = match class {
            Class::Interactive => self.config.interactive_rows,
            Class::Bulk => self.config.bulk_rows,
        };
        let limits = BatchLimits {
            rows,
            duration: self.config.batch_duration,
            hop: self.config.hop_duration,
        };
        Lane::new(work, class, limits, row_duration, metrics, Arc::clone(&self.shared))
    }

    /// Admits a request, or refuses it at once: in a time that does not depend on how much waits.
    pub fn admit(&self, ask: Ask) -> Result<Permit, AdmissionError> {
        self.shared.admission.admit(ask)
    }

    /// Refuses at once what [`Self::admit`] would refuse if it were to cost at least so much, before anything is done
    /// for it. What passes may be refused all the same.
    pub fn foresee(&self, ask: Ask) -> Result<(), AdmissionError> {
        self.shared.admission.foresee(ask)
    }

    /// Whether work of a class waits for a worker. While none does, there is room for any.
    pub fn has_waiting(&self, class: Class) -> bool {
        self.shared.depth(class).get() > 0
    }

    /// From now on nothing new is admitted; what was admitted goes on.
    pub fn drain(&self) {
        self.shared.admission.drain();
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Scheduler {
    /// Lets the workers finish what is queued, then ends them.
    fn drop(&mut self) {
        self.drain();
        self.shared.stop();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // A worker catches the panics of its work; one that died of its own has already been reported by the
            // runtime.
            let _ = thread.join();
        }
    }
}

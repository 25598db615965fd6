//! The worker threads, and which lane a free worker serves next.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    AdmissionError, Class, Parallelism, Permit,
    admission::Admission,
    lane::{AnyLane, Batch, BatchLimits, Lane, Work},
};
use crate::metrics::{Metrics, OperationMetrics};

/// Sizes of a scheduler.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Worker threads.
    pub workers: usize,
    /// Interactive work that may be admitted at once, in estimated time of one worker.
    pub interactive_capacity: Duration,
    /// The same for bulk work.
    pub bulk_capacity: Duration,
    /// Rows in one batch of interactive work.
    pub interactive_rows: usize,
    /// Rows in one step of bulk work.
    pub bulk_rows: usize,
    /// A batch gets no further row once it is expected to take this long. What a batch saves is spent after some milliseconds;
    /// beyond them it only makes others wait, and large activations fall out of the caches.
    pub batch_duration: Duration,
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
        }
    }
}

/// Queues and workers.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

pub(super) struct Shared {
    admission: Arc<Admission>,
    state: Mutex<State>,
    work_arrived: Condvar,
    depth: [prometheus::IntGauge; 2],
    workers: usize,
}

#[derive(Default)]
struct State {
    /// Lanes that may have work, in turn; by class.
    lanes: [VecDeque<Arc<dyn AnyLane>>; 2],
    /// Worker time that a class has had, divided by its weight: the class with less of it goes first.
    virtual_seconds: [f64; 2],
    running: [usize; 2],
    stopping: bool,
}

impl Scheduler {
    /// Starts the workers.
    pub fn start(config: SchedulerConfig, metrics: &Metrics) -> std::io::Result<Self> {
        let workers = config.workers.max(1);
        metrics.workers.set(workers as f64);
        let shared = Arc::new(Shared {
            admission: Admission::new(config.interactive_capacity, config.bulk_capacity, workers),
            state: Mutex::default(),
            work_arrived: Condvar::new(),
            depth: Class::ALL.map(|class| metrics.queue_depth.with_label_values(&[class.name()])),
            workers,
        });
        let threads = (0..workers)
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || shared.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            shared,
            threads: Mutex::new(threads),
        })
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
        };
        Lane::new(
            work,
            class,
            limits,
            row_duration,
            metrics,
            Arc::clone(&self.shared),
        )
    }

    /// Admits a request that takes `cost` of one worker's time (see [`Lane::estimate`]), or refuses it at once.
    pub fn admit(&self, class: Class, cost: Duration) -> Result<Permit, AdmissionError> {
        self.shared.admission.admit(class, cost)
    }

    /// From now on nothing new is admitted; what was admitted goes on.
    pub fn drain(&self) {
        self.shared.admission.drain();
    }
}

impl Drop for Scheduler {
    /// Lets the workers finish what is queued, then ends them.
    fn drop(&mut self) {
        self.drain();
        self.shared.state().stopping = true;
        self.shared.work_arrived.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker catches the panics of its work; one that died of its own has already been reported by the runtime.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Says that a lane has work.
    pub(super) fn announce(&self, lane: Arc<dyn AnyLane>) {
        let class = lane.class();
        let mut state = self.state();
        let lanes = &state.lanes[class.index()];
        if !lanes.iter().any(|known| Arc::ptr_eq(known, &lane)) {
            if lanes.is_empty() && state.running[class.index()] == 0 {
                // A class that was idle must not claim the time that it did not want.
                let floor = state.virtual_seconds[1 - class.index()];
                let own = &mut state.virtual_seconds[class.index()];
                *own = own.max(floor);
            }
            state.lanes[class.index()].push_back(lane);
        }
        self.update_depth(&state, class);
        drop(state);
        // More than one worker may be of use: what waits is shared out between them.
        self.work_arrived.notify_all();
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            let Some((batch, class, parallelism)) = self.next(&mut state) else {
                if state.stopping && state.running == [0, 0] {
                    self.work_arrived.notify_all();
                    return;
                }
                state = self
                    .work_arrived
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.running[class.index()] += 1;
            drop(state);
            let start = Instant::now();
            batch.run(parallelism);
            let duration = start.elapsed();
            state = self.state();
            state.running[class.index()] -= 1;
            state.virtual_seconds[class.index()] += duration.as_secs_f64() / class.weight();
            if state.stopping {
                self.work_arrived.notify_all();
            }
        }
    }

    /// The next batch for a free worker.
    fn next(&self, state: &mut State) -> Option<(Box<dyn Batch>, Class, Parallelism)> {
        loop {
            let class = self.next_class(state)?;
            let lane = state.lanes[class.index()].pop_front()?;
            // An equal share, even while the other workers are busy: they come free soon, and a batch that took everything
            // would make its last item wait for the first worker while the second one has nothing to do.
            let batch = lane.take(self.workers);
            if lane.len() > 0 {
                state.lanes[class.index()].push_back(lane);
            }
            self.update_depth(state, class);
            if let Some(batch) = batch {
                let alone = state.running == [0, 0] && state.lanes.iter().all(VecDeque::is_empty);
                let parallelism = if alone {
                    Parallelism::Alone
                } else {
                    Parallelism::Shared
                };
                return Some((batch, class, parallelism));
            }
        }
    }

    /// The class whose turn it is among those that have work.
    fn next_class(&self, state: &State) -> Option<Class> {
        Class::ALL
            .into_iter()
            .filter(|class| !state.lanes[class.index()].is_empty())
            .min_by(|a, b| {
                let seconds = |class: &Class| state.virtual_seconds[class.index()];
                seconds(a).total_cmp(&seconds(b))
            })
    }

    fn update_depth(&self, state: &State, class: Class) {
        let depth: usize = state.lanes[class.index()]
            .iter()
            .map(|lane| lane.len())
            .sum();
        self.depth[class.index()].set(depth as i64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} workers)", self.workers)
    }
}

//! The worker threads, and what a free worker does next.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    AdmissionError, Ask, Class, Clock, Parallelism, Permit, SystemClock,
    admission::Admission,
    batch::{AnyLane, Batch, BatchLimits, Portion},
    clock::Timeline,
    lane::Lane,
    queue::Order,
    work::Work,
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
    /// A batch gets no further row once it is expected to take this long. What a batch saves is spent after some
    /// milliseconds; beyond them it only makes others wait, and large activations fall out of the caches.
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

pub(super) struct Shared {
    pub(super) timeline: Timeline,
    pub(super) admission: Arc<Admission>,
    state: Mutex<State>,
    work_arrived: Condvar,
    depth: [prometheus::IntGauge; 2],
    sequence: AtomicU64,
    workers: usize,
}

#[derive(Default)]
struct State {
    /// Lanes that may have work, by class.
    lanes: [Vec<Arc<dyn AnyLane>>; 2],
    /// Worker time that a class has had, divided by its weight: the class with less of it goes first.
    virtual_seconds: [f64; 2],
    /// Runs, those of callers included.
    running: [usize; 2],
    /// Callers that are about to run what they asked for.
    leads: usize,
    /// Workers that wait and have not been woken yet.
    idle: usize,
    stopping: bool,
}

/// A batch in the hands of a worker.
pub(super) struct Running {
    batch: Box<dyn Batch>,
    parallelism: Parallelism,
}

impl Running {
    pub(super) fn finish(self) {
        self.batch.run(self.parallelism);
    }

    /// Rows of its batch.
    pub(super) fn rows(&self) -> usize {
        self.batch.rows()
    }
}

impl Scheduler {
    /// Starts the workers.
    pub fn start(config: SchedulerConfig, metrics: &Metrics) -> std::io::Result<Self> {
        let scheduler = Self::without_threads(config, metrics);
        let threads = (0..scheduler.shared.workers)
            .map(|index| {
                let shared = Arc::clone(&scheduler.shared);
                std::thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(move || shared.work())
            })
            .collect::<Result<_, _>>()?;
        *scheduler.threads() = threads;
        Ok(scheduler)
    }

    /// A scheduler whose workers are somebody else: see [`Shared::begin`].
    pub(super) fn without_threads(config: SchedulerConfig, metrics: &Metrics) -> Self {
        let workers = config.workers.max(1);
        metrics.workers.set(workers as f64);
        let timeline = Timeline::new(Arc::clone(&config.clock));
        let shared = Arc::new(Shared {
            admission: Admission::new(
                timeline.clone(),
                workers,
                config.interactive_capacity,
                config.bulk_capacity,
            ),
            timeline,
            state: Mutex::default(),
            work_arrived: Condvar::new(),
            depth: Class::ALL.map(|class| metrics.queue_depth.with_label_values(&[class.name()])),
            sequence: AtomicU64::new(0),
            workers,
        });
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
        self.shared.state().stopping = true;
        self.shared.work_arrived.notify_all();
        let threads = std::mem::take(&mut *self.threads());
        for thread in threads {
            // A worker catches the panics of its work; one that died of its own has already been reported by the
            // runtime.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Says that a lane has work. If it is brief and there is nothing else to do, the caller is to do it; else a worker
    /// is woken.
    pub(super) fn announce(self: &Arc<Self>, lane: Arc<dyn AnyLane>, is_brief: bool) -> Option<Lead> {
        let class = lane.class();
        let mut state = self.state();
        let is_known = |known: &Arc<dyn AnyLane>| Arc::ptr_eq(known, &lane);
        let mut others = state.lanes.iter().flatten().filter(|own| !is_known(own));
        let is_brief = is_brief && !state.stopping && others.all(|own| own.is_short());
        if !state.lanes[class.index()].iter().any(is_known) {
            state.wake(class);
            state.lanes[class.index()].push(lane);
        }
        if is_brief && state.runs() + state.leads < self.workers {
            state.leads += 1;
            return Some(Lead(Some(Arc::clone(self))));
        }
        // Whoever is about to run takes it along.
        if !is_brief || state.leads == 0 {
            self.wake_worker(&mut state);
        }
        None
    }

    /// The same, if no caller is about to run what is left.
    fn wake_worker_unless_led(&self, state: &mut State) {
        if state.leads == 0 {
            self.wake_worker(state);
        }
    }

    /// Wakes a worker if there is work that none would take otherwise. One that begins wakes the next.
    fn wake_worker(&self, state: &mut State) {
        let is_of_use = state.runs() < self.workers && state.lanes.iter().any(|lanes| !lanes.is_empty());
        if is_of_use && state.idle > 0 {
            state.idle -= 1;
            self.work_arrived.notify_one();
        }
    }

    /// Items that wait, by class.
    pub(super) fn depth(&self, class: Class) -> &prometheus::IntGauge {
        &self.depth[class.index()]
    }

    /// The first of so many numbers that nobody else gets.
    pub(super) fn sequence(&self, count: u64) -> u64 {
        self.sequence.fetch_add(count, Ordering::Relaxed)
    }

    fn work(&self) {
        loop {
            let mut state = self.state();
            let running = loop {
                if let Some(running) = self.next(&mut state, Portion::Share(self.workers)) {
                    break running;
                }
                let is_empty = state.lanes.iter().all(Vec::is_empty);
                if state.stopping && state.runs() == 0 && is_empty {
                    self.work_arrived.notify_all();
                    return;
                }
                // Whoever wakes it counts it out. One that wakes by itself is counted once too often, which is
                // harmless.
                state.idle = self.workers.min(state.idle + 1);
                state = self.work_arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            // More than one worker may be of use: what waits is shared out between them.
            self.wake_worker(&mut state);
            drop(state);
            running.finish();
        }
    }

    /// The next batch for a free worker, begun now.
    #[cfg(test)]
    pub(super) fn begin(&self) -> Option<Running> {
        self.next(&mut self.state(), Portion::Share(self.workers))
    }

    /// Accounts for a run that has ended.
    pub(super) fn end(&self, class: Class, begun_at: u64) {
        let duration = self.timeline.now().saturating_sub(begun_at) as f64 / 1e9;
        let mut state = self.state();
        state.running[class.index()] -= 1;
        state.virtual_seconds[class.index()] += duration / class.weight();
        if state.stopping {
            self.work_arrived.notify_all();
        }
    }

    fn next(&self, state: &mut State, portion: Portion) -> Option<Running> {
        if state.runs() >= self.workers {
            return None;
        }
        loop {
            let class = self.next_class(state)?;
            let order = if self.admission.is_late(class) {
                Order::Due
            } else {
                Order::Fair
            };
            let Some(lane) = state.next_lane(class, order) else {
                continue;
            };
            if portion == Portion::Brief && !lane.is_short() {
                return None;
            }
            // An equal share, even while the other workers are busy: they come free soon, and a batch that took
            // everything would make its last item wait for the first worker while the second one has nothing to do.
            let batch = lane.take(order, portion);
            if lane.first_rank(order).is_none() {
                state.lanes[class.index()].retain(|known| !Arc::ptr_eq(known, &lane));
            }
            if let Some(batch) = batch {
                let is_alone = state.runs() == 0 && state.lanes.iter().all(Vec::is_empty) && batch.is_long();
                state.running[class.index()] += 1;
                return Some(Running {
                    batch,
                    parallelism: if is_alone {
                        Parallelism::Alone
                    } else {
                        Parallelism::Shared
                    },
                });
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller's word that it runs what it asked for, in place of a worker. If it does not, a worker does.
#[derive(Debug)]
pub(super) struct Lead(Option<Arc<Shared>>);

impl Lead {
    /// Does it, with what has been asked for meanwhile. Answers how many rows that was.
    pub(super) fn run(mut self) -> Option<usize> {
        let shared = self.0.take()?;
        let mut state = shared.state();
        state.leads -= 1;
        let running = shared.next(&mut state, Portion::Brief);
        shared.wake_worker_unless_led(&mut state);
        drop(state);
        let running = running?;
        let rows = running.rows();
        running.finish();
        // What came meanwhile and found every place taken.
        shared.wake_worker_unless_led(&mut shared.state());
        Some(rows)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            let mut state = shared.state();
            state.leads -= 1;
            shared.wake_worker_unless_led(&mut state);
        }
    }
}

impl State {
    fn runs(&self) -> usize {
        self.running.iter().sum()
    }

    /// A class that was idle must not claim the time that it did not want.
    fn wake(&mut self, class: Class) {
        let index = class.index();
        if self.lanes[index].is_empty() && self.running[index] == 0 {
            let floor = self.virtual_seconds[1 - index];
            self.virtual_seconds[index] = self.virtual_seconds[index].max(floor);
        }
    }

    /// The lane of a class whose first entry goes first. Lanes whose entries have all been withdrawn are forgotten.
    fn next_lane(&mut self, class: Class, order: Order) -> Option<Arc<dyn AnyLane>> {
        let lanes = &mut self.lanes[class.index()];
        let mut first = None;
        lanes.retain(|lane| {
            let Some(rank) = lane.first_rank(order) else {
                return false;
            };
            if first.as_ref().is_none_or(|(least, _)| rank < *least) {
                first = Some((rank, Arc::clone(lane)));
            }
            true
        });
        Some(first?.1)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({} workers)", self.workers)
    }
}

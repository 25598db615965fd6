//! The worker threads, and what a free worker does next.

use std::{
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use prometheus::IntGauge;

use super::{
    Class, Parallelism,
    admission::Admission,
    batch::{AnyLane, Batch, Portion},
    clock::Timeline,
    queue::Order,
};

pub(super) struct Shared {
    pub(super) timeline: Timeline,
    pub(super) admission: Arc<Admission>,
    state: Mutex<State>,
    work_arrived: Condvar,
    depth: [IntGauge; 2],
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
    batch: Batch,
    parallelism: Parallelism,
}

impl Running {
    pub(super) fn finish(self) {
        (self.batch.run)(self.parallelism);
    }

    /// Rows of its batch.
    pub(super) fn rows(&self) -> usize {
        self.batch.rows
    }
}

impl Shared {
    /// What so many workers share, none of which has started.
    pub(super) fn new(workers: usize, timeline: Timeline, admission: Arc<Admission>, depth: [IntGauge; 2]) -> Self {
        Self {
            timeline,
            admission,
            state: Mutex::default(),
            work_arrived: Condvar::new(),
            depth,
            sequence: AtomicU64::new(0),
            workers,
        }
    }

    /// Starts the workers.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let worker = |index| {
            let shared = Arc::clone(self);
            let name = format!("worker-{index}");
            thread::Builder::new().name(name).spawn(move || shared.work())
        };
        (0..self.workers).map(worker).collect()
    }

    /// Lets the workers finish what is queued, then ends them.
    pub(super) fn stop(&self) {
        self.state().stopping = true;
        self.work_arrived.notify_all();
    }

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
    pub(super) fn depth(&self, class: Class) -> &IntGauge {
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
                let is_alone = state.runs() == 0 && state.lanes.iter().all(Vec::is_empty) && batch.is_long;
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

//! Laws of the scheduler, with work that the tests control: no clocks, no sleeps.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use density_server::{
    metrics::{Metrics, OperationMetrics},
    scheduling::{
        AdmissionError, Class, JobError, Lane, Parallelism, Scheduler, SchedulerConfig, Step, Turn,
        Work,
    },
};

/// Work that waits at a gate before each batch, and remembers its batches.
#[derive(Debug)]
struct Gated {
    entered: tokio::sync::mpsc::UnboundedSender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
    batches: Mutex<Vec<Vec<u32>>>,
}

/// What an item is made to do by its number.
const PANIC: u32 = 1_000;
const FAIL: u32 = 1_001;

impl Work for Gated {
    type Item = u32;
    type Output = u32;

    fn rows(&self, _: &u32) -> usize {
        1
    }

    fn run(&self, items: Vec<u32>, _: Parallelism) -> Turn<u32, u32> {
        let _ = self.entered.send(());
        self.gate.lock().unwrap().recv().unwrap();
        self.batches.lock().unwrap().push(items.clone());
        assert!(!items.contains(&PANIC), "asked to panic");
        if items.contains(&FAIL) {
            return Err("asked to fail".to_owned());
        }
        Ok(items.into_iter().map(Step::Done).collect())
    }
}

/// Work in steps: an item is the number of turns that it still needs.
#[derive(Debug, Default)]
struct Counted {
    turns: AtomicUsize,
}

impl Work for Counted {
    type Item = u32;
    type Output = &'static str;

    fn rows(&self, _: &u32) -> usize {
        1
    }

    fn run(&self, items: Vec<u32>, _: Parallelism) -> Turn<u32, &'static str> {
        self.turns.fetch_add(1, Ordering::SeqCst);
        Ok(items
            .into_iter()
            .map(|left| {
                if left > 1 {
                    Step::Again(left - 1)
                } else {
                    Step::Done("done")
                }
            })
            .collect())
    }
}

fn config(workers: usize) -> SchedulerConfig {
    SchedulerConfig {
        workers,
        interactive_capacity: Duration::from_secs(1000),
        bulk_capacity: Duration::from_secs(1000),
        interactive_rows: 4,
        bulk_rows: 2,
        // Waiting at the gate must not count against the size of batches.
        batch_duration: Duration::MAX,
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// A lane of gated work, and how to watch and open its gate.
struct Gate {
    lane: Arc<Lane<Gated>>,
    entered: tokio::sync::mpsc::UnboundedReceiver<()>,
    opener: mpsc::Sender<()>,
}

impl Gate {
    fn new(scheduler: &Scheduler, metrics: &Metrics) -> Self {
        let (opener, gate) = mpsc::channel();
        let (sender, entered) = tokio::sync::mpsc::unbounded_channel();
        let work = Gated {
            entered: sender,
            gate: Mutex::new(gate),
            batches: Mutex::default(),
        };
        let metrics = OperationMetrics::new(metrics, "model", "score");
        let lane = scheduler.lane(Class::Interactive, work, Duration::from_millis(1), metrics);
        Self {
            lane,
            entered,
            opener,
        }
    }

    /// Waits until a worker holds a batch at the gate.
    async fn occupied(&mut self) {
        self.entered.recv().await.unwrap();
    }

    /// Lets so many batches through.
    fn open(&self, batches: usize) {
        for _ in 0..batches {
            self.opener.send(()).unwrap();
        }
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.lane.work().batches.lock().unwrap().clone()
    }
}

fn spawn(
    scheduler: &Scheduler,
    lane: &Arc<Lane<Gated>>,
    items: Vec<u32>,
    deadline: Instant,
) -> tokio::task::JoinHandle<Vec<Result<u32, JobError>>> {
    let permit = scheduler.admit(Class::Interactive, Duration::ZERO).unwrap();
    let lane = Arc::clone(lane);
    tokio::spawn(async move { lane.run(&permit, items, deadline).await })
}

#[tokio::test]
async fn batches_form_while_the_worker_is_busy() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(1), &metrics).unwrap();
    let mut gate = Gate::new(&scheduler, &metrics);
    let first = spawn(&scheduler, &gate.lane, vec![0], far());
    gate.occupied().await;
    let rest = spawn(&scheduler, &gate.lane, vec![1, 2, 3, 4, 5, 6], far());
    tokio::task::yield_now().await;
    gate.open(3);
    assert_eq!(first.await.unwrap(), [Ok(0)]);
    assert_eq!(rest.await.unwrap(), [1, 2, 3, 4, 5, 6].map(Ok));
    assert_eq!(gate.batches(), [vec![0], vec![1, 2, 3, 4], vec![5, 6]]);
}

#[tokio::test]
async fn a_panic_or_an_error_hits_its_own_batch_only() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(1), &metrics).unwrap();
    let gate = Gate::new(&scheduler, &metrics);
    for (item, cause) in [(PANIC, "a worker panicked"), (FAIL, "asked to fail")] {
        let bad = spawn(&scheduler, &gate.lane, vec![item], far());
        gate.open(1);
        assert_eq!(
            bad.await.unwrap(),
            [Err(JobError::Failed(cause.to_owned()))]
        );
        let good = spawn(&scheduler, &gate.lane, vec![7], far());
        gate.open(1);
        assert_eq!(good.await.unwrap(), [Ok(7)]);
    }
    assert_eq!(metrics.worker_panics.get(), 1);
}

#[tokio::test]
async fn abandoned_and_late_items_cost_nothing() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(1), &metrics).unwrap();
    let mut gate = Gate::new(&scheduler, &metrics);
    let blocker = spawn(&scheduler, &gate.lane, vec![0], far());
    gate.occupied().await;
    let abandoned = spawn(&scheduler, &gate.lane, vec![1], far());
    let late = spawn(&scheduler, &gate.lane, vec![2], Instant::now());
    assert_eq!(late.await.unwrap(), [Err(JobError::DeadlineExceeded)]);
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    let last = spawn(&scheduler, &gate.lane, vec![3], far());
    tokio::task::yield_now().await;
    gate.open(2);
    assert_eq!(blocker.await.unwrap(), [Ok(0)]);
    assert_eq!(last.await.unwrap(), [Ok(3)]);
    assert_eq!(gate.batches(), [[0], [3]]);
}

#[tokio::test]
async fn bulk_work_in_steps_shares_one_worker_with_short_work() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(1), &metrics).unwrap();
    let operation = OperationMetrics::new(&metrics, "model", "sample");
    let bulk = scheduler.lane(
        Class::Bulk,
        Counted::default(),
        Duration::from_millis(1),
        operation,
    );
    let permit = scheduler
        .admit(Class::Bulk, Duration::from_secs(1))
        .unwrap();
    // So many turns that they cannot all be over before the short work comes.
    let long = bulk.run(&permit, vec![u32::MAX], far());
    let gate = Gate::new(&scheduler, &metrics);
    gate.open(20);
    let interactive = async {
        for item in 0..20 {
            let done = spawn(&scheduler, &gate.lane, vec![item], far()).await;
            assert_eq!(done.unwrap(), [Ok(item)]);
        }
    };
    tokio::select! {
        _ = long => panic!("it cannot be done yet"),
        () = interactive => {}
    }
    assert!(bulk.work().turns.load(Ordering::SeqCst) > 0);
    // Dropping the future abandoned the long item: it must not take turns for ever.
    let permit = scheduler
        .admit(Class::Bulk, Duration::from_secs(1))
        .unwrap();
    let done = bulk.run(&permit, vec![3, 1, 2], far()).await;
    assert_eq!(done, [Ok("done"), Ok("done"), Ok("done")]);
    let turns = bulk.work().turns.load(Ordering::SeqCst);
    let done = bulk.run(&permit, vec![1], far()).await;
    assert_eq!(done, [Ok("done")]);
    assert_eq!(bulk.work().turns.load(Ordering::SeqCst), turns + 1);
}

#[tokio::test]
async fn what_was_admitted_is_finished_when_the_scheduler_goes() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(2), &metrics).unwrap();
    let mut gate = Gate::new(&scheduler, &metrics);
    let work = spawn(&scheduler, &gate.lane, (0..10).collect(), far());
    gate.occupied().await;
    scheduler.drain();
    assert_eq!(
        scheduler
            .admit(Class::Interactive, Duration::ZERO)
            .unwrap_err(),
        AdmissionError::Draining
    );
    gate.open(10);
    tokio::task::spawn_blocking(|| drop(scheduler))
        .await
        .unwrap();
    let done = work.await.unwrap();
    assert_eq!(done, (0..10).map(Ok).collect::<Vec<_>>());
}

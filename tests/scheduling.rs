//! Laws of the scheduler, with work and a clock that the tests control: no sleeps.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use density_server::{
    metrics::{Metrics, OperationMetrics},
    scheduling::{
        AdmissionError, Ask, Class, Clock, JobError, Lane, Parallelism, Scheduler, SchedulerConfig, Step, SystemClock,
        Turn, Work,
    },
};

/// Work that waits at a gate before each batch, and remembers its batches.
#[derive(Debug)]
struct Gated {
    entered: tokio::sync::mpsc::UnboundedSender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
    batches: Mutex<Vec<Vec<u32>>>,
    together: usize,
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

    fn together(&self) -> usize {
        self.together
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
        hop_duration: Duration::ZERO,
        clock: Arc::new(SystemClock),
    }
}

fn ask(class: Class, cost: Duration) -> Ask {
    Ask {
        class,
        cost,
        deadline: None,
        client: None,
    }
}

/// A clock that stands still until it is moved. It starts far from now, so that no deadline passes on the machine's own
/// clock.
#[derive(Debug)]
struct Still(Mutex<Instant>);

impl Still {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(far())))
    }

    fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for Still {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
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
        Self::of_rows_together(1, scheduler, metrics)
    }

    fn of_rows_together(together: usize, scheduler: &Scheduler, metrics: &Metrics) -> Self {
        let (opener, gate) = mpsc::channel();
        let (sender, entered) = tokio::sync::mpsc::unbounded_channel();
        let work = Gated {
            entered: sender,
            gate: Mutex::new(gate),
            batches: Mutex::default(),
            together,
        };
        let metrics = OperationMetrics::new(metrics, "model", "score");
        let lane = scheduler.lane(Class::Interactive, work, Duration::from_millis(1), metrics);
        Self { lane, entered, opener }
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
    let permit = scheduler.admit(ask(Class::Interactive, Duration::ZERO)).unwrap();
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
async fn rows_that_are_hardly_more_work_together_share_a_batch_however_long_it_takes() {
    for (together, expected) in [
        (1, vec![vec![0], vec![1], vec![2], vec![3], vec![4], vec![5]]),
        (3, vec![vec![0], vec![1, 2, 3], vec![4, 5]]),
        (usize::MAX, vec![vec![0], vec![1, 2, 3, 4], vec![5]]),
    ] {
        let metrics = Metrics::new();
        let brief = SchedulerConfig {
            batch_duration: Duration::ZERO,
            ..config(1)
        };
        let scheduler = Scheduler::start(brief, &metrics).unwrap();
        let mut gate = Gate::of_rows_together(together, &scheduler, &metrics);
        let first = spawn(&scheduler, &gate.lane, vec![0], far());
        gate.occupied().await;
        let rest = spawn(&scheduler, &gate.lane, vec![1, 2, 3, 4, 5], far());
        tokio::task::yield_now().await;
        gate.open(6);
        assert_eq!(first.await.unwrap(), [Ok(0)]);
        assert_eq!(rest.await.unwrap(), [1, 2, 3, 4, 5].map(Ok));
        assert_eq!(gate.batches(), expected, "{together} together");
    }
}

#[tokio::test]
async fn a_panic_or_an_error_hits_its_own_batch_only() {
    let metrics = Metrics::new();
    let scheduler = Scheduler::start(config(1), &metrics).unwrap();
    let gate = Gate::new(&scheduler, &metrics);
    for (item, cause) in [(PANIC, "a worker panicked"), (FAIL, "asked to fail")] {
        let bad = spawn(&scheduler, &gate.lane, vec![item], far());
        gate.open(1);
        assert_eq!(bad.await.unwrap(), [Err(JobError::Failed(cause.to_owned()))]);
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
    let bulk = scheduler.lane(Class::Bulk, Counted::default(), Duration::from_millis(1), operation);
    let permit = scheduler.admit(ask(Class::Bulk, Duration::from_secs(1))).unwrap();
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
    let permit = scheduler.admit(ask(Class::Bulk, Duration::from_secs(1))).unwrap();
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
        scheduler.admit(ask(Class::Interactive, Duration::ZERO)).unwrap_err(),
        AdmissionError::Draining
    );
    gate.open(10);
    tokio::task::spawn_blocking(|| drop(scheduler)).await.unwrap();
    let done = work.await.unwrap();
    assert_eq!(done, (0..10).map(Ok).collect::<Vec<_>>());
}

/// Work that takes as long as its items say, and remembers which threads did it.
#[derive(Debug)]
struct Timed {
    clock: Arc<Still>,
    threads: Mutex<Vec<ThreadId>>,
}

impl Work for Timed {
    type Item = Duration;
    type Output = Parallelism;

    fn rows(&self, _: &Duration) -> usize {
        1
    }

    fn run(&self, items: Vec<Duration>, parallelism: Parallelism) -> Turn<Duration, Parallelism> {
        self.threads.lock().unwrap().push(thread::current().id());
        self.clock.advance(items.iter().sum());
        Ok(items.iter().map(|_| Step::Done(parallelism)).collect())
    }
}

fn timed(scheduler: &Scheduler, metrics: &Metrics, clock: &Arc<Still>) -> Arc<Lane<Timed>> {
    let work = Timed {
        clock: Arc::clone(clock),
        threads: Mutex::default(),
    };
    let metrics = OperationMetrics::new(metrics, "model", "encode");
    scheduler.lane(Class::Interactive, work, Duration::from_millis(1), metrics)
}

async fn run_one(scheduler: &Scheduler, lane: &Lane<Timed>, time: Duration) -> Result<Parallelism, JobError> {
    let permit = scheduler.admit(ask(Class::Interactive, lane.estimate(1))).unwrap();
    let deadline = far() + Duration::from_secs(3600);
    lane.run(&permit, vec![time], deadline).await.remove(0)
}

#[tokio::test]
async fn short_work_is_done_by_the_thread_that_asks_if_a_worker_is_idle() {
    let (metrics, clock) = (Metrics::new(), Still::new());
    let config = SchedulerConfig {
        hop_duration: Duration::from_micros(100),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..config(1)
    };
    let scheduler = Scheduler::start(config, &metrics).unwrap();
    let lane = timed(&scheduler, &metrics, &clock);
    let here = thread::current().id();
    let done_here = || lane.work().threads.lock().unwrap().pop() == Some(here);
    let short = Duration::from_micros(40);

    run_one(&scheduler, &lane, short).await.unwrap();
    assert!(!done_here(), "nobody knew that it is short");
    let parallelism = run_one(&scheduler, &lane, short).await.unwrap();
    assert!(done_here());
    assert_eq!(parallelism, Parallelism::Shared, "other cores are a hop too");

    run_one(&scheduler, &lane, Duration::from_secs(1)).await.unwrap();
    assert!(done_here(), "nobody knew that it is long");
    run_one(&scheduler, &lane, short).await.unwrap();
    assert!(done_here(), "a thread can be stopped in the middle of a run");
    for _ in 0..3 {
        run_one(&scheduler, &lane, Duration::from_secs(1)).await.unwrap();
    }
    run_one(&scheduler, &lane, short).await.unwrap();
    assert!(!done_here(), "it was long again and again");

    // While the only worker is busy, no second run begins.
    let quick = timed(&scheduler, &metrics, &clock);
    run_one(&scheduler, &quick, short).await.unwrap();
    let mut gate = Gate::new(&scheduler, &metrics);
    let blocker = spawn(&scheduler, &gate.lane, vec![0], far() + Duration::from_secs(3600));
    gate.occupied().await;
    let opened = async {
        // By now the work has been asked for.
        assert_eq!(quick.work().threads.lock().unwrap().len(), 1);
        gate.open(1);
    };
    let (done, ()) = tokio::join!(run_one(&scheduler, &quick, short), opened);
    done.unwrap();
    blocker.await.unwrap();
    assert_ne!(quick.work().threads.lock().unwrap()[1], here);
}

#[tokio::test]
async fn what_cannot_be_finished_in_time_makes_room_for_what_can() {
    let (metrics, clock) = (Metrics::new(), Still::new());
    let config = SchedulerConfig {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..config(1)
    };
    let scheduler = Scheduler::start(config, &metrics).unwrap();
    let mut gate = Gate::new(&scheduler, &metrics);
    let now = clock.now();
    // A row takes ten milliseconds.
    let measured = spawn(&scheduler, &gate.lane, vec![0], now + Duration::from_secs(1));
    gate.occupied().await;
    clock.advance(Duration::from_millis(10));
    gate.open(1);
    measured.await.unwrap();

    let blocker = spawn(&scheduler, &gate.lane, vec![1], now + Duration::from_secs(1));
    gate.occupied().await;
    let soon = clock.now() + Duration::from_millis(15);
    let hopeless = spawn(&scheduler, &gate.lane, vec![2], soon);
    let good = spawn(&scheduler, &gate.lane, vec![3], now + Duration::from_secs(1));
    tokio::task::yield_now().await;
    clock.advance(Duration::from_millis(10));
    gate.open(2);
    // Its deadline is still to come.
    assert_eq!(hopeless.await.unwrap(), [Err(JobError::DeadlineExceeded)]);
    assert_eq!(good.await.unwrap(), [Ok(3)]);
    assert_eq!(blocker.await.unwrap(), [Ok(1)]);
    assert_eq!(gate.batches(), [[0], [1], [3]]);

    // If there is nothing else to do it is tried: the estimate may be wrong.
    let soon = clock.now() + Duration::from_millis(1);
    let tried = spawn(&scheduler, &gate.lane, vec![4], soon);
    gate.open(1);
    assert_eq!(tried.await.unwrap(), [Ok(4)]);
}

#[tokio::test]
async fn what_a_busy_machine_taught_neither_refuses_nor_stays() {
    let (metrics, clock) = (Metrics::new(), Still::new());
    let config = SchedulerConfig {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        interactive_capacity: Duration::from_secs(10),
        ..config(1)
    };
    let scheduler = Scheduler::start(config, &metrics).unwrap();
    let lane = timed(&scheduler, &metrics, &clock);
    run_one(&scheduler, &lane, Duration::from_millis(40)).await.unwrap();
    for _ in 0..50 {
        run_one(&scheduler, &lane, Duration::from_secs(1)).await.unwrap();
    }
    let stale = lane.estimate(25);
    assert!(stale > Duration::from_secs(20), "{stale:?}");
    let permit = scheduler.admit(Ask {
        deadline: Some(clock.now() + Duration::from_secs(2)),
        ..ask(Class::Interactive, stale)
    });
    assert!(permit.is_ok(), "nothing waits before it");
    drop(permit);
    clock.advance(Duration::from_secs(120));
    let later = lane.estimate(25);
    assert!(later < Duration::from_millis(1_100), "{later:?}");
}

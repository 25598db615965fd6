//! The scheduler under load, in simulated time: the real admission, queues and batches, with workers that only say how
//! long they would have been busy.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    AdmissionError, Ask, Class, Clock, Lane, Parallelism, Permit, Scheduler, SchedulerConfig, Step, Turn, Work,
    lane::Submitted, worker::Running,
};
use crate::metrics::{Metrics, OperationMetrics};

mod loads;

/// A clock that the simulation moves.
#[derive(Debug)]
struct Simulated {
    start: Instant,
    now: AtomicU64,
}

impl Clock for Simulated {
    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.now.load(Ordering::SeqCst))
    }
}

/// An item is the turns that it needs.
#[derive(Debug)]
struct Turns;

impl Work for Turns {
    type Item = u32;
    type Output = ();

    fn rows(&self, _: &u32) -> usize {
        1
    }

    fn turns(&self, left: &u32) -> u64 {
        u64::from(*left)
    }

    fn run(&self, items: Vec<u32>, _: Parallelism) -> Turn<u32, ()> {
        let step = |left| match left {
            0 | 1 => Step::Done(()),
            _ => Step::Again(left - 1),
        };
        Ok(items.into_iter().map(step).collect())
    }
}

/// The machine.
#[derive(Clone)]
struct Machine {
    class: Class,
    workers: usize,
    /// Time of one worker for a row, in seconds.
    row: f64,
    /// What the scheduler believes at first.
    guess: f64,
    /// Standard deviation of the logarithm of a run's duration.
    noise: f64,
    /// How long the load lasts, in seconds.
    time: f64,
}

/// How requests of a kind come.
#[derive(Clone, Copy)]
enum Arrivals {
    /// So many a second, at random, whatever becomes of them. Who is refused does not come back.
    Open(f64),
    /// So many clients, each of which sends the next request when it has its answer. Who is refused asks again after so
    /// many seconds.
    Closed(usize, Retry),
}

#[derive(Clone, Copy)]
enum Retry {
    After(f64),
    /// When the refusal says so, in whole seconds.
    AsTold,
}

/// A kind of request.
#[derive(Clone, Copy)]
struct Kind {
    arrivals: Arrivals,
    items: usize,
    turns: u32,
    /// In seconds.
    deadline: Option<f64>,
    client: Option<u64>,
}

/// What became of the requests of a kind.
#[derive(Debug, Default, Clone)]
struct Outcome {
    asked: usize,
    refused: usize,
    /// Admitted, and not answered in time or not in full.
    late: usize,
    answered: usize,
    /// Work answered in time, in seconds of one worker.
    work: f64,
    /// Seconds to each answer.
    waits: Vec<f64>,
    /// The most times that a client asked until it was let in.
    most_attempts: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut waits = self.waits.clone();
        waits.sort_by(f64::total_cmp);
        let quantile = |q: f64| waits.get((waits.len() as f64 * q) as usize).copied();
        write!(
            f,
            "asked {}, refused {}, late {}, answered {} after {:.3} s (median) and {:.3} s (99 %), \
             {} attempts at most",
            self.asked,
            self.refused,
            self.late,
            self.answered,
            quantile(0.5).unwrap_or(f64::NAN),
            quantile(0.99).unwrap_or(f64::NAN),
            self.most_attempts
        )
    }
}

enum Event {
    Ask {
        kind: usize,
        attempts: usize,
    },
    RunEnds(Running),
    /// The deadline of a request passes.
    Deadline(usize),
}

struct Request<'a> {
    kind: usize,
    asked_at: u64,
    deadline: Option<u64>,
    answers: usize,
    failed: bool,
    submitted: Submitted<'a, Turns>,
    _permit: Permit,
}

struct Simulation<'a> {
    machine: &'a Machine,
    kinds: &'a [Kind],
    clock: Arc<Simulated>,
    scheduler: &'a Scheduler,
    lane: &'a Lane<Turns>,
    events: BinaryHeap<(Reverse<u64>, Reverse<usize>)>,
    details: Vec<Option<Event>>,
    requests: BTreeMap<usize, Request<'a>>,
    outcomes: Vec<Outcome>,
    random: u64,
}

const SECOND: f64 = 1e9;

fn simulate(machine: &Machine, kinds: &[Kind]) -> Vec<Outcome> {
    let clock = Arc::new(Simulated {
        start: Instant::now(),
        now: AtomicU64::new(0),
    });
    let config = SchedulerConfig {
        workers: machine.workers,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        hop_duration: Duration::ZERO,
        ..SchedulerConfig::default()
    };
    let metrics = Metrics::new();
    let scheduler = Scheduler::without_threads(config, &metrics);
    let lane = scheduler.lane(
        machine.class,
        Turns,
        Duration::from_secs_f64(machine.guess),
        OperationMetrics::new(&metrics, "model", "operation"),
    );
    let mut simulation = Simulation {
        machine,
        kinds,
        clock,
        scheduler: &scheduler,
        lane: &lane,
        events: BinaryHeap::new(),
        details: Vec::new(),
        requests: BTreeMap::new(),
        outcomes: vec![Outcome::default(); kinds.len()],
        random: 1,
    };
    simulation.run();
    let outcomes = std::mem::take(&mut simulation.outcomes);
    drop(simulation);
    assert_eq!(
        metrics.queue_depth.with_label_values(&[machine.class.name()]).get(),
        0,
        "the gauge counts what waits"
    );
    outcomes
}

/// Goodput: work answered in time, as a part of what the workers could have done.
fn goodput(machine: &Machine, outcomes: &[Outcome]) -> f64 {
    let work: f64 = outcomes.iter().map(|outcome| outcome.work).sum();
    work / (machine.workers as f64 * machine.time)
}

impl Simulation<'_> {
    fn run(&mut self) {
        for (kind, Kind { arrivals, .. }) in self.kinds.iter().enumerate() {
            match *arrivals {
                Arrivals::Open(_) => self.next_arrival(kind),
                Arrivals::Closed(clients, _) => {
                    for _ in 0..clients {
                        let first = self.uniform() * 0.01;
                        self.at(first, Event::Ask { kind, attempts: 1 });
                    }
                }
            }
        }
        while let Some((Reverse(time), Reverse(event))) = self.events.pop() {
            self.clock.now.store(time, Ordering::SeqCst);
            let is_over = time as f64 > self.machine.time * SECOND;
            match self.details[event].take() {
                Some(Event::Ask { .. }) if is_over => {}
                Some(Event::Ask { kind, attempts }) => self.ask(kind, attempts),
                Some(Event::RunEnds(running)) => {
                    running.finish();
                    self.collect();
                }
                Some(Event::Deadline(request)) => {
                    if let Some(request) = self.requests.remove(&request) {
                        self.conclude(request, false);
                    }
                }
                None => {}
            }
            while let Some(running) = self.scheduler.shared.begin() {
                // A factor of mean 1.
                let sigma = self.machine.noise;
                let noise = (self.normal() * sigma - sigma * sigma / 2.0).exp();
                let duration = self.machine.row * running.rows() as f64 * noise;
                self.at(duration, Event::RunEnds(running));
            }
            // Some may have been told that they cannot be finished in time.
            self.collect();
        }
    }

    fn ask(&mut self, kind: usize, attempts: usize) {
        let Kind {
            arrivals,
            items,
            turns,
            deadline,
            client,
        } = self.kinds[kind];
        if matches!(arrivals, Arrivals::Open(_)) {
            self.next_arrival(kind);
        }
        let now = self.clock.now();
        let until = deadline.map(|seconds| now + Duration::from_secs_f64(seconds));
        let asked = self.scheduler.admit(Ask {
            class: self.machine.class,
            cost: self.lane.estimate(items as u64 * u64::from(turns)),
            deadline: until,
            client,
        });
        self.outcomes[kind].asked += 1;
        match asked {
            Ok(permit) => {
                let most = &mut self.outcomes[kind].most_attempts;
                *most = attempts.max(*most);
                let far = now + Duration::from_secs(1_000_000);
                let work = vec![turns; items];
                let submitted = self.lane.submit(&permit, work, until.unwrap_or(far));
                let index = self.details.len();
                let request = Request {
                    kind,
                    asked_at: self.now(),
                    deadline: until.map(|until| self.scheduler.shared.timeline.at(until)),
                    answers: 0,
                    failed: false,
                    submitted,
                    _permit: permit,
                };
                self.requests.insert(index, request);
                self.at(deadline.unwrap_or(1e6), Event::Deadline(index));
            }
            Err(AdmissionError::Full { retry_after }) => {
                self.outcomes[kind].refused += 1;
                if let Arrivals::Closed(_, retry) = arrivals {
                    let wait = match retry {
                        Retry::After(seconds) => seconds,
                        Retry::AsTold => retry_after.as_secs_f64().ceil().max(1.0),
                    };
                    let attempts = attempts + 1;
                    self.at(wait, Event::Ask { kind, attempts });
                }
            }
            Err(AdmissionError::Draining) => panic!("nobody drains it"),
        }
    }

    /// Takes the answers that are there.
    fn collect(&mut self) {
        let mut done = Vec::new();
        for (&index, request) in &mut self.requests {
            while let Some(receiver) = request.submitted.receivers.get_mut(request.answers) {
                match receiver.try_recv() {
                    Ok(result) => {
                        request.answers += 1;
                        request.failed |= result.is_err();
                    }
                    Err(_) => break,
                }
            }
            if request.answers == request.submitted.receivers.len() {
                done.push(index);
            }
        }
        for index in done {
            if let Some(request) = self.requests.remove(&index) {
                let in_time = request.deadline.is_none_or(|until| self.now() <= until);
                let is_answered = in_time && !request.failed;
                self.conclude(request, is_answered);
            }
        }
    }

    fn conclude(&mut self, request: Request<'_>, is_answered: bool) {
        let kind = self.kinds[request.kind];
        let is_measured = self.now() as f64 <= self.machine.time * SECOND;
        let wait = (self.now() - request.asked_at) as f64 / SECOND;
        let outcome = &mut self.outcomes[request.kind];
        if is_answered {
            outcome.answered += 1;
            outcome.waits.push(wait);
            if is_measured {
                outcome.work += self.machine.row * kind.items as f64 * f64::from(kind.turns);
            }
        } else {
            outcome.late += 1;
        }
        if let Arrivals::Closed(..) = kind.arrivals {
            let kind = request.kind;
            self.at(0.0, Event::Ask { kind, attempts: 1 });
        }
    }

    fn next_arrival(&mut self, kind: usize) {
        if let Arrivals::Open(rate) = self.kinds[kind].arrivals {
            let gap = -(1.0 - self.uniform()).ln() / rate;
            self.at(gap, Event::Ask { kind, attempts: 1 });
        }
    }

    fn at(&mut self, seconds: f64, event: Event) {
        let time = self.now() + (seconds * SECOND) as u64;
        self.events.push((Reverse(time), Reverse(self.details.len())));
        self.details.push(Some(event));
    }

    fn now(&self) -> u64 {
        self.clock.now.load(Ordering::SeqCst)
    }

    fn uniform(&mut self) -> f64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

//! Admission: which requests are let in, and the books of the work that was. Cost is the worker time that work is
//! expected to take, from what the same work took before. The rules are those of the class's own `backlog`.
//!
//! A decision takes one lock and some dozens of steps, however much waits.

mod permit;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

pub use self::permit::Permit;
pub(super) use self::permit::{Begun, Charge};
use super::{
    Class,
    backlog::{Backlog, Candidate},
    clock::{Timeline, nanoseconds},
    deadlines::Supply,
};

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The class of its work.
    pub class: Class,
    /// The time of one worker that all of it is expected to take (see [`super::Lane::estimate`]).
    pub cost: Duration,
    /// When the answer is of no use any more.
    pub deadline: Option<Instant>,
    /// A number for the client that sent it: requests of one client have one fair share between them. Requests without
    /// have one each.
    pub client: Option<u64>,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdmissionError {
    /// There is no room now.
    Full {
        /// The time in which the work that stands in the way will be done.
        retry_after: Duration,
    },
    /// No new work is taken.
    Draining,
}

/// The books of one scheduler.
#[derive(Debug)]
pub(super) struct Admission {
    timeline: Timeline,
    workers: u64,
    draining: AtomicBool,
    backlogs: Mutex<[Backlog; 2]>,
}

impl Admission {
    pub(super) fn new(timeline: Timeline, workers: usize, interactive: Duration, bulk: Duration) -> Arc<Self> {
        let backlog = |capacity| Backlog::new(nanoseconds(capacity));
        Arc::new(Self {
            timeline,
            workers: workers.max(1) as u64,
            draining: AtomicBool::new(false),
            backlogs: Mutex::new([backlog(interactive), backlog(bulk)]),
        })
    }

    pub(super) fn admit(self: &Arc<Self>, ask: Ask) -> Result<Permit, AdmissionError> {
        let mut backlogs = self.backlogs();
        let due = self.decide(&mut backlogs, ask, Backlog::consider)?;
        let cost = nanoseconds(ask.cost);
        let backlog = &mut backlogs[ask.class.index()];
        backlog.waiting += cost;
        backlog.deadlines.add(due, cost);
        let tag = backlog.fair_shares.join(ask.client, cost);
        Ok(Permit::new(Arc::clone(self), ask.class, (tag, due), cost))
    }

    /// Refuses what would be refused if it were to cost at least so much, and lets nothing in.
    pub(super) fn foresee(&self, ask: Ask) -> Result<(), AdmissionError> {
        self.decide(&mut self.backlogs(), ask, |backlog, now, candidate, supply| {
            backlog.foresee(now, candidate, supply)
        })
    }

    fn decide<T>(
        &self,
        backlogs: &mut [Backlog; 2],
        ask: Ask,
        rules: impl FnOnce(&mut Backlog, u64, &Candidate, Supply) -> Result<T, u64>,
    ) -> Result<T, AdmissionError> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(AdmissionError::Draining);
        }
        let now = self.timeline.now();
        let supply = self.supply(backlogs, ask.class);
        let backlog = &mut backlogs[ask.class.index()];
        let candidate = Candidate {
            cost: nanoseconds(ask.cost),
            deadline: ask.deadline.map(|deadline| self.timeline.at(deadline)),
            client: ask.client,
        };
        rules(backlog, now, &candidate, supply).map_err(|in_the_way| {
            let retry_after = Duration::from_nanos(supply.time_for(in_the_way));
            backlog.leave_claim(now, &candidate, supply, retry_after);
            AdmissionError::Full { retry_after }
        })
    }

    /// Whether a promise of the class is about to be broken, so that the earliest deadline must go first.
    pub(super) fn is_late(&self, class: Class) -> bool {
        let now = self.timeline.now();
        let backlogs = self.backlogs();
        let supply = self.supply(&backlogs, class);
        backlogs[class.index()].deadlines.are_endangered(now, supply)
    }

    /// A worker begins with rows of requests of one class, each of which is expected to take `row`.
    pub(super) fn begin<'a>(
        self: &Arc<Self>,
        class: Class,
        row: u64,
        parts: impl Iterator<Item = (&'a Charge, usize)>,
    ) -> Begun {
        let mut backlogs = self.backlogs();
        let backlog = &mut backlogs[class.index()];
        let parts = parts.map(|(charge, rows)| charge.begin(backlog, row, rows)).collect();
        Begun::new(Arc::clone(self), class, parts)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    fn supply(&self, backlogs: &[Backlog; 2], class: Class) -> Supply {
        let other = &backlogs[1 - class.index()];
        Supply {
            workers: self.workers,
            share: class.share(),
            other: other.waiting + other.running,
        }
    }

    fn backlogs(&self) -> MutexGuard<'_, [Backlog; 2]> {
        self.backlogs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::SystemClock, *};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Two workers; ten seconds of interactive work may wait.
    fn admission() -> Arc<Admission> {
        let timeline = Timeline::new(Arc::new(SystemClock));
        Admission::new(timeline, 2, seconds(10), seconds(100))
    }

    fn ask(class: Class, cost: u64, deadline: Option<u64>) -> Ask {
        Ask {
            class,
            cost: seconds(cost),
            deadline: deadline.map(|d| Instant::now() + seconds(d)),
            client: None,
        }
    }

    fn refused(admission: &Arc<Admission>, ask: Ask) -> Duration {
        match admission.admit(ask) {
            Err(AdmissionError::Full { retry_after }) => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_waits_decides_and_not_the_size() {
        let admission = admission();
        let huge = ask(Class::Interactive, 1_000, Some(1));
        let permit = admission.admit(huge).unwrap();
        // The time in which what is there is done.
        let small = ask(Class::Interactive, 0, None);
        assert_eq!(refused(&admission, small), seconds(500));
        let _other_class = admission.admit(ask(Class::Bulk, 1_000, None)).unwrap();
        drop(permit);
        let _first = admission.admit(ask(Class::Interactive, 9, None)).unwrap();
        let _second = admission.admit(ask(Class::Interactive, 1_000, None)).unwrap();
    }

    #[test]
    fn what_cannot_be_in_time_is_refused_if_something_waits() {
        let admission = admission();
        let _waiting = admission.admit(ask(Class::Interactive, 8, None)).unwrap();
        let late = ask(Class::Interactive, 1, Some(1));
        // The one that waits was promised for in twelve seconds at least: there is time for a second of work before.
        drop(admission.admit(late).unwrap());
        let hopeless = ask(Class::Interactive, 2, Some(1));
        let wait = refused(&admission, hopeless);
        assert!(wait <= seconds(4), "{wait:?}");
    }

    #[test]
    fn room_is_kept_for_who_was_refused() {
        let admission = admission();
        let filling: Vec<Permit> = (0..10)
            .map(|_| admission.admit(ask(Class::Interactive, 1, None)).unwrap())
            .collect();
        let large = ask(Class::Interactive, 6, None);
        assert_eq!(refused(&admission, large), seconds(5));
        drop(filling);
        let _small: Vec<Permit> = (0..5)
            .map(|_| admission.admit(ask(Class::Interactive, 1, None)).unwrap())
            .collect();
        // Half of the room is kept for the large one.
        refused(&admission, ask(Class::Interactive, 1, None));
        let _large = admission.admit(large).unwrap();
        refused(&admission, ask(Class::Interactive, 1, None));
    }

    #[test]
    fn what_would_be_refused_is_foreseen_and_nothing_is_let_in_by_that() {
        let admission = admission();
        let huge = ask(Class::Interactive, 1_000, Some(1));
        admission.foresee(huge).unwrap();
        admission.foresee(huge).unwrap();
        let _waiting = admission.admit(ask(Class::Interactive, 8, None)).unwrap();
        for cost in 0..4 {
            let ask = ask(Class::Interactive, cost, Some(1));
            let foreseen = admission.foresee(ask).is_ok();
            assert_eq!(admission.admit(ask).is_ok(), foreseen, "{cost}");
            assert_eq!(foreseen, cost < 2);
        }
        // Room that is kept for one who was refused is not taken to be closed to it, whatever it says that it costs.
        let admission = self::admission();
        let filling: Vec<Permit> = (0..10)
            .map(|_| admission.admit(ask(Class::Interactive, 1, None)).unwrap())
            .collect();
        let large = ask(Class::Interactive, 6, None);
        refused(&admission, large);
        drop(filling);
        let _small: Vec<Permit> = (0..5)
            .map(|_| admission.admit(ask(Class::Interactive, 1, None)).unwrap())
            .collect();
        admission.foresee(ask(Class::Interactive, 1, None)).unwrap();
        admission.admit(large).unwrap();
        admission.drain();
        assert_eq!(admission.foresee(large), Err(AdmissionError::Draining));
    }

    #[test]
    fn work_that_was_begun_or_given_up_leaves_room() {
        let admission = admission();
        let permit = admission.admit(ask(Class::Interactive, 10, None)).unwrap();
        permit.charge().queue(10);
        let row = nanoseconds(seconds(1));
        let begun = admission.begin(Class::Interactive, row, std::iter::once((&**permit.charge(), 4)));
        drop(admission.admit(ask(Class::Interactive, 1, None)).unwrap());
        // A row takes five times as long as was thought: six of them are more than may wait.
        let slow = std::iter::once((&**permit.charge(), 1));
        let slow = admission.begin(Class::Interactive, 5 * row, slow);
        refused(&admission, ask(Class::Interactive, 1, None));
        drop((begun, slow, permit));
        let backlogs = admission.backlogs();
        assert_eq!((backlogs[0].waiting, backlogs[0].running), (0, 0));
    }

    #[test]
    fn draining_takes_nothing() {
        let admission = admission();
        admission.drain();
        assert_eq!(
            admission.admit(ask(Class::Bulk, 1, None)).unwrap_err(),
            AdmissionError::Draining
        );
    }
}

//! From requests to batches on worker threads.
//!
//! A request is *admitted* once, by its whole cost, or refused at once: a [`Permit`] says that what the request submits
//! under it will be worked on, and in time if it has a deadline. Items then wait in the [`Lane`] of their kind of work.
//! Batches form while workers are busy and never by waiting: a worker that comes free takes what has gathered. Work
//! that is shorter than waking a worker is run by the thread that asks for it, in a worker's place, with what other
//! requests of that thread have asked for by then. Items whose client has gone, or that cannot be finished before their
//! deadline, are dropped before they cost anything. A batch that fails or panics answers its own items only.
//!
//! There are two classes of work. `Interactive` work is short (scoring, encoding). `Bulk` work is long and comes in
//! steps (sampling): between two steps of an image other work gets its turn, and workers are shared between the classes
//! by weighted fair queueing, so that neither can starve the other. Within a class, requests have equal shares
//! (`fair_shares`), as long as no promised deadline is in danger (`deadlines`). A batch ends at some milliseconds of
//! work, which bounds what an item that comes next has to wait for.
//!
//! Architecture invariant: nothing here knows of HTTP, of ONNX or of images.

mod admission;
mod backlog;
mod batch;
mod clock;
mod coalescing;
mod deadlines;
mod fair_shares;
mod gathering;
mod lane;
mod queue;
mod quota;
mod run_times;
mod scheduler;
#[cfg(test)]
mod simulation;
mod spans;
mod work;
mod worker;

pub use self::{
    admission::{AdmissionError, Ask, Permit},
    clock::{Clock, SystemClock},
    lane::Lane,
    quota::Quota,
    scheduler::{Scheduler, SchedulerConfig},
    work::{Step, Turn, Work},
};

/// The two classes of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Short work that someone waits for.
    Interactive,
    /// Long work in many steps.
    Bulk,
}

impl Class {
    const ALL: [Self; 2] = [Self::Interactive, Self::Bulk];

    /// The name used in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Bulk => "bulk",
        }
    }

    fn index(self) -> usize {
        self as usize
    }

    /// The share of worker time that the class gets while both have work.
    fn weight(self) -> f64 {
        match self {
            Self::Interactive => 4.0,
            Self::Bulk => 1.0,
        }
    }

    /// The same as a fraction.
    fn share(self) -> f64 {
        self.weight() / Self::ALL.map(Self::weight).iter().sum::<f64>()
    }
}

/// Whether a run of work has the machine to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallelism {
    /// Other workers are busy or are about to be: stay on this thread.
    Shared,
    /// Nothing else runs and nothing waits: use every core.
    Alone,
}

/// Why admitted work has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// Its deadline passed, or would have before it could be finished.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// Its batch failed.
    #[error("{0}")]
    Failed(String),
}

//! What a request holds of the books from when it is let in until it is answered.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Admission, Backlog};
use crate::{scheduling::Class, trace::Trace};

/// Leave to submit work of a certain cost; gives the room back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<Charge>);

/// The entry of one request in the books.
#[derive(Debug)]
pub(in crate::scheduling) struct Charge {
    admission: Arc<Admission>,
    class: Class,
    /// The place of the request in the fair order.
    tag: u64,
    /// The key of the time by which it is promised to be finished.
    due: u64,
    /// Cost that no worker has begun to work off. Changed under the lock of the books only, like `is_open`.
    waiting: AtomicU64,
    /// Whether the permit is still there.
    is_open: AtomicBool,
    /// Rows of the request that wait in lanes.
    rows: AtomicU64,
    /// Where what comes of it is told.
    trace: Trace,
}

/// Work that a worker has begun; it leaves the books when this is dropped.
#[derive(Debug)]
pub(in crate::scheduling) struct Begun {
    admission: Arc<Admission>,
    class: Class,
    /// Each with the time by which it is due.
    parts: Vec<(u64, u64)>,
}

impl Permit {
    /// For work of a cost that is in the books already, in its place of the fair order and with the time by which it is
    /// due.
    pub(super) fn new(admission: Arc<Admission>, class: Class, (tag, due): (u64, u64), cost: u64) -> Self {
        Self(Arc::new(Charge {
            admission,
            class,
            tag,
            due,
            waiting: AtomicU64::new(cost),
            is_open: AtomicBool::new(true),
            rows: AtomicU64::new(0),
            trace: Trace::default(),
        }))
    }

    /// The same for what is a part of `trace`. To be called before anything is submitted.
    #[must_use]
    pub fn traced(mut self, trace: &Trace) -> Self {
        if trace.is_on()
            && let Some(charge) = Arc::get_mut(&mut self.0)
        {
            charge.trace = trace.clone();
        }
        self
    }

    pub(in crate::scheduling) fn charge(&self) -> &Arc<Charge> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let charge = &self.0;
        let mut backlogs = charge.admission.backlogs();
        let backlog = &mut backlogs[charge.class.index()];
        charge.is_open.store(false, Ordering::Relaxed);
        let left = charge.waiting.swap(0, Ordering::Relaxed);
        backlog.waiting = backlog.waiting.saturating_sub(left);
        backlog.leave(charge.due, left);
    }
}

impl Charge {
    pub(in crate::scheduling) fn class(&self) -> Class {
        self.class
    }

    pub(in crate::scheduling) fn tag(&self) -> u64 {
        self.tag
    }

    pub(in crate::scheduling) fn due(&self) -> u64 {
        self.due
    }

    pub(in crate::scheduling) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// A worker begins with so many of its rows, each of which is expected to take `row`. Moves their cost from what
    /// waits to what runs; answers when it is due, and the cost.
    pub(super) fn begin(&self, backlog: &mut Backlog, row: u64, rows: usize) -> (u64, u64) {
        let all = row.saturating_mul(self.rows.load(Ordering::Relaxed));
        self.unqueue(rows);
        let mut left = self.waiting.load(Ordering::Relaxed);
        if left < all && self.is_open.load(Ordering::Relaxed) {
            // It takes longer than it was expected to when it was let in.
            backlog.waiting += all - left;
            backlog.deadlines.add(self.due, all - left);
            left = all;
        }
        let cost = row.saturating_mul(rows as u64).min(left);
        self.waiting.store(left - cost, Ordering::Relaxed);
        backlog.waiting = backlog.waiting.saturating_sub(cost);
        backlog.running += cost;
        (self.due, cost)
    }

    /// So many rows of it wait in a lane.
    pub(in crate::scheduling) fn queue(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// They do not any more.
    pub(in crate::scheduling) fn unqueue(&self, rows: usize) {
        self.rows.fetch_sub(rows as u64, Ordering::Relaxed);
    }
}

impl Begun {
    pub(super) fn new(admission: Arc<Admission>, class: Class, parts: Vec<(u64, u64)>) -> Self {
        Self {
            admission,
            class,
            parts,
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut backlogs = self.admission.backlogs();
        let backlog = &mut backlogs[self.class.index()];
        for (due, work) in std::mem::take(&mut self.parts) {
            backlog.running = backlog.running.saturating_sub(work);
            backlog.leave(due, work);
        }
    }
}

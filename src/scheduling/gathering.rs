//! What waits in a lane, and a batch of it while it is being gathered.

use std::time::Duration;

use super::{batch::Ticket, spans::Starting, work::Work};
use crate::metrics::OperationMetrics;

/// An item that waits.
pub(super) struct Entry<W: Work> {
    pub(super) item: W::Item,
    pub(super) ticket: Ticket<W::Output>,
}

/// What a batch is made of.
pub(super) struct Gathered<W: Work> {
    pub(super) items: Vec<W::Item>,
    pub(super) tickets: Vec<Ticket<W::Output>>,
    pub(super) rows: usize,
    /// The earliest deadline among them: all are answered together.
    pub(super) deadline: u64,
    pub(super) starting: Starting,
}

impl<W: Work> Gathered<W> {
    pub(super) fn new() -> Self {
        Self {
            items: Vec::new(),
            tickets: Vec::new(),
            rows: 0,
            deadline: u64::MAX,
            starting: Vec::new(),
        }
    }

    /// Takes an entry of so many rows along. Its wait is counted at its first turn.
    pub(super) fn add(&mut self, entry: Entry<W>, rows: usize, now: u64, metrics: &OperationMetrics) {
        let Entry { item, mut ticket } = entry;
        if !ticket.started {
            ticket.started = true;
            let wait = now.saturating_sub(ticket.submitted);
            metrics.waited(Duration::from_nanos(wait));
            let trace = ticket.charge.trace();
            if trace.is_on() {
                self.starting.push((trace.clone(), wait));
            }
        }
        self.rows += rows;
        self.deadline = self.deadline.min(ticket.deadline);
        self.items.push(item);
        self.tickets.push(ticket);
    }
}

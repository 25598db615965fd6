//! One request in flight, and how long its client may take for the answer.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Activity, time_for};

/// A request in flight, from its head to the last piece of its answer.
#[derive(Debug)]
pub(in super::super) struct Flight {
    activity: Arc<Activity>,
    id: u64,
    /// It came before the time that the refusal before it named.
    is_impatient: bool,
    /// When the client was last offered some of the answer.
    offered: Instant,
    /// How long it may wait for the client to take that.
    patience: Duration,
}

impl Flight {
    /// Number `id` of a connection.
    pub(super) fn new(activity: Arc<Activity>, id: u64, is_impatient: bool) -> Self {
        Self {
            id,
            is_impatient,
            offered: Instant::now(),
            patience: activity.limits.unread_timeout,
            activity,
        }
    }

    /// Its number on the connection.
    pub(in super::super) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the client was told to wait, on this connection, and did not.
    pub(in super::super) fn is_impatient(&self) -> bool {
        self.is_impatient
    }

    /// Notes that it was refused for want of room, and told to come back after a time.
    pub(in super::super) fn refused(&self, retry_after: Duration) {
        self.activity.state().wait_until = Some(Instant::now() + retry_after);
    }

    /// Waits to be refused, unless others wait for the place of the connection.
    pub(in super::super) async fn wait(&self, time: Duration) {
        self.activity.state().waiting.insert(self.id, Instant::now());
        tokio::select! {
            () = sleep(time) => {}
            () = self.activity.wanted() => {}
        }
        self.activity.state().waiting.remove(&self.id);
    }

    /// Notes that the client is to take so many bytes before the answer goes on. Whoever takes them quickly is waited
    /// for as long with the next ones; who is always slow uses that up.
    pub(in super::super) fn offered(&mut self, bytes: usize) {
        let longest = self.activity.limits.unread_timeout;
        self.offered = Instant::now();
        self.patience = longest.min(self.patience + time_for(bytes));
        let until = self.offered + self.patience;
        self.activity.state().unread.insert(self.id, until);
    }

    /// Has all the patience there is again: what comes now has not waited for the client.
    pub(in super::super) fn renew(&mut self) {
        self.patience = self.activity.limits.unread_timeout;
    }

    /// Notes that it has.
    pub(in super::super) fn taken(&mut self) {
        if self.activity.state().unread.remove(&self.id).is_some() {
            self.patience = self.patience.saturating_sub(self.offered.elapsed());
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.unread.remove(&self.id);
        state.waiting.remove(&self.id);
        state.arriving.remove(&self.id);
        state.in_flight -= 1;
        if state.in_flight == 0 {
            state.quiet_since = Instant::now();
        }
    }
}

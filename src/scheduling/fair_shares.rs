//! Fair shares within a class of work: whose turn comes first.
//!
//! Beside the real queue runs an imaginary one, in which the workers are divided equally between all flows at every
//! moment; a flow is a client, or a request whose client is not known. A request is *tagged* with the moment at which
//! the imaginary queue would finish it, and the real one serves the smallest tag first.
//!
//! Why that is fair: at every moment both queues have done the same amount of work, and the real one did it in the
//! order in which the imaginary one finishes. So when the imaginary queue finishes a request, the real one has finished
//! it too, up to the turn that was running when the request came (Friedman and Henderson, 2003). Nobody waits longer
//! than if the workers were shared out equally, most wait less, and requests of one size are served in the order in
//! which they came. Nobody starves: a tag is never changed, and the imaginary clock, from which later tags are counted,
//! goes on as long as anything is worked on.

use std::collections::{BTreeSet, HashMap};

/// The imaginary queue of one class. Its time and the work are in nanoseconds of one worker.
#[derive(Debug, Default)]
pub(super) struct FairShares {
    /// Work that each flow has had so far.
    now: u64,
    /// When each flow that still has work will have had all of it.
    ends: BTreeSet<(u64, Flow)>,
    /// The same by client.
    clients: HashMap<u64, u64>,
    requests: u64,
    /// Work that could not be divided between the flows, less than one nanosecond for each.
    undivided: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flow {
    Client(u64),
    Request(u64),
}

impl FairShares {
    /// Adds a request of a client, if that is known, and answers its tag. Requests of one client have one share between
    /// them.
    pub(super) fn join(&mut self, client: Option<u64>, cost: u64) -> u64 {
        let cost = cost.max(1);
        let Some(client) = client else {
            let tag = self.now.saturating_add(cost);
            self.requests += 1;
            self.ends.insert((tag, Flow::Request(self.requests)));
            return tag;
        };
        let flow = Flow::Client(client);
        let start = match self.clients.get(&client) {
            Some(&end) => {
                self.ends.remove(&(end, flow));
                end
            }
            None => self.now,
        };
        let tag = start.saturating_add(cost);
        self.ends.insert((tag, flow));
        self.clients.insert(client, tag);
        tag
    }

    /// So much work has left the real queue, done or given up: it leaves the imaginary one too.
    pub(super) fn advance(&mut self, work: u64) {
        let mut work = work.saturating_add(std::mem::take(&mut self.undivided));
        while let Some(&(end, flow)) = self.ends.first() {
            let flows = self.ends.len() as u64;
            let until_end = (end - self.now).saturating_mul(flows);
            if work < until_end {
                self.now += work / flows;
                self.undivided = work % flows;
                return;
            }
            work -= until_end;
            self.now = end;
            self.ends.pop_first();
            if let Flow::Client(client) = flow {
                self.clients.remove(&client);
            }
        }
    }

    /// The real queue is empty, and so is the imaginary one: what remains in it are rounding errors.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.clients.clear();
        self.undivided = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_keep_their_order_and_small_ones_pass_large_ones() {
        let mut fair_shares = FairShares::default();
        let first = fair_shares.join(None, 100);
        let second = fair_shares.join(None, 100);
        assert!(first <= second);
        fair_shares.advance(50);
        assert!(fair_shares.join(None, 100) > second);
        assert!(fair_shares.join(None, 1) < first);
    }

    #[test]
    fn a_large_request_is_not_passed_for_ever() {
        let mut fair_shares = FairShares::default();
        let large = fair_shares.join(None, 64_000);
        let mut passed = 0;
        while fair_shares.join(None, 1_000) <= large {
            fair_shares.advance(1_000);
            passed += 1;
        }
        // All workers would be busy with the small ones alone. Then n small ones wait beside it when it has had n/2 of
        // them.
        assert!((2_000..6_000).contains(&passed), "{passed}");
    }

    #[test]
    fn a_client_has_one_share_however_many_requests_it_sends() {
        let mut fair_shares = FairShares::default();
        let busy: Vec<u64> = (0..100).map(|_| fair_shares.join(Some(1), 10)).collect();
        let calm: Vec<u64> = (0..3).map(|_| fair_shares.join(Some(2), 10)).collect();
        assert_eq!(calm, busy[..3]);
        fair_shares.advance(30);
        let newcomer = fair_shares.join(Some(3), 10);
        assert!(newcomer < busy[3], "{newcomer} {busy:?}");
    }

    #[test]
    fn an_idle_time_gives_no_claim() {
        let mut fair_shares = FairShares::default();
        let _ = fair_shares.join(Some(1), 10);
        fair_shares.advance(10);
        let _ = fair_shares.join(Some(2), 1_000);
        fair_shares.advance(500);
        // It was away while the other had 500: it starts now, not in the past.
        assert_eq!(fair_shares.join(Some(1), 10), 10 + 500 + 10);
    }
}

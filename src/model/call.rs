//! The circumstances of one request: until when its answer is of use, and leave to give work to the workers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Refusal, cost_floor::CostFloor, progress::Board};
use crate::{
    metrics::Metrics,
    scheduling::{AdmissionError, Ask, Class, Permit, Quota, Scheduler},
    trace::{self, Trace},
};

/// Time that work has which nobody waits for.
const SHADOW_TIME: Duration = Duration::from_secs(10);

/// One request on its way through a model.
#[derive(Debug, Clone)]
pub struct Call {
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// Who watches how far the images are, if anybody does.
    pub watch: Option<Arc<Board>>,
    /// Whose request it is, where requests of one client share one client's part of the workers.
    pub client: Option<u64>,
    /// What its client may have, where that is limited.
    pub quota: Option<Arc<Quota>>,
    /// Whether nobody is answered: its images are no part of a stream, and its refusal is nobody's.
    pub is_shadow: bool,
    /// What its items cost at least, where that is learnt.
    pub minimum_cost: Option<MinimumCost>,
    /// Where what it comes to is told.
    pub trace: Trace,
    scheduler: Arc<Scheduler>,
    metrics: Arc<Metrics>,
}

/// What a request costs at least.
#[derive(Debug, Clone)]
pub struct MinimumCost {
    /// What an item of such requests does.
    pub least: Arc<CostFloor>,
    /// Its items, as far as they are known.
    pub items: usize,
}

impl Call {
    /// A request whose work `scheduler` admits and does.
    pub fn new(scheduler: Arc<Scheduler>, metrics: Arc<Metrics>, deadline: Instant) -> Self {
        Self {
            deadline,
            watch: None,
            client: None,
            quota: None,
            is_shadow: false,
            minimum_cost: None,
            trace: trace::current(),
            scheduler,
            metrics,
        }
    }

    /// A call that nobody is answered by, with as much time as this one had at least.
    #[must_use]
    pub fn in_shadow(&self) -> Self {
        Self {
            deadline: self.deadline.max(Instant::now() + SHADOW_TIME),
            watch: None,
            // All shadows together have one client's part of the workers.
            client: Some(u64::MAX),
            quota: None,
            is_shadow: true,
            minimum_cost: None,
            trace: Trace::default(),
            ..self.clone()
        }
    }

    /// Whether no short work waits for a worker.
    pub fn nothing_waits(&self) -> bool {
        !self.scheduler.has_waiting(Class::Interactive)
    }

    /// Leave to give the workers so much to do.
    pub fn admit(&self, class: Class, cost: Duration) -> Result<Permit, Refusal> {
        if let Some(minimum_cost) = &self.minimum_cost {
            minimum_cost.least.note(class, minimum_cost.items, cost, Instant::now());
        }
        let limited = self.client.zip(self.quota.as_ref());
        if let Some((client, quota)) = limited
            && let Err(retry_after) = quota.check(client)
        {
            self.metrics.reject("quota_exceeded");
            return Err(Refusal::quota_exceeded(retry_after));
        }
        let permit = self.scheduler.admit(self.ask(class, cost));
        let permit = permit.map_err(|error| self.refusal(&error))?;
        if let Some((client, quota)) = limited {
            quota.charge(client, cost);
        }
        Ok(permit.traced(&self.trace))
    }

    /// Refuses what [`Self::admit`] would refuse later, when more has been done for it: for all that is known of its
    /// cost, there is no room. Where nothing waits there always is.
    pub fn foresee(&self) -> Result<(), Refusal> {
        let known = |minimum_cost: &MinimumCost| minimum_cost.least.of(minimum_cost.items, Instant::now());
        let Some((class, cost)) = self.minimum_cost.as_ref().and_then(known) else {
            return Ok(());
        };
        let foreseen = self.scheduler.foresee(self.ask(class, cost));
        foreseen.map_err(|error| self.refusal(&error))
    }

    fn ask(&self, class: Class, cost: Duration) -> Ask {
        Ask {
            class,
            cost,
            deadline: Some(self.deadline),
            client: self.client,
        }
    }

    fn refusal(&self, error: &AdmissionError) -> Refusal {
        let (reason, refusal) = match error {
            AdmissionError::Full { retry_after } => ("overloaded", Refusal::overloaded(*retry_after)),
            AdmissionError::Draining => ("shutting_down", Refusal::shutting_down()),
        };
        if !self.is_shadow {
            self.metrics.reject(reason);
        }
        refusal
    }

    /// The server's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

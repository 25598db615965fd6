//! The circumstances of one request: until when its answer is of use, and leave to give work to the workers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Refusal, progress::Board};
use crate::{
    metrics::Metrics,
    scheduling::{AdmissionError, Ask, Class, Meter, Permit, Scheduler},
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
    pub meter: Option<Arc<Meter>>,
    /// Whether nobody is answered: its images are no part of a stream, and its refusal is nobody's.
    pub is_shadow: bool,
    scheduler: Arc<Scheduler>,
    metrics: Arc<Metrics>,
}

impl Call {
    /// A request whose work `scheduler` admits and does.
    pub fn new(scheduler: Arc<Scheduler>, metrics: Arc<Metrics>, deadline: Instant) -> Self {
        Self {
            deadline,
            watch: None,
            client: None,
            meter: None,
            is_shadow: false,
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
            meter: None,
            is_shadow: true,
            ..self.clone()
        }
    }

    /// Whether no short work waits for a worker.
    pub fn nothing_waits(&self) -> bool {
        self.metrics.waiting(Class::Interactive.name()) == 0
    }

    /// Leave to give the workers so much to do.
    pub fn admit(&self, class: Class, cost: Duration) -> Result<Permit, Refusal> {
        let ask = Ask {
            class,
            cost,
            deadline: Some(self.deadline),
            client: self.client,
        };
        let metered = self.client.zip(self.meter.as_ref());
        if let Some((client, meter)) = metered
            && let Err(retry_after) = meter.check(client)
        {
            self.metrics.reject("quota_exceeded");
            return Err(Refusal::quota_exceeded(retry_after));
        }
        let permit = self.scheduler.admit(ask).map_err(|error| match error {
            AdmissionError::Full { retry_after } => {
                if !self.is_shadow {
                    self.metrics.reject("overloaded");
                }
                Refusal::overloaded(retry_after)
            }
            AdmissionError::Draining => {
                if !self.is_shadow {
                    self.metrics.reject("shutting_down");
                }
                Refusal::shutting_down()
            }
        })?;
        if let Some((client, meter)) = metered {
            meter.charge(client, cost);
        }
        Ok(permit)
    }

    /// The server's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

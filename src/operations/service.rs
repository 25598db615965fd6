//! What a server can be asked: its models, and requests of them, which are opened here. Every transport and the command
//! line go this way, so that defaults, limits and deadlines exist once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use super::{
    AnyOperation, Context, Format, Limits, Registry, Work,
    costs::Costs,
    pending::{Pending, known_of},
};
use crate::{
    access::{Access, Caller, Scope},
    intake::{Decoding, MemoryBudget, Takes, options::Known},
    metrics::Metrics,
    model::{
        Call, Kind, Refusal,
        call::MinimumCost,
        catalogue::{Catalogue, Listing},
        control::{Change, Operator},
        detect::WatchesDrift,
        info::{Capable, Details, ModelInfo, Preprocessing, State},
        shadow::Shadow,
    },
    scheduling::{Class, Quota, Scheduler},
};

/// Requests that shadows work on at once.
const SHADOWS: usize = 2;

/// The models of a catalogue and what can be asked of them.
#[derive(Debug)]
pub struct Service {
    catalogue: Arc<dyn Catalogue>,
    operator: Operator,
    shadows: Arc<Semaphore>,
    operations: Vec<Entry>,
    scheduler: Arc<Scheduler>,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    decoding: Arc<Decoding>,
    memory_budget: Arc<MemoryBudget>,
    access: Arc<Access>,
    quota: Option<Arc<Quota>>,
    costs: Costs,
    draining: watch::Sender<bool>,
}

/// An operation and the options that may come with it.
#[derive(Debug, Clone)]
struct Entry {
    operation: Arc<dyn AnyOperation>,
    known: Arc<Known>,
}

impl Service {
    /// A service over the models of a catalogue.
    pub fn new(
        catalogue: Arc<dyn Catalogue>,
        operations: &Registry,
        scheduler: Arc<Scheduler>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            catalogue,
            operator: Operator::nobody(),
            shadows: Arc::new(Semaphore::new(SHADOWS)),
            operations: operations.iter().map(Entry::new).collect(),
            scheduler,
            metrics,
            decoding: Arc::new(Decoding::new(limits.decoding)),
            memory_budget: MemoryBudget::new(limits.max_held_bytes),
            limits: Arc::new(limits),
            access: Arc::new(Access::open()),
            quota: None,
            costs: Costs::default(),
            draining: watch::Sender::new(false),
        }
    }

    /// The same, with models that an operator changes by calls.
    #[must_use]
    pub fn operated(mut self, operator: Operator) -> Self {
        self.operator = operator;
        self
    }

    /// From now on only those are served who have keys, each with its share.
    pub fn guard(&mut self, access: Arc<Access>, quota: Option<Arc<Quota>>) {
        self.access = access;
        self.quota = quota;
    }

    /// Who may ask.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The metrics of this server.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What one request may ask for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The books of the memory that requests hold.
    pub fn memory_budget(&self) -> &Arc<MemoryBudget> {
        &self.memory_budget
    }

    /// The models.
    pub fn catalogue(&self) -> &dyn Catalogue {
        &*self.catalogue
    }

    /// What can be asked of models.
    pub fn operations(&self) -> impl Iterator<Item = &Arc<dyn AnyOperation>> {
        self.operations.iter().map(|entry| &entry.operation)
    }

    /// The operation of that name.
    pub fn operation(&self, name: &str) -> Result<&Arc<dyn AnyOperation>, Refusal> {
        let entry = self.entry(name).ok_or_else(|| self.no_such_operation(name))?;
        Ok(&entry.operation)
    }

    /// Whether the server takes new work: its models are ready and it is not draining.
    pub fn is_ready(&self) -> bool {
        self.unready().is_none()
    }

    /// Why the server takes no new work, if it takes none.
    pub fn unready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("the server is shutting down".to_owned());
        }
        self.catalogue.unready()
    }

    /// What the operator should know though the server takes work: a folder of models that cannot be read, calls that
    /// cannot be kept, pins that lead nowhere, versions that were refused, and what ready ones do without. Their number
    /// is a metric.
    pub fn weaknesses(&self) -> Vec<String> {
        let mut all = self.catalogue.troubles();
        for listing in self.catalogue.listings() {
            let which = format!("model {:?} version {}", listing.name, listing.version);
            if listing.state == State::Failed || listing.state == State::Ready && listing.reason.is_some() {
                let reason = listing.reason.unwrap_or_default();
                all.push(format!("{which} is refused: {reason}"));
            }
            let own = listing.model.iter().flat_map(|model| &model.card.weaknesses);
            all.extend(own.map(|weakness| format!("{which}: {weakness}")));
        }
        self.metrics.weaknesses.set(all.len() as i64);
        all
    }

    /// Whether the server has begun to shut down.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// The same, for who waits until it has.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Whether work waits for a worker. While none does, there is room for any.
    pub fn is_busy(&self) -> bool {
        self.scheduler.has_waiting(Class::Interactive) || self.scheduler.has_waiting(Class::Bulk)
    }

    /// From now on [`Self::is_ready`] is false, so that nothing new is sent here. Requests that came all the same, or
    /// whose body is still on its way, are served: it is the transport that stops taking them.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Every version of every model, ready or not, in order of name and version.
    pub fn models(&self) -> Vec<ModelInfo> {
        let listings = self.catalogue.listings();
        listings.into_iter().map(|own| self.describe(own)).collect()
    }

    /// One version; by default the one that serves, else the newest.
    pub fn model_info(&self, name: &str, version: Option<u32>) -> Result<ModelInfo, Refusal> {
        let listing = self.catalogue.listing(name, version)?;
        Ok(self.describe(listing))
    }

    /// Changes which versions are loaded or which serves by default. Every transport's calls of operators come through
    /// here and through [`Self::look`], so this is where they are allowed or not. Answers the model's versions.
    pub async fn change(&self, change: Change) -> Result<Vec<ModelInfo>, Refusal> {
        let listings = self.operator()?.change(change).await?;
        Ok(listings.into_iter().map(|own| self.describe(own)).collect())
    }

    /// Looks for new and removed versions. Answers every version of every model.
    pub async fn look(&self) -> Result<Vec<ModelInfo>, Refusal> {
        let listings = self.operator()?.look().await?;
        Ok(listings.into_iter().map(|own| self.describe(own)).collect())
    }

    fn operator(&self) -> Result<&Operator, Refusal> {
        if self.is_draining() {
            return Err(Refusal::shutting_down());
        }
        Ok(&self.operator)
    }

    fn describe(&self, listing: Listing) -> ModelInfo {
        let details = listing.model.map(|model| Details {
            card: model.card.clone(),
            capabilities: self
                .operations()
                .map(|operation| {
                    let reason = operation.available(&model).err();
                    let formats = reason.is_none().then(|| operation.formats(&model));
                    let formats = formats.into_iter().flatten();
                    Capable {
                        name: operation.about().name,
                        available: reason.is_none(),
                        formats: formats.map(|format| format.media_type()).collect(),
                        reason: reason.map(|reason| reason.to_string()),
                    }
                })
                .collect(),
            image: model.shape.into(),
            preprocessing: Preprocessing::of(model.preprocessing),
            labels: model.label_names().to_vec(),
            prior: model
                .labels
                .as_ref()
                .map_or_else(Vec::new, |labels| labels.prior.clone()),
            watches_drift: model.can::<dyn WatchesDrift>().is_ok(),
        });
        ModelInfo {
            name: listing.name,
            version: listing.version,
            state: listing.state,
            default: listing.is_default,
            pinned: listing.is_pinned,
            shadow: listing.is_shadow,
            reason: listing.reason,
            details,
        }
    }

    /// The circumstances of a request that no operation declares.
    pub fn call(&self, deadline: Instant) -> Call {
        Call::new(Arc::clone(&self.scheduler), Arc::clone(&self.metrics), deadline)
    }

    /// Opens a request: the caller may ask for it, the model must be there, ready, and able to do it. `started` is when
    /// it came, `timeout` how many seconds it wants to wait.
    pub fn open(
        &self,
        caller: &Caller,
        operation: &str,
        (model, version): (&str, Option<u32>),
        timeout: Option<Duration>,
        started: Instant,
    ) -> Result<Pending, Refusal> {
        let entry = self.entry(operation).ok_or_else(|| self.no_such_operation(operation))?;
        let about = entry.operation.about();
        caller.may(match about.work {
            Work::Interactive => Scope::Read,
            Work::Bulk => Scope::Sample,
        })?;
        let model = self.catalogue.model(model, version)?;
        entry
            .operation
            .available(&model)
            .map_err(|reason| Refusal::unsupported(&model.name, about.name, &reason))?;
        let default = match about.work {
            Work::Interactive => self.limits.request_timeout,
            Work::Bulk => self.limits.max_request_timeout,
        };
        let limit = match timeout {
            Some(timeout) => self.limits.check_timeout(timeout)?,
            None => default,
        };
        let shadow = self.catalogue.shadow(&model);
        let mut call = self.call(started + limit);
        call.client = caller.client();
        call.quota.clone_from(&self.quota);
        // What brings nothing has nothing that could be spared by refusing it earlier.
        call.minimum_cost = (about.takes != Takes::Nothing).then(|| MinimumCost {
            least: self.costs.of(&model, about.name),
            items: 1,
        });
        Ok(Pending {
            model,
            operation: Arc::clone(&entry.operation),
            known: Arc::clone(&entry.known),
            context: Context {
                call,
                limits: Arc::clone(&self.limits),
                shadow: shadow.map(|model| Shadow::new(model, Arc::clone(&self.shadows))),
            },
            decoding: Arc::clone(&self.decoding),
            format: Format::Json,
            named: timeout.is_some(),
        })
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.operations
            .iter()
            .find(|entry| entry.operation.about().name == name)
    }

    fn no_such_operation(&self, name: &str) -> Refusal {
        let known: Vec<&str> = self.operations().map(|o| o.about().name).collect();
        Refusal::new(
            Kind::UnknownRoute,
            format!(
                "there is no operation {:?}; there are: {}",
                crate::model::refusal::clip(name),
                known.join(", ")
            ),
        )
    }
}

impl Entry {
    fn new(operation: &Arc<dyn AnyOperation>) -> Self {
        Self {
            known: known_of(&**operation),
            operation: Arc::clone(operation),
        }
    }
}

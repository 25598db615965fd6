//! What requests of each operation of each model cost the workers at least.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::model::{Model, cost_floor::CostFloor};

/// By name of the model; a version that is loaded again costs what it did.
#[derive(Debug, Default)]
pub(super) struct Costs(Mutex<HashMap<String, Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    version: u32,
    operation: &'static str,
    least: Arc<CostFloor>,
}

impl Costs {
    /// What is learnt of one operation.
    pub(super) fn of(&self, model: &Model, operation: &'static str) -> Arc<CostFloor> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |entry: &&Entry| entry.version == model.version && entry.operation == operation;
        if let Some(entry) = all.get(&model.name).and_then(|entries| entries.iter().find(is_it)) {
            return Arc::clone(&entry.least);
        }
        let least = Arc::default();
        all.entry(model.name.clone()).or_default().push(Entry {
            version: model.version,
            operation,
            least: Arc::clone(&least),
        });
        least
    }
}

//! What requests see of the repository: every version with its state, the newest that serves, and whether all is there
//! that must be.

use std::{collections::BTreeMap, sync::Arc};

use super::Repository;
use crate::model::{
    Model, Refusal,
    catalogue::{self, Catalogue, Listing},
    info::State,
};

/// All versions of all models, by name and number.
pub(super) type Versions = BTreeMap<String, BTreeMap<u32, Entry>>;

/// How far a version is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Why it is not further, if it stays where it is.
    pub(super) reason: Option<String>,
    /// If it is ready.
    pub(super) model: Option<Arc<Model>>,
    /// Whether the same files would come to the same: it is ready, or complete and has failed its proof.
    pub(super) is_settled: bool,
}

impl Entry {
    /// On its way.
    pub(super) fn at(state: State) -> Self {
        Self {
            state,
            reason: None,
            model: None,
            is_settled: false,
        }
    }

    /// It comes no further, for this reason.
    pub(super) fn stuck(state: State, reason: String, is_settled: bool) -> Self {
        Self {
            reason: Some(reason),
            is_settled,
            ..Self::at(state)
        }
    }

    pub(super) fn ready(model: Model) -> Self {
        Self {
            model: Some(Arc::new(model)),
            is_settled: true,
            ..Self::at(State::Ready)
        }
    }

    fn listing(&self, name: &str, version: u32) -> Listing {
        Listing {
            name: name.to_owned(),
            version,
            state: self.state,
            reason: self.reason.clone(),
            model: self.model.clone(),
        }
    }
}

impl Catalogue for Repository {
    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Refusal> {
        let Listing {
            version, reason, model, ..
        } = self.listing(name, version)?;
        let reason = reason.as_deref().unwrap_or("it is being loaded");
        model.ok_or_else(|| catalogue::not_ready(name, version, reason))
    }

    fn listing(&self, name: &str, version: Option<u32>) -> Result<Listing, Refusal> {
        let all = self.versions.load();
        // Until the first look is over, nobody knows what there is.
        let missing = |refusal: Refusal| {
            if self.has_looked() {
                refusal
            } else {
                catalogue::still_loading()
            }
        };
        let versions = all.get(name).filter(|versions| !versions.is_empty());
        let versions = versions.ok_or_else(|| missing(catalogue::no_such_model(name, all.keys().cloned())))?;
        let found = match version {
            Some(number) => versions.get_key_value(&number),
            None => versions
                .iter()
                .rfind(|(_, entry)| entry.model.is_some())
                .or_else(|| versions.last_key_value()),
        };
        found
            .map(|(number, entry)| entry.listing(name, *number))
            .ok_or_else(|| {
                missing(catalogue::no_such_version(
                    name,
                    version.unwrap_or_default(),
                    versions.keys().copied(),
                ))
            })
    }

    fn listings(&self) -> Vec<Listing> {
        let all = self.versions.load();
        let listings = all
            .iter()
            .flat_map(|(name, versions)| versions.iter().map(|(number, entry)| entry.listing(name, *number)));
        listings.collect()
    }

    fn unready(&self) -> Option<String> {
        if !self.has_looked() {
            return Some("the models are still being loaded".to_owned());
        }
        let all = self.versions.load();
        let serves = |versions: &BTreeMap<u32, Entry>| versions.values().any(|entry| entry.model.is_some());
        let required = &self.loading.required;
        if required.is_empty() {
            return (!all.values().any(serves)).then(|| "no model serves".to_owned());
        }
        let missing: Vec<&str> = required
            .iter()
            .map(String::as_str)
            .filter(|&name| !all.get(name).is_some_and(serves))
            .collect();
        let names = missing.join(", ");
        (!missing.is_empty()).then(|| format!("models that must serve do not: {names}"))
    }
}

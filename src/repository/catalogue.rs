//! What requests see of the repository: every version with its state, the newest that serves, and whether all is there
//! that must be.

use std::{collections::BTreeMap, sync::Arc};

use super::{Repository, lock};
use crate::model::{
    Model, Refusal,
    catalogue::{self, Catalogue, Listing},
    info::State,
};

/// All versions of all models, by name and number.
pub(super) type Versions = BTreeMap<String, BTreeMap<u32, Entry>>;

/// What requests see.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    pub(super) versions: Versions,
    /// By name, the version that answers requests that name none, where an operator said which.
    pub(super) pinned: BTreeMap<String, u32>,
    /// By name, the version that judges in the shadow of the others.
    pub(super) shadows: BTreeMap<String, u32>,
}

impl Shown {
    /// The version that answers requests that name none, if one does: the one that is pinned, else the newest that is
    /// ready. One that is pinned and not ready has no substitute: it was pinned because of the others.
    pub(super) fn default_of(&self, name: &str) -> Option<u32> {
        let versions = self.versions.get(name)?;
        let is_ready = |number: &u32| versions.get(number).is_some_and(|entry| entry.model.is_some());
        match self.pinned.get(name) {
            Some(pinned) => Some(*pinned).filter(is_ready),
            None => versions.keys().copied().rfind(is_ready),
        }
    }
}

/// How far a version is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) state: State,
    /// Why it is not further, if it stays where it is.
    pub(super) reason: Option<String>,
    /// If it is ready.
    pub(super) model: Option<Arc<Model>>,
    /// What it is made of, if it is ready.
    pub(super) members: Vec<(String, u32)>,
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
            members: Vec::new(),
            is_settled: false,
        }
    }

    /// By an operator.
    pub(super) fn unloaded() -> Self {
        let reason = "it was unloaded by a call, and a call can load it".to_owned();
        Self::stuck(State::Unloaded, reason, false)
    }

    /// It comes no further, for this reason.
    pub(super) fn stuck(state: State, reason: String, is_settled: bool) -> Self {
        Self {
            reason: Some(reason),
            is_settled,
            ..Self::at(state)
        }
    }

    pub(super) fn ready(model: Model, members: Vec<(String, u32)>) -> Self {
        Self {
            model: Some(Arc::new(model)),
            members,
            is_settled: true,
            ..Self::at(State::Ready)
        }
    }

    /// What is shown of a version that was ready before: if it is not ready any more, what was loaded before serves on.
    pub(super) fn after(self, before: Option<&Self>) -> Self {
        match (&self.reason, before) {
            (Some(reason), Some(before)) if before.model.is_some() => Self {
                reason: Some(format!(
                    "what was loaded before serves on; what its folder holds now is refused: {reason}"
                )),
                is_settled: self.is_settled,
                ..before.clone()
            },
            _ => self,
        }
    }
}

impl Shown {
    fn listing(&self, name: &str, version: u32, entry: &Entry) -> Listing {
        Listing {
            name: name.to_owned(),
            version,
            state: entry.state,
            reason: entry.reason.clone(),
            model: entry.model.clone(),
            is_default: self.default_of(name) == Some(version),
            is_pinned: self.pinned.get(name) == Some(&version),
            is_shadow: self.shadows.get(name) == Some(&version),
        }
    }
}

impl Repository {
    /// The versions of a model, among which is the one that is named.
    pub(super) fn versions<'a>(
        &self,
        shown: &'a Shown,
        name: &str,
        version: Option<u32>,
    ) -> Result<&'a BTreeMap<u32, Entry>, Refusal> {
        // Until the first look is over, nobody knows what there is.
        let missing = |refusal: Refusal| {
            if self.has_looked() {
                refusal
            } else {
                catalogue::still_loading()
            }
        };
        let known = || shown.versions.keys().cloned();
        let versions = shown.versions.get(name).filter(|versions| !versions.is_empty());
        let versions = versions.ok_or_else(|| missing(catalogue::no_such_model(name, known())))?;
        match version {
            Some(number) if !versions.contains_key(&number) => {
                let known = versions.keys().copied();
                Err(missing(catalogue::no_such_version(name, number, known)))
            }
            _ => Ok(versions),
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
        let shown = self.shown.load();
        let versions = self.versions(&shown, name, version)?;
        let number = version
            .or_else(|| shown.pinned.get(name).copied())
            .or_else(|| shown.default_of(name))
            .or_else(|| versions.last_key_value().map(|(&number, _)| number))
            .unwrap_or_default();
        let entry = versions.get(&number);
        let entry = entry.ok_or_else(|| {
            let reason = "it is pinned and is not in the repository any more; pin another version, or unpin";
            catalogue::not_ready(name, number, reason)
        })?;
        Ok(shown.listing(name, number, entry))
    }

    fn shadow(&self, of: &Model) -> Option<Arc<Model>> {
        let shown = self.shown.load();
        let number = shown.shadows.get(&of.name).filter(|&&number| number != of.version)?;
        let model = shown.versions.get(&of.name)?.get(number)?.model.as_ref()?;
        // Another size of images is another question.
        (model.shape == of.shape).then(|| Arc::clone(model))
    }

    fn listings(&self) -> Vec<Listing> {
        let shown = self.shown.load();
        let all = shown.versions.iter();
        let listings = all.flat_map(|(name, versions)| {
            let own = versions.iter();
            own.map(|(&number, entry)| shown.listing(name, number, entry))
        });
        listings.collect()
    }

    fn troubles(&self) -> Vec<String> {
        let unread = lock(&self.unread).clone();
        let unread = unread.map(|reason| format!("models stay as they are: their folder cannot be read: {reason}"));
        let shown = self.shown.load();
        let pins = shown.pinned.iter();
        let idle = pins.filter(|(name, _)| shown.versions.contains_key(*name) && shown.default_of(name).is_none());
        let idle = idle.map(|(name, number)| {
            format!("model {name:?} is pinned to version {number}, which does not serve: pin another version, or unpin")
        });
        unread
            .into_iter()
            .chain(lock(&self.unkept).clone())
            .chain(idle)
            .collect()
    }

    fn unready(&self) -> Option<String> {
        if !self.has_looked() {
            return Some("the models are still being loaded".to_owned());
        }
        let shown = self.shown.load();
        let serves = |name: &str| shown.default_of(name).is_some();
        let required = &self.loading.required;
        if required.is_empty() {
            let any = shown.versions.keys().any(|name| serves(name));
            let told = || {
                [vec!["no model serves".to_owned()], self.troubles()]
                    .concat()
                    .join("; ")
            };
            return (!any).then(told);
        }
        let missing: Vec<&str> = required
            .iter()
            .map(String::as_str)
            .filter(|&name| !serves(name))
            .collect();
        let names = missing.join(", ");
        (!missing.is_empty()).then(|| format!("models that must serve do not: {names}"))
    }
}

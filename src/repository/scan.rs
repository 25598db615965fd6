//! One look at a repository: what was there before, what has been loaded so far, and what the log is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    catalogue::{Entry, Versions},
    lock,
};
use crate::model::{Model, info::State};

/// A scan that goes on.
pub(super) struct Scan<'a> {
    pub(super) before: &'a Versions,
    /// What the scan before came to, see [`super::Known`].
    pub(super) settled: BTreeMap<(String, u32), [u8; 32]>,
    /// What this one came to so far.
    pub(super) loaded: Mutex<Versions>,
    /// Why the folders of some models cannot be read.
    pub(super) unreadable: BTreeMap<String, String>,
}

impl Scan<'_> {
    /// A model that is loaded already, or why it is not.
    pub(super) fn member(&self, name: &str, number: u32) -> Result<Arc<Model>, String> {
        let loaded = lock(&self.loaded);
        let Some(entry) = loaded.get(name).and_then(|versions| versions.get(&number)) else {
            return Err(match self.unreadable.get(name) {
                Some(error) => format!("the model's folder cannot be read: {error}"),
                None => NO_MEMBER.to_owned(),
            });
        };
        entry.model.clone().ok_or_else(|| {
            let reason = entry.reason.as_deref().unwrap_or_default();
            format!("it is refused itself: {reason}")
        })
    }
}

const NO_MEMBER: &str = "there is no such model in this repository";

/// Versions of models whose folder cannot be read, such as that of a file system that is away for a while: nobody
/// removed them, so what serves serves on.
pub(super) fn unread(before: &Versions, unreadable: &BTreeMap<String, String>) -> Versions {
    let known = before
        .iter()
        .filter_map(|(name, own)| Some((name, own, unreadable.get(name)?)));
    let kept = known.map(|(name, own, error)| {
        let stuck = || {
            Entry::stuck(
                State::Discovered,
                format!("the model's folder cannot be read: {error}"),
                false,
            )
        };
        let kept = own.iter().map(|(&number, before)| {
            let entry = stuck().after(Some(before));
            tell_refused(name, number, &entry, Some(before));
            (number, entry)
        });
        (name.clone(), kept.collect())
    });
    kept.collect()
}

/// Tells the log of versions that are no longer in the folder.
pub(super) fn tell_removed(before: &Versions, now: &Versions) {
    for (name, versions) in before {
        let is_gone = |number: &&u32| now.get(name).is_none_or(|own| !own.contains_key(number));
        for number in versions.keys().filter(is_gone) {
            tracing::info!(model = name, version = number, "model removed: its folder is gone");
        }
    }
}

/// Tells the log of a version that comes no further, once for each reason.
pub(super) fn tell_refused(name: &str, number: u32, entry: &Entry, before: Option<&Entry>) {
    if let Some(reason) = &entry.reason
        && before.and_then(|before| before.reason.as_ref()) != Some(reason)
    {
        tracing::error!(model = name, version = number, reason, "model refused");
    }
}

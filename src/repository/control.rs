//! Versions loaded, unloaded, pinned and rolled back by operators while requests go on.
//!
//! A pin or an unloading takes effect at once, also while other versions are being proved; a load takes as long as its
//! load gates. What a request holds, it keeps.

use std::{collections::BTreeSet, io, sync::Arc};

use super::{
    Repository,
    catalogue::{Entry, Shown},
    lock,
    overrides::{Override, Overrides},
    source::Sight,
};
use crate::model::{
    Kind, Model, Refusal,
    catalogue::{self, Catalogue, Listing},
    control::{Action, Change, Control},
    detect::Judges,
};

/// What is wrong where changes cannot be written down.
const UNKEPT: &str = "calls cannot change models, because what they come to cannot be kept for restarts";

/// A version by name and number.
type Version = (String, u32);

impl Control for Repository {
    fn change(&self, change: &Change) -> Result<Vec<Listing>, Refusal> {
        let (model, version) = (&*change.model, change.version);
        match (change.action, version) {
            (Action::Load, _) => self.load_by_call(model, version, false)?,
            (Action::Reload, _) => self.load_by_call(model, version, true)?,
            (Action::Unload, _) => self.unload(model, version, change.dependents)?,
            (Action::Pin, Some(version)) => self.pin(model, version)?,
            (Action::Pin | Action::Unpin, _) => self.unpin(model)?,
            (Action::Rollback, _) => self.roll_back(model)?,
            (Action::Shadow, Some(version)) => self.put_in_shadow(model, version)?,
            (Action::Shadow | Action::Unshadow, _) => self.unshadow(model)?,
        }
        let mut listings = self.listings();
        listings.retain(|own| own.name == model);
        Ok(listings)
    }

    fn look(&self) -> Result<Vec<Listing>, Refusal> {
        self.sight()?;
        self.scan().map_err(unreadable)?;
        Ok(self.listings())
    }
}

impl Repository {
    fn load_by_call(&self, model: &str, version: Option<u32>, again: bool) -> Result<(), Refusal> {
        // What is not there is not wished for: names would gather.
        let there = self.sight()?.candidates;
        let mut known = lock(&self.known);
        let mut own = there.iter().filter(|candidate| candidate.name == model).peekable();
        if own.peek().is_none() {
            let names: BTreeSet<&str> = there.iter().map(|candidate| &*candidate.name).collect();
            return Err(catalogue::no_such_model(
                model,
                names.into_iter().map(ToOwned::to_owned),
            ));
        }
        let numbers: Vec<u32> = own.map(|candidate| candidate.number).collect();
        if let Some(version) = version
            && !numbers.contains(&version)
        {
            return Err(catalogue::no_such_version(model, version, numbers.into_iter()));
        }
        self.set(&[model], |over| over.load(version))?;
        if again {
            let mut anew: BTreeSet<Version> = numbers
                .into_iter()
                .filter(|&number| version.is_none_or(|version| version == number))
                .map(|number| (model.to_owned(), number))
                .collect();
            // What is made of a model holds it: left alone, it would keep the one from before in memory.
            anew.extend(self.shown.load().made_of(&anew));
            known.settled.retain(|version, _| !anew.contains(version));
        }
        self.scan_locked(&mut known).map_err(unreadable)?;
        drop(known);
        let listing = self.listing(model, version)?;
        match listing.reason {
            Some(reason) => Err(conflict(format!(
                "model {model:?} version {} is not loaded: {reason}",
                listing.version
            ))),
            None => Ok(()),
        }
    }

    fn unload(&self, model: &str, version: Option<u32>, dependents: bool) -> Result<(), Refusal> {
        let shown = self.shown.load();
        let numbers: Vec<u32> = self.versions(&shown, model, version)?.keys().copied().collect();
        let own: BTreeSet<Version> = numbers
            .into_iter()
            .filter(|&number| version.is_none_or(|version| version == number))
            .map(|number| (model.to_owned(), number))
            .collect();
        if let Some(version) = version
            && shown.pinned.get(model) == Some(&version)
        {
            return Err(conflict(format!(
                "model {model:?} version {version} is pinned: pin another version first, or unpin"
            )));
        }
        let others = shown.made_of(&own);
        if !dependents && let Some((first, number)) = others.first() {
            return Err(conflict(format!(
                "model {first:?} version {number} is made of it; unload that first, or what is made of it along with it"
            )));
        }
        let mut overrides = lock(&self.overrides);
        self.wish(&mut overrides, &[model], |over| over.unload(version))?;
        for (name, number) in &others {
            self.wish(&mut overrides, &[name], |over| over.unload(Some(*number)))?;
        }
        let unloaded: BTreeSet<Version> = own.into_iter().chain(others).collect();
        self.shown.rcu(|shown| {
            let mut next = Shown::clone(shown);
            for (name, number) in &unloaded {
                let entry = next.versions.get_mut(name).and_then(|all| all.get_mut(number));
                if let Some(entry) = entry {
                    *entry = Entry::unloaded();
                }
            }
            next
        });
        self.count(&self.shown.load().versions);
        Ok(())
    }

    fn pin(&self, model: &str, version: u32) -> Result<(), Refusal> {
        self.ready(model, version)?;
        self.set(&[model], |over| over.pin(Some(version)))
    }

    fn put_in_shadow(&self, model: &str, version: u32) -> Result<(), Refusal> {
        let own = self.ready(model, version)?;
        own.can::<dyn Judges>()
            .map_err(|reason| Refusal::unsupported(model, "detect", &reason))?;
        self.set(&[model], |over| over.shadow(Some(version)))
    }

    fn unshadow(&self, model: &str) -> Result<(), Refusal> {
        self.versions(&self.shown.load(), model, None)?;
        self.set(&[model], |over| over.shadow(None))
    }

    /// A version that is ready.
    fn ready(&self, model: &str, version: u32) -> Result<Arc<Model>, Refusal> {
        let shown = self.shown.load();
        let entry = self.versions(&shown, model, Some(version))?.get(&version);
        let own = entry.and_then(|entry| entry.model.clone());
        own.ok_or_else(|| {
            let reason = entry.and_then(|entry| entry.reason.as_deref());
            conflict(format!(
                "model {model:?} version {version} is not ready: {}",
                reason.unwrap_or("it is being loaded")
            ))
        })
    }

    fn unpin(&self, model: &str) -> Result<(), Refusal> {
        self.versions(&self.shown.load(), model, None)?;
        self.set(&[model], |over| over.pin(None))
    }

    fn roll_back(&self, model: &str) -> Result<(), Refusal> {
        let shown = self.shown.load();
        let versions = self.versions(&shown, model, None)?;
        let now = shown.default_of(model);
        let mut ready = versions.iter().filter(|(_, entry)| entry.model.is_some());
        let before = ready.rfind(|&(&number, _)| now.is_none_or(|now| number < now));
        let Some((&before, _)) = before else {
            let now = now.map_or_else(String::new, |now| format!(", older than version {now} that serves now"));
            return Err(conflict(format!(
                "model {model:?} has no version that is ready{now}; one that was unloaded has to be loaded first"
            )));
        };
        self.set(&[model], |over| over.pin(Some(before)))
    }

    /// Changes what is wished of models, and lets requests see it.
    fn set(&self, models: &[&str], change: impl Fn(&mut Override)) -> Result<(), Refusal> {
        let mut overrides = lock(&self.overrides);
        self.wish(&mut overrides, models, change)?;
        let (pinned, shadows) = (overrides.pins(), overrides.shadows());
        self.shown.rcu(|shown| Shown {
            pinned: pinned.clone(),
            shadows: shadows.clone(),
            ..Shown::clone(shown)
        });
        Ok(())
    }
}

/// Files and folders, which may be on a disk that does not answer.
impl Repository {
    /// What the folder holds now, in bounded time: whoever looks for longer holds what other calls wait for.
    fn sight(&self) -> Result<Sight, Refusal> {
        let (source, mut looks) = (self.source.clone(), lock(&self.looks).clone());
        let sight = self.disk.ask(move || source.look(&mut looks));
        if let Err(error) = &sight {
            *lock(&self.unread) = Some(error.to_string());
        }
        sight.map_err(unreadable)
    }

    /// Changes what is wished of models, and keeps it.
    fn wish(&self, overrides: &mut Overrides, models: &[&str], change: impl Fn(&mut Override)) -> Result<(), Refusal> {
        let changed = overrides.change(models.iter().copied(), change);
        self.note_kept(&changed);
        changed.map_err(Refusal::not_kept)
    }

    /// Tries again whether changes can be kept, if they could not.
    pub(super) fn try_again_to_keep(&self) {
        if lock(&self.unkept).is_some() {
            self.note_kept(&lock(&self.overrides).try_to_keep());
        }
    }

    /// Tells that calls can change nothing any more, or again.
    pub(super) fn note_kept(&self, kept: &io::Result<()>) {
        let mut unkept = lock(&self.unkept);
        match (&*unkept, kept) {
            (None, Err(error)) => tracing::warn!(%error, "{UNKEPT}"),
            (Some(_), Ok(())) => tracing::info!("calls can change models again"),
            _ => {}
        }
        *unkept = kept.as_ref().err().map(|error| format!("{UNKEPT}: {error}"));
    }
}

impl Shown {
    /// Ready versions that are made of those, and of these in turn.
    fn made_of(&self, members: &BTreeSet<Version>) -> BTreeSet<Version> {
        let mut found: BTreeSet<Version> = BTreeSet::new();
        loop {
            let is_made = |entry: &Entry| {
                let mut own = entry.members.iter();
                own.any(|member| members.contains(member) || found.contains(member))
            };
            let more: Vec<Version> = self
                .versions
                .iter()
                .flat_map(|(name, versions)| versions.iter().map(move |(&number, entry)| (name, number, entry)))
                .filter(|(_, _, entry)| is_made(entry))
                .map(|(name, number, _)| (name.clone(), number))
                .filter(|version| !found.contains(version) && !members.contains(version))
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }
}

fn conflict(reason: String) -> Refusal {
    Refusal::new(Kind::Conflict, reason)
}

fn unreadable(error: io::Error) -> Refusal {
    if error.kind() == io::ErrorKind::TimedOut {
        let detail = "nothing was changed, because the folder of the models does not answer";
        return Refusal::new(Kind::DeadlineExceeded, detail);
    }
    Refusal::internal(format!("the model repository cannot be read: {error}"))
}

//! The models that are served now, as those above see them. The repository keeps them.

use std::{fmt::Debug, sync::Arc};

use super::{Model, Refusal, info::State};

/// Every version of every model, ready or not.
pub trait Catalogue: Debug + Send + Sync {
    /// A model that is ready; by default the version that is pinned, else its newest ready one.
    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Refusal>;

    /// One version; by default the one that is pinned, else the newest that serves, else the newest.
    fn listing(&self, name: &str, version: Option<u32>) -> Result<Listing, Refusal>;

    /// The version that judges in the shadow of this one, if there is one.
    fn shadow(&self, _of: &Model) -> Option<Arc<Model>> {
        None
    }

    /// Every version of every model, in order of name and version.
    fn listings(&self) -> Vec<Listing>;

    /// What is wrong beside what listings say: a folder of models that cannot be read, calls that cannot be kept, a pin
    /// to a version that does not serve.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    /// What keeps the server from taking work: the first look at the models is not over, or one that must serve does
    /// not.
    fn unready(&self) -> Option<String>;

    /// Whether nothing does.
    fn is_ready(&self) -> bool {
        self.unready().is_none()
    }
}

/// One version of one model.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// How far it is.
    pub state: State,
    /// Why it is not ready, or why a ready one is not what its folder holds.
    pub reason: Option<String>,
    /// The model, if it is ready.
    pub model: Option<Arc<Model>>,
    /// Whether requests that name no version are for this one.
    pub is_default: bool,
    /// Whether an operator said so.
    pub is_pinned: bool,
    /// Whether it judges in the shadow of the other versions.
    pub is_shadow: bool,
}

/// The refusal of a name that no model has.
pub fn no_such_model(name: &str, known: impl Iterator<Item = String>) -> Refusal {
    Refusal::new(
        super::Kind::NotFound,
        format!(
            "there is no model {:?}; this server has: {}",
            super::refusal::clip(name),
            list(known)
        ),
    )
}

/// The refusal of a number that no version has.
pub fn no_such_version(name: &str, version: u32, known: impl Iterator<Item = u32>) -> Refusal {
    Refusal::new(
        super::Kind::NotFound,
        format!(
            "model {name:?} has no version {version}; it has: {}",
            list(known.map(|number| number.to_string()))
        ),
    )
}

/// The refusal of a version that does not serve.
pub fn not_ready(name: &str, version: u32, reason: &str) -> Refusal {
    Refusal::new(
        super::Kind::NotReady,
        format!("model {name:?} version {version} is not ready: {reason}"),
    )
}

/// The refusal of a server that has just started and has not looked at all models yet.
pub fn still_loading() -> Refusal {
    Refusal::new(
        super::Kind::NotReady,
        "the models are still being loaded; /readyz tells when they are",
    )
}

fn list(known: impl Iterator<Item = String>) -> String {
    super::refusal::clip_list(&known.collect::<Vec<_>>())
}

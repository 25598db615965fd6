//! What operators ask of the models while the server serves: which versions are loaded, and which of them answers
//! requests that name none.
//!
//! The repository does it; every transport offers it through [`Operator`], which says who may not.

use std::{fmt::Debug, sync::Arc};

use super::{Kind, Refusal, catalogue::Listing, refusal::clip};

/// Something that an operator can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Load what was unloaded, and look for versions that are new.
    Load,
    /// Stop serving, and give the memory back.
    Unload,
    /// Load once more, from what is on disk now.
    Reload,
    /// Make a version the one that answers requests that name none.
    Pin,
    /// Give that back to the newest version that is ready.
    Unpin,
    /// Pin the version before the one that serves.
    Rollback,
    /// Have a version judge what the others judge, to be compared with them.
    Shadow,
    /// Have none do that.
    Unshadow,
}

/// Whether an action is about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// About a model only.
    Model,
    /// About a model as a whole, or one version of it.
    ModelOrVersion,
    /// About one version.
    Version,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] = [
        Self::Load,
        Self::Unload,
        Self::Reload,
        Self::Pin,
        Self::Unpin,
        Self::Rollback,
        Self::Shadow,
        Self::Unshadow,
    ];

    /// Its name in paths and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Reload => "reload",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Rollback => "rollback",
            Self::Shadow => "shadow",
            Self::Unshadow => "unshadow",
        }
    }

    /// What it does, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::Load => {
                "Loads the versions that are not loaded, new ones included, and answers when they are ready. A version \
                 that was unloaded comes back."
            }
            Self::Unload => {
                "Stops serving and frees the memory. Requests that are under way are answered. It stays unloaded, \
                 whatever is found in the folder, until it is loaded. What other models are made of cannot be unloaded \
                 without them: `dependents=true` unloads these, too."
            }
            Self::Reload => {
                "Reads the files again and proves them. What serves keeps serving until its successor is ready, and if \
                 that is refused."
            }
            Self::Pin => {
                "Makes this version the one that answers requests that name none, whatever newer ones there are."
            }
            Self::Unpin => "Requests that name no version are for the newest one that is ready, again.",
            Self::Rollback => {
                "Pins the newest ready version that is older than the one that answers requests that name none."
            }
            Self::Shadow => {
                "Has this version judge the images that the others judge, after these have answered, where nothing \
                 waits for a worker. Its decisions are counted beside theirs (`density_shadow_images_total`), those \
                 that differ stand in the log, and nothing else comes of them."
            }
            Self::Unshadow => "Ends that.",
        }
    }

    /// What it is about.
    pub fn names(self) -> Names {
        match self {
            Self::Load | Self::Unload | Self::Reload => Names::ModelOrVersion,
            Self::Pin | Self::Shadow => Names::Version,
            Self::Unpin | Self::Rollback | Self::Unshadow => Names::Model,
        }
    }
}

/// An action on a model.
#[derive(Debug, Clone)]
pub struct Change {
    /// What is to be done.
    pub action: Action,
    /// The model.
    pub model: String,
    /// One version of it; otherwise all, where the action allows that.
    pub version: Option<u32>,
    /// Whether models that are made of it are unloaded, too.
    pub dependents: bool,
}

/// What changes models while they serve.
pub trait Control: Debug + Send + Sync {
    /// Does it, and answers every version of the model as it is then. Blocks for as long as load gates take.
    fn change(&self, change: &Change) -> Result<Vec<Listing>, Refusal>;

    /// Loads what is new and drops what is gone; answers every version of every model. Blocks likewise.
    fn look(&self) -> Result<Vec<Listing>, Refusal>;
}

/// The operator's way to the models, if it is open.
#[derive(Debug, Clone, Default)]
pub struct Operator(Option<Arc<dyn Control>>);

impl Operator {
    /// Models that no call changes.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// Models that calls change.
    pub fn of(control: Arc<dyn Control>) -> Self {
        Self(Some(control))
    }

    /// Does it, on a thread that may block. What has begun is finished, whether or not anybody waits for the answer.
    pub async fn change(&self, change: Change) -> Result<Vec<Listing>, Refusal> {
        let control = self.control()?;
        check(&change)?;
        blocking(move || {
            let done = control.change(&change);
            let Change {
                action, model, version, ..
            } = &change;
            let (action, version) = (action.name(), *version);
            match &done {
                Ok(_) => tracing::info!(action, model, version, "models changed by a call"),
                Err(refusal) => {
                    let model = clip(model);
                    tracing::warn!(action, model, version, %refusal, "a change of models was refused");
                }
            }
            done
        })
        .await
    }

    /// Looks for new and removed versions, on a thread that may block.
    pub async fn look(&self) -> Result<Vec<Listing>, Refusal> {
        let control = self.control()?;
        tracing::info!("looking for new and removed model versions, by a call");
        blocking(move || control.look()).await
    }

    fn control(&self) -> Result<Arc<dyn Control>, Refusal> {
        self.0.clone().ok_or_else(|| {
            Refusal::new(
                Kind::Disabled,
                "changing models by calls is not enabled; `serve --model-control` enables it. New and removed versions \
                 are found on SIGHUP all the same",
            )
        })
    }
}

/// Refuses what cannot be meant.
fn check(change: &Change) -> Result<(), Refusal> {
    let name = change.action.name();
    match (change.action.names(), change.version) {
        (Names::Version, None) => Err(Refusal::option(
            "version",
            format!("{name} needs the version that is meant"),
        )),
        (Names::Model, Some(_)) => Err(Refusal::option("version", format!("{name} is about the whole model"))),
        _ if change.dependents && change.action != Action::Unload => {
            let reason = "only unload asks whether what is made of the model goes with it";
            Err(Refusal::option("dependents", reason))
        }
        _ => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Refusal::internal(error)))
}

//! Model versions on disk: which there are, in which order they are loaded, and which of them serve.
//!
//! A repository is a folder `<name>/<version>/model.toml`. A version serves only after its load gate has passed; one that
//! fails stays listed with the reason, and the versions beside it keep serving.
//!
//! Architecture invariant: nothing here knows of requests or queues, nor of families but through their registry. What is loaded is immutable.

mod order;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;

use crate::{
    families::{
        GateError, Registry, Snapshot, Workshop,
        manifest::{MANIFEST, version_number},
        prove,
    },
    model::{
        Model, Refusal,
        catalogue::{self, Catalogue, Listing},
        info::State,
    },
};

/// Finds a version of a model that serves already, or says why there is none.
pub use crate::families::gate::Lookup;

/// Loads the version in `folder` of the model `name` over `members`, or says which check it failed.
pub fn load(
    folder: &Path,
    (name, number): (&str, u32),
    registry: &Registry,
    members: Lookup<'_>,
    workshop: &Workshop,
) -> Result<Model, GateError> {
    let snapshot = Snapshot::read(folder, name, registry)?;
    prove(&snapshot, number, members, workshop)
}

/// What became of a version's folder.
#[derive(Debug, Clone)]
enum Outcome {
    /// Loaded.
    Ready(Arc<Model>),
    /// Refused, with the reason.
    Failed(String),
}

/// All versions of all models, by name and number.
type Versions = BTreeMap<String, BTreeMap<u32, Outcome>>;

/// A folder of models, or a single model, and the versions of it that serve.
#[derive(Debug)]
pub struct Repository {
    source: Source,
    registry: Registry,
    workshop: Workshop,
    /// Outcomes by folder, with the hash of the manifests that they came from. Held while models are loaded, so that two scans do not load the
    /// same version twice.
    known: Mutex<BTreeMap<PathBuf, ([u8; 32], Outcome)>>,
    /// `None` until the first scan is over.
    versions: ArcSwapOption<Versions>,
}

/// Where versions are looked for.
#[derive(Debug)]
enum Source {
    /// `<root>/<name>/<version>`.
    Root(PathBuf),
    /// `<model>/<version>`, or the one version that is given.
    Model {
        name: String,
        folder: PathBuf,
        only: Option<u32>,
    },
}

impl Repository {
    /// All models in the folder `root`, which is read at the first [`Self::scan`].
    pub fn new(root: impl Into<PathBuf>, registry: Registry, workshop: Workshop) -> Self {
        Self::of(Source::Root(root.into()), registry, workshop)
    }

    /// The model in `folder`, which is that of a model, `…/<name>`, or of one version of it, `…/<name>/<version>`. Answers the
    /// model's name too; `None` if the folder is neither.
    pub fn of_model(
        folder: &Path,
        registry: Registry,
        workshop: Workshop,
    ) -> Option<(Self, String)> {
        // The names matter, and they are not in a path such as `.`.
        let folder = folder.canonicalize().ok()?;
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let (model, only) = if folder.join(MANIFEST).is_file() {
            let number = version_number(&name(&folder)?)?;
            (folder.parent()?.to_owned(), Some(number))
        } else {
            let versions = folders(&folder).ok()?;
            versions
                .iter()
                .find(|(name, _)| version_number(name).is_some())?;
            (folder, None)
        };
        let name = name(&model)?;
        let source = Source::Model {
            name: name.clone(),
            folder: model,
            only,
        };
        Some((Self::of(source, registry, workshop), name))
    }

    fn of(source: Source, registry: Registry, workshop: Workshop) -> Self {
        Self {
            source,
            registry,
            workshop,
            known: Mutex::default(),
            versions: ArcSwapOption::empty(),
        }
    }

    /// What its models are made with.
    pub fn workshop(&self) -> &Workshop {
        &self.workshop
    }

    /// Reads the folder: loads what is new, drops what is gone. Requests go on meanwhile; those that hold a model keep it. Takes as long as
    /// the load gates of new versions, so call it on a thread that may block.
    ///
    /// Versions whose manifest has not changed since the last scan are kept as they are; a manifest carries the hashes of its files, so that
    /// it stands for them all. A version that is replaced by one that fails its gate is gone: publish a change as a new version.
    pub fn scan(&self) -> io::Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = BTreeMap::new();
        let mut versions = Versions::new();
        for candidate in order::by_dependence(self.source.candidates()?, &self.registry) {
            let order::Ordered {
                candidate:
                    Candidate {
                        name,
                        number,
                        folder,
                    },
                fingerprint,
            } = candidate;
            let outcome = match known.remove(&folder) {
                Some((previous, outcome)) if previous == fingerprint => outcome,
                _ => self.load(&name, number, &folder, &versions),
            };
            versions
                .entry(name)
                .or_default()
                .insert(number, outcome.clone());
            seen.insert(folder, (fingerprint, outcome));
        }
        *known = seen;
        self.show(&versions);
        self.versions.store(Some(Arc::new(versions)));
        Ok(())
    }

    fn load(&self, name: &str, number: u32, folder: &Path, loaded: &Versions) -> Outcome {
        let lookup = |name: &str, number| member(loaded, name, number);
        match load(
            folder,
            (name, number),
            &self.registry,
            &lookup,
            &self.workshop,
        ) {
            Ok(model) => {
                tracing::info!(
                    model = name,
                    version = number,
                    family = model.card.family,
                    "model ready"
                );
                Outcome::Ready(Arc::new(model))
            }
            Err(error) => {
                tracing::error!(model = name, version = number, reason = %error, "model refused");
                Outcome::Failed(error.to_string())
            }
        }
    }

    fn show(&self, versions: &Versions) {
        let gauge = &self.workshop.metrics.model_ready;
        gauge.reset();
        for (name, versions) in versions {
            for (number, outcome) in versions {
                let is_ready = matches!(outcome, Outcome::Ready(_));
                gauge
                    .with_label_values(&[name.as_str(), &number.to_string()])
                    .set(i64::from(is_ready));
            }
        }
    }
}

impl Catalogue for Repository {
    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Refusal> {
        let Listing {
            version,
            reason,
            model,
            ..
        } = self.listing(name, version)?;
        model.ok_or_else(|| catalogue::not_ready(name, version, &reason.unwrap_or_default()))
    }

    fn listing(&self, name: &str, version: Option<u32>) -> Result<Listing, Refusal> {
        let all = self
            .versions
            .load_full()
            .ok_or_else(catalogue::still_loading)?;
        let versions = all.get(name).filter(|versions| !versions.is_empty());
        let versions =
            versions.ok_or_else(|| catalogue::no_such_model(name, all.keys().cloned()))?;
        let found = match version {
            Some(number) => versions.get_key_value(&number),
            None => versions
                .iter()
                .rfind(|(_, outcome)| matches!(outcome, Outcome::Ready(_)))
                .or_else(|| versions.last_key_value()),
        };
        found
            .map(|(number, outcome)| outcome.listing(name, *number))
            .ok_or_else(|| {
                catalogue::no_such_version(
                    name,
                    version.unwrap_or_default(),
                    versions.keys().copied(),
                )
            })
    }

    fn listings(&self) -> Vec<Listing> {
        let all = self.versions.load_full().unwrap_or_default();
        let listings = all.iter().flat_map(|(name, versions)| {
            versions
                .iter()
                .map(|(number, outcome)| outcome.listing(name, *number))
        });
        listings.collect()
    }

    fn is_ready(&self) -> bool {
        self.listings()
            .iter()
            .any(|listing| listing.model.is_some())
    }
}

impl Outcome {
    fn listing(&self, name: &str, version: u32) -> Listing {
        let (state, reason, model) = match self {
            Self::Ready(model) => (State::Ready, None, Some(Arc::clone(model))),
            Self::Failed(reason) => (State::Failed, Some(reason.clone()), None),
        };
        Listing {
            name: name.to_owned(),
            version,
            state,
            reason,
            model,
        }
    }
}

/// A folder that should hold a version.
struct Candidate {
    name: String,
    number: u32,
    folder: PathBuf,
}

impl Candidate {
    /// The folder of a version of another model in the same repository.
    fn sibling(&self, model: &str, version: u32) -> PathBuf {
        let repository = self.folder.parent().and_then(Path::parent);
        repository
            .unwrap_or(Path::new(""))
            .join(model)
            .join(version.to_string())
    }
}

impl Source {
    fn candidates(&self) -> io::Result<Vec<Candidate>> {
        let (models, only) = match self {
            Self::Root(root) => (folders(root)?, None),
            Self::Model { name, folder, only } => (vec![(name.clone(), folder.clone())], *only),
        };
        let mut found = Vec::new();
        for (name, model) in models {
            let versions = folders(&model).unwrap_or_else(|error| {
                // One folder that cannot be read, such as `lost+found`, must not stop the others.
                tracing::warn!(folder = %model.display(), %error, "ignored: it cannot be read");
                Vec::new()
            });
            for (version, folder) in versions {
                match version_number(&version) {
                    Some(number) if only.is_none_or(|only| only == number) => {
                        found.push(Candidate {
                            name: name.clone(),
                            number,
                            folder,
                        });
                    }
                    Some(_) => {}
                    None => {
                        let folder = folder.display();
                        tracing::warn!(%folder, "ignored: the name of a version is a number from 1");
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The folders in a folder, in order of name; hidden ones are left out.
fn folders(parent: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name
            && !name.starts_with('.')
            && path.is_dir()
        {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// A model that is loaded already.
fn member(loaded: &Versions, name: &str, number: u32) -> Result<Arc<Model>, String> {
    match loaded.get(name).and_then(|versions| versions.get(&number)) {
        Some(Outcome::Ready(model)) => Ok(Arc::clone(model)),
        Some(Outcome::Failed(reason)) => Err(format!("it is refused itself: {reason}")),
        None => Err("there is no such model in this repository".to_owned()),
    }
}

//! Model versions on disk: manifests, the load gate, and which versions there are.
//!
//! A repository is a folder `<name>/<version>/model.toml`. A version serves only after its load gate has passed; one that
//! fails stays listed with the reason, and the versions beside it keep serving.
//!
//! Architecture invariant: nothing here knows of requests or queues. What is loaded is immutable.

pub mod composite;
pub mod detector;
mod digest;
mod files;
pub mod gate;
pub mod manifest;
mod order;
mod text;
pub mod trained_on;
mod write;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use self::{
    gate::GateSettings,
    manifest::{Manifest, members::Member},
    order::{Asks, Ordered},
};
use crate::{
    domain::conformal::Calibration,
    network::{
        autoencoder::Autoencoder, autoregressive::Autoregressive, classifier::Classifier,
        generator::Generator, vae::Vae,
    },
    runtime::Engine,
};

/// Name of the manifest in a version's folder.
pub const MANIFEST: &str = "model.toml";

/// A version that passed its load gate.
#[derive(Debug)]
pub struct Version {
    /// Its number: the name of its folder.
    pub number: u32,
    /// Its manifest.
    pub manifest: Manifest,
    /// sha256 of the manifest's file in hexadecimal digits, which stands for all the files that it has hashes of.
    pub fingerprint: String,
    /// Its graphs.
    pub network: Network,
    /// Calibration scores, ready for p-values.
    pub calibration: Option<Calibration>,
    /// Which images it was trained on, where its provenance tells.
    pub trained_on: Option<trained_on::TrainedOn>,
    /// What the gate checked and found, in order.
    pub checks: Vec<Check>,
    /// What one row of each graph took at warm-up.
    pub timings: Timings,
}

impl Version {
    /// What identifies a version to those that are made of it: its graphs, or where it has none its manifest.
    pub fn identity(&self) -> String {
        match &self.network {
            Network::Detector(_) | Network::Composite(_) => self.fingerprint.clone(),
            _ => self.manifest.graphs_sha256(),
        }
    }

    /// The version as a member that is asked for something.
    pub fn as_member<Role>(&self, role: Role) -> Member<Role> {
        Member {
            role,
            model: self.manifest.name.clone(),
            version: self.number,
            sha256: self.identity(),
        }
    }
}

/// Finds a version of a model, or says why there is none.
pub type Lookup<'a> = &'a dyn Fn(&str, u32) -> Result<Arc<Version>, String>;

impl<Role> Member<Role> {
    /// The version that is named, if it is the very one; else `of` says whose it was, and of what the hash is.
    fn find(&self, lookup: Lookup<'_>, of: &str) -> Result<Arc<Version>, String> {
        let (model, version) = (&self.model, self.version);
        let found = lookup(model, version)
            .map_err(|reason| format!("{model} version {version}: {reason}"))?;
        let actual = found.identity();
        if actual.eq_ignore_ascii_case(&self.sha256) {
            return Ok(found);
        }
        Err(format!(
            "{model} version {version} is not the one that {of} sha256 {actual}, not {}",
            self.sha256
        ))
    }
}

/// The graphs of a version, by family.
#[derive(Debug)]
pub enum Network {
    /// Exact density.
    Autoregressive(Arc<Autoregressive>),
    /// Lower bound and code.
    Vae(Arc<Vae>),
    /// Code.
    Autoencoder(Arc<Autoencoder>),
    /// Implicit density.
    Generator(Arc<Generator>),
    /// Labels of images.
    Classifier(Arc<Classifier>),
    /// Decisions from what other models say.
    Detector(Arc<detector::Detector>),
    /// A classifier and a density put together by Bayes' rule.
    Composite(Arc<composite::Composite>),
}

/// Time of one row on one thread.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// Scoring, encoding or classifying an image.
    pub forward: Duration,
    /// The logits of an image, or decoding a code.
    pub backward: Duration,
}

/// One check of the load gate that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What was found.
    pub finding: String,
}

/// What became of a version's folder.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Loaded.
    Ready(Arc<Version>),
    /// Refused, with the reason.
    Failed(String),
}

/// All versions of all models, by name and number.
pub type Catalog = BTreeMap<String, BTreeMap<u32, Outcome>>;

/// A folder of models, or a single model.
#[derive(Debug)]
pub struct Repository {
    source: Source,
    engine: Arc<dyn Engine>,
    gate: GateSettings,
    /// Outcomes by folder, with the hash of the manifest that they came from.
    known: Mutex<BTreeMap<PathBuf, ([u8; 32], Outcome)>>,
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
    pub fn new(root: impl Into<PathBuf>, engine: Arc<dyn Engine>) -> Self {
        Self::of(Source::Root(root.into()), engine)
    }

    /// The model in `folder`, which is that of a model, `…/<name>`, or of one version of it, `…/<name>/<version>`. Answers the
    /// model's name too; `None` if the folder is neither.
    pub fn of_model(folder: &Path, engine: Arc<dyn Engine>) -> Option<(Self, String)> {
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
        Some((Self::of(source, engine), name))
    }

    fn of(source: Source, engine: Arc<dyn Engine>) -> Self {
        Self {
            source,
            engine,
            gate: GateSettings::default(),
            known: Mutex::default(),
        }
    }

    /// The same with other settings of the load gate.
    #[must_use]
    pub fn with_gate(mut self, gate: GateSettings) -> Self {
        self.gate = gate;
        self
    }

    /// Reads the folder. Versions whose manifest has not changed since the last scan are kept as they are; a manifest carries
    /// the hashes of its files, so that it stands for them all. A version that is replaced by one that fails its gate is gone:
    /// publish a change as a new version.
    pub fn scan(&self) -> io::Result<Catalog> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = BTreeMap::new();
        let mut catalog = Catalog::new();
        for Ordered { candidate, asks } in order::by_dependence(self.source.candidates()?) {
            let fingerprint = order::fingerprint(&candidate);
            let Candidate {
                name,
                number,
                folder,
            } = candidate;
            let outcome = match known.remove(&folder) {
                Some((previous, outcome)) if previous == fingerprint => outcome,
                _ => self.load(&name, number, &folder, asks, &catalog),
            };
            catalog
                .entry(name)
                .or_default()
                .insert(number, outcome.clone());
            seen.insert(folder, (fingerprint, outcome));
        }
        *known = seen;
        Ok(catalog)
    }

    fn load(
        &self,
        name: &str,
        number: u32,
        folder: &Path,
        asks: Asks,
        loaded: &Catalog,
    ) -> Outcome {
        let lookup = |name: &str, number| member(loaded, name, number);
        let result = match asks {
            Asks::Nobody => gate::load_apart(self.gate, &self.engine, folder, name, number),
            Asks::Models => detector::load(folder, name, number, &lookup),
            Asks::ModelsAndDetectors => composite::load(folder, name, number, &lookup),
        };
        match result {
            Ok(version) => {
                tracing::info!(model = name, version = number, family = %version.manifest.family, "model ready");
                Outcome::Ready(Arc::new(version))
            }
            Err(error) => {
                tracing::error!(model = name, version = number, reason = %error, "model refused");
                Outcome::Failed(error.to_string())
            }
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
            for (version, folder) in folders(&model)? {
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

/// The number of a version's folder name: decimal, from 1, without leading zeros.
pub fn version_number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
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
fn member(loaded: &Catalog, name: &str, number: u32) -> Result<Arc<Version>, String> {
    match loaded.get(name).and_then(|versions| versions.get(&number)) {
        Some(Outcome::Ready(version)) => Ok(Arc::clone(version)),
        Some(Outcome::Failed(reason)) => Err(format!("it is refused itself: {reason}")),
        None => Err("there is no such model in this repository".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::version_number;

    #[test]
    fn versions_are_plain_numbers() {
        assert_eq!(version_number("12"), Some(12));
        for name in ["0", "01", "-1", "v1", "", "1.0", "99999999999"] {
            assert_eq!(version_number(name), None, "{name}");
        }
    }
}

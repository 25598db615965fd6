//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is causal and its
//! scores are its own normalised predictions, and golden scores are reproduced.

mod autoencoder;
mod autoregressive;
mod causality;
mod classifier;
mod company;
mod generator;
mod settings;
mod trials;
mod units;
mod vae;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

pub use self::settings::GateSettings;
use self::units::{Suspicion, Tolerated};
use super::{
    Check, MANIFEST, Version,
    digest::hexadecimal,
    files,
    manifest::{GoldenFiles, Graphs, Manifest, Tolerance, declared::Declared},
    trained_on::TrainedOn,
};
use crate::{
    domain::{conformal::Calibration, image::Image},
    graph::{self, convert::Step},
    media,
    network::NetworkError,
    runtime::{Engine, patience, single::OneAtATime},
};

/// Why a version does not serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    /// A file that cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Read {
        /// The file's name.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// The manifest is not valid.
    #[error("{MANIFEST}: {0}")]
    Manifest(String),
    /// A file is not the one that the manifest describes.
    #[error("{file} has sha256 {actual}, but {MANIFEST} says {expected}")]
    Hash {
        /// The file's name.
        file: String,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// A file is not what it should be.
    #[error("{file}: {cause}")]
    File {
        /// The file's name.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// A graph that cannot be used.
    #[error("{file}: {cause}")]
    Network {
        /// The graph's file.
        file: String,
        /// What is wrong.
        cause: NetworkError,
    },
    /// A logit depends on its own or a later dimension: the product of the predictions is not a probability.
    #[error(
        "{file} is not causal: the prediction of {predicted} changed when only dimensions from {changed} on were changed, so the \
         product of its predictions is not a probability"
    )]
    Leak {
        /// The graph's file.
        file: String,
        /// The dimension whose prediction changed.
        predicted: String,
        /// The first dimension that was changed.
        changed: String,
    },
    /// What a graph gives depends on the images that share its run.
    #[error(
        "{file} depends on the batch: in the company of other images, what it gives changes by up to {difference:e}{also}. Export the \
         graph so that it computes nothing over the batch (batch normalisation in evaluation mode, fixed ranges), or, if each image is to \
         be seen alone, say [serving] batch = 1"
    )]
    Company {
        /// The graph's file.
        file: String,
        /// Largest difference.
        difference: f32,
        /// What else is wrong; empty or a clause.
        also: String,
    },
    /// A graph that draws random numbers.
    #[error(
        "{file} is random, or keeps something from one run to the next: the same twice gives different numbers{nodes}. Export it in evaluation \
         mode and without draws inside{cure}"
    )]
    Random {
        /// The graph's file.
        file: String,
        /// The nodes that draw; empty or a clause.
        nodes: String,
        /// What may be said instead; empty or a clause.
        cure: &'static str,
    },
    /// Something that ran longer than a load may take, and did not stop when it was asked to.
    #[error(
        "loading took longer than {} s and could not be stopped: one of its graphs does not end, and goes on in a thread of its own until \
         the process ends", .0.as_secs_f64()
    )]
    Unstoppable(Duration),
    /// No thread to load in.
    #[error("no thread to load in: {0}")]
    Thread(String),
    /// More probability than there is.
    #[error(
        "{file} gives no probability: images of uniform noise have a log-likelihood of {actual:.1} nats, where no probability can give them more \
         than {most:.1} on average"
    )]
    Noise {
        /// The graph's file.
        file: String,
        /// Mean log-likelihood of noise.
        actual: f64,
        /// What it can be.
        most: f64,
    },
    /// Numbers that look like something else, and are not declared.
    #[error("{}; what is right is said in [declared] of {MANIFEST}", .0.join("; "))]
    Undeclared(Vec<String>),
    /// Golden numbers that prove nothing.
    #[error("{what}: the tolerance allows {allowed:e}, so that any number would do")]
    Tolerance {
        /// What was compared.
        what: &'static str,
        /// The largest difference that is allowed.
        allowed: f64,
    },
    /// Logits that describe no distribution.
    #[error(
        "{file}: the logits of {dimension} of golden image {image} give no distribution: they are not finite"
    )]
    Undefined {
        /// The graph's file.
        file: String,
        /// Index of the golden image.
        image: usize,
        /// The dimension that they predict.
        dimension: String,
    },
    /// Scores and logits disagree.
    #[error(
        "{file}: scores and logits disagree: image {image} has log-likelihood {score} by its scores and {logits} by its logits"
    )]
    Inconsistent {
        /// The graph's file.
        file: String,
        /// Index of the golden image.
        image: usize,
        /// Σ of the scoring graph.
        score: f64,
        /// The same from logits.
        logits: f64,
    },
    /// A golden number was not reproduced.
    #[error(
        "{what}: number {index} is {expected}{unit}, but the graph gives {actual}: off by {:.3e}, allowed are {allowed:.3e}",
        (actual - expected).abs()
    )]
    Golden {
        /// What was compared.
        what: &'static str,
        /// Their unit, with a space before it; empty if they have none.
        unit: &'static str,
        /// Which of them.
        index: usize,
        /// The golden number.
        expected: f64,
        /// What the graph gives.
        actual: f64,
        /// Allowed difference.
        allowed: f64,
    },
}

/// Loads the version in `folder`, or says which check it failed.
pub fn load(
    engine: &dyn Engine,
    folder: &Path,
    name: &str,
    number: u32,
) -> Result<Version, GateError> {
    load_with(GateSettings::default(), engine, folder, name, number)
}

/// The same with other settings.
pub fn load_with(
    settings: GateSettings,
    engine: &dyn Engine,
    folder: &Path,
    name: &str,
    number: u32,
) -> Result<Version, GateError> {
    patience::within(settings.time_limit, || {
        prove(settings, engine, folder, name, number)
    })
}

/// Time that work which is asked to stop has to do so, before it is left to itself.
const GRACE: Duration = Duration::from_secs(5);

/// The same on a thread of its own, which is left to itself if nothing stops it in time.
pub(super) fn load_apart(
    settings: GateSettings,
    engine: &Arc<dyn Engine>,
    folder: &Path,
    name: &str,
    number: u32,
) -> Result<Version, GateError> {
    let limit = settings.time_limit.saturating_add(GRACE);
    let (engine, folder, name) = (Arc::clone(engine), folder.to_owned(), name.to_owned());
    let work = move || load_with(settings, &*engine, &folder, &name, number);
    match patience::left_after(limit, work) {
        Ok(Some(result)) => result,
        Ok(None) => Err(GateError::Unstoppable(settings.time_limit)),
        Err(error) => Err(GateError::Thread(error.to_string())),
    }
}

fn prove(
    settings: GateSettings,
    engine: &dyn Engine,
    folder: &Path,
    name: &str,
    number: u32,
) -> Result<Version, GateError> {
    let mut gate = Gate::new(folder);
    gate.settings = settings;
    let mut manifest = gate.manifest(name)?;
    let label = format!("{name} version {number}");
    let single = OneAtATime(engine);
    let candidate = Candidate {
        engine: if manifest.serving.is_one_at_a_time() {
            &single
        } else {
            engine
        },
        label: &label,
        manifest: &manifest,
    };
    let (network, timings) = match &manifest.graphs {
        Graphs::Autoregressive { file, contract } => {
            autoregressive::load(&mut gate, &candidate, file, contract)?
        }
        Graphs::Recurrent { file, contract } => {
            autoregressive::load_step(&mut gate, &candidate, file, contract)?
        }
        Graphs::Vae {
            encoder,
            decoder,
            contract,
        } => vae::load(&mut gate, &candidate, (encoder, decoder), contract)?,
        Graphs::Autoencoder {
            encoder,
            decoder,
            contract,
        } => autoencoder::load(&mut gate, &candidate, (encoder, decoder), contract)?,
        Graphs::Generator { file, contract } => {
            generator::load(&mut gate, &candidate, file, contract)?
        }
        Graphs::Classifier { file, contract } => {
            classifier::load(&mut gate, &candidate, file, contract)?
        }
        Graphs::Detector(_) | Graphs::Composite(_) => {
            let reason = "it loads over its members only";
            return Err(GateError::Manifest(reason.to_owned()));
        }
    };
    gate.answered()?;
    gate.told(&manifest)?;
    let calibration = gate.calibration(&manifest)?;
    let trained_on = gate.trained_on(&manifest)?;
    manifest.sha256.append(&mut gate.unlisted);
    Ok(Version {
        number,
        network,
        calibration,
        trained_on,
        fingerprint: gate.fingerprint,
        checks: gate.checks,
        timings,
        manifest,
    })
}

/// A version that is to prove itself.
struct Candidate<'a> {
    engine: &'a dyn Engine,
    /// Its name and number, for messages.
    label: &'a str,
    manifest: &'a Manifest,
}

/// A load gate at work on one folder.
pub(super) struct Gate<'a> {
    folder: &'a Path,
    settings: GateSettings,
    checks: Vec<Check>,
    /// sha256 of the manifest, once it is read.
    fingerprint: String,
    /// Files that the manifest has hashes of, read once: what was hashed is what is used.
    held: BTreeMap<String, Vec<u8>>,
    /// The first bytes of the hash of each, for trials.
    seeds: BTreeMap<String, u64>,
    /// Files that graphs name and the manifest has no hashes of, with theirs.
    unlisted: BTreeMap<String, String>,
    /// Files that graphs name.
    beside: Vec<String>,
    declared: Declared,
    /// Whether it gives numbers of images.
    is_density: bool,
    /// What numbers look like, each with its file.
    suspicions: Vec<(String, Suspicion)>,
    /// Nodes of all graphs that draw.
    drawing: Vec<String>,
    /// Weights of all graphs.
    weights: u64,
}

impl<'a> Gate<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            settings: GateSettings::default(),
            checks: Vec::new(),
            fingerprint: String::new(),
            held: BTreeMap::new(),
            seeds: BTreeMap::new(),
            is_density: false,
            unlisted: BTreeMap::new(),
            beside: Vec::new(),
            declared: Declared::default(),
            suspicions: Vec::new(),
            drawing: Vec::new(),
            weights: 0,
        }
    }

    /// What was checked, and sha256 of the manifest.
    pub(super) fn finish(self) -> (Vec<Check>, String) {
        (self.checks, self.fingerprint)
    }

    pub(super) fn passed(&mut self, name: &'static str, finding: String) {
        self.checks.push(Check { name, finding });
    }

    /// Tells what is no reason to refuse a version, but should be known.
    fn warn(&mut self, finding: String) {
        tracing::warn!(folder = %self.folder.display(), "{finding}");
        self.passed("warning", finding);
    }

    /// Says that graphs have the inputs and outputs that they should have.
    fn contract_kept(&mut self) {
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
    }

    fn of_folder(&self, file: &str) -> Result<Vec<u8>, GateError> {
        files::read(self.folder, file).map_err(|error| GateError::Read {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    /// The bytes of a file that the manifest has a hash of, as they were hashed.
    pub(super) fn read(&self, file: &str) -> Result<&[u8], GateError> {
        self.held
            .get(file)
            .map(Vec::as_slice)
            .ok_or_else(|| GateError::Manifest(format!("sha256: {file:?} has no hash")))
    }

    pub(super) fn manifest(&mut self, name: &str) -> Result<Manifest, GateError> {
        let bytes = self.of_folder(MANIFEST)?;
        self.fingerprint = hexadecimal(&Sha256::digest(&bytes));
        let text = String::from_utf8(bytes)
            .map_err(|_| GateError::Manifest("it is not UTF-8 text".to_owned()))?;
        let manifest = Manifest::parse(&text, name).map_err(GateError::Manifest)?;
        for (file, expected) in &manifest.sha256 {
            let bytes = self.of_folder(file)?;
            let digest: [u8; 32] = Sha256::digest(&bytes).into();
            let actual = hexadecimal(&digest);
            if !actual.eq_ignore_ascii_case(expected) {
                return Err(GateError::Hash {
                    file: file.clone(),
                    expected: expected.clone(),
                    actual,
                });
            }
            let seed = digest.iter().take(8);
            let seed = seed.fold(0, |seed, &byte| seed << 8 | u64::from(byte));
            self.seeds.insert(file.clone(), seed);
            self.held.insert(file.clone(), bytes);
        }
        self.declared = manifest.declared;
        self.is_density = manifest.likelihood() != "none";
        self.passed(
            "manifest",
            format!(
                "{} of {}, {} files with the stated sha256",
                manifest.family,
                manifest.shape,
                manifest.sha256.len()
            ),
        );
        Ok(manifest)
    }

    pub(super) fn scores(&self, file: &str) -> Result<Vec<f64>, GateError> {
        media::read_f64(self.read(file)?).map_err(|error| GateError::File {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    /// Golden images and their scores: one each, or one for each of `labels`.
    pub(super) fn golden_scores(
        &self,
        manifest: &Manifest,
        labels: Option<usize>,
    ) -> Result<(Vec<Image>, Vec<f64>), GateError> {
        let GoldenFiles::Scored {
            images: image_file,
            scores: score_file,
        } = &manifest.golden.files
        else {
            let reason = "golden: scores of images are needed";
            return Err(GateError::Manifest(reason.to_owned()));
        };
        let wrong = |file: &str, cause: String| GateError::File {
            file: file.to_owned(),
            cause,
        };
        let images = media::read_images(self.read(image_file)?, manifest.shape, usize::MAX)
            .map_err(|error| wrong(image_file, error.to_string()))?;
        let columns: Vec<usize> = labels.into_iter().collect();
        let scores = media::read_f64_table(self.read(score_file)?, &columns)
            .map_err(|error| wrong(score_file, error.to_string()))?;
        if images.is_empty() || images.len() * labels.unwrap_or(1) != scores.len() {
            let cause = format!(
                "it has {} scores for {} golden images; there must be one each (one for each label, if there are labels), and at \
                 least one image",
                scores.len(),
                images.len()
            );
            return Err(wrong(score_file, cause));
        }
        Ok((images, scores))
    }

    /// Reads a graph, with all its weights, and converts outputs to the server's units. Only this goes to the runtime: it names no other file.
    fn graph(
        &mut self,
        file: &str,
        conversions: &[(&str, &[Step])],
    ) -> Result<graph::protobuf::Model, GateError> {
        let refused = |cause: graph::GraphError| failed(file, cause.into());
        let mut model = graph::parse(self.read(file)?).map_err(refused)?;
        let (folder, held, unlisted) = (self.folder, &self.held, &mut self.unlisted);
        let beside = graph::external::inline(&mut model, |name| match held.get(name) {
            Some(bytes) => Ok(Cow::Borrowed(bytes.as_slice())),
            None => {
                let bytes = files::read(folder, name).map_err(|e| format!("{name}: {e}"))?;
                unlisted.insert(name.to_owned(), hexadecimal(&Sha256::digest(&bytes)));
                Ok(Cow::Owned(bytes))
            }
        })
        .map_err(refused)?;
        graph::bounds::check(&model).map_err(refused)?;
        self.beside.extend(beside);
        self.held.remove(file);
        self.drawing.extend(graph::chance::nodes(&model));
        self.weights += graph::weights::count(&model);
        for (output, steps) in conversions {
            graph::convert::output(&mut model, output, steps).map_err(refused)?;
        }
        Ok(model)
    }

    /// Keeps what numbers look like, to be asked about together.
    fn suspect(&mut self, file: &str, suspicion: Option<Suspicion>) {
        let new = suspicion.map(|suspicion| (file.to_owned(), suspicion));
        self.suspicions
            .extend(new.filter(|new| !self.suspicions.contains(new)));
    }

    /// Whether the manifest says what all numbers are that look like something else.
    fn answered(&mut self) -> Result<(), GateError> {
        let (answered, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.suspicions)
            .into_iter()
            .partition(|(_, suspicion)| suspicion.is_answered(self.declared));
        if !open.is_empty() {
            let reasons = open
                .iter()
                .map(|(file, suspicion)| format!("{file}: {suspicion}"));
            return Err(GateError::Undeclared(reasons.collect()));
        }
        for (file, suspicion) in answered {
            self.warn(format!("{file}: as declared, although {suspicion}"));
        }
        Ok(())
    }

    /// Tells what a manifest leaves out or does not say as it is.
    fn told(&mut self, manifest: &Manifest) -> Result<(), GateError> {
        manifest
            .without_companions_but(&self.beside)
            .map_err(GateError::Manifest)?;
        for (file, hash) in self.unlisted.clone() {
            self.warn(format!(
                "weights are read from {file}, which {MANIFEST} has no hash of; add {file:?} = \"{hash}\" to [sha256]"
            ));
        }
        let (stated, found) = (manifest.provenance.parameters, self.weights);
        if !units::is_plausible_count(stated, found) {
            self.warn(format!(
                "provenance.parameters is {stated}, but the graphs hold {found} weights and constants"
            ));
        }
        Ok(())
    }

    /// Compares numbers with the golden ones.
    pub(super) fn golden(
        &mut self,
        (what, unit): (&'static str, &'static str),
        tolerance: Tolerance,
        expected: &[f64],
        actual: &[f64],
    ) -> Result<(), GateError> {
        let size = expected
            .iter()
            .map(|value| value.abs())
            .filter(|value| value.is_finite());
        let span = (size.sum::<f64>() / expected.len().max(1) as f64).max(1.0);
        let allowed = expected.iter().map(|&value| tolerance.allows(value));
        match units::tolerated(allowed.filter(|allowed| !allowed.is_infinite()), span) {
            Tolerated::Little => {}
            Tolerated::Much(allowed) => {
                self.warn(format!(
                    "{what}: the tolerance allows {allowed:.1e}, which proves little"
                ));
            }
            Tolerated::Anything(allowed) => return Err(GateError::Tolerance { what, allowed }),
        }
        let mut largest = 0.0f64;
        for (index, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
            let allowed = tolerance.allows(expected);
            let difference = (actual - expected).abs();
            // Written so that NaN fails.
            let reproduced = actual == expected || difference <= allowed;
            if !reproduced {
                return Err(GateError::Golden {
                    what,
                    unit,
                    index,
                    expected,
                    actual,
                    allowed,
                });
            }
            if difference.is_finite() {
                largest = largest.max(difference);
            }
        }
        self.passed(
            what,
            format!(
                "{} reproduced to within {largest:.1e}{unit}",
                expected.len()
            ),
        );
        Ok(())
    }

    fn calibration(&mut self, manifest: &Manifest) -> Result<Option<Calibration>, GateError> {
        let Some(file) = &manifest.calibration else {
            return Ok(None);
        };
        let calibration =
            Calibration::new(self.scores(&file.scores)?).map_err(|error| GateError::File {
                file: file.scores.clone(),
                cause: error.to_string(),
            })?;
        self.passed(
            "calibration",
            format!("{} scores of held-out inliers", calibration.size()),
        );
        Ok(Some(calibration))
    }

    fn trained_on(&self, manifest: &Manifest) -> Result<Option<TrainedOn>, GateError> {
        let Some(file) = &manifest.provenance.trained_on else {
            return Ok(None);
        };
        let hashes = TrainedOn::read(self.read(file)?).map_err(|cause| GateError::File {
            file: file.clone(),
            cause,
        })?;
        Ok(Some(hashes))
    }
}

/// Golden scores of densities.
pub(super) const GOLDEN_SCORES: (&str, &str) = ("golden scores", " nats");

fn failed(file: &str, cause: NetworkError) -> GateError {
    GateError::Network {
        file: file.to_owned(),
        cause,
    }
}

/// The second of two runs: the first one pays for allocations.
pub(super) fn time_of(
    mut run: impl FnMut() -> Result<(), NetworkError>,
) -> Result<Duration, NetworkError> {
    run()?;
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

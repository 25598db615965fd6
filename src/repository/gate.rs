//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is causal and its
//! scores are its own normalised predictions, and golden scores are reproduced.

mod causality;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    Check, MANIFEST, Network, Timings, Version,
    manifest::{Graphs, Manifest},
    trained_on::TrainedOn,
};
use crate::{
    domain::{conformal::Calibration, image::Image, likelihood},
    graph, media,
    network::{
        NetworkError,
        autoregressive::{Autoregressive, Compilation, Given, Head},
        vae::Vae,
    },
    runtime::{Engine, Threads},
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
    /// A golden score was not reproduced.
    #[error(
        "golden score {image} is {expected} nats, but the graph gives {actual}: off by {:.3e}, allowed are {allowed:.3e}",
        (actual - expected).abs()
    )]
    Golden {
        /// Index of the golden image.
        image: usize,
        /// The golden score.
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
    let mut gate = Gate::new(folder);
    let manifest = gate.manifest(name)?;
    let label = format!("{name} version {number}");
    let golden_file = gate.read(&manifest.golden.images)?;
    let golden_images =
        media::read_images(&golden_file, manifest.shape, usize::MAX).map_err(|error| {
            GateError::File {
                file: manifest.golden.images.clone(),
                cause: error.to_string(),
            }
        })?;
    let golden = given(&golden_images, &manifest);
    let golden_scores = gate.golden_scores(&manifest)?;
    if golden_images.is_empty() || golden.len() != golden_scores.len() {
        return Err(GateError::File {
            file: manifest.golden.scores.clone(),
            cause: format!(
                "it has {} scores for {} golden images; there must be one each (one for each label, if there are labels), and at \
                 least one image",
                golden_scores.len(),
                golden_images.len()
            ),
        });
    }
    let network = gate.network(engine, &label, &manifest, &golden)?;
    let (scores, timings) = match &network {
        Network::Autoregressive(network) => gate.autoregressive(network, &manifest, &golden)?,
        Network::Vae(vae) => {
            let levels: Vec<&[u8]> = golden_images.iter().map(Image::levels).collect();
            gate.vae(vae, &manifest, &levels)?
        }
        Network::Detector(_) => return Err(needs_members()),
    };
    gate.golden(&manifest, &golden_scores, &scores)?;
    let calibration = gate.calibration(&manifest)?;
    let trained_on = gate.trained_on(&manifest)?;
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

/// A load gate at work on one folder.
pub(super) struct Gate<'a> {
    folder: &'a Path,
    checks: Vec<Check>,
    /// sha256 of the manifest, once it is read.
    fingerprint: String,
}

fn needs_members() -> GateError {
    GateError::Manifest("a detector loads over its members only".to_owned())
}

impl<'a> Gate<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            checks: Vec::new(),
            fingerprint: String::new(),
        }
    }

    /// What was checked, and sha256 of the manifest.
    pub(super) fn finish(self) -> (Vec<Check>, String) {
        (self.checks, self.fingerprint)
    }

    pub(super) fn passed(&mut self, name: &'static str, finding: String) {
        self.checks.push(Check { name, finding });
    }

    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, GateError> {
        fs::read(self.folder.join(file)).map_err(|error| GateError::Read {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    pub(super) fn manifest(&mut self, name: &str) -> Result<Manifest, GateError> {
        let bytes = self.read(MANIFEST)?;
        self.fingerprint = hexadecimal(&Sha256::digest(&bytes));
        let text = String::from_utf8(bytes)
            .map_err(|_| GateError::Manifest("it is not UTF-8 text".to_owned()))?;
        let manifest = Manifest::parse(&text, name).map_err(GateError::Manifest)?;
        for (file, expected) in &manifest.sha256 {
            let actual = hexadecimal(&Sha256::digest(self.read(file)?));
            if !actual.eq_ignore_ascii_case(expected) {
                return Err(GateError::Hash {
                    file: file.clone(),
                    expected: expected.clone(),
                    actual,
                });
            }
        }
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
        media::read_f64(&self.read(file)?).map_err(|error| GateError::File {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    fn golden_scores(&self, manifest: &Manifest) -> Result<Vec<f64>, GateError> {
        let file = &manifest.golden.scores;
        let labels: Vec<usize> = manifest
            .labels
            .iter()
            .map(|labels| labels.names.len())
            .collect();
        media::read_f64_table(&self.read(file)?, &labels).map_err(|error| GateError::File {
            file: file.clone(),
            cause: error.to_string(),
        })
    }

    fn graph(&self, file: &str) -> Result<graph::protobuf::Model, GateError> {
        graph::parse(&self.read(file)?).map_err(|cause| GateError::Network {
            file: file.to_owned(),
            cause: cause.into(),
        })
    }

    fn network(
        &mut self,
        engine: &dyn Engine,
        label: &str,
        manifest: &Manifest,
        golden: &[Given<'_>],
    ) -> Result<Network, GateError> {
        let network = match &manifest.graphs {
            Graphs::Autoregressive { file, contract } => {
                let model = self.graph(file)?;
                let load = || {
                    let mut network =
                        Autoregressive::load(engine, label, &model, contract.clone())?;
                    network.verify_program(golden)?;
                    Ok(network)
                };
                load()
                    .map(|network| Network::Autoregressive(network.into()))
                    .map_err(|cause| failed(file, cause))?
            }
            Graphs::Vae {
                encoder,
                decoder,
                contract,
            } => {
                let (first, second) = (self.graph(encoder)?, self.graph(decoder)?);
                Vae::load(engine, label, &first, &second, contract.clone())
                    .map(|network| Network::Vae(network.into()))
                    .map_err(|cause| failed(&format!("{encoder}, {decoder}"), cause))?
            }
            Graphs::Detector(_) => return Err(needs_members()),
        };
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
        Ok(network)
    }

    fn autoregressive(
        &mut self,
        network: &Autoregressive,
        manifest: &Manifest,
        golden: &[Given<'_>],
    ) -> Result<(Vec<f64>, Timings), GateError> {
        let file = manifest.files()[0].to_owned();
        let finding = match network.compilation() {
            Compilation::Wavefront(_) | Compilation::Causal(_) => {
                "no prediction can see its own or a later dimension: proven from the graph"
                    .to_owned()
            }
            Compilation::Unknown(_) => causality::probe(network, golden, &file)?,
        };
        self.passed("causality", finding);
        self.passed("sampling", network.compilation().to_string());
        let failed = |cause| failed(&file, cause);
        let maps = network
            .log_probabilities(golden, Threads::All)
            .map_err(failed)?;
        let scores: Vec<f64> = maps.iter().map(|map| likelihood::total(map)).collect();
        let logits = network.logits(golden, Threads::All).map_err(failed)?;
        for (image, (&score, given)) in scores.iter().zip(golden).enumerate() {
            let levels = given.levels;
            let reference: f64 = (0..levels.len())
                .map(|index| {
                    let logits: Vec<f64> = logits.at(image, index).map(f64::from).collect();
                    log_probability(network.head(), &logits, levels[index])
                })
                .sum();
            // −∞ on both sides is agreement too.
            let agree =
                score == reference || (score - reference).abs() <= 1e-3 + 1e-5 * reference.abs();
            if !agree {
                return Err(GateError::Inconsistent {
                    file,
                    image,
                    score,
                    logits: reference,
                });
            }
        }
        self.passed(
            "normalisation",
            "scores are the log-softmax of the logits".to_owned(),
        );
        let timings = Timings {
            forward: time_of(|| {
                network
                    .log_probabilities(&golden[..1], Threads::One)
                    .map(drop)
            })
            .map_err(failed)?,
            backward: time_of(|| network.draw_for_a_while(golden[0])).map_err(failed)?,
        };
        Ok((scores, timings))
    }

    fn vae(
        &mut self,
        vae: &Vae,
        manifest: &Manifest,
        golden: &[&[u8]],
    ) -> Result<(Vec<f64>, Timings), GateError> {
        let file = manifest.files()[..2].join(", ");
        let failed = |cause| failed(&file, cause);
        let posteriors = vae.encode(golden, Threads::All).map_err(failed)?;
        let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
        let observations = vae.decode(&codes, Threads::All).map_err(failed)?;
        let scores = posteriors
            .iter()
            .zip(&observations)
            .zip(golden)
            .map(|((posterior, observation), levels)| posterior.elbo_at_mean(observation, levels))
            .collect();
        self.passed(
            "normalisation",
            "the discretised logistic likelihood sums to 1 by construction".to_owned(),
        );
        let size = vae.latent_size();
        let timings = Timings {
            forward: time_of(|| vae.encode(&golden[..1], Threads::One).map(drop))
                .map_err(failed)?,
            backward: time_of(|| vae.decode(&codes[..size], Threads::One).map(drop))
                .map_err(failed)?,
        };
        Ok((scores, timings))
    }

    pub(super) fn golden(
        &mut self,
        manifest: &Manifest,
        expected: &[f64],
        actual: &[f64],
    ) -> Result<(), GateError> {
        let tolerance = &manifest.golden;
        let mut largest = 0.0f64;
        for (image, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
            let allowed =
                tolerance.absolute_tolerance + tolerance.relative_tolerance * expected.abs();
            let difference = (actual - expected).abs();
            // Written so that NaN fails.
            let reproduced = actual == expected || difference <= allowed;
            if !reproduced {
                return Err(GateError::Golden {
                    image,
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
            "golden scores",
            format!("{} reproduced to within {largest:.1e} nats", expected.len()),
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
}

impl Gate<'_> {
    fn trained_on(&self, manifest: &Manifest) -> Result<Option<TrainedOn>, GateError> {
        let Some(file) = &manifest.provenance.trained_on else {
            return Ok(None);
        };
        let hashes = TrainedOn::read(&self.read(file)?).map_err(|cause| GateError::File {
            file: file.clone(),
            cause,
        })?;
        Ok(Some(hashes))
    }
}

/// Golden images, with each label if there are labels.
fn given<'a>(images: &'a [Image], manifest: &Manifest) -> Vec<Given<'a>> {
    let labels = manifest
        .labels
        .as_ref()
        .map_or(1, |labels| labels.names.len() as u32);
    images
        .iter()
        .flat_map(|image| {
            (0..labels).map(|label| Given {
                levels: image.levels(),
                label,
            })
        })
        .collect()
}

fn failed(file: &str, cause: NetworkError) -> GateError {
    GateError::Network {
        file: file.to_owned(),
        cause,
    }
}

fn log_probability(head: Head, logits: &[f64], level: u8) -> f64 {
    match head {
        Head::Categorical => logits[usize::from(level)] - likelihood::log_sum_exp(logits),
        Head::Bernoulli => {
            let both = [0.0, logits[0]];
            both[usize::from(level)] - likelihood::log_sum_exp(&both)
        }
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

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is causal and its
//! scores are its own normalised predictions, and golden scores are reproduced.

mod autoencoder;
mod autoregressive;
mod causality;
mod classifier;
mod generator;
mod vae;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

use super::{
    Check, MANIFEST, Version,
    digest::hexadecimal,
    manifest::{GoldenFiles, Graphs, Manifest, Tolerance},
    trained_on::TrainedOn,
};
use crate::{
    domain::{conformal::Calibration, image::Image},
    graph, media,
    network::NetworkError,
    runtime::Engine,
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
    let mut gate = Gate::new(folder);
    let manifest = gate.manifest(name)?;
    let label = format!("{name} version {number}");
    let candidate = Candidate {
        engine,
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
    checks: Vec<Check>,
    /// sha256 of the manifest, once it is read.
    fingerprint: String,
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

    /// Says that graphs have the inputs and outputs that they should have.
    fn contract_kept(&mut self) {
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
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
        let images = media::read_images(&self.read(image_file)?, manifest.shape, usize::MAX)
            .map_err(|error| wrong(image_file, error.to_string()))?;
        let columns: Vec<usize> = labels.into_iter().collect();
        let scores = media::read_f64_table(&self.read(score_file)?, &columns)
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

    fn graph(&self, file: &str) -> Result<graph::protobuf::Model, GateError> {
        graph::parse(&self.read(file)?).map_err(|cause| GateError::Network {
            file: file.to_owned(),
            cause: cause.into(),
        })
    }

    /// Compares numbers with the golden ones.
    pub(super) fn golden(
        &mut self,
        (what, unit): (&'static str, &'static str),
        tolerance: Tolerance,
        expected: &[f64],
        actual: &[f64],
    ) -> Result<(), GateError> {
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
        let hashes = TrainedOn::read(&self.read(file)?).map_err(|cause| GateError::File {
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

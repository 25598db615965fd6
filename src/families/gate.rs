//! The load gate: what a version must prove before it serves.
//!
//! In order: the manifest is valid, hashes are right, graphs keep their contract and run, an autoregressive graph is causal and its
//! scores are its own normalised predictions, and golden scores are reproduced.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    NetworkError, Workshop,
    findings::{Findings, Settled},
    manifest::{CalibrationFile, MANIFEST, Manifest, Scored, Tolerance},
    snapshot::Snapshot,
};
use crate::{
    detection::trained_on::TrainedOn,
    domain::{conformal::Calibration, image::Image},
    graph, media,
    model::{
        Model,
        info::{CalibrationInfo, Card, Check, Density, ProvenanceInfo},
    },
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
    /// A stream that cannot be watched.
    #[error("its stream cannot be watched for drift: {0}")]
    Drift(String),
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

/// Finds a version of a model that serves already, or says why there is none.
pub type Lookup<'a> = &'a dyn Fn(&str, u32) -> Result<Arc<Model>, String>;

/// Loads a version and has it prove itself, or says which check it failed. What `findings` hold is not proved again; what is proved is added
/// to them.
pub fn prove(
    snapshot: &Snapshot,
    version: u32,
    members: Lookup<'_>,
    workshop: &Workshop,
    findings: &mut Findings,
) -> Result<Model, GateError> {
    let manifest = &snapshot.manifest;
    let mut gate = Gate {
        snapshot,
        version,
        members,
        workshop,
        findings,
        checks: Vec::new(),
    };
    gate.passed(
        "manifest",
        format!(
            "{} of {}, {} files with the stated sha256",
            manifest.family,
            manifest.shape,
            manifest.sha256.len()
        ),
    );
    let proved = manifest.contract.prove(&mut gate)?;
    let capabilities = match gate.trained_on()? {
        None => proved.capabilities,
        Some(hashes) => proved.capabilities.offer(Arc::new(hashes)),
    };
    let provenance = &manifest.provenance;
    Ok(Model {
        name: manifest.name.clone(),
        version,
        identity: gate.identity(),
        shape: manifest.shape,
        card: Card {
            description: manifest.description.clone(),
            family: manifest.family,
            density: proved.density,
            conditional: proved.density != Density::None && proved.labels.is_some(),
            likelihood: proved.likelihood,
            sampler: proved.sampler,
            latent_size: proved.latent_size,
            calibration: proved.calibration,
            provenance: ProvenanceInfo {
                data: provenance.data.clone(),
                licence: provenance.licence.clone(),
                command: provenance.command.clone(),
                parameters: provenance.parameters,
                test_bits_per_dim: provenance.test_bits_per_dim,
            },
            checks: gate.checks,
        },
        labels: proved.labels,
        capabilities,
    })
}

/// A load gate at work on one version.
pub struct Gate<'a> {
    snapshot: &'a Snapshot,
    version: u32,
    members: Lookup<'a>,
    workshop: &'a Workshop,
    findings: &'a mut Findings,
    checks: Vec<Check>,
}

impl<'a> Gate<'a> {
    /// What the manifest says.
    pub fn manifest(&self) -> &'a Manifest {
        &self.snapshot.manifest
    }

    /// The version's number.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Name and number of the version, for messages.
    pub fn label(&self) -> String {
        format!("{} version {}", self.manifest().name, self.version)
    }

    /// sha256 of the manifest in hexadecimal digits.
    pub fn fingerprint(&self) -> &'a str {
        &self.snapshot.fingerprint
    }

    /// What identifies the numbers that the version computes, see [`Model::identity`].
    pub fn identity(&self) -> String {
        let graphs = self.manifest().graphs_sha256();
        graphs.unwrap_or_else(|| self.fingerprint().to_owned())
    }

    /// The runtime, the workers and the metrics.
    pub fn workshop(&self) -> &'a Workshop {
        self.workshop
    }

    /// A version of a model that the version is made of.
    pub fn member(&self, name: &str, version: u32) -> Result<Arc<Model>, String> {
        (self.members)(name, version)
    }

    /// Notes a check that passed, and what it found.
    pub fn passed(&mut self, name: &'static str, finding: String) {
        let name = name.into();
        self.checks.push(Check { name, finding });
    }

    /// What `proof`, which is costly and depends on nothing but the files, the members, the runtime and the processor, comes to: from the
    /// findings of an earlier start if they have it, with the checks that it passed, else by doing it.
    pub fn settle<T: Serialize + DeserializeOwned>(
        &mut self,
        what: &'static str,
        proof: impl FnOnce(&mut Self) -> Result<T, GateError>,
    ) -> Result<T, GateError> {
        if let Some(Settled { value, checks }) = self.findings.get(what) {
            self.checks.extend(checks);
            self.passed(
                "record",
                format!(
                    "{what}: proved at an earlier start with the same files, runtime and processor"
                ),
            );
            return Ok(value);
        }
        let before = self.checks.len();
        let value = proof(self)?;
        self.findings.add(what, &value, &self.checks[before..]);
        Ok(value)
    }

    /// Says that graphs have the inputs and outputs that they should have.
    pub fn contract_kept(&mut self) {
        self.passed("graphs", "inputs and outputs keep the contract".to_owned());
    }

    /// The bytes of a file that the manifest names.
    pub fn read(&self, file: &str) -> Result<&'a [u8], GateError> {
        let bytes = self.snapshot.file(file);
        bytes.ok_or_else(|| GateError::Read {
            file: file.to_owned(),
            cause: "the manifest has no hash of it".to_owned(),
        })
    }

    /// Numbers of an npy file.
    pub fn scores(&self, file: &str) -> Result<Vec<f64>, GateError> {
        media::read_f64(self.read(file)?).map_err(|error| GateError::File {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    /// Golden images and their scores: one each, or one for each of `labels`.
    pub fn golden_scores(
        &self,
        golden: &Scored,
        labels: Option<usize>,
    ) -> Result<(Vec<Image>, Vec<f64>), GateError> {
        let Scored {
            images: image_file,
            scores: score_file,
            ..
        } = golden;
        let wrong = |file: &str, cause: String| GateError::File {
            file: file.to_owned(),
            cause,
        };
        let images = media::read_images(self.read(image_file)?, self.manifest().shape, usize::MAX)
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

    /// A graph.
    pub fn graph(&self, file: &str) -> Result<graph::protobuf::Model, GateError> {
        graph::parse(self.read(file)?).map_err(|cause| GateError::Network {
            file: file.to_owned(),
            cause: cause.into(),
        })
    }

    /// Compares numbers with the golden ones.
    pub fn golden(
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

    /// Scores of held-out inliers, which are strange on both sides, and what the model says of them.
    pub fn calibration(
        &mut self,
        file: Option<&CalibrationFile>,
        statistic: &'static str,
    ) -> Result<Option<(Calibration, CalibrationInfo)>, GateError> {
        let Some(file) = file else {
            return Ok(None);
        };
        let calibration = self.calibration_of(&file.scores)?;
        self.passed(
            "calibration",
            format!("{} scores of held-out inliers", calibration.size()),
        );
        let info = CalibrationInfo {
            size: calibration.size(),
            statistic,
            smallest_false_alarm_rate: calibration.smallest_p_value(),
            description: file.description.clone(),
        };
        Ok(Some((calibration, info)))
    }

    /// The calibration of a file of scores.
    pub fn calibration_of(&self, file: &str) -> Result<Calibration, GateError> {
        Calibration::new(self.scores(file)?).map_err(|error| GateError::File {
            file: file.to_owned(),
            cause: error.to_string(),
        })
    }

    fn trained_on(&self) -> Result<Option<TrainedOn>, GateError> {
        let Some(file) = &self.manifest().provenance.trained_on else {
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
pub const GOLDEN_SCORES: (&str, &str) = ("golden scores", " nats");

/// A graph that cannot be used.
pub fn failed(file: &str, cause: NetworkError) -> GateError {
    GateError::Network {
        file: file.to_owned(),
        cause,
    }
}

/// The second of two runs: the first one pays for allocations.
pub fn time_of<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    run()?;
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

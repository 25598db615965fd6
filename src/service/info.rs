//! What a model says of itself.

pub use crate::network::wavefront::Cost;

use crate::domain::{
    family::{Capability, Density, Family},
    image::ImageShape,
};

/// One version of one model.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Name.
    pub name: String,
    /// Version.
    pub version: u32,
    /// Whether it serves, or why not.
    pub state: ModelState,
}

/// The state of a version.
#[derive(Debug, Clone)]
pub enum ModelState {
    /// Serving.
    Ready(Box<ReadyInfo>),
    /// Refused by its load gate.
    Failed {
        /// Which check refused it, and what it found.
        reason: String,
    },
}

/// What a ready model can do.
#[derive(Debug, Clone)]
pub struct ReadyInfo {
    /// One line.
    pub description: String,
    /// Family.
    pub family: Family,
    /// What it says about p(image).
    pub density: Density,
    /// Whether its density is conditioned on labels: p(x | y).
    pub conditional: bool,
    /// Each capability, with the reason where it lacks it.
    pub capabilities: Vec<(Capability, Option<String>)>,
    /// Size of its images.
    pub shape: ImageShape,
    /// The likelihood head: `categorical`, `bernoulli` or `discretized-logistic`.
    pub likelihood: &'static str,
    /// Names of its labels, in the order of their numbers; none if it has none.
    pub labels: Vec<String>,
    /// p(label), in the same order.
    pub prior: Vec<f64>,
    /// How an autoregressive model is drawn from.
    pub sampler: Option<SamplerInfo>,
    /// Size of its latent code.
    pub latent_size: Option<usize>,
    /// Its calibration, where it has one.
    pub calibration: Option<CalibrationInfo>,
    /// Where it came from.
    pub provenance: ProvenanceInfo,
    /// What the load gate checked, in order.
    pub checks: Vec<CheckInfo>,
}

/// How an autoregressive model is drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SamplerInfo {
    /// Along wavefronts of the compiled network, at this cost.
    Wavefront(Cost),
    /// By fixed-point iteration over full passes.
    FixedPoint {
        /// Why the network could not be compiled.
        reason: String,
    },
}

/// A calibration.
#[derive(Debug, Clone)]
pub struct CalibrationInfo {
    /// Scores.
    pub size: usize,
    /// The statistic they are of.
    pub statistic: &'static str,
    /// The smallest false-alarm rate that they support.
    pub smallest_false_alarm_rate: f64,
    /// Where they came from.
    pub description: String,
}

/// Where a model came from.
#[derive(Debug, Clone)]
pub struct ProvenanceInfo {
    /// Training data.
    pub data: String,
    /// Licence.
    pub licence: String,
    /// Training command.
    pub command: String,
    /// Weights.
    pub parameters: u64,
    /// Bits per dimension on test images, as measured at training.
    pub test_bits_per_dim: Option<f64>,
}

/// One check of the load gate that passed.
#[derive(Debug, Clone)]
pub struct CheckInfo {
    /// What was checked.
    pub name: &'static str,
    /// What was found.
    pub finding: String,
}

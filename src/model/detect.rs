//! Detection: is an image reasonable, at a stated rate of false alarms?

use std::collections::BTreeMap;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Call, PerImage, Refusal,
    value::{Map, Number},
};
use crate::domain::image::Image;

/// A model with a calibration, by which images are judged.
#[async_trait]
pub trait Judges: Send + Sync {
    /// A verdict for each image.
    async fn judge(&self, images: Vec<Image>, ask: &JudgeAsk, call: &Call) -> Result<PerImage<Verdict>, Refusal>;

    /// Whether it can show what speaks against each dimension.
    fn has_maps(&self) -> bool;

    /// What p-values are measured against.
    fn calibration(&self) -> CalibrationScores;
}

/// A model with a statistic of its own, by which it judges once it is calibrated.
#[async_trait]
pub trait Measures: Send + Sync {
    /// What a calibration calls it.
    fn statistic(&self) -> &'static str;

    /// Its value for each image, in nats.
    async fn measure(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<f64>, Refusal>;
}

/// What is asked of a judge.
#[derive(Debug, Clone)]
pub struct JudgeAsk {
    /// The share of inliers that may be rejected: above 0, below 1.
    pub false_alarm_rate: f64,
    /// With which probability over calibrations this very calibration is to keep the rate, instead of calibrations on
    /// average.
    pub confidence: Option<f64>,
    /// The expected share of inliers among the rejected images of the request, which replaces the false-alarm rate.
    pub false_discovery_rate: Option<f64>,
    /// Whether what speaks against each dimension is wanted.
    pub map: bool,
}

/// The verdict on one image.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Whether the image is rejected.
    pub reject: bool,
    /// Conformal p-value.
    pub p_value: f64,
    /// The largest p-value that is rejected; none with a false discovery rate, which depends on the other images of the
    /// request.
    pub threshold: Option<f64>,
    /// What the p-value is measured against.
    pub calibration: Calibrated,
    /// One number of which only large values are strange, and by which images can be put in order: what a detector
    /// makes of its statistics, else −log p-value.
    pub strangeness: f64,
    /// What was measured, by name.
    pub statistics: BTreeMap<String, Measured>,
    /// −log p / (D ln 2), where a density was asked.
    pub bits_per_dim: Option<f64>,
    /// What speaks against each dimension, where it was asked for.
    pub map: Option<EvidenceMap>,
}

/// One number measured of an image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Measured {
    /// Log-likelihoods in nats; null if it is not finite.
    #[schemars(example = -1498.2)]
    pub value: Number,
    /// How often an ordinary image's is as far out.
    #[schemars(example = 0.41)]
    pub p_value: f64,
    /// A log-likelihood in bits per dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2.757)]
    pub bits_per_dim: Option<Number>,
}

/// Scores of held-out ordinary images.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Calibrated {
    /// How many there are.
    #[schemars(example = 5000)]
    pub size: usize,
    /// Where they came from.
    pub description: String,
    /// The label that the network gives the image and all of them, where p-values are measured label by label: the
    /// false-alarm rate then holds for every label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"frog")]
    pub label: Option<String>,
}

/// What the p-values of a model are measured against: what it says of held-out ordinary images.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CalibrationScores {
    /// What the scores are: the statistic of that name, or the `strangeness` of a detector.
    #[schemars(example = &"log_likelihood")]
    pub statistic: &'static str,
    /// Whether small scores are as strange as large ones, as with log-likelihoods. With n scores, of which a are at
    /// least as far out as an image's, its p-value is (a + 1) / (n + 1), and twice that if this is true.
    pub two_sided: bool,
    /// How many there are.
    #[schemars(example = 5000)]
    pub size: usize,
    /// Where they came from.
    pub description: String,
    /// In ascending order; log-likelihoods in nats.
    pub scores: Vec<f64>,
    /// For each score the label that the network gives its image, where p-values are measured label by label: n and a
    /// are then counted among the scores of the image's own label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

/// What speaks against each dimension of an image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EvidenceMap {
    /// Of the statistics that are maps, the one whose density finds the image strangest.
    #[schemars(example = &"local_ratio_map")]
    pub statistic: &'static str,
    /// `nats`, of which negative ones speak for the image, or `squared error` in units of level / (levels − 1).
    #[schemars(example = &"nats")]
    pub unit: &'static str,
    /// Positive speaks against the image.
    pub values: Map,
}

/// A detector whose stream of judged images is watched for drift. What was judged before the question is in the answer.
#[async_trait]
pub trait WatchesDrift: Send + Sync {
    /// What is known of the stream.
    async fn drift(&self) -> Result<DriftReport, Refusal>;

    /// Forgets the stream and begins a new run.
    async fn reset_drift(&self) -> Result<DriftReport, Refusal>;
}

/// What is known of the stream that a detector has judged.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DriftReport {
    /// Images that were counted in this run.
    pub images: usize,
    /// Images that were not, because the very same image had been.
    pub repeated: u64,
    /// Images after which the next run begins.
    pub run_length: usize,
    /// Natural logarithm of the capital that bets against "nothing has changed" have made: 0 at the start.
    pub log_capital: f64,
    /// The largest so far.
    pub highest_log_capital: f64,
    /// The same over the run: after 0, 1, 2, … times `curve_step` images.
    pub curve: Vec<f64>,
    /// Images from one value of `curve` to the next; it grows with the run, so that there are at most 512 values.
    pub curve_step: usize,
    /// Whether that has reached log(1 / alarm rate).
    pub alarm: bool,
    /// The probability of an alarm, ever, in a run without drift.
    pub alarm_rate: f64,
    /// When the run began, in seconds since 1970.
    pub since: u64,
    /// Whether a restart will find it again.
    pub kept: bool,
}

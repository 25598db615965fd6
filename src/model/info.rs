//! What a version of a model says of itself. One description for every transport and for the command line.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{domain::image::ImageShape, media};

/// One version of one model. Only a ready one says what it can do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelInfo {
    /// Name.
    #[schemars(example = &"fashion-mnist-pixelcnn")]
    pub name: String,
    /// Version.
    #[schemars(example = 1)]
    pub version: u32,
    /// How far it is on its way to serving.
    pub state: State,
    /// Whether requests that name no version are for this one.
    pub default: bool,
    /// Whether an operator said so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Whether it judges the images that other versions judge, to be compared with them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Why it is not ready, or why a ready one is not what its folder holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a ready model says of itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// How far a version is on its way to serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its folder was seen; files may be missing.
    Discovered,
    /// Its files are complete and have the stated hashes.
    Verified,
    /// It has passed its load gate.
    Proved,
    /// It serves.
    Ready,
    /// It was refused, and `reason` says why.
    Failed,
    /// An operator has unloaded it.
    Unloaded,
}

/// What a ready model says of itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Details {
    /// What its family says of it.
    #[serde(flatten)]
    pub card: Card,
    /// What can be asked of it.
    pub capabilities: Vec<Capable>,
    /// The images that it takes.
    pub image: Size,
    /// What is done to image files so that they fit, whoever sends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// The labels that the model knows, which requests name so or by number from 0, if it knows any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The probability of each label before anything is seen, in the same order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prior: Vec<f64>,
    /// Whether the stream of images that it judges is watched for drift.
    pub watches_drift: bool,
}

/// What a family says of one of its models.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Card {
    /// One line.
    pub description: String,
    /// Its family.
    #[schemars(example = &"pixelcnn")]
    pub family: &'static str,
    /// What it says about p(image).
    pub density: Density,
    /// Whether the density is conditioned on labels, p(image | label).
    pub conditional: bool,
    /// The likelihood head: `categorical`, `bernoulli`, `discretized-logistic`, `discretized-logistic-mixture`, or
    /// `none`.
    #[schemars(example = &"categorical")]
    pub likelihood: &'static str,
    /// How images are drawn pixel by pixel, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<DrawingMethod>,
    /// Numbers in its latent code, or in a classifier's features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latent_size: Option<usize>,
    /// What it is calibrated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationInfo>,
    /// How it looks at images of any size, if it does: the size of its images is that of a window then, and the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<TilesInfo>,
    /// Where its numbers are computed, and how exactly.
    pub computed: Computed,
    /// Where it came from.
    pub provenance: ProvenanceInfo,
    /// What was checked before it became ready, in order.
    pub checks: Vec<Check>,
    /// What it serves without.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["images are drawn by full passes: normalisation over places: layer \"norm\" (GroupNorm)"])]
    pub weaknesses: Vec<String>,
}

/// What a model says about p(image).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Density {
    /// The exact value.
    Exact,
    /// A lower bound.
    LowerBound,
    /// Samples only.
    Implicit,
    /// Nothing.
    None,
}

/// Something that can be asked of a model, and why not if it cannot.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Capable {
    /// The operation.
    #[schemars(example = &"score")]
    pub name: &'static str,
    /// Whether the model can.
    pub available: bool,
    /// The media types that it can answer in, the default first; none if it cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(example = &["application/json", "image/png"])]
    pub formats: Vec<&'static str>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The images that a model takes.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Size {
    /// 1 for grey, 3 for colour.
    #[schemars(example = 1)]
    pub channels: usize,
    /// Rows.
    #[schemars(example = 28)]
    pub height: usize,
    /// Columns.
    #[schemars(example = 28)]
    pub width: usize,
    /// Values that one channel of one pixel takes.
    #[schemars(example = 256)]
    pub levels: usize,
}

impl From<ImageShape> for Size {
    fn from(shape: ImageShape) -> Self {
        Self {
            channels: shape.channels(),
            height: shape.height(),
            width: shape.width(),
            levels: shape.levels(),
        }
    }
}

/// What is done to image files that do not fit, before a model sees them. Lists of levels and arrays are taken as they
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Preprocessing {
    /// The filter that brings them to another size, as Pillow computes it: `box`, `bilinear`, `hamming`, `bicubic` or
    /// `lanczos`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"bilinear")]
    pub resize: Option<&'static str>,
    /// Pixels of the shorter side after that, of which the middle is taken; without it the whole image is brought to
    /// the model's size, whatever its proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 256)]
    pub short_side: Option<u32>,
    /// Whether they are converted between colour and grey, blended over black and reduced to 8 bits.
    pub convert: bool,
    /// Whether they are turned as the orientation tag of a camera asks.
    pub orient: bool,
}

impl Preprocessing {
    /// What the options ask for, if they ask for anything.
    pub fn of(options: media::DecodeOptions) -> Option<Self> {
        let media::DecodeOptions {
            resize,
            convert,
            orient,
            frames: _,
            any_size: _,
        } = options;
        (resize.is_some() || convert || orient).then(|| Self {
            resize: resize.map(|resize| resize.filter.name()),
            short_side: resize.and_then(|resize| resize.short_side),
            convert,
            orient,
        })
    }
}

/// How images are drawn pixel by pixel. Both ways draw what one full pass a pixel would draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum DrawingMethod {
    /// Through the compiled network, nothing of which is computed twice.
    Wavefront {
        /// Columns by which a row runs behind the row above.
        lag: u64,
        /// Steps that an image takes.
        steps: u64,
        /// Multiplications of weights for an image.
        multiply_adds: u64,
        /// Bytes that are remembered for an image while it is drawn.
        bytes_per_image: u64,
    },
    /// By full passes, each of which settles some pixels.
    FixedPoint {
        /// Why the network could not be compiled.
        reason: String,
    },
}

/// Scores of held-out inliers behind `detect`, or behind the doubts of `classify`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CalibrationInfo {
    /// How many there are.
    pub size: usize,
    /// The statistic they are of.
    #[schemars(example = &"log_likelihood")]
    pub statistic: &'static str,
    /// The smallest false-alarm rate that they support.
    pub smallest_false_alarm_rate: f64,
    /// Where they came from.
    pub description: String,
    /// For each label how many of them the network gives it, where p-values are measured label by label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_label: Option<BTreeMap<String, usize>>,
}

/// How large images are cut into windows, and what becomes of what windows say.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TilesInfo {
    /// Rows and columns from one window to the next; the last ones end flush with the border.
    #[schemars(example = 32)]
    pub stride: usize,
    /// The statistic that makes the map of an image, blended where windows overlap.
    #[schemars(example = &"reconstruction_map")]
    pub map: &'static str,
    /// Deviation in pixels of the Gaussian under which the map becomes numbers.
    #[schemars(example = 4.0)]
    pub smoothing: f64,
    /// The largest share of places, and of windows, whose mean is a number of the image.
    #[schemars(example = 0.01)]
    pub share: f64,
}

/// Where the numbers of a model are computed, and how exactly.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Computed {
    /// What runs its graphs: `cpu`, `openvino` or `cuda`.
    #[schemars(example = &"cpu")]
    pub device: &'static str,
    /// The numbers that they multiply: `f32` or `bf16`.
    #[schemars(example = &"f32")]
    pub precision: &'static str,
    /// How far that moves its golden numbers from what the same library computes on the processor at f32; none where
    /// that is where they are computed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
}

/// How far golden numbers move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Which numbers.
    #[schemars(example = &"golden scores")]
    pub of: String,
    /// Their unit; empty if they have none.
    #[schemars(example = &"nats")]
    pub unit: String,
    /// How many there are.
    pub count: usize,
    /// Mean of the absolute differences.
    pub mean: f64,
    /// The largest of them.
    pub largest: f64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.unit.is_empty() { "" } else { " " };
        write!(
            f,
            "{} move by {}{space}{} on average and by {} at most, of {}",
            self.of,
            short(self.mean),
            self.unit,
            short(self.largest),
            self.count
        )
    }
}

/// A number with three digits that count.
pub fn short(number: f64) -> f64 {
    format!("{number:.2e}").parse().unwrap_or(number)
}

/// Where a model came from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_bits_per_dim: Option<f64>,
}

/// One check of the load gate that passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was checked.
    pub name: Cow<'static, str>,
    /// What was found.
    pub finding: String,
}

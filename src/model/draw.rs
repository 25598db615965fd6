//! Drawing: new images, and the missing pixels of partly given ones.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, PerImage, Refusal, labels::Condition};
use crate::domain::image::Image;

/// A model that images can be drawn from.
#[async_trait]
pub trait Draws: Send + Sync {
    /// New images. Where they are drawn pixel by pixel, the call's watcher sees how far they are.
    async fn draw(&self, ask: &DrawAsk, call: &Call) -> Result<Drawn, Refusal>;

    /// In which order the pixels of an image appear.
    fn order(&self) -> Order;
}

/// A model that can draw the missing pixels of an image.
#[async_trait]
pub trait Completes: Send + Sync {
    /// The missing pixels of partly given images. Levels of unknown pixels in `images` are ignored.
    async fn complete(&self, images: Vec<Image>, ask: &CompleteAsk, call: &Call) -> Result<Completed, Refusal>;

    /// In which order the missing pixels appear.
    fn order(&self) -> Order;
}

/// What is asked of a drawing.
#[derive(Debug, Clone)]
pub struct DrawAsk {
    /// Images.
    pub n: u32,
    /// The same seed gives the same images.
    pub seed: u64,
    /// Above 0; 1 is the model's own distribution, lower is more typical.
    pub temperature: f64,
    /// Draw from the decoder's likelihood or take its mean (models with a decoder only).
    pub observation: Observation,
    /// The label that is conditioned on; without one each image's is drawn from the prior.
    pub condition: Condition,
}

/// What to show of a decoder's distribution over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// A draw from it: a true sample of the model, with its pixel noise.
    Sample,
    /// Its mean: smooth, easier on the eye, not a sample.
    #[default]
    Mean,
}

/// In which order the pixels of an image are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All at once.
    AtOnce,
    /// Row after row.
    Rows,
    /// Along wavefronts: each row runs `lag` columns behind the row above.
    Wavefront {
        /// Columns.
        lag: usize,
    },
}

/// Images drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// The images.
    pub images: Vec<Image>,
    /// Of a conditional model, the number of each image's label; else empty.
    pub labels: Vec<u32>,
    /// How they were drawn.
    pub sampler: Sampler,
}

/// How images were drawn.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Sampler {
    /// `wavefront`: pixel by pixel through the compiled network. `fixed_point`: by full passes, each of which settles
    /// some pixels. Both draw what one full pass a pixel would draw. `decoder`: one pass through a decoder.
    #[serde(rename = "sampler")]
    #[schemars(example = &"wavefront")]
    pub name: &'static str,
    /// Steps of a wavefront that each image took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Full passes that all images took together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passes: Option<u64>,
}

impl Sampler {
    /// Along wavefronts of the compiled network.
    pub fn wavefront(steps: u64) -> Self {
        Self {
            name: "wavefront",
            steps: Some(steps),
            passes: None,
        }
    }

    /// By fixed-point iteration over full passes.
    pub fn fixed_point(passes: u64) -> Self {
        Self {
            name: "fixed_point",
            steps: None,
            passes: Some(passes),
        }
    }

    /// One pass through a decoder.
    pub fn decoder() -> Self {
        Self {
            name: "decoder",
            steps: None,
            passes: None,
        }
    }
}

/// What is asked of a completion.
#[derive(Debug, Clone)]
pub struct CompleteAsk {
    /// One flag a pixel in row order, `true` where it is given.
    pub known: Vec<bool>,
    /// Completions of each image.
    pub n: u32,
    /// The same seed gives the same completions.
    pub seed: u64,
    /// Above 0.
    pub temperature: f64,
    /// The label that is conditioned on; without one each completion's is drawn from the posterior given the known
    /// pixels, which must come first in the model's order.
    pub condition: Condition,
}

/// The completions of the images of a request.
#[derive(Debug, Clone)]
pub struct Completed {
    /// How the missing pixels were drawn.
    pub method: CompletionMethod,
    /// For each image its completions.
    pub items: PerImage<Completions>,
}

/// Completions of one image.
#[derive(Debug, Clone)]
pub struct Completions {
    /// The images.
    pub images: Vec<Image>,
    /// Of a conditional model, the number of each completion's label; else empty.
    pub labels: Vec<u32>,
}

/// How missing pixels are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionMethod {
    /// Exactly from p(missing | known): every given pixel comes before every missing one in the model's order.
    Exact,
    /// In the model's order, each missing pixel conditioned on the pixels before it only. Given pixels that come later
    /// are kept but do not inform the missing ones before them.
    Ancestral,
    /// By alternating encoder and decoder (Rezende, Mohamed and Wierstra 2014, appendix F): approximate.
    PseudoGibbs {
        /// Rounds.
        iterations: u32,
    },
}

impl CompletionMethod {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Ancestral => "ancestral",
            Self::PseudoGibbs { .. } => "pseudo_gibbs",
        }
    }
}

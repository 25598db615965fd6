//! The logits of a batch, and what they say of a level.

use super::{Given, Head};
use crate::{
    domain::{image::ImageShape, likelihood, random::Random, sampling},
    families::manifest::{self, Tables},
    runtime::Output,
};

/// The logits of a batch.
#[derive(Debug)]
pub struct Logits {
    pub(super) shape: ImageShape,
    pub(super) head: Head,
    pub(super) rows: usize,
    /// [rows, outcomes, (C,) H, W].
    pub(super) output: Output,
}

impl Logits {
    /// The logits of one dimension (storage index) of one image: one a level, or the single log-odds of a Bernoulli
    /// head.
    pub fn at(&self, row: usize, index: usize) -> impl ExactSizeIterator<Item = f32> + '_ {
        let dimensions = self.shape.dimensions();
        let values = self.row(row);
        let count = values.len() / dimensions;
        (0..count).map(move |level| values[level * dimensions + index])
    }

    /// All logits of one image: level by level, each in channel, row, column order.
    pub fn row(&self, row: usize) -> &[f32] {
        self.output.row(row, self.rows)
    }

    /// log p of every dimension of the images that they are the logits of, as [`Head::log_probability`] gives it.
    pub(super) fn log_probabilities(&self, images: &[Given<'_>]) -> Vec<Vec<f32>> {
        let mut scratch = Vec::new();
        let mut log_probability = |row, (index, &level)| {
            scratch.clear();
            scratch.extend(self.at(row, index));
            self.head.log_probability(&scratch, level) as f32
        };
        let maps = images.iter().enumerate().map(|(row, given)| {
            let levels = given.levels.iter().enumerate();
            levels.map(|at| log_probability(row, at)).collect()
        });
        maps.collect()
    }

    /// Whether the logits of one dimension describe a distribution.
    pub fn describe(&self, row: usize, index: usize) -> bool {
        self.head.describes(self.at(row, index))
    }

    /// Draws the level of one dimension with the uniform number that belongs to it.
    pub fn draw(&self, row: usize, index: usize, temperature: f64, random: &Random, scratch: &mut Vec<f32>) -> u8 {
        let uniform = random.uniform(index as u32);
        self.head.draw(self.at(row, index), temperature, uniform, scratch)
    }
}

impl Head {
    /// `[likelihood]` of a manifest.
    pub(in crate::families) fn read(tables: &mut Tables) -> Result<Self, String> {
        let levels = tables.shape().levels();
        match tables.head()? {
            manifest::Head::Categorical => Ok(Self::Categorical),
            manifest::Head::Bernoulli if levels == 2 => Ok(Self::Bernoulli),
            manifest::Head::Bernoulli => Err(format!(
                "likelihood.head: \"bernoulli\" is a likelihood of 2 levels, not of {levels}: binary cross-entropy on grey levels is not \
                 normalised"
            )),
            manifest::Head::DiscretizedLogistic => {
                Err("likelihood.head: an autoregressive model has a \"categorical\" or \"bernoulli\" head".to_owned())
            }
        }
    }

    /// The name used in manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Categorical => "categorical",
            Self::Bernoulli => "bernoulli",
        }
    }

    /// Logits of a dimension: one a level, or 1 for a Bernoulli head.
    pub(in crate::families::autoregressive) fn outcomes(self, shape: ImageShape) -> usize {
        match self {
            Self::Categorical => shape.levels(),
            Self::Bernoulli => 1,
        }
    }

    /// log p(level) in nats from the logits of one dimension.
    pub(super) fn log_probability(self, logits: &[f32], level: u8) -> f64 {
        match self {
            Self::Categorical => {
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |&logit: &f32| (f64::from(logit) - f64::from(max)).exp();
                let total: f64 = logits.iter().map(weight).sum();
                f64::from(logits[usize::from(level)]) - f64::from(max) - total.ln()
            }
            Self::Bernoulli => {
                let margin = (1.0 - 2.0 * f64::from(level)) * f64::from(logits[0]);
                -likelihood::softplus(margin)
            }
        }
    }

    /// Whether the logits of one dimension describe a distribution: numbers, and of several a largest one that is
    /// finite.
    pub fn describes(self, mut logits: impl Iterator<Item = f32>) -> bool {
        match self {
            Self::Categorical => logits
                .try_fold(f32::NEG_INFINITY, |max, logit| {
                    (!logit.is_nan()).then(|| max.max(logit))
                })
                .is_some_and(f32::is_finite),
            Self::Bernoulli => !logits.any(f32::is_nan),
        }
    }

    /// Draws a level from the logits of one dimension. `scratch` is working space.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn draw(
        self,
        mut logits: impl ExactSizeIterator<Item = f32>,
        temperature: f64,
        uniform: f64,
        scratch: &mut Vec<f32>,
    ) -> u8 {
        match self {
            Self::Categorical => sampling::categorical(logits, temperature, uniform, scratch),
            Self::Bernoulli => {
                let logit = logits.next().expect("a Bernoulli head has one logit");
                sampling::bernoulli(logit, temperature, uniform)
            }
        }
    }
}

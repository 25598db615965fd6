//! What a decoder gives of an image: independent distributions of its dimensions given a code, or a picture alone.

use super::{head::Density, mixture::Mixtures};
use crate::{
    domain::{
        image::{Image, ImageShape},
        likelihood,
        random::Random,
        sampling,
    },
    families::codes::{finite, image_of, nothing_to_draw},
    model::Refusal,
};

/// An image as a decoder gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    shape: ImageShape,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// A density at every dimension, in units of level / (levels − 1).
    Located {
        density: Density,
        mean: Vec<f32>,
        log_scale: Vec<f32>,
    },
    /// Log-odds of every dimension.
    LogOdds(Vec<f32>),
    /// Mixtures of logistics.
    Mixture(Mixtures),
    /// Real numbers, not levels, in units of level / (levels − 1).
    Picture(Vec<f32>),
}

impl Density {
    fn log_probability(self, level: u8, levels: usize, mean: f32, log_scale: f32) -> f64 {
        match self {
            Self::Logistic => likelihood::discretized_logistic(level, levels, mean, log_scale),
            Self::Gaussian => likelihood::discretized_gaussian(level, levels, mean, log_scale),
        }
    }
}

impl Observation {
    /// A distribution of every dimension: means and logarithms of scales, in units of level / (levels − 1).
    pub fn located(shape: ImageShape, density: Density, mean: Vec<f32>, log_scale: Vec<f32>) -> Self {
        let kind = Kind::Located {
            density,
            mean,
            log_scale,
        };
        Self { shape, kind }
    }

    /// Log-odds of every dimension.
    pub fn log_odds(shape: ImageShape, logits: Vec<f32>) -> Self {
        let kind = Kind::LogOdds(logits);
        Self { shape, kind }
    }

    /// Parameters of a mixture of logistics at every pixel.
    pub fn mixture(shape: ImageShape, parameters: Vec<f32>) -> Self {
        let kind = Kind::Mixture(Mixtures::new(shape, parameters));
        Self { shape, kind }
    }

    /// An image and no distribution.
    pub fn picture(shape: ImageShape, values: Vec<f32>) -> Self {
        let kind = Kind::Picture(values);
        Self { shape, kind }
    }

    /// The mean of every dimension in channel, row, column order, in units of level / (levels − 1).
    pub fn mean(&self) -> Vec<f32> {
        match &self.kind {
            Kind::Located { mean, .. } => mean.clone(),
            Kind::LogOdds(logits) => logits.iter().map(|&logit| 1.0 / (1.0 + (-logit).exp())).collect(),
            Kind::Mixture(mixtures) => mixtures.mean(),
            Kind::Picture(values) => values.clone(),
        }
    }

    /// What the graph gave for the place of every dimension: its mean, or its log-odds; of a mixture all parameters.
    pub(super) fn located_at(&self) -> &[f32] {
        match &self.kind {
            Kind::Mixture(mixtures) => mixtures.parameters(),
            Kind::Located { mean: values, .. } | Kind::LogOdds(values) | Kind::Picture(values) => values,
        }
    }

    /// The logarithm of every dimension's scale, in the same units; empty if it has none.
    pub(super) fn log_scale(&self) -> &[f32] {
        match &self.kind {
            Kind::Located { log_scale, .. } => log_scale,
            _ => &[],
        }
    }

    /// All numbers that the graph gave.
    pub fn numbers(&self) -> Vec<f32> {
        [self.located_at(), self.log_scale()].concat()
    }

    /// log p(xᵢ | z) of every dimension in nats, if there is a likelihood.
    pub fn log_probabilities(&self, levels: &[u8]) -> Option<Vec<f64>> {
        let count = self.shape.levels();
        let levels = levels.iter();
        match &self.kind {
            Kind::Located {
                density,
                mean,
                log_scale,
            } => {
                let parameters = mean.iter().zip(log_scale);
                let one = |(&level, (&mean, &log_scale))| density.log_probability(level, count, mean, log_scale);
                Some(levels.zip(parameters).map(one).collect())
            }
            Kind::LogOdds(logits) if count == 2 => {
                let one = |(&level, &logit)| likelihood::bernoulli(level, logit);
                Some(levels.zip(logits).map(one).collect())
            }
            Kind::Mixture(mixtures) => Some(mixtures.log_probabilities(levels.as_slice())),
            Kind::LogOdds(_) | Kind::Picture(_) => None,
        }
    }

    /// log p(x | z) in nats, if there is a likelihood.
    pub fn log_likelihood(&self, levels: &[u8]) -> Option<f64> {
        Some(self.log_probabilities(levels)?.iter().sum())
    }

    /// The best log-likelihood in nats that each level could have had, had the decoder put its mean where it is best
    /// for that level and kept its scale: on the level itself, or beyond the edge for the outermost levels, which is
    /// certainty. Log-odds and mixtures, which have no one scale, can be certain of any level.
    pub fn attainable<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        let count = self.shape.levels();
        let best = move |(index, &level): (usize, &u8)| match &self.kind {
            Kind::Located { density, log_scale, .. } if level != 0 && usize::from(level) != count - 1 => {
                let mean = f32::from(level) / (count - 1) as f32;
                density.log_probability(level, count, mean, log_scale[index])
            }
            _ => 0.0,
        };
        levels.iter().enumerate().map(best)
    }

    /// The mean, rounded to levels, if it is a number everywhere.
    pub fn mean_image(&self) -> Result<Image, Refusal> {
        finite("a pixel", self.located_at())?;
        let mean = self.mean();
        let mean = finite("a pixel", &mean)?.iter();
        image_of(
            self.shape,
            mean.map(|&mean| sampling::nearest_level(f64::from(mean), self.shape.levels())),
        )
    }

    /// A draw from the distribution, if there is one at every dimension.
    pub fn draw(&self, temperature: f64, random: &Random) -> Result<Image, Refusal> {
        let levels = self.shape.levels();
        let values = finite("a pixel", self.located_at())?.iter();
        match &self.kind {
            Kind::Located { density, log_scale, .. } => {
                let both = values.zip(finite("the scale of a pixel", log_scale)?);
                let level = |(index, (&mean, &log_scale)): (usize, (&f32, &f32))| match density {
                    Density::Logistic => {
                        let uniform = random.uniform(index as u32);
                        sampling::discretized_logistic(mean, log_scale, levels, temperature, uniform)
                    }
                    Density::Gaussian => {
                        let normal = random.normal(index as u32);
                        sampling::discretized_gaussian(mean, log_scale, levels, temperature, normal)
                    }
                };
                image_of(self.shape, both.enumerate().map(level))
            }
            Kind::LogOdds(_) if levels == 2 => {
                let level = |(index, &logit)| sampling::bernoulli(logit, temperature, random.uniform(index as u32));
                image_of(self.shape, values.enumerate().map(level))
            }
            Kind::Mixture(mixtures) => image_of(self.shape, mixtures.draw(temperature, random)),
            Kind::LogOdds(_) | Kind::Picture(_) => Err(nothing_to_draw()),
        }
    }

    /// The squared difference of the mean to an image at every dimension, in units of level / (levels − 1). The mean of
    /// a distribution that lies beyond the edge, which a likelihood with open edges asks for where it is certain of an
    /// outermost level, counts as that level: the image has no other.
    pub fn squared_errors(&self, levels: &[u8]) -> Vec<f64> {
        let max = (self.shape.levels() - 1) as f64;
        let is_open = matches!(self.kind, Kind::Located { .. });
        let one = |(&level, mean): (&u8, f32)| {
            let mean = f64::from(mean);
            let mean = if is_open { mean.clamp(0.0, 1.0) } else { mean };
            (f64::from(level) / max - mean).powi(2)
        };
        levels.iter().zip(self.mean()).map(one).collect()
    }
}

//! What a network predicts of one dimension, and what follows from it. Nothing else knows how a head is read.

use super::Head;
use crate::{
    domain::{
        coding::{Encoder, Frequencies},
        image::ImageShape,
        likelihood,
        logistic_mixture::{self, LogisticMixture},
        sampling,
    },
    families::manifest::{self, Tables},
    graph::{GraphError, wavefront::Predictions},
};

/// The distribution of one dimension given those before it.
#[derive(Debug, Clone, Copy)]
pub struct Prediction<'a> {
    /// How it is read.
    pub head: Head,
    /// Size of the images.
    pub shape: ImageShape,
    /// What the network gives: the logits of the dimension, or of a head that links channels the parameters of its
    /// pixel.
    pub values: &'a [f32],
    /// Levels of the channels of its pixel before it.
    pub earlier: &'a [u8],
}

/// Working space.
#[derive(Debug, Default)]
pub struct Scratch {
    weights: Vec<f32>,
    mixture: LogisticMixture,
}

impl Head {
    /// `[likelihood]` of a manifest.
    pub(in crate::families) fn read(tables: &mut Tables) -> Result<Self, String> {
        let (levels, channels) = (tables.shape().levels(), tables.shape().channels());
        match tables.head()? {
            manifest::Head::Categorical => Ok(Self::Categorical),
            manifest::Head::Bernoulli if levels == 2 => Ok(Self::Bernoulli),
            manifest::Head::Bernoulli => Err(format!(
                "likelihood.head: \"bernoulli\" is a likelihood of 2 levels, not of {levels}: binary cross-entropy on \
                 grey levels is not normalised"
            )),
            manifest::Head::DiscretizedLogisticMixture => match logistic_mixture::parameters_of_component(channels) {
                Some(_) => Ok(Self::LogisticMixture),
                None => Err(format!(
                    "likelihood.head: \"discretized-logistic-mixture\" is a likelihood of pixels of 1 channel or 3, \
                     not of {channels}"
                )),
            },
            manifest::Head::DiscretizedLogistic | manifest::Head::Gaussian => Err(
                "likelihood.head: an autoregressive model has a \"categorical\", \"bernoulli\" or \
                 \"discretized-logistic-mixture\" head"
                    .to_owned(),
            ),
        }
    }

    /// The name used in manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Categorical => "categorical",
            Self::Bernoulli => "bernoulli",
            Self::LogisticMixture => "discretized-logistic-mixture",
        }
    }

    /// What makes scores of it those of a distribution, once the load gate has found it so.
    pub(in crate::families::autoregressive) fn normalisation(self) -> &'static str {
        match self {
            Self::Categorical | Self::Bernoulli => "scores are the log-softmax of the logits",
            Self::LogisticMixture => "scores are those of mixtures that sum to 1 over the levels of every dimension",
        }
    }

    /// What a network with this head gives at a pixel; `declared` finds how many numbers its output declares, where
    /// the head leaves that open.
    pub(super) fn predictions(
        self,
        shape: ImageShape,
        declared: impl FnOnce() -> Result<usize, GraphError>,
    ) -> Result<Predictions, GraphError> {
        match self {
            Self::Categorical => Ok(Predictions::OfChannels(shape.levels())),
            Self::Bernoulli => Ok(Predictions::OfChannels(1)),
            Self::LogisticMixture => {
                let (parameters, channels) = (declared()?, shape.channels());
                let each = logistic_mixture::parameters_of_component(channels).unwrap_or(usize::MAX);
                if parameters % each == 0 {
                    return Ok(Predictions::OfPixels(parameters));
                }
                Err(GraphError::Signature(format!(
                    "the output has {parameters} features, but a discretised mixture of logistics over {channels} \
                     channel{} has {each} for each component",
                    if channels == 1 { "" } else { "s" }
                )))
            }
        }
    }
}

impl Prediction<'_> {
    /// log P(level) in nats.
    pub fn log_probability(self, level: u8, scratch: &mut Scratch) -> f64 {
        match self.head {
            Head::Categorical => {
                let logits = self.values;
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weight = |&logit: &f32| (f64::from(logit) - f64::from(max)).exp();
                let total: f64 = logits.iter().map(weight).sum();
                f64::from(logits[usize::from(level)]) - f64::from(max) - total.ln()
            }
            Head::Bernoulli => {
                let margin = (1.0 - 2.0 * f64::from(level)) * f64::from(self.values[0]);
                -likelihood::softplus(margin)
            }
            Head::LogisticMixture => self.mixture(scratch).log_probability(level),
        }
    }

    /// The same, from the sum over all levels, also where a distribution needs no such sum: what a density has to
    /// prove.
    pub fn normalised_log_probability(self, level: u8, scratch: &mut Scratch) -> f64 {
        let log_probability = self.log_probability(level, scratch);
        if self.head != Head::LogisticMixture {
            return log_probability;
        }
        let probabilities = self.probabilities(scratch);
        let total: f64 = probabilities.iter().map(|&probability| f64::from(probability)).sum();
        log_probability - total.ln()
    }

    /// The mean level.
    pub fn mean(self, scratch: &mut Scratch) -> f64 {
        let of_weights = |weights: &mut dyn Iterator<Item = f64>| {
            let (sum, total) = weights.enumerate().fold((0.0, 0.0), |(sum, total), (level, weight)| {
                (sum + level as f64 * weight, total + weight)
            });
            sum / total
        };
        match self.head {
            Head::Categorical => {
                let max = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                of_weights(&mut self.values.iter().map(|logit| f64::from(logit - max).exp()))
            }
            Head::Bernoulli => 1.0 / (1.0 + (-f64::from(self.values[0])).exp()),
            Head::LogisticMixture => of_weights(&mut self.probabilities(scratch).iter().map(|&weight| weight.into())),
        }
    }

    /// Whether it is a distribution: numbers, and of several logits a largest one that is finite.
    pub fn describes(self) -> bool {
        match self.head {
            Head::Categorical => {
                let (max, are_numbers) = sampling::largest(self.values);
                are_numbers && max.is_finite()
            }
            Head::Bernoulli => !self.values.iter().any(|logit| logit.is_nan()),
            Head::LogisticMixture => logistic_mixture::describe(self.values),
        }
    }

    /// Draws a level: by the inverse of the cumulative distribution, at another temperature than 1 that of
    /// P(level)^(1 / temperature).
    ///
    /// # Panics
    /// If the network gives nothing.
    pub fn draw(self, temperature: f64, uniform: f64, scratch: &mut Scratch) -> u8 {
        match self.head {
            Head::Categorical => {
                sampling::categorical(self.values.iter().copied(), temperature, uniform, &mut scratch.weights)
            }
            Head::Bernoulli => sampling::bernoulli(self.values[0], temperature, uniform),
            // Of parameters that are no numbers nothing can be drawn; whoever asks is told by `describes`.
            Head::LogisticMixture if !self.describes() => 0,
            #[allow(clippy::float_cmp)]
            Head::LogisticMixture if temperature == 1.0 => self.mixture(scratch).draw(uniform),
            Head::LogisticMixture => {
                let logits: Vec<f32> = self.probabilities(scratch).iter().map(|p| libm::logf(*p)).collect();
                sampling::categorical(logits.into_iter(), temperature, uniform, &mut scratch.weights)
            }
        }
    }

    /// The distribution in whole parts, for coding.
    pub fn divide(self, frequencies: &mut Frequencies, scratch: &mut Scratch) {
        match self.head {
            Head::Categorical => frequencies.set_categorical(self.values.iter().copied()),
            Head::Bernoulli => frequencies.set_bernoulli(self.values[0]),
            Head::LogisticMixture => {
                let mixture = self.mixture(scratch);
                frequencies.set_weights(|weights| mixture.probabilities(weights));
            }
        }
    }

    /// Codes the level by the distribution that [`Self::divide`] has laid down.
    pub fn encode(self, level: u8, encoder: &mut Encoder, scratch: &mut Scratch) {
        match self.head {
            Head::Categorical | Head::Bernoulli => encoder.encode(level),
            Head::LogisticMixture => {
                let log_probability = self.log_probability(level, scratch);
                encoder.encode_of(level, -log_probability / std::f64::consts::LN_2);
            }
        }
    }

    /// The probability of every level, of a head that links channels.
    pub(super) fn probabilities(self, scratch: &mut Scratch) -> &[f32] {
        self.mixture(scratch);
        scratch.mixture.probabilities(&mut scratch.weights);
        &scratch.weights
    }

    fn mixture(self, scratch: &mut Scratch) -> &mut LogisticMixture {
        let (channels, levels) = (self.shape.channels(), self.shape.levels());
        scratch.mixture.become_next(self.values, channels, levels, self.earlier);
        &mut scratch.mixture
    }
}

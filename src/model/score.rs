//! Scoring: the log-likelihood of images, or a bound on it.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Call, PerImage, Refusal,
    labels::Condition,
    value::{Map, Number},
};
use crate::domain::{image::Image, likelihood};

/// A model that puts a likelihood, or a bound on it, on an image.
#[async_trait]
pub trait Scores: Send + Sync {
    /// One likelihood for each image.
    async fn score(&self, images: Vec<Image>, ask: &ScoreAsk, call: &Call) -> Result<Scored, Refusal>;
}

/// What is asked of a score.
#[derive(Debug, Clone)]
pub struct ScoreAsk {
    /// The bound; without one the model's natural one.
    pub bound: Option<BoundChoice>,
    /// Posterior samples of a bound; without a number the model's own.
    pub k: Option<u32>,
    /// Seed of the posterior samples.
    pub seed: u64,
    /// Whether the log-probability of every dimension is wanted too.
    pub map: bool,
    /// The label that is conditioned on.
    pub condition: Condition,
}

/// What a log-likelihood is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoundChoice {
    /// The log-likelihood itself.
    Exact,
    /// The evidence lower bound.
    Elbo,
    /// The importance-weighted bound, which is tighter.
    Iwae,
}

/// What holds for the likelihoods of a request.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Qualifiers {
    /// What the numbers are worth: `exact`; `exact_as_far_as_tried` where causality was tried and not proven, see the
    /// check `causality` of the model; or the lower bound `elbo` or `iwae`.
    #[schemars(example = &"exact")]
    pub bound: String,
    /// Of a model that is conditioned on labels: `p(x|y)`, the likelihood given `label`, or `p(x)`, the evidence over
    /// all labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"p(x)")]
    pub likelihood_of: Option<&'static str>,
    /// The label of `p(x|y)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Posterior samples behind a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// The seed of these samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The weight of the KL term in a bound, where training weighted it otherwise: always 1, with which alone it is a
    /// bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 1.0)]
    pub beta: Option<f64>,
}

/// The likelihoods of the images of a request.
#[derive(Debug, Clone)]
pub struct Scored {
    /// What they are worth.
    pub qualifiers: Qualifiers,
    /// One for each image, in order.
    pub items: PerImage<Likelihood>,
}

/// The likelihood of one image. A number that JSON cannot express is null, and `reason` says why.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Likelihood {
    /// Natural logarithm of the probability of the image, in nats. Minus infinity where the model gives a level no
    /// probability at all; never NaN.
    #[schemars(example = -1498.2)]
    pub log_likelihood: Number,
    /// −log-likelihood / (dimensions · ln 2).
    #[schemars(example = 2.757)]
    pub bits_per_dim: Number,
    /// exp(−log-likelihood / dimensions).
    #[schemars(example = 6.76)]
    pub perplexity: Number,
    /// Why numbers are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// How many of the importance samples count, between 1 and k: 1 / Σ w̄².
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_sample_size: Option<f64>,
    /// Log-probability of every dimension in nats: log p(xᵢ | x₍<ᵢ₎) of an autoregressive model; of the evidence that
    /// of the mixture over labels; of a VAE the mean over posterior samples of log p(xᵢ | z), without the KL term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probability_map: Option<Map>,
}

impl Likelihood {
    /// From a log-likelihood in nats; a model that gives no number is refused.
    pub fn new(log_likelihood_nats: f64, dimensions: usize) -> Result<Self, Refusal> {
        if log_likelihood_nats.is_nan() {
            return Err(Refusal::not_a_number("the log-likelihood"));
        }
        let perplexity = likelihood::perplexity(log_likelihood_nats, dimensions);
        Ok(Self {
            log_likelihood: log_likelihood_nats.into(),
            bits_per_dim: likelihood::bits_per_dim(log_likelihood_nats, dimensions).into(),
            perplexity: perplexity.into(),
            reason: match (log_likelihood_nats.is_finite(), perplexity.is_finite()) {
                (false, _) => Some(NO_PROBABILITY),
                (_, false) => Some("the perplexity is too large for a number of double precision"),
                _ => None,
            },
            effective_sample_size: None,
            log_probability_map: None,
        })
    }
}

/// Why a log-likelihood is missing.
pub const NO_PROBABILITY: &str =
    "the model gives this image no probability at all: its log-likelihood is minus infinity";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_image_has_no_numbers_but_a_reason_and_nan_is_an_error() {
        let likelihood = Likelihood::new(f64::NEG_INFINITY, 4).unwrap();
        let text = serde_json::to_value(likelihood).unwrap();
        for name in ["log_likelihood", "bits_per_dim", "perplexity"] {
            assert!(text[name].is_null(), "{text}");
        }
        assert!(text["reason"].as_str().unwrap().contains("minus infinity"));
        assert!(Likelihood::new(f64::NAN, 4).is_err());
    }
}

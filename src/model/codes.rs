//! Codes: from images to latent codes and back.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Call, PerImage, Refusal,
    draw::Observation,
    labels::Condition,
    value::{Map, Picture},
};
use crate::domain::image::Image;

/// A model that makes a code of an image.
#[async_trait]
pub trait Encodes: Send + Sync {
    /// The code of each image.
    async fn encode(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Encoding>, Refusal>;

    /// Numbers in a code.
    fn code_size(&self) -> usize;

    /// Whether it gives a posterior over codes, with a variance, and not a code alone.
    fn has_variance(&self) -> bool;
}

/// A model that makes an image of a code.
#[async_trait]
pub trait Decodes: Send + Sync {
    /// The image of each code, which is [`Self::code_size`] finite numbers.
    async fn decode(&self, codes: Vec<Vec<f32>>, ask: &DecodeAsk, call: &Call) -> Result<PerImage<Image>, Refusal>;

    /// Numbers in a code.
    fn code_size(&self) -> usize;
}

/// A model that takes an image through encoder and decoder.
#[async_trait]
pub trait Reconstructs: Send + Sync {
    /// Each image again; with `map` also the squared error at each dimension.
    async fn reconstruct(
        &self,
        images: Vec<Image>,
        map: bool,
        call: &Call,
    ) -> Result<PerImage<Reconstruction>, Refusal>;
}

/// A model with images on the way between two images.
#[async_trait]
pub trait Interpolates: Send + Sync {
    /// `steps` images, at least 2, on the straight line between the codes of two images, both ends included.
    async fn interpolate(&self, from: Image, to: Image, steps: u32, call: &Call) -> Result<Vec<Image>, Refusal>;
}

/// The latent code of one image.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Encoding {
    /// The code. Of a VAE it is the mean of the posterior over codes, a Gaussian with a diagonal covariance; of a
    /// classifier the features from which it computes logits.
    pub code: Vec<f32>,
    /// Natural logarithm of the variance of the posterior, of the same size; of a VAE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_variance: Option<Vec<f32>>,
}

/// What is asked of a decoder.
#[derive(Debug, Clone)]
pub struct DecodeAsk {
    /// Mean or draw.
    pub observation: Observation,
    /// Seed of the draw.
    pub seed: u64,
    /// The label that is conditioned on; without one each code's is drawn from the prior.
    pub condition: Condition,
}

/// One image through encoder and decoder.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Reconstruction {
    /// The decoder's image of the code; of a VAE the decoder's mean at the mean of the posterior.
    pub image: Picture,
    /// Mean over dimensions of the squared difference, in units of level / (levels − 1).
    #[schemars(example = 0.0041)]
    pub mean_squared_error: f64,
    /// log p(x | z) at the mean of the posterior, in nats: not a likelihood of the image, for the code is chosen by it.
    /// Of a VAE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = -1630.5)]
    pub log_likelihood_given_code: Option<f64>,
    /// Squared error of every dimension, nested like the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub squared_error_map: Option<Map>,
}

impl Reconstruction {
    /// From the squared error at each dimension; a model that gives no number is refused.
    pub fn new(
        image: Image,
        errors: Vec<f64>,
        log_likelihood_given_code: Option<f64>,
        map: bool,
    ) -> Result<Self, Refusal> {
        let mean_squared_error = errors.iter().sum::<f64>() / errors.len() as f64;
        if !mean_squared_error.is_finite() || log_likelihood_given_code.is_some_and(f64::is_nan) {
            return Err(Refusal::not_a_number("the reconstruction"));
        }
        let shape = image.shape();
        Ok(Self {
            image: Picture(image),
            mean_squared_error,
            log_likelihood_given_code,
            squared_error_map: map.then(|| Map {
                shape,
                values: errors.into_iter().map(|error| error as f32).collect(),
            }),
        })
    }
}

/// Refuses codes that are not finite or not of the right size.
pub fn check_codes(codes: &[Vec<f32>], size: usize) -> Result<(), Refusal> {
    for (index, code) in codes.iter().enumerate() {
        let found = if code.len() != size {
            format!("has {} numbers", code.len())
        } else if let Some(place) = code.iter().position(|value| !value.is_finite()) {
            format!("has {} at place {place}", code[place])
        } else {
            continue;
        };
        let reason = format!("code {index} {found}; a code of this model is {size} finite numbers");
        return Err(Refusal::option("latents", reason));
    }
    Ok(())
}

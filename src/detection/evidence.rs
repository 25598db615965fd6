//! What a detector and a composite ask their members for: numbers of a batch of images, on the calling thread.
//!
//! Families offer these beside their other capabilities. Images are given as levels in channel, row, column order;
//! answers come in their order, and an error is that of the whole batch. What is not a number is found by whoever asks.

use std::fmt::Debug;

use crate::{
    domain::{assurance::Assurance, likelihood, surprise::Surprise},
    runtime::Threads,
};

/// An answer for each image, or why the batch failed.
pub type Answers<T> = Result<Vec<T>, String>;

/// An exact density that is conditioned on nothing.
pub trait Surprises: Debug + Send + Sync {
    /// How sure it is that the density is one.
    fn assurance(&self) -> Assurance;

    /// log p of every dimension given those before it, in nats.
    fn log_probabilities(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f32>>;

    /// The same, and what the density expected.
    fn surprises(&self, images: &[&[u8]], threads: Threads) -> Answers<Surprise>;
}

/// A posterior over codes, and a distribution over images of a code.
pub trait Latents: Debug + Send + Sync {
    /// Codes and likelihoods; with `samples` also the gap between bounds, which decodes posterior samples.
    fn latents(&self, images: &[&[u8]], samples: bool, threads: Threads) -> Answers<Latent>;

    /// Numbers in a code.
    fn latent_size(&self) -> usize;
}

/// A bottleneck that images are put through.
pub trait SquaredErrors: Debug + Send + Sync {
    /// (x̂ᵢ − xᵢ)² of every dimension in units of level / (levels − 1), x̂ what becomes of the image.
    fn squared_errors(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f64>>;
}

/// A distribution over labels.
pub trait Predicts: Debug + Send + Sync {
    /// Logits of labels; their softmax is p(label | image).
    fn logits(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f32>>;
}

/// A network that sees images as features.
pub trait GivesFeatures: Debug + Send + Sync {
    /// What it gives of an image, layer by layer: vectors, or maps.
    fn layers(&self) -> &[Layer];

    /// Whether it gives logits of labels as well.
    fn has_logits(&self) -> bool;

    /// The features of images.
    fn features(&self, images: &[&[u8]], threads: Threads) -> Answers<Features>;
}

/// One layer of features: so many numbers at every place of a grid. A vector has one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Numbers at each place.
    pub size: usize,
    /// Rows of the grid.
    pub rows: usize,
    /// Columns of the grid.
    pub columns: usize,
}

impl Layer {
    /// Whether it has more than one place.
    pub fn is_map(self) -> bool {
        self.rows * self.columns > 1
    }

    /// Its numbers.
    pub fn count(self) -> usize {
        self.size * self.rows * self.columns
    }
}

/// What a network gave of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// The numbers of each layer in feature, row, column order.
    pub layers: Vec<Vec<f32>>,
    /// Logits of labels, from a network that has them.
    pub logits: Option<Vec<f32>>,
}

/// log p(label | image) of every label in nats, from logits.
pub fn log_posterior(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    let total = likelihood::log_sum_exp(&logits);
    logits.iter().map(|logit| logit - total).collect()
}

/// What a variational autoencoder said of one image.
#[derive(Debug, Clone)]
pub struct Latent {
    /// Posterior mean.
    pub mean: Vec<f32>,
    /// Logarithm of the posterior variance.
    pub log_variance: Vec<f32>,
    /// KL(q(z | x) ‖ p(z)) in nats.
    pub kl: f64,
    /// −log p(x | z) in nats at the posterior mean.
    pub reconstruction: f64,
    /// Σ(bᵢ − log p(xᵢ | z)) in nats at the posterior mean, bᵢ the best that the level could have had under the
    /// decoder's scale.
    pub attainable_gap: f64,
    /// Its terms, one for each dimension.
    pub gap: Vec<f32>,
    /// IWAE − ELBO in nats over the same posterior samples, if any were drawn.
    pub iwae_gap: Option<f64>,
}

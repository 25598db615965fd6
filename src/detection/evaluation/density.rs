//! What a density gives to images: log-likelihood, bits/dim, perplexity.

use serde::Serialize;

use super::{
    figures::{self, Figures, OfLabel},
    measured::Measured,
};
use crate::domain::{
    image::ImageShape,
    likelihood,
    summary::{Summary, exp_of_mean},
};

/// Likelihoods of the images. All figures are of those with a probability above zero.
#[derive(Debug, Serialize)]
pub struct DensityReport {
    /// `log p(x)`, or `log p(x|y)` of the label that the image has.
    pub quantity: &'static str,
    /// `exact`, `elbo` or `iwae`.
    pub bound: String,
    /// Posterior samples of a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k: Option<u32>,
    /// Their seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Of an image.
    pub dimensions: usize,
    /// Images.
    pub images: usize,
    /// Images of probability zero, whose log-likelihood is −∞.
    pub zero_probability: usize,
    /// `None` if every image has probability zero.
    #[serde(flatten)]
    pub likelihoods: Option<Likelihoods>,
}

/// What the images of positive probability come to.
#[derive(Debug, Serialize)]
pub struct Likelihoods {
    /// In nats.
    pub log_likelihood_nats: Figures,
    /// −log-likelihood / (dimensions · ln 2).
    pub bits_per_dim: Figures,
    /// Of a dimension.
    pub perplexity: Perplexity,
    /// Of importance weights, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_effective_sample_size: Option<f64>,
    /// The image at one end.
    pub least_likely: Extreme,
    /// The image at the other.
    pub most_likely: Extreme,
    /// Means, where images have labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bits_per_dim_by_label: Vec<OfLabel>,
}

/// exp(mean of −log p per dimension).
#[derive(Debug, Serialize)]
pub struct Perplexity {
    /// The value.
    pub value: f64,
    /// Over images.
    pub standard_error: f64,
}

/// An image at one end.
#[derive(Debug, Serialize)]
pub struct Extreme {
    /// Its place among all images, from 0.
    pub index: usize,
    /// The file that it is in.
    pub input: String,
    /// Its log-likelihood in nats.
    pub log_likelihood_nats: f64,
}

impl DensityReport {
    /// log p(x), where it was measured.
    pub fn of(measured: &Measured, shape: ImageShape) -> Option<Self> {
        Self::new("log p(x)", &measured.log_likelihoods, measured, shape)
    }

    /// log p(x|y) of each image's own label, where it was measured.
    pub fn given_label(measured: &Measured, shape: ImageShape) -> Option<Self> {
        let values = &measured.log_likelihoods_given_label;
        Self::new("log p(x|y)", values, measured, shape)
    }

    fn new(quantity: &'static str, log_likelihoods: &[f64], measured: &Measured, shape: ImageShape) -> Option<Self> {
        if log_likelihoods.is_empty() {
            return None;
        }
        // Evidence over labels is exact.
        let qualifiers = measured.qualifiers.as_deref();
        let bound = qualifiers.map_or("exact", |qualifiers| &qualifiers.bound);
        let likelihoods = Likelihoods::of(log_likelihoods, measured, shape);
        let counted = likelihoods.as_ref().map_or(0, |(_, count)| *count);
        Some(Self {
            quantity,
            bound: bound.to_owned(),
            k: qualifiers.and_then(|qualifiers| qualifiers.k),
            seed: qualifiers.and_then(|qualifiers| qualifiers.seed),
            dimensions: shape.dimensions(),
            images: log_likelihoods.len(),
            zero_probability: log_likelihoods.len() - counted,
            likelihoods: likelihoods.map(|(likelihoods, _)| likelihoods),
        })
    }

    /// What the numbers are, in words.
    pub fn title(&self) -> String {
        let mut title = format!("{}, {}", self.quantity, self.bound);
        if let Some(k) = self.k {
            title += &format!(" with {k} posterior samples");
        }
        if let Some(seed) = self.seed {
            title += &format!(", seed {seed}");
        }
        title
    }

    /// What must be said of images of probability zero, if there are any.
    pub fn warning(&self) -> Option<String> {
        let (zero, images) = (self.zero_probability, self.images);
        match zero {
            0 => None,
            _ if zero == images => Some("every image has probability zero".to_owned()),
            _ => Some(format!(
                "{zero} of {images} images have probability zero, so that the mean over all is −∞; the figures are of \
                 the other {}",
                images - zero
            )),
        }
    }
}

impl Likelihoods {
    /// With the number of images that count.
    fn of(log_likelihoods: &[f64], measured: &Measured, shape: ImageShape) -> Option<(Self, usize)> {
        let nats = Summary::of(log_likelihoods)?;
        let dimensions = shape.dimensions();
        let bits: Vec<f64> = log_likelihoods
            .iter()
            .map(|&value| likelihood::bits_per_dim(value, dimensions))
            .collect();
        let per_dimension = dimensions as f64;
        let (value, standard_error) = exp_of_mean(-nats.mean / per_dimension, nats.standard_error / per_dimension);
        let extreme = |(index, log_likelihood_nats): (usize, f64)| Extreme {
            index,
            input: measured.inputs[index].clone(),
            log_likelihood_nats,
        };
        let labels = measured.labels.as_deref();
        let likelihoods = Self {
            log_likelihood_nats: Figures::of(&nats),
            bits_per_dim: Figures::of(&Summary::of(&bits)?),
            perplexity: Perplexity { value, standard_error },
            mean_effective_sample_size: Summary::of(&measured.effective_sample_sizes).map(|sizes| sizes.mean),
            least_likely: extreme(nats.minimum),
            most_likely: extreme(nats.maximum),
            bits_per_dim_by_label: labels.map_or_else(Vec::new, |labels| {
                figures::by_label(&bits, labels, &measured.label_names)
            }),
        };
        Some((likelihoods, nats.count))
    }
}

//! What a density gives to images: log-likelihood, bits/dim, perplexity.

use serde::Serialize;

use super::{
    figures::{self, Figures, OfLabel},
    measure::Measured,
};
use crate::domain::{
    image::ImageShape,
    likelihood::{self, Bound},
    summary::{Summary, exp_of_mean},
};

/// Likelihoods of the images. All figures are of those with a probability above zero.
#[derive(Debug, Serialize)]
pub(super) struct DensityReport {
    /// `log p(x)`, or `log p(x|y)` of the label that the image has.
    quantity: &'static str,
    /// `exact`, `elbo` or `iwae`.
    pub(super) bound: &'static str,
    /// Posterior samples of a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    /// Their seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    pub(super) dimensions: usize,
    images: usize,
    /// Images of probability zero, whose log-likelihood is −∞.
    zero_probability: usize,
    /// `None` if every image has probability zero.
    #[serde(flatten)]
    pub(super) likelihoods: Option<Likelihoods>,
}

/// What the images of positive probability come to.
#[derive(Debug, Serialize)]
pub(super) struct Likelihoods {
    pub(super) log_likelihood_nats: Figures,
    pub(super) bits_per_dim: Figures,
    pub(super) perplexity: Perplexity,
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_effective_sample_size: Option<f64>,
    least_likely: Extreme,
    most_likely: Extreme,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) bits_per_dim_by_label: Vec<OfLabel>,
}

/// exp(mean of −log p per dimension).
#[derive(Debug, Serialize)]
pub(super) struct Perplexity {
    pub(super) value: f64,
    pub(super) standard_error: f64,
}

/// An image at one end.
#[derive(Debug, Serialize)]
struct Extreme {
    /// Its place among all images, from 0.
    index: usize,
    /// The file that it is in.
    input: String,
    log_likelihood_nats: f64,
}

impl DensityReport {
    /// log p(x), where it was measured.
    pub(super) fn of(measured: &Measured, shape: ImageShape) -> Option<Self> {
        Self::new("log p(x)", &measured.log_likelihoods, measured, shape)
    }

    /// log p(x|y) of each image's own label, where it was measured.
    pub(super) fn given_label(measured: &Measured, shape: ImageShape) -> Option<Self> {
        let values = &measured.log_likelihoods_given_label;
        Self::new("log p(x|y)", values, measured, shape)
    }

    fn new(
        quantity: &'static str,
        log_likelihoods: &[f64],
        measured: &Measured,
        shape: ImageShape,
    ) -> Option<Self> {
        if log_likelihoods.is_empty() {
            return None;
        }
        let bound = measured.bound.unwrap_or(Bound::Exact);
        let likelihoods = Likelihoods::of(log_likelihoods, measured, shape);
        let counted = likelihoods.as_ref().map_or(0, |(_, count)| *count);
        Some(Self {
            quantity,
            bound: bound.name(),
            k: bound.samples(),
            seed: measured.seed,
            dimensions: shape.dimensions(),
            images: log_likelihoods.len(),
            zero_probability: log_likelihoods.len() - counted,
            likelihoods: likelihoods.map(|(likelihoods, _)| likelihoods),
        })
    }

    /// What the numbers are, in words.
    pub(super) fn title(&self) -> String {
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
    pub(super) fn warning(&self) -> Option<String> {
        let (zero, images) = (self.zero_probability, self.images);
        match zero {
            0 => None,
            _ if zero == images => Some("every image has probability zero".to_owned()),
            _ => Some(format!(
                "{zero} of {images} images have probability zero, so that the mean over all is −∞; the figures are of the other {}",
                images - zero
            )),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.title());
        if let Some(warning) = self.warning() {
            text += &format!("{warning}\n");
        }
        let Some(likelihoods) = &self.likelihoods else {
            return text;
        };
        text += &Figures::header();
        text += &likelihoods
            .log_likelihood_nats
            .row("log-likelihood, nats", 1);
        text += &likelihoods.bits_per_dim.row("bits/dim", 4);
        text += &format!(
            "{:<21} {:>10.4} {:>9}\n",
            "perplexity",
            likelihoods.perplexity.value,
            figures::error(likelihoods.perplexity.standard_error, 5)
        );
        for (name, extreme) in [
            ("least likely", &likelihoods.least_likely),
            ("most likely", &likelihoods.most_likely),
        ] {
            text += &format!(
                "{name:<21} image {} ({}): {:.1} nats\n",
                extreme.index, extreme.input, extreme.log_likelihood_nats
            );
        }
        if let Some(size) = likelihoods.mean_effective_sample_size {
            text += &format!("{:<21} {size:>10.2}\n", "effective samples");
        }
        text + &figures::by_label_text("bits/dim by label", &likelihoods.bits_per_dim_by_label, 4)
    }
}

impl Likelihoods {
    /// With the number of images that count.
    fn of(
        log_likelihoods: &[f64],
        measured: &Measured,
        shape: ImageShape,
    ) -> Option<(Self, usize)> {
        let nats = Summary::of(log_likelihoods)?;
        let dimensions = shape.dimensions();
        let bits: Vec<f64> = log_likelihoods
            .iter()
            .map(|&value| likelihood::bits_per_dim(value, dimensions))
            .collect();
        let per_dimension = dimensions as f64;
        let (value, standard_error) = exp_of_mean(
            -nats.mean / per_dimension,
            nats.standard_error / per_dimension,
        );
        let extreme = |(index, log_likelihood_nats): (usize, f64)| Extreme {
            index,
            input: measured.names[index].input.clone(),
            log_likelihood_nats,
        };
        let labels = measured.labels.as_deref();
        let likelihoods = Self {
            log_likelihood_nats: Figures::of(&nats),
            bits_per_dim: Figures::of(&Summary::of(&bits)?),
            perplexity: Perplexity {
                value,
                standard_error,
            },
            mean_effective_sample_size: Summary::of(&measured.effective_sample_sizes)
                .map(|sizes| sizes.mean),
            least_likely: extreme(nats.minimum),
            most_likely: extreme(nats.maximum),
            bits_per_dim_by_label: labels.map_or_else(Vec::new, |labels| {
                figures::by_label(&bits, labels, &measured.label_names)
            }),
        };
        Some((likelihoods, nats.count))
    }
}

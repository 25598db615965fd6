//! Statistics of an image: numbers, or vectors of numbers, that come out differently for images of another kind.
//!
//! Each is a pure function of what a detector's members said of the image. None is a verdict: which values are usual is learnt from
//! inliers (see [`super::rule`]).

use super::evidence::Latent;
use crate::domain::{complexity, image::ImageShape, likelihood, surprise::Surprise};

mod kind;

pub use self::kind::{Need, Statistic};

/// What the members of a detector said of one image. A member that the detector lacks is `None`.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Predictions of the main density.
    pub density: Option<Surprise>,
    /// log p of every dimension under a density that sees only the nearest pixels.
    pub local: Option<Vec<f32>>,
    /// log p of every dimension under a density of backgrounds.
    pub background: Option<Vec<f32>>,
    /// Code and likelihood of a variational autoencoder.
    pub latent: Option<Latent>,
    /// (x̂ᵢ − xᵢ)² of every dimension in units of level / (levels − 1), x̂ what an autoencoder makes of the image.
    pub squared_errors: Option<Vec<f64>>,
    /// Logits of a classifier, one for each label.
    pub logits: Option<Vec<f32>>,
    /// log p(x) − log p(Tx) in nats under the main density, for each flip and rotation T of [`transformations`].
    pub stirred: Option<Vec<f64>>,
}

impl Evidence {
    /// What of it is not a number, if anything: a member's graph has failed on this image. −∞ is a number, that of the impossible.
    pub fn not_a_number(&self) -> Option<&'static str> {
        let no_number = |values: &[f32]| values.iter().any(|value| value.is_nan());
        let map = |values: &Option<Vec<f32>>| values.as_deref().is_some_and(no_number);
        let latent = |latent: &Latent| {
            no_number(&latent.mean)
                || no_number(&latent.log_variance)
                || latent.kl.is_nan()
                || latent.reconstruction.is_nan()
        };
        let found = [
            (
                self.density
                    .as_ref()
                    .is_some_and(|own| no_number(&own.log_probability)),
                "the log-probability",
            ),
            (
                map(&self.local),
                "the log-probability under the local density",
            ),
            (
                map(&self.background),
                "the log-probability under the background density",
            ),
            (
                self.latent.as_ref().is_some_and(latent),
                "the posterior over codes, or the likelihood at its mean,",
            ),
            (
                self.squared_errors
                    .iter()
                    .flatten()
                    .any(|error| !error.is_finite()),
                "the reconstruction",
            ),
            (map(&self.logits), "a logit of a label"),
        ];
        found
            .into_iter()
            .find_map(|(is_no_number, what)| is_no_number.then_some(what))
    }
}

/// Side of the grid over which maps are summed.
const GRID: usize = 7;

/// Values beyond it, and values that are no numbers, count as this: as strange as can be, and still arithmetic.
const EXTREME: f64 = 1e12;

impl Statistic {
    /// The statistic of an image given as levels in channel, row, column order: [`Self::length`] finite numbers.
    ///
    /// # Panics
    /// If the member that the statistic needs said nothing.
    pub fn of(self, evidence: &Evidence, levels: &[u8], shape: ImageShape) -> Vec<f64> {
        let mut values = self.measure(evidence, levels, shape);
        for value in &mut values {
            *value = if value.is_nan() {
                EXTREME
            } else {
                value.clamp(-EXTREME, EXTREME)
            };
        }
        values
    }

    fn measure(self, evidence: &Evidence, levels: &[u8], shape: ImageShape) -> Vec<f64> {
        let density = || evidence.density.as_ref().expect("a density");
        let latent = || evidence.latent.as_ref().expect("a latent member");
        let ratio = |other: &Option<Vec<f32>>| {
            let other = other.as_ref().expect("a density for the ratio");
            total(other) - total(&density().log_probability)
        };
        let share_above = |nats: f32| {
            let log_p = &density().log_probability;
            // NaN is no probability, so it counts as improbable.
            let improbable = |value: &&f32| value.is_nan() || -**value > nats;
            log_p.iter().filter(improbable).count() as f64
        };
        let units = || {
            levels
                .iter()
                .map(|&level| f64::from(level) / (shape.levels() - 1) as f64)
        };
        let count = levels.len() as f64;
        let one = match self {
            Self::NegativeLogLikelihood => -total(&density().log_probability),
            Self::Entropy => total(&density().entropy),
            Self::Typicality => {
                let density = density();
                let excess = -total(&density.log_probability) - total(&density.entropy);
                excess / (total(&density.variance) + 1.0).sqrt()
            }
            Self::Improbable3 => share_above(3.0),
            Self::Improbable6 => share_above(6.0),
            Self::Improbable9 => share_above(9.0),
            Self::SurpriseSpread => {
                let log_p = &density().log_probability;
                deviation(log_p.iter().map(|&value| f64::from(value).max(-1e3)), count)
            }
            Self::LocalRatio => ratio(&evidence.local),
            Self::BackgroundRatio => ratio(&evidence.background),
            Self::CodeLength => complexity::code_length(levels, shape),
            Self::InputComplexity => {
                let bits = -total(&density().log_probability) / std::f64::consts::LN_2;
                bits - complexity::code_length(levels, shape)
            }
            Self::Stirring => stirred(evidence).iter().sum(),
            Self::Reconstruction => latent().reconstruction,
            Self::Kl => latent().kl,
            Self::LatentNorm => {
                let mean = latent().mean.iter();
                mean.map(|&m| f64::from(m) * f64::from(m))
                    .sum::<f64>()
                    .sqrt()
            }
            Self::LatentLogVariance => total(&latent().log_variance),
            Self::AttainableGap => latent().attainable_gap,
            Self::IwaeGap => latent().iwae_gap.expect("posterior samples"),
            Self::AutoencoderError => {
                let errors = evidence.squared_errors.as_ref();
                errors.expect("an autoencoder").iter().sum()
            }
            Self::ClassifierEnergy => energy(logits(evidence)),
            Self::ClassifierAmbiguity => ambiguity(logits(evidence)),
            Self::DarkShare => levels.iter().filter(|&&level| level == 0).count() as f64 / count,
            Self::Brightness => units().sum::<f64>() / count,
            Self::Contrast => deviation(units(), count),
            Self::TotalVariation => total_variation(levels, shape),
            Self::SurpriseMap => return regions(&self.map(evidence).expect("a density"), shape),
            Self::LocalRatioMap => {
                let sums = regions(&self.map(evidence).expect("a local density"), shape);
                return sums.into_iter().map(signed_log).collect();
            }
            Self::AutoencoderErrorMap => {
                let sums = regions(&self.map(evidence).expect("an autoencoder"), shape);
                return sums.into_iter().map(f64::sqrt).collect();
            }
            Self::LatentMean => return latent().mean.iter().map(|&m| f64::from(m)).collect(),
            Self::StirringVector => return stirred(evidence).to_vec(),
        };
        vec![one]
    }

    /// What a statistic that is a map says of every dimension, in [`Self::map_unit`]; `None` for others.
    pub fn map(self, evidence: &Evidence) -> Option<Vec<f32>> {
        let log_p = || Some(&evidence.density.as_ref()?.log_probability);
        match self {
            Self::SurpriseMap => {
                let entropy = &evidence.density.as_ref()?.entropy;
                let log_p = log_p()?;
                Some(log_p.iter().zip(entropy).map(|(l, h)| -l - h).collect())
            }
            Self::LocalRatioMap => {
                let local = evidence.local.as_ref()?;
                Some(local.iter().zip(log_p()?).map(|(l, p)| l - p).collect())
            }
            Self::AutoencoderErrorMap => {
                let errors = evidence.squared_errors.as_ref()?;
                Some(errors.iter().map(|&error| error as f32).collect())
            }
            _ => None,
        }
    }

    /// How many numbers the statistic is, for images of `shape` and codes of `latent_size`.
    pub fn length(self, shape: ImageShape, latent_size: usize) -> usize {
        match self {
            Self::SurpriseMap | Self::LocalRatioMap | Self::AutoencoderErrorMap => {
                shape.height().min(GRID) * shape.width().min(GRID)
            }
            Self::LatentMean => latent_size,
            Self::StirringVector => transformations(shape).len(),
            _ => 1,
        }
    }
}

/// sign(x) log(1 + |x|): a logarithmic scale for numbers with long tails on both sides.
pub fn signed_log(x: f64) -> f64 {
    x.signum() * x.abs().ln_1p()
}

fn stirred(evidence: &Evidence) -> &[f64] {
    evidence.stirred.as_ref().expect("stirred likelihoods")
}

fn logits(evidence: &Evidence) -> &[f32] {
    evidence.logits.as_ref().expect("a classifier")
}

/// −log Σ exp(f) over logits f; NaN if one is.
fn energy(logits: &[f32]) -> f64 {
    let logits: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    if logits.iter().any(|logit| logit.is_nan()) {
        return f64::NAN;
    }
    -likelihood::log_sum_exp(&logits)
}

/// −log of the largest probability of a label: log(1 + Σ exp(fₗ − max f)) over the labels beside one of the largest logit, so that what little
/// the others have is not rounded away. NaN if a logit is, or if the largest is infinite.
fn ambiguity(logits: &[f32]) -> f64 {
    let largest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let Some(largest) = largest.filter(|&largest| logits[largest].is_finite()) else {
        return f64::NAN;
    };
    let max = f64::from(logits[largest]);
    let others = logits.iter().enumerate().filter(|(l, _)| *l != largest);
    others
        .map(|(_, &logit)| (f64::from(logit) - max).exp())
        .sum::<f64>()
        .ln_1p()
}

fn total(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

fn deviation(values: impl Iterator<Item = f64>, count: f64) -> f64 {
    let (mut first, mut second) = (0.0, 0.0);
    for value in values {
        first += value;
        second += value * value;
    }
    (second / count - (first / count).powi(2)).max(0.0).sqrt()
}

/// Mean absolute difference between neighbours, along rows plus along columns, in units of level / (levels − 1).
fn total_variation(levels: &[u8], shape: ImageShape) -> f64 {
    let (height, width) = (shape.height(), shape.width());
    let (mut across, mut down) = (0u64, 0u64);
    for plane in levels.chunks(shape.pixels()) {
        for (index, &level) in plane.iter().enumerate() {
            if (index + 1) % width != 0 {
                across += u64::from(level.abs_diff(plane[index + 1]));
            }
            if index + width < plane.len() {
                down += u64::from(level.abs_diff(plane[index + width]));
            }
        }
    }
    let pairs = |rows: usize, columns: usize| (shape.channels() * rows * columns).max(1) as f64;
    let max = (shape.levels() - 1) as f64;
    (across as f64 / pairs(height, width - 1) + down as f64 / pairs(height - 1, width)) / max
}

/// Sums of a map of all dimensions over a grid of at most 7×7 regions as equal as can be, channels together, in row order.
pub fn regions(map: &[f32], shape: ImageShape) -> Vec<f64> {
    let (height, width) = (shape.height(), shape.width());
    let (rows, columns) = (height.min(GRID), width.min(GRID));
    let mut sums = vec![0.0; rows * columns];
    for (index, &value) in map.iter().enumerate() {
        let pixel = index % shape.pixels();
        let (row, column) = (
            pixel / width * rows / height,
            pixel % width * columns / width,
        );
        sums[row * columns + column] += f64::from(value);
    }
    sums
}

/// The flips and rotations under which stirring looks at an image, as the storage index that each dimension is taken from: the
/// seven others of a square's symmetries, or the three of a rectangle's.
pub fn transformations(shape: ImageShape) -> Vec<Vec<usize>> {
    let (height, width) = (shape.height(), shape.width());
    let square = height == width;
    let mut all = Vec::new();
    for (turn, flip_rows, flip_columns) in [
        (false, false, true),
        (false, true, false),
        (false, true, true),
        (true, false, false),
        (true, false, true),
        (true, true, false),
        (true, true, true),
    ] {
        if turn && !square {
            continue;
        }
        let source = |index: usize| {
            let (plane, pixel) = (index / shape.pixels(), index % shape.pixels());
            let (row, column) = (pixel / width, pixel % width);
            let (row, column) = if turn { (column, row) } else { (row, column) };
            let row = if flip_rows { height - 1 - row } else { row };
            let column = if flip_columns {
                width - 1 - column
            } else {
                column
            };
            plane * shape.pixels() + row * width + column
        };
        all.push((0..shape.dimensions()).map(source).collect());
    }
    all
}

#[cfg(test)]
mod tests;

//! Statistics of an image: numbers, vectors or maps that come out differently for images of another kind.
//!
//! Each is a declaration: what it is called, what it is in, which [evidence](Evidence) it needs, what part it takes in
//! a judgement, and how it is computed from what a detector's members said of the image. [`ALL`] lists them, one line
//! each; manifests, calibrations, panels and answers are derived from the declarations. None is a verdict: which values
//! are usual is learnt from inliers (see [`super::rule`]).

mod arithmetic;
pub mod autoencoder;
pub mod classifier;
pub mod density;
pub mod features;
pub mod image;
mod inputs;
pub mod latent;
mod requirement;
pub mod stirring;
pub mod tiles;

use std::{fmt, str::FromStr};

use self::arithmetic::{grid, regions};
pub use self::{
    arithmetic::signed_log,
    inputs::{Distances, Evidence, Inputs},
    requirement::Requirement,
};
use crate::domain::image::ImageShape;

/// Every statistic, in the order in which a new detector has them.
pub const ALL: &[Statistic] = &[
    density::NEGATIVE_LOG_LIKELIHOOD,
    density::ENTROPY,
    density::TYPICALITY,
    density::IMPROBABLE_3,
    density::IMPROBABLE_6,
    density::IMPROBABLE_9,
    density::SURPRISE_SPREAD,
    density::LOCAL_RATIO,
    density::BACKGROUND_RATIO,
    latent::RECONSTRUCTION,
    latent::KL,
    latent::LATENT_NORM,
    latent::LATENT_LOG_VARIANCE,
    latent::IWAE_GAP,
    autoencoder::AUTOENCODER_ERROR,
    classifier::CLASSIFIER_ENERGY,
    classifier::CLASSIFIER_AMBIGUITY,
    features::FEATURE_MAHALANOBIS,
    features::FEATURE_MAHALANOBIS_SHARE,
    features::FEATURE_MAHALANOBIS_LARGEST,
    features::FEATURE_NEIGHBOUR,
    features::FEATURE_NEIGHBOUR_SHARE,
    features::FEATURE_NEIGHBOUR_LARGEST,
    features::FEATURE_NEIGHBOUR_SMOOTH_SHARE,
    features::FEATURE_NEIGHBOUR_SMOOTH_LARGEST,
    features::FEATURE_RESIDUAL,
    features::FEATURE_RESIDUAL_SHARE,
    image::CODE_LENGTH,
    image::DARK_SHARE,
    image::BRIGHTNESS,
    image::CONTRAST,
    image::TOTAL_VARIATION,
    density::INPUT_COMPLEXITY,
    latent::ATTAINABLE_GAP,
    stirring::STIRRING,
    density::SURPRISE_MAP,
    density::LOCAL_RATIO_MAP,
    autoencoder::AUTOENCODER_ERROR_MAP,
    stirring::STIRRING_VECTOR,
    latent::LATENT_MEAN,
    features::FEATURE_NEIGHBOUR_MAP,
    features::FEATURE_NEIGHBOUR_SMOOTH_MAP,
    latent::RECONSTRUCTION_MAP,
];

/// Values beyond it, and values that are no numbers, count as this: as strange as can be, and still arithmetic.
const EXTREME: f64 = 1e12;

/// A statistic, as it declares itself. Its name tells it from the others.
#[derive(Clone, Copy)]
pub struct Statistic {
    /// The name used in manifests, calibrations and answers. It never changes: files hold it.
    pub name: &'static str,
    /// What its numbers are in; of a map, the number of every dimension.
    pub unit: &'static str,
    /// What a detector must have for it; nothing where the image itself is enough.
    pub requirements: &'static [Requirement],
    /// What part it takes in the judgement of a new detector.
    pub part: Part,
    /// What it is, and how it is computed.
    pub values: Values,
}

/// What part a statistic takes in the judgement of a new detector. A detector that was made keeps what its manifest
/// says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It decides: a number in the one joint density of all numbers, a vector or a map in a density of its own.
    Decides,
    /// It decides in detectors that lack this, and is not measured in others.
    DecidesWithout(Requirement),
    /// It decides, and only large values are strange: a number in the joint density, and in the excess.
    Exceeds,
    /// It is measured and reported, and decides nothing.
    Reported,
    /// It is measured in detectors that go by neighbours alone.
    OfNeighbours,
}

/// What a statistic is, and how it is computed. A computation answers `None` where evidence that it needs is missing.
#[derive(Clone, Copy)]
pub enum Values {
    /// One number, which has a tail rank of its own.
    Number(fn(&Inputs<'_>) -> Option<f64>),
    /// One number of an image that is looked at in windows.
    Pooled(fn(&tiles::Pooled) -> f64),
    /// Several numbers, which have a meaning only in a joint density.
    Vector {
        /// How many they are, for images of a shape and codes of a size.
        length: fn(ImageShape, usize) -> usize,
        /// The numbers.
        of: fn(&Inputs<'_>) -> Option<Vec<f64>>,
    },
    /// A number for every dimension, which can be shown. A density sees its sums over the regions of a grid.
    Map {
        /// The number of every dimension.
        of: fn(&Inputs<'_>) -> Option<Vec<f32>>,
        /// What a density sees of the sum over a region.
        scale: fn(f64) -> f64,
    },
}

impl Statistic {
    /// The statistic of an image: [`Self::length`] finite numbers.
    ///
    /// # Panics
    /// If the member that the statistic needs said nothing.
    pub fn of(self, seen: &Inputs<'_>) -> Vec<f64> {
        let values = match self.values {
            Values::Number(of) => of(seen).map(|value| vec![value]),
            Values::Pooled(of) => seen.evidence.tiles.as_ref().map(|pooled| vec![of(pooled)]),
            Values::Vector { of, .. } => of(seen),
            Values::Map { of, scale } => of(seen).map(|map| regions(&map, seen.shape).into_iter().map(scale).collect()),
        };
        let mut values = values.expect("members that say what their statistics need");
        for value in &mut values {
            *value = if value.is_nan() {
                EXTREME
            } else {
                value.clamp(-EXTREME, EXTREME)
            };
        }
        values
    }

    /// What a statistic that is a map says of every dimension, in [`Self::unit`]; `None` for others.
    pub fn map(self, seen: &Inputs<'_>) -> Option<Vec<f32>> {
        match self.values {
            Values::Map { of, .. } => of(seen),
            Values::Number(_) | Values::Pooled(_) | Values::Vector { .. } => None,
        }
    }

    /// How many numbers the statistic is, for images of `shape` and codes of `latent_size`.
    pub fn length(self, shape: ImageShape, latent_size: usize) -> usize {
        match self.values {
            Values::Number(_) | Values::Pooled(_) => 1,
            Values::Vector { length, .. } => length(shape, latent_size),
            Values::Map { .. } => {
                let (rows, columns) = grid(shape);
                rows * columns
            }
        }
    }

    /// Whether it is a number for every dimension, which can be shown.
    pub fn is_map(self) -> bool {
        matches!(self.values, Values::Map { .. })
    }

    /// Whether it is one number, which has a tail rank of its own.
    pub fn is_number(self) -> bool {
        matches!(self.values, Values::Number(_) | Values::Pooled(_))
    }

    /// Whether a new detector measures it that meets some needs.
    pub fn suits(self, has: impl Fn(Requirement) -> bool) -> bool {
        let is_replaced = matches!(self.part, Part::DecidesWithout(other) if has(other));
        let is_for_others = self.part == Part::OfNeighbours;
        !is_replaced && !is_for_others && self.requirements.iter().all(|&requirement| has(requirement))
    }
}

impl PartialEq for Statistic {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Statistic {}

impl fmt::Debug for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Statistic {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = ALL.iter().find(|statistic| statistic.name == name);
        found.copied().ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|statistic| statistic.name).collect();
            format!("unknown statistic {name:?}: one of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests;

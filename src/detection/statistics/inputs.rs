//! What statistics are computed from: an image, and what the members of a detector said of it.

use super::{Requirement, tiles::Pooled};
use crate::{
    detection::evidence::Latent,
    domain::{image::ImageShape, surprise::Surprise},
};

/// An image and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What the members said of it.
    pub evidence: &'a Evidence,
    /// Its levels in channel, row, column order.
    pub levels: &'a [u8],
    /// Its size.
    pub shape: ImageShape,
}

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
    /// All that a network gave of the image as features, place by place.
    pub features: Option<Vec<f32>>,
    /// How far the features are from what was learnt of inliers.
    pub learnt: Vec<(Requirement, Distances)>,
    /// log p(x) − log p(Tx) in nats under the main density, for each flip and rotation T of
    /// [`super::stirring::transformations`].
    pub stirred: Option<Vec<f64>>,
    /// What the windows of a larger image say.
    pub tiles: Option<Pooled>,
}

/// How far the places of an image are from what was learnt of inliers.
#[derive(Debug, Clone, PartialEq)]
pub struct Distances {
    /// Rows and columns of places.
    pub grid: (usize, usize),
    /// The distance of each in row order.
    pub values: Vec<f32>,
    /// The same before each was brought to a unit of its own place, if it was.
    pub plain: Option<Vec<f32>>,
}

impl Evidence {
    /// How far the features are from what was learnt of inliers.
    pub fn learnt(&self, requirement: Requirement) -> Option<&Distances> {
        let found = self.learnt.iter().find(|(own, _)| *own == requirement);
        found.map(|(_, distances)| distances)
    }

    /// What of it is not a number, if anything: a member's graph has failed on this image. −∞ is a number, that of the
    /// impossible.
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
                self.density.as_ref().is_some_and(|own| no_number(&own.log_probability)),
                "the log-probability",
            ),
            (map(&self.local), "the log-probability under the local density"),
            (
                map(&self.background),
                "the log-probability under the background density",
            ),
            (
                self.latent.as_ref().is_some_and(latent),
                "the posterior over codes, or the likelihood at its mean,",
            ),
            (
                self.squared_errors.iter().flatten().any(|error| !error.is_finite()),
                "the reconstruction",
            ),
            (map(&self.logits), "a logit of a label"),
            (
                self.features.iter().flatten().any(|value| !value.is_finite()),
                "a feature",
            ),
        ];
        found
            .into_iter()
            .find_map(|(is_no_number, what)| is_no_number.then_some(what))
    }
}

impl<'a> Inputs<'a> {
    /// Predictions of the main density.
    pub(super) fn density(&self) -> Option<&'a Surprise> {
        self.evidence.density.as_ref()
    }

    /// Code and likelihood of a variational autoencoder.
    pub(super) fn latent(&self) -> Option<&'a Latent> {
        self.evidence.latent.as_ref()
    }

    /// Levels in units of level / (levels − 1).
    pub(super) fn units(&self) -> impl Iterator<Item = f64> {
        let max = (self.shape.levels() - 1) as f64;
        self.levels.iter().map(move |&level| f64::from(level) / max)
    }

    /// Its dimensions.
    pub(super) fn count(&self) -> f64 {
        self.levels.len() as f64
    }
}

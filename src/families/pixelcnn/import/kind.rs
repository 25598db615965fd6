//! What an output can be that predicts: logits of levels, log-odds, or parameters of a mixture.

use crate::{
    domain::logistic_mixture,
    import::{
        layout::Arrangement,
        reading::{Given, ImageForm},
    },
};

/// Components that a mixture has at least: with fewer, a handful of levels is likelier.
const MIXTURES: usize = 3;

/// What stands for the distribution of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A logit for each of so many levels.
    Categorical(usize),
    /// The log-odds of the upper of two levels.
    Bernoulli,
    /// So many parameters of a mixture of logistics for each pixel.
    Mixture(usize),
}

/// The output that predicts, and how it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Predictions<'a> {
    pub(super) given: &'a Given,
    pub(super) arrangement: Arrangement,
    pub(super) kind: Kind,
}

impl Kind {
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Categorical(_) => "categorical",
            Self::Bernoulli => "bernoulli",
            Self::Mixture(_) => "discretized-logistic-mixture",
        }
    }

    /// Numbers for each dimension, or for each pixel, and channels that have their own.
    pub(super) fn numbers(self, channels: usize) -> (usize, usize) {
        match self {
            Self::Categorical(levels) => (levels, channels),
            Self::Bernoulli => (1, channels),
            Self::Mixture(parameters) => (parameters, 1),
        }
    }

    /// What so many numbers for an image of such a form can be.
    pub(super) fn all(numbers: usize, form: ImageForm) -> Vec<Self> {
        let pixels = form.height * form.width;
        let (dimensions, of_pixel) = (pixels * form.channels, numbers / pixels);
        let mut all = Vec::new();
        if numbers == dimensions {
            all.push(Self::Bernoulli);
        } else if numbers.is_multiple_of(dimensions) && numbers / dimensions <= 256 {
            all.push(Self::Categorical(numbers / dimensions));
        }
        let each = logistic_mixture::parameters_of_component(form.channels);
        if numbers.is_multiple_of(pixels)
            && each.is_some_and(|each| of_pixel % each == 0 && of_pixel >= MIXTURES * each)
        {
            all.push(Self::Mixture(of_pixel));
        }
        all
    }
}

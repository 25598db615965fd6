//! Statistics of autoencoders: how far an image is from what comes out of the bottleneck. x̂ is what the autoencoder
//! makes of x, both in units of level / (levels − 1).

use super::{Part, Requirement, Statistic, Values};

/// Σ (x̂ᵢ − xᵢ)². The sum and not the mean, because joint densities see log(1 + Σ), which is nearly linear in a mean,
/// far below 1. One encoding and one decoding.
pub const AUTOENCODER_ERROR: Statistic = Statistic {
    name: "autoencoder_error",
    unit: "squared error",
    requirements: &[Requirement::Autoencoder],
    part: Part::Decides,
    values: Values::Number(|seen| Some(seen.evidence.squared_errors.as_ref()?.iter().sum())),
};

/// √Σ (x̂ᵢ − xᵢ)² over each region of a 7×7 grid: where the autoencoder fails. A length, because the spread of the
/// square grows with it.
pub const AUTOENCODER_ERROR_MAP: Statistic = Statistic {
    name: "autoencoder_error_map",
    unit: "squared error",
    requirements: &[Requirement::Autoencoder],
    part: Part::Decides,
    values: Values::Map {
        of: |seen| {
            let errors = seen.evidence.squared_errors.as_ref()?;
            Some(errors.iter().map(|&error| error as f32).collect())
        },
        scale: f64::sqrt,
    },
};

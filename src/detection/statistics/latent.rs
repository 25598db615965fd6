//! Statistics of variational autoencoders: the code of an image, and what the decoder makes of it.

use super::{Part, Requirement, Statistic, Values, arithmetic::total};

/// −log p(x | z = μ). One encoding and one decoding.
pub const RECONSTRUCTION: Statistic = Statistic {
    name: "reconstruction",
    unit: "nats",
    requirements: &[Requirement::Latent],
    part: Part::Decides,
    values: Values::Number(|seen| Some(seen.latent()?.reconstruction)),
};

/// KL(q(z | x) ‖ p(z)). The same encoding.
pub const KL: Statistic = Statistic {
    name: "kl",
    unit: "nats",
    requirements: &[Requirement::Latent],
    part: Part::Decides,
    values: Values::Number(|seen| Some(seen.latent()?.kl)),
};

/// |μ|, in standard deviations of the prior.
pub const LATENT_NORM: Statistic = Statistic {
    name: "latent_norm",
    unit: "standard deviations",
    requirements: &[Requirement::Latent],
    part: Part::Decides,
    values: Values::Number(|seen| {
        let mean = seen.latent()?.mean.iter();
        let squares = mean.map(|&m| f64::from(m) * f64::from(m));
        Some(squares.sum::<f64>().sqrt())
    }),
};

/// Σ log σ².
pub const LATENT_LOG_VARIANCE: Statistic = Statistic {
    name: "latent_log_variance",
    unit: "nats",
    requirements: &[Requirement::Latent],
    part: Part::Decides,
    values: Values::Number(|seen| Some(total(&seen.latent()?.log_variance))),
};

/// Σ(bᵢ − log p(xᵢ | z = μ)), bᵢ the best log-likelihood that its level could have had under the scale that the decoder
/// gave: what the likelihood owes to the level alone is taken out (after Chauhan et al. 2022). The same decoding.
pub const ATTAINABLE_GAP: Statistic = Statistic {
    name: "attainable_gap",
    unit: "nats",
    requirements: &[Requirement::Latent],
    part: Part::Reported,
    values: Values::Number(|seen| Some(seen.latent()?.attainable_gap)),
};

/// bᵢ − log p(xᵢ | z = μ) of every dimension, bᵢ as above: where in the image the decoder fails. Never negative.
pub const RECONSTRUCTION_MAP: Statistic = Statistic {
    name: "reconstruction_map",
    unit: "nats",
    requirements: &[Requirement::Latent],
    part: Part::Reported,
    values: Values::Map {
        of: |seen| Some(seen.latent()?.gap.clone()),
        scale: f64::ln_1p,
    },
};

/// IWAE₁₆ − ELBO₁₆: how badly the posterior fits. 16 decodings more.
pub const IWAE_GAP: Statistic = Statistic {
    name: "iwae_gap",
    unit: "nats",
    requirements: &[Requirement::Latent, Requirement::Samples],
    part: Part::Decides,
    values: Values::Number(|seen| seen.latent()?.iwae_gap),
};

/// μ: which inlier it would be. A code is no map, but without a density, which has one, it tells most of where things
/// are.
pub const LATENT_MEAN: Statistic = Statistic {
    name: "latent_mean",
    unit: "standard deviations",
    requirements: &[Requirement::Latent],
    part: Part::DecidesWithout(Requirement::Density),
    values: Values::Vector {
        length: |_, latent_size| latent_size,
        of: |seen| {
            let mean = seen.latent()?.mean.iter();
            Some(mean.map(|&m| f64::from(m)).collect())
        },
    },
};

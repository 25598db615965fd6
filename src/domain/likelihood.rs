//! Likelihood arithmetic. All logarithms are natural; all sums run in double precision.

use std::f64::consts::LN_2;

/// What a log-likelihood is worth: the exact value, or a lower bound on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The exact log-likelihood of an autoregressive model.
    Exact,
    /// The evidence lower bound, estimated with `k` samples of the posterior.
    Elbo {
        /// Posterior samples.
        k: u32,
    },
    /// The importance-weighted bound of Burda, Grosse and Salakhutdinov (2016) with `k` samples.
    Iwae {
        /// Importance samples.
        k: u32,
    },
}

impl Bound {
    /// The name used in answers: `exact`, `elbo` or `iwae`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Elbo { .. } => "elbo",
            Self::Iwae { .. } => "iwae",
        }
    }

    /// Posterior samples, where the bound uses any.
    pub fn samples(self) -> Option<u32> {
        match self {
            Self::Exact => None,
            Self::Elbo { k } | Self::Iwae { k } => Some(k),
        }
    }
}

/// log p of an image from the log-probabilities of its dimensions, summed in double precision.
pub fn total(log_probabilities: &[f32]) -> f64 {
    log_probabilities.iter().map(|&value| f64::from(value)).sum()
}

/// Bits per dimension: −log p / (D ln 2).
pub fn bits_per_dim(log_likelihood_nats: f64, dimensions: usize) -> f64 {
    -log_likelihood_nats / (dimensions as f64 * LN_2)
}

/// Perplexity exp(−log p / D): the effective number of levels that the model still hesitates between.
pub fn perplexity(log_likelihood_nats: f64, dimensions: usize) -> f64 {
    (-log_likelihood_nats / dimensions as f64).exp()
}

/// log Σ exp(v), computed without overflow; −∞ for no values.
pub fn log_sum_exp(values: &[f64]) -> f64 {
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !max.is_finite() {
        return max;
    }
    max + values.iter().map(|v| (v - max).exp()).sum::<f64>().ln()
}

/// log of the mean of exp(v).
pub fn log_mean_exp(values: &[f64]) -> f64 {
    log_sum_exp(values) - (values.len() as f64).ln()
}

/// Effective sample size 1 / Σ w̄² of self-normalised importance weights given by their logarithms: between 1 and their
/// number.
pub fn effective_sample_size(log_weights: &[f64]) -> f64 {
    let total = log_sum_exp(log_weights);
    1.0 / log_weights.iter().map(|w| (2.0 * (w - total)).exp()).sum::<f64>()
}

/// KL(N(μ, σ²) ‖ N(0, 1)) = −½ Σ (1 + log σ² − μ² − σ²), in nats.
pub fn kl_to_standard_normal(mean: &[f32], log_variance: &[f32]) -> f64 {
    mean.iter()
        .zip(log_variance)
        .map(|(&m, &v)| {
            let (m, v) = (f64::from(m), f64::from(v));
            -0.5 * (1.0 + v - m * m - v.exp())
        })
        .sum()
}

/// log p(z) − log q(z|x) for z = μ + σε with a standard normal prior: ½ Σ (ε² + log σ² − z²).
///
/// The normalising constants of the two Gaussians cancel.
pub fn log_prior_over_posterior(noise: &[f64], log_variance: &[f32], latent: &[f32]) -> f64 {
    noise
        .iter()
        .zip(log_variance)
        .zip(latent)
        .map(|((&e, &v), &z)| 0.5 * (e * e + f64::from(v) - f64::from(z) * f64::from(z)))
        .sum()
}

/// log P(level) under a logistic density of the given mean and log-scale, discretised to `levels` bins of the unit
/// interval (Salimans et al. 2017): σ((x + ½ − m)/s) − σ((x − ½ − m)/s), where the two edge bins take the open tails.
///
/// `mean` and `log_scale` are in units of level / (levels − 1).
pub fn discretized_logistic(level: u8, levels: usize, mean: f32, log_scale: f32) -> f64 {
    let max = (levels - 1) as f64;
    let inverse_scale = (-f64::from(log_scale)).exp();
    let x = f64::from(level);
    let edge = |e: f64| (e / max - f64::from(mean)) * inverse_scale;
    if level == 0 {
        return log_sigmoid(edge(0.5));
    }
    if usize::from(level) == levels - 1 {
        return log_sigmoid(-edge(max - 0.5));
    }
    let (upper, lower) = (edge(x + 0.5), edge(x - 0.5));
    // σ(u) − σ(l) = σ(u) σ(−l) (1 − e^(l−u)): no cancellation, however far out in a tail the bin lies.
    log_sigmoid(upper) + log_sigmoid(-lower) + (-(lower - upper).exp_m1()).ln()
}

/// log(1 + exp(x)) without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// log σ(x) = −softplus(−x).
fn log_sigmoid(x: f64) -> f64 {
    -softplus(-x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discretized_logistic_is_a_distribution() {
        for (levels, mean, log_scale) in [(256, 0.3, -3.0), (256, -0.5, -1.0), (2, 0.5, 0.0), (16, 1.4, -5.0)] {
            let total: f64 = (0..levels)
                .map(|x| discretized_logistic(x as u8, levels, mean, log_scale).exp())
                .sum();
            assert!((total - 1.0).abs() < 1e-9, "{levels} {mean}: {total}");
        }
    }

    #[test]
    fn discretized_logistic_stays_finite_far_out() {
        let value = discretized_logistic(200, 256, 0.0, -7.0);
        assert!(value.is_finite() && value < -500.0);
    }

    #[test]
    fn weights_that_agree_count_fully() {
        assert!((effective_sample_size(&[-700.0; 8]) - 8.0).abs() < 1e-9);
        assert!((effective_sample_size(&[0.0, -1e4]) - 1.0).abs() < 1e-9);
        assert!((log_mean_exp(&[-1000.0, -1000.0]) + 1000.0).abs() < 1e-9);
    }

    #[test]
    fn bits_and_perplexity_of_uniform_bytes() {
        let nats = -784.0 * 256f64.ln();
        assert!((bits_per_dim(nats, 784) - 8.0).abs() < 1e-12);
        assert!((perplexity(nats, 784) - 256.0).abs() < 1e-9);
    }
}

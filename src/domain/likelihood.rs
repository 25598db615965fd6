//! Likelihood arithmetic. All logarithms are natural; all sums run in double precision.

use std::f64::consts::LN_2;

use super::normal;

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

/// log P(level) under a Gaussian density of the given mean and log-deviation, integrated over each of `levels` bins of
/// the unit interval: Φ((x + ½ − m)/σ) − Φ((x − ½ − m)/σ), where the two edge bins take the open tails. That is a
/// probability, and by Jensen's inequality no less than the density of a uniformly dequantised level tells,
/// E_u log p((x − ½ + u)/(levels − 1)) − log(levels − 1).
///
/// `mean` and `log_deviation` are in units of level / (levels − 1).
pub fn discretized_gaussian(level: u8, levels: usize, mean: f32, log_deviation: f32) -> f64 {
    let max = (levels - 1) as f64;
    let precision = (-f64::from(log_deviation)).exp();
    let edge = |e: f64| (e / max - f64::from(mean)) * precision;
    let x = f64::from(level);
    let lower = if level == 0 { f64::NEG_INFINITY } else { edge(x - 0.5) };
    let upper = if usize::from(level) == levels - 1 {
        f64::INFINITY
    } else {
        edge(x + 0.5)
    };
    // An infinite end would hide that its other one is no number.
    let is_number = mean.is_finite() && !precision.is_nan();
    if is_number {
        normal::log_interval(lower, upper)
    } else {
        f64::NAN
    }
}

/// log P(level) of a level 0 or 1, of which `logit` is the log-odds of 1.
pub fn bernoulli(level: u8, logit: f32) -> f64 {
    let logit = f64::from(logit);
    log_sigmoid(if level == 0 { -logit } else { logit })
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
    fn discretized_densities_are_distributions() {
        for (levels, mean, log_scale) in [(256, 0.3, -3.0), (256, -0.5, -1.0), (2, 0.5, 0.0), (16, 1.4, -5.0)] {
            for density in [discretized_logistic, discretized_gaussian] {
                let total: f64 = (0..levels)
                    .map(|x| density(x as u8, levels, mean, log_scale).exp())
                    .sum();
                assert!((total - 1.0).abs() < 1e-9, "{levels} {mean}: {total}");
            }
        }
    }

    #[test]
    fn discretized_densities_stay_finite_far_out() {
        for density in [discretized_logistic, discretized_gaussian] {
            let value = density(200, 256, 0.0, -7.0);
            assert!(value.is_finite() && value < -500.0);
            assert!(density(0, 256, f32::NAN, -7.0).is_nan() && density(255, 256, 0.0, f32::NAN).is_nan());
        }
    }

    /// Numbers of `torch.special.log_ndtr` and `torch.nn.functional.logsigmoid`.
    #[test]
    fn heads_of_decoders_are_those_of_a_library() {
        let close = |actual: f64, expected: f64| assert!((actual - expected).abs() < 1e-6, "{actual} {expected}");
        close(discretized_gaussian(100, 256, 0.4, -2.5), -3.964861117);
        close(discretized_gaussian(0, 256, 0.1, -3.0), -3.710439484);
        close(bernoulli(1, -3.25), -3.288_041_5);
        close(bernoulli(0, -3.25), -0.038_041_5);
    }

    /// The bound that training with uniformly dequantised levels maximises is none better than the probability.
    #[test]
    fn a_gaussian_gives_a_level_no_less_than_dequantised_levels_tell() {
        let (levels, mean, log_deviation) = (16usize, 0.37f64, -2.2f64);
        for level in 1..15u8 {
            let parts = 4096;
            let dequantised: f64 = (0..parts)
                .map(|part| {
                    let x = (f64::from(level) - 0.5 + (f64::from(part) + 0.5) / f64::from(parts)) / 15.0;
                    let t = (x - mean) / log_deviation.exp();
                    -0.5 * (t * t + std::f64::consts::TAU.ln()) - log_deviation
                })
                .sum::<f64>()
                / f64::from(parts)
                - f64::ln(15.0);
            let exact = discretized_gaussian(level, levels, mean as f32, log_deviation as f32);
            assert!(exact >= dequantised - 1e-5, "{level}: {exact} {dequantised}");
        }
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

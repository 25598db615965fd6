//! Turning a predictive distribution and one uniform number into a level.

/// The level at which the cumulative distribution of softmax(logits / temperature) passes `uniform`.
///
/// Computed in double precision in a fixed order, so that equal logits give equal levels. `weights` is scratch space.
///
/// # Panics
/// If there are no logits.
pub fn categorical(
    logits: impl ExactSizeIterator<Item = f32>,
    temperature: f64,
    uniform: f64,
    weights: &mut Vec<f64>,
) -> u8 {
    weights.clear();
    weights.extend(logits.map(|logit| f64::from(logit) / temperature));
    let max = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut total = 0.0;
    for weight in weights.iter_mut() {
        *weight = (*weight - max).exp();
        total += *weight;
    }
    let target = uniform * total;
    let mut cumulative = 0.0;
    for (level, weight) in weights.iter().enumerate() {
        cumulative += weight;
        if cumulative > target {
            return level as u8;
        }
    }
    // Rounding can leave the sum a hair below the target: then the last level that has any weight is meant.
    weights.iter().rposition(|&w| w > 0.0).unwrap_or(0) as u8
}

/// 1 with probability σ(logit / temperature), else 0.
pub fn bernoulli(logit: f32, temperature: f64, uniform: f64) -> u8 {
    let logit = f64::from(logit) / temperature;
    // Level 0 comes first in the cumulative distribution, as in `categorical`.
    u8::from(uniform >= 1.0 / (1.0 + logit.exp()))
}

/// The level drawn from a logistic density with the given mean and log-scale in units of level / (levels − 1): the
/// inverse of the cumulative distribution, rounded to the nearest level and cut at the edges.
pub fn discretized_logistic(
    mean: f32,
    log_scale: f32,
    levels: usize,
    temperature: f64,
    uniform: f64,
) -> u8 {
    let scale = f64::from(log_scale).exp() * temperature;
    let value = f64::from(mean) + scale * (uniform.ln() - (-uniform).ln_1p());
    nearest_level(value, levels)
}

/// The level nearest to a value in units of level / (levels − 1).
pub fn nearest_level(value: f64, levels: usize) -> u8 {
    let max = (levels - 1) as f64;
    (value * max).round().clamp(0.0, max) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::likelihood;

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [0.0f32, 1.0, -1.0, 2.0];
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let n = 100_000;
        let mut counts = [0usize; 4];
        let mut scratch = Vec::new();
        for i in 0..n {
            let uniform = (i as f64 + 0.5) / n as f64;
            counts[usize::from(categorical(
                logits.iter().copied(),
                1.0,
                uniform,
                &mut scratch,
            ))] += 1;
        }
        for (count, logit) in counts.iter().zip(logits) {
            let expected = f64::from(logit).exp() / total;
            assert!((*count as f64 / n as f64 - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn logistic_levels_follow_their_likelihood() {
        let (mean, log_scale, levels) = (0.4, -1.5, 8);
        let n = 200_000;
        let mut counts = vec![0usize; levels];
        for i in 0..n {
            let uniform = (i as f64 + 0.5) / n as f64;
            counts[usize::from(discretized_logistic(mean, log_scale, levels, 1.0, uniform))] += 1;
        }
        for (level, count) in counts.iter().enumerate() {
            let p = likelihood::discretized_logistic(level as u8, levels, mean, log_scale).exp();
            assert!((*count as f64 / n as f64 - p).abs() < 1e-4);
        }
    }

    #[test]
    fn a_cold_temperature_takes_the_mode_and_extreme_logits_do_not_break() {
        let mut scratch = Vec::new();
        let logits = [f32::MIN, 80.0, 3.0e38];
        for uniform in [1e-12, 0.5, 1.0 - 1e-12] {
            let level = categorical(logits.iter().copied(), 1e-3, uniform, &mut scratch);
            assert_eq!(level, 2);
        }
        assert_eq!(bernoulli(f32::MAX, 1.0, 1e-9), 1);
        assert_eq!(bernoulli(f32::MIN, 1.0, 1.0 - 1e-9), 0);
    }
}

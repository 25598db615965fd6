//! Turning a predictive distribution and one uniform number into a level.

/// Levels whose weights are summed together before their sums are: short chains of additions, which a processor
/// overlaps.
const BLOCK: usize = 16;

/// The level at which the cumulative distribution of softmax(logits / temperature) passes `uniform`.
///
/// Everything happens in a fixed order and without the system's mathematical library, so that equal logits give equal
/// levels on every machine. `weights` is scratch space.
///
/// # Panics
/// If there are no logits.
pub fn categorical(
    logits: impl ExactSizeIterator<Item = f32>,
    temperature: f64,
    uniform: f64,
    weights: &mut Vec<f32>,
) -> u8 {
    softmax_weights(logits, temperature, weights);
    let mut sums = [0.0; (u8::MAX as usize + 1) / BLOCK];
    for (sum, block) in sums.iter_mut().zip(weights.chunks(BLOCK)) {
        *sum = block_sum(block);
    }
    let total: f64 = sums.iter().sum();
    let target = uniform * total;
    let (mut before, mut end) = (0.0, weights.len());
    for (number, (block, sum)) in weights.chunks(BLOCK).zip(sums).enumerate() {
        let after = before + sum;
        if after <= target {
            before = after;
            continue;
        }
        let first = number * BLOCK;
        for (level, &weight) in (first..).zip(block) {
            before += f64::from(weight);
            if before > target {
                return level as u8;
            }
        }
        end = first + block.len();
        break;
    }
    // Rounding can leave a sum a hair below the target: then the last level before it that has any weight is meant.
    weights[..end].iter().rposition(|&w| w > 0.0).unwrap_or(0) as u8
}

/// The sum of a block, in four strands.
#[inline]
fn block_sum(block: &[f32]) -> f64 {
    let mut sums = [0.0f32; 4];
    for four in block.chunks(4) {
        for (sum, weight) in sums.iter_mut().zip(four) {
            *sum += weight;
        }
    }
    f64::from(sums[0] + sums[1]) + f64::from(sums[2] + sums[3])
}

/// exp((logit − largest logit) / temperature) of every level, with a relative error below 3e-7; 0 below e⁻⁸⁷.
pub fn softmax_weights(logits: impl ExactSizeIterator<Item = f32>, temperature: f64, weights: &mut Vec<f32>) {
    weights.clear();
    weights.extend(logits);
    let (max, _) = largest(weights);
    let scale = (1.0 / temperature) as f32;
    for weight in weights.iter_mut() {
        *weight = exp_of_negative((*weight - max) * scale);
    }
}

/// The largest of the values that are numbers, and whether all are. In strands that do not wait for each other: a
/// comparison takes as long as the processor needs for sixteen.
pub fn largest(values: &[f32]) -> (f32, bool) {
    const STRANDS: usize = 16;
    let (mut max, mut strange) = ([f32::NEG_INFINITY; STRANDS], [false; STRANDS]);
    let (whole, rest) = values.as_chunks::<STRANDS>();
    for chunk in whole {
        for ((max, strange), &value) in max.iter_mut().zip(&mut strange).zip(chunk) {
            *max = if value > *max { value } else { *max };
            *strange |= value.is_nan();
        }
    }
    let most = max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    (
        most,
        !strange.contains(&true) && !rest.iter().any(|value| value.is_nan()),
    )
}

/// eˣ for x ≤ 0, without branches, so that the loop around it is vectorised: 2ⁿ by the exponent's bits times a
/// polynomial for the fraction of x / ln 2, which is its Taylor series up to degree 6 on ±½.
#[inline]
pub(super) fn exp_of_negative(x: f32) -> f32 {
    // Adding 1.5 · 2²³ rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.max(-87.0);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    // ln 2 in two parts, so that the difference keeps its digits.
    let f = (clamped - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let series =
        1.0 + f * (1.0 + f * (0.5 + f * (1.0 / 6.0 + f * (1.0 / 24.0 + f * (1.0 / 120.0 + f * (1.0 / 720.0))))));
    let power = f32::from_bits(exponent.wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { series * power }
}

/// 1 with probability σ(logit / temperature), else 0.
pub fn bernoulli(logit: f32, temperature: f64, uniform: f64) -> u8 {
    let logit = f64::from(logit) / temperature;
    // Level 0 comes first in the cumulative distribution, as in `categorical`.
    u8::from(uniform >= 1.0 / (1.0 + logit.exp()))
}

/// The level drawn from a logistic density with the given mean and log-scale in units of level / (levels − 1): the
/// inverse of the cumulative distribution, rounded to the nearest level and cut at the edges.
pub fn discretized_logistic(mean: f32, log_scale: f32, levels: usize, temperature: f64, uniform: f64) -> u8 {
    let scale = f64::from(log_scale).exp() * temperature;
    let value = f64::from(mean) + scale * (uniform.ln() - (-uniform).ln_1p());
    nearest_level(value, levels)
}

/// The level of a Gaussian density with the given mean and log-deviation in units of level / (levels − 1), at `normal`
/// deviations from its mean: rounded to the nearest level and cut at the edges.
pub fn discretized_gaussian(mean: f32, log_deviation: f32, levels: usize, temperature: f64, normal: f64) -> u8 {
    let deviation = f64::from(log_deviation).exp() * temperature;
    nearest_level(f64::from(mean) + deviation * normal, levels)
}

/// The level nearest to a value in units of level / (levels − 1).
pub fn nearest_level(value: f64, levels: usize) -> u8 {
    let max = (levels - 1) as f64;
    (value * max).round().clamp(0.0, max) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        likelihood,
        random::{Random, Stream},
    };

    #[test]
    fn the_largest_is_that_of_numbers_wherever_it_stands() {
        let random = Random::new(3, Stream::Level, 0);
        for count in 0..40u32 {
            let mut values: Vec<f32> = (0..count).map(|i| random.uniform(i) as f32 - 0.5).collect();
            let expected = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&values), (expected, true));
            for at in 0..values.len() {
                let own = std::mem::replace(&mut values[at], f32::NAN);
                let others = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                assert_eq!(largest(&values), (others, false));
                values[at] = own;
            }
        }
        assert_eq!(largest(&[f32::INFINITY; 20]), (f32::INFINITY, true));
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let logits = [0.0f32, 1.0, -1.0, 2.0];
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let n = 100_000;
        let mut counts = [0usize; 4];
        let mut scratch = Vec::new();
        for i in 0..n {
            let uniform = (i as f64 + 0.5) / n as f64;
            counts[usize::from(categorical(logits.iter().copied(), 1.0, uniform, &mut scratch))] += 1;
        }
        for (count, logit) in counts.iter().zip(logits) {
            let expected = f64::from(logit).exp() / total;
            assert!((*count as f64 / n as f64 - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn weights_are_exponentials() {
        let logits: Vec<f32> = (0..20_000).map(|i| -(i as f32) / 200.0).collect();
        let mut weights = Vec::new();
        softmax_weights(logits.iter().copied(), 1.0, &mut weights);
        for (logit, weight) in logits.iter().zip(weights) {
            let expected = f64::from(*logit).exp();
            let allowed = if *logit < -87.0 { 1e-37 } else { 3e-7 * expected };
            assert!((f64::from(weight) - expected).abs() <= allowed, "{logit}");
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
    fn gaussian_levels_follow_their_likelihood() {
        let (mean, log_deviation, levels) = (0.8, -1.5, 8);
        let n = 100_000;
        let random = Random::new(1, Stream::Level, 0);
        let mut counts = vec![0usize; levels];
        for i in 0..n {
            let level = discretized_gaussian(mean, log_deviation, levels, 1.0, random.normal(i));
            counts[usize::from(level)] += 1;
        }
        for (level, count) in counts.iter().enumerate() {
            let p = likelihood::discretized_gaussian(level as u8, levels, mean, log_deviation).exp();
            assert!((*count as f64 / f64::from(n) - p).abs() < 5e-3, "{level}");
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

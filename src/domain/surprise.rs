//! What an autoregressive model's predictions say about an image, dimension by dimension: how improbable each level
//! was, and how improbable the model expected it to be.

/// For every dimension of one image, in channel, row, column order.
#[derive(Debug, Clone, PartialEq)]
pub struct Surprise {
    /// log p(xᵢ | x₍<ᵢ₎) in nats.
    pub log_probability: Vec<f32>,
    /// Entropy of the predicted distribution in nats: the surprise that the model expects.
    pub entropy: Vec<f32>,
    /// Variance of the surprise under the predicted distribution, in nats².
    pub variance: Vec<f32>,
}

impl Surprise {
    /// From logits, level by level, each in channel, row, column order: `logits[level · dimensions + index]`.
    ///
    /// With dₖ = lₖ − max l, Z = Σ e^dₖ and ⟨f⟩ = Σ fₖ e^dₖ / Z: log p = dₓ − log Z, entropy = log Z − ⟨d⟩ and
    /// variance = ⟨d²⟩ − ⟨d⟩².
    ///
    /// # Panics
    /// If the logits are not a whole number of levels for every dimension, or a level has none.
    pub fn of_categorical(logits: &[f32], image: &[u8]) -> Self {
        let dimensions = image.len();
        assert_eq!(logits.len() % dimensions, 0, "logits of every level");
        let mut largest = vec![f32::NEG_INFINITY; dimensions];
        for plane in logits.chunks_exact(dimensions) {
            for (max, &logit) in largest.iter_mut().zip(plane) {
                *max = max.max(logit);
            }
        }
        let (mut total, mut first, mut second) =
            (vec![0f32; dimensions], vec![0f32; dimensions], vec![0f32; dimensions]);
        for plane in logits.chunks_exact(dimensions) {
            // One plain loop over slices of equal length, which compilers turn into vector instructions.
            let sums = total.iter_mut().zip(&mut first).zip(&mut second);
            for (((total, first), second), (&logit, &max)) in sums.zip(plane.iter().zip(&largest)) {
                let difference = (logit - max).max(LOWEST_EXPONENT);
                let weight = exponential(difference);
                let weighted = weight * difference;
                *total += weight;
                *first += weighted;
                *second += weighted * difference;
            }
        }
        let mut surprise = Self {
            log_probability: Vec::with_capacity(dimensions),
            entropy: Vec::with_capacity(dimensions),
            variance: Vec::with_capacity(dimensions),
        };
        for (index, &level) in image.iter().enumerate() {
            let z = f64::from(total[index]);
            let mean = f64::from(first[index]) / z;
            let square = f64::from(second[index]) / z;
            let chosen = f64::from(logits[usize::from(level) * dimensions + index]);
            let log_total = z.ln();
            surprise
                .log_probability
                .push((chosen - f64::from(largest[index]) - log_total) as f32);
            surprise.entropy.push((log_total - mean).max(0.0) as f32);
            surprise.variance.push((square - mean * mean).max(0.0) as f32);
        }
        surprise
    }

    /// From log-odds of level 1, one a dimension.
    pub fn of_bernoulli(logits: &[f32], image: &[u8]) -> Self {
        let mut surprise = Self {
            log_probability: Vec::with_capacity(image.len()),
            entropy: Vec::with_capacity(image.len()),
            variance: Vec::with_capacity(image.len()),
        };
        for (&logit, &level) in logits.iter().zip(image) {
            let logit = f64::from(logit);
            let log_one = -super::likelihood::softplus(-logit);
            let log_zero = -super::likelihood::softplus(logit);
            let (one, zero) = (log_one.exp(), log_zero.exp());
            let chosen = if level == 0 { log_zero } else { log_one };
            surprise.log_probability.push(chosen as f32);
            surprise.entropy.push((-one * log_one - zero * log_zero) as f32);
            // Two outcomes: p (1 − p) (log p − log(1 − p))², and the difference of the logarithms is the logit.
            surprise.variance.push((one * zero * logit * logit) as f32);
        }
        surprise
    }
}

impl Surprise {
    /// Of an image whose dimensions have these log-probabilities; what was expected is yet to be said by
    /// [`Self::expect`], dimension by dimension.
    pub fn with_log_probabilities(log_probability: Vec<f32>) -> Self {
        let (entropy, variance) = [(); 2].map(|()| Vec::with_capacity(log_probability.len())).into();
        Self {
            log_probability,
            entropy,
            variance,
        }
    }

    /// The next dimension was expected to have each level with the given probability; they sum to 1.
    pub fn expect(&mut self, probabilities: &[f32]) {
        let (mut mean, mut square) = (0.0, 0.0);
        for &probability in probabilities.iter().filter(|&&probability| probability > 0.0) {
            let own = -f64::from(probability.ln());
            let weighted = f64::from(probability) * own;
            mean += weighted;
            square += weighted * own;
        }
        self.entropy.push(mean as f32);
        self.variance.push((square - mean * mean).max(0.0) as f32);
    }
}

/// Below it e^x is no normal number of single precision.
const LOWEST_EXPONENT: f32 = -87.0;

/// e^x for −87 ≤ x ≤ 0 to within two units in the last place or so, without a branch: x = n ln 2 + r, a polynomial for
/// e^r, and n added to the exponent. The library's function is not vectorised, and there are levels × dimensions of
/// them.
fn exponential(x: f32) -> f32 {
    /// Adding 1.5 · 2²³ rounds to whole numbers and leaves them in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first of few bits so that its product with n is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's series to r⁶ on |r| ≤ ln 2 / 2: the remainder is below 2e-7.
    let mut value = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        value = value * r + factor;
    }
    f32::from_bits(value.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for step in 0..=8700 {
            let x = -(step as f32) / 100.0;
            let relative = (f64::from(exponential(x)) / f64::from(x).exp() - 1.0).abs();
            assert!(relative < 3e-7, "{x}: {relative}");
        }
    }

    #[test]
    fn sums_are_those_of_the_definition() {
        let logits = [0.3f32, -2.0, 1.5, 0.0, -0.7, 4.0, 2.2, -90.0];
        let image = [3u8, 1];
        let surprise = Surprise::of_categorical(&logits, &image);
        for (index, &level) in image.iter().enumerate() {
            let own: Vec<f64> = (0..4).map(|k| f64::from(logits[2 * k + index])).collect();
            let total = crate::domain::likelihood::log_sum_exp(&own);
            let log_p: Vec<f64> = own.iter().map(|l| l - total).collect();
            let entropy: f64 = -log_p.iter().map(|l| l.exp() * l).sum::<f64>();
            let square: f64 = log_p.iter().map(|l| l.exp() * l * l).sum();
            let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4, "{a} {b}");
            near(surprise.log_probability[index], log_p[usize::from(level)]);
            near(surprise.entropy[index], entropy);
            near(surprise.variance[index], square - entropy * entropy);
        }
    }

    #[test]
    fn probabilities_say_what_their_logarithms_say() {
        let logits = [0.3f32, -2.0, 1.5, -90.0];
        let of_logits = Surprise::of_categorical(&logits, &[1]);
        let total = crate::domain::likelihood::log_sum_exp(&logits.map(f64::from));
        let probabilities = logits.map(|logit| (f64::from(logit) - total).exp() as f32);
        let mut surprise = Surprise::with_log_probabilities(of_logits.log_probability.clone());
        surprise.expect(&probabilities);
        assert!((surprise.entropy[0] - of_logits.entropy[0]).abs() < 1e-5);
        assert!((surprise.variance[0] - of_logits.variance[0]).abs() < 1e-5);
    }

    #[test]
    fn a_bernoulli_is_a_categorical_of_two() {
        let odds = [0.4f32, -3.0, 9.0];
        let image = [1u8, 1, 0];
        let logits: Vec<f32> = [0.0; 3].into_iter().chain(odds).collect();
        let two = Surprise::of_categorical(&logits, &image);
        let one = Surprise::of_bernoulli(&odds, &image);
        for index in 0..3 {
            assert!((one.log_probability[index] - two.log_probability[index]).abs() < 1e-5);
            assert!((one.entropy[index] - two.entropy[index]).abs() < 1e-5);
            assert!((one.variance[index] - two.variance[index]).abs() < 1e-4);
        }
    }
}

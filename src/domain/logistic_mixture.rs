//! Discretised mixtures of logistics over the levels of a pixel, whose channels are linked (Salimans et al.,
//! "PixelCNN++", 2017).
//!
//! A pixel with value x ∈ [−1, 1] in each channel has K components. Their weights are the softmax of K logits;
//! component k gives channel c a logistic distribution of mean m and scale e^s, binned into levels, where the lowest
//! and the highest level take the open tails. The mean of green moves with red, that of blue with red and green:
//! m_green + tanh(γ₀) x_red and m_blue + tanh(γ₁) x_red + tanh(γ₂) x_green. So, once a channel is known, the weights of
//! the components are those that are left after seeing it, and the next channel has a distribution over levels again.
//!
//! The K-fold blocks of a pixel's parameters are, with three channels: logits; then for red, green and blue in turn
//! means, log-scales, coefficients. The coefficients that stand with red are γ₀, with green γ₁, with blue γ₂. With one
//! channel: logits, means, log-scales.
//!
//! Exponentials are not those of the system's mathematical library but of the crate `libm`, or our own where levels are
//! drawn, so that equal parameters give equal levels on every machine.

use std::ops::Range;

use super::sampling::exp_of_negative;

/// Log-scales below it count as it, as in the loss of the paper: a level is 8.6 scales wide then, of 256.
const MIN_LOG_SCALE: f64 = -7.0;

/// Below it a level between the edges has no probability that could be told from 0; so broad a scale leaves the tails.
const MIN_STEEPNESS: f64 = 1e-300;

/// The distribution of one channel of a pixel given the channels before it.
#[derive(Debug, Clone, Default)]
pub struct LogisticMixture {
    levels: usize,
    components: Vec<Component>,
    /// Of the pixel; empty if it may be another one next time.
    parameters: Vec<f32>,
    /// Levels of the channels that the weights have seen.
    seen: Vec<u8>,
    /// The channel that means and scales are of.
    channel: Option<usize>,
    /// Working space of [`Self::probabilities`].
    odds: Vec<f64>,
    sums: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Component {
    log_weight: f64,
    weight: f64,
    /// In levels.
    mean: f64,
    /// Inverse scale, for each level.
    steepness: f64,
}

/// Parameters of a component of a pixel: 10 of three channels, 3 of one, and none of other numbers of channels, for
/// which the paper says nothing.
pub fn parameters_of_component(channels: usize) -> Option<usize> {
    match channels {
        1 => Some(3),
        3 => Some(10),
        _ => None,
    }
}

/// Whether a pixel's parameters describe a distribution: all are numbers.
pub fn describe(parameters: &[f32]) -> bool {
    // Without a way out on the way, so that many are looked at together.
    parameters.iter().fold(true, |all, value| all & value.is_finite())
}

impl LogisticMixture {
    /// Becomes the distribution of the channel that comes after the channels that are known, `earlier` being their
    /// levels, of a pixel of `channels` channels with `levels` levels. Asked for the next channel of the same pixel, it
    /// goes on from where it is.
    ///
    /// # Panics
    /// If there are not as many parameters as a whole number of components of so many channels has, or no channel is
    /// left.
    pub fn become_next(&mut self, parameters: &[f32], channels: usize, levels: usize, earlier: &[u8]) {
        let goes_on = self.levels == levels && self.parameters == parameters && earlier.starts_with(&self.seen);
        if !goes_on {
            self.begin(parameters, channels, levels);
            self.parameters.extend(parameters);
        }
        for channel in self.seen.len()..earlier.len() {
            self.take_channel(parameters, channels, &earlier[..channel]);
            self.observe(earlier[channel]);
        }
        self.take_channel(parameters, channels, earlier);
    }

    /// log p of every channel of a pixel given those before it, in nats.
    ///
    /// # Panics
    /// As [`Self::become_next`]; if `pixel` has another number of channels.
    pub fn log_probabilities_of_pixel(&mut self, parameters: &[f32], levels: usize, pixel: &[u8], into: &mut [f64]) {
        self.begin(parameters, pixel.len(), levels);
        for (channel, (&level, into)) in pixel.iter().zip(into).enumerate() {
            self.take_channel(parameters, pixel.len(), &pixel[..channel]);
            *into = self.observe(level);
        }
    }

    /// log P(level) in nats.
    pub fn log_probability(&self, level: u8) -> f64 {
        let top = (self.levels - 1) as f64;
        let logs = self
            .components
            .iter()
            .map(|component| component.log_weight + component.log_probability(f64::from(level), top));
        let (max, total) = logs.fold((f64::NEG_INFINITY, 0.0), |(max, total), log| {
            if log <= max {
                (max, total + libm::exp(log - max))
            } else {
                (log, total * libm::exp(max - log) + 1.0)
            }
        });
        max + libm::log(total)
    }

    /// The level at which the cumulative distribution passes `uniform`.
    pub fn draw(&self, uniform: f64) -> u8 {
        let total: f64 = self.components.iter().map(|component| component.weight).sum();
        let target = uniform * total;
        // The levels from `low` to `high` are left.
        let (mut low, mut high) = (0, self.levels - 1);
        while low < high {
            let middle = (low + high) / 2;
            if self.cumulative(middle) > target {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low as u8
    }

    /// The probability of every level. They sum to 1 up to rounding.
    pub fn probabilities(&mut self, into: &mut Vec<f32>) {
        self.sums.clear();
        self.sums.resize(self.levels, 0.0);
        self.odds.resize(self.levels - 1, 0.0);
        for component in &self.components {
            component.add_probabilities(&mut self.odds, &mut self.sums);
        }
        into.clear();
        into.extend(self.sums.iter().map(|&value| value as f32));
    }

    /// The weights of a pixel of which nothing is known yet. What it was of before is forgotten.
    fn begin(&mut self, parameters: &[f32], channels: usize, levels: usize) {
        let each = parameters_of_component(channels).expect("a pixel has one channel or three");
        assert_eq!(parameters.len() % each, 0, "parameters of whole components");
        let logits = &parameters[..parameters.len() / each];
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let above = |&logit: &f32| f64::from(logit) - f64::from(max);
        let log_total = libm::log(logits.iter().map(|logit| libm::exp(above(logit))).sum());
        self.levels = levels;
        self.parameters.clear();
        self.seen.clear();
        self.channel = None;
        self.components.clear();
        self.components.extend(logits.iter().map(|logit| {
            let log_weight = above(logit) - log_total;
            Component {
                log_weight,
                weight: libm::exp(log_weight),
                ..Component::default()
            }
        }));
    }

    /// Means and scales of the channel after `earlier`.
    fn take_channel(&mut self, parameters: &[f32], channels: usize, earlier: &[u8]) {
        if self.channel.replace(earlier.len()) == Some(earlier.len()) {
            return;
        }
        let count = self.components.len();
        let blocks = if channels == 1 { 2 } else { 3 };
        let block = |channel: usize, part: usize| {
            let start = count * (1 + blocks * channel + part);
            parameters[start..start + count].iter().map(|&value| f64::from(value))
        };
        let half = (self.levels - 1) as f64 / 2.0;
        let channel = earlier.len();
        let means = block(channel, 0).zip(block(channel, 1));
        for (component, (mean, log_scale)) in self.components.iter_mut().zip(means) {
            component.mean = (mean + 1.0) * half;
            component.steepness = (libm::exp(-log_scale.max(MIN_LOG_SCALE)) / half).max(MIN_STEEPNESS);
        }
        // γ of green on red is the first, those of blue on red and on green are the second and the third.
        let first = if channel == 1 { 0 } else { 1 };
        for (number, &level) in earlier.iter().enumerate() {
            let moved = f64::from(level) - half;
            for (component, coefficient) in self.components.iter_mut().zip(block(first + number, 2)) {
                component.mean += libm::tanh(coefficient) * moved;
            }
        }
    }

    /// log P(level), after which the weights are those of the components given that level.
    fn observe(&mut self, level: u8) -> f64 {
        self.seen.push(level);
        let top = (self.levels - 1) as f64;
        let mut max = f64::NEG_INFINITY;
        for component in &mut self.components {
            component.log_weight += component.log_probability(f64::from(level), top);
            max = max.max(component.log_weight);
        }
        let mut total = 0.0;
        for component in &mut self.components {
            component.weight = libm::exp(component.log_weight - max);
            total += component.weight;
        }
        let log_total = max + libm::log(total);
        for component in &mut self.components {
            component.weight /= total;
            component.log_weight -= log_total;
        }
        log_total
    }

    /// P(X ≤ level) for a level below the highest, with the precision with which levels are drawn, 3e-7.
    fn cumulative(&self, level: usize) -> f64 {
        let edge = level as f64 + 0.5;
        let mut total = 0.0;
        // Four at once: the processor has instructions for that.
        for four in self.components.chunks(4) {
            let mut odds = [0f32; 4];
            for (odds, component) in odds.iter_mut().zip(four) {
                *odds = -((edge - component.mean) * component.steepness).abs() as f32;
            }
            let odds = odds.map(exp_of_negative);
            for (odds, component) in odds.iter().zip(four) {
                let share = if edge < component.mean { *odds } else { 1.0 };
                total += component.weight * f64::from(share / (1.0 + odds));
            }
        }
        total
    }
}

impl Component {
    /// log P(level): with a and b the lower and the upper edge in scales, σ(b) − σ(a) = σ(b) σ(−a) (1 − e^(a−b)), of
    /// which no factor cancels, however far out in a tail the level lies.
    fn log_probability(&self, level: f64, top: f64) -> f64 {
        let lower = (level - 0.5 - self.mean) * self.steepness;
        let upper = (level + 0.5 - self.mean) * self.steepness;
        let (is_lowest, is_highest) = (level <= 0.0, level >= top);
        // −log σ(x) = max(−x, 0) + log(1 + e^−|x|); the logarithms are taken together.
        let mut odds = 1.0;
        let mut linear = 0.0;
        if !is_highest {
            odds *= 1.0 + libm::exp(-upper.abs());
            linear += (-upper).max(0.0);
        }
        if !is_lowest {
            odds *= 1.0 + libm::exp(-lower.abs());
            linear += lower.max(0.0);
        }
        let width = if is_lowest || is_highest {
            1.0
        } else {
            -libm::expm1(-self.steepness)
        };
        libm::log(width / odds) - linear
    }

    /// Adds its share of the probability of every level to `sums`. `odds` has a place for every edge between levels.
    ///
    /// Edges are equally far from each other, so e^−|edge| is a geometric sequence on either side of the mean, falling
    /// outwards: three exponentials are enough.
    fn add_probabilities(&self, odds: &mut [f64], sums: &mut [f64]) {
        let edges = odds.len();
        let distance = |edge: usize| ((edge as f64 + 0.5 - self.mean) * self.steepness).abs();
        let ratio = libm::exp(-self.steepness);
        // The first edge that is not below the mean.
        let middle = (self.mean - 0.5).ceil().clamp(0.0, edges as f64) as usize;
        let (below, above) = odds.split_at_mut(middle);
        fill_falling(below.iter_mut().rev(), || libm::exp(-distance(middle - 1)), ratio);
        fill_falling(above.iter_mut(), || libm::exp(-distance(middle)), ratio);
        // Of a level, the part inside the component is a product of three factors, as in `log_probability`; the share
        // that falls outwards is that of the edge nearer to the mean.
        let width = self.weight * -libm::expm1(-self.steepness);
        add_inner(1..middle, (odds, sums), width, |_, upper| upper);
        add_inner(middle..middle + 1, (odds, sums), width, |_, _| 1.0);
        add_inner(middle + 1..edges, (odds, sums), width, |lower, _| lower);
        let (first, last) = (odds[0], odds[edges - 1]);
        let first_share = if middle > 0 { first } else { 1.0 };
        let last_share = if middle < edges { last } else { 1.0 };
        sums[0] += self.weight * first_share / (1.0 + first);
        sums[edges] += self.weight * last_share / (1.0 + last);
    }
}

/// Adds a component's share of levels between the edges to `sums`: of the odds of a level's two edges, `falling` says
/// which share falls outwards. Without a branch, so that the processor takes several levels at once.
fn add_inner(levels: Range<usize>, (odds, sums): (&[f64], &mut [f64]), width: f64, falling: impl Fn(f64, f64) -> f64) {
    let levels = levels.start.max(1)..levels.end.min(odds.len());
    if levels.is_empty() {
        return;
    }
    let edges = odds[levels.start - 1..].iter().zip(&odds[levels.clone()]);
    for (sum, (&lower, &upper)) in sums[levels].iter_mut().zip(edges) {
        *sum += width * falling(lower, upper) / ((1.0 + lower) * (1.0 + upper));
    }
}

/// `first`, first · ratio, first · ratio², ….
fn fill_falling<'a>(places: impl Iterator<Item = &'a mut f64>, first: impl Fn() -> f64, ratio: f64) {
    let mut value = None;
    for place in places {
        let own: f64 = value.map_or_else(&first, |value: f64| value * ratio);
        *place = own;
        value = Some(own);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::likelihood;

    fn parameters(channels: usize) -> impl Strategy<Value = Vec<f32>> {
        let each = parameters_of_component(channels).unwrap();
        (1usize..5).prop_flat_map(move |count| prop::collection::vec(-3.0f32..3.0, count * each))
    }

    fn next(parameters: &[f32], channels: usize, levels: usize, earlier: &[u8]) -> LogisticMixture {
        let mut mixture = LogisticMixture::default();
        mixture.become_next(parameters, channels, levels, earlier);
        mixture
    }

    proptest! {
        #[test]
        fn every_channel_is_a_distribution_of_which_each_way_to_ask_says_the_same(
            parameters in parameters(3),
            sharpness in -8.0f32..0.0,
            (levels, earlier) in (2usize..=256).prop_flat_map(|levels| {
                let level = 0u8..=(levels - 1) as u8;
                (Just(levels), prop::collection::vec(level, 0..3))
            }),
        ) {
            // Also very narrow components.
            let count = parameters.len() / 10;
            let mut parameters = parameters;
            for channel in 0..3 {
                let start = count * (2 + 3 * channel);
                parameters[start..start + count].iter_mut().for_each(|scale| *scale += sharpness);
            }
            let mut mixture = next(&parameters, 3, levels, &earlier);
            let mut probabilities = Vec::new();
            mixture.probabilities(&mut probabilities);
            prop_assert_eq!(probabilities.len(), levels);
            let total: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
            prop_assert!((total - 1.0).abs() < 1e-5, "{total}");
            let mut below = 0.0;
            for (level, &probability) in probabilities.iter().enumerate() {
                let probability = f64::from(probability);
                let exact = mixture.log_probability(level as u8).exp();
                prop_assert!((probability - exact).abs() <= 1e-5 * exact + 1e-30, "{level}: {probability} {exact}");
                below += exact;
                if level + 1 < levels {
                    prop_assert!((mixture.cumulative(level) - below).abs() < 1e-6);
                }
            }
        }

        #[test]
        fn the_probability_of_a_pixel_is_the_product_over_its_channels_and_sums_to_one(parameters in parameters(3)) {
            let levels = 5u8;
            let mut total = 0.0;
            for pixel in (0..levels).flat_map(|r| (0..levels).flat_map(move |g| (0..levels).map(move |b| [r, g, b]))) {
                let mut logs = [0.0; 3];
                LogisticMixture::default().log_probabilities_of_pixel(&parameters, 5, &pixel, &mut logs);
                for (channel, log) in logs.iter().enumerate() {
                    let own = next(&parameters, 3, 5, &pixel[..channel]).log_probability(pixel[channel]);
                    prop_assert!((own - log).abs() < 1e-9);
                }
                total += logs.iter().sum::<f64>().exp();
            }
            prop_assert!((total - 1.0).abs() < 1e-9, "{total}");
        }
    }

    #[test]
    fn one_component_of_one_channel_is_a_discretised_logistic() {
        for (mean, log_scale) in [(0.2f32, -2.0f32), (-1.4, -0.5), (1.9, -6.0)] {
            let mixture = next(&[0.3, mean, log_scale], 1, 16, &[]);
            for level in 0..16 {
                // There, levels lie between 0 and 1.
                let (mean, log_scale) = ((mean + 1.0) / 2.0, log_scale - std::f32::consts::LN_2);
                let expected = likelihood::discretized_logistic(level, 16, mean, log_scale);
                assert!((mixture.log_probability(level) - expected).abs() < 1e-4 * expected.abs().max(1.0));
            }
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let parameters = [0.3, -0.2, 0.1, 0.9, -0.4, 0.4, -2.0, -1.0, 0.5, 0.5].repeat(2);
        let mut mixture = next(&parameters, 3, 9, &[2, 7]);
        let mut probabilities = Vec::new();
        mixture.probabilities(&mut probabilities);
        let n = 100_000;
        let mut counts = [0usize; 9];
        for i in 0..n {
            counts[usize::from(mixture.draw((f64::from(i) + 0.5) / f64::from(n)))] += 1;
        }
        for (count, probability) in counts.iter().zip(probabilities) {
            assert!((*count as f64 / f64::from(n) - f64::from(probability)).abs() < 1e-4);
        }
        assert_eq!(mixture.draw(1.0 - f64::EPSILON), 8);
    }

    #[test]
    fn channels_are_linked_by_weights_and_by_means() {
        // Two components, far apart in red and in green: red tells which.
        let mut parameters = vec![0.0f32; 20];
        parameters[2..4].copy_from_slice(&[-0.8, 0.8]);
        parameters[8..10].copy_from_slice(&[0.8, -0.8]);
        for channel in 0..3 {
            parameters[4 + 6 * channel..6 + 6 * channel].fill(-4.0);
        }
        let likely = |parameters: &[f32], earlier: &[u8]| usize::from(next(parameters, 3, 256, earlier).draw(0.5));
        assert!(likely(&parameters, &[25]) > 200);
        assert!(likely(&parameters, &[230]) < 55);
        // The mean of green moves with red by the coefficient that stands with red.
        parameters[8..10].fill(0.0);
        parameters[6..8].fill(9.0);
        assert!(likely(&parameters, &[25]).abs_diff(25) < 8);
        // That of blue by those that stand with green and with blue.
        parameters[18..20].fill(-9.0);
        assert!(likely(&parameters, &[25, 25]).abs_diff(230) < 8);
    }

    #[test]
    fn what_was_asked_before_changes_nothing() {
        let first = [0.3, -0.2, 0.1, 0.9, -0.4, 0.4, -2.0, -1.0, 0.5, 0.5].repeat(2);
        let second: Vec<f32> = first.iter().map(|value| value * 0.5).collect();
        let mut mixture = LogisticMixture::default();
        for (parameters, earlier) in [
            (&first, &[][..]),
            (&first, &[3]),
            (&first, &[3, 5]),
            (&second, &[3, 5]),
            (&second, &[4, 5]),
            (&second, &[4]),
            (&second, &[4]),
            (&first, &[]),
        ] {
            mixture.become_next(parameters, 3, 9, earlier);
            let fresh = next(parameters, 3, 9, earlier);
            for level in 0..9 {
                let (own, expected) = (mixture.log_probability(level), fresh.log_probability(level));
                assert_eq!(own.to_bits(), expected.to_bits(), "{earlier:?}");
            }
        }
    }

    #[test]
    fn the_tails_stay_finite() {
        let mixture = next(&[0.0, -1.0, -7.0], 1, 256, &[]);
        let far = mixture.log_probability(255);
        assert!(far.is_finite() && far < -2000.0, "{far}");
        let broad = next(&[0.0, -1.0, 3.0e38], 1, 256, &[]);
        assert!((broad.log_probability(255).exp() - 0.5).abs() < 1e-9);
        assert!(broad.log_probability(128).is_finite());
        assert!(describe(&[0.0, 1.0, 2.0]));
        assert!(!describe(&[0.0, f32::NAN, 2.0]));
    }
}

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

mod component;

use self::component::Component;
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

#[cfg(test)]
mod tests;

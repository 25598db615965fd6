//! Images as decoders give them that predict a mixture of logistics at every pixel.
//!
//! The mixture links the channels of a pixel, so that each is read given those before it.

use crate::domain::{image::ImageShape, logistic_mixture::LogisticMixture, random::Random, sampling};

/// The parameters of every pixel, [features, H, W].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mixtures {
    shape: ImageShape,
    parameters: Vec<f32>,
}

impl Mixtures {
    pub(super) fn new(shape: ImageShape, parameters: Vec<f32>) -> Self {
        Self { shape, parameters }
    }

    pub(super) fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// log p of every dimension given the code and the channels of its pixel before it, in nats.
    pub(super) fn log_probabilities(&self, levels: &[u8]) -> Vec<f64> {
        let (pixels, channels) = (self.shape.pixels(), self.shape.channels());
        let (mut mixture, mut own) = (LogisticMixture::default(), Vec::new());
        let (mut pixel, mut logs) = (vec![0; channels], vec![0.0; channels]);
        let mut map = vec![0.0; levels.len()];
        for place in 0..pixels {
            self.take(place, &mut own);
            for (channel, level) in pixel.iter_mut().enumerate() {
                *level = levels[channel * pixels + place];
            }
            mixture.log_probabilities_of_pixel(&own, self.shape.levels(), &pixel, &mut logs);
            for (channel, &log) in logs.iter().enumerate() {
                map[channel * pixels + place] = log;
            }
        }
        map
    }

    /// The mean of every dimension, in units of level / (levels − 1); of a later channel given the nearest levels to
    /// the means before it.
    pub(super) fn mean(&self) -> Vec<f32> {
        let most = (self.shape.levels() - 1) as f64;
        let mut map = vec![0.0; self.shape.dimensions()];
        self.each(|index, probabilities| {
            let total: f64 = probabilities.iter().map(|&p| f64::from(p)).sum();
            let levels = probabilities.iter().enumerate();
            let mean = levels.map(|(level, &p)| level as f64 * f64::from(p)).sum::<f64>() / total;
            map[index] = (mean / most) as f32;
            mean.round() as u8
        });
        map
    }

    /// A draw: dimension i uses number i.
    pub(super) fn draw(&self, temperature: f64, random: &Random) -> Vec<u8> {
        let (mut levels, mut weights) = (vec![0; self.shape.dimensions()], Vec::new());
        self.each(|index, probabilities| {
            let logs = probabilities.iter().map(|&p| libm::logf(p));
            let level = sampling::categorical(logs, temperature, random.uniform(index as u32), &mut weights);
            levels[index] = level;
            level
        });
        levels
    }

    /// Gives `see` the probabilities of the levels of every dimension, channel after channel of each pixel; what it
    /// answers is the level that later channels see.
    fn each(&self, mut see: impl FnMut(usize, &[f32]) -> u8) {
        let (pixels, channels) = (self.shape.pixels(), self.shape.channels());
        let (mut mixture, mut own, mut probabilities) = (LogisticMixture::default(), Vec::new(), Vec::new());
        for place in 0..pixels {
            self.take(place, &mut own);
            let mut earlier = Vec::with_capacity(channels);
            for channel in 0..channels {
                mixture.become_next(&own, channels, self.shape.levels(), &earlier);
                mixture.probabilities(&mut probabilities);
                earlier.push(see(channel * pixels + place, &probabilities));
            }
        }
    }

    /// The parameters of a pixel.
    fn take(&self, place: usize, own: &mut Vec<f32>) {
        own.clear();
        own.extend(self.parameters.iter().skip(place).step_by(self.shape.pixels()));
    }
}

//! What a network gives for a batch: logits of every dimension, or parameters of every pixel.

use super::{
    Given, Head,
    prediction::{Prediction, Scratch},
};
use crate::{
    domain::{image::ImageShape, logistic_mixture::LogisticMixture, surprise::Surprise},
    graph::wavefront::Predictions,
    runtime::Output,
};

/// What a network gives for a batch.
#[derive(Debug)]
pub struct Logits {
    pub(super) shape: ImageShape,
    pub(super) head: Head,
    pub(super) predictions: Predictions,
    pub(super) rows: usize,
    /// [rows, outcomes, (C,) H, W], or [rows, parameters, H, W].
    pub(super) output: Output,
}

/// Levels of a pixel, of which there are at most four.
type Pixel = [u8; 4];

impl Logits {
    /// What the network gives for one dimension (storage index) of one image: its logits, or the parameters of its
    /// pixel.
    pub fn at(&self, row: usize, index: usize) -> impl ExactSizeIterator<Item = f32> + '_ {
        let values = self.row(row);
        let (plane, index) = match self.predictions {
            Predictions::OfChannels(_) => (self.shape.dimensions(), index),
            Predictions::OfPixels(_) => (self.shape.pixels(), index % self.shape.pixels()),
        };
        let count = values.len() / plane;
        (0..count).map(move |number| values[number * plane + index])
    }

    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Dimensions, one after the other in their order, whose predictions come from the same numbers.
    pub(in crate::families::autoregressive) fn predicted_together(&self) -> usize {
        match self.predictions {
            Predictions::OfChannels(_) => 1,
            Predictions::OfPixels(_) => self.shape.channels(),
        }
    }

    /// All of one image: number by number, each in (channel,) row, column order.
    pub fn row(&self, row: usize) -> &[f32] {
        self.output.row(row, self.rows)
    }

    /// Gives `see` the prediction of one dimension of an image with these levels.
    pub fn predict<T>(&self, row: usize, index: usize, levels: &[u8], see: impl FnOnce(Prediction<'_>) -> T) -> T {
        let values: Vec<f32> = self.at(row, index).collect();
        let (pixel, channel) = pixel_at(self.shape, index, levels);
        see(Prediction {
            head: self.head,
            shape: self.shape,
            values: &values,
            earlier: &pixel[..channel],
        })
    }

    /// log p of every dimension of the images that they belong to.
    pub(super) fn log_probabilities(&self, images: &[Given<'_>]) -> Vec<Vec<f32>> {
        let images = images.iter().enumerate();
        match self.head {
            Head::Categorical | Head::Bernoulli => {
                let mut scratch = Scratch::default();
                let mut log_probability = |row, levels, (index, &level): (usize, &u8)| {
                    self.predict(row, index, levels, |prediction| {
                        prediction.log_probability(level, &mut scratch) as f32
                    })
                };
                let maps = images.map(|(row, given)| {
                    let levels = given.levels.iter().enumerate();
                    levels.map(|at| log_probability(row, given.levels, at)).collect()
                });
                maps.collect()
            }
            Head::LogisticMixture => images.map(|(row, given)| self.of_pixels(row, given.levels)).collect(),
        }
    }

    /// log p of every dimension, the channels of a pixel in one go.
    fn of_pixels(&self, row: usize, levels: &[u8]) -> Vec<f32> {
        let (pixels, channels) = (self.shape.pixels(), self.shape.channels());
        let mut map = vec![0.0; levels.len()];
        let (mut mixture, mut values) = (LogisticMixture::default(), Vec::new());
        let mut logs = [0.0; 4];
        for place in 0..pixels {
            values.clear();
            values.extend(self.at(row, place));
            let last = (channels - 1) * pixels + place;
            let (mut pixel, before) = pixel_at(self.shape, last, levels);
            pixel[before] = levels[last];
            let (pixel, logs) = (&pixel[..channels], &mut logs[..channels]);
            mixture.log_probabilities_of_pixel(&values, self.shape.levels(), pixel, logs);
            for (channel, log) in logs.iter().enumerate() {
                map[channel * pixels + place] = *log as f32;
            }
        }
        map
    }

    /// What the predictions say of the image that they belong to.
    pub(in crate::families::autoregressive) fn surprise(&self, row: usize, levels: &[u8]) -> Surprise {
        match self.head {
            Head::Categorical => Surprise::of_categorical(self.row(row), levels),
            Head::Bernoulli => Surprise::of_bernoulli(self.row(row), levels),
            Head::LogisticMixture => {
                let mut scratch = Scratch::default();
                let mut surprise = Surprise::with_log_probabilities(self.of_pixels(row, levels));
                for index in 0..levels.len() {
                    self.predict(row, index, levels, |prediction| {
                        surprise.expect(prediction.probabilities(&mut scratch));
                    });
                }
                surprise
            }
        }
    }
}

/// Levels of the channels before a dimension, and how many there are.
fn pixel_at(shape: ImageShape, index: usize, levels: &[u8]) -> (Pixel, usize) {
    let (channel, place) = (index / shape.pixels(), index % shape.pixels());
    let mut pixel = Pixel::default();
    for (before, level) in pixel[..channel].iter_mut().enumerate() {
        *level = levels[before * shape.pixels() + place];
    }
    (pixel, channel)
}

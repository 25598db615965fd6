//! What was found of a set of images, image by image, as figures need it.

use std::sync::Arc;

use super::Seen;
use crate::{
    domain::{image::Image, likelihood::bits_per_dim},
    model::{
        Model,
        classify::{Classification, Doubts},
        score::Qualifiers,
    },
};

/// Images kept at either end of the likelihoods.
const ENDS: usize = 16;

/// What was found, image by image.
#[derive(Debug, Default)]
pub struct Measured {
    /// Where each image came from.
    pub inputs: Vec<String>,
    /// The names of labels, in the order of their numbers.
    pub label_names: Vec<String>,
    /// The number of each image's label, where labels were given.
    pub labels: Option<Vec<usize>>,
    /// What likelihoods are worth, if the model was scored.
    pub qualifiers: Option<Arc<Qualifiers>>,
    /// log p(x) in nats, if the model has a density.
    pub log_likelihoods: Vec<f64>,
    /// log p(x|y) in nats of the label that each image has, if the model has it.
    pub log_likelihoods_given_label: Vec<f64>,
    /// Of importance weights, where there are any.
    pub effective_sample_sizes: Vec<f64>,
    /// log p(y|x) of every label, if the model classifies.
    pub log_posteriors: Vec<Vec<f64>>,
    /// Reasons to give no label, if the model has any.
    pub doubts: Vec<Doubts>,
    /// Squared errors of reconstructions.
    pub squared_errors: Vec<f64>,
    /// The least likely images.
    pub least_likely: Ends,
    /// The most likely images.
    pub most_likely: Ends,
    /// Images that the model knew before.
    pub seen: Seen,
}

/// The images at one end, the outermost first.
#[derive(Debug, Default)]
pub struct Ends(Vec<(f64, Image)>);

/// What was found of one image.
#[derive(Debug)]
pub struct Found {
    /// The image.
    pub image: Image,
    /// Its likelihood.
    pub score: Option<Score>,
    /// Its label.
    pub classification: Option<Classification>,
    /// Mean over dimensions, of its reconstruction.
    pub squared_error: Option<f64>,
}

/// The likelihood of one image.
#[derive(Debug)]
pub struct Score {
    /// What it is worth.
    pub qualifiers: Arc<Qualifiers>,
    /// In nats.
    pub log_likelihood_nats: f64,
    /// Of importance weights, where there are any.
    pub effective_sample_size: Option<f64>,
}

impl Measured {
    /// Nothing yet. `label_names` are in the order of their numbers; `labelled` tells whether images have labels.
    pub fn new(label_names: Vec<String>, labelled: bool) -> Self {
        Self {
            label_names,
            labels: labelled.then(Vec::new),
            ..Self::default()
        }
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Adds what `model` said of an image, which came from `input` and has this label.
    pub fn add(&mut self, model: &Model, input: &str, label: Option<usize>, found: &Found) {
        self.inputs.push(input.to_owned());
        self.seen.count(model, &found.image);
        if let (Some(labels), Some(label)) = (&mut self.labels, label) {
            labels.push(label);
        }
        if let Some(score) = &found.score {
            self.qualifiers = Some(Arc::clone(&score.qualifiers));
            self.add_likelihood(score.log_likelihood_nats, &found.image);
            self.effective_sample_sizes.extend(score.effective_sample_size);
        }
        if let Some(classification) = &found.classification {
            self.log_posteriors.push(classification.log_posterior.clone());
            self.doubts.extend(classification.doubts.clone());
            if let Some(log_evidence) = classification.log_evidence {
                self.add_likelihood(log_evidence, &found.image);
            }
            let given = classification.log_likelihoods.as_ref().zip(label);
            self.log_likelihoods_given_label
                .extend(given.and_then(|(of_labels, label)| of_labels.get(label)));
        }
        self.squared_errors.extend(found.squared_error);
    }

    fn add_likelihood(&mut self, log_likelihood_nats: f64, image: &Image) {
        self.log_likelihoods.push(log_likelihood_nats);
        self.least_likely.add(log_likelihood_nats, image);
        self.most_likely.add(-log_likelihood_nats, image);
    }

    /// Bits/dim of the images of positive probability.
    pub fn bits_per_dim(&self, dimensions: usize) -> Vec<f64> {
        let finite = self.log_likelihoods.iter().filter(|nats| nats.is_finite());
        finite.map(|&nats| bits_per_dim(nats, dimensions)).collect()
    }
}

impl Ends {
    fn add(&mut self, value: f64, image: &Image) {
        let place = self.0.partition_point(|(other, _)| *other <= value);
        if place < ENDS {
            self.0.insert(place, (value, image.clone()));
            self.0.truncate(ENDS);
        }
    }

    /// The images.
    pub fn images(&self) -> Vec<Image> {
        self.0.iter().map(|(_, image)| image.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    #[test]
    fn the_ends_are_the_smallest_in_order() {
        let shape = ImageShape::new(1, 1, 1, 256).unwrap();
        let mut ends = Ends::default();
        for value in (0..40_u32).map(|i| (7 * i % 40) as u8) {
            let image = Image::new(shape, vec![value]).unwrap();
            ends.add(f64::from(value), &image);
        }
        let levels: Vec<u8> = ends.images().iter().map(|image| image.levels()[0]).collect();
        assert_eq!(levels, (0..16).collect::<Vec<u8>>());
    }
}

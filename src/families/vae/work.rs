//! The kinds of work that models give to the workers, and what one turn of each does.

use std::{ops::Range, sync::Arc};

use crate::{
    domain::{image::Image, random::Random},
    network::{
        autoencoder::{Autoencoder, Picture},
        autoregressive::{Autoregressive, Given},
        classifier::{Classifier, Prediction},
        generator::{Generator, Seed},
        vae::{Observation, Posterior, Vae},
    },
    runtime::Threads,
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Log-probabilities of images.
#[derive(Debug)]
pub(super) struct Scoring(pub(super) Arc<Autoregressive>);

/// An image and the label that its distribution is conditioned on.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) image: Image,
    /// Ignored by models without labels.
    pub(super) label: u32,
}

impl Work for Scoring {
    type Item = Labelled;
    /// log p of every dimension.
    type Output = Vec<f32>;

    fn rows(&self, _: &Labelled) -> usize {
        1
    }

    fn run(&self, items: Vec<Labelled>, parallelism: Parallelism) -> Turn<Labelled, Vec<f32>> {
        let given: Vec<Given<'_>> = items
            .iter()
            .map(|item| Given {
                levels: item.image.levels(),
                label: item.label,
            })
            .collect();
        let maps = self.0.log_probabilities(&given, threads(parallelism));
        done(maps.map_err(|error| error.to_string())?)
    }
}

/// Posteriors of images.
#[derive(Debug)]
pub(super) struct Encoder(pub(super) Arc<Vae>);

impl Work for Encoder {
    type Item = Image;
    type Output = Posterior;

    fn rows(&self, _: &Image) -> usize {
        1
    }

    fn run(&self, items: Vec<Image>, parallelism: Parallelism) -> Turn<Image, Posterior> {
        let levels: Vec<&[u8]> = items.iter().map(Image::levels).collect();
        let posteriors = self.0.encode(&levels, threads(parallelism));
        done(posteriors.map_err(|error| error.to_string())?)
    }
}

/// Images of codes, and how likely they make a given image.
#[derive(Debug)]
pub(super) struct Decoder(pub(super) Arc<Vae>);

/// What a decoder is given as one item.
#[derive(Debug)]
pub(super) enum Codes {
    /// A code whose distribution over images is wanted.
    Given(Vec<f32>),
    /// Posterior samples of an image, whose likelihoods are wanted. They are drawn by the worker: there can be thousands.
    Drawn(PosteriorSamples),
}

/// Some of the posterior samples of an image.
#[derive(Debug)]
pub(super) struct PosteriorSamples {
    /// The image.
    pub(super) image: Image,
    /// Its posterior.
    pub(super) posterior: Arc<Posterior>,
    /// Which samples.
    pub(super) samples: Range<usize>,
    /// The numbers that decide.
    pub(super) random: Random,
    /// Whether the likelihood of each dimension is wanted too.
    pub(super) map: bool,
}

/// What became of codes.
#[derive(Debug)]
pub(super) enum Decoded {
    /// A distribution over images.
    Observation(Observation),
    /// Likelihoods of an image under codes.
    Likelihoods(Likelihoods),
}

/// The terms of a bound, one for each posterior sample, in nats.
#[derive(Debug)]
pub(super) struct Likelihoods {
    /// log p(x | z).
    pub(super) likelihoods: Vec<f64>,
    /// log p(z) − log q(z | x).
    pub(super) log_ratios: Vec<f64>,
    /// The sum over samples of log p(xᵢ | z), by dimension; empty if it was not wanted.
    pub(super) map: Vec<f64>,
}

impl Work for Decoder {
    type Item = Codes;
    type Output = Decoded;

    fn rows(&self, codes: &Codes) -> usize {
        match codes {
            Codes::Given(_) => 1,
            Codes::Drawn(drawn) => drawn.samples.len().max(1),
        }
    }

    fn run(&self, items: Vec<Codes>, parallelism: Parallelism) -> Turn<Codes, Decoded> {
        let mut values = Vec::new();
        let mut log_ratios = Vec::new();
        for codes in &items {
            match codes {
                Codes::Given(code) => values.extend_from_slice(code),
                Codes::Drawn(drawn) => {
                    for sample in drawn.samples.clone() {
                        let (code, log_ratio) = drawn.posterior.draw(sample, &drawn.random);
                        values.extend(code);
                        log_ratios.push(log_ratio);
                    }
                }
            }
        }
        let mut observations = self
            .0
            .decode(&values, threads(parallelism))
            .map_err(|error| error.to_string())?
            .into_iter();
        let mut log_ratios = log_ratios.into_iter();
        items
            .into_iter()
            .map(|codes| match codes {
                Codes::Given(_) => {
                    let own = observations.next().ok_or("a code came back undecoded")?;
                    Ok(Step::Done(Decoded::Observation(own)))
                }
                Codes::Drawn(drawn) => {
                    let count = drawn.samples.len();
                    let own = observations.by_ref().take(count);
                    let (likelihoods, map) = likelihoods(own, &drawn.image, drawn.map);
                    Ok(Step::Done(Decoded::Likelihoods(Likelihoods {
                        likelihoods,
                        log_ratios: log_ratios.by_ref().take(count).collect(),
                        map,
                    })))
                }
            })
            .collect()
    }
}

/// log p(x | z) of each distribution, and if wanted the sum over them by dimension.
fn likelihoods(
    observations: impl Iterator<Item = Observation>,
    image: &Image,
    map: bool,
) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; if map { image.levels().len() } else { 0 }];
    let totals = observations
        .map(|observation| {
            let mut total = 0.0;
            for (index, value) in observation.log_probabilities(image.levels()).enumerate() {
                total += value;
                if map {
                    sums[index] += value;
                }
            }
            total
        })
        .collect();
    (totals, sums)
}

/// Codes of images, without a distribution over them.
#[derive(Debug)]
pub(super) struct Coding(pub(super) Arc<Autoencoder>);

impl Work for Coding {
    type Item = Image;
    type Output = Vec<f32>;

    fn rows(&self, _: &Image) -> usize {
        1
    }

    fn run(&self, items: Vec<Image>, parallelism: Parallelism) -> Turn<Image, Vec<f32>> {
        let levels: Vec<&[u8]> = items.iter().map(Image::levels).collect();
        let codes = self.0.encode(&levels, threads(parallelism));
        done(codes.map_err(|error| error.to_string())?)
    }
}

/// Images of codes, without a distribution over them.
#[derive(Debug)]
pub(super) struct Depicting(pub(super) Arc<Autoencoder>);

impl Work for Depicting {
    type Item = Vec<f32>;
    type Output = Picture;

    fn rows(&self, _: &Vec<f32>) -> usize {
        1
    }

    fn run(&self, items: Vec<Vec<f32>>, parallelism: Parallelism) -> Turn<Vec<f32>, Picture> {
        let pictures = self.0.decode(&items.concat(), threads(parallelism));
        done(pictures.map_err(|error| error.to_string())?)
    }
}

/// Images drawn by a generator.
#[derive(Debug)]
pub(super) struct Generating(pub(super) Arc<Generator>);

impl Work for Generating {
    type Item = Seed;
    type Output = Picture;

    fn rows(&self, _: &Seed) -> usize {
        1
    }

    fn run(&self, items: Vec<Seed>, parallelism: Parallelism) -> Turn<Seed, Picture> {
        let pictures = self.0.generate(&items, threads(parallelism));
        done(pictures.map_err(|error| error.to_string())?)
    }
}

/// Labels and features of images.
#[derive(Debug)]
pub(super) struct Classifying(pub(super) Arc<Classifier>);

impl Work for Classifying {
    type Item = Image;
    type Output = Prediction;

    fn rows(&self, _: &Image) -> usize {
        1
    }

    fn run(&self, items: Vec<Image>, parallelism: Parallelism) -> Turn<Image, Prediction> {
        let levels: Vec<&[u8]> = items.iter().map(Image::levels).collect();
        let predictions = self.0.classify(&levels, threads(parallelism));
        done(predictions.map_err(|error| error.to_string())?)
    }
}

fn done<I, O>(outputs: Vec<O>) -> Turn<I, O> {
    Ok(outputs.into_iter().map(Step::Done).collect())
}

pub(super) fn threads(parallelism: Parallelism) -> Threads {
    match parallelism {
        Parallelism::Shared => Threads::One,
        Parallelism::Alone => Threads::All,
    }
}

//! The work of a decoder: a code is an item of one row, some of the posterior samples of an image are an item of many.

use std::{ops::Range, sync::Arc};

use super::network::Posterior;
use crate::{
    domain::{image::Image, random::Random},
    families::decoder::{Decoder, Observation, Seed},
    model::work::threads,
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Images of codes, and how likely they make a given image.
#[derive(Debug)]
pub(super) struct Decode(pub(super) Arc<Decoder>);

/// What a decoder is given as one item.
#[derive(Debug)]
pub(super) enum Codes {
    /// A code whose image is wanted.
    Given(Seed),
    /// Posterior samples of an image, whose likelihoods are wanted. They are drawn by the worker: there can be
    /// thousands.
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
    /// What a decoder gives of an image.
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

impl Work for Decode {
    type Item = Codes;
    type Output = Decoded;

    fn rows(&self, codes: &Codes) -> usize {
        match codes {
            Codes::Given(_) => 1,
            Codes::Drawn(drawn) => drawn.samples.len().max(1),
        }
    }

    fn run(&self, items: Vec<Codes>, parallelism: Parallelism) -> Turn<Codes, Decoded> {
        let mut seeds = Vec::new();
        let mut log_ratios = Vec::new();
        for codes in &items {
            match codes {
                Codes::Given(seed) => seeds.push(seed.clone()),
                Codes::Drawn(drawn) => {
                    for sample in drawn.samples.clone() {
                        let (code, log_ratio) = drawn.posterior.draw(sample, &drawn.random);
                        seeds.push(Seed { code, label: 0 });
                        log_ratios.push(log_ratio);
                    }
                }
            }
        }
        let mut observations = self
            .0
            .decode(&seeds, threads(parallelism))
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
                    let (likelihoods, map) = likelihoods(own, &drawn.image, drawn.map)?;
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
) -> Result<(Vec<f64>, Vec<f64>), String> {
    let mut sums = vec![0.0; if map { image.levels().len() } else { 0 }];
    let mut totals = Vec::new();
    for observation in observations {
        let values = observation
            .log_probabilities(image.levels())
            .ok_or("its decoder gives no likelihood")?;
        totals.push(values.iter().sum());
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    Ok((totals, sums))
}

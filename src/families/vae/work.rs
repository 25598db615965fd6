//! The work of a decoder: a code is an item of one row, some of the posterior samples of an image are an item of many.

use std::{ops::Range, sync::Arc};

use super::network::{Network, Observation, Posterior};
use crate::{
    domain::{image::Image, random::Random},
    model::work::threads,
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Images of codes, and how likely they make a given image.
#[derive(Debug)]
pub(super) struct Decoder(pub(super) Arc<Network>);

/// What a decoder is given as one item.
#[derive(Debug)]
pub(super) enum Codes {
    /// A code whose distribution over images is wanted.
    Given(Vec<f32>),
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
fn likelihoods(observations: impl Iterator<Item = Observation>, image: &Image, map: bool) -> (Vec<f64>, Vec<f64>) {
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

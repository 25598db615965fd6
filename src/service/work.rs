//! The kinds of work that models give to the workers, and what one turn of each does.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    domain::{image::Image, random::Random},
    network::{
        autoregressive::{Autoregressive, Logits},
        vae::{Observation, Posterior, Vae},
    },
    runtime::Threads,
    scheduling::{Parallelism, Step, Turn, Work},
};

/// Log-probabilities of images.
#[derive(Debug)]
pub(super) struct Scoring(pub(super) Arc<Autoregressive>);

impl Work for Scoring {
    type Item = Image;
    /// log p of every dimension.
    type Output = Vec<f32>;

    fn rows(&self, _: &Image) -> usize {
        1
    }

    fn run(&self, items: Vec<Image>, parallelism: Parallelism) -> Turn<Image, Vec<f32>> {
        let levels: Vec<&[u8]> = items.iter().map(Image::levels).collect();
        let maps = self.0.log_probabilities(&levels, threads(parallelism));
        done(maps.map_err(|error| error.to_string())?)
    }
}

/// Images being drawn, by fixed-point iteration over full passes.
///
/// Every dimension has its own random number, so a draw is a deterministic function of the dimensions before it, and the image
/// is the fixed point of "draw every dimension given the image". Each turn makes one pass and draws again; as far as the new
/// image agrees with the one that went in, it is final, and so is the first dimension that differs. The result is that of
/// drawing one dimension a pass, in fewer passes (Song et al. 2021; Wiggers and Hoogeboom 2020).
#[derive(Debug)]
pub(super) struct Drawing {
    network: Arc<Autoregressive>,
    /// Smoothed passes that an image took.
    passes: AtomicU64,
}

/// An image that is being drawn.
#[derive(Debug)]
pub(super) struct Canvas {
    /// Levels so far in channel, row, column order: final before `frontier`, guesses after it.
    pub(super) levels: Vec<u8>,
    /// Dimensions that are given, by storage index; none if empty.
    pub(super) known: Arc<[bool]>,
    /// The numbers that decide.
    pub(super) random: Random,
    /// Temperature.
    pub(super) temperature: f64,
    /// Places in the order of dimensions that are final.
    pub(super) frontier: usize,
    /// Passes so far.
    pub(super) passes: u64,
}

/// Rows of the image beyond the frontier that are guessed anew in a turn. A guess farther out would rest on guesses that are
/// still changing.
const GUESSED_ROWS: usize = 4;

impl Drawing {
    pub(super) fn new(network: Arc<Autoregressive>) -> Self {
        let dimensions = network.shape().dimensions() as u64;
        Self {
            network,
            passes: AtomicU64::new(dimensions),
        }
    }

    /// Passes that an image is expected to take.
    pub(super) fn expected_passes(&self) -> u64 {
        self.passes.load(Ordering::Relaxed)
    }

    fn observe(&self, passes: u64) {
        let previous = self.passes.load(Ordering::Relaxed);
        self.passes
            .store((previous * 7 + passes).div_ceil(8), Ordering::Relaxed);
    }
}

impl Work for Drawing {
    type Item = Canvas;
    type Output = Canvas;

    fn rows(&self, _: &Canvas) -> usize {
        1
    }

    fn run(&self, mut items: Vec<Canvas>, parallelism: Parallelism) -> Turn<Canvas, Canvas> {
        let levels: Vec<&[u8]> = items.iter().map(|canvas| &*canvas.levels).collect();
        let logits = self
            .network
            .logits(&levels, threads(parallelism))
            .map_err(|error| error.to_string())?;
        let mut scratch = Vec::new();
        for (row, canvas) in items.iter_mut().enumerate() {
            canvas.advance(&logits, row, self.network.shape(), &mut scratch);
        }
        let dimensions = self.network.shape().dimensions();
        Ok(items
            .into_iter()
            .map(|canvas| {
                if canvas.frontier < dimensions {
                    return Step::Again(canvas);
                }
                self.observe(canvas.passes);
                Step::Done(canvas)
            })
            .collect())
    }
}

impl Canvas {
    fn advance(
        &mut self,
        logits: &Logits,
        row: usize,
        shape: crate::domain::image::ImageShape,
        scratch: &mut Vec<f64>,
    ) {
        self.passes += 1;
        let horizon = self.frontier + GUESSED_ROWS * shape.width() * shape.channels();
        let mut settled = true;
        for place in self.frontier..horizon.min(shape.dimensions()) {
            let index = shape.index_of(place);
            if !self.known.get(index).copied().unwrap_or(false) {
                let level = logits.draw(row, index, self.temperature, &self.random, scratch);
                let guess = std::mem::replace(&mut self.levels[index], level);
                if settled {
                    self.frontier = place + 1;
                }
                settled &= guess == level;
            } else if settled {
                self.frontier = place + 1;
            }
        }
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

fn done<I, O>(outputs: Vec<O>) -> Turn<I, O> {
    Ok(outputs.into_iter().map(Step::Done).collect())
}

fn threads(parallelism: Parallelism) -> Threads {
    match parallelism {
        Parallelism::Shared => Threads::One,
        Parallelism::Alone => Threads::All,
    }
}

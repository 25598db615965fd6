//! The kinds of work that models give to the workers, and what one turn of each does.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
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

/// Codes to decode together.
#[derive(Debug)]
pub(super) struct Codes {
    /// One code after the other.
    pub(super) values: Vec<f32>,
    /// The image whose likelihood is wanted instead of the distributions, and whether that of each dimension is.
    pub(super) against: Option<(Image, bool)>,
}

/// What became of codes.
#[derive(Debug)]
pub(super) enum Decoded {
    /// Distributions over images.
    Observations(Vec<Observation>),
    /// log p(x | z) of each code in nats, and if wanted the sum over codes of log p(xᵢ | z) by dimension.
    Likelihoods {
        totals: Vec<f64>,
        map: Option<Vec<f64>>,
    },
}

impl Work for Decoder {
    type Item = Codes;
    type Output = Decoded;

    fn rows(&self, codes: &Codes) -> usize {
        (codes.values.len() / self.0.latent_size()).max(1)
    }

    fn run(&self, items: Vec<Codes>, parallelism: Parallelism) -> Turn<Codes, Decoded> {
        let values: Vec<f32> = items
            .iter()
            .flat_map(|codes| &codes.values)
            .copied()
            .collect();
        let mut observations = self
            .0
            .decode(&values, threads(parallelism))
            .map_err(|error| error.to_string())?
            .into_iter();
        done(
            items
                .into_iter()
                .map(|codes| {
                    let own: Vec<Observation> =
                        observations.by_ref().take(self.rows(&codes)).collect();
                    match codes.against {
                        None => Decoded::Observations(own),
                        Some((image, map)) => likelihoods(&own, &image, map),
                    }
                })
                .collect(),
        )
    }
}

fn likelihoods(observations: &[Observation], image: &Image, map: bool) -> Decoded {
    let mut sums = vec![0.0; if map { image.levels().len() } else { 0 }];
    let totals = observations
        .iter()
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
    Decoded::Likelihoods {
        totals,
        map: map.then_some(sums),
    }
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

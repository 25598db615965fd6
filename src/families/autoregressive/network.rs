//! Autoregressive networks: the distribution of every dimension given the dimensions before it.
//!
//! A convolutional network gives all of them in one pass over the image, and is drawn from along wavefronts where its
//! graph can be compiled. Of a recurrent one there is only the step that computes a pixel, so scores, too, are computed
//! along wavefronts.

mod agreement;
mod cropping;
mod logits;
mod passes;
mod prediction;
mod walks;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use self::{agreement::Agreement, passes::Passes};
pub use self::{
    cropping::Cropping,
    logits::Logits,
    prediction::{Prediction, Scratch},
};
use super::wavefront::{Known, Wavefront};
use crate::{
    domain::{assurance::Assurance, image::ImageShape},
    families::{NetworkError, manifest::LabelInput},
    graph::{
        protobuf::Model,
        recurrence::{self, Names, Recurrence},
        rewrite::InputMap,
        signature,
        wavefront::Predictions,
    },
    runtime::{Engine, Threads},
};

/// How what a network gives becomes a distribution over levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Softmax over the levels.
    Categorical,
    /// Sigmoid: two levels only.
    Bernoulli,
    /// A discretised mixture of logistics over the channels of a pixel, see [`crate::domain::logistic_mixture`].
    LogisticMixture,
}

/// What a manifest says about a graph of whole images.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Likelihood head.
    pub head: Head,
    /// From level to graph value.
    pub map: InputMap,
    /// Name of the image input.
    pub input: String,
    /// Name of the output of logits or parameters.
    pub output: String,
    /// The label that the distribution is conditioned on, if any.
    pub label: Option<LabelInput>,
}

/// What a manifest says about a step graph.
#[derive(Debug, Clone)]
pub struct StepContract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Likelihood head.
    pub head: Head,
    /// From level to graph value.
    pub map: InputMap,
    /// Names of the graph's inputs and outputs.
    pub names: Names,
    /// What a step reads.
    pub recurrence: Recurrence,
}

/// One image for a network.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Levels in channel, row, column order.
    pub levels: &'a [u8],
    /// The label; ignored by models without one.
    pub label: u32,
}

impl<'a> From<&'a [u8]> for Given<'a> {
    fn from(levels: &'a [u8]) -> Self {
        Self { levels, label: 0 }
    }
}

/// An autoregressive network.
#[derive(Debug)]
pub struct Network {
    shape: ImageShape,
    head: Head,
    predictions: Predictions,
    label: Option<LabelInput>,
    evaluation: Evaluation,
    compilation: Compilation,
    /// Dimensions at which causality was tried, where it is not proven.
    tried: usize,
    numerics: u64,
}

/// How given images are evaluated.
#[derive(Debug)]
enum Evaluation {
    /// In one pass over whole images.
    Passes(Box<Passes>),
    /// Along wavefronts.
    Walks(Arc<Wavefront>),
}

/// What the analysis of the graph came to.
#[derive(Debug)]
pub enum Compilation {
    /// It is causal, and images are drawn along wavefronts.
    Wavefront(Arc<Wavefront>),
    /// It is causal, but has no program, for this reason; images are drawn by fixed-point iteration.
    Causal(String),
    /// It could not be analysed, for this reason; images are drawn by fixed-point iteration.
    Unknown(String),
}

/// What following an image through the compiled program showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// See [`Network::numerics`].
    numerics: u64,
    /// Why the program is not used.
    given_up: Option<String>,
}

/// Steps of a wavefront after which other work gets its turn.
pub const STEPS_IN_A_TURN: u64 = 4;

/// Of the hash FNV-1a, here over words of 32 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// Likewise.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Logits in one run of a proof, 2 MiB of them: a graph's working memory, which is some ten times as large, stays
/// taken.
const MOST_LOGITS: usize = 1 << 19;
/// Dimensions of images whose logits are had at once: a network keeps hundreds of numbers for each while it runs.
const MOST_DIMENSIONS: usize = 1 << 15;

/// Golden images in whose company the first one is verified, at most.
const VERIFIED_COMPANY: usize = 8;

impl Compilation {
    /// That of a network without a program, for this reason.
    fn without_program(is_proven: bool, reason: String) -> Self {
        if is_proven {
            Self::Causal(reason)
        } else {
            Self::Unknown(reason)
        }
    }

    /// Whether the analysis proved that the network is causal.
    pub fn is_proven(&self) -> bool {
        match self {
            Self::Wavefront(wavefront) => wavefront.assumptions().is_empty(),
            Self::Causal(_) => true,
            Self::Unknown(_) => false,
        }
    }
}

impl fmt::Display for Compilation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wavefront(wavefront) => {
                let cost = wavefront.cost();
                write!(
                    f,
                    "along wavefronts: lag {}, {} steps, {:.3e} multiply-adds and {} kB of memory an image",
                    cost.lag,
                    cost.steps,
                    cost.multiply_adds as f64,
                    cost.bytes.div_ceil(1000)
                )?;
                for assumption in wavefront.assumptions() {
                    write!(f, "; taken for granted: {assumption}")?;
                }
                Ok(())
            }
            Self::Causal(reason) | Self::Unknown(reason) => {
                write!(f, "by fixed-point iteration over full passes: {reason}")
            }
        }
    }
}

impl Network {
    /// Checks a graph of whole images against its contract, analyses it and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: Model, contract: Contract) -> Result<Self, NetworkError> {
        let (shape, head, label) = (contract.shape, contract.head, contract.label.clone());
        let (passes, compilation) = Passes::load(engine, name, model, contract)?;
        Ok(Self {
            shape,
            head,
            predictions: passes.predictions(),
            label,
            evaluation: Evaluation::Passes(Box::new(passes)),
            compilation,
            tried: 0,
            numerics: 0,
        })
    }

    /// Checks a step graph against its contract and makes it runnable.
    pub fn load_step(
        engine: &dyn Engine,
        name: &str,
        model: &Model,
        contract: &StepContract,
    ) -> Result<Self, NetworkError> {
        let (shape, head) = (contract.shape, contract.head);
        let predictions = head.predictions(shape, || signature::row_size(model, &contract.names.logits))?;
        let compiled = recurrence::compile(model, &contract.names, &contract.recurrence, shape, predictions)?;
        let wavefront = Arc::new(Wavefront::load(engine, name, compiled, shape, contract.map)?);
        Ok(Self {
            shape,
            head,
            predictions,
            label: None,
            evaluation: Evaluation::Walks(Arc::clone(&wavefront)),
            compilation: Compilation::Wavefront(wavefront),
            tried: 0,
            numerics: 0,
        })
    }

    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Likelihood head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// What it gives at a pixel.
    pub fn predictions(&self) -> Predictions {
        self.predictions
    }

    /// How a dimension is predicted by what a program of wavefronts knows of it.
    pub fn prediction<'a>(&self, known: &Known<'a>) -> Prediction<'a> {
        prediction(self.shape, self.head, known)
    }

    /// The label that the distribution is conditioned on, if any.
    pub fn label(&self) -> Option<&LabelInput> {
        self.label.as_ref()
    }

    /// What was made of the zeros in its kernels; `None` if there are none that could be left out.
    pub fn cropping(&self) -> Option<&Cropping> {
        match &self.evaluation {
            Evaluation::Passes(passes) => passes.cropping(),
            Evaluation::Walks(_) => None,
        }
    }

    /// What the analysis of the graph came to.
    pub fn compilation(&self) -> &Compilation {
        &self.compilation
    }

    /// How sure it is that the network is causal.
    pub fn assurance(&self) -> Assurance {
        if self.compilation.is_proven() {
            Assurance::Proven
        } else {
            Assurance::Tried {
                places: self.tried,
                of: self.shape.dimensions(),
            }
        }
    }

    /// Says at how many dimensions a network that could not be analysed was tried.
    pub fn set_tried(&mut self, places: usize) {
        self.tried = places;
    }

    /// Follows an image through the compiled program and compares its logits with those of a full pass. A program that
    /// does not reproduce them is given up, with the reason; the network itself is sound.
    ///
    /// Where there are no full passes, the logits must be those that the image has in company. If they are not, the
    /// graph lets pixels of the same step see each other, and that is an error.
    pub fn verify_program(&mut self, golden: &[Given<'_>]) -> Result<Verdict, NetworkError> {
        let (Compilation::Wavefront(wavefront), Some(given)) = (&self.compilation, golden.first()) else {
            return Ok(Verdict::default());
        };
        let expected = match &self.evaluation {
            Evaluation::Passes(passes) => passes.logits_to_verify(&[*given], Threads::All)?,
            Evaluation::Walks(_) => {
                let unlike = unlike(given.levels, self.shape);
                let company: Vec<Given<'_>> = golden
                    .iter()
                    .take(VERIFIED_COMPANY)
                    .copied()
                    .chain([unlike[..].into()])
                    .collect();
                self.logits(&company, Threads::All)?
            }
        };
        let mut walk = wavefront.start(given.levels.to_vec(), given.label);
        let mut agreement = Agreement::default();
        let mut numerics = FNV_OFFSET;
        wavefront.advance(&mut [&mut walk], wavefront.steps(), &mut |known| {
            for (&actual, expected) in known.values.iter().zip(expected.at(0, known.index)) {
                agreement.see(actual, expected);
                numerics = (numerics ^ u64::from(actual.to_bits())).wrapping_mul(FNV_PRIME);
            }
            known.level
        })?;
        wavefront.finish(walk);
        let difference = agreement.difference();
        let verdict = match self.evaluation {
            _ if agreement.holds() => Verdict {
                numerics,
                given_up: None,
            },
            Evaluation::Passes(_) => Verdict {
                numerics,
                given_up: Some(format!("the compiled program differs from the graph by {difference:e}")),
            },
            Evaluation::Walks(_) => return Err(NetworkError::Company(difference)),
        };
        self.accept(&verdict);
        Ok(verdict)
    }

    /// Takes a verdict on the same graph, runtime and processor for its own.
    pub fn accept(&mut self, verdict: &Verdict) {
        self.numerics = verdict.numerics;
        if let Some(reason) = &verdict.given_up {
            self.compilation = Compilation::without_program(self.compilation.is_proven(), reason.clone());
        }
    }

    /// A number that says to the last bit how this runtime on this processor computes the program's logits of the first
    /// golden image; 0 without a program. Codes are only read where it is the same.
    pub fn numerics(&self) -> u64 {
        self.numerics
    }

    /// The first turn of drawing an image, for its time. Full passes run on `threads`.
    pub fn draw_for_a_while(&self, given: Given<'_>, threads: Threads) -> Result<(), NetworkError> {
        match &self.compilation {
            Compilation::Wavefront(wavefront) => {
                let mut walk = wavefront.start(given.levels.to_vec(), given.label);
                wavefront.advance(&mut [&mut walk], STEPS_IN_A_TURN, &mut |known| known.level)?;
                wavefront.finish(walk);
            }
            Compilation::Causal(_) | Compilation::Unknown(_) => {
                self.logits_to_draw(&[given], threads)?;
            }
        }
        Ok(())
    }

    /// log p(xᵢ | x₍<ᵢ₎) of every dimension in nats, in channel, row, column order. A recurrent network stays on the
    /// calling thread.
    pub fn log_probabilities(&self, images: &[Given<'_>], threads: Threads) -> Result<Vec<Vec<f32>>, NetworkError> {
        match &self.evaluation {
            Evaluation::Passes(passes) => passes.log_probabilities(images, threads),
            Evaluation::Walks(wavefront) => walks::log_probabilities(wavefront, self.shape, self.head, images),
        }
    }

    /// Both of one evaluation. Memory grows with the logits: ask for at most [`Self::company`] images.
    pub fn scored_logits(
        &self,
        images: &[Given<'_>],
        threads: Threads,
    ) -> Result<(Vec<Vec<f32>>, Logits), NetworkError> {
        match &self.evaluation {
            Evaluation::Passes(passes) => passes.scored_logits(images, threads),
            Evaluation::Walks(wavefront) => {
                let logits = walks::logits(wavefront, (self.shape, self.head, self.predictions), images)?;
                Ok((logits.log_probabilities(images), logits))
            }
        }
    }

    /// Images whose logits are best had at once: enough for the kernels, few enough that they take a bounded part of
    /// memory.
    pub fn company(&self) -> usize {
        match &self.evaluation {
            Evaluation::Passes(_) => {
                let one = self.predictions.width(self.shape.channels()) * self.shape.pixels();
                (MOST_LOGITS / one)
                    .min(MOST_DIMENSIONS / self.shape.dimensions())
                    .max(1)
            }
            Evaluation::Walks(_) => walks::COMPANY,
        }
    }

    /// The logits of every dimension by which images are drawn: those of the processor at full precision, wherever
    /// scores are computed, so that a seed stays what it is.
    pub fn logits_to_draw(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
        match &self.evaluation {
            Evaluation::Passes(passes) => passes.logits_to_draw(images, threads),
            Evaluation::Walks(_) => self.logits(images, threads),
        }
    }

    /// The logits of every dimension.
    pub fn logits(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
        match &self.evaluation {
            Evaluation::Passes(passes) => passes.logits(images, threads),
            Evaluation::Walks(wavefront) => walks::logits(wavefront, (self.shape, self.head, self.predictions), images),
        }
    }
}

/// How a dimension is predicted by what a program of wavefronts knows of it.
fn prediction<'a>(shape: ImageShape, head: Head, known: &Known<'a>) -> Prediction<'a> {
    Prediction {
        head,
        shape,
        values: known.values,
        earlier: known.earlier,
    }
}

/// An image that differs everywhere.
fn unlike(levels: &[u8], shape: ImageShape) -> Vec<u8> {
    let (count, half) = (shape.levels(), shape.levels() / 2);
    levels
        .iter()
        .map(|&level| ((usize::from(level) + half) % count) as u8)
        .collect()
}

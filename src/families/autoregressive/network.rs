//! Autoregressive networks: the distribution of every dimension given the dimensions before it.
//!
//! A convolutional network gives all of them in one pass over the image, and is drawn from along wavefronts where its
//! graph can be compiled. Of a recurrent one there is only the step that computes a pixel, so scores, too, are computed
//! along wavefronts.

mod agreement;
mod compilation;
mod cropping;
mod folding;
mod logits;
mod passes;
mod prediction;
mod walks;

use std::sync::Arc;

use self::passes::Passes;
pub use self::{
    compilation::{Compilation, SLOWER, Verdict},
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

/// Logits in one run of a proof, 2 MiB of them: a graph's working memory, which is some ten times as large, stays
/// taken.
const MOST_LOGITS: usize = 1 << 19;
/// Dimensions of images whose logits are had at once: a network keeps hundreds of numbers for each while it runs.
const MOST_DIMENSIONS: usize = 1 << 15;

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

    /// The program that draws images; without one, full passes do.
    pub fn drawing_program(&self) -> Option<&Arc<Wavefront>> {
        let program = self.compilation.program();
        program.filter(|program| !program.is_slower_than_passes())
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

    /// A number that says to the last bit how this runtime on this processor computes the program's logits of the first
    /// golden image; 0 without a program. Codes are only read where it is the same.
    pub fn numerics(&self) -> u64 {
        self.numerics
    }

    /// The first turn of drawing an image, for its time. Full passes run on `threads`.
    pub fn draw_for_a_while(&self, given: Given<'_>, threads: Threads) -> Result<(), NetworkError> {
        let Some(wavefront) = self.drawing_program() else {
            return self.logits_to_draw(&[given], threads).map(drop);
        };
        let mut walk = wavefront.start(given.levels.to_vec(), given.label);
        wavefront.advance(&mut [&mut walk], wavefront.steps_in_a_turn(), &mut |known| known.level)?;
        wavefront.finish(walk);
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

//! Compiling a causal network into a program that draws an image at about the price of scoring it.
//!
//! A masked convolutional network computes at each pixel only what it did not know before; everything else has been
//! computed when earlier pixels were drawn. The compiler reads an exported graph as a *stencil* (which places each
//! operator reads), proves from it that no prediction sees its own or a later dimension, finds a *schedule* in which
//! row i runs `lag` columns behind row i − 1, so that all rows that can move do so at once, and writes a *step graph*:
//! one step of any number of (image, row) pairs. The caller keeps the values that later steps will read; [`Compiled`]
//! says which, and for how long.
//!
//! Where rows follow one after the other anyhow, as in deep networks that look far to the right, what the rows above
//! tell of a row (the vertical stack of a gated network, say) is computed of all its places at once, before the first.
//!
//! Attention to all pixels before, or to those of the row or the column, is part of such a program, too: the caller
//! keeps keys and values of the whole image, and rows are drawn one after the other. States of recurrent layers and
//! running sums are values like others, of which each place makes its own.
//!
//! What does not fit because more is read than has weight, as where neighbours are laid side by side, is tried again
//! with products over neighbours as convolutions, and without the neighbours of which masks leave nothing.
//!
//! Layers over all pixels, as masked autoencoders have them, are part of it where they are found number by number to
//! see pixels before only: their sums are states, too.
//!
//! A graph that is not a stencil (other layers over places, other attention) is not compiled, and the reason is told;
//! whether it is causal may still be found number by number. A leak is an error.

mod causality;
mod choices;
mod dependence;
mod lower;
mod neighbours;
mod program;
mod schedule;
mod stencil;
mod step;
mod trim;
mod unread;

use self::stencil::Stencil;
pub use self::{
    causality::Leak,
    program::{
        Cache, Compiled, Gather, Kept, LABELS, LOGITS, Mask, Part, Past, Position, Run, Source, TABLE_LEVELS, Table,
        Tables,
    },
};
use super::{
    layer,
    protobuf::{Model, Node},
};
use crate::domain::image::ImageShape;

/// What is added to the scores of attention is no mask unless it is below this.
const MASKED: f32 = -1e3;

/// Why a graph cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}{}", .layer.as_ref().map(|layer| format!(": layer {layer}")).unwrap_or_default())]
pub struct Unsupported {
    reason: String,
    layer: Option<String>,
}

impl Unsupported {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            layer: None,
        }
    }

    fn at(mut self, node: &Node) -> Self {
        self.layer.get_or_insert_with(|| layer::describe(node));
        self
    }
}

/// What the graph takes and gives.
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// Name of the image input, float `[batch, C, H, W]`.
    pub image: &'a str,
    /// Name of the label input, int64 `[batch]`, if there is one.
    pub label: Option<&'a str>,
    /// Name of what the graph gives, [batch, …, H, W].
    pub logits: &'a str,
    /// Size of the images.
    pub shape: ImageShape,
    /// What that says.
    pub predictions: Predictions,
}

/// What a network gives at a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictions {
    /// So many logits for each channel, levels before channels: the number of levels, or 1 for a Bernoulli head. A
    /// channel may see the channels of its pixel before it.
    OfChannels(usize),
    /// So many parameters of a joint distribution of all channels, which may see no channel of their pixel.
    OfPixels(usize),
}

impl Predictions {
    /// Numbers at a pixel.
    pub fn width(self, channels: usize) -> usize {
        match self {
            Self::OfChannels(outcomes) => outcomes * channels,
            Self::OfPixels(parameters) => parameters,
        }
    }

    /// The first channel of its own pixel that a number, by its place among those of the pixel, may not see.
    pub(super) fn first_hidden(self, feature: usize, channels: usize) -> usize {
        match self {
            Self::OfChannels(_) => feature % channels,
            Self::OfPixels(_) => 0,
        }
    }
}

/// What the analysis of a graph found.
#[derive(Debug)]
pub enum Analysis {
    /// It is causal, and this program draws from it; both under the assumptions that the program names.
    Compiled(Box<Compiled>),
    /// It is causal, but there is no program for it.
    Causal(Unsupported),
    /// Nothing is known about it.
    Unknown(Unsupported),
}

/// Compiles a graph that was simplified for a batch of one.
pub fn analyse(model: &Model, interface: &Interface<'_>) -> Result<Analysis, Leak> {
    let number_by_number = |reason| {
        if dependence::is_causal(model, interface) {
            Analysis::Causal(reason)
        } else {
            Analysis::Unknown(reason)
        }
    };
    let mut stencil = match lower::lower(model, interface) {
        Ok(stencil) => stencil,
        Err(reason) => return Ok(number_by_number(reason)),
    };
    if let Err(leak) = causality::prove(&stencil) {
        let Some(masked) = unread::forgotten(&stencil) else {
            return doubted(&stencil, leak, number_by_number);
        };
        if let Err(leak) = causality::prove(&masked) {
            return doubted(&masked, leak, number_by_number);
        }
        stencil = masked;
    }
    if let Some(&first) = stencil.summed.first() {
        let reason = Unsupported {
            reason: "a fully connected layer over places".to_owned(),
            layer: Some(stencil.tensors[first].layer.clone()),
        };
        match number_by_number(reason) {
            Analysis::Causal(_) if causality::adds_itself(&stencil) => {}
            other => return Ok(other),
        }
    }
    let is_proven = stencil.assumptions.is_empty();
    let convolutions = neighbours::convolutions(&stencil);
    let spare = (!convolutions.is_empty() || unread::may_be_forgotten(&stencil)).then(|| stencil.clone());
    let compiled = program(stencil, model).or_else(|reason| {
        let spare = spare.ok_or_else(|| reason.clone())?;
        let mut convolved = spare.clone();
        for (at, tensor) in convolutions {
            convolved.tensors[at] = tensor;
        }
        let masked = || program(unread::forgotten(&spare)?, model).ok();
        program(convolved, model).ok().or_else(masked).ok_or(reason)
    });
    Ok(match compiled {
        Ok(compiled) => Analysis::Compiled(Box::new(compiled)),
        Err(reason) if is_proven => Analysis::Causal(reason),
        Err(reason) => Analysis::Unknown(reason),
    })
}

/// What is to be thought of a leak that is found in a stencil.
fn doubted(
    stencil: &Stencil,
    leak: Leak,
    number_by_number: impl Fn(Unsupported) -> Analysis,
) -> Result<Analysis, Leak> {
    // Through strides, around the ends of rows, and under masks that differ by place, what is read at some places is
    // counted for all of them: there may be no leak. Around an end it then lies where no image has a pixel.
    let told = |reason: &str| Unsupported::new(format!("{reason}: {leak}"));
    if stencil.has_strides() {
        return Ok(number_by_number(told("a lower resolution that may be read too early")));
    }
    if stencil.rounds_rows && leak.is_outside(&stencil.shape) {
        return Ok(number_by_number(told(
            "a sequence of pixels that may be read too early",
        )));
    }
    if stencil.masks_places()
        && let causal @ Analysis::Causal(_) = number_by_number(told("masks that differ by place"))
    {
        return Ok(causal);
    }
    Err(leak)
}

/// The program of a stencil that was proven causal.
fn program(stencil: Stencil, model: &Model) -> Result<Compiled, Unsupported> {
    let mut stencil = choices::with_truths(trim::trim(stencil)?);
    let schedule = schedule::schedule(&mut stencil)?;
    step::emit(&stencil, &schedule, model)
}

//! Compiling a causal network into a program that draws an image at about the price of scoring it.
//!
//! A masked convolutional network computes at each pixel only what it did not know before; everything else has been
//! computed when earlier pixels were drawn. The compiler reads an exported graph as a *stencil* (which places each
//! operator reads), proves from it that no prediction sees its own or a later dimension, finds a *schedule* in which
//! row i runs `lag` columns behind row i − 1, so that all rows that can move do so at once, and writes a *step graph*:
//! one step of any number of (image, row) pairs. The caller keeps the values that later steps will read; [`Compiled`]
//! says which, and for how long.
//!
//! Attention to all pixels before, or to those of the row or the column, is part of such a program, too: the caller
//! keeps keys and values of the whole image, and rows are drawn one after the other. States of recurrent layers and
//! running sums are values like others, of which each place makes its own.
//!
//! What does not fit because more is read than has weight, as where neighbours are laid side by side, is tried again
//! with products over neighbours as convolutions.
//!
//! Layers over all pixels, as masked autoencoders have them, are part of it where they are found number by number to
//! see pixels before only: their sums are states, too.
//!
//! A graph that is not a stencil (other layers over places, other attention) is not compiled, and the reason is told;
//! whether it is causal may still be found number by number. A leak is an error.

mod causality;
mod dependence;
mod lower;
mod neighbours;
mod schedule;
mod stencil;
mod step;
mod trim;

pub use self::causality::Leak;
use self::stencil::Stencil;
use super::{
    layer,
    protobuf::{Model, Node},
};
use crate::domain::image::ImageShape;

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

/// A program of steps.
///
/// Row i of an image is at column j − δ of a tensor with delay δ in the step j + lag · i; the logits have delay 0.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// One step for a batch of (image, row) pairs.
    pub step: Model,
    /// The tensors that are functions of a pixel's levels alone, as a graph to be run once.
    pub tables: Tables,
    /// Inputs of the step graph that hold cached or tabulated neighbours.
    pub gathers: Vec<Gather>,
    /// Inputs of the step graph that hold the place of each pair.
    pub positions: Vec<Position>,
    /// Inputs of the step graph that tell where a tensor is to be read as zero.
    pub masks: Vec<Mask>,
    /// Outputs of the step graph that later steps read.
    pub caches: Vec<Cache>,
    /// Outputs of the step graph of which later steps read all that there is.
    pub pasts: Vec<Past>,
    /// What must hold of the graph's numbers for the program, and the proof of causality, to be about that graph.
    pub assumptions: Vec<String>,
    /// Whether the step graph takes [`LABELS`].
    pub takes_labels: bool,
    /// What the step graph says of a pixel. Of channels it is run for each in turn, of pixels once.
    pub predictions: Predictions,
    /// Columns by which a row runs behind the row above.
    pub lag: i64,
    /// Delay of the tensor that is computed first, at most 0.
    pub first_delay: i64,
    /// Delay of the tensor that is computed last, at least 0.
    pub last_delay: i64,
    /// Multiplications of weights for one image.
    pub multiply_adds: u64,
    /// Those of a full pass, of a graph with layers over all pixels.
    pub pass_multiply_adds: Option<u64>,
}

/// Output of the step graph: float [pairs, what the network gives at a pixel].
pub const LOGITS: &str = "density_server/step_logits";
/// Input of the step graph of a conditional model: int64 `[pairs]`.
pub const LABELS: &str = "density_server/step_labels";
/// Input of the graph of tables: float [levels, C], the value of each level in every channel.
pub const TABLE_LEVELS: &str = "density_server/table_levels";

/// A graph that gives, for every level, the features of a pixel of that level.
#[derive(Debug, Clone)]
pub struct Tables {
    /// Takes [`TABLE_LEVELS`].
    pub graph: Model,
    /// Its outputs.
    pub tables: Vec<Table>,
}

/// Features that depend on one channel of a pixel each.
#[derive(Debug, Clone)]
pub struct Table {
    /// Output of the graph of tables, float [levels, …].
    pub output: String,
    /// The channel that each feature depends on.
    pub channels: Vec<usize>,
}

/// An input of the step graph, float [pairs, Σ counts · width]: features of neighbours, in the order of `runs`.
#[derive(Debug, Clone)]
pub struct Gather {
    /// Name of the input.
    pub input: String,
    /// What is read.
    pub source: Source,
    /// Features of the source.
    pub width: usize,
    /// Delay of the tensor that reads.
    pub delay: i64,
    /// Neighbours that are read.
    pub runs: Vec<Run>,
    /// Rows that are not zero.
    pub rows: (i64, i64),
    /// Columns that are not zero.
    pub columns: (i64, i64),
}

impl Gather {
    /// Values for one pair.
    pub fn size(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum::<usize>() * self.width
    }
}

/// What a [`Gather`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A cached tensor, by its place in [`Compiled::caches`].
    Cache(usize),
    /// A table of levels, by its place in [`Tables::tables`].
    Table(usize),
}

/// Neighbours side by side: (dy, dx), (dy, dx + 1), …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Rows below.
    pub dy: i64,
    /// Columns to the right of the first one.
    pub dx: i64,
    /// Number of neighbours.
    pub count: usize,
}

impl Run {
    /// Places in the order given; those that lie side by side are read at once.
    pub(super) fn side_by_side(places: impl IntoIterator<Item = (i64, i64)>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for (dy, dx) in places {
            match runs.last_mut() {
                Some(run) if run.dy == dy && run.dx + run.count as i64 == dx => run.count += 1,
                _ => runs.push(Self { dy, dx, count: 1 }),
            }
        }
        runs
    }
}

/// An input of the step graph, int64 `[pairs]`: row · width + column of each pair, kept inside the image.
#[derive(Debug, Clone)]
pub struct Position {
    /// Name of the input.
    pub input: String,
    /// Delay of the tensors that read it.
    pub delay: i64,
}

/// An input of the step graph, uint8 [pairs, 1]: 1 where a tensor with this delay is inside the window in which it
/// counts, else 0.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Name of the input.
    pub input: String,
    /// Delay of the tensor.
    pub delay: i64,
    /// Rows that count.
    pub rows: (i64, i64),
    /// Columns that count.
    pub columns: (i64, i64),
}

/// An output of the step graph that is kept, float [pairs, …].
#[derive(Debug, Clone)]
pub struct Cache {
    /// Name of the output.
    pub output: String,
    /// Features.
    pub width: usize,
    /// Its delay.
    pub delay: i64,
    /// Steps after which the last reader has read it.
    pub lifetime: i64,
}

/// An output of the step graph that is kept of all pixels, for attention.
///
/// It comes back as the input, float [pairs, heads, width, places], or [pairs, heads, places, width]: places that have
/// not been computed hold any finite numbers.
#[derive(Debug, Clone)]
pub struct Past {
    /// Name of the input.
    pub input: String,
    /// Name of the output, float [pairs, heads · width].
    pub output: String,
    /// Groups of features that attend each for itself.
    pub heads: usize,
    /// Features of each.
    pub width: usize,
    /// Whether places are the last axis of the input.
    pub places_last: bool,
    /// The tensor's delay.
    pub delay: i64,
}

impl Past {
    /// The axes of the input after the first, for so many places.
    pub fn dims(&self, places: usize) -> [usize; 3] {
        if self.places_last {
            [self.heads, self.width, places]
        } else {
            [self.heads, places, self.width]
        }
    }
}

impl Compiled {
    /// Steps from the first that computes anything to the one that draws the last pixel.
    pub fn steps(&self, shape: ImageShape) -> u64 {
        let last = self.lag * (shape.height() as i64 - 1) + shape.width() as i64 - 1;
        (last - self.first_delay + 1).unsigned_abs()
    }
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
    let stencil = match lower::lower(model, interface) {
        Ok(stencil) => stencil,
        Err(reason) => return Ok(number_by_number(reason)),
    };
    if let Err(leak) = causality::prove(&stencil) {
        // Through strides, around the ends of rows, and under masks that differ by place, what is read at some places
        // is counted for all of them: there may be no leak. Around an end it then lies where no image has a pixel.
        let told = |reason: &str| Unsupported::new(format!("{reason}: {leak}"));
        let reason = if stencil.has_strides() {
            "a lower resolution that may be read too early"
        } else if stencil.rounds_rows && leak.is_outside(&stencil.shape) {
            "a sequence of pixels that may be read too early"
        } else if stencil.masks_places() && dependence::is_causal(model, interface) {
            return Ok(Analysis::Causal(told("masks that differ by place")));
        } else {
            return Err(leak);
        };
        return Ok(number_by_number(told(reason)));
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
    let convolved = (!convolutions.is_empty()).then(|| stencil.clone());
    let compiled = program(stencil, model).or_else(|reason| {
        let mut stencil = convolved.ok_or_else(|| reason.clone())?;
        for (at, tensor) in convolutions {
            stencil.tensors[at] = tensor;
        }
        program(stencil, model).map_err(|_| reason)
    });
    Ok(match compiled {
        Ok(compiled) => Analysis::Compiled(Box::new(compiled)),
        Err(reason) if is_proven => Analysis::Causal(reason),
        Err(reason) => Analysis::Unknown(reason),
    })
}

/// The program of a stencil that was proven causal.
fn program(stencil: Stencil, model: &Model) -> Result<Compiled, Unsupported> {
    let stencil = trim::trim(stencil)?;
    let schedule = schedule::schedule(&stencil)?;
    step::emit(&stencil, &schedule, model)
}

//! A compiled program: its graphs, what each reads and hands on, and what is remembered for how long.

use super::Predictions;
use crate::{domain::image::ImageShape, graph::protobuf::Model};

/// A program of steps.
///
/// Row i of an image is at column j − δ of a tensor with delay δ in the step j + lag · i; the logits have delay 0.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// One step for a batch of (image, row) pairs.
    pub step: Part,
    /// What the rows above tell of a row, for a batch of all places of some rows, from left to right. It is run before
    /// the first step of the row; rows follow one after the other.
    pub row: Option<Part>,
    /// The tensors that are functions of a pixel's levels alone, as a graph to be run once.
    pub tables: Tables,
    /// What is remembered.
    pub caches: Vec<Cache>,
    /// What must hold of the graph's numbers for the program, and the proof of causality, to be about that graph.
    pub assumptions: Vec<String>,
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
    /// Those of them that are done for whole rows.
    pub row_multiply_adds: u64,
    /// Those of a full pass, of a graph with layers over all pixels.
    pub pass_multiply_adds: Option<u64>,
}

/// A graph of a program, and what it reads and hands on.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The graph, for a batch of places.
    pub graph: Model,
    /// Inputs that hold cached or tabulated neighbours.
    pub gathers: Vec<Gather>,
    /// Inputs that hold the place.
    pub positions: Vec<Position>,
    /// Inputs that tell where a tensor is to be read as zero.
    pub masks: Vec<Mask>,
    /// Outputs that are read later, by their places in [`Compiled::caches`].
    pub caches: Vec<usize>,
    /// Outputs of which later steps read all that there is.
    pub pasts: Vec<Past>,
    /// Whether the graph takes [`LABELS`].
    pub takes_labels: bool,
}

/// Output of the step graph: float [pairs, what the network gives at a pixel].
pub const LOGITS: &str = "density_server/step_logits";
/// Input of the graphs of a conditional model: int64 `[pairs]`.
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

/// An input, float [pairs, Σ counts · width]: features of neighbours, in the order of `runs`.
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
    pub(in crate::graph) fn side_by_side(places: impl IntoIterator<Item = (i64, i64)>) -> Vec<Self> {
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

/// An input, int64 `[pairs]`: row · width + column of each pair, kept inside the image.
#[derive(Debug, Clone)]
pub struct Position {
    /// Name of the input.
    pub input: String,
    /// Delay of the tensors that read it.
    pub delay: i64,
}

/// An input, uint8 [pairs, 1]: 1 where a tensor with this delay is inside the window in which it
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

/// An output that is kept, float [pairs, …].
#[derive(Debug, Clone)]
pub struct Cache {
    /// Name of the output.
    pub output: String,
    /// Features.
    pub width: usize,
    /// Its delay.
    pub delay: i64,
    /// How much of it is kept.
    pub kept: Kept,
}

/// Of a tensor the last rows, and of each the last columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Kept {
    /// What has been computed no more than so many steps ago, where a row runs `lag` columns behind the row above.
    pub(in crate::graph) fn of_steps(lifetime: i64, lag: i64, shape: ImageShape) -> Self {
        let (lifetime, lag) = (lifetime.max(1) as usize, lag.max(1) as usize);
        Self {
            rows: (shape.width() - 1 + lifetime).div_ceil(lag).clamp(1, shape.height()),
            columns: lifetime.min(shape.width()),
        }
    }

    /// Whole rows.
    pub(super) fn of_rows(rows: i64, shape: ImageShape) -> Self {
        Self {
            rows: (rows.max(1) as usize).min(shape.height()),
            columns: shape.width(),
        }
    }

    /// Enough for both.
    pub(super) fn union(self, other: Self) -> Self {
        Self {
            rows: self.rows.max(other.rows),
            columns: self.columns.max(other.columns),
        }
    }
}

/// An output that is kept of all pixels, for attention.
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

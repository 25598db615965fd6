//! A network as a stencil: every tensor is a grid of feature vectors, and every operator says from which places it
//! reads.
//!
//! [`lower`](super::lower::lower) makes one from a simplified ONNX graph. What is left of the graph's own layout is the
//! shape of a tensor's features; batch, rows and columns are gone, because a stencil does the same at every pixel.

mod agreement;
mod dependencies;
mod inserting;

pub(super) use self::{
    dependencies::{broadcast, permuted},
    inserting::THE_ONE_BEFORE,
};

use std::collections::HashSet;

use super::Predictions;
use crate::{
    domain::image::ImageShape,
    graph::{constant::Constant, protobuf::Node as OnnxNode},
};

/// A network that does the same at every pixel.
#[derive(Debug, Clone)]
pub(super) struct Stencil {
    pub(super) shape: ImageShape,
    /// In topological order, but for what reads a state at places before; a tensor is named by its place here.
    pub(super) tensors: Vec<StencilTensor>,
    /// The tensor of what the network gives.
    pub(super) logits: usize,
    /// What that says; of channels, features are levels, then channels.
    pub(super) predictions: Predictions,
    /// What must hold of the numbers for this to be what the graph computes.
    pub(super) assumptions: Vec<String>,
    /// Whether a convolution along the pixels reads around the ends of rows.
    pub(super) rounds_rows: bool,
    /// What each pixel adds to layers over all pixels, which are taken to see those before only.
    pub(super) summed: Vec<usize>,
}

impl Stencil {
    /// Whether any tensor has fewer places than the image has pixels.
    pub(super) fn has_strides(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.stride != Stride::ONE)
    }

    /// Forgets what the logits are not made of, with its weights.
    pub(super) fn forget_unused(&mut self) {
        let mut used = HashSet::new();
        let mut open = vec![self.logits];
        while let Some(at) = open.pop() {
            if used.insert(at) {
                open.extend(self.tensors[at].operands.iter().filter_map(|operand| match operand {
                    Operand::Tensor(read) => Some(read.tensor),
                    Operand::Constant(_) | Operand::Table(_) => None,
                }));
            }
        }
        for (at, tensor) in self.tensors.iter_mut().enumerate() {
            if !used.contains(&at) && !matches!(tensor.operator, Operator::Image) {
                tensor.operator = Operator::Pointwise(OnnxNode::new("Identity", &[], ""));
                tensor.operands.clear();
            }
        }
        self.summed.retain(|at| used.contains(at));
    }

    /// Whether factors let through what is at some places, and not what is at others, or choices do.
    pub(super) fn masks_places(&self) -> bool {
        let has_zeros = |operand: &Operand| match operand {
            Operand::Table(table) => table.as_floats().is_some_and(|factors| factors.contains(&0.0)),
            Operand::Tensor(_) | Operand::Constant(_) => false,
        };
        let masks = |tensor: &StencilTensor| {
            let is_choice = tensor.condition().is_some();
            (tensor.is_product() || is_choice) && tensor.operands.iter().any(has_zeros)
        };
        self.tensors.iter().any(masks)
    }

    /// The tensors of which others read all places before their own.
    pub(super) fn attended(&self) -> HashSet<usize> {
        self.tensors.iter().flat_map(StencilTensor::attended).collect()
    }

    /// The tensors that others are made of which come before them: states, of which places after are made.
    pub(super) fn states(&self) -> HashSet<usize> {
        let reads = |(at, tensor): (usize, &'_ StencilTensor)| {
            let later = tensor.operands.iter().filter_map(move |operand| match operand {
                Operand::Tensor(read) if read.tensor > at => Some(read.tensor),
                _ => None,
            });
            later.collect::<Vec<_>>()
        };
        self.tensors.iter().enumerate().flat_map(reads).collect()
    }

    /// The rows and columns of the image.
    pub(super) fn window(&self) -> Window {
        Window::of_size(self.shape.height() as i64, self.shape.width() as i64)
    }
}

/// A tensor and the operator that makes it.
#[derive(Debug, Clone)]
pub(super) struct StencilTensor {
    /// The operator's name in the graph.
    pub(super) layer: String,
    pub(super) operator: Operator,
    pub(super) operands: Vec<Operand>,
    /// Shape of the features at one pixel.
    pub(super) features: Vec<usize>,
    /// Rows and columns, or `None` if the tensor is the same at every pixel.
    pub(super) extent: Option<(i64, i64)>,
    /// How far apart the places are that the graph's own tensor has. Those between are computed in the same way, and
    /// nothing that counts reads them.
    pub(super) stride: Stride,
    /// Whether its values are 32-bit reals.
    pub(super) is_real: bool,
}

impl StencilTensor {
    /// Number of features at a pixel.
    pub(super) fn width(&self) -> usize {
        self.features.iter().product()
    }
}

/// What an operator does at one pixel.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    /// The image, mapped from levels.
    Image,
    /// The class label.
    Label,
    /// A convolution, or a matrix product with a constant.
    Linear(Linear),
    /// Feature by feature, operands broadcast: the node's type and attributes.
    Pointwise(OnnxNode),
    /// Mixes features along some axes of the features: the node's type and attributes, its axes rewritten at emission.
    Mix { node: OnnxNode, axes: Vec<usize> },
    /// Lays operands side by side along an axis of the features.
    Concat { axis: usize },
    /// Picks features along an axis.
    Select { axis: usize, indices: Vec<usize> },
    /// Permutes the axes of the features.
    Permute(Vec<usize>),
    /// Rows of a constant table by an integer tensor, one for each of its features.
    Embed(Constant),
    /// Rows by the label out of a table for each pixel, the first operand; its first feature axis is the one that is
    /// looked up.
    EmbedPlaced,
    /// Of features of all places, [places, features], those of the pixel's place.
    OfPlace,
    /// One-hot code of an integer tensor, along a last axis of the features: the node, and its constants for depth and
    /// values.
    OneHot {
        node: OnnxNode,
        depth: Constant,
        values: Constant,
    },
    /// A sum over all pixels before, weighted by how much each is heeded: operands are queries, keys and values.
    Attend(Attend),
}

/// softmax(factor · query · keys) · values over the pixels before, in the order of drawing. Features are heads, then
/// those of each head.
#[derive(Debug, Clone)]
pub(super) struct Attend {
    pub(super) heads: usize,
    pub(super) factor: f32,
    /// Whether a pixel is among those that it sees.
    pub(super) sees_itself: bool,
    /// Columns of the image.
    pub(super) columns: i64,
    /// What is added to the scores, [places, heads or 1, places]: of the pixel that looks, then of that which it looks
    /// at.
    pub(super) bias: Option<Constant>,
}

impl Attend {
    /// The places that an operand is read at which are the last, in each of their rows, that it is read at.
    fn last_places(&self, operand: usize) -> Vec<(i64, i64)> {
        match (operand, self.sees_itself) {
            (0, _) => vec![(0, 0)],
            (_, true) => vec![(0, 0), (0, -1), (-1, self.columns - 1)],
            (_, false) => vec![(0, -1), (-1, self.columns - 1)],
        }
    }
}

/// out(i, j) = bias + Σ over taps of in(i + dy, j + dx) · weights.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) taps: Vec<Tap>,
    pub(super) bias: Option<Vec<f32>>,
}

/// The weights of one place that a convolution reads: [inputs, outputs], not all zero.
#[derive(Debug, Clone)]
pub(super) struct Tap {
    pub(super) dy: i64,
    pub(super) dx: i64,
    pub(super) weights: Vec<f32>,
}

/// What an operator reads.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    /// Another tensor.
    Tensor(Read),
    /// The same at every pixel; dims align with the features of the result.
    Constant(Constant),
    /// A constant for each pixel: dims are rows, columns, then the features of the result.
    Table(Constant),
}

/// Reads tensor(i + dy, j + dx), or zero where that lies outside the window.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) tensor: usize,
    pub(super) dy: i64,
    pub(super) dx: i64,
    /// In coordinates of the tensor that is read.
    pub(super) window: Window,
    /// The shape under which its features are seen.
    pub(super) features: Vec<usize>,
}

/// Rows and columns of the image from one place of a tensor to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stride {
    pub(super) down: i64,
    pub(super) right: i64,
}

impl Stride {
    /// A place for every pixel.
    pub(super) const ONE: Self = Self { down: 1, right: 1 };

    /// Rows and columns of the image under so many places.
    pub(super) fn spans(self, (rows, columns): (i64, i64)) -> (i64, i64) {
        ((rows - 1) * self.down + 1, (columns - 1) * self.right + 1)
    }
}

/// Half-open ranges of rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Window {
    pub(super) top: i64,
    pub(super) left: i64,
    pub(super) bottom: i64,
    pub(super) right: i64,
}

impl Window {
    pub(super) fn of_size(rows: i64, columns: i64) -> Self {
        Self {
            top: 0,
            left: 0,
            bottom: rows,
            right: columns,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.top >= self.bottom || self.left >= self.right
    }

    pub(super) fn intersect(self, other: Self) -> Self {
        Self {
            top: self.top.max(other.top),
            left: self.left.max(other.left),
            bottom: self.bottom.min(other.bottom),
            right: self.right.min(other.right),
        }
    }

    /// The smallest window that holds both.
    pub(super) fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        Self {
            top: self.top.min(other.top),
            left: self.left.min(other.left),
            bottom: self.bottom.max(other.bottom),
            right: self.right.max(other.right),
        }
    }

    pub(super) fn shifted(self, dy: i64, dx: i64) -> Self {
        Self {
            top: self.top + dy,
            left: self.left + dx,
            bottom: self.bottom + dy,
            right: self.right + dx,
        }
    }
}

impl StencilTensor {
    /// Tensors and places that the operator reads, without regard to features; of attention, the last ones.
    pub(super) fn reads(&self) -> impl Iterator<Item = (&Read, i64, i64)> + '_ {
        let places = |operand: usize| match &self.operator {
            Operator::Linear(linear) => linear.taps.iter().map(|tap| (tap.dy, tap.dx)).collect(),
            Operator::Attend(attend) => attend.last_places(operand),
            _ => vec![(0, 0)],
        };
        self.operands
            .iter()
            .enumerate()
            .filter_map(|(at, operand)| match operand {
                Operand::Tensor(read) => Some((at, read)),
                Operand::Constant(_) | Operand::Table(_) => None,
            })
            .flat_map(move |(at, read)| {
                places(at)
                    .into_iter()
                    .map(move |(dy, dx)| (read, read.dy + dy, read.dx + dx))
            })
    }

    /// Whether it is a product, number by number.
    pub(super) fn is_product(&self) -> bool {
        matches!(&self.operator, Operator::Pointwise(node) if node.op_type() == "Mul")
    }

    /// Whether the tensor, which is the one at this place, reads what is made of it: states of places before.
    pub(super) fn looks_back(&self, at: usize) -> bool {
        self.operands
            .iter()
            .any(|operand| matches!(operand, Operand::Tensor(read) if read.tensor > at))
    }

    /// Tensors of which it reads all places before its own.
    fn attended(&self) -> impl Iterator<Item = usize> + '_ {
        let attends = matches!(self.operator, Operator::Attend(_));
        let remembered = self.operands.iter().skip(1).filter_map(|operand| match operand {
            Operand::Tensor(read) => Some(read.tensor),
            Operand::Constant(_) | Operand::Table(_) => None,
        });
        remembered.filter(move |_| attends)
    }
}

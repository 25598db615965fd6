//! A network as a stencil: every tensor is a grid of feature vectors, and every operator says from which places it
//! reads.
//!
//! [`lower`](super::lower::lower) makes one from a simplified ONNX graph. What is left of the graph's own layout is the
//! shape of a tensor's features; batch, rows and columns are gone, because a stencil does the same at every pixel.

use super::Predictions;
use crate::{
    domain::image::ImageShape,
    graph::{constant::Constant, protobuf::Node as OnnxNode},
};

/// A network that does the same at every pixel.
#[derive(Debug, Clone)]
pub(super) struct Stencil {
    pub(super) shape: ImageShape,
    /// In topological order; a tensor is named by its place here.
    pub(super) tensors: Vec<StencilTensor>,
    /// The tensor of what the network gives.
    pub(super) logits: usize,
    /// What that says; of channels, features are levels, then channels.
    pub(super) predictions: Predictions,
    /// What must hold of the numbers for this to be what the graph computes.
    pub(super) assumptions: Vec<String>,
    /// Whether a convolution along the pixels reads around the ends of rows.
    pub(super) rounds_rows: bool,
}

impl Stencil {
    /// Whether any tensor has fewer places than the image has pixels.
    pub(super) fn has_strides(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.stride != Stride::ONE)
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
    /// Of features that are the same everywhere, [places, features], those of the pixel's place.
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

/// One feature of a tensor depends on one feature of an operand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependency {
    pub(super) feature: usize,
    pub(super) tensor: usize,
    pub(super) source: usize,
    pub(super) dy: i64,
    pub(super) dx: i64,
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

    /// Tensors of which it reads all places before its own.
    pub(super) fn attended(&self) -> impl Iterator<Item = usize> + '_ {
        let attends = matches!(self.operator, Operator::Attend(_));
        let remembered = self.operands.iter().skip(1).filter_map(|operand| match operand {
            Operand::Tensor(read) => Some(read.tensor),
            Operand::Constant(_) | Operand::Table(_) => None,
        });
        remembered.filter(move |_| attends)
    }

    /// Calls `found` for every pair of features of which one really depends on the other: zero weights do not count.
    pub(super) fn dependencies(&self, mut found: impl FnMut(Dependency)) {
        let mut offset = 0;
        let silent = self.silent();
        for (at, operand) in self.operands.iter().enumerate() {
            let read = match operand {
                Operand::Tensor(read) => read,
                Operand::Constant(constant) => {
                    offset += self.concatenated(&constant.dims);
                    continue;
                }
                Operand::Table(table) => {
                    offset += self.concatenated(&table.dims[2..]);
                    continue;
                }
            };
            let mut depends = |feature, source, dy, dx| {
                found(Dependency {
                    feature,
                    tensor: read.tensor,
                    source,
                    dy: read.dy + dy,
                    dx: read.dx + dx,
                });
            };
            match &self.operator {
                // What is the same everywhere sees nothing of the image.
                Operator::Image | Operator::Label | Operator::OfPlace => {}
                Operator::Linear(linear) => {
                    for tap in &linear.taps {
                        for (at, _) in tap.weights.iter().enumerate().filter(|(_, w)| **w != 0.0) {
                            depends(at % linear.outputs, at / linear.outputs, tap.dy, tap.dx);
                        }
                    }
                }
                Operator::Pointwise(_) => {
                    for (feature, source) in broadcast(&self.features, &read.features).enumerate() {
                        if !silent.get(feature).copied().unwrap_or_default() {
                            depends(feature, source, 0, 0);
                        }
                    }
                }
                Operator::Mix { axes, .. } => {
                    for (source, place) in places(&read.features).enumerate() {
                        for (feature, other) in places(&self.features).enumerate() {
                            let same = (0..place.len()).all(|axis| axes.contains(&axis) || place[axis] == other[axis]);
                            if same {
                                depends(feature, source, 0, 0);
                            }
                        }
                    }
                }
                Operator::Concat { axis } => {
                    let inner: usize = self.features[axis + 1..].iter().product();
                    let (own, all) = (read.features[*axis], self.features[*axis]);
                    for source in 0..read.features.iter().product() {
                        let (outer, rest) = (source / (own * inner), source % (own * inner));
                        depends(outer * all * inner + offset * inner + rest, source, 0, 0);
                    }
                    offset += own;
                }
                Operator::Select { axis, indices } => {
                    let inner: usize = self.features[axis + 1..].iter().product();
                    let (own, all) = (indices.len(), read.features[*axis]);
                    for feature in 0..self.width() {
                        let (outer, rest) = (feature / (own * inner), feature % (own * inner));
                        let source = outer * all * inner + indices[rest / inner] * inner + rest % inner;
                        depends(feature, source, 0, 0);
                    }
                }
                Operator::Permute(order) => {
                    for (feature, source) in permuted(&read.features, order).enumerate() {
                        depends(feature, source, 0, 0);
                    }
                }
                // In the order of dimensions the last pixel that is read is what counts.
                Operator::Attend(attend) => {
                    let (dy, dx) = attend.last_places(at)[0];
                    let inputs = read.features.iter().product::<usize>() / attend.heads;
                    let outputs = self.width() / attend.heads;
                    for feature in 0..self.width() {
                        let (head, own) = (feature / outputs, feature % outputs);
                        let sources = if at == 2 { own..own + 1 } else { 0..inputs };
                        for source in sources {
                            depends(feature, head * inputs + source, dy, dx);
                        }
                    }
                }
                Operator::Embed(_) | Operator::EmbedPlaced | Operator::OneHot { .. } => {
                    // Each number that is looked up becomes as many features as its row has.
                    let looked_up: usize = read.features.iter().product();
                    let row = self.width() / looked_up.max(1);
                    for feature in 0..self.width() {
                        depends(feature, feature / row, 0, 0);
                    }
                }
            }
        }
    }

    /// Features that are a product with a constant of zero; empty if the operator is no product.
    fn silent(&self) -> Vec<bool> {
        let is_product = matches!(&self.operator, Operator::Pointwise(node) if node.op_type() == "Mul");
        if !is_product {
            return Vec::new();
        }
        let mut silent = vec![false; self.width()];
        for operand in &self.operands {
            let Operand::Constant(constant) = operand else {
                continue;
            };
            let Some(factors) = constant.as_floats() else {
                continue;
            };
            let places = broadcast(&self.features, &constant.dims);
            for (silent, place) in silent.iter_mut().zip(places) {
                *silent |= factors[place] == 0.0;
            }
        }
        silent
    }

    fn concatenated(&self, features: &[usize]) -> usize {
        match self.operator {
            Operator::Concat { axis } => features.get(axis).copied().unwrap_or(1),
            _ => 0,
        }
    }
}

/// For every place of `shape` in row-major order, the place of an operand of shape `operand` that is broadcast to it.
/// Both have the same number of axes, or the operand has fewer, aligned at the end.
pub(super) fn broadcast<'a>(shape: &'a [usize], operand: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let missing = shape.len() - operand.len().min(shape.len());
    places(shape).map(move |place| {
        operand
            .iter()
            .zip(&place[missing..])
            .fold(0, |at, (&size, &index)| at * size + if size == 1 { 0 } else { index })
    })
}

/// For every place of the permuted tensor, the place in a tensor of shape `shape`; axis k of the result is axis
/// `order[k]`.
pub(super) fn permuted<'a>(shape: &'a [usize], order: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let result: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<usize> = (0..shape.len())
        .map(|axis| shape[axis + 1..].iter().product())
        .collect();
    places(&result)
        .map(|place| {
            place
                .iter()
                .zip(order)
                .map(|(&index, &axis)| index * strides[axis])
                .sum()
        })
        .collect::<Vec<_>>()
        .into_iter()
}

/// Every index of a tensor of this shape, in row-major order.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product()).map(move |mut at| {
        let mut place = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            place[axis] = at % shape[axis];
            at /= shape[axis];
        }
        place
    })
}

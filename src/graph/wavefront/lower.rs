//! Lowering: from a simplified ONNX graph to a [`Stencil`].
//!
//! The graph has been simplified for a batch of one, so that every shape in it is a number. Lowering follows the
//! meaning of each axis through the operators: batch, row, column, or features. Padding, cropping and shifting make no
//! tensors of their own; they become the place from which the next operator reads.

mod attention;
mod axes;
mod broadcast;
mod contraction;
mod convolution;
mod coordinates;
mod each;
mod line;
mod linear;
mod lookup;
mod mixing;
mod neighbours;
mod operators;
mod padding;
mod parts;
mod places;
mod raster;
mod recurrent;
mod resizing;
mod scatter;
mod scores;
mod shape;
mod so_far;
mod strides;

use std::collections::{HashMap, HashSet};

pub(super) use self::operators::is_pointwise;
use self::{
    axes::Axis,
    raster::Sequence,
    scores::{Scores, Truths},
};
use super::{
    Interface, Predictions, Unsupported,
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, Stride, Window},
};
use crate::graph::{
    constant::Constant,
    protobuf::{Model, Node, Tensor},
};

/// Reads the graph as a stencil, or says what in it is not one.
pub(super) fn lower(model: &Model, interface: &Interface<'_>) -> Result<Stencil, Unsupported> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| Unsupported::new("the file has no graph"))?;
    let shape = interface.shape;
    if shape.height() < 2 || shape.width() < 2 {
        return Err(Unsupported::new("images of a single row or column"));
    }
    let mut lowering = Lowering {
        tensors: Vec::new(),
        entities: HashMap::new(),
        truths: HashMap::new(),
        undefined: HashSet::new(),
        scores: HashMap::new(),
        sequences: HashMap::new(),
        parts: HashMap::new(),
        assumptions: Vec::new(),
        rounds_rows: false,
        so_far: HashSet::new(),
        summed: Vec::new(),
        has_ordered_channels: shape.channels() > 1 && matches!(interface.predictions, Predictions::OfChannels(_)),
    };
    // Constants are read where they are first needed: of a large graph that is none, most never are.
    let named = |tensor: &'_ Tensor| tensor.name.clone().unwrap_or_default();
    let mut unread: HashMap<String, &Tensor> = graph.initializers.iter().map(|t| (named(t), t)).collect();
    let (rows, columns) = (shape.height() as i64, shape.width() as i64);
    let image = lowering.push(StencilTensor {
        layer: interface.image.to_owned(),
        operator: Operator::Image,
        operands: Vec::new(),
        features: vec![shape.channels()],
        extent: Some((rows, columns)),
        stride: Stride::ONE,
        is_real: true,
    });
    let view = lowering.view(image, axes::of_pictures(shape.channels(), rows, columns));
    lowering.entities.insert(interface.image.to_owned(), Entity::View(view));
    if let Some(name) = interface.label {
        let label = lowering.push(StencilTensor {
            layer: name.to_owned(),
            operator: Operator::Label,
            operands: Vec::new(),
            features: Vec::new(),
            extent: None,
            stride: Stride::ONE,
            is_real: false,
        });
        let view = lowering.view(label, vec![Axis::Batch]);
        lowering.entities.insert(name.to_owned(), Entity::View(view));
    }
    for node in &graph.nodes {
        for name in &node.inputs {
            let Some(tensor) = unread.remove(name) else { continue };
            if let Some(constant) = Constant::read(tensor) {
                lowering.entities.insert(name.clone(), Entity::Constant(constant));
            } else if let Some(constant) = broadcast::short_integers(tensor) {
                lowering.entities.insert(name.clone(), Entity::Constant(constant));
            } else if let Some(truths) = Truths::read(tensor) {
                lowering.truths.insert(name.clone(), truths);
            }
        }
        lowering.node(node).map_err(|cause| cause.at(node))?;
    }
    let logits = lowering.logits(interface)?;
    let mut stencil = Stencil {
        shape,
        tensors: lowering.tensors,
        logits,
        predictions: interface.predictions,
        assumptions: lowering.assumptions,
        rounds_rows: lowering.rounds_rows,
        summed: lowering.summed,
    };
    stencil.forget_unused();
    stencil.check_shapes()?;
    Ok(stencil)
}

/// What reading one node comes to.
type Done = Result<(), Unsupported>;

struct Lowering {
    tensors: Vec<StencilTensor>,
    entities: HashMap<String, Entity>,
    /// Constants of truth values.
    truths: HashMap<String, Truths>,
    /// Whether what is between the two products of attention is no number.
    undefined: HashSet<String>,
    /// What is between the two products of attention.
    scores: HashMap<String, Scores>,
    /// Sequences of pixels that are longer or shorter than the picture.
    sequences: HashMap<String, Sequence>,
    /// Parts of concatenations, where they were found.
    parts: HashMap<parts::Part, Option<Read>>,
    /// What must hold of the numbers for the stencil to be what the graph computes.
    assumptions: Vec<String>,
    /// Whether a convolution along the pixels reads around the ends of rows.
    rounds_rows: bool,
    /// Tensors that have, at each place, what is known of the whole image so far.
    so_far: HashSet<usize>,
    /// What each pixel adds to such tensors.
    summed: Vec<usize>,
    /// Whether predictions of a channel see those of its pixel before it.
    has_ordered_channels: bool,
}

/// What a name in the graph stands for.
#[derive(Debug, Clone)]
enum Entity {
    Constant(Constant),
    View(View),
}

/// A tensor of the graph as a window on a tensor of the stencil: view(i, j) = tensor(i · down + dy, j · right + dx), or
/// zero outside the window.
#[derive(Debug, Clone)]
struct View {
    tensor: usize,
    axes: Vec<Axis>,
    stride: Stride,
    dy: i64,
    dx: i64,
    window: Window,
}

impl View {
    /// Rows and columns of the graph's tensor, if it has them.
    fn extent(&self) -> Option<(i64, i64)> {
        axes::extent(&self.axes)
    }

    fn features(&self) -> Vec<usize> {
        axes::features(&self.axes)
    }

    /// The same with a second axis of features, where it is of size 1 and means nothing: a picture of one channel.
    fn with_channels(mut self) -> Self {
        if let Some(axis @ Axis::Unit) = self.axes.get_mut(1) {
            *axis = Axis::Feature(1);
        }
        self
    }

    /// The same with axis `at` as one of its own, where it is the batch's: of a batch of one it does not show which of
    /// several axes of size 1 that is.
    fn beside_batch(mut self, at: usize) -> Self {
        let other = self.axes.iter().position(|&axis| axis == Axis::Unit);
        if let (Some(Axis::Batch), Some(other)) = (self.axes.get(at), other) {
            self.axes.swap(at, other);
        }
        self
    }

    fn read(&self, features: Vec<usize>) -> Read {
        Read {
            tensor: self.tensor,
            dy: self.dy,
            dx: self.dx,
            window: self.window,
            features,
        }
    }
}

impl Lowering {
    fn push(&mut self, tensor: StencilTensor) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    /// Adds a tensor that has the places of its operands, as many as the extent says.
    fn tensor(&mut self, mut tensor: StencilTensor) -> Result<usize, Unsupported> {
        let mut strides = tensor.operands.iter().filter_map(|operand| match operand {
            Operand::Tensor(read) => {
                let source = &self.tensors[read.tensor];
                source.extent.map(|_| source.stride)
            }
            Operand::Constant(_) | Operand::Table(_) => None,
        });
        tensor.stride = strides.next().unwrap_or(tensor.stride);
        if strides.any(|stride| stride != tensor.stride) {
            return Err(Unsupported::new("pictures of unlike resolution side by side"));
        }
        let is_so_far = self.is_so_far(&tensor.operands)?;
        let made = self.placed(tensor);
        if is_so_far {
            self.so_far.insert(made);
        }
        Ok(made)
    }

    /// Adds a tensor whose stride is known; its extent and its tables are in places of the graph.
    fn placed(&mut self, mut tensor: StencilTensor) -> usize {
        tensor.extent = tensor.extent.map(|extent| tensor.stride.spans(extent));
        for operand in &mut tensor.operands {
            if let Operand::Table(table) = operand {
                strides::stretch(table, tensor.stride);
            }
        }
        self.push(tensor)
    }

    /// The whole of a tensor.
    fn view(&self, tensor: usize, axes: Vec<Axis>) -> View {
        let (rows, columns) = self.tensors[tensor].extent.unwrap_or((1, 1));
        View {
            tensor,
            axes,
            stride: self.tensors[tensor].stride,
            dy: 0,
            dx: 0,
            window: Window::of_size(rows, columns),
        }
    }

    /// Whether a tensor is read as it is, at the place itself.
    fn is_plain(&self, read: &Read) -> bool {
        let whole = self.view(read.tensor, Vec::new()).window;
        (read.dy, read.dx, read.window) == (0, 0, whole)
    }

    /// Whether nothing of its tensor is left out, moved or added.
    fn is_whole(&self, view: &View) -> bool {
        self.is_plain(&view.read(Vec::new()))
    }

    fn entity(&self, name: &str) -> Result<&Entity, Unsupported> {
        self.entities.get(name).ok_or_else(|| {
            if self.scores.contains_key(name) {
                return Unsupported::new("attention over places");
            }
            if let Some(sequence) = self.sequences.get(name) {
                return sequence.unsupported();
            }
            Unsupported::new(format!(
                "{name:?} is neither computed from the image nor a constant of a known type"
            ))
        })
    }

    /// The entities of a node's inputs; optional ones that are left out at the end are missing.
    fn inputs(&self, node: &Node) -> Result<Vec<Entity>, Unsupported> {
        node.inputs
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| self.entity(name).cloned())
            .collect()
    }

    fn is_real(&self, operands: &[Operand]) -> bool {
        let reals = |operand: &Operand| match operand {
            Operand::Tensor(read) => self.tensors[read.tensor].is_real,
            Operand::Constant(constant) | Operand::Table(constant) => constant.as_floats().is_some(),
        };
        // The first operand of `Where` is a condition; all others agree with each other.
        operands.last().is_none_or(reals)
    }

    /// The tensor of what the network gives, of logits in the order levels, channels.
    fn logits(&mut self, interface: &Interface<'_>) -> Result<usize, Unsupported> {
        let Entity::View(view) = self.entity(interface.logits)?.clone() else {
            return Err(Unsupported::new("the logits do not depend on the image"));
        };
        let view = self.own_of(&Node::new("Identity", &[], interface.logits), &view)?;
        let shape = interface.shape;
        let (rows, columns) = (shape.height() as i64, shape.width() as i64);
        let spatial = [Axis::Row(rows), Axis::Column(columns)];
        let width: usize = view.features().iter().product();
        if !view.axes.ends_with(&spatial)
            || view.axes.first() != Some(&Axis::Batch)
            || width != interface.predictions.width(shape.channels())
        {
            return Err(Unsupported::new(match interface.predictions {
                Predictions::OfChannels(_) => "the logits are not laid out as batch, levels, channels, rows, columns",
                Predictions::OfPixels(_) => "the parameters are not laid out as batch, parameters, rows, columns",
            }));
        }
        if view.stride != Stride::ONE {
            return Err(Unsupported::new("logits that are not there for every pixel"));
        }
        if self.is_whole(&view)
            && self.tensors[view.tensor].is_real
            && !matches!(self.tensors[view.tensor].operator, Operator::Image)
        {
            return Ok(view.tensor);
        }
        let features = view.features();
        self.tensor(StencilTensor {
            layer: interface.logits.to_owned(),
            operator: Operator::Pointwise(Node::new("Identity", &[], "")),
            operands: vec![Operand::Tensor(view.read(features.clone()))],
            features,
            extent: Some((rows, columns)),
            stride: Stride::ONE,
            is_real: true,
        })
    }
}

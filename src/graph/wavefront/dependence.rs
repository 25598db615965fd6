//! The proof of causality for graphs that are no stencils: strides, transposed convolutions, pictures of other sizes.
//!
//! For every number of every tensor, the last dimension is found that it can see, in autoregressive order. An operator
//! passes on the largest of what it reads, so one walk over the graph gives that of every prediction. Weights that are
//! zero connect nothing. Whatever is not known exactly is taken to see more than it does: what is proven holds, and a
//! graph of which nothing is proven may still be causal.

mod mixing;
mod moving;

use std::{collections::HashMap, rc::Rc};

use super::{Interface, lower::is_pointwise};
use crate::graph::{
    constant::Constant,
    protobuf::{Model, Node, Tensor},
};

/// What sees nothing of the image.
const NOTHING: i32 = -1;
/// Numbers that are looked at before it is given up, some seconds of work.
const MOST_WORK: usize = 1 << 32;
/// Numbers of one tensor, at most. A small file can ask for a large one.
const MOST_NUMBERS: usize = 1 << 26;

/// The last dimension that each number of a tensor sees.
#[derive(Debug, Clone, PartialEq)]
struct Dependence {
    dims: Vec<usize>,
    last: Vec<i32>,
}

/// What a name in the graph stands for.
#[derive(Clone)]
enum Entity<'a> {
    Constant(&'a Tensor),
    Computed(Rc<Dependence>),
}

/// A walk over a graph.
struct Walk<'a> {
    entities: HashMap<&'a str, Entity<'a>>,
    opset: i64,
}

/// What an operator gives, unless it is one of which nothing is known.
type Sights = Option<Vec<Dependence>>;

/// Whether every prediction is proven to see dimensions before its own only. The graph has been simplified for a batch
/// of one.
pub(super) fn is_causal(model: &Model, interface: &Interface<'_>) -> bool {
    let Some(sight) = of_predictions(model, interface) else {
        return false;
    };
    let (channels, pixels) = (interface.shape.channels(), interface.shape.pixels());
    let width = interface.predictions.width(channels);
    sight.last.len() == width * pixels
        && sight.last.chunks_exact(pixels).enumerate().all(|(feature, plane)| {
            let hidden = interface.predictions.first_hidden(feature, channels);
            let mut places = plane.iter().enumerate();
            places.all(|(pixel, &last)| last < (pixel * channels + hidden) as i32)
        })
}

fn of_predictions(model: &Model, interface: &Interface<'_>) -> Option<Rc<Dependence>> {
    let graph = model.graph.as_ref()?;
    let shape = interface.shape;
    let mut walk = Walk {
        entities: HashMap::new(),
        opset: model.opset(),
    };
    for tensor in &graph.initializers {
        walk.entities.insert(tensor.name.as_deref()?, Entity::Constant(tensor));
    }
    let image = Dependence {
        dims: vec![1, shape.channels(), shape.height(), shape.width()],
        last: (0..shape.dimensions())
            .map(|index| shape.order_of(index) as i32)
            .collect(),
    };
    walk.entities.insert(interface.image, Entity::Computed(Rc::new(image)));
    if let Some(label) = interface.label {
        let label = (label, Entity::Computed(Rc::new(Dependence::of_nothing(vec![1])?)));
        walk.entities.extend([label]);
    }
    let mut last_read: HashMap<&str, usize> = HashMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        last_read.extend(node.inputs.iter().map(|input| (input.as_str(), at)));
    }
    let mut work = 0usize;
    for (at, node) in graph.nodes.iter().enumerate() {
        if let ("Constant", Some(value)) = (node.op_type(), node.attribute("value")) {
            let value = Entity::Constant(value.t.as_ref()?);
            walk.entities.insert(node.outputs.first()?, value);
            continue;
        }
        for (name, sight) in node.outputs.iter().zip(walk.node(node)?) {
            if sight.last.is_empty() || count(&sight.dims) != Some(sight.last.len()) {
                return None;
            }
            work = work.saturating_add(sight.last.len());
            walk.entities.insert(name, Entity::Computed(Rc::new(sight)));
        }
        if work > MOST_WORK {
            return None;
        }
        for input in &node.inputs {
            let is_over = last_read.get(input.as_str()) == Some(&at) && input != interface.logits;
            if is_over && matches!(walk.entities.get(input.as_str()), Some(Entity::Computed(_))) {
                walk.entities.remove(input.as_str());
            }
        }
    }
    walk.computed(interface.logits)
}

impl Walk<'_> {
    fn node(&self, node: &Node) -> Sights {
        if !matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return None;
        }
        let is_constant =
            |name: &String| name.is_empty() || matches!(self.entities.get(name.as_str()), Some(Entity::Constant(_)));
        let takes_many = matches!(node.op_type(), "Concat" | "Gather" | "Mul") || is_pointwise(node.op_type());
        // Weights, biases and bounds that are computed could see anything.
        if !takes_many && !node.inputs.iter().skip(1).all(is_constant) {
            return None;
        }
        let one = match node.op_type() {
            "Conv" => self.convolution(node),
            "ConvTranspose" => self.transposed_convolution(node),
            "AveragePool" | "MaxPool" => self.pool(node),
            "MatMul" => self.product(node),
            "Gemm" => self.gemm(node),
            "Softmax" | "LogSoftmax" | "LayerNormalization" => self.along_axis(node),
            "InstanceNormalization" | "GroupNormalization" => self.over_picture(node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.over_picture(node).and_then(|all| all.first_place()),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare"
            | "ReduceLogSumExp" | "ReduceProd" => self.reduce(node),
            "BatchNormalization" if node.int("training_mode", 0) != 0 || node.outputs.len() > 1 => None,
            "Identity" | "Dropout" | "BatchNormalization" => self.first(node).map(|first| (*first).clone()),
            "Concat" => self.concat(node),
            "Split" => return self.split(node),
            "Slice" => self.slice(node),
            "Pad" => self.pad(node),
            "Gather" => self.gather(node).or_else(|| self.looked_up(node)),
            "OneHot" if node.int("axis", -1) == -1 => self.first(node).and_then(|first| {
                let depth = self.constant(node, 1)?.single()?;
                first.repeated(&[depth as usize])
            }),
            "Transpose" => self.transpose(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(node),
            "DepthToSpace" => self.depth_to_space(node),
            "SpaceToDepth" => self.space_to_depth(node),
            "Expand" => self.expand(node),
            "Mul" => self.masked(node).or_else(|| self.pointwise(node)),
            name if is_pointwise(name) => self.pointwise(node),
            _ => None,
        };
        Some(vec![one?])
    }

    fn computed(&self, name: &str) -> Option<Rc<Dependence>> {
        match self.entities.get(name)? {
            Entity::Computed(sight) => Some(Rc::clone(sight)),
            Entity::Constant(_) => None,
        }
    }

    fn first(&self, node: &Node) -> Option<Rc<Dependence>> {
        self.computed(node.inputs.first()?)
    }

    /// The constant of an input.
    fn constant(&self, node: &Node, at: usize) -> Option<Constant> {
        match self.entities.get(node.inputs.get(at)?.as_str())? {
            Entity::Constant(tensor) => Constant::read(tensor),
            Entity::Computed(_) => None,
        }
    }

    /// Whole numbers that are an input of newer graphs and an attribute of older ones. `None` if there are none or they
    /// are computed.
    fn ints(&self, node: &Node, at: usize, attribute: &str) -> Option<Vec<i64>> {
        match node.inputs.get(at).map(String::as_str) {
            None | Some("") => node.ints(attribute).map(<[i64]>::to_vec),
            Some(_) => Some(self.constant(node, at)?.as_ints()?.to_vec()),
        }
    }

    /// A product by a constant whose zeros let nothing through.
    fn masked(&self, node: &Node) -> Option<Dependence> {
        let (x, mask) = match (self.first(node), self.constant(node, 1)) {
            (Some(x), Some(mask)) => (x, mask),
            _ => (self.computed(node.inputs.get(1)?)?, self.constant(node, 0)?),
        };
        let open = mask.as_floats()?.iter().map(|&factor| i32::from(factor != 0.0));
        let open = Dependence {
            dims: mask.dims.clone(),
            last: open.collect(),
        };
        let dims = moving::broadcast([&x.dims[..], &open.dims[..]])?;
        let (x, open) = (x.expanded(&dims)?, open.expanded(&dims)?);
        let mut last = x.last;
        for (last, open) in last.iter_mut().zip(open.last) {
            if open == 0 {
                *last = NOTHING;
            }
        }
        Some(Dependence { dims, last })
    }

    fn pointwise(&self, node: &Node) -> Option<Dependence> {
        let mut operands: Vec<Rc<Dependence>> = Vec::new();
        let mut shapes: Vec<Vec<usize>> = Vec::new();
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            match self.entities.get(name.as_str())? {
                Entity::Computed(sight) => operands.push(Rc::clone(sight)),
                Entity::Constant(tensor) => {
                    let dims = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
                    shapes.push(dims.collect::<Option<_>>()?);
                }
            }
        }
        shapes.extend(operands.iter().map(|sight| sight.dims.clone()));
        let dims = moving::broadcast(shapes.iter().map(Vec::as_slice))?;
        let mut all = Dependence::of_nothing(dims)?;
        for operand in operands {
            all.see(&operand)?;
        }
        Some(all)
    }
}

/// Numbers of a tensor of this shape, if they are not too many.
fn count(dims: &[usize]) -> Option<usize> {
    let all = dims.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    all.filter(|&all| all <= MOST_NUMBERS)
}

impl Dependence {
    fn of_nothing(dims: Vec<usize>) -> Option<Self> {
        let last = vec![NOTHING; count(&dims)?];
        Some(Self { dims, last })
    }

    /// What is seen here and there, where the other is broadcast.
    fn see(&mut self, other: &Self) -> Option<()> {
        let expanded;
        let other = if other.dims == self.dims {
            other
        } else {
            expanded = other.expanded(&self.dims)?;
            &expanded
        };
        for (own, &other) in self.last.iter_mut().zip(&other.last) {
            *own = (*own).max(other);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;

//! What each ONNX operator means to a stencil.

use super::{
    Builder, Done, Entity, View,
    axes::{self, Axis},
};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator, StencilTensor},
    },
};

/// Operators that work on each number by itself.
const POINTWISE: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
];

/// Pointwise operators whose result is not made of 32-bit reals.
const TRUTH: &[&str] = &[
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
    "Xor",
];

const FLOAT: i64 = 1;

impl Builder {
    pub(super) fn node(&mut self, node: &Node) -> Done {
        if !matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return Err(Unsupported::new("an operator of another domain"));
        }
        match node.op_type() {
            "Identity" | "Dropout" => self.alias(node),
            "Constant" => self.constant(node),
            "Conv" => self.convolution(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.product(node),
            "BatchNormalization" => self.batch_normalization(node),
            "LayerNormalization" => self.layer_normalization(node),
            "Softmax" | "LogSoftmax" => self.softmax(node),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2"
            | "ReduceSumSquare" | "ReduceLogSumExp" | "ReduceProd" => self.reduce(node),
            "Concat" => self.concat(node),
            "Split" => self.split(node),
            "Slice" => self.slice(node),
            "Pad" => self.pad(node),
            "Gather" => self.gather(node),
            "GatherND" => self.gather_rows(node),
            "OneHot" => self.one_hot(node),
            "Transpose" => self.transpose(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(node),
            "Expand" => self.expand(node),
            name if POINTWISE.contains(&name) => self.pointwise(node),
            _ => Err(Unsupported::new(
                "an operator that is not the same at every pixel, or not known",
            )),
        }
    }

    pub(super) fn define(&mut self, node: &Node, entity: Entity) -> Done {
        let name = node
            .outputs
            .first()
            .ok_or_else(|| Unsupported::new("a node without output"))?;
        self.entities.insert(name.clone(), entity);
        Ok(())
    }

    /// Makes a tensor and calls it what the node's output is called.
    pub(super) fn make(
        &mut self,
        node: &Node,
        operator: Operator,
        operands: Vec<Operand>,
        axes: Vec<Axis>,
    ) -> Done {
        let is_real = match node.op_type() {
            name if TRUTH.contains(&name) => false,
            "Cast" => node.int("to", FLOAT) == FLOAT,
            "Gather" | "GatherND" | "OneHot" => true,
            _ => self.is_real(&operands),
        };
        let tensor = self.tensor(StencilTensor {
            layer: node.name.clone().unwrap_or_default(),
            operator,
            operands,
            features: axes::features(&axes),
            extent: axes::extent(&axes),
            is_real,
        });
        let view = self.view(tensor, axes);
        self.define(node, Entity::View(view))
    }

    pub(super) fn first_view(&self, node: &Node) -> Result<View, Unsupported> {
        let name = node
            .inputs
            .first()
            .ok_or_else(|| Unsupported::new("a node without input"))?;
        match self.entity(name)? {
            Entity::View(view) => Ok(view.clone()),
            Entity::Constant(_) => Err(Unsupported::new("a constant that was not folded")),
        }
    }

    /// The constant of input `at`, if that input is given.
    pub(super) fn constant_input(
        &self,
        node: &Node,
        at: usize,
    ) -> Result<Option<Constant>, Unsupported> {
        match node.inputs.get(at).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(name) => match self.entity(name)? {
                Entity::Constant(constant) => Ok(Some(constant.clone())),
                Entity::View(_) => Err(Unsupported::new(format!(
                    "input {name:?} is not a constant"
                ))),
            },
        }
    }

    pub(super) fn ints_input(
        &self,
        node: &Node,
        at: usize,
    ) -> Result<Option<Vec<i64>>, Unsupported> {
        Ok(self
            .constant_input(node, at)?
            .and_then(|constant| constant.as_ints().map(<[i64]>::to_vec)))
    }

    pub(super) fn floats_input(&self, node: &Node, at: usize) -> Result<Vec<f32>, Unsupported> {
        self.constant_input(node, at)?
            .and_then(|constant| constant.as_floats().map(<[f32]>::to_vec))
            .ok_or_else(|| Unsupported::new(format!("input {at} is not a constant of reals")))
    }

    pub(super) fn alias(&mut self, node: &Node) -> Done {
        let name = node.inputs.first().map(String::as_str).unwrap_or_default();
        let entity = self.entity(name)?.clone();
        self.define(node, entity)
    }

    pub(super) fn constant(&mut self, node: &Node) -> Done {
        let constant = node
            .attribute("value")
            .and_then(|attribute| attribute.t.as_ref())
            .and_then(Constant::read)
            .ok_or_else(|| Unsupported::new("a constant of an unknown type"))?;
        self.define(node, Entity::Constant(constant))
    }

    pub(super) fn pointwise(&mut self, node: &Node) -> Done {
        let entities = self.inputs(node)?;
        if node.op_type() == "Clip" {
            return self.clip(node);
        }
        let rank = entities
            .iter()
            .map(|entity| match entity {
                Entity::View(view) => view.axes.len(),
                Entity::Constant(constant) => constant.dims.len(),
            })
            .max()
            .unwrap_or(0);
        let axes = (0..rank)
            .map(|at| broadcast_axis(&entities, rank - at))
            .collect::<Result<Vec<_>, _>>()?;
        let extent = axes::extent(&axes);
        let operands = entities
            .iter()
            .map(|entity| match entity {
                Entity::View(view) => {
                    if view.extent().is_some() && view.extent() != extent {
                        return Err(Unsupported::new("operands of unlike sizes"));
                    }
                    Ok(Operand::Tensor(view.read(aligned(&view.axes, &axes))))
                }
                Entity::Constant(constant) => spread(constant, &axes),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if !operands
            .iter()
            .any(|operand| matches!(operand, Operand::Tensor(_)))
        {
            return Err(Unsupported::new("a constant that was not folded"));
        }
        self.make(node, Operator::Pointwise(node.clone()), operands, axes)
    }

    /// Bounds are scalars, not broadcast operands; they travel with the node as constants without axes.
    pub(super) fn clip(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let features = view.features();
        let mut operands = vec![Operand::Tensor(view.read(features))];
        for (at, unbounded) in [(1, f32::NEG_INFINITY), (2, f32::INFINITY)] {
            let bound = match self.constant_input(node, at)? {
                Some(constant) => constant,
                None => Constant::floats(Vec::new(), vec![unbounded]),
            };
            operands.push(Operand::Constant(bound.reshaped(Vec::new())));
        }
        self.make(node, Operator::Pointwise(node.clone()), operands, view.axes)
    }
}

/// The meaning of the axis that lies `from_end` places before the end in the result of broadcasting.
fn broadcast_axis(entities: &[Entity], from_end: usize) -> Result<Axis, Unsupported> {
    let mut result = Axis::Unit;
    for entity in entities {
        let axis = match entity {
            Entity::View(view) if from_end <= view.axes.len() => {
                view.axes[view.axes.len() - from_end]
            }
            Entity::Constant(constant) if from_end <= constant.dims.len() => {
                match constant.dims[constant.dims.len() - from_end] {
                    1 => Axis::Unit,
                    size => Axis::Feature(size),
                }
            }
            _ => Axis::Unit,
        };
        let is_constant = matches!(entity, Entity::Constant(_));
        result = match (result, axis) {
            (a, b) if a == b => a,
            (a, Axis::Unit | Axis::Feature(1)) if a != Axis::Unit => a,
            (Axis::Unit | Axis::Feature(1), b) => b,
            (a, Axis::Feature(size)) if is_constant && a.is_spatial() && a.size() == size => a,
            (Axis::Feature(size), b) if b.is_spatial() && b.size() == size => b,
            _ => {
                return Err(Unsupported::new(
                    "operands whose axes mean different things",
                ));
            }
        };
    }
    Ok(result)
}

/// The shape under which the features of a tensor with axes `own` align with those of the broadcast result.
pub(super) fn aligned(own: &[Axis], result: &[Axis]) -> Vec<usize> {
    let missing = result.len() - own.len();
    result
        .iter()
        .enumerate()
        .filter(|(_, axis)| matches!(axis, Axis::Feature(_)))
        .map(|(at, _)| match at.checked_sub(missing).map(|at| own[at]) {
            Some(Axis::Feature(size)) => size,
            _ => 1,
        })
        .collect()
}

/// A constant beside tensors with the given axes: the same at every pixel, or a table by pixel.
pub(super) fn spread(constant: &Constant, axes: &[Axis]) -> Result<Operand, Unsupported> {
    let missing = axes.len() - constant.dims.len().min(axes.len());
    let size = |at: usize| match at.checked_sub(missing) {
        Some(at) => constant.dims[at],
        None => 1,
    };
    let features: Vec<usize> = axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| matches!(axis, Axis::Feature(_)))
        .map(|(at, _)| size(at))
        .collect();
    let (mut dims, mut sources) = (Vec::new(), Vec::new());
    let strides: Vec<usize> = (0..axes.len())
        .map(|at| (at + 1..axes.len()).map(size).product())
        .collect();
    let (rows, columns) = axes::extent(axes).unwrap_or((1, 1));
    for (at, &axis) in axes.iter().enumerate() {
        match axis {
            Axis::Batch | Axis::Unit if size(at) != 1 => {
                return Err(Unsupported::new("a constant that differs within the batch"));
            }
            _ => {}
        }
    }
    // Where the value of a pixel begins, by row and column.
    let place = |row: i64, column: i64| -> usize {
        axes.iter()
            .enumerate()
            .map(|(at, &axis)| {
                let index = match axis {
                    Axis::Row(_) => row,
                    Axis::Column(_) => column,
                    Axis::Pixels(_, columns) => row * columns + column,
                    _ => 0,
                };
                if size(at) == 1 {
                    0
                } else {
                    index as usize * strides[at]
                }
            })
            .sum()
    };
    let feature_strides: Vec<usize> = axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| matches!(axis, Axis::Feature(_)))
        .map(|(at, _)| strides[at])
        .collect();
    let count: usize = features.iter().product();
    let within: Vec<usize> = (0..count)
        .map(|mut at| {
            let mut offset = 0;
            for axis in (0..features.len()).rev() {
                offset += at % features[axis] * feature_strides[axis];
                at /= features[axis];
            }
            offset
        })
        .collect();
    for row in 0..rows {
        for column in 0..columns {
            let start = place(row, column);
            sources.extend(within.iter().map(|offset| start + offset));
        }
    }
    let is_spatial = axes
        .iter()
        .enumerate()
        .any(|(at, axis)| axis.is_spatial() && size(at) > 1);
    if !is_spatial {
        sources.truncate(count);
        return Ok(Operand::Constant(
            constant.rearranged(features, sources.into_iter()),
        ));
    }
    dims.extend([rows as usize, columns as usize]);
    dims.extend(&features);
    let table = constant.rearranged(dims, sources.into_iter());
    Ok(
        uniform(&table, count).map_or(Operand::Table(table), |values| {
            Operand::Constant(values.reshaped(features))
        }),
    )
}

/// The value at every pixel, if it is the same one.
fn uniform(table: &Constant, count: usize) -> Option<Constant> {
    let first = table.rearranged(vec![count], 0..count);
    let same = match (&table.values, &first.values) {
        (Values::Floats(all), Values::Floats(first)) => all.chunks(count).all(|own| own == first),
        (Values::Ints(all), Values::Ints(first)) => all.chunks(count).all(|own| own == first),
        _ => false,
    };
    same.then_some(first)
}

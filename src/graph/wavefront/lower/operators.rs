//! What each ONNX operator means to a stencil.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    broadcast::{INT32, aligned, broadcast_axis, spread},
    strides::of_node,
};
use crate::graph::{
    constant::Constant,
    protobuf::{ElementType, Node},
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator},
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
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
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

/// Whether an operator works on each number by itself.
pub(in crate::graph::wavefront) fn is_pointwise(operator: &str) -> bool {
    POINTWISE.contains(&operator)
}

impl Lowering {
    pub(super) fn node(&mut self, node: &Node) -> Done {
        if !matches!(node.domain.as_deref(), None | Some("" | "ai.onnx")) {
            return Err(Unsupported::new("an operator of another domain"));
        }
        if let Some((at, scores)) = self.scores_of(node) {
            return self.on_scores(node, at, scores);
        }
        if let Some(sequence) = self.sequence_of(node) {
            return self.on_sequence(node, sequence);
        }
        match node.op_type() {
            "Identity" | "Dropout" => self.alias(node),
            "Constant" => self.constant(node),
            "Conv" => self.convolution(node),
            "ConvTranspose" => self.transposed_convolution(node),
            "AveragePool" | "MaxPool" => self.pool(node),
            "Resize" | "Upsample" => self.enlarge(node),
            "DepthToSpace" => self.depth_to_space(node),
            "SpaceToDepth" => self.space_to_depth(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.product(node),
            "BatchNormalization" => self.batch_normalization(node),
            "LayerNormalization" => self.layer_normalization(node),
            "Softmax" | "LogSoftmax" => self.softmax(node),
            "InstanceNormalization" => self.instance_normalization(node),
            "ArgMax" | "ArgMin" => self.reduce(node),
            "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare"
            | "ReduceLogSumExp" | "ReduceProd" => self.reduce(node),
            "Concat" => self.concat(node),
            "Split" => self.split(node),
            "Slice" => self.slice(node),
            "Pad" => self.pad(node),
            "Gather" => self.gather(node),
            "GatherND" => self.gather_rows(node),
            "OneHot" => self.one_hot(node),
            "ScatterND" => self.scatter(node),
            "ScatterElements" => self.mark(node),
            "GlobalAveragePool" | "GlobalMaxPool" => self.global_pool(node),
            "CumSum" => self.running_sum(node),
            "LSTM" | "GRU" | "RNN" => self.recurrent(node),
            "Tile" => self.tile(node),
            "Einsum" => self.einsum(node),
            "Transpose" => self.transpose(node),
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => self.reshape(node),
            "Expand" => self.expand(node),
            name if is_pointwise(name) => self.pointwise(node),
            name => Err(Unsupported::new(reason(name))),
        }
    }

    pub(super) fn define(&mut self, node: &Node, entity: Entity) -> Done {
        self.entities.insert(output_of(node)?, entity);
        Ok(())
    }

    /// Makes a tensor and calls it what the node's output is called.
    pub(super) fn make(&mut self, node: &Node, operator: Operator, operands: Vec<Operand>, axes: Vec<Axis>) -> Done {
        let is_real = match (&operator, node.op_type()) {
            (Operator::OneHot { values, .. }, _) => values.as_floats().is_some(),
            (Operator::Embed(_) | Operator::EmbedPlaced, _) => true,
            (_, name) if TRUTH.contains(&name) => false,
            (_, "Cast") => node.int("to", FLOAT) == FLOAT,
            _ => self.is_real(&operands),
        };
        let tensor = self.tensor(of_node(node, operator, operands, &axes, is_real))?;
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
    pub(super) fn constant_input(&self, node: &Node, at: usize) -> Result<Option<Constant>, Unsupported> {
        match node.inputs.get(at).map(String::as_str) {
            None | Some("") => Ok(None),
            Some(name) => match self.entity(name)? {
                Entity::Constant(constant) => Ok(Some(constant.clone())),
                Entity::View(_) => Err(Unsupported::new(
                    "weights, sizes or indices that are computed from the image",
                )),
            },
        }
    }

    pub(super) fn ints_input(&self, node: &Node, at: usize) -> Result<Option<Vec<i64>>, Unsupported> {
        Ok(self
            .constant_input(node, at)?
            .and_then(|constant| constant.as_ints().map(<[i64]>::to_vec)))
    }

    pub(super) fn floats_input(&self, node: &Node, at: usize) -> Result<Vec<f32>, Unsupported> {
        self.constant_input(node, at)?
            .and_then(|constant| constant.as_floats().map(<[f32]>::to_vec))
            .ok_or_else(|| Unsupported::new("parameters that are not constant real numbers"))
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
        let entities = self.operands_of(node)?;
        if node.op_type() == "Clip" {
            return self.clip(node);
        }
        if node.op_type() == "Sub" && matches!(&node.inputs[..], [one, other] if one == other) {
            return self.nothing_of(node);
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
        if !operands.iter().any(|operand| matches!(operand, Operand::Tensor(_))) {
            return Err(Unsupported::new("a constant that was not folded"));
        }
        // All whole numbers have 64 bits, as constants do.
        let is_short = node.op_type() == "Cast" && node.int("to", FLOAT) == i64::from(INT32);
        let own = if is_short {
            let bare = Node {
                attributes: Vec::new(),
                ..node.clone()
            };
            bare.with_int("to", ElementType::Int64 as i64)
        } else {
            node.clone()
        };
        self.make(node, Operator::Pointwise(own), operands, axes)
    }

    /// The entities of a node's inputs; truth values by which something is chosen are ones and zeros.
    fn operands_of(&self, node: &Node) -> Result<Vec<Entity>, Unsupported> {
        let (name, truths) = match &node.inputs[..] {
            [name, _, _] if node.op_type() == "Where" => (name, self.truths.get(name)),
            _ => return self.inputs(node),
        };
        let Some(truths) = truths.filter(|_| !self.entities.contains_key(name)) else {
            return self.inputs(node);
        };
        let numbers = truths.values.iter().map(|&truth| f32::from(u8::from(truth))).collect();
        let condition = Entity::Constant(Constant::floats(truths.dims.clone(), numbers));
        let others = node.inputs[1..].iter().map(|name| self.entity(name).cloned());
        std::iter::once(Ok(condition)).chain(others).collect()
    }

    /// What is left of a value less itself: a product with zero, which is known to see nothing.
    fn nothing_of(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let operands = vec![
            Operand::Tensor(view.read(view.features())),
            Operand::Constant(Constant::floats(vec![], vec![0.0])),
        ];
        let product = Operator::Pointwise(Node::new("Mul", &[], ""));
        self.make(node, product, operands, view.axes)
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

/// What the node's output is called.
pub(super) fn output_of(node: &Node) -> Result<String, Unsupported> {
    let name = node.outputs.first().cloned();
    name.ok_or_else(|| Unsupported::new("a node without output"))
}

/// Why an operator that is not known has no place in a stencil, as the author of the network would say it.
fn reason(operator: &str) -> &'static str {
    match operator {
        "GroupNormalization" | "MeanVarianceNormalization" | "LpNormalization" => "normalisation over places",
        "Attention" | "MultiHeadAttention" => "attention over places",
        "GlobalLpPool" => "pooling over the whole image",
        "LpPool" => "pooling of neighbours",
        "GridSample" => "resizing",
        "If" | "Loop" | "Scan" => "a branch or a loop",
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike" | "Bernoulli" | "Multinomial" => {
            "a random draw"
        }
        _ => "an operator that the compiler does not know",
    }
}

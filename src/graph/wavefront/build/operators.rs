//! What each ONNX operator means to a stencil.

use super::{
    Builder, Entity, View,
    axes::{self, Axis},
};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{self, Linear, Operand, Operator, StencilTensor, Tap},
    },
};

type Done = Result<(), Unsupported>;

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

    fn define(&mut self, node: &Node, entity: Entity) -> Done {
        let name = node
            .outputs
            .first()
            .ok_or_else(|| Unsupported::new("a node without output"))?;
        self.entities.insert(name.clone(), entity);
        Ok(())
    }

    /// Makes a tensor and calls it what the node's output is called.
    fn make(
        &mut self,
        node: &Node,
        operator: Operator,
        operands: Vec<Operand>,
        axes: Vec<Axis>,
    ) -> Done {
        let is_real = match node.op_type() {
            name if TRUTH.contains(&name) => false,
            "Cast" => node.int("to", FLOAT) == FLOAT,
            "Gather" | "OneHot" => true,
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

    fn first_view(&self, node: &Node) -> Result<View, Unsupported> {
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
    fn constant_input(&self, node: &Node, at: usize) -> Result<Option<Constant>, Unsupported> {
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

    fn ints_input(&self, node: &Node, at: usize) -> Result<Option<Vec<i64>>, Unsupported> {
        Ok(self
            .constant_input(node, at)?
            .and_then(|constant| constant.as_ints().map(<[i64]>::to_vec)))
    }

    fn floats_input(&self, node: &Node, at: usize) -> Result<Vec<f32>, Unsupported> {
        self.constant_input(node, at)?
            .and_then(|constant| constant.as_floats().map(<[f32]>::to_vec))
            .ok_or_else(|| Unsupported::new(format!("input {at} is not a constant of reals")))
    }

    fn alias(&mut self, node: &Node) -> Done {
        let name = node.inputs.first().map(String::as_str).unwrap_or_default();
        let entity = self.entity(name)?.clone();
        self.define(node, entity)
    }

    fn constant(&mut self, node: &Node) -> Done {
        let constant = node
            .attribute("value")
            .and_then(|attribute| attribute.t.as_ref())
            .and_then(Constant::read)
            .ok_or_else(|| Unsupported::new("a constant of an unknown type"))?;
        self.define(node, Entity::Constant(constant))
    }

    fn convolution(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let [
            Axis::Batch,
            Axis::Feature(channels),
            Axis::Row(rows),
            Axis::Column(columns),
        ] = view.axes[..]
        else {
            return Err(Unsupported::new(
                "a convolution over other axes than rows and columns",
            ));
        };
        let kernel = self
            .constant_input(node, 1)?
            .ok_or_else(|| Unsupported::new("a convolution without weights"))?;
        let ([outputs, per_group, height, width], Some(weights)) =
            (&kernel.dims[..], kernel.as_floats())
        else {
            return Err(Unsupported::new(
                "weights that are not real [out, in, rows, columns]",
            ));
        };
        let (outputs, per_group, height, width) = (*outputs, *per_group, *height, *width);
        if node
            .ints("strides")
            .is_some_and(|strides| strides.iter().any(|&s| s != 1))
        {
            return Err(Unsupported::new(
                "a stride: its result is not a value for each pixel",
            ));
        }
        let dilations = node.ints("dilations").unwrap_or(&[1, 1]).to_vec();
        let groups = node.int("group", 1).max(1) as usize;
        if per_group * groups != channels || !outputs.is_multiple_of(groups) || dilations.len() != 2
        {
            return Err(Unsupported::new("weights that do not fit the input"));
        }
        let reach = [
            (height as i64 - 1) * dilations[0],
            (width as i64 - 1) * dilations[1],
        ];
        let pads = paddings(node, reach)?;
        let extent = (
            rows + pads[0] + pads[2] - reach[0],
            columns + pads[1] + pads[3] - reach[1],
        );
        let mut taps = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let mut matrix = vec![0.0; channels * outputs];
                for out in 0..outputs {
                    let group = out / (outputs / groups);
                    for input in 0..per_group {
                        matrix[(group * per_group + input) * outputs + out] =
                            weights[((out * per_group + input) * height + y) * width + x];
                    }
                }
                if matrix.iter().any(|&weight| weight != 0.0) {
                    taps.push(Tap {
                        dy: y as i64 * dilations[0] - pads[0],
                        dx: x as i64 * dilations[1] - pads[1],
                        weights: matrix,
                    });
                }
            }
        }
        let bias = match node.inputs.get(2).map(String::as_str) {
            None | Some("") => None,
            Some(_) => Some(self.floats_input(node, 2)?),
        };
        let linear = Linear {
            inputs: channels,
            outputs,
            taps,
            bias,
        };
        let axes = vec![
            Axis::Batch,
            Axis::Feature(outputs),
            Axis::Row(extent.0),
            Axis::Column(extent.1),
        ];
        let read = view.read(vec![channels]);
        self.make(
            node,
            Operator::Linear(linear),
            vec![Operand::Tensor(read)],
            axes,
        )
    }

    fn gemm(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        if node.int("transA", 0) != 0 {
            return Err(Unsupported::new("a transposed left factor"));
        }
        let alpha = node.float("alpha", 1.0);
        let bias = match self.constant_input(node, 2)? {
            None => None,
            Some(constant) => {
                let beta = node.float("beta", 1.0);
                let last = constant.dims.last().copied().unwrap_or(1);
                let values = constant.as_floats().filter(|values| values.len() == last);
                let values =
                    values.ok_or_else(|| Unsupported::new("a bias that is not one row"))?;
                Some(values.iter().map(|v| v * beta).collect::<Vec<_>>())
            }
        };
        self.linear(node, &view, node.int("transB", 0) != 0, alpha, bias)
    }

    fn product(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        self.linear(node, &view, false, 1.0, None)
    }

    /// The last axis times the constant matrix of input 1.
    fn linear(
        &mut self,
        node: &Node,
        view: &View,
        transposed: bool,
        alpha: f32,
        bias: Option<Vec<f32>>,
    ) -> Done {
        let matrix = self
            .constant_input(node, 1)?
            .ok_or_else(|| Unsupported::new("a product without right factor"))?;
        let rank = matrix.dims.len();
        let (Some(&Axis::Feature(inputs)), [.., a, b], Some(values)) =
            (view.axes.last(), &matrix.dims[..], matrix.as_floats())
        else {
            return Err(Unsupported::new(
                "a product over another axis than features",
            ));
        };
        if view.features().iter().product::<usize>() != inputs
            || matrix.dims[..rank - 2].iter().any(|&size| size != 1)
        {
            return Err(Unsupported::new(
                "a product over some of several axes of features",
            ));
        }
        let (rows, outputs) = if transposed { (*b, *a) } else { (*a, *b) };
        if rows != inputs {
            return Err(Unsupported::new("weights that do not fit the input"));
        }
        let bias = match bias {
            Some(bias) if bias.len() == 1 => Some(vec![bias[0]; outputs]),
            other => other,
        };
        let weights = (0..inputs * outputs)
            .map(|at| {
                let (input, out) = (at / outputs, at % outputs);
                alpha * values[if transposed { out * inputs + input } else { at }]
            })
            .collect();
        let linear = Linear {
            inputs,
            outputs,
            taps: vec![Tap {
                dy: 0,
                dx: 0,
                weights,
            }],
            bias,
        };
        let mut axes = view.axes.clone();
        if let Some(last) = axes.last_mut() {
            *last = Axis::Feature(outputs);
        }
        let read = view.read(vec![inputs]);
        self.make(
            node,
            Operator::Linear(linear),
            vec![Operand::Tensor(read)],
            axes,
        )
    }

    /// (x − mean) · scale / √(variance + ε) + bias, with the constants folded into one factor and one summand.
    fn batch_normalization(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        if node.int("training_mode", 0) != 0 || !matches!(view.axes.get(1), Some(Axis::Feature(_)))
        {
            return Err(Unsupported::new("normalisation over a batch"));
        }
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|at| self.floats_input(node, at));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let epsilon = f64::from(node.float("epsilon", 1e-5));
        let features = view.features();
        if [&scale, &bias, &mean, &variance]
            .iter()
            .any(|values| values.len() != features[0])
        {
            return Err(Unsupported::new("constants that do not fit the input"));
        }
        let factor: Vec<f64> = scale
            .iter()
            .zip(&variance)
            .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + epsilon).sqrt())
            .collect();
        let summand = bias
            .iter()
            .zip(&mean)
            .zip(&factor)
            .map(|((&bias, &mean), factor)| (f64::from(bias) - f64::from(mean) * factor) as f32)
            .collect();
        let mut dims = vec![1; features.len()];
        dims[0] = features[0];
        let factor = Constant::floats(dims.clone(), factor.iter().map(|&f| f as f32).collect());
        let scaled = self.tensor(StencilTensor {
            layer: node.name.clone().unwrap_or_default(),
            operator: Operator::Pointwise(Node::new("Mul", &[], "")),
            operands: vec![
                Operand::Tensor(view.read(features.clone())),
                Operand::Constant(factor),
            ],
            features: features.clone(),
            extent: view.extent(),
            is_real: true,
        });
        let read = self.view(scaled, view.axes.clone()).read(features);
        let operands = vec![
            Operand::Tensor(read),
            Operand::Constant(Constant::floats(dims, summand)),
        ];
        let add = Operator::Pointwise(Node::new("Add", &[], ""));
        self.make(node, add, operands, view.axes)
    }

    fn layer_normalization(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let from = axes::resolve(node.int("axis", -1), view.axes.len())?;
        let normalised = &view.axes[from..];
        if normalised
            .iter()
            .any(|axis| !matches!(axis, Axis::Feature(_) | Axis::Unit))
        {
            return Err(Unsupported::new("normalisation over places"));
        }
        let sizes = axes::features(normalised);
        let features = view.features();
        let mut operands = vec![Operand::Tensor(view.read(features.clone()))];
        for at in [1, 2] {
            if let Some(constant) = self.constant_input(node, at)? {
                if constant.size() != sizes.iter().product::<usize>() {
                    return Err(Unsupported::new("constants that do not fit the input"));
                }
                operands.push(Operand::Constant(constant.reshaped(sizes.clone())));
            }
        }
        let operator = Operator::Mix {
            node: node.clone(),
            axes: (features.len() - sizes.len()..features.len()).collect(),
        };
        self.make(node, operator, operands, view.axes)
    }

    fn softmax(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let axis = axes::resolve(node.int("axis", -1), view.axes.len())?;
        let Axis::Feature(_) = view.axes[axis] else {
            return Err(Unsupported::new("a softmax over places"));
        };
        let operator = Operator::Mix {
            node: node.clone(),
            axes: vec![axes::feature_index(&view.axes, axis)],
        };
        let read = view.read(view.features());
        self.make(node, operator, vec![Operand::Tensor(read)], view.axes)
    }

    fn reduce(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let given = match node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.ints_input(node, 1)?,
        };
        let over = given
            .filter(|axes| !axes.is_empty())
            .ok_or_else(|| Unsupported::new("a reduction over everything"))?
            .into_iter()
            .map(|axis| axes::resolve(axis, view.axes.len()))
            .collect::<Result<Vec<_>, _>>()?;
        if over
            .iter()
            .any(|&axis| !matches!(view.axes[axis], Axis::Feature(_) | Axis::Unit))
        {
            return Err(Unsupported::new("a reduction over places"));
        }
        let features = view.features();
        let axes: Vec<usize> = over
            .iter()
            .filter(|&&axis| matches!(view.axes[axis], Axis::Feature(_)))
            .map(|&axis| axes::feature_index(&view.axes, axis))
            .collect();
        let mut reduced = features.clone();
        for &axis in &axes {
            reduced[axis] = 1;
        }
        let keeps = node.int("keepdims", 1) != 0;
        let axes_after: Vec<Axis> = view
            .axes
            .iter()
            .enumerate()
            .filter(|(at, _)| keeps || !over.contains(at))
            .map(|(at, &axis)| if over.contains(&at) { Axis::Unit } else { axis })
            .collect();
        let tensor = self.tensor(StencilTensor {
            layer: node.name.clone().unwrap_or_default(),
            operator: Operator::Mix {
                node: node.clone(),
                axes,
            },
            operands: vec![Operand::Tensor(view.read(features))],
            features: reduced,
            extent: view.extent(),
            is_real: true,
        });
        let view = self.view(tensor, axes_after);
        self.define(node, Entity::View(view))
    }

    fn concat(&mut self, node: &Node) -> Done {
        let entities = self.inputs(node)?;
        let views: Vec<&View> = entities
            .iter()
            .filter_map(|entity| match entity {
                Entity::View(view) => Some(view),
                Entity::Constant(_) => None,
            })
            .collect();
        let first = *views
            .first()
            .ok_or_else(|| Unsupported::new("a constant that was not folded"))?;
        let axis = axes::resolve(node.int("axis", 0), first.axes.len())?;
        if first.axes[axis].is_spatial() {
            return self.concat_places(node, &entities, axis);
        }
        if axis == 0 {
            return Err(Unsupported::new("a concatenation over the batch"));
        }
        let mut axes = first.axes.clone();
        let mut total = 0;
        for entity in &entities {
            total += match entity {
                Entity::View(view) => view.axes.get(axis).map_or(0, |axis| axis.size()),
                Entity::Constant(constant) => constant.dims.get(axis).copied().unwrap_or(0),
            };
        }
        axes[axis] = Axis::Feature(total);
        let place = axes::feature_index(&axes, axis);
        let operands = entities
            .iter()
            .map(|entity| match entity {
                Entity::View(view) => {
                    let mut own = view.axes.clone();
                    if own.len() != axes.len() || own[axis].is_spatial() {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    own[axis] = Axis::Feature(own[axis].size());
                    if axes::extent(&own) != axes::extent(&axes) {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    Ok(Operand::Tensor(view.read(axes::features(&own))))
                }
                Entity::Constant(constant) => {
                    let mut own = axes.clone();
                    own[axis] = Axis::Feature(constant.dims.get(axis).copied().unwrap_or(0));
                    let full = constant.dims.len() == own.len()
                        && constant
                            .dims
                            .iter()
                            .zip(&own)
                            .all(|(&size, axis)| size == axis.size());
                    if !full {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    spread(constant, &own)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.make(node, Operator::Concat { axis: place }, operands, axes)
    }

    /// Zeros beside a tensor are padding.
    fn concat_places(&mut self, node: &Node, entities: &[Entity], axis: usize) -> Done {
        let (mut before, mut after, mut only) = (0, 0, None);
        for entity in entities {
            match entity {
                Entity::View(view) if only.is_none() => only = Some(view.clone()),
                Entity::Constant(constant) if constant.is_zero() => {
                    let size = constant.dims.get(axis).copied().unwrap_or(0) as i64;
                    *(if only.is_none() {
                        &mut before
                    } else {
                        &mut after
                    }) += size;
                }
                _ => return Err(Unsupported::new("a concatenation of places")),
            }
        }
        let mut view = only.ok_or_else(|| Unsupported::new("a constant that was not folded"))?;
        widen(&mut view, axis, before, after)?;
        self.define(node, Entity::View(view))
    }

    fn split(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
        let size = view.axes[axis].size();
        let count = node.outputs.len();
        let sizes = match (node.ints("split"), self.ints_input(node, 1)?) {
            (Some(sizes), _) => sizes.to_vec(),
            (None, Some(sizes)) => sizes,
            (None, None) => {
                let each = size.div_ceil(count);
                (0..count)
                    .map(|part| each.min(size - (each * part).min(size)) as i64)
                    .collect()
            }
        };
        if sizes.len() != count
            || sizes.iter().sum::<i64>() != size as i64
            || sizes.iter().any(|&s| s < 1)
        {
            return Err(Unsupported::new("parts that do not make up the whole"));
        }
        let mut start = 0;
        for (part, output) in sizes.into_iter().zip(&node.outputs) {
            let own = Node {
                outputs: vec![output.clone()],
                ..node.clone()
            };
            let view = view.clone();
            self.cut(&own, view, &[(axis, (start..start + part).collect())])?;
            start += part;
        }
        Ok(())
    }

    fn slice(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let missing = || Unsupported::new("bounds that are not constant integers");
        let starts = self.ints_input(node, 1)?.ok_or_else(missing)?;
        let ends = self.ints_input(node, 2)?.ok_or_else(missing)?;
        let count = starts.len();
        let which = match self.ints_input(node, 3)? {
            Some(axes) => axes,
            None => (0..count as i64).collect(),
        };
        let steps = self.ints_input(node, 4)?.unwrap_or_else(|| vec![1; count]);
        if ends.len() != count || which.len() != count || steps.len() != count {
            return Err(missing());
        }
        let mut cuts = Vec::new();
        for at in 0..count {
            let axis = axes::resolve(which[at], view.axes.len())?;
            let size = view.axes[axis].size() as i64;
            cuts.push((axis, sliced(starts[at], ends[at], steps[at], size)?));
        }
        self.cut(node, view, &cuts)
    }

    /// Keeps some indices of some axes: ranges of places become a window, features are selected.
    fn cut(&mut self, node: &Node, mut view: View, cuts: &[(usize, Vec<i64>)]) -> Done {
        let mut selections = Vec::new();
        for (axis, indices) in cuts {
            let size = view.axes[*axis].size() as i64;
            if indices.is_empty() || indices.iter().any(|&index| !(0..size).contains(&index)) {
                return Err(Unsupported::new("an empty or impossible selection"));
            }
            let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
            if consecutive && indices.len() as i64 == size {
                continue;
            }
            let (start, length) = (indices[0], indices.len() as i64);
            match view.axes[*axis] {
                Axis::Row(_) | Axis::Column(_) if consecutive => {
                    widen(&mut view, *axis, -start, start + length - size)?;
                }
                Axis::Feature(_) => selections.push((*axis, indices.clone())),
                _ => {
                    return Err(Unsupported::new(
                        "a selection of places that is not one window",
                    ));
                }
            }
        }
        for (axis, indices) in selections {
            let read = view.read(view.features());
            let place = axes::feature_index(&view.axes, axis);
            view.axes[axis] = Axis::Feature(indices.len());
            let own = Node {
                outputs: node.outputs.clone(),
                name: node.name.clone(),
                ..Node::default()
            };
            let operator = Operator::Select {
                axis: place,
                indices: indices.iter().map(|&index| index as usize).collect(),
            };
            self.make(
                &own,
                operator,
                vec![Operand::Tensor(read)],
                view.axes.clone(),
            )?;
            if let Some(Entity::View(made)) = node
                .outputs
                .first()
                .and_then(|name| self.entities.get(name))
            {
                view = made.clone();
            }
        }
        self.define(node, Entity::View(view))
    }

    fn pad(&mut self, node: &Node) -> Done {
        let mut view = self.first_view(node)?;
        let pads = match node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => self
                .ints_input(node, 1)?
                .ok_or_else(|| Unsupported::new("paddings that are not constant"))?,
        };
        if !matches!(node.text("mode"), b"" | b"constant") {
            return Err(Unsupported::new("padding with copies of the border"));
        }
        let value = self.constant_input(node, 2)?;
        if value.is_some_and(|value| !value.is_zero()) || node.float("value", 0.0) != 0.0 {
            return Err(Unsupported::new("padding with another value than zero"));
        }
        let which = match self.ints_input(node, 3)? {
            Some(axes) => axes
                .into_iter()
                .map(|axis| axes::resolve(axis, view.axes.len()))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..view.axes.len()).collect(),
        };
        if pads.len() != 2 * which.len() {
            return Err(Unsupported::new("paddings that do not fit the tensor"));
        }
        for (at, &axis) in which.iter().enumerate() {
            let (before, after) = (pads[at], pads[at + which.len()]);
            if (before, after) != (0, 0) {
                widen(&mut view, axis, before, after)?;
            }
        }
        self.define(node, Entity::View(view))
    }

    fn gather(&mut self, node: &Node) -> Done {
        let [data, indices] = &self.inputs(node)?[..] else {
            return Err(Unsupported::new("a gather without indices"));
        };
        match (data, indices) {
            (Entity::Constant(table), Entity::View(view)) => {
                let axis = axes::resolve(node.int("axis", 0), table.dims.len())?;
                if axis != 0
                    || view.extent().is_some()
                    || table.as_floats().is_none()
                    || !view.features().is_empty()
                {
                    return Err(Unsupported::new(
                        "a table that is not looked up by the label",
                    ));
                }
                let features = table.dims[1..].iter().map(|&size| Axis::Feature(size));
                let axes = view.axes.iter().copied().chain(features).collect();
                let read = view.read(Vec::new());
                self.make(
                    node,
                    Operator::Embed(table.clone()),
                    vec![Operand::Tensor(read)],
                    axes,
                )
            }
            (Entity::View(view), Entity::Constant(constant)) => {
                let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
                let size = view.axes[axis].size() as i64;
                let indices: Vec<i64> = constant
                    .as_ints()
                    .ok_or_else(|| Unsupported::new("indices that are not integers"))?
                    .iter()
                    .map(|&index| if index < 0 { index + size } else { index })
                    .collect();
                if constant.dims.len() > 1 {
                    return Err(Unsupported::new("indices of several axes"));
                }
                self.cut(node, view.clone(), &[(axis, indices)])?;
                if constant.dims.is_empty()
                    && let Some(Entity::View(made)) = node
                        .outputs
                        .first()
                        .and_then(|name| self.entities.get_mut(name))
                {
                    if made.axes[axis].is_spatial() {
                        return Err(Unsupported::new("a single row or column"));
                    }
                    made.axes.remove(axis);
                }
                Ok(())
            }
            _ => Err(Unsupported::new("a gather by values of the image")),
        }
    }

    fn one_hot(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let (Some(depth), Some(values)) =
            (self.constant_input(node, 1)?, self.constant_input(node, 2)?)
        else {
            return Err(Unsupported::new("a one-hot code without depth"));
        };
        let size = match &depth.values {
            Values::Ints(ints) => ints.first().copied(),
            Values::Floats(floats) => floats.first().map(|&size| size as i64),
        };
        let rank = view.axes.len() as i64;
        let axis = node.int("axis", -1);
        if view.extent().is_some() || !(axis == -1 || axis == rank) || values.as_floats().is_none()
        {
            return Err(Unsupported::new("a one-hot code of anything but the label"));
        }
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(0);
        let read = view.read(view.features());
        let mut axes = view.axes;
        axes.push(Axis::Feature(size));
        let operator = Operator::OneHot {
            node: node.clone(),
            depth,
            values,
        };
        self.make(node, operator, vec![Operand::Tensor(read)], axes)
    }

    fn transpose(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let rank = view.axes.len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order
                .iter()
                .map(|&axis| axes::resolve(axis, rank))
                .collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank {
            return Err(Unsupported::new(
                "a permutation that does not fit the tensor",
            ));
        }
        let axes: Vec<Axis> = order.iter().map(|&axis| view.axes[axis]).collect();
        let permutation: Vec<usize> = order
            .iter()
            .filter(|&&axis| matches!(view.axes[axis], Axis::Feature(_)))
            .map(|&axis| axes::feature_index(&view.axes, axis))
            .collect();
        let features = view.features();
        let long = |axis: &&usize| features[**axis] > 1;
        if permutation.iter().filter(long).is_sorted() {
            return self.define(node, Entity::View(View { axes, ..view }));
        }
        let read = view.read(features);
        self.make(
            node,
            Operator::Permute(permutation),
            vec![Operand::Tensor(read)],
            axes,
        )
    }

    fn reshape(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let sizes: Vec<usize> = view.axes.iter().map(|axis| axis.size()).collect();
        let rank = sizes.len();
        let given = match node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.ints_input(node, 1)?,
        };
        let dims: Vec<usize> = match node.op_type() {
            "Flatten" => {
                let axis = node.int("axis", 1);
                let at = if axis == rank as i64 {
                    rank
                } else {
                    axes::resolve(axis, rank)?
                };
                vec![sizes[..at].iter().product(), sizes[at..].iter().product()]
            }
            "Squeeze" => {
                let axes: Vec<usize> = match given {
                    Some(axes) => axes
                        .into_iter()
                        .map(|axis| axes::resolve(axis, rank))
                        .collect::<Result<_, _>>()?,
                    None => (0..rank).filter(|&axis| sizes[axis] == 1).collect(),
                };
                (0..rank)
                    .filter(|axis| !axes.contains(axis))
                    .map(|axis| sizes[axis])
                    .collect()
            }
            "Unsqueeze" => {
                let axes = given.ok_or_else(|| Unsupported::new("axes that are not constant"))?;
                let rank = rank + axes.len();
                let axes: Vec<usize> = axes
                    .into_iter()
                    .map(|axis| axes::resolve(axis, rank))
                    .collect::<Result<_, _>>()?;
                let mut sizes = sizes.into_iter();
                (0..rank)
                    .map(|axis| {
                        if axes.contains(&axis) {
                            1
                        } else {
                            sizes.next().unwrap_or(1)
                        }
                    })
                    .collect()
            }
            _ => target(
                &given.ok_or_else(|| Unsupported::new("a shape that is not constant"))?,
                &sizes,
                node.int("allowzero", 0) != 0,
            )?,
        };
        let axes = axes::reshaped(&view.axes, &dims)?;
        self.define(node, Entity::View(View { axes, ..view }))
    }

    fn expand(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let shape = self
            .ints_input(node, 1)?
            .ok_or_else(|| Unsupported::new("a shape that is not constant"))?;
        let rank = shape.len();
        if view.axes.len() > rank {
            return Err(Unsupported::new("an expansion to fewer axes"));
        }
        let mut axes = vec![Axis::Unit; rank - view.axes.len()];
        axes.extend(&view.axes);
        for (at, axis) in axes.iter_mut().enumerate() {
            let size = shape[at];
            if size <= 1 || axis.size() > 1 {
                continue;
            }
            // A picture has its rows and columns last.
            *axis = match rank - at {
                2 if rank >= 4 && shape[rank - 1] > 1 => Axis::Row(size),
                1 if rank >= 4 && shape[rank - 2] > 1 => Axis::Column(size),
                _ if rank == 4 && at == 1 => Axis::Feature(size as usize),
                _ => {
                    return Err(Unsupported::new(
                        "an expansion of an axis of unknown meaning",
                    ));
                }
            };
        }
        let features = axes::features(&axes);
        let seen = aligned(&view.axes, &axes);
        let identity = Operator::Pointwise(Node::new("Identity", &[], ""));
        if seen != features {
            return Err(Unsupported::new("an expansion of features"));
        }
        self.make(node, identity, vec![Operand::Tensor(view.read(seen))], axes)
    }

    fn pointwise(&mut self, node: &Node) -> Done {
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
    fn clip(&mut self, node: &Node) -> Done {
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
fn aligned(own: &[Axis], result: &[Axis]) -> Vec<usize> {
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
fn spread(constant: &Constant, axes: &[Axis]) -> Result<Operand, Unsupported> {
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

/// Adds zeros before and after along rows or columns; negative numbers cut.
fn widen(view: &mut View, axis: usize, before: i64, after: i64) -> Done {
    let cut = |size: i64| size + before + after;
    let (rows, columns) = view
        .extent()
        .ok_or_else(|| Unsupported::new("padding or cutting of something that has no places"))?;
    match view.axes[axis] {
        Axis::Row(size) => {
            view.axes[axis] = Axis::Row(cut(size));
            view.dy -= before;
        }
        Axis::Column(size) => {
            view.axes[axis] = Axis::Column(cut(size));
            view.dx -= before;
        }
        _ => {
            return Err(Unsupported::new(
                "padding of another axis than rows and columns",
            ));
        }
    }
    let (rows, columns) = axes::extent(&view.axes).unwrap_or((rows, columns));
    if rows < 1 || columns < 1 {
        return Err(Unsupported::new("nothing is left of the tensor"));
    }
    let visible = stencil::Window::of_size(rows, columns).shifted(view.dy, view.dx);
    view.window = view.window.intersect(visible);
    Ok(())
}

/// The indices that a slice keeps.
fn sliced(start: i64, end: i64, step: i64, size: i64) -> Result<Vec<i64>, Unsupported> {
    if step == 0 {
        return Err(Unsupported::new("a step of zero"));
    }
    let resolve = |index: i64| {
        if index < 0 {
            index.saturating_add(size)
        } else {
            index
        }
    };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (mut at, end) = (
        resolve(start).clamp(low.max(0), high),
        resolve(end).clamp(low, high),
    );
    let mut indices = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        indices.push(at);
        at += step;
    }
    Ok(indices)
}

/// Paddings as top, left, bottom, right.
fn paddings(node: &Node, reach: [i64; 2]) -> Result<[i64; 4], Unsupported> {
    match node.text("auto_pad") {
        b"" | b"NOTSET" => match node.ints("pads") {
            None => Ok([0; 4]),
            Some(&[top, left, bottom, right]) => Ok([top, left, bottom, right]),
            Some(_) => Err(Unsupported::new("paddings that do not fit the tensor")),
        },
        b"VALID" => Ok([0; 4]),
        auto => {
            let [before, after] = [0, 1].map(|extra| reach.map(|total| (total + extra) / 2));
            let ([top, left], [bottom, right]) = if auto == b"SAME_UPPER" {
                (before, after)
            } else {
                (after, before)
            };
            Ok([top, left, bottom, right])
        }
    }
}

/// The shape that a reshape asks for, with its zeros and its −1 resolved.
fn target(shape: &[i64], sizes: &[usize], zero_is_zero: bool) -> Result<Vec<usize>, Unsupported> {
    let total: usize = sizes.iter().product();
    let mut dims: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(at, &size)| match size {
            0 if !zero_is_zero => sizes.get(at).copied().unwrap_or(1),
            -1 => 0,
            size => size.max(0) as usize,
        })
        .collect();
    if let Some(open) = shape.iter().position(|&size| size == -1) {
        let others: usize = dims
            .iter()
            .enumerate()
            .filter(|&(at, _)| at != open)
            .map(|(_, &size)| size)
            .product();
        if others == 0 || !total.is_multiple_of(others) {
            return Err(Unsupported::new("a reshape to another number of elements"));
        }
        dims[open] = total / others;
    }
    if dims.iter().product::<usize>() == total {
        Ok(dims)
    } else {
        Err(Unsupported::new("a reshape to another number of elements"))
    }
}

//! Products with constant weights: convolutions, matrix products, and normalisation with constant statistics.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    coordinates,
};
use crate::graph::{
    constant::Constant,
    layer,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, StencilTensor, Tap},
    },
};

impl Lowering {
    pub(super) fn convolution(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
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
        let kernel = self.weights(node)?;
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
                "a stride, so that its result is not a value for each pixel",
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
        if let Some(apart) = coordinates::apart(self, &view, &linear, extent) {
            return self.sum(node, apart, axes);
        }
        let read = view.read(vec![channels]);
        self.make(
            node,
            Operator::Linear(linear),
            vec![Operand::Tensor(read)],
            axes,
        )
    }

    /// A convolution of what is computed, and what that of the constants beside it has come to.
    fn sum(&mut self, node: &Node, apart: coordinates::Apart, axes: Vec<Axis>) -> Done {
        let outputs = apart.linear.outputs;
        let product = self.tensor(StencilTensor {
            layer: layer::describe(node),
            operator: Operator::Linear(apart.linear),
            operands: vec![Operand::Tensor(apart.read)],
            features: vec![outputs],
            extent: axes::extent(&axes),
            is_real: true,
        });
        let product = self.view(product, axes.clone()).read(vec![outputs]);
        let add = Operator::Pointwise(Node::new("Add", &[], ""));
        self.make(
            node,
            add,
            vec![Operand::Tensor(product), apart.constant],
            axes,
        )
    }

    /// The weights of a product, input 1.
    fn weights(&self, node: &Node) -> Result<Constant, Unsupported> {
        let name = node.inputs.get(1).map(String::as_str).unwrap_or_default();
        match self.entity(name)? {
            Entity::Constant(constant) => Ok(constant.clone()),
            Entity::View(other) => {
                let is_spatial = |view: &View| view.axes.iter().any(|axis| axis.is_spatial());
                let attends =
                    is_spatial(other) || self.first_view(node).is_ok_and(|view| is_spatial(&view));
                Err(Unsupported::new(if attends {
                    "attention over places"
                } else {
                    "a product of two things that are both computed from the input"
                }))
            }
        }
    }

    pub(super) fn gemm(&mut self, node: &Node) -> Done {
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

    pub(super) fn product(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        self.linear(node, &view, false, 1.0, None)
    }

    /// The last axis times the constant matrix of input 1.
    pub(super) fn linear(
        &mut self,
        node: &Node,
        view: &View,
        transposed: bool,
        alpha: f32,
        bias: Option<Vec<f32>>,
    ) -> Done {
        let matrix = self.weights(node)?;
        if view.axes.last().is_some_and(|axis| axis.is_spatial()) {
            return Err(Unsupported::new("a fully connected layer over places"));
        }
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
    pub(super) fn batch_normalization(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
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
            layer: layer::describe(node),
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

//! Operators over the features of a pixel: normalisation, softmax, reductions.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
};
use crate::graph::{
    constant::Constant,
    layer,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator, StencilTensor, Stride},
    },
};

impl Lowering {
    /// (x − mean) · scale / √(variance + ε) + bias, with the constants folded into one factor and one summand.
    pub(super) fn batch_normalization(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?.with_channels();
        if node.int("training_mode", 0) != 0 || !matches!(view.axes.get(1), Some(Axis::Feature(_))) {
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
            operands: vec![Operand::Tensor(view.read(features.clone())), Operand::Constant(factor)],
            features: features.clone(),
            extent: view.extent(),
            stride: Stride::ONE,
            is_real: true,
        })?;
        let read = self.view(scaled, view.axes.clone()).read(features);
        let operands = vec![
            Operand::Tensor(read),
            Operand::Constant(Constant::floats(dims, summand)),
        ];
        let add = Operator::Pointwise(Node::new("Add", &[], ""));
        self.make(node, add, operands, view.axes)
    }

    pub(super) fn layer_normalization(&mut self, node: &Node) -> Done {
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

    /// Normalisation over the features of a pixel, as a `GroupNorm` has it whose places are part of the batch.
    pub(super) fn instance_normalization(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let refused = || Unsupported::new("normalisation over places");
        let [outer, groups, normalised @ ..] = &view.axes[..] else {
            return Err(refused());
        };
        let is_of_features = |axis: &Axis| matches!(axis, Axis::Feature(_) | Axis::Unit | Axis::Batch);
        if outer.features().is_some() || !is_of_features(groups) || !normalised.iter().all(is_of_features) {
            return Err(refused());
        }
        let (features, extent) = (view.features(), view.extent());
        let first = features.len() - axes::features(normalised).len();
        let kept = |at: usize| if at < first { features[at] } else { 1 };
        let reduced: Vec<usize> = (0..features.len()).map(kept).collect();
        let mean = Operator::Mix {
            node: Node::new("ReduceMean", &[], ""),
            axes: (first..features.len()).collect(),
        };
        let pointwise = |name: &str| Operator::Pointwise(Node::new(name, &[], ""));
        let epsilon = Operand::Constant(Constant::floats(Vec::new(), vec![node.float("epsilon", 1e-5)]));
        let mut step = |operator: Operator, operands: Vec<Operand>, features: &[usize]| {
            self.step(node, operator, operands, features, extent)
        };
        let x = Operand::Tensor(view.read(features.clone()));
        let average = step(mean.clone(), vec![x.clone()], &reduced)?;
        let centred = step(pointwise("Sub"), vec![x, average], &features)?;
        let squares = step(pointwise("Mul"), vec![centred.clone(), centred.clone()], &features)?;
        let variance = step(mean, vec![squares], &reduced)?;
        let raised = step(pointwise("Add"), vec![variance, epsilon], &reduced)?;
        let deviation = step(pointwise("Sqrt"), vec![raised], &reduced)?;
        let divided = step(pointwise("Div"), vec![centred, deviation], &features)?;
        let mut dims = vec![1; features.len()];
        if let (Axis::Feature(size), Some(first)) = (groups, dims.first_mut()) {
            *first = *size;
        }
        let [scale, bias] = [1, 2].map(|at| self.floats_input(node, at));
        let (scale, bias) = (scale?, bias?);
        let size = dims.iter().product::<usize>();
        if scale.len() != size || bias.len() != size {
            return Err(Unsupported::new("constants that do not fit the input"));
        }
        let [scale, bias] = [scale, bias].map(|values| Operand::Constant(Constant::floats(dims.clone(), values)));
        let scaled = self.step(node, pointwise("Mul"), vec![divided, scale], &features, extent)?;
        self.make(node, pointwise("Add"), vec![scaled, bias], view.axes)
    }

    /// One of several steps of what a node does.
    fn step(
        &mut self,
        node: &Node,
        operator: Operator,
        operands: Vec<Operand>,
        features: &[usize],
        extent: Option<(i64, i64)>,
    ) -> Result<Operand, Unsupported> {
        let tensor = self.tensor(StencilTensor {
            layer: layer::describe(node),
            operator,
            operands,
            features: features.to_vec(),
            extent,
            stride: Stride::ONE,
            is_real: true,
        })?;
        Ok(Operand::Tensor(self.view(tensor, Vec::new()).read(features.to_vec())))
    }

    pub(super) fn softmax(&mut self, node: &Node) -> Done {
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

    /// A mean or maximum over all axes behind the second, which Keras takes of channels that it lays there.
    pub(super) fn global_pool(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        if view.axes.iter().skip(2).any(|axis| axis.is_spatial()) {
            return Err(Unsupported::new("pooling over the whole image"));
        }
        let kind = if node.op_type() == "GlobalMaxPool" {
            "ReduceMax"
        } else {
            "ReduceMean"
        };
        let axes: Vec<i64> = (2..view.axes.len() as i64).collect();
        let own = Node {
            op_type: Some(kind.to_owned()),
            ..node.clone()
        };
        self.reduce(&own.with_ints("axes", &axes))
    }

    pub(super) fn reduce(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let is_place = matches!(node.op_type(), "ArgMax" | "ArgMin");
        let given = match node.ints("axes") {
            _ if is_place => Some(vec![node.int("axis", 0)]),
            Some(axes) => Some(axes.to_vec()),
            None => self.ints_input(node, 1)?,
        };
        let over = given
            .filter(|axes| !axes.is_empty())
            .ok_or_else(|| Unsupported::new("a reduction over everything"))?
            .into_iter()
            .map(|axis| axes::resolve(axis, view.axes.len()))
            .collect::<Result<Vec<_>, _>>()?;
        let view = over.iter().fold(view, |view, &axis| view.beside_batch(axis));
        if over
            .iter()
            .any(|&axis| !matches!(view.axes[axis], Axis::Feature(_) | Axis::Unit))
        {
            return Err(Unsupported::new(if node.op_type() == "ReduceMean" {
                "a mean over places"
            } else {
                "a reduction over places"
            }));
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
        if axes.is_empty() {
            // Of a single channel most of them are that channel itself.
            let is_itself = matches!(
                node.op_type(),
                "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd"
            );
            let own = View {
                axes: axes_after,
                ..view
            };
            return match is_itself {
                true => self.define(node, Entity::View(own)),
                false => Err(Unsupported::new("a reduction of a single channel")),
            };
        }
        let tensor = self.tensor(StencilTensor {
            layer: layer::describe(node),
            operator: Operator::Mix {
                node: node.clone(),
                axes,
            },
            operands: vec![Operand::Tensor(view.read(features))],
            features: reduced,
            extent: view.extent(),
            stride: Stride::ONE,
            is_real: !is_place,
        })?;
        let view = self.view(tensor, axes_after);
        self.define(node, Entity::View(view))
    }
}

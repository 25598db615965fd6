//! Products with constant weights at each pixel.

use super::{
    Done, Entity, Lowering, View,
    axes::Axis,
    each::{is_at_each, letters_of_matrices},
};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Linear, Operand, Operator, Tap},
    },
};

/// Weights of products that lie beside each other at a pixel, with the zeros between them, at most.
pub(super) const MOST_BESIDE: usize = 1 << 22;

impl Lowering {
    /// The weights of a product or a convolution, input 1.
    pub(super) fn weights(&self, node: &Node) -> Result<Constant, Unsupported> {
        let name = node.inputs.get(1).map(String::as_str).unwrap_or_default();
        match self.entity(name)? {
            Entity::Constant(constant) => Ok(constant.clone()),
            Entity::View(other) => {
                let is_spatial = |view: &View| view.axes.iter().any(|axis| axis.is_spatial());
                let attends = is_spatial(other) || self.first_view(node).is_ok_and(|view| is_spatial(&view));
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
                let values = values.ok_or_else(|| Unsupported::new("a bias that is not one row"))?;
                Some(values.iter().map(|v| v * beta).collect::<Vec<_>>())
            }
        };
        self.linear(node, &view, node.int("transB", 0) != 0, alpha, bias)
    }

    pub(super) fn product(&mut self, node: &Node) -> Done {
        if let Ok(Entity::Constant(matrix)) = self.entity(node.inputs.first().map_or("", |name| name)) {
            return self.product_from_left(node, &matrix.clone());
        }
        let view = self.first_view(node)?;
        let second = node.inputs.get(1).and_then(|name| self.entities.get(name));
        if let Some(Entity::View(other)) = second
            && view.extent().is_some()
            && other.extent().is_some()
        {
            let other = other.clone();
            if let Some((one, second, result)) = letters_of_matrices(&view, &other) {
                let (one, second) = ((&view, one), (&other, second));
                if is_at_each(&one, &second, &result) {
                    return self.product_at_each(node, [one, second], &result);
                }
            }
            return self.attention(node, view, other);
        }
        if let Some(Entity::Constant(matrix)) = second
            && let [outer @ .., _, _] = &matrix.dims[..]
            && outer.iter().any(|&size| size != 1)
        {
            let matrix = matrix.clone();
            return self.product_beside(node, &view, &matrix, view.axes.len().saturating_sub(1));
        }
        self.linear(node, &view, false, 1.0, None)
    }

    /// A constant matrix times the last axis but one.
    fn product_from_left(&mut self, node: &Node, matrix: &Constant) -> Done {
        let Entity::View(view) = self.entity(node.inputs.get(1).map_or("", |name| name))?.clone() else {
            return Err(Unsupported::new("a product of constants"));
        };
        let axis = view.axes.len().checked_sub(2);
        let axis = axis.ok_or_else(|| Unsupported::new("a product of tensors without rows and columns"))?;
        self.product_beside(node, &view, matrix, axis)
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
        let rank = matrix.dims.len();
        let ([.., a, b], Some(values)) = (&matrix.dims[..], matrix.as_floats()) else {
            return Err(Unsupported::new("a product over another axis than the channels"));
        };
        let (rows, outputs) = if transposed { (*b, *a) } else { (*a, *b) };
        let is_one = matrix.dims[..rank - 2].iter().all(|&size| size == 1);
        let bias = match bias {
            Some(bias) if bias.len() == 1 => Some(vec![bias[0]; outputs]),
            other => other,
        };
        let weight = |input: usize, output: usize| {
            let at = if transposed {
                output * rows + input
            } else {
                input * outputs + output
            };
            alpha * values[at]
        };
        if let Some(last) = view.axes.last().filter(|axis| axis.is_spatial()) {
            return if is_one && rows == last.size() {
                self.over_all(node, view, (outputs, bias), weight)
            } else {
                Err(Unsupported::new("a fully connected layer over places"))
            };
        }
        let mut view = view.clone();
        if let Some(axis @ (Axis::Unit | Axis::Batch)) = view.axes.last_mut() {
            // A single number at each pixel.
            *axis = Axis::Feature(1);
        }
        let Some(&Axis::Feature(inputs)) = view.axes.last() else {
            return Err(Unsupported::new("a product over another axis than the channels"));
        };
        // Each of the other features has a product of its own.
        let others = view.features().iter().product::<usize>() / inputs.max(1);
        let all = (others * others).saturating_mul(a.saturating_mul(*b));
        if others == 0 || (others > 1 && all > MOST_BESIDE) || !is_one {
            return Err(Unsupported::new("a product over some of several axes of channels"));
        }
        if rows != inputs {
            return Err(Unsupported::new("weights that do not fit the input"));
        }
        let mut weights = vec![0.0; others * inputs * others * outputs];
        for at in 0..others * inputs * outputs {
            let (other, input, out) = (at / (inputs * outputs), at / outputs % inputs, at % outputs);
            weights[(other * inputs + input) * others * outputs + other * outputs + out] = weight(input, out);
        }
        let bias = bias.map(|bias: Vec<f32>| bias.repeat(others));
        let (inputs, outputs) = (others * inputs, others * outputs);
        let linear = Linear {
            inputs,
            outputs,
            taps: vec![Tap { dy: 0, dx: 0, weights }],
            bias,
        };
        let mut axes = view.axes.clone();
        if let Some(last) = axes.last_mut() {
            *last = Axis::Feature(outputs / others);
        }
        let read = view.read(vec![inputs]);
        self.make(node, Operator::Linear(linear), vec![Operand::Tensor(read)], axes)
    }
}

/// The axes of both factors and of the result of an `Einsum` of two, a letter each.
pub(super) fn terms_of(node: &Node) -> Option<[Vec<char>; 3]> {
    let text = String::from_utf8_lossy(node.text("equation")).replace(' ', "");
    let (terms, result) = text.split_once("->")?;
    let (first, second) = terms.split_once(',')?;
    Some([first, second, result].map(|term| term.chars().collect()))
}

//! Whether the shapes in a stencil agree with each other. What a graph says of itself need not: a product may have
//! factors of unlike lengths, and all that comes later counts on them.

use super::{Attend, Linear, Operand, Operator, Read, Stencil, StencilTensor};
use crate::graph::wavefront::Unsupported;

impl Stencil {
    /// The first operator whose operands do not fit it, or each other, is an error.
    pub(in crate::graph::wavefront) fn check_shapes(&self) -> Result<(), Unsupported> {
        let disagrees = |tensor: &&StencilTensor| !tensor.agrees(&self.tensors);
        match self.tensors.iter().find(disagrees) {
            None => Ok(()),
            Some(tensor) => Err(Unsupported {
                reason: "operands whose shapes do not fit each other".to_owned(),
                layer: Some(tensor.layer.clone()),
            }),
        }
    }
}

impl StencilTensor {
    fn agrees(&self, tensors: &[Self]) -> bool {
        let is_seen_whole = |read: &Read| {
            let source = tensors.get(read.tensor).map(Self::width);
            source.is_some_and(|width| width == size(&read.features))
        };
        let mut reads = self.operands.iter().filter_map(|operand| match operand {
            Operand::Tensor(read) => Some(read),
            Operand::Constant(_) | Operand::Table(_) => None,
        });
        self.width() > 0 && reads.all(is_seen_whole) && self.fits_operands()
    }

    fn fits_operands(&self) -> bool {
        let shapes: Vec<&[usize]> = self.operands.iter().map(Operand::features).collect();
        let mut each = shapes.iter().copied();
        let own = &self.features[..];
        match &self.operator {
            Operator::Image | Operator::Label | Operator::OfPlace | Operator::EmbedPlaced => true,
            Operator::Linear(linear) => linear.width() == self.width() && each.all(|of| size(of) == linear.inputs),
            Operator::Pointwise(_) => each.all(|of| is_broadcast(of, own)),
            // What is mixed comes first; behind it are factors and summands of the axes that are mixed, which are last.
            Operator::Mix { axes, .. } => {
                let is_mixed = each.next().is_some_and(|of| differ_along(of, own, axes));
                is_mixed && each.all(|of| own.ends_with(of))
            }
            Operator::Concat { axis } => {
                let along: Option<usize> = shapes.iter().map(|of| of.get(*axis).copied()).sum();
                along == own.get(*axis).copied() && each.all(|of| differ_along(of, own, &[*axis]))
            }
            Operator::Select { axis, indices } => each.all(|of| {
                let is_there = |&index: &usize| of.get(*axis).is_some_and(|&size| index < size);
                own.get(*axis) == Some(&indices.len())
                    && indices.iter().all(is_there)
                    && differ_along(of, own, &[*axis])
            }),
            Operator::Permute(order) => each.all(|of| {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                sorted.into_iter().eq(0..of.len()) && order.iter().map(|&axis| of[axis]).eq(own.iter().copied())
            }),
            Operator::Embed(_) | Operator::OneHot { .. } => {
                each.all(|of| size(of) > 0 && self.width().is_multiple_of(size(of)))
            }
            Operator::Attend(attend) => attend.fits(&shapes, self.width()),
        }
    }
}

impl Operand {
    /// The shape under which its features are seen.
    fn features(&self) -> &[usize] {
        match self {
            Self::Tensor(read) => &read.features,
            Self::Constant(constant) => &constant.dims,
            Self::Table(table) => table.dims.get(2..).unwrap_or_default(),
        }
    }
}

impl Linear {
    /// Its outputs; none, if the weights are not as many as it says.
    fn width(&self) -> usize {
        let has_all = self
            .taps
            .iter()
            .all(|tap| tap.weights.len() == self.inputs * self.outputs);
        let has_bias = self.bias.as_ref().is_none_or(|bias| bias.len() == self.outputs);
        if has_all && has_bias { self.outputs } else { 0 }
    }
}

impl Attend {
    fn fits(&self, shapes: &[&[usize]], width: usize) -> bool {
        let &[queries, keys, values] = shapes else { return false };
        self.heads > 0
            && size(queries) == size(keys)
            && size(values) == width
            && [size(queries), width]
                .iter()
                .all(|count| count.is_multiple_of(self.heads))
    }
}

fn size(features: &[usize]) -> usize {
    features.iter().product()
}

/// Whether an operand's features are broadcast to the result's.
fn is_broadcast(of: &[usize], own: &[usize]) -> bool {
    let fits = |(&one, &other): (&usize, &usize)| one == 1 || one == other;
    of.len() <= own.len() && of.iter().rev().zip(own.iter().rev()).all(fits)
}

/// Whether both have the same axes, which differ in size along these ones only.
fn differ_along(of: &[usize], own: &[usize], axes: &[usize]) -> bool {
    let fits = |(at, (one, other)): (usize, (&usize, &usize))| one == other || axes.contains(&at);
    let has_axes = axes.iter().all(|&axis| axis < own.len());
    has_axes && of.len() == own.len() && of.iter().zip(own).enumerate().all(fits)
}

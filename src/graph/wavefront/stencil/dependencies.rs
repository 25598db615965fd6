//! Which numbers of a tensor depend on which of those that its operator reads.

use super::{Operand, Operator, Read, StencilTensor};
use crate::graph::constant::Constant;

/// One feature of a tensor depends on one feature of an operand.
#[derive(Debug, Clone, Copy)]
pub(in crate::graph::wavefront) struct Dependency {
    pub(in crate::graph::wavefront) feature: usize,
    pub(in crate::graph::wavefront) tensor: usize,
    pub(in crate::graph::wavefront) source: usize,
    pub(in crate::graph::wavefront) dy: i64,
    pub(in crate::graph::wavefront) dx: i64,
}

impl StencilTensor {
    /// Calls `found` for every pair of features of which one really depends on the other: zero weights do not count.
    pub(in crate::graph::wavefront) fn dependencies(&self, mut found: impl FnMut(Dependency)) {
        // Features of the result that come before those of an operand, where operands stand one behind the other.
        let mut offset = 0;
        let silent = self.silent();
        let left_out = self.left_out();
        for (at, operand) in self.operands.iter().enumerate() {
            let features = match operand {
                Operand::Tensor(read) => &read.features[..],
                Operand::Constant(constant) => &constant.dims,
                Operand::Table(table) => &table.dims[2..],
            };
            if let Operand::Tensor(read) = operand {
                let silent = match (&left_out, at) {
                    ([first, _], 1) if !first.is_empty() => first,
                    ([_, second], 2) if !second.is_empty() => second,
                    _ => &silent,
                };
                self.dependencies_on((at, read), offset, silent, |feature, source, dy, dx| {
                    found(Dependency {
                        feature,
                        tensor: read.tensor,
                        source,
                        dy: read.dy + dy,
                        dx: read.dx + dx,
                    });
                });
            }
            offset += self.concatenated(features);
        }
    }

    /// Calls `depends` for every feature that depends on a feature of an operand, so many rows and columns away.
    fn dependencies_on(
        &self,
        (at, read): (usize, &Read),
        offset: usize,
        silent: &[bool],
        mut depends: impl FnMut(usize, usize, i64, i64),
    ) {
        match &self.operator {
            Operator::Image | Operator::Label => {}
            Operator::OfPlace => {
                for source in 0..read.features.iter().product() {
                    depends(source % self.width(), source, 0, 0);
                }
            }
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
                let step = |axis: usize| self.features[axis + 1..].iter().product::<usize>();
                let apart: Vec<usize> = (0..self.features.len()).filter(|axis| !axes.contains(axis)).collect();
                // Features that are made of the same ones as the first.
                let group: Vec<usize> = places(&self.features)
                    .enumerate()
                    .filter(|(_, place)| apart.iter().all(|&axis| place[axis] == 0))
                    .map(|(feature, _)| feature)
                    .collect();
                for (source, place) in places(&read.features).enumerate() {
                    let first: usize = apart.iter().map(|&axis| place[axis] * step(axis)).sum();
                    for feature in &group {
                        depends(first + feature, source, 0, 0);
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

    /// Features that are a product with a constant that is zero at every place; empty if the operator is no product.
    fn silent(&self) -> Vec<bool> {
        if !self.is_product() {
            return Vec::new();
        }
        let mut silent = vec![false; self.width()];
        for operand in &self.operands {
            let (constant, dims) = match operand {
                Operand::Constant(constant) => (constant, &constant.dims[..]),
                Operand::Table(table) => (table, &table.dims[2..]),
                Operand::Tensor(_) => continue,
            };
            let Some(factors) = constant.as_floats() else {
                continue;
            };
            let width = dims.iter().product::<usize>().max(1);
            let is_zero = |place: usize| factors.iter().skip(place).step_by(width).all(|&factor| factor == 0.0);
            let zeros: Vec<bool> = (0..width).map(is_zero).collect();
            for (silent, place) in silent.iter_mut().zip(broadcast(&self.features, dims)) {
                *silent |= zeros[place];
            }
        }
        silent
    }

    /// Of a choice by a constant, the features for which it takes at no place its first value, and its second; empty if
    /// the operator is none.
    fn left_out(&self) -> [Vec<bool>; 2] {
        if self.condition().is_none() {
            return [Vec::new(), Vec::new()];
        }
        let taken: Vec<(bool, bool)> = self.taken();
        [
            taken.iter().map(|taken| !taken.0).collect(),
            taken.iter().map(|taken| !taken.1).collect(),
        ]
    }

    /// Of a choice by a constant, for which features it takes its first value at any place, and its second.
    pub(in crate::graph::wavefront) fn taken(&self) -> Vec<(bool, bool)> {
        let condition = self
            .condition()
            .and_then(|(constant, dims)| Some((constant.as_floats()?, dims)));
        let Some((truths, dims)) = condition else {
            return vec![(true, true); self.width()];
        };
        let width = dims.iter().product::<usize>().max(1);
        let of = |place: usize| {
            let mut own = truths.iter().skip(place).step_by(width);
            let takes_first = own.clone().any(|&truth| truth != 0.0);
            (takes_first, own.any(|&truth| truth == 0.0))
        };
        let features: Vec<(bool, bool)> = (0..width).map(of).collect();
        broadcast(&self.features, dims).map(|place| features[place]).collect()
    }

    /// What a choice by a constant goes by, and its features.
    pub(in crate::graph::wavefront) fn condition(&self) -> Option<(&Constant, &[usize])> {
        match (&self.operator, self.operands.first()) {
            (Operator::Pointwise(node), Some(Operand::Constant(constant))) if node.op_type() == "Where" => {
                Some((constant, &constant.dims))
            }
            (Operator::Pointwise(node), Some(Operand::Table(table))) if node.op_type() == "Where" => {
                Some((table, &table.dims[2..]))
            }
            _ => None,
        }
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
pub(in crate::graph::wavefront) fn broadcast<'a>(
    shape: &'a [usize],
    operand: &'a [usize],
) -> impl Iterator<Item = usize> + 'a {
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
pub(in crate::graph::wavefront) fn permuted<'a>(
    shape: &'a [usize],
    order: &'a [usize],
) -> impl Iterator<Item = usize> + 'a {
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

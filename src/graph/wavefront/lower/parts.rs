//! Features that were laid side by side and are taken apart again.
//!
//! Two stacks of a network that travel as one tensor are computed at different times: one sees pixels to the right in
//! the row above, which the other must not wait for. So what takes some features out of a concatenation reads the part
//! itself, through whatever was done to all parts number by number.

use std::ops::Range;

use super::{Lowering, View};
use crate::graph::{
    constant::Constant,
    wavefront::stencil::{Operand, Operator, Read, StencilTensor},
};

/// Operators between a concatenation and a selection, at most.
const DEEPEST: usize = 64;

/// Consecutive features of a tensor along one of its axes.
pub(super) type Part = (usize, usize, Range<usize>);

impl Lowering {
    /// Reads consecutive features of what is one of several laid side by side.
    pub(super) fn part(&mut self, read: &Read, axis: usize, range: Range<usize>) -> Option<Read> {
        if read.features != self.tensors[read.tensor].features {
            return None;
        }
        let inner = self.resolved((read.tensor, axis, range), 0)?;
        Some(through(read, inner))
    }

    /// The part, if it is found in a concatenation.
    fn resolved(&mut self, part: Part, depth: usize) -> Option<Read> {
        if let Some(known) = self.parts.get(&part) {
            return known.clone();
        }
        let found = if depth < DEEPEST {
            self.found(&part, depth)
        } else {
            None
        };
        self.parts.insert(part, found.clone());
        found
    }

    fn found(&mut self, part: &Part, depth: usize) -> Option<Read> {
        let (tensor, axis, range) = (part.0, part.1, &part.2);
        let mut own = self.tensors[tensor].clone();
        let all = *own.features.get(axis)?;
        match &own.operator {
            Operator::Concat { axis: along } if *along == axis => {
                let mut first = 0;
                for operand in own.operands {
                    let Operand::Tensor(read) = operand else { return None };
                    let count = *read.features.get(axis)?;
                    let has_places = self.tensors[read.tensor].extent.is_some() || own.extent.is_none();
                    if first <= range.start && range.end <= first + count {
                        if !has_places {
                            return None;
                        }
                        return self.chosen(read, axis, range.start - first..range.end - first, depth);
                    }
                    first += count;
                }
                None
            }
            // What a state was before is a state's whole.
            Operator::Pointwise(_) if !own.looks_back(tensor) => {
                let rank = own.features.len();
                let mut is_resolved = false;
                own.features[axis] = range.len();
                for operand in &mut own.operands {
                    match operand {
                        Operand::Tensor(read) if read.features.len() == rank && read.features[axis] == all => {
                            let is_plain = read.features == self.tensors[read.tensor].features;
                            let inner = (read.tensor, axis, range.clone());
                            is_resolved |= is_plain && self.resolved(inner, depth + 1).is_some();
                            *read = self.chosen(read.clone(), axis, range.clone(), depth)?;
                        }
                        Operand::Tensor(read) if read.features.len() == rank && read.features[axis] == 1 => {}
                        Operand::Constant(constant) => {
                            let at = (axis + constant.dims.len()).checked_sub(rank);
                            if let Some(at) = at.filter(|&at| constant.dims[at] != 1) {
                                *constant = sliced(constant, at, range);
                            }
                        }
                        _ => return None,
                    }
                }
                is_resolved.then(|| {
                    let features = own.features.clone();
                    let made = self.push(own);
                    self.view(made, Vec::new()).read(features)
                })
            }
            _ => None,
        }
    }

    /// Some of what is read: the part itself, or a selection.
    fn chosen(&mut self, read: Read, axis: usize, range: Range<usize>, depth: usize) -> Option<Read> {
        if range.len() == read.features[axis] {
            return Some(read);
        }
        if read.features != self.tensors[read.tensor].features {
            return None;
        }
        if let Some(inner) = self.resolved((read.tensor, axis, range.clone()), depth + 1) {
            return Some(through(&read, inner));
        }
        let whole: View = self.view(read.tensor, Vec::new());
        let source = &self.tensors[read.tensor];
        let mut features = read.features.clone();
        features[axis] = range.len();
        let selected = StencilTensor {
            layer: source.layer.clone(),
            operator: Operator::Select {
                axis,
                indices: range.collect(),
            },
            operands: vec![Operand::Tensor(whole.read(read.features.clone()))],
            features: features.clone(),
            extent: source.extent,
            stride: source.stride,
            is_real: source.is_real,
        };
        let tensor = self.push(selected);
        Some(Read {
            tensor,
            features,
            ..read
        })
    }
}

/// What is read of a tensor that only hands on what another has.
fn through(outer: &Read, inner: Read) -> Read {
    Read {
        dy: outer.dy + inner.dy,
        dx: outer.dx + inner.dx,
        window: outer.window.shifted(inner.dy, inner.dx).intersect(inner.window),
        ..inner
    }
}

/// Some consecutive values along an axis.
pub(super) fn sliced(constant: &Constant, axis: usize, range: &Range<usize>) -> Constant {
    let inner: usize = constant.dims[axis + 1..].iter().product();
    let (all, mut dims) = (constant.dims[axis], constant.dims.clone());
    dims[axis] = range.len();
    let outer = 0..constant.dims[..axis].iter().product::<usize>();
    let sources = outer.flat_map(|at| at * all * inner + range.start * inner..at * all * inner + range.end * inner);
    constant.rearranged(dims, sources)
}

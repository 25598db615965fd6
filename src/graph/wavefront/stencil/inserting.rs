//! Tensors that come into a stencil between others.

use std::collections::BTreeMap;

use super::{Operand, Stencil, StencilTensor};

/// In an operand, the tensor that is put before the one that reads.
pub(in crate::graph::wavefront) const THE_ONE_BEFORE: usize = usize::MAX;

impl Stencil {
    /// Puts each of these before the tensor of that place, which may read it.
    pub(in crate::graph::wavefront) fn insert(&mut self, mut new: BTreeMap<usize, StencilTensor>) {
        let mut moved = Vec::with_capacity(self.tensors.len());
        let mut all = Vec::with_capacity(self.tensors.len() + new.len());
        for (at, tensor) in std::mem::take(&mut self.tensors).into_iter().enumerate() {
            all.extend(new.remove(&at));
            moved.push(all.len());
            all.push(tensor);
        }
        for (at, tensor) in all.iter_mut().enumerate() {
            for operand in &mut tensor.operands {
                if let Operand::Tensor(read) = operand {
                    read.tensor = match read.tensor {
                        THE_ONE_BEFORE => at - 1,
                        old => moved[old],
                    };
                }
            }
        }
        self.tensors = all;
        self.logits = moved[self.logits];
        for at in &mut self.summed {
            *at = moved[*at];
        }
    }
}

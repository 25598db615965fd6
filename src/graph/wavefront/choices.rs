//! Choices by constants, in the words of a step graph: it takes truth values, and constants are numbers.

use std::collections::BTreeMap;

use super::stencil::{Operand, Operator, Read, Stencil, StencilTensor, THE_ONE_BEFORE};
use crate::graph::protobuf::{BOOL, Node};

/// Has every choice read truth values that are made of its constant.
pub(super) fn with_truths(mut stencil: Stencil) -> Stencil {
    let window = stencil.window();
    let mut made = BTreeMap::new();
    for (at, tensor) in stencil.tensors.iter_mut().enumerate() {
        let Some((_, features)) = tensor.condition() else {
            continue;
        };
        let features = features.to_vec();
        let read = Read {
            tensor: THE_ONE_BEFORE,
            dy: 0,
            dx: 0,
            window,
            features: features.clone(),
        };
        let truths = StencilTensor {
            layer: tensor.layer.clone(),
            operator: Operator::Pointwise(Node::new("Cast", &[], "").with_int("to", BOOL.into())),
            operands: vec![std::mem::replace(&mut tensor.operands[0], Operand::Tensor(read))],
            features,
            extent: tensor.extent,
            stride: tensor.stride,
            is_real: false,
        };
        made.insert(at, truths);
    }
    stencil.insert(made);
    stencil
}

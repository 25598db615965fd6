//! Shifts of a picture that was flattened into a sequence: a first token, then every pixel but the last. What a pixel
//! gets is what the one before it in the order of drawing had, at the start of a row that at the end of the row above.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    operators::output_of,
};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator},
    },
};

impl Lowering {
    /// Keeps all pixels but the last until a token comes before them.
    pub(super) fn without_last(&mut self, node: &Node, view: View) -> Done {
        self.shortened.insert(output_of(node)?, view);
        Ok(())
    }

    /// The token and the sequence, if the node puts one before the other.
    pub(super) fn shifted(&self, node: &Node) -> Option<(Constant, View)> {
        let [first, rest] = &node.inputs[..] else { return None };
        let Some(Entity::Constant(token)) = self.entities.get(first) else {
            return None;
        };
        let view = self.shortened.get(rest)?;
        (node.op_type() == "Concat").then(|| (token.clone(), view.clone()))
    }

    /// A token, then all pixels but the last.
    pub(super) fn shift(&mut self, node: &Node, token: &Constant, view: View) -> Done {
        let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
        let mut own: Vec<usize> = view.axes.iter().map(|axis| axis.size()).collect();
        own[axis] = 1;
        let fits = self.is_whole(&view) && token.dims == own;
        let (Axis::Pixels(rows, columns), true) = (view.axes[axis], fits) else {
            return Err(Unsupported::new("a concatenation of places"));
        };
        let features = view.features();
        let beside = |dy, dx| View { dy, dx, ..view.clone() }.read(features.clone());
        // One of the two lies outside the image, and is zero.
        let before = [beside(0, -1), beside(-1, columns - 1)].map(Operand::Tensor);
        let add = || Operator::Pointwise(Node::new("Add", &[], ""));
        self.make(node, add(), before.into(), view.axes.clone())?;
        if token.is_zero() {
            return Ok(());
        }
        let Some(values) = token.as_floats() else {
            return Err(Unsupported::new("a first token that is no real number"));
        };
        let shifted = self.entity(node.outputs.first().map_or("", |name| name))?.clone();
        let Entity::View(shifted) = shifted else {
            return Err(Unsupported::new("a concatenation of places"));
        };
        let mut table = values.to_vec();
        table.resize(values.len() * (rows * columns) as usize, 0.0);
        let dims = [&[rows as usize, columns as usize], &features[..]].concat();
        let operands = vec![
            Operand::Tensor(shifted.read(features)),
            Operand::Table(Constant::floats(dims, table)),
        ];
        self.make(node, add(), operands, view.axes)
    }
}

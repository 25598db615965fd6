//! Neighbours that are laid side by side as features, as `unfold` and `im2col` do before a product.

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
    /// Rows or columns by indices of two axes: one goes along the places, as the longer one does, the other along the
    /// neighbours of each.
    pub(super) fn neighbours(&mut self, node: &Node, view: &View, axis: usize, indices: &Constant) -> Done {
        let refused = || Unsupported::new("neighbours gathered by indices that are not the same at every place");
        let (&[first, second], Some(values)) = (&indices.dims[..], indices.as_ints()) else {
            return Err(refused());
        };
        if !matches!(view.axes[axis], Axis::Row(_) | Axis::Column(_)) || first == 0 || second == 0 {
            return Err(refused());
        }
        let places_last = second >= first;
        let (count, places) = if places_last { (first, second) } else { (second, first) };
        let size = view.axes[axis].size() as i64;
        let mut operands = Vec::with_capacity(count);
        let mut after = Vec::new();
        let mut place = 0;
        for number in 0..count {
            let along = (0..places).map(|at| {
                if places_last {
                    number * second + at
                } else {
                    at * second + number
                }
            });
            let line: Vec<i64> = along.map(|at| values[at]).collect();
            let line = line
                .into_iter()
                .map(|index| if index < 0 { index + size } else { index });
            let own = self.cut_out(node, view, axis, line.collect())?;
            let mut single = own.axes.clone();
            single.insert(axis + usize::from(!places_last), Axis::Feature(1));
            after.clone_from(&single);
            after[axis + usize::from(!places_last)] = Axis::Feature(count);
            place = axes::feature_index(&after, axis + usize::from(!places_last));
            operands.push(Operand::Tensor(own.read(axes::features(&single))));
        }
        self.make(node, Operator::Concat { axis: place }, operands, after)
    }

    /// Some of the rows or columns of a view.
    fn cut_out(&mut self, node: &Node, view: &View, axis: usize, indices: Vec<i64>) -> Result<View, Unsupported> {
        self.cut(node, view.clone(), &[(axis, indices)])?;
        match self.entities.get(&output_of(node)?) {
            Some(Entity::View(view)) => Ok(view.clone()),
            _ => Err(Unsupported::new("a selection of places that is not one window")),
        }
    }
}

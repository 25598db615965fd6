//! Operators that give a tensor other axes: their order, their grouping, or more of them.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    broadcast::aligned,
};
use crate::graph::{
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator},
    },
};

/// Features that copies of one may come to.
const MOST_REPEATED: usize = 1 << 20;

impl Lowering {
    pub(super) fn transpose(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let rank = view.axes.len();
        let order: Vec<usize> = match node.ints("perm") {
            Some(order) => order
                .iter()
                .map(|&axis| axes::resolve(axis, rank))
                .collect::<Result<_, _>>()?,
            None => (0..rank).rev().collect(),
        };
        if order.len() != rank {
            return Err(Unsupported::new("a permutation that does not fit the tensor"));
        }
        let axes: Vec<Axis> = order.iter().map(|&axis| view.axes[axis]).collect();
        let permutation: Vec<usize> = order
            .iter()
            .filter(|&&axis| view.axes[axis].features().is_some())
            .map(|&axis| axes::feature_index(&view.axes, axis))
            .collect();
        let features = view.features();
        let long = |axis: &&usize| features[**axis] > 1;
        if permutation.iter().filter(long).is_sorted() {
            return self.define(node, Entity::View(View { axes, ..view }));
        }
        let read = view.read(features);
        self.make(node, Operator::Permute(permutation), vec![Operand::Tensor(read)], axes)
    }

    pub(super) fn reshape(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let sizes: Vec<usize> = view.axes.iter().map(|axis| axis.size()).collect();
        let rank = sizes.len();
        let given = match node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.ints_input(node, 1)?,
        };
        let dims: Vec<usize> = match node.op_type() {
            "Flatten" => {
                let axis = node.int("axis", 1);
                let at = if axis == rank as i64 {
                    rank
                } else {
                    axes::resolve(axis, rank)?
                };
                vec![sizes[..at].iter().product(), sizes[at..].iter().product()]
            }
            "Squeeze" => {
                let axes: Vec<usize> = match given {
                    Some(axes) => axes
                        .into_iter()
                        .map(|axis| axes::resolve(axis, rank))
                        .collect::<Result<_, _>>()?,
                    None => (0..rank).filter(|&axis| sizes[axis] == 1).collect(),
                };
                (0..rank)
                    .filter(|axis| !axes.contains(axis))
                    .map(|axis| sizes[axis])
                    .collect()
            }
            "Unsqueeze" => {
                let axes = given.ok_or_else(|| Unsupported::new("axes that are not constant"))?;
                let rank = rank + axes.len();
                let axes: Vec<usize> = axes
                    .into_iter()
                    .map(|axis| axes::resolve(axis, rank))
                    .collect::<Result<_, _>>()?;
                let mut sizes = sizes.into_iter();
                (0..rank)
                    .map(|axis| {
                        if axes.contains(&axis) {
                            1
                        } else {
                            sizes.next().unwrap_or(1)
                        }
                    })
                    .collect()
            }
            _ => target(
                &given.ok_or_else(|| Unsupported::new("a shape that is not constant"))?,
                &sizes,
                node.int("allowzero", 0) != 0,
            )?,
        };
        if let Some(placed) = self.placed_by_label(node, &view, &dims)? {
            return self.define(node, Entity::View(placed));
        }
        let axes = axes::reshaped(&view.axes, &dims)?;
        self.define(node, Entity::View(View { axes, ..view }))
    }

    /// Features that are the same everywhere and become a picture of the image's size, as what is learnt of each label.
    fn placed_by_label(&mut self, node: &Node, view: &View, dims: &[usize]) -> Result<Option<View>, Unsupported> {
        let extent = self.tensors.first().and_then(|image| image.extent);
        let (&[1, count, rows, columns], Some(extent), None) = (dims, extent, view.extent()) else {
            return Ok(None);
        };
        let features = view.features();
        let size = features.iter().product::<usize>();
        if (rows as i64, columns as i64) != extent || size != count * rows * columns || !self.is_whole(view) {
            return Ok(None);
        }
        // Places come first.
        let read = Operand::Tensor(view.read(vec![count, rows * columns]));
        let turned = vec![Axis::Batch, Axis::Feature(rows * columns), Axis::Feature(count)];
        let turned = self.beside(node, Operator::Permute(vec![1, 0]), vec![read], turned)?;
        let read = Operand::Tensor(turned.read(turned.features()));
        let axes = vec![
            Axis::Batch,
            Axis::Feature(count),
            Axis::Row(extent.0),
            Axis::Column(extent.1),
        ];
        self.beside(node, Operator::OfPlace, vec![read], axes).map(Some)
    }

    pub(super) fn expand(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let shape = self
            .ints_input(node, 1)?
            .ok_or_else(|| Unsupported::new("a shape that is not constant"))?;
        let rank = shape.len();
        if view.axes.len() > rank {
            return Err(Unsupported::new("an expansion to fewer axes"));
        }
        let mut axes = vec![Axis::Unit; rank - view.axes.len()];
        axes.extend(&view.axes);
        for (at, axis) in axes.iter_mut().enumerate() {
            let size = shape[at];
            if size <= 1 || axis.size() > 1 {
                continue;
            }
            // A picture has its rows and columns last.
            *axis = match rank - at {
                // Where places are, what is repeated are features.
                _ if view.extent().is_some() => Axis::Feature(size as usize),
                2 if rank >= 4 && shape[rank - 1] > 1 => Axis::Row(size),
                1 if rank >= 4 && shape[rank - 2] > 1 => Axis::Column(size),
                _ if rank == 4 && at == 1 => Axis::Feature(size as usize),
                _ => {
                    return Err(Unsupported::new("an expansion of an axis of unknown meaning"));
                }
            };
        }
        let features = axes::features(&axes);
        let seen = aligned(&view.axes, &axes);
        if view.extent().is_some() {
            let mut own = axes.clone();
            let mut sizes = seen.iter();
            for axis in own.iter_mut().filter(|axis| axis.features().is_some()) {
                *axis = Axis::Feature(sizes.next().copied().unwrap_or(1));
            }
            let repeated = self.repeated(node, View { axes: own, ..view }, &axes)?;
            return self.define(node, Entity::View(repeated));
        }
        let identity = Operator::Pointwise(Node::new("Identity", &[], ""));
        if seen != features {
            return Err(Unsupported::new("an expansion of features"));
        }
        self.make(node, identity, vec![Operand::Tensor(view.read(seen))], axes)
    }

    /// Axes of one feature, as often as `axes` says.
    pub(super) fn repeated(&mut self, node: &Node, mut view: View, axes: &[Axis]) -> Result<View, Unsupported> {
        for (at, &axis) in axes.iter().enumerate() {
            let (Axis::Feature(1), Axis::Feature(count)) = (view.axes[at], axis) else {
                continue;
            };
            if count == 1 {
                continue;
            }
            let features: usize = view.features().iter().product();
            if count.saturating_mul(features) > MOST_REPEATED {
                return Err(Unsupported::new("a repetition without end, or without anything"));
            }
            let select = Operator::Select {
                axis: axes::feature_index(&view.axes, at),
                indices: vec![0; count],
            };
            let read = Operand::Tensor(view.read(view.features()));
            let mut after = view.axes.clone();
            after[at] = Axis::Feature(count);
            view = self.beside(node, select, vec![read], after)?;
        }
        Ok(view)
    }
}

/// The shape that a reshape asks for, with its zeros and its −1 resolved.
fn target(shape: &[i64], sizes: &[usize], zero_is_zero: bool) -> Result<Vec<usize>, Unsupported> {
    let total: usize = sizes.iter().product();
    let mut dims: Vec<usize> = shape
        .iter()
        .enumerate()
        .map(|(at, &size)| match size {
            0 if !zero_is_zero => sizes.get(at).copied().unwrap_or(1),
            -1 => 0,
            size => size.max(0) as usize,
        })
        .collect();
    if let Some(open) = shape.iter().position(|&size| size == -1) {
        dims[open] = 1;
        let others = elements(&dims).filter(|&others| others != 0 && total.is_multiple_of(others));
        let others = others.ok_or_else(|| Unsupported::new("a reshape to another number of elements"))?;
        dims[open] = total / others;
    }
    if elements(&dims) == Some(total) {
        Ok(dims)
    } else {
        Err(Unsupported::new("a reshape to another number of elements"))
    }
}

/// Their number, unless it is beyond all bounds: sizes are whatever a file says.
fn elements(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size))
}

//! What is added beside a tensor: zeros along rows and columns are the place from which the next operator reads, other
//! numbers become features.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    places::{MAX_TILED, widen},
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
    pub(super) fn pad(&mut self, node: &Node) -> Done {
        let mut view = self.first_view(node)?;
        let (pads, value) = self.paddings_of(node, view.axes.len())?;
        for (axis, &[before, after]) in pads.iter().enumerate() {
            if (before, after) == (0, 0) {
                continue;
            }
            let is_of_features = !view.axes[axis].is_spatial() && before >= 0 && after >= 0;
            if is_of_features && view.extent().is_some() {
                view = self.with_features(node, view, axis, [before, after], value)?;
            } else if let Axis::Pixels(..) = view.axes[axis]
                && pads[axis + 1..].iter().all(|&pads| pads == [0, 0])
            {
                return self.lengthen(node, &view, axis, [before, after], value);
            } else if value == 0.0 {
                widen(&mut view, axis, before, after)?;
            } else {
                return Err(Unsupported::new("padding with another value than zero"));
            }
        }
        self.define(node, Entity::View(view))
    }

    /// What is added before and after along each axis, and of what value.
    pub(super) fn paddings_of(&self, node: &Node, rank: usize) -> Result<(Vec<[i64; 2]>, f32), Unsupported> {
        let pads = match node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => self
                .ints_input(node, 1)?
                .ok_or_else(|| Unsupported::new("paddings that are not constant"))?,
        };
        if !matches!(node.text("mode"), b"" | b"constant") {
            return Err(Unsupported::new("padding with copies of the border"));
        }
        let value = match self.constant_input(node, 2)? {
            Some(value) => value.single().unwrap_or(f64::NAN) as f32,
            None => node.float("value", 0.0),
        };
        let which = match self.ints_input(node, 3)? {
            Some(axes) => axes
                .into_iter()
                .map(|axis| axes::resolve(axis, rank))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * which.len() {
            return Err(Unsupported::new("paddings that do not fit the tensor"));
        }
        let mut all = vec![[0, 0]; rank];
        for (at, &axis) in which.iter().enumerate() {
            all[axis] = [pads[at], pads[at + which.len()]];
        }
        Ok((all, value))
    }
}

impl Lowering {
    /// Adds features that are the same everywhere.
    fn with_features(
        &mut self,
        node: &Node,
        view: View,
        axis: usize,
        counts: [i64; 2],
        value: f32,
    ) -> Result<View, Unsupported> {
        let (mut own, mut axes) = (view.axes.clone(), view.axes.clone());
        let size = own[axis].size();
        own[axis] = Axis::Feature(size);
        let counts = counts.map(|count| usize::try_from(count).ok().filter(|&count| count <= MAX_TILED));
        let ([Some(before), Some(after)], Some(_)) = (counts, own[axis].features()) else {
            return Err(Unsupported::new("padding beyond all bounds"));
        };
        let others = axes::features(&own).iter().product::<usize>() / size.max(1);
        if (before + after).saturating_mul(others) > MAX_TILED {
            return Err(Unsupported::new("padding beyond all bounds"));
        }
        axes[axis] = Axis::Feature(before + size + after);
        let place = axes::feature_index(&axes, axis);
        let beside = |count: usize| {
            let mut dims = axes::features(&own);
            dims[place] = count;
            let values = vec![value; dims.iter().product()];
            (count > 0).then(|| Operand::Constant(Constant::floats(dims, values)))
        };
        let seen = Operand::Tensor(view.read(axes::features(&own)));
        let operands = [beside(before), Some(seen), beside(after)].into_iter().flatten();
        self.beside(node, Operator::Concat { axis: place }, operands.collect(), axes)
    }
}

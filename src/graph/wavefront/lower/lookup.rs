//! Operators that look something up in a constant table, or pick features by constant indices.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{Operand, Operator},
    },
};

impl Lowering {
    pub(super) fn gather(&mut self, node: &Node) -> Done {
        let [data, indices] = &self.inputs(node)?[..] else {
            return Err(Unsupported::new("a gather without indices"));
        };
        match (data, indices) {
            (Entity::Constant(table), Entity::View(view)) => {
                let axis = axes::resolve(node.int("axis", 0), table.dims.len())?;
                if axis != 0 || table.as_floats().is_none() {
                    return Err(Unsupported::new("a lookup of anything but rows of real numbers"));
                }
                self.embed(node, table, view)
            }
            (Entity::View(view), Entity::Constant(constant)) => {
                let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
                let size = view.axes[axis].size() as i64;
                let indices: Vec<i64> = constant
                    .as_ints()
                    .ok_or_else(|| Unsupported::new("indices that are not integers"))?
                    .iter()
                    .map(|&index| if index < 0 { index + size } else { index })
                    .collect();
                if constant.dims.len() > 1 && view.axes[axis].is_spatial() {
                    let (view, indices) = (view.clone(), constant.clone());
                    return self.neighbours(node, &view, axis, &indices);
                }
                if constant.dims.len() > 1 {
                    return Err(Unsupported::new("indices of several axes"));
                }
                self.cut(node, view.clone(), &[(axis, indices)])?;
                if constant.dims.is_empty()
                    && let Some(Entity::View(made)) = node.outputs.first().and_then(|name| self.entities.get_mut(name))
                {
                    if made.axes[axis].is_spatial() {
                        return Err(Unsupported::new("a single row or column"));
                    }
                    made.axes.remove(axis);
                }
                Ok(())
            }
            _ => Err(Unsupported::new("a lookup in what is computed by what is computed")),
        }
    }

    /// `GatherND` of whole rows: a gather whose indices have one more axis, of size 1.
    pub(super) fn gather_rows(&mut self, node: &Node) -> Done {
        let unknown = || Unsupported::new("a lookup of anything but rows of real numbers");
        match &self.inputs(node)?[..] {
            [Entity::Constant(table), Entity::View(view)] => {
                let mut view = view.clone();
                let is_single = view.axes.pop().is_some_and(|axis| axis.size() == 1);
                if node.int("batch_dims", 0) != 0
                    || !is_single
                    || view.axes.is_empty()
                    || table.dims.is_empty()
                    || table.as_floats().is_none()
                {
                    return Err(unknown());
                }
                self.embed(node, table, &view)
            }
            _ => Err(unknown()),
        }
    }

    /// Rows of a table by the label, or by the level of each pixel. Of the label, a table of labels, features, rows and
    /// columns, of which one or the other may be one for all, has a place for every pixel.
    fn embed(&mut self, node: &Node, table: &Constant, view: &View) -> Done {
        let read = Operand::Tensor(view.read(view.features()));
        let extent = self.tensors.first().and_then(|image| image.extent);
        let is_of_label = view.extent().is_none() && view.features().is_empty();
        if let ([labels, features, down, across], Some((rows, columns))) = (&table.dims[..], extent)
            && is_of_label
            && (*down == 1 || *down as i64 == rows)
            && (*across == 1 || *across as i64 == columns)
        {
            let (labels, features) = (*labels, *features);
            let mut axes = view.axes.clone();
            axes.push(Axis::Feature(features));
            if (*down, *across) == (1, 1) {
                axes.extend([Axis::Unit; 2]);
                let table = table.clone().reshaped(vec![labels, features]);
                return self.make(node, Operator::Embed(table), vec![read], axes);
            }
            axes.extend([Axis::Row(rows), Axis::Column(columns)]);
            let placed = placed(table, rows as usize, columns as usize);
            let operands = vec![Operand::Table(placed), read];
            return self.make(node, Operator::EmbedPlaced, operands, axes);
        }
        let features = table.dims[1..].iter().map(|&size| Axis::Feature(size));
        let axes = view.axes.iter().copied().chain(features).collect();
        self.make(node, Operator::Embed(table.clone()), vec![read], axes)
    }

    /// A number written into zeros at the place that an integer says, as `scatter_` makes a one-hot code.
    pub(super) fn mark(&mut self, node: &Node) -> Done {
        let refused = || Unsupported::new("numbers written to places that are computed, other than a one-hot code");
        if let Some(done) = self.assigned_at(node) {
            return done;
        }
        let [Entity::Constant(zeros), Entity::View(view), Entity::Constant(mark)] = &self.inputs(node)?[..] else {
            return Err(refused());
        };
        let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
        let first = mark
            .as_floats()
            .and_then(|values| values.first().copied())
            .unwrap_or(f32::NAN);
        let is_one = mark
            .as_floats()
            .is_some_and(|values| values.iter().all(|&value| value == first));
        let others = |at: usize| at == axis || zeros.dims.get(at) == Some(&view.axes[at].size());
        let is_code = matches!(view.axes[axis], Axis::Unit | Axis::Feature(1))
            && zeros.dims.len() == view.axes.len()
            && (0..view.axes.len()).all(others);
        if !zeros.is_zero()
            || zeros.size() == 0
            || !is_one
            || !is_code
            || !matches!(node.text("reduction"), b"" | b"none")
        {
            return Err(refused());
        }
        let mut view = view.clone();
        let depth = zeros.dims[axis];
        view.axes[axis] = Axis::Feature(1);
        let seen = view.features();
        let mut dims = vec![1; seen.len()];
        dims[axes::feature_index(&view.axes, axis)] = depth;
        let levels = Constant {
            dims,
            values: Values::Ints((0..depth as i64).collect()),
        };
        let mut axes = view.axes.clone();
        axes[axis] = Axis::Feature(depth);
        let equal = Operator::Pointwise(Node::new("Equal", &[], ""));
        let operands = vec![Operand::Tensor(view.read(seen)), Operand::Constant(levels)];
        let is_there = self.beside(node, equal, operands, axes.clone())?;
        self.tensors[is_there.tensor].is_real = false;
        let number = |value: f32| Operand::Constant(Constant::floats(Vec::new(), vec![value]));
        let operands = vec![
            Operand::Tensor(is_there.read(is_there.features())),
            number(first),
            number(0.0),
        ];
        let choice = Operator::Pointwise(Node::new("Where", &[], ""));
        self.make(node, choice, operands, axes)
    }

    pub(super) fn one_hot(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let (Some(depth), Some(values)) = (self.constant_input(node, 1)?, self.constant_input(node, 2)?) else {
            return Err(Unsupported::new("a one-hot code without depth"));
        };
        let size = match &depth.values {
            Values::Ints(ints) => ints.first().copied(),
            Values::Floats(floats) => floats.first().map(|&size| size as i64),
        };
        let rank = view.axes.len() as i64;
        let axis = node.int("axis", -1);
        if axis != -1 && axis != rank {
            return Err(Unsupported::new("a one-hot code along another axis than the last"));
        }
        let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let read = view.read(view.features());
        let mut axes = view.axes;
        axes.push(Axis::Feature(size));
        let operator = Operator::OneHot {
            node: node.clone(),
            depth,
            values,
        };
        self.make(node, operator, vec![Operand::Tensor(read)], axes)
    }
}

/// A table [labels, features, rows or 1, columns or 1] as [rows, columns, labels, features].
fn placed(table: &Constant, rows: usize, columns: usize) -> Constant {
    let [labels, features, down, across] = table.dims[..] else {
        return table.clone();
    };
    let values = table.as_floats().unwrap_or_default();
    let mut moved = Vec::with_capacity(rows * columns * labels * features);
    for row in 0..rows {
        for column in 0..columns {
            let place = row.min(down - 1) * across + column.min(across - 1);
            for at in 0..labels * features {
                moved.push(values[at * down * across + place]);
            }
        }
    }
    Constant::floats(vec![rows, columns, labels, features], moved)
}

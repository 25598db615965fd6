//! Operators that only move numbers: along features, or along rows and columns, where they become the place to read from.

use super::{
    Builder, Done, Entity, View,
    axes::{self, Axis},
    operators::{aligned, spread},
};
use crate::graph::{
    constant::{Constant, Values},
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{self, Operand, Operator},
    },
};

impl Builder {
    pub(super) fn concat(&mut self, node: &Node) -> Done {
        let entities = self.inputs(node)?;
        let views: Vec<&View> = entities
            .iter()
            .filter_map(|entity| match entity {
                Entity::View(view) => Some(view),
                Entity::Constant(_) => None,
            })
            .collect();
        let first = *views
            .first()
            .ok_or_else(|| Unsupported::new("a constant that was not folded"))?;
        let axis = axes::resolve(node.int("axis", 0), first.axes.len())?;
        if first.axes[axis].is_spatial() {
            return self.concat_places(node, &entities, axis);
        }
        if axis == 0 {
            return Err(Unsupported::new("a concatenation over the batch"));
        }
        let mut axes = first.axes.clone();
        let mut total = 0;
        for entity in &entities {
            total += match entity {
                Entity::View(view) => view.axes.get(axis).map_or(0, |axis| axis.size()),
                Entity::Constant(constant) => constant.dims.get(axis).copied().unwrap_or(0),
            };
        }
        axes[axis] = Axis::Feature(total);
        let place = axes::feature_index(&axes, axis);
        let operands = entities
            .iter()
            .map(|entity| match entity {
                Entity::View(view) => {
                    let mut own = view.axes.clone();
                    if own.len() != axes.len() || own[axis].is_spatial() {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    own[axis] = Axis::Feature(own[axis].size());
                    if axes::extent(&own) != axes::extent(&axes) {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    Ok(Operand::Tensor(view.read(axes::features(&own))))
                }
                Entity::Constant(constant) => {
                    let mut own = axes.clone();
                    own[axis] = Axis::Feature(constant.dims.get(axis).copied().unwrap_or(0));
                    let full = constant.dims.len() == own.len()
                        && constant
                            .dims
                            .iter()
                            .zip(&own)
                            .all(|(&size, axis)| size == axis.size());
                    if !full {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    spread(constant, &own)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.make(node, Operator::Concat { axis: place }, operands, axes)
    }

    /// Zeros beside a tensor are padding.
    pub(super) fn concat_places(&mut self, node: &Node, entities: &[Entity], axis: usize) -> Done {
        let (mut before, mut after, mut only) = (0, 0, None);
        for entity in entities {
            match entity {
                Entity::View(view) if only.is_none() => only = Some(view.clone()),
                Entity::Constant(constant) if constant.is_zero() => {
                    let size = constant.dims.get(axis).copied().unwrap_or(0) as i64;
                    *(if only.is_none() {
                        &mut before
                    } else {
                        &mut after
                    }) += size;
                }
                _ => return Err(Unsupported::new("a concatenation of places")),
            }
        }
        let mut view = only.ok_or_else(|| Unsupported::new("a constant that was not folded"))?;
        widen(&mut view, axis, before, after)?;
        self.define(node, Entity::View(view))
    }

    pub(super) fn split(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
        let size = view.axes[axis].size();
        let count = node.outputs.len();
        if count == 0 {
            return Err(Unsupported::new("a node without output"));
        }
        let sizes = match (node.ints("split"), self.ints_input(node, 1)?) {
            (Some(sizes), _) => sizes.to_vec(),
            (None, Some(sizes)) => sizes,
            (None, None) => {
                let each = size.div_ceil(count);
                (0..count)
                    .map(|part| each.min(size - (each * part).min(size)) as i64)
                    .collect()
            }
        };
        if sizes.len() != count
            || sizes.iter().sum::<i64>() != size as i64
            || sizes.iter().any(|&s| s < 1)
        {
            return Err(Unsupported::new("parts that do not make up the whole"));
        }
        let mut start = 0;
        for (part, output) in sizes.into_iter().zip(&node.outputs) {
            let own = Node {
                outputs: vec![output.clone()],
                ..node.clone()
            };
            let view = view.clone();
            self.cut(&own, view, &[(axis, (start..start + part).collect())])?;
            start += part;
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let missing = || Unsupported::new("bounds that are not constant integers");
        let starts = self.ints_input(node, 1)?.ok_or_else(missing)?;
        let ends = self.ints_input(node, 2)?.ok_or_else(missing)?;
        let count = starts.len();
        let which = match self.ints_input(node, 3)? {
            Some(axes) => axes,
            None => (0..count as i64).collect(),
        };
        let steps = self.ints_input(node, 4)?.unwrap_or_else(|| vec![1; count]);
        if ends.len() != count || which.len() != count || steps.len() != count {
            return Err(missing());
        }
        let mut cuts = Vec::new();
        for at in 0..count {
            let axis = axes::resolve(which[at], view.axes.len())?;
            let size = view.axes[axis].size() as i64;
            cuts.push((axis, sliced(starts[at], ends[at], steps[at], size)?));
        }
        self.cut(node, view, &cuts)
    }

    /// Keeps some indices of some axes: ranges of places become a window, features are selected.
    pub(super) fn cut(&mut self, node: &Node, mut view: View, cuts: &[(usize, Vec<i64>)]) -> Done {
        let mut selections = Vec::new();
        for (axis, indices) in cuts {
            let size = view.axes[*axis].size() as i64;
            if indices.is_empty() || indices.iter().any(|&index| !(0..size).contains(&index)) {
                return Err(Unsupported::new("an empty or impossible selection"));
            }
            let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
            if consecutive && indices.len() as i64 == size {
                continue;
            }
            let (start, length) = (indices[0], indices.len() as i64);
            match view.axes[*axis] {
                Axis::Row(_) | Axis::Column(_) if consecutive => {
                    widen(&mut view, *axis, -start, start + length - size)?;
                }
                Axis::Feature(_) => selections.push((*axis, indices.clone())),
                _ => {
                    return Err(Unsupported::new(
                        "a selection of places that is not one window",
                    ));
                }
            }
        }
        for (axis, indices) in selections {
            let read = view.read(view.features());
            let place = axes::feature_index(&view.axes, axis);
            view.axes[axis] = Axis::Feature(indices.len());
            let own = Node {
                outputs: node.outputs.clone(),
                name: node.name.clone(),
                ..Node::default()
            };
            let operator = Operator::Select {
                axis: place,
                indices: indices.iter().map(|&index| index as usize).collect(),
            };
            self.make(
                &own,
                operator,
                vec![Operand::Tensor(read)],
                view.axes.clone(),
            )?;
            if let Some(Entity::View(made)) = node
                .outputs
                .first()
                .and_then(|name| self.entities.get(name))
            {
                view = made.clone();
            }
        }
        self.define(node, Entity::View(view))
    }

    pub(super) fn pad(&mut self, node: &Node) -> Done {
        let mut view = self.first_view(node)?;
        let pads = match node.ints("pads") {
            Some(pads) => pads.to_vec(),
            None => self
                .ints_input(node, 1)?
                .ok_or_else(|| Unsupported::new("paddings that are not constant"))?,
        };
        if !matches!(node.text("mode"), b"" | b"constant") {
            return Err(Unsupported::new("padding with copies of the border"));
        }
        let value = self.constant_input(node, 2)?;
        if value.is_some_and(|value| !value.is_zero()) || node.float("value", 0.0) != 0.0 {
            return Err(Unsupported::new("padding with another value than zero"));
        }
        let which = match self.ints_input(node, 3)? {
            Some(axes) => axes
                .into_iter()
                .map(|axis| axes::resolve(axis, view.axes.len()))
                .collect::<Result<Vec<_>, _>>()?,
            None => (0..view.axes.len()).collect(),
        };
        if pads.len() != 2 * which.len() {
            return Err(Unsupported::new("paddings that do not fit the tensor"));
        }
        for (at, &axis) in which.iter().enumerate() {
            let (before, after) = (pads[at], pads[at + which.len()]);
            if (before, after) != (0, 0) {
                widen(&mut view, axis, before, after)?;
            }
        }
        self.define(node, Entity::View(view))
    }

    pub(super) fn gather(&mut self, node: &Node) -> Done {
        let [data, indices] = &self.inputs(node)?[..] else {
            return Err(Unsupported::new("a gather without indices"));
        };
        match (data, indices) {
            (Entity::Constant(table), Entity::View(view)) => {
                let axis = axes::resolve(node.int("axis", 0), table.dims.len())?;
                if axis != 0
                    || view.extent().is_some()
                    || table.as_floats().is_none()
                    || !view.features().is_empty()
                {
                    return Err(Unsupported::new(
                        "a table that is not looked up by the label",
                    ));
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
                if constant.dims.len() > 1 {
                    return Err(Unsupported::new("indices of several axes"));
                }
                self.cut(node, view.clone(), &[(axis, indices)])?;
                if constant.dims.is_empty()
                    && let Some(Entity::View(made)) = node
                        .outputs
                        .first()
                        .and_then(|name| self.entities.get_mut(name))
                {
                    if made.axes[axis].is_spatial() {
                        return Err(Unsupported::new("a single row or column"));
                    }
                    made.axes.remove(axis);
                }
                Ok(())
            }
            _ => Err(Unsupported::new("a gather by values of the image")),
        }
    }

    /// `GatherND` of whole rows: a gather whose indices have one more axis, of size 1.
    pub(super) fn gather_rows(&mut self, node: &Node) -> Done {
        let unknown = || Unsupported::new("a lookup of anything but rows by the label");
        match &self.inputs(node)?[..] {
            [Entity::Constant(table), Entity::View(view)] => {
                let mut view = view.clone();
                let is_single = view.axes.pop().is_some_and(|axis| axis.size() == 1);
                let is_plain = view.extent().is_none() && view.features().is_empty();
                if node.int("batch_dims", 0) != 0
                    || !is_single
                    || !is_plain
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

    /// Rows of a table by the label. A table of labels, features, rows and columns, of which one or the other may be one for all, has
    /// a place for every pixel.
    fn embed(&mut self, node: &Node, table: &Constant, view: &View) -> Done {
        let read = Operand::Tensor(view.read(Vec::new()));
        let extent = self.tensors.first().and_then(|image| image.extent);
        if let ([labels, features, down, across], Some((rows, columns))) = (&table.dims[..], extent)
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

    pub(super) fn one_hot(&mut self, node: &Node) -> Done {
        let view = self.first_view(node)?;
        let (Some(depth), Some(values)) =
            (self.constant_input(node, 1)?, self.constant_input(node, 2)?)
        else {
            return Err(Unsupported::new("a one-hot code without depth"));
        };
        let size = match &depth.values {
            Values::Ints(ints) => ints.first().copied(),
            Values::Floats(floats) => floats.first().map(|&size| size as i64),
        };
        let rank = view.axes.len() as i64;
        let axis = node.int("axis", -1);
        if view.extent().is_some() || !(axis == -1 || axis == rank) || values.as_floats().is_none()
        {
            return Err(Unsupported::new("a one-hot code of anything but the label"));
        }
        let size = size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(0);
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
            return Err(Unsupported::new(
                "a permutation that does not fit the tensor",
            ));
        }
        let axes: Vec<Axis> = order.iter().map(|&axis| view.axes[axis]).collect();
        let permutation: Vec<usize> = order
            .iter()
            .filter(|&&axis| matches!(view.axes[axis], Axis::Feature(_)))
            .map(|&axis| axes::feature_index(&view.axes, axis))
            .collect();
        let features = view.features();
        let long = |axis: &&usize| features[**axis] > 1;
        if permutation.iter().filter(long).is_sorted() {
            return self.define(node, Entity::View(View { axes, ..view }));
        }
        let read = view.read(features);
        self.make(
            node,
            Operator::Permute(permutation),
            vec![Operand::Tensor(read)],
            axes,
        )
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
        let axes = axes::reshaped(&view.axes, &dims)?;
        self.define(node, Entity::View(View { axes, ..view }))
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
                2 if rank >= 4 && shape[rank - 1] > 1 => Axis::Row(size),
                1 if rank >= 4 && shape[rank - 2] > 1 => Axis::Column(size),
                _ if rank == 4 && at == 1 => Axis::Feature(size as usize),
                _ => {
                    return Err(Unsupported::new(
                        "an expansion of an axis of unknown meaning",
                    ));
                }
            };
        }
        let features = axes::features(&axes);
        let seen = aligned(&view.axes, &axes);
        let identity = Operator::Pointwise(Node::new("Identity", &[], ""));
        if seen != features {
            return Err(Unsupported::new("an expansion of features"));
        }
        self.make(node, identity, vec![Operand::Tensor(view.read(seen))], axes)
    }
}

/// Adds zeros before and after along rows or columns; negative numbers cut.
fn widen(view: &mut View, axis: usize, before: i64, after: i64) -> Done {
    let cut = |size: i64| size + before + after;
    let (rows, columns) = view
        .extent()
        .ok_or_else(|| Unsupported::new("padding or cutting of something that has no places"))?;
    match view.axes[axis] {
        Axis::Row(size) => {
            view.axes[axis] = Axis::Row(cut(size));
            view.dy -= before;
        }
        Axis::Column(size) => {
            view.axes[axis] = Axis::Column(cut(size));
            view.dx -= before;
        }
        _ => {
            return Err(Unsupported::new(
                "padding of another axis than rows and columns",
            ));
        }
    }
    let (rows, columns) = axes::extent(&view.axes).unwrap_or((rows, columns));
    if rows < 1 || columns < 1 {
        return Err(Unsupported::new("nothing is left of the tensor"));
    }
    let visible = stencil::Window::of_size(rows, columns).shifted(view.dy, view.dx);
    view.window = view.window.intersect(visible);
    Ok(())
}

/// The indices that a slice keeps.
fn sliced(start: i64, end: i64, step: i64, size: i64) -> Result<Vec<i64>, Unsupported> {
    if step == 0 {
        return Err(Unsupported::new("a step of zero"));
    }
    let resolve = |index: i64| {
        if index < 0 {
            index.saturating_add(size)
        } else {
            index
        }
    };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (mut at, end) = (
        resolve(start).clamp(low.max(0), high),
        resolve(end).clamp(low, high),
    );
    let mut indices = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        indices.push(at);
        at += step;
    }
    Ok(indices)
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
        let others: usize = dims
            .iter()
            .enumerate()
            .filter(|&(at, _)| at != open)
            .map(|(_, &size)| size)
            .product();
        if others == 0 || !total.is_multiple_of(others) {
            return Err(Unsupported::new("a reshape to another number of elements"));
        }
        dims[open] = total / others;
    }
    if dims.iter().product::<usize>() == total {
        Ok(dims)
    } else {
        Err(Unsupported::new("a reshape to another number of elements"))
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

//! Operators that lay tensors side by side, cut them, or pad them. Along rows and columns nothing moves: it becomes the
//! place from which the next operator reads.

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    broadcast::spread,
};
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::{
        Unsupported,
        stencil::{self, Operand, Operator},
    },
};

/// Features that a repetition may come to.
pub(super) const MAX_TILED: usize = 1 << 20;
/// Rows or columns that a padding may add on a side.
const MOST_PADDING: u64 = 1 << 20;

impl Lowering {
    pub(super) fn concat(&mut self, node: &Node) -> Done {
        let entities: Vec<Entity> = self
            .inputs(node)?
            .into_iter()
            .filter(|entity| !matches!(entity, Entity::Constant(constant) if constant.size() == 0))
            .map(|entity| match entity {
                Entity::View(view) => {
                    let axis = axes::resolve(node.int("axis", 0), view.axes.len())?;
                    Ok(Entity::View(view.beside_batch(axis)))
                }
                constant @ Entity::Constant(_) => Ok(constant),
            })
            .collect::<Result<_, _>>()?;
        let views = || {
            entities.iter().filter_map(|entity| match entity {
                Entity::View(view) => Some(view),
                Entity::Constant(_) => None,
            })
        };
        let first = views().next();
        let first = first.ok_or_else(|| Unsupported::new("a constant that was not folded"))?;
        let axis = axes::resolve(node.int("axis", 0), first.axes.len())?;
        if views().any(|view| view.axes.get(axis).is_some_and(|axis| axis.is_spatial())) {
            return self.concat_places(node, &entities, axis);
        }
        if first.axes[axis] == Axis::Batch {
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
                    let mut as_long = own.clone();
                    as_long[axis] = axes[axis];
                    let is_like = axes::features(&as_long) == axes::features(&axes);
                    if !is_like || axes::extent(&own) != axes::extent(&axes) {
                        return Err(Unsupported::new("a concatenation of unlike tensors"));
                    }
                    Ok(Operand::Tensor(view.read(axes::features(&own))))
                }
                Entity::Constant(constant) => {
                    let mut own = axes.clone();
                    own[axis] = Axis::Feature(constant.dims.get(axis).copied().unwrap_or(0));
                    let full = constant.dims.len() == own.len()
                        && constant.dims.iter().zip(&own).all(|(&size, axis)| size == axis.size());
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
        if let [token, Entity::View(pixels)] = entities
            && let Axis::Pixels(..) = pixels.axes[axis]
        {
            let sequence = self.sequence(pixels, axis)?;
            return self.started(node, sequence, token);
        }
        let (mut before, mut after, mut only) = (0, 0, None);
        for entity in entities {
            match entity {
                Entity::View(view) if only.is_none() => only = Some(view.clone()),
                Entity::Constant(constant) if constant.is_zero() => {
                    let size = constant.dims.get(axis).copied().unwrap_or(0) as i64;
                    *(if only.is_none() { &mut before } else { &mut after }) += size;
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
        if sizes.len() != count || sizes.iter().sum::<i64>() != size as i64 || sizes.iter().any(|&s| s < 1) {
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
        let sizes: Vec<i64> = view.axes.iter().map(|axis| axis.size() as i64).collect();
        let cuts = self.slices_of(node, &sizes)?;
        self.cut(node, view, &cuts)
    }

    /// Axes that a slice cuts, and what it keeps of them.
    pub(super) fn slices_of(&self, node: &Node, sizes: &[i64]) -> Result<Vec<(usize, Vec<i64>)>, Unsupported> {
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
        (0..count)
            .map(|at| {
                let axis = axes::resolve(which[at], sizes.len())?;
                Ok((axis, sliced(starts[at], ends[at], steps[at], sizes[axis])?))
            })
            .collect()
    }

    /// Keeps some indices of some axes: ranges of places become a window, features are selected.
    pub(super) fn cut(&mut self, node: &Node, mut view: View, cuts: &[(usize, Vec<i64>)]) -> Done {
        let mut selections = Vec::new();
        let is_whole = |(axis, indices): &&(usize, Vec<i64>)| {
            let all = 0..view.axes[*axis].size() as i64;
            indices.iter().copied().eq(all)
        };
        let count = cuts.len() - cuts.iter().filter(is_whole).count();
        for (axis, indices) in cuts {
            let size = view.axes[*axis].size() as i64;
            if indices.is_empty() && matches!(view.axes[*axis], Axis::Feature(_) | Axis::Unit) {
                let mut dims: Vec<usize> = view.axes.iter().map(|axis| axis.size()).collect();
                dims[*axis] = 0;
                return self.define(node, Entity::Constant(Constant::floats(dims, Vec::new())));
            }
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
                Axis::Pixels(..) if consecutive && count == 1 => {
                    return self.lengthen(node, &view, *axis, [-start, start + length - size], 0.0);
                }
                Axis::Started(rows, columns) if consecutive && (start, length + 1) == (0, size) => {
                    view.axes[*axis] = Axis::Pixels(rows, columns);
                }
                Axis::Feature(_) => selections.push((*axis, indices.clone())),
                Axis::Row(_) | Axis::Column(_) => view = self.every(node, view, *axis, indices)?,
                _ => {
                    return Err(Unsupported::new("a selection of places that is not one window"));
                }
            }
        }
        for (axis, indices) in selections {
            let read = view.read(view.features());
            let place = axes::feature_index(&view.axes, axis);
            view.axes[axis] = Axis::Feature(indices.len());
            let (first, end) = (indices[0] as usize, indices[0] as usize + indices.len());
            let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
            if consecutive && let Some(read) = self.part(&read, place, first..end) {
                (view.tensor, view.dy, view.dx, view.window) = (read.tensor, read.dy, read.dx, read.window);
                continue;
            }
            let own = Node {
                outputs: node.outputs.clone(),
                name: node.name.clone(),
                ..Node::default()
            };
            let operator = Operator::Select {
                axis: place,
                indices: indices.iter().map(|&index| index as usize).collect(),
            };
            self.make(&own, operator, vec![Operand::Tensor(read)], view.axes.clone())?;
            if let Some(Entity::View(made)) = node.outputs.first().and_then(|name| self.entities.get(name)) {
                view = made.clone();
            }
        }
        self.define(node, Entity::View(view))
    }

    /// Features side by side with copies of themselves.
    pub(super) fn tile(&mut self, node: &Node) -> Done {
        let mut view = self.first_view(node)?;
        let repeats = self
            .ints_input(node, 1)?
            .filter(|repeats| repeats.len() == view.axes.len())
            .ok_or_else(|| Unsupported::new("a repetition that is not constant"))?;
        let mut selections = Vec::new();
        for (at, &count) in repeats.iter().enumerate().filter(|&(_, &count)| count != 1) {
            let axis = &mut view.axes[at];
            if *axis == Axis::Unit {
                *axis = Axis::Feature(1);
            }
            let Axis::Feature(size) = *axis else {
                return Err(Unsupported::new("a repetition of places"));
            };
            let copies = usize::try_from(count).unwrap_or(0);
            if copies == 0 || copies.saturating_mul(size) > MAX_TILED {
                return Err(Unsupported::new("a repetition without end, or without anything"));
            }
            let indices = (0..copies * size).map(|at| (at % size) as i64);
            selections.push((at, indices.collect()));
        }
        self.cut(node, view, &selections)
    }
}

/// Adds zeros before and after along rows or columns; negative numbers cut.
pub(super) fn widen(view: &mut View, axis: usize, before: i64, after: i64) -> Done {
    if [before, after].iter().any(|count| count.unsigned_abs() > MOST_PADDING) {
        return Err(Unsupported::new("padding beyond all bounds"));
    }
    let cut = |size: i64| size + before + after;
    let (rows, columns) = view
        .extent()
        .ok_or_else(|| Unsupported::new("padding or cutting of something that has no places"))?;
    match view.axes[axis] {
        Axis::Row(size) => {
            view.axes[axis] = Axis::Row(cut(size));
            view.dy -= before * view.stride.down;
        }
        Axis::Column(size) => {
            view.axes[axis] = Axis::Column(cut(size));
            view.dx -= before * view.stride.right;
        }
        _ => {
            return Err(Unsupported::new("padding of another axis than rows and columns"));
        }
    }
    let (rows, columns) = axes::extent(&view.axes).unwrap_or((rows, columns));
    if rows < 1 || columns < 1 {
        return Err(Unsupported::new("nothing is left of the tensor"));
    }
    let (rows, columns) = view.stride.spans((rows, columns));
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
        if index < 0 { index.saturating_add(size) } else { index }
    };
    let (low, high) = if step > 0 { (0, size) } else { (-1, size - 1) };
    let (mut at, end) = (resolve(start).clamp(low.max(0), high), resolve(end).clamp(low, high));
    let mut indices = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        indices.push(at);
        at += step;
    }
    Ok(indices)
}

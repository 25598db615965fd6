//! Assignments to places, as they are exported: values scattered by constant indices.

use std::ops::Range;

use super::{
    Done, Entity, Lowering, View,
    axes::{self, Axis},
    operators::output_of,
    parts::sliced,
    places::widen,
};
use crate::graph::{constant::Constant, protobuf::Node, wavefront::Unsupported};

impl Lowering {
    /// A block that is written into zeros is padding; zeros that are written over a border cut it away and pad.
    pub(super) fn scatter(&mut self, node: &Node) -> Done {
        let unknown = || Unsupported::new("an assignment to places that are not one block of constant indices");
        let [data, Entity::Constant(indices), updates] = &self.inputs(node)?[..] else {
            return Err(unknown());
        };
        let sizes: Vec<i64> = match data {
            Entity::Constant(constant) => constant.dims.iter().map(|&size| size as i64).collect(),
            Entity::View(view) => view.axes.iter().map(|axis| axis.size() as i64).collect(),
        };
        let block = block(indices)
            .filter(|_| matches!(node.text("reduction"), b"" | b"none"))
            .ok_or_else(unknown)?;
        let is_inside = |(&(first, count), &size): (&(i64, i64), &i64)| first >= 0 && first + count <= size;
        if block.len() > sizes.len() || !block.iter().zip(&sizes).all(is_inside) {
            return Err(unknown());
        }
        let mut partial = (0..block.len()).filter(|&axis| block[axis].1 < sizes[axis]);
        if let (Some(axis), None, Entity::View(view)) = (partial.next(), partial.next(), updates)
            && view.axes.get(axis).is_some_and(|axis| !axis.is_spatial())
        {
            let (first, count) = block[axis];
            return self.assigned(node, (data, view), axis, first..first + count);
        }
        let mut view = match (data, updates) {
            (Entity::Constant(zeros), Entity::View(view)) if zeros.is_zero() => view.clone(),
            (Entity::View(view), Entity::Constant(zeros)) if zeros.is_zero() => view.clone(),
            _ => {
                return Err(Unsupported::new(
                    "an assignment of anything but a block to zeros, or of zeros",
                ));
            }
        };
        if let Entity::View(_) = data {
            let mut partial = (0..block.len()).filter(|&axis| block[axis].1 < sizes[axis]);
            let (Some(axis), None) = (partial.next(), partial.next()) else {
                return Err(unknown());
            };
            let (first, count) = block[axis];
            let (before, after) = match first {
                0 => (count, 0),
                _ if first + count == sizes[axis] => (0, count),
                _ => return Err(unknown()),
            };
            widen(&mut view, axis, -before, -after)?;
            widen(&mut view, axis, before, after)?;
            return self.define(node, Entity::View(view));
        }
        for (axis, (&(first, count), &size)) in block.iter().zip(&sizes).enumerate() {
            if view.axes.get(axis).map(|axis| axis.size() as i64) != Some(count) {
                return Err(unknown());
            }
            if count < size {
                widen(&mut view, axis, first, size - first - count)?;
            }
        }
        self.define(node, Entity::View(view))
    }
}

impl Lowering {
    /// Numbers all along one index of an axis, as `out[:, i] = …` is written; nothing if it is not one index.
    pub(super) fn assigned_at(&mut self, node: &Node) -> Option<Done> {
        let inputs = self.inputs(node).ok()?;
        let [data, Entity::Constant(indices), Entity::View(updates)] = &inputs[..] else {
            return None;
        };
        let axis = axes::resolve(node.int("axis", 0), updates.axes.len()).ok()?;
        let values = indices.as_ints()?;
        let index = *values.first()?;
        let sizes: Vec<usize> = updates.axes.iter().map(|axis| axis.size()).collect();
        let is_plain = matches!(node.text("reduction"), b"" | b"none") && index >= 0;
        if !is_plain || indices.dims != sizes || sizes[axis] != 1 || values.iter().any(|&value| value != index) {
            return None;
        }
        Some(self.assigned(node, (data, updates), axis, index..index + 1))
    }

    /// Features of which some along an axis are others: the rest before and behind them.
    fn assigned(&mut self, node: &Node, (data, updates): (&Entity, &View), axis: usize, at: Range<i64>) -> Done {
        let unknown = || Unsupported::new("an assignment to places that are not one block of constant indices");
        let sizes: Vec<usize> = match data {
            Entity::Constant(constant) => constant.dims.clone(),
            Entity::View(view) => view.axes.iter().map(|axis| axis.size()).collect(),
        };
        let mut own: Vec<usize> = updates.axes.iter().map(|axis| axis.size()).collect();
        let count = (at.end - at.start) as usize;
        let fits = own.len() == sizes.len() && own[axis] == count && at.end as usize <= sizes[axis];
        own[axis] = sizes[axis];
        let is_of_features = matches!(updates.axes[axis], Axis::Feature(_) | Axis::Unit);
        if !fits || own != sizes || !is_of_features {
            return Err(unknown());
        }
        let output = output_of(node)?;
        let mut rest = |part: &str, range: Range<usize>| -> Result<Option<String>, Unsupported> {
            if range.is_empty() {
                return Ok(None);
            }
            let name = format!("{output}/density_server/{part}");
            match data {
                Entity::Constant(constant) => {
                    let constant = sliced(constant, axis, &range);
                    self.entities.insert(name.clone(), Entity::Constant(constant));
                }
                Entity::View(view) => {
                    let own = Node::new("Slice", &[], &name);
                    self.cut(&own, view.clone(), &[(axis, range.map(|index| index as i64).collect())])?;
                }
            }
            Ok(Some(name))
        };
        let before = rest("before", 0..at.start as usize)?;
        let behind = rest("behind", at.end as usize..sizes[axis])?;
        let between = format!("{output}/density_server/updates");
        self.entities.insert(between.clone(), Entity::View(updates.clone()));
        let names = before.into_iter().chain([between]).chain(behind).collect();
        let joined = Node {
            op_type: Some("Concat".to_owned()),
            inputs: names,
            attributes: Vec::new(),
            ..node.clone()
        };
        self.concat(&joined.with_int("axis", axis as i64))
    }
}

/// Where a block of indices begins along each of the first axes, and how long it is; `None` if the indices are no such
/// block.
fn block(indices: &Constant) -> Option<Vec<(i64, i64)>> {
    let (&width, grid) = indices.dims.split_last()?;
    let values = indices.as_ints()?;
    if width != grid.len() || values.is_empty() {
        return None;
    }
    let first = values.get(..width)?;
    for (number, place) in values.chunks_exact(width).enumerate() {
        let mut rest = number;
        for axis in (0..width).rev() {
            if place[axis] != first[axis] + (rest % grid[axis]) as i64 {
                return None;
            }
            rest /= grid[axis];
        }
    }
    Some(
        first
            .iter()
            .zip(grid)
            .map(|(&first, &count)| (first, count as i64))
            .collect(),
    )
}

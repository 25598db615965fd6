//! Assignments to places, as they are exported: values scattered by constant indices.

use super::{Done, Entity, Lowering, places::widen};
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

//! Which axis of a fixed shape follows the batch.

use super::Loosening;
use crate::graph::protobuf::Node;

impl Loosening {
    /// A shape that begins with the batch, or a multiple of it, leaves that to be found.
    pub(super) fn reshape(&mut self, node: &mut Node) {
        let Some(mut shape) = self.ints(node, 1).filter(|_| self.varies(node, 0)) else {
            return;
        };
        let Some(&first) = shape.first() else { return };
        if let [-1, batch, rest @ ..] = &shape[..]
            && self.length.is_some()
            && *batch == self.batch
            && !rest.is_empty()
        {
            node.inputs[1] = self.of_batch_behind(-1, rest);
            return;
        }
        let is_found = shape[1..].contains(&-1);
        let place = self.place_of_batch(&shape);
        if first <= 0 || shape[place] % self.batch != 0 || (is_found && first != self.batch && !self.has_parts) {
            return;
        }
        // Zero would mean as it was, which need not be the batch: rows may have been joined before.
        node.inputs[1] = if is_found {
            self.of_parts(first / self.batch, &shape[1..])
        } else {
            shape[place] = -1;
            self.hold(&shape)
        };
    }

    /// Numbers that are looked up one after the other, as exporters write `as_strided`, only get other axes.
    pub(super) fn strided(&mut self, node: &mut Node) {
        let places = node.inputs.get(1).and_then(|name| self.constants.get(name));
        let Some(places) = places.filter(|places| places.dims.len() > 1 && places.dims[0] == self.batch as usize)
        else {
            return;
        };
        let counts_up = |own: &[i64]| own.iter().enumerate().all(|(at, &place)| place == at as i64);
        if node.int("axis", 0) != 0 || !self.varies(node, 0) || !places.as_ints().is_some_and(counts_up) {
            return;
        }
        let rest = places.dims[1..].iter().map(|&size| size as i64);
        let shape: Vec<i64> = std::iter::once(-1).chain(rest).collect();
        node.op_type = Some("Reshape".to_owned());
        node.attributes.clear();
        node.inputs[1] = self.hold(&shape);
    }

    /// The axis of a shape that follows the batch. Where all is fixed, one has to, and at a batch of 1 any may: one of
    /// size 1 that stands between others, as where a sequence comes first, or else the first, in which the rows of a
    /// batch are joined.
    fn place_of_batch(&self, shape: &[i64]) -> usize {
        if shape.len() > 2 && self.length == Some(shape[0]) {
            return 1;
        }
        let is_between = |&place: &usize| shape[place] == 1;
        let between = (1..shape.len().saturating_sub(1)).find(is_between);
        between.filter(|_| self.batch == 1 && shape[0] != 1).unwrap_or(0)
    }
}

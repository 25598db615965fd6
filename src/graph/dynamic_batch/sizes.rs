//! Sizes that are told of a batch, where something is repeated, brought to a shape, or drawn.

use super::{BATCH, Loosening, known_constants};
use crate::graph::protobuf::{Model, Node};

/// Lengths of sequences that a graph puts before its batch, by the shapes that it brings things to.
pub fn lengths(model: &Model, batch: usize) -> Vec<usize> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let constants = known_constants::of(graph);
    let reshapes = graph.nodes.iter().filter(|node| node.op_type() == "Reshape");
    let shapes = reshapes.filter_map(|node| constants.get(node.inputs.get(1)?)?.as_ints());
    let length = |shape: &[i64]| match shape {
        &[length, second, _, ..] if second == batch as i64 && length != second => usize::try_from(length).ok(),
        _ => None,
    };
    shapes.filter_map(length).filter(|&length| length > 1).collect()
}

impl Loosening {
    /// A shape that something is brought to, which begins with the batch.
    pub(super) fn target(&mut self, node: &mut Node, at: usize) {
        let Some(shape) = self.ints(node, at) else { return };
        let varies = at == 0 || self.varies(node, 0) || node.op_type() == "Expand";
        // A row that stands before a sequence is repeated like it.
        let is_before = |size: i64| self.length.is_some() && size == 1 && node.op_type() == "Expand";
        if let [length, batch, rest @ ..] = &shape[..]
            && (self.length == Some(*length) || is_before(*length))
            && *batch == self.batch
            && !rest.is_empty()
            && varies
        {
            node.inputs[at] = self.of_batch_behind(*length, rest);
            return;
        }
        if shape.first() != Some(&self.batch) || !varies || shape.len() < 2 {
            return;
        }
        node.inputs[at] = self.of_batch(&shape[1..]);
    }

    /// The shape [batch, rest…].
    pub(super) fn of_batch(&mut self, rest: &[i64]) -> String {
        self.needs_batch = true;
        let name = format!("density_server/sizes/{}", self.made.len());
        let rest = self.hold(rest);
        self.before
            .push(Node::new("Concat", &[BATCH, &rest], &name).with_int("axis", 0));
        name
    }

    /// The shape [parts · batch, rest…].
    pub(super) fn of_parts(&mut self, parts: i64, rest: &[i64]) -> String {
        if parts == 1 {
            return self.of_batch(rest);
        }
        self.needs_batch = true;
        let (count, rest) = (self.hold(&[parts]), self.hold(rest));
        let [all, sizes] = ["all", "parts"].map(|what| format!("density_server/sizes/{what}/{}", self.made.len()));
        self.before.push(Node::new("Mul", &[BATCH, &count], &all));
        self.before
            .push(Node::new("Concat", &[&all, &rest], &sizes).with_int("axis", 0));
        sizes
    }

    /// The shape [length, batch, rest…].
    pub(super) fn of_batch_behind(&mut self, length: i64, rest: &[i64]) -> String {
        let (first, behind) = (self.hold(&[length]), self.of_batch(rest));
        let name = format!("{behind}/behind");
        self.before
            .push(Node::new("Concat", &[&first, &behind], &name).with_int("axis", 0));
        name
    }

    /// A row that is the same for all, as often as the example had images.
    pub(super) fn tile(&mut self, node: &mut Node) {
        let Some(repeats) = self.ints(node, 1).filter(|_| !self.varies(node, 0)) else {
            return;
        };
        if self.batch > 1 && repeats.len() > 1 && repeats[0] == self.batch {
            node.inputs[1] = self.of_batch(&repeats[1..]);
        }
    }

    /// As many random numbers as there were rows: as many as there are.
    pub(super) fn draw(&mut self, node: &mut Node) {
        let Some(shape) = node.ints("shape").map(<[i64]>::to_vec) else {
            return;
        };
        if shape.first() != Some(&self.batch) || shape.len() < 2 {
            return;
        }
        let (sizes, like) = (
            self.of_batch(&shape[1..]),
            format!("density_server/like/{}", self.made.len()),
        );
        self.before.push(Node::new("ConstantOfShape", &[&sizes], &like));
        node.op_type = Some(format!("{}Like", node.op_type()));
        node.attributes
            .retain(|attribute| attribute.name.as_deref() != Some("shape"));
        node.inputs = vec![like];
    }
}

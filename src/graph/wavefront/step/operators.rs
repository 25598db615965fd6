//! Operators other than linear ones, as nodes over rows of features.

use super::writer::Writer;
use crate::graph::{
    constant::Constant,
    protobuf::Node,
    wavefront::stencil::{Operand, Operator, StencilTensor},
};

/// Writes an operator other than a linear one.
pub(super) fn write(writer: &mut Writer, tensor: &StencilTensor, operands: &[String], output: &str, opset: i64) {
    let names: Vec<&str> = operands.iter().map(String::as_str).collect();
    let like = |node: &Node, inputs: &[&str]| Node {
        attributes: node.attributes.clone(),
        ..Node::new(node.op_type(), inputs, output)
    };
    let without = |node: &Node, name: &str| {
        let mut node = node.clone();
        node.attributes.retain(|a| a.name.as_deref() != Some(name));
        node
    };
    match &tensor.operator {
        Operator::Image | Operator::Label | Operator::Linear(_) | Operator::Attend(_) => {}
        Operator::Pointwise(node) => writer.node(like(node, &names)),
        Operator::Mix { node, axes } => match node.op_type() {
            "LayerNormalization" => {
                let node = like(&without(node, "axis"), &names);
                writer.node(node.with_int("axis", -(axes.len() as i64)));
            }
            "Softmax" | "LogSoftmax" => {
                let node = like(&without(node, "axis"), &names);
                writer.node(node.with_int("axis", axes[0] as i64 + 1));
            }
            "ArgMax" | "ArgMin" => {
                let node = like(&without(&without(node, "axis"), "keepdims"), &names);
                let node = node.with_int("axis", axes.first().map_or(0, |&axis| axis as i64 + 1));
                writer.node(node.with_int("keepdims", 1));
            }
            name => {
                let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64 + 1).collect();
                let node = without(&without(node, "axes"), "keepdims");
                // Axes became an input with version 13 for sums, with version 18 for the others.
                let as_input = opset >= if name == "ReduceSum" { 13 } else { 18 };
                let node = if as_input {
                    let axes = writer.ints(axes);
                    like(&node, &[names[0], &axes])
                } else {
                    like(&node, &[names[0]]).with_ints("axes", &axes)
                };
                writer.node(node.with_int("keepdims", 1));
            }
        },
        Operator::Concat { axis } => {
            let parts = rows_like(writer, tensor, operands);
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            writer.node(Node::new("Concat", &parts, output).with_int("axis", *axis as i64 + 1));
        }
        Operator::Select { axis, indices } => {
            let axis = *axis as i64 + 1;
            let (first, last) = (indices[0] as i64, indices[indices.len() - 1] as i64);
            let consecutive = indices.windows(2).all(|pair| pair[1] == pair[0] + 1);
            if consecutive {
                let (starts, ends) = (writer.ints([first]), writer.ints([last + 1]));
                let axes = writer.ints([axis]);
                writer.node(Node::new("Slice", &[names[0], &starts, &ends, &axes], output));
            } else {
                let indices = writer.ints(indices.iter().map(|&index| index as i64));
                writer.node(Node::new("Gather", &[names[0], &indices], output).with_int("axis", axis));
            }
        }
        Operator::Permute(order) => {
            let order: Vec<i64> = std::iter::once(0)
                .chain(order.iter().map(|&axis| axis as i64 + 1))
                .collect();
            writer.node(Node::new("Transpose", &[names[0]], output).with_ints("perm", &order));
        }
        Operator::Embed(table) => {
            let table = writer.constant(table);
            writer.node(Node::new("Gather", &[&table, names[0]], output));
        }
        Operator::EmbedPlaced | Operator::OfPlace => {
            let last = writer.ints([1]);
            let index = writer.fresh("index");
            writer.node(Node::new("Unsqueeze", &[names[1], &last], &index));
            let row = Node::new("GatherND", &[names[0], &index], output);
            writer.node(row.with_int("batch_dims", 1));
        }
        Operator::OneHot { node, depth, values } => {
            let (depth, values) = (writer.constant(depth), writer.constant(values));
            writer.node(like(node, &[names[0], &depth, &values]));
        }
    }
}

/// The operands of a concatenation, constants repeated for every row of the batch.
fn rows_like(writer: &mut Writer, tensor: &StencilTensor, operands: &[String]) -> Vec<String> {
    let model = tensor
        .operands
        .iter()
        .zip(operands)
        .find(|(operand, _)| !matches!(operand, Operand::Constant(_)))
        .map(|(_, name)| name.clone())
        .unwrap_or_default();
    tensor
        .operands
        .iter()
        .zip(operands)
        .map(|(operand, name)| {
            let Operand::Constant(constant) = operand else {
                return name.clone();
            };
            let [shape, rows, target, output] = ["shape", "rows", "target", "repeated"].map(|what| writer.fresh(what));
            let sizes = writer.ints(constant.dims.iter().map(|&size| size as i64));
            let (first, end) = (writer.ints([0]), writer.ints([1]));
            writer.node(Node::new("Shape", &[&model], &shape));
            writer.node(Node::new("Slice", &[&shape, &first, &end], &rows));
            writer.node(Node::new("Concat", &[&rows, &sizes], &target).with_int("axis", 0));
            writer.node(Node::new("Expand", &[name, &target], &output));
            output
        })
        .collect()
}

/// A constant as the operator wants it: with an axis for the batch, but where it is a parameter.
pub(super) fn own_constant(writer: &mut Writer, tensor: &StencilTensor, constant: &Constant) -> String {
    let is_parameter = match &tensor.operator {
        Operator::Pointwise(node) => node.op_type() == "Clip",
        Operator::Mix { .. } => true,
        _ => false,
    };
    if is_parameter {
        return writer.constant(constant);
    }
    let mut dims = vec![1];
    dims.extend(&constant.dims);
    writer.constant(&constant.clone().reshaped(dims))
}

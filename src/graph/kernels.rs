//! Operators on numbers that the runtime has no kernel for, computed on others that hold the same values.

use std::collections::HashMap;

use super::protobuf::{ElementType, Graph, Model, Node};

const FLOAT: i32 = ElementType::Float as i32;
const INT64: i32 = ElementType::Int64 as i32;

/// Element types of the standard operators' small integers, and of 16-bit reals.
const SMALL_INTEGERS: [i32; 6] = [2, 3, 4, 5, 6, 12];
const HALVES: [i32; 2] = [ElementType::Float16 as i32, ElementType::Bfloat16 as i32];

/// Has the runtime compute what it has a kernel for; answers how many operators were wrapped in conversions.
///
/// So far `Trilu`, by which people make masks of bytes.
pub fn provide(model: &mut Model) -> usize {
    let Some(graph) = &mut model.graph else { return 0 };
    let mut types = types_of(graph);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    let mut wrapped = 0;
    for mut node in std::mem::take(&mut graph.nodes) {
        learn(&node, &mut types);
        let own = node.inputs.first().and_then(|name| types.get(name)).copied();
        let wider = own.and_then(wider).filter(|_| node.op_type() == "Trilu");
        let (Some(own), Some(wider), Some(output)) = (own, wider, node.outputs.first().cloned()) else {
            nodes.push(node);
            continue;
        };
        let [before, after] = ["before", "after"].map(|what| format!("density_server/{output}/{what}"));
        let cast = |from: &str, to: &str, kind: i32| Node::new("Cast", &[from], to).with_int("to", i64::from(kind));
        nodes.push(cast(&node.inputs[0], &before, wider));
        node.inputs[0] = before;
        node.outputs[0].clone_from(&after);
        nodes.push(node);
        nodes.push(cast(&after, &output, own));
        wrapped += 1;
    }
    graph.nodes = nodes;
    wrapped
}

/// A type with a kernel that holds all values of a type without one.
fn wider(kind: i32) -> Option<i32> {
    if SMALL_INTEGERS.contains(&kind) {
        Some(INT64)
    } else {
        HALVES.contains(&kind).then_some(FLOAT)
    }
}

/// Element types as far as the file states them.
fn types_of(graph: &Graph) -> HashMap<String, i32> {
    let values = graph.inputs.iter().chain(&graph.value_infos).filter_map(|value| {
        let tensor = value.type_info.as_ref()?.tensor.as_ref()?;
        Some((value.name().to_owned(), tensor.element_type?))
    });
    let constants = graph.initializers.iter();
    let constants = constants.filter_map(|tensor| Some((tensor.name().to_owned(), tensor.data_type?)));
    values.chain(constants).collect()
}

/// Adds the type of a node's output where the node tells it.
fn learn(node: &Node, types: &mut HashMap<String, i32>) {
    let of_value = || node.attribute("value")?.t.as_ref()?.data_type;
    let kind = match node.op_type() {
        "Cast" => Some(node.int("to", 0) as i32),
        "Constant" => of_value(),
        "ConstantOfShape" => of_value().or(Some(FLOAT)),
        "Identity" | "Expand" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" | "Slice" | "Tile" | "Trilu" => {
            node.inputs.first().and_then(|name| types.get(name)).copied()
        }
        _ => None,
    };
    if let (Some(kind), Some(output)) = (kind, node.outputs.first()) {
        types.entry(output.clone()).or_insert(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Tensor;

    fn wrapped(kind: i32) -> Vec<String> {
        let ones = Tensor {
            name: Some("one".to_owned()),
            data_type: Some(kind),
            ..Tensor::default()
        };
        let graph = Graph {
            initializers: vec![ones],
            nodes: vec![
                Node::new("Expand", &["one", "shape"], "ones"),
                Node::new("Trilu", &["ones"], "mask"),
                Node::new("Relu", &["mask"], "end"),
            ],
            ..Graph::default()
        };
        let mut model = Model {
            graph: Some(graph),
            ..Model::default()
        };
        provide(&mut model);
        let nodes = model.graph.unwrap().nodes;
        // Whoever reads the output still finds it.
        assert!(nodes.iter().any(|node| node.outputs == ["mask"]));
        nodes.iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[test]
    fn triangles_of_bytes_are_computed_in_integers_and_those_of_reals_as_they_are() {
        assert_eq!(wrapped(2), ["Expand", "Cast", "Trilu", "Cast", "Relu"]);
        assert_eq!(wrapped(FLOAT), ["Expand", "Trilu", "Relu"]);
        assert_eq!(wrapped(INT64), ["Expand", "Trilu", "Relu"]);
    }
}

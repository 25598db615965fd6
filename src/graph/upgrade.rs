//! Graphs of older operators in the words of version 13, which the server reads.
//!
//! Between versions 11 and 13 a few operators took their axes as an input instead of an attribute, and `Softmax` came
//! to mean one axis instead of all from one on. The rules are those of the format's own version converter.

use std::collections::HashMap;

use super::{
    GraphError,
    protobuf::{Graph, Model, Node, Tensor},
};

/// The version that graphs are brought to.
pub const VERSION: i64 = 13;
/// The oldest that is understood.
pub const OLDEST: i64 = 11;

/// Brings a graph of version 11 or 12 to version 13; answers whether there was anything to do.
pub fn to_current(model: &mut Model) -> Result<bool, GraphError> {
    let opset = model.opset();
    if opset >= VERSION {
        return Ok(false);
    }
    if opset < OLDEST {
        return Err(GraphError::Signature(format!(
            "it uses version {opset} of the ONNX operators, and the oldest that is understood is {OLDEST}: export it \
             again, with opset_version=18 in torch.onnx.export or --opset 18 in tf2onnx"
        )));
    }
    let Some(graph) = &mut model.graph else {
        return Ok(false);
    };
    let mut made = Vec::new();
    in_graph(graph, &mut made)?;
    // What outer graphs hold is seen by those inside.
    graph.initializers.extend(made);
    for set in &mut model.opset_imports {
        if matches!(set.domain.as_deref(), None | Some("" | "ai.onnx")) {
            set.version = Some(VERSION);
        }
    }
    Ok(true)
}

fn in_graph(graph: &mut Graph, made: &mut Vec<Tensor>) -> Result<(), GraphError> {
    let ranks = ranks(graph);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for mut node in std::mem::take(&mut graph.nodes) {
        for attribute in &mut node.attributes {
            let inner = attribute.graph.as_deref_mut().into_iter();
            for graph in inner.chain(&mut attribute.graphs) {
                in_graph(graph, made)?;
            }
        }
        match node.op_type() {
            "Squeeze" | "Unsqueeze" | "ReduceSum" => to_input(&mut node, "axes", made),
            "Split" => to_input(&mut node, "split", made),
            "Dropout" if node.outputs.len() == 1 => {
                node.attributes.clear();
                node.inputs.truncate(1);
                node.op_type = Some("Identity".to_owned());
            }
            "Upsample" => {
                return Err(GraphError::Signature(format!(
                    "{:?} is an Upsample, which left the operators with version 10: export the graph again with \
                     opset_version=18",
                    node.name()
                )));
            }
            "Softmax" | "LogSoftmax" | "Hardmax" => {
                nodes.extend(over_one_axis(node, &ranks));
                continue;
            }
            _ => {}
        }
        nodes.push(node);
    }
    graph.nodes = nodes;
    Ok(())
}

/// An attribute of integers becomes the second input.
fn to_input(node: &mut Node, name: &str, made: &mut Vec<Tensor>) {
    let Some(values) = node.ints(name).map(<[i64]>::to_vec) else {
        return;
    };
    node.attributes.retain(|attribute| attribute.name() != name);
    let constant = format!("density_server/{name}/{}", made.len());
    made.push(Tensor::of_ints(&constant, &values));
    node.inputs.truncate(1);
    node.inputs.push(constant);
}

/// Until version 12 these operators took all axes from one on together.
fn over_one_axis(mut node: Node, ranks: &HashMap<String, i64>) -> Vec<Node> {
    let axis = node.int("axis", 1);
    let rank = node.outputs.first().and_then(|output| ranks.get(output)).copied();
    node.attributes.retain(|attribute| attribute.name() != "axis");
    if axis == -1 || rank.is_some_and(|rank| axis == rank - 1) {
        return vec![node.with_int("axis", -1)];
    }
    let (Some(input), Some(output)) = (node.inputs.first().cloned(), node.outputs.first().cloned()) else {
        return vec![node];
    };
    let name = |what: &str| format!("density_server/{what}/{output}");
    let (shape, flat, normalised) = (name("shape"), name("flat"), name("normalised"));
    node.inputs[0].clone_from(&flat);
    node.outputs[0].clone_from(&normalised);
    vec![
        Node::new("Shape", &[&input], &shape),
        Node::new("Flatten", &[&input], &flat).with_int("axis", axis),
        node.with_int("axis", -1),
        Node::new("Reshape", &[&normalised, &shape], &output),
    ]
}

/// Numbers of axes, where the file or an operator that counts them tells.
fn ranks(graph: &Graph) -> HashMap<String, i64> {
    let values = graph.value_infos.iter().chain(&graph.outputs);
    let rank = |value: &super::protobuf::ValueInfo| {
        let shape = value.type_info.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
        Some((value.name().to_owned(), shape.dims.len() as i64))
    };
    let mut ranks: HashMap<String, i64> = values.filter_map(rank).collect();
    for node in graph.nodes.iter().filter(|node| node.op_type() == "Transpose") {
        if let Some(order) = node.ints("perm") {
            let both = node.inputs.iter().chain(&node.outputs);
            ranks.extend(both.map(|name| (name.clone(), order.len() as i64)));
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{ElementType, OperatorSet, ValueInfo};

    fn of_version(version: i64, nodes: Vec<Node>) -> Model {
        Model {
            opset_imports: vec![OperatorSet {
                domain: None,
                version: Some(version),
            }],
            graph: Some(Graph {
                nodes,
                outputs: vec![ValueInfo::batched("y", ElementType::Float, &[3])],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    #[test]
    fn axes_become_inputs() {
        let node = Node::new("Squeeze", &["x"], "y").with_ints("axes", &[2]);
        let mut model = of_version(11, vec![node]);
        assert_eq!(to_current(&mut model), Ok(true));
        assert_eq!(model.opset(), VERSION);
        let graph = model.graph.unwrap();
        assert_eq!(graph.initializers[0].integers(), Some(vec![2]));
        assert_eq!(graph.nodes[0].inputs[1], graph.initializers[0].name());
        assert!(graph.nodes[0].attributes.is_empty());
    }

    #[test]
    fn softmax_keeps_its_meaning() {
        let converted = |axis: i64| {
            let mut model = of_version(12, vec![Node::new("Softmax", &["x"], "y").with_int("axis", axis)]);
            to_current(&mut model).unwrap();
            model.graph.unwrap().nodes
        };
        // The output has two axes, so that axis 1 is the last one.
        assert_eq!(converted(1).len(), 1);
        assert_eq!(converted(1)[0].int("axis", 0), -1);
        let operators: Vec<_> = converted(0).iter().map(|node| node.op_type().to_owned()).collect();
        assert_eq!(operators, ["Shape", "Flatten", "Softmax", "Reshape"]);
    }

    #[test]
    fn what_is_too_old_is_refused_with_a_cure() {
        let error = to_current(&mut of_version(9, vec![])).unwrap_err().to_string();
        assert!(error.contains("opset_version=18"), "{error}");
        assert_eq!(to_current(&mut of_version(17, vec![])), Ok(false));
    }
}

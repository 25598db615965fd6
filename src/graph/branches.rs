//! What a network does otherwise where it is given one item only: branches on sizes, and axes of one item left out.
//!
//! `squeeze(dim)` of an axis whose size an exporter does not know becomes a branch: where the axis has one item it is
//! taken out, else nothing is done. Where that axis is the batch, the network gives one image another number of axes
//! than it gives several.

use std::collections::{HashMap, HashSet};

use super::{
    protobuf::{Graph, Model, Node, Tensor},
    surgery,
};

/// The version of operators from which on the axes of a squeeze are an input.
const AXES_AS_INPUT: i64 = 13;

/// The conditions of branches that sizes alone decide, each once.
pub fn conditions(graph: &Graph) -> Vec<String> {
    let branches = graph.nodes.iter().filter(|node| node.op_type() == "If");
    let mut conditions: Vec<String> = branches.filter_map(|node| node.inputs.first().cloned()).collect();
    conditions.sort_unstable();
    conditions.dedup();
    conditions.retain(|condition| is_of_sizes(graph, condition));
    conditions
}

/// Whether a value is computed of sizes and constants.
fn is_of_sizes(graph: &Graph, value: &str) -> bool {
    let held: HashSet<&str> = graph.initializers.iter().map(Tensor::name).collect();
    let (mut waiting, mut seen) = (vec![value], HashSet::new());
    while let Some(value) = waiting.pop() {
        if held.contains(value) || !seen.insert(value) {
            continue;
        }
        match surgery::producer(graph, value) {
            Some(node) if matches!(node.op_type(), "Shape" | "Size") => {}
            Some(node) if !node.attributes.iter().any(|attribute| attribute.graph.is_some()) => {
                waiting.extend(node.inputs.iter().map(String::as_str));
            }
            _ => return false,
        }
    }
    true
}

/// Puts in the place of each branch what it does where its condition is as `found`; `round` tells values of one call
/// from those of another.
pub fn decide(graph: &mut Graph, found: &HashMap<String, bool>, round: usize) {
    let decided = |node: &Node| (node.op_type() == "If").then(|| found.get(node.inputs.first()?).copied())?;
    let branches = graph.nodes.iter().enumerate();
    let branches: Vec<(usize, bool)> = branches.filter_map(|(at, node)| Some((at, decided(node)?))).collect();
    for (at, holds) in branches.into_iter().rev() {
        put_in(graph, at, holds, &format!("density_server/branch/{round}/{at}"));
    }
}

fn put_in(graph: &mut Graph, at: usize, holds: bool, prefix: &str) {
    let node = graph.nodes.remove(at);
    let name = if holds { "then_branch" } else { "else_branch" };
    let mut branches = node.attributes.into_iter();
    let taken = branches.find(|attribute| attribute.name.as_deref() == Some(name));
    let Some(mut inner) = taken.and_then(|attribute| attribute.graph) else {
        return;
    };
    let written = inner.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str);
    let own = written.chain(inner.initializers.iter().map(Tensor::name));
    let own: Vec<String> = own.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    for name in own {
        surgery::rename(&mut inner, &name, &format!("{prefix}/{name}"));
    }
    let given = inner.outputs.iter().zip(&node.outputs);
    let given = given.map(|(inner, outer)| Node::new("Identity", &[inner.name()], outer));
    let given: Vec<Node> = given.collect();
    graph.nodes.splice(at..at, inner.nodes.into_iter().chain(given));
    graph.initializers.extend(inner.initializers);
}

/// Values all of whose axes of one item are left out, whichever they are.
pub fn squeezed(graph: &Graph) -> Vec<String> {
    let squeezes = graph.nodes.iter().filter(|node| names_no_axes(node));
    squeezes.filter_map(|node| node.inputs.first().cloned()).collect()
}

fn names_no_axes(node: &Node) -> bool {
    let named = node.inputs.get(1).is_some_and(|axes| !axes.is_empty()) || node.ints("axes").is_some();
    node.op_type() == "Squeeze" && !named
}

/// Names the axes that are left out, which are those of one item of `shapes`; the first is the batch and stays.
pub fn name_axes(model: &mut Model, shapes: &HashMap<String, Vec<usize>>) {
    let is_input = model.opset() >= AXES_AS_INPUT;
    let Some(graph) = &mut model.graph else { return };
    let mut made = Vec::new();
    for node in graph.nodes.iter_mut().filter(|node| names_no_axes(node)) {
        let Some(shape) = node.inputs.first().and_then(|value| shapes.get(value)) else {
            continue;
        };
        let axes: Vec<i64> = (1..shape.len())
            .filter(|&axis| shape[axis] == 1)
            .map(|axis| axis as i64)
            .collect();
        node.inputs.truncate(1);
        if axes.is_empty() {
            node.op_type = Some("Identity".to_owned());
        } else if is_input {
            let name = format!("density_server/axes/{}", made.len());
            made.push(Tensor::of_ints(&name, &axes));
            node.inputs.push(name);
        } else {
            *node = node.clone().with_ints("axes", &axes);
        }
    }
    graph.initializers.extend(made);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Attribute, ElementType, OperatorSet, ValueInfo};

    /// y = x without its first axis if that has one item, else as it is; `asked` is what is compared with one.
    fn squeezing(asked: Node) -> Graph {
        let branch = |name: &str, node: Node| Attribute {
            name: Some(name.to_owned()),
            graph: Some(Box::new(Graph {
                outputs: vec![ValueInfo::of_any_shape(&node.outputs[0], ElementType::Float)],
                nodes: vec![node],
                ..Graph::default()
            })),
            ..Attribute::default()
        };
        let mut asking = Node::new("If", &["asked"], "y");
        asking.attributes = vec![
            branch("then_branch", Node::new("Squeeze", &["x", "zero"], "inner")),
            branch("else_branch", Node::new("Relu", &["x"], "inner")),
        ];
        Graph {
            nodes: vec![
                asked,
                Node::new("Gather", &["size", "zero"], "first"),
                Node::new("Equal", &["first", "one"], "asked"),
                asking,
            ],
            initializers: vec![Tensor::of_ints("zero", &[0]), Tensor::of_ints("one", &[1])],
            inputs: vec![ValueInfo::batched("x", ElementType::Float, &[4])],
            ..Graph::default()
        }
    }

    #[test]
    fn a_branch_that_sizes_decide_is_put_in_its_place() {
        for (holds, operator) in [(true, "Squeeze"), (false, "Relu")] {
            let mut graph = squeezing(Node::new("Shape", &["x"], "size"));
            assert_eq!(conditions(&graph), ["asked"]);
            decide(&mut graph, &HashMap::from([("asked".to_owned(), holds)]), 0);
            let [.., taken, given] = &graph.nodes[..] else {
                panic!("too few nodes")
            };
            assert_eq!(
                (taken.op_type(), given.op_type(), graph.nodes.len()),
                (operator, "Identity", 5)
            );
            assert_eq!((taken.inputs[0].as_str(), given.outputs[0].as_str()), ("x", "y"));
            assert_eq!(taken.outputs, given.inputs);
            assert_ne!(taken.outputs, ["inner"]);
        }
    }

    #[test]
    fn a_branch_that_numbers_decide_is_let_alone() {
        let mut graph = squeezing(Node::new("Cast", &["x"], "size"));
        assert!(conditions(&graph).is_empty());
        decide(&mut graph, &HashMap::new(), 0);
        assert_eq!(graph.nodes.len(), 4);
    }

    #[test]
    fn axes_of_one_item_that_are_left_out_are_named() {
        let shapes = HashMap::from([("x".to_owned(), vec![1, 10, 1, 1]), ("y".to_owned(), vec![1, 10])]);
        for (version, inputs) in [(11, 1), (17, 2)] {
            let graph = Graph {
                nodes: vec![Node::new("Squeeze", &["x"], "y"), Node::new("Squeeze", &["y"], "z")],
                ..Graph::default()
            };
            assert_eq!(squeezed(&graph), ["x", "y"]);
            let mut model = Model {
                graph: Some(graph),
                opset_imports: vec![OperatorSet {
                    version: Some(version),
                    ..OperatorSet::default()
                }],
                ..Model::default()
            };
            name_axes(&mut model, &shapes);
            let graph = model.graph.unwrap();
            let [first, second] = &graph.nodes[..] else {
                panic!("two nodes")
            };
            assert_eq!((first.op_type(), first.inputs.len()), ("Squeeze", inputs));
            assert_eq!(second.op_type(), "Identity");
            let held = graph.initializers.first().and_then(Tensor::integers);
            assert_eq!(first.ints("axes").map(<[i64]>::to_vec).or(held), Some(vec![2, 3]));
            assert!(squeezed(&graph).is_empty());
        }
    }
}

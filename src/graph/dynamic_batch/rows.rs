//! Rows of what is the same for all: an exporter holds as many as its example has.

use std::collections::{HashMap, HashSet};

use crate::graph::{
    constant::Constant,
    protobuf::{Graph, Node, Tensor},
};

/// Codes as one of many numbers, written as vector quantisers write them, ones put into zeros with a row for each place
/// of each image: as many rows as there are indices.
pub(super) fn scatter(graph: &mut Graph, constants: &HashMap<String, Constant>, varying: &HashSet<String>) {
    let uniform: HashMap<String, Uniform> = graph
        .nodes
        .iter()
        .filter(|node| is_by_rows(node, varying))
        .flat_map(|node| [&node.inputs[0], &node.inputs[2]])
        .filter_map(|name| Some((name.clone(), Uniform::of(name, graph, constants)?)))
        .collect();
    if uniform.is_empty() {
        return;
    }
    for mut node in std::mem::take(&mut graph.nodes) {
        if is_by_rows(&node, varying) {
            for at in [0, 2] {
                if let Some(uniform) = uniform.get(&node.inputs[at]) {
                    uniform.widen(graph, &mut node, at);
                }
            }
        }
        graph.nodes.push(node);
    }
}

/// Whether a node puts something into rows, by as many rows of indices.
fn is_by_rows(node: &Node, varying: &HashSet<String>) -> bool {
    node.op_type() == "ScatterElements"
        && node.int("axis", 0) != 0
        && node.inputs.len() == 3
        && varying.contains(&node.inputs[1])
}

/// A constant that is the same everywhere.
struct Uniform {
    value: Constant,
    /// Its sizes but the first.
    rest: Vec<i64>,
}

impl Uniform {
    fn of(name: &str, graph: &Graph, constants: &HashMap<String, Constant>) -> Option<Self> {
        if let Some(constant) = constants.get(name) {
            let rest = constant.dims.get(1..).filter(|rest| !rest.is_empty())?;
            constant.uniform()?;
            return Some(Self {
                value: constant.rearranged(vec![1], std::iter::once(0)),
                rest: rest.iter().map(|&size| size as i64).collect(),
            });
        }
        let node = graph
            .nodes
            .iter()
            .find(|node| node.outputs.first().is_some_and(|own| own == name))?;
        if node.op_type() != "ConstantOfShape" {
            return None;
        }
        let held = node
            .attribute("value")
            .map(|value| value.t.as_ref().and_then(Constant::read));
        let value = held.unwrap_or_else(|| Some(Constant::floats(vec![1], vec![0.0])))?;
        let rest = constants.get(&node.inputs[0])?.as_ints()?.get(1..)?.to_vec();
        (!rest.is_empty()).then_some(Self { value, rest })
    }

    /// Has an input of a node be as many rows of it as the node has indices.
    fn widen(&self, graph: &mut Graph, node: &mut Node, at: usize) {
        let name = |part: &str| format!("density_server/scattered/{part}/{at}/{}", node.outputs[0]);
        graph.initializers.push(self.value.tensor(&name("value")));
        graph.initializers.push(Tensor::of_ints(&name("rest"), &self.rest));
        let rows = Node::new("Shape", &[&node.inputs[1]], &name("rows")).with_int("start", 0);
        graph.nodes.push(rows.with_int("end", 1));
        node.inputs[at] = expanded(graph, &name("value"), &[&name("rows"), &name("rest")], name);
    }
}

/// What is computed of no input, joined to what varies, has as many rows as the example had images, and is repeated
/// along what the other has more of. Where there were several rows, the first one is; that all were the same shows when
/// the graph is tried.
pub(super) fn join(graph: &mut Graph, constants: &HashMap<String, Constant>, varying: &HashSet<String>, batch: usize) {
    for mut node in std::mem::take(&mut graph.nodes) {
        let sibling = node.inputs.iter().find(|name| varying.contains(*name)).cloned();
        if let Some(sibling) = sibling.filter(|_| node.op_type() == "Concat") {
            let axis = node.int("axis", 0);
            for at in 0..node.inputs.len() {
                let constant = constants.get(&node.inputs[at]);
                // Before a sequence, the batch is the second axis.
                let is_row = match constant {
                    None => batch == 1 || axis != 0,
                    Some(constant) => axis == 0 && (batch == 1 || constant.dims.get(1) == Some(&batch)),
                };
                if is_row && !varying.contains(&node.inputs[at]) {
                    if batch > 1 {
                        first_of_rows(graph, &mut node, at, i64::from(axis == 0));
                    }
                    repeat(graph, &mut node, (at, axis), &sibling);
                }
            }
        }
        graph.nodes.push(node);
    }
}

/// Has an input of a node be the first of its rows, which lie along this axis.
fn first_of_rows(graph: &mut Graph, node: &mut Node, at: usize, axis: i64) {
    let name = |part: &str| format!("density_server/row/{part}/{at}/{}", node.outputs[0]);
    for (part, value) in [("start", 0), ("end", 1), ("axis", axis)] {
        graph.initializers.push(Tensor::of_ints(&name(part), &[value]));
    }
    let (bounds, row) = (["start", "end", "axis"].map(name), name("first"));
    let [start, end, axis] = &bounds;
    graph
        .nodes
        .push(Node::new("Slice", &[&node.inputs[at], start, end, axis], &row));
    node.inputs[at] = row;
}

/// Has an input of a node be repeated along all axes but one, as often as `sibling` has it.
fn repeat(graph: &mut Graph, node: &mut Node, (at, axis): (usize, i64), sibling: &str) {
    let name = |part: &str| format!("density_server/joined/{part}/{at}/{}", node.outputs[0]);
    graph.initializers.push(Tensor::of_ints(&name("own"), &[1]));
    let (before, after) = (name("before"), name("after"));
    graph
        .nodes
        .push(Node::new("Shape", &[sibling], &before).with_int("end", axis));
    let mut sizes = vec![before, name("own")];
    if axis != -1 {
        graph
            .nodes
            .push(Node::new("Shape", &[sibling], &after).with_int("start", axis + 1));
        sizes.push(after);
    }
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    node.inputs[at] = expanded(graph, &node.inputs[at], &sizes, name);
}

/// Has `value` be brought to a shape that is made of parts; what comes of it has the name that is answered.
fn expanded(graph: &mut Graph, value: &str, shape: &[&str], name: impl Fn(&str) -> String) -> String {
    let (sizes, wide) = (name("sizes"), name("wide"));
    graph.nodes.push(Node::new("Concat", shape, &sizes).with_int("axis", 0));
    graph.nodes.push(Node::new("Expand", &[value, &sizes], &wide));
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::constant::Values;

    #[test]
    fn ones_are_put_into_as_many_rows_as_there_are_indices() {
        let put = Node::new("ScatterElements", &["zeros", "places", "ones"], "codes");
        let mut graph = Graph {
            nodes: vec![
                Node::new("ConstantOfShape", &["sizes"], "ones"),
                put.clone().with_int("axis", 1),
            ],
            ..Graph::default()
        };
        let constants = HashMap::from([
            ("zeros".to_owned(), Constant::floats(vec![2, 3], vec![0.0; 6])),
            (
                "sizes".to_owned(),
                Constant {
                    dims: vec![2],
                    values: Values::Ints(vec![2, 1]),
                },
            ),
        ]);
        let varying = HashSet::from(["places".to_owned()]);
        scatter(&mut graph, &constants, &varying);
        let operators: Vec<_> = graph.nodes.iter().map(Node::op_type).collect();
        let widened = ["Shape", "Concat", "Expand"];
        assert_eq!(
            operators[1..],
            [&widened[..], &widened[..], &["ScatterElements"]].concat()
        );

        // Along the first axis, rows are what indices say.
        graph.nodes = vec![put];
        scatter(&mut graph, &constants, &varying);
        assert_eq!(graph.nodes.len(), 1);
    }

    #[test]
    fn what_is_computed_of_nothing_is_repeated_beside_what_varies() {
        let mut graph = Graph {
            nodes: vec![
                Node::new("Neg", &["start"], "begin"),
                Node::new("Concat", &["begin", "x"], "y").with_int("axis", 0),
            ],
            ..Graph::default()
        };
        join(
            &mut graph,
            &HashMap::new(),
            &HashSet::from(["x".to_owned(), "y".to_owned()]),
            1,
        );
        let operators: Vec<_> = graph.nodes.iter().map(Node::op_type).collect();
        assert_eq!(operators, ["Neg", "Shape", "Shape", "Concat", "Expand", "Concat"]);
        assert_eq!((graph.nodes[1].int("end", 9), graph.nodes[2].int("start", 9)), (0, 1));
        assert_eq!(graph.nodes[5].inputs, [graph.nodes[4].outputs[0].as_str(), "x"]);
    }

    #[test]
    fn of_several_rows_that_are_computed_of_nothing_the_first_is_repeated() {
        let varying = HashSet::from(["x".to_owned()]);
        let begin = Constant::floats(vec![1, 2, 3], vec![0.0; 6]);
        let constants = HashMap::from([("begin".to_owned(), begin)]);
        let joined = |first: &str, axis: i64| {
            let mut graph = Graph {
                nodes: vec![Node::new("Concat", &[first, "x"], "y").with_int("axis", axis)],
                ..Graph::default()
            };
            join(&mut graph, &constants, &varying, 2);
            let sliced = graph.nodes.iter().any(|node| node.op_type() == "Slice");
            let along = graph
                .initializers
                .iter()
                .find(|held| held.name().contains("/row/axis/"));
            (sliced, along.and_then(Tensor::integers))
        };
        assert_eq!(joined("places", 1), (true, Some(vec![0])));
        // The batch is behind a sequence that a constant stands before.
        assert_eq!(joined("begin", 0), (true, Some(vec![1])));
        // Constants are widened elsewhere, and shapes are let alone.
        assert_eq!(joined("begin", 2), (false, None));
        assert_eq!(joined("sizes", 0), (false, None));
    }
}

//! Running sums of what came before, which people write as the whole running sum less the own number.
//!
//! In floating point a trace of that number is left, so that a network would see its own pixel. The format has an
//! operator that leaves it out, which is what was meant.

use std::collections::HashMap;

use crate::graph::{
    protobuf::{Graph, Model, Node},
    surgery,
};

/// Has running sums leave out what is taken from them again, if nobody else reads them; further terms may be added in
/// between.
pub(super) fn replaced(model: &mut Model) {
    let Some(graph) = &mut model.graph else { return };
    let mut attributes = graph.nodes.iter().flat_map(|node| &node.attributes);
    if attributes.any(|attribute| attribute.holds_graph()) {
        // Who reads what is then not seen at a glance.
        return;
    }
    let readers = readers(graph);
    let found: Vec<(usize, String)> = graph
        .nodes
        .iter()
        .filter_map(|node| match (node.op_type(), &node.inputs[..], &node.outputs[..]) {
            ("Sub", [whole, own], [less]) => Some((sum_of(graph, &readers, whole, own)?, less.clone())),
            _ => None,
        })
        .collect();
    for (sum, less) in found {
        let node = &mut graph.nodes[sum];
        node.attributes.retain(|attribute| attribute.name() != "exclusive");
        *node = std::mem::take(node).with_int("exclusive", 1);
        surgery::bypass(graph, &less);
    }
}

/// How often each value is read.
fn readers(graph: &Graph) -> HashMap<&str, usize> {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    let outputs = graph.outputs.iter().map(|value| value.name());
    for name in graph
        .nodes
        .iter()
        .flat_map(|node| node.inputs.iter().map(String::as_str))
        .chain(outputs)
    {
        *readers.entry(name).or_default() += 1;
    }
    readers
}

/// The place of the running sum of `own` that is a term of `whole`, if nothing else is made of them.
fn sum_of(graph: &Graph, readers: &HashMap<&str, usize>, whole: &str, own: &str) -> Option<usize> {
    let mut terms = vec![whole];
    while let Some(term) = terms.pop() {
        let written = graph
            .nodes
            .iter()
            .position(|node| node.outputs.iter().any(|output| output == term));
        let Some((place, node)) = written.map(|place| (place, &graph.nodes[place])) else {
            continue;
        };
        match node.op_type() {
            _ if readers.get(term) != Some(&1) => {}
            "Add" => terms.extend(node.inputs.iter().map(String::as_str)),
            "CumSum" if is_whole(node) && node.inputs.first().is_some_and(|of| of == own) => return Some(place),
            _ => {}
        }
    }
    None
}

fn is_whole(sum: &Node) -> bool {
    sum.int("exclusive", 0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{ElementType, ValueInfo};

    /// What becomes of a sum that is read by these, too.
    fn sum_beside(others: Vec<Node>) -> (i64, String) {
        let mut graph = Graph::default();
        graph.nodes = vec![
            Node::new("CumSum", &["x", "axis"], "sum"),
            Node::new("Add", &["bias", "sum"], "whole"),
            Node::new("Sub", &["whole", "x"], "before"),
        ];
        graph.nodes.extend(others);
        graph.outputs = vec![ValueInfo::of_any_shape("before", ElementType::Float)];
        let mut model = Model::default();
        model.graph = Some(graph);
        replaced(&mut model);
        let nodes = model.graph.unwrap().nodes;
        (nodes[0].int("exclusive", 0), nodes[2].op_type().to_owned())
    }

    #[test]
    fn what_is_taken_from_a_running_sum_again_is_left_out_unless_the_sum_is_read() {
        assert_eq!(sum_beside(Vec::new()), (1, "Identity".to_owned()));
        for read in ["sum", "whole"] {
            let other = Node::new("Relu", &[read], "other");
            assert_eq!(sum_beside(vec![other]), (0, "Sub".to_owned()));
        }
    }
}

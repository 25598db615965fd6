//! Whether rows of numbers are features rather than numbers of labels, as far as their name and the last operators of
//! a graph tell.

use super::{
    output_activation::MOVING,
    reading::{Given, Reading},
};
use crate::graph::{
    protobuf::{Graph, Node},
    surgery, weights,
};

/// Parts of names that features have.
const NAMES: [&str; 5] = ["feature", "embed", "pool", "hidden", "penultimate"];

/// Whether an output is called like features.
pub fn is_called(given: &Given) -> bool {
    let name = given.port.name.to_lowercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// Whether an output is features: by its name, or because it ends as no last layer of a classifier does.
pub fn are_features(reading: &Reading, given: &Given) -> bool {
    is_called(given) || ends_as_features(reading.graph(), &given.port.name)
}

/// Whether numbers are brought to a common size or squashed, or are the mean of places that no last layer ended: sums
/// of branches, or numbers times their gates.
fn ends_as_features(graph: &Graph, output: &str) -> bool {
    let (mut value, mut is_pooled) = (output, false);
    while let Some(node) = surgery::producer(graph, value) {
        let first = node.inputs.first();
        let next = match node.op_type() {
            "LayerNormalization"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "LpNormalization"
            | "Tanh" => return true,
            "Div" if is_over_size(graph, node) => return true,
            "HardSwish" | "Gelu" | "Mish" if is_pooled => return true,
            "GlobalAveragePool" | "GlobalMaxPool" | "AveragePool" | "MaxPool" | "ReduceMean" | "ReduceMax" => {
                is_pooled = true;
                first
            }
            "Add" | "Mul" | "Sub" | "Div" => match with_constant(graph, node) {
                Some(input) => Some(input),
                None => return is_pooled && matches!(node.op_type(), "Add" | "Mul"),
            },
            "Relu" | "Clip" | "Gather" | "Slice" => first,
            moving if MOVING.contains(&moving) => first,
            _ => return false,
        };
        let Some(next) = next else { return false };
        value = next;
    }
    false
}

/// The input of an operator whose other input is a constant.
fn with_constant<'a>(graph: &Graph, node: &'a Node) -> Option<&'a String> {
    surgery::beside_constant(graph, node).map(|(value, _)| &node.inputs[value])
}

/// Whether numbers are divided by a root, as by their deviation, or by their norm.
fn is_over_size(graph: &Graph, node: &Node) -> bool {
    let mut divisor = node.inputs.get(1);
    while let Some(node) = divisor.and_then(|name| surgery::producer(graph, name)) {
        divisor = match node.op_type() {
            "Sqrt" | "ReduceL2" => return true,
            "Clip" | "Expand" | "Max" => node.inputs.first(),
            "Add" => with_constant(graph, node),
            moving if MOVING.contains(&moving) => node.inputs.first(),
            _ => None,
        };
        if divisor.is_some_and(|name| weights::scalar(graph, name).is_some()) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Tensor;

    #[test]
    fn features_end_by_norms_and_by_means_of_branches() {
        let ends = |nodes: &[(&str, &[&str], &str)]| {
            let nodes = nodes
                .iter()
                .map(|(kind, inputs, output)| Node::new(kind, inputs, output));
            let mut graph = Graph::default();
            graph.initializers = vec![Tensor::of_scalar("w", 2.0)];
            graph.nodes = nodes.collect();
            ends_as_features(&graph, "y")
        };
        let token: [(&str, &[&str], &str); 2] =
            [("LayerNormalization", &["x", "w"], "a"), ("Gather", &["a", "w"], "y")];
        assert!(ends(&token));
        let residual: [(&str, &[&str], &str); 4] = [
            ("Add", &["a", "b"], "c"),
            ("Relu", &["c"], "d"),
            ("GlobalAveragePool", &["d"], "e"),
            ("Flatten", &["e"], "y"),
        ];
        assert!(ends(&residual));
        let direction: [(&str, &[&str], &str); 3] = [
            ("ReduceL2", &["x"], "n"),
            ("Clip", &["n", "w"], "m"),
            ("Div", &["x", "m"], "y"),
        ];
        assert!(ends(&direction));
        // Logits of two networks, of a network without a dense layer, and made warmer.
        assert!(!ends(&[("Add", &["a", "b"], "y")]));
        assert!(!ends(&[("Gemm", &["x", "w"], "a"), ("Div", &["a", "w"], "y")]));
        let squeezed: [(&str, &[&str], &str); 3] = [
            ("Conv", &["x", "w"], "a"),
            ("Relu", &["a"], "b"),
            ("GlobalAveragePool", &["b"], "y"),
        ];
        assert!(!ends(&squeezed));
    }
}

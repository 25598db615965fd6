//! What the last operators of a graph did to its numbers, such as making probabilities of logits.

use crate::graph::{
    protobuf::{Graph, Node},
    surgery, weights,
};

/// The last operator that changed numbers rather than their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputActivation {
    /// Probabilities over an axis.
    Softmax,
    /// Their logarithms.
    LogSoftmax,
    /// Probabilities, each of its own.
    Sigmoid,
    /// From −1 to 1, by a hyperbolic tangent or what stands for one.
    Tanh,
    /// A positive number, out of its logarithm.
    Exp,
    /// The square root of a positive number, out of its logarithm: exp(x / 2).
    ExpOfHalf,
    /// A positive number.
    Softplus,
    /// A place: that of the largest, for one.
    Place,
    /// A convolution or a product with a matrix, whose numbers have no bounds.
    Linear,
    /// Anything else.
    Other,
}

/// Operators that tell places: of the nearest in a code book, for one.
pub const LOOKING_UP: [&str; 3] = ["ArgMax", "ArgMin", "TopK"];

/// Operators that only move, rename or convert.
pub(super) const MOVING: [&str; 9] = [
    "Cast",
    "Contiguous",
    "Dropout",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// The last operator behind an output, and the value that it writes.
pub fn last(graph: &Graph, output: &str) -> (OutputActivation, String) {
    let mut value = output.to_owned();
    loop {
        let Some(node) = surgery::producer(graph, &value) else {
            return (OutputActivation::Other, value);
        };
        let last = match node.op_type() {
            "Softmax" => OutputActivation::Softmax,
            "LogSoftmax" => OutputActivation::LogSoftmax,
            "Sigmoid" => OutputActivation::Sigmoid,
            "Tanh" | "Softsign" => OutputActivation::Tanh,
            "Clip" if is_from_minus_one_to_one(graph, node) => OutputActivation::Tanh,
            looking_up if LOOKING_UP.contains(&looking_up) => OutputActivation::Place,
            "Softplus" => OutputActivation::Softplus,
            "Exp" if halves(graph, node.inputs.first()) => OutputActivation::ExpOfHalf,
            "Exp" => OutputActivation::Exp,
            "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => OutputActivation::Linear,
            moving if MOVING.contains(&moving) => match node.inputs.first() {
                Some(input) => {
                    value.clone_from(input);
                    continue;
                }
                None => OutputActivation::Other,
            },
            _ => OutputActivation::Other,
        };
        return (last, value);
    }
}

/// Whether an output is joined of parts of which the last one ends like this, however they were joined.
pub fn is_last_part(graph: &Graph, output: &str, activation: OutputActivation) -> bool {
    let (_, value) = last(graph, output);
    let joined = surgery::producer(graph, &value).filter(|node| node.op_type() == "Concat");
    let part = joined.and_then(|node| node.inputs.last());
    part.is_some_and(|part| last(graph, part).0 == activation || is_last_part(graph, part, activation))
}

/// Whether numbers are cut off at −1 and 1.
fn is_from_minus_one_to_one(graph: &Graph, clip: &Node) -> bool {
    let bound = |at: usize| clip.inputs.get(at).and_then(|input| weights::scalar(graph, input));
    (bound(1), bound(2)) == (Some(-1.0), Some(1.0))
}

/// Whether a value is half of another one.
fn halves(graph: &Graph, value: Option<&String>) -> bool {
    let Some(node) = value.and_then(|value| surgery::producer(graph, value)) else {
        return false;
    };
    let numbers: Vec<f64> = node
        .inputs
        .iter()
        .filter_map(|input| weights::scalar(graph, input))
        .collect();
    match node.op_type() {
        "Mul" => numbers == [0.5],
        "Div" => numbers == [2.0],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Tensor;

    #[test]
    fn the_last_change_of_numbers_is_found_behind_moves() {
        let mut graph = Graph::default();
        graph.initializers = [("half", 0.5), ("-1", -1.0), ("1", 1.0)]
            .map(|(name, value)| Tensor::of_scalar(name, value))
            .into();
        graph.nodes = vec![
            Node::new("Conv", &["x", "w"], "a"),
            Node::new("Softmax", &["a"], "b"),
            Node::new("Transpose", &["b"], "y"),
            Node::new("Mul", &["a", "half"], "h"),
            Node::new("Exp", &["h"], "sigma"),
            Node::new("Exp", &["a"], "variance"),
            Node::new("Clip", &["a", "-1", "1"], "signed"),
            Node::new("Clip", &["a", "half", "1"], "cut"),
            Node::new("ArgMax", &["a"], "place"),
            Node::new("Tanh", &["a"], "t"),
            Node::new("Concat", &["a", "t"], "both"),
            Node::new("Reshape", &["both"], "parts"),
            Node::new("Concat", &["b", "parts"], "nested"),
            Node::new("Concat", &["t", "a"], "means"),
        ];
        assert_eq!(last(&graph, "y"), (OutputActivation::Softmax, "b".to_owned()));
        assert_eq!(last(&graph, "a").0, OutputActivation::Linear);
        assert_eq!(last(&graph, "h").0, OutputActivation::Other);
        assert_eq!(last(&graph, "sigma").0, OutputActivation::ExpOfHalf);
        assert_eq!(last(&graph, "variance").0, OutputActivation::Exp);
        assert_eq!(last(&graph, "signed").0, OutputActivation::Tanh);
        assert_eq!(last(&graph, "cut").0, OutputActivation::Other);
        assert_eq!(last(&graph, "place").0, OutputActivation::Place);
        let is_tanh = |value: &str| is_last_part(&graph, value, OutputActivation::Tanh);
        assert!(is_tanh("parts") && is_tanh("nested"));
        assert!(!is_last_part(&graph, "parts", OutputActivation::Sigmoid));
        assert!(!is_tanh("t") && !is_tanh("means"));
    }
}

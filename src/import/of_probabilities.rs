//! Whether numbers are made of probabilities alone, each by itself, and are not their logarithms: p·log p, for one.

use std::collections::HashSet;

use super::output_activation::MOVING;
use crate::graph::{
    protobuf::{Graph, Node},
    surgery,
};

/// What a number is of probabilities of the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// The same for all images.
    Constant,
    /// One of them, or what sums, products and roots make of some.
    Probability,
    /// A logarithm, or a sum of some.
    Logarithm,
    /// Anything else that is made of nothing else.
    Neither,
}

use Measure::{Constant, Logarithm, Neither, Probability};

/// Operators from a value back to what it is of: enough for any function that somebody writes out.
const DEEP: usize = 48;

/// Whether an output is made of probabilities and of nothing else, and is no logarithm of them.
pub(super) fn is_no_logarithm(graph: &Graph, output: &str) -> bool {
    let varying = surgery::varying(graph);
    let found = Search { graph, varying }.measure(output, DEEP);
    matches!(found, Some(Probability | Neither))
}

struct Search<'a> {
    graph: &'a Graph,
    varying: HashSet<String>,
}

impl Search<'_> {
    /// Nothing, where something else has a part in it.
    fn measure(&self, value: &str, depth: usize) -> Option<Measure> {
        if !self.varying.contains(value) {
            return Some(Constant);
        }
        let node = surgery::producer(self.graph, value)?;
        let depth = depth.checked_sub(1)?;
        let of = |at: usize| self.measure(node.inputs.get(at)?, depth);
        let operator = node.op_type();
        if self.is_softmax(node) {
            return Some(Probability);
        }
        if self.is_log_softmax(node) {
            return Some(Logarithm);
        }
        match operator {
            "Expand" | "Neg" | "Clip" | "Relu" | "ReduceSum" | "ReduceMean" | "ReduceMax" | "CumSum" => of(0),
            moving if MOVING.contains(&moving) => of(0),
            "Log" => of(0).map(|own| if own == Probability { Logarithm } else { Neither }),
            "Exp" => of(0).map(|own| if own == Logarithm { Probability } else { Neither }),
            "Sqrt" | "Pow" | "Reciprocal" | "Abs" | "Asin" | "Acos" | "Atan" | "Tanh" | "Sin" | "Cos" | "Erf" => {
                of(0).map(|own| if own == Probability { own } else { Neither })
            }
            "Add" | "Sub" | "Max" | "Min" => Some(of(0)?.beside(of(1)?)),
            "Slice" | "Split" => of(0),
            "Concat" => (1..node.inputs.len()).try_fold(of(0)?, |all, at| Some(all.beside(of(at)?))),
            "Where" => Some(of(1)?.beside(of(2)?)),
            "Mul" | "Div" => Some(of(0)?.times(of(1)?)),
            // Sizes, and what is made of them.
            "Shape" | "Size" => Some(Constant),
            _ => {
                let mut inputs = node.inputs.iter().filter(|input| !input.is_empty());
                let is_constant = |input: &String| self.measure(input, depth) == Some(Constant);
                inputs.all(is_constant).then_some(Constant)
            }
        }
    }

    /// By its own operator, or written out.
    fn is_softmax(&self, node: &Node) -> bool {
        match (node.op_type(), &node.inputs[..]) {
            ("Softmax" | "Sigmoid", _) => true,
            ("Div", [share, total]) => self.makes(share, "Exp").is_some() && self.sums(total) == Some(share),
            _ => false,
        }
    }

    fn is_log_softmax(&self, node: &Node) -> bool {
        let [value, total] = &node.inputs[..] else {
            return node.op_type() == "LogSoftmax";
        };
        let of_sum = self.makes(total, "Log").and_then(|log| self.sums(log.inputs.first()?));
        let exponential = of_sum.and_then(|sum| self.makes(sum, "Exp"));
        let of_exponentials = exponential.or_else(|| self.makes(total, "ReduceLogSumExp"));
        node.op_type() == "Sub" && of_exponentials.is_some_and(|node| node.inputs.first() == Some(value))
    }

    /// What a value is the sum of.
    fn sums(&self, value: &str) -> Option<&String> {
        self.makes(value, "ReduceSum")?.inputs.first()
    }

    /// The node that makes a value, if it is of this kind.
    fn makes(&self, value: &str, operator: &str) -> Option<&Node> {
        surgery::producer(self.graph, value).filter(|node| node.op_type() == operator)
    }
}

impl Measure {
    /// A sum or a choice.
    fn beside(self, other: Self) -> Self {
        match (self, other) {
            (Constant, own) | (own, Constant) => own,
            (own, other) if own == other => own,
            _ => Neither,
        }
    }

    fn times(self, other: Self) -> Self {
        match (self, other) {
            (Logarithm, Logarithm) => Neither,
            (own, other) => own.beside(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Tensor, ValueInfo};

    fn is_none(nodes: &[(&str, &[&str], &str)]) -> bool {
        let mut graph = Graph::default();
        graph.inputs = vec![ValueInfo::batched(
            "x",
            crate::graph::protobuf::ElementType::Float,
            &[4],
        )];
        graph.initializers = vec![Tensor::of_scalar("2", 2.0), Tensor::of_reals("row", &[2], &[1.0, 2.0])];
        graph.nodes = [("Softmax", &["x"][..], "p"), ("LogSoftmax", &["x"], "l")]
            .iter()
            .chain(nodes)
            .map(|(operator, inputs, output)| Node::new(operator, inputs, output))
            .collect();
        is_no_logarithm(&graph, "y")
    }

    #[test]
    fn what_is_no_logarithm_of_probabilities_is_found() {
        let cases: [&[(&str, &[&str], &str)]; 10] = [
            // Beside what is left of 1 by the largest.
            &[
                ("ReduceMax", &["p"], "m"),
                ("Sub", &["2", "m"], "u"),
                ("Concat", &["p", "u"], "y"),
            ],
            &[("Mul", &["2", "l"], "k"), ("Pow", &["k", "2"], "y")],
            &[("Neg", &["l"], "k"), ("Log", &["k"], "y")],
            &[("Mul", &["p", "l"], "s"), ("Neg", &["s"], "y")],
            &[("Sub", &["2", "p"], "q"), ("Mul", &["p", "q"], "y")],
            &[("Exp", &["p"], "y")],
            &[("Mul", &["l", "l"], "y")],
            &[("Add", &["p", "l"], "y")],
            &[("Log", &["p"], "k"), ("Mul", &["p", "k"], "y")],
            &[
                ("Exp", &["x"], "e"),
                ("ReduceSum", &["e"], "t"),
                ("Div", &["e", "t"], "q"),
                ("Sqrt", &["q"], "y"),
            ],
        ];
        for nodes in cases {
            assert!(is_none(nodes), "{nodes:?}");
        }
    }

    #[test]
    fn logarithms_and_what_has_other_parts_are_left_alone() {
        let cases: [&[(&str, &[&str], &str)]; 10] = [
            &[("Concat", &["l", "l"], "y")],
            &[("Identity", &["l"], "y")],
            &[("Add", &["p", "row"], "q"), ("Log", &["q"], "y")],
            &[("Add", &["p", "p"], "q"), ("Log", &["q"], "y")],
            &[("Mul", &["l", "2"], "m"), ("Add", &["m", "row"], "y")],
            // Log-odds.
            &[
                ("Sub", &["2", "p"], "q"),
                ("Log", &["q"], "k"),
                ("Sub", &["l", "k"], "y"),
            ],
            &[("Mul", &["x", "p"], "y")],
            &[("Gemm", &["p", "row"], "y")],
            &[("Identity", &["x"], "y")],
            &[
                ("Exp", &["x"], "e"),
                ("ReduceSum", &["e"], "t"),
                ("Log", &["t"], "k"),
                ("Sub", &["x", "k"], "y"),
            ],
        ];
        for nodes in cases {
            assert!(!is_none(nodes), "{nodes:?}");
        }
    }
}

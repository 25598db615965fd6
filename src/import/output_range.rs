//! What the numbers of an output are made of, and in which range they lie whatever the image, as far as the last
//! operators of a graph tell.
//!
//! From the output back to the first operator that is not known to work on each number by itself; from there bounds are
//! carried forward again. It does not know what the numbers are for.

use super::{
    of_probabilities,
    output_activation::{MOVING, OutputActivation},
};
use crate::graph::{
    protobuf::{Graph, Model, Node},
    surgery, weights,
};

/// How numbers are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Made {
    /// What of: of the last operator that works on more than each number by itself, or bounds it.
    pub source: OutputActivation,
    /// Whether nothing is done to that.
    pub is_unchanged: bool,
    /// Whether a logarithm is taken of it.
    pub is_logarithm: bool,
    /// Whether all below 0 is cut off, and nothing but factors and terms comes behind.
    pub is_rectified: bool,
    /// Whether they are only scaled.
    pub is_scaled: bool,
    /// Whether they are made of probabilities alone, and are not their logarithms.
    pub is_of_probabilities: bool,
    /// None is smaller.
    pub least: f64,
    /// None is larger.
    pub most: f64,
}

impl Made {
    /// Whether all are positive by their making. Networks that end by cutting off what is negative do so to numbers
    /// that may be anything.
    pub fn is_positive(&self) -> bool {
        self.least > 0.0 || (self.least >= 0.0 && !self.is_rectified)
    }
}

const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);

/// What is done to each number by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    Times(f64),
    Plus(f64),
    /// It is taken from so much.
    Minus(f64),
    /// So much divided by it.
    Divide(f64),
    Power(f64),
    Exp,
    Log,
    Abs,
    Cut(f64, f64),
    /// Sums over some of them.
    Sum,
    /// Factors or terms, one for each place.
    Unlike,
}

/// How the numbers of an output are made.
pub fn made(model: &Model, output: &str) -> Made {
    match &model.graph {
        Some(graph) => made_in(graph, output),
        None => made_in(&Graph::default(), output),
    }
}

fn made_in(graph: &Graph, output: &str) -> Made {
    let mut passes = Vec::new();
    let mut value = output.to_owned();
    let (source, range) = loop {
        let Some(node) = surgery::producer(graph, &value) else {
            break (OutputActivation::Other, ANY);
        };
        match step(graph, node) {
            Some((input, pass)) => {
                passes.extend(pass);
                value.clone_from(input);
            }
            None => break source(graph, node, &value),
        }
    };
    passes.reverse();
    let (least, most) = passes.iter().fold(range, |range, pass| pass.carry(range));
    let is_linear = |pass: &&Pass| matches!(pass, Pass::Times(_) | Pass::Plus(_) | Pass::Sum | Pass::Unlike);
    let is_cut = |pass: &Pass| matches!(pass, Pass::Cut(least, _) if *least == 0.0);
    let is_scale = |pass: &Pass| matches!(pass, Pass::Cut(..)) || matches!(pass, Pass::Times(factor) if *factor > 0.0);
    // What is only scaled and moved is told by its range: some cap logits by a sigmoid.
    let is_capped = source == OutputActivation::Sigmoid && passes.iter().all(|pass| is_linear(&pass));
    Made {
        source,
        is_unchanged: passes.is_empty(),
        is_logarithm: passes.contains(&Pass::Log),
        is_rectified: passes.iter().rev().find(|pass| !is_linear(pass)).is_some_and(is_cut),
        is_scaled: passes.iter().all(is_scale),
        is_of_probabilities: !is_capped && of_probabilities::is_no_logarithm(graph, output),
        least,
        most,
    }
}

/// The value that a node makes others of, each by itself, and how; nothing where it does something else.
fn step<'a>(graph: &Graph, node: &'a Node) -> Option<(&'a String, Option<Pass>)> {
    let first = node.inputs.first()?;
    let pass = match node.op_type() {
        moving if MOVING.contains(&moving) => return Some((first, None)),
        "Expand" => return Some((first, None)),
        "Neg" => Pass::Times(-1.0),
        "Exp" => Pass::Exp,
        "Log" => Pass::Log,
        "Sqrt" => Pass::Power(0.5),
        "Reciprocal" => Pass::Divide(1.0),
        "Abs" => Pass::Abs,
        "Relu" => Pass::Cut(0.0, f64::INFINITY),
        "Clip" => {
            let bound = |at: usize, open: f64| match node.inputs.get(at).map(String::as_str) {
                None | Some("") => open,
                Some(name) => weights::scalar(graph, name).unwrap_or(open),
            };
            Pass::Cut(bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY))
        }
        "CumSum" | "ReduceSum" | "ReduceMean" => Pass::Sum,
        "Mul" if node.inputs.get(1) == Some(first) => Pass::Power(2.0),
        two @ ("Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min") => return with_constant(graph, node, two),
        _ => return None,
    };
    Some((first, Some(pass)))
}

/// The same of an operator with two inputs, one of which is a constant.
fn with_constant<'a>(graph: &Graph, node: &'a Node, operator: &str) -> Option<(&'a String, Option<Pass>)> {
    let (value, constant) = surgery::beside_constant(graph, node)?;
    let is_second = constant == 1;
    let [value, constant] = [value, constant].map(|place| &node.inputs[place]);
    let Some(number) = weights::scalar(graph, constant) else {
        return Some((value, Some(Pass::Unlike)));
    };
    let pass = match (operator, is_second) {
        ("Add", _) => Pass::Plus(number),
        ("Sub", true) => Pass::Plus(-number),
        ("Sub", false) => Pass::Minus(number),
        ("Mul", _) => Pass::Times(number),
        ("Div", true) => Pass::Times(1.0 / number),
        ("Div", false) => Pass::Divide(number),
        ("Pow", true) => Pass::Power(number),
        ("Max", _) => Pass::Cut(number, f64::INFINITY),
        ("Min", _) => Pass::Cut(f64::NEG_INFINITY, number),
        // A number to the power of each.
        _ => Pass::Unlike,
    };
    Some((value, Some(pass)))
}

/// What a node makes, and in which range.
fn source(graph: &Graph, node: &Node, value: &str) -> (OutputActivation, (f64, f64)) {
    let positive = (0.0, f64::INFINITY);
    match node.op_type() {
        "Softmax" => (OutputActivation::Softmax, (0.0, 1.0)),
        "LogSoftmax" => (OutputActivation::LogSoftmax, (f64::NEG_INFINITY, 0.0)),
        "Sigmoid" | "HardSigmoid" => (OutputActivation::Sigmoid, (0.0, 1.0)),
        "Softplus" => (OutputActivation::Softplus, positive),
        "ArgMax" | "ArgMin" => (OutputActivation::Place, ANY),
        "TopK" if node.outputs.get(1).is_some_and(|places| places == value) => (OutputActivation::Place, ANY),
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => (OutputActivation::Linear, ANY),
        "Tanh" | "Softsign" | "Erf" | "Sin" | "Cos" | "LpNormalization" => (OutputActivation::Other, (-1.0, 1.0)),
        "Atan" => (
            OutputActivation::Other,
            (-std::f64::consts::FRAC_PI_2, std::f64::consts::FRAC_PI_2),
        ),
        "OneHot" => (OutputActivation::Other, (0.0, 1.0)),
        "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => (OutputActivation::Other, positive),
        "Div" if is_over_its_norm(graph, node) => (OutputActivation::Other, (-1.0, 1.0)),
        _ => (OutputActivation::Other, ANY),
    }
}

/// Whether numbers are divided by the root of the sum of their squares, or by more than their size.
fn is_over_its_norm(graph: &Graph, node: &Node) -> bool {
    let [numbers, divisor] = &node.inputs[..] else {
        return false;
    };
    let mut value = divisor;
    while let Some(node) = surgery::producer(graph, value) {
        if matches!(node.op_type(), "ReduceL2" | "Abs") {
            return node.inputs.first() == Some(numbers);
        }
        match step(graph, node) {
            Some((input, None | Some(Pass::Cut(..) | Pass::Plus(_)))) => value = input,
            _ => return false,
        }
    }
    false
}

impl Pass {
    fn carry(self, (least, most): (f64, f64)) -> (f64, f64) {
        let monotone = |of: &dyn Fn(f64) -> f64| {
            let (one, other) = (of(least), of(most));
            if one.is_nan() || other.is_nan() {
                ANY
            } else {
                (one.min(other), one.max(other))
            }
        };
        match self {
            Self::Times(factor) => monotone(&|value| value * factor),
            Self::Plus(term) => monotone(&|value| value + term),
            Self::Minus(number) => monotone(&|value| number - value),
            Self::Divide(number) if least > 0.0 => monotone(&|value| number / value),
            Self::Power(power) if least >= 0.0 && power > 0.0 => monotone(&|value| value.powf(power)),
            Self::Power(2.0) => (0.0, (least * least).max(most * most)),
            Self::Power(0.5) => (0.0, most.max(0.0).sqrt()),
            Self::Exp => monotone(&f64::exp),
            Self::Log => monotone(&|value| value.max(0.0).ln()),
            Self::Abs => (0.0, least.abs().max(most.abs())),
            Self::Cut(low, high) => monotone(&|value| value.max(low).min(high)),
            Self::Sum if least >= 0.0 => (0.0, f64::INFINITY),
            Self::Sum if most <= 0.0 => (f64::NEG_INFINITY, 0.0),
            Self::Divide(_) | Self::Power(_) | Self::Sum | Self::Unlike => ANY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Tensor;

    fn of(nodes: Vec<Node>) -> Made {
        let mut graph = Graph::default();
        graph.initializers = [("half", 0.5), ("20", 20.0), ("0", 0.0), ("1", 1.0)]
            .map(|(name, value)| Tensor::of_scalar(name, value))
            .into();
        graph.initializers.push(Tensor::of_reals("row", &[2], &[1.0, 2.0]));
        graph.nodes = nodes;
        made_in(&graph, "y")
    }

    fn then(first: &str, next: Node) -> Made {
        of(vec![Node::new(first, &["x"], "a"), next])
    }

    #[test]
    fn ranges_are_carried_from_what_is_bounded() {
        let range = |made: Made| (made.least, made.most);
        let less = then("Softmax", Node::new("Sub", &["a", "half"], "y"));
        assert_eq!((less.source, range(less)), (OutputActivation::Softmax, (-0.5, 0.5)));
        assert!(!less.is_unchanged && !less.is_logarithm);
        let moved = then("Softmax", Node::new("Transpose", &["a"], "y"));
        assert!(moved.is_unchanged);
        let capped = then("Tanh", Node::new("Mul", &["20", "a"], "y"));
        assert_eq!(range(capped), (-20.0, 20.0));
        let logarithm = then("Sigmoid", Node::new("Log", &["a"], "y"));
        assert!(logarithm.is_logarithm);
        assert_eq!(range(logarithm), (f64::NEG_INFINITY, 0.0));
        let softplus = then("Softplus", Node::new("Neg", &["a"], "y"));
        assert_eq!((softplus.source, softplus.most), (OutputActivation::Softplus, -0.0));
        let strength = then("Relu", Node::new("Add", &["a", "1"], "y"));
        assert_eq!((strength.is_rectified, strength.least), (true, 1.0));
        let rectified = then("Identity", Node::new("Relu", &["a"], "y"));
        assert!(strength.is_positive() && !rectified.is_positive() && !softplus.is_positive());
        let deviation = then("Softplus", Node::new("Add", &["a", "half"], "y"));
        assert!(deviation.is_positive() && then("Exp", Node::new("Sqrt", &["a"], "y")).is_positive());
        assert_eq!(
            range(then("Gemm", Node::new("Mul", &["a", "a"], "y"))),
            (0.0, f64::INFINITY)
        );
        assert_eq!(
            range(then("Gemm", Node::new("Clip", &["a", "0", "1"], "y"))),
            (0.0, 1.0)
        );
    }

    #[test]
    fn biases_are_passed_and_ranks_are_told_from_values() {
        let biased = then("MatMul", Node::new("Add", &["a", "row"], "y"));
        assert_eq!(
            (biased.source, biased.least),
            (OutputActivation::Linear, f64::NEG_INFINITY)
        );
        let of_top = |output: &str| {
            let mut top = Node::new("TopK", &["x", "1"], "values");
            top.outputs.push("places".to_owned());
            of(vec![top, Node::new("Cast", &[output], "y")]).source
        };
        assert_eq!(
            (of_top("values"), of_top("places")),
            (OutputActivation::Other, OutputActivation::Place)
        );
        let direction = of(vec![
            Node::new("ReduceL2", &["x"], "norm"),
            Node::new("Clip", &["norm", "1"], "some"),
            Node::new("Div", &["x", "some"], "y"),
        ]);
        assert_eq!((direction.least, direction.most), (-1.0, 1.0));
        assert_eq!(of(vec![Node::new("Div", &["x", "z"], "y")]).least, f64::NEG_INFINITY);
    }
}

//! Constants of a graph, and shapes that are computed of them alone.

use std::collections::HashMap;

use crate::graph::{
    constant::{Constant, Values},
    protobuf::{Graph, Node},
};

/// Constants of integers and reals, by name.
pub(super) fn of(graph: &Graph) -> HashMap<String, Constant> {
    let mut constants = HashMap::new();
    for tensor in &graph.initializers {
        if let Some(constant) = Constant::read(tensor) {
            constants.insert(tensor.name().to_owned(), constant);
        }
    }
    for node in graph.nodes.iter().filter(|node| node.op_type() == "Constant") {
        let tensor = node.attribute("value").and_then(|value| value.t.as_ref());
        let constant = tensor.and_then(Constant::read).or_else(|| {
            let values = node.ints("value_ints")?.to_vec();
            Some(Constant {
                dims: vec![values.len()],
                values: Values::Ints(values),
            })
        });
        if let (Some(constant), Some(output)) = (constant, node.outputs.first()) {
            constants.insert(output.clone(), constant);
        }
    }
    // Shapes that an exporter leaves to be computed, as behind `expand`.
    for node in &graph.nodes {
        if let (Some(constant), Some(output)) = (folded(node, &constants), node.outputs.first()) {
            constants.insert(output.clone(), constant);
        }
    }
    constants
}

/// A row of integers that is computed from rows of integers. Truth values are 0 and 1.
fn folded(node: &Node, constants: &HashMap<String, Constant>) -> Option<Constant> {
    let ints = |at: usize| constants.get(node.inputs.get(at)?)?.as_ints();
    let paired = |by: fn(i64, i64) -> i64| -> Option<Vec<i64>> {
        let (first, second) = (ints(0)?, ints(1)?);
        let count = first.len().max(second.len());
        let is_fitting = |own: &[i64]| own.len() == 1 || own.len() == count;
        let at = |own: &[i64], place: usize| own[if own.len() == 1 { 0 } else { place }];
        (is_fitting(first) && is_fitting(second)).then(|| {
            (0..count)
                .map(|place| by(at(first, place), at(second, place)))
                .collect()
        })
    };
    let values = match node.op_type() {
        "ConstantOfShape" => {
            let value = node
                .attribute("value")
                .and_then(|value| value.t.as_ref())
                .and_then(Constant::read)?;
            let ([count], [value]) = (ints(0)?, value.as_ints()?) else {
                return None;
            };
            vec![*value; usize::try_from(*count).ok().filter(|&count| count <= MOST_AXES)?]
        }
        "Identity" => ints(0)?.to_vec(),
        "Mul" => paired(i64::saturating_mul)?,
        "Equal" => paired(|a, b| i64::from(a == b))?,
        "Where" => {
            let (given, yes, no) = (ints(0)?, ints(1)?, ints(2)?);
            if yes.len() != given.len() || no.len() != given.len() {
                return None;
            }
            let pick = |((&given, &yes), &no)| if given != 0 { yes } else { no };
            given.iter().zip(yes).zip(no).map(pick).collect()
        }
        _ => return None,
    };
    Some(Constant {
        dims: vec![values.len()],
        values: Values::Ints(values),
    })
}

/// No shape has more axes.
const MOST_AXES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_behind_an_expansion_is_computed() {
        let constants = [("shape", vec![2, -1, 4]), ("minus", vec![-1]), ("ones", vec![1, 1, 1])];
        let mut known: HashMap<String, Constant> = HashMap::new();
        for (name, values) in constants {
            let dims = vec![values.len()];
            known.insert(
                name.to_owned(),
                Constant {
                    dims,
                    values: Values::Ints(values),
                },
            );
        }
        let equal = folded(&Node::new("Equal", &["shape", "minus"], "is"), &known).unwrap();
        assert_eq!(equal.as_ints(), Some(&[0, 1, 0][..]));
        known.insert("is".to_owned(), equal);
        let shape = folded(&Node::new("Where", &["is", "ones", "shape"], "to"), &known).unwrap();
        assert_eq!(shape.as_ints(), Some(&[2, 1, 4][..]));
    }
}

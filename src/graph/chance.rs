//! Nodes that draw random numbers.

use super::{
    protobuf::{Model, Node},
    walk,
};

const DRAWING: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// Operator and name of every node that draws, or may: a dropout does in training mode only, which may be decided at
/// run time.
pub fn nodes(model: &Model) -> Vec<String> {
    let mut found = Vec::new();
    for list in walk::lists(model) {
        walk::nodes(list, &mut |node| {
            if draws(node) {
                let (operator, name) = (node.op_type.as_deref(), node.name.as_deref());
                found.push(format!(
                    "{} {:?}",
                    operator.unwrap_or_default(),
                    name.unwrap_or_default()
                ));
            }
        });
    }
    found
}

fn draws(node: &Node) -> bool {
    let operator = node.op_type.as_deref().unwrap_or_default();
    let is_training = || node.inputs.get(2).is_some_and(|mode| !mode.is_empty());
    DRAWING.contains(&operator) || (operator == "Dropout" && is_training())
}

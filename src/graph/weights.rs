//! What a graph shows of itself without being run: how many weights it has, and what it does first to its input.

use super::{
    constant::Constant,
    protobuf::{Graph, Model, Tensor},
    walk,
};

/// Real numbers that the graph holds as constants, scalars left out.
pub fn count(model: &Model) -> u64 {
    let real = |tensor: &Tensor| matches!(tensor.data_type, Some(1 | 10 | 11 | 16..=20 | 23));
    let own = |tensor: &Tensor| match tensor.dims.iter().product::<i64>() {
        many if many > 1 && real(tensor) => many as u64,
        _ => 0,
    };
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializers);
    let mut total: u64 = initializers.map(own).sum();
    for list in walk::lists(model) {
        walk::nodes(list, &mut |node| {
            let tensors = node.attributes.iter().flat_map(|attribute| &attribute.t);
            total += tensors.map(own).sum::<u64>();
        });
    }
    total
}

/// What the graph multiplies its input by before anything else; 1 if it does something else first.
pub fn input_factor(model: &Model, input: &str) -> f64 {
    let Some(graph) = &model.graph else {
        return 1.0;
    };
    let scalar = |name: &str| scalar(graph, name);
    let (mut at, mut factor) = (input, 1.0);
    // As long as there is one reader, and it is an affine map by scalars.
    loop {
        let mut readers = graph.nodes.iter().filter(|node| node.inputs.iter().any(|i| i == at));
        let (Some(node), None) = (readers.next(), readers.next()) else {
            return factor;
        };
        let other = node.inputs.iter().find(|name| *name != at);
        let value = other.and_then(|name| scalar(name));
        match (node.op_type.as_deref(), value) {
            (Some("Mul"), Some(value)) => factor *= value,
            (Some("Div"), Some(value)) if node.inputs[0] == at => factor /= value,
            (Some("Add" | "Sub"), Some(_)) | (Some("Cast" | "Identity"), None) => {}
            _ => return factor,
        }
        let Some(output) = node.outputs.first() else {
            return factor;
        };
        at = output;
    }
}

/// The value of a constant of one number.
pub fn scalar(graph: &Graph, name: &str) -> Option<f64> {
    let held = graph.initializers.iter();
    let held = held.filter(|tensor| tensor.name.as_deref() == Some(name));
    let made = graph
        .nodes
        .iter()
        .filter(|node| node.op_type.as_deref() == Some("Constant") && node.outputs.iter().any(|o| o == name));
    let made = made.filter_map(|node| node.attribute("value")?.t.as_ref());
    Constant::read(held.chain(made).next()?)?.single()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Node;

    #[test]
    fn the_first_factors_of_the_input_are_found() {
        let model = |nodes: Vec<Node>| Model {
            graph: Some(Graph {
                nodes,
                initializers: vec![
                    Tensor::of_scalar("c", 255.0),
                    Tensor::of_scalar("half", 0.5),
                    Tensor::of_ones("w", 4, 2),
                ],
                ..Graph::default()
            }),
            ..Model::default()
        };
        let chain = |last: &str| {
            model(vec![
                Node::new("Div", &["x", "c"], "a"),
                Node::new("Sub", &["a", "half"], "b"),
                Node::new(last, &["b", "half"], "d"),
                Node::new("Conv", &["d", "w"], "y"),
            ])
        };
        assert_eq!(input_factor(&chain("Mul"), "x"), 0.5 / 255.0);
        assert_eq!(input_factor(&chain("Div"), "x"), 2.0 / 255.0);
        let conv = model(vec![Node::new("Conv", &["x", "w"], "y")]);
        assert_eq!(input_factor(&conv, "x"), 1.0);
        assert_eq!(count(&conv), 4);
    }
}

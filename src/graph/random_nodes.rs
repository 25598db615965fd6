//! Nodes that draw random numbers.

use std::collections::{HashMap, HashSet};

use super::{
    protobuf::{BOOL, Model, Node, Tensor},
    surgery, visit,
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
    let constants = Constants::of(model);
    let mut found = Vec::new();
    for list in visit::lists(model) {
        constants.drawing(list, &mut found);
    }
    found
}

/// The same of those that these outputs are computed of, in functions and in the bodies of branches and loops as well.
pub fn reaching(model: &Model, outputs: &[&str]) -> Vec<String> {
    let constants = Constants::of(model);
    let functions: HashMap<&str, &[Node]> = model
        .functions
        .iter()
        .map(|function| (function.name.as_deref().unwrap_or_default(), &function.nodes[..]))
        .collect();
    let mut found = Vec::new();
    let mut called = HashSet::new();
    let nodes = model.graph.as_ref().map_or(&[][..], |graph| &graph.nodes);
    let mut needed: HashSet<String> = outputs.iter().map(|&output| output.to_owned()).collect();
    let mut open: Vec<&[Node]> = Vec::new();
    for node in nodes.iter().rev() {
        if node.outputs.iter().any(|output| needed.contains(output)) {
            surgery::read_by(node, &mut needed);
            open.push(std::slice::from_ref(node));
        }
    }
    while let Some(list) = open.pop() {
        constants.drawing(list, &mut found);
        visit::nodes(list, &mut |node| {
            let name = node.op_type();
            if let Some(body) = functions.get(name).filter(|_| called.insert(name)) {
                open.push(body);
            }
        });
    }
    found
}

/// Values that are false whatever is given.
struct Constants<'a> {
    no: HashSet<&'a str>,
}

impl<'a> Constants<'a> {
    fn of(model: &'a Model) -> Self {
        let mut no = HashSet::new();
        let held = model.graph.iter().flat_map(|graph| &graph.initializers);
        no.extend(held.filter(|tensor| is_false(tensor)).map(Tensor::name));
        for list in visit::lists(model) {
            visit::nodes(list, &mut |node| {
                let value = node.attribute("value").and_then(|value| value.t.as_ref());
                if node.op_type() == "Constant" && value.is_some_and(is_false) {
                    no.extend(node.outputs.iter().map(String::as_str));
                }
            });
        }
        Self { no }
    }

    fn drawing(&self, list: &[Node], found: &mut Vec<String>) {
        visit::nodes(list, &mut |node| {
            if self.draws(node) {
                found.push(format!(
                    "{} {:?}",
                    node.op_type(),
                    node.name.as_deref().unwrap_or_default()
                ));
            }
        });
    }

    fn draws(&self, node: &Node) -> bool {
        let training = node.inputs.get(2).filter(|mode| !mode.is_empty());
        let is_training = training.is_some_and(|mode| !self.no.contains(mode.as_str()));
        DRAWING.contains(&node.op_type()) || (node.op_type() == "Dropout" && is_training)
    }
}

fn is_false(tensor: &Tensor) -> bool {
    let bytes = tensor.raw_data.as_deref().unwrap_or_default();
    let is_held = tensor.external_data.is_empty() && (bytes.len() == 1 || tensor.int32_data.len() == 1);
    tensor.data_type == Some(BOOL)
        && is_held
        && bytes.iter().all(|&byte| byte == 0)
        && tensor.int32_data.iter().all(|&value| value == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Attribute, Function, Graph};

    fn drawing() -> Node {
        Node::new("RandomNormalLike", &["x"], "noise")
    }

    fn model(nodes: Vec<Node>) -> Model {
        Model {
            graph: Some(Graph {
                nodes,
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    #[test]
    fn draws_are_found_in_branches_and_functions_and_only_on_the_way_to_what_is_read() {
        let plain = model(vec![drawing(), Node::new("Add", &["x", "noise"], "y")]);
        assert_eq!(nodes(&plain).len(), 1);
        assert_eq!(reaching(&plain, &["y"]).len(), 1);
        assert!(reaching(&plain, &["x"]).is_empty());

        let mut branch = Node::new("If", &["bright"], "y");
        branch.attributes.push(Attribute {
            name: Some("then_branch".to_owned()),
            graph: model(vec![drawing()]).graph.map(Box::new),
            ..Attribute::default()
        });
        assert_eq!(reaching(&model(vec![branch]), &["y"]).len(), 1);

        let function = |name: &str, nodes: Vec<Node>| Function {
            name: Some(name.to_owned()),
            nodes,
            ..Function::default()
        };
        let mut called = model(vec![Node::new("Outer", &["x"], "y"), Node::new("Relu", &["x"], "z")]);
        called.functions = vec![
            function("Outer", vec![Node::new("Inner", &["x"], "y")]),
            function("Inner", vec![drawing()]),
        ];
        assert_eq!(reaching(&called, &["y"]).len(), 1);
        assert!(reaching(&called, &["z"]).is_empty());
    }

    #[test]
    fn a_dropout_that_is_switched_off_draws_nothing() {
        let dropout = |mode: &str| Node::new("Dropout", &["x", "", mode], "y");
        let mut off = model(vec![dropout("training")]);
        if let Some(graph) = &mut off.graph {
            graph.initializers = vec![Tensor {
                name: Some("training".to_owned()),
                data_type: Some(BOOL),
                raw_data: Some(vec![0].into()),
                ..Tensor::default()
            }];
        }
        assert!(reaching(&off, &["y"]).is_empty());
        assert_eq!(reaching(&model(vec![dropout("given")]), &["y"]).len(), 1);
        assert!(reaching(&model(vec![Node::new("Dropout", &["x"], "y")]), &["y"]).is_empty());
    }
}

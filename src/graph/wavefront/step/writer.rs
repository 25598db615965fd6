//! Nodes and constants of a graph as they are written, under names that are never given twice.

use crate::graph::{
    constant::{Constant, Values},
    protobuf::{Graph, Model, Node, OperatorSet, ValueInfo},
};

/// Nodes and constants as they are written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    graph: Graph,
    count: usize,
}

impl Writer {
    pub(super) fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("density_server/{what}_{}", self.count)
    }

    pub(super) fn constant(&mut self, constant: &Constant) -> String {
        let name = self.fresh("constant");
        self.graph.initializers.push(constant.tensor(&name));
        name
    }

    pub(super) fn ints(&mut self, values: impl IntoIterator<Item = i64>) -> String {
        let values: Vec<i64> = values.into_iter().collect();
        self.constant(&Constant {
            dims: vec![values.len()],
            values: Values::Ints(values),
        })
    }

    pub(super) fn node(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// The same values with these features at each row.
    pub(super) fn reshaped(&mut self, name: &str, features: &[usize]) -> String {
        // Zero keeps the size of the first axis.
        let shape = self.ints(std::iter::once(0).chain(features.iter().map(|&size| size as i64)));
        let output = self.fresh("reshaped");
        self.node(Node::new("Reshape", &[name, &shape], &output));
        output
    }

    pub(super) fn into_model(self, model: &Model, inputs: Vec<ValueInfo>, outputs: Vec<ValueInfo>) -> Model {
        Model {
            ir_version: model.ir_version,
            opset_imports: vec![OperatorSet {
                domain: Some(String::new()),
                version: Some(model.opset()),
            }],
            producer_name: Some("density-server".to_owned()),
            graph: Some(Graph {
                name: Some("step".to_owned()),
                inputs,
                outputs,
                ..self.graph
            }),
            ..Model::default()
        }
    }
}

//! Graphs that tests write themselves.

#![allow(clippy::field_reassign_with_default)]

use density_server::graph::protobuf::{Graph, Model, OperatorSet};

/// A model of this graph alone, as an exporter writes it.
pub(crate) fn model(graph: Graph) -> Model {
    let mut opset = OperatorSet::default();
    opset.version = Some(18);
    let mut model = Model::default();
    model.ir_version = Some(9);
    model.opset_imports = vec![opset];
    model.graph = Some(graph);
    model
}

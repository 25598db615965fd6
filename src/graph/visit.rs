//! Every graph, node and tensor of a model, at whatever depth: subgraphs of attributes, functions, sparse tensors.
//!
//! Depth is bounded by the reader of the format, which refuses messages nested deeper than a hundred.

use super::protobuf::{Attribute, Function, Graph, Model, Node, SparseTensor, Tensor};

/// Visits every dense tensor, those inside sparse ones included, until one gives an error.
pub(super) fn tensors<E>(model: &mut Model, visit: &mut dyn FnMut(&mut Tensor) -> Result<(), E>) -> Result<(), E> {
    if let Some(graph) = &mut model.graph {
        in_graph(graph, visit)?;
    }
    for function in &mut model.functions {
        in_attributes(&mut function.attribute_defaults, visit)?;
        in_nodes(&mut function.nodes, visit)?;
    }
    Ok(())
}

fn in_graph<E>(graph: &mut Graph, visit: &mut dyn FnMut(&mut Tensor) -> Result<(), E>) -> Result<(), E> {
    graph.initializers.iter_mut().try_for_each(&mut *visit)?;
    for sparse in &mut graph.sparse_initializers {
        in_sparse(sparse, visit)?;
    }
    in_nodes(&mut graph.nodes, visit)
}

fn in_nodes<E>(nodes: &mut [Node], visit: &mut dyn FnMut(&mut Tensor) -> Result<(), E>) -> Result<(), E> {
    nodes
        .iter_mut()
        .try_for_each(|node| in_attributes(&mut node.attributes, visit))
}

fn in_attributes<E>(
    attributes: &mut [Attribute],
    visit: &mut dyn FnMut(&mut Tensor) -> Result<(), E>,
) -> Result<(), E> {
    for attribute in attributes {
        let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
        tensors.into_iter().try_for_each(&mut *visit)?;
        if let Some(sparse) = &mut attribute.sparse_tensor {
            in_sparse(sparse, visit)?;
        }
        for sparse in &mut attribute.sparse_tensors {
            in_sparse(sparse, visit)?;
        }
        if let Some(graph) = &mut attribute.graph {
            in_graph(graph, visit)?;
        }
        for graph in &mut attribute.graphs {
            in_graph(graph, visit)?;
        }
    }
    Ok(())
}

fn in_sparse<E>(sparse: &mut SparseTensor, visit: &mut dyn FnMut(&mut Tensor) -> Result<(), E>) -> Result<(), E> {
    let SparseTensor { values, indices, .. } = sparse;
    values.iter_mut().chain(indices).try_for_each(visit)
}

/// The graphs that hang on a node.
pub(super) fn subgraphs(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes
        .iter()
        .flat_map(|attribute| attribute.graph.as_deref().into_iter().chain(&attribute.graphs))
}

/// Every node of a list and of the graphs that hang on it.
pub(super) fn nodes<'a>(list: &'a [Node], visit: &mut dyn FnMut(&'a Node)) {
    for node in list {
        visit(node);
        for graph in subgraphs(node) {
            nodes(&graph.nodes, visit);
        }
    }
}

/// Every list of nodes of a model that is not part of another one: that of its graph and those of its functions.
pub(super) fn lists(model: &Model) -> impl Iterator<Item = &[Node]> {
    let graphs = model.graph.iter().map(|graph| graph.nodes.as_slice());
    let functions = model.functions.iter().map(|Function { nodes, .. }| nodes.as_slice());
    graphs.chain(functions)
}

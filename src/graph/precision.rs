//! Computing in 32-bit reals what a graph keeps in others.
//!
//! Weights of 16 bits are numbers of 32 bits as they are, and processors compute in 32 bits, so nothing is lost, and no
//! conversions are left between one operator and the next. Weights of 64 bits are rounded; the runtime has no
//! convolution for them.

use super::{
    constant::Constant,
    protobuf::{ElementType, Graph, Model, Node, Tensor},
};

const FLOAT: i32 = ElementType::Float as i32;

/// The graph with its weights and everything that it computes in 32-bit reals; `None` if it has no weights of another
/// precision, or if parts of it lie inside other nodes.
pub fn in_single(model: &Model) -> Option<Model> {
    let is_closed = |node: &Node| node.attributes.iter().any(|a| a.holds_graph());
    let needed = model.graph.as_ref().is_some_and(|graph| {
        let computes_in_half = graph
            .nodes
            .iter()
            .any(|node| node.op_type() == "Cast" && is_half(node.int("to", 0) as i32));
        (computes_in_half || weights(graph).any(|tensor| tensor.data_type.is_some_and(is_other)))
            && !graph.nodes.iter().any(is_closed)
    });
    if !needed {
        return None;
    }
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        convert(graph);
    }
    Some(model)
}

/// Constants of more than one number. Single numbers are often of another precision than what they meet, and then
/// converted.
fn weights(graph: &Graph) -> impl Iterator<Item = &Tensor> {
    let is_weight = |tensor: &&Tensor| tensor.dims.iter().product::<i64>() > 1;
    graph.initializers.iter().filter(is_weight)
}

fn convert(graph: &mut Graph) {
    for tensor in &mut graph.initializers {
        convert_tensor(tensor);
    }
    for node in &mut graph.nodes {
        for attribute in &mut node.attributes {
            if let Some(tensor) = &mut attribute.t {
                convert_tensor(tensor);
            }
            let names_a_type = matches!(attribute.name(), "to" | "dtype");
            if names_a_type && attribute.i.is_some_and(|kind| is_other(kind as i32)) {
                attribute.i = Some(i64::from(FLOAT));
            }
        }
    }
    let values = graph.inputs.iter_mut().chain(&mut graph.outputs);
    for value in values.chain(&mut graph.value_infos) {
        let tensor = value.type_info.as_mut().and_then(|info| info.tensor.as_mut());
        if let Some(tensor) = tensor
            && tensor.element_type.is_some_and(is_other)
        {
            tensor.element_type = Some(FLOAT);
        }
    }
}

fn convert_tensor(tensor: &mut Tensor) {
    if tensor.data_type.is_some_and(is_other)
        && let Some(constant) = Constant::read(tensor)
    {
        *tensor = constant.tensor(tensor.name());
    }
}

fn is_half(kind: i32) -> bool {
    kind == ElementType::Float16 as i32 || kind == ElementType::Bfloat16 as i32
}

fn is_other(kind: i32) -> bool {
    is_half(kind) || kind == ElementType::Double as i32
}

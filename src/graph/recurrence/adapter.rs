//! Fits a step graph to what the caller of a [`Compiled`](crate::graph::wavefront::Compiled) program hands it.

use super::{Names, Recurrence};
use crate::{
    domain::image::ImageShape,
    graph::{
        GraphError,
        protobuf::{DimValue, ElementType, Graph, Model, Node, Tensor, ValueInfo},
        wavefront::{LOGITS, TABLE_LEVELS, Table, Tables},
    },
};

/// Input of the adapted graph: float [pixels, neighbours · state size].
pub(super) const STATES: &str = "density_server/states";
/// Input of the adapted graph: int64 `[pixels]`, row · width + column.
pub(super) const POSITION: &str = "density_server/position";

/// Operators that multiply by a matrix of weights.
const MULTIPLICATIONS: [&str; 2] = ["Gemm", "MatMul"];

/// A step graph and its tables.
pub(super) struct Adapted {
    pub(super) step: Model,
    /// The value of a level; and 1 for every level, which tells inside from outside because what lies outside is read
    /// as zero.
    pub(super) tables: Tables,
    /// Multiplications of weights for one pixel.
    pub(super) multiply_adds: u64,
}

pub(super) fn adapt(
    model: &Model,
    names: &Names,
    recurrence: &Recurrence,
    shape: ImageShape,
    outcomes: usize,
) -> Result<Adapted, GraphError> {
    let opset = model.opset();
    if opset < 13 {
        return Err(GraphError::Signature(format!(
            "the graph uses version {opset} of the ONNX operators; export it with version 13 or later"
        )));
    }
    let mut step = model.clone();
    let graph = step
        .graph
        .as_mut()
        .ok_or_else(|| GraphError::Malformed("it has no graph".to_owned()))?;
    let multiply_adds = multiply_adds(graph);
    let (neighbours, size) = (recurrence.neighbours().len(), recurrence.state_size());
    graph.initializers.extend([
        Tensor::of_ints("density_server/states_shape", &[0, neighbours as i64, size as i64]),
        Tensor::of_ints("density_server/width", &[shape.width() as i64]),
    ]);
    let prologue = [
        Node::new("Reshape", &[STATES, "density_server/states_shape"], &names.states),
        Node::new("Div", &[POSITION, "density_server/width"], &names.row),
        Node::new("Mod", &[POSITION, "density_server/width"], &names.column),
    ];
    graph.nodes.splice(0..0, prologue);
    graph.nodes.push(Node::new("Identity", &[&names.logits], LOGITS));
    let replaced = [&names.states, &names.row, &names.column];
    graph
        .inputs
        .retain(|input| replaced.iter().all(|name| *name != input.name()));
    graph.inputs.extend([
        ValueInfo::batched(STATES, ElementType::Float, &[neighbours * size]),
        ValueInfo::batched(POSITION, ElementType::Int64, &[]),
    ]);
    graph.outputs = vec![
        ValueInfo::batched(LOGITS, ElementType::Float, &[outcomes]),
        ValueInfo::batched(&names.state, ElementType::Float, &[size]),
    ];
    Ok(Adapted {
        tables: tables(model),
        step,
        multiply_adds,
    })
}

fn tables(model: &Model) -> Tables {
    const VALUE: &str = "density_server/level_value";
    const INSIDE: &str = "density_server/level_inside";
    const EQUAL: &str = "density_server/level_is_itself";
    let table = |output: &str| Table {
        output: output.to_owned(),
        channels: vec![0],
    };
    let info = |name| ValueInfo::batched(name, ElementType::Float, &[1]);
    let graph = Graph {
        name: Some("tables".to_owned()),
        nodes: vec![
            Node::new("Identity", &[TABLE_LEVELS], VALUE),
            Node::new("Equal", &[TABLE_LEVELS, TABLE_LEVELS], EQUAL),
            Node::new("Cast", &[EQUAL], INSIDE).with_int("to", ElementType::Float as i64),
        ],
        inputs: vec![info(TABLE_LEVELS)],
        outputs: vec![info(VALUE), info(INSIDE)],
        ..Graph::default()
    };
    Tables {
        graph: Model {
            ir_version: model.ir_version,
            opset_imports: model.opset_imports.clone(),
            producer_name: Some("density-server".to_owned()),
            graph: Some(graph),
            ..Model::default()
        },
        tables: vec![table(VALUE), table(INSIDE)],
    }
}

/// Multiplications by weights that a graph does for each row of its batch.
fn multiply_adds(graph: &Graph) -> u64 {
    let products = graph
        .nodes
        .iter()
        .filter(|node| MULTIPLICATIONS.contains(&node.op_type()));
    products
        .map(|node| {
            let sizes = |at: usize| node.inputs.get(at).and_then(|name| weights(graph, name));
            match (sizes(0), sizes(1)) {
                (None, Some(weights)) => weights.saturating_mul(repetitions(graph, &node.inputs[0])),
                (Some(weights), None) => node
                    .inputs
                    .get(1)
                    .map_or(0, |other| weights.saturating_mul(repetitions(graph, other))),
                // A product of constants is folded; one without is not of weights.
                _ => 0,
            }
        })
        .fold(0, u64::saturating_add)
}

/// Number of weights in a constant matrix, which exporters may transpose.
fn weights(graph: &Graph, name: &str) -> Option<u64> {
    let constant = |name: &str| {
        graph
            .initializers
            .iter()
            .find(|tensor| tensor.name.as_deref() == Some(name))
    };
    let transposed = || {
        let node = graph
            .nodes
            .iter()
            .find(|node| node.op_type() == "Transpose" && node.outputs.iter().any(|o| o == name));
        node.and_then(|node| constant(node.inputs.first()?))
    };
    let tensor = constant(name).or_else(transposed)?;
    let sizes = tensor.dims.iter().map(|size| size.unsigned_abs());
    Some(sizes.fold(1, u64::saturating_mul))
}

/// Rows of a matrix for each row of the batch: the sizes between the first axis and the last, as far as they are
/// declared.
fn repetitions(graph: &Graph, name: &str) -> u64 {
    let declared = graph.value_infos.iter().chain(&graph.inputs);
    let dims = declared
        .filter(|value| value.name() == name)
        .find_map(|value| value.type_info.as_ref()?.tensor.as_ref()?.shape.as_ref())
        .map_or(&[][..], |shape| &shape.dims);
    let between = dims.get(1..dims.len().saturating_sub(1));
    between
        .unwrap_or_default()
        .iter()
        .map(|dim| match dim.value {
            Some(DimValue::Fixed(size)) => size.unsigned_abs(),
            _ => 1,
        })
        .fold(1, u64::saturating_mul)
}

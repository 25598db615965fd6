//! Sessions of large graphs through the runtime's model editor, so that weights are not held several times.
//!
//! Of a file the runtime makes a message, of the message a graph, and of the graph kernels with weights in a layout of
//! their own; until the session is ready it keeps each beside the next. A graph that is built through the editor gets
//! its tensors one by one, the message is gone before kernels are made, and the runtime frees a tensor as soon as its
//! kernel has what it needs.

use ort::{
    editor::{self, ONNX_DOMAIN, Opset},
    memory::Allocator,
    operator,
    session::{Session, builder::SessionBuilder},
    value::{Outlet, PrimitiveTensorElementType, SymbolicDimensions, Tensor as Value, TensorElementType, ValueType},
};

use super::Failure;
use crate::graph::protobuf::{Attribute, DimValue, Graph, Model, Node, Tensor, ValueInfo};

/// Bytes of weights from which on the editor is used.
const LARGE: usize = 64 << 20;

/// Tensors up to so many bytes are given as copies: the runtime looks into them while it infers shapes.
const SMALL: usize = 127;

/// Numbers of element types in the format.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT64: i32 = 7;
const BOOL: i32 = 9;

/// Whether the weights of a graph are large.
pub(super) fn is_large(model: &Model) -> bool {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializers);
    let size = |tensor: &Tensor| tensor.byte_size().unwrap_or_default();
    tensors.map(size).sum::<usize>() >= LARGE
}

/// Whether the editor can say what the graph says. It knows no graphs inside operators, no functions, and no attributes
/// that are tensors.
pub(super) fn supports(model: &Model) -> bool {
    let Some(graph) = &model.graph else { return false };
    let is_input = |tensor: &Tensor| graph.inputs.iter().any(|input| input.name() == tensor.name());
    let is_supported = |node: &Node| match node.op_type() {
        "Constant" | "ConstantOfShape" => node.attributes.iter().all(|own| own.t.as_ref().is_some_and(is_plain)),
        _ => node.attributes.iter().all(|own| attribute(own).is_some()),
    };
    model.functions.is_empty()
        && graph.sparse_initializers.is_empty()
        && graph
            .inputs
            .iter()
            .chain(&graph.outputs)
            .all(|value| outlet(value).is_some())
        && graph
            .initializers
            .iter()
            .all(|tensor| is_plain(tensor) && !is_input(tensor))
        && graph.nodes.iter().all(is_supported)
}

/// A session of a graph that the editor [`supports`].
pub(super) fn session(builder: &SessionBuilder, model: Model) -> Result<Session, Failure> {
    let opsets = model.opset_imports.iter().map(|set| {
        let version = u32::try_from(set.version.unwrap_or(1)).unwrap_or(1);
        Opset::new(domain(set.domain.as_deref()), version)
    });
    let mut edited = editor::Model::new(opsets.collect::<Result<Vec<_>, _>>()?)?;
    edited.set_graph(graph(model.graph.unwrap_or_default())?)?;
    Ok(edited.into_session(builder)?)
}

/// The domain of standard operators has two names, of which the runtime uses one.
fn domain(name: Option<&str>) -> &str {
    name.filter(|&name| name != "ai.onnx").unwrap_or(ONNX_DOMAIN)
}

fn graph(graph: Graph) -> Result<editor::Graph, Failure> {
    let mut edited = editor::Graph::new()?;
    edited.set_inputs(graph.inputs.iter().filter_map(outlet))?;
    edited.set_outputs(graph.outputs.iter().filter_map(outlet))?;
    let mut tensors = graph.initializers;
    for node in graph.nodes {
        add_node(&mut edited, node, &mut tensors)?;
    }
    for tensor in tensors {
        add_tensor(&mut edited, &tensor)?;
    }
    Ok(edited)
}

/// Adds an operator. Constants become initializers; what fills a shape with one becomes its expansion to that shape.
fn add_node(edited: &mut editor::Graph, mut node: Node, tensors: &mut Vec<Tensor>) -> Result<(), Failure> {
    let Some(output) = node.outputs.first().cloned() else {
        return Ok(());
    };
    let value = |node: &mut Node| node.attributes.pop().and_then(|own| own.t);
    match node.op_type() {
        "Constant" => {
            tensors.push(value(&mut node).unwrap_or_default().named(output));
            return Ok(());
        }
        "ConstantOfShape" => {
            let name = format!("density_server/fills/{output}");
            let value = value(&mut node).unwrap_or_else(|| Tensor::of_reals("", &[1], &[0.0]));
            tensors.push(value.named(name.clone()));
            node.inputs.insert(0, name);
            node.op_type = Some("Expand".to_owned());
        }
        _ => {}
    }
    let attributes: Vec<_> = node.attributes.iter().filter_map(attribute).collect::<Result<_, _>>()?;
    edited.add_node(editor::Node::new(
        node.op_type(),
        domain(node.domain.as_deref()),
        node.name.as_deref().unwrap_or(&output),
        &node.inputs,
        &node.outputs,
        attributes,
    )?)?;
    Ok(())
}

/// An attribute, if it is a number, a text, or several numbers.
fn attribute(attribute: &Attribute) -> Option<ort::Result<operator::Attribute>> {
    let name = attribute.name();
    Some(match attribute.kind? {
        1 => operator::Attribute::new(name, attribute.f.unwrap_or_default()),
        2 => operator::Attribute::new(name, attribute.i.unwrap_or_default()),
        3 => operator::Attribute::new(name, String::from_utf8(attribute.s.clone().unwrap_or_default()).ok()?),
        6 => operator::Attribute::new(name, attribute.floats.as_slice()),
        7 => operator::Attribute::new(name, attribute.ints.as_slice()),
        _ => return None,
    })
}

/// Whether a tensor has its values inside, of a usual type.
fn is_plain(tensor: &Tensor) -> bool {
    let is_held = tensor.external_data.is_empty() && tensor.byte_size().is_some();
    let form = (tensor.data_type, tensor.raw_data.is_some());
    is_held && matches!(form, (Some(FLOAT | INT64), _) | (Some(BOOL | UINT8), true))
}

/// Adds a tensor: the runtime owns what it is given.
fn add_tensor(edited: &mut editor::Graph, tensor: &Tensor) -> Result<(), Failure> {
    let raw = tensor.raw_data.as_deref();
    let bytes = || raw.unwrap_or_default().iter().copied();
    match (tensor.data_type, raw) {
        (Some(INT64), _) => add(edited, tensor, tensor.integers().unwrap_or_default().into_iter()),
        (Some(BOOL), _) => add(edited, tensor, bytes().map(|byte| byte != 0)),
        (Some(UINT8), _) => add(edited, tensor, bytes()),
        (_, Some(raw)) => {
            let words = raw.as_chunks().0.iter();
            add(edited, tensor, words.map(|&word| f32::from_le_bytes(word)))
        }
        (_, None) => add(edited, tensor, tensor.float_data.iter().copied()),
    }
}

fn add<T: PrimitiveTensorElementType + std::fmt::Debug>(
    edited: &mut editor::Graph,
    tensor: &Tensor,
    values: impl ExactSizeIterator<Item = T>,
) -> Result<(), Failure> {
    let mut value = Value::<T>::new(&Allocator::default(), tensor.dims.as_slice())?;
    let (_, places) = value.extract_tensor_mut();
    if places.len() != values.len() {
        let (held, needed) = (values.len(), places.len());
        return Err(format!("tensor {:?} has {held} values of {needed}", tensor.name()).into());
    }
    places.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    let is_large = size_of_val(places) > SMALL;
    edited.add_initializer(tensor.name(), value, is_large)?;
    Ok(())
}

/// An input or output, if its type and the number of its axes are said.
fn outlet(value: &ValueInfo) -> Option<Outlet> {
    let tensor = value.type_info.as_ref()?.tensor.as_ref()?;
    let ty = match tensor.element_type? {
        FLOAT => TensorElementType::Float32,
        UINT8 => TensorElementType::Uint8,
        INT64 => TensorElementType::Int64,
        BOOL => TensorElementType::Bool,
        _ => return None,
    };
    let dims = &tensor.shape.as_ref()?.dims;
    let size = |value: &Option<DimValue>| match value {
        Some(DimValue::Fixed(size)) => *size,
        Some(DimValue::Named(_)) | None => -1,
    };
    let symbol = |value: &Option<DimValue>| match value {
        Some(DimValue::Named(name)) => name.clone(),
        Some(DimValue::Fixed(_)) | None => String::new(),
    };
    let kind = ValueType::Tensor {
        ty,
        shape: dims.iter().map(|dim| size(&dim.value)).collect(),
        dimension_symbols: SymbolicDimensions::new(dims.iter().map(|dim| symbol(&dim.value))),
    };
    Some(Outlet::new(value.name(), kind))
}

//! The messages of the ONNX format (IR version 13 and before), with the field numbers of its specification.
//!
//! Everything that may hold a tensor or a node is typed, so that no part of a file escapes what is asked of all its
//! tensors. Parts that can hold neither (quantisation, metadata, …) are kept as opaque bytes, so that a graph which is
//! read and written again loses nothing.

mod reading;
mod types;
mod writing;

use bytes::Bytes;

pub use self::types::{BOOL, Dim, DimValue, ElementType, Shape, TensorType, Type, ValueInfo};

/// A file: a graph and what it needs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Model {
    /// Version of the format.
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// Operator sets that the graph uses.
    #[prost(message, repeated, tag = "8")]
    pub opset_imports: Vec<OperatorSet>,
    /// Exporter.
    #[prost(string, optional, tag = "2")]
    pub producer_name: Option<String>,
    /// Exporter's version.
    #[prost(string, optional, tag = "3")]
    pub producer_version: Option<String>,
    /// Namespace of the model.
    #[prost(string, optional, tag = "4")]
    pub domain: Option<String>,
    /// Version of the model.
    #[prost(int64, optional, tag = "5")]
    pub model_version: Option<i64>,
    /// Free text.
    #[prost(string, optional, tag = "6")]
    pub doc_string: Option<String>,
    /// The graph.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    pub(super) metadata: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "20")]
    pub(super) training: Vec<Vec<u8>>,
    /// Functions that nodes may call as operators.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<Function>,
    #[prost(bytes = "vec", repeated, tag = "26")]
    pub(super) configurations: Vec<Vec<u8>>,
}

/// An operator made of others.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Function {
    /// Name: the operator that calls it.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Names of inputs inside.
    #[prost(string, repeated, tag = "4")]
    pub inputs: Vec<String>,
    /// Names of outputs inside.
    #[prost(string, repeated, tag = "5")]
    pub outputs: Vec<String>,
    /// Names of attributes without a default.
    #[prost(string, repeated, tag = "6")]
    pub attributes: Vec<String>,
    /// Nodes in topological order.
    #[prost(message, repeated, tag = "7")]
    pub nodes: Vec<Node>,
    #[prost(string, optional, tag = "8")]
    pub(super) doc_string: Option<String>,
    /// Operator sets that its nodes use.
    #[prost(message, repeated, tag = "9")]
    pub opset_imports: Vec<OperatorSet>,
    /// Operator set that it belongs to.
    #[prost(string, optional, tag = "10")]
    pub domain: Option<String>,
    /// Attributes with a default.
    #[prost(message, repeated, tag = "11")]
    pub attribute_defaults: Vec<Attribute>,
    /// Types of inner tensors.
    #[prost(message, repeated, tag = "12")]
    pub value_infos: Vec<ValueInfo>,
    /// Tells functions of one name apart.
    #[prost(string, optional, tag = "13")]
    pub overload: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    pub(super) metadata: Vec<Vec<u8>>,
}

/// A set of operators and its version.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OperatorSet {
    /// Empty (or `ai.onnx`) for the standard operators.
    #[prost(string, optional, tag = "1")]
    pub domain: Option<String>,
    /// Version.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// Nodes in topological order, constants, inputs and outputs.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Graph {
    /// Operators in topological order.
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    /// Name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// Constant tensors.
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    /// Free text.
    #[prost(string, optional, tag = "10")]
    pub doc_string: Option<String>,
    /// Inputs.
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<ValueInfo>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<ValueInfo>,
    /// Types of inner tensors.
    #[prost(message, repeated, tag = "13")]
    pub value_infos: Vec<ValueInfo>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    pub(super) quantization: Vec<Vec<u8>>,
    /// Constant tensors of which most values are zero.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializers: Vec<SparseTensor>,
    #[prost(bytes = "vec", repeated, tag = "16")]
    pub(super) metadata: Vec<Vec<u8>>,
}

/// One operator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Names of input tensors; empty where an optional input is left out.
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    /// Names of output tensors.
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    /// Name.
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    /// Operator.
    #[prost(string, optional, tag = "4")]
    pub op_type: Option<String>,
    /// Attributes.
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    /// Free text.
    #[prost(string, optional, tag = "6")]
    pub doc_string: Option<String>,
    /// Operator set.
    #[prost(string, optional, tag = "7")]
    pub domain: Option<String>,
    /// Tells functions of one name apart.
    #[prost(string, optional, tag = "8")]
    pub overload: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(super) metadata: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    pub(super) devices: Vec<Vec<u8>>,
}

/// A named attribute of an operator.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attribute {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Kind: see [`AttributeKind`].
    #[prost(int32, optional, tag = "20")]
    pub kind: Option<i32>,
    /// A real number.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Text.
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    /// A graph, such as the body of a loop.
    #[prost(message, optional, boxed, tag = "6")]
    pub graph: Option<Box<Graph>>,
    /// Real numbers.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Texts.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// Tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<Tensor>,
    /// Graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<Graph>,
    #[prost(string, optional, tag = "13")]
    pub(super) doc_string: Option<String>,
    #[prost(bytes = "vec", optional, tag = "14")]
    pub(super) type_proto: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub(super) type_protos: Vec<Vec<u8>>,
    #[prost(string, optional, tag = "21")]
    pub(super) reference: Option<String>,
    /// A tensor of which most values are zero.
    #[prost(message, optional, boxed, tag = "22")]
    pub sparse_tensor: Option<Box<SparseTensor>>,
    /// Tensors of which most values are zero.
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<SparseTensor>,
}

/// Kinds of attribute that the server writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    /// One integer.
    Int = 2,
    /// Several integers.
    Ints = 7,
}

/// A constant tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tensor {
    /// Shape.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Element type: see [`ElementType`].
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) segment: Option<Vec<u8>>,
    /// Values as 32-bit reals.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Values of the smaller integer types.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Values as text.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub string_data: Vec<Vec<u8>>,
    /// Values as 64-bit integers.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name.
    #[prost(string, optional, tag = "8")]
    pub name: Option<String>,
    /// Values as little-endian bytes.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Values as 64-bit reals.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Values as unsigned 64-bit integers.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    #[prost(string, optional, tag = "12")]
    pub(super) doc_string: Option<String>,
    /// Where the values are, if not in this file.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<Entry>,
    /// Whether they are in this file (0) or in another (1).
    #[prost(int32, optional, tag = "14")]
    pub data_location: Option<i32>,
    #[prost(bytes = "vec", repeated, tag = "16")]
    pub(super) metadata: Vec<Vec<u8>>,
}

/// A tensor given by its values that are not zero.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SparseTensor {
    /// Values that are not zero.
    #[prost(message, optional, tag = "1")]
    pub values: Option<Tensor>,
    /// Where they are.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<Tensor>,
    /// Shape.
    #[prost(int64, repeated, packed = "false", tag = "3")]
    pub dims: Vec<i64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// Key.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// Value.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// A remark of the exporter.
#[derive(Clone, PartialEq, prost::Message)]
struct Remark {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

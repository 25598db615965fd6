//! Messages that say what a value is: its name, its type and its shape.

/// Element types that the server reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit real.
    Float = 1,
    /// Byte.
    Uint8 = 2,
    /// 64-bit integer.
    Int64 = 7,
    /// 16-bit real of IEEE 754.
    Float16 = 10,
    /// 64-bit real.
    Double = 11,
    /// The upper half of a 32-bit real.
    Bfloat16 = 16,
}

/// The format's number of the type of truth values, which no tensor of a model's interface has.
pub const BOOL: i32 = 9;

/// A named, typed tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ValueInfo {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Type.
    #[prost(message, optional, tag = "2")]
    pub type_info: Option<Type>,
    #[prost(string, optional, tag = "3")]
    pub(in crate::graph) doc_string: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(in crate::graph) metadata: Vec<Vec<u8>>,
}

/// A type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Type {
    /// Set if it is a dense tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(in crate::graph) sequence: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(in crate::graph) map: Option<Vec<u8>>,
    #[prost(string, optional, tag = "6")]
    pub(in crate::graph) denotation: Option<String>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub(in crate::graph) opaque: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub(in crate::graph) sparse_tensor: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub(in crate::graph) optional: Option<Vec<u8>>,
}

/// The type of a dense tensor.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TensorType {
    /// Element type: see [`ElementType`].
    #[prost(int32, optional, tag = "1")]
    pub element_type: Option<i32>,
    /// Shape, where it is known.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// A shape.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Shape {
    /// Axes.
    #[prost(message, repeated, tag = "1")]
    pub dims: Vec<Dim>,
}

/// The size of one axis.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dim {
    /// A number or a name; neither if unknown.
    #[prost(oneof = "DimValue", tags = "1, 2")]
    pub value: Option<DimValue>,
    #[prost(string, optional, tag = "3")]
    pub(in crate::graph) denotation: Option<String>,
}

/// A number or a name.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum DimValue {
    /// A fixed size.
    #[prost(int64, tag = "1")]
    Fixed(i64),
    /// A size that may change from run to run.
    #[prost(string, tag = "2")]
    Named(String),
}

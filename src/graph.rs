//! ONNX graphs as data: reading, checking signatures, rewriting, cropping, compiling.
//!
//! Architecture invariant: protobuf only. Nothing here runs a graph or knows of a runtime.

pub mod batch_second;
pub mod batch_size;
pub mod bounds;
pub mod branches;
mod constant;
pub mod convert;
pub mod crop;
pub mod dynamic_batch;
pub mod external;
pub mod kernels;
pub mod layer;
pub mod one_hot;
pub mod precision;
pub mod protobuf;
pub mod random_nodes;
pub mod recurrence;
pub mod rewrite;
pub mod rows;
pub mod signature;
pub mod surgery;
pub mod upgrade;
mod visit;
pub mod wavefront;
pub mod weights;

use bytes::{Buf, Bytes};
use prost::Message;

/// Why a file is not a graph that this server can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Not an ONNX file.
    #[error("not an ONNX model: {0}")]
    Malformed(String),
    /// A tensor whose values lie where nothing may be read.
    #[error("tensor {tensor:?}: {cause}")]
    External {
        /// Its name.
        tensor: String,
        /// What is wrong.
        cause: String,
    },
    /// A graph that is out of proportion to its file.
    #[error("{0}")]
    Bounds(String),
    /// An input or output that is not there or is not of the needed form.
    #[error("{0}")]
    Signature(String),
}

/// Reads an ONNX file.
pub fn parse(bytes: &[u8]) -> Result<protobuf::Model, GraphError> {
    read(bytes)
}

/// Reads an ONNX file whose weights stay where they are: tensors refer to its bytes.
pub fn parse_shared(bytes: Bytes) -> Result<protobuf::Model, GraphError> {
    read(bytes)
}

fn read(bytes: impl Buf) -> Result<protobuf::Model, GraphError> {
    let model = protobuf::Model::decode(bytes).map_err(|error| GraphError::Malformed(error.to_string()))?;
    match &model.graph {
        Some(graph) if !graph.nodes.is_empty() => Ok(model),
        _ => Err(GraphError::Malformed("it has no graph".to_owned())),
    }
}

/// Writes an ONNX file.
pub fn serialize(model: &protobuf::Model) -> Vec<u8> {
    model.encode_to_vec()
}

//! The file of what a detector learnt of features of inliers: tensors of single precision, as safetensors.

use std::io;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::detection::{
    learners::{Tensor, Tensors},
    statistics::Requirement,
};

pub(super) fn write(tensors: &Tensors) -> io::Result<Vec<u8>> {
    let bytes: Vec<(&String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, Tensor { shape, values })| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name, shape.as_slice(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        view.map(|view| (*name, view)).map_err(io::Error::other)
    });
    safetensors::serialize(views.collect::<io::Result<Vec<_>>>()?, None).map_err(io::Error::other)
}

pub(super) fn read(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| format!("it is no file of tensors: {error}"))?;
    let tensor = |(name, view): (&str, TensorView<'_>)| {
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name} is of the type {:?}, and must be F32", view.dtype()));
        }
        let (values, _) = view.data().as_chunks::<4>();
        let tensor = Tensor {
            shape: view.shape().to_vec(),
            values: values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        };
        Ok((name.to_owned(), tensor))
    };
    file.iter().map(tensor).collect()
}

/// What was learnt, and how much memory it takes.
pub(super) fn told(requirements: &[Requirement], tensors: &Tensors) -> String {
    let names: Vec<_> = requirements.iter().map(|requirement| requirement.name()).collect();
    let numbers: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
    let megabytes = (numbers * size_of::<f32>()) as f64 / 1e6;
    format!("{} of features, {megabytes:.1} MB", names.join(", "))
}

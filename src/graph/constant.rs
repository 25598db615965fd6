//! Constant tensors of a graph as plain values.

use super::protobuf::{ElementType, Tensor};

/// A constant: values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Constant {
    pub(super) dims: Vec<usize>,
    pub(super) values: Values,
}

/// Values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

impl Constant {
    pub(super) fn floats(dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self {
            dims,
            values: Values::Floats(values),
        }
    }

    /// `None` if the tensor is of another type than 32-bit reals and 64-bit integers, lies in another file, or has not as many
    /// values as its shape says.
    pub(super) fn read(tensor: &Tensor) -> Option<Self> {
        if !tensor.external_data.is_empty() {
            return None;
        }
        let dims: Vec<usize> = tensor
            .dims
            .iter()
            .map(|&size| usize::try_from(size).ok())
            .collect::<Option<_>>()?;
        let raw = tensor.raw_data.as_deref();
        let kind = tensor.data_type?;
        let values = if kind == ElementType::Float as i32 {
            Values::Floats(match raw {
                Some(bytes) => words(bytes).map(f32::from_le_bytes).collect(),
                None => tensor.float_data.clone(),
            })
        } else if kind == ElementType::Int64 as i32 {
            Values::Ints(match raw {
                Some(bytes) => words(bytes).map(i64::from_le_bytes).collect(),
                None => tensor.int64_data.clone(),
            })
        } else {
            return None;
        };
        let constant = Self { dims, values };
        (constant.len() == constant.size()).then_some(constant)
    }

    /// Number of values that the shape asks for.
    pub(super) fn size(&self) -> usize {
        self.dims.iter().product()
    }

    fn len(&self) -> usize {
        match &self.values {
            Values::Floats(values) => values.len(),
            Values::Ints(values) => values.len(),
        }
    }

    /// The value of a scalar.
    pub(super) fn single(&self) -> Option<f64> {
        match &self.values {
            Values::Floats(values) => <[f32; 1]>::try_from(&values[..]).ok().map(|[v]| v.into()),
            Values::Ints(values) => <[i64; 1]>::try_from(&values[..]).ok().map(|[v]| v as f64),
        }
    }

    pub(super) fn as_floats(&self) -> Option<&[f32]> {
        match &self.values {
            Values::Floats(values) => Some(values),
            Values::Ints(_) => None,
        }
    }

    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.values {
            Values::Ints(values) => Some(values),
            Values::Floats(_) => None,
        }
    }

    /// Whether every value is zero.
    pub(super) fn is_zero(&self) -> bool {
        match &self.values {
            Values::Floats(values) => values.iter().all(|&value| value == 0.0),
            Values::Ints(values) => values.iter().all(|&value| value == 0),
        }
    }

    /// The same values under another shape of the same size.
    pub(super) fn reshaped(mut self, dims: Vec<usize>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), self.size());
        self.dims = dims;
        self
    }

    /// The constant as `index` reads it: `dims` is the new shape, and `index` says which value goes to each place.
    pub(super) fn rearranged(&self, dims: Vec<usize>, index: impl Iterator<Item = usize>) -> Self {
        let values = match &self.values {
            Values::Floats(values) => Values::Floats(index.map(|i| values[i]).collect()),
            Values::Ints(values) => Values::Ints(index.map(|i| values[i]).collect()),
        };
        Self { dims, values }
    }

    /// As the protobuf message.
    pub(super) fn tensor(&self, name: &str) -> Tensor {
        let mut tensor = Tensor {
            dims: self.dims.iter().map(|&size| size as i64).collect(),
            name: Some(name.to_owned()),
            ..Tensor::default()
        };
        match &self.values {
            Values::Floats(values) => {
                tensor.data_type = Some(ElementType::Float as i32);
                tensor.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect());
            }
            Values::Ints(values) => {
                tensor.data_type = Some(ElementType::Int64 as i32);
                tensor.raw_data = Some(values.iter().flat_map(|v| v.to_le_bytes()).collect());
            }
        }
        tensor
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|chunk| <[u8; N]>::try_from(chunk).unwrap_or([0; N]))
}

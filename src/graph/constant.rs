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

    /// Reals of any precision, as reals of 32 bits, and 64-bit integers; `None` if the tensor is of another type, lies
    /// in another file, or has not as many values as its shape says.
    pub(super) fn read(tensor: &Tensor) -> Option<Self> {
        let dims = sizes(tensor)?;
        let raw = tensor.raw_data.as_deref();
        // Numbers of 16 bits that are not raw are written one in each integer.
        let short = |&value: &i32| value as u16;
        let values = match ElementType::of(tensor.data_type?)? {
            ElementType::Float => Values::Floats(match raw {
                Some(bytes) => words(bytes).map(f32::from_le_bytes).collect(),
                None => tensor.float_data.clone(),
            }),
            ElementType::Double => Values::Floats(match raw {
                Some(bytes) => words(bytes).map(|word| f64::from_le_bytes(word) as f32).collect(),
                None => tensor.double_data.iter().map(|&value| value as f32).collect(),
            }),
            ElementType::Float16 => Values::Floats(match raw {
                Some(bytes) => words(bytes).map(|word| half(u16::from_le_bytes(word))).collect(),
                None => tensor.int32_data.iter().map(short).map(half).collect(),
            }),
            ElementType::Bfloat16 => Values::Floats(match raw {
                Some(bytes) => words(bytes).map(|word| bfloat(u16::from_le_bytes(word))).collect(),
                None => tensor.int32_data.iter().map(short).map(bfloat).collect(),
            }),
            ElementType::Int64 => Values::Ints(match raw {
                Some(bytes) => words(bytes).map(i64::from_le_bytes).collect(),
                None => tensor.int64_data.clone(),
            }),
            ElementType::Uint8 => return None,
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

    /// The value that all places have.
    pub(super) fn uniform(&self) -> Option<f64> {
        match &self.values {
            Values::Floats(values) => alike(values).map(f64::from),
            Values::Ints(values) => alike(values).map(|value| value as f64),
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

/// What all of these are, if there are any.
fn alike<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    let (&first, others) = values.split_first()?;
    others.iter().all(|&other| other == first).then_some(first)
}

/// Sizes and values of a constant of this type, one of those that are raw words of N bytes or stand in integers of 32
/// bits; nothing where [`Constant::read`] gives nothing.
pub(super) fn of_words<T, const N: usize>(
    tensor: &Tensor,
    element_type: i32,
    of_word: impl Fn([u8; N]) -> T,
    of_integer: impl Fn(i32) -> T,
) -> Option<(Vec<usize>, Vec<T>)> {
    let dims = sizes(tensor).filter(|_| tensor.data_type == Some(element_type))?;
    let values: Vec<T> = match tensor.raw_data.as_deref() {
        Some(bytes) => words(bytes).map(of_word).collect(),
        None => tensor.int32_data.iter().copied().map(of_integer).collect(),
    };
    (values.len() == dims.iter().product::<usize>()).then_some((dims, values))
}

/// The sizes of a tensor that does not lie in another file.
fn sizes(tensor: &Tensor) -> Option<Vec<usize>> {
    let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
    sizes.collect::<Option<_>>().filter(|_| tensor.external_data.is_empty())
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes
        .chunks_exact(N)
        .map(|chunk| <[u8; N]>::try_from(chunk).unwrap_or([0; N]))
}

/// A 16-bit real of IEEE 754: a sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        exponent => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

/// The upper half of a 32-bit real.
fn bfloat(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reals_of_sixteen_bits_are_read_exactly() {
        let halves = [0x3c00, 0xc000, 0x3555, 0x0001, 0x0400, 0x7bff, 0x8000, 0x7c00];
        let expected = [
            1.0,
            -2.0,
            0.333_251_95,
            5.960_464_5e-8,
            6.103_515_6e-5,
            65504.0,
            -0.0,
            f32::INFINITY,
        ];
        let mut tensor = Tensor {
            dims: vec![8],
            data_type: Some(ElementType::Float16 as i32),
            int32_data: halves.to_vec(),
            ..Tensor::default()
        };
        let read = |tensor: &Tensor| Constant::read(tensor).unwrap().as_floats().unwrap().to_vec();
        assert_eq!(read(&tensor), expected);
        tensor.raw_data = Some(halves.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect());
        assert_eq!(read(&tensor), expected);
        assert!(half(0x7e00).is_nan());
        tensor.data_type = Some(ElementType::Bfloat16 as i32);
        tensor.dims = vec![2];
        tensor.raw_data = Some(vec![0x80, 0x3f, 0x00, 0xc0].into());
        assert_eq!(read(&tensor), [1.0, -2.0]);
    }
}

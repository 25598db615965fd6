//! The values of tensors as they come and go: bytes, or lists of JSON. Every declared length is checked before it is
//! used.

use bytes::{BufMut, Bytes};

use crate::{
    model::{Kind, Refusal},
    operations::tensor::{Datatype, Tensor, Values},
};

/// The values of a tensor as they came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// Little-endian, row-major; strings with their lengths before them.
    Raw(Bytes),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Flags.
    Flags(Vec<bool>),
    /// Strings of bytes.
    Strings(Vec<Bytes>),
    /// Strings in base64, as JSON has them.
    Base64(Vec<String>),
}

/// A tensor as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InputTensor {
    pub(super) name: String,
    pub(super) datatype: String,
    pub(super) shape: Vec<i64>,
    pub(super) data: Data,
}

/// Strings, before the base64 of JSON is undone.
pub(super) enum Texts {
    Bytes(Vec<Bytes>),
    Base64(Vec<String>),
}

impl InputTensor {
    /// The refusal of this tensor.
    pub(super) fn refuse(&self, reason: impl std::fmt::Display) -> Refusal {
        let name = crate::model::refusal::clip(&self.name);
        Refusal::new(Kind::Malformed, format!("input {name:?}: {reason}"))
    }

    /// Whether it is of that type.
    pub(super) fn is(&self, datatype: Datatype) -> bool {
        self.datatype == datatype.name()
    }

    /// The lengths of its axes and their product.
    pub(super) fn lengths(&self) -> Result<(Vec<usize>, usize), Refusal> {
        let lengths: Option<Vec<usize>> = self.shape.iter().map(|&length| usize::try_from(length).ok()).collect();
        let lengths =
            lengths.ok_or_else(|| self.refuse(format!("the shape {:?} has a negative length", self.shape)))?;
        let elements = lengths
            .iter()
            .try_fold(1_usize, |product, &length| product.checked_mul(length))
            .ok_or_else(|| self.refuse("the shape has more elements than can be counted"))?;
        Ok((lengths, elements))
    }

    fn expect(&self, found: usize, wanted: usize, what: &str) -> Result<(), Refusal> {
        if found == wanted {
            return Ok(());
        }
        Err(self.refuse(format!(
            "the shape {:?} makes {wanted} {what}, but there are {found}",
            self.shape
        )))
    }

    fn mismatch(&self) -> Refusal {
        let found = crate::model::refusal::clip(&self.datatype);
        self.refuse(format!("the values are not of the declared datatype {found}"))
    }

    /// Its levels or flags, one byte each.
    pub(super) fn levels(&self, elements: usize) -> Result<Bytes, Refusal> {
        let levels = match &self.data {
            Data::Raw(bytes) => {
                self.expect(bytes.len(), elements, "bytes")?;
                return Ok(bytes.clone());
            }
            Data::Numbers(numbers) => numbers
                .iter()
                .map(|&number| level(number))
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(|| self.refuse("levels are whole numbers from 0 to 255"))?,
            Data::Flags(flags) => flags.iter().map(|&flag| u8::from(flag)).collect(),
            Data::Strings(_) | Data::Base64(_) => return Err(self.mismatch()),
        };
        self.expect(levels.len(), elements, "values")?;
        Ok(levels.into())
    }

    /// Its real numbers.
    pub(super) fn reals(&self, elements: usize) -> Result<Vec<f32>, Refusal> {
        let reals: Vec<f32> = match &self.data {
            Data::Raw(bytes) => {
                let wanted = elements.checked_mul(4).ok_or_else(|| self.mismatch())?;
                self.expect(bytes.len(), wanted, "bytes")?;
                let (numbers, _) = bytes.as_chunks::<4>();
                numbers.iter().map(|&number| f32::from_le_bytes(number)).collect()
            }
            Data::Numbers(numbers) => numbers.iter().map(|&number| number as f32).collect(),
            _ => return Err(self.mismatch()),
        };
        self.expect(reals.len(), elements, "values")?;
        if reals.iter().all(|number| number.is_finite()) {
            Ok(reals)
        } else {
            Err(self.refuse("every number has to be finite"))
        }
    }

    /// Its strings.
    pub(super) fn strings(&self, elements: usize) -> Result<Texts, Refusal> {
        match &self.data {
            Data::Raw(bytes) => Ok(Texts::Bytes(self.cut(bytes, elements)?)),
            Data::Strings(strings) => {
                self.expect(strings.len(), elements, "strings")?;
                Ok(Texts::Bytes(strings.clone()))
            }
            Data::Base64(texts) => {
                self.expect(texts.len(), elements, "strings")?;
                Ok(Texts::Base64(texts.clone()))
            }
            Data::Numbers(none) if none.is_empty() && elements == 0 => Ok(Texts::Bytes(Vec::new())),
            Data::Numbers(_) | Data::Flags(_) => Err(self.mismatch()),
        }
    }

    /// Cuts bytes into strings, each with its length before it.
    fn cut(&self, bytes: &Bytes, elements: usize) -> Result<Vec<Bytes>, Refusal> {
        let mut rest = bytes.clone();
        let mut strings = Vec::new();
        while !rest.is_empty() {
            if strings.len() == elements {
                return Err(self.refuse(format!("{} bytes are left over behind {elements} strings", rest.len())));
            }
            let Some((&length, _)) = rest.split_first_chunk::<4>() else {
                return Err(self.refuse("it ends within the length of a string"));
            };
            let _ = rest.split_to(4);
            let length = u32::from_le_bytes(length);
            let fits = usize::try_from(length).ok().filter(|&length| length <= rest.len());
            let Some(length) = fits else {
                return Err(self.refuse(format!(
                    "a string of {length} bytes is declared where {} are left",
                    rest.len()
                )));
            };
            strings.push(rest.split_to(length));
        }
        self.expect(strings.len(), elements, "strings")?;
        Ok(strings)
    }
}

fn level(number: f64) -> Option<u8> {
    ((0.0..=255.0).contains(&number) && number.fract() == 0.0).then_some(number as u8)
}

/// Bytes of a tensor in its binary form.
pub(super) fn binary_size(tensor: &Tensor) -> usize {
    match &tensor.values {
        Values::F64(values) => 8 * values.len(),
        Values::F32(values) => 4 * values.len(),
        Values::U8(values) => values.len(),
        Values::Bool(values) => values.len(),
        Values::Bytes(strings) => strings.iter().map(|string| 4 + string.len()).sum(),
    }
}

/// Writes a tensor in its binary form.
pub(super) fn write_binary(tensor: &Tensor, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match &tensor.values {
        Values::F64(values) => values.iter().for_each(|&value| out.put_f64_le(value)),
        Values::F32(values) => values.iter().for_each(|&value| out.put_f32_le(value)),
        Values::U8(values) => out.extend_from_slice(values),
        Values::Bool(values) => out.extend(values.iter().map(|&flag| u8::from(flag))),
        Values::Bytes(strings) => {
            for string in strings {
                out.put_u32_le(u32::try_from(string.len()).map_err(Refusal::internal)?);
                out.extend_from_slice(string);
            }
        }
    }
    Ok(())
}

/// The type of a tensor's values.
pub(super) fn datatype(tensor: &Tensor) -> Datatype {
    match tensor.values {
        Values::F64(_) => Datatype::F64,
        Values::F32(_) => Datatype::F32,
        Values::U8(_) => Datatype::U8,
        Values::Bool(_) => Datatype::Bool,
        Values::Bytes(_) => Datatype::Bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64], data: Data) -> InputTensor {
        InputTensor {
            name: "x".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            data,
        }
    }

    fn raw(bytes: &[u8]) -> Data {
        Data::Raw(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        for shape in [&[-1, 2][..], &[i64::MAX, 3], &[1 << 32, 1 << 32, 1]] {
            assert!(input("UINT8", shape, raw(&[])).lengths().is_err());
        }
        assert_eq!(input("UINT8", &[], raw(&[])).lengths().unwrap().1, 1);
        assert_eq!(input("UINT8", &[i64::MAX, 0], raw(&[])).lengths().unwrap().1, 0);
    }

    #[test]
    fn strings_are_cut_only_where_their_lengths_hold() {
        let cut = |bytes: &[u8], elements| match input("BYTES", &[], raw(bytes)).strings(elements) {
            Ok(Texts::Bytes(strings)) => Some(strings),
            _ => None,
        };
        let two = [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0];
        assert_eq!(cut(&two, 2).unwrap(), [&b"ab"[..], b""]);
        assert_eq!(cut(&[], 0).unwrap().len(), 0);
        for (bytes, elements) in [
            (&two[..], 1),
            (&two, 3),
            (&two[..5], 1),
            (&[0, 0, 0], 1),
            (&[255, 255, 255, 255, 1], 1),
        ] {
            assert!(cut(bytes, elements).is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn values_have_the_number_and_the_range_that_is_declared() {
        let levels = |data| input("UINT8", &[2], data).levels(2);
        assert_eq!(levels(raw(&[1, 255])).unwrap(), &[1, 255][..]);
        assert_eq!(levels(Data::Numbers(vec![1.0, 255.0])).unwrap(), &[1, 255][..]);
        for bad in [vec![1.0], vec![0.5, 1.0], vec![-1.0, 0.0], vec![256.0, 0.0]] {
            assert!(levels(Data::Numbers(bad)).is_err());
        }
        let reals = |data| input("FP32", &[1], data).reals(1);
        assert_eq!(reals(raw(&1.5_f32.to_le_bytes())).unwrap(), [1.5]);
        assert!(reals(raw(&f32::NAN.to_le_bytes())).is_err());
        assert!(reals(raw(&[0; 5])).is_err());
        assert!(reals(Data::Flags(vec![true])).is_err());
    }

    #[test]
    fn binary_tensors_are_as_long_as_they_are_said_to_be() {
        let strings = Tensor {
            name: "s",
            shape: vec![2],
            values: Values::Bytes(vec![b"ab".to_vec(), Vec::new()]),
        };
        for tensor in [Tensor::numbers("n", [1.0, -2.0]), Tensor::flags("f", [true]), strings] {
            let mut bytes = Vec::new();
            write_binary(&tensor, &mut bytes).unwrap();
            assert_eq!(bytes.len(), binary_size(&tensor));
        }
    }
}

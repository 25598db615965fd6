//! What is asked of messages: attributes of nodes, sizes and values of tensors.

use bytes::Bytes;
use prost::Message as _;

use super::{Attribute, Dim, DimValue, ElementType, Model, Node, Remark, Tensor, ValueInfo};

impl Model {
    /// Version of the standard operators.
    pub fn opset(&self) -> i64 {
        self.opset_imports
            .iter()
            .find(|set| matches!(set.domain.as_deref(), None | Some("") | Some("ai.onnx")))
            .and_then(|set| set.version)
            .unwrap_or(1)
    }
}

impl ElementType {
    /// By its number in the format.
    pub fn of(number: i32) -> Option<Self> {
        [
            Self::Float,
            Self::Uint8,
            Self::Int64,
            Self::Float16,
            Self::Double,
            Self::Bfloat16,
        ]
        .into_iter()
        .find(|kind| *kind as i32 == number)
    }

    /// Bytes of a number, if it is a real one.
    pub fn real_width(self) -> Option<usize> {
        match self {
            Self::Float16 | Self::Bfloat16 => Some(2),
            Self::Float => Some(4),
            Self::Double => Some(8),
            Self::Uint8 | Self::Int64 => None,
        }
    }
}

impl ValueInfo {
    /// The sizes of its declared shape, each if it is fixed; `None` if it declares none.
    pub fn sizes(&self) -> Option<Vec<Option<i64>>> {
        let shape = self.type_info.as_ref()?.tensor.as_ref()?.shape.as_ref()?;
        let size = |dim: &Dim| match dim.value {
            Some(DimValue::Fixed(size)) => Some(size),
            _ => None,
        };
        Some(shape.dims.iter().map(size).collect())
    }
}

impl Attribute {
    /// Whether there is a graph inside, as in branches and loops.
    pub fn holds_graph(&self) -> bool {
        self.graph.is_some() || !self.graphs.is_empty()
    }
}

impl Node {
    /// An attribute by name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name.as_deref() == Some(name))
    }

    /// An integer attribute, or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// A real attribute, or its default.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|a| a.f).unwrap_or(default)
    }

    /// An attribute of integers, if it is there.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A text attribute; empty if it is not there.
    pub fn text(&self, name: &str) -> &[u8] {
        self.attribute(name).and_then(|a| a.s.as_deref()).unwrap_or_default()
    }

    /// A remark that the exporter left under `key`.
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.metadata
            .iter()
            .filter_map(|bytes| Remark::decode(bytes.as_slice()).ok())
            .find(|remark| remark.key == key)
            .map(|remark| remark.value)
    }
}

impl Tensor {
    /// Bits of one element; none for text and for types that are not known.
    fn bits(&self) -> Option<usize> {
        Some(match self.data_type? {
            2 | 3 | 9 | 17..=20 | 24 => 8,
            4 | 5 | 10 | 16 => 16,
            1 | 6 | 12 => 32,
            7 | 11 | 13 | 14 => 64,
            15 => 128,
            21..=23 => 4,
            25 | 26 => 2,
            _ => return None,
        })
    }

    /// Bytes that all elements take; none if type and shape do not tell.
    pub fn byte_size(&self) -> Option<usize> {
        let elements = self.dims.iter().try_fold(1usize, |product, &size| {
            product.checked_mul(usize::try_from(size).ok()?)
        })?;
        Some(elements.checked_mul(self.bits()?)?.div_ceil(8))
    }

    /// Elements that the message has values for, at most.
    pub fn held(&self) -> u64 {
        let raw = self.raw_data.as_ref().map_or(0, Bytes::len) * 8 / self.bits().unwrap_or(8);
        // Elements of less than a byte share one number.
        let small = self.int32_data.len() * (8 / self.bits().unwrap_or(8)).max(1);
        let others = [
            raw,
            small,
            self.float_data.len(),
            self.string_data.len(),
            self.int64_data.len(),
            self.double_data.len(),
            self.uint64_data.len(),
        ];
        others.into_iter().max().unwrap_or_default() as u64
    }

    /// The values, if they are 64-bit integers.
    pub fn integers(&self) -> Option<Vec<i64>> {
        if self.data_type != Some(ElementType::Int64 as i32) {
            return None;
        }
        let word = |bytes: &[u8]| bytes.try_into().ok().map(i64::from_le_bytes);
        match &self.raw_data {
            Some(bytes) => bytes.chunks_exact(8).map(word).collect(),
            None => Some(self.int64_data.clone()),
        }
    }
}

//! Messages as the server writes them: nodes, constants, and types of inputs and outputs.

use prost::Message as _;

use super::{
    Attribute, AttributeKind, Dim, DimValue, ElementType, Node, Remark, Shape, Tensor, TensorType, Type, ValueInfo,
};

impl Node {
    /// The same with a remark.
    #[must_use]
    pub fn with_metadata(mut self, key: &str, value: &str) -> Self {
        let remark = Remark {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.metadata.push(remark.encode_to_vec());
        self
    }

    /// A node of the standard operators without attributes.
    pub fn new(op_type: &str, inputs: &[&str], output: &str) -> Self {
        Self {
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: vec![output.to_owned()],
            name: Some(format!("{output}/{op_type}")),
            op_type: Some(op_type.to_owned()),
            ..Self::default()
        }
    }

    /// The same with an integer attribute.
    #[must_use]
    pub fn with_int(mut self, name: &str, value: i64) -> Self {
        self.attributes.push(Attribute {
            name: Some(name.to_owned()),
            kind: Some(AttributeKind::Int as i32),
            i: Some(value),
            ..Attribute::default()
        });
        self
    }

    /// The same with an attribute of integers.
    #[must_use]
    pub fn with_ints(mut self, name: &str, values: &[i64]) -> Self {
        self.attributes.push(Attribute {
            name: Some(name.to_owned()),
            kind: Some(AttributeKind::Ints as i32),
            ints: values.to_vec(),
            ..Attribute::default()
        });
        self
    }
}

impl Tensor {
    /// The same under another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// A one-dimensional constant of 64-bit integers.
    pub fn of_ints(name: &str, values: &[i64]) -> Self {
        Self {
            dims: vec![values.len() as i64],
            data_type: Some(ElementType::Int64 as i32),
            int64_data: values.to_vec(),
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// A constant of 32-bit reals. Copies of it share them.
    pub fn of_reals(name: &str, dims: &[i64], values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self {
            dims: dims.to_vec(),
            data_type: Some(ElementType::Float as i32),
            raw_data: Some(bytes.into()),
            name: Some(name.to_owned()),
            ..Self::default()
        }
    }

    /// The weights of a convolution with a kernel of size 1 that sums over `channels`: ones, [1, channels, 1, …].
    pub fn of_ones(name: &str, channels: usize, spatial_axes: usize) -> Self {
        let mut dims = vec![1, channels as i64];
        dims.resize(2 + spatial_axes, 1);
        Self::of_reals(name, &dims, &vec![1.0; channels])
    }

    /// One number for each channel of an image, [1, C, 1, 1].
    pub fn of_channels(name: &str, values: &[f32]) -> Self {
        Self::of_reals(name, &[1, values.len() as i64, 1, 1], values)
    }

    /// A scalar constant.
    pub fn of_scalar(name: &str, value: f32) -> Self {
        Self::of_reals(name, &[], &[value])
    }
}

impl ValueInfo {
    /// A tensor of which nothing but the element type is said.
    pub fn of_any_shape(name: &str, element_type: ElementType) -> Self {
        Self {
            name: Some(name.to_owned()),
            type_info: Some(Type {
                tensor: Some(TensorType {
                    element_type: Some(element_type as i32),
                    shape: None,
                }),
                ..Type::default()
            }),
            ..Self::default()
        }
    }

    /// A tensor with so many axes of any size.
    pub fn of_any_size(name: &str, element_type: ElementType, axes: usize) -> Self {
        let mut value = Self::fixed(name, element_type, &vec![0; axes]);
        let tensor = value.type_info.as_mut().and_then(|info| info.tensor.as_mut());
        let dims = tensor
            .and_then(|tensor| tensor.shape.as_mut())
            .map(|shape| &mut shape.dims);
        dims.into_iter().flatten().for_each(|dim| dim.value = None);
        value
    }

    /// A tensor with axes of these sizes.
    pub fn fixed(name: &str, element_type: ElementType, sizes: &[usize]) -> Self {
        let dim = |&size: &usize| Dim {
            value: Some(DimValue::Fixed(size as i64)),
            denotation: None,
        };
        let mut value = Self::of_any_shape(name, element_type);
        if let Some(tensor) = value.type_info.as_mut().and_then(|info| info.tensor.as_mut()) {
            tensor.shape = Some(Shape {
                dims: sizes.iter().map(dim).collect(),
            });
        }
        value
    }

    /// A tensor whose first axis is the batch and whose other axes are fixed.
    pub fn batched(name: &str, element_type: ElementType, sizes: &[usize]) -> Self {
        let batch = Dim {
            value: Some(DimValue::Named("batch".to_owned())),
            denotation: None,
        };
        let fixed = sizes.iter().map(|&size| Dim {
            value: Some(DimValue::Fixed(size as i64)),
            denotation: None,
        });
        Self {
            name: Some(name.to_owned()),
            type_info: Some(Type {
                tensor: Some(TensorType {
                    element_type: Some(element_type as i32),
                    shape: Some(Shape {
                        dims: std::iter::once(batch).chain(fixed).collect(),
                    }),
                }),
                ..Type::default()
            }),
            ..Self::default()
        }
    }
}

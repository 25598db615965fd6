//! Answers as tensors: for npy files, and for protocols that speak of nothing else.

use crate::{domain::image::ImageShape, media, model::value::Picture};

/// A tensor of an operation's answer, as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub datatype: Datatype,
    /// Its axes after the first, which is the images.
    pub axes: &'static [Axis],
    /// The option that has to be true for it to be there, if one has to.
    pub when: Option<&'static str>,
    /// What it holds.
    pub description: &'static str,
}

impl TensorSpec {
    /// The levels of images, as `image`.
    pub const fn levels(description: &'static str) -> Self {
        Self {
            name: "image",
            datatype: Datatype::U8,
            axes: IMAGE,
            when: None,
            description,
        }
    }
}

/// The type of a tensor's values, by their names in the Open Inference Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// `FP64`.
    F64,
    /// `FP32`.
    F32,
    /// `UINT8`.
    U8,
    /// `BOOL`.
    Bool,
    /// `BYTES`.
    Bytes,
}

/// The length of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Channels of an image.
    Channels,
    /// Rows of an image.
    Height,
    /// Columns of an image.
    Width,
    /// Labels of the model.
    Labels,
    /// Numbers in a code.
    Code,
    /// As many as were asked for.
    Any,
}

/// The axes of an image.
pub const IMAGE: &[Axis] = &[Axis::Channels, Axis::Height, Axis::Width];

/// A tensor of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name, one of the declared ones.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Values,
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 64-bit reals.
    F64(Vec<f64>),
    /// 32-bit reals.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Flags.
    Bool(Vec<bool>),
    /// Strings of bytes.
    Bytes(Vec<Vec<u8>>),
}

impl Datatype {
    /// Its name in the Open Inference Protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "FP64",
            Self::F32 => "FP32",
            Self::U8 => "UINT8",
            Self::Bool => "BOOL",
            Self::Bytes => "BYTES",
        }
    }
}

impl Tensor {
    /// One 64-bit real an image.
    pub fn numbers(name: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        Self {
            name,
            shape: vec![values.len()],
            values: Values::F64(values),
        }
    }

    /// One flag an image.
    pub fn flags(name: &'static str, values: impl IntoIterator<Item = bool>) -> Self {
        let values: Vec<bool> = values.into_iter().collect();
        Self {
            name,
            shape: vec![values.len()],
            values: Values::Bool(values),
        }
    }

    /// One vector of 32-bit reals an image, all of one length.
    pub fn vectors<'a>(name: &'static str, vectors: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let (mut count, mut size, mut values) = (0, 0, Vec::new());
        for vector in vectors {
            count += 1;
            size = vector.len();
            values.extend_from_slice(vector);
        }
        Self {
            name,
            shape: vec![count, size],
            values: Values::F32(values),
        }
    }

    /// One 32-bit real for every dimension of every image.
    pub fn maps<'a>(name: &'static str, shape: ImageShape, maps: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut tensor = Self::vectors(name, maps);
        tensor.shape = vec![tensor.shape[0], shape.channels(), shape.height(), shape.width()];
        tensor
    }

    /// The levels of images.
    pub fn images<'a>(name: &'static str, shape: ImageShape, images: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let (mut count, mut values) = (0, Vec::new());
        for image in images {
            count += 1;
            values.extend_from_slice(image);
        }
        Self {
            name,
            shape: vec![count, shape.channels(), shape.height(), shape.width()],
            values: Values::U8(values),
        }
    }

    /// The levels of pictures, as `image`, if there are any.
    pub fn pictures(items: &[Picture]) -> Vec<Self> {
        let images = items.iter().map(|picture| picture.0.levels());
        let first = items.first().map(|picture| picture.0.shape());
        first
            .map(|shape| Self::images("image", shape, images))
            .into_iter()
            .collect()
    }

    /// The tensor as an npy file. Images become [N, H, W] or [N, H, W, C], which is how Python has them.
    pub fn npy(&self) -> Vec<u8> {
        match &self.values {
            Values::F64(values) => media::write_f64(&self.shape, values.iter().copied()),
            Values::F32(values) => media::write_f32(&self.shape, values.iter().copied()),
            Values::U8(values) => media::write_levels(&self.shape, values),
            Values::Bool(values) => media::write_f64(&self.shape, values.iter().map(|&flag| f64::from(u8::from(flag)))),
            Values::Bytes(strings) => strings.concat(),
        }
    }
}

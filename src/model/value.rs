//! Values of answers that JSON has no type for: images, maps over an image, numbers that may not be finite.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq, SerializeStruct},
};

use crate::{
    domain::image::{Image, ImageShape},
    media,
};

/// An image in an answer: as a PNG file in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture(pub Image);

impl Serialize for Picture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let png = media::png(&self.0).map_err(S::Error::custom)?;
        let mut object = serializer.serialize_struct("Picture", 2)?;
        object.serialize_field("media_type", "image/png")?;
        object.serialize_field("base64", &BASE64_STANDARD.encode(png))?;
        object.end()
    }
}

impl JsonSchema for Picture {
    fn schema_name() -> Cow<'static, str> {
        "Picture".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An image as a file.",
            "type": "object",
            "required": ["media_type", "base64"],
            "properties": {
                "media_type": {"type": "string", "const": "image/png"},
                "base64": {
                    "description": "The file in base64.",
                    "type": "string", "contentEncoding": "base64", "examples": ["iVBORw0KGgoAAAANSUhEUgAA…"]
                }
            }
        })
    }
}

/// A number for every dimension of an image.
///
/// In JSON nested as rows of columns, or as channels of these if there are several; a number that is not finite is
/// null.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// Size of the image.
    pub shape: ImageShape,
    /// In channel, row, column order.
    pub values: Vec<f32>,
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.shape.channels() == 1 {
            return Rows(&self.values, self.shape.width()).serialize(serializer);
        }
        let planes = self.values.chunks(self.shape.pixels());
        let mut list = serializer.serialize_seq(Some(planes.len()))?;
        for plane in planes {
            list.serialize_element(&Rows(plane, self.shape.width()))?;
        }
        list.end()
    }
}

/// A plane as a list of rows.
struct Rows<'a>(&'a [f32], usize);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.chunks(self.1))
    }
}

impl JsonSchema for Map {
    fn schema_name() -> Cow<'static, str> {
        "Map".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({"type": ["number", "null"]});
        let row = json_schema!({"type": "array", "items": number});
        let plane = json_schema!({"type": "array", "items": row});
        json_schema!({
            "description": "A number for every dimension: rows of columns, or channels of rows of columns if there are \
                several channels. A number that JSON cannot express is null.",
            "anyOf": [plane, {"type": "array", "items": plane}]
        })
    }
}

/// Values by the names of labels, in the order of their numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct ByLabel<T> {
    names: Arc<[Arc<str>]>,
    values: Vec<T>,
    is_told: bool,
}

impl<T> ByLabel<T> {
    /// Pairs names with values.
    pub fn new(names: &Arc<[Arc<str>]>, values: impl IntoIterator<Item = T>) -> Self {
        Self {
            names: Arc::clone(names),
            values: values.into_iter().collect(),
            is_told: true,
        }
    }

    /// The same, for tensors alone: JSON says something else instead.
    #[must_use]
    pub fn untold(self) -> Self {
        Self { is_told: false, ..self }
    }

    /// Whether JSON goes without it.
    pub fn is_untold(&self) -> bool {
        !self.is_told
    }

    /// The values, in the order of the labels' numbers.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The same.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }
}

impl<T: Serialize> Serialize for ByLabel<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (name, value) in self.names.iter().zip(&self.values) {
            map.serialize_entry(name.as_ref(), value)?;
        }
        map.end()
    }
}

impl<T: JsonSchema> JsonSchema for ByLabel<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ByLabelOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": generator.subschema_for::<T>()})
    }
}

/// A number that may be infinite, which in JSON is null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number(pub f64);

impl Number {
    /// The number, if it is finite.
    pub fn finite(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self(value)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.finite().serialize(serializer)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["number", "null"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_nest_and_hold_no_number_that_json_lacks() {
        let text = |channels, values: Vec<f32>| {
            let shape = ImageShape::new(channels, 1, 2, 256).unwrap();
            serde_json::to_string(&Map { shape, values }).unwrap()
        };
        assert_eq!(text(1, vec![-1.5, f32::NEG_INFINITY]), "[[-1.5,null]]");
        assert_eq!(
            text(3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            "[[[1.0,2.0]],[[3.0,4.0]],[[5.0,6.0]]]"
        );
    }
}

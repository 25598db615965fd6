//! One option's value: text that is read as whatever the option is, or JSON that has a type already.

use std::fmt;

use serde::{
    de::{Deserializer, Error as _, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

use crate::model::refusal::clip;

/// A value as it came.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// From a query, a form or a flag: text that is read as whatever the option is.
    Text(String),
    /// From a JSON body: typed already.
    Json(serde_json::Value),
}

/// Why a value is not what the option takes.
#[derive(Debug)]
pub struct ValueError(String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        // Messages repeat what a client sent, at whatever length.
        let text = message.to_string();
        Self(text.chars().take(200).collect())
    }
}

impl Value {
    /// The number that the value is or reads as.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Json(value) => value.as_f64(),
        }
    }

    /// Whether two values of an option say the same.
    pub(super) fn means(&self, other: &Self) -> bool {
        let text = |value: &Self| match value {
            Self::Text(text) => text.trim().to_lowercase(),
            Self::Json(serde_json::Value::String(text)) => text.trim().to_lowercase(),
            Self::Json(value) => value.to_string(),
        };
        match (self.as_number(), other.as_number()) {
            (Some(a), Some(b)) => a == b,
            _ => text(self) == text(other),
        }
    }

    fn parse<T: std::str::FromStr>(text: &str, wanted: &str) -> Result<T, ValueError> {
        text.trim()
            .parse()
            .map_err(|_| ValueError(format!("{:?} is not {wanted}", clip(text))))
    }

    /// A whole number, also where it is written with a point: `3.0`.
    fn whole(text: &str, wanted: &str) -> Result<i128, ValueError> {
        let whole = text.trim().trim_end_matches('0').strip_suffix('.');
        let text = whole.filter(|_| text.contains('.')).unwrap_or(text);
        Self::parse(text, wanted)
    }
}

/// The JSON number as it is, or as the whole number that it is equal to.
fn whole_json(value: serde_json::Value) -> serde_json::Value {
    match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < 9e15 => {
            serde_json::Value::from(number as i64)
        }
        _ => value,
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self {
                Self::Text(text) => {
                    let number = Self::whole(&text, $wanted)?;
                    let number = <$type>::try_from(number);
                    let outside = |_| ValueError(format!("{:?} is not {}", clip(&text), $wanted));
                    visitor.$visit(number.map_err(outside)?)
                }
                Self::Json(value) => whole_json(value).$method(visitor).map_err(ValueError::custom),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value {
    type Error = ValueError;

    whole_numbers! {
        deserialize_u8 visit_u8 u8, "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16, "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32, "a whole number from 0 to 4294967295";
        deserialize_u64 visit_u64 u64, "a whole number from 0 to 18446744073709551615";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) => visitor.visit_bool(Self::parse(&text.to_lowercase(), "true or false")?),
            Self::Json(value) => value.deserialize_bool(visitor).map_err(ValueError::custom),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) => visitor.visit_f64(Self::parse(&text, "a number")?),
            Self::Json(value) => value.deserialize_f64(visitor).map_err(ValueError::custom),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Json(serde_json::Value::Null) => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) if variants.contains(&text.as_str()) => {
                let variant: serde::de::value::StringDeserializer<ValueError> = text.into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            Self::Json(serde_json::Value::String(text)) => Self::Text(text).deserialize_enum(name, variants, visitor),
            Self::Text(text) => Err(ValueError(format!(
                "{:?} is not one of: {}",
                clip(&text),
                variants.join(", ")
            ))),
            Self::Json(_) => Err(ValueError(format!("must be text, one of: {}", variants.join(", ")))),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) => visitor.visit_string(text),
            Self::Json(value) => value.deserialize_any(visitor).map_err(ValueError::custom),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

//! One option's value: text that is read as whatever the option is, or JSON that has a type already.

use std::fmt;

use serde::{
    de::{Deserializer, Error as _, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

use super::short;

/// A value as it came.
#[derive(Debug)]
pub(super) enum Value {
    /// From a query or a form: text that is read as whatever the option is.
    Text(String),
    /// From a JSON body: typed already.
    Json(serde_json::Value),
}

/// Why a value is not what the option takes.
#[derive(Debug)]
pub(super) struct ValueError(pub(super) String);

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ValueError {}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Value {
    fn parse<T: std::str::FromStr>(text: &str, wanted: &str) -> Result<T, ValueError> {
        text.trim()
            .parse()
            .map_err(|_| ValueError(format!("{:?} is not {wanted}", short(text))))
    }
}

macro_rules! text_or_json {
    ($($method:ident $visit:ident $wanted:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self {
                Self::Text(text) => visitor.$visit(Self::parse(&text, $wanted)?),
                Self::Json(value) => value.$method(visitor).map_err(ValueError::custom),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value {
    type Error = ValueError;

    text_or_json! {
        deserialize_bool visit_bool "true or false"
        deserialize_u8 visit_u8 "a whole number from 0 to 255"
        deserialize_u16 visit_u16 "a whole number from 0 to 65535"
        deserialize_u32 visit_u32 "a whole number from 0 to 4294967295"
        deserialize_u64 visit_u64 "a whole number from 0 to 18446744073709551615"
        deserialize_i8 visit_i8 "a whole number"
        deserialize_i16 visit_i16 "a whole number"
        deserialize_i32 visit_i32 "a whole number"
        deserialize_i64 visit_i64 "a whole number"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Json(serde_json::Value::Null) => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) if variants.contains(&text.as_str()) => {
                let variant: serde::de::value::StringDeserializer<ValueError> =
                    text.into_deserializer();
                variant.deserialize_enum(name, variants, visitor)
            }
            Self::Json(serde_json::Value::String(text)) => {
                Self::Text(text).deserialize_enum(name, variants, visitor)
            }
            Self::Text(text) => Err(ValueError(format!(
                "{:?} is not one of: {}",
                short(&text),
                variants.join(", ")
            ))),
            Self::Json(_) => Err(ValueError(format!(
                "must be text, one of: {}",
                variants.join(", ")
            ))),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self {
            Self::Text(text) => visitor.visit_string(text),
            Self::Json(value) => value.deserialize_any(visitor).map_err(ValueError::custom),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct newtype_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

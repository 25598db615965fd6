//! Options of a request, wherever they came from: the query, the fields of a form, the keys of a JSON body, flags, or
//! parameters of another protocol.
//!
//! All of them read into the same structs. A name that no option has is refused at once, with the names that there are,
//! because a misspelt `false_alarm_rate` that was ignored would be a wrong answer without a word. Names, defaults and
//! bounds are those of the struct's JSON schema; nothing declares them a second time.

use std::{sync::Arc, time::Duration};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{
    Deserialize,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};

use crate::model::{Refusal, refusal::clip};

mod value;

pub use self::value::{Value, ValueError};

/// The names that options may have, with their bounds.
#[derive(Debug)]
pub struct Known {
    /// JSON schemas of the options, by name.
    properties: serde_json::Map<String, serde_json::Value>,
}

/// The options that a struct declares.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.into_generator().into_root_schema_for::<T>()
}

impl Known {
    /// The options of several structs together.
    pub fn of(schemas: &[&Schema]) -> Arc<Self> {
        let mut properties = serde_json::Map::new();
        for schema in schemas {
            if let Some(own) = schema.get("properties").and_then(|own| own.as_object()) {
                properties.extend(own.clone());
            }
        }
        Arc::new(Self { properties })
    }

    /// Names and schemas, in order of declaration.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &serde_json::Value)> {
        self.properties.iter().map(|(name, schema)| (name.as_str(), schema))
    }

    fn list(&self) -> String {
        if self.properties.is_empty() {
            return "there are none".to_owned();
        }
        let names: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        format!("there are: {}", names.join(", "))
    }

    /// Refuses a number outside the bounds of its option.
    fn check_bounds(&self, name: &str, value: &Value) -> Result<(), Refusal> {
        let (Some(schema), Some(number)) = (self.properties.get(name), value.as_number()) else {
            return Ok(());
        };
        let bound = |key: &str| schema.get(key).and_then(serde_json::Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
        let inside = least.is_none_or(|least| number >= least)
            && most.is_none_or(|most| number <= most)
            && above.is_none_or(|above| number > above)
            && below.is_none_or(|below| number < below);
        if inside {
            return Ok(());
        }
        let mut wanted = Vec::new();
        wanted.extend(above.map(|above| format!("above {above}")));
        wanted.extend(least.map(|least| format!("at least {least}")));
        wanted.extend(below.map(|below| format!("below {below}")));
        wanted.extend(most.map(|most| format!("at most {most}")));
        let reason = format!("{number} is not {}", wanted.join(" and "));
        Err(Refusal::option(name.to_owned(), reason))
    }
}

/// Options as they came, not yet understood.
#[derive(Debug)]
pub struct RawOptions {
    known: Arc<Known>,
    given: Vec<(String, Value)>,
}

impl RawOptions {
    /// None yet, of those that may be given.
    pub fn new(known: Arc<Known>) -> Self {
        Self {
            known,
            given: Vec::new(),
        }
    }

    /// Adds an option given as text.
    pub fn add_text(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        self.add(name, Value::Text(value))
    }

    /// Adds an option given as JSON.
    pub fn add_json(&mut self, name: &str, value: serde_json::Value) -> Result<(), Refusal> {
        self.add(name, Value::Json(value))
    }

    /// Adds an option. The same value given twice is accepted; there are no more options than known names.
    pub fn add(&mut self, name: &str, value: Value) -> Result<(), Refusal> {
        if !self.known.properties.contains_key(name) {
            let reason = format!("there is no such option here; {}", self.known.list());
            return Err(Refusal::option(clip(name), reason));
        }
        self.known.check_bounds(name, &value)?;
        match self.given.iter().find(|(other, _)| other == name) {
            Some((_, other)) if other.means(&value) => Ok(()),
            Some(_) => Err(Refusal::option(
                name.to_owned(),
                "given twice, with different values; give it once",
            )),
            None => {
                self.given.push((name.to_owned(), value));
                Ok(())
            }
        }
    }

    /// Whether there is an option of that name.
    pub fn knows(&self, name: &str) -> bool {
        self.known.properties.contains_key(name)
    }

    /// Understands, as the fields of `T`, those options that `T` declares, and leaves the others.
    pub fn take<T: DeserializeOwned>(&mut self, schema: &Schema) -> Result<T, Refusal> {
        let names = schema.get("properties").and_then(|own| own.as_object());
        let (own, rest) = std::mem::take(&mut self.given)
            .into_iter()
            .partition(|(name, _)| names.is_some_and(|names| names.contains_key(name)));
        self.given = rest;
        let mut current = None;
        let fields = Fields {
            given: own,
            current: &mut current,
        };
        T::deserialize(fields).map_err(|error| match current {
            Some(name) => Refusal::option(name, error),
            None => Refusal::option("options", error),
        })
    }
}

/// A number of seconds that a client gave.
pub fn seconds(option: &'static str, seconds: f64) -> Result<Duration, Refusal> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Refusal::option(option, format!("{seconds} is not a number of seconds above 0")))
}

/// The options as the fields of a struct.
struct Fields<'a> {
    given: Vec<(String, Value)>,
    /// The option being read, for messages.
    current: &'a mut Option<String>,
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_map(Entries {
            rest: self.given.into_iter(),
            value: None,
            current: self.current,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
    current: &'a mut Option<String>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ValueError> {
        let Some((name, value)) = self.rest.next() else {
            *self.current = None;
            return Ok(None);
        };
        let key = seed.deserialize(name.as_str().into_deserializer())?;
        *self.current = Some(name);
        self.value = Some(value);
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ValueError> {
        let value = self
            .value
            .take()
            .ok_or_else(|| ValueError::custom("a value without a name"))?;
        seed.deserialize(value)
    }
}

/// An operation without options of its own.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct NoOptions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        Mean,
        Sample,
    }

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Wanted {
        #[schemars(range(min = 1, max = 4096))]
        k: Option<u32>,
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        rate: Option<f64>,
        #[serde(default)]
        map: bool,
        kind: Option<Choice>,
    }

    fn parse(given: &[(&str, Value)]) -> Result<Wanted, String> {
        let schema = schema_of::<Wanted>();
        let mut options = RawOptions::new(Known::of(&[&schema]));
        for (name, value) in given {
            options
                .add(name, value.clone())
                .map_err(|refusal| refusal.to_string())?;
        }
        options.take(&schema).map_err(|refusal| refusal.to_string())
    }

    fn query(text: &str) -> Result<Wanted, String> {
        let given: Vec<_> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, Value::Text(value.to_owned())))
            .collect();
        parse(&given)
    }

    fn json(text: &str) -> Result<Wanted, String> {
        let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        let given: Vec<_> = keys
            .iter()
            .map(|(name, value)| (name.as_str(), Value::Json(value.clone())))
            .collect();
        parse(&given)
    }

    #[test]
    fn text_and_json_mean_the_same() {
        let wanted = || Wanted {
            k: Some(64),
            rate: Some(0.5),
            map: true,
            kind: Some(Choice::Sample),
        };
        for text in [
            "k=64&rate=0.5&map=true&kind=sample",
            "k=64.0&rate=.5&map=True&kind=sample&k=64",
        ] {
            assert_eq!(query(text), Ok(wanted()));
        }
        for text in [
            r#"{"k": 64, "rate": 0.5, "map": true, "kind": "sample"}"#,
            r#"{"k": 64.0, "rate": 0.5, "map": true, "kind": "sample"}"#,
        ] {
            assert_eq!(json(text), Ok(wanted()));
        }
        let nothing = Wanted {
            k: None,
            rate: None,
            map: false,
            kind: None,
        };
        assert_eq!(query(""), Ok(nothing));
        assert_eq!(json(r#"{"k": null}"#).unwrap().k, None);
        let twice = parse(&[
            ("k", Value::Text("64".to_owned())),
            ("k", Value::Json(serde_json::json!(64))),
        ]);
        assert_eq!(twice.unwrap().k, Some(64));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let long = format!("{}=1", "x".repeat(1000));
        for (text, parts) in [
            ("k=abc", &["k:", "\"abc\"", "whole number"][..]),
            ("k=0", &["k:", "at least 1 and at most 4096"]),
            ("k=1.5", &["k:", "\"1.5\"", "whole number"]),
            ("k=5000", &["k:", "at most 4096"]),
            ("rate=0", &["rate:", "above 0 and below 1"]),
            ("rate=much", &["rate:", "a number"]),
            ("map=yes", &["map:", "true or false"]),
            ("kind=median", &["kind:", "mean, sample"]),
            ("rat=0.1", &["rat:", "k, rate, map, kind"]),
            ("k=1&k=2", &["k:", "twice"]),
            (&long, &["there are: k"]),
        ] {
            let message = query(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
            }
            assert!(message.len() < 200, "{message}");
        }
        for (text, parts) in [
            (r#"{"k": "64"}"#, &["k:", "u32"][..]),
            (r#"{"k": 1.5}"#, &["k:", "1.5"]),
            (r#"{"kind": 3}"#, &["kind:", "mean, sample"]),
            (r#"{"kind": "x"}"#, &["kind:", "mean, sample"]),
            (r#"{"false_alarm": 1}"#, &["false_alarm:", "rate"]),
        ] {
            let message = json(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
            }
        }
    }
}

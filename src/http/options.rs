//! Options of a request, wherever they came from: the query, the fields of a form, or the keys of a JSON body.
//!
//! All three read into the same structs. A name that no option has is refused with the names that there are, because a
//! misspelt `false_alarm_rate` that was ignored would be a wrong answer without a word.

use std::time::Duration;

use serde::{
    Deserialize,
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
        Visitor,
    },
    forward_to_deserialize_any,
};

use super::problem::Problem;

mod value;

use self::value::{Value, ValueError};

/// Options as they came, not yet understood.
#[derive(Debug, Default)]
pub(crate) struct Options {
    given: Vec<(String, Value)>,
    /// Names of options that were understood apart from the others, to be listed with them.
    common: Vec<&'static str>,
}

impl Options {
    /// The options of a query string.
    pub(crate) fn from_query(query: Option<&str>) -> Result<Self, Problem> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            options.add_text(name.into_owned(), value.into_owned())?;
        }
        Ok(options)
    }

    /// Adds an option given as text.
    pub(crate) fn add_text(&mut self, name: String, value: String) -> Result<(), Problem> {
        self.add(name, Value::Text(value))
    }

    /// Adds an option given as JSON.
    pub(crate) fn add_json(
        &mut self,
        name: String,
        value: serde_json::Value,
    ) -> Result<(), Problem> {
        self.add(name, Value::Json(value))
    }

    fn add(&mut self, name: String, value: Value) -> Result<(), Problem> {
        if self.given.iter().any(|(other, _)| *other == name) {
            return Err(Problem::option(&short(&name), "given twice; give it once"));
        }
        self.given.push((name, value));
        Ok(())
    }

    /// Takes one option out, to be understood apart from the others.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        if !self.common.contains(&name) {
            self.common.push(name);
        }
        let Some(place) = self.given.iter().position(|(given, _)| given == name) else {
            return Ok(None);
        };
        let (_, value) = self.given.swap_remove(place);
        T::deserialize(value)
            .map(Some)
            .map_err(|error| Problem::option(name, error))
    }

    /// Takes the time limit that a client asks for, in seconds.
    pub(crate) fn take_timeout(&mut self) -> Result<Option<Duration>, Problem> {
        let seconds: Option<f64> = self.take("timeout")?;
        seconds
            .map(|seconds| seconds_to_duration("timeout", seconds))
            .transpose()
    }

    /// Understands all remaining options as the fields of `T`.
    pub(crate) fn parse<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let mut current = None;
        let fields = Fields {
            options: self,
            current: &mut current,
        };
        T::deserialize(fields).map_err(|error| match current {
            Some(name) => Problem::option(&name, error),
            None => Problem::option("options", error),
        })
    }
}

/// A number of seconds that a client gave.
pub(crate) fn seconds_to_duration(option: &str, seconds: f64) -> Result<Duration, Problem> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            Problem::option(
                option,
                format!("{seconds} is not a number of seconds above 0"),
            )
        })
}

/// Cuts what a client made up to a length that fits into a message.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= 40 {
        return text.to_owned();
    }
    text.chars().take(40).chain(['…']).collect()
}

/// The options as the fields of a struct.
struct Fields<'a> {
    options: Options,
    /// The option being read, for messages.
    current: &'a mut Option<String>,
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = ValueError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let given = &self.options.given;
        if let Some((name, _)) = given
            .iter()
            .find(|(name, _)| !fields.contains(&name.as_str()))
        {
            let common = &self.options.common;
            let known: Vec<_> = fields.iter().chain(common).copied().collect();
            *self.current = Some(short(name));
            if common.contains(&name.as_str()) {
                let reason = "this option belongs into the query, because it is needed before the body is read";
                return Err(ValueError(reason.to_owned()));
            }
            return Err(ValueError(if known.is_empty() {
                "there is no such option here; there are none".to_owned()
            } else {
                format!(
                    "there is no such option here; there are: {}",
                    known.join(", ")
                )
            }));
        }
        visitor.visit_map(Entries {
            rest: self.options.given.into_iter(),
            value: None,
            current: self.current,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, ValueError> {
        Err(ValueError::custom("options are the fields of a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'a> {
    rest: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
    current: &'a mut Option<String>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        let Some((name, value)) = self.rest.next() else {
            *self.current = None;
            return Ok(None);
        };
        let key = seed.deserialize(name.as_str().into_deserializer())?;
        *self.current = Some(name);
        self.value = Some(value);
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ValueError> {
        let value = self
            .value
            .take()
            .ok_or_else(|| ValueError::custom("a value without a name"))?;
        seed.deserialize(value)
    }
}

/// An endpoint without options of its own.
#[derive(Debug, Deserialize)]
pub(crate) struct NoOptions {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Mean,
        Sample,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Wanted {
        k: Option<u32>,
        rate: Option<f64>,
        #[serde(default)]
        map: bool,
        kind: Option<Kind>,
    }

    fn query(text: &str) -> Result<Wanted, String> {
        let mut options = Options::from_query(Some(text)).map_err(|p| detail(&p))?;
        options.take_timeout().map_err(|p| detail(&p))?;
        options.parse().map_err(|p| detail(&p))
    }

    fn json(text: &str) -> Result<Wanted, String> {
        let mut options = Options::default();
        let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
        for (name, value) in keys {
            options.add_json(name, value).map_err(|p| detail(&p))?;
        }
        options.parse().map_err(|p| detail(&p))
    }

    fn detail(problem: &Problem) -> String {
        assert_eq!(problem.status(), 422);
        let body = serde_json::to_value(problem.body("x")).unwrap();
        body["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn queries_and_json_mean_the_same() {
        let wanted = Wanted {
            k: Some(64),
            rate: Some(0.01),
            map: true,
            kind: Some(Kind::Sample),
        };
        assert_eq!(
            query("k=64&rate=0.01&map=true&kind=sample&timeout=3"),
            Ok(wanted)
        );
        let wanted = Wanted {
            k: Some(64),
            rate: Some(1.0),
            map: false,
            kind: Some(Kind::Mean),
        };
        assert_eq!(
            json(r#"{"k": 64, "rate": 1, "map": false, "kind": "mean"}"#),
            Ok(wanted)
        );
        let nothing = Wanted {
            k: None,
            rate: None,
            map: false,
            kind: None,
        };
        assert_eq!(query(""), Ok(nothing));
        assert_eq!(json(r#"{"k": null}"#).unwrap().k, None);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (text, parts) in [
            ("k=abc", &["k:", "\"abc\"", "whole number"][..]),
            ("k=-1", &["k:", "\"-1\"", "whole number"]),
            ("k=5000000000", &["k:", "4294967295"]),
            ("rate=much", &["rate:", "a number"]),
            ("map=yes", &["map:", "true or false"]),
            ("kind=median", &["kind:", "mean, sample"]),
            ("rat=0.1", &["rat:", "k, rate, map, kind, timeout"]),
            ("k=1&k=2", &["k:", "twice"]),
            ("timeout=-3", &["timeout:", "above 0"]),
            ("timeout=NaN", &["timeout:"]),
            ("timeout=1e300", &["timeout:"]),
        ] {
            let message = query(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
            }
        }
        for (text, parts) in [
            (r#"{"k": "64"}"#, &["k:", "u32"][..]),
            (r#"{"k": 1.5}"#, &["k:", "1.5"]),
            (r#"{"k": -1}"#, &["k:", "-1"]),
            (r#"{"kind": 3}"#, &["kind:", "mean, sample"]),
            (r#"{"kind": "x"}"#, &["kind:", "mean, sample"]),
            (r#"{"false_alarm": 1}"#, &["false_alarm:", "rate"]),
        ] {
            let message = json(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{text}: {message:?} lacks {part:?}");
            }
        }
        let long = format!("{}=1", "x".repeat(1000));
        assert!(query(&long).unwrap_err().len() < 200);
    }
}

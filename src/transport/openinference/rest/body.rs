//! The body of a request: JSON, and the bytes of tensors behind it in the order in which JSON lists them.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    model::{Kind, Refusal, refusal::clip},
    transport::openinference::{
        data::{Data, InputTensor},
        request::take,
        signature::Declared,
    },
};

/// The most axes of a tensor; none that is taken has more than four.
const MAX_AXES: usize = 8;

/// A body taken apart.
pub(super) struct Body {
    pub(super) id: Option<String>,
    pub(super) parameters: Vec<(String, Value)>,
    pub(super) inputs: Vec<InputTensor>,
    pub(super) outputs: Outputs,
}

/// Which outputs are wanted, and which of them as bytes.
pub(super) struct Outputs {
    named: Vec<(String, bool)>,
    /// For those that are not named.
    binary: bool,
}

impl Outputs {
    /// Those that are named.
    pub(super) fn names(&self) -> Vec<String> {
        self.named.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether an output is wanted as bytes.
    pub(super) fn is_binary(&self, output: &str) -> bool {
        let named = self.named.iter().find(|(name, _)| name == output);
        named.map_or(self.binary, |(_, binary)| *binary)
    }
}

#[derive(Deserialize)]
struct RequestJson {
    id: Option<String>,
    parameters: Option<Parameters>,
    #[serde(default)]
    inputs: Vec<InputJson>,
    outputs: Option<Vec<OutputJson>>,
}

#[derive(Deserialize)]
struct InputJson {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    parameters: Option<Parameters>,
    data: Option<Flat>,
}

#[derive(Deserialize)]
struct OutputJson {
    name: String,
    parameters: Option<Parameters>,
}

impl Body {
    /// A body that is one tensor, for one image; the answer is bytes too.
    pub(super) fn raw(bytes: Bytes, declared: &Declared) -> Self {
        // One string needs no length before it.
        let data = match declared.datatype {
            crate::operations::tensor::Datatype::Bytes => Data::Strings(vec![bytes]),
            _ => Data::Raw(bytes),
        };
        Self {
            id: None,
            parameters: Vec::new(),
            inputs: vec![InputTensor {
                name: declared.name.to_owned(),
                datatype: declared.datatype.name().to_owned(),
                shape: declared.shape.clone(),
                data,
            }],
            outputs: Outputs {
                named: Vec::new(),
                binary: true,
            },
        }
    }

    /// A body that is JSON, of the given length if bytes follow.
    pub(super) fn read(bytes: &Bytes, json_length: Option<usize>) -> Result<Self, Refusal> {
        let length = json_length.unwrap_or(bytes.len());
        if length > bytes.len() {
            return Err(malformed(format!(
                "the body has {} bytes, of which {length} are said to be JSON",
                bytes.len()
            )));
        }
        let mut rest = bytes.slice(length..);
        let json: RequestJson = serde_json::from_slice(&bytes[..length]).map_err(|error| {
            let text: String = error.to_string().chars().take(200).collect();
            malformed(format!("the JSON body cannot be read: {text}"))
        })?;
        let Parameters(mut parameters) = json.parameters.unwrap_or_default();
        let binary = flag(&mut parameters, "binary_data_output")?.unwrap_or(false);
        let inputs = json.inputs.into_iter().map(|input| input.read(&mut rest));
        let inputs = inputs.collect::<Result<_, _>>()?;
        if !rest.is_empty() {
            return Err(malformed(format!(
                "{} bytes behind the JSON belong to no input",
                rest.len()
            )));
        }
        let named = json.outputs.unwrap_or_default().into_iter().map(|output| {
            let Parameters(mut parameters) = output.parameters.unwrap_or_default();
            let own = flag(&mut parameters, "binary_data")?.unwrap_or(binary);
            nothing_else(&parameters)?;
            Ok((output.name, own))
        });
        Ok(Self {
            id: json.id.filter(|id| !id.is_empty()),
            parameters,
            inputs,
            outputs: Outputs {
                named: named.collect::<Result<_, Refusal>>()?,
                binary,
            },
        })
    }
}

impl InputJson {
    fn read(self, rest: &mut Bytes) -> Result<InputTensor, Refusal> {
        let name = clip(&self.name);
        if self.shape.len() > MAX_AXES {
            return Err(malformed(format!("input {name:?} has more than {MAX_AXES} axes")));
        }
        let Parameters(mut parameters) = self.parameters.unwrap_or_default();
        let size = take(&mut parameters, "binary_data_size")?;
        nothing_else(&parameters)?;
        let data = match (size, self.data) {
            (None, Some(flat)) => flat.into_data(),
            (Some(size), None) => {
                let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.filter(|&size| size <= rest.len()).ok_or_else(|| {
                    malformed(format!(
                        "input {name:?}: binary_data_size is no number of the {} bytes that are left",
                        rest.len()
                    ))
                })?;
                Data::Raw(rest.split_to(size))
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err(malformed(format!(
                    "input {name:?} needs either data or the parameter binary_data_size"
                )));
            }
        };
        Ok(InputTensor {
            name: self.name,
            datatype: self.datatype,
            shape: self.shape,
            data,
        })
    }
}

fn flag(parameters: &mut Vec<(String, Value)>, name: &'static str) -> Result<Option<bool>, Refusal> {
    match take(parameters, name)? {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(_) => Err(Refusal::option(name, "must be true or false")),
    }
}

/// A parameter that is not understood asks for something that would not be done.
fn nothing_else(parameters: &[(String, Value)]) -> Result<(), Refusal> {
    match parameters.first() {
        None => Ok(()),
        Some((name, _)) => Err(Refusal::new(
            Kind::Unsupported,
            format!("the parameter {:?} of a tensor is not supported", clip(name)),
        )),
    }
}

fn malformed(detail: String) -> Refusal {
    Refusal::new(Kind::Malformed, detail)
}

/// Parameters as they come: what is given twice is there twice.
#[derive(Debug, Default)]
struct Parameters(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Parameters {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a value for each parameter")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Self, A::Error> {
        while let Some(parameter) = object.next_entry()? {
            self.0.push(parameter);
        }
        Ok(self)
    }
}

/// Values of JSON, nested or flat, in order.
#[derive(Debug, Default)]
struct Flat {
    numbers: Vec<f64>,
    flags: Vec<bool>,
    texts: Vec<String>,
}

impl Flat {
    fn into_data(self) -> Data {
        if !self.texts.is_empty() {
            Data::Base64(self.texts)
        } else if !self.flags.is_empty() {
            Data::Flags(self.flags)
        } else {
            Data::Numbers(self.numbers)
        }
    }
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut flat = Self::default();
        Flatten(&mut flat).deserialize(deserializer)?;
        let kinds = [flat.numbers.is_empty(), flat.flags.is_empty(), flat.texts.is_empty()];
        if kinds.iter().filter(|empty| !**empty).count() > 1 {
            return Err(D::Error::custom("data mixes numbers, flags and text"));
        }
        Ok(flat)
    }
}

/// Puts one value, or a list of them, behind those that are there.
struct Flatten<'a>(&'a mut Flat);

impl<'de> DeserializeSeed<'de> for Flatten<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flatten<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, true and false, or text, in lists")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flatten(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.0.flags.push(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.numbers.push(value as f64);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.numbers.push(value as f64);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.numbers.push(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.texts.push(value.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, behind: &[u8]) -> Result<Body, Refusal> {
        let bytes = [json.as_bytes(), behind].concat();
        Body::read(&bytes.into(), Some(json.len()))
    }

    #[test]
    fn lists_are_flattened_whatever_their_nesting() {
        let data = |data: &str| {
            let json = format!(r#"{{"inputs": [{{"name": "x", "datatype": "UINT8", "shape": [4], "data": {data}}}]}}"#);
            read(&json, b"").map(|mut body| body.inputs.remove(0).data)
        };
        let numbers = Data::Numbers(vec![1.0, 2.0, -3.0, 4.5]);
        for same in ["[1, 2, -3, 4.5]", "[[1, 2], [-3, 4.5]]", "[[[1], [2]], [[-3, 4.5]]]"] {
            assert_eq!(data(same).unwrap(), numbers);
        }
        assert_eq!(data("[true, [false]]").unwrap(), Data::Flags(vec![true, false]));
        assert_eq!(data(r#"["YQ=="]"#).unwrap(), Data::Base64(vec!["YQ==".to_owned()]));
        for bad in ["[1, true]", "[null]", r#"[{"a": 1}]"#] {
            assert_eq!(data(bad).unwrap_err().kind(), Kind::Malformed, "{bad}");
        }
    }

    #[test]
    fn bytes_belong_to_inputs_in_order_and_none_is_left_over() {
        let json = r#"{"id": "", "model_name": "extra", "inputs": [
            {"name": "a", "datatype": "UINT8", "shape": [2], "parameters": {"binary_data_size": 2}},
            {"name": "b", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 1}}]}"#;
        let body = read(json, b"abc").unwrap();
        assert_eq!(body.id, None);
        let data: Vec<_> = body.inputs.iter().map(|input| input.data.clone()).collect();
        assert_eq!(data, [Data::Raw("ab".into()), Data::Raw("c".into())]);
        for wrong in [&b"ab"[..], b"abcd", b""] {
            assert_eq!(read(json, wrong).err().unwrap().kind(), Kind::Malformed);
        }
        for size in ["-1", "1.5", "\"1\"", "18446744073709551615", "null"] {
            let json = json.replace("size\": 2", &format!("size\": {size}"));
            assert!(read(&json, b"abc").is_err(), "{size}");
        }
        assert!(Body::read(&"{}".into(), Some(3)).is_err());
        assert!(Body::read(&"{}".into(), Some(usize::MAX)).is_err());
    }

    #[test]
    fn outputs_are_binary_where_it_is_said() {
        let json = r#"{"parameters": {"binary_data_output": true, "k": 4}, "outputs": [
            {"name": "a", "parameters": {"binary_data": false}}, {"name": "b"}]}"#;
        let body = read(json, b"").unwrap();
        assert_eq!(body.outputs.names(), ["a", "b"]);
        let binary = ["a", "b", "c"].map(|name| body.outputs.is_binary(name));
        assert_eq!(binary, [false, true, true]);
        assert_eq!(body.parameters, [("k".to_owned(), Value::from(4))]);
        let twice = r#"{"outputs": [{"name": "a", "parameters": {"binary_data": true, "binary_data": false}}]}"#;
        let refusal = read(twice, b"").err().unwrap();
        assert!(refusal.to_string().contains("given twice"), "{refusal}");
        let json = r#"{"outputs": [{"name": "a", "parameters": {"classification": 3}}]}"#;
        assert_eq!(read(json, b"").err().unwrap().kind(), Kind::Unsupported);
    }
}

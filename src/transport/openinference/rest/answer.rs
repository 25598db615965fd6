//! The body of an answer: JSON, and behind it the bytes of those tensors that were wanted so.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::body::Outputs;
use crate::{
    model::{Kind, Refusal},
    operations::{Tensor, tensor::Values},
    transport::openinference::{
        data::{binary_size, datatype, write_binary},
        request::Inferred,
    },
};

/// An answer as bytes.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    /// How many of them are JSON, if not all.
    pub(super) header_length: Option<usize>,
}

impl Written {
    pub(super) fn media_type(&self) -> &'static str {
        match self.header_length {
            None => "application/json",
            Some(_) => "application/octet-stream",
        }
    }
}

#[derive(Serialize)]
struct ResponseJson<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
    outputs: Vec<OutputJson<'a>>,
}

#[derive(Serialize)]
struct OutputJson<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    F64(&'a [f64]),
    F32(&'a [f32]),
    U8(&'a [u8]),
    Bool(&'a [bool]),
    Base64(Vec<String>),
}

/// About how many bytes there are to write.
pub(super) fn weight(inferred: &Inferred) -> usize {
    inferred.tensors.iter().map(binary_size).sum()
}

/// Writes an answer to a request for the model `name`.
pub(super) fn write(
    name: String,
    id: Option<String>,
    inferred: Inferred,
    outputs: &Outputs,
) -> Result<Written, Refusal> {
    let tensors = &inferred.tensors;
    let output = |tensor: &'_ Tensor| outputs.is_binary(tensor.name);
    let any_binary = tensors.iter().any(output);
    let json = ResponseJson {
        model_name: &name,
        model_version: inferred.model.version.to_string(),
        id,
        parameters: parameters(&inferred.notes),
        outputs: tensors
            .iter()
            .map(|tensor| describe(tensor, outputs.is_binary(tensor.name)))
            .collect::<Result<_, _>>()?,
    };
    let mut bytes = serde_json::to_vec(&json).map_err(Refusal::internal)?;
    let header_length = any_binary.then_some(bytes.len());
    for tensor in tensors.iter().filter(|tensor| outputs.is_binary(tensor.name)) {
        bytes.reserve(binary_size(tensor));
        write_binary(tensor, &mut bytes)?;
    }
    inferred.recording.written();
    Ok(Written { bytes, header_length })
}

/// What holds for an answer. The protocol has room for texts, numbers and flags.
fn parameters(notes: &[(&'static str, Value)]) -> Map<String, Value> {
    let parameter = |(name, value): &(&'static str, Value)| {
        let value = match value {
            Value::Array(_) | Value::Object(_) | Value::Null => Value::String(value.to_string()),
            scalar => scalar.clone(),
        };
        ((*name).to_owned(), value)
    };
    notes.iter().map(parameter).collect()
}

fn describe(tensor: &Tensor, binary: bool) -> Result<OutputJson<'_>, Refusal> {
    Ok(OutputJson {
        name: tensor.name,
        datatype: datatype(tensor).name(),
        shape: &tensor.shape,
        data: (!binary).then(|| data(tensor)).transpose()?,
        parameters: binary.then(|| json!({"binary_data_size": binary_size(tensor)})),
    })
}

fn data(tensor: &Tensor) -> Result<Data<'_>, Refusal> {
    let finite = |place: Option<usize>| match place {
        None => Ok(()),
        Some(place) => Err(Refusal::new(
            Kind::NotAcceptable,
            format!(
                "element {place} of output {:?} is not finite, which JSON cannot say; ask for it with \"binary_data\": \
                 true",
                tensor.name
            ),
        )),
    };
    Ok(match &tensor.values {
        Values::F64(values) => {
            finite(values.iter().position(|value| !value.is_finite()))?;
            Data::F64(values)
        }
        Values::F32(values) => {
            finite(values.iter().position(|value| !value.is_finite()))?;
            Data::F32(values)
        }
        Values::U8(values) => Data::U8(values),
        Values::Bool(values) => Data::Bool(values),
        Values::Bytes(strings) => {
            use base64::prelude::{BASE64_STANDARD, Engine};
            let encode = |string: &Vec<u8>| BASE64_STANDARD.encode(string);
            Data::Base64(strings.iter().map(encode).collect())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_never_json() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let tensor = Tensor::numbers("x", [0.0, bad]);
            let refusal = describe(&tensor, false).err().unwrap();
            assert_eq!(refusal.kind(), Kind::NotAcceptable);
            assert!(describe(&tensor, true).is_ok());
        }
    }

    #[test]
    fn numbers_of_json_are_the_numbers_of_the_tensor() {
        let values = [0.1, -1.0 / 3.0, 1e-310, f64::MAX];
        let tensor = Tensor::numbers("x", values);
        let json = serde_json::to_value(describe(&tensor, false).unwrap()).unwrap();
        let back: Vec<f64> = serde_json::from_value(json["data"].clone()).unwrap();
        assert_eq!(back, values);
        assert!(json.get("parameters").is_none());
    }
}

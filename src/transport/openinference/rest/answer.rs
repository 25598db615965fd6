//! The body of an answer: JSON, and behind it the bytes of those tensors that were wanted so.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::body::Outputs;
use crate::{
    model::{Kind, Refusal},
    operations::{Tensor, tensor::Values},
    transport::openinference::{
        data::{binary_size, datatype, write_binary},
        request::Inferred,
    },
};

/// Bytes of JSON that suffice for most answers.
const USUAL_JSON: usize = 512;

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
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "parameters")]
    parameters: &'a [(&'static str, Value)],
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
    parameters: Option<OutputParameters>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
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
    let binary = || tensors.iter().filter(|tensor| outputs.is_binary(tensor.name));
    let binary_bytes: usize = binary().map(binary_size).sum();
    let json = ResponseJson {
        model_name: &name,
        model_version: inferred.model.version.to_string(),
        id,
        parameters: &inferred.notes,
        outputs: tensors
            .iter()
            .map(|tensor| describe(tensor, outputs.is_binary(tensor.name)))
            .collect::<Result<_, _>>()?,
    };
    let mut bytes = Vec::with_capacity(USUAL_JSON + binary_bytes);
    serde_json::to_writer(&mut bytes, &json).map_err(Refusal::internal)?;
    let header_length = binary().next().map(|_| bytes.len());
    for tensor in binary() {
        write_binary(tensor, &mut bytes)?;
    }
    inferred.recording.written();
    Ok(Written { bytes, header_length })
}

/// What holds for an answer. The protocol has room for texts, numbers and flags.
fn parameters<S: Serializer>(notes: &[(&'static str, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(notes.iter().map(|(name, value)| {
        let value = match value {
            Value::Array(_) | Value::Object(_) | Value::Null => Cow::Owned(Value::String(value.to_string())),
            scalar => Cow::Borrowed(scalar),
        };
        (name, value)
    }))
}

fn describe(tensor: &Tensor, binary: bool) -> Result<OutputJson<'_>, Refusal> {
    Ok(OutputJson {
        name: tensor.name,
        datatype: datatype(tensor).name(),
        shape: &tensor.shape,
        data: (!binary).then(|| data(tensor)).transpose()?,
        parameters: binary.then(|| OutputParameters {
            binary_data_size: binary_size(tensor),
        }),
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

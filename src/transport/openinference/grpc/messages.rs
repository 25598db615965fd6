//! Messages of the protocol over gRPC, from and to what requests and answers are here.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::{
    super::{
        counters,
        data::{Data, InputTensor, binary_size, datatype, write_binary},
        documents,
        request::Inferred,
    },
    Parameters,
};
use crate::{
    model::{Kind, Refusal, refusal::clip},
    transport::rpc::inference::{
        infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor, *,
    },
};

/// What says in a stream that no more comes of a request.
pub(super) const END: &str = "triton_final_response";

/// Whether a client of a stream waits for the word that no more comes of its request. There is one answer to each.
pub(super) fn wants_end(parameters: &Parameters) -> bool {
    parameters.get("triton_enable_empty_final_response") == Some(&flag(true))
}

pub(super) fn flag(flag: bool) -> InferParameter {
    InferParameter {
        parameter_choice: Some(ParameterChoice::BoolParam(flag)),
    }
}

pub(super) fn parameter((name, value): (String, InferParameter)) -> Result<(String, Value), Refusal> {
    let value = match value.parameter_choice {
        Some(ParameterChoice::BoolParam(flag)) => flag.into(),
        Some(ParameterChoice::Int64Param(number)) => number.into(),
        Some(ParameterChoice::Uint64Param(number)) => number.into(),
        Some(ParameterChoice::StringParam(text)) => text.into(),
        Some(ParameterChoice::DoubleParam(number)) => {
            let number = serde_json::Number::from_f64(number);
            number
                .map(Value::Number)
                .ok_or_else(|| Refusal::option(clip(&name), "the number has to be finite"))?
        }
        None => Value::Null,
    };
    Ok((name, value))
}

/// Parameters of loading and unloading. Files and configurations are among those that are not understood, so that only
/// their names matter.
pub(super) fn wanted(parameters: HashMap<String, ModelRepositoryParameter>) -> impl Iterator<Item = (String, Value)> {
    parameters.into_iter().map(|(name, value)| {
        let value = match value.parameter_choice {
            Some(model_repository_parameter::ParameterChoice::BoolParam(flag)) => Value::Bool(flag),
            _ => Value::Null,
        };
        (name, value)
    })
}

/// A parameter that is not understood asks for something that would not be done.
pub(super) fn nothing_asked(parameters: &Parameters, but: &[&str]) -> Result<(), Refusal> {
    match parameters.keys().find(|name| !but.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refusal::new(
            Kind::Unsupported,
            format!("the parameter {:?} of a tensor is not supported", clip(name)),
        )),
    }
}

/// The tensors of a request: all with raw contents, or none.
pub(super) fn tensors(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Vec<InputTensor>, Refusal> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(Refusal::new(
            Kind::Malformed,
            format!("{} raw contents came for {} inputs", raw.len(), inputs.len()),
        ));
    }
    let mut raw = raw.into_iter();
    let tensor = |input: InferInputTensor| {
        nothing_asked(&input.parameters, &["binary_data_size"])?;
        let data = match (raw.next(), input.contents) {
            (Some(bytes), None) => Data::Raw(bytes),
            (None, Some(contents)) => values(contents),
            (None, None) => Data::Numbers(Vec::new()),
            (Some(_), Some(_)) => {
                return Err(Refusal::new(
                    Kind::Malformed,
                    format!("input {:?} has two contents", clip(&input.name)),
                ));
            }
        };
        Ok(InputTensor {
            name: input.name,
            datatype: input.datatype,
            shape: input.shape,
            data,
        })
    };
    inputs.into_iter().map(tensor).collect()
}

fn values(contents: InferTensorContents) -> Data {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    if !bytes_contents.is_empty() {
        return Data::Strings(bytes_contents);
    }
    if !bool_contents.is_empty() {
        return Data::Flags(bool_contents);
    }
    let mut numbers = fp64_contents;
    numbers.extend(fp32_contents.into_iter().map(f64::from));
    numbers.extend(uint_contents.into_iter().map(f64::from));
    numbers.extend(int_contents.into_iter().map(f64::from));
    numbers.extend(uint64_contents.into_iter().map(|number| number as f64));
    numbers.extend(int64_contents.into_iter().map(|number| number as f64));
    Data::Numbers(numbers)
}

pub(super) fn answer(name: String, id: String, inferred: Inferred) -> Result<ModelInferResponse, Refusal> {
    let mut raw = Vec::with_capacity(inferred.tensors.len());
    let mut outputs = Vec::with_capacity(inferred.tensors.len());
    for tensor in &inferred.tensors {
        let mut bytes = Vec::with_capacity(binary_size(tensor));
        write_binary(tensor, &mut bytes)?;
        raw.push(Bytes::from(bytes));
        outputs.push(InferOutputTensor {
            name: tensor.name.to_owned(),
            datatype: datatype(tensor).name().to_owned(),
            shape: tensor.shape.iter().map(|&length| length as i64).collect(),
            ..InferOutputTensor::default()
        });
    }
    let parameters = inferred.notes.iter().map(|(name, value)| {
        let choice = match value {
            Value::Bool(flag) => ParameterChoice::BoolParam(*flag),
            Value::String(text) => ParameterChoice::StringParam(text.clone()),
            value => match (value.as_i64(), value.as_u64(), value.as_f64()) {
                (Some(number), _, _) => ParameterChoice::Int64Param(number),
                (None, Some(number), _) => ParameterChoice::Uint64Param(number),
                (None, None, Some(number)) => ParameterChoice::DoubleParam(number),
                (None, None, None) => ParameterChoice::StringParam(value.to_string()),
            },
        };
        let parameter_choice = Some(choice);
        ((*name).to_owned(), InferParameter { parameter_choice })
    });
    let answer = ModelInferResponse {
        model_name: name,
        model_version: inferred.model.version.to_string(),
        id,
        parameters: parameters.collect(),
        outputs,
        raw_output_contents: raw,
    };
    inferred.recording.written();
    Ok(answer)
}

pub(super) fn statistics(own: documents::ModelStatistics) -> ModelStatistics {
    let tally = |tally: counters::Tally| {
        Some(StatisticDuration {
            count: tally.count,
            ns: tally.ns,
        })
    };
    let stats = own.counts.inference_stats;
    ModelStatistics {
        name: own.name,
        version: own.version,
        last_inference: own.counts.last_inference,
        inference_count: own.counts.inference_count,
        execution_count: own.counts.execution_count,
        inference_stats: Some(InferStatistics {
            success: tally(stats.success),
            fail: tally(stats.fail),
            queue: tally(stats.queue),
            compute_input: tally(stats.compute_input),
            compute_infer: tally(stats.compute_infer),
            compute_output: tally(stats.compute_output),
            cache_hit: tally(stats.cache_hit),
            cache_miss: tally(stats.cache_miss),
        }),
    }
}

//! Calls of gRPC that are refused as soon as their first bytes say what is asked: to read a message to its end and to
//! decode it would be work for nothing, and that when there is too much of it anyway.
//!
//! The head of a call names no model; the first fields of its message do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::Request;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, decode_key, skip_field},
};
use tonic::metadata::MetadataMap;

use super::{OpenInference, target};
use crate::{
    access::Caller,
    model::Refusal,
    transport::{
        access,
        rpc::{
            density::{self, density_server::SERVICE_NAME as DENSITY},
            inference::{
                ModelInferRequest, grpc_inference_service_server::SERVICE_NAME as INFERENCE,
                infer_parameter::ParameterChoice,
            },
            request_body::Look,
            timeout,
        },
    },
};

/// The first field of a request for inference that is not about what is asked, but what it is asked of.
const INPUTS: u32 = 5;

/// The same of a typed request.
const IMAGES: u32 = 2;

impl OpenInference {
    /// Has a call refused by the first bytes of its message if there is no room for it. While nothing waits there is.
    pub(in crate::transport) fn early_refusal(self: &Arc<Self>, request: &Request) -> Option<Look> {
        let contract = Contract::of(request.uri().path())?;
        if !self.service.is_busy() {
            return None;
        }
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let call = Call {
            contract,
            caller: access::caller(request.extensions()),
            timeout: timeout(&metadata, &self.service),
            started: Instant::now(),
        };
        let protocol = Arc::clone(self);
        Some(Box::new(move |first| {
            let foreseen = call.foresee(&protocol, first);
            foreseen.map_err(super::refused)
        }))
    }
}

/// What the path of a call says.
enum Contract {
    Inference,
    /// With the operation.
    Typed(String),
}

/// A call whose message has not been read.
struct Call {
    contract: Contract,
    caller: Caller,
    timeout: Option<Duration>,
    started: Instant,
}

impl Contract {
    fn of(path: &str) -> Option<Self> {
        match path.strip_prefix('/')?.split_once('/')? {
            (INFERENCE, "ModelInfer") => Some(Self::Inference),
            (DENSITY, call) => Some(Self::Typed(call.to_ascii_lowercase())),
            _ => None,
        }
    }
}

impl Call {
    /// Refuses what the first bytes of a message are enough for. What they do not tell, or tell wrongly, is found out
    /// when all has been read.
    fn foresee(&self, protocol: &OpenInference, message: &[u8]) -> Result<(), Refusal> {
        let (name, version, operation) = match &self.contract {
            Contract::Inference => {
                let Ok(head) = head::<ModelInferRequest>(message, INPUTS) else {
                    return Ok(());
                };
                let version = target::version(&head.model_version)?;
                (head.model_name, version, operation(&head.parameters))
            }
            Contract::Typed(operation) => {
                // Every typed request begins with its model.
                let Ok(head) = head::<density::ScoreRequest>(message, IMAGES) else {
                    return Ok(());
                };
                let density::Model { name, version } = head.model.unwrap_or_default();
                (name, (version > 0).then_some(version), Some(operation.clone()))
            }
        };
        let longest = protocol.service.limits().max_request_timeout;
        let timeout = self.timeout.unwrap_or(longest);
        protocol.foresee(
            &self.caller,
            (&name, version),
            operation.as_deref(),
            timeout,
            self.started,
        )
    }
}

fn operation(parameters: &super::grpc::Parameters) -> Option<String> {
    match &parameters.get(super::request::OPERATION)?.parameter_choice {
        Some(ParameterChoice::StringParam(name)) => Some(name.clone()),
        _ => None,
    }
}

/// The fields of a message before the first with the number `end` or a higher one: a message of its own. They are
/// written in the order of their numbers.
fn head<M: Message + Default>(message: &[u8], end: u32) -> Result<M, DecodeError> {
    let mut rest = message;
    let mut length = 0;
    while !rest.is_empty() {
        let (number, kind) = decode_key(&mut rest)?;
        if number >= end {
            break;
        }
        skip_field(kind, number, &mut rest, DecodeContext::default())?;
        length = message.len() - rest.len();
    }
    M::decode(&message[..length])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::transport::rpc::inference::{InferParameter, model_infer_request::InferInputTensor};

    fn request() -> ModelInferRequest {
        let operation = ParameterChoice::StringParam("encode".to_owned());
        let parameter = InferParameter {
            parameter_choice: Some(operation),
        };
        ModelInferRequest {
            model_name: "m".to_owned(),
            parameters: [("operation".to_owned(), parameter)].into(),
            inputs: vec![InferInputTensor::default()],
            raw_input_contents: vec![Bytes::from(vec![7; 1000])],
            ..ModelInferRequest::default()
        }
    }

    #[test]
    fn the_first_bytes_of_a_message_say_what_is_asked() {
        let whole = request().encode_to_vec();
        let head: ModelInferRequest = head(&whole[..whole.len() - 900], INPUTS).unwrap();
        assert_eq!(
            (&head.model_name[..], operation(&head.parameters)),
            ("m", Some("encode".to_owned()))
        );
        assert!(head.inputs.is_empty() && head.raw_input_contents.is_empty());
    }

    #[test]
    fn a_head_that_is_cut_says_nothing() {
        let whole = request().encode_to_vec();
        assert!(head::<ModelInferRequest>(&whole[..5], INPUTS).is_err());
    }

    #[test]
    fn typed_requests_begin_with_their_model() {
        let request = density::EncodeRequest {
            model: Some(density::Model {
                name: "m".to_owned(),
                version: 2,
            }),
            images: Some(density::Images::default()),
            options: Some(density::encode_request::Options::default()),
        };
        let head: density::ScoreRequest = head(&request.encode_to_vec(), IMAGES).unwrap();
        assert_eq!(head.model, request.model);
        assert!(head.images.is_none());
    }
}

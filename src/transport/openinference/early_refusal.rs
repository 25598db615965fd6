//! Calls of gRPC that are refused as soon as their first bytes say what is asked: to read a message to its end and to
//! decode it would be work for nothing, and that when there is too much of it anyway.
//!
//! The head of a call names no model; the first fields of its message do. A body that fails with a status is answered
//! with that status, so a look at its first piece is all that it takes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, decode_key, skip_field},
};
use tonic::{Status, metadata::MetadataMap};

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
            status, timeout,
        },
    },
};

/// Bytes before a message: whether it is compressed, and its length.
const FRAMING: usize = 5;

/// The first field of a request for inference that is not about what is asked, but what it is asked of.
const INPUTS: u32 = 5;

/// The same of a typed request.
const IMAGES: u32 = 2;

impl OpenInference {
    /// Has calls refused before their messages are read for which there is no room. While nothing waits there is.
    pub(in crate::transport) fn foreseeing(self: &Arc<Self>) -> impl Fn(Request) -> Request + Clone + use<> {
        let protocol = Arc::clone(self);
        move |request| match Contract::of(request.uri().path()) {
            Some(contract) if protocol.service.is_busy() => {
                let metadata = MetadataMap::from_headers(request.headers().clone());
                let call = Call {
                    contract,
                    caller: access::caller(request.extensions()),
                    timeout: timeout(&metadata, &protocol.service),
                    started: Instant::now(),
                };
                let protocol = Arc::clone(&protocol);
                let look = move |first: &[u8]| {
                    let foreseen = call.foresee(&protocol, first);
                    foreseen.map_err(|refusal| status::status(&refusal, super::message(&refusal)))
                };
                request.map(|body| Body::new(Foreseen { body, look: Some(look) }))
            }
            _ => request,
        }
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
    /// Refuses what the first bytes of a body are enough for. What they do not tell, or tell wrongly, is found out when
    /// all has been read.
    fn foresee(&self, protocol: &OpenInference, first: &[u8]) -> Result<(), Refusal> {
        let message = match first.split_at_checked(FRAMING) {
            Some((&[0, ..], message)) => message,
            _ => return Ok(()),
        };
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

/// A body that fails if a look at its first piece says so.
struct Foreseen<L> {
    body: Body,
    look: Option<L>,
}

impl<L> HttpBody for Foreseen<L>
where
    L: FnOnce(&[u8]) -> Result<(), Status> + Unpin,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        if let Some(first) = frame.data_ref()
            && let Some(look) = self.look.take()
            && let Err(status) = look(first)
        {
            return Poll::Ready(Some(Err(status.into())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};

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

    #[tokio::test]
    async fn a_body_that_is_refused_is_read_no_further() {
        let body = |is_refused: bool| {
            let pieces = stream::iter([0, 1]).map(move |piece| {
                assert!(piece == 0 || !is_refused, "read on");
                Ok::<_, Infallible>(Bytes::from(vec![piece]))
            });
            let look = move |first: &[u8]| {
                assert_eq!(first, [0]);
                if is_refused {
                    Err(Status::resource_exhausted("full"))
                } else {
                    Ok(())
                }
            };
            let body = Body::from_stream(pieces);
            Body::new(Foreseen { body, look: Some(look) })
        };
        let whole = axum::body::to_bytes(body(false), 10).await.unwrap();
        assert_eq!(&whole[..], [0, 1]);
        let refused = axum::body::to_bytes(body(true), 10).await.unwrap_err();
        assert_eq!(
            Status::from_error(refused.into()).code(),
            tonic::Code::ResourceExhausted
        );
    }
}

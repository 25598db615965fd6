//! The handler of inference: the body, the operation, the answer.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};

use super::{RestState, answer, body::Body, models::Named};
use crate::{
    model::{Kind, Refusal},
    transport::{
        access,
        openinference::request::Asked,
        web::{
            body,
            output::{held_body, offload},
            problem::Problem,
            scope::RequestScope,
        },
    },
};

/// The header that says how many bytes of a body are JSON, counted before compression.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

pub(super) async fn infer(
    State(state): State<RestState>,
    Named { name, version }: Named,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let scope = RequestScope::of(&parts);
    let (headers, config) = (&parts.headers, &state.config);
    let header_length = header_length(headers)?;
    let protocol = &state.protocol;
    let caller = access::caller(&parts.extensions);
    let longest = protocol.service.limits().max_request_timeout;
    if let Err(refusal) = protocol.foresee(&caller, (&name, version), None, longest, scope.started()) {
        body::refuse(body, scope.announced()).await;
        return Err(Problem(refusal));
    }
    let mut held = protocol.service.memory_budget().open();
    let max_bytes = config.max_body_bytes;
    let bytes = body::read(body, scope.announced(), max_bytes, config.body_timeout, &mut held).await?;

    let mut asked = Asked {
        caller,
        model: name.clone(),
        version,
        ..Asked::default()
    };
    let body = if header_length == Some(0) {
        Body::raw(bytes, &protocol.only_input(&asked)?)
    } else {
        // A number of two characters takes eight bytes.
        held.grow(header_length.unwrap_or(bytes.len()).saturating_mul(3))?;
        let size = bytes.len();
        offload(size, move || Body::read(&bytes, header_length)).await?
    };
    let Body {
        id,
        parameters,
        inputs,
        outputs,
    } = body;
    asked.parameters = parameters;
    asked.outputs = outputs.names();
    let head = protocol.open(asked, None, scope.started())?;
    scope.set_model(head.model());
    scope.set_images(inputs.len());
    let inferred = head.infer(&inputs, Some(scope.id())).await?;
    drop(inputs);
    scope.set_images(inferred.images);

    let weight = answer::weight(&inferred);
    let written = offload(weight, move || answer::write(name, id, inferred, &outputs)).await?;
    let mut response = held_body(written.media_type(), written.bytes, held)?;
    if let Some(length) = written.header_length {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// How many bytes of the body are JSON, if the client says so.
fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        let detail = "the header Inference-Header-Content-Length is not a number of bytes";
        Refusal::new(Kind::Malformed, detail)
    })
}

//! The handler of every operation: the head of a request, then its body, then the answer.

use std::{sync::Arc, time::Instant};

use axum::{
    RequestExt,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header, request::Parts},
    response::Response,
};
use bytes::Bytes;

use super::super::{
    HttpState, accept, body,
    output::{self, offload, tell},
    problem::{self, Problem},
    query::{ModelPath, Query, model_path},
    scope::{Announced, RequestScope},
    stream,
};
use crate::{
    intake::{
        self, BodyType, Content, Reservation, Takes,
        options::{RawOptions, seconds},
    },
    model::{Refusal, progress::Board},
    operations::{AnyAnswer, Format, Pending},
    trace,
    transport::access,
};

/// A request whose head has been understood.
struct Head {
    pending: Pending,
    options: RawOptions,
    format: Format,
    /// `None` where no body is needed and none is declared.
    body_type: Option<BodyType>,
}

/// Answers a request of the operation `name`.
pub(super) async fn answer(
    name: &'static str,
    State(state): State<HttpState>,
    mut request: Request,
) -> Result<Response, Problem> {
    let path = model_path(request.extract_parts().await);
    let (parts, body) = request.into_parts();
    let scope = RequestScope::of(&parts);
    let head = path.and_then(|path| Head::read(&state, name, &path, &parts, &scope));
    let head = match head {
        Ok(head) => head,
        Err(refusal) => {
            body::refuse(body, scope.announced()).await;
            return Err(Problem(refusal));
        }
    };
    let mut held = state.service.memory_budget().open();
    let receive = trace::span("receive");
    let bytes = read(&state, &head, scope.announced(), body, &mut held).await?;
    drop(receive);
    let Head {
        pending,
        mut options,
        format,
        body_type,
    } = head;
    let content = match body_type {
        Some(body_type) => {
            let (takes, budget) = (pending.operation.about().takes, pending.budget());
            let size = bytes.len();
            let apart = offload(size, move || {
                let content = intake::take_apart(bytes, &body_type, takes, &mut options, budget)?;
                Ok::<_, Refusal>((content, options))
            });
            let (content, own) = apart.await?;
            options = own;
            content
        }
        None => Content::default(),
    };
    scope.set_images(content.len());
    if format == Format::Events {
        return Ok(watched(pending, content, options, &scope, held)?);
    }
    let answer = pending.answer(content, options, scope.started()).await?;
    scope.set_images(answer.len());
    Ok(write(answer, format, &scope, held).await?)
}

impl Head {
    fn read(
        state: &HttpState,
        name: &'static str,
        path: &ModelPath,
        parts: &Parts,
        scope: &RequestScope,
    ) -> Result<Self, Refusal> {
        let mut query = Query::new(parts.uri.query());
        let version = match path.version {
            Some(version) => Some(version),
            None => query.take_version()?,
        };
        let timeout = header_seconds(&parts.headers)?;
        let service = &state.service;
        let caller = access::caller(&parts.extensions);
        let mut pending = service.open(&caller, name, (&path.model, version), timeout, scope.started())?;
        scope.set_model(&pending.model);
        let format = accept::negotiate(&parts.headers, pending.formats())?;
        pending.set_format(format)?;
        let mut options = pending.options();
        for (name, value) in query.rest() {
            options.add(&name, value)?;
        }
        pending.set_common(&mut options, scope.started())?;
        let takes = pending.operation.about().takes;
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let text = content_type.map(|value| value.to_str().unwrap_or_default());
        let body_type = match takes {
            Takes::Nothing if text.is_none() => None,
            _ => Some(BodyType::of(text, takes)?),
        };
        pending.foresee()?;
        Ok(Self {
            pending,
            options,
            format,
            body_type,
        })
    }
}

/// The time limit in a header, which proxies can set.
fn header_seconds(headers: &HeaderMap) -> Result<Option<std::time::Duration>, Refusal> {
    let Some(value) = headers.get("x-request-timeout") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    seconds("X-Request-Timeout", number.unwrap_or(f64::NAN)).map(Some)
}

async fn read(
    state: &HttpState,
    head: &Head,
    announced: Announced,
    body: Body,
    held: &mut Reservation,
) -> Result<Bytes, Refusal> {
    let left = head.pending.deadline().saturating_duration_since(Instant::now());
    let config = &state.config;
    let time = config.body_timeout.min(left);
    let bytes = body::read(body, announced, config.max_body_bytes, time, held).await?;
    if head.body_type.is_none() && !bytes.is_empty() {
        return Err(BodyType::of(None, Takes::Nothing)
            .err()
            .unwrap_or_else(|| Refusal::internal("a body without a type was accepted")));
    }
    Ok(bytes)
}

/// The answer in its format.
async fn write(
    answer: Box<dyn AnyAnswer>,
    format: Format,
    scope: &Arc<RequestScope>,
    held: Reservation,
) -> Result<Response, Refusal> {
    for (index, cause) in answer.causes() {
        tracing::error!(request_id = scope.id(), index, cause, "an image failed");
    }
    let notes = answer.notes();
    let weight = if format == Format::Gif {
        // Dozens of pictures are never little work.
        usize::MAX
    } else {
        answer.weight()
    };
    let own = Arc::clone(scope);
    let encode = trace::span("encode");
    let bytes = offload(weight, move || match format {
        Format::Json => answer.json(&failure(&own)),
        _ => answer.file(format),
    });
    let bytes = bytes.await?;
    drop(encode);
    let mut response = output::file(format, bytes, held)?;
    if format != Format::Json {
        tell(&mut response, notes)?;
    }
    Ok(response)
}

/// The answer in events, from now on.
fn watched(
    mut pending: Pending,
    content: Content,
    options: RawOptions,
    scope: &Arc<RequestScope>,
    held: Reservation,
) -> Result<Response, Refusal> {
    let shape = pending.shape();
    let board = Board::new(shape.dimensions());
    pending.watch(Arc::clone(&board));
    let own = Arc::clone(scope);
    let work = async move {
        let _held = held;
        let answer = pending.answer(content, options, own.started()).await?;
        own.set_images(answer.len());
        let weight = answer.weight();
        let json = offload(weight, move || answer.json(&failure(&own))).await?;
        String::from_utf8(json).map_err(Refusal::internal)
    };
    stream::watch(Arc::clone(scope), board, shape, work)
}

/// An image that failed, as HTTP has it.
fn failure(scope: &Arc<RequestScope>) -> impl Fn(usize, &Refusal) -> serde_json::Value + use<> {
    let scope = Arc::clone(scope);
    move |index, refusal| {
        let error = problem::body(refusal, scope.id());
        serde_json::to_value(problem::Failure { index, error }).unwrap_or_default()
    }
}

//! The images of streams.

use axum::{
    extract::{Request, State},
    http::header,
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{family::Capability, image::Image},
    http::{
        HttpState,
        accept::{Format, STREAM_TYPE},
        call::{Call, offload},
        input::{BodyKind, Wanted, check_count, read_json},
        options::{NoOptions, Options},
        output::{Batch, ImageBody, Item, json, picture_or_array},
        problem::{Problem, ProblemKind},
    },
    service::error::ErrorKind,
};

use super::Answered;

/// The images of streams.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecompressAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each stream, in order.
    results: Vec<Item<DecompressResult>>,
}

/// The image of one stream.
#[derive(Debug, Serialize, ToSchema)]
struct DecompressResult {
    image: ImageBody,
}

/// Decompress images
///
/// Streams that `compress` made, as JSON (`streams`, a list of base64) or one as it is. A stream of another model or of other
/// numerics, or one that is damaged, is a problem and never another image. As `image/png` one grid (a single image comes
/// plainly), as `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C].
#[utoipa::path(
    post, path = "/decompress", tag = "operations",
    responses((status = 200, description = "Images", content(
        (DecompressAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn decompress(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Compress, &formats, request).await?;
    let Some(is_json) = is_json(&call) else {
        let detail = format!("streams come as application/json, or one of them as {STREAM_TYPE}");
        let problem = Problem::new(ProblemKind::UnsupportedMediaType, detail);
        return Err(call.refuse(problem).await);
    };
    let body = call.read_body().await?;
    let mut options = call.take_options();
    let limit = call.state.config.max_images;
    let (streams, NoOptions {}) = offload(body.len(), move || {
        let streams = if is_json {
            read_streams(&body, limit, &mut options)?
        } else {
            vec![Ok(body.to_vec())]
        };
        Ok::<_, Problem>((streams, options.parse()?))
    })
    .await?;
    call.count_images(streams.len())?;
    let mut batch = Batch::new(streams)?;
    let streams = batch.take_images();
    let images = call
        .state
        .service
        .decompress(&call.model, streams, call.deadline)
        .await?;
    let results = batch.merge(images)?;
    if call.format != Format::Json {
        return picture_or_array(call.format, results.all()?, call.shape()).await;
    }
    let answered = Answered::by(&call);
    let size = 4 * results.len() * call.shape().dimensions();
    Ok(offload(size, move || {
        json(&DecompressAnswer {
            answered,
            results: results.items(&call.scope, |image: Image| {
                let image = ImageBody::new(&image)?;
                Ok(DecompressResult { image })
            }),
        })
    })
    .await)
}

/// Whether the body is JSON and not a stream; `None` if it is neither.
fn is_json(call: &Call) -> Option<bool> {
    let value = call.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(STREAM_TYPE) {
        return Some(false);
    }
    matches!(BodyKind::of(&call.headers), Ok(BodyKind::Json)).then_some(true)
}

fn read_streams(
    body: &Bytes,
    limit: usize,
    options: &mut Options,
) -> Result<Vec<Result<Vec<u8>, Problem>>, Problem> {
    let wanted = Wanted {
        streams: true,
        ..Wanted::default()
    };
    let streams = read_json(body, wanted, options)?.streams;
    let streams = streams.unwrap_or_default();
    if streams.is_empty() {
        return Err(Problem::option(
            "streams",
            "the request brings no stream; send at least one",
        ));
    }
    check_count(streams.len(), limit)?;
    let decode = |text: String| {
        BASE64_STANDARD.decode(text).map_err(|error| {
            let kind = ProblemKind::Service(ErrorKind::InvalidStream);
            Problem::new(kind, format!("base64: {error}"))
        })
    };
    Ok(streams.into_iter().map(decode).collect())
}

//! Images as short as a model can make them without loss.

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::family::Capability,
    http::{
        HttpState,
        accept::Format,
        call::{Call, offload},
        input::{Input, read_images},
        output::{Batch, Item, bytes_of, finite, json},
        problem::{Problem, ProblemKind},
    },
    service::requests::Compressed,
};

use super::{Answered, LabelOption};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CompressParams {
    /// For a model that is conditioned on labels: which one, by name or number; needed, because each pixel is coded by the
    /// prediction of one label. The stream remembers it.
    #[param(value_type = Option<String>)]
    label: Option<LabelOption>,
}

/// Compressed images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CompressAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each image, in order.
    results: Vec<Item<CompressResult>>,
}

/// One compressed image.
#[derive(Debug, Serialize, ToSchema)]
struct CompressResult {
    /// The stream in base64.
    #[schema(content_encoding = "base64", example = "RFNJMQ…")]
    stream: String,
    /// Its length, header included.
    #[schema(example = 231)]
    bytes: usize,
    /// 8 · bytes / dimensions.
    #[schema(example = 2.36)]
    bits_per_dim: f64,
    /// −log₂ p(image) / 8: what the code would take if it were perfect and had no header.
    #[schema(example = 203.2)]
    ideal_bytes: Option<f64>,
}

/// Compress images
///
/// Without loss, by arithmetic coding with the model's predictions, so that an image takes about as many bits as −log₂ of its
/// probability. A stream is read by `decompress` with the same model on the same version of ONNX Runtime and kind of processor;
/// its header says which. As `application/vnd.density-server.image` the stream of a single image as it is.
#[utoipa::path(
    post, path = "/compress", tag = "operations", params(CompressParams),
    responses((status = 200, description = "Streams", content(
        (CompressAnswer = "application/json"), ("application/vnd.density-server.image")
    )))
)]
pub(super) async fn compress(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Stream];
    let mut call = Call::open(state, Capability::Compress, &formats, request).await?;
    let input: Input<CompressParams> = read_images(&mut call, false).await?;
    if call.format == Format::Stream && input.images.len() > 1 {
        return Err(Problem::new(
            ProblemKind::NotAcceptable,
            format!(
                "a stream holds one image and the request has {}; several are answered as application/json",
                input.images.len()
            ),
        ));
    }
    let label: Option<String> = input.options.label.map(Into::into);
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let compressed = call
        .state
        .service
        .compress(&call.model, images, label.as_deref(), call.deadline)
        .await?;
    let results = batch.merge(compressed)?;
    if call.format == Format::Stream {
        let streams = results.all()?.into_iter();
        let bytes = streams.flat_map(|stream| stream.bytes).collect();
        return Ok(bytes_of(Format::Stream, bytes));
    }
    let answered = Answered::by(&call);
    let dimensions = call.shape().dimensions();
    let size = 2 * results.len() * dimensions;
    Ok(offload(size, move || {
        json(&CompressAnswer {
            answered,
            results: results.items(&call.scope, |compressed| {
                Ok(CompressResult::new(&compressed, dimensions))
            }),
        })
    })
    .await)
}

impl CompressResult {
    fn new(compressed: &Compressed, dimensions: usize) -> Self {
        let bytes = compressed.bytes.len();
        Self {
            stream: BASE64_STANDARD.encode(&compressed.bytes),
            bytes,
            bits_per_dim: (8 * bytes) as f64 / dimensions as f64,
            ideal_bytes: finite(compressed.ideal_bits / 8.0),
        }
    }
}

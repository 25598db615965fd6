//! The latent codes of images.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::family::Capability,
    http::{
        HttpState,
        accept::Format,
        call::Call,
        input::{Input, read_images},
        options::NoOptions,
        output::{Batch, Item, bytes_of, json},
        problem::Problem,
    },
    media,
    service::requests::Encoding,
};

use super::Answered;

/// Latent codes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EncodeAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each image, in order.
    results: Vec<Item<EncodeResult>>,
}

/// The posterior over latent codes of one image: a Gaussian with a diagonal covariance.
#[derive(Debug, Serialize, ToSchema)]
struct EncodeResult {
    /// Its mean.
    #[schema(example = json!([0.31, -1.2]))]
    mean: Vec<f32>,
    /// Natural logarithm of its variance.
    #[schema(example = json!([-3.1, -2.7]))]
    log_variance: Vec<f32>,
}

/// Encode images
///
/// The latent code of each image. As `application/x-npy` float32 of shape [N, 2, L]: mean, then logarithm of the variance.
#[utoipa::path(
    post, path = "/encode", tag = "operations",
    responses((status = 200, description = "Latent codes", content(
        (EncodeAnswer = "application/json"), ("application/x-npy")
    )))
)]
pub(super) async fn encode(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Npy];
    let mut call = Call::open(state, Capability::Encode, &formats, request).await?;
    let input: Input<NoOptions> = read_images(&mut call, false).await?;
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let encodings = call
        .state
        .service
        .encode(&call.model, images, call.deadline)
        .await?;
    let results = batch.merge(encodings)?;
    if call.format == Format::Npy {
        return array(results.all()?);
    }
    Ok(json(&EncodeAnswer {
        answered: Answered::by(&call),
        results: results.items(&call.scope, |Encoding { mean, log_variance }| {
            Ok(EncodeResult { mean, log_variance })
        }),
    }))
}

fn array(encodings: Vec<Encoding>) -> Result<Response, Problem> {
    let size = encodings.first().map_or(0, |encoding| encoding.mean.len());
    let alike =
        |encoding: &Encoding| encoding.mean.len() == size && encoding.log_variance.len() == size;
    if !encodings.iter().all(alike) {
        return Err(Problem::internal("latent codes of unequal length"));
    }
    let shape = [encodings.len(), 2, size];
    let values = encodings
        .into_iter()
        .flat_map(|encoding| encoding.mean.into_iter().chain(encoding.log_variance));
    Ok(bytes_of(Format::Npy, media::write_f32(&shape, values)))
}

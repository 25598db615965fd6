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

/// The latent code of one image.
#[derive(Debug, Serialize, ToSchema)]
struct EncodeResult {
    /// The code. Of a VAE it is the mean of the posterior over codes, a Gaussian with a diagonal covariance; of a classifier the
    /// features from which it computes logits.
    #[schema(example = json!([0.31, -1.2]))]
    code: Vec<f32>,
    /// Natural logarithm of the variance of the posterior; of a VAE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = json!([-3.1, -2.7]))]
    log_variance: Option<Vec<f32>>,
}

/// Encode images
///
/// The latent code of each image, or the features of a classifier. As `application/x-npy` float32 of shape [N, L]; of a VAE [N, 2, L]:
/// mean, then logarithm of the variance.
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
        results: results.items(&call.scope, |Encoding { code, log_variance }| {
            Ok(EncodeResult { code, log_variance })
        }),
    }))
}

fn array(encodings: Vec<Encoding>) -> Result<Response, Problem> {
    let form = |encoding: &Encoding| {
        let variances = encoding.log_variance.as_ref().map(Vec::len);
        (encoding.code.len(), variances)
    };
    let first = encodings.first().map(form);
    if encodings
        .iter()
        .any(|encoding| Some(form(encoding)) != first)
    {
        return Err(Problem::internal("latent codes of unequal length"));
    }
    let count = encodings.len();
    let shape = match first.unwrap_or_default() {
        (size, None) => vec![count, size],
        (size, Some(_)) => vec![count, 2, size],
    };
    let values = encodings
        .into_iter()
        .flat_map(|encoding| [Some(encoding.code), encoding.log_variance])
        .flatten()
        .flatten();
    Ok(bytes_of(Format::Npy, media::write_f32(&shape, values)))
}

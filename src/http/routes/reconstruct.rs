//! Images through encoder and decoder.

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
        call::{Call, offload},
        input::{Input, read_images},
        options::NoOptions,
        output::{Batch, ImageBody, Item, finite, json, picture_or_array},
        problem::Problem,
    },
    service::requests::Reconstruction,
};

use super::Answered;

/// Reconstructions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReconstructAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each image, in order.
    results: Vec<Item<ReconstructResult>>,
}

/// One image through encoder and decoder.
#[derive(Debug, Serialize, ToSchema)]
struct ReconstructResult {
    /// The decoder's mean at the mean of the posterior.
    image: ImageBody,
    /// Mean over dimensions of the squared difference, in units of level / (levels − 1).
    #[schema(example = 0.0041)]
    mean_squared_error: Option<f64>,
    /// log p(x | z) at the mean of the posterior, in nats: not a likelihood of the image, for the code is chosen by it.
    #[schema(example = -1630.5)]
    log_likelihood_given_code: Option<f64>,
}

/// Reconstruct images
///
/// Each image through encoder and decoder. As `image/png` one grid (a single image comes plainly), as `application/x-npy`
/// uint8 levels of shape [N, H, W] or [N, H, W, C].
#[utoipa::path(
    post, path = "/reconstruct", tag = "operations",
    responses((status = 200, description = "Images", content(
        (ReconstructAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn reconstruct(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Reconstruct, &formats, request).await?;
    let input: Input<NoOptions> = read_images(&mut call, false).await?;
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let reconstructions = call
        .state
        .service
        .reconstruct(&call.model, images, call.deadline)
        .await?;
    let results = batch.merge(reconstructions)?;
    if call.format != Format::Json {
        let images = results
            .all()?
            .into_iter()
            .map(|result| result.image)
            .collect();
        return picture_or_array(call.format, images, call.shape()).await;
    }
    let answered = Answered::by(&call);
    let size = 4 * results.len() * call.shape().dimensions();
    Ok(offload(size, move || {
        json(&ReconstructAnswer {
            answered,
            results: results.items(&call.scope, ReconstructResult::new),
        })
    })
    .await)
}

impl ReconstructResult {
    fn new(reconstruction: Reconstruction) -> Result<Self, Problem> {
        Ok(Self {
            image: ImageBody::new(&reconstruction.image)?,
            mean_squared_error: finite(reconstruction.mean_squared_error),
            log_likelihood_given_code: finite(reconstruction.log_likelihood_given_code_nats),
        })
    }
}

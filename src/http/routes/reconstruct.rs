//! Images through encoder and decoder.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{family::Capability, image::ImageShape},
    http::{
        HttpState,
        accept::Format,
        call::{Call, offload},
        input::{Input, read_images},
        output::{Batch, ImageBody, Item, Nested, bytes_of, finite, json, picture_or_array},
        problem::Problem,
    },
    media,
    service::requests::{ReconstructOptions, Reconstruction},
};

use super::Answered;

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReconstructParams {
    /// Whether to answer with the squared error of every dimension: in JSON beside the images, as `image/png` a heat map instead of them
    /// (dark is small, bright is large), as `application/x-npy` float32 of shape [N, C, H, W].
    map: Option<bool>,
}

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
    /// The decoder's image of the code; of a VAE the decoder's mean at the mean of the posterior.
    image: ImageBody,
    /// Mean over dimensions of the squared difference, in units of level / (levels − 1).
    #[schema(example = 0.0041)]
    mean_squared_error: Option<f64>,
    /// log p(x | z) at the mean of the posterior, in nats: not a likelihood of the image, for the code is chosen by it. Of a VAE only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = -1630.5)]
    log_likelihood_given_code: Option<f64>,
    /// Squared error of every dimension, nested like the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Vec<f32>>>)]
    squared_error_map: Option<Nested>,
}

/// Reconstruct images
///
/// Each image through encoder and decoder. As `image/png` one grid (a single image comes plainly), as `application/x-npy`
/// uint8 levels of shape [N, H, W] or [N, H, W, C]; with map=true both show the squared errors instead.
#[utoipa::path(
    post, path = "/reconstruct", tag = "operations", params(ReconstructParams),
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
    let input: Input<ReconstructParams> = read_images(&mut call, false).await?;
    let options = ReconstructOptions {
        map: input.options.map.unwrap_or_default(),
    };
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let reconstructions = call
        .state
        .service
        .reconstruct(&call.model, images, &options, call.deadline)
        .await?;
    let results = batch.merge(reconstructions)?;
    let shape = call.shape();
    if call.format != Format::Json && options.map {
        return errors(call.format, results.all()?, shape).await;
    }
    if call.format != Format::Json {
        let images = results
            .all()?
            .into_iter()
            .map(|result| result.image)
            .collect();
        return picture_or_array(call.format, images, shape).await;
    }
    let answered = Answered::by(&call);
    let size = 4 * results.len() * shape.dimensions();
    Ok(offload(size, move || {
        json(&ReconstructAnswer {
            answered,
            results: results.items(&call.scope, |result| ReconstructResult::new(result, shape)),
        })
    })
    .await)
}

/// Squared errors of all images as one picture or array.
async fn errors(
    format: Format,
    results: Vec<Reconstruction>,
    shape: ImageShape,
) -> Result<Response, Problem> {
    let maps: Vec<Vec<f32>> = results
        .into_iter()
        .filter_map(|result| result.map)
        .collect();
    let size = 16 * maps.len() * shape.dimensions();
    let bytes = offload(size, move || {
        if format == Format::Npy {
            let lengths = [maps.len(), shape.channels(), shape.height(), shape.width()];
            return Ok(media::write_f32(&lengths, maps.into_iter().flatten()));
        }
        // A heat map shows log-probabilities, of which the lowest are bright.
        let negative: Vec<Vec<f32>> = maps
            .iter()
            .map(|map| map.iter().map(|error| -error).collect())
            .collect();
        let maps: Vec<&[f32]> = negative.iter().map(Vec::as_slice).collect();
        media::heat_map_grid(&maps, shape)
    })
    .await?;
    Ok(bytes_of(format, bytes))
}

impl ReconstructResult {
    fn new(reconstruction: Reconstruction, shape: ImageShape) -> Result<Self, Problem> {
        Ok(Self {
            image: ImageBody::new(&reconstruction.image)?,
            mean_squared_error: finite(reconstruction.mean_squared_error),
            log_likelihood_given_code: reconstruction
                .log_likelihood_given_code_nats
                .and_then(finite),
            squared_error_map: reconstruction.map.map(|map| Nested::new(map, shape)),
        })
    }
}

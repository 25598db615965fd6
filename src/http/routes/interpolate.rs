//! Images on the way between two images.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::family::Capability,
    http::{
        HttpState,
        accept::Format,
        call::Call,
        input::{Input, read_images},
        output::{self, ImageBody, Results},
        problem::{Problem, ProblemKind},
    },
    service::error::ErrorKind,
};

use super::Answered;

/// Images, both ends included, unless the client asks for another number.
const DEFAULT_STEPS: u32 = 8;

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InterpolateParams {
    /// Images, both ends included, 2 to 64; by default 8.
    #[param(example = 8)]
    steps: Option<u32>,
}

/// Images on the straight line between the latent codes of two images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InterpolateAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// From the reconstruction of the first image to that of the second.
    images: Vec<ImageBody>,
}

/// Interpolate
///
/// Takes exactly two images. As `image/png` one grid, as `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C].
#[utoipa::path(
    post, path = "/interpolate", tag = "operations", params(InterpolateParams),
    responses((status = 200, description = "Images", content(
        (InterpolateAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn interpolate(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Interpolate, &formats, request).await?;
    let input: Input<InterpolateParams> = read_images(&mut call, false).await?;
    let steps = input.options.steps.unwrap_or(DEFAULT_STEPS);
    let count = input.images.len();
    let images = Results::new(input.images)?.all()?;
    let Ok([from, to]) = <[_; 2]>::try_from(images) else {
        return Err(Problem::new(
            ProblemKind::Service(ErrorKind::InvalidImage),
            format!("interpolation goes between exactly two images; the request brings {count}"),
        ));
    };
    let images = call
        .state
        .service
        .interpolate(&call.model, from, to, steps, call.deadline)
        .await?;
    let answered = Answered::by(&call);
    output::images(call.format, images, call.shape(), |images| {
        InterpolateAnswer { answered, images }
    })
    .await
}

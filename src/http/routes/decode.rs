//! The images of latent codes.

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::family::Capability,
    http::{
        HttpState,
        accept::Format,
        call::{Call, offload},
        input::{BodyKind, Wanted, read_json},
        options::Options,
        output::{ImageBody, Item, Results, json, picture_or_array},
        problem::{Problem, ProblemKind},
        scope::random_seed,
    },
    media,
    service::requests::DecodeOptions,
};

use super::{Answered, ObservationOption};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DecodeParams {
    /// The decoder's mean (the default) or a draw from it.
    #[param(inline)]
    observation: Option<ObservationOption>,
    /// Seed of the draw; without one the server chooses, and the answer tells.
    seed: Option<u64>,
}

/// Images of latent codes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecodeAnswer {
    #[serde(flatten)]
    answered: Answered,
    observation: ObservationOption,
    /// The seed, where anything was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// One for each code, in order.
    results: Vec<Item<DecodeResult>>,
}

/// The image of one code.
#[derive(Debug, Serialize, ToSchema)]
struct DecodeResult {
    image: ImageBody,
}

/// Decode latent codes
///
/// The codes come as JSON (`latents`, a list of lists) or as `application/x-npy`, float32 or float64 of shape [N, L]. As
/// `image/png` one grid (a single image comes plainly), as `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C].
#[utoipa::path(
    post, path = "/decode", tag = "operations", params(DecodeParams),
    responses((status = 200, description = "Images", content(
        (DecodeAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn decode(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Decode, &formats, request).await?;
    let kind = BodyKind::of(&call.headers)
        .ok()
        .filter(|kind| matches!(kind, BodyKind::Json | BodyKind::Npy));
    let Some(kind) = kind else {
        let detail = "latent codes come as application/json or as application/x-npy";
        let problem = Problem::new(ProblemKind::UnsupportedMediaType, detail);
        return Err(call.refuse(problem).await);
    };
    let body = call.read_body().await?;
    let mut options = call.take_options();
    let size = call.model.latent_size().unwrap_or_default();
    let limit = call.state.config.max_images;
    let (latents, params) = offload(body.len(), move || {
        let latents = read_latents(kind, &body, size, limit, &mut options)?;
        // Before the codes are missed: they may have come under another name.
        let params = options.parse::<DecodeParams>()?;
        if latents.is_empty() {
            return Err(Problem::option(
                "latents",
                "the request brings no latent code; send at least one",
            ));
        }
        Ok((latents, params))
    })
    .await?;
    call.count_images(latents.len())?;
    let observation = params.observation.unwrap_or(ObservationOption::Mean);
    let options = DecodeOptions {
        observation: observation.into(),
        seed: params.seed.unwrap_or_else(random_seed),
    };
    let images = call
        .state
        .service
        .decode(&call.model, latents, &options, call.deadline)
        .await?;
    let results = Results::new(
        images
            .into_iter()
            .map(|image| image.map_err(Problem::from))
            .collect(),
    )?;
    if call.format != Format::Json {
        return picture_or_array(call.format, results.all()?, call.shape()).await;
    }
    let answered = Answered::by(&call);
    let size = 4 * results.len() * call.shape().dimensions();
    Ok(offload(size, move || {
        json(&DecodeAnswer {
            answered,
            observation,
            seed: (observation == ObservationOption::Sample).then_some(options.seed),
            results: results.items(&call.scope, |image| {
                let image = ImageBody::new(&image)?;
                Ok(DecodeResult { image })
            }),
        })
    })
    .await)
}

fn read_latents(
    kind: BodyKind,
    body: &Bytes,
    size: usize,
    limit: usize,
    options: &mut Options,
) -> Result<Vec<Vec<f32>>, Problem> {
    let wanted = Wanted {
        latents: true,
        ..Wanted::default()
    };
    if kind == BodyKind::Npy {
        media::read_vectors(body, size, limit).map_err(|error| {
            if error.is_too_large() {
                Problem::from(error)
            } else {
                Problem::option("latents", error)
            }
        })
    } else {
        let body = read_json(body, wanted, options)?;
        Ok(body.latents.unwrap_or_default())
    }
}

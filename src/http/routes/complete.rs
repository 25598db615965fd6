//! The missing pixels of partly given images.

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
        output::{Batch, ImageBody, Item, animation, json, picture_or_array},
        problem::Problem,
        scope::random_seed,
    },
    service::requests::{CompleteOptions, CompletionMethod, Completions, Known},
};

use super::{Answered, LabelOption, appearance, tell_labels};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CompleteParams {
    /// The first rows are given, the others are missing. Either this or a mask must be there.
    #[param(example = 14)]
    rows: Option<usize>,
    /// Completions of each image; by default 1.
    n: Option<u32>,
    /// The same seed gives the same completions; without one the server chooses, and the answer tells.
    seed: Option<u64>,
    /// Above 0; by default 1, the model's own distribution.
    temperature: Option<f64>,
    /// For a model that is conditioned on labels: which one, by name or number. Without it each completion's label is drawn from
    /// p(label | given pixels), which takes given pixels that come before all missing ones; the answer tells the labels.
    #[param(value_type = Option<String>)]
    label: Option<LabelOption>,
}

/// Images with their missing pixels drawn.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CompleteAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// `exact`: drawn from p(missing | given). `ancestral`: in the model's order; given pixels that come later do not inform
    /// the missing ones before them. `pseudo_gibbs`: by alternating encoder and decoder, approximate.
    #[schema(example = "exact")]
    method: &'static str,
    /// Rounds of `pseudo_gibbs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    iterations: Option<u32>,
    /// With it the same images come again.
    seed: u64,
    temperature: f64,
    /// One for each image, in order.
    results: Vec<Item<CompleteResult>>,
}

/// Completions of one image.
#[derive(Debug, Serialize, ToSchema)]
struct CompleteResult {
    images: Vec<ImageBody>,
    /// Of a model that is conditioned on labels: that of each image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

/// Complete images
///
/// Which pixels are given is said by `rows`, or by a mask of the model's size: in a form a second file in the field `mask`
/// (light pixels are given), in JSON the key `mask` with rows of 0 and 1 or an image file in base64. As `image/png` one grid, as
/// `image/gif` an animation of how the missing pixels appear, as `application/x-npy` uint8 levels, image by image with its
/// completions; the header `X-Seed` then tells the seed, and `X-Labels` the labels of a conditional model as a JSON array.
#[utoipa::path(
    post, path = "/complete", tag = "operations", params(CompleteParams),
    responses((status = 200, description = "Images", content(
        (CompleteAnswer = "application/json"), ("image/png"), ("application/x-npy"), ("image/gif")
    )))
)]
pub(super) async fn complete(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy, Format::Gif];
    let mut call = Call::open(state, Capability::Complete, &formats, request).await?;
    let input: Input<CompleteParams> = read_images(&mut call, true).await?;
    let params = input.options;
    let known = match (params.rows, input.mask) {
        (Some(rows), None) => Known::Rows(rows),
        (None, Some(mask)) => Known::Mask(mask),
        (Some(_), Some(_)) => {
            return Err(Problem::option(
                "rows",
                "there is a mask too; give one of them",
            ));
        }
        (None, None) => {
            return Err(Problem::option(
                "rows",
                "say which pixels are given, by rows=K or by a mask",
            ));
        }
    };
    let options = CompleteOptions {
        known,
        n: params.n.unwrap_or(1),
        seed: params.seed.unwrap_or_else(random_seed),
        temperature: params.temperature.unwrap_or(1.0),
        label: params.label.map(Into::into),
    };
    call.count_images(input.images.len().saturating_mul(options.n as usize))?;
    let shape = call.shape();
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let answer = call
        .state
        .service
        .complete(&call.model, images, &options, call.deadline)
        .await?;
    let results = batch.merge(answer.results)?;
    let mut response = if call.format == Format::Json {
        let answered = Answered::by(&call);
        let (seed, temperature) = (options.seed, options.temperature);
        let size = 4 * results.len() * options.n as usize * shape.dimensions();
        offload(size, move || {
            json(&CompleteAnswer {
                answered,
                method: answer.method.name(),
                iterations: iterations(answer.method),
                seed,
                temperature,
                results: results.items(&call.scope, CompleteResult::new),
            })
        })
        .await
    } else {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for completions in results.all()? {
            images.extend(completions.images);
            labels.extend(completions.labels);
        }
        let mut response = if call.format == Format::Gif {
            let known = flags(options.known, shape);
            animation(images, shape, known, appearance(&call)).await?
        } else {
            picture_or_array(call.format, images, shape).await?
        };
        tell_labels(&mut response, &labels)?;
        response
    };
    response.headers_mut().insert("x-seed", options.seed.into());
    Ok(response)
}

impl CompleteResult {
    fn new(Completions { images, labels }: Completions) -> Result<Self, Problem> {
        let images = images
            .iter()
            .map(ImageBody::new)
            .collect::<Result<_, _>>()?;
        Ok(Self { images, labels })
    }
}

/// One flag a pixel in row order, `true` where it is given.
fn flags(known: Known, shape: ImageShape) -> Vec<bool> {
    match known {
        Known::Rows(rows) => (0..shape.pixels())
            .map(|pixel| pixel / shape.width() < rows)
            .collect(),
        Known::Mask(mask) => mask,
    }
}

fn iterations(method: CompletionMethod) -> Option<u32> {
    match method {
        CompletionMethod::Exact | CompletionMethod::Ancestral => None,
        CompletionMethod::PseudoGibbs { iterations } => Some(iterations),
    }
}

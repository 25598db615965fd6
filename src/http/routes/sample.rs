//! New images.

use std::sync::Arc;

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
        input::{BodyKind, Wanted, read_json},
        output::{self, ImageBody, image_bodies, json_text},
        problem::{Problem, ProblemKind},
        scope::random_seed,
        stream::{self, Progress},
    },
    service::{
        progress::Board,
        requests::{SampleOptions, Sampler},
    },
};

use super::{Answered, LabelOption, ObservationOption, appearance, tell_labels};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SampleParams {
    /// Images; by default 1.
    #[param(example = 4)]
    n: Option<u32>,
    /// The same seed gives the same images; without one the server chooses, and the answer tells.
    seed: Option<u64>,
    /// Above 0; by default 1, the model's own distribution. Lower is more typical.
    temperature: Option<f64>,
    /// For models with a decoder: its mean (the default) or a draw from it.
    #[param(inline)]
    observation: Option<ObservationOption>,
    /// For a model that is conditioned on labels: which one, by name or number. Without it each image's label is drawn from the prior,
    /// so that images come from p(x); the answer tells the labels.
    #[param(value_type = Option<String>)]
    label: Option<LabelOption>,
}

/// Images drawn from a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SampleAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// With it the same images come again.
    seed: u64,
    temperature: f64,
    #[serde(flatten)]
    drawn: DrawnBy,
    images: Vec<ImageBody>,
    /// Of a model that is conditioned on labels: that of each image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
}

/// How the images were drawn.
#[derive(Debug, Serialize, ToSchema)]
struct DrawnBy {
    /// `wavefront`: pixel by pixel through the compiled network. `fixed_point`: by full passes, each of which settles some
    /// pixels. Both draw what one full pass a pixel would draw. `decoder`: one pass through a decoder.
    #[schema(example = "wavefront")]
    sampler: &'static str,
    /// Steps of a wavefront that each image took.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    /// Full passes that all images took together.
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<u64>,
}

impl DrawnBy {
    fn new(sampler: Sampler) -> Self {
        let (steps, passes) = match sampler {
            Sampler::Wavefront { steps } => (Some(steps), None),
            Sampler::FixedPoint { passes } => (None, Some(passes)),
            Sampler::Decoder => (None, None),
        };
        Self {
            sampler: sampler.name(),
            steps,
            passes,
        }
    }
}

/// Draw images
///
/// The options may also come as a JSON object. As `image/png` one grid (a single image comes plainly), as `image/gif` an animation of
/// how the images appear, as `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C]; the header `X-Seed` then tells
/// the seed, and `X-Labels` the labels of a conditional model as a JSON array. As `text/event-stream` the images can be watched while they are drawn: events `progress` show the rows so far of one
/// image each, at most one in 50 ms, and the last event is `done` with the JSON answer, or `error` with a problem.
#[utoipa::path(
    post, path = "/sample", tag = "operations", params(SampleParams),
    responses((status = 200, description = "Images", content(
        (SampleAnswer = "application/json"), ("image/png"), ("application/x-npy"), ("image/gif"),
        (Progress = "text/event-stream")
    )))
)]
pub(super) async fn sample(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [
        Format::Json,
        Format::Png,
        Format::Npy,
        Format::Gif,
        Format::Events,
    ];
    let mut call = Call::open(state, Capability::Sample, &formats, request).await?;
    let params: SampleParams = read_options(&mut call).await?;
    let options = SampleOptions {
        n: params.n.unwrap_or(1),
        seed: params.seed.unwrap_or_else(random_seed),
        temperature: params.temperature.unwrap_or(1.0),
        observation: params.observation.map(Into::into).unwrap_or_default(),
        label: params.label.map(Into::into),
    };
    call.count_images(options.n as usize)?;
    let seed = options.seed;
    let mut response = if call.format == Format::Events {
        watched(call, options)?
    } else {
        at_once(call, options).await?
    };
    response.headers_mut().insert("x-seed", seed.into());
    Ok(response)
}

/// The answer when everything is drawn.
async fn at_once(call: Call, options: SampleOptions) -> Result<Response, Problem> {
    let answer = call
        .state
        .service
        .sample(&call.model, &options, None, call.deadline)
        .await?;
    let (images, shape) = (answer.images, call.shape());
    let drawn = (answer.sampler, answer.labels.clone());
    let answered = Answered::by(&call);
    let mut response = if call.format == Format::Gif {
        let appearance = appearance(&call);
        output::animation(images, shape, Vec::new(), appearance).await?
    } else {
        output::images(call.format, images, shape, |images| {
            SampleAnswer::new(answered, &options, drawn, images)
        })
        .await?
    };
    if call.format != Format::Json {
        tell_labels(&mut response, &answer.labels)?;
    }
    Ok(response)
}

/// The answer in events, from now on.
fn watched(call: Call, options: SampleOptions) -> Result<Response, Problem> {
    let shape = call.shape();
    // More images than may be drawn are refused by the service, which alone knows the limit; room is made for no more than may come.
    let images = (options.n as usize).min(call.state.config.max_images);
    let board = Board::new(images, shape.dimensions());
    let scope = Arc::clone(&call.scope);
    let watch = Arc::clone(&board);
    let work = async move {
        let answer = call
            .state
            .service
            .sample(&call.model, &options, Some(&watch), call.deadline)
            .await?;
        let images = image_bodies(answer.images).await?;
        let answered = Answered::by(&call);
        json_text(&SampleAnswer::new(
            answered,
            &options,
            (answer.sampler, answer.labels),
            images,
        ))
    };
    stream::watch(scope, board, shape, work)
}

impl SampleAnswer {
    fn new(
        answered: Answered,
        options: &SampleOptions,
        (sampler, labels): (Sampler, Vec<String>),
        images: Vec<ImageBody>,
    ) -> Self {
        Self {
            answered,
            seed: options.seed,
            temperature: options.temperature,
            drawn: DrawnBy::new(sampler),
            images,
            labels,
        }
    }
}

/// Options from the query and from a body that may be empty.
async fn read_options(call: &mut Call) -> Result<SampleParams, Problem> {
    let body = call.read_body().await?;
    let mut options = call.take_options();
    if !body.is_empty() {
        if !matches!(BodyKind::of(&call.headers), Ok(BodyKind::Json)) {
            return Err(Problem::new(
                ProblemKind::UnsupportedMediaType,
                "options come in the query or as a JSON object of type application/json",
            ));
        }
        read_json(&body, Wanted::default(), &mut options)?;
    }
    options.parse()
}

//! How likely is this image?

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{family::Capability, image::ImageShape, likelihood::Bound},
    http::{
        HttpState,
        accept::{Format, not_acceptable},
        call::{Call, offload},
        input::{Input, read_images},
        output::{Batch, Item, Nested, Results, bytes_of, finite, json},
        problem::Problem,
    },
    media,
    service::requests::{BoundChoice, LikelihoodOf, Score, ScoreOptions},
};

use super::{Answered, LabelOption};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ScoreParams {
    /// Which bound; by default `exact` for autoregressive models and `elbo` for a VAE.
    #[param(inline)]
    bound: Option<BoundOption>,
    /// Posterior samples of a bound, 1 to 4096; by default 16 for `elbo` and 64 for `iwae`.
    #[param(example = 64)]
    k: Option<u32>,
    /// Seed of the posterior samples; by default 0.
    seed: Option<u64>,
    /// Whether to answer with the log-probability of every dimension: in JSON beside the numbers, as `image/png` a heat map
    /// (dark is expected, bright surprising), as `application/x-npy` float32 of shape [N, C, H, W].
    map: Option<bool>,
    /// For a model that is conditioned on labels: which one, by name or number, for log p(x|y). Without it the answer is the evidence,
    /// log p(x) = log Σ p(x|y) p(y) over all labels, exactly; it takes as many scores as there are labels.
    #[param(value_type = Option<String>)]
    label: Option<LabelOption>,
}

/// A bound on the log-likelihood, or the exact value.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BoundOption {
    Exact,
    Elbo,
    Iwae,
}

/// The likelihoods of images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScoreAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// What the numbers are worth: `exact`, or the lower bound `elbo` or `iwae`.
    #[schema(example = "exact")]
    bound: &'static str,
    /// Of a model that is conditioned on labels: `p(x|y)`, the likelihood given `label`, or `p(x)`, the evidence over all labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "p(x)")]
    likelihood_of: Option<&'static str>,
    /// The label of `p(x|y)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Posterior samples behind a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u32>,
    /// The seed of these samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// One for each image, in order.
    results: Vec<Item<ScoreResult>>,
}

/// The likelihood of one image. A number that JSON cannot express is null, and `reason` says why.
#[derive(Debug, Serialize, ToSchema)]
struct ScoreResult {
    /// Natural logarithm of the probability of the image, in nats.
    #[schema(example = -1498.2)]
    log_likelihood: Option<f64>,
    /// −log-likelihood / (dimensions · ln 2).
    #[schema(example = 2.757)]
    bits_per_dim: Option<f64>,
    /// exp(−log-likelihood / dimensions).
    #[schema(example = 6.76)]
    perplexity: Option<f64>,
    /// Why numbers are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// How many of the importance samples count, between 1 and k.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_sample_size: Option<f64>,
    /// Log-probability of every dimension in nats: rows of columns, or channels of rows of columns if there are several
    /// channels. Of the evidence, log p(xᵢ | x₍<ᵢ₎) of the mixture over labels. For a VAE the mean over posterior samples of log p(x | z), without the KL term.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Vec<f32>>>)]
    log_probability_map: Option<Nested>,
}

/// Score images
///
/// The log-likelihood of each image, or a lower bound on it. As `application/x-npy` float64 of shape [N].
#[utoipa::path(
    post, path = "/score", tag = "operations", params(ScoreParams),
    responses((status = 200, description = "Likelihoods", content(
        (ScoreAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn score(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Score, &formats, request).await?;
    let input: Input<ScoreParams> = read_images(&mut call, false).await?;
    let options = input.options.into_service();
    if call.format == Format::Png && !options.map {
        return Err(not_acceptable(&[Format::Json, Format::Npy])
            .with_detail("a picture (image/png) needs map=true"));
    }
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let answer = call
        .state
        .service
        .score(&call.model, images, &options, call.deadline)
        .await?;
    let results = batch.merge(answer.results)?;
    let shape = call.shape();
    if call.format != Format::Json {
        return arrays(call.format, results, options.map, shape).await;
    }
    let answered = Answered::by(&call);
    let (bound, seed): (Bound, _) = (answer.bound, answer.seed);
    let likelihood_of = answer.likelihood_of.as_ref().map(LikelihoodOf::formula);
    let label = match answer.likelihood_of {
        Some(LikelihoodOf::Given(label)) => Some(label),
        Some(LikelihoodOf::Evidence) | None => None,
    };
    let size = if options.map {
        16 * results.len() * shape.dimensions()
    } else {
        0
    };
    Ok(offload(size, move || {
        json(&ScoreAnswer {
            answered,
            bound: bound.name(),
            likelihood_of,
            label,
            k: bound.samples(),
            seed,
            results: results.items(&call.scope, |score| Ok(ScoreResult::new(score, shape))),
        })
    })
    .await)
}

/// Maps or numbers of all images as one picture or array.
async fn arrays(
    format: Format,
    results: Results<Score>,
    map: bool,
    shape: ImageShape,
) -> Result<Response, Problem> {
    let scores = results.all()?;
    if !map {
        let values = scores.iter().map(|score| score.log_likelihood_nats);
        return Ok(bytes_of(format, media::write_f64(&[scores.len()], values)));
    }
    let maps: Vec<Vec<f32>> = scores.into_iter().filter_map(|score| score.map).collect();
    let size = 16 * maps.len() * shape.dimensions();
    let bytes = offload(size, move || {
        if format == Format::Png {
            let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            return media::heat_map_grid(&maps, shape);
        }
        let lengths = [maps.len(), shape.channels(), shape.height(), shape.width()];
        Ok(media::write_f32(&lengths, maps.into_iter().flatten()))
    })
    .await?;
    Ok(bytes_of(format, bytes))
}

impl ScoreParams {
    fn into_service(self) -> ScoreOptions {
        ScoreOptions {
            bound: self.bound.map(|bound| match bound {
                BoundOption::Exact => BoundChoice::Exact,
                BoundOption::Elbo => BoundChoice::Elbo,
                BoundOption::Iwae => BoundChoice::Iwae,
            }),
            k: self.k,
            seed: self.seed.unwrap_or_default(),
            map: self.map.unwrap_or_default(),
            label: self.label.map(Into::into),
        }
    }
}

impl ScoreResult {
    fn new(score: Score, shape: ImageShape) -> Self {
        let log_likelihood = finite(score.log_likelihood_nats);
        let perplexity = finite(score.perplexity);
        let reason = match (log_likelihood, perplexity) {
            (None, _) => Some(
                "the model gives this image no probability at all: its log-likelihood is minus infinity",
            ),
            (_, None) => Some("the perplexity is too large for a number of double precision"),
            _ => None,
        };
        Self {
            log_likelihood,
            bits_per_dim: finite(score.bits_per_dim),
            perplexity,
            reason,
            effective_sample_size: score.effective_sample_size.and_then(finite),
            log_probability_map: score.map.map(|map| Nested::new(map, shape)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_image_has_no_numbers_but_a_reason() {
        let score = Score {
            log_likelihood_nats: f64::NEG_INFINITY,
            bits_per_dim: f64::INFINITY,
            perplexity: f64::INFINITY,
            effective_sample_size: None,
            map: None,
        };
        let shape = ImageShape::new(1, 1, 1, 2).unwrap();
        let text = serde_json::to_value(ScoreResult::new(score, shape)).unwrap();
        for name in ["log_likelihood", "bits_per_dim", "perplexity"] {
            assert!(text[name].is_null(), "{text}");
        }
        assert!(text["reason"].as_str().unwrap().contains("minus infinity"));
    }
}

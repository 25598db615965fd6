//! Is this image reasonable?

use std::collections::BTreeMap;

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
        output::{Batch, Item, finite, json},
        problem::Problem,
    },
    service::requests::{DetectOptions, Detection},
};

use super::Answered;

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DetectParams {
    /// The share of ordinary images that may be rejected, above 0 and below 1; by default 0.01.
    #[param(example = 0.01)]
    false_alarm_rate: Option<f64>,
}

/// Decisions on images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DetectAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each image, in order.
    results: Vec<Item<DetectResult>>,
}

/// The decision on one image.
#[derive(Debug, Serialize, ToSchema)]
struct DetectResult {
    /// `reject` if the p-value is at most the false-alarm rate, else `accept`.
    #[schema(example = "accept")]
    decision: &'static str,
    /// Two-sided conformal p-value: how often an ordinary image is at least as strange.
    #[schema(example = 0.41)]
    p_value: f64,
    /// As asked for.
    #[schema(example = 0.01)]
    false_alarm_rate: f64,
    /// What was measured, by name.
    statistics: BTreeMap<&'static str, Statistic>,
    /// What the p-value is measured against.
    calibration: Calibrated,
}

/// One number measured of an image.
#[derive(Debug, Serialize, ToSchema)]
struct Statistic {
    /// In nats; null if it is not finite.
    #[schema(example = -1498.2)]
    value: Option<f64>,
    #[schema(example = 0.41)]
    p_value: f64,
    /// The same in bits per dimension; null if it is not finite.
    #[schema(example = 2.757)]
    bits_per_dim: Option<f64>,
}

/// Scores of held-out ordinary images.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Calibrated {
    #[schema(example = 5000)]
    size: usize,
    description: String,
}

/// Judge images
///
/// Whether each image is one that the model would expect, at a stated rate of false alarms. Rejecting an image is an answer,
/// not an error.
#[utoipa::path(
    post, path = "/detect", tag = "operations", params(DetectParams),
    responses((status = 200, description = "Decisions", body = DetectAnswer))
)]
pub(super) async fn detect(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let mut call = Call::open(state, Capability::Detect, &[Format::Json], request).await?;
    let input: Input<DetectParams> = read_images(&mut call, false).await?;
    let default = DetectOptions::DEFAULT_FALSE_ALARM_RATE;
    let options = DetectOptions {
        false_alarm_rate: input.options.false_alarm_rate.unwrap_or(default),
    };
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let answer = call
        .state
        .service
        .detect(&call.model, images, &options, call.deadline)
        .await?;
    let calibration = Calibrated {
        size: answer.calibration_size,
        description: answer.calibration_description,
    };
    let (statistic, rate) = (answer.statistic, answer.false_alarm_rate);
    let result = |detection: Detection| {
        let measured = Statistic {
            value: finite(detection.statistic),
            p_value: detection.p_value,
            bits_per_dim: finite(detection.bits_per_dim),
        };
        Ok(DetectResult {
            decision: if detection.reject { "reject" } else { "accept" },
            p_value: detection.p_value,
            false_alarm_rate: rate,
            statistics: BTreeMap::from([(statistic, measured)]),
            calibration: calibration.clone(),
        })
    };
    Ok(json(&DetectAnswer {
        answered: Answered::by(&call),
        results: batch.merge(answer.results)?.items(&call.scope, result),
    }))
}

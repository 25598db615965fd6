//! Is this image reasonable?

use std::collections::BTreeMap;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{
        family::Capability,
        image::{Image, ImageShape},
    },
    http::{
        HttpState,
        accept::{Format, not_acceptable},
        call::{Call, offload},
        input::{Input, read_images},
        output::{Batch, Item, Nested, Results, bytes_of, finite, json},
        problem::Problem,
    },
    media,
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
    /// The probability, above 0 and below 1, with which the calibration at hand keeps the false-alarm rate; without it the rate holds
    /// on average over calibrations. Detectors only.
    #[param(example = 0.95)]
    confidence: Option<f64>,
    /// Instead of a false-alarm rate: the expected share of ordinary images among those that the request has rejected (Benjamini and
    /// Hochberg). Detectors only.
    fdr: Option<f64>,
    /// Whether to answer with what speaks against each pixel: in JSON beside the decision, as `image/png` laid over the
    /// image, as `application/x-npy` float32 of shape [N, C, H, W]. Detectors only.
    map: Option<bool>,
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
    /// `reject` if the p-value is at most the threshold, else `accept`.
    #[schema(example = "accept")]
    decision: &'static str,
    /// Conformal p-value: how often an ordinary image is at least as strange.
    #[schema(example = 0.41)]
    p_value: f64,
    /// As asked for; not there if a false discovery rate was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.01)]
    false_alarm_rate: Option<f64>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    fdr: Option<f64>,
    /// The largest p-value that is rejected, where it does not depend on the other images.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.01)]
    threshold: Option<f64>,
    /// What is promised.
    guarantee: String,
    /// What was measured, by name. A detector's densities begin with `density:`.
    statistics: BTreeMap<String, Statistic>,
    /// What the p-value is measured against.
    calibration: Calibrated,
    /// What speaks against each dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<EvidenceMap>,
}

/// One number measured of an image.
#[derive(Debug, Serialize, ToSchema)]
struct Statistic {
    /// Log-likelihoods in nats; null if it is not finite.
    #[schema(example = -1498.2)]
    value: Option<f64>,
    /// How often an ordinary image's is as far out.
    #[schema(example = 0.41)]
    p_value: f64,
    /// A log-likelihood in bits per dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// What speaks against each dimension of an image.
#[derive(Debug, Serialize, ToSchema)]
struct EvidenceMap {
    /// Of the statistics that are maps, the one whose density finds the image strangest.
    #[schema(example = "local_ratio_map")]
    statistic: &'static str,
    /// `nats`, of which negative ones speak for the image, or `squared error` in units of level / (levels − 1).
    #[schema(example = "nats")]
    unit: &'static str,
    /// Rows of columns, or channels of these if there are several; positive speaks against the image.
    #[schema(value_type = Vec<Vec<f32>>)]
    values: Nested,
}

/// Judge images
///
/// Whether each image is one that the model would expect, at a stated rate of false alarms. Rejecting an image is an answer,
/// not an error.
#[utoipa::path(
    post, path = "/detect", tag = "operations", params(DetectParams),
    responses((status = 200, description = "Decisions", content(
        (DetectAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn detect(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Detect, &formats, request).await?;
    let input: Input<DetectParams> = read_images(&mut call, false).await?;
    let options = input.options.to_service()?;
    if call.format != Format::Json && !options.map {
        return Err(not_acceptable(&[Format::Json])
            .with_detail("decisions come as JSON; a picture or an array needs map=true"));
    }
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let shown = if call.format == Format::Png {
        images.clone()
    } else {
        Vec::new()
    };
    let answer = call
        .state
        .service
        .detect(&call.model, images, &options, call.deadline)
        .await?;
    let results = batch.merge(answer.results)?;
    let shape = call.shape();
    if call.format != Format::Json {
        return maps(call.format, results, shown, shape).await;
    }
    let calibration = Calibrated {
        size: answer.calibration_size,
        description: answer.calibration_description,
    };
    let answered = Answered::by(&call);
    let threshold = answer.threshold;
    let guarantee = guarantee(&options, threshold);
    let size = if options.map {
        16 * results.len() * shape.dimensions()
    } else {
        0
    };
    Ok(offload(size, move || {
        let result = |detection: Detection| {
            Ok(DetectResult {
                decision: if detection.reject { "reject" } else { "accept" },
                p_value: detection.p_value,
                false_alarm_rate: options
                    .false_discovery_rate
                    .is_none()
                    .then_some(options.false_alarm_rate),
                confidence: options.confidence,
                fdr: options.false_discovery_rate,
                threshold,
                guarantee: guarantee.clone(),
                statistics: statistics(&detection),
                calibration: calibration.clone(),
                map: detection.map.map(|map| EvidenceMap {
                    statistic: map.statistic,
                    unit: map.unit,
                    values: Nested::new(map.values, shape),
                }),
            })
        };
        json(&DetectAnswer {
            answered,
            results: results.items(&call.scope, result),
        })
    })
    .await)
}

/// What is promised, in a sentence.
fn guarantee(options: &DetectOptions, threshold: Option<f64>) -> String {
    let rate = options.false_alarm_rate;
    match (options.false_discovery_rate, options.confidence, threshold) {
        (Some(rate), ..) => format!(
            "of the images rejected in this request, an expected share of at most {rate} is ordinary"
        ),
        (None, Some(confidence), Some(threshold)) => format!(
            "with probability {confidence} over calibrations, this calibration rejects at most a share of {rate} of ordinary images: \
             those with a p-value of at most {threshold:.6}"
        ),
        _ => format!(
            "on average over calibrations, at most a share of {rate} of ordinary images is rejected"
        ),
    }
}

fn statistics(detection: &Detection) -> BTreeMap<String, Statistic> {
    let one = |measured: &crate::service::requests::MeasuredStatistic| {
        let statistic = Statistic {
            value: finite(measured.value),
            p_value: measured.p_value,
            bits_per_dim: measured.bits_per_dim.and_then(finite),
        };
        (measured.name.clone(), statistic)
    };
    detection.statistics.iter().map(one).collect()
}

/// The maps of all images as one picture or array.
async fn maps(
    format: Format,
    results: Results<Detection>,
    images: Vec<Image>,
    shape: ImageShape,
) -> Result<Response, Problem> {
    let detections = results.all()?;
    let maps: Vec<Vec<f32>> = detections
        .into_iter()
        .filter_map(|detection| Some(detection.map?.values))
        .collect();
    let size = 16 * maps.len() * shape.dimensions();
    let bytes = offload(size, move || {
        if format == Format::Png {
            let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            return media::overlay_grid(&images, &maps, shape);
        }
        let lengths = [maps.len(), shape.channels(), shape.height(), shape.width()];
        Ok(media::write_f32(&lengths, maps.into_iter().flatten()))
    })
    .await?;
    Ok(bytes_of(format, bytes))
}

impl DetectParams {
    fn to_service(&self) -> Result<DetectOptions, Problem> {
        if self.fdr.is_some() && self.false_alarm_rate.is_some() {
            return Err(Problem::option(
                "fdr",
                "it replaces false_alarm_rate: give one of the two",
            ));
        }
        let default = DetectOptions::DEFAULT_FALSE_ALARM_RATE;
        Ok(DetectOptions {
            false_alarm_rate: self.false_alarm_rate.unwrap_or(default),
            confidence: self.confidence,
            false_discovery_rate: self.fdr,
            map: self.map.unwrap_or_default(),
        })
    }
}

//! Which label does this image have?

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{family::Capability, image::ImageShape, likelihood},
    http::{
        HttpState,
        accept::{Format, not_acceptable},
        call::{Call, offload},
        input::{Input, read_images},
        output::{Batch, Item, Nested, Results, bytes_of, finite, json},
        problem::Problem,
    },
    media,
    service::{
        error::ServiceError,
        requests::{Classification, ClassifyOptions, Doubt, Doubts, Verdict},
    },
};

use super::{Answered, ByLabel};

/// What a client may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ClassifyParams {
    /// Whether to answer with what each dimension says about each label: in JSON beside the numbers, as `image/png` a row an image
    /// with a picture a label (red speaks for the label, blue against it, strongest from 1 nat on), as `application/x-npy` float32 of shape [N, labels, C, H, W].
    map: Option<bool>,
    /// Of a composite: the share of ordinary images that each of its two reasons to give no label may reject, above 0 and below 1; by
    /// default 0.01.
    #[param(example = 0.01)]
    false_alarm_rate: Option<f64>,
}

/// Labels of images.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClassifyAnswer {
    #[serde(flatten)]
    answered: Answered,
    /// One for each image, in order.
    results: Vec<Item<ClassifyResult>>,
}

/// What the model says about the label of one image. Logarithms are natural; a number that JSON cannot express is null, which for a
/// logarithm is minus infinity.
#[derive(Debug, Serialize, ToSchema)]
struct ClassifyResult {
    /// The most probable label; of a composite null where the decision is not `accept`.
    #[schema(value_type = Option<String>, example = "ankle boot")]
    label: Option<Arc<str>>,
    /// Of a composite: `accept`, or `none_of_these` if the image is novel, or `ambiguous` if it lies between labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "accept")]
    decision: Option<&'static str>,
    /// The largest of the probabilities.
    #[schema(example = 0.93)]
    probability: f64,
    /// p(y|x) of every label.
    #[schema(value_type = std::collections::BTreeMap<String, f64>)]
    probabilities: ByLabel<f64>,
    /// log p(y|x) of every label, for what is too improbable for a probability.
    #[schema(value_type = std::collections::BTreeMap<String, Option<f64>>)]
    log_posterior: ByLabel<Option<f64>>,
    /// log p(x|y) of every label in nats, of a density that is conditioned on labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Option<f64>>>)]
    log_likelihoods: Option<ByLabel<Option<f64>>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    doubts: Option<DoubtsBody>,
    /// For every label and dimension log p(xᵢ | x₍<ᵢ₎, y) − log p(xᵢ | x₍<ᵢ₎) in nats, by which the dimension moves log p(y | x so
    /// far): positive for the label, negative against it; the sum is log p(y|x) − log p(y). Rows of columns, or channels of rows of
    /// columns if there are several channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, Vec<Vec<f32>>>>)]
    pixel_evidence: Option<ByLabel<Nested>>,
}

/// Why a composite gives no label, or how far it is from that.
#[derive(Debug, Serialize, ToSchema)]
struct DoubtsBody {
    /// The share of ordinary images that each of the two may reject.
    #[schema(example = 0.01)]
    false_alarm_rate: f64,
    /// Whether the image lies between labels: the value is −log max p(y|x), in nats.
    ambiguity: DoubtBody,
    /// Whether the image is like nothing that the labels mean: the value is a detector's strangeness, or log p(x) in nats.
    novelty: DoubtBody,
}

/// One reason to give no label.
#[derive(Debug, Serialize, ToSchema)]
struct DoubtBody {
    /// What it is judged by.
    #[schema(example = 0.07)]
    value: Option<f64>,
    /// How often an ordinary image is as far out.
    #[schema(example = 0.41)]
    p_value: f64,
    /// Whether the p-value is at most the false-alarm rate.
    reject: bool,
}

/// How likely the image is, whatever its label.
#[derive(Debug, Serialize, ToSchema)]
struct Evidence {
    /// log p(x) in nats: log Σ p(x|y) p(y) of a density that is conditioned on labels, or what the density of a composite says.
    #[schema(example = -1498.2)]
    log_likelihood: Option<f64>,
    /// −log p(x) / (dimensions · ln 2).
    #[schema(example = 2.757)]
    bits_per_dim: Option<f64>,
    /// Why numbers are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Classify images
///
/// The probability of every label given the image: by a classifier, by Bayes' rule from a density that is conditioned on labels, or by a
/// composite of classifier and density, which can also answer that the image is none of these, or ambiguous. As
/// `application/x-npy` float64 of shape [N, labels], probabilities in the order of the labels' numbers.
#[utoipa::path(
    post, path = "/classify", tag = "operations", params(ClassifyParams),
    responses((status = 200, description = "Labels", content(
        (ClassifyAnswer = "application/json"), ("image/png"), ("application/x-npy")
    )))
)]
pub(super) async fn classify(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let formats = [Format::Json, Format::Png, Format::Npy];
    let mut call = Call::open(state, Capability::Classify, &formats, request).await?;
    let input: Input<ClassifyParams> = read_images(&mut call, false).await?;
    let options = ClassifyOptions {
        map: input.options.map.unwrap_or_default(),
        false_alarm_rate: input.options.false_alarm_rate,
    };
    if call.format == Format::Png && !options.map {
        return Err(not_acceptable(&[Format::Json, Format::Npy])
            .with_detail("a picture (image/png) needs map=true"));
    }
    let mut batch = Batch::new(input.images)?;
    let images = batch.take_images();
    let answer = call
        .state
        .service
        .classify(&call.model, images, &options, call.deadline)
        .await?;
    let results = batch.merge(answer.results)?;
    let (shape, labels) = (call.shape(), answer.labels.len());
    if call.format != Format::Json {
        return arrays(call.format, results, options.map, labels, shape).await;
    }
    let answered = Answered::by(&call);
    let names: Vec<Arc<str>> = answer.labels.into_iter().map(Arc::from).collect();
    let size = if options.map {
        16 * results.len() * labels * shape.dimensions()
    } else {
        0
    };
    Ok(offload(size, move || {
        json(&ClassifyAnswer {
            answered,
            results: results.items(&call.scope, |own| ClassifyResult::new(&names, own, shape)),
        })
    })
    .await)
}

/// Maps or probabilities of all images as one picture or array.
async fn arrays(
    format: Format,
    results: Results<Classification>,
    map: bool,
    labels: usize,
    shape: ImageShape,
) -> Result<Response, Problem> {
    let all = results.all()?;
    if !map {
        let values = all.iter().flat_map(Classification::probabilities);
        let bytes = media::write_f64(&[all.len(), labels], values);
        return Ok(bytes_of(format, bytes));
    }
    let images = all.len();
    let maps: Vec<Vec<f32>> = all
        .into_iter()
        .filter_map(|own| own.maps)
        .flatten()
        .collect();
    let size = 16 * maps.len() * shape.dimensions();
    let bytes = offload(size, move || {
        if format == Format::Png {
            let maps: Vec<&[f32]> = maps.iter().map(Vec::as_slice).collect();
            return media::evidence_grid(&maps, labels, shape);
        }
        let (channels, height, width) = (shape.channels(), shape.height(), shape.width());
        let lengths = [images, labels, channels, height, width];
        Ok(media::write_f32(&lengths, maps.into_iter().flatten()))
    })
    .await?;
    Ok(bytes_of(format, bytes))
}

impl ClassifyResult {
    fn new(
        names: &[Arc<str>],
        classification: Classification,
        shape: ImageShape,
    ) -> Result<Self, Problem> {
        let by_label = |values: &[f64]| ByLabel::new(names, values.iter().copied().map(finite));
        let probabilities = classification.probabilities();
        let number = classification.label();
        let (Some(label), Some(&probability)) = (names.get(number), probabilities.get(number))
        else {
            let cause = "a classification has other labels than its model".to_owned();
            return Err(ServiceError::Inference(cause).into());
        };
        let verdict = classification.doubts.as_ref().map(Doubts::verdict);
        let accepted = verdict.is_none_or(|verdict| verdict == Verdict::Accept);
        Ok(Self {
            label: accepted.then(|| Arc::clone(label)),
            decision: verdict.map(Verdict::name),
            probability,
            probabilities: ByLabel::new(names, probabilities),
            log_posterior: by_label(&classification.log_posterior),
            log_likelihoods: classification.log_likelihoods.as_deref().map(by_label),
            evidence: classification
                .log_evidence
                .map(|nats| Evidence::new(nats, shape.dimensions())),
            doubts: classification.doubts.map(DoubtsBody::new),
            pixel_evidence: classification.maps.map(|maps| {
                ByLabel::new(names, maps.into_iter().map(|map| Nested::new(map, shape)))
            }),
        })
    }
}

impl DoubtsBody {
    fn new(doubts: Doubts) -> Self {
        let body = |doubt: &Doubt| DoubtBody {
            value: finite(doubt.value),
            p_value: doubt.p_value,
            reject: doubt.reject,
        };
        Self {
            false_alarm_rate: doubts.false_alarm_rate,
            ambiguity: body(&doubts.ambiguity),
            novelty: body(&doubts.novelty),
        }
    }
}

impl Evidence {
    fn new(log_evidence_nats: f64, dimensions: usize) -> Self {
        let log_likelihood = finite(log_evidence_nats);
        Self {
            log_likelihood,
            bits_per_dim: finite(likelihood::bits_per_dim(log_evidence_nats, dimensions)),
            reason: log_likelihood.is_none().then_some(
                "the model gives this image no probability at all: its log-likelihood is minus infinity",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_image_has_a_label_and_a_reason() {
        let names: Vec<Arc<str>> = vec!["bag".into(), "shoe".into()];
        let classification = Classification {
            log_posterior: vec![f64::NEG_INFINITY, 0.0],
            log_likelihoods: Some(vec![f64::NEG_INFINITY; 2]),
            log_evidence: Some(f64::NEG_INFINITY),
            maps: None,
            doubts: None,
        };
        let shape = ImageShape::new(1, 1, 1, 2).unwrap();
        let result = ClassifyResult::new(&names, classification, shape)
            .ok()
            .unwrap();
        let text = serde_json::to_value(result).unwrap();
        assert_eq!(text["label"], "shoe");
        assert_eq!(text["probabilities"]["bag"], 0.0);
        assert!(text["log_posterior"]["bag"].is_null());
        assert!(text["log_likelihood"].is_null() && text["log_likelihoods"]["shoe"].is_null());
        assert!(text["reason"].as_str().unwrap().contains("minus infinity"));
    }
}

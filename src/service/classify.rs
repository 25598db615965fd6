//! Classification: which label an image has, and what speaks for each.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    labels::{self, Condition, Witness},
    requests::{Classification, ClassifyAnswer, ClassifyOptions},
    work::{Classifying, Scoring},
};
use crate::{
    domain::{family::Capability, image::Image},
    network::classifier::Prediction,
    scheduling::{Class, JobError, Lane},
};

/// By Bayes' rule from a density that is conditioned on labels: p(y | x) = p(x | y) p(y) / p(x).
pub(super) async fn by_bayes(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Scoring>,
    images: Vec<Image>,
    options: &ClassifyOptions,
    deadline: Instant,
) -> Result<ClassifyAnswer, ServiceError> {
    no_doubts(options)?;
    let Condition::Open(prior) = model.condition(None)? else {
        return Err(model.unsupported(Capability::Classify));
    };
    let witnesses = labels::witnesses(service, lane, &images, &prior, deadline).await?;
    let results = witnesses
        .into_iter()
        .map(|witness| Ok(classification(witness?, options.map)))
        .collect();
    Ok(ClassifyAnswer {
        labels: model.label_names().to_vec(),
        results,
    })
}

/// By a classifier.
pub(super) async fn by_classifier(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Classifying>,
    images: Vec<Image>,
    options: &ClassifyOptions,
    deadline: Instant,
) -> Result<ClassifyAnswer, ServiceError> {
    no_doubts(options)?;
    no_map(options)?;
    let permit = service.admit(
        Class::Interactive,
        lane.estimate(images.len() as u64),
        deadline,
    )?;
    let predictions = lane.run(&permit, images, deadline).await;
    let classification = |prediction: Result<Prediction, JobError>| {
        Ok(Classification {
            log_posterior: posterior(&prediction?)?,
            log_likelihoods: None,
            log_evidence: None,
            maps: None,
            doubts: None,
        })
    };
    Ok(ClassifyAnswer {
        labels: model.label_names().to_vec(),
        results: predictions.into_iter().map(classification).collect(),
    })
}

/// log p(y | x), unless the classifier gave no numbers.
pub(super) fn posterior(prediction: &Prediction) -> Result<Vec<f64>, ServiceError> {
    let log_posterior = prediction.log_posterior();
    if log_posterior.iter().any(|value| value.is_nan()) {
        return Err(ServiceError::not_a_number());
    }
    Ok(log_posterior)
}

/// Only a density knows what each dimension says.
pub(super) fn no_map(options: &ClassifyOptions) -> Result<(), ServiceError> {
    if !options.map {
        return Ok(());
    }
    Err(ServiceError::InvalidOption {
        option: "map",
        reason: "a classifier sees the image as a whole: what each dimension says about a label only a density that is conditioned on \
                 labels can tell"
            .to_owned(),
    })
}

/// Only a composite has calibrated reasons to give no label.
fn no_doubts(options: &ClassifyOptions) -> Result<(), ServiceError> {
    if options.false_alarm_rate.is_none() {
        return Ok(());
    }
    Err(ServiceError::InvalidOption {
        option: "false_alarm_rate",
        reason: "this model always names a label; only a composite of the family \"bayes\" can answer \"none of these\""
            .to_owned(),
    })
}

fn classification(Witness { maps, beliefs }: Witness, map: bool) -> Classification {
    let evidence = |map: &Vec<f32>| {
        let evidence = beliefs.pixel_evidence(map);
        evidence.into_iter().map(|value| value as f32).collect()
    };
    Classification {
        maps: map.then(|| maps.iter().map(evidence).collect()),
        doubts: None,
        log_posterior: beliefs.log_posterior,
        log_likelihoods: Some(beliefs.log_likelihoods),
        log_evidence: Some(beliefs.log_evidence),
    }
}

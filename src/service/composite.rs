//! Composites of Bayes' rule: a label, or one of two reasons to give none.
//!
//! A classifier always names a label. Beside a density it need not: an image that is *ambiguous* lies between labels, one that is
//! *novel* is like nothing that the labels mean. The two are told apart by different models, each with a calibration of its own, so that
//! each rejects at most the asked share of ordinary images.

use std::time::Instant;

use super::{
    ServedModel, Service,
    classify::{no_map, posterior},
    detect::{self, value_of},
    error::ServiceError,
    labels::Condition,
    measure::Measuring,
    models::CompositeLanes,
    requests::{
        Classification, ClassifyAnswer, ClassifyOptions, Doubt, Doubts, LikelihoodOf, PerImage,
        ScoreAnswer, ScoreOptions,
    },
    score,
};
use crate::{
    domain::{
        bayes,
        conformal::{Calibration, CalibrationError},
        image::Image,
        likelihood::Bound,
        statistics::Statistic,
    },
    network::{classifier::Prediction, panel::Measurement},
    repository::{
        composite::{Composite, Novelty},
        detector::Detector,
    },
    scheduling::{Class, JobError, Lane},
};

/// What the density and the judge of novelty say of an image.
struct Familiarity {
    /// log p(x), in nats.
    log_density: f64,
    /// What novelty is judged by.
    value: f64,
    p_value: f64,
}

/// Labels, likelihoods and doubts.
pub(super) async fn classify(
    service: &Service,
    model: &ServedModel,
    lanes: &CompositeLanes,
    images: Vec<Image>,
    options: &ClassifyOptions,
    deadline: Instant,
) -> Result<ClassifyAnswer, ServiceError> {
    no_map(options)?;
    let composite = &lanes.composite;
    let rate = options
        .false_alarm_rate
        .unwrap_or(ClassifyOptions::DEFAULT_FALSE_ALARM_RATE);
    supports(composite, rate).map_err(detect::refused)?;
    let predictions = predictions(service, lanes, images.clone(), deadline).await?;
    let familiarities = familiarities(service, lanes, images, deadline).await?;
    let results = predictions
        .into_iter()
        .zip(familiarities)
        .map(|(prediction, familiarity)| {
            let (log_posterior, familiarity) = (posterior(&prediction?)?, familiarity?);
            let ambiguity = ambiguity(&log_posterior);
            let doubt = |value, p_value| Doubt {
                value,
                p_value,
                reject: p_value <= rate,
            };
            Ok(Classification {
                log_likelihoods: Some(
                    composite.log_likelihoods(&log_posterior, familiarity.log_density),
                ),
                log_evidence: Some(familiarity.log_density),
                maps: None,
                doubts: Some(Doubts {
                    false_alarm_rate: rate,
                    ambiguity: doubt(ambiguity, composite.ambiguity.upper_p_value(ambiguity)),
                    novelty: doubt(familiarity.value, familiarity.p_value),
                }),
                log_posterior,
            })
        })
        .collect();
    Ok(ClassifyAnswer {
        labels: model.label_names().to_vec(),
        results,
    })
}

/// How undecided a posterior is: −log max p(y | x), in nats.
pub(super) fn ambiguity(log_posterior: &[f64]) -> f64 {
    -log_posterior[bayes::most_probable(log_posterior)]
}

/// log p(x), or log p(x | y) = log p(y | x) + log p(x) − log p(y).
pub(super) async fn score(
    service: &Service,
    model: &ServedModel,
    lanes: &CompositeLanes,
    images: Vec<Image>,
    (condition, options): (Condition, &ScoreOptions),
    deadline: Instant,
) -> Result<ScoreAnswer, ServiceError> {
    let Condition::Label(label) = condition else {
        let lane = (model, &*lanes.score);
        let answer =
            score::exact(service, lane, images, Condition::None, options, deadline).await?;
        return Ok(ScoreAnswer {
            likelihood_of: Some(LikelihoodOf::Evidence),
            ..answer
        });
    };
    if options.map {
        return Err(ServiceError::InvalidOption {
            option: "map",
            reason: "the classifier's part in p(x given a label) does not come apart into dimensions; without a label there is a map"
                .to_owned(),
        });
    }
    score::only_exact(options)?;
    let predictions = predictions(service, lanes, images.clone(), deadline).await?;
    let totals =
        score::log_likelihoods(service, &lanes.score, images, Condition::None, deadline).await?;
    let dimensions = model.shape().dimensions();
    let results = predictions
        .into_iter()
        .zip(totals)
        .map(|(prediction, total)| {
            let (log_posterior, (log_density, _)) = (posterior(&prediction?)?, total?);
            let all = lanes.composite.log_likelihoods(&log_posterior, log_density);
            score::score(all[label as usize], dimensions, None, None)
        })
        .collect();
    Ok(ScoreAnswer {
        bound: Bound::Exact,
        likelihood_of: Some(LikelihoodOf::Given(model.label_name(label))),
        seed: None,
        results,
    })
}

async fn predictions(
    service: &Service,
    lanes: &CompositeLanes,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<Vec<Result<Prediction, JobError>>, ServiceError> {
    let lane = &lanes.classify;
    let permit = service.admit(
        Class::Interactive,
        lane.estimate(images.len() as u64),
        deadline,
    )?;
    Ok(lane.run(&permit, images, deadline).await)
}

async fn familiarities(
    service: &Service,
    lanes: &CompositeLanes,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<Familiarity>, ServiceError> {
    match (&lanes.composite.novelty, &lanes.measure) {
        (Novelty::Detector(detector), Some(measure)) => {
            by_detector(service, lanes, (measure, detector), images, deadline).await
        }
        (novelty, _) => {
            let calibration = novelty_of(novelty);
            let totals =
                score::log_likelihoods(service, &lanes.score, images, Condition::None, deadline)
                    .await?;
            Ok(totals
                .into_iter()
                .map(|total| {
                    let (log_density, _) = total?;
                    Ok(Familiarity {
                        log_density,
                        value: log_density,
                        p_value: calibration.two_sided_p_value(log_density),
                    })
                })
                .collect())
        }
    }
}

/// A detector measures the density's surprise among other things, so that the image goes through the density once.
async fn by_detector(
    service: &Service,
    lanes: &CompositeLanes,
    (measure, detector): (&Lane<Measuring>, &Detector),
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<Familiarity>, ServiceError> {
    let measured = detect::measure(service, measure, images.clone(), deadline).await?;
    let known = detector
        .rule
        .plan
        .statistics
        .contains(&Statistic::NegativeLogLikelihood);
    let mut totals = if known {
        Vec::new()
    } else {
        score::log_likelihoods(service, &lanes.score, images, Condition::None, deadline).await?
    }
    .into_iter();
    let familiarity = |measurement: Result<Measurement, JobError>| {
        let measurement = measurement?;
        let strangeness = detector.rule.judge(&measurement.values).strangeness;
        let surprise = value_of(
            &detector.rule,
            &measurement,
            Statistic::NegativeLogLikelihood,
        );
        let log_density = match surprise {
            Some(surprise) => -surprise,
            None => {
                let lost = || Err(ServiceError::Inference("a score was lost".to_owned()));
                totals.next().unwrap_or_else(lost)?.0
            }
        };
        Ok(Familiarity {
            log_density,
            value: strangeness,
            p_value: detector.calibration.upper_p_value(strangeness),
        })
    };
    Ok(measured.into_iter().map(familiarity).collect())
}

/// Whether both calibrations support the rate. Ambiguity and a detector's strangeness are strange where they are large, a density alone
/// on both sides, which takes twice as many scores.
fn supports(composite: &Composite, rate: f64) -> Result<(), CalibrationError> {
    composite.ambiguity.threshold(rate, None)?;
    match &composite.novelty {
        Novelty::Density(calibration) => calibration.supports_two_sided(rate),
        Novelty::Detector(detector) => detector.calibration.threshold(rate, None).map(drop),
    }
}

fn novelty_of(novelty: &Novelty) -> &Calibration {
    match novelty {
        Novelty::Density(calibration) => calibration,
        Novelty::Detector(detector) => &detector.calibration,
    }
}

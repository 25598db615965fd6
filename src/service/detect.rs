//! Detection: is an image reasonable, at a stated rate of false alarms?
//!
//! A density alone is judged by the two-sided conformal p-value of its log-likelihood. A detector makes one number of many statistics,
//! of which only large values are strange. Either way false alarms are bounded, not misses: an image that no statistic tells from
//! the inliers passes, whatever it shows.

use std::{sync::Arc, time::Instant};

use super::{
    ServedModel, Service,
    error::ServiceError,
    latent,
    measure::Measuring,
    models::Lanes,
    requests::{DetectAnswer, DetectOptions, Detection, EvidenceMap, MeasuredStatistic, PerImage},
    score,
};
use crate::{
    domain::{
        conformal::{self, Calibration, CalibrationError},
        detection::{Judgement, Rule},
        family::Capability,
        image::Image,
        likelihood,
        statistics::Statistic,
    },
    network::panel::Measurement,
    repository::detector::Detector,
    scheduling::{Class, JobError, Lane},
};

pub(super) async fn detect(
    service: &Service,
    model: &ServedModel,
    images: Vec<Image>,
    options: &DetectOptions,
    deadline: Instant,
) -> Result<DetectAnswer, ServiceError> {
    let version = &model.version;
    let (Some(calibration), Some(file)) = (&version.calibration, &version.manifest.calibration)
    else {
        return Err(model.unsupported(Capability::Detect));
    };
    if let Lanes::Detector { measure, detector } = &model.lanes {
        return by_detector(
            service,
            (measure, detector),
            images,
            options,
            deadline,
            &file.description,
        )
        .await;
    }
    only_detectors(options)?;
    let rate = options.false_alarm_rate;
    calibration.supports_two_sided(rate).map_err(refused)?;
    let statistics: PerImage<f64> = match &model.lanes {
        Lanes::Autoregressive { score, .. } => {
            // Without a label a conditional model is asked for p(x), and it is p(x) that is calibrated.
            let condition = model.condition(None)?;
            score::log_likelihoods(service, score, images, condition, deadline)
                .await?
                .into_iter()
                .map(|result| result.map(|(log_likelihood, _)| log_likelihood))
                .collect()
        }
        Lanes::Vae { encode, decode } => {
            latent::elbo_at_mean(service, (encode, decode), images, deadline).await?
        }
        _ => return Err(model.unsupported(Capability::Detect)),
    };
    let dimensions = model.shape().dimensions();
    let results = statistics
        .into_iter()
        .map(|statistic| {
            let value = statistic?;
            let p_value = calibration.two_sided_p_value(value);
            let bits_per_dim = Some(likelihood::bits_per_dim(value, dimensions));
            Ok(Detection {
                reject: p_value <= rate,
                p_value,
                strangeness: -p_value.ln(),
                statistics: vec![MeasuredStatistic {
                    name: file.statistic.name().to_owned(),
                    value,
                    p_value,
                    bits_per_dim,
                }],
                bits_per_dim,
                map: None,
            })
        })
        .collect();
    Ok(DetectAnswer {
        threshold: Some(rate),
        calibration_size: calibration.size(),
        calibration_description: file.description.clone(),
        results,
    })
}

/// Statistics of images, for a detector that is at work or one that is being made.
pub(super) async fn measure(
    service: &Service,
    lane: &Lane<Measuring>,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<Vec<Result<Measurement, JobError>>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        lane.estimate(images.len() as u64),
        deadline,
    )?;
    Ok(lane.run(&permit, images, deadline).await)
}

async fn by_detector(
    service: &Service,
    (lane, detector): (&Lane<Measuring>, &Arc<Detector>),
    images: Vec<Image>,
    options: &DetectOptions,
    deadline: Instant,
    description: &str,
) -> Result<DetectAnswer, ServiceError> {
    let calibration = &detector.calibration;
    let threshold = threshold(calibration, options)?;
    let dimensions = detector.panel.shape().dimensions();
    let measured = measure(service, lane, images, deadline).await?;
    let mut results: PerImage<Detection> = measured
        .into_iter()
        .map(|measurement| {
            let measurement = measurement?;
            let judgement = detector.rule.judge(&measurement.values);
            Ok(Detection {
                // Whether it stands is known when all images are.
                reject: false,
                p_value: calibration.upper_p_value(judgement.strangeness),
                strangeness: judgement.strangeness,
                statistics: statistics(&detector.rule, &measurement, &judgement, dimensions),
                bits_per_dim: value_of(
                    &detector.rule,
                    &measurement,
                    Statistic::NegativeLogLikelihood,
                )
                .map(|nll| likelihood::bits_per_dim(-nll, dimensions)),
                map: if options.map {
                    Some(map(&detector.rule, measurement, &judgement)?)
                } else {
                    None
                },
            })
        })
        .collect();
    let p_values: Vec<f64> = results.iter().flatten().map(|d| d.p_value).collect();
    let rejections = match (threshold, options.false_discovery_rate) {
        (Some(threshold), _) => p_values.iter().map(|&p| p <= threshold).collect(),
        (None, Some(rate)) => conformal::false_discovery_rejections(&p_values, rate),
        (None, None) => vec![false; p_values.len()],
    };
    for (detection, reject) in results.iter_mut().flatten().zip(rejections) {
        detection.reject = reject;
    }
    Ok(DetectAnswer {
        threshold,
        calibration_size: calibration.size(),
        calibration_description: description.to_owned(),
        results,
    })
}

/// The largest p-value to reject, unless false discoveries are to be controlled.
fn threshold(
    calibration: &Calibration,
    options: &DetectOptions,
) -> Result<Option<f64>, ServiceError> {
    let Some(rate) = options.false_discovery_rate else {
        return calibration
            .threshold(options.false_alarm_rate, options.confidence)
            .map(Some)
            .map_err(refused);
    };
    if options.confidence.is_some() {
        return Err(ServiceError::InvalidOption {
            option: "confidence",
            reason: "it belongs to a false-alarm rate; a false discovery rate holds on average"
                .to_owned(),
        });
    }
    if rate > 0.0 && rate < 1.0 {
        return Ok(None);
    }
    Err(ServiceError::InvalidOption {
        option: "fdr",
        reason: format!("{rate} must lie above 0 and below 1"),
    })
}

pub(super) fn refused(error: CalibrationError) -> ServiceError {
    let option = match error {
        CalibrationError::Confidence(_) => "confidence",
        _ => "false_alarm_rate",
    };
    ServiceError::InvalidOption {
        option,
        reason: error.to_string(),
    }
}

fn only_detectors(options: &DetectOptions) -> Result<(), ServiceError> {
    let asked = [
        ("confidence", options.confidence.is_some()),
        ("fdr", options.false_discovery_rate.is_some()),
        ("map", options.map),
    ];
    match asked.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(ServiceError::InvalidOption {
            option,
            reason: "only a detector has it; this model is judged by its likelihood alone"
                .to_owned(),
        }),
    }
}

/// The value of one statistic that is a number.
pub(super) fn value_of(
    rule: &Rule,
    measurement: &Measurement,
    statistic: Statistic,
) -> Option<f64> {
    let place = rule
        .plan
        .statistics
        .iter()
        .position(|&other| other == statistic)?;
    measurement.values[place].first().copied()
}

/// Numbers first, then densities.
fn statistics(
    rule: &Rule,
    measurement: &Measurement,
    judgement: &Judgement,
    dimensions: usize,
) -> Vec<MeasuredStatistic> {
    let numbers = rule
        .plan
        .statistics
        .iter()
        .zip(&measurement.values)
        .zip(&judgement.statistics)
        .filter_map(|((statistic, values), p_value)| {
            let value = values[0];
            let is_likelihood = *statistic == Statistic::NegativeLogLikelihood;
            Some(MeasuredStatistic {
                name: statistic.name().to_owned(),
                value,
                p_value: (*p_value)?,
                bits_per_dim: is_likelihood.then(|| likelihood::bits_per_dim(-value, dimensions)),
            })
        });
    let densities = rule.plan.densities.iter().zip(&judgement.densities);
    numbers
        .chain(densities.map(|(own, density)| MeasuredStatistic {
            name: format!("density:{}", own.name),
            value: density.value,
            p_value: density.p_value,
            bits_per_dim: None,
        }))
        .collect()
}

/// The map of the density that is most surprised, among those that look at one.
fn map(
    rule: &Rule,
    mut measurement: Measurement,
    judgement: &Judgement,
) -> Result<EvidenceMap, ServiceError> {
    let mut best: Option<(f64, Statistic)> = None;
    for (own, density) in rule.plan.densities.iter().zip(&judgement.densities) {
        for &statistic in &own.statistics {
            let has_map = measurement
                .maps
                .iter()
                .any(|(other, _)| *other == statistic);
            if has_map && best.is_none_or(|(evidence, _)| density.evidence > evidence) {
                best = Some((density.evidence, statistic));
            }
        }
    }
    let place = best.and_then(|(_, statistic)| {
        measurement
            .maps
            .iter()
            .position(|(other, _)| *other == statistic)
    });
    let Some(place) = place else {
        return Err(ServiceError::InvalidOption {
            option: "map",
            reason: "none of this detector's densities looks at a map".to_owned(),
        });
    };
    let (statistic, values) = measurement.maps.swap_remove(place);
    Ok(EvidenceMap {
        statistic: statistic.name(),
        unit: statistic.map_unit(),
        values,
    })
}

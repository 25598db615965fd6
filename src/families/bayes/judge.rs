//! What a composite says: labels, likelihoods and doubts.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Composite, Novelty, Timings};
use crate::{
    detection::{
        detector::Detector,
        panel::{Measurement, Measuring},
    },
    domain::{
        bayes,
        conformal::CalibrationError,
        image::{Image, ImageShape},
        likelihood,
    },
    families::{
        Gate,
        autoregressive::scores::{likelihood_of, only_exact, qualifiers},
        classifier::{no_map, posterior},
        two_sided::refused,
    },
    model::{
        Call, PerImage, Refusal,
        classify::{Classification, Classifies, ClassifyAsk, Doubt, Doubts},
        labels::{Condition, Labels},
        score::{Likelihood, ScoreAsk, Scored, Scores},
        work::Batches,
    },
    scheduling::JobError,
};

/// A composite with its queues.
pub(super) struct Judge {
    composite: Arc<Composite>,
    labels: Labels,
    shape: ImageShape,
    classify: Batches<Image, Vec<f32>>,
    /// That of the density, if there is one.
    score: Option<Batches<Image, Vec<f32>>>,
    /// That of the detector that judges novelty, if one does.
    measure: Option<Measuring>,
}

/// What the density and the judge of novelty say of an image.
struct Familiarity {
    /// log p(x) in nats, where there is a density.
    log_density: Option<f64>,
    /// What novelty is judged by.
    value: f64,
    p_value: f64,
}

impl Judge {
    pub(super) fn new(gate: &Gate<'_>, composite: Arc<Composite>, labels: Labels, timings: Timings) -> Self {
        let (resources, manifest) = (gate.resources(), gate.manifest());
        let name = &manifest.name;
        let classifier = Arc::clone(&composite.classifier);
        let score = composite.density.clone().map(|density| {
            resources.batches(name, "score", timings.density, move |images: &[Image], threads| {
                density.log_probabilities(&Image::levels_of(images), threads)
            })
        });
        Self {
            labels,
            shape: manifest.shape,
            classify: resources.batches(name, "classify", timings.classify, move |images: &[Image], threads| {
                classifier.logits(&Image::levels_of(images), threads)
            }),
            score,
            measure: match &composite.novelty {
                Novelty::Density(_) => None,
                Novelty::Detector(detector) => Some(detector.panel.queue(resources, (name, "detect"), timings.novelty)),
            },
            composite,
        }
    }

    async fn familiarities(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Familiarity>, Refusal> {
        match (&self.composite.novelty, &self.measure) {
            (Novelty::Detector(detector), Some(measure)) => self.by_detector(detector, measure, images, call).await,
            (Novelty::Detector(_), None) => Err(Refusal::internal("a detector has no queue")),
            (Novelty::Density(calibration), _) => {
                let familiarity = |map: Result<Vec<f32>, JobError>| {
                    let log_density = log_density(&map?)?;
                    let p_value = calibration.two_sided_p_value(log_density);
                    Ok(Familiarity {
                        log_density: Some(log_density),
                        value: log_density,
                        p_value,
                    })
                };
                Ok(self.maps(images, call).await?.into_iter().map(familiarity).collect())
            }
        }
    }

    /// log p of every dimension of images, of a composite with a density.
    async fn maps(&self, images: Vec<Image>, call: &Call) -> Result<Vec<Result<Vec<f32>, JobError>>, Refusal> {
        let score = self.score.as_ref();
        call.run(score.ok_or_else(|| Refusal::internal("no density to ask"))?, images)
            .await
    }

    /// A detector measures the density's surprise among other things, so that the image goes through the density once.
    async fn by_detector(
        &self,
        detector: &Detector,
        measure: &Measuring,
        images: Vec<Image>,
        call: &Call,
    ) -> Result<PerImage<Familiarity>, Refusal> {
        let measured = call.run(measure, images.clone()).await?;
        let first = measured.iter().flatten().flatten().next();
        let is_unknown = first.is_some_and(|measurement| detector.log_density(measurement).is_none());
        let mut maps = if is_unknown && self.score.is_some() {
            self.maps(images, call).await?
        } else {
            Vec::new()
        }
        .into_iter();
        let familiarity = |measurement: Result<Result<Measurement, Refusal>, JobError>| {
            let map = maps.next();
            let measurement = measurement??;
            let strangeness = detector.rule.judge(&measurement.values).strangeness;
            let log_density = match (detector.log_density(&measurement), map) {
                _ if self.score.is_none() => None,
                (Some(log_density), _) => Some(log_density),
                (None, Some(map)) => Some(log_density(&map?)?),
                (None, None) => return Err(Refusal::internal("a score was lost")),
            };
            Ok(Familiarity {
                log_density,
                value: strangeness,
                p_value: detector.calibration.of(measurement.label).upper_p_value(strangeness),
            })
        };
        Ok(measured.into_iter().map(familiarity).collect())
    }
}

#[async_trait]
impl Classifies for Judge {
    fn has_doubts(&self) -> bool {
        true
    }

    async fn classify(
        &self,
        images: Vec<Image>,
        ask: &ClassifyAsk,
        call: &Call,
    ) -> Result<PerImage<Classification>, Refusal> {
        no_map(ask)?;
        let composite = &self.composite;
        let rate = ask.false_alarm_rate.unwrap_or(ClassifyAsk::DEFAULT_FALSE_ALARM_RATE);
        supports(composite, rate).map_err(refused)?;
        let logits = call.run(&self.classify, images.clone()).await?;
        let familiarities = self.familiarities(images, call).await?;
        let classification = |(logits, familiarity): (Result<Vec<f32>, JobError>, Result<Familiarity, Refusal>)| {
            let (log_posterior, familiarity) = (posterior(&logits?)?, familiarity?);
            let ambiguity = ambiguity(&log_posterior);
            let doubt = |value, p_value| Doubt {
                value,
                p_value,
                reject: p_value <= rate,
            };
            Ok(Classification {
                log_likelihoods: familiarity
                    .log_density
                    .map(|log_density| composite.log_likelihoods(&log_posterior, log_density)),
                log_evidence: familiarity.log_density,
                maps: None,
                doubts: Some(Doubts {
                    false_alarm_rate: rate,
                    ambiguity: doubt(ambiguity, composite.ambiguity.upper_p_value(ambiguity)),
                    novelty: doubt(familiarity.value, familiarity.p_value),
                }),
                log_posterior,
            })
        };
        Ok(logits.into_iter().zip(familiarities).map(classification).collect())
    }
}

#[async_trait]
impl Scores for Judge {
    /// log p(x), or log p(x | y) = log p(y | x) + log p(x) − log p(y).
    async fn score(&self, images: Vec<Image>, ask: &ScoreAsk, call: &Call) -> Result<Scored, Refusal> {
        only_exact(ask)?;
        let density = self.composite.density.as_ref();
        let assurance = density
            .ok_or_else(|| Refusal::internal("no density to ask"))?
            .assurance();
        let qualifiers = qualifiers(assurance, &ask.condition, &self.labels.names);
        let items = match ask.condition {
            Condition::Label(_) if ask.map => {
                return Err(Refusal::option(
                    "map",
                    "the classifier's part in p(x given a label) does not come apart into dimensions; without a label \
                     there is a map",
                ));
            }
            Condition::Label(label) => {
                let logits = call.run(&self.classify, images.clone()).await?;
                let maps = self.maps(images, call).await?;
                let likelihood = |(logits, map): (Result<Vec<f32>, JobError>, Result<Vec<f32>, JobError>)| {
                    let all = self
                        .composite
                        .log_likelihoods(&posterior(&logits?)?, log_density(&map?)?);
                    Likelihood::new(all[label as usize], self.shape.dimensions())
                };
                logits.into_iter().zip(maps).map(likelihood).collect()
            }
            Condition::Open(_) | Condition::None => {
                let likelihood = |map: Result<Vec<f32>, JobError>| {
                    let map = map?;
                    likelihood_of((likelihood::total(&map), map), self.shape, ask.map)
                };
                self.maps(images, call).await?.into_iter().map(likelihood).collect()
            }
        };
        Ok(Scored { qualifiers, items })
    }
}

/// log p of an image in nats, from that of every dimension.
fn log_density(map: &[f32]) -> Result<f64, Refusal> {
    let total = likelihood::total(map);
    if total.is_nan() {
        return Err(Refusal::not_a_number("the log-likelihood"));
    }
    Ok(total)
}

/// How undecided a posterior is: −log max p(y | x), in nats.
pub(super) fn ambiguity(log_posterior: &[f64]) -> f64 {
    -log_posterior[bayes::most_probable(log_posterior)]
}

/// Whether both calibrations support the rate. Ambiguity and a detector's strangeness are strange where they are large,
/// a density alone on both sides, which takes twice as many scores.
fn supports(composite: &Composite, rate: f64) -> Result<(), CalibrationError> {
    composite.ambiguity.threshold(rate, None)?;
    match &composite.novelty {
        Novelty::Density(calibration) => calibration.supports_two_sided(rate),
        Novelty::Detector(detector) => detector.calibration.least().1.threshold(rate, None).map(drop),
    }
}

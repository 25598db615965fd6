//! Judging by a detector: one number of many statistics, of which only large values are strange. False alarms are
//! bounded, not misses: an image that no statistic tells from the inliers passes, whatever it shows.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    detection::{
        detector::Detector,
        drift::Monitor,
        panel::{Measurement, Measuring},
        rule::{Judgement, Rule},
        statistics::{Statistic, density::NEGATIVE_LOG_LIKELIHOOD},
        tiles::{Gathered, Tiled},
    },
    domain::{
        conformal::{self, Calibration},
        image::Image,
        likelihood,
    },
    families::two_sided::refused,
    model::{
        Call, PerImage, Refusal,
        detect::{Calibrated, CalibrationScores, EvidenceMap, JudgeAsk, Judges, Measured, Verdict},
        value::{Map, Number},
    },
    scheduling::JobError,
};

/// What a detector is calibrated on: one number of all its statistics.
pub(super) const STRANGENESS: &str = "strangeness";

/// A detector with its queue.
pub(super) struct Judge {
    pub(super) detector: Arc<Detector>,
    pub(super) measure: Measuring,
    /// What its calibration is of.
    pub(super) description: String,
    /// Names of the labels that calibrate one by one; none if all images calibrate together.
    pub(super) labels: Vec<String>,
    /// Watches the stream of judged images, if a server does.
    pub(super) monitor: Option<Arc<Monitor>>,
}

#[async_trait]
impl Judges for Judge {
    async fn judge(&self, images: Vec<Image>, ask: &JudgeAsk, call: &Call) -> Result<PerImage<Verdict>, Refusal> {
        self.check(ask)?;
        let monitor = watching(self.monitor.as_ref(), call);
        let judged = if monitor.is_some() { images.clone() } else { Vec::new() };
        let measured = call.run(&self.measure, images).await?;
        let items: PerImage<Verdict> = measured
            .into_iter()
            .map(|measurement| self.verdict(measurement, ask))
            .collect();
        Ok(decide((items, judged), ask, monitor))
    }

    fn calibration(&self) -> CalibrationScores {
        let calibration = &self.detector.calibration;
        let mut scored: Vec<(f64, &String)> = Vec::new();
        for (name, own) in self.labels.iter().zip(calibration.groups()) {
            scored.extend(own.scores().iter().map(|&score| (score, name)));
        }
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let labels = scored.into_iter().map(|(_, name)| name.clone()).collect();
        CalibrationScores {
            labels: (!self.labels.is_empty()).then_some(labels),
            ..scores_of(&self.description, calibration.all())
        }
    }

    fn has_maps(&self) -> bool {
        let mut statistics = self.detector.rule.plan.statistics.iter();
        statistics.any(|statistic| statistic.is_map())
    }
}

/// Strangeness of whole inliers.
fn scores_of(description: &str, calibration: &Calibration) -> CalibrationScores {
    CalibrationScores {
        statistic: STRANGENESS,
        two_sided: false,
        size: calibration.size(),
        description: description.to_owned(),
        scores: calibration.scores().to_vec(),
        labels: None,
    }
}

/// Whoever watches the stream that a call is part of. What is judged in shadow is another version's stream.
fn watching<'a>(monitor: Option<&'a Arc<Monitor>>, call: &Call) -> Option<&'a Monitor> {
    monitor.filter(|_| !call.is_shadow).map(|monitor| &**monitor)
}

/// Decides on every image, and tells whoever watches of those that were `judged`.
fn decide(
    (mut items, judged): (PerImage<Verdict>, Vec<Image>),
    ask: &JudgeAsk,
    monitor: Option<&Monitor>,
) -> PerImage<Verdict> {
    if let Some(rate) = ask.false_discovery_rate {
        let p_values: Vec<f64> = items.iter().flatten().map(|verdict| verdict.p_value).collect();
        let rejections = conformal::false_discovery_rejections(&p_values, rate);
        for (verdict, reject) in items.iter_mut().flatten().zip(rejections) {
            verdict.reject = reject;
        }
    }
    if let Some(monitor) = monitor {
        let both = judged.into_iter().zip(&items);
        monitor.take(
            both.filter_map(|(image, item)| Some((image, item.as_ref().ok()?.strangeness)))
                .collect(),
        );
    }
    items
}

/// A detector of images of any size with its queue of windows.
pub(super) struct TiledJudge {
    pub(super) tiled: Arc<Tiled>,
    pub(super) measure: Measuring,
    /// What its calibration is of.
    pub(super) description: String,
    /// Watches the stream of judged images, if a server does.
    pub(super) monitor: Option<Arc<Monitor>>,
}

#[async_trait]
impl Judges for TiledJudge {
    async fn judge(&self, images: Vec<Image>, ask: &JudgeAsk, call: &Call) -> Result<PerImage<Verdict>, Refusal> {
        let looking = self.tiled.looking();
        let threshold = threshold(&self.tiled.calibration, None, ask)?;
        let permit = looking.admit(&self.measure, &images, call)?;
        let mut items = Vec::with_capacity(images.len());
        for image in &images {
            let gathered = looking.measure(&self.measure, image, &permit, call).await;
            items.push(gathered.map(|gathered| self.verdict(image, gathered, (ask, threshold))));
        }
        let monitor = watching(self.monitor.as_ref(), call);
        Ok(decide((items, images), ask, monitor))
    }

    fn calibration(&self) -> CalibrationScores {
        scores_of(&self.description, &self.tiled.calibration)
    }

    fn has_maps(&self) -> bool {
        true
    }
}

impl TiledJudge {
    fn verdict(&self, image: &Image, gathered: Gathered, (ask, threshold): (&JudgeAsk, Option<f64>)) -> Verdict {
        let Gathered { values, map } = gathered;
        let tiled = &*self.tiled;
        let judgement = tiled.images.judge(&values);
        let map = ask.map.then(|| EvidenceMap {
            statistic: tiled.plan.map.name,
            unit: tiled.plan.map.unit,
            values: Map {
                shape: image.shape(),
                values: map,
            },
        });
        let measurement = Measurement {
            values,
            maps: Vec::new(),
            label: None,
        };
        let p_value = tiled.calibration.upper_p_value(judgement.strangeness);
        Verdict {
            reject: threshold.is_some_and(|threshold| p_value <= threshold),
            p_value,
            threshold,
            calibration: Calibrated {
                size: tiled.calibration.size(),
                description: self.description.clone(),
                label: None,
            },
            strangeness: judgement.strangeness,
            statistics: statistics(&tiled.images, &measurement, &judgement, image.shape().dimensions()),
            bits_per_dim: None,
            map,
        }
    }
}

impl Judge {
    /// Whether every calibration supports what is asked.
    fn check(&self, ask: &JudgeAsk) -> Result<(), Refusal> {
        let (label, least) = self.detector.calibration.least();
        threshold(least, self.name_of(label), ask).map(drop)
    }

    /// The name of a label, if labels calibrate one by one.
    fn name_of(&self, label: Option<usize>) -> Option<&str> {
        self.labels.get(label?).map(String::as_str)
    }

    fn verdict(
        &self,
        measurement: Result<Result<Measurement, Refusal>, JobError>,
        ask: &JudgeAsk,
    ) -> Result<Verdict, Refusal> {
        let (detector, measurement) = (&*self.detector, measurement??);
        let dimensions = detector.panel.shape().dimensions();
        let judgement = detector.rule.judge(&measurement.values);
        let calibration = detector.calibration.of(measurement.label);
        let p_value = calibration.upper_p_value(judgement.strangeness);
        let label = self.name_of(measurement.label);
        let threshold = threshold(calibration, label, ask)?;
        Ok(Verdict {
            reject: threshold.is_some_and(|threshold| p_value <= threshold),
            p_value,
            threshold,
            calibration: Calibrated {
                size: calibration.size(),
                description: self.description.clone(),
                label: label.map(str::to_owned),
            },
            strangeness: judgement.strangeness,
            statistics: statistics(&detector.rule, &measurement, &judgement, dimensions),
            bits_per_dim: detector
                .log_density(&measurement)
                .map(|log_density| likelihood::bits_per_dim(log_density, dimensions)),
            map: if ask.map {
                Some(map(detector, measurement, &judgement)?)
            } else {
                None
            },
        })
    }
}

/// The largest p-value to reject, unless false discoveries are to be controlled. A calibration of one label is named in
/// what is wrong.
fn threshold(calibration: &Calibration, label: Option<&str>, ask: &JudgeAsk) -> Result<Option<f64>, Refusal> {
    let Some(rate) = ask.false_discovery_rate else {
        let threshold = calibration.threshold(ask.false_alarm_rate, ask.confidence).map(Some);
        return threshold.map_err(|error| match label {
            None => refused(error),
            Some(label) => {
                refused(error).with_detail(&format!("label by label, and these are the scores of {label:?}"))
            }
        });
    };
    if ask.confidence.is_some() {
        let reason = "it belongs to a false-alarm rate; a false discovery rate holds on average";
        return Err(Refusal::option("confidence", reason));
    }
    if rate > 0.0 && rate < 1.0 {
        return Ok(None);
    }
    Err(Refusal::option("fdr", format!("{rate} must lie above 0 and below 1")))
}

/// Numbers and densities.
fn statistics(
    rule: &Rule,
    measurement: &Measurement,
    judgement: &Judgement,
    dimensions: usize,
) -> BTreeMap<String, Measured> {
    let numbers = rule
        .plan
        .statistics
        .iter()
        .zip(&measurement.values)
        .zip(&judgement.statistics)
        .filter_map(|((statistic, values), p_value)| {
            let value = values[0];
            let is_likelihood = *statistic == NEGATIVE_LOG_LIKELIHOOD;
            let measured = Measured {
                value: Number(value),
                p_value: (*p_value)?,
                bits_per_dim: is_likelihood.then(|| Number(likelihood::bits_per_dim(-value, dimensions))),
            };
            Some((statistic.name.to_owned(), measured))
        });
    let densities = rule.plan.deciding().zip(&judgement.densities);
    numbers
        .chain(densities.map(|(name, density)| {
            let measured = Measured {
                value: Number(density.value),
                p_value: density.p_value,
                bits_per_dim: None,
            };
            (format!("density:{name}"), measured)
        }))
        .collect()
}

/// The map of the density that is most surprised, among those that look at one; without such a density a map that is
/// only shown.
fn map(detector: &Detector, mut measurement: Measurement, judgement: &Judgement) -> Result<EvidenceMap, Refusal> {
    let mut best: Option<(f64, Statistic)> = None;
    for (own, density) in detector.rule.plan.densities.iter().zip(&judgement.densities) {
        for &statistic in &own.statistics {
            let has_map = measurement.maps.iter().any(|(other, _)| *other == statistic);
            if has_map && best.is_none_or(|(evidence, _)| density.evidence > evidence) {
                best = Some((density.evidence, statistic));
            }
        }
    }
    let of_best = best.and_then(|(_, statistic)| measurement.maps.iter().position(|(other, _)| *other == statistic));
    let any = (!measurement.maps.is_empty()).then_some(0);
    let Some(place) = of_best.or(any) else {
        return Err(Refusal::option(
            "map",
            "this detector measures nothing of which there is a map",
        ));
    };
    let (statistic, values) = measurement.maps.swap_remove(place);
    Ok(EvidenceMap {
        statistic: statistic.name,
        unit: statistic.unit,
        values: Map {
            shape: detector.panel.shape(),
            values,
        },
    })
}

//! How well a model tells sets of outliers from inliers.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::{Seen, false_alarms::FalseAlarms, pixels::PixelReport};
use crate::{
    detection::detector::is_detector,
    domain::{
        binomial::wilson_interval,
        image::Image,
        roc::{self, Figures},
    },
    model::{
        Call, Model, PerImage, Refusal,
        detect::{CalibrationScores, JudgeAsk, Judges, Measured, Verdict},
    },
};

/// Chunks that are judged at once.
const IN_FLIGHT: usize = 4;

/// Images judged in one call.
const CHUNK: usize = 64;

/// Rounds of the bootstrap.
const ROUNDS: usize = 300;

/// What was found of inliers and outliers.
#[derive(Debug, Serialize)]
pub struct DetectionReport {
    /// Inliers that were judged.
    pub inliers: usize,
    /// Scores that p-values are measured against.
    pub calibration_size: usize,
    /// Where these came from.
    pub calibration: String,
    /// Thresholds and what they did to the inliers.
    pub false_alarms: Vec<FalseAlarms>,
    /// The sets of outliers.
    pub sets: Vec<Set>,
    /// How well maps tell defective pixels from others, where masks say which these are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelReport>,
    #[serde(skip)]
    seen: Vec<String>,
}

/// A set of outliers.
#[derive(Debug, Serialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its images.
    pub images: usize,
    /// Figures of the decision.
    pub combined: Combined,
    /// The share rejected at each threshold, in the order of the report's false alarms.
    pub detection: Vec<Detected>,
    /// Figures of every statistic.
    pub statistics: Vec<StatisticFigures>,
}

/// How well the decision tells outliers from inliers.
#[derive(Debug, Serialize)]
pub struct Combined {
    /// Area under the ROC.
    pub auroc: f64,
    /// 95 % of bootstrap samples lie in it.
    pub auroc_interval: [f64; 2],
    /// Area under precision and recall, inliers looked for.
    pub aupr_in: f64,
    /// As above.
    pub aupr_in_interval: [f64; 2],
    /// Area under precision and recall, outliers looked for.
    pub aupr_out: f64,
    /// As above.
    pub aupr_out_interval: [f64; 2],
    /// Share of inliers rejected where 95 % of the outliers are.
    pub fpr_at_95: f64,
    /// As above.
    pub fpr_at_95_interval: [f64; 2],
    /// Share of inliers rejected where 80 % of the outliers are.
    pub fpr_at_80: f64,
    /// As above.
    pub fpr_at_80_interval: [f64; 2],
}

/// Outliers that are rejected at a threshold.
#[derive(Debug, Serialize)]
pub struct Detected {
    /// The promised false-alarm rate.
    pub rate: f64,
    /// With this confidence, or on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Share of the outliers.
    pub detected: f64,
    /// Wilson's at 95 %.
    pub interval: [f64; 2],
}

/// How well one statistic does alone.
#[derive(Debug, Serialize)]
pub struct StatisticFigures {
    /// Its name.
    pub name: String,
    /// Of the value, large values counting as strange.
    pub auroc: f64,
    /// Its standard error.
    pub auroc_error: f64,
    /// Of the p-value among the fit and rank images, which looks at both sides.
    pub auroc_of_p_value: f64,
    /// Share of inliers rejected where 95 % of the outliers are.
    pub fpr_at_95: f64,
}

/// A set of images and what was said of them.
#[derive(Debug)]
pub struct Judged {
    /// Its name.
    pub name: String,
    /// The images that could be judged.
    pub images: Vec<Image>,
    /// What was said of each.
    pub verdicts: Vec<Verdict>,
}

impl Judged {
    /// How strange each image is.
    pub fn strangeness(&self) -> Vec<f64> {
        self.verdicts.iter().map(|verdict| verdict.strangeness).collect()
    }

    /// The images, the least strange first.
    pub fn images_in_order(&self) -> impl DoubleEndedIterator<Item = &Image> {
        let mut places: Vec<usize> = (0..self.images.len()).collect();
        places.sort_by(|&a, &b| self.verdicts[a].strangeness.total_cmp(&self.verdicts[b].strangeness));
        places.into_iter().map(|place| &self.images[place])
    }
}

/// Judges images, some chunks at a time. `progress` is told how many have been judged.
pub async fn judge(
    judges: &dyn Judges,
    images: &[Image],
    call: &Call,
    progress: impl Fn(usize),
) -> Result<PerImage<Verdict>, Refusal> {
    // P-values are what counts here; the rate only has to be one that every calibration supports.
    let ask = JudgeAsk {
        false_alarm_rate: 0.5,
        confidence: None,
        false_discovery_rate: None,
        map: false,
    };
    let answers = images
        .chunks(CHUNK)
        .map(|chunk| judges.judge(chunk.to_vec(), &ask, call));
    let mut answers = Box::pin(stream::iter(answers).buffered(IN_FLIGHT));
    let mut verdicts = Vec::with_capacity(images.len());
    while let Some(answer) = answers.next().await {
        verdicts.extend(answer?);
        progress(verdicts.len());
    }
    Ok(verdicts)
}

impl DetectionReport {
    /// How sets of outliers differ from inliers, in the judgement of `model`, which is calibrated as stated. No set is
    /// empty.
    pub fn of(model: &Model, calibration: &CalibrationScores, inliers: &Judged, outliers: &[Judged]) -> Self {
        let false_alarms = FalseAlarms::of(&inliers.verdicts, is_detector(model));
        let mut seen = Seen::default();
        for image in &inliers.images {
            seen.count(model, image);
        }
        Self {
            inliers: inliers.images.len(),
            calibration_size: calibration.size,
            calibration: calibration.description.clone(),
            sets: outliers
                .iter()
                .map(|set| figures_of(inliers, set, &false_alarms))
                .collect(),
            false_alarms,
            pixels: None,
            seen: seen.warnings(model),
        }
    }

    /// What makes the figures worth less than they seem.
    pub fn warnings(&self) -> Vec<String> {
        let outside = self.false_alarms.iter().filter(|alarms| alarms.is_outside());
        let told = outside.map(|alarms| {
            let [low, high] = alarms.predicted.unwrap_or_default();
            format!(
                "at a promised false-alarm rate of {} % {:.2} % of the inliers are rejected, outside the {:.2} to \
                 {:.2} % that were predicted: they are not of the kind that the model was calibrated with, or the \
                 model is not the one that was calibrated",
                100.0 * alarms.rate,
                100.0 * alarms.measured_rate,
                100.0 * low,
                100.0 * high
            )
        });
        self.seen.iter().cloned().chain(told).collect()
    }
}

fn figures_of(inliers: &Judged, set: &Judged, false_alarms: &[FalseAlarms]) -> Set {
    let (inside, outside) = (inliers.strangeness(), set.strangeness());
    let value = roc::figures(&inside, &outside);
    let [low, high] = roc::bootstrap(&inside, &outside, ROUNDS);
    let interval = |of: fn(&Figures) -> f64| [of(&low), of(&high)];
    let count = set.images.len();
    let detection = false_alarms
        .iter()
        .map(|alarms| {
            let rejected = alarms.rejected(&set.verdicts).filter(|&own| own).count();
            let (low, high) = wilson_interval(rejected as u64, count as u64);
            Detected {
                rate: alarms.rate,
                confidence: alarms.confidence,
                detected: rejected as f64 / count as f64,
                interval: [low, high],
            }
        })
        .collect();
    let statistics = inliers
        .verdicts
        .first()
        .into_iter()
        .flat_map(|verdict| verdict.statistics.keys())
        .map(|name| {
            let of = |judged: &Judged, number: fn(&Measured) -> f64| -> Vec<f64> {
                let own = judged.verdicts.iter().filter_map(|v| v.statistics.get(name));
                own.map(number).collect()
            };
            let (inside, outside) = (of(inliers, |m| m.value.0), of(set, |m| m.value.0));
            let (auroc, auroc_error) = roc::auroc_with_error(&inside, &outside);
            let both_sides = |judged| of(judged, |m| -m.p_value);
            StatisticFigures {
                name: name.clone(),
                auroc,
                auroc_error,
                auroc_of_p_value: roc::auroc_with_error(&both_sides(inliers), &both_sides(set)).0,
                fpr_at_95: roc::figures(&inside, &outside).fpr_at_95,
            }
        })
        .collect();
    Set {
        name: set.name.clone(),
        images: count,
        combined: Combined {
            auroc: value.auroc,
            auroc_interval: interval(|f| f.auroc),
            aupr_in: value.aupr_in,
            aupr_in_interval: interval(|f| f.aupr_in),
            aupr_out: value.aupr_out,
            aupr_out_interval: interval(|f| f.aupr_out),
            fpr_at_95: value.fpr_at_95,
            fpr_at_95_interval: interval(|f| f.fpr_at_95),
            fpr_at_80: value.fpr_at_80,
            fpr_at_80_interval: interval(|f| f.fpr_at_80),
        },
        detection,
        statistics,
    }
}

//! How well a model tells sets of outliers from inliers.

use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::{
    cli::{CliError, gather, model::Loaded, pipeline},
    domain::{
        binomial::{beta_binomial_interval, wilson_interval},
        conformal::certified_rank,
        family::Family,
        image::Image,
        roc::{self, Figures},
    },
    service::{
        ServedModel,
        requests::{DetectOptions, Detection},
    },
};

/// Images judged in one call.
const CHUNK: usize = 64;

/// Rounds of the bootstrap.
const ROUNDS: usize = 300;

/// Confidence of certified thresholds.
const CONFIDENCE: f64 = 0.95;

/// What was found of inliers and outliers.
#[derive(Debug, Serialize)]
pub(super) struct DetectionReport {
    pub(super) inliers: usize,
    pub(super) calibration_size: usize,
    pub(super) calibration: String,
    /// Thresholds and what they did to the inliers.
    pub(super) false_alarms: Vec<FalseAlarms>,
    pub(super) sets: Vec<Set>,
}

/// A threshold, and how often it rejected inliers.
#[derive(Debug, Serialize)]
pub(super) struct FalseAlarms {
    pub(super) rate: f64,
    /// With the confidence of the certificate; without it the rate holds on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confidence: Option<f64>,
    /// p-values up to it are rejected.
    pub(super) threshold: f64,
    pub(super) rejected: usize,
    pub(super) measured_rate: f64,
    /// Where 95 % of such measurements lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) predicted: Option<[f64; 2]>,
}

/// A set of outliers.
#[derive(Debug, Serialize)]
pub(super) struct Set {
    pub(super) name: String,
    pub(super) images: usize,
    pub(super) combined: Combined,
    /// The share rejected at each threshold, in the order of the report's false alarms.
    pub(super) detection: Vec<Detected>,
    pub(super) statistics: Vec<StatisticFigures>,
}

#[derive(Debug, Serialize)]
pub(super) struct Combined {
    pub(super) auroc: f64,
    pub(super) auroc_interval: [f64; 2],
    pub(super) aupr_in: f64,
    pub(super) aupr_in_interval: [f64; 2],
    pub(super) aupr_out: f64,
    pub(super) aupr_out_interval: [f64; 2],
    pub(super) fpr_at_95: f64,
    pub(super) fpr_at_95_interval: [f64; 2],
    pub(super) fpr_at_80: f64,
    pub(super) fpr_at_80_interval: [f64; 2],
}

#[derive(Debug, Serialize)]
pub(super) struct Detected {
    pub(super) rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) confidence: Option<f64>,
    pub(super) detected: f64,
    pub(super) interval: [f64; 2],
}

#[derive(Debug, Serialize)]
pub(super) struct StatisticFigures {
    pub(super) name: String,
    /// Of the value, large values counting as strange.
    pub(super) auroc: f64,
    pub(super) auroc_error: f64,
    /// Of the p-value among the rank images, which looks at both sides.
    pub(super) auroc_of_p_value: f64,
    pub(super) fpr_at_95: f64,
}

/// Images and what was said of them.
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) images: Vec<Image>,
    pub(super) detections: Vec<Detection>,
}

impl Judged {
    pub(super) fn strangeness(&self) -> Vec<f64> {
        self.detections.iter().map(|d| d.strangeness).collect()
    }
}

/// Judges the inliers in `data` and the sets of outliers, each given as NAME=PATH. `change` tells whether images may be resized
/// and converted.
pub(super) fn measure(
    loaded: &Loaded,
    data: &[PathBuf],
    outliers: &[String],
    (resize, convert): (bool, bool),
) -> Result<(DetectionReport, Vec<Judged>), CliError> {
    let shape = loaded.model.shape();
    let read = |inputs: &[PathBuf]| gather::images(inputs, shape, resize, convert);
    let named = named(outliers)?;
    let mut sets = vec![("inliers".to_owned(), read(data)?)];
    for (name, path) in named {
        sets.push((name, read(&[path])?));
    }
    if let Some((name, _)) = sets.iter().find(|(_, images)| images.len() < 2) {
        return Err(CliError::Usage(format!(
            "{name}: at least two images are needed"
        )));
    }
    let bar = gather::progress(sets.iter().map(|(_, images)| images.len()).sum());
    let mut judged = Vec::new();
    let mut calibration = (0, String::new());
    let runtime = pipeline::runtime()?;
    for (name, images) in sets {
        let (detections, used) = runtime.block_on(judge(loaded, &images, |count| {
            bar.inc(count as u64);
        }))?;
        calibration = used;
        judged.push(Judged {
            name,
            images,
            detections,
        });
    }
    bar.finish_and_clear();
    Ok((report(&loaded.model, calibration, &judged), judged))
}

/// What the model says of each image, a few chunks at a time, with the size and the description of its calibration.
/// Names and paths of sets that are given as NAME=PATH.
pub(super) fn named(outliers: &[String]) -> Result<Vec<(String, PathBuf)>, CliError> {
    outliers
        .iter()
        .map(|text| {
            text.split_once('=')
                .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
                .ok_or_else(|| CliError::Usage(format!("--outliers {text}: it must be NAME=PATH")))
        })
        .collect()
}

async fn judge(
    loaded: &Loaded,
    images: &[Image],
    progress: impl Fn(usize),
) -> Result<(Vec<Detection>, (usize, String)), CliError> {
    let options = DetectOptions {
        false_alarm_rate: 0.5,
        ..DetectOptions::default()
    };
    let (service, model) = (&loaded.app.service, &loaded.model);
    let answers = stream::iter(images.chunks(CHUNK))
        .map(|chunk| service.detect(model, chunk.to_vec(), &options, pipeline::no_deadline()))
        .buffered(loaded.settings.work.workers + 1);
    let mut answers = Box::pin(answers);
    let mut detections = Vec::with_capacity(images.len());
    let mut calibration = (0, String::new());
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        progress(answer.results.len());
        calibration = (answer.calibration_size, answer.calibration_description);
        for detection in answer.results {
            detections.push(detection?);
        }
    }
    Ok((detections, calibration))
}

fn report(
    model: &ServedModel,
    (size, description): (usize, String),
    judged: &[Judged],
) -> DetectionReport {
    let (inliers, outliers) = judged.split_at(1);
    let inliers = &inliers[0];
    // The p-value of a density alone looks at both sides, for which no threshold with confidence is known here.
    let certified = model.family() == Family::Detector;
    let false_alarms = false_alarms(inliers, size, certified);
    let sets = outliers
        .iter()
        .map(|set| figures_of(inliers, set, &false_alarms))
        .collect();
    DetectionReport {
        inliers: inliers.images.len(),
        calibration_size: size,
        calibration: description,
        false_alarms,
        sets,
    }
}

fn false_alarms(inliers: &Judged, size: usize, certified: bool) -> Vec<FalseAlarms> {
    let mut all = Vec::new();
    for (rate, confidence) in [
        (0.01, Some(CONFIDENCE)),
        (0.05, Some(CONFIDENCE)),
        (0.01, None),
        (0.05, None),
    ] {
        let scores = (size + 1) as f64;
        let k = match confidence {
            Some(_) if !certified => continue,
            Some(confidence) => certified_rank(size, rate, confidence),
            None => (rate * scores + 1e-9) as usize,
        };
        if k == 0 {
            continue;
        }
        let threshold = if confidence.is_some() {
            k as f64 / scores
        } else {
            rate
        };
        let images = inliers.detections.len();
        let rejected = rejected(inliers, threshold);
        let predicted = certified.then(|| {
            let (low, high) =
                beta_binomial_interval(images as u64, k as f64, scores - k as f64, 0.95);
            [low, high].map(|count| count as f64 / images as f64)
        });
        all.push(FalseAlarms {
            rate,
            confidence,
            threshold,
            rejected,
            measured_rate: rejected as f64 / images as f64,
            predicted,
        });
    }
    all
}

fn rejected(set: &Judged, threshold: f64) -> usize {
    set.detections
        .iter()
        .filter(|d| d.p_value <= threshold)
        .count()
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
            let rejected = rejected(set, alarms.threshold);
            let (low, high) = wilson_interval(rejected as u64, count as u64);
            Detected {
                rate: alarms.rate,
                confidence: alarms.confidence,
                detected: rejected as f64 / count as f64,
                interval: [low, high],
            }
        })
        .collect();
    let statistics = inliers.detections[0]
        .statistics
        .iter()
        .enumerate()
        .map(|(place, statistic)| {
            let values = |judged: &Judged| -> Vec<f64> {
                judged
                    .detections
                    .iter()
                    .map(|d| d.statistics[place].value)
                    .collect()
            };
            let both_sides = |judged: &Judged| -> Vec<f64> {
                judged
                    .detections
                    .iter()
                    .map(|d| -d.statistics[place].p_value)
                    .collect()
            };
            let (auroc, auroc_error) = roc::auroc_with_error(&values(inliers), &values(set));
            StatisticFigures {
                name: statistic.name.clone(),
                auroc,
                auroc_error,
                auroc_of_p_value: roc::auroc_with_error(&both_sides(inliers), &both_sides(set)).0,
                fpr_at_95: roc::figures(&values(inliers), &values(set)).fpr_at_95,
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

impl DetectionReport {
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "\ndetection: {} inliers, calibrated with {}\n\nfalse alarms\n",
            self.inliers, self.calibration_size
        );
        for alarms in &self.false_alarms {
            let kind = alarms.confidence.map_or("on average".to_owned(), |c| {
                format!("with {} % confidence", 100.0 * c)
            });
            text += &format!(
                "  {} % {kind}: {} of {} rejected, {:.2} %{}\n",
                100.0 * alarms.rate,
                alarms.rejected,
                self.inliers,
                100.0 * alarms.measured_rate,
                alarms.predicted.map_or(String::new(), |[low, high]| {
                    format!(", predicted {:.2} to {:.2} %", 100.0 * low, 100.0 * high)
                })
            );
        }
        if self.sets.is_empty() {
            return text;
        }
        let columns: Vec<String> = self
            .false_alarms
            .iter()
            .map(|alarms| {
                format!(
                    "at {} %{}",
                    100.0 * alarms.rate,
                    if alarms.confidence.is_some() { "*" } else { "" }
                )
            })
            .collect();
        text += &format!(
            "\n{:<20} {:>6} {:>7} {:>15} {:>7} {:>8} {:>7} {:>7}  {}\n",
            "outliers",
            "images",
            "AUROC",
            "95 % interval",
            "AUPR-in",
            "AUPR-out",
            "FPR@95",
            "FPR@80",
            columns
                .iter()
                .map(|c| format!("{c:>7}"))
                .collect::<Vec<_>>()
                .join(" ")
        );
        for set in &self.sets {
            let c = &set.combined;
            let detected: Vec<String> = set
                .detection
                .iter()
                .map(|d| format!("{:>7.4}", d.detected))
                .collect();
            text += &format!(
                "{:<20} {:>6} {:>7.4} {:>15} {:>7.4} {:>8.4} {:>7.4} {:>7.4}  {}\n",
                set.name,
                set.images,
                c.auroc,
                format!("{:.4}–{:.4}", c.auroc_interval[0], c.auroc_interval[1]),
                c.aupr_in,
                c.aupr_out,
                c.fpr_at_95,
                c.fpr_at_80,
                detected.join(" ")
            );
        }
        text += "\nThe last columns are the shares of outliers rejected at each false-alarm rate, * with confidence.\n";
        text
    }
}

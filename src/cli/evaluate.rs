//! `evaluate`: how well a model tells sets of outliers from inliers, as a table, as JSON and as a page to read.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args};
use serde::Serialize;

use super::{CliError, OfflineSettings, Outcome, gather, model, pipeline, say};
use crate::{
    app::App,
    domain::{
        binomial::{beta_binomial_interval, wilson_interval},
        conformal::certified_rank,
        family::{Capability, Family},
        image::Image,
        roc::{self, Figures},
    },
    service::{
        ServedModel,
        requests::{DetectOptions, Detection},
    },
};

mod page;

/// Images judged in one call.
const CHUNK: usize = 64;

/// Rounds of the bootstrap.
const ROUNDS: usize = 300;

/// Confidence of certified thresholds.
const CONFIDENCE: f64 = 0.95;

/// Measure how well a model tells outliers from inliers
///
/// AUROC, AUPR with inliers or outliers looked for, false positives at 95 % and 80 % detection, and detection at certified
/// false-alarm rates of 1 % and 5 %, for each set of outliers, of the decision and of every statistic. The inliers must be others than
/// those that calibrated.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    /// Images that are as they should be, used for nothing else
    #[arg(long, required = true, num_args = 1.., value_name = "INPUT")]
    data: Vec<PathBuf>,

    /// A set of other images; may be given several times
    #[arg(long = "outliers", required = true, num_args = 1.., value_name = "NAME=PATH")]
    outliers: Vec<String>,

    /// Folder for report.json and report.html
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,

    /// Resize images of another size than the model's
    #[arg(long)]
    resize: bool,

    /// Convert between grey and colour and reduce 16 bits to 8
    #[arg(long)]
    convert: bool,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    model: String,
    version: u32,
    inliers: usize,
    calibration_size: usize,
    calibration: String,
    /// Thresholds and what they did to the inliers.
    false_alarms: Vec<FalseAlarms>,
    sets: Vec<Set>,
}

/// A threshold, and how often it rejected inliers.
#[derive(Debug, Serialize)]
struct FalseAlarms {
    rate: f64,
    /// With the confidence of the certificate; without it the rate holds on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    /// p-values up to it are rejected.
    threshold: f64,
    rejected: usize,
    measured_rate: f64,
    /// Where 95 % of such measurements lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<[f64; 2]>,
}

/// A set of outliers.
#[derive(Debug, Serialize)]
struct Set {
    name: String,
    images: usize,
    combined: Combined,
    /// The share rejected at each threshold, in the order of the report's false alarms.
    detection: Vec<Detected>,
    statistics: Vec<StatisticFigures>,
}

#[derive(Debug, Serialize)]
struct Combined {
    auroc: f64,
    auroc_interval: [f64; 2],
    aupr_in: f64,
    aupr_in_interval: [f64; 2],
    aupr_out: f64,
    aupr_out_interval: [f64; 2],
    fpr_at_95: f64,
    fpr_at_95_interval: [f64; 2],
    fpr_at_80: f64,
    fpr_at_80_interval: [f64; 2],
}

#[derive(Debug, Serialize)]
struct Detected {
    rate: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    detected: f64,
    interval: [f64; 2],
}

#[derive(Debug, Serialize)]
struct StatisticFigures {
    name: String,
    /// Of the value, large values counting as strange.
    auroc: f64,
    auroc_error: f64,
    /// Of the p-value among the rank images, which looks at both sides.
    auroc_of_p_value: f64,
    fpr_at_95: f64,
}

/// Images and what was said of them.
struct Judged {
    name: String,
    images: Vec<Image>,
    detections: Vec<Detection>,
}

impl Judged {
    fn strangeness(&self) -> Vec<f64> {
        self.detections.iter().map(|d| d.strangeness).collect()
    }
}

pub(super) fn run(arguments: EvaluateArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let settings = arguments.settings.start(matches)?;
    let folder = model::folder(&arguments.model, &settings.models.repository)?;
    let (app, name) = App::load_one(&settings, &folder)?;
    let model = app.service.model(&name, None)?;
    model.require(Capability::Detect)?;
    let shape = model.shape();
    let read =
        |inputs: &[PathBuf]| gather::images(inputs, shape, arguments.resize, arguments.convert);
    let mut sets = vec![("inliers".to_owned(), read(&arguments.data)?)];
    for text in &arguments.outliers {
        let (name, path) = text
            .split_once('=')
            .filter(|(name, path)| !name.is_empty() && !path.is_empty())
            .ok_or_else(|| CliError::Usage(format!("--outliers {text}: it must be NAME=PATH")))?;
        sets.push((name.to_owned(), read(&[PathBuf::from(path)])?));
    }
    if let Some((name, _)) = sets.iter().find(|(_, images)| images.len() < 2) {
        return Err(CliError::Usage(format!(
            "{name}: at least two images are needed"
        )));
    }
    let bar = gather::progress(sets.iter().map(|(_, images)| images.len()).sum());
    let mut judged = Vec::new();
    let mut calibration = (0, String::new());
    for (name, images) in sets {
        let mut detections = Vec::with_capacity(images.len());
        let options = DetectOptions {
            false_alarm_rate: 0.5,
            ..DetectOptions::default()
        };
        let runtime = pipeline::runtime()?;
        for chunk in images.chunks(CHUNK) {
            let deadline = pipeline::no_deadline();
            let answer =
                runtime.block_on(
                    app.service
                        .detect(&model, chunk.to_vec(), &options, deadline),
                )?;
            calibration = (answer.calibration_size, answer.calibration_description);
            for detection in answer.results {
                detections.push(detection?);
            }
            bar.inc(chunk.len() as u64);
        }
        judged.push(Judged {
            name,
            images,
            detections,
        });
    }
    bar.finish_and_clear();
    let report = report(&model, calibration, &judged);
    print(&report)?;
    if let Some(folder) = &arguments.output {
        write(folder, &report, &judged)?;
        say(&format!(
            "written: {0}/report.json, {0}/report.html",
            folder.display()
        ));
    }
    Ok(Outcome::Done)
}

fn report(model: &ServedModel, (size, description): (usize, String), judged: &[Judged]) -> Report {
    let (inliers, outliers) = judged.split_at(1);
    let inliers = &inliers[0];
    // The p-value of a density alone looks at both sides, for which no threshold with confidence is known here.
    let certified = model.family() == Family::Detector;
    let false_alarms = false_alarms(inliers, size, certified);
    let sets = outliers
        .iter()
        .map(|set| figures_of(inliers, set, &false_alarms))
        .collect();
    Report {
        model: model.name().to_owned(),
        version: model.version(),
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

fn print(report: &Report) -> Result<(), CliError> {
    let mut text = format!(
        "{} version {}: {} inliers, calibrated with {}\n\nfalse alarms\n",
        report.model, report.version, report.inliers, report.calibration_size
    );
    for alarms in &report.false_alarms {
        let kind = alarms.confidence.map_or("on average".to_owned(), |c| {
            format!("with {} % confidence", 100.0 * c)
        });
        text += &format!(
            "  {} % {kind}: {} of {} rejected, {:.2} %{}\n",
            100.0 * alarms.rate,
            alarms.rejected,
            report.inliers,
            100.0 * alarms.measured_rate,
            alarms.predicted.map_or(String::new(), |[low, high]| {
                format!(", predicted {:.2} to {:.2} %", 100.0 * low, 100.0 * high)
            })
        );
    }
    let columns: Vec<String> = report
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
    for set in &report.sets {
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
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))
}

fn write(folder: &Path, report: &Report, judged: &[Judged]) -> Result<(), CliError> {
    let failed = |error| CliError::io(folder.display().to_string(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let json =
        serde_json::to_string_pretty(report).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(folder.join("report.json"), json + "\n").map_err(failed)?;
    let page = page::page(report, judged).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(folder.join("report.html"), page).map_err(failed)
}

//! `evaluate`: what a model is worth on a set of images, as a table, as JSON and as a page to read.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args};
use serde::Serialize;

use self::{
    classification::ClassificationReport,
    density::DensityReport,
    detection::{DetectionReport, Judged},
    measure::Measured,
    reconstruction::ReconstructionReport,
    rejection::RejectionReport,
};
use super::{
    CliError, OfflineSettings, Outcome,
    inputs::InputArgs,
    labels::LabelArgs,
    model::{self, Loaded},
    pipeline::Images,
    say,
    score::BoundName,
};
use crate::{
    domain::family::{Capability, Family},
    service::requests::ScoreOptions,
};

mod classification;
mod density;
mod detection;
mod figures;
mod measure;
mod page;
mod reconstruction;
mod rejection;

/// Measure what a model is worth on a set of images
///
/// What is measured follows from what the model can do. A density: mean log-likelihood in nats, bits/dim and perplexity with their
/// standard errors over images, quantiles, and the most and the least likely images. A model with a latent code: the squared error of
/// its reconstructions. With labels, a model that classifies: accuracy, log p(label | image), calibration, and which labels are
/// confused; a composite, how often each reason to give no label rejects the images and each set of outliers, and its accuracy against
/// coverage. With outliers, or for a detector, detection: AUROC, AUPR with inliers or outliers looked for, false positives at 95 % and
/// 80 % detection, and detection at certified false-alarm rates of 1 % and 5 %, for each set of outliers, of the decision and of every
/// statistic; the images must then be others than those that calibrated.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    /// Images to measure on: files, npy and IDX arrays and folders, as for `score`. Against outliers they are the inliers
    #[arg(long, required = true, num_args = 1.., value_name = "INPUT")]
    data: Vec<PathBuf>,

    #[command(flatten)]
    labels: LabelArgs,

    /// A set of other images; may be given several times
    #[arg(
        long = "outliers",
        num_args = 1..,
        value_name = "NAME=PATH",
        help_heading = "Outliers"
    )]
    outliers: Vec<String>,

    /// Which likelihood [default: exact if the model can, else elbo]
    #[arg(long, value_enum, help_heading = "Density")]
    bound: Option<BoundName>,

    /// Posterior samples of a bound [default: 16 for elbo, 64 for iwae]
    #[arg(long, value_name = "SAMPLES", help_heading = "Density")]
    k: Option<u32>,

    /// Seed of the posterior samples
    #[arg(long, default_value_t = 0, help_heading = "Density")]
    seed: u64,

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
    family: &'static str,
    data: Vec<String>,
    images: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    density: Option<DensityReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    density_given_label: Option<DensityReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classification: Option<ClassificationReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconstruction: Option<ReconstructionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<RejectionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<DetectionReport>,
}

/// What the page shows beside the report.
struct Shown {
    measured: Option<Measured>,
    judged: Vec<Judged>,
}

pub(super) fn run(arguments: EvaluateArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let loaded = model::load_any(&arguments.model, arguments.settings, matches)?;
    let model = &loaded.model;
    let rejects = model.family() == Family::Bayes;
    let detects = !rejects && !arguments.outliers.is_empty() || model.family() == Family::Detector;
    if detects {
        model.require(Capability::Detect)?;
    }
    let inputs = InputArgs::of(arguments.data.clone(), arguments.resize, arguments.convert);
    let files = inputs.files()?;
    let images = Images {
        labels: arguments.labels.read(&files, model.shape())?,
        files,
        options: inputs.decode_options(),
    };
    let options = ScoreOptions {
        bound: arguments.bound.map(BoundName::choice),
        k: arguments.k,
        seed: arguments.seed,
        ..ScoreOptions::default()
    };
    let plan = measure::Plan::new(&loaded, &images, &options, detects)?;
    let measured = if plan.is_empty() {
        None
    } else {
        Some(measure::measure(&loaded, &plan, images, &options)?)
    };
    let (detection, judged) = if detects {
        let change = (arguments.resize, arguments.convert);
        let (report, judged) =
            detection::measure(&loaded, &arguments.data, &arguments.outliers, change)?;
        (Some(report), judged)
    } else {
        (None, Vec::new())
    };
    let inliers = judged.first().map_or(0, |inliers| inliers.images.len());
    let rejection = match &measured {
        Some(measured) if rejects => {
            let change = (arguments.resize, arguments.convert);
            rejection::measure(&loaded, measured, &arguments.outliers, change)?
        }
        _ => None,
    };
    let report = Report {
        detection,
        rejection,
        ..report(&loaded, &arguments.data, measured.as_ref(), inliers)
    };
    print(&report)?;
    if let Some(folder) = &arguments.output {
        write(folder, &report, &Shown { measured, judged })?;
        say(&format!(
            "written: {0}/report.json, {0}/report.html",
            folder.display()
        ));
    }
    Ok(Outcome::Done)
}

fn report(
    loaded: &Loaded,
    data: &[PathBuf],
    measured: Option<&Measured>,
    in_detection: usize,
) -> Report {
    let model = &loaded.model;
    Report {
        model: model.name().to_owned(),
        version: model.version(),
        family: model.family().name(),
        data: data.iter().map(|path| path.display().to_string()).collect(),
        images: measured.map_or(in_detection, |measured| measured.names.len()),
        density: measured.and_then(|measured| DensityReport::of(measured, model.shape())),
        density_given_label: measured
            .and_then(|measured| DensityReport::given_label(measured, model.shape())),
        classification: measured.and_then(ClassificationReport::of),
        reconstruction: measured.and_then(ReconstructionReport::of),
        rejection: None,
        detection: None,
    }
}

fn print(report: &Report) -> Result<(), CliError> {
    let mut text = format!(
        "{} version {} ({}), {} images\n",
        report.model, report.version, report.family, report.images
    );
    for density in [&report.density, &report.density_given_label]
        .into_iter()
        .flatten()
    {
        text += &density.text();
    }
    if let Some(classification) = &report.classification {
        text += &classification.text();
    }
    if let Some(reconstruction) = &report.reconstruction {
        text += &reconstruction.text();
    }
    if let Some(rejection) = &report.rejection {
        text += &rejection.text();
    }
    if let Some(detection) = &report.detection {
        text += &detection.text();
    }
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))
}

fn write(folder: &Path, report: &Report, shown: &Shown) -> Result<(), CliError> {
    let failed = |error| CliError::io(folder.display().to_string(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let json =
        serde_json::to_string_pretty(report).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(folder.join("report.json"), json + "\n").map_err(failed)?;
    let page = page::page(report, shown).map_err(|error| failed(io::Error::other(error)))?;
    fs::write(folder.join("report.html"), page).map_err(failed)
}

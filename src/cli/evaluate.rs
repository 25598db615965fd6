//! `evaluate`: what a model is worth on a set of images, as a table, as JSON and as a page to read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use self::{evaluation::Evaluation, page::Shown};
use super::{
    CliError, OfflineSettings, Outcome,
    image_set::{self, Handling},
    labels::LabelArgs,
    model,
    partial_file::write_beside,
    pipeline, print, say,
};
use crate::{app::Registries, detection::evaluation::Report, model::score::BoundChoice};

mod evaluation;
mod page;
mod text;

/// Measure what a model is worth on a set of images
///
/// What is measured follows from what the model can do. A density: mean log-likelihood in nats, bits/dim and perplexity
/// with their standard errors over images, quantiles, and the most and the least likely images. A model with a latent
/// code: the squared error of its reconstructions. With labels, a model that classifies: accuracy, log p(label |
/// image), calibration, and which labels are confused; a composite, how often each reason to give no label rejects the
/// images and each set of outliers, and its accuracy against coverage. With outliers, or for a detector, detection:
/// AUROC, AUPR with inliers or outliers looked for, false positives at 95 % and 80 % detection, and detection at
/// certified false-alarm rates of 1 % and 5 %, for each set of outliers, of the decision and of every statistic; the
/// images must then be others than those that calibrated.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    #[command(flatten)]
    request: Request,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// What is to be measured.
#[derive(Debug, Args)]
struct Request {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    /// Images to measure on: files, npy and IDX arrays and folders, as for `score`. Against outliers they are the
    /// inliers
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

    /// Masks of the outliers, white where an image is defective: adds the AUROC of pixels and the overlap of regions. A
    /// mask is called like its image and ends in .png; it lies in the folder, or in one below it called like the set.
    /// It is resized as its image is
    #[arg(long, value_name = "FOLDER", help_heading = "Outliers")]
    masks: Option<PathBuf>,

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
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,

    #[command(flatten)]
    handling: Handling,
}

/// What a likelihood is worth.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BoundName {
    /// The log-likelihood itself
    Exact,
    /// The evidence lower bound
    Elbo,
    /// The importance-weighted bound
    Iwae,
}

impl From<BoundName> for BoundChoice {
    fn from(name: BoundName) -> Self {
        match name {
            BoundName::Exact => Self::Exact,
            BoundName::Elbo => Self::Elbo,
            BoundName::Iwae => Self::Iwae,
        }
    }
}

pub(super) fn run(arguments: EvaluateArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let EvaluateArgs { request, settings } = arguments;
    let loaded = model::load_any(&request.model, settings, registries)?;
    let outliers = named(&request.outliers)?;
    let evaluation = Evaluation {
        call: loaded.app.service.call(pipeline::no_deadline()),
        loaded: &loaded,
        request: &request,
        outliers,
    };
    let (report, shown) = evaluation.carry_out()?;
    print(&text::report(&report))?;
    if let Some(folder) = &request.output {
        write(folder, &report, &shown)?;
        say(&format!("written: {0}/report.json, {0}/report.html", folder.display()));
    }
    Ok(image_set::outcome(report.failed.len(), report.images))
}

/// Names and paths of sets that are given as NAME=PATH.
fn named(outliers: &[String]) -> Result<Vec<(String, PathBuf)>, CliError> {
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

fn write(folder: &Path, report: &Report, shown: &Shown) -> Result<(), CliError> {
    let failed = |error| CliError::io(folder.display().to_string(), error);
    fs::create_dir_all(folder).map_err(failed)?;
    let json = serde_json::to_string_pretty(report).map_err(|error| failed(io::Error::other(error)))?;
    write_beside(&folder.join("report.json"), (json + "\n").as_bytes()).map_err(failed)?;
    let page = page::page(report, shown).map_err(|error| failed(io::Error::other(error)))?;
    write_beside(&folder.join("report.html"), page.as_bytes()).map_err(failed)
}

//! `encode`: the latent codes of images, as a table.

use clap::{ArgMatches, Args};
use serde::Serialize;

use super::{
    CliError, OfflineSettings, Outcome,
    inputs::InputArgs,
    labels::LabelArgs,
    model, npy,
    pipeline::{self, Images},
    table::{Answer, Layout, OutputArgs},
};
use crate::{domain::family::Capability, service::requests::Encoding};

/// Print the latent codes of images
///
/// Of a VAE, CSV and npy hold the means of the posteriors, JSON lines the logarithms of their variances too; of an autoencoder the codes; of
/// a classifier its features. With labels, CSV and JSON lines have a column `label`; an npy array holds the codes only, row i being that of
/// image i, so that labels that were given in the order of the images lie beside it as they are.
#[derive(Debug, Args)]
pub(super) struct EncodeArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    #[command(flatten)]
    inputs: InputArgs,

    #[command(flatten)]
    labels: LabelArgs,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// The row of one image.
#[derive(Debug, Serialize)]
struct Row {
    code: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_variance: Option<Vec<f32>>,
}

pub(super) fn run(arguments: EncodeArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let loaded = model::load(
        &arguments.model,
        Capability::Encode,
        arguments.settings,
        matches,
    )?;
    let latent_size = loaded.model.latent_size().unwrap_or_default();
    let layout = Layout {
        columns: (0..latent_size).map(|i| format!("code_{i}")).collect(),
        element: npy::Element::F32,
        row_shape: vec![latent_size],
    };
    let (service, model) = (&loaded.app.service, &loaded.model);
    let encode = async |images| {
        let answer = service
            .encode(model, images, pipeline::no_deadline())
            .await?;
        Ok(answer
            .into_iter()
            .map(|result| result.map(Row::from))
            .collect())
    };
    let files = arguments.inputs.files()?;
    let images = Images {
        labels: arguments.labels.read(&files, loaded.model.shape())?,
        files,
        options: arguments.inputs.decode_options(),
    };
    pipeline::run_on(&loaded, images, &arguments.output, layout, encode)
}

impl From<Encoding> for Row {
    fn from(encoding: Encoding) -> Self {
        Self {
            code: encoding.code,
            log_variance: encoding.log_variance,
        }
    }
}

impl Answer for Row {
    fn cells(&self) -> Vec<String> {
        self.code.iter().map(f32::to_string).collect()
    }

    fn numbers(&self) -> Vec<f64> {
        self.code.iter().copied().map(f64::from).collect()
    }
}

//! What is loaded, and what each model can do.

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        HttpState,
        call::Query,
        options::{NoOptions, Options},
        output::json,
        problem::Problem,
    },
    service::info::{ModelInfo, ModelState, ReadyInfo, SamplerInfo},
};

/// Every version of every model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    models: Vec<Model>,
}

/// One version of one model. Only a ready one says what it can do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Model {
    #[schema(example = "fashion-mnist-pixelcnn")]
    name: String,
    #[schema(example = 1)]
    version: u32,
    /// `ready`, or `failed` if its load gate refused it.
    #[schema(example = "ready")]
    state: &'static str,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// What a ready model can do.
#[derive(Debug, Serialize, ToSchema)]
struct Details {
    description: String,
    #[schema(example = "pixelcnn")]
    family: &'static str,
    /// What it says about p(image): `exact`, `lower_bound`, `implicit` or `none`.
    #[schema(example = "exact")]
    density: &'static str,
    /// Whether the density is conditioned on labels, p(image | label).
    conditional: bool,
    capabilities: Vec<Capable>,
    image: Size,
    /// The likelihood head.
    #[schema(example = "categorical")]
    likelihood: &'static str,
    /// The labels that the model knows, which requests name so or by number from 0, if it knows any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    /// The probability of each label before anything is seen, in the same order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prior: Vec<f64>,
    /// How images are drawn pixel by pixel, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<DrawingMethod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latent_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibrated>,
    provenance: Provenance,
    /// What was checked before it became ready.
    checks: Vec<Check>,
}

/// Something that can be asked of a model, and why not if it cannot.
#[derive(Debug, Serialize, ToSchema)]
struct Capable {
    #[schema(example = "score")]
    name: &'static str,
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The images that a model takes.
#[derive(Debug, Serialize, ToSchema)]
struct Size {
    #[schema(example = 1)]
    channels: usize,
    #[schema(example = 28)]
    height: usize,
    #[schema(example = 28)]
    width: usize,
    /// Values that one channel of one pixel takes.
    #[schema(example = 256)]
    levels: usize,
}

/// How images are drawn pixel by pixel. Both ways draw what one full pass a pixel would draw.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "method", rename_all = "snake_case")]
enum DrawingMethod {
    /// Through the compiled network, nothing of which is computed twice.
    Wavefront {
        /// Columns by which a row runs behind the row above.
        lag: u64,
        /// Steps that an image takes.
        steps: u64,
        /// Multiplications of weights for an image.
        multiply_adds: u64,
        /// Bytes that are remembered for an image while it is drawn.
        bytes_per_image: u64,
    },
    /// By full passes, each of which settles some pixels.
    FixedPoint {
        /// Why the network could not be compiled.
        reason: String,
    },
}

/// Scores of held-out inliers behind `detect`.
#[derive(Debug, Serialize, ToSchema)]
struct Calibrated {
    size: usize,
    #[schema(example = "log_likelihood")]
    statistic: &'static str,
    smallest_false_alarm_rate: f64,
    description: String,
}

/// Where a model came from.
#[derive(Debug, Serialize, ToSchema)]
struct Provenance {
    data: String,
    licence: String,
    command: String,
    parameters: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_bits_per_dim: Option<f64>,
}

/// One check of the load gate.
#[derive(Debug, Serialize, ToSchema)]
struct Check {
    name: &'static str,
    finding: String,
}

/// List models
///
/// Every version of every model, ready or not.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, description = "Models", body = ModelList)))]
pub(super) async fn list(
    State(state): State<HttpState>,
    uri: axum::http::Uri,
) -> Result<Response, Problem> {
    Options::from_query(uri.query())?.parse::<NoOptions>()?;
    let models = state
        .service
        .models()
        .into_iter()
        .map(Model::from)
        .collect();
    Ok(json(&ModelList { models }))
}

/// Describe a model
///
/// The version that serves, else the newest, unless `version` names another.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = Option<u32>, Query, description = "Version")),
    responses((status = 200, description = "The model", body = Model))
)]
pub(super) async fn show(
    State(state): State<HttpState>,
    mut query: Query,
) -> Result<Response, Problem> {
    let version = query.options.take("version")?;
    query.options.parse::<NoOptions>()?;
    let info = state.service.model_info(&query.path.model, version)?;
    Ok(json(&Model::from(info)))
}

/// Describe a version
#[utoipa::path(
    get, path = "/v1/models/{model}/versions/{version}", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = u32, Path, description = "Version")),
    responses((status = 200, description = "The model", body = Model))
)]
pub(super) async fn show_version(
    State(state): State<HttpState>,
    query: Query,
) -> Result<Response, Problem> {
    query.options.parse::<NoOptions>()?;
    let info = state
        .service
        .model_info(&query.path.model, query.path.version)?;
    Ok(json(&Model::from(info)))
}

impl From<ModelInfo> for Model {
    fn from(info: ModelInfo) -> Self {
        let (state, reason, details) = match info.state {
            ModelState::Ready(ready) => ("ready", None, Some(Details::from(*ready))),
            ModelState::Failed { reason } => ("failed", Some(reason), None),
        };
        Self {
            name: info.name,
            version: info.version,
            state,
            reason,
            details,
        }
    }
}

impl From<SamplerInfo> for DrawingMethod {
    fn from(info: SamplerInfo) -> Self {
        match info {
            SamplerInfo::Wavefront(cost) => Self::Wavefront {
                lag: cost.lag,
                steps: cost.steps,
                multiply_adds: cost.multiply_adds,
                bytes_per_image: cost.bytes,
            },
            SamplerInfo::FixedPoint { reason } => Self::FixedPoint { reason },
        }
    }
}

impl From<ReadyInfo> for Details {
    fn from(info: ReadyInfo) -> Self {
        Self {
            description: info.description,
            family: info.family.name(),
            density: info.density.name(),
            conditional: info.conditional,
            capabilities: info
                .capabilities
                .into_iter()
                .map(|(capability, reason)| Capable {
                    name: capability.name(),
                    available: reason.is_none(),
                    reason,
                })
                .collect(),
            image: Size {
                channels: info.shape.channels(),
                height: info.shape.height(),
                width: info.shape.width(),
                levels: info.shape.levels(),
            },
            likelihood: info.likelihood,
            labels: info.labels,
            prior: info.prior,
            sampler: info.sampler.map(DrawingMethod::from),
            latent_size: info.latent_size,
            calibration: info.calibration.map(|calibration| Calibrated {
                size: calibration.size,
                statistic: calibration.statistic,
                smallest_false_alarm_rate: calibration.smallest_false_alarm_rate,
                description: calibration.description,
            }),
            provenance: Provenance {
                data: info.provenance.data,
                licence: info.provenance.licence,
                command: info.provenance.command,
                parameters: info.provenance.parameters,
                test_bits_per_dim: info.provenance.test_bits_per_dim,
            },
            checks: info
                .checks
                .into_iter()
                .map(|check| Check {
                    name: check.name,
                    finding: check.finding,
                })
                .collect(),
        }
    }
}

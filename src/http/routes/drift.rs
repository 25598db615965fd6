//! Has the stream of images that a detector judges stopped being like those that calibrated it?

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{HttpState, call::Query, options::NoOptions, output::json, problem::Problem},
    service::{ServedModel, drift::DriftReport},
};

/// The stream of one detector since its run began.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Drift {
    #[schema(example = "fashion-mnist-gate")]
    model: String,
    #[schema(example = 1)]
    version: u32,
    /// Images that were counted.
    #[schema(example = 1500)]
    images: usize,
    /// Images that were judged but not counted, because the very same pixels had been counted before.
    repeated: u64,
    /// Images after which a new run begins by itself.
    #[schema(example = 100_000)]
    run_length: usize,
    /// Natural logarithm of the capital that betting on drift has made; 0 at the start.
    #[schema(example = -1.3)]
    log_capital: f64,
    /// The largest since the run began.
    highest_log_capital: f64,
    /// Whether that has reached log 100. Without drift at most 1 % of runs ever do.
    alarm: bool,
    /// When the run began, in seconds since 1970.
    since: u64,
    /// Whether the state survives a restart of the server.
    kept: bool,
}

/// Show drift
///
/// Bets against the images being exchangeable with those that calibrated the detector, since the run began.
#[utoipa::path(
    get, path = "/v1/models/{model}/drift", operation_id = "drift", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = Option<u32>, Query, description = "Version")),
    responses((status = 200, description = "Drift", body = Drift))
)]
pub(super) async fn show(
    State(state): State<HttpState>,
    query: Query,
) -> Result<Response, Problem> {
    answer(&state, query, false)
}

/// Show drift of a version
///
/// The same of one version.
#[utoipa::path(
    get, path = "/v1/models/{model}/versions/{version}/drift", operation_id = "drift_version", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = u32, Path, description = "Version")),
    responses((status = 200, description = "Drift", body = Drift))
)]
pub(super) async fn show_version(
    State(state): State<HttpState>,
    query: Query,
) -> Result<Response, Problem> {
    answer(&state, query, false)
}

/// Reset drift
///
/// Forgets the run, its alarm included, and begins another.
#[utoipa::path(
    delete, path = "/v1/models/{model}/drift", operation_id = "reset_drift", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = Option<u32>, Query, description = "Version")),
    responses((status = 200, description = "The new run", body = Drift))
)]
pub(super) async fn reset(
    State(state): State<HttpState>,
    query: Query,
) -> Result<Response, Problem> {
    answer(&state, query, true)
}

/// Reset drift of a version
///
/// The same of one version.
#[utoipa::path(
    delete, path = "/v1/models/{model}/versions/{version}/drift", operation_id = "reset_drift_version", tag = "models",
    params(("model" = String, Path, description = "Name of a model"), ("version" = u32, Path, description = "Version")),
    responses((status = 200, description = "The new run", body = Drift))
)]
pub(super) async fn reset_version(
    State(state): State<HttpState>,
    query: Query,
) -> Result<Response, Problem> {
    answer(&state, query, true)
}

fn answer(state: &HttpState, mut query: Query, reset: bool) -> Result<Response, Problem> {
    let version = match query.path.version {
        Some(version) => Some(version),
        None => query.options.take("version")?,
    };
    query.options.parse::<NoOptions>()?;
    let model = state.service.model(&query.path.model, version)?;
    let report = if reset {
        state.service.reset_drift(&model)?
    } else {
        state.service.drift(&model)?
    };
    Ok(json(&Drift::new(&model, &report)))
}

impl Drift {
    fn new(model: &ServedModel, report: &DriftReport) -> Self {
        Self {
            model: model.name().to_owned(),
            version: model.version(),
            images: report.images,
            repeated: report.repeated,
            run_length: report.run_length,
            log_capital: report.log_capital,
            highest_log_capital: report.highest_log_capital,
            alarm: report.alarm,
            since: report.since,
            kept: report.kept,
        }
    }
}

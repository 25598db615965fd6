//! What is loaded, what each model can do, and whether the images that a detector judges have drifted.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::{
    HttpState,
    output::json,
    problem::Problem,
    query::{About, Query},
};
use crate::model::{
    Model, Refusal,
    detect::{Judges, WatchesDrift},
    info::ModelInfo,
};

/// Versions of models.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Models {
    /// In order of name and version.
    pub(crate) models: Vec<ModelInfo>,
}

/// Every version of every model, ready or not.
pub(super) async fn list(State(state): State<HttpState>, uri: Uri) -> Result<Response, Problem> {
    Query::new(uri.query()).nothing_else("there are none")?;
    let models = state.service.models();
    Ok(json(&Models { models }))
}

/// One version; by default the one that serves, else the newest.
pub(super) async fn show(State(state): State<HttpState>, About(model, version): About) -> Result<Response, Problem> {
    Ok(json(&state.service.model_info(&model, version)?))
}

/// What the p-values of a model that judges images are measured against.
pub(super) async fn calibration(State(state): State<HttpState>, about: About) -> Result<Response, Problem> {
    let About(name, version) = about;
    let model = state.service.catalogue().model(&name, version)?;
    let judge = model
        .can::<dyn Judges>()
        .map_err(|reason| Refusal::unsupported(&model.name, "detect", &reason))?;
    Ok(report(&model, judge.calibration()))
}

/// Bets against the images being exchangeable with those that calibrated the detector, since the run began.
pub(super) async fn drift(State(state): State<HttpState>, about: About) -> Result<Response, Problem> {
    let (model, watch) = watched(&state, about)?;
    Ok(report(&model, watch.drift().await?))
}

/// Forgets the run, its alarm included, and begins another.
pub(super) async fn reset_drift(State(state): State<HttpState>, about: About) -> Result<Response, Problem> {
    let (model, watch) = watched(&state, about)?;
    Ok(report(&model, watch.reset_drift().await?))
}

fn watched(state: &HttpState, About(name, version): About) -> Result<(Arc<Model>, Arc<dyn WatchesDrift>), Refusal> {
    let model = state.service.catalogue().model(&name, version)?;
    let watch = model
        .can::<dyn WatchesDrift>()
        .map_err(|reason| Refusal::unsupported(&model.name, "watch drift", &reason))?;
    Ok((model, watch))
}

fn report(model: &Model, report: impl Serialize) -> Response {
    let mut body = json!({"model": model.name, "version": model.version});
    if let (Some(body), Ok(Value::Object(report))) = (body.as_object_mut(), serde_json::to_value(report)) {
        body.extend(report);
    }
    json(&body)
}

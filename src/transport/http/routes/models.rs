//! What is loaded, what each model can do, and whether the images that a detector judges have drifted.

use axum::{extract::State, http::Uri, response::Response};
use serde_json::{Value, json};

use super::super::{
    HttpState,
    output::json,
    problem::Problem,
    query::{About, Query},
};
use crate::model::{
    Refusal,
    detect::{DriftReport, WatchesDrift},
};

/// Every version of every model, ready or not.
pub(super) async fn list(State(state): State<HttpState>, uri: Uri) -> Result<Response, Problem> {
    Query::new(uri.query()).nothing_else("there are none")?;
    Ok(json(&json!({"models": state.service.models()})))
}

/// One version; by default the one that serves, else the newest.
pub(super) async fn show(
    State(state): State<HttpState>,
    About(model, version): About,
) -> Result<Response, Problem> {
    Ok(json(&state.service.model_info(&model, version)?))
}

/// Bets against the images being exchangeable with those that calibrated the detector, since the run began.
pub(super) async fn drift(
    State(state): State<HttpState>,
    about: About,
) -> Result<Response, Problem> {
    answer(&state, about, |watch| watch.drift())
}

/// Forgets the run, its alarm included, and begins another.
pub(super) async fn reset_drift(
    State(state): State<HttpState>,
    about: About,
) -> Result<Response, Problem> {
    tracing::info!(model = about.0, version = about.1, "drift reset by a client");
    answer(&state, about, |watch| watch.reset_drift())
}

fn answer(
    state: &HttpState,
    About(name, version): About,
    report: impl FnOnce(&dyn WatchesDrift) -> DriftReport,
) -> Result<Response, Problem> {
    let model = state.service.catalogue().model(&name, version)?;
    let watch = model
        .can::<dyn WatchesDrift>()
        .map_err(|reason| Refusal::unsupported(&model.name, "watch drift", &reason))?;
    let mut body = json!({"model": model.name, "version": model.version});
    if let (Some(body), Ok(Value::Object(report))) =
        (body.as_object_mut(), serde_json::to_value(report(&*watch)))
    {
        body.extend(report);
    }
    Ok(json(&body))
}

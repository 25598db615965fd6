//! What is asked of the server: is it there, does it take work, what does it have, and what shall it load.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::RestState;
use crate::{
    model::{Kind, Refusal},
    transport::{
        openinference::OpenInference,
        web::{body, output, problem::Problem, scope::RequestScope},
    },
};

/// The longest body of a question about the repository.
const MAX_QUESTION_BYTES: usize = 4 << 10;

pub(super) async fn metadata() -> Response {
    output::json(&OpenInference::server_metadata())
}

pub(super) async fn live() -> Response {
    output::json(&json!({"live": true}))
}

pub(super) async fn ready(State(state): State<RestState>) -> Result<Response, Problem> {
    if state.protocol.service.is_ready() {
        return Ok(output::json(&json!({"ready": true, "live": true})));
    }
    let detail = "no model is ready, or the server is shutting down";
    Err(Problem(Refusal::new(Kind::NotReady, detail)))
}

/// What the index may be asked.
#[derive(Debug, Default, Deserialize)]
struct Question {
    #[serde(default)]
    ready: bool,
}

pub(super) async fn index(State(state): State<RestState>, request: Request) -> Result<Response, Problem> {
    let question: Question = question(&state, request, "{\"ready\": true}").await?;
    Ok(output::json(&state.protocol.index(question.ready)))
}

/// What loading and unloading may be asked.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Loads every version of a model, or looks for new ones; answers when they are ready.
pub(super) async fn load(
    State(state): State<RestState>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Wanted { parameters } = question(&state, request, "{\"parameters\": {}}").await?;
    state.protocol.load(&model, parameters).await?;
    Ok(output::json(&json!({})))
}

/// Unloads every version of a model.
pub(super) async fn unload(
    State(state): State<RestState>,
    Path(model): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let example = "{\"parameters\": {\"unload_dependents\": false}}";
    let Wanted { parameters } = question(&state, request, example).await?;
    state.protocol.unload(&model, parameters).await?;
    Ok(output::json(&json!({})))
}

/// What a short body of JSON asks, if there is one.
async fn question<T: Default + DeserializeOwned>(
    state: &RestState,
    request: Request,
    example: &str,
) -> Result<T, Refusal> {
    let (parts, body) = request.into_parts();
    let mut held = state.protocol.service.memory_budget().open();
    let announced = RequestScope::of(&parts).announced();
    let time = state.config.body_timeout;
    let bytes = body::read(body, announced, MAX_QUESTION_BYTES, time, &mut held).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let reason = || format!("the body is neither empty nor an object such as {example}");
    serde_json::from_slice(&bytes).map_err(|_| Refusal::new(Kind::Malformed, reason()))
}

//! What is asked of the server: is it there, does it take work, what does it have.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::RestState;
use crate::{
    model::{Kind, Refusal},
    transport::{
        http::{body, output, problem::Problem, scope::RequestScope},
        openinference::OpenInference,
    },
};

/// The longest body of a question for the index.
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
    let (parts, body) = request.into_parts();
    let mut held = state.protocol.service.ledger().open();
    let announced = RequestScope::of(&parts).announced();
    let time = state.config.body_timeout;
    let bytes = body::read(body, announced, MAX_QUESTION_BYTES, time, &mut held).await?;
    let question = if bytes.is_empty() {
        Question::default()
    } else {
        let reason = "the body is neither empty nor an object such as {\"ready\": true}";
        serde_json::from_slice(&bytes).map_err(|_| Refusal::new(Kind::Malformed, reason))?
    };
    Ok(output::json(&state.protocol.index(question.ready)))
}

/// Loading and unloading are an operator's business, who has the folder and the signal.
pub(super) async fn not_enabled() -> Problem {
    Problem(Refusal::new(
        Kind::Unsupported,
        "loading and unloading by clients is not enabled; the server loads what is in its repository when it gets SIGHUP",
    ))
}

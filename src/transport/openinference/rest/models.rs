//! What is asked about one model: its tensors, its configuration, whether it is ready, what it has done.

use axum::{
    extract::{FromRequestParts, Path, State},
    http::request::Parts,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;

use super::RestState;
use crate::{
    model::{Kind, Refusal},
    transport::{
        openinference::target,
        web::{output, problem::Problem},
    },
};

/// A model's name and version from the path.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) version: Option<u32>,
}

#[derive(Deserialize)]
struct Segments {
    model: String,
    version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<Segments>::from_request_parts(parts, state).await;
        let Path(Segments { model, version }) =
            path.map_err(|_| Refusal::new(Kind::UnknownRoute, "the path is not valid UTF-8"))?;
        let version = target::version(&version.unwrap_or_default())?;
        Ok(Self { name: model, version })
    }
}

pub(super) async fn metadata(
    State(state): State<RestState>,
    Named { name, version }: Named,
) -> Result<Response, Problem> {
    Ok(output::json(&state.protocol.model_metadata(&name, version)?))
}

pub(super) async fn config(
    State(state): State<RestState>,
    Named { name, version }: Named,
) -> Result<Response, Problem> {
    Ok(output::json(&state.protocol.model_config(&name, version)?))
}

pub(super) async fn ready(State(state): State<RestState>, Named { name, version }: Named) -> Result<Response, Problem> {
    state.protocol.target(&name, version, None)?;
    Ok(output::json(&json!({"name": name, "ready": true})))
}

pub(super) async fn statistics(
    State(state): State<RestState>,
    Named { name, version }: Named,
) -> Result<Response, Problem> {
    let statistics = state.protocol.statistics(Some((&name, version)))?;
    Ok(output::json(&json!({"model_stats": statistics})))
}

pub(super) async fn all_statistics(State(state): State<RestState>) -> Result<Response, Problem> {
    let statistics = state.protocol.statistics(None)?;
    Ok(output::json(&json!({"model_stats": statistics})))
}

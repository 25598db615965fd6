//! What operators and their tools ask: is it alive, does it take work, what does it count.

use axum::{
    extract::State,
    http::{HeaderName, header},
    response::IntoResponse,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        HttpState,
        output::json,
        problem::{Problem, ProblemKind},
    },
    service::error::ErrorKind,
};

/// Where to go from here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Index {
    name: &'static str,
    version: &'static str,
    links: Links,
}

#[derive(Debug, Serialize, ToSchema)]
struct Links {
    models: &'static str,
    docs: &'static str,
    openapi: &'static str,
    livez: &'static str,
    readyz: &'static str,
    metrics: &'static str,
}

/// A state of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    #[schema(example = "ready")]
    status: &'static str,
}

/// Index
///
/// Names the other paths.
#[utoipa::path(get, path = "/", tag = "server", responses((status = 200, description = "Links", body = Index)))]
pub(super) async fn index() -> impl IntoResponse {
    json(&Index {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            models: "/v1/models",
            docs: "/docs/",
            openapi: "/openapi.json",
            livez: "/livez",
            readyz: "/readyz",
            metrics: "/metrics",
        },
    })
}

/// Liveness
///
/// 200 while the process answers at all.
#[utoipa::path(get, path = "/livez", tag = "server", responses((status = 200, description = "Alive", body = Status)))]
pub(super) async fn livez() -> impl IntoResponse {
    json(&Status { status: "live" })
}

/// Readiness
///
/// 200 while the server takes new work: models are loaded and it is not shutting down.
#[utoipa::path(get, path = "/readyz", tag = "server", responses((status = 200, description = "Takes work", body = Status)))]
pub(super) async fn readyz(State(state): State<HttpState>) -> Result<impl IntoResponse, Problem> {
    if state.service.is_ready() {
        return Ok(json(&Status { status: "ready" }));
    }
    Err(Problem::new(
        ProblemKind::Service(ErrorKind::NotReady),
        "no model is ready, or the server is shutting down",
    ))
}

/// Metrics
///
/// In the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "server", responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(
    State(state): State<HttpState>,
) -> ([(HeaderName, &'static str); 1], String) {
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    (
        [(header::CONTENT_TYPE, media_type)],
        state.service.metrics().encode(),
    )
}

//! What operators and their tools ask: is it alive, does it take work, what does it count.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::{HttpState, accept, output::json, page, problem::Problem};
use crate::model::{Kind, Refusal};

/// Where to go from here.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Index {
    name: &'static str,
    version: &'static str,
    links: Links,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Links {
    models: &'static str,
    docs: &'static str,
    openapi: &'static str,
    livez: &'static str,
    readyz: &'static str,
    metrics: &'static str,
}

/// A state of the server.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Status {
    #[schemars(example = &"ready")]
    status: &'static str,
    /// What the server does without though it is ready: versions of models that were refused, and why, pins to versions
    /// that do not serve, or a folder of models that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weaknesses: Vec<String>,
}

/// Names the other paths, relative to this one; to whoever prefers it, as a page to play with.
pub(super) async fn index(headers: HeaderMap) -> Response {
    if accept::prefers_html(&headers) {
        return page::index();
    }
    let mut response = json(&Index {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        links: Links {
            models: "v1/models",
            docs: "docs/",
            openapi: "openapi.json",
            livez: "livez",
            readyz: "readyz",
            metrics: "metrics",
        },
    });
    response.headers_mut().insert(header::VARY, page::BY_ACCEPT);
    response
}

/// 200 while the process answers at all.
pub(super) async fn livez() -> impl IntoResponse {
    json(&Status {
        status: "live",
        weaknesses: Vec::new(),
    })
}

/// 200 while the server takes new work; else what it waits for.
pub(super) async fn readyz(State(state): State<HttpState>) -> Result<impl IntoResponse, Problem> {
    if let Some(reason) = state.service.unready() {
        return Err(Problem(Refusal::new(Kind::NotReady, reason)));
    }
    Ok(json(&Status {
        status: "ready",
        weaknesses: state.service.weaknesses(),
    }))
}

/// In the Prometheus text format.
pub(super) async fn metrics(State(state): State<HttpState>) -> ([(HeaderName, &'static str); 1], String) {
    // Counted when it is looked at: models come and go.
    state.service.weaknesses();
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], state.service.metrics().encode())
}

//! The protocol over HTTP: `/v2`, with JSON, with bytes behind JSON, or with bytes alone; compressed if that is wanted.
//!
//! Refusals are `{"error": …}`. The routes share the port, the log line, the metrics and the limits of bodies with the
//! others.

use std::sync::Arc;

use axum::{
    Router,
    routing::{any, get, post},
};
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};

use super::OpenInference;
use crate::transport::{
    access::{Door, Guard, GuardRoutes},
    middleware::Layered,
    web::{catch_panics, codings::Codings, config::HttpConfig},
};

mod answer;
mod body;
mod errors;
mod infer;
mod models;
mod server;

/// Answers below this size are not worth the time that compressing them takes.
const COMPRESS_ABOVE_BYTES: u64 = 4 << 10;

/// What every handler has.
#[derive(Debug, Clone)]
struct RestState {
    protocol: Arc<OpenInference>,
    config: Arc<HttpConfig>,
}

/// Everything under `/v2`.
pub fn router(protocol: &Arc<OpenInference>, config: HttpConfig, door: Door) -> Router {
    let mut router = Router::new()
        .route("/v2", get(server::metadata))
        .route("/v2/", get(server::metadata))
        .route("/v2/health/live", get(server::live))
        .route("/v2/health/ready", get(server::ready))
        .route("/v2/models/stats", get(models::all_statistics))
        .route("/v2/repository/index", post(server::index))
        .route("/v2/repository/models/{model}/load", post(server::load))
        .route("/v2/repository/models/{model}/unload", post(server::unload))
        .route("/v2/{*path}", any(errors::nothing_here));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        router = router
            .route(model, get(models::metadata))
            .route(&format!("{model}/ready"), get(models::ready))
            .route(&format!("{model}/config"), get(models::config))
            .route(&format!("{model}/stats"), get(models::statistics))
            .route(&format!("{model}/infer"), post(infer::infer));
    }
    let guard = Guard::new(&protocol.service, door);
    let state = RestState {
        protocol: Arc::clone(protocol),
        config: Arc::new(config),
    };
    let compression = CompressionLayer::new()
        .gzip(true)
        .deflate(true)
        .compress_when(SizeAbove::new(COMPRESS_ABOVE_BYTES));
    // What is not under `/v2` is refused in the server's own words.
    router.with_state(state).route_layer((
        Layered(errors::Errors),
        catch_panics(),
        Codings(compression),
        Layered(GuardRoutes(guard)),
    ))
}

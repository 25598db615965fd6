//! What every protocol over HTTP shares: the scope of a request, bodies within their limits, observation, answers, and
//! problem documents for what goes wrong.

pub(super) mod body;
pub(super) mod codings;
pub mod config;
pub(super) mod observe;
pub(super) mod output;
pub mod problem;
pub(super) mod scope;
pub(super) mod unpack;

use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::model::Refusal;

/// Turns a panic in a handler into a problem. The process's panic hook has already reported it where it happened.
pub(super) fn catch_panics() -> CatchPanicLayer<fn(Box<dyn std::any::Any + Send>) -> Response> {
    CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let refusal = Refusal::internal(format!("a handler panicked: {message}"));
        problem::Problem(refusal).into_response()
    })
}

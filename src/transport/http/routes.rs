//! The routes: those of the server, those of its models, and one for each operation that the registry has.

use axum::{
    Router,
    routing::{get, post},
};

use super::{HttpState, page};
use crate::operations::Service;

mod models;
mod operations;
mod server;

pub(super) use self::server::{Index, Status};

/// Every route.
pub(super) fn all(service: &Service) -> Router<HttpState> {
    let drift = || get(models::drift).delete(models::reset_drift);
    let mut router = Router::new()
        .merge(probes())
        .route("/", get(server::index))
        .route("/page/{file}", get(page::asset))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::show))
        .route("/v1/models/{model}/versions/{version}", get(models::show))
        .route("/v1/models/{model}/calibration", get(models::calibration))
        .route(
            "/v1/models/{model}/versions/{version}/calibration",
            get(models::calibration),
        )
        .route("/v1/models/{model}/drift", drift())
        .route("/v1/models/{model}/versions/{version}/drift", drift());
    for operation in service.operations() {
        let name = operation.about().name;
        for model in ["{model}", "{model}/versions/{version}"] {
            let answer = post(move |state, request| operations::answer(name, state, request));
            router = router.route(&format!("/v1/models/{model}/{name}"), answer);
        }
    }
    router
}

/// What operators and their tools ask.
pub(super) fn probes() -> Router<HttpState> {
    Router::new()
        .route("/livez", get(server::livez))
        .route("/readyz", get(server::readyz))
        .route("/metrics", get(server::metrics))
}

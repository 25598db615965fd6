//! The routes: those of the server, those of its models, and one for each operation that the registry has.

use axum::{
    Router,
    routing::{get, post},
};

use super::{HttpState, page};
use crate::{
    model::control::{Action, Names},
    operations::Service,
};

mod models;
mod operations;
mod repository;
mod server;

pub(super) use self::{
    models::Models,
    server::{Index, Status},
};

/// Every route.
pub(super) fn all(service: &Service) -> Router<HttpState> {
    let drift = || get(models::drift).delete(models::reset_drift);
    let mut router = Router::new()
        .route("/livez", get(server::livez))
        .route("/readyz", get(server::readyz))
        .route("/metrics", get(server::metrics))
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
        .route("/v1/models/{model}/versions/{version}/drift", drift())
        .route("/v1/repository/scan", post(repository::scan));
    for action in Action::ALL {
        for path in control_paths(action) {
            let change = post(move |state, request| repository::change(action, state, request));
            router = router.route(&path, change);
        }
    }
    for operation in service.operations() {
        let name = operation.about().name;
        for model in ["{model}", "{model}/versions/{version}"] {
            let answer = post(move |state, request| operations::answer(name, state, request));
            router = router.route(&format!("/v1/models/{model}/{name}"), answer);
        }
    }
    router
}

/// The paths of an action of operators.
pub(super) fn control_paths(action: Action) -> Vec<String> {
    let places: &[&str] = match action.names() {
        Names::Model => &["{model}"],
        Names::ModelOrVersion => &["{model}", "{model}/versions/{version}"],
        Names::Version => &["{model}/versions/{version}"],
    };
    let path = |place: &&str| format!("/v1/repository/models/{place}/{}", action.name());
    places.iter().map(path).collect()
}

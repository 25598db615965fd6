//! Labels of images.

use axum::{
    extract::{Request, State},
    response::Response,
};

use crate::{
    domain::family::Capability,
    http::{HttpState, accept::Format, call::Call, problem::Problem},
    service::error::ServiceError,
};

/// Classify images
///
/// No family of models that this version serves can name a label; the answer says so.
#[utoipa::path(post, path = "/classify", tag = "operations", responses((status = 422, description = "The model cannot do this")))]
pub(super) async fn classify(
    State(state): State<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    let call = Call::open(state, Capability::Classify, &[Format::Json], request).await?;
    Err(ServiceError::Unsupported {
        model: call.model.name().to_owned(),
        capability: Capability::Classify,
        reason: "this version of the server does not serve labels".to_owned(),
    }
    .into())
}

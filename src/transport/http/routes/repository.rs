//! What operators ask for while the server serves: versions loaded, unloaded, pinned and rolled back.

use axum::{
    RequestExt,
    extract::{Request, State},
    http::Uri,
    response::Response,
};

use super::{
    super::{
        HttpState,
        output::json,
        problem::Problem,
        query::{Query, model_path},
    },
    Models,
};
use crate::model::{
    Refusal,
    control::{Action, Change},
};

/// Loads what is new and drops what is gone, as SIGHUP does.
pub(super) async fn scan(State(state): State<HttpState>, uri: Uri) -> Result<Response, Problem> {
    Query::new(uri.query()).nothing_else("there are none")?;
    let models = state.service.look().await?;
    Ok(json(&Models { models }))
}

/// An action on a model, or on one version of it.
pub(super) async fn change(
    action: Action,
    State(state): State<HttpState>,
    mut request: Request,
) -> Result<Response, Problem> {
    let path = model_path(request.extract_parts().await)?;
    let mut query = Query::new(request.uri().query());
    let version = match path.version {
        Some(version) => Some(version),
        None => query.take_version()?,
    };
    let dependents = flag("dependents", &query.take("dependents"))?;
    query.nothing_else("there are: version, dependents")?;
    let change = Change {
        action,
        model: path.model,
        version,
        dependents,
    };
    let models = state.service.change(change).await?;
    Ok(json(&Models { models }))
}

fn flag(name: &'static str, given: &[String]) -> Result<bool, Refusal> {
    match given {
        [] => Ok(false),
        [word] if word == "true" => Ok(true),
        [word] if word == "false" => Ok(false),
        _ => Err(Refusal::option(name, "it is true or false, once")),
    }
}

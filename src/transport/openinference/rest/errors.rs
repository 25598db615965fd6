//! Refusals as the protocol has them over HTTP: a status and `{"error": …}`.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::json;

use crate::{
    model::{Kind, Refusal},
    transport::{
        middleware::{After, Before, Middleware},
        web::{observe::Written, problem::Problem},
    },
};

/// The one table from kinds of refusal to statuses of the protocol.
pub(super) fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound | Kind::UnknownRoute => StatusCode::NOT_FOUND,
        Kind::NotReady | Kind::ShuttingDown | Kind::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Unsupported | Kind::Disabled => StatusCode::NOT_IMPLEMENTED,
        Kind::Overloaded | Kind::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::InvalidOption
        | Kind::InvalidImage
        | Kind::InvalidStream
        | Kind::TooLarge
        | Kind::MethodNotAllowed
        | Kind::NotAcceptable
        | Kind::BodyTimeout
        | Kind::BodyTooLarge
        | Kind::TooManyImages
        | Kind::Malformed
        | Kind::UnsupportedMediaType
        | Kind::Conflict => StatusCode::BAD_REQUEST,
    }
}

/// Gives every refusal its status and its body.
#[derive(Debug, Clone)]
pub(super) struct Errors;

impl Middleware for Errors {
    type Seen = ();

    fn before(&self, request: Request) -> Before<()> {
        Before::Goes(request, ())
    }

    fn after((): (), response: Response) -> After {
        After::Goes(write(response))
    }
}

fn write(mut response: Response) -> Response {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let Problem(refusal) = match problem {
        Some(problem) => problem,
        None if status.is_client_error() || status.is_server_error() => Problem::from_status(status),
        None => return response,
    };
    let (mut head, _) = response.into_parts();
    head.status = status_of(refusal.kind());
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    head.headers.remove(header::CONTENT_LENGTH);
    let body = json!({"error": super::super::message(&refusal)}).to_string();
    head.extensions.insert(Written(refusal));
    Response::from_parts(head, Body::from(body))
}

/// A path that the protocol does not have.
pub(super) async fn nothing_here() -> Problem {
    Problem(Refusal::new(
        Kind::UnknownRoute,
        "the Open Inference Protocol has nothing at this path; POST /v2/repository/index lists the models",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients rely on: a change here is a change of the interface.
    #[test]
    fn only_few_kinds_are_not_the_clients_fault() {
        let others = Kind::ALL.map(|kind| (kind.slug(), status_of(kind).as_u16()));
        let others: Vec<_> = others.into_iter().filter(|(_, status)| *status != 400).collect();
        let expected = [
            ("model_not_found", 404),
            ("model_not_ready", 503),
            ("unsupported", 501),
            ("overloaded", 429),
            ("quota_exceeded", 429),
            ("unauthenticated", 401),
            ("forbidden", 403),
            ("deadline_exceeded", 503),
            ("shutting_down", 503),
            ("internal", 500),
            ("unknown_route", 404),
            ("disabled", 501),
        ];
        assert_eq!(others, expected);
    }
}

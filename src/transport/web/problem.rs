//! Refusals as RFC 9457 problems: what was wrong and what would be right, never what the machine looks like inside.
//!
//! A [`Problem`] becomes a response without a body that carries the problem as an extension. The outermost layer
//! (`observe`) writes the body, because it alone knows the request's id.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::scope::RequestScope;
use crate::model::{Kind, Refusal};

/// The media type of refusals.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// What every `type` begins with.
const TYPE_PREFIX: &str = "urn:density-server:error:";

/// A refusal on its way to an HTTP client.
#[derive(Debug, Clone)]
pub struct Problem(pub Refusal);

/// What the connection found wrong with the head of a request, as an extension of it.
#[derive(Debug, Clone)]
pub(crate) struct BadHead(pub(crate) Refusal);

/// The members of a problem, as clients see them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody {
    /// A name for the kind of problem that never changes.
    #[serde(rename = "type")]
    kind: String,
    /// What the kind means, in a few words.
    title: &'static str,
    /// The HTTP status; in an answer to several images, the status that this image alone would have had.
    status: u16,
    /// What was wrong here, and what would be right.
    detail: String,
    /// The request, for the server's log.
    request_id: String,
    /// Seconds after which another try makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// The image that was wrong, counted from 0, where the request had several.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<usize>,
    /// The problems of the other images, where every image of the request was wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemBody>,
}

/// An image of a request that could not be answered. Its neighbours are not affected.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// Which image, counted from 0.
    pub index: usize,
    /// What was wrong with it.
    pub error: ProblemBody,
}

/// The one table from kinds of refusal to HTTP statuses.
pub fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound | Kind::UnknownRoute => StatusCode::NOT_FOUND,
        Kind::NotReady | Kind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Unsupported | Kind::InvalidOption | Kind::InvalidImage | Kind::InvalidStream => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Kind::TooLarge | Kind::BodyTooLarge | Kind::TooManyImages => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Overloaded | Kind::QuotaExceeded => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Kind::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Disabled => StatusCode::NOT_IMPLEMENTED,
    }
}

/// Whether a request is refused before any operation sees it.
pub(crate) fn is_of_the_transport(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::UnknownRoute
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::MethodNotAllowed
            | Kind::NotAcceptable
            | Kind::BodyTimeout
            | Kind::BodyTooLarge
            | Kind::TooManyImages
            | Kind::Malformed
            | Kind::UnsupportedMediaType
    )
}

impl Problem {
    /// A problem for a response that came without one, from a library.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        Self(match status {
            StatusCode::NOT_FOUND => Refusal::new(
                Kind::UnknownRoute,
                "there is nothing at this path; / lists what there is, /docs explains it",
            ),
            StatusCode::METHOD_NOT_ALLOWED => Refusal::new(
                Kind::MethodNotAllowed,
                "the header Allow names the methods that this path takes",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(Kind::BodyTooLarge, "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Refusal::new(
                Kind::UnsupportedMediaType,
                "the Content-Encoding is not read here; the header Accept-Encoding names those that are",
            ),
            _ if status.is_client_error() => Refusal::new(Kind::Malformed, "the request could not be understood"),
            _ => Refusal::internal(format!("a library answered {status}")),
        })
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        status_of(self.0.kind())
    }

    /// The members that clients see.
    pub fn body(&self, request_id: &str) -> ProblemBody {
        body(&self.0, request_id)
    }
}

/// The members of a refusal that clients see.
pub(crate) fn body(refusal: &Refusal, request_id: &str) -> ProblemBody {
    let kind = refusal.kind();
    ProblemBody {
        kind: format!("{TYPE_PREFIX}{}", kind.slug()),
        title: kind.title(),
        status: status_of(kind).as_u16(),
        detail: refusal.to_string(),
        request_id: request_id.to_owned(),
        retry_after: refusal.retry_after_seconds(),
        limit: refusal.limit(),
        image: refusal.image_index(),
        errors: refusal.others().iter().map(|other| body(other, request_id)).collect(),
    }
}

/// The answer with a problem that stands in place of one that the library of HTTP wrote by itself, to a head that it
/// could not understand. `None` for an answer to a request: that one has an id.
pub(crate) fn in_place_of(answer: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(answer).ok()?;
    let head = text.strip_suffix("\r\n\r\n")?.to_ascii_lowercase();
    let is_own =
        head.starts_with("http/1.") && head.contains("\r\ncontent-length: 0") && !head.contains("\r\nx-request-id:");
    let status = StatusCode::from_bytes(head.split(' ').nth(1)?.as_bytes()).ok()?;
    if !is_own || !status.is_client_error() {
        return None;
    }
    let detail = match status {
        StatusCode::URI_TOO_LONG => "the address of the request is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            "the head of the request is too large; a head has at most 64 KiB and 100 headers"
        }
        _ => "what came is not the head of a request of HTTP/1.1",
    };
    let scope = RequestScope::new(&HeaderMap::new());
    let problem = ProblemBody {
        status: status.as_u16(),
        ..body(&Refusal::new(Kind::Malformed, detail), scope.id())
    };
    tracing::info!(
        request_id = scope.id(),
        status = status.as_u16(),
        "a head that is no request"
    );
    let problem = serde_json::to_string(&problem).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\nx-request-id: {}\r\ncontent-length: {}\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        scope.id(),
        problem.len()
    );
    Some((head + &problem).into_bytes())
}

/// An example of a problem with the given status, for the document.
pub(crate) fn example(kind: Kind) -> Value {
    let detail = match kind {
        Kind::InvalidImage => {
            "the image has 32×32 pixels (width × height), the model takes 28×28; send that size, or resize=true to \
             have it resized, which changes its likelihood"
        }
        Kind::NotFound => "there is no model \"mnist\"; this server has: fashion-mnist-pixelcnn",
        Kind::Overloaded => "the queue for this kind of work is full; try again in 3 s",
        _ => kind.title(),
    };
    let mut example = json!({
        "type": format!("{TYPE_PREFIX}{}", kind.slug()),
        "title": kind.title(),
        "status": status_of(kind).as_u16(),
        "detail": detail,
        "request_id": "5f0c1b7e9a3d42c8",
    });
    if kind == Kind::Overloaded {
        example["retry_after"] = json!(3);
    }
    example
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.0.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // A body that was not read to its end cannot be followed by another request on HTTP/1, and a server that is
        // going away wants no further requests.
        if matches!(
            self.0.kind(),
            Kind::ShuttingDown | Kind::BodyTimeout | Kind::BodyTooLarge
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What clients rely on: a change here is a change of the interface.
    #[test]
    fn every_kind_has_its_status() {
        let expected = [
            (404, "model_not_found"),
            (503, "model_not_ready"),
            (422, "unsupported"),
            (422, "invalid_option"),
            (422, "invalid_image"),
            (422, "invalid_stream"),
            (413, "too_large"),
            (429, "overloaded"),
            (429, "quota_exceeded"),
            (401, "unauthenticated"),
            (403, "forbidden"),
            (504, "deadline_exceeded"),
            (503, "shutting_down"),
            (500, "internal"),
            (404, "unknown_route"),
            (405, "method_not_allowed"),
            (406, "not_acceptable"),
            (408, "body_timeout"),
            (413, "body_too_large"),
            (413, "too_many_images"),
            (400, "malformed"),
            (415, "unsupported_media_type"),
            (409, "conflict"),
            (501, "disabled"),
        ];
        let found = Kind::ALL.map(|kind| (status_of(kind).as_u16(), kind.slug()));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_overloaded_server_says_when_to_come_back() {
        let refusal = Refusal::overloaded(Duration::from_millis(1001));
        let response = Problem(refusal).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn a_draining_server_closes_the_connection() {
        let response = Problem(Refusal::shutting_down()).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn the_cause_of_a_failure_stays_inside() {
        let problem = Problem(Refusal::internal("/srv/models/x.onnx: NaN"));
        let body = serde_json::to_string(&problem.body("the-id")).unwrap();
        assert!(!body.contains("onnx"), "{body}");
        assert!(body.contains("the-id") && body.contains("urn:density-server:error:internal"));
        assert_eq!(problem.0.cause(), Some("/srv/models/x.onnx: NaN"));
    }
}

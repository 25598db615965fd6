//! Errors as RFC 9457 problems: what was wrong and what would be right, never what the machine looks like inside.
//!
//! A [`Problem`] becomes a response without a body that carries the problem as an extension. The outermost layer
//! (`observe`) writes the body, because it alone knows the request's id.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    media::MediaError,
    service::error::{ErrorKind, ServiceError},
};

mod table;

pub use self::table::{Entry, ProblemKind};

/// What every `type` begins with.
const TYPE_PREFIX: &str = "urn:density-server:error:";

/// When to come back to a server that is shutting down: by then its successor should serve.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(5);

/// Why a request, or one image of it, was not answered.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

/// Boxed, because results that are mostly good should not carry the room for this.
#[derive(Debug, Clone)]
struct Parts {
    kind: ProblemKind,
    detail: String,
    retry_after: Option<Duration>,
    limit: Option<u64>,
    image: Option<usize>,
    others: Vec<Problem>,
    cause: Option<String>,
}

/// The members of a problem, as clients see them.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(
    title = "Problem",
    example = json!({
        "type": "urn:density-server:error:invalid_image",
        "title": "An image does not fit the model",
        "status": 422,
        "detail": "the image has 32×32 pixels (width × height), the model takes 28×28; send that size, or resize=true to have it resized, which changes its likelihood",
        "request_id": "5f0c1b7e9a3d42c8"
    })
)]
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
    #[schema(no_recursion)]
    errors: Vec<ProblemBody>,
}

impl Problem {
    /// A problem of the given kind; `detail` says what was wrong and what would be right.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: detail.into(),
            retry_after: None,
            limit: None,
            image: None,
            others: Vec::new(),
            cause: None,
        }))
    }

    /// An option that cannot be.
    pub(crate) fn option(option: &str, reason: impl std::fmt::Display) -> Self {
        let kind = ProblemKind::Service(ErrorKind::InvalidOption);
        Self::new(kind, format!("{option}: {reason}"))
    }

    /// A failure of the server: `cause` goes to the log only.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let detail = "the server failed to answer this request; its log holds the cause under the request's id";
        let mut problem = Self::new(ProblemKind::Service(ErrorKind::Internal), detail);
        problem.0.cause = Some(cause.into());
        problem
    }

    /// A problem for a response that came without one, from a library.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::new(
                ProblemKind::UnknownRoute,
                "there is nothing at this path; / lists what there is, /docs explains it",
            ),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(
                ProblemKind::MethodNotAllowed,
                "the header Allow names the methods that this path takes",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(ProblemKind::BodyTooLarge, "the body is too large")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                ProblemKind::UnsupportedMediaType,
                "the content type is not read here",
            ),
            _ if status.is_client_error() => Self::new(
                ProblemKind::Malformed,
                "the request could not be understood",
            ),
            _ => Self::internal(format!("a library answered {status}")),
        }
    }

    /// Says more.
    pub(crate) fn with_detail(mut self, more: &str) -> Self {
        self.0.detail.push_str("; ");
        self.0.detail.push_str(more);
        self
    }

    /// The limit that was passed.
    pub(crate) fn with_limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// The image that was wrong.
    pub(crate) fn with_image(mut self, image: usize) -> Self {
        self.0.image = Some(image);
        self
    }

    /// The problems of the other images.
    pub(crate) fn with_others(mut self, others: Vec<Self>) -> Self {
        self.0.others = others;
        self
    }

    /// The kind.
    pub fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.kind.entry().status
    }

    /// What is for the log only.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The members that clients see.
    pub fn body(&self, request_id: &str) -> ProblemBody {
        let Entry {
            status,
            slug,
            title,
        } = self.0.kind.entry();
        ProblemBody {
            kind: format!("{TYPE_PREFIX}{slug}"),
            title,
            status: status.as_u16(),
            detail: self.0.detail.clone(),
            request_id: request_id.to_owned(),
            retry_after: self.retry_after_seconds(),
            limit: self.0.limit,
            image: self.0.image,
            errors: self
                .0
                .others
                .iter()
                .map(|other| other.body(request_id))
                .collect(),
        }
    }

    /// Whole seconds, at least one: less would invite a storm.
    fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.0.retry_after?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let retry_after = match &error {
            // The cause is for the log only.
            ServiceError::Inference(cause) => return Self::internal(cause),
            ServiceError::Overloaded { retry_after } => Some(*retry_after),
            ServiceError::ShuttingDown => Some(RETRY_AFTER_SHUTDOWN),
            _ => None,
        };
        let mut problem = Self::new(ProblemKind::Service(error.kind()), error.to_string());
        problem.0.retry_after = retry_after;
        problem
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        let (kind, limit) = match error {
            MediaError::TooManyItems { limit, .. } => {
                (ProblemKind::TooManyImages, Some(limit as u64))
            }
            MediaError::TooManyPixels { limit, .. } => {
                (ProblemKind::Service(ErrorKind::TooLarge), Some(limit))
            }
            _ if error.is_too_large() => (ProblemKind::Service(ErrorKind::TooLarge), None),
            _ => (ProblemKind::Service(ErrorKind::InvalidImage), None),
        };
        let mut problem = Self::new(kind, error.to_string());
        problem.0.limit = limit;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // A body that was not read to its end cannot be followed by another request on HTTP/1, and a server that is
        // going away wants no further requests.
        if matches!(
            self.0.kind,
            ProblemKind::Service(ErrorKind::ShuttingDown)
                | ProblemKind::BodyTimeout
                | ProblemKind::BodyTooLarge
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overloaded_server_says_when_to_come_back() {
        for (wait, seconds) in [(0, 1), (900, 1), (1001, 2), (7000, 7)] {
            let problem = Problem::from(ServiceError::Overloaded {
                retry_after: Duration::from_millis(wait),
            });
            assert_eq!(problem.body("x").retry_after, Some(seconds));
            let response = problem.into_response();
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds.to_string());
        }
    }

    #[test]
    fn a_draining_server_closes_the_connection() {
        let response = Problem::from(ServiceError::ShuttingDown).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn the_cause_of_a_failure_stays_inside() {
        let problem = Problem::from(ServiceError::Inference(
            "/srv/models/x.onnx: NaN".to_owned(),
        ));
        let body = serde_json::to_string(&problem.body("the-id")).unwrap();
        assert!(!body.contains("onnx"), "{body}");
        assert!(body.contains("the-id") && body.contains("urn:density-server:error:internal"));
        assert_eq!(problem.cause(), Some("/srv/models/x.onnx: NaN"));
    }
}

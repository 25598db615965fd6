//! The one table from kinds of error to HTTP statuses, stable names and titles.

use axum::http::StatusCode;

use crate::service::error::ErrorKind;

/// Everything that can go wrong with a request: in the service, or before it in the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// The service refused or failed.
    Service(ErrorKind),
    /// No such path.
    UnknownRoute,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// None of the formats that the client accepts can be given.
    NotAcceptable,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is longer than the limit.
    BodyTooLarge,
    /// More images than the limit, brought or asked for.
    TooManyImages,
    /// The body, or the request around it, is not well-formed.
    Malformed,
    /// The body is of a type that is not read here.
    UnsupportedMediaType,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// HTTP status.
    pub status: StatusCode,
    /// The last part of the problem's `type`, which never changes, and the reason in metrics.
    pub slug: &'static str,
    /// The problem's `title`.
    pub title: &'static str,
}

impl ProblemKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let transport = [
            Self::UnknownRoute,
            Self::MethodNotAllowed,
            Self::NotAcceptable,
            Self::BodyTimeout,
            Self::BodyTooLarge,
            Self::TooManyImages,
            Self::Malformed,
            Self::UnsupportedMediaType,
        ];
        ErrorKind::ALL
            .map(Self::Service)
            .into_iter()
            .chain(transport)
    }

    /// The row of this kind.
    pub fn entry(self) -> Entry {
        use StatusCode as S;
        let (status, slug, title) = match self {
            Self::Service(kind) => match kind {
                ErrorKind::NotFound => {
                    (S::NOT_FOUND, "model_not_found", "No such model or version")
                }
                ErrorKind::NotReady => (
                    S::SERVICE_UNAVAILABLE,
                    "model_not_ready",
                    "The model is not ready",
                ),
                ErrorKind::Unsupported => (
                    S::UNPROCESSABLE_ENTITY,
                    "unsupported",
                    "The model cannot do this",
                ),
                ErrorKind::InvalidOption => (
                    S::UNPROCESSABLE_ENTITY,
                    "invalid_option",
                    "An option is not valid",
                ),
                ErrorKind::InvalidImage => (
                    S::UNPROCESSABLE_ENTITY,
                    "invalid_image",
                    "An image does not fit the model",
                ),
                ErrorKind::InvalidStream => (
                    S::UNPROCESSABLE_ENTITY,
                    "invalid_stream",
                    "A compressed image cannot be decompressed here",
                ),
                ErrorKind::TooLarge => (
                    S::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "The request asks for too much at once",
                ),
                ErrorKind::Overloaded => (S::TOO_MANY_REQUESTS, "overloaded", "The server is busy"),
                ErrorKind::DeadlineExceeded => (
                    S::GATEWAY_TIMEOUT,
                    "deadline_exceeded",
                    "The answer was not ready in time",
                ),
                ErrorKind::ShuttingDown => (
                    S::SERVICE_UNAVAILABLE,
                    "shutting_down",
                    "The server is shutting down",
                ),
                ErrorKind::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            },
            Self::UnknownRoute => (S::NOT_FOUND, "unknown_route", "No such path"),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The path does not take this method",
            ),
            Self::NotAcceptable => (S::NOT_ACCEPTABLE, "not_acceptable", "No acceptable format"),
            Self::BodyTimeout => (
                S::REQUEST_TIMEOUT,
                "body_timeout",
                "The body did not arrive in time",
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The body is too large",
            ),
            Self::TooManyImages => (
                S::PAYLOAD_TOO_LARGE,
                "too_many_images",
                "Too many images in one request",
            ),
            Self::Malformed => (
                S::BAD_REQUEST,
                "malformed",
                "The request is not well-formed",
            ),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body is of a type that is not read here",
            ),
        };
        Entry {
            status,
            slug,
            title,
        }
    }

    /// Whether the transport refused the request before the service saw it.
    pub(crate) fn is_transport(self) -> bool {
        !matches!(self, Self::Service(_))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        ];
        let entries: Vec<Entry> = ProblemKind::all().map(ProblemKind::entry).collect();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.status.as_u16(), entry.slug))
            .collect();
        assert_eq!(found, expected);
        let titles: HashSet<_> = entries.iter().map(|entry| entry.title).collect();
        assert_eq!(titles.len(), entries.len(), "titles differ");
    }
}

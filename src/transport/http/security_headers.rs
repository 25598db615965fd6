//! Security headers: browsers do no more with an answer than it is for.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

use crate::transport::middleware::{After, Before, Middleware};

/// What every answer says, unless it says something stricter of its own.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Adds them.
#[derive(Debug, Clone)]
pub(super) struct SecurityHeaders;

impl Middleware for SecurityHeaders {
    type Seen = ();

    fn before(&self, request: Request) -> Before<()> {
        Before::Goes(request, ())
    }

    fn after((): (), mut response: Response) -> After {
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.entry(name).or_insert(value);
        }
        After::Goes(response)
    }
}

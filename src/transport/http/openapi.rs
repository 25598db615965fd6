//! The OpenAPI document and the page to try it.

mod bodies;
mod document;
mod examples;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::get,
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use self::document::document;
use self::examples::Examples;
use crate::operations::{Format, Service};

/// What gives the document with examples of the moment, as JSON.
pub(super) fn documents(service: Arc<Service>) -> impl Fn() -> BoxFuture<'static, Bytes> + Clone + Send + Sync {
    let document = document(&service);
    let examples = Arc::new(Examples::new(service, document));
    move || {
        let examples = Arc::clone(&examples);
        async move { examples.written().await }.boxed()
    }
}

/// The document, as it is given, and its page.
pub(super) fn pages(document: impl Fn() -> BoxFuture<'static, Bytes> + Clone + Send + Sync + 'static) -> Router {
    let media_type = HeaderValue::from_static(Format::Json.media_type());
    let serve = move || document().map(|document| ([(header::CONTENT_TYPE, media_type)], document));
    // Left alone, the page would send the document's address to a validator on the internet. The address is relative,
    // so that it holds behind a prefix too.
    let config = Config::new(["../openapi.json"]).validator_url("none");
    Router::new()
        .route("/openapi.json", get(serve))
        .merge(SwaggerUi::new("/docs").config(config))
        .layer(map_response(relative))
}

/// Keeps the way to the page within the prefix that a proxy may have put before it.
async fn relative(mut response: Response) -> Response {
    if let Some(location) = response.headers_mut().get_mut(header::LOCATION)
        && location == "/docs/"
    {
        *location = HeaderValue::from_static("docs/");
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = pages(|| async { Bytes::from_static(b"{}") }.boxed())
            .oneshot(request)
            .await
            .unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// The page must work without the internet and behind a prefix: whatever it loads comes from this server, by
    /// relative addresses.
    #[tokio::test]
    async fn the_page_loads_nothing_from_elsewhere() {
        let (status, page) = get("/docs/").await;
        assert_eq!(status, StatusCode::OK);
        let mut loaded = 0;
        for attribute in ["src=\"", "href=\""] {
            for rest in page.split(attribute).skip(1) {
                let link = rest.split('"').next().unwrap();
                assert!(!link.contains("//") && !link.starts_with('/'), "{link}");
                let (status, body) = get(&format!("/docs/{}", link.trim_start_matches("./"))).await;
                assert_eq!(status, StatusCode::OK, "{link}");
                assert!(!body.is_empty());
                loaded += 1;
            }
        }
        assert!(loaded >= 4, "{page}");
        let (_, start) = get("/docs/swagger-initializer.js").await;
        assert!(start.contains("../openapi.json") && !start.contains("http"), "{start}");
        assert!(start.contains("\"none\""), "{start}");
        assert_eq!(get("/openapi.json").await, (StatusCode::OK, "{}".to_owned()));
    }
}

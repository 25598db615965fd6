//! A client that speaks to the router without a socket, and images for it to send.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
    response::Response,
};
use density_server::{
    domain::image::{Image, ImageShape},
    media,
    operations::{Limits, Service},
    repository::Repository,
    transport::http::{self, HttpConfig, HttpState},
};
use serde_json::Value;
use tower::ServiceExt;

use crate::common::{fixture_models, service_of};

/// One service for all tests of this interface.
pub(crate) fn limited(limits: Limits) -> Arc<Service> {
    static MODELS: LazyLock<Arc<Repository>> = LazyLock::new(|| Arc::new(fixture_models()));
    service_of(Arc::clone(&MODELS), limits)
}

/// The common one.
pub(crate) fn service() -> &'static Arc<Service> {
    static SERVICE: LazyLock<Arc<Service>> = LazyLock::new(|| limited(Limits::default()));
    &SERVICE
}

/// A router with the given limits.
pub(crate) fn router(config: HttpConfig) -> Router {
    http::router(HttpState::new(Arc::clone(service()), config))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The answer must be a problem of the given status and name; its detail.
    pub(crate) fn problem(&self, status: u16, slug: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["type"], format!("urn:density-server:error:{slug}"), "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], self.header("x-request-id"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        body["detail"].as_str().unwrap().to_owned()
    }

    /// The answer must be good; its body.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// The answer must be a picture; it is read.
    pub(crate) fn picture(self) -> image::DynamicImage {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), "image/png");
        image::load_from_memory(&self.body).unwrap()
    }

    /// The answer must be an array; its shape as text and its items.
    pub(crate) fn array(self) -> (String, Vec<u8>) {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/x-npy");
        let end = self.body.iter().position(|&byte| byte == b'\n').unwrap();
        let header = String::from_utf8_lossy(&self.body[10..end]).into_owned();
        (header, self.body[end + 1..].to_vec())
    }
}

/// A request to be sent.
pub(crate) struct Call {
    router: Router,
    request: axum::http::request::Builder,
    body: Body,
}

/// A request with a method and a path.
pub(crate) fn call(method: &str, path: &str) -> Call {
    Call {
        router: router(HttpConfig::default()),
        request: Request::builder().method(method).uri(path),
        body: Body::empty(),
    }
}

/// POST to an operation of a model, with a query if there is one.
pub(crate) fn post(model: &str, operation: &str) -> Call {
    call("POST", &format!("/v1/models/{model}/{operation}"))
}

impl Call {
    pub(crate) fn within(mut self, config: HttpConfig) -> Self {
        self.router = router(config);
        self
    }

    /// Asks a service with other limits.
    pub(crate) fn limited(self, limits: Limits) -> Self {
        self.of(&limited(limits))
    }

    /// Asks another service than the common one.
    pub(crate) fn of(mut self, service: &Arc<Service>) -> Self {
        self.router = http::router(HttpState::new(Arc::clone(service), HttpConfig::default()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn accept(self, media_type: &str) -> Self {
        self.header("accept", media_type)
    }

    pub(crate) fn body(mut self, media_type: &str, body: impl Into<Body>) -> Self {
        self.request = self.request.header("content-type", media_type);
        self.body = body.into();
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// A form; each part is the name of a field, the name of a file or "", and the content.
    pub(crate) fn form(self, parts: &[(&str, &str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            body.extend(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"").bytes());
            if !file.is_empty() {
                body.extend(format!("; filename=\"{file}\"\r\nContent-Type: image/png").bytes());
            }
            body.extend(b"\r\n\r\n");
            body.extend(*content);
            body.extend(b"\r\n");
        }
        body.extend(b"--x--\r\n");
        self.body("multipart/form-data; boundary=x", body)
    }

    /// The head of the answer and its body, which is still to come.
    pub(crate) async fn start(self) -> Response {
        let request = self.request.body(self.body).unwrap();
        self.router.oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(self) -> Answer {
        let (head, body) = self.start().await.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_vec(),
        }
    }
}

/// Images of `tiny-pixelcnn` and of `tiny-vae` have 6 rows and 5 columns.
pub(crate) const ROWS: usize = 6;
/// See [`ROWS`].
pub(crate) const COLUMNS: usize = 5;

/// An image with levels that differ from `variant` to `variant`, below 4.
pub(crate) fn levels(variant: usize) -> Vec<u8> {
    (0..ROWS * COLUMNS).map(|i| ((i * i + variant * i) % 4) as u8).collect()
}

/// The same as nested lists.
pub(crate) fn pixels(variant: usize) -> Value {
    levels(variant)
        .chunks(COLUMNS)
        .map(|row| Value::from(row.to_vec()))
        .collect()
}

/// The same as a PNG file for a model with `model_levels` levels.
pub(crate) fn png(variant: usize, model_levels: usize) -> Vec<u8> {
    let shape = ImageShape::new(1, ROWS, COLUMNS, model_levels).unwrap();
    media::png(&Image::new(shape, levels(variant)).unwrap()).unwrap()
}

/// The same as an array file, all variants below `count`.
pub(crate) fn npy(count: usize) -> Vec<u8> {
    let shape = ImageShape::new(1, ROWS, COLUMNS, 4).unwrap();
    let images: Vec<_> = (0..count).map(|v| Image::new(shape, levels(v)).unwrap()).collect();
    media::write_images(&images, shape)
}

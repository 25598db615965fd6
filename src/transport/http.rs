//! The HTTP transport: decode, one operation, encode.
//!
//! A connection of `server` passes its requests through `observe` (id, metrics, log line, bodies of problems), a net
//! for panics, both ways of compression and the count of bytes held, to a handler in `routes`. The handler of
//! operations opens a request (path, model, operation, deadline and format of the answer, all before the body is read),
//! has [`crate::intake`] take the body apart, and writes the answer as it is wanted, or a `stream` of events while the
//! work goes on. Whatever goes wrong on the way is a problem document.
//!
//! What other protocols over HTTP do in the same way stands in [`super::web`].
//!
//! Architecture invariant: nothing here knows of the runtime, of queues or of batches, and nothing below knows of HTTP.
//! A handler spawns nothing that outlives it: when a client goes away its future is dropped, and the work sees that.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
};
use tower::util::{MapRequestLayer, option_layer};
use tower_http::{
    compression::{
        CompressionLayer,
        predicate::{Predicate, SizeAbove},
    },
    cors::{AllowHeaders, AllowOrigin, CorsLayer},
};

use super::{
    access::{Door, Guard, GuardRoutes},
    middleware::Layered,
    web::{body, catch_panics, codings::Codings, config, observe, output, problem, scope, unpack},
};
use crate::operations::Service;

mod accept;
mod openapi;
mod page;
mod query;
mod routes;
mod security_headers;
pub mod server;
mod stream;

/// Routes, for whoever puts servers together.
pub use axum::Router;

pub use self::openapi::document;
pub use super::web::config::{HttpConfig, ServerLimits};

/// Answers below this size are not worth the time that compressing them takes.
const COMPRESS_ABOVE_BYTES: u64 = 16 << 10;

/// How long a browser may rely on what it was told of other origins.
const PREFLIGHT_TIME: Duration = Duration::from_secs(600);

/// What every handler has.
#[derive(Debug, Clone)]
pub struct HttpState {
    service: Arc<Service>,
    config: Arc<HttpConfig>,
}

impl HttpState {
    /// A service behind limits.
    pub fn new(service: Arc<Service>, config: HttpConfig) -> Self {
        Self {
            service,
            config: Arc::new(config),
        }
    }
}

/// Everything that the server answers over HTTP in its own words.
pub fn router(state: HttpState) -> Router {
    shared(state, Router::new(), Door::Only)
}

/// The same for one of the listeners, with routes of other protocols that share the port, the log and the metrics.
pub fn shared(state: HttpState, others: Router, door: Door) -> Router {
    let guard = Guard::new(&state.service, door);
    let metrics = Arc::clone(state.service.metrics());
    let memory_budget = Arc::clone(state.service.memory_budget());
    let documents = openapi::documents(Arc::clone(&state.service));
    let cors = cors(&state.config.cors_origins);
    routes::all(&state.service)
        .with_state(state)
        .merge(openapi::pages(documents))
        .layer(Layered(GuardRoutes(guard)))
        .merge(others)
        // Together, and the outermost first: a router copies each layer, and all below it, for every request.
        .layer((
            Layered(security_headers::SecurityHeaders),
            Layered(observe::Observe(metrics)),
            option_layer(cors),
            catch_panics(),
            Codings((MapRequestLayer::new(plain_at_worst), compression())),
            Layered(unpack::Unpack),
            Layered(output::Count(memory_budget)),
        ))
}

/// Lets pages of other origins read answers, where the operator names such origins.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()))
    };
    let exposed = ["x-request-id", "x-seed", "x-labels"].map(HeaderName::from_static);
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(exposed.into_iter().chain([header::RETRY_AFTER]).collect::<Vec<_>>())
            .max_age(PREFLIGHT_TIME),
    )
}

/// Has an answer come plain, if the client takes no coding that is spoken here: what was asked is done by then, and a
/// refusal would not undo it.
fn plain_at_worst(mut request: Request) -> Request {
    if request.headers().contains_key(header::ACCEPT_ENCODING) {
        let least = HeaderValue::from_static("identity;q=0.001");
        request.headers_mut().append(header::ACCEPT_ENCODING, least);
    }
    request
}

/// Compresses JSON and text for clients that ask for it; pictures are compressed already, arrays hardly shrink, and
/// events would wait for company in the compressor.
fn compression() -> CompressionLayer<impl Predicate> {
    let is_text = |_: StatusCode, _: Version, headers: &HeaderMap, _: &axum::http::Extensions| {
        headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                let is_stream = value.starts_with("text/event-stream");
                value.starts_with("application/json") || value.starts_with("text/") && !is_stream
            })
    };
    CompressionLayer::new()
        .gzip(true)
        .compress_when(SizeAbove::new(COMPRESS_ABOVE_BYTES).and(is_text))
}

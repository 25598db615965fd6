//! The gRPC transport: services on one port, with health and reflection beside them.
//!
//! Connections, limits and draining are those of the HTTP server, which speaks HTTP/2 anyway; here is what makes gRPC
//! of it: messages, statuses, deadlines and the one log line of a call. A call that its client cancels is dropped, and
//! the work sees that.

use std::{sync::Arc, time::Instant};

use axum::{Router, extract::Request, http::HeaderMap, response::Response};
use tonic::{codec::CompressionEncoding, service::Routes};
use tower::util::MapRequestLayer;
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    access::{Door, Guard, GuardCalls},
    middleware::{After, Before, Layered, Middleware},
    openinference::OpenInference,
    rpc::{
        density::density_server::{DensityServer, SERVICE_NAME as DENSITY},
        inference::grpc_inference_service_server::{GrpcInferenceServiceServer, SERVICE_NAME as INFERENCE},
        request_body::MessageLimits,
        response_body::CountMessages,
        status,
    },
    web::{config::HttpConfig, observe::tell_span, scope},
};
use crate::{
    metrics::Metrics,
    model::refusal::clip,
    operations::Service,
    trace::{self, Span},
};

mod health;

/// The contracts, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The calls that bring any number of messages.
const STREAMS: [&str; 2] = ["/ModelStreamInfer", "/ServerReflectionInfo"];

/// Why the services cannot be served, which a test excludes.
pub type Broken = tonic_reflection::server::Error;

/// Every service, ready for the HTTP server, with the limits of its bodies.
pub fn router(
    service: &Arc<Service>,
    protocol: &Arc<OpenInference>,
    limits: &HttpConfig,
    door: Door,
) -> Result<Router, Broken> {
    let max_message_bytes = limits.max_body_bytes;
    let inference = GrpcInferenceServiceServer::new(protocol.grpc())
        .max_decoding_message_size(max_message_bytes)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate);
    let density = DensityServer::new(protocol.typed())
        .max_decoding_message_size(max_message_bytes)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(inference)
        .add_service(density)
        .add_service(health::service(service, &[DENSITY, INFERENCE]))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let limits = MessageLimits {
        memory_budget: Arc::clone(service.memory_budget()),
        max_bytes: max_message_bytes,
        time: limits.body_timeout,
        draining: service.draining(),
    };
    let protocol = Arc::clone(protocol);
    let receive = move |request: Request| {
        let is_stream = STREAMS.iter().any(|name| request.uri().path().ends_with(name));
        let look = protocol.early_refusal(&request);
        limits.receive(request, is_stream, look)
    };
    // Together, and the outermost first: a router copies each layer, and all below it, for every request.
    Ok(routes.prepare().into_axum_router().layer((
        Layered(Observe(Arc::clone(service.metrics()))),
        CatchPanicLayer::custom(panicked),
        Layered(GuardCalls(Guard::new(service, door))),
        Layered(CountMessages(Arc::clone(service.memory_budget()))),
        MapRequestLayer::new(receive),
    )))
}

/// One log line and the metrics of a call.
#[derive(Debug, Clone)]
struct Observe(Arc<Metrics>);

/// A call under observation.
struct Observation {
    metrics: Arc<Metrics>,
    started: Instant,
    path: String,
    trace_id: Option<String>,
    span: Span,
}

impl Middleware for Observe {
    type Seen = Observation;

    fn before(&self, request: Request) -> Before<Observation> {
        let started = Instant::now();
        let path = request.uri().path().to_owned();
        let trace_id = scope::trace_id(request.headers()).map(str::to_owned);
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        // Those that look whether it lives would be most of what is collected.
        let span = if path.starts_with("/grpc.") {
            Span::default()
        } else {
            trace::request(|| path.trim_start_matches('/').to_owned(), header)
        };
        let observation = Observation {
            metrics: Arc::clone(&self.0),
            started,
            path,
            trace_id: span.trace().id().or(trace_id),
            span,
        };
        Before::Goes(request, observation)
    }

    fn step<T>(observation: &Observation, step: impl FnOnce() -> T) -> T {
        observation.span.scope(step)
    }

    fn after(observation: Observation, mut response: Response) -> After {
        observation.name_unknown_method(response.headers_mut());
        tell_span(&observation.span, response.headers_mut());
        observation.finish(&response);
        After::Goes(response)
    }
}

impl Observation {
    /// The library has no words for a method that is not there, which clients of other servers call.
    fn name_unknown_method(&self, head: &mut HeaderMap) {
        let is_unknown = |status: tonic::Status| status.code() == tonic::Code::Unimplemented && status.message() == "";
        if tonic::Status::from_header_map(head).is_some_and(is_unknown) {
            let path = clip(&self.path);
            let detail = format!("there is no method {path:?} here; reflection and proto/ have those that there are");
            // What cannot be said in a header stays unsaid.
            drop(tonic::Status::unimplemented(detail).add_header(head));
        }
    }

    fn finish(self, response: &Response) {
        let Self {
            path,
            trace_id,
            mut span,
            ..
        } = self;
        // A call that is refused carries its status in its head, a stream in its trailers.
        let code = tonic::Status::from_header_map(response.headers()).map_or(tonic::Code::Ok, |status| status.code());
        let name = status::name(code);
        self.metrics.grpc_requests.with_label_values(&[name]).inc();
        if span.is_on() {
            span.set("rpc.system", "grpc");
            span.set("rpc.grpc.status_code", i64::from(i32::from(code)));
            if matches!(
                code,
                tonic::Code::Internal | tonic::Code::Unknown | tonic::Code::Unavailable
            ) {
                span.fail(name);
            }
        }
        let seconds = self.started.elapsed().as_secs_f64();
        tracing::info!(path, status = name, latency_seconds = seconds, trace_id, "call");
    }
}

/// The answer to a call whose handler panicked. The process's panic hook has already reported it where it happened.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let status = tonic::Status::internal("the server failed to answer this call");
    status.into_http::<axum::body::Body>()
}

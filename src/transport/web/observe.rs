//! The outermost layer: request ids, HTTP metrics, the one log line of a request, and the bodies of problems.

use std::{borrow::Cow, future::ready, sync::Arc};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};

use crate::{
    metrics::Metrics,
    model::Refusal,
    trace::{self, Span},
    transport::middleware::{After, Before, Middleware},
};

use super::{
    problem::{BadHead, PROBLEM, Problem, is_of_the_transport, status_of},
    scope::{REQUEST_ID, RequestScope},
};

/// The label of requests that no route matched: what a client made up never becomes a label.
const UNMATCHED: &str = "unmatched";

/// The status in log and metrics of a request whose client went away before the answer.
const CLIENT_GONE: u16 = 499;

/// Says by which span the request was traced: the answer's part of W3C Trace Context.
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Says it of an answer, if it was traced.
pub(crate) fn tell_span(span: &Span, headers: &mut HeaderMap) {
    if let Some(traced) = span.trace().header().and_then(|own| HeaderValue::try_from(own).ok()) {
        headers.insert(TRACE_RESPONSE, traced);
    }
}

/// The media type of problems.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static(PROBLEM);

/// Wraps everything else. Must be applied with [`axum::Router::layer`], so that the matched route is known.
#[derive(Debug, Clone)]
pub(crate) struct Observe(pub(crate) Arc<Metrics>);

impl Middleware for Observe {
    type Seen = Observation;

    fn before(&self, mut request: Request) -> Before<Observation> {
        let scope = Arc::new(RequestScope::new(request.headers()));
        let observation = Observation::begin(Arc::clone(&self.0), &request, Arc::clone(&scope));
        request.extensions_mut().insert(scope);
        let Some(BadHead(refusal)) = request.extensions_mut().remove::<BadHead>() else {
            return Before::Goes(request, observation);
        };
        let mut response = Problem(refusal).into_response();
        // What follows such a head may not be what it seems.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        Before::Ends(Box::pin(ready(response)), observation)
    }

    fn step<T>(observation: &Observation, step: impl FnOnce() -> T) -> T {
        observation.span.scope(step)
    }

    fn after(observation: Observation, response: Response) -> After {
        After::Goes(finish(observation, response))
    }
}

/// The answer as its client gets it, counted.
fn finish(observation: Observation, mut response: Response) -> Response {
    let scope = Arc::clone(&observation.scope);
    let status = response.status();
    if let Some(Written(refusal)) = response.extensions_mut().remove::<Written>() {
        observation.refused(&refusal);
    } else if response.extensions().get::<Problem>().is_none() && (status.is_client_error() || status.is_server_error())
    {
        response.extensions_mut().insert(Problem::from_status(status));
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        observation.refused(&problem.0);
        response = write_problem(&problem, response, &scope);
    }
    response.headers_mut().insert(REQUEST_ID, scope.id_header());
    tell_span(&observation.span, response.headers_mut());
    if response.extensions_mut().remove::<Streamed>().is_some() {
        return observation.follow(response);
    }
    observation.finish(response.status());
    response
}

/// Marks a response whose work goes on while its body is sent: the request ends with the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streamed;

/// Marks a response to a refusal that has its body already, in the words of another protocol.
#[derive(Debug, Clone)]
pub(crate) struct Written(pub(crate) Refusal);

/// Gives a response the body of its problem and keeps its headers.
fn write_problem(problem: &Problem, response: Response, scope: &RequestScope) -> Response {
    let (mut head, _) = response.into_parts();
    head.status = problem.status();
    head.headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    head.headers.remove(header::CONTENT_LENGTH);
    let body = serde_json::to_vec(&problem.body(scope.id())).unwrap_or_default();
    Response::from_parts(head, Body::from(body))
}

/// One request under observation. If it is dropped unfinished, the client went away.
pub(crate) struct Observation {
    metrics: Arc<Metrics>,
    method: &'static str,
    route: Cow<'static, str>,
    quiet: bool,
    scope: Arc<RequestScope>,
    span: Span,
    finished: bool,
}

impl Observation {
    fn begin(metrics: Arc<Metrics>, request: &Request, scope: Arc<RequestScope>) -> Self {
        metrics.http_in_flight.inc();
        let route = request
            .extensions()
            .get::<MatchedPath>()
            .map_or(Cow::Borrowed(UNMATCHED), |path| Cow::Owned(path.as_str().to_owned()));
        let (method, quiet) = (
            method_label(request.method()),
            matches!(&*route, "/livez" | "/readyz" | "/metrics"),
        );
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        // Those that look whether it lives would be most of what is collected.
        let span = if quiet {
            Span::default()
        } else {
            trace::request(|| format!("{method} {route}"), header)
        };
        Self {
            quiet,
            method,
            route,
            span,
            metrics,
            scope,
            finished: false,
        }
    }

    /// Counts what the transport refused, and logs the cause of a failure, once.
    fn refused(&self, refusal: &Refusal) {
        if is_of_the_transport(refusal.kind()) && &*self.route != UNMATCHED {
            self.metrics.reject(refusal.kind().slug());
        }
        if let Some(cause) = refusal.cause() {
            tracing::error!(request_id = self.scope.id(), cause, "the request failed");
        }
    }

    /// Goes on observing until the body has been sent. A request that fails on the way counts with the status that it
    /// would have had, had the head not been sent already.
    fn follow(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let status = head.status;
        let pieces = stream::unfold(
            (body.into_data_stream(), self),
            move |(mut body, observation)| async move {
                if let Some(piece) = body.next().await {
                    return Some((piece, (body, observation)));
                }
                match observation.scope.failure().cloned() {
                    Some(refusal) => {
                        observation.refused(&refusal);
                        observation.finish(status_of(refusal.kind()));
                    }
                    None => observation.finish(status),
                }
                None
            },
        );
        Response::from_parts(head, Body::from_stream(pieces))
    }

    fn finish(mut self, status: StatusCode) {
        self.record(status.as_u16());
    }

    fn record(&mut self, status: u16) {
        self.finished = true;
        let seconds = self.scope.started().elapsed().as_secs_f64();
        let mut digits = [0; 3];
        self.metrics
            .http_requests
            .with_label_values(&[self.method, &self.route, status_label(status, &mut digits)])
            .inc();
        self.metrics
            .http_request_seconds
            .with_label_values(&[self.method, &self.route])
            .observe(seconds);
        self.describe(status);
        let model = self.scope.model();
        let (name, version) = (model.map(|model| model.name.as_str()), model.map(|model| model.version));
        let trace_id = self.span.trace().id();
        let trace_id = trace_id.or_else(|| self.scope.trace_id().map(str::to_owned));
        // The levels are fixed where an event is declared, hence two declarations of the same line.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method = self.method,
                    route = &*self.route,
                    status,
                    model = name,
                    version,
                    images = self.scope.images(),
                    latency_seconds = seconds,
                    request_id = self.scope.id(),
                    trace_id,
                    "request"
                )
            };
        }
        if self.quiet {
            line!(debug);
        } else {
            line!(info);
        }
    }
}

impl Observation {
    /// What the span of the request says of it: the field's own names where there are any.
    fn describe(&mut self, status: u16) {
        if !self.span.is_on() {
            return;
        }
        self.span.set("http.request.method", self.method);
        self.span.set("http.route", self.route.to_string());
        self.span.set("http.response.status_code", i64::from(status));
        self.span.set("density.request_id", self.scope.id().to_owned());
        self.span.set("density.images", self.scope.images() as i64);
        if let Some(model) = self.scope.model() {
            self.span.set("density.model", model.name.clone());
            self.span.set("density.version", i64::from(model.version));
        }
        if status >= 500 {
            self.span.fail(format!("status {status}"));
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.finished {
            self.record(CLIENT_GONE);
        }
        self.metrics.http_in_flight.dec();
    }
}

/// Methods are free text in HTTP; only the registered ones become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn status_label(status: u16, digits: &mut [u8; 3]) -> &str {
    for (digit, power) in digits.iter_mut().zip([100, 10, 1]) {
        *digit = b'0' + (status / power % 10) as u8;
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::{model::Kind, transport::middleware::Layered};

    fn router(metrics: &Arc<Metrics>) -> Router {
        let wait = || async { tokio::time::sleep(Duration::from_secs(3600)).await };
        Router::new()
            .route("/things/{name}", get(|| async { "fine" }))
            .route(
                "/busy",
                get(|| async { Problem(Refusal::overloaded(Duration::from_secs(3))) }),
            )
            .route(
                "/bad",
                get(|| async { Problem(Refusal::new(Kind::UnsupportedMediaType, "no")) }),
            )
            .route("/panic", get(|| async { panic!("a secret of the machine") as () }))
            .route("/wait", get(wait))
            .layer(super::super::catch_panics())
            .layer(Layered(Observe(Arc::clone(metrics))))
    }

    async fn ask(router: Router, method: &str, path: &str) -> (Response<()>, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-request-id", "mine")
            .body(Body::empty())
            .unwrap();
        let (head, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (
            Response::from_parts(head, ()),
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn problems_get_a_body_and_the_request_id() {
        let metrics = Arc::new(Metrics::new());
        for (method, path, status, slug) in [
            ("GET", "/busy", 429, "overloaded"),
            ("GET", "/bad", 415, "unsupported_media_type"),
            ("GET", "/nowhere", 404, "unknown_route"),
            ("DELETE", "/busy", 405, "method_not_allowed"),
            ("GET", "/panic", 500, "internal"),
        ] {
            let (head, body) = ask(router(&metrics), method, path).await;
            assert_eq!(head.status(), status, "{path}");
            assert_eq!(head.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!(head.headers()["x-request-id"], "mine");
            let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(problem["type"], format!("urn:density-server:error:{slug}"));
            assert_eq!(problem["status"], status);
            assert_eq!(problem["request_id"], "mine");
            assert!(!body.contains("secret"), "{body}");
        }
        let (head, _) = ask(router(&metrics), "DELETE", "/busy").await;
        assert!(head.headers().contains_key(header::ALLOW));
    }

    #[tokio::test]
    async fn routes_are_labels_and_paths_are_not() {
        let metrics = Arc::new(Metrics::new());
        ask(router(&metrics), "GET", "/things/one").await;
        ask(router(&metrics), "GET", "/things/two").await;
        ask(router(&metrics), "GET", "/made-up").await;
        ask(router(&metrics), "BREW", "/bad").await;
        ask(router(&metrics), "GET", "/bad").await;
        let text = metrics.encode();
        for line in [
            r#"density_http_requests_total{method="GET",route="/things/{name}",status="200"} 2"#,
            r#"density_http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
            r#"density_http_requests_total{method="other",route="/bad",status="405"} 1"#,
            r#"density_rejected_requests_total{reason="unsupported_media_type"} 1"#,
            r#"density_http_request_duration_seconds_count{method="GET",route="/things/{name}"} 2"#,
            "density_http_requests_in_flight 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("made-up"));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_counted_and_leaves_nothing_in_flight() {
        let metrics = Arc::new(Metrics::new());
        let request = Request::get("/wait").body(Body::empty()).unwrap();
        let mut answer = Box::pin(router(&metrics).oneshot(request));
        assert!(futures_util::FutureExt::now_or_never(answer.as_mut()).is_none());
        assert_eq!(metrics.http_in_flight.get(), 1);
        drop(answer);
        assert_eq!(metrics.http_in_flight.get(), 0);
        let line = r#"density_http_requests_total{method="GET",route="/wait",status="499"} 1"#;
        assert!(metrics.encode().contains(line));
    }
}

//! Traces: the real binary, a collector of OpenTelemetry beside it, and what of a request arrives there. Spans that are
//! made by one version of OpenTelemetry's crates and sent by another get lost without a word; here that fails.

#![allow(clippy::unwrap_used)]

mod command;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use command::{
    binary, fixtures, golden_images,
    server::{Server, eventually},
};
use hyper::HeaderMap;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use socket2::{Domain, Socket, Type};
use tonic::{Code, Request, Response, Status, body::Body, service::Routes};

/// Spans are sent as soon as they end, nearly.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// What has come, with the name of whoever sent it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = text(&attributes, "service.name").unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (service.clone(), span));
            self.0.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Serves a collector on a free port, and answers its address.
fn serve(service: impl TraceService) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = TraceServiceServer::new(service);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let routes = Routes::new(service).prepare().into_axum_router();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let routes = TowerToHyperService::new(routes.clone());
                tokio::spawn(async move {
                    let serving = auto::Builder::new(TokioExecutor::new());
                    // A server that ends closes its connection in its own way.
                    drop(serving.serve_connection(TokioIo::new(stream), routes).await);
                });
            }
        });
    });
    endpoint
}

/// Refuses everything.
struct Refuses(Code);

#[tonic::async_trait]
impl TraceService for Refuses {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Err(Status::new(self.0, "not today"))
    }
}

/// Does this with every connection, and answers its address.
fn connected(each: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().for_each(|stream| each(stream.unwrap())));
    endpoint
}

impl Collector {
    /// A collector on a free port, and its address.
    fn start() -> (Self, String) {
        let own = Self::default();
        let endpoint = serve(own.clone());
        (own, endpoint)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().iter().map(|(_, span)| span.clone()).collect()
    }

    /// The spans of one request, by name, once its own has come. Several images may run as several batches.
    fn request(&self, name: &str) -> BTreeMap<String, Vec<Span>> {
        eventually(name, || self.spans().iter().any(|span| span.name == name));
        let mut named = BTreeMap::<_, Vec<_>>::new();
        for span in self.spans() {
            named.entry(span.name.clone()).or_default().push(span);
        }
        named
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let own = attributes.iter().find(|own| own.key == key)?;
    match own.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a span lies within another.
fn is_within(inner: &Span, outer: &Span) -> bool {
    outer.start_time_unix_nano <= inner.start_time_unix_nano && inner.end_time_unix_nano <= outer.end_time_unix_nano
}

/// A server with variables of its environment.
fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Server {
    let mut binary = binary();
    binary.envs(variables.iter().copied());
    Server::start_as(binary, &fixtures(), arguments)
}

fn score(server: &Server, traceparent: &str) -> String {
    let images = fs::read(golden_images("tiny-pixelcnn")).unwrap();
    let headers = [("content-type", "application/x-npy"), ("traceparent", traceparent)];
    let answer = server.ask_with("POST", "/v1/models/tiny-pixelcnn/score", &headers, &images);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[test]
fn a_request_is_told_part_by_part_in_the_trace_of_its_client() {
    let (collector, endpoint) = Collector::start();
    let server = start(&["--otlp-endpoint", &endpoint], &[SOON]);
    // A client that does not want to be traced is not, and probes are not.
    let unsampled = score(&server, &format!("00-{}-{CALLER}-00", "1".repeat(32)));
    assert!(!unsampled.contains("traceresponse"), "{unsampled}");
    assert!(server.get("/livez").starts_with("HTTP/1.1 200"));

    let answer = score(&server, &format!("00-{TRACE}-{CALLER}-01"));
    let name = "POST /v1/models/{model}/score";
    let mut spans = collector.request(name);
    let request = spans.remove(name).unwrap().remove(0);
    assert_eq!(hexadecimal(&request.trace_id), TRACE);
    assert_eq!(hexadecimal(&request.parent_span_id), CALLER);
    let place = format!("00-{TRACE}-{}-01", hexadecimal(&request.span_id));
    assert!(answer.contains(&format!("traceresponse: {place}")), "{answer}");
    assert_eq!(
        text(&request.attributes, "density.model").as_deref(),
        Some("tiny-pixelcnn")
    );
    assert_eq!(
        text(&request.attributes, "http.response.status_code").as_deref(),
        Some("200")
    );

    for part in ["receive", "intake", "queue", "batch", "encode"] {
        for span in &spans[part] {
            assert_eq!(span.trace_id, request.trace_id, "{part}");
            assert_eq!(span.parent_span_id, request.span_id, "{part}");
            assert!(is_within(span, &request), "{part}");
        }
    }
    for batch in &spans["batch"] {
        let runs = spans["run"].iter().filter(|run| run.parent_span_id == batch.span_id);
        assert_eq!(runs.filter(|run| is_within(run, batch)).count(), 1, "{spans:?}");
        assert!(batch.links.iter().any(|link| link.span_id == request.span_id));
        assert_eq!(text(&batch.attributes, "density.operation").as_deref(), Some("score"));
        let mut places = spans["queue"].iter().flat_map(|queue| &queue.links);
        assert!(places.any(|link| link.span_id == batch.span_id), "{spans:?}");
    }
    assert_eq!(spans["run"].len(), spans["batch"].len(), "{spans:?}");
    let traces = collector.spans();
    assert!(
        traces.iter().all(|span| hexadecimal(&span.trace_id) == TRACE),
        "{traces:?}"
    );
    assert!(
        collector
            .0
            .lock()
            .unwrap()
            .iter()
            .all(|(service, _)| service == "density-server")
    );

    // Whoever brings no trace gets one, which the log and the answer name; so does the other protocol.
    let body = br#"{"parameters": {"operation": "sample"}, "inputs": []}"#;
    let answer = server.ask("POST", "/v2/models/tiny-pixelcnn/infer", "application/json", body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let own = answer.split("traceresponse: 00-").nth(1).unwrap()[..32].to_owned();
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(
        log.contains(&format!("\"trace_id\":\"{own}\"")),
        "{own} is not in {log}"
    );
    // What was left when the server ended has come, too. Of hundreds of turns, the first are told.
    let mut names: Vec<String> = collector
        .spans()
        .into_iter()
        .filter(|span| hexadecimal(&span.trace_id) == own)
        .map(|span| span.name)
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "POST /v2/models/{model}/infer",
            "batch",
            "encode",
            "intake",
            "queue",
            "run"
        ]
    );
}

/// A call with the place that its client has in a trace. Answers the head of what comes back.
fn call_score(server: &Server, traceparent: &str) -> HeaderMap {
    let message = Score {
        model: Some(Named {
            name: "tiny-pixelcnn".to_owned(),
        }),
        images: Some(Images {
            levels: Some(Levels {
                shape: vec![1, 1, 6, 5],
                data: vec![1; 30],
            }),
        }),
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let call = hyper::Request::post(format!("http://{}/density.v1.Density/Score", server.grpc))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("traceparent", traceparent)
        .body(Body::new(axum::body::Body::from(
            [&[0], &length[..], &message].concat(),
        )));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let stream = tokio::net::TcpStream::connect(&server.grpc).await.unwrap();
        let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = shaken.await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(call.unwrap()).await.unwrap();
        // Only a refusal has its status in the head.
        assert!(answer.headers().get("grpc-status").is_none(), "{answer:?}");
        answer.headers().clone()
    })
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Levels {
    #[prost(int64, repeated, tag = "1")]
    shape: Vec<i64>,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Images {
    #[prost(message, optional, tag = "1")]
    levels: Option<Levels>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Score {
    #[prost(message, optional, tag = "1")]
    model: Option<Named>,
    #[prost(message, optional, tag = "2")]
    images: Option<Images>,
}

/// The parts of a call are those of a request, whatever else the server is held to.
#[test]
fn calls_of_grpc_are_traced_also_out_of_a_sandbox() {
    for sandbox in [&[][..], &["--sandbox"][..]] {
        if cfg!(not(target_os = "linux")) && !sandbox.is_empty() {
            continue;
        }
        let (collector, endpoint) = Collector::start();
        let arguments = [&["--otlp-endpoint", &endpoint, "--proof-records", "none"], sandbox].concat();
        let server = start(&arguments, &[SOON]);
        let head = call_score(&server, &format!("00-{TRACE}-{CALLER}-01"));
        let name = "density.v1.Density/Score";
        let mut spans = collector.request(name);
        let call = spans.remove(name).unwrap().remove(0);
        assert_eq!(hexadecimal(&call.trace_id), TRACE);
        assert_eq!(hexadecimal(&call.parent_span_id), CALLER);
        assert_eq!(
            head["traceresponse"].to_str().unwrap(),
            format!("00-{TRACE}-{}-01", hexadecimal(&call.span_id))
        );
        assert_eq!(text(&call.attributes, "rpc.system").as_deref(), Some("grpc"));
        assert_eq!(text(&call.attributes, "rpc.grpc.status_code").as_deref(), Some("0"));
        for part in ["intake", "queue", "batch", "encode"] {
            let span = &spans.get(part).unwrap_or_else(|| panic!("no {part}: {spans:?}"))[0];
            assert_eq!(span.trace_id, call.trace_id, "{part}");
            assert_eq!(span.parent_span_id, call.span_id, "{part}");
            assert!(is_within(span, &call), "{part}");
        }
        assert_eq!(spans["run"][0].parent_span_id, spans["batch"][0].span_id);
        // A client that does not want to be traced is not.
        let head = call_score(&server, &format!("00-{}-{CALLER}-00", "1".repeat(32)));
        assert!(!head.contains_key("traceresponse"));
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains("traces are lost"), "{log}");
        let all = collector.spans();
        assert!(all.iter().all(|span| hexadecimal(&span.trace_id) == TRACE), "{all:?}");
    }
}

/// Down, silent, speaking something else, or refusing: requests are answered, the log says it once and what would be
/// right, and neither the spans that wait nor the end of the server take longer than they may.
#[test]
fn a_collector_that_takes_no_spans_is_never_waited_for_and_is_told_of_once() {
    // Bound, so that nobody else gets the port, and without an ear.
    let closed = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let dead = format!("http://{}", closed.local_addr().unwrap().as_socket().unwrap());
    let held = Mutex::new(Vec::new());
    let silent = connected(move |stream| held.lock().unwrap().push(stream));
    let other = connected(|mut stream| {
        // Whoever is asked in HTTP/2 and knows HTTP/1.1.
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    });
    let cases = [
        (dead, "Connection refused"),
        (silent, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        (connected(drop), "without TLS"),
        (other, "without TLS"),
        (serve(Refuses(Code::Unauthenticated)), "OTEL_EXPORTER_OTLP_HEADERS"),
        (serve(Refuses(Code::PermissionDenied)), "OTEL_EXPORTER_OTLP_HEADERS"),
        (serve(Refuses(Code::Unimplemented)), "receiver of OTLP"),
        (serve(Refuses(Code::ResourceExhausted)), "ResourceExhausted"),
        (serve(Refuses(Code::Unavailable)), "Unavailable"),
    ];
    let small = [
        SOON,
        ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
    ];
    for (endpoint, words) in cases {
        let mut server = start(&["--otlp-endpoint", &endpoint], &small);
        let mut lost = String::new();
        for _ in 0..20 {
            score(&server, &format!("00-{TRACE}-{CALLER}-01"));
        }
        while !lost.contains("traces are lost") {
            let start = lost.len();
            assert!(
                std::io::BufRead::read_line(&mut server.log, &mut lost).unwrap() > 0,
                "{words}: {lost}"
            );
            lost.drain(..start);
        }
        assert!(lost.contains(words), "{words:?} is not in {lost}");
        for _ in 0..20 {
            score(&server, &format!("00-{TRACE}-{CALLER}-01"));
        }
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{words}: {log}");
        assert!(!log.contains("traces are lost"), "it is said once: {log}");
    }
}

#[test]
fn nothing_is_traced_unless_the_flag_says_so() {
    let (collector, endpoint) = Collector::start();
    let server = start(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), SOON]);
    let answer = score(&server, &format!("00-{TRACE}-{CALLER}-01"));
    assert!(!answer.contains("traceresponse"), "{answer}");
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(collector.spans().is_empty());
}

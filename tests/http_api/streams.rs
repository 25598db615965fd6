//! Images that are watched while they are drawn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use density_server::{operations::Service, scheduling::SchedulerConfig, transport::http::HttpConfig};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{COLUMNS, ROWS, post},
    common::{Server, engine, eventually, faults::Faults, fixtures, service_over},
};

const MODEL: &str = "tiny-pixelcnn";
const EVENTS: &str = "text/event-stream";

/// An event: its name and its data.
type Event = (String, Value);

/// The events of a text; comments keep the connection alive and mean nothing.
fn events(text: &str) -> Vec<Event> {
    let fields = |block: &str, name: &str| -> Vec<String> {
        let line = |line: &str| Some(line.strip_prefix(name)?.trim_start().to_owned());
        block.lines().filter_map(line).collect()
    };
    text.split("\n\n")
        .filter(|block| !fields(block, "event:").is_empty())
        .map(|block| {
            let data = fields(block, "data:").join("\n");
            let event = fields(block, "event:").concat();
            (event, serde_json::from_str(&data).unwrap())
        })
        .collect()
}

fn levels(body: &Value) -> Vec<u8> {
    assert_eq!(body["media_type"], "image/png");
    let file = BASE64_STANDARD.decode(body["base64"].as_str().unwrap());
    let picture = image::load_from_memory(&file.unwrap()).unwrap();
    picture.to_rgb8().into_raw()
}

/// A service whose engine waits when it is told to.
fn faulty() -> (Arc<Faults>, Arc<Service>) {
    let faults = Arc::new(Faults::default());
    let config = SchedulerConfig {
        workers: 1,
        ..SchedulerConfig::default()
    };
    let service = service_over(&fixtures(), faults.engine(engine()), config);
    (faults, service)
}

fn count(service: &Service, status: &str) -> u64 {
    let route = "/v1/models/{model}/sample";
    let labels = ["POST", route, status];
    service.metrics().http_requests.with_label_values(&labels).get()
}

#[tokio::test]
async fn a_stream_ends_with_the_plain_answer_and_shows_parts_of_it() {
    for model in [
        MODEL,
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-bernoulli-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let options = json!({"n": 3, "seed": 5});
        let request = || post(model, "sample").json(&options);
        let plain = request().send().await.ok();
        let streamed = request().accept(EVENTS).send().await;
        assert_eq!(streamed.status, 200, "{}", streamed.text());
        assert_eq!(streamed.header("content-type"), EVENTS);
        assert_eq!(streamed.header("cache-control"), "no-cache");
        let mut events = events(&streamed.text());
        let (name, done) = events.pop().unwrap();
        assert_eq!((name.as_str(), &done), ("done", &plain), "{model}");
        if model == "tiny-vae" {
            assert!(events.is_empty(), "its images appear at once");
        }
        for (name, progress) in events {
            assert_eq!(name, "progress");
            let whole = &plain["images"][progress["index"].as_u64().unwrap() as usize];
            shows_rows_of(&progress, whole);
        }
    }
}

/// The rows so far must be those of the whole image, and the others black.
fn shows_rows_of(progress: &Value, whole: &Value) {
    let height = progress["height"].as_u64().unwrap() as usize;
    let rows = progress["rows"].as_u64().unwrap() as usize;
    assert!((1..=height).contains(&rows), "{progress}");
    let (part, whole) = (levels(&progress["image"]), levels(whole));
    let settled = rows * whole.len() / height;
    assert_eq!(part[..settled], whole[..settled]);
    assert!(part[settled..].iter().all(|&level| level == 0));
}

/// Reads from a body until it holds some event.
async fn read_until(body: &mut axum::body::BodyDataStream, text: &mut String, event: &str) {
    while !text.contains(event) {
        let piece = body.next().await.expect("more events").unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
}

#[tokio::test]
async fn rows_only_grow_and_only_the_newest_state_is_sent() {
    let (faults, service) = faulty();
    let plain = post(MODEL, "sample?seed=2").of(&service).send().await.ok();
    for (delay, at_least) in [(20, 2), (2, 1)] {
        faults.slow_down(Duration::from_millis(delay));
        let begin = Instant::now();
        let request = post(MODEL, "sample?seed=2").of(&service).accept(EVENTS);
        let mut body = request.start().await.into_body().into_data_stream();
        let mut text = String::new();
        read_until(&mut body, &mut text, "event: done").await;
        let at_most = 1 + begin.elapsed().as_millis() / 50;
        assert!(body.next().await.is_none(), "nothing comes after the answer");
        let mut events = events(&text);
        let (_, done) = events.pop().unwrap();
        assert_eq!(done, plain);
        let row = |(_, progress): &Event| progress["rows"].as_u64().unwrap();
        let rows: Vec<u64> = events.iter().map(row).collect();
        let count = rows.len() as u128;
        assert!((at_least..=at_most).contains(&count), "{rows:?} {at_most}");
        assert!(rows.is_sorted_by(|a, b| a < b), "{rows:?}");
        for (_, progress) in &events {
            assert_eq!(progress["height"], ROWS);
            shows_rows_of(progress, &plain["images"][0]);
            assert_eq!(levels(&progress["image"]).len(), 3 * ROWS * COLUMNS);
        }
    }
}

#[tokio::test]
async fn what_is_wrong_at_once_is_a_plain_problem() {
    for (query, status, slug) in [
        ("n=0", 422, "invalid_option"),
        ("temperature=0", 422, "invalid_option"),
        ("label=shoe", 422, "invalid_option"),
        ("x=1", 422, "invalid_option"),
        ("n=65", 413, "too_large"),
        ("n=100000", 413, "too_large"),
    ] {
        let answer = post(MODEL, &format!("sample?{query}")).accept(EVENTS).send();
        answer.await.problem(status, slug);
    }
    let refused = post(MODEL, "complete?rows=1").accept(EVENTS).send().await;
    refused.problem(406, "not_acceptable");
}

#[tokio::test]
async fn an_error_on_the_way_is_an_event_and_counts_as_what_it_is() {
    let (faults, service) = faulty();
    faults.close();
    let request = post(MODEL, "sample?timeout=0.2").header("x-request-id", "late-1");
    let answer = request.of(&service).accept(EVENTS).send().await;
    faults.open();
    assert_eq!(answer.status, 200, "the head had been sent");
    let events = events(&answer.text());
    let (name, problem) = events.last().unwrap();
    assert_eq!(name, "error");
    assert_eq!(problem["type"], "urn:density-server:error:deadline_exceeded");
    assert_eq!(
        (&problem["status"], &problem["request_id"]),
        (&json!(504), &json!("late-1"))
    );
    assert_eq!((count(&service, "504"), count(&service, "200")), (1, 0));
    assert_eq!(service.metrics().http_in_flight.get(), 0);
}

fn abandoned(service: &Service) -> u64 {
    let labels = [MODEL, "sample"];
    service.metrics().abandoned.with_label_values(&labels).get()
}

#[tokio::test]
async fn a_stream_is_in_flight_until_its_body_ends_or_is_dropped() {
    let (faults, service) = faulty();
    let start = async || -> Response<Body> {
        let request = post(MODEL, "sample?n=2").of(&service).accept(EVENTS);
        request.start().await
    };
    faults.close();
    let head = start().await;
    assert_eq!(head.status(), 200);
    assert_eq!(service.metrics().http_in_flight.get(), 1);
    assert_eq!(count(&service, "200"), 0, "it is not over");
    drop(head);
    assert_eq!(count(&service, "499"), 1);
    assert_eq!(service.metrics().http_in_flight.get(), 0);
    faults.open();
    eventually("the work is dropped", || abandoned(&service) == 2).await;
    let body = start().await.into_body();
    axum::body::to_bytes(body, usize::MAX).await.unwrap();
    assert_eq!(count(&service, "200"), 1);
    assert_eq!(service.metrics().http_in_flight.get(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_the_work() {
    let (faults, service) = faulty();
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.slow_down(Duration::from_millis(20));
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/models/{MODEL}/sample?n=3 HTTP/1.1\r\nHost: test\r\nAccept: {EVENTS}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.contains("event: progress") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    drop(stream);
    eventually("the work is dropped", || abandoned(&service) == 3).await;
    assert_eq!((count(&service, "499"), count(&service, "200")), (1, 0));
    server.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_stream_is_not_held_back_by_compression() {
    let answer = post(MODEL, "sample?n=64")
        .accept(EVENTS)
        .header("accept-encoding", "gzip")
        .send()
        .await;
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(events(&answer.text()).last().unwrap().0, "done");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_nothing_to_say_keeps_its_connection_alive() {
    let (faults, service) = faulty();
    faults.close();
    let request = post(MODEL, "sample?timeout=60").of(&service).accept(EVENTS);
    let mut body = request.start().await.into_body().into_data_stream();
    let begin = tokio::time::Instant::now();
    let piece = body.next().await.unwrap().unwrap();
    assert!(piece.starts_with(b":"), "{piece:?} is no comment");
    assert_eq!(begin.elapsed().as_secs(), 10);
    faults.open();
}

//! What clients see when there is too much work, when they go away, when a worker breaks and when the server stops: the
//! real router on a real port, with an engine that waits or breaks when it is told to.

#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    Server, engine, eventually,
    faults::{BREAKING_LEVEL, Faults},
    fixtures, repository_of, resources_of, service_of, service_over,
};
use density_server::{
    families::autoregressive::wavefront::STEPS_IN_A_TURN,
    operations::{Limits, Service},
    scheduling::SchedulerConfig,
    transport::http::HttpConfig,
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SCORE: &str = "/v1/models/tiny-pixelcnn/score";
const SAMPLE: &str = "/v1/models/tiny-pixelcnn/sample";

fn faulty(config: SchedulerConfig) -> (Arc<Faults>, Arc<Service>) {
    let faults = Arc::new(Faults::default());
    let service = service_over(&fixtures(), faults.engine(engine()), config);
    (faults, service)
}

fn workers(workers: usize) -> SchedulerConfig {
    SchedulerConfig {
        workers,
        ..SchedulerConfig::default()
    }
}

/// A 6×5 image of 4 levels whose first pixel is `first`.
fn image(first: u8) -> Value {
    let mut rows = vec![vec![1; 5]; 6];
    rows[0][0] = first;
    json!({"images": [{"pixels": rows}]})
}

async fn post(url: &str, path: &str, body: &Value) -> reqwest::Result<reqwest::Response> {
    Client::new().post(format!("{url}{path}")).json(body).send().await
}

type Request = tokio::task::JoinHandle<reqwest::Result<reqwest::Response>>;

/// Sends requests until the server refuses one; answers all of them, still waiting.
async fn fill_the_queue(service: &Service, url: &str, path: &'static str, body: &Value) -> Vec<Request> {
    let rejections = &service.metrics().rejections;
    let mut waiting = Vec::new();
    while rejections.with_label_values(&["overloaded"]).get() == 0 {
        let (url, body) = (url.to_owned(), body.clone());
        waiting.push(tokio::spawn(async move { post(&url, path, &body).await }));
        tokio::task::yield_now().await;
        assert!(waiting.len() < 5000, "the queue is never full");
    }
    waiting
}

#[tokio::test]
async fn a_full_queue_answers_at_once_and_nothing_is_lost() {
    // Room for a second of work: with the engine stopped, only the first requests fit.
    let (faults, service) = faulty(SchedulerConfig {
        interactive_capacity: Duration::from_secs(1),
        ..workers(1)
    });
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.close();
    let body = json!({"images": vec![image(0)["images"][0].clone(); 256]});
    let waiting = fill_the_queue(&service, &server.url, SCORE, &body).await;
    let refused = post(&server.url, SCORE, &body).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let retry_after = refused.headers()["retry-after"].to_str().unwrap();
    assert!(retry_after.parse::<u64>().unwrap() >= 1);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["status"], 429);
    // Its head is enough: who waits for leave to send images is not given it.
    let address = server.url.trim_start_matches("http://");
    for path in [SCORE, "/v2/models/tiny-pixelcnn:score/infer"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\
             Expect: 100-continue\r\n\r\n"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 429", "{path}");
    }
    faults.open();
    let (mut served, mut turned_away) = (0, 0);
    for answer in waiting {
        match answer.await.unwrap().unwrap().status() {
            StatusCode::OK => served += 1,
            StatusCode::TOO_MANY_REQUESTS => turned_away += 1,
            other => panic!("{other}"),
        }
    }
    assert!(served > 0 && turned_away > 0, "{served} {turned_away}");
    let again = post(&server.url, SCORE, &image(0)).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}

#[tokio::test]
async fn sampling_does_not_take_the_room_of_scoring() {
    let (faults, service) = faulty(SchedulerConfig {
        bulk_capacity: Duration::from_millis(50),
        ..workers(2)
    });
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.close();
    let samples = fill_the_queue(&service, &server.url, SAMPLE, &json!({"n": 16})).await;
    let url = server.url.clone();
    let score = tokio::spawn(async move { post(&url, SCORE, &image(0)).await });
    faults.open();
    assert_eq!(score.await.unwrap().unwrap().status(), StatusCode::OK);
    for sample in samples {
        let status = sample.await.unwrap().unwrap().status();
        assert!(matches!(status.as_u16(), 200 | 429), "{status}");
    }
}

#[tokio::test]
async fn a_worker_that_panics_answers_500_and_lives_on() {
    let (faults, service) = faulty(workers(1));
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.arm();
    for _ in 0..3 {
        let broken = post(&server.url, SCORE, &image(BREAKING_LEVEL)).await.unwrap();
        assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = broken.text().await.unwrap();
        assert!(!text.contains("asked to break"), "the cause is ours alone: {text}");
        let fine = post(&server.url, SCORE, &image(0)).await.unwrap();
        assert_eq!(fine.status(), StatusCode::OK);
    }
    assert_eq!(service.metrics().worker_panics.get(), 3);
}

#[tokio::test]
async fn a_client_that_goes_away_costs_nothing() {
    let (faults, service) = faulty(workers(1));
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.close();
    let before = faults.runs();
    let url = server.url.clone();
    let first = tokio::spawn(async move { post(&url, SCORE, &image(0)).await });
    eventually("the worker is busy", || faults.runs() > before).await;
    let in_flight = || service.metrics().http_in_flight.get();
    let url = server.url.clone();
    let gone = tokio::spawn(async move { post(&url, SCORE, &image(1)).await });
    eventually("the second request is here", || in_flight() == 2).await;
    gone.abort();
    eventually("the server saw it go", || in_flight() == 1).await;
    let rows = faults.rows();
    faults.open();
    assert_eq!(first.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(
        post(&server.url, SCORE, &image(2)).await.unwrap().status(),
        StatusCode::OK
    );
    assert_eq!(faults.rows(), rows + 1, "only the last request's row was run");
}

#[tokio::test]
async fn a_sample_whose_client_goes_away_is_stopped() {
    let (faults, service) = faulty(workers(1));
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.close();
    let before = faults.runs();
    let url = server.url.clone();
    let sample = tokio::spawn(async move { post(&url, SAMPLE, &json!({"n": 1})).await });
    eventually("the first pass is under way", || faults.runs() > before).await;
    sample.abort();
    let in_flight = || service.metrics().http_in_flight.get();
    eventually("the server saw it go", || in_flight() == 0).await;
    let runs = faults.runs();
    faults.open();
    assert_eq!(
        post(&server.url, SCORE, &image(0)).await.unwrap().status(),
        StatusCode::OK
    );
    // The turn that was under way is finished; the last run is the score's.
    let most = runs + STEPS_IN_A_TURN as usize;
    assert!(
        faults.runs() <= most,
        "no further turn was begun for the sample: {} runs, at most {most}",
        faults.runs()
    );
}

#[tokio::test]
async fn a_deadline_answers_504() {
    let (faults, service) = faulty(workers(1));
    let server = Server::start(&service, HttpConfig::default()).await;
    faults.close();
    let path = format!("{SCORE}?timeout=0.05");
    let late = post(&server.url, &path, &image(0)).await.unwrap();
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    faults.open();
    let fine = post(&server.url, SCORE, &image(0)).await.unwrap();
    assert_eq!(fine.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_accepted() {
    let (faults, service) = faulty(workers(2));
    let server = Server::start(&service, HttpConfig::default()).await;
    let url = server.url.clone();
    let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    faults.close();
    let requests: Vec<_> = (0..8)
        .map(|n| {
            let url = url.clone();
            tokio::spawn(async move {
                match n % 2 {
                    0 => post(&url, SCORE, &image(1)).await,
                    _ => post(&url, SAMPLE, &json!({"n": 2})).await,
                }
            })
        })
        .collect();
    let in_flight = || service.metrics().http_in_flight.get();
    eventually("all are accepted", || in_flight() == 8).await;
    let served = server.shut_down();
    eventually("readiness is off", || !service.is_ready()).await;
    faults.open();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(served.await.unwrap().cut_off, 0);
    assert!(reqwest::get(format!("{url}/livez")).await.is_err());
}

#[tokio::test]
async fn a_server_is_alive_but_not_ready_while_its_models_load() {
    let resources = resources_of(engine(), workers(1));
    let models = Arc::new(repository_of(&fixtures(), resources));
    let service = service_of(Arc::clone(&models), Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let get = async |path: &str| reqwest::get(format!("{}{path}", server.url)).await.unwrap();
    assert_eq!(get("/livez").await.status(), StatusCode::OK);
    assert_eq!(get("/readyz").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let early = post(&server.url, SCORE, &image(0)).await.unwrap();
    assert_eq!(early.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = early.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("still being loaded"));
    models.scan().unwrap();
    assert_eq!(get("/readyz").await.status(), StatusCode::OK);
    let answer = post(&server.url, SCORE, &image(0)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

//! What is refused, before any work where that can be known.

use std::time::Duration;

use axum::{body::Body, http::Request};
use density_server::transport::http::HttpConfig;
use futures_util::stream;
use serde_json::json;
use tower::ServiceExt;

use crate::client::{call, pixels, png, post, router, service};

const MODEL: &str = "tiny-pixelcnn";

/// A body that must not be touched: its client waits for leave to send it.
fn untouched() -> Body {
    Body::from_stream(stream::poll_fn(
        |_| -> std::task::Poll<Option<Result<&str, std::io::Error>>> { panic!("the body was read") },
    ))
}

#[tokio::test]
async fn what_the_head_of_a_request_tells_is_refused_before_its_body_is_read() {
    for (path, status, slug, part) in [
        ("/v1/models/none/score", 404, "model_not_found", "tiny-pixelcnn"),
        ("/v1/models/tiny-pixelcnn/encode", 422, "unsupported", "no latent code"),
        ("/v1/models/tiny-pixelcnn/classify", 422, "unsupported", "label"),
        ("/v1/models/tiny-vae/classify", 422, "unsupported", "label"),
        ("/v1/models/tiny-vae/score?version=x", 422, "invalid_option", "version"),
        (
            "/v1/models/tiny-vae/score?timeout=never",
            422,
            "invalid_option",
            "timeout",
        ),
        (
            "/v1/models/tiny-vae/score?timeout=601",
            422,
            "invalid_option",
            "at most 600 s",
        ),
    ] {
        let answer = call("POST", path)
            .header("expect", "100-continue")
            .body("image/png", untouched())
            .send()
            .await;
        assert!(answer.problem(status, slug).contains(part), "{}", answer.text());
    }
    let untyped = post(MODEL, "score")
        .header("expect", "100-continue")
        .body("text/plain", untouched())
        .send()
        .await;
    assert!(untyped.problem(415, "unsupported_media_type").contains("image/png"));
    let picky = post(MODEL, "score")
        .accept("text/html")
        .header("expect", "100-continue")
        .body("image/png", untouched());
    assert!(
        picky
            .send()
            .await
            .problem(406, "not_acceptable")
            .contains("application/json")
    );
    let picky = post(MODEL, "detect")
        .accept("image/png")
        .header("expect", "100-continue")
        .body("image/png", untouched());
    picky.send().await.problem(406, "not_acceptable");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    for path in ["/nowhere", "/v1", "/v1/models/tiny-vae/dream", "/docs/nothing.js"] {
        call("GET", path).send().await.problem(404, "unknown_route");
    }
    let answer = call("GET", "/v1/models/tiny-vae/score").send().await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.header("allow").contains("POST"));
    call("POST", "/v1/models")
        .send()
        .await
        .problem(405, "method_not_allowed");
}

#[tokio::test]
async fn options_that_are_not_understood_are_refused_by_name() {
    let images = json!([{"pixels": pixels(0)}]);
    for (request, parts) in [
        (
            post(MODEL, "detect?false_alarm_rat=0.1").body("image/png", png(0, 4)),
            &["false_alarm_rat:", "false_alarm_rate"][..],
        ),
        (
            post(MODEL, "detect").json(&json!({"images": images, "rate": 0.1})),
            &["rate:", "false_alarm_rate"],
        ),
        (
            post(MODEL, "detect?false_alarm_rate=2").body("image/png", png(0, 4)),
            &["false_alarm_rate"],
        ),
        (
            post(MODEL, "score?k=many").body("image/png", png(0, 4)),
            &["k:", "whole number"],
        ),
        (
            post("tiny-vae", "score?bound=exact").body("image/png", png(0, 16)),
            &["bound"],
        ),
        (
            post("tiny-vae", "score?bound=tight").body("image/png", png(0, 16)),
            &["bound:", "exact, elbo, iwae"],
        ),
        (post(MODEL, "sample?temperature=0"), &["temperature"]),
        (post(MODEL, "sample?n=0"), &["n:"]),
        (post(MODEL, "sample").json(&json!({"n": "x"})), &["n:"]),
        (
            post(MODEL, "sample?images=1"),
            &["images:", "n, seed, temperature, observation"],
        ),
        (post(MODEL, "complete?rows=99").body("image/png", png(0, 4)), &["rows"]),
        (
            post("tiny-vae", "interpolate?steps=1").json(&json!({"images": [images[0], images[0]]})),
            &["steps"],
        ),
        (post("tiny-vae", "decode").json(&json!({"latents": []})), &["latents"]),
        (post("tiny-vae", "decode").json(&json!({"latents": [["x"]]})), &["JSON"]),
        (call("GET", "/v1/models?name=x"), &["name:"]),
    ] {
        let detail = request.send().await.problem(422, "invalid_option");
        for part in parts {
            assert!(detail.contains(part), "{detail:?} lacks {part:?}");
        }
    }
    let short = post("tiny-vae", "decode")
        .json(&json!({"latents": [[1.0]]}))
        .send()
        .await;
    assert_eq!(short.status, 422, "{}", short.text());
}

#[tokio::test]
async fn malformed_bodies_are_told_from_wrong_ones() {
    for (media_type, body) in [
        ("application/json", "{"),
        ("application/json", ""),
        ("application/json", "\u{feff}{}"),
        ("multipart/form-data; boundary=x", "--y--"),
        ("multipart/form-data", "--x--"),
    ] {
        let answer = post(MODEL, "score").body(media_type, body).send().await;
        answer.problem(400, "malformed");
    }
    let deep = "[".repeat(1 << 20);
    post(MODEL, "score").body("application/json", deep).send().await;
    let none = post(MODEL, "score").form(&[]).send().await;
    assert!(none.status == 422 || none.status == 400, "{}", none.text());
    let form = post(MODEL, "sample").body("image/png", png(0, 4)).send().await;
    form.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_whether_declared_or_not() {
    let config = HttpConfig {
        max_body_bytes: 1000,
        ..HttpConfig::default()
    };
    let declared = post(MODEL, "score")
        .body("image/png", vec![0; 1001])
        .within(config.clone());
    let answer = declared.send().await;
    answer.problem(413, "body_too_large");
    assert_eq!(answer.json()["limit"], 1000);
    let chunks = stream::iter([(); 3].map(|()| Ok::<_, std::io::Error>(vec![0; 400])));
    let streamed = post(MODEL, "score").body("image/png", Body::from_stream(chunks));
    streamed.within(config).send().await.problem(413, "body_too_large");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let config = HttpConfig {
        body_timeout: Duration::from_millis(20),
        ..HttpConfig::default()
    };
    let silent = Body::from_stream(stream::pending::<Result<&str, std::io::Error>>());
    let answer = post(MODEL, "score")
        .body("image/png", silent)
        .within(config)
        .send()
        .await;
    answer.problem(408, "body_timeout");
    assert_eq!(answer.header("connection"), "close");
}

#[tokio::test]
async fn an_answer_that_would_be_late_is_a_timeout() {
    let answer = post("tiny-vae", "sample?timeout=0.000001").send().await;
    assert!(answer.status == 504 || answer.status == 408, "{}", answer.text());
    let header = post(MODEL, "sample").header("x-request-timeout", "soon").send().await;
    assert!(header.problem(422, "invalid_option").contains("X-Request-Timeout"));
    // More than is granted is refused and not cut in silence, however it is asked for.
    let header = post(MODEL, "sample").header("x-request-timeout", "601").send().await;
    let body = post(MODEL, "sample").json(&json!({"timeout": 601})).send().await;
    for answer in [header, body] {
        assert!(answer.problem(422, "invalid_option").contains("at most 600 s"));
    }
}

#[tokio::test]
async fn requests_keep_their_id_and_are_counted_by_route() {
    let request = post(MODEL, "score")
        .header("x-request-id", "trace-7")
        .body("image/png", png(0, 4));
    assert_eq!(request.send().await.header("x-request-id"), "trace-7");
    let forged = post("made-up-model", "score")
        .header("x-request-id", "two words")
        .send()
        .await;
    assert_eq!(forged.header("x-request-id").len(), 16);
    let text = service().metrics().encode();
    assert!(
        text.contains(r#"route="/v1/models/{model}/score",status="200""#),
        "{text}"
    );
    assert!(!text.contains("made-up-model"));
    assert!(
        call("GET", "/metrics")
            .send()
            .await
            .text()
            .contains("density_http_requests_total")
    );
}

#[tokio::test]
async fn no_name_that_a_client_makes_up_becomes_a_label() {
    let router = router(HttpConfig::default());
    for number in 0..10_000 {
        let path = match number % 5 {
            0 => format!("/v1/models/made-up-{number}/score"),
            1 => format!("/v1/models/{MODEL}/made-up-{number}"),
            2 => format!("/v1/models/{MODEL}/versions/{number}/score?made-up-{number}=1"),
            3 => format!("/made-up-{number}"),
            _ => format!("/v1/models/made-up-{number}/drift"),
        };
        let method = if number % 7 == 0 { "MADE-UP" } else { "POST" };
        let request = Request::builder().method(method).uri(&path);
        let request = request.header("content-type", "image/png").body(Body::empty());
        let status = router.clone().oneshot(request.unwrap()).await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    let metrics = service().metrics().encode().to_lowercase();
    assert!(!metrics.contains("made-up"), "{metrics}");
    assert!(metrics.contains("status=\"404\""), "{metrics}");
}

//! What browsers and proxies ask beside the question: other origins, and bodies that are compressed.

use std::io::Write;

use axum::http::Method;
use density_server::transport::http::HttpConfig;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use crate::client::{Answer, call, png, post};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

async fn score(coding: &str, body: Vec<u8>) -> Answer {
    let call = post("tiny-pixelcnn", "score").header("content-encoding", coding);
    call.body("image/png", body).send().await
}

#[tokio::test]
async fn compressed_bodies_are_unpacked() {
    let file = png(0, 4);
    let plain = score("identity", file.clone()).await.ok()["results"].clone();
    assert_eq!(score("gzip", gzip(&file)).await.ok()["results"], plain);
    assert_eq!(score("deflate", deflate(&file)).await.ok()["results"], plain);
}

#[tokio::test]
async fn other_codings_are_refused_with_those_that_are_read() {
    let answer = score("br", png(0, 4)).await;
    answer.problem(415, "unsupported_media_type");
    let accepted = answer.header("accept-encoding");
    assert!(accepted.contains("gzip") && accepted.contains("deflate"), "{accepted}");
    let twice = post("tiny-pixelcnn", "score").header("content-encoding", "gzip");
    let twice = twice
        .header("content-encoding", "gzip")
        .body("image/png", gzip(&gzip(&png(0, 4))));
    twice.send().await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn what_counts_is_the_unpacked_size() {
    let bomb = gzip(&vec![0; 4 << 20]);
    assert!(bomb.len() < 64 << 10);
    // Of all members together.
    let of_members = gzip(&vec![0; 600 << 10]).repeat(2);
    for body in [bomb, of_members] {
        let config = HttpConfig {
            max_body_bytes: 1 << 20,
            ..HttpConfig::default()
        };
        let call = post("tiny-pixelcnn", "score").within(config);
        let call = call.header("content-encoding", "gzip");
        call.body("image/png", body).send().await.problem(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_gzip_file_is_all_of_its_members() {
    let file = png(0, 4);
    let plain = score("identity", file.clone()).await.ok()["results"].clone();
    let (start, end) = file.split_at(file.len() / 2);
    for body in [
        [gzip(start), gzip(end)].concat(),
        [gzip(b""), gzip(start), gzip(end), gzip(b"")].concat(),
    ] {
        assert_eq!(score("gzip", body).await.ok()["results"], plain);
    }
    let many = score("gzip", gzip(b"").repeat(1025)).await;
    assert!(many.problem(400, "malformed").contains("1024 members"));
}

#[tokio::test]
async fn what_stands_behind_the_end_is_no_part_of_it() {
    let file = png(0, 4);
    for (coding, packed) in [("gzip", gzip(&file)), ("deflate", deflate(&file))] {
        let detail = score(coding, [&packed, &b"more"[..]].concat()).await;
        let detail = detail.problem(400, "malformed");
        assert!(detail.contains("Content-Encoding"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_not_packed_as_it_says_is_said() {
    let detail = score("gzip", png(0, 4)).await.problem(400, "malformed");
    assert!(detail.contains("Content-Encoding"), "{detail}");
    let mut cut = gzip(&png(0, 4));
    cut.truncate(cut.len() / 2);
    score("gzip", cut).await.problem(400, "malformed");
    let mut cut = deflate(&png(0, 4));
    cut.truncate(cut.len() - 1);
    score("deflate", cut).await.problem(400, "malformed");
}

fn open_to(origins: &[&str]) -> HttpConfig {
    HttpConfig {
        cors_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        ..HttpConfig::default()
    }
}

async fn preflight(config: HttpConfig, origin: &str) -> Answer {
    let call = call(Method::OPTIONS.as_str(), "/v1/models/tiny-pixelcnn/score").within(config);
    let call = call
        .header("origin", origin)
        .header("access-control-request-method", "POST");
    call.header("access-control-request-headers", "content-type")
        .send()
        .await
}

#[tokio::test]
async fn pages_of_named_origins_may_ask() {
    let config = open_to(&["https://a.example", "https://b.example"]);
    let answer = preflight(config.clone(), "https://b.example").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), "https://b.example");
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), "content-type");
    let answer = preflight(config.clone(), "https://c.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "");

    // Refusals too: a page that cannot read why is no help to anybody.
    let call = post("none", "score")
        .within(config)
        .header("origin", "https://a.example");
    let answer = call.body("image/png", png(0, 4)).send().await;
    answer.problem(404, "model_not_found");
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    let exposed = answer.header("access-control-expose-headers");
    for name in ["x-request-id", "x-seed", "x-labels", "retry-after"] {
        assert!(exposed.contains(name), "{exposed}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_unless_the_operator_says_so() {
    let answer = preflight(HttpConfig::default(), "https://a.example").await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = preflight(open_to(&["*"]), "https://a.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn who_takes_no_coding_that_is_spoken_here_is_answered_plainly() {
    for accepted in ["*;q=0", "identity;q=0", "br, identity;q=0"] {
        let answer = call("GET", "/v1/models")
            .header("accept-encoding", accepted)
            .send()
            .await;
        assert_eq!(answer.header("content-encoding"), "", "{accepted}");
        assert!(answer.ok()["models"].is_array(), "{accepted}");
    }
}

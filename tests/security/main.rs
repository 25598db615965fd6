//! Who is let in and to what, at the front doors: real listeners, real handshakes, HTTP and gRPC.

#![allow(clippy::unwrap_used)]

mod client;
#[path = "../pki/mod.rs"]
mod pki;
mod revocation;
mod server;
mod tls;

use client::{Answer, infer, metadata};
use density_server::access::Scope::{self, Admin, Read, Sample};
use server::Server;
use tonic::Code;

const SCORE: &str = "/v1/models/tiny-pixelcnn/score";
const SAMPLE: &str = "/v1/models/tiny-pixelcnn/sample?n=1";
const DRIFT: &str = "/v1/models/tiny-pixelcnn/drift";

/// What everybody may ask, those who may read, draw and administer, over v1 and V2.
const DOORS: [(&str, &str, Option<Scope>); 20] = [
    ("GET", "/", None),
    ("GET", "/page/app.js", None),
    ("GET", "/v1/models/tiny-pixelcnn/calibration", Some(Read)),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/metrics", None),
    ("GET", "/openapi.json", None),
    ("GET", "/docs/", None),
    ("GET", "/v2/health/ready", None),
    ("GET", "/v2", None),
    ("GET", "/v1/models", Some(Read)),
    ("GET", "/v1/models/tiny-pixelcnn", Some(Read)),
    ("POST", SCORE, Some(Read)),
    ("GET", "/v2/models/tiny-pixelcnn", Some(Read)),
    ("POST", "/v2/repository/index", Some(Read)),
    ("POST", "/v2/models/tiny-pixelcnn/infer", Some(Read)),
    ("POST", SAMPLE, Some(Sample)),
    ("POST", "/v2/models/tiny-pixelcnn:sample/infer", Some(Sample)),
    ("DELETE", DRIFT, Some(Admin)),
    ("POST", "/v2/repository/models/tiny-pixelcnn/load", Some(Admin)),
];

/// A request that some key may make is answered, if only to say that it is a bad one.
fn is_let_in(answer: &Answer) -> bool {
    !matches!(answer.status, 401 | 403)
}

async fn ask(server: &Server, method: &str, path: &str, key: Option<&str>) -> Answer {
    let body: &[u8] = if path.ends_with("infer") {
        br#"{"inputs": []}"#
    } else {
        b""
    };
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n"));
    client::ask(server.http, method, path, key.as_deref().unwrap_or_default(), body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_door_opens_to_its_scope_alone() {
    let server = Server::start(&[]).await.with_keys().await;
    for (method, path, needed) in DOORS {
        let nobody = ask(&server, method, path, None).await;
        let stranger = ask(&server, method, path, Some("density_made_up")).await;
        assert_eq!(is_let_in(&nobody), needed.is_none(), "{path}: {nobody:?}");
        // Metrics have the names of models for labels: with `--probes` they are answered to operators alone.
        assert!(
            path == "/metrics" || !nobody.text.contains("tiny-"),
            "{path} tells nobody which models there are"
        );
        assert_eq!(is_let_in(&stranger), needed.is_none(), "{path}: {stranger:?}");
        let Some(needed) = needed else { continue };
        assert_eq!(nobody.status, 401);
        assert!(nobody.text.contains("www-authenticate: Bearer"), "{nobody:?}");
        for scope in Scope::ALL {
            let answer = ask(&server, method, path, Some(&server.key(scope))).await;
            assert_eq!(is_let_in(&answer), scope == needed, "{scope:?} {path}: {answer:?}");
            if scope != needed {
                assert_eq!(answer.status, 403);
                assert!(
                    answer.text.contains(needed.name()),
                    "it says what is missing: {answer:?}"
                );
                let form = if path.starts_with("/v2") {
                    "{\"error\":"
                } else {
                    "error:forbidden"
                };
                assert!(answer.text.contains(form), "{answer:?}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_has_the_same_keys() {
    let server = Server::start(&[]).await.with_keys().await;
    let connect = async || client::connect(server.grpc).await;
    let code = |result: Result<(), tonic::Status>| result.err().map_or(Code::Ok, |status| status.code());
    assert_eq!(code(client::health(connect().await).await), Code::Ok);
    assert_eq!(code(metadata(connect().await, None).await), Code::Unauthenticated);
    assert_eq!(code(metadata(connect().await, Some(&server.key(Read))).await), Code::Ok);
    assert_eq!(
        code(metadata(connect().await, Some(&server.key(Sample))).await),
        Code::PermissionDenied
    );
    let draw = async |scope| code(infer(connect().await, "tiny-pixelcnn:sample", &server.key(scope)).await);
    assert_eq!(draw(Sample).await, Code::Ok);
    assert_eq!(draw(Read).await, Code::PermissionDenied);
    assert_eq!(draw(Admin).await, Code::PermissionDenied);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_may_come_as_a_header_of_its_own() {
    let server = Server::start(&[]).await.with_keys().await;
    let header = format!("x-api-key: {}\r\n", server.key(Read));
    let answer = client::ask(server.http, "GET", "/v1/models", &header, b"").await;
    assert_eq!(answer.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_away_opens_nothing_more() {
    let mut server = Server::start(&[]).await.with_keys().await;
    let old = server.key(Read);
    assert_eq!(ask(&server, "GET", "/v1/models", Some(&old)).await.status, 200);
    server.change_keys();
    assert_eq!(ask(&server, "GET", "/v1/models", Some(&old)).await.status, 401);
    assert_eq!(
        ask(&server, "GET", "/v1/models", Some(&server.key(Read))).await.status,
        200
    );
    server.stop().await;
}

/// Rates that a few images use up, of clients told apart by their addresses.
const RATES: [&str; 6] = [
    "--client-rate",
    "0.001",
    "--client-burst",
    "0.001",
    "--clients-by",
    "address",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_rate_and_others_have_theirs() {
    let server = Server::start(&RATES);
    let server = server.await.with_keys().await;
    let draw = async |key: String| ask(&server, "POST", SAMPLE, Some(&key)).await;
    let mut refused = draw(server.key(Sample)).await;
    assert_eq!(refused.status, 200);
    // A tiny image costs less than the smallest burst.
    for _ in 0..1000 {
        if refused.status == 200 {
            refused = draw(server.key(Sample)).await;
        }
    }
    assert_eq!(refused.status, 429);
    assert!(
        refused.text.contains("retry-after: ") && refused.text.contains("error:quota_exceeded"),
        "{refused:?}"
    );
    let grpc = infer(
        client::connect(server.grpc).await,
        "tiny-pixelcnn:sample",
        &server.key(Sample),
    )
    .await;
    assert_eq!(
        grpc.unwrap_err().code(),
        Code::ResourceExhausted,
        "it is the same client"
    );
    assert_eq!(draw(server.other_sampler()).await.status, 200);
    assert_eq!(ask(&server, "GET", "/livez", None).await.status, 200);
    server.stop().await;
}

/// Draws for whom a proxy names, as often as it takes to be refused.
async fn use_up(server: &Server, forwarded: &str) {
    let mut answer = draw_for(server, forwarded).await;
    for _ in 0..1000 {
        if answer.status == 200 {
            answer = draw_for(server, forwarded).await;
        }
    }
    assert_eq!(answer.status, 429, "{answer:?}");
}

async fn draw_for(server: &Server, forwarded: &str) -> Answer {
    let header = format!("X-Forwarded-For: {forwarded}\r\n");
    client::ask(server.http, "POST", SAMPLE, &header, b"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_trusted_proxy_have_their_own_rates_and_cannot_choose_another() {
    let trusting = [&RATES[..], &["--trusted-proxies", "127.0.0.0/8"]].concat();
    let server = Server::start(&trusting).await;
    use_up(&server, "192.0.2.1").await;
    assert_eq!(draw_for(&server, "198.51.100.1, 192.0.2.1").await.status, 429);
    assert_eq!(draw_for(&server, "192.0.2.2").await.status, 200);
    server.stop().await;
    // Whoever is not trusted is the client, whatever it claims.
    let server = Server::start(&RATES).await;
    use_up(&server, "192.0.2.1").await;
    assert_eq!(draw_for(&server, "192.0.2.2").await.status, 429);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_door_of_their_own() {
    let server = Server::start(&["--probes", "127.0.0.1:0"]).await;
    let operators = server.operators.unwrap();
    let inside = async |method, path| client::ask(operators, method, path, "", b"").await.status;
    let outside = async |method, path| ask(&server, method, path, None).await.status;
    assert_eq!(inside("GET", "/metrics").await, 200);
    assert_eq!(outside("GET", "/metrics").await, 404);
    // This model watches no drift, which is what it says to whom it may concern.
    assert_eq!(inside("DELETE", DRIFT).await, 422);
    assert_eq!(outside("DELETE", DRIFT).await, 403);
    assert_eq!(inside("POST", SAMPLE).await, 404);
    assert_eq!(outside("POST", SAMPLE).await, 200);
    for path in ["/livez", "/readyz", "/v1/models"] {
        assert_eq!(
            (inside("GET", path).await, outside("GET", path).await),
            (200, 200),
            "{path}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_do_no_more_with_it() {
    let server = Server::start(&[]).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/docs/"),
        ("GET", "/nowhere"),
        ("DELETE", "/livez"),
        ("GET", "/v2/x"),
    ] {
        let Answer { text, .. } = ask(&server, method, path, None).await;
        for header in [
            "x-content-type-options: nosniff",
            "content-security-policy: ",
            "frame-ancestors 'none'",
            "referrer-policy: no-referrer",
        ] {
            assert!(text.contains(header), "{path}: {text}");
        }
    }
    server.stop().await;
}

/// A proxy on the way may take LF alone for a part of a line, and see another request than the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_whose_lines_end_with_lf_alone_is_refused() {
    let server = Server::start(&[]).await;
    for head in [
        "GET /livez HTTP/1.1\nhost: a\n\n",
        "GET /livez HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\n\n",
    ] {
        let Answer { status, text } = client::send(server.http, head.as_bytes()).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("CR LF") && text.contains("error:malformed"), "{text}");
    }
    // A body may have what lines it likes, and the next request on the connection is looked at afresh.
    let body = "POST /livez HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n\n\n\n\n";
    let next = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let Answer { status, text } = client::send(server.http, format!("{body}{next}").as_bytes()).await;
    assert_eq!(status, 405, "{text}");
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    server.stop().await;
}

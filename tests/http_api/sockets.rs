//! What only shows on a socket: answers to clients that are still sending, and clients that go away.

use std::time::Duration;

use density_server::transport::http::HttpConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{png, service},
    common::{Server, eventually},
};

async fn connect(server: &Server) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap()
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n")
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 1 << 16];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_to_read_why_it_is_refused() {
    let config = HttpConfig {
        max_body_bytes: 3 << 20,
        ..HttpConfig::default()
    };
    let server = Server::start(service(), config).await;
    for (path, status) in [
        ("/v1/models/none/score", "404"),
        ("/v1/models/tiny-pixelcnn/encode", "422"),
        ("/v1/models/tiny-pixelcnn/score", "413"),
    ] {
        let mut stream = connect(&server).await;
        let body = vec![0; 4 << 20];
        stream.write_all(head(path, body.len()).as_bytes()).await.unwrap();
        // The server may close before all is sent; what counts is that its answer arrives.
        let _ = stream.write_all(&body).await;
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_over_a_socket_too() {
    let config = HttpConfig {
        body_timeout: Duration::from_millis(50),
        ..HttpConfig::default()
    };
    let server = Server::start(service(), config).await;
    let mut stream = connect(&server).await;
    let head = head("/v1/models/tiny-pixelcnn/score", 100);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn one_connection_serves_many_requests_whatever_their_answers() {
    let server = Server::start(service(), HttpConfig::default()).await;
    let mut stream = connect(&server).await;
    let file = png(0, 4);
    for (path, status) in [
        ("/v1/models/tiny-pixelcnn/score", "200"),
        ("/v1/models/none/score", "404"),
        ("/v1/models/tiny-pixelcnn/score?x=1", "422"),
        ("/v1/models/tiny-pixelcnn/score", "200"),
    ] {
        stream.write_all(head(path, file.len()).as_bytes()).await.unwrap();
        stream.write_all(&file).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_sends_is_not_waited_for() {
    let server = Server::start(service(), HttpConfig::default()).await;
    let ended = || {
        let line = r#"route="/v1/models/{model}/encode",status="400"} 1"#;
        service().metrics().encode().contains(line)
    };
    let mut stream = connect(&server).await;
    let head = head("/v1/models/tiny-vae/encode", 100);
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually("the request is in flight", || {
        service().metrics().http_in_flight.get() > 0
    })
    .await;
    assert!(!ended());
    drop(stream);
    eventually("the request has ended", ended).await;
}

/// Everything that is answered to `text`, sent at once.
async fn told(server: &Server, text: &[u8]) -> String {
    let mut stream = connect(server).await;
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_not_told_to_go_on() {
    let server = Server::start(service(), HttpConfig::default()).await;
    let head = "POST /v1/models/tiny-pixelcnn/score HTTP/1.1\r\nHost: t\r\nContent-Type: image/png\r\n\
                Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n";
    let answer = told(&server, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn who_sends_too_much_is_heard_to_the_end() {
    let config = HttpConfig {
        max_body_bytes: 1 << 20,
        ..HttpConfig::default()
    };
    let server = Server::start(service(), config).await;
    let body = vec![0; 48 << 20];
    for path in ["/v1/models/tiny-pixelcnn/score", "/v1/models/none/score", "/nowhere"] {
        let request = [head(path, body.len()).as_bytes(), &body].concat();
        let mut stream = connect(&server).await;
        // All of it can be sent, and only then is the answer read.
        stream.write_all(&request).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = Server::start(service(), HttpConfig::default()).await;
    for (head, status) in [
        ("GET /livez HTTP/1.1\r\nConnection: close\r\n", 400),
        (
            "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n",
            400,
        ),
        ("GET /livez HTTP/1.0\r\n", 200),
        ("GET /livez HTTP/1.1\r\nHost:\r\nConnection: close\r\n", 200),
        ("NONSENSE\r\n", 400),
    ] {
        let answer = told(&server, format!("{head}\r\n").as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || answer.starts_with("HTTP/1.0 200"),
            "{head}: {answer}"
        );
        let is_problem =
            answer.contains("application/problem+json") && answer.contains("urn:density-server:error:malformed");
        assert_eq!(is_problem, status == 400, "{answer}");
    }
}

#[tokio::test]
async fn a_head_whose_lines_end_with_lf_alone_is_refused_wherever_it_comes() {
    let server = Server::start(service(), HttpConfig::default()).await;
    let good = "GET /livez HTTP/1.1\r\nHost: t\r\n\r\n";
    let bare = "GET /livez HTTP/1.1\r\nHost: t\n\r\n";
    let post = "POST /v1/models/none/score HTTP/1.1\r\nHost: t\r\nContent-Type: image/png\r\n";
    let counted = format!("{post}Content-Length: 3\r\n\r\n\na\n");
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\n\na\n\r\n0\r\n\r\n");
    for before in ["", good, &counted, &chunked] {
        let answer = told(&server, format!("{before}{bare}{good}").as_bytes()).await;
        let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
        let first = match before {
            "" => None,
            _ if before == good => Some("200"),
            _ => Some("404"),
        };
        // Nothing is answered behind it: what follows may not be what it seems.
        assert_eq!(
            statuses,
            first.into_iter().chain(["400"]).collect::<Vec<_>>(),
            "{answer}"
        );
        assert!(answer.contains("end with CR LF, not with LF alone"), "{answer}");
    }
    let last = good.replace("Host: t", "Host: t\r\nConnection: close");
    let answer = told(&server, format!("{good}{counted}{chunked}{last}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 2, "{answer}");
}

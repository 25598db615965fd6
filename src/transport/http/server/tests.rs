use axum::{
    http::StatusCode,
    routing::{get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::*;

struct Running {
    address: std::net::SocketAddr,
    metrics: Arc<Metrics>,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

/// A server with a route that answers at once and one that answers when the test says so.
async fn start(limits: ServerLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let slow = move || async move {
        enter.notify_one();
        wait.notified().await;
        "done"
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", post(|body: String| async { body }))
        .route(
            "/full",
            get(|| async { (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")]) }),
        )
        .route("/slow", get(slow));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(serve(listener, router, Arc::clone(&metrics), limits, shutdown));
    Running {
        address,
        metrics,
        entered,
        release,
        stop,
        ended,
    }
}

async fn connect(server: &Running) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    // A connection that is cut ends with an error instead of an end; what came before it still counts.
    let _ = stream.read_to_string(&mut text).await;
    text
}

async fn some(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_idle_connections_closed() {
    let server = start(ServerLimits::default()).await;
    let mut idle = connect(&server).await;
    ask(&mut idle, "/").await;
    assert!(some(&mut idle).await.ends_with("hello"));
    let mut busy = connect(&server).await;
    ask(&mut busy, "/slow").await;
    server.entered.notified().await;
    assert_eq!(server.metrics.http_connections.get(), 2);

    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    server.release.notify_one();
    let answer = rest(&mut busy).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(server.ended.await.unwrap(), Drained { cut_off: 0 });
    assert_eq!(server.metrics.http_connections.get(), 0);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_drain_timeout() {
    let server = start(ServerLimits {
        drain_timeout: Duration::from_millis(50),
        ..ServerLimits::default()
    })
    .await;
    let mut busy = connect(&server).await;
    ask(&mut busy, "/slow").await;
    server.entered.notified().await;
    server.stop.send(()).unwrap();
    assert_eq!(server.ended.await.unwrap(), Drained { cut_off: 1 });
    assert_eq!(rest(&mut busy).await, "");
}

#[tokio::test]
async fn connections_that_were_waiting_when_the_shutdown_began_are_answered() {
    let server = start(ServerLimits {
        max_connections: 2,
        ..ServerLimits::default()
    })
    .await;
    let mut busy = connect(&server).await;
    ask(&mut busy, "/slow").await;
    server.entered.notified().await;
    let mut late = connect(&server).await;
    server.stop.send(()).unwrap();
    ask(&mut late, "/").await;
    server.release.notify_one();
    assert!(rest(&mut late).await.ends_with("hello"));
    assert!(rest(&mut busy).await.ends_with("done"));
    assert_eq!(server.ended.await.unwrap().cut_off, 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_slot() {
    let server = start(ServerLimits {
        max_connections: 1,
        ..ServerLimits::default()
    })
    .await;
    let mut first = connect(&server).await;
    ask(&mut first, "/slow").await;
    server.entered.notified().await;
    let mut second = connect(&server).await;
    ask(&mut second, "/").await;
    assert_eq!(server.metrics.http_connections.get(), 1);
    server.release.notify_one();
    assert!(some(&mut first).await.ends_with("done"));
    drop(first);
    assert!(some(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn who_comes_does_not_wait_behind_those_that_were_refused() {
    let server = start(ServerLimits {
        max_connections: 1,
        refusals_per_second: 1,
        ..ServerLimits::default()
    })
    .await;
    let mut refused = connect(&server).await;
    ask(&mut refused, "/full").await;
    assert!(some(&mut refused).await.starts_with("HTTP/1.1 429"));
    let mut second = connect(&server).await;
    ask(&mut second, "/full").await;
    assert!(some(&mut second).await.starts_with("HTTP/1.1 429"));
    assert_eq!(rest(&mut refused).await, "");
    // This one would wait to be refused again, for seconds; it is told to leave instead, in words.
    ask(&mut second, "/full").await;
    let mut third = connect(&server).await;
    ask(&mut third, "/").await;
    let answer = rest(&mut second).await;
    assert!(
        answer.starts_with("HTTP/1.1 429") && answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    assert!(some(&mut third).await.ends_with("hello"));
}

#[tokio::test]
async fn clients_that_do_not_send_a_head_are_cut() {
    let server = start(ServerLimits {
        header_timeout: Duration::from_millis(50),
        ..ServerLimits::default()
    })
    .await;
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost: t\r\n"] {
        let mut stream = connect(&server).await;
        stream.write_all(start).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    // An honest client is still served, with both versions' first letter.
    let mut stream = connect(&server).await;
    let post = "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi";
    stream.write_all(post.as_bytes()).await.unwrap();
    assert!(some(&mut stream).await.ends_with("hi"));
}

#[tokio::test]
async fn http2_is_spoken_without_tls() {
    let server = start(ServerLimits::default()).await;
    let mut stream = connect(&server).await;
    // The preface and an empty SETTINGS frame; a server answers with its own SETTINGS frame (type 4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4);
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may() {
    let server = start(ServerLimits {
        max_connections_per_address: 1,
        ..ServerLimits::default()
    })
    .await;
    let mut first = connect(&server).await;
    ask(&mut first, "/slow").await;
    server.entered.notified().await;
    assert_eq!(rest(&mut connect(&server).await).await, "");
    server.release.notify_one();
    assert!(some(&mut first).await.ends_with("done"));
    drop(first);
    loop {
        // The place is free when the server has seen that the first is gone.
        let mut next = connect(&server).await;
        let _ = next
            .write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            .await;
        if rest(&mut next).await.ends_with("hello") {
            break;
        }
    }
}

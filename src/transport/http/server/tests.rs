use axum::routing::{get, post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::Instant,
};

use hyper_util::rt::{TokioExecutor, TokioIo};

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
        .route("/slow", get(slow));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let ended = tokio::spawn(serve(
        listener,
        router,
        Arc::clone(&metrics),
        limits,
        shutdown,
    ));
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
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
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
async fn clients_that_do_not_send_a_head_are_cut() {
    let server = start(ServerLimits {
        header_timeout: Duration::from_millis(50),
        ..ServerLimits::default()
    })
    .await;
    for start in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"GET / HTTP/1.1\r\nHost: t\r\n",
    ] {
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
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
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

/// A connection in memory, whose time is that of the test.
fn connection(limits: ServerLimits) -> (DuplexStream, JoinHandle<()>) {
    let (client, stream) = duplex(16 << 10);
    let (drain, draining) = watch::channel(false);
    let wait = || async {
        sleep(Duration::from_secs(20)).await;
        "waited"
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/wait", get(wait))
        .route("/big", get(|| async { vec![b'x'; 1 << 20] }))
        .route(
            "/full",
            get(|| async { axum::http::StatusCode::TOO_MANY_REQUESTS }),
        )
        .route("/ignored", post(|| async { "not read" }));
    let connections = Connections::new(router, Arc::new(limits), draining);
    let served = tokio::spawn(async move {
        connections.serve(stream).await;
        drop(drain);
    });
    (client, served)
}

async fn say(stream: &mut DuplexStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn idle_connections_are_kept_and_the_time_of_a_head_begins_with_its_first_byte() {
    let (mut client, served) = connection(ServerLimits::default());
    for _ in 0..3 {
        say(&mut client, GET).await;
        assert!(hear(&mut client).await.ends_with("hello"));
        sleep(Duration::from_secs(74)).await;
    }
    say(&mut client, "GET / HT").await;
    sleep(Duration::from_secs(9)).await;
    say(&mut client, "TP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(hear(&mut client).await.ends_with("hello"));
    sleep(Duration::from_secs(30)).await;
    say(&mut client, "GET / HT").await;
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(hear(&mut client).await, "");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_in_the_end() {
    let (mut client, served) = connection(ServerLimits::default());
    say(&mut client, GET).await;
    assert!(hear(&mut client).await.ends_with("hello"));
    let start = Instant::now();
    assert_eq!(hear(&mut client).await, "");
    assert_eq!(start.elapsed().as_secs(), 75);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_stops_sending_after_the_last_request_gets_its_answer() {
    for last in ["HTTP/1.1\r\nHost: t\r\nConnection: close", "HTTP/1.0"] {
        let (mut client, served) = connection(ServerLimits::default());
        say(&mut client, &format!("GET /wait {last}\r\n\r\n")).await;
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("waited"), "{answer}");
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_is_not_worked_for() {
    let (mut client, served) = connection(ServerLimits::default());
    say(&mut client, "GET /wait HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let start = Instant::now();
    client.shutdown().await.unwrap();
    served.await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_is_given_up() {
    let (mut client, served) = connection(ServerLimits::default());
    say(&mut client, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);

    // Slow is not still: this client takes longer in all.
    let (mut client, _served) = connection(ServerLimits::default());
    say(&mut client, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let (start, mut taken) = (Instant::now(), 0);
    while taken < 1 << 20 {
        sleep(Duration::from_secs(2)).await;
        let mut bytes = vec![0; 32 << 10];
        let count = client.read(&mut bytes).await.unwrap();
        assert!(
            count > 0,
            "cut after {taken} bytes and {:?}",
            start.elapsed()
        );
        taken += count;
    }
    assert!(start.elapsed().as_secs() > 60);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_refusal_is_read_so_that_the_refusal_is() {
    let (mut client, served) = connection(ServerLimits::default());
    say(
        &mut client,
        "POST /ignored HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n",
    )
    .await;
    let body = vec![b'x'; 1_000_000];
    client.write_all(&body).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("not read"), "{answer}");
    drop(client);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refusals_in_a_row_take_longer_and_longer() {
    let (mut client, _served) = connection(ServerLimits::default());
    let mut times = Vec::new();
    for _ in 0..8 {
        let start = Instant::now();
        say(&mut client, "GET /full HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert!(hear(&mut client).await.starts_with("HTTP/1.1 429"));
        times.push(start.elapsed().as_millis());
    }
    // The clock of tests is as coarse as that of timers: a millisecond.
    for (time, wanted) in times.into_iter().zip([0, 25, 50, 100, 200, 400, 800, 1000]) {
        assert!((wanted..=wanted + 1).contains(&time), "{time} for {wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_no_requests_get_a_problem() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(70_000));
    for (head, status) in [
        ("GET\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost t\r\n\r\n", "400"),
        (&long, "4"),
    ] {
        let (mut client, _served) = connection(ServerLimits::default());
        let (mut reading, mut writing) = tokio::io::split(&mut client);
        let mut answer = String::new();
        let (_, read) = tokio::join!(
            writing.write_all(head.as_bytes()),
            reading.read_to_string(&mut answer)
        );
        read.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        let problem: serde_json::Value =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(problem["status"].to_string(), answer[9..12], "{answer}");
        assert!(answer.contains(problem["request_id"].as_str().unwrap()));
    }
}

/// An HTTP/2 client, and the end of its connection.
async fn http2(
    limits: ServerLimits,
) -> (
    hyper::client::conn::http2::SendRequest<axum::body::Body>,
    JoinHandle<()>,
) {
    let (client, served) = connection(limits);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1 << 10);
    let (sender, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    (sender, served)
}

fn http2_request(path: &str) -> axum::http::Request<axum::body::Body> {
    axum::http::Request::get(format!("http://t{path}"))
        .body(axum::body::Body::empty())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_only_answers_pings_is_closed() {
    let (mut sender, served) = http2(ServerLimits::default()).await;
    let answer = sender.send_request(http2_request("/")).await.unwrap();
    let body = axum::body::Body::new(answer.into_body());
    assert_eq!(axum::body::to_bytes(body, 100).await.unwrap(), "hello");
    let start = Instant::now();
    served.await.unwrap();
    assert!(
        (75..=80).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_grows_old_without_failing_a_request() {
    let limits = ServerLimits {
        max_connection_age: Duration::from_secs(10),
        ..ServerLimits::default()
    };
    let (mut sender, served) = http2(limits).await;
    let answer = sender.send_request(http2_request("/wait")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_http2_answer_that_nobody_reads_is_given_up() {
    let (mut sender, served) = http2(ServerLimits::default()).await;
    let answer = sender.send_request(http2_request("/big")).await.unwrap();
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(answer);
}

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    routing::{get, post},
};
use hyper::client::conn::http2;
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::transport::web::body::is_too_slow;

/// A connection in memory, whose time is that of the test.
fn connection(limits: ServerLimits) -> (DuplexStream, JoinHandle<()>) {
    let (client, stream) = duplex(16 << 10);
    let (drain, connections) = listener(limits);
    let served = tokio::spawn(async move {
        serve(&connections, stream).await;
        drop(drain);
    });
    (client, served)
}

/// Makes connections to one listener.
fn connections(limits: ServerLimits) -> impl Fn() -> DuplexStream {
    let (drain, connections) = listener(limits);
    let connections = Arc::new((drain, connections));
    move || {
        let (client, stream) = duplex(16 << 10);
        let connections = Arc::clone(&connections);
        tokio::spawn(async move { serve(&connections.1, stream).await });
        client
    }
}

fn peer() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        certificate: None,
    }
}

async fn serve(connections: &Connections, stream: DuplexStream) {
    let activity = connections.accepted();
    connections.serve(stream, peer(), activity).await;
}

/// A listener without an address, and what ends it.
fn listener(limits: ServerLimits) -> (watch::Sender<bool>, Connections) {
    let (drain, draining) = watch::channel(false);
    let wait = || async {
        sleep(Duration::from_secs(20)).await;
        "waited"
    };
    let read = async |body: Body| match to_bytes(body, usize::MAX).await {
        Err(error) if is_too_slow(&error) => "too slow",
        Err(_) => "cut",
        Ok(_) => "read",
    };
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/wait", get(wait))
        .route("/big", get(|| async { vec![b'x'; 1 << 20] }))
        .route("/full", get(|| async { StatusCode::TOO_MANY_REQUESTS }))
        .route("/read", post(read))
        .route("/ignored", post(|| async { "not read" }));
    (drain, Connections::new(router, Arc::new(limits), draining))
}

async fn say(stream: &mut DuplexStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut DuplexStream) -> String {
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

async fn be_refused(stream: &mut DuplexStream) {
    say(stream, "GET /full HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(hear(stream).await.starts_with("HTTP/1.1 429"));
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
    // The buffers before the client may take one more piece when the time is looked at.
    assert!((30..=60).contains(&start.elapsed().as_secs()));

    // Slow is not still: the first client takes longer in all, the second far longer.
    let take = async |pause: Duration| {
        let (mut client, _served) = connection(ServerLimits::default());
        say(&mut client, "GET /big HTTP/1.1\r\nHost: t\r\n\r\n").await;
        let (start, mut taken) = (Instant::now(), 0);
        while taken < 1 << 20 {
            sleep(pause).await;
            match client.read(&mut vec![0; 32 << 10]).await {
                Ok(count @ 1..) => taken += count,
                _ => return Err(start.elapsed()),
            }
        }
        Ok(start.elapsed())
    };
    let time = take(Duration::from_millis(700)).await.unwrap();
    assert!(time.as_secs() > 35, "{time:?}");
    let time = take(Duration::from_secs(2)).await.unwrap_err();
    assert!((35..120).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_too_slowly_makes_room_for_others() {
    let (mut client, stream) = duplex(16 << 10);
    let (_drain, connections) = listener(ServerLimits::default());
    let activity = connections.accepted();
    let seen = Arc::clone(&activity);
    tokio::spawn(async move { connections.serve(stream, peer(), activity).await });
    say(
        &mut client,
        "POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n",
    )
    .await;
    for _ in 0..4 {
        say(&mut client, &"x".repeat(20_000)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(seen.spare_since(), None, "it comes quickly enough");
    }
    sleep(Duration::from_secs(3)).await;
    assert!(seen.spare_since().is_some());
    let start = Instant::now();
    seen.want();
    let answer = hear(&mut client).await;
    assert!(answer.ends_with("too slow"), "{answer}");
    assert_eq!(start.elapsed(), Duration::ZERO);
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
async fn clients_that_do_not_wait_are_refused_in_turns() {
    let limits = ServerLimits {
        refusals_per_second: 100,
        ..ServerLimits::default()
    };
    let connect = connections(limits);
    let start = Instant::now();
    let impatient = (0..200).map(|_| {
        let mut client = connect();
        tokio::spawn(async move {
            let mut answers = 0;
            while start.elapsed() < Duration::from_secs(10) {
                be_refused(&mut client).await;
                answers += 1;
            }
            answers
        })
    });
    let impatient: Vec<JoinHandle<i32>> = impatient.collect();
    // Others are refused at once all the while: who comes for the first time, and who waited as it was told.
    let mut patient = connect();
    for _ in 0..4 {
        let asked = Instant::now();
        be_refused(&mut patient).await;
        be_refused(&mut connect()).await;
        assert!(asked.elapsed() < Duration::from_millis(5), "{:?}", asked.elapsed());
        sleep(Duration::from_secs(2)).await;
    }
    let mut answers = 0;
    for client in impatient {
        answers += client.await.unwrap();
    }
    // Each once at first, and then all together a hundred a second until the last one's turn.
    assert!((1_000..1_500).contains(&answers), "{answers}");
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
        let (_, read) = tokio::join!(writing.write_all(head.as_bytes()), reading.read_to_string(&mut answer));
        read.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(problem["status"].to_string(), answer[9..12], "{answer}");
        assert!(answer.contains(problem["request_id"].as_str().unwrap()));
    }
}

/// An HTTP/2 client, and the end of its connection.
async fn http2_client(limits: ServerLimits) -> (http2::SendRequest<Body>, JoinHandle<()>) {
    let (client, served) = connection(limits);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1 << 10);
    let (sender, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
    tokio::spawn(connection);
    (sender, served)
}

fn http2_request(path: &str) -> Request<Body> {
    Request::get(format!("http://t{path}")).body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_http2_client_that_only_answers_pings_is_closed() {
    let (mut sender, served) = http2_client(ServerLimits::default()).await;
    let answer = sender.send_request(http2_request("/")).await.unwrap();
    let body = Body::new(answer.into_body());
    assert_eq!(to_bytes(body, 100).await.unwrap(), "hello");
    let start = Instant::now();
    served.await.unwrap();
    assert!((75..=80).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_grows_old_without_failing_a_request() {
    let limits = ServerLimits {
        max_connection_age: Duration::from_secs(10),
        ..ServerLimits::default()
    };
    let (mut sender, served) = http2_client(limits).await;
    let answer = sender.send_request(http2_request("/wait")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_http2_answer_that_nobody_reads_is_given_up() {
    let (mut sender, served) = http2_client(ServerLimits::default()).await;
    let answer = sender.send_request(http2_request("/big")).await.unwrap();
    let start = Instant::now();
    served.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);
    drop(answer);
}

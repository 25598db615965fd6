//! A load generator that takes as little of the machine as it can: one thread, keep-alive connections, requests made
//! once, and of an answer only its status and length are read.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// What a run of load saw.
pub(crate) struct Load {
    /// Time from the first request to the last answer.
    pub(crate) seconds: f64,
    /// Time of each request that was answered in seconds, in ascending order.
    pub(crate) latencies: Vec<f64>,
    /// What went wrong instead, request by request.
    pub(crate) errors: Vec<String>,
}

impl Load {
    /// Requests answered a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.seconds
    }

    /// The latency that a share of requests did not exceed.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let index = (share * (self.latencies.len() - 1) as f64).round() as usize;
        self.latencies[index] * 1000.0
    }
}

/// Where requests go, and what their bodies are.
pub(crate) struct Target<'a> {
    pub(crate) address: &'a str,
    pub(crate) path: &'a str,
    pub(crate) content_type: &'a str,
    /// Further headers, each with its end of line.
    pub(crate) headers: &'a str,
}

impl Target<'_> {
    /// The bytes of a request with this body.
    fn request(&self, body: &[u8]) -> Vec<u8> {
        let Self {
            address,
            path,
            content_type,
            headers,
        } = self;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// Keeps `concurrency` requests in flight for a while, all of which must be answered.
#[allow(dead_code, reason = "a program that asks any server counts its errors")]
pub(crate) fn run(target: &Target<'_>, bodies: &[Vec<u8>], concurrency: usize, duration: Duration) -> Load {
    let load = attempt(target, bodies, concurrency, duration);
    assert!(load.errors.is_empty(), "{}", load.errors[0]);
    load
}

/// The same, with errors counted. A connection that fails is made anew.
pub(crate) fn attempt(target: &Target<'_>, bodies: &[Vec<u8>], concurrency: usize, duration: Duration) -> Load {
    let requests: Vec<Vec<u8>> = bodies.iter().map(|body| target.request(body)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let start = Instant::now();
    let connections = (0..concurrency).map(|first| connection(target.address, &requests, first, start + duration));
    let all = runtime.block_on(futures_util::future::join_all(connections));
    Load::of(start, all)
}

/// Latencies and errors of one connection.
pub(crate) type Seen = (Vec<f64>, Vec<String>);

impl Load {
    /// What all connections saw since `start`.
    pub(crate) fn of(start: Instant, all: Vec<Seen>) -> Self {
        let seconds = start.elapsed().as_secs_f64();
        let (latencies, errors): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let mut latencies = latencies.concat();
        latencies.sort_by(f64::total_cmp);
        Self {
            seconds,
            latencies,
            errors: errors.concat(),
        }
    }
}

/// A pause after an error, so that a server that is gone is not asked a thousand times a second.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// One connection that asks again as soon as it is answered.
async fn connection(address: &str, requests: &[Vec<u8>], first: usize, end: Instant) -> Seen {
    let mut connected = None;
    let mut buffer = Vec::with_capacity(1 << 16);
    let (mut latencies, mut errors) = Seen::default();
    for request in requests.iter().cycle().skip(first % requests.len()) {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let answered = async {
            let stream = match connected.take() {
                Some(stream) => stream,
                None => connect(address).await?,
            };
            send(&stream, request).await?;
            receive(&stream, &mut buffer).await?;
            connected = Some(stream);
            Ok(())
        };
        match answered.await {
            Ok(()) => latencies.push(start.elapsed().as_secs_f64()),
            Err(error) => {
                errors.push(error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    (latencies, errors)
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("no connection: {error}"))?;
    stream.set_nodelay(true).unwrap();
    Ok(stream)
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stream.writable().await.unwrap();
            }
            Err(error) => return Err(format!("the server closed the connection: {error}")),
        }
    }
    Ok(())
}

/// Reads one answer, which must be a success with a stated length.
async fn receive(stream: &TcpStream, buffer: &mut Vec<u8>) -> Result<(), String> {
    buffer.clear();
    let mut end = None;
    while end.is_none_or(|end| buffer.len() < end) {
        match stream.try_read_buf(buffer) {
            Ok(0) => return Err("the server closed the connection".to_owned()),
            Ok(_) => end = end.or_else(|| end_of_answer(buffer)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stream.readable().await.unwrap();
            }
            Err(error) => return Err(format!("the answer cannot be read: {error}")),
        }
    }
    if buffer.starts_with(b"HTTP/1.1 200") {
        return Ok(());
    }
    Err(String::from_utf8_lossy(buffer).into_owned())
}

/// The length of the whole answer, once its head is there.
fn end_of_answer(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length {
        Some(length) => Some(head + length.trim().parse::<usize>().unwrap()),
        // In chunks, of which the last is empty.
        None if text.contains("transfer-encoding: chunked") => {
            buffer.ends_with(b"\r\n0\r\n\r\n").then_some(buffer.len())
        }
        None => panic!("no content-length in {text}"),
    }
}

/// The body of one answer to a GET.
#[allow(dead_code, reason = "not every program with this load asks for metrics")]
pub(crate) fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    ask(address, request.as_bytes())
}

/// The body of one answer to a request of a load.
#[allow(dead_code, reason = "not every program with this load looks at answers")]
pub(crate) fn post(target: &Target<'_>, body: &[u8]) -> String {
    ask(target.address, &target.request(body))
}

fn ask(address: &str, request: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = connect(address).await.unwrap();
        send(&stream, request).await.unwrap();
        let mut buffer = Vec::new();
        receive(&stream, &mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer);
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    })
}

//! A load generator that takes as little of the machine as it can: one thread, keep-alive connections, requests made
//! once, and of an answer only its status and length are read.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// What a run of load saw.
pub(crate) struct Load {
    /// Time from the first request to the last answer.
    pub(crate) seconds: f64,
    /// Time of each request in seconds, in ascending order.
    latencies: Vec<f64>,
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
}

/// Keeps `concurrency` requests in flight for a while.
pub(crate) fn run(target: &Target<'_>, bodies: &[Vec<u8>], concurrency: usize, duration: Duration) -> Load {
    let Target {
        address,
        path,
        content_type,
    } = target;
    let requests: Vec<Vec<u8>> = bodies
        .iter()
        .map(|body| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let start = Instant::now();
    let connections = (0..concurrency).map(|first| connection(address, &requests, first, start + duration));
    let latencies = runtime.block_on(futures_util::future::join_all(connections));
    let seconds = start.elapsed().as_secs_f64();
    let mut latencies = latencies.concat();
    latencies.sort_by(f64::total_cmp);
    Load { seconds, latencies }
}

/// One connection that asks again as soon as it is answered.
async fn connection(address: &str, requests: &[Vec<u8>], first: usize, end: Instant) -> Vec<f64> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut latencies = Vec::new();
    for request in requests.iter().cycle().skip(first % requests.len()) {
        let start = Instant::now();
        if start >= end {
            break;
        }
        send(&stream, request).await;
        receive(&stream, &mut buffer).await;
        latencies.push(start.elapsed().as_secs_f64());
    }
    latencies
}

async fn send(stream: &TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stream.writable().await.unwrap();
            }
            Err(error) => panic!("the server closed the connection: {error}"),
        }
    }
}

/// Reads one answer, which must be a success with a stated length.
async fn receive(stream: &TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut end = None;
    while end.is_none_or(|end| buffer.len() < end) {
        match stream.try_read_buf(buffer) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(_) => end = end.or_else(|| end_of_answer(buffer)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                stream.readable().await.unwrap();
            }
            Err(error) => panic!("the answer cannot be read: {error}"),
        }
    }
    assert!(
        buffer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(buffer)
    );
}

/// The length of the whole answer, once its head is there.
fn end_of_answer(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .unwrap_or_else(|| panic!("no content-length in {text}"));
    Some(head + length.trim().parse::<usize>().unwrap())
}

/// The body of one answer to a GET.
#[allow(dead_code, reason = "not every program with this load asks for metrics")]
pub(crate) fn get(address: &str, path: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        send(&stream, request.as_bytes()).await;
        let mut buffer = Vec::new();
        receive(&stream, &mut buffer).await;
        let text = String::from_utf8_lossy(&buffer);
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    })
}

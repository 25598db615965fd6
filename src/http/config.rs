//! The limits of the transport, with their defaults and what each protects from.

use std::time::Duration;

/// Limits of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Bytes of one body; more answers 413. Default 32 MiB.
    pub max_body_bytes: usize,
    /// Images in one request, sent or asked for; more answers 413. Default 256.
    pub max_images: usize,
    /// Pixels that all image files of one request may decode to, checked from their headers, so that a small file
    /// cannot claim much memory; more answers 413. Default 16 Mi.
    pub max_decoded_pixels: u64,
    /// Time for a body to arrive in full; a client that trickles gets 408. Default 30 s.
    pub body_timeout: Duration,
    /// Time for a whole request that names none; an answer that is late is 504. Default 60 s.
    pub request_timeout: Duration,
    /// The longest time that a client may ask for, and the time of samples and completions that name none, for these can
    /// take a pass through the network for every pixel. Default 600 s.
    pub max_request_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_images: 256,
            max_decoded_pixels: 16 << 20,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            max_request_timeout: Duration::from_secs(600),
        }
    }
}

/// Limits of the connections of one listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerLimits {
    /// Time for the head of a request to arrive, and how long an idle connection is kept. Default 10 s.
    pub header_timeout: Duration,
    /// Connections open at once; further ones wait in the backlog of the system. Default 1,024.
    pub max_connections: usize,
    /// Time for requests in flight to finish after the shutdown began; then their connections are cut. Default 60 s.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            max_connections: 1024,
            drain_timeout: Duration::from_secs(60),
        }
    }
}

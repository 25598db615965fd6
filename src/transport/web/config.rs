//! The limits of the transport, with their defaults and what each protects from.

use std::time::Duration;

/// Limits of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Bytes of one body, decompressed; more answers 413. Default 32 MiB.
    pub max_body_bytes: usize,
    /// Time for a body to arrive in full; a client that trickles gets 408. Default 30 s.
    pub body_timeout: Duration,
    /// Origins whose pages may read answers, or `*` for all. Default none.
    pub cors_origins: Vec<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            body_timeout: Duration::from_secs(30),
            cors_origins: Vec::new(),
        }
    }
}

/// Limits of the connections of one listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerLimits {
    /// Time for the head of a request to arrive, from its first byte. Default 10 s.
    pub header_timeout: Duration,
    /// How long an idle connection is kept while there is room for others. Load balancers keep theirs for 60 s, and the
    /// server must not be the first to close. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// How long an answer may wait for its client to take some more of it, and in all for one that takes less than 16
    /// kB a second. Default 30 s.
    pub unread_timeout: Duration,
    /// Age at which an HTTP/2 connection is asked to make room for a new one. Default 1 h.
    pub max_connection_age: Duration,
    /// Connections open at once. Where there are more, those are closed that have been idle or waiting to be refused
    /// for longest, or whose request comes at less than 16 kB a second; if all are in use, further ones wait in the
    /// backlog of the system. One that is idle holds some 20 kB. Default 4,096.
    pub max_connections: usize,
    /// Connections open at once from one address; further ones are closed. 0, the default, is no limit: behind a proxy
    /// all have one address.
    pub max_connections_per_address: usize,
    /// How many requests are refused in a second for want of room before clients that come back earlier than they were
    /// told have to wait for that. Default 150 for each core, one or two hundredths of its time.
    pub refusals_per_second: u32,
    /// Time for requests in flight to finish after the shutdown began, or once the certificate of their client is no
    /// longer good; then their connections are cut. Default 60 s.
    pub drain_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            unread_timeout: Duration::from_secs(30),
            max_connection_age: Duration::from_secs(3600),
            max_connections: 4096,
            max_connections_per_address: 0,
            refusals_per_second: 150 * std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
            drain_timeout: Duration::from_secs(60),
        }
    }
}

//! The accept loop: connections within limits, and a shutdown that loses nothing that was accepted.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use futures_util::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{metrics::Metrics, transport::tls::Tls};

use super::config::ServerLimits;

mod activity;
mod apart;
mod connection;
mod heads;
mod here;
mod lines;
mod service;
mod stream;
mod turns;

pub use self::apart::Apart;
use self::connection::Connections;

/// How long the loop rests when the system has no room for another connection, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often that is told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Where connections come from, and whether they are encrypted.
#[derive(Debug)]
pub struct Listening {
    /// The listener.
    pub tcp: TcpListener,
    /// TLS, if it is spoken here.
    pub tls: Option<Arc<Tls>>,
}

impl From<TcpListener> for Listening {
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they had not finished within the drain timeout.
    pub cut_off: usize,
}

/// Serves connections until `shutdown` completes; then accepts no more, lets the requests in flight finish within the
/// drain timeout, and returns.
pub async fn serve(
    listener: impl Into<Listening>,
    router: Router,
    metrics: Arc<Metrics>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let Listening { tcp: listener, tls } = listener.into();
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    let limits = Arc::new(limits);
    let server = Server {
        connections: Arc::new(Connections::new(router, Arc::clone(&limits), draining)),
        slots: Arc::new(Semaphore::new(limits.max_connections)),
        addresses: Arc::new(Addresses::new(limits.max_connections_per_address)),
        metrics,
        handshake: tls.map(|tls| (tls, limits.header_timeout)),
        told: Mutex::new(None),
    };
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = server.accept(&listener) => server.spawn(&mut connections, accepted),
        }
    }
    // Connections that the system has already accepted for us would be reset if the listener just went away.
    while let Some(accepted) = server.accept(&listener).now_or_never() {
        server.spawn(&mut connections, accepted);
    }
    drop(listener);
    // Without connections nobody listens, which is fine.
    let _ = drain.send(true);
    let finished = timeout(limits.drain_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        let cut_off = connections.len();
        tracing::warn!(cut_off, "connections were cut at the end of the drain timeout");
        connections.shutdown().await;
        return Drained { cut_off };
    }
    Drained { cut_off: 0 }
}

struct Server {
    connections: Arc<Connections>,
    slots: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    metrics: Arc<Metrics>,
    /// TLS, and the time that a client has to agree on it.
    handshake: Option<(Arc<Tls>, Duration)>,
    /// When it was last told that the system has no room.
    told: Mutex<Option<Instant>>,
}

/// A connection with its place among those of all clients and those of its own address.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    places: (OwnedSemaphorePermit, Place),
}

impl Server {
    /// The next connection, as soon as there is a slot for it. Until then it waits in the backlog of the system.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        let slot = match Arc::clone(&self.slots).acquire_owned().await {
            Ok(slot) => slot,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        };
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(place) = self.addresses.place(address) {
                        let places = (slot, place);
                        return Accepted {
                            stream,
                            address,
                            places,
                        };
                    }
                    tracing::debug!(%address, "closed: this address has as many connections as it may");
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.tell(&error);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn tell(&self, error: &std::io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                %error,
                "no connection can be accepted until others end; `ulimit -n` says how many files may be open"
            );
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, accepted: Accepted) {
        let Accepted {
            stream,
            address,
            places,
        } = accepted;
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let open = Open::new(&self.metrics);
        let all = Arc::clone(&self.connections);
        let handshake = self.handshake.clone();
        connections.spawn(async move {
            let _held = (places, open);
            let Some((tls, time)) = handshake else {
                return all.serve(stream, address).await;
            };
            match timeout(time, tls.accept(stream)).await {
                Ok(Ok(stream)) => all.serve(stream, address).await,
                // A client that cannot or may not speak with us is its own business.
                Ok(Err(error)) => tracing::debug!(%error, %address, "no TLS"),
                Err(_) => tracing::debug!(%address, "TLS was not agreed on in time"),
            }
        });
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// How many connections each address has, where that is limited.
#[derive(Debug)]
struct Addresses {
    /// 0 for no limit.
    limit: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of a connection among those of its address.
struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            open: Mutex::default(),
        }
    }

    fn place(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let address = address.ip().to_canonical();
        if self.limit > 0 {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.entry(address).or_default();
            if *count >= self.limit {
                return None;
            }
            *count += 1;
        }
        Some(Place {
            addresses: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.addresses.limit == 0 {
            return;
        }
        let open = &self.addresses.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Counts a connection while it is open.
struct Open(Arc<Metrics>);

impl Open {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.http_connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.http_connections.dec();
    }
}

#[cfg(test)]
mod tests;

//! The accept loop: connections within limits, and a shutdown that loses nothing that was accepted.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::Router;
use futures_util::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    metrics::Metrics,
    transport::{access::Peer, tls::Tls},
};

use super::config::ServerLimits;

mod activity;
mod connection;
mod gathered;
mod handshake;
mod inline_wake;
mod isolated;
mod line_endings;
mod refusal_rate;
mod request_heads;
mod service;
mod slots;
mod stream;

pub use self::isolated::Isolated;
use self::{
    activity::Activity,
    connection::Connections,
    handshake::Handshakes,
    slots::{Slot, Slots},
};

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
        slots: Slots::new(limits.max_connections, limits.max_connections_per_address),
        handshakes: tls.map(|tls| Arc::new(Handshakes::new(tls, limits.header_timeout, Arc::clone(&metrics)))),
        metrics,
        told: Mutex::new(None),
    };
    let mut shutdown = pin!(shutdown);
    {
        // Never dropped on the way: it may have a connection in hand that waits for its place.
        let mut accept = pin!(server.accept(&listener));
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                accepted = &mut accept => {
                    server.spawn(&mut connections, accepted);
                    accept.set(server.accept(&listener));
                }
            }
        }
        // Connections that the system has already accepted for us would be reset if the listener just went away.
        while let Some(accepted) = accept.as_mut().now_or_never() {
            server.spawn(&mut connections, accepted);
            accept.set(server.accept(&listener));
        }
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
    slots: Arc<Slots>,
    metrics: Arc<Metrics>,
    /// Where TLS is spoken.
    handshakes: Option<Arc<Handshakes>>,
    /// When it was last told that the system has no room.
    told: Mutex<Option<Instant>>,
}

/// A connection with its place.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    activity: Arc<Activity>,
    slot: Slot,
}

impl Server {
    /// The next connection, once it has a place. Those behind it wait in the backlog of the system.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let activity = self.connections.accepted();
                    if let Some(slot) = self.slots.take(address.ip(), &activity).await {
                        return Accepted {
                            stream,
                            address,
                            activity,
                            slot,
                        };
                    }
                    tracing::debug!(%address, "closed: this address has as many connections as it may");
                }
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    self.tell(&error);
                    self.slots.make_room();
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
            activity,
            slot,
        } = accepted;
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let open = Open::new(&self.metrics);
        let all = Arc::clone(&self.connections);
        let handshakes = self.handshakes.clone();
        connections.spawn(async move {
            let _held = (slot, open);
            let peer = |certificate| Peer { address, certificate };
            let Some(handshakes) = handshakes else {
                return all.serve(stream, peer(None), activity).await;
            };
            let agreed = tokio::select! {
                agreed = handshakes.shake(stream, address) => agreed,
                () = activity.wanted() => return,
            };
            if let Some((stream, certificate)) = agreed {
                all.serve(stream, peer(certificate), activity).await;
            }
        });
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
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

//! The accept loop: connections within limits, and a shutdown that loses nothing that was accepted.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use futures_util::FutureExt;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::metrics::Metrics;

use super::config::ServerLimits;

mod first_bytes;

use self::first_bytes::FirstBytes;

/// How long the loop rests when the system has no room for another connection, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection that has not said anything yet may do so after the shutdown began: its request may be under way.
const LATE_REQUEST_TIME: Duration = Duration::from_millis(250);

/// How often an HTTP/2 client that is silent is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 256;

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they had not finished within the drain timeout.
    pub cut_off: usize,
}

/// Serves connections until `shutdown` completes; then accepts no more, lets the requests in flight finish within the drain
/// timeout, and returns.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    let server = Server {
        builder: Arc::new(builder(&limits)),
        slots: Arc::new(Semaphore::new(limits.max_connections)),
        draining,
        router,
        metrics,
        header_timeout: limits.header_timeout,
    };
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (stream, slot) = server.accept(&listener) => server.spawn(&mut connections, stream, slot),
        }
    }
    // Connections that the system has already accepted for us would be reset if the listener just went away.
    while let Some((stream, slot)) = server.accept(&listener).now_or_never() {
        server.spawn(&mut connections, stream, slot);
    }
    drop(listener);
    // Without connections nobody listens, which is fine.
    let _ = drain.send(true);
    let finished = timeout(limits.drain_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        let cut_off = connections.len();
        tracing::warn!(
            cut_off,
            "connections were cut at the end of the drain timeout"
        );
        connections.shutdown().await;
        return Drained { cut_off };
    }
    Drained { cut_off: 0 }
}

fn builder(limits: &ServerLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

struct Server {
    builder: Arc<Builder<TokioExecutor>>,
    slots: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
    router: Router,
    metrics: Arc<Metrics>,
    header_timeout: Duration,
}

impl Server {
    /// The next connection, as soon as there is a slot for it. Until then it waits in the backlog of the system.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        let slot = match Arc::clone(&self.slots).acquire_owned().await {
            Ok(slot) => slot,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, slot),
                Err(error) if is_of_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, stream: TcpStream, slot: OwnedSemaphorePermit) {
        // Answers are written whole; waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let open = Open::new(&self.metrics);
        let (stream, heard) = FirstBytes::new(stream, self.header_timeout);
        let service = TowerToHyperService::new(self.router.clone());
        let builder = Arc::clone(&self.builder);
        let mut draining = self.draining.clone();
        connections.spawn(async move {
            let _held = (slot, open);
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let result = tokio::select! {
                biased;
                result = connection.as_mut() => result,
                () = async { drop(draining.wait_for(|&draining| draining).await) } => {
                    let late = async {
                        if heard.load(Ordering::Relaxed) {
                            return None;
                        }
                        timeout(LATE_REQUEST_TIME, connection.as_mut()).await.ok()
                    };
                    match late.await {
                        Some(result) => result,
                        None => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    }
                }
            };
            if let Err(error) = result {
                // A client that goes away or sends nonsense is its own business.
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

/// Errors of one connection that was gone before it was accepted.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
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

/// A router is a service that cannot fail; this holds it to that.
const _: fn() = || {
    fn infallible<S: tower::Service<axum::extract::Request, Error = Infallible>>() {}
    infallible::<Router>();
};

#[cfg(test)]
mod tests;

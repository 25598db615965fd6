//! A server on a thread of its own, for probes and metrics.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::oneshot};

use super::{ServerLimits, serve};
use crate::metrics::Metrics;

/// The listener of probes, on a thread of its own: however busy the others are, it is asked by few and for little.
#[derive(Debug)]
pub struct Isolated {
    /// Dropped, it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Isolated {
    /// Connections of probes at once.
    const MAX_CONNECTIONS: usize = 64;

    /// Serves `router` until it is dropped.
    pub fn start(listener: std::net::TcpListener, router: Router, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let metrics = Arc::clone(metrics);
        let limits = ServerLimits {
            max_connections: Self::MAX_CONNECTIONS,
            drain_timeout: Duration::from_secs(1),
            ..ServerLimits::default()
        };
        let serve = move || {
            let stopped = async {
                // Either way it is over.
                let _ = stopped.await;
            };
            runtime.block_on(serve(listener, router, metrics, limits, stopped));
        };
        std::thread::Builder::new().name("probes".to_owned()).spawn(serve)?;
        Ok(Self { _stop: stop })
    }
}

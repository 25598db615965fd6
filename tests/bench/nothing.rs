//! A server that does nothing: the same connections, a body that is read, and an answer that is always the same. What
//! HTTP, the system and the load generator take of the machine is taken from every server; this says how much that is,
//! and so how much of the limit a server could reach whose own work cost nothing.

use std::{sync::Arc, thread};

use axum::{body::Bytes, http::header::CONTENT_TYPE, routing::post};
use density_server::{
    metrics::Metrics,
    transport::http::{Router, ServerLimits, server::serve},
};
use tokio::{net::TcpListener, sync::oneshot};

/// A server that ends with this value.
pub(crate) struct Nothing {
    pub(crate) address: String,
    /// Dropped, it ends the server.
    _stop: oneshot::Sender<()>,
}

impl Nothing {
    /// Answers every request to `path` with `answer`, as JSON.
    pub(crate) fn start(path: &str, answer: String) -> Self {
        let answer = Bytes::from(answer);
        let handler = |_: Bytes| async move { ([(CONTENT_TYPE, "application/json")], answer) };
        let router = Router::new().route(path, post(handler));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // Either way it is over.
            let _ = stopped.await;
        };
        let metrics = Arc::new(Metrics::new());
        let serving = serve(listener, router, metrics, ServerLimits::default(), stopped);
        thread::spawn(move || runtime.block_on(serving));
        Self { address, _stop: stop }
    }
}

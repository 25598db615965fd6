//! Handshakes of TLS, within a time. Those that fail are counted by reason and told, a few of them at most: a client
//! that cannot or may not speak with the server learns little of why, so that its operator has to.
//! What certificates are made of, this does not know.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::server::TlsStream;

use super::TOLD_EVERY;
use crate::{
    metrics::Metrics,
    transport::tls::{ClientCertificate, Failure, Tls, failure},
};

/// The handshakes of one listener.
pub(super) struct Handshakes {
    tls: Arc<Tls>,
    /// What a client may take.
    time: Duration,
    metrics: Arc<Metrics>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Failures that were not told since.
    more: u64,
}

impl Handshakes {
    pub(super) fn new(tls: Arc<Tls>, time: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            tls,
            time,
            metrics,
            told: Mutex::default(),
        }
    }

    /// An encrypted connection, if the client agrees on one and may have it, and what it showed for that.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Option<ClientCertificate>)> {
        let failed = match timeout(self.time, self.tls.accept(stream)).await {
            Ok(Ok(agreed)) => return Some(agreed),
            Ok(Err(error)) => failure(&error),
            Err(_) => Failure::late(),
        };
        self.metrics.tls_failures.with_label_values(&[failed.reason]).inc();
        if failed.is_a_fault
            && let Some(more) = self.is_due()
        {
            let Failure { reason, meaning, .. } = failed;
            tracing::warn!(%address, reason, more, "no TLS: {meaning}");
        }
        None
    }

    /// How many were not told since the last one, if it is time to tell of one.
    fn is_due(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            told.more += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.more))
    }
}

//! One connection from its first byte to its end.

use std::{
    future::{pending, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, Router};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    super::config::ServerLimits,
    activity::{Activity, Expired},
    gathered::{Gathered, Sending, gathered},
    inline_wake::InlineWake,
    refusal_rate::RefusalRate,
    service::Routes,
    stream::Watched,
};
use crate::transport::access::Peer;

/// How long a connection that has not said anything yet may do so after the shutdown began: its request may be under
/// way.
const LATE_REQUEST_TIME: Duration = Duration::from_millis(250);

/// How often an HTTP/2 client that is silent is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Requests of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 100;

/// Largest head of a request, and most that is kept of an answer that the client does not take.
const BUFFER: usize = 64 << 10;

/// How long what a client goes on sending is thrown away after the last answer, so that it gets to read it.
const LINGER_TIME: Duration = Duration::from_secs(10);

/// A client that is silent for so long after the last answer has nothing more to send.
const LINGER_SILENCE: Duration = Duration::from_secs(2);

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Connections {
    builder: Builder<TokioExecutor>,
    limits: Arc<ServerLimits>,
    router: Router,
    refusal_rate: Arc<RefusalRate>,
    draining: watch::Receiver<bool>,
}

impl Connections {
    /// Serves `router` until `draining` turns true.
    pub(super) fn new(router: Router, limits: Arc<ServerLimits>, draining: watch::Receiver<bool>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // It would time idle connections too; `activity` knows one from the other.
            .header_read_timeout(None)
            .max_buf_size(BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(limits.header_timeout)
            .max_send_buf_size(BUFFER)
            .max_concurrent_streams(MAX_STREAMS);
        Self {
            builder,
            refusal_rate: Arc::new(RefusalRate::new(limits.refusals_per_second)),
            limits,
            router,
            draining,
        }
    }

    /// What a connection that has just been accepted is doing.
    pub(super) fn accepted(&self) -> Arc<Activity> {
        Activity::new(Arc::clone(&self.limits))
    }

    /// Serves one connection.
    pub(super) async fn serve<S>(&self, stream: S, peer: Peer, activity: Arc<Activity>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, sending) = gathered(stream);
        let (watched, back) = Watched::new(stream, Arc::clone(&activity));
        let is_done = self.speak((watched, &sending), peer, &activity).await;
        // HTTP closed its side; what the client sent beyond must be read all the same.
        if is_done
            && activity.has_unread_input()
            && let Some(stream) = back.take()
        {
            tokio::select! {
                () = linger(stream) => {}
                () = activity.wanted() => {}
            }
        }
    }

    /// Speaks HTTP until either side is done, which is answered with `true`, or the connection is cut.
    async fn speak<S>(
        &self,
        (stream, sending): (Watched<Gathered<S>>, &Sending<S>),
        peer: Peer,
        activity: &Arc<Activity>,
    ) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = Routes::new(
            self.router.clone(),
            peer.clone(),
            Arc::clone(activity),
            Arc::clone(&self.refusal_rate),
        );
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let here = InlineWake::default();
        let mut draining = self.draining.clone();
        let (mut is_draining, mut is_wanted) = (false, false);
        // Once the client would not be let in any more: until when what it has in flight may finish.
        let mut ends = None;
        loop {
            let result = tokio::select! {
                biased;
                // Before an answer is written, so that it says that it is the last.
                () = activity.wanted(), if !is_wanted => {
                    is_wanted = true;
                    if activity.has_asked_nothing() {
                        return false;
                    }
                    None
                }
                () = withdrawn(&peer), if ends.is_none() => {
                    tracing::info!(address = %peer.address, "a connection ends: its certificate is no longer good");
                    ends = Some(Instant::now() + self.limits.drain_timeout);
                    None
                }
                result = poll_fn(|context| poll(connection.as_mut(), &here, sending, context)) => Some(result),
                expired = activity.expired() => match expired {
                    Expired::Idle | Expired::Age => None,
                    Expired::Head | Expired::Unread | Expired::Closing => {
                        tracing::debug!(?expired, "a connection was cut");
                        return false;
                    }
                },
                () = async { drop(draining.wait_for(|&draining| draining).await) }, if !is_draining => {
                    is_draining = true;
                    if activity.heard() {
                        None
                    } else {
                        let late = poll_fn(|context| poll(connection.as_mut(), &here, sending, context));
                        timeout(LATE_REQUEST_TIME, late).await.ok()
                    }
                }
                () = reached(ends) => return false,
            };
            match result {
                Some(Ok(())) => return true,
                Some(Err(error)) => {
                    // A client that goes away or sends nonsense is its own business.
                    tracing::debug!(%error, "a connection ended early");
                    return true;
                }
                None => {
                    connection.as_mut().graceful_shutdown();
                    activity.close();
                }
            }
        }
    }
}

/// Polls a connection and sends what it wrote.
fn poll<C, S>(
    connection: Pin<&mut C>,
    here: &InlineWake,
    sending: &Sending<S>,
    context: &mut Context<'_>,
) -> Poll<C::Output>
where
    C: Future<Output = Result<(), BoxError>>,
    S: AsyncWrite + Unpin,
{
    let mut connection = connection;
    let polled = here.poll(context, |context| connection.as_mut().poll(context));
    match sending.poll(context) {
        Poll::Ready(Err(error)) if polled.is_pending() => Poll::Ready(Err(error.into())),
        _ => polled,
    }
}

/// Comes when the other side would not be let in any more.
async fn withdrawn(peer: &Peer) {
    match &peer.certificate {
        Some(certificate) => certificate.withdrawn().await,
        None => pending().await,
    }
}

/// Comes at an instant, if there is one.
async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// Throws away what still comes, in bounded time. A stream that is closed with bytes unread is reset, and a reset
/// destroys what the other side has not read yet.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        // An error means that nobody is there any more, which ends the reading too.
        let _ = stream.shutdown().await;
        let mut buffer = vec![0; 16 << 10];
        while let Ok(Ok(1..)) = timeout(LINGER_SILENCE, stream.read(&mut buffer)).await {}
    };
    let _ = timeout(LINGER_TIME, rest).await;
}

#[cfg(test)]
mod tests;

//! Reading a body within its limits of size and time.

use std::{error::Error, iter, time::Duration};

use axum::body::{Body, BodyDataStream, HttpBody};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::{
    task::coop::consume_budget,
    time::{Instant, timeout, timeout_at},
};

use super::{scope::Announced, unpack::not_packed};
use crate::{
    intake::Reservation,
    model::{Kind, Refusal},
};

/// How long a body that is not wanted is read and thrown away for. A client, or a proxy before it, that is cut off
/// while it sends may never read the answer that explains why.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// How much memory a declared length may claim before any byte has come.
const MAX_FIRST_ALLOCATION: usize = 1 << 20;

/// A body came so slowly that its connection is given to somebody else.
#[derive(Debug, thiserror::Error)]
#[error("the body came too slowly, while others waited for the connection")]
pub(crate) struct TooSlow;

/// Whether a body failed because it came too slowly.
pub(crate) fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
    iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<TooSlow>())
}

/// Reads a body of at most `max_bytes` that arrives within `time`; its bytes count as `held` as they come.
pub(crate) async fn read(
    body: Body,
    announced: Announced,
    max_bytes: usize,
    time: Duration,
    held: &mut Reservation,
) -> Result<Bytes, Refusal> {
    if announced.length.is_some_and(|length| length > max_bytes as u64) {
        refuse(body, announced).await;
        return Err(too_large(max_bytes));
    }
    let capacity = announced.length.unwrap_or(0).min(MAX_FIRST_ALLOCATION as u64) as usize;
    let mut stream = Arriving {
        stream: body.into_data_stream(),
        deadline: Instant::now() + time,
        time,
        announced,
    };
    // Small bodies come in one piece, which is then taken as it is instead of being copied.
    let Some(first) = stream.next().await? else {
        return Ok(Bytes::new());
    };
    if first.len() > max_bytes {
        stream.discard().await;
        return Err(too_large(max_bytes));
    }
    held.grow(first.len())?;
    let Some(second) = stream.next().await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(capacity.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > max_bytes {
            drop(whole);
            stream.discard().await;
            return Err(too_large(max_bytes));
        }
        held.grow(bytes.len())?;
        whole.extend_from_slice(&bytes);
        piece = stream.next().await?;
    }
    Ok(whole.freeze())
}

/// A body on its way.
struct Arriving {
    stream: BodyDataStream,
    deadline: Instant,
    time: Duration,
    announced: Announced,
}

impl Arriving {
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        let piece = async {
            // Unpacking never waits, and must not keep the thread from other connections.
            consume_budget().await;
            self.stream.next().await
        };
        match timeout_at(self.deadline, piece).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(error))) if is_too_slow(&error) => Err(Refusal::new(Kind::BodyTimeout, TooSlow.to_string())),
            Ok(Some(Err(error))) => {
                let what = not_packed(&error).map(ToString::to_string);
                let what = what.unwrap_or_else(|| "the body ended before its declared length".to_owned());
                Err(Refusal::new(Kind::Malformed, what))
            }
            Err(_) => Err(Refusal::new(
                Kind::BodyTimeout,
                format!("the body did not arrive within {} s", self.time.as_secs_f64()),
            )),
        }
    }

    /// Throws the rest away.
    async fn discard(self) {
        discard(self.stream, self.announced).await;
    }
}

/// Throws away the body of a request that is refused for its head alone, so that the client gets to read why. A client
/// that waits for leave to send its body is answered at once: it has sent nothing.
pub(crate) async fn refuse(body: Body, announced: Announced) {
    if !body.is_end_stream() && !announced.waits {
        discard(body.into_data_stream(), announced).await;
    }
}

/// Throws a body away, in bounded time. One that is compressed would have to be unpacked for that; it is left to the
/// end of the connection.
async fn discard(mut stream: BodyDataStream, announced: Announced) {
    if announced.is_coded {
        return;
    }
    let rest = async {
        while let Some(Ok(_)) = stream.next().await {
            consume_budget().await;
        }
    };
    // Whether it ended or time ran out makes no difference: the answer is the same.
    let _ = timeout(DISCARD_TIME, rest).await;
}

fn too_large(max_bytes: usize) -> Refusal {
    Refusal::new(
        Kind::BodyTooLarge,
        format!("the body has more than {max_bytes} bytes; send fewer or smaller images in one request"),
    )
    .with_limit(max_bytes as u64)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;
    use crate::intake::MemoryBudget;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces.iter().map(|&p| Ok::<_, Infallible>(p)).collect();
        Body::from_stream(stream::iter(pieces))
    }

    async fn read_all(body: Body, declared: Option<u64>) -> Result<Bytes, Kind> {
        let announced = Announced {
            length: declared,
            ..Announced::default()
        };
        let memory_budget = MemoryBudget::new(64);
        read(body, announced, 8, Duration::from_secs(5), &mut memory_budget.open())
            .await
            .map_err(|refusal| refusal.kind())
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit_are_read() {
        assert_eq!(read_all(Body::empty(), None).await.unwrap(), "");
        assert_eq!(read_all(pieces(&["12345678"]), Some(8)).await.unwrap(), "12345678");
        assert_eq!(read_all(pieces(&["12", "34", "5678"]), None).await.unwrap(), "12345678");
    }

    #[tokio::test(start_paused = true)]
    async fn larger_bodies_are_refused_whether_declared_or_not() {
        assert_eq!(read_all(pieces(&["1"]), Some(9)).await, Err(Kind::BodyTooLarge));
        assert_eq!(read_all(pieces(&["123456789"]), None).await, Err(Kind::BodyTooLarge));
        assert_eq!(
            read_all(pieces(&["1234", "5678", "9"]), None).await,
            Err(Kind::BodyTooLarge)
        );
        let start = Instant::now();
        let endless = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Some((Ok::<_, Infallible>("1234"), ()))
        });
        assert_eq!(
            read_all(Body::from_stream(endless), None).await,
            Err(Kind::BodyTooLarge)
        );
        assert!(start.elapsed() > DISCARD_TIME && start.elapsed() < 2 * DISCARD_TIME);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_is_refused_before_it_is_given() {
        let asked = stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, Infallible>>> {
            panic!("reading gives leave")
        });
        let announced = Announced {
            length: Some(9),
            waits: true,
            is_coded: false,
        };
        let memory_budget = MemoryBudget::new(64);
        let body = Body::from_stream(asked);
        let mut held = memory_budget.open();
        let read = read(body, announced, 8, Duration::from_secs(5), &mut held);
        assert_eq!(read.await.unwrap_err().kind(), Kind::BodyTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_times_out() {
        let trickle = stream::unfold(0, |count| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Some((Ok::<_, Infallible>("1"), count + 1))
        });
        assert_eq!(read_all(Body::from_stream(trickle), None).await, Err(Kind::BodyTimeout));
        let broken = stream::iter([Ok("12"), Err("reset")]);
        assert_eq!(read_all(Body::from_stream(broken), None).await, Err(Kind::Malformed));
    }
}

//! Reading a body within its limits of size and time.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    intake::Held,
    model::{Kind, Refusal},
};

/// How long a body that is not wanted is thrown away for. A client that is cut off while it sends may never
/// read the answer that explains why.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// How much memory a declared length may claim before any byte has come.
const MAX_FIRST_ALLOCATION: usize = 1 << 20;

/// Reads a body of at most `max_bytes` that arrives within `time`; its bytes count as `held` as they come.
pub(crate) async fn read(
    body: Body,
    headers: &HeaderMap,
    max_bytes: usize,
    time: Duration,
    held: &mut Held,
) -> Result<Bytes, Refusal> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    if declared.is_some_and(|length| length > max_bytes as u64) {
        discard(stream, max_bytes).await;
        return Err(too_large(max_bytes));
    }
    let capacity = declared.unwrap_or(0).min(MAX_FIRST_ALLOCATION as u64) as usize;
    let deadline = Instant::now() + time;
    // Small bodies come in one piece, which is then taken as it is instead of being copied.
    let Some(first) = next(&mut stream, deadline, time).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > max_bytes {
        discard(stream, max_bytes).await;
        return Err(too_large(max_bytes));
    }
    held.grow(first.len())?;
    let Some(second) = next(&mut stream, deadline, time).await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(capacity.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > max_bytes {
            drop(whole);
            discard(stream, max_bytes).await;
            return Err(too_large(max_bytes));
        }
        held.grow(bytes.len())?;
        whole.extend_from_slice(&bytes);
        piece = next(&mut stream, deadline, time).await?;
    }
    Ok(whole.freeze())
}

async fn next(
    stream: &mut BodyDataStream,
    deadline: Instant,
    time: Duration,
) -> Result<Option<Bytes>, Refusal> {
    match timeout_at(deadline, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(_))) => Err(Refusal::new(
            Kind::Malformed,
            "the body ended before its declared length",
        )),
        Err(_) => Err(Refusal::new(
            Kind::BodyTimeout,
            format!("the body did not arrive within {} s", time.as_secs_f64()),
        )),
    }
}

/// Throws away the body of a request that is refused for its head alone, so that the client gets to read why. A client
/// that waits for leave to send its body (`Expect: 100-continue`) is answered at once: it has sent nothing.
pub(crate) async fn refuse(body: Body, headers: &HeaderMap, max_bytes: usize) {
    if !body.is_end_stream() && !headers.contains_key(header::EXPECT) {
        discard(body.into_data_stream(), max_bytes).await;
    }
}

/// Throws away as much as is allowed, in bounded time.
async fn discard(mut stream: BodyDataStream, max_bytes: usize) {
    let rest = async {
        let mut left = max_bytes;
        while let Some(Ok(bytes)) = stream.next().await {
            let Some(less) = left.checked_sub(bytes.len()) else {
                return;
            };
            left = less;
        }
    };
    // Whether it ended or time ran out makes no difference: the answer is the same.
    let _ = timeout(DISCARD_TIME, rest).await;
}

fn too_large(max_bytes: usize) -> Refusal {
    Refusal::new(
        Kind::BodyTooLarge,
        format!(
            "the body has more than {max_bytes} bytes; send fewer or smaller images in one request"
        ),
    )
    .with_limit(max_bytes as u64)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;
    use crate::intake::Ledger;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces.iter().map(|&p| Ok::<_, Infallible>(p)).collect();
        Body::from_stream(stream::iter(pieces))
    }

    async fn read_all(body: Body, declared: Option<u64>) -> Result<Bytes, Kind> {
        let mut headers = HeaderMap::new();
        if let Some(length) = declared {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        let ledger = Ledger::new(64);
        read(
            body,
            &headers,
            8,
            Duration::from_secs(5),
            &mut ledger.open(),
        )
        .await
        .map_err(|refusal| refusal.kind())
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit_are_read() {
        assert_eq!(read_all(Body::empty(), None).await.unwrap(), "");
        assert_eq!(
            read_all(pieces(&["12345678"]), Some(8)).await.unwrap(),
            "12345678"
        );
        assert_eq!(
            read_all(pieces(&["12", "34", "5678"]), None).await.unwrap(),
            "12345678"
        );
    }

    #[tokio::test]
    async fn larger_bodies_are_refused_whether_declared_or_not() {
        assert_eq!(
            read_all(pieces(&["1"]), Some(9)).await,
            Err(Kind::BodyTooLarge)
        );
        assert_eq!(
            read_all(pieces(&["123456789"]), None).await,
            Err(Kind::BodyTooLarge)
        );
        assert_eq!(
            read_all(pieces(&["1234", "5678", "9"]), None).await,
            Err(Kind::BodyTooLarge)
        );
        let endless = stream::iter(std::iter::repeat_with(|| Ok::<_, Infallible>("1234")));
        assert_eq!(
            read_all(Body::from_stream(endless), None).await,
            Err(Kind::BodyTooLarge)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_times_out() {
        let trickle = stream::unfold(0, |count| async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Some((Ok::<_, Infallible>("1"), count + 1))
        });
        assert_eq!(
            read_all(Body::from_stream(trickle), None).await,
            Err(Kind::BodyTimeout)
        );
        let broken = stream::iter([Ok("12"), Err("reset")]);
        assert_eq!(
            read_all(Body::from_stream(broken), None).await,
            Err(Kind::Malformed)
        );
    }
}

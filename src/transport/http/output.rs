//! Answers as HTTP has them, and work that is kept off the threads that serve connections.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;

use crate::{intake::Held, model::Refusal, operations::Format};

use super::problem::Problem;

/// Work below this many bytes is done where it is.
const INLINE_BYTES: usize = 256 << 10;

/// Runs `work` here if it is small, else on a thread that may block. `bytes` is how much it has to read or write.
pub(crate) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes <= INLINE_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The panic goes on in this request, where the layer that answers 500 catches it.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => panic!("the runtime is shutting down"),
        },
    }
}

/// A JSON answer.
pub(crate) fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let media_type = HeaderValue::from_static(Format::Json.media_type());
            ([(header::CONTENT_TYPE, media_type)], bytes).into_response()
        }
        Err(error) => Problem(Refusal::internal(error)).into_response(),
    }
}

/// An answer whose bytes count as held until the client has taken them.
pub(crate) fn file(format: Format, bytes: Vec<u8>, mut held: Held) -> Result<Response, Refusal> {
    held.grow(bytes.len())?;
    let length = HeaderValue::from(bytes.len());
    // The end is asked for when the bytes are written; until then the state holds their room.
    let pieces = stream::unfold((Some(Bytes::from(bytes)), held), async |(bytes, held)| {
        Some((Ok::<_, std::convert::Infallible>(bytes?), (None, held)))
    })
    .fuse();
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.media_type()),
    );
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(response)
}

/// Says in headers what has no place in a picture or an array: `X-Seed`, `X-Labels` and so on.
pub(crate) fn tell(
    response: &mut Response,
    notes: Vec<(&'static str, serde_json::Value)>,
) -> Result<(), Refusal> {
    for (name, value) in notes {
        let name = HeaderName::try_from(format!("x-{name}")).map_err(Refusal::internal)?;
        // JSON has escapes for all that a header cannot carry.
        let value =
            HeaderValue::from_bytes(value.to_string().as_bytes()).map_err(Refusal::internal)?;
        response.headers_mut().insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_of_every_size_gives_its_result() {
        assert_eq!(offload(0, || 7).await, 7);
        assert_eq!(offload(usize::MAX, || 7).await, 7);
    }
}

//! Answers as HTTP has them, and work that is kept off the threads that serve connections.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    intake::{MemoryBudget, Reservation},
    model::Refusal,
    operations::Format,
    transport::middleware::{After, Before, Middleware},
};

use super::problem::Problem;

/// Work below this many bytes is done where it is.
const INLINE_BYTES: usize = 256 << 10;

/// Answers up to this size do not count as held: a stream costs as much by itself, and probes are answered whatever
/// else is.
pub(crate) const UNCOUNTED_BYTES: u64 = 1 << 10;

/// As many headers as answers have.
const USUAL_HEADERS: usize = 12;

/// Runs `work` here if it is small, else on a thread that may block. `bytes` is how much it has to read or write.
pub(crate) async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
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
pub(crate) fn file(format: Format, bytes: Vec<u8>, held: Reservation) -> Result<Response, Refusal> {
    held_body(format.media_type(), bytes, held)
}

/// The same for any media type.
pub(crate) fn held_body(media_type: &'static str, bytes: Vec<u8>, mut held: Reservation) -> Result<Response, Refusal> {
    held.grow(bytes.len())?;
    let length = HeaderValue::from(bytes.len());
    let mut response = Body::from(counted(bytes, held)).into_response();
    response.extensions_mut().insert(Counted);
    let headers = response.headers_mut();
    // With those that come on the way up: a map that grows moves all it has.
    headers.reserve(USUAL_HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, length);
    Ok(response)
}

/// Bytes that count as held for as long as anything has them: a handler, a buffer of HTTP, or a stream whose client
/// does not read.
pub(crate) fn counted(bytes: impl AsRef<[u8]> + Send + 'static, held: Reservation) -> Bytes {
    struct Owner<B>(B, #[allow(dead_code)] Reservation);
    impl<B: AsRef<[u8]>> AsRef<[u8]> for Owner<B> {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref()
        }
    }
    Bytes::from_owner(Owner(bytes, held))
}

/// Marks an answer whose bytes count already.
#[derive(Debug, Clone, Copy)]
struct Counted;

/// Counts the bytes of every answer that is not tiny as held until the client has taken them, and refuses answers for
/// which there is no room. Without that, clients that ask and never read could make the server hold as much as they
/// like.
#[derive(Debug, Clone)]
pub(crate) struct Count(pub(crate) Arc<MemoryBudget>);

impl Middleware for Count {
    type Seen = Arc<MemoryBudget>;

    fn before(&self, request: Request) -> Before<Arc<MemoryBudget>> {
        Before::Goes(request, Arc::clone(&self.0))
    }

    fn after(memory_budget: Arc<MemoryBudget>, response: Response) -> After {
        let (mut head, body) = response.into_parts();
        let size = body.size_hint().exact().unwrap_or(0);
        let is_counted = head.extensions.remove::<Counted>().is_some();
        if is_counted || size <= UNCOUNTED_BYTES {
            return After::Goes(Response::from_parts(head, body));
        }
        let bytes = async move {
            let mut held = memory_budget.open();
            held.grow(usize::try_from(size).unwrap_or(usize::MAX))?;
            let bytes = to_bytes(body, usize::MAX).await.map_err(Refusal::internal)?;
            Ok(counted(bytes, held))
        };
        After::Waits(Box::pin(async {
            match bytes.await {
                Ok(bytes) => Response::from_parts(head, Body::from(bytes)),
                Err(refusal) => Problem(refusal).into_response(),
            }
        }))
    }
}

/// Says in headers what has no place in a picture or an array: `X-Seed`, `X-Labels` and so on.
pub(crate) fn tell(response: &mut Response, notes: Vec<(&'static str, serde_json::Value)>) -> Result<(), Refusal> {
    for (name, value) in notes {
        let name = HeaderName::try_from(format!("x-{name}")).map_err(Refusal::internal)?;
        // JSON has escapes for all that a header cannot carry.
        let value = HeaderValue::from_bytes(value.to_string().as_bytes()).map_err(Refusal::internal)?;
        response.headers_mut().insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tower::ServiceExt;

    use super::*;
    use crate::transport::middleware::Layered;

    #[tokio::test]
    async fn an_answer_counts_until_the_last_of_its_bytes_is_gone() {
        let memory_budget = MemoryBudget::new(5000);
        let app = Router::new()
            .route("/long", get(|| async { vec![b'x'; 3000] }))
            .route("/short", get(|| async { "short" }))
            .layer(Layered(Count(Arc::clone(&memory_budget))));
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request)
        };
        let first = ask("/long").await.unwrap();
        assert_eq!(memory_budget.held(), 3000);
        assert_eq!(ask("/long").await.unwrap().status(), 429);
        assert_eq!(ask("/short").await.unwrap().status(), 200);
        let mut bytes = to_bytes(first.into_body(), usize::MAX).await.unwrap();
        let last = bytes.split_off(2999);
        drop(bytes);
        assert_eq!(memory_budget.held(), 3000);
        drop(last);
        assert_eq!(memory_budget.held(), 0);
        assert_eq!(ask("/long").await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn work_of_every_size_gives_its_result() {
        assert_eq!(offload(0, || 7).await, 7);
        assert_eq!(offload(usize::MAX, || 7).await, 7);
    }
}

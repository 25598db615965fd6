//! Messages of gRPC on their way to clients: their bytes count until the clients have taken them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Frame;

use super::status;
use crate::{
    intake::MemoryBudget,
    transport::{
        middleware::{After, Before, Middleware},
        web::output::{UNCOUNTED_BYTES, counted},
    },
};

/// Counts the messages of all answers, and fails those for which there is no room.
#[derive(Debug, Clone)]
pub(crate) struct CountMessages(pub(crate) Arc<MemoryBudget>);

impl Middleware for CountMessages {
    type Seen = Arc<MemoryBudget>;

    fn before(&self, request: Request) -> Before<Arc<MemoryBudget>> {
        Before::Goes(request, Arc::clone(&self.0))
    }

    fn after(memory_budget: Arc<MemoryBudget>, response: Response) -> After {
        let (head, body) = response.into_parts();
        let mut leaving = ResponseBody {
            body,
            memory_budget,
            first: None,
            has_ended: false,
        };
        // A message that is there is written now: one that waited for its client to make room would count nowhere.
        leaving.first = poll_fn(|context| leaving.poll_next(context)).now_or_never();
        After::Goes(Response::from_parts(head, Body::new(leaving)))
    }
}

type Next = Option<Result<Frame<Bytes>, axum::Error>>;

/// The body of an answer.
struct ResponseBody {
    body: Body,
    memory_budget: Arc<MemoryBudget>,
    /// What was there from the start.
    first: Option<Next>,
    /// Whether there was no room for a message.
    has_ended: bool,
}

impl ResponseBody {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        let bytes = match frame.into_data() {
            Ok(bytes) if bytes.len() as u64 > UNCOUNTED_BYTES => bytes,
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        };
        let mut held = self.memory_budget.open();
        let frame = match held.grow(bytes.len()) {
            Ok(()) => Frame::data(counted(bytes, held)),
            Err(refusal) => {
                self.has_ended = true;
                let mut trailers = HeaderMap::new();
                let status = status::status(&refusal, refusal.to_string());
                status.add_header(&mut trailers).map_err(axum::Error::new)?;
                Frame::trailers(trailers)
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Next> {
        match self.first.take() {
            Some(first) => Poll::Ready(first),
            None => self.poll_next(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.first {
            // A refusal has no body: all of it is in the head, which clients know by the end of the stream there.
            Some(first) => first.is_none(),
            None => self.has_ended || self.body.is_end_stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use futures_util::stream;
    use tower::ServiceExt;

    use super::*;
    use crate::transport::middleware::Layered;

    #[tokio::test]
    async fn messages_count_until_they_are_taken_and_fail_where_there_is_no_room() {
        let memory_budget = MemoryBudget::new(5000);
        let pieces = || stream::iter([vec![1; 3000], vec![2; 100], vec![3; 3000]].map(Ok::<_, axum::Error>));
        let app = Router::new()
            .route("/", get(move || async move { Body::from_stream(pieces()) }))
            .layer(Layered(CountMessages(Arc::clone(&memory_budget))));
        let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());

        let mut body = ask().await.unwrap().into_body();
        assert_eq!(memory_budget.held(), 3000, "before anybody reads");
        let mut next = async || {
            let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            frame.map(|frame| frame.unwrap().into_data())
        };
        let first = next().await.unwrap().unwrap();
        assert_eq!(next().await.unwrap().unwrap().len(), 100);
        let failed = next().await.unwrap().unwrap_err().into_trailers().unwrap();
        assert_eq!(failed["grpc-status"], "8");
        assert!(next().await.is_none());
        drop(first);
        assert_eq!(memory_budget.held(), 0);
    }

    #[tokio::test]
    async fn what_has_no_body_ends_with_its_head() {
        let app = Router::new()
            .route("/", get(|| async { Body::empty() }))
            .layer(Layered(CountMessages(MemoryBudget::new(5000))));
        let answer = app
            .oneshot(Request::get("/").body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert!(answer.body().is_end_stream());
    }
}

//! Server-sent events: how far the images of a request are, and at the end its answer.
//!
//! What can be refused at once is refused as ever, with a status and a problem: the head of a stream is sent only when
//! the work waits or runs. The work is part of the stream, so a client that goes away drops both.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use axum::{
    http::{HeaderName, HeaderValue},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{FutureExt, StreamExt, stream};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    domain::image::{Image, ImageShape},
    model::{
        Refusal,
        progress::{Board, Update},
        value::Picture,
    },
};

use super::{observe::Streamed, output::offload, problem::body, scope::RequestScope};

/// The shortest time between two events of one image: more often, nobody sees a difference.
const INTERVAL: Duration = Duration::from_millis(50);

/// How long a stream is silent at most. Proxies cut connections on which nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Asks proxies that collect answers before they pass them on not to.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// What an event `progress` says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Progress {
    /// Which image of the request, counted from 0.
    index: usize,
    /// Rows from the top that are settled.
    rows: usize,
    /// Rows of an image.
    height: usize,
    /// The settled rows; the others are black.
    image: Picture,
}

/// The images of a request while they are drawn.
struct Watch {
    scope: Arc<RequestScope>,
    board: Arc<Board>,
    shape: ImageShape,
    work: Work,
    /// When the next events of progress may be sent.
    due: Instant,
}

/// Gives the text of the answer.
type Work = Pin<Box<dyn Future<Output = Result<String, Refusal>> + Send>>;

/// An answer in events: `progress` as `board` changes, then `done` with the JSON that `work` gives, or `error` with its
/// problem.
pub(crate) fn watch(
    scope: Arc<RequestScope>,
    board: Arc<Board>,
    shape: ImageShape,
    work: impl Future<Output = Result<String, Refusal>> + Send + 'static,
) -> Result<Response, Refusal> {
    // The layer that catches panics sees no body being made.
    let work = AssertUnwindSafe(work)
        .catch_unwind()
        .map(|outcome| outcome.unwrap_or_else(|_| Err(Refusal::internal("a handler panicked while it streamed"))));
    let mut work: Work = Box::pin(work);
    let work: Work = match work.as_mut().now_or_never() {
        Some(Err(refusal)) => return Err(refusal),
        Some(Ok(answer)) => Box::pin(std::future::ready(Ok(answer))),
        None => work,
    };
    let watch = Watch {
        scope,
        board,
        shape,
        work,
        due: Instant::now(),
    };
    let events = stream::unfold(Some(watch), |watch| async move {
        let (events, watch) = watch?.next().await;
        Some((stream::iter(events.into_iter().map(Ok::<_, Infallible>)), watch))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let events = Sse::new(events.flatten()).keep_alive(keep_alive);
    let mut response = ([NO_BUFFERING], events).into_response();
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

impl Watch {
    /// The next events, and what remains to be watched.
    async fn next(mut self) -> (Vec<Event>, Option<Self>) {
        let changes = async {
            sleep_until(self.due).await;
            self.board.changes().await
        };
        let updates = tokio::select! {
            biased;
            outcome = self.work.as_mut() => return (vec![self.last(outcome)], None),
            updates = changes => updates,
        };
        self.due = Instant::now() + INTERVAL;
        let shape = self.shape;
        let bytes = 4 * updates.len() * shape.dimensions();
        let events = offload(bytes, move || {
            updates
                .into_iter()
                .map(|update| progress(update, shape))
                .collect::<Result<Vec<_>, _>>()
        });
        match events.await {
            Ok(events) => (events, Some(self)),
            Err(refusal) => (vec![self.last(Err(refusal))], None),
        }
    }

    /// The event that ends the stream.
    fn last(&self, outcome: Result<String, Refusal>) -> Event {
        let (name, data) = match outcome {
            Ok(answer) => ("done", answer),
            Err(refusal) => {
                let body = body(&refusal, self.scope.id());
                self.scope.set_failure(refusal);
                ("error", serde_json::to_string(&body).unwrap_or_default())
            }
        };
        Event::default().event(name).data(data)
    }
}

fn progress(update: Update, shape: ImageShape) -> Result<Event, Refusal> {
    let Update { index, rows, levels } = update;
    let image =
        Image::new(shape, levels).map_err(|error| Refusal::internal(format!("an image on its way: {error}")))?;
    let body = serde_json::to_string(&Progress {
        index,
        rows,
        height: shape.height(),
        image: Picture(image),
    })
    .map_err(Refusal::internal)?;
    Ok(Event::default().event("progress").data(body))
}

//! Middleware: a look at the request before its handler, and at the answer after it. axum's own middleware copies all
//! that lies below it for every request and puts each of its parts into memory of its own, which costs short work a
//! good part of its time; this does not.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
    http,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// A future that is on its way.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is done around handlers.
pub(crate) trait Middleware: Clone + Send + Sync + 'static {
    /// What is kept from before to after. Dropped without an answer, the client has gone.
    type Seen: Send + 'static;

    /// Looks at a request.
    fn before(&self, request: Request) -> Before<Self::Seen>;

    /// Takes what lies below a step further.
    fn step<T>(_seen: &Self::Seen, step: impl FnOnce() -> T) -> T {
        step()
    }

    /// Makes the answer to what lies above of the answer from below.
    fn after(seen: Self::Seen, response: Response) -> After;
}

/// What becomes of a request.
#[allow(clippy::large_enum_variant, reason = "nearly all go on, at once")]
pub(crate) enum Before<S> {
    /// It goes on.
    Goes(Request, S),
    /// It is answered here.
    Ends(Boxed<Response>, S),
}

/// What becomes of an answer.
#[allow(clippy::large_enum_variant, reason = "nearly all are ready")]
pub(crate) enum After {
    /// It goes on.
    Goes(Response),
    /// There is still something to wait for.
    Waits(Boxed<Response>),
}

/// Puts something around the handlers of a router.
#[derive(Debug, Clone)]
pub(crate) struct Layered<A>(pub(crate) A);

/// A service with something around it.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped<A, S> {
    around: A,
    inner: S,
}

impl<A: Middleware, S> Layer<S> for Layered<A> {
    type Service = Wrapped<A, S>;

    fn layer(&self, inner: S) -> Self::Service {
        let around = self.0.clone();
        Wrapped { around, inner }
    }
}

impl<A, S, B> Service<http::Request<B>> for Wrapped<A, S>
where
    A: Middleware,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<A, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (source, seen) = match self.around.before(request.map(Body::new)) {
            Before::Goes(request, seen) => {
                let answer = self.inner.call(request);
                (Source::Below { answer }, seen)
            }
            Before::Ends(answer, seen) => (Source::Here { answer }, seen),
        };
        let state = State::Before(seen);
        Answering { source, state }
    }
}

pin_project! {
    /// An answer on its way up.
    pub(crate) struct Answering<A: Middleware, F> {
        #[pin]
        source: Source<F>,
        state: State<A::Seen>,
    }
}

pin_project! {
    /// Who makes it.
    #[project = Maker]
    enum Source<F> {
        Below { #[pin] answer: F },
        Here { answer: Boxed<Response> },
    }
}

/// How far it is.
enum State<S> {
    Before(S),
    After(Boxed<Response>),
    Given,
}

impl<A, F, R> Future for Answering<A, F>
where
    A: Middleware,
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let State::Before(seen) = &*this.state {
            let polled = match this.source.project() {
                Maker::Below { answer } => A::step(seen, || answer.poll(context)).map(|answer| {
                    let Ok(response) = answer;
                    response.into_response()
                }),
                Maker::Here { answer } => A::step(seen, || answer.as_mut().poll(context)),
            };
            let response = ready!(polled);
            let State::Before(seen) = mem::replace(this.state, State::Given) else {
                unreachable!("it was there above");
            };
            match A::after(seen, response) {
                After::Goes(response) => return Poll::Ready(Ok(response)),
                After::Waits(answer) => *this.state = State::After(answer),
            }
        }
        match this.state {
            State::After(answer) => answer.as_mut().poll(context).map(Ok),
            State::Before(_) | State::Given => panic!("an answer is waited for that has been given"),
        }
    }
}

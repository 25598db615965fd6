//! Middleware: a look at the request before its handler, and at the answer after it. axum's own middleware copies all
//! that lies below it for every request, which costs short work a good part of its time; this does not.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
    http,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tower::{Layer, Service};

/// A future that is on its way.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is done around handlers.
pub(crate) trait Middleware: Clone + Send + Sync + 'static {
    /// What is kept from before to after.
    type Seen: Send + 'static;

    /// Looks at a request.
    fn before(&self, request: Request) -> Before<Self::Seen>;

    /// Makes the answer to what lies above of the answer from below. Dropped, the client has gone.
    fn after(
        seen: Self::Seen,
        answer: impl Future<Output = Response> + Send + 'static,
    ) -> impl Future<Output = Response> + Send + 'static;
}

/// What becomes of a request.
#[allow(clippy::large_enum_variant, reason = "nearly all go on, at once")]
pub(crate) enum Before<S> {
    /// It goes on.
    Goes(Request, S),
    /// It is answered here.
    Ends(Boxed<Response>, S),
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
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Boxed<Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match self.around.before(request.map(Body::new)) {
            Before::Goes(request, seen) => {
                let below = self.inner.call(request);
                let answer = async {
                    let Ok(response) = below.await;
                    response.into_response()
                };
                let answer = A::after(seen, answer);
                Box::pin(async { Ok(answer.await) })
            }
            Before::Ends(answer, seen) => {
                let answer = A::after(seen, answer);
                Box::pin(async { Ok(answer.await) })
            }
        }
    }
}
